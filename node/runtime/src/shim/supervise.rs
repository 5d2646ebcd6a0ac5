//! The shim's loop: one thread that waits for output, commands, signals and the end.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, WaitOptions, WaitStatus, pidfd_open, waitpid};

use super::log::{LineSplitter, LogWriter};
use super::request::{Request, ShimState, TaskDir, Workload};
use super::{container, process, sys};
use crate::fs as files;
use crate::{Exit, LogLine, LogStream, cgroup};

/// Connections at the same time: the daemon has one that waits and a few that ask.
const CLIENTS_MAX: usize = 32;
/// Bytes of one command: the longest is `signal 64`.
const COMMAND_BYTES_MAX: usize = 256;
/// After the end the pipes are read for so long: a process that the task left behind
/// may hold them open for ever.
const DRAIN_TIME_MAX: Duration = Duration::from_millis(500);
/// Bytes read from one pipe before the other things get their turn.
const READ_BYTES: usize = 64 * 1024;

/// What is supervised.
pub(crate) enum Child {
    Container { group: Option<String>, created: Box<container::Created> },
    Process(process::Held),
}

impl Child {
    pub(crate) fn pid(&self) -> i32 {
        match self {
            Self::Container { created, .. } => created.pid,
            Self::Process(held) => held.pid,
        }
    }

    fn start(&mut self) -> Result<(), String> {
        match self {
            Self::Container { created, .. } => created.start(),
            Self::Process(held) => held.start().map_err(|error| error.to_string()),
        }
    }
}

/// A task that was made, with all that is known of it.
pub(crate) struct Made {
    pub(crate) dir: TaskDir,
    pub(crate) request: Request,
    pub(crate) state: ShimState,
    pub(crate) child: Child,
    /// Held as long as we live: that is how others know that we do.
    pub(crate) lock: File,
}

struct Output {
    pipe: Option<File>,
    stream: LogStream,
    splitter: LineSplitter,
}

struct Client {
    stream: UnixStream,
    received: Vec<u8>,
}

/// What the loop woke up for.
enum Wake {
    Output(usize),
    Connection,
    Client(usize),
    Signal,
    Ended,
    Timeout,
}

pub(crate) struct Supervisor {
    dir: TaskDir,
    request: Request,
    state: ShimState,
    child: Child,
    pidfd: OwnedFd,
    control: UnixListener,
    signals: OwnedFd,
    outputs: [Output; 2],
    clients: Vec<Client>,
    log: LogWriter,
    /// When SIGKILL follows because we ourselves were asked to end.
    kill_at: Option<Instant>,
    _lock: File,
}

impl Supervisor {
    pub(crate) fn new(
        made: Made,
        control: UnixListener,
        outputs: [OwnedFd; 2],
    ) -> io::Result<Self> {
        let Made { dir, request, state, child, lock } = made;
        let pid = Pid::from_raw(child.pid()).ok_or_else(|| io::Error::other("no process"))?;
        let [stdout, stderr] = outputs;
        let output = |pipe: OwnedFd, stream| Output {
            pipe: Some(File::from(pipe)),
            stream,
            splitter: LineSplitter::default(),
        };
        Ok(Self {
            pidfd: pidfd_open(pid, PidfdFlags::empty())?,
            signals: sys::signal_fd()?,
            outputs: [output(stdout, LogStream::Stdout), output(stderr, LogStream::Stderr)],
            log: LogWriter::new(dir.log(), request.logs),
            clients: Vec::new(),
            kill_at: None,
            dir,
            request,
            state,
            child,
            control,
            _lock: lock,
        })
    }

    /// Until the task has ended and its end is on the disk.
    pub(crate) fn run(&mut self) -> io::Result<()> {
        loop {
            let wakes = self.wait(self.kill_at)?;
            let mut ended = false;
            for wake in wakes {
                match wake {
                    Wake::Output(index) => self.read_output(index),
                    Wake::Connection => self.accept(),
                    Wake::Client(index) => self.serve(index),
                    Wake::Signal => self.asked_to_end()?,
                    Wake::Ended => ended = true,
                    Wake::Timeout => self.kill(),
                }
            }
            self.clients.retain(|client| client.received.len() <= COMMAND_BYTES_MAX);
            if ended {
                return self.finish();
            }
        }
    }

    fn wait(&self, deadline: Option<Instant>) -> io::Result<Vec<Wake>> {
        let mut fds = Vec::new();
        let mut wakes = Vec::new();
        for (index, output) in self.outputs.iter().enumerate() {
            if let Some(pipe) = &output.pipe {
                fds.push(PollFd::new(pipe, PollFlags::IN));
                wakes.push(Wake::Output(index));
            }
        }
        if self.clients.len() < CLIENTS_MAX {
            fds.push(PollFd::new(&self.control, PollFlags::IN));
            wakes.push(Wake::Connection);
        }
        for (index, client) in self.clients.iter().enumerate() {
            fds.push(PollFd::new(&client.stream, PollFlags::IN));
            wakes.push(Wake::Client(index));
        }
        fds.push(PollFd::new(&self.signals, PollFlags::IN));
        wakes.push(Wake::Signal);
        fds.push(PollFd::new(&self.pidfd, PollFlags::IN));
        wakes.push(Wake::Ended);
        let timeout = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let timeout = timeout.and_then(|time| Timespec::try_from(time).ok());
        match poll(&mut fds, timeout.as_ref()) {
            Ok(0) => return Ok(vec![Wake::Timeout]),
            Err(rustix::io::Errno::INTR) => return Ok(Vec::new()),
            polled => polled?,
        };
        let ready = fds.iter().map(|fd| !fd.revents().is_empty());
        Ok(wakes.into_iter().zip(ready).filter_map(|(wake, ready)| ready.then_some(wake)).collect())
    }

    fn read_output(&mut self, index: usize) {
        let output = &mut self.outputs[index];
        let Some(pipe) = &mut output.pipe else { return };
        let mut buffer = vec![0; READ_BYTES];
        match pipe.read(&mut buffer) {
            Ok(0) => output.pipe = None,
            Ok(n_read) => {
                let (at, stream, log) = (files::now(), output.stream, &mut self.log);
                let write = |line| log.write(&LogLine { at, stream, line });
                output.splitter.push(&buffer[..n_read], write);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => output.pipe = None,
        }
    }

    fn accept(&mut self) {
        if let Ok((stream, _)) = self.control.accept()
            && stream.set_nonblocking(true).is_ok()
        {
            self.clients.push(Client { stream, received: Vec::new() });
        }
    }

    /// Reads commands of one client; marks it for removal by an overlong command.
    fn serve(&mut self, index: usize) {
        let mut buffer = [0; COMMAND_BYTES_MAX];
        let gone = vec![0; COMMAND_BYTES_MAX + 1];
        match self.clients[index].stream.read(&mut buffer) {
            Ok(0) => self.clients[index].received = gone,
            Ok(n_read) => self.clients[index].received.extend_from_slice(&buffer[..n_read]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.clients[index].received = gone,
        }
        while let Some(end) = self.clients[index].received.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.clients[index].received.drain(..=end).collect();
            let answer = self.command(String::from_utf8_lossy(&line).trim());
            // A client that does not read its answers does not get them.
            let _ = self.clients[index].stream.write_all(format!("{answer}\n").as_bytes());
        }
    }

    fn command(&mut self, command: &str) -> String {
        let answer = match command.split_once(' ').unwrap_or((command, "")) {
            ("ping", "") => return "pong".to_owned(),
            ("start", "") => self.start(),
            ("signal", number) => number
                .parse()
                .map_err(|_| format!("`{number}` is no signal"))
                .and_then(|number| self.signal(number)),
            _ => Err(format!("unknown command `{command}`")),
        };
        match answer {
            Ok(()) => "ok".to_owned(),
            Err(error) => format!("error {}", error.replace('\n', " ")),
        }
    }

    fn start(&mut self) -> Result<(), String> {
        if self.state.started_at.is_some() {
            return Ok(());
        }
        self.child.start()?;
        self.state.started_at = Some(files::now());
        files::write_json(&self.dir.state(), &self.state).map_err(|error| error.to_string())
    }

    fn signal(&self, number: i32) -> Result<(), String> {
        // What was never started has no program that could handle a signal.
        let number = if self.state.started_at.is_some() { number } else { libc::SIGKILL };
        sys::send_signal(&self.pidfd, number).map_err(|error| error.to_string())
    }

    /// The machine is shut down: the task gets its grace, and we do not hold it up longer.
    fn asked_to_end(&mut self) -> io::Result<()> {
        let mut information = [0; 1024];
        let _ = rustix::io::read(&self.signals, &mut information)?;
        if self.kill_at.is_none() {
            let _ = self.signal(self.request.stop_signal);
            let grace = Duration::from_millis(self.request.stop_grace_millis);
            self.kill_at = Some(Instant::now() + grace);
        }
        Ok(())
    }

    fn kill(&mut self) {
        let _ = sys::send_signal(&self.pidfd, libc::SIGKILL);
        self.kill_at = None;
    }

    fn finish(&mut self) -> io::Result<()> {
        let pid = Pid::from_raw(self.child.pid());
        let status = waitpid(pid, WaitOptions::empty())?.map(|(_, status)| status);
        self.drain()?;
        let mut exit = exit_of(status);
        if let Child::Container { group: Some(group), .. } = &self.child {
            // Only a container whose first process was killed ended by it: the kernel may
            // also have killed just one of its children.
            exit.oom = exit.signal == Some(libc::SIGKILL) && 0 < cgroup::oom_kills(group);
        }
        if self.state.started_at.is_none() {
            "ended before it was started".clone_into(&mut exit.error);
        }
        files::write_json(&self.dir.exit(), &exit)?;
        if let Workload::Container(request) = &self.request.workload {
            container::clean_up(request);
        }
        files::remove_file(&self.request.control)
    }

    fn drain(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + DRAIN_TIME_MAX;
        while self.outputs.iter().any(|output| output.pipe.is_some()) && Instant::now() < deadline {
            let mut fds: Vec<PollFd<'_>> = Vec::new();
            for output in &self.outputs {
                fds.extend(output.pipe.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).map_err(io::Error::other)?;
            poll(&mut fds, Some(&left))?;
            self.read_output(0);
            self.read_output(1);
        }
        for output in &mut self.outputs {
            if let Some(line) = output.splitter.finish() {
                self.log.write(&LogLine { at: files::now(), stream: output.stream, line });
            }
        }
        Ok(())
    }
}

fn exit_of(status: Option<WaitStatus>) -> Exit {
    let signal = status.and_then(WaitStatus::terminating_signal);
    let code = match signal {
        Some(signal) => 128 + i64::from(signal),
        None => status.and_then(WaitStatus::exit_status).map_or(-1, i64::from),
    };
    Exit { code, signal, oom: false, unhealthy: false, at: files::now(), error: String::new() }
}
