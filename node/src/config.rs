//! From flags, environment and file to one typed configuration, checked once.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};

use model::Availability;
use serde::Deserialize;
use store::genesis::{Rule, SeedList};
use thiserror::Error;

use crate::telemetry::Format;

/// One number for the control plane, UDP and TCP. Not 7946: a Docker Swarm on the
/// same machine holds that.
pub const PORT: u16 = 7964;

/// What a user gave, by flag, environment or file. Nothing is checked yet.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Options {
    /// File with the cluster key.
    pub key_file: Option<PathBuf>,
    /// File with a join token.
    pub token_file: Option<PathBuf>,
    /// Seeds, `host[:port]`.
    pub seeds: Option<Vec<String>>,
    /// Found a cluster of one.
    pub found: Option<bool>,
    /// Voters to found with: 3 or 5.
    pub voters: Option<u8>,
    /// Address that others reach this node at, `IP[:PORT]`.
    pub advertise: Option<String>,
    /// Address to bind, `IP[:PORT]`.
    pub listen: Option<String>,
    /// Address to publish ports on.
    pub publish_address: Option<IpAddr>,
    /// Data directory.
    pub data_dir: Option<PathBuf>,
    /// API socket, `unix:///path`.
    pub host: Option<String>,
    /// `auto`, `docker`, `embedded`, `process` or `fake`.
    pub runtime: Option<String>,
    /// Docker Engine, `unix:///path`, as `DOCKER_HOST` has it.
    pub docker_host: Option<String>,
    /// `engine.labels.*`.
    pub labels: Option<BTreeMap<String, String>>,
    /// Failure domain that voters are spread over.
    pub zone: Option<String>,
    /// `auto`, `text` or `json`.
    pub log_format: Option<String>,
}

impl Options {
    /// Reads a TOML file. An unknown key is an error that names its line.
    ///
    /// # Errors
    ///
    /// [`ConfigError::File`].
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let wrong = |what: String| ConfigError::File {
            path: path.to_owned(),
            what: what.trim_end().to_owned(),
        };
        let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        toml::from_str(&text).map_err(|error| wrong(error.to_string()))
    }

    /// Fills what is missing from `other`, which has less say.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            key_file: self.key_file.or(other.key_file),
            token_file: self.token_file.or(other.token_file),
            seeds: self.seeds.or(other.seeds),
            found: self.found.or(other.found),
            voters: self.voters.or(other.voters),
            advertise: self.advertise.or(other.advertise),
            listen: self.listen.or(other.listen),
            publish_address: self.publish_address.or(other.publish_address),
            data_dir: self.data_dir.or(other.data_dir),
            host: self.host.or(other.host),
            runtime: self.runtime.or(other.runtime),
            docker_host: self.docker_host.or(other.docker_host),
            labels: self.labels.or(other.labels),
            zone: self.zone.or(other.zone),
            log_format: self.log_format.or(other.log_format),
        }
    }
}

/// Which runtime runs containers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RuntimeChoice {
    /// What ran here before; else Docker, if it answers; else containers by this binary.
    Auto,
    /// Containers by Docker Engine.
    Docker,
    /// Containers by this binary.
    Embedded,
    /// Plain processes, demo image only.
    Process,
    /// Nothing at all, for tests of the cluster.
    Fake,
}

impl RuntimeChoice {
    const ALL: [Self; 5] = [Self::Auto, Self::Docker, Self::Embedded, Self::Process, Self::Fake];

    /// Its word, as users write it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Docker => "docker",
            Self::Embedded => "embedded",
            Self::Process => "process",
            Self::Fake => "fake",
        }
    }

    /// The choice of a word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|choice| choice.word() == word)
    }
}

/// What gives this node its place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Secret {
    /// The cluster key: eligible.
    Key(PathBuf),
    /// A join token: what its grant says.
    Token(PathBuf),
}

/// How this node finds its cluster.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Beginning {
    /// With others, from a list.
    Seeds(Vec<String>),
    /// Alone.
    Found,
}

/// Where a node stands towards its cluster: all that one life in it needs to know.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Place {
    /// Key or token.
    pub secret: Secret,
    /// Seeds, or alone.
    pub beginning: Beginning,
    /// Voters to found with, if asked for.
    pub voters: Option<u8>,
    /// Where others reach us.
    pub advertise: SocketAddr,
    /// How that was found, for the log.
    pub advertise_why: &'static str,
    /// What is bound.
    pub listen: SocketAddr,
    /// Where ports are published; `None` means every address.
    pub publish: Option<IpAddr>,
    /// Whether it takes tasks at first.
    pub availability: Availability,
}

/// Addresses that a user gave; what is missing is found out when a place is taken.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Addresses {
    /// `--advertise`.
    pub advertise: Option<SocketAddr>,
    /// `--listen`.
    pub listen: Option<SocketAddr>,
    /// `--publish-address`.
    pub publish: Option<IpAddr>,
}

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its place; `None` waits outside any cluster for `swarm init` or `swarm join`.
    pub place: Option<Place>,
    /// For a place that is taken later.
    pub addresses: Addresses,
    /// Data directory.
    pub data_dir: PathBuf,
    /// API socket.
    pub socket: PathBuf,
    /// Sockets of containers; short, because the path of a socket has 107 bytes at most.
    pub run_dir: PathBuf,
    /// Whether containers run in the user namespace of an ordinary user.
    pub rootless: bool,
    /// Runtime.
    pub runtime: RuntimeChoice,
    /// Why that one, for the log.
    pub runtime_why: String,
    /// Socket of Docker Engine.
    pub docker: PathBuf,
    /// `engine.labels.*`.
    pub labels: BTreeMap<String, String>,
    /// Failure domain.
    pub zone: String,
    /// How log lines look.
    pub log_format: Format,
}

/// The configuration makes no sense; the text says what to write instead.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read or has something unknown in it.
    #[error("configuration file {}: {what}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What, with its line.
        what: String,
    },
    /// Both or neither of key and token.
    #[error(
        "give this node its key or its token, one of:\n  \
         skep up --key-file cluster.key --seed a --seed b --seed c   (`skep key new --out cluster.key` makes one)\n  \
         skep up --token-file worker.token --seed a"
    )]
    Secret,
    /// A key with neither seeds nor `--found`.
    #[error(
        "a key alone does not say which cluster, give one of:\n  \
         --seed a --seed b --seed c   the same list on every machine\n  \
         --found                      a new cluster of one, on an empty data directory"
    )]
    Beginning,
    /// Both seeds and `--found`, or `--found` with a token.
    #[error("{0}")]
    Contradiction(&'static str),
    /// An ordinary user without a home.
    #[error("neither XDG_DATA_HOME nor HOME is set: give --data-dir DIR and -H unix:///path")]
    Homeless,
    /// A value that cannot be read.
    #[error("{name} `{value}`: {what}")]
    Value {
        /// Flag.
        name: &'static str,
        /// Value.
        value: String,
        /// What it should be.
        what: String,
    },
}

impl Config {
    /// Checks what a user gave.
    ///
    /// # Errors
    ///
    /// [`ConfigError`], with what to write instead.
    pub fn check(options: Options) -> Result<Self, ConfigError> {
        let secret = match (options.key_file, options.token_file) {
            (Some(key), None) => Some(Secret::Key(key)),
            (None, Some(token)) => Some(Secret::Token(token)),
            (None, None) => None,
            (Some(_), Some(_)) => return Err(ConfigError::Secret),
        };
        let seeds = seeds(options.seeds.unwrap_or_default())?;
        let found = options.found.unwrap_or(false);
        if let Some(voters) = options.voters.filter(|voters| ![3, 5].contains(voters)) {
            let what = "a cluster is founded with 3 or 5 voters".to_owned();
            return Err(ConfigError::Value { name: "--voters", value: voters.to_string(), what });
        }
        let given =
            |name, text: Option<String>| text.map(|text| address(name, &text, PORT)).transpose();
        let addresses = Addresses {
            advertise: given("--advertise", options.advertise)?,
            listen: given("--listen", options.listen)?,
            publish: options.publish_address,
        };
        let place = match secret {
            Some(secret) => {
                let beginning = beginning(&secret, seeds, found)?;
                Some(Place::new(secret, beginning, options.voters, addresses))
            }
            // Seeds without a secret are half a command, and must not become a cluster of one.
            None if found || !seeds.is_empty() || options.voters.is_some() => {
                return Err(ConfigError::Secret);
            }
            None => None,
        };
        let runtime = runtime_choice(options.runtime.as_deref())?;
        let socket = socket(options.host.as_deref())?;
        let docker = docker_socket(runtime, options.docker_host.as_deref(), &socket)?;
        Ok(Self {
            place,
            addresses,
            socket,
            run_dir: run_dir()?,
            data_dir: options.data_dir.map_or_else(default_data_dir, Ok)?,
            rootless: false,
            runtime,
            runtime_why: "given".to_owned(),
            docker,
            labels: options.labels.unwrap_or_default(),
            zone: options.zone.unwrap_or_default(),
            log_format: log_format(options.log_format.as_deref())?,
        })
    }
}

impl Place {
    /// Finds out the addresses that were not given.
    #[must_use]
    pub fn new(
        secret: Secret,
        beginning: Beginning,
        voters: Option<u8>,
        addresses: Addresses,
    ) -> Self {
        let given = addresses.advertise;
        let (advertise, advertise_why) = match given {
            Some(address) => (address, "given"),
            None => {
                let port = addresses.listen.map_or(PORT, |listen| listen.port());
                let ip = addresses.listen.map(|listen| listen.ip());
                let bound = ip.filter(|ip| !ip.is_unspecified());
                let ip = bound.unwrap_or_else(|| own_address(&beginning));
                (SocketAddr::new(ip, port), "the way to the first seed")
            }
        };
        let listen = addresses
            .listen
            .unwrap_or_else(|| SocketAddr::new(default_listen(given, advertise), advertise.port()));
        let publish =
            addresses.publish.or_else(|| advertise.ip().is_loopback().then(|| advertise.ip()));
        Self {
            secret,
            beginning,
            voters,
            advertise,
            advertise_why,
            listen,
            publish,
            availability: Availability::Active,
        }
    }
}

fn beginning(secret: &Secret, seeds: Vec<String>, found: bool) -> Result<Beginning, ConfigError> {
    match (secret, seeds.is_empty(), found) {
        (Secret::Token(_), _, true) => Err(ConfigError::Contradiction(
            "a token joins a cluster, it cannot found one: leave out --found, or use --key-file",
        )),
        (Secret::Token(_), true, false) => Err(ConfigError::Contradiction(
            "a token needs to know where the cluster is: add --seed HOST of any node of it",
        )),
        (Secret::Key(_), true, false) => Err(ConfigError::Beginning),
        (Secret::Key(_), false, true) => Err(ConfigError::Contradiction(
            "--found makes a new cluster, --seed joins or forms one: leave out one of the two",
        )),
        (Secret::Key(_), true, true) => Ok(Beginning::Found),
        (_, false, false) => Ok(Beginning::Seeds(seeds)),
    }
}

/// Lower case, with a port, without duplicates; order does not matter.
fn seeds(given: Vec<String>) -> Result<Vec<String>, ConfigError> {
    let mut seeds = Vec::new();
    for text in given.iter().flat_map(|text| text.split(',')) {
        let text = text.trim().to_lowercase();
        if text.is_empty() {
            let what = "is empty: an unset variable, perhaps?".to_owned();
            return Err(ConfigError::Value { name: "--seed", value: text, what });
        }
        seeds.push(with_port(&text));
    }
    let list = SeedList::new(&seeds, Rule::Automatic).map_err(|error| ConfigError::Value {
        name: "--seed",
        value: given.join(","),
        what: error.to_string(),
    })?;
    Ok(list.entries().to_vec())
}

/// `host[:port]` with the default port where it has none.
pub(crate) fn with_port(host: &str) -> String {
    let bare_v6 = host.parse::<std::net::Ipv6Addr>().is_ok();
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    match (bare_v6, has_port) {
        (true, _) => format!("[{host}]:{PORT}"),
        (false, true) => host.to_owned(),
        (false, false) => format!("{host}:{PORT}"),
    }
}

fn address(name: &'static str, text: &str, port: u16) -> Result<SocketAddr, ConfigError> {
    let ip = || text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, port));
    text.parse::<SocketAddr>().or_else(|_| ip()).map_err(|_| ConfigError::Value {
        name,
        value: text.to_owned(),
        what: "give IP or IP:PORT".to_owned(),
    })
}

/// The address that this machine would send from. Nothing is sent: connecting a
/// UDP socket only looks up the route.
fn own_address(beginning: &Beginning) -> IpAddr {
    let towards = match beginning {
        Beginning::Seeds(seeds) => seeds.first().map_or("", String::as_str),
        // A documentation address (RFC 5737): its route is the default route.
        Beginning::Found => "192.0.2.1:9",
    };
    UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))
        .and_then(|socket| {
            socket.connect(towards)?;
            socket.local_addr()
        })
        .map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |address| address.ip())
}

/// Bind what is advertised where it is ours; behind a translator it is not, and
/// every address is bound then.
fn default_listen(given: Option<SocketAddr>, advertise: SocketAddr) -> IpAddr {
    let unspecified = match advertise.ip() {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
    };
    let ours = |ip: &IpAddr| UdpSocket::bind((*ip, 0)).is_ok();
    given.map(|address| address.ip()).filter(ours).unwrap_or(unspecified)
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// `/var/lib/skep`, or for an ordinary user `$XDG_DATA_HOME/skep`.
fn default_data_dir() -> Result<PathBuf, ConfigError> {
    if is_root() {
        return Ok(PathBuf::from("/var/lib/skep"));
    }
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".local/share"));
    let base = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).or_else(home);
    base.map(|base| base.join("skep")).ok_or(ConfigError::Homeless)
}

fn socket(host: Option<&str>) -> Result<PathBuf, ConfigError> {
    match host {
        Some(text) => text.strip_prefix("unix://").map(PathBuf::from).ok_or_else(|| {
            let what = "give unix:///path: the API listens on no network".to_owned();
            ConfigError::Value { name: "--host", value: text.to_owned(), what }
        }),
        None if is_root() => Ok(PathBuf::from("/run/skep/skep.sock")),
        None => Ok(run_dir()?.join("skep.sock")),
    }
}

/// `/run/skep`, or for an ordinary user `$XDG_RUNTIME_DIR/skep`, or where there is none the
/// data directory: a name in `/tmp` could be somebody else's.
fn run_dir() -> Result<PathBuf, ConfigError> {
    if is_root() {
        return Ok(PathBuf::from("/run/skep"));
    }
    let given = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    given.map_or_else(default_data_dir, |dir| Ok(dir.join("skep")))
}

fn runtime_choice(text: Option<&str>) -> Result<RuntimeChoice, ConfigError> {
    let word = text.unwrap_or("auto");
    RuntimeChoice::from_word(word).ok_or_else(|| ConfigError::Value {
        name: "--runtime",
        value: word.to_owned(),
        what: "there are auto, docker, embedded and process".to_owned(),
    })
}

/// Another machine's engine is an error for who asked for Docker. For `auto` it says how the user's
/// own `docker` works, not what this machine has.
fn docker_socket(
    runtime: RuntimeChoice,
    host: Option<&str>,
    own: &Path,
) -> Result<PathBuf, ConfigError> {
    match runtime::docker_socket(host, own) {
        Err(what) if runtime == RuntimeChoice::Docker => {
            Err(ConfigError::Value { name: "--runtime", value: runtime.word().to_owned(), what })
        }
        Err(_) => Ok(runtime::docker_socket(None, own).unwrap_or_default()),
        Ok(found) => Ok(found),
    }
}

fn log_format(text: Option<&str>) -> Result<Format, ConfigError> {
    match text {
        None | Some("auto") => Ok(Format::Auto),
        Some("text") => Ok(Format::Text),
        Some("json") => Ok(Format::Json),
        Some(other) => Err(ConfigError::Value {
            name: "--log-format",
            value: other.to_owned(),
            what: "there are auto, text and json".to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seeds: &[&str], found: bool) -> Options {
        Options {
            key_file: Some("k".into()),
            seeds: Some(seeds.iter().map(|&seed| seed.to_owned()).collect()),
            found: Some(found),
            ..Options::default()
        }
    }

    #[test]
    fn order_case_ports_and_duplicates_of_seeds_do_not_matter() {
        let list = ["B", "a:7964", "b:7964", "A", "::1,10.0.0.1"];
        let config = Config::check(key(&list, false)).unwrap();
        let seeds = ["10.0.0.1:7964", "[::1]:7964", "a:7964", "b:7964"].map(str::to_owned).to_vec();
        assert_eq!(config.place.unwrap().beginning, Beginning::Seeds(seeds));
    }

    #[test]
    fn what_makes_no_sense_says_what_to_write() {
        let token = Options { token_file: Some("t".into()), ..Options::default() };
        for (options, expected) in [
            (Options { found: Some(true), ..Options::default() }, "--key-file"),
            (Options { seeds: Some(vec!["a".into()]), ..Options::default() }, "--key-file"),
            (key(&[], false), "--found"),
            (key(&["a"], true), "leave out one"),
            (key(&[""], false), "unset variable"),
            (key(&["a b"], false), "HOST:PORT"),
            (key(&["a:99999"], false), "HOST:PORT"),
            (token.clone(), "add --seed"),
            (Options { found: Some(true), ..token }, "cannot found"),
            (Options { voters: Some(4), ..key(&["a"], false) }, "3 or 5"),
            (Options { advertise: Some("x".into()), ..key(&["a"], false) }, "IP:PORT"),
            (Options { host: Some("tcp://x".into()), ..key(&["a"], false) }, "unix://"),
            (Options { runtime: Some("podman".into()), ..key(&["a"], false) }, "embedded"),
            (
                Options {
                    runtime: Some("docker".into()),
                    docker_host: Some("tcp://10.0.0.1:2375".into()),
                    ..key(&["a"], false)
                },
                "DOCKER_HOST",
            ),
        ] {
            let error = Config::check(options).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn an_unknown_key_in_the_file_is_named_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("skep.toml");
        std::fs::write(&path, "zone = \"a\"\nseedz = [\"a\"]\n").unwrap();
        let error = Options::read(&path).unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("seedz"), "{error}");
    }

    #[test]
    fn flags_have_more_say_than_the_file() {
        let flags = Options { zone: Some("flag".into()), ..Options::default() };
        let file = Options { zone: Some("file".into()), voters: Some(5), ..Options::default() };
        let both = flags.or(file);
        assert_eq!((both.zone.as_deref(), both.voters), (Some("flag"), Some(5)));
    }
}
