//! A process of the node without isolation, held back until it is started.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use super::request::ProcessRequest;
use super::sys;

/// A child of ours that waits for one byte before it becomes the program.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) pid: i32,
    release: Option<io::PipeWriter>,
}

impl Held {
    pub(crate) fn create(
        request: &ProcessRequest,
        stdout: OwnedFd,
        stderr: OwnedFd,
    ) -> io::Result<Self> {
        let (mut gate, release) = io::pipe()?;
        let mut command = Command::new(&request.program);
        command.args(&request.args).env_clear().envs(request.env.iter().cloned());
        command.current_dir("/").stdin(Stdio::null()).stdout(stdout).stderr(stderr);
        command.process_group(0);
        let own = std::process::id();
        if let Some(pid) = sys::fork()? {
            return Ok(Self { pid, release: Some(release) });
        }
        drop(release);
        // Nothing may outlive the shim; and if it is gone already, nobody sent it.
        let bound = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
        let parent = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get());
        let orphan = parent != Some(own.cast_signed());
        let released = gate.read_exact(&mut [0]);
        if bound.is_err() || orphan || released.is_err() {
            sys::exit_now(125);
        }
        sys::default_signals();
        let error = command.exec();
        let text = format!("cannot execute {}: {error}\n", request.program.display());
        let _ = io::stderr().write_all(text.as_bytes());
        sys::exit_now(127);
    }

    /// Lets it become the program.
    pub(crate) fn start(&mut self) -> io::Result<()> {
        match self.release.take() {
            Some(mut release) => release.write_all(&[1]),
            None => Ok(()),
        }
    }
}
