//! A Docker Engine of our own, which can be killed and started under its containers; and the
//! `docker` CLI on any engine.
//!
//! The tests of `node/runtime` take this file in as well.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// The engine of this machine.
pub const SOCKET: &str = "/var/run/docker.sock";
/// An engine starts in a second, on a busy machine in ten.
const START_MAX: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// Whether an engine answers on this machine. If none does, that is said, and is a failure where
/// `SKEP_REQUIRE` names `docker`.
///
/// # Panics
///
/// If it is required and not there.
#[must_use]
pub fn engine_is_there() -> bool {
    if docker(Path::new(SOCKET)).arg("version").output().is_ok_and(|said| said.status.success()) {
        return true;
    }
    let required = std::env::var("SKEP_REQUIRE").unwrap_or_default();
    let required = required.split(',').any(|word| word.trim() == "docker");
    assert!(!required, "SKEP_REQUIRE names docker, and `docker version` fails");
    // Not by a macro, whose output the test runner keeps to itself when a test passes.
    let mut stderr = std::io::stderr();
    let _ = writeln!(stderr, "SKIPPED: no Docker Engine answers"); // Nobody reads it then.
    false
}

/// The `docker` CLI on an engine: what another user of it sees.
#[must_use]
pub fn docker(socket: &Path) -> Command {
    let mut command = Command::new("docker");
    command.arg("-H").arg(format!("unix://{}", socket.display()));
    // Not the login of whoever runs the tests.
    command.env("DOCKER_CONFIG", "/nonexistent").stdin(Stdio::null());
    command
}

/// A dockerd with all of its own, in a network namespace of its own, without a bridge.
#[derive(Debug)]
pub struct Engine {
    dir: TempDir,
    live_restore: bool,
    process: Option<Child>,
}

impl Engine {
    /// Starts one.
    ///
    /// # Panics
    ///
    /// If it does not answer.
    #[must_use]
    pub fn start(live_restore: bool) -> Self {
        // Short: the path of a socket has 107 bytes at most.
        let dir = tempfile::Builder::new().prefix("ske").tempdir_in("/tmp").expect("a directory");
        let mut engine = Self { dir, live_restore, process: None };
        engine.up();
        engine
    }

    /// Where it listens.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("docker.sock")
    }

    /// Starts it on what it left.
    ///
    /// # Panics
    ///
    /// If it does not answer.
    pub fn up(&mut self) {
        let root = self.dir.path();
        let log = File::options().create(true).append(true).open(root.join("log")).expect("a log");
        // A configuration of its own: that of the machine is another engine's.
        std::fs::write(root.join("daemon.json"), "{}").expect("it is written");
        let mut command = Command::new("unshare");
        command.args([
            "--net",
            "--",
            "sh",
            "-c",
            "ip link set lo up; exec \"$@\"",
            "sh",
            "dockerd",
        ]);
        command.args(["--bridge", "none", "--iptables=false", "--storage-driver", "vfs"]);
        command.arg("--config-file").arg(root.join("daemon.json"));
        command.arg("--data-root").arg(root.join("data"));
        command.arg("--exec-root").arg(root.join("exec"));
        command.arg("--pidfile").arg(root.join("pid"));
        command.arg("-H").arg(format!("unix://{}", self.socket().display()));
        if self.live_restore {
            command.arg("--live-restore");
        }
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log);
        self.process = Some(command.spawn().expect("unshare of util-linux runs"));
        let began = Instant::now();
        let answers = || docker(&self.socket()).arg("version").output();
        while !answers().is_ok_and(|said| said.status.success()) {
            let log = || std::fs::read_to_string(root.join("log")).unwrap_or_default();
            assert!(began.elapsed() < START_MAX, "dockerd does not answer:\n{}", log());
            wait(LOOK);
        }
    }

    /// Sends a signal to dockerd, and waits for its end.
    ///
    /// # Panics
    ///
    /// If it does not run.
    pub fn end(&mut self, signal: Signal) {
        let mut process = self.process.take().expect("it runs");
        let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw).expect("a process");
        kill_process(pid, signal).expect("it is ours");
        process.wait().expect("it is ours");
        self.await_containerd();
    }

    /// dockerd takes its containerd along, a moment later. The next one must not take the dying
    /// one for a living one, nor a dead one that nobody has buried.
    fn await_containerd(&self) {
        let file = self.dir.path().join("exec/containerd/containerd.pid");
        let Ok(pid) = std::fs::read_to_string(&file) else { return };
        let stat = format!("/proc/{}/stat", pid.trim());
        let began = Instant::now();
        while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
            assert!(began.elapsed() < START_MAX, "containerd lives on");
            wait(LOOK);
        }
        let _ = std::fs::remove_file(file); // A dockerd that ended well has removed it.
    }

    /// What outlives dockerd: shims of containers, and mounts.
    fn sweep(&self) {
        let root = self.dir.path().display().to_string();
        let deadline = Instant::now() + START_MAX;
        while Instant::now() < deadline && 0 < kill_all(&root) {
            wait(LOOK);
        }
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mut mounts: Vec<&str> = mounts
            .lines()
            .filter_map(|line| line.split(' ').nth(4))
            .filter(|path| path.starts_with(&root))
            .collect();
        mounts.reverse();
        for path in mounts {
            let _ = Command::new("umount").args(["-l", path]).output(); // Its parent took it along.
        }
    }
}

/// Kills what has this directory in its command line, by number; how many there were.
fn kill_all(root: &str) -> usize {
    let mut n_found = 0;
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        let is_ours = line.contains("containerd") && line.contains(root);
        let pid = entry.file_name().to_string_lossy().parse().ok().and_then(Pid::from_raw);
        if let Some(pid) = pid.filter(|_| is_ours) {
            n_found += 1;
            let _ = kill_process(pid, Signal::KILL); // It may have ended by itself.
        }
    }
    n_found
}

impl Drop for Engine {
    fn drop(&mut self) {
        if self.process.is_some() {
            let ids = docker(&self.socket()).args(["ps", "-aq"]).output();
            let ids = ids.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
            for id in ids.unwrap_or_default().split_whitespace() {
                let _ = docker(&self.socket()).args(["rm", "-f", id]).output(); // At best.
            }
            self.end(Signal::TERM);
        }
        self.sweep();
    }
}

#[expect(clippy::disallowed_methods, reason = "a test thread has nothing better to do meanwhile")]
fn wait(time: Duration) {
    std::thread::sleep(time);
}
