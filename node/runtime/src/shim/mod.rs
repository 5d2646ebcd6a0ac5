//! The supervisor of one task: `skep shim DIR`, a small process with one thread.
//!
//! It makes the container, keeps its output, remembers how it ended, and outlives the
//! daemon; the next daemon finds it by its directory. If it is killed, its container
//! dies with it.
//!
//! The daemon starts it with a pipe as standard output and waits for one line: `ok`,
//! or why not; secrets and configs come through standard input. After that they speak over a socket, in lines:
//!
//! ```text
//!   ping        pong
//!   start       ok | error <text>
//!   signal N    ok | error <text>
//! ```
//!
//! The connection closes when the shim has written how the task ended.

mod container;
pub(crate) mod log;
pub(crate) mod memory;
mod process;
pub(crate) mod request;
pub(crate) mod rootfs;
mod seccomp;
mod spec;
mod supervise;
pub(crate) mod sys;
mod user;

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rustix::fs::FlockOperation;

use self::request::{Request, ShimState, TaskDir, Workload};
use self::supervise::{Child, Made, Supervisor};
use crate::fs as files;
use crate::pid::{ProcessName, boot_id};

/// Why a task could not be made.
#[derive(Debug)]
pub(crate) enum ShimError {
    /// The spec or the image is to blame.
    Spec(String),
    /// The node is to blame.
    Node(String),
}

impl ShimError {
    fn node(step: &str, error: impl Into<io::Error>) -> Self {
        Self::Node(format!("{step}: {}", error.into()))
    }

    /// The line that the daemon reads.
    fn line(&self) -> String {
        let (blame, text) = match self {
            Self::Spec(text) => ("spec", text),
            Self::Node(text) => ("node", text),
        };
        format!("{blame} {}\n", text.replace('\n', " "))
    }
}

/// An error with all its causes, because libcontainer hides the interesting one.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// Runs the shim. To be called before the program has any thread; `args` is what
/// follows the word `shim` on the command line.
pub fn shim_main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut args = args.into_iter();
    let (Some(dir), None) = (args.next(), args.next()) else {
        let _ = io::stderr().write_all(b"usage: shim DIR (started by the daemon only)\n");
        return ExitCode::from(2);
    };
    match detach() {
        // The one that the daemon waits for.
        Ok(Detached::Parent) => return ExitCode::SUCCESS,
        Ok(Detached::Shim) => {}
        Err(error) => {
            let _ = io::stderr().write_all(format!("cannot detach: {error}\n").as_bytes());
            return ExitCode::FAILURE;
        }
    }
    match run(&TaskDir(PathBuf::from(dir))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

enum Detached {
    Parent,
    Shim,
}

/// A session of our own and no parent that would have to wait for us.
fn detach() -> io::Result<Detached> {
    if sys::fork()?.is_some() {
        return Ok(Detached::Parent);
    }
    rustix::process::setsid()?;
    if sys::fork()?.is_some() {
        sys::exit_now(0);
    }
    sys::ignore_signals();
    Ok(Detached::Shim)
}

/// Makes the task, says so, and stays until it has ended.
fn run(dir: &TaskDir) -> Result<(), ShimError> {
    let redirected = take_pipes(dir).map_err(|error| ShimError::node("redirecting", error));
    let (input, mut ready) = redirected?;
    let made = make(dir, input);
    let line = made.as_ref().map_or_else(ShimError::line, |_| "ok\n".to_owned());
    // A daemon that is gone by now finds us by our directory.
    let _ = ready.write_all(line.as_bytes());
    drop(ready);
    let mut supervisor = made?;
    supervisor.run().map_err(|error| ShimError::node("supervising", error))
}

/// Keeps the pipe of contents and that of readiness, and sends our own words to a file.
fn take_pipes(dir: &TaskDir) -> io::Result<(File, File)> {
    let input = File::from(rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3)?);
    let ready = File::from(rustix::io::fcntl_dupfd_cloexec(io::stdout(), 3)?);
    let log = OpenOptions::new().create(true).append(true).open(dir.shim_log())?;
    sys::redirect(&File::open("/dev/null")?, 0)?;
    sys::redirect(&log, 1)?;
    sys::redirect(&log, 2)?;
    Ok((input, ready))
}

fn make(dir: &TaskDir, input: File) -> Result<Supervisor, ShimError> {
    let node = |step: &'static str| move |error: io::Error| ShimError::node(step, error);
    std::env::set_current_dir(dir.path()).map_err(node("entering the task's directory"))?;
    let lock = File::create(dir.lock()).map_err(node("opening the lock"))?;
    rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)
        .map_err(|error| ShimError::node("another shim has this task", error))?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(|error| ShimError::node("becoming a subreaper", error))?;
    let request: Option<Request> =
        files::read_json(&dir.request()).map_err(node("reading the request"))?;
    let Some(request) = request else {
        return Err(ShimError::Node("there is no request".to_owned()));
    };
    let (stdout, stdout_writer) = container::output_pipe().map_err(node("making a pipe"))?;
    let (stderr, stderr_writer) = container::output_pipe().map_err(node("making a pipe"))?;
    let child = match &request.workload {
        Workload::Container(container) => {
            let contents = memory::receive(input, container.files.len());
            let contents = contents.map_err(node("reading secrets and configs"))?;
            let outputs = [stdout_writer, stderr_writer];
            let made = container::create(container, dir.path(), contents, outputs)?;
            Child::Container { group: container.cgroup.clone(), created: Box::new(made) }
        }
        Workload::Process(process) => {
            let held = process::Held::create(process, stdout_writer, stderr_writer)
                .map_err(node("starting the process"))?;
            Child::Process(held)
        }
    };
    let state = remember(dir, &child).map_err(node("writing the state"))?;
    let control = listen(&request.control).map_err(node("opening the control socket"))?;
    let outputs: [OwnedFd; 2] = [stdout, stderr];
    let made = Made { dir: dir.clone(), request, state, child, lock };
    Supervisor::new(made, control, outputs).map_err(node("preparing to supervise"))
}

fn remember(dir: &TaskDir, child: &Child) -> io::Result<ShimState> {
    let state = ShimState {
        boot_id: boot_id()?,
        shim: ProcessName::of(std::process::id().cast_signed())?,
        init: ProcessName::of(child.pid())?,
        created_at: files::now(),
        started_at: None,
    };
    files::write_json(&dir.state(), &state)?;
    Ok(state)
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    files::remove_file(path)?;
    let listener = UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}
