//! One host and what a person does at it: type a line, read what it says.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tests::live::{binary, pause};
use tests::live_net::Network;

/// Longest wait for a word; the slowest line here takes a second.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// An account that this machine does not have.
const USER: &str = "54321";

/// What a line said when it had ended.
#[derive(Debug)]
pub(crate) struct Said {
    /// Exit code; `None` if it had to be stopped.
    pub(crate) code: Option<i32>,
    /// Both outputs.
    pub(crate) text: String,
}

/// A host with loopback addresses, a directory, and the daemons that were started there.
pub(crate) struct Desk {
    pub(crate) network: Network,
    binary: PathBuf,
    dir: TempDir,
    daemons: Vec<(u8, Child)>,
    preload: Option<PathBuf>,
}

impl Desk {
    /// An empty desk with a key, `k`.
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("skb").tempdir_in("/tmp").unwrap();
        let desk = Self {
            network: Network::new(1),
            binary: binary(),
            dir,
            daemons: Vec::new(),
            preload: None,
        };
        desk.says("key new --out k", 0, "Wrote k");
        desk
    }

    /// A file here.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A library that every daemon started from now on is loaded with.
    pub(crate) fn preload(&mut self, library: Option<PathBuf>) {
        self.preload = library;
    }

    /// A program on this host, in this directory.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = self.network.command(1, program);
        command.current_dir(self.dir.path()).stdin(Stdio::null());
        command
    }

    /// `skep LINE`.
    pub(crate) fn skep(&self, line: &str) -> Said {
        let mut command = self.command(&self.binary);
        command.args(words(line));
        self.hear(command)
    }

    /// `skep -H (socket of node n) LINE`.
    pub(crate) fn ask(&self, n: u8, line: &str) -> Said {
        let mut command = self.command(&self.binary);
        command.args(["-H".to_owned(), self.host(n)]).args(words(line));
        self.hear(command)
    }

    /// `skep LINE` of an ordinary user with a home and, if wanted, a runtime directory.
    pub(crate) fn as_user(&self, line: &str, with_runtime_dir: bool) -> Command {
        // The binary may be where that user cannot look.
        let copy = self.path("skep");
        if !copy.exists() {
            std::fs::copy(&self.binary, &copy).unwrap();
            std::fs::set_permissions(self.dir.path(), open_to_all()).unwrap();
            for name in ["home", "home/run"] {
                std::fs::create_dir(self.path(name)).unwrap();
            }
            std::fs::copy(self.path("k"), self.path("home/k")).unwrap();
            let owner = format!("{USER}:{USER}");
            let owned = Command::new("chown").args(["-R", &owner]).arg(self.path("home")).status();
            assert!(owned.unwrap().success(), "root may give files away");
        }
        let mut command = self.command(Path::new("setpriv"));
        command.args(["--reuid", USER, "--regid", USER, "--clear-groups", "--inh-caps=-all"]);
        command.arg(&copy).args(words(line)).env("HOME", self.path("home"));
        if with_runtime_dir {
            command.env("XDG_RUNTIME_DIR", self.path("home/run"));
        }
        command.current_dir(self.path("home"));
        command
    }

    /// Runs a command to its end and hears what it says; stops it when patience is over.
    pub(crate) fn hear(&self, mut command: Command) -> Said {
        let words = tempfile::tempfile().unwrap();
        command.stdout(words.try_clone().unwrap()).stderr(words.try_clone().unwrap());
        let mut child = command.spawn().unwrap();
        let began = Instant::now();
        let code = loop {
            if let Some(ended) = child.try_wait().unwrap() {
                break ended.code();
            }
            if PATIENCE <= began.elapsed() {
                child.kill().unwrap();
                child.wait().unwrap();
                break None;
            }
            pause(LOOK);
        };
        Said { code, text: read(words) }
    }

    /// A line must end with this code and say this.
    #[track_caller]
    pub(crate) fn says(&self, line: &str, code: i32, words: &str) -> String {
        heard(line, self.skep(line), code, words)
    }

    /// The same, asked of node `n`.
    #[track_caller]
    pub(crate) fn answers(&self, n: u8, line: &str, code: i32, words: &str) -> String {
        heard(line, self.ask(n, line), code, words)
    }

    /// The arguments that make node `n` of this host what it is.
    pub(crate) fn place(&self, n: u8) -> String {
        format!("--advertise 127.0.0.{n} --data-dir n{n} -H {}", self.host(n))
    }

    fn host(&self, n: u8) -> String {
        format!("unix://{}", self.path(&format!("n{n}.sock")).display())
    }

    /// Starts `skep up LINE` as node `n` and lets it run.
    pub(crate) fn up(&mut self, n: u8, line: &str) {
        let mut command = self.command(&self.binary);
        command.arg("up").args(words(line)).args(words(&self.place(n)));
        if let Some(library) = &self.preload {
            command.env("LD_PRELOAD", library);
        }
        self.start(n, command);
    }

    /// Starts a command that is node `n` and lets it run.
    pub(crate) fn start(&mut self, n: u8, mut command: Command) {
        let log = File::options().create(true).append(true).open(self.log(n)).unwrap();
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.daemons.push((n, command.spawn().unwrap()));
    }

    fn log(&self, n: u8) -> PathBuf {
        self.path(&format!("n{n}.log"))
    }

    /// What node `n` has said so far.
    pub(crate) fn words_of(&self, n: u8) -> String {
        std::fs::read_to_string(self.log(n)).unwrap_or_default()
    }

    /// Waits until node `n` ends by itself; its exit code.
    pub(crate) fn ended(&mut self, n: u8) -> Option<i32> {
        let place = self.daemons.iter().position(|(of, _)| *of == n).unwrap();
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if let Some(ended) = self.daemons[place].1.try_wait().unwrap() {
                self.daemons.remove(place);
                return ended.code();
            }
            pause(LOOK);
        }
        panic!("node {n} still runs:\n{}", self.words_of(n));
    }

    /// Tells node `n` to stop and waits for it.
    pub(crate) fn stop(&mut self, n: u8) {
        let (_, daemon) = self.daemons.iter().find(|(of, _)| *of == n).unwrap();
        let pid = Pid::from_raw(i32::try_from(daemon.id()).unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        assert_eq!(self.ended(n), Some(0), "{}", self.words_of(n));
    }

    /// Every daemon that was started must still run.
    #[track_caller]
    pub(crate) fn all_live(&mut self) {
        for place in 0..self.daemons.len() {
            let (n, daemon) = &mut self.daemons[place];
            let (n, ended) = (*n, daemon.try_wait().unwrap());
            assert!(ended.is_none(), "node {n} ended with {ended:?}:\n{}", self.words_of(n));
        }
    }

    /// Asks node `n` until it ends well and says all of this.
    #[track_caller]
    pub(crate) fn until(&mut self, n: u8, line: &str, words: &[&str]) -> String {
        let began = Instant::now();
        loop {
            let said = self.ask(n, line);
            if said.code == Some(0) && words.iter().all(|words| said.text.contains(words)) {
                return said.text;
            }
            self.all_live();
            assert!(began.elapsed() < PATIENCE, "no {words:?} from `skep {line}`: {said:?}");
            pause(LOOK);
        }
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        for (_, daemon) in &mut self.daemons {
            let _ = daemon.kill(); // It may have ended by itself.
            let _ = daemon.wait();
        }
    }
}

#[track_caller]
fn heard(line: &str, said: Said, code: i32, words: &str) -> String {
    let right = said.code == Some(code) && said.text.contains(words);
    assert!(right, "`skep {line}`: not {code} and {words:?} but {said:?}");
    said.text
}

/// Words of a line; `''` is an empty one.
fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().map(|word| if word == "''" { "" } else { word }).collect()
}

fn read(mut file: File) -> String {
    use std::io::{Read as _, Seek as _};
    let mut text = String::new();
    file.rewind().unwrap();
    file.read_to_string(&mut text).unwrap();
    text
}

fn open_to_all() -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o755)
}
