//! One container by libcontainer, inside the shim and nowhere else.
//!
//! libcontainer clones without exec, which a process with threads does not survive
//! (the child can wait for ever for a lock that another thread held), and it changes
//! state of the whole process. The shim has one thread and one container.

use std::collections::HashMap;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use crypto::SecretBytes;
use libcontainer::container::Container;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::oci_spec::runtime::Spec;
use libcontainer::syscall::syscall::SyscallType;
use libcontainer::workload::{
    Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError, default,
};
use rustix::process::{DumpableBehavior, Signal, WaitOptions};
use rustix::thread::UnshareFlags;
use seccompiler::BpfProgram;

use super::request::ContainerRequest;
use super::{ShimError, memory, rootfs, seccomp, spec, sys, user};
use crate::cgroup;

/// Libcontainer's own state, below the task's directory.
const STATE_DIR: &str = "container";
const CONTAINER_ID: &str = "task";

/// A container whose process waits to be started.
pub(crate) struct Created {
    container: Container,
    pub(crate) pid: i32,
}

/// Adds to the default executor what must happen inside, just before the program.
#[derive(Clone)]
struct Hardened {
    filters: [BpfProgram; 2],
}

impl Executor for Hardened {
    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        default::get_executor().validate(spec)
    }

    fn setup_envs(&self, envs: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        // After the user has changed, because that clears it: a container never outlives
        // its shim, so nothing runs that nobody watches.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .map_err(|error| ExecutorSetEnvsError::Other(error.to_string()))?;
        sys::default_signals();
        default::get_executor().setup_envs(envs)
    }

    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        for filter in &self.filters {
            seccompiler::apply_filter(filter)
                .map_err(|error| ExecutorError::Other(error.to_string()))?;
        }
        let failed = default::get_executor().exec(spec);
        if let Err(error) = &failed {
            // Standard error is the task's log by now.
            let args = spec.process().as_ref().and_then(|process| process.args().as_ref());
            let program = args.and_then(|args| args.first()).map_or("", String::as_str);
            let text = format!("cannot execute {program}: {}\n", super::chain(error));
            let _ = io::stderr().write_all(text.as_bytes());
        }
        failed
    }
}

/// Makes namespaces, root, specification and process.
pub(crate) fn create(
    request: &ContainerRequest,
    dir: &Path,
    contents: Vec<SecretBytes>,
    [stdout, stderr]: [OwnedFd; 2],
) -> Result<Created, ShimError> {
    rootfs::private_mounts().map_err(|error| ShimError::node("making a mount namespace", error))?;
    sys::unshare(UnshareFlags::NEWNET)
        .map_err(|error| ShimError::node("making a network namespace", error))?;
    sys::loopback_up().map_err(|error| ShimError::node("starting the loopback device", error))?;
    network_sysctls(request)?;
    // Before the first fork: no child has them in its memory.
    memory::place(dir, &request.files, contents)
        .map_err(|error| ShimError::node("placing secrets and configs", error))?;
    let root = rootfs::mount_root(dir, &request.lower_dirs, request.rootless)
        .map_err(|error| ShimError::node("mounting the root file system", error))?;
    let user = user::resolve(&root, &request.user, &request.groups).map_err(ShimError::Spec)?;
    if request.rootless && (user.uid != 0 || user.gid != 0) {
        let reason = "this node runs without root and has one user only: the container can run \
                      as root (which is you), not as another user";
        return Err(ShimError::Spec(reason.to_owned()));
    }
    let spec = spec::build(request, &user, dir, &root)
        .map_err(|error| ShimError::node("writing the specification", error))?;
    let bundle = dir.join("bundle");
    std::fs::create_dir_all(&bundle)
        .map_err(|error| ShimError::node("making the bundle", error))?;
    spec.save(bundle.join("config.json"))
        .map_err(|error| ShimError::node("writing the specification", io::Error::other(error)))?;
    let filters = seccomp::compile().map_err(ShimError::Node)?;
    let built = build(dir, &bundle, Hardened { filters }, stdout, stderr);
    // Libcontainer takes this away; a later daemon of the same user needs it to enter
    // our namespaces.
    let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable);
    if built.is_err() {
        kill_children();
        clean_up(request);
    }
    built
}

/// Parameters of our new network namespace; `/proc/sys/net` is that of the reader.
fn network_sysctls(request: &ContainerRequest) -> Result<(), ShimError> {
    for (name, value) in request.sysctls.iter().filter(|(name, _)| name.starts_with("net.")) {
        let path = Path::new("/proc/sys").join(name.replace('.', "/"));
        // A name with `..` would lead to a parameter of the node.
        let plain = path.components().all(|part| part != std::path::Component::ParentDir);
        let refused = Err(io::ErrorKind::InvalidInput.into());
        let written = if plain { std::fs::write(&path, value) } else { refused };
        if let Err(error) = written {
            return Err(ShimError::Spec(format!("sysctl {name}: {error}")));
        }
    }
    Ok(())
}

fn build(
    dir: &Path,
    bundle: &Path,
    executor: Hardened,
    stdout: OwnedFd,
    stderr: OwnedFd,
) -> Result<Created, ShimError> {
    let null = std::fs::File::open("/dev/null")
        .map_err(|error| ShimError::node("opening /dev/null", error))?;
    let state: PathBuf = dir.join(STATE_DIR);
    crate::fs::remove_dir(&state).map_err(|error| ShimError::node("removing old state", error))?;
    let classify = |error: libcontainer::error::LibcontainerError| {
        let text = super::chain(&error);
        // What the image or the spec names does not exist: trying again is in vain.
        let spec = ["not found in $PATH", "correct permissions", "failed to prepare rootfs"];
        if spec.iter().any(|known| text.contains(known)) {
            ShimError::Spec(text)
        } else {
            ShimError::Node(text)
        }
    };
    let builder = ContainerBuilder::new(CONTAINER_ID.to_owned(), SyscallType::default())
        .with_root_path(state)
        .map_err(classify)?
        .with_executor(executor)
        .with_stdin(OwnedFd::from(null))
        .with_stdout(stdout)
        .with_stderr(stderr);
    let init = builder.as_init(bundle).with_systemd(false).with_detach(true);
    let container = init.build().map_err(classify)?;
    let Some(pid) = container.pid() else {
        return Err(ShimError::Node("the container has no process".to_owned()));
    };
    Ok(Created { container, pid: pid.as_raw() })
}

impl Created {
    /// Lets the process go on to its program.
    pub(crate) fn start(&mut self) -> Result<(), String> {
        self.container.start().map_err(|error| super::chain(&error))
    }
}

/// A failed creation can leave a half-made process behind that holds our pipes.
fn kill_children() {
    let own = rustix::process::getpid();
    let tasks = format!("/proc/{0}/task/{0}/children", own.as_raw_nonzero());
    let children = std::fs::read_to_string(tasks).unwrap_or_default();
    for pid in children.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()) {
        if let Some(pid) = rustix::process::Pid::from_raw(pid) {
            // Our own unreaped child: its number cannot belong to anybody else.
            let _ = rustix::process::kill_process(pid, Signal::KILL);
            let _ = rustix::process::waitpid(Some(pid), WaitOptions::empty());
        }
    }
}

/// Removes what the container leaves on the node; its mounts go with our namespace.
pub(crate) fn clean_up(request: &ContainerRequest) {
    if let Some(group) = &request.cgroup {
        cgroup::remove(group);
    }
}

/// Pipes with reading ends that never block and writing ends for the task.
pub(crate) fn output_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(reader.as_fd(), true)?;
    Ok((reader, writer))
}
