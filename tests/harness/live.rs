//! Daemons of the shipped binary in hosts of their own, and how to ask them.
//!
//! A [`Lab`] is made of a `Network` and one daemon for each host. The
//! sockets of the daemons are files, so a test asks them from wherever it runs. Everything goes
//! away with the lab; if a test fails, the logs stay and their ends are printed.
#![expect(clippy::expect_used, reason = "only tests link this, and they end so")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::live_net::{Network, address};

/// Where daemons speak to each other, UDP and TCP.
pub const CONTROL_PORT: u16 = 7964;
/// Seeds are the first hosts.
const N_SEEDS: usize = 3;
/// A daemon answers, or says that it cannot, before this: the longest patience is that of a join.
const ANSWER_MAX: Duration = Duration::from_secs(25);
/// A daemon that was told to stop has so long.
const STOP_MAX: Duration = Duration::from_secs(10);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// So much of each log is shown when a test fails.
const TAIL_LINES: usize = 12;

/// Whether live tests can run here. Without root they cannot, which is said, and is a failure
/// where `SKEP_REQUIRE` names `root`.
#[must_use]
pub fn possible() -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    skip("root", "network namespaces need root; run the live tests with sudo")
}

/// Whether a program is here; without it the test is skipped as [`skip`] says.
#[must_use]
pub fn has(program: &str, package: &str, word: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).map(|place| place.join(program));
    let found = places.into_iter().any(|place| place.is_file());
    found || skip(word, &format!("there is no {program}: apt-get install {package}"))
}

/// Says why a test is skipped, which is a failure where `SKEP_REQUIRE` names `word`. Never true.
#[must_use]
pub fn skip(word: &str, why: &str) -> bool {
    let required = std::env::var("SKEP_REQUIRE").unwrap_or_default();
    let is_required = required.split(',').any(|required| required.trim() == word);
    assert!(!is_required, "SKEP_REQUIRE names {word}: {why}");
    // Not by a macro, whose output the test runner keeps to itself when a test passes.
    let mut stderr = std::io::stderr();
    let _ = writeln!(stderr, "SKIPPED: {why}"); // Nobody reads it then.
    false
}

/// How a daemon finds its cluster, and what runs its tasks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// The first three hosts are the seeds; tasks are pretended.
    Seeded,
    /// A cluster of one, with containers.
    Alone,
    /// A cluster of one; tasks are pretended.
    Pretended,
    /// A cluster of one, with containers of a Docker Engine: see [`Lab::engine`].
    Docker,
}

/// What a daemon answered.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The body; `Null` if it was not JSON.
    pub body: Value,
}

/// Which secret a daemon is started with, where it looks for others, and what runs its tasks.
#[derive(Clone, Debug)]
pub struct Way {
    /// A token; the cluster key without one.
    pub token: Option<PathBuf>,
    /// Hosts; none founds a cluster of one.
    pub seeds: Vec<usize>,
    /// Without key, token and seeds: outside any cluster, until the API says which.
    pub outside: bool,
    /// `embedded` or `fake`.
    pub runtime: &'static str,
}

impl Way {
    /// With the cluster key, and as the seeded labs do it.
    #[must_use]
    pub fn key() -> Self {
        Self { token: None, seeds: (1..=N_SEEDS).collect(), outside: false, runtime: "fake" }
    }

    /// With a token, and one seed.
    #[must_use]
    pub fn token(token: &Path, seed: usize) -> Self {
        Self { token: Some(token.to_owned()), seeds: vec![seed], outside: false, runtime: "fake" }
    }

    /// Outside any cluster, as a Docker Engine begins.
    #[must_use]
    pub fn outside() -> Self {
        Self { token: None, seeds: Vec::new(), outside: true, runtime: "fake" }
    }
}

/// Hosts, their daemons, and a directory for all they write.
#[derive(Debug)]
pub struct Lab {
    /// What connects them.
    pub network: Network,
    pub(crate) binary: PathBuf,
    pub(crate) dir: TempDir,
    kind: Kind,
    /// Socket of the Docker Engine, if it is not that of this machine.
    pub engine: Option<PathBuf>,
    daemons: BTreeMap<usize, Child>,
    ways: BTreeMap<usize, Way>,
    n_writes: u32,
    n_tokens: u32,
}

impl Lab {
    /// Hosts 1 to `n_hosts` and a cluster key; no daemon runs yet.
    #[must_use]
    pub fn new(n_hosts: usize, kind: Kind) -> Self {
        let binary = binary();
        // Short: the path of a socket has 107 bytes at most.
        let dir = tempfile::Builder::new().prefix("skl").tempdir_in("/tmp").expect("a directory");
        let network = Network::new(n_hosts);
        let (engine, daemons, ways) = (None, BTreeMap::new(), BTreeMap::new());
        let (n_writes, n_tokens) = (0, 0);
        let lab = Self { network, binary, dir, kind, engine, daemons, ways, n_writes, n_tokens };
        let key = lab.key_file();
        lab.skep(&["key", "new", "--out", &key.to_string_lossy()]).expect("a key");
        lab
    }

    /// Runs the command line; what it printed.
    ///
    /// # Errors
    ///
    /// What it said instead.
    pub fn skep(&self, arguments: &[&str]) -> Result<String, String> {
        let output = self.command(arguments).output().expect("the binary runs");
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// The same as a client of host `n`.
    ///
    /// # Errors
    ///
    /// What it said instead.
    pub fn skep_on(&self, n: usize, arguments: &[&str]) -> Result<String, String> {
        let host = format!("unix://{}", self.socket(n).display());
        self.skep(&[&["-H", &host], arguments].concat())
    }

    /// A command line of ours with an environment that names nothing of this test; its home is
    /// [`Self::home`].
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(arguments).env_clear().env("HOME", self.home());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
    }

    /// Home of whoever runs the command line.
    #[must_use]
    pub fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    /// Where a test may keep files.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A token in a file: of a `worker` or a `manager`, and what else `skep token` is given.
    #[must_use]
    pub fn token(&mut self, role: &str, more: &[&str]) -> PathBuf {
        self.n_tokens += 1;
        let out = self.dir.path().join(format!("token{}", self.n_tokens));
        let (key, file) = (self.key_file(), out.to_string_lossy().into_owned());
        let made = ["token", role, "--key-file", &key.to_string_lossy(), "--out", &file];
        self.skep(&[made.as_slice(), more].concat()).expect("a token");
        out
    }

    /// File with the cluster key.
    #[must_use]
    pub fn key_file(&self) -> PathBuf {
        self.dir.path().join("cluster.key")
    }

    pub(crate) fn socket(&self, n: usize) -> PathBuf {
        self.dir.path().join(format!("n{n}.sock"))
    }

    fn log(&self, n: usize) -> PathBuf {
        self.dir.path().join(format!("n{n}.log"))
    }

    /// Starts the daemon of host `n`, on the data it left there and in the way it was started
    /// last.
    pub fn start(&mut self, n: usize) {
        let way = self.ways.get(&n).cloned().unwrap_or_else(|| match self.kind {
            Kind::Alone => {
                Way { token: None, seeds: Vec::new(), outside: false, runtime: "embedded" }
            }
            Kind::Pretended => {
                Way { token: None, seeds: Vec::new(), outside: false, runtime: "fake" }
            }
            // By itself it finds the engine.
            Kind::Docker => Way { token: None, seeds: Vec::new(), outside: false, runtime: "auto" },
            Kind::Seeded => Way::key(),
        });
        self.start_as(n, &way);
    }

    /// Starts the daemon of host `n` in another way.
    pub fn start_as(&mut self, n: usize, way: &Way) {
        self.ways.insert(n, way.clone());
        let log = File::options().create(true).append(true).open(self.log(n)).expect("a log");
        let mut command = self.network.command(n, &self.binary);
        command.arg("up").args(["--runtime", way.runtime]);
        match &way.token {
            Some(token) => {
                command.arg("--token-file").arg(token);
            }
            None if way.outside => {}
            None => {
                command.arg("--key-file").arg(self.key_file());
            }
        }
        if way.seeds.is_empty() && !way.outside {
            command.arg("--found");
        }
        for seed in &way.seeds {
            command.args(["--seed".to_owned(), address(*seed).to_string()]);
        }
        command.arg("--advertise").arg(address(n).to_string());
        command.arg("--data-dir").arg(self.data_dir(n));
        command.arg("-H").arg(format!("unix://{}", self.socket(n).display()));
        command.env("HOME", self.dir.path().join(format!("home{n}")));
        let host = |socket: &PathBuf| format!("unix://{}", socket.display());
        command.envs(self.engine.as_ref().map(|socket| ("DOCKER_HOST", host(socket))));
        if let Some(chosen) = std::env::var_os("SKEP_LOG") {
            command.env("SKEP_LOG", chosen);
        }
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log);
        let daemon = command.spawn().expect("nsenter of util-linux runs");
        self.daemons.insert(n, daemon);
    }

    /// Home of the daemon of host `n`.
    #[must_use]
    pub fn home_of(&self, n: usize) -> PathBuf {
        self.dir.path().join(format!("home{n}"))
    }

    /// Data of the daemon of host `n`.
    #[must_use]
    pub fn data_dir(&self, n: usize) -> PathBuf {
        self.dir.path().join(format!("n{n}"))
    }

    /// Deletes what the daemon of host `n` knew.
    pub fn wipe(&self, n: usize) {
        std::fs::remove_dir_all(self.data_dir(n)).expect("it is ours");
    }

    /// Everything that the daemon of host `n` has said.
    #[must_use]
    pub fn log_of(&self, n: usize) -> String {
        std::fs::read_to_string(self.log(n)).unwrap_or_default()
    }

    /// Waits until the daemon of host `n` ends by itself, with a failure; what it said.
    pub fn until_ended(&mut self, n: usize, limit: Duration) -> String {
        let mut daemon = self.daemons.remove(&n).expect("it runs");
        let began = Instant::now();
        loop {
            if let Some(status) = daemon.try_wait().expect("it is ours") {
                assert!(!status.success(), "daemon {n} ended as if all were well");
                return self.log_of(n);
            }
            if limit < began.elapsed() {
                self.daemons.insert(n, daemon);
                unreachable!("daemon {n} did not end within {limit:?}");
            }
            pause(LOOK);
        }
    }

    /// Hosts whose daemon runs.
    #[must_use]
    pub fn hosts(&self) -> Vec<usize> {
        self.daemons.keys().copied().collect()
    }

    /// SIGKILL, as a power cut would.
    pub fn kill(&mut self, n: usize) {
        let mut daemon = self.daemons.remove(&n).expect("it runs");
        daemon.kill().expect("it is ours");
        daemon.wait().expect("it is ours");
    }

    /// Sends a signal to the daemon of host `n`.
    pub fn signal(&self, n: usize, signal: Signal) {
        let daemon = self.daemons.get(&n).expect("it runs");
        let pid = i32::try_from(daemon.id()).ok().and_then(Pid::from_raw).expect("a process");
        kill_process(pid, signal).expect("it is ours");
    }

    /// Asks the daemon of host `n`.
    ///
    /// # Errors
    ///
    /// Why there was no answer.
    pub fn ask(&self, n: usize, method: &str, path: &str, body: &Value) -> Result<Answer, String> {
        let said = |error: std::io::Error| format!("node {n}, {method} {path}: {error}");
        let mut socket = UnixStream::connect(self.socket(n)).map_err(said)?;
        socket.set_read_timeout(Some(ANSWER_MAX)).map_err(said)?;
        let (status, body) = http(&mut socket, method, path, body).map_err(said)?;
        Ok(Answer { status, body: serde_json::from_str(&body).unwrap_or(Value::Null) })
    }

    /// Reads from the daemon of host `n`.
    ///
    /// # Errors
    ///
    /// Why there was no good answer.
    pub fn get(&self, n: usize, path: &str) -> Result<Value, String> {
        let answer = self.ask(n, "GET", path, &Value::Null)?;
        match answer.status {
            200 => Ok(answer.body),
            status => Err(format!("node {n}, GET {path}: {status} {}", answer.body)),
        }
    }

    /// Creates a service of so many replicas through host `n`.
    ///
    /// # Errors
    ///
    /// Why it was not acknowledged.
    pub fn create(
        &self,
        n: usize,
        name: &str,
        replicas: u64,
        port: Option<u16>,
    ) -> Result<(), String> {
        let ports: Vec<_> = port
            .into_iter()
            .map(|port| json!({ "Protocol": "tcp", "TargetPort": 80, "PublishedPort": port }))
            .collect();
        let spec = json!({
            "Name": name,
            "TaskTemplate": { "ContainerSpec": { "Image": "skep/demo" } },
            "Mode": { "Replicated": { "Replicas": replicas } },
            "EndpointSpec": { "Ports": ports },
        });
        let answer = self.ask(n, "POST", "/services/create", &spec)?;
        match answer.status {
            200 | 201 => Ok(()),
            status => Err(format!("node {n}, create {name}: {status} {}", answer.body)),
        }
    }

    /// Writes something through host `n`: a service without tasks, whose name it returns.
    ///
    /// # Errors
    ///
    /// Why it was not acknowledged.
    pub fn write(&mut self, n: usize) -> Result<String, String> {
        self.n_writes += 1;
        let name = format!("written{}", self.n_writes);
        self.create(n, &name, 0, None).map(|()| name)
    }

    /// What node `n` knows.
    ///
    /// # Errors
    ///
    /// Why there was no answer.
    pub fn status(&self, n: usize) -> Result<Value, String> {
        self.get(n, "/skep/status")
    }

    /// The id that host `n` has in the cluster.
    #[must_use]
    pub fn id(&self, n: usize) -> String {
        let report = self.status(n).expect("it answers");
        report["Node"]["ID"].as_str().expect("an id").to_owned()
    }

    /// All tasks, as node `n` shows them.
    ///
    /// # Errors
    ///
    /// Why there was no answer.
    pub fn tasks(&self, n: usize) -> Result<Vec<Value>, String> {
        Ok(self.get(n, "/tasks")?.as_array().cloned().unwrap_or_default())
    }

    /// Names of all services, as node `n` shows them.
    ///
    /// # Errors
    ///
    /// Why there was no answer.
    pub fn services(&self, n: usize) -> Result<BTreeSet<String>, String> {
        let services = self.get(n, "/services")?;
        let name = |service: &Value| service["Spec"]["Name"].as_str().map(str::to_owned);
        Ok(services.as_array().into_iter().flatten().filter_map(name).collect())
    }

    /// State (`ready`, `down`) of each node by its id, as node `n` shows them.
    ///
    /// # Errors
    ///
    /// Why there was no answer.
    pub fn states(&self, n: usize) -> Result<BTreeMap<String, String>, String> {
        let nodes = self.get(n, "/nodes")?;
        let state = |node: &Value| {
            let state = node["Status"]["State"].as_str()?.to_owned();
            Some((node["ID"].as_str()?.to_owned(), state))
        };
        Ok(nodes.as_array().into_iter().flatten().filter_map(state).collect())
    }

    /// Looks until `look` finds what it looks for.
    ///
    /// # Panics
    ///
    /// If that takes too long, with the last reason; or if a daemon ended by itself.
    pub fn until<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut look: impl FnMut(&mut Self) -> Result<T, String>,
    ) -> T {
        let began = Instant::now();
        loop {
            let why = match look(self) {
                Ok(found) => return found,
                Err(why) => why,
            };
            for (n, daemon) in &mut self.daemons {
                let ended = daemon.try_wait().expect("it is ours");
                assert!(ended.is_none(), "{what}: daemon {n} ended by itself: {ended:?}");
            }
            assert!(began.elapsed() < limit, "{what}: not within {limit:?}: {why}");
            pause(LOOK);
        }
    }

    /// Starts all hosts, the seeds last, and waits until all are ready under three voters.
    pub fn form(&mut self, n_hosts: usize) {
        (1..=n_hosts).rev().for_each(|n| self.start(n));
        // Five times the 10 s that a cluster may take.
        self.until("the cluster forms", Duration::from_secs(50), |lab| {
            let n_voters = voters(&lab.status(1)?).len();
            let states = lab.states(1)?;
            let n_ready = states.values().filter(|state| *state == "ready").count();
            let whole = n_voters == 3.min(n_hosts) && n_ready == n_hosts;
            whole.then_some(()).ok_or_else(|| format!("{n_voters} voters, {n_ready} ready"))
        });
    }

    /// Waits until exactly so many tasks run and are to run; ids of their nodes, one for each.
    pub fn until_running(&mut self, n: usize, n_wanted: usize, limit: Duration) -> Vec<String> {
        self.until(&format!("{n_wanted} tasks run"), limit, |lab| {
            let tasks = lab.tasks(n)?;
            let wanted = tasks.iter().filter(|task| runs(task) && is_wanted(task));
            let nodes: Vec<_> = wanted.filter_map(|task| task["NodeID"].as_str()).collect();
            let found = nodes.iter().map(|id| (*id).to_owned()).collect();
            (nodes.len() == n_wanted).then_some(found).ok_or_else(|| brief(&tasks))
        })
    }

    /// Which host leads, as one of the `witnesses` says.
    ///
    /// # Errors
    ///
    /// Nobody of them knows.
    pub fn leader(&self, witnesses: &[usize]) -> Result<usize, String> {
        let mut why = "nobody was asked".to_owned();
        for n in witnesses {
            let report = match self.status(*n) {
                Ok(report) => report,
                Err(error) => {
                    why = error;
                    continue;
                }
            };
            // What it heard before it lost sight of the leader does not count.
            let leader = report["Raft"]["Leader"].as_str();
            let leader = leader.filter(|_| report["Raft"]["StaleSeconds"].is_null());
            match leader.and_then(|id| host_of(&report, id)) {
                Some(host) => return Ok(host),
                None => why = format!("node {n} knows no leader"),
            }
        }
        Err(why)
    }

    /// Removes every service of a lab with containers, so that no container outlives it.
    fn remove_services(&self) {
        let Some(n) = self.daemons.keys().next().copied() else { return };
        for name in self.services(n).unwrap_or_default() {
            let _ = self.ask(n, "DELETE", &format!("/services/{name}"), &Value::Null); // At best.
        }
        let deadline = Instant::now() + STOP_MAX;
        while Instant::now() < deadline && self.tasks(n).is_ok_and(|tasks| !tasks.is_empty()) {
            pause(LOOK);
        }
    }

    #[expect(clippy::print_stderr, reason = "a failed test shows why")]
    fn show_logs(&self) {
        let kept = std::env::temp_dir().join(format!("skep-live-{}", std::process::id()));
        let _ = std::fs::create_dir_all(&kept); // Copying fails then, which loses nothing.
        for n in 1..=self.network.n_hosts() {
            let Ok(log) = std::fs::read_to_string(self.log(n)) else { continue };
            let _ = std::fs::write(kept.join(format!("n{n}.log")), &log);
            let skipped = log.lines().count().saturating_sub(TAIL_LINES);
            eprintln!("--- the end of the log of node {n}");
            log.lines().skip(skipped).for_each(|line| eprintln!("{line}"));
        }
        eprintln!("--- whole logs are in {}", kept.display());
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.show_logs();
        }
        if self.kind != Kind::Seeded {
            self.remove_services();
        }
        for daemon in self.daemons.values_mut() {
            let _ = daemon.kill(); // It may have ended by itself.
            let _ = daemon.wait();
        }
    }
}

/// The shipped binary: `SKEP_BINARY`, or what cargo builds now, once, from this tree.
///
/// # Panics
///
/// If there is none and none can be built.
#[must_use]
pub fn binary() -> PathBuf {
    if let Some(given) = std::env::var_os("SKEP_BINARY") {
        let given = PathBuf::from(given);
        assert!(given.is_file(), "SKEP_BINARY: there is no {}", given.display());
        return given;
    }
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(build).clone()
}

/// `cargo build --release --bin skep`; nothing to do where that is fresh.
fn build() -> PathBuf {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What cargo tells this program about itself would make the inner cargo build some crates
    // again: their build scripts look at it.
    let own = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_", "CARGO_BIN_", "CARGO_PRIMARY_"];
    for (name, _) in std::env::vars_os() {
        if own.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let built = command.args(["build", "--release", "--bin", "skep"]).current_dir(root).status();
    assert!(
        built.is_ok_and(|status| status.success()),
        "`cargo build --release --bin skep` failed"
    );
    // <target>/<profile>/deps/live-<hash>
    let own = std::env::current_exe().expect("this program");
    let target = own.ancestors().nth(3).unwrap_or(&own);
    target.join("release").join("skep")
}

/// What answers at `/` of an address, from where the calling thread is.
///
/// # Errors
///
/// Why nothing did.
pub fn curl(to: Ipv4Addr, port: u16) -> Result<String, String> {
    let said = |error: std::io::Error| format!("{to}:{port}: {error}");
    let to = SocketAddr::from((to, port));
    let mut socket = TcpStream::connect_timeout(&to, ANSWER_MAX).map_err(said)?;
    socket.set_read_timeout(Some(ANSWER_MAX)).map_err(said)?;
    match http(&mut socket, "GET", "/", &Value::Null).map_err(said)? {
        (200, body) if !body.trim().is_empty() => Ok(body),
        (status, body) => Err(format!("{to}: {status} {body}")),
    }
}

/// HTTP/1.0: one question, one answer, and the end of the stream is its end.
fn http(
    socket: &mut (impl Read + Write),
    method: &str,
    path: &str,
    body: &Value,
) -> std::io::Result<(u16, String)> {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    write!(
        socket,
        "{method} {path} HTTP/1.0\r\nHost: skep\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let parts = answer.split_once("\r\n\r\n");
    let status = answer.split_whitespace().nth(1).and_then(|status| status.parse().ok());
    match (status, parts) {
        (Some(status), Some((_, body))) => Ok((status, body.to_owned())),
        _ => Err(std::io::Error::other("the answer is not HTTP")),
    }
}

/// Ids of the voters that a status shows.
#[must_use]
pub fn voters(report: &Value) -> BTreeSet<String> {
    let voters = report["Raft"]["Voters"].as_object();
    voters.into_iter().flatten().filter_map(|(_, id)| id.as_str()).map(str::to_owned).collect()
}

/// Which host a node is on, by the last number of its address.
#[must_use]
pub fn host_of(report: &Value, id: &str) -> Option<usize> {
    let members = report["Members"].as_array()?;
    let member = members.iter().find(|member| member["ID"] == id)?;
    member["Address"].as_str()?.split(':').next()?.rsplit('.').next()?.parse().ok()
}

/// Whether a task was last seen running.
#[must_use]
pub fn runs(task: &Value) -> bool {
    task["Status"]["State"] == "running"
}

/// Whether a task is to run.
#[must_use]
pub fn is_wanted(task: &Value) -> bool {
    task["DesiredState"] == "running"
}

/// Tasks in few words, for a reason.
#[must_use]
pub fn brief(tasks: &[Value]) -> String {
    let one = |task: &Value| {
        let [wanted, state, node, id] =
            [&task["DesiredState"], &task["Status"]["State"], &task["NodeID"], &task["ID"]]
                .map(|value| value.as_str().unwrap_or("-").chars().take(10).collect::<String>());
        format!("{id} on {node}: {state}, wanted {wanted}")
    };
    tasks.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// Whether a process exists and is no zombie.
#[must_use]
pub fn lives(pid: i64) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

/// Lets real time go on.
#[expect(clippy::disallowed_methods, reason = "a test thread without a runtime waits like this")]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}
