//! Six daemons on 127.0.0.1 to 127.0.0.6, and how to speak to them.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::machine::Runtime;
use crate::narrator::{Narrator, Waiting};

pub(crate) const N_NODES: usize = 6;
pub(crate) const N_SEEDS: usize = 3;
pub(crate) const CONTROL_PORT: u16 = 7964;
pub(crate) const PUBLISHED_PORT: u16 = 8080;

/// A daemon that was told to stop has so long.
const STOP_MAX: Duration = Duration::from_secs(15);

/// One answer of a daemon.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// The address of node `n`, from 1.
pub(crate) fn address(n: usize) -> String {
    format!("127.0.0.{n}")
}

/// The daemons and their directory; both go away with it.
pub(crate) struct Cluster {
    binary: PathBuf,
    dir: PathBuf,
    runtime: Runtime,
    daemons: Vec<Option<Child>>,
}

impl Cluster {
    pub(crate) fn new(binary: &Path, runtime: Runtime) -> Result<Self> {
        // Short: the path of a socket has 107 bytes at most.
        let base = std::env::var_os("XDG_RUNTIME_DIR").map_or_else(|| "/tmp".into(), PathBuf::from);
        let dir = base.join(format!("skep-quickstart-{}", std::process::id()));
        std::fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let daemons = (0..=N_NODES).map(|_| None).collect();
        Ok(Self { binary: binary.to_owned(), dir, runtime, daemons })
    }

    pub(crate) fn key_file(&self) -> PathBuf {
        self.dir.join("cluster.key")
    }

    pub(crate) fn log(&self, n: usize) -> PathBuf {
        self.dir.join(format!("node{n}.log"))
    }

    fn socket(&self, n: usize) -> PathBuf {
        self.dir.join(format!("node{n}.sock"))
    }

    /// Starts node `n`; the same line on every machine but for its address.
    pub(crate) fn start(&mut self, narrator: &Narrator, n: usize) -> Result<()> {
        let mut arguments = vec!["up".to_owned(), "--key-file".to_owned()];
        arguments.push(self.key_file().display().to_string());
        for seed in 1..=N_SEEDS {
            arguments.extend(["--seed".to_owned(), address(seed)]);
        }
        arguments.extend(["--advertise".to_owned(), address(n)]);
        let data = self.dir.join(format!("node{n}"));
        arguments.extend(["--data-dir".to_owned(), data.display().to_string()]);
        arguments.extend(["-H".to_owned(), format!("unix://{}", self.socket(n).display())]);
        let runtime = match self.runtime {
            Runtime::Embedded => "embedded",
            Runtime::Process => "process",
        };
        arguments.extend(["--runtime".to_owned(), runtime.to_owned()]);
        narrator.command(&format!("{} {} &", self.binary.display(), arguments.join(" ")));
        let log = File::options().create(true).append(true).open(self.log(n))?;
        let daemon = Command::new(&self.binary)
            .args(&arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start the daemon")?;
        self.daemons[n] = Some(daemon);
        Ok(())
    }

    /// SIGKILL, as a power cut would.
    pub(crate) fn kill(&mut self, narrator: &Narrator, n: usize) -> Result<()> {
        let mut daemon = self.daemons[n].take().context("it does not run")?;
        narrator.command(&format!("kill -KILL {}", daemon.id()));
        daemon.kill()?;
        daemon.wait()?;
        Ok(())
    }

    /// Runs `skep` against node `n` and shows both the line and what it printed.
    pub(crate) fn skep(&self, narrator: &Narrator, n: usize, line: &str) -> Result<()> {
        let host = format!("unix://{}", self.socket(n).display());
        narrator.command(&format!("skep -H {host} {line}"));
        let output = Command::new(&self.binary)
            .args(["-H", &host])
            .args(line.split_whitespace())
            .stdin(Stdio::null())
            .output()
            .context("cannot run skep")?;
        narrator.output(&String::from_utf8_lossy(&output.stdout));
        narrator.output(&String::from_utf8_lossy(&output.stderr));
        if !output.status.success() {
            bail!("`skep {line}` ended with {}", output.status);
        }
        Ok(())
    }

    /// Asks the API of node `n`, as any HTTP client would.
    pub(crate) fn get(&self, n: usize, path: &str) -> Result<Value> {
        let mut socket = UnixStream::connect(self.socket(n))?;
        socket.set_read_timeout(Some(ANSWER_MAX))?;
        let answer = http(&mut socket, path)?;
        serde_json::from_str(&answer).with_context(|| format!("node {n} answered {answer}"))
    }

    /// What answers on the published port of node `n`.
    pub(crate) fn curl(n: usize) -> Result<String> {
        let address: SocketAddr = format!("{}:{PUBLISHED_PORT}", address(n)).parse()?;
        let mut socket = TcpStream::connect_timeout(&address, ANSWER_MAX)?;
        socket.set_read_timeout(Some(ANSWER_MAX))?;
        let answer = http(&mut socket, "/")?;
        if answer.trim().is_empty() {
            bail!("an empty answer");
        }
        Ok(answer.trim().to_owned())
    }

    /// Looks until `look` finds what it looks for, or fails with the last reason.
    pub(crate) fn wait<T>(
        &mut self,
        waiting: &Waiting,
        limit: Duration,
        mut look: impl FnMut(&Self) -> Result<Result<T, String>>,
    ) -> Result<T> {
        let began = Instant::now();
        loop {
            let why = match look(self) {
                Ok(Ok(found)) => return Ok(found),
                Ok(Err(why)) => why,
                Err(error) => format!("{error:#}"),
            };
            waiting.set(&why);
            self.all_alive()?;
            if limit <= began.elapsed() {
                bail!("not within {limit:?}: {why}; logs are in {}", self.keep_logs().display());
            }
            pause(LOOK);
        }
    }

    fn all_alive(&mut self) -> Result<()> {
        for n in 1..=N_NODES {
            let Some(daemon) = &mut self.daemons[n] else { continue };
            if let Some(status) = daemon.try_wait()? {
                let log = std::fs::read_to_string(self.log(n)).unwrap_or_default();
                let tail: Vec<&str> = log.lines().rev().take(5).collect();
                bail!("daemon {n} ended with {status}:\n{}", tail.join("\n"));
            }
        }
        Ok(())
    }

    /// Copies the logs to where they outlive the directory.
    fn keep_logs(&self) -> PathBuf {
        let kept =
            std::env::temp_dir().join(format!("skep-quickstart-logs-{}", std::process::id()));
        let copied = std::fs::create_dir_all(&kept);
        for n in 1..=N_NODES {
            if copied.is_ok() {
                // A log that is missing says nothing.
                let _ = std::fs::copy(self.log(n), kept.join(format!("node{n}.log")));
            }
        }
        kept
    }

    /// Ends every daemon and removes what is left.
    pub(crate) fn stop(&mut self) {
        for daemon in self.daemons.iter().flatten() {
            let pid = i32::try_from(daemon.id()).ok().and_then(Pid::from_raw);
            if let Some(pid) = pid {
                let _ = kill_process(pid, Signal::TERM); // It may have ended by itself.
            }
        }
        let deadline = Instant::now() + STOP_MAX;
        for daemon in self.daemons.iter_mut().filter_map(Option::take) {
            end(daemon, deadline);
        }
        // A directory that cannot be removed is in the way of nobody.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop();
    }
}

fn end(mut daemon: Child, deadline: Instant) {
    while Instant::now() < deadline {
        if !matches!(daemon.try_wait(), Ok(None)) {
            return;
        }
        pause(LOOK);
    }
    let _ = daemon.kill(); // It had its time.
    let _ = daemon.wait();
}

#[expect(clippy::disallowed_methods, reason = "a program without a runtime waits like this")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// HTTP/1.0: one question, one answer, and the end of the stream is its end.
fn http(socket: &mut (impl Read + Write), path: &str) -> Result<String> {
    write!(socket, "GET {path} HTTP/1.0\r\nHost: skep\r\n\r\n")?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").context("not an HTTP answer")?;
    let status = head.split_whitespace().nth(1).unwrap_or_default();
    if status != "200" {
        bail!("HTTP status {status}: {}", body.trim());
    }
    Ok(body.to_owned())
}
