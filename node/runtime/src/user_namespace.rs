//! Running without root: a user namespace around the whole daemon.
//!
//! In it the user is root: of mounts, networks and processes that are made in it. It
//! exists as long as a process is in it, and containers live in it, so a later daemon
//! of the same user enters the namespaces of a shim that is still alive instead of
//! making new ones; only so can it see and stop what runs.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};
use thiserror::Error;

use crate::pid::boot_id;
use crate::shim::request::{ShimState, TaskDir};
use crate::{fs as files, shim::sys};

/// Whether the program runs as root of the machine or of a user namespace.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Root {
    /// Root of the machine.
    Machine,
    /// Root of a user namespace: pass `rootless: true` to the runtime.
    UserNamespace,
}

/// Why no user namespace could be entered.
#[derive(Debug, Error)]
pub enum UserNamespaceError {
    /// The kernel or its configuration does not allow them to this user.
    #[error("this machine does not let an ordinary user make containers: {cure}")]
    Forbidden {
        /// What to do about it, with the commands.
        cure: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Something else failed.
    #[error("{step}")]
    Io {
        /// What was being done.
        step: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

/// Makes an ordinary user root of a user namespace; does nothing for root.
///
/// To be called at the start of the program, before it has a second thread: the kernel
/// refuses it later. `data_dir` is the runtime's, where shims of an earlier daemon are
/// found.
///
/// # Errors
///
/// [`UserNamespaceError`]; the program may then go on with the process runtime.
pub fn enter_user_namespace_if_needed(data_dir: &Path) -> Result<Root, UserNamespaceError> {
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    if uid.is_root() {
        let inside = is_inside_user_namespace();
        return Ok(if inside { Root::UserNamespace } else { Root::Machine });
    }
    for shim in living_shims(data_dir) {
        // A shim that ends meanwhile is no reason to fail: the next one, or a new namespace.
        if enter(shim).is_ok() {
            forget_mounts(data_dir);
            return Ok(Root::UserNamespace);
        }
    }
    let forbidden = |source| UserNamespaceError::Forbidden { cure: cure(), source };
    let step = |step| move |source| UserNamespaceError::Io { step, source };
    sys::unshare(UnshareFlags::NEWUSER).map_err(forbidden)?;
    // Required before a group can be mapped without privilege.
    fs::write("/proc/self/setgroups", "deny").map_err(forbidden)?;
    let (uid, gid) = (uid.as_raw(), gid.as_raw());
    fs::write("/proc/self/uid_map", format!("0 {uid} 1")).map_err(forbidden)?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1")).map_err(forbidden)?;
    sys::unshare(UnshareFlags::NEWNS).map_err(forbidden)?;
    let flags = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    mount_change("/", flags).map_err(io::Error::from).map_err(step("making mounts private"))?;
    // Without these there are no limits, which the runtime finds out and says.
    if sys::unshare(UnshareFlags::NEWCGROUP).is_ok() {
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        let _ = mount("cgroup2", "/sys/fs/cgroup", "cgroup2", flags, None);
    }
    Ok(Root::UserNamespace)
}

/// Root whose numbers are not all of the machine's numbers.
fn is_inside_user_namespace() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let all = map.split_ascii_whitespace().eq(["0", "0", "4294967295"]);
    !map.is_empty() && !all
}

fn living_shims(data_dir: &Path) -> Vec<i32> {
    let boot_id = boot_id().unwrap_or_default();
    let entries = fs::read_dir(data_dir.join("tasks")).into_iter().flatten().flatten();
    let states = entries.filter_map(|entry| {
        files::read_json::<ShimState>(&TaskDir(entry.path()).state()).ok().flatten()
    });
    let living = states.filter(|state| state.boot_id == boot_id && state.shim.is_alive());
    living.map(|state| state.shim.pid).collect()
}

/// Enters the namespaces that the first daemon made: a shim's user and group namespace
/// are that daemon's. Its mounts are its own copy, so new ones are made from them.
fn enter(shim: i32) -> io::Result<()> {
    let open = |name: &str| File::open(format!("/proc/{shim}/ns/{name}"));
    let (user, mounts, groups) = (open("user")?, open("mnt")?, open("cgroup")?);
    move_into_link_name_space(user.as_fd(), Some(LinkNameSpaceType::User))?;
    let groups = move_into_link_name_space(groups.as_fd(), Some(LinkNameSpaceType::ControlGroup));
    let root = move_into_link_name_space(mounts.as_fd(), Some(LinkNameSpaceType::Mount));
    // The user namespace cannot be left any more: half a move is still a move.
    groups.and(root)?;
    sys::unshare(UnshareFlags::NEWNS)
}

/// The shim's copy of the mounts has its container's root; ours would keep it busy.
fn forget_mounts(data_dir: &Path) {
    let data_dir = data_dir.canonicalize().unwrap_or_else(|_| data_dir.to_owned());
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    for target in table.lines().filter_map(|line| line.split(' ').nth(4)) {
        if Path::new(target).starts_with(&data_dir) {
            // What stays is only in the way of removing that one directory.
            let _ = rustix::mount::unmount(target, rustix::mount::UnmountFlags::DETACH);
        }
    }
}

/// The sentence that helps: which switch of which distribution forbids it.
fn cure() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    if read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1" {
        return "run `sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`, or run skep \
                as root, or use `--runtime process` (demo image only, no isolation)"
            .to_owned();
    }
    if read("/proc/sys/kernel/unprivileged_userns_clone") == "0" {
        return "run `sudo sysctl -w kernel.unprivileged_userns_clone=1`, or run skep as root, or \
                use `--runtime process` (demo image only, no isolation)"
            .to_owned();
    }
    if read("/proc/sys/user/max_user_namespaces") == "0" {
        return "run `sudo sysctl -w user.max_user_namespaces=15000`, or run skep as root, or use \
                `--runtime process` (demo image only, no isolation)"
            .to_owned();
    }
    "user namespaces are unavailable (in a container of Docker its seccomp profile forbids \
     them); run skep as root, or use `--runtime process` (demo image only, no isolation)"
        .to_owned()
}
