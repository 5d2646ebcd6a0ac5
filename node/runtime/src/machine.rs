//! Whether this machine can hold containers at all, tried before anybody waits for one.

use std::fs;
use std::io;
use std::path::Path;

use rustix::thread::UnshareFlags;

use crate::cgroup;
use crate::shim::{rootfs, sys};

/// What else there is.
const ELSE: &str = "or use `--runtime process` (demo image only, no isolation)";

/// What containers need and this machine does not give, one line each, with its cure.
pub(crate) fn lacks(dir: &Path, rootless: bool) -> Vec<String> {
    let dir = dir.join("try");
    // Namespaces belong to a thread: what this one makes goes away with it.
    let tried = std::thread::scope(|scope| scope.spawn(|| attempt(&dir, rootless)).join());
    // What stays is empty, and the next start uses it again.
    let _ = crate::fs::remove_dir(&dir);
    tried.unwrap_or_default()
}

fn attempt(dir: &Path, rootless: bool) -> Vec<String> {
    if let Err(error) = rootfs::private_mounts() {
        return vec![namespace(&error, "mount", "CONFIG_NAMESPACES")];
    }
    let mut lacks = Vec::new();
    let kinds = [
        (UnshareFlags::NEWNET, "network", "CONFIG_NET_NS"),
        (UnshareFlags::NEWPID, "process", "CONFIG_PID_NS"),
        (UnshareFlags::NEWIPC, "IPC", "CONFIG_IPC_NS"),
        (UnshareFlags::NEWUTS, "host name", "CONFIG_UTS_NS"),
        (UnshareFlags::NEWCGROUP, "control group", "CONFIG_CGROUPS"),
    ];
    for (flag, kind, option) in kinds {
        if let Err(error) = sys::unshare(flag) {
            lacks.push(namespace(&error, kind, option));
        }
    }
    let mounted = fs::create_dir_all(dir).and_then(|()| rootfs::mount_root(dir, &[], rootless));
    if let Err(error) = mounted {
        lacks.push(overlay(&error, dir));
    }
    if !cgroup::is_mounted() {
        lacks.push(format!(
            "no control groups: run `mount -t cgroup2 none /sys/fs/cgroup` as root, {ELSE}"
        ));
    } else if !rootless && !cgroup::is_writable() {
        lacks.push(format!(
            "control groups cannot be written: run `mount -o remount,rw /sys/fs/cgroup` (in a \
             container of Docker `--privileged` makes them writable), {ELSE}"
        ));
    }
    lacks
}

fn namespace(error: &io::Error, kind: &str, option: &str) -> String {
    if error.kind() == io::ErrorKind::PermissionDenied {
        return format!(
            "no privilege to make a {kind} namespace: root lacks CAP_SYS_ADMIN here (in a \
             container of Docker `--privileged` gives it), {ELSE}"
        );
    }
    if error.kind() == io::ErrorKind::StorageFull {
        let name = match kind {
            "network" => "net",
            "process" => "pid",
            "mount" => "mnt",
            "IPC" => "ipc",
            "host name" => "uts",
            _ => "cgroup",
        };
        return format!(
            "no more {kind} namespaces: run `sudo sysctl -w user.max_{name}_namespaces=15000`, \
             {ELSE}"
        );
    }
    format!("no {kind} namespaces ({error}): the kernel needs {option}, {ELSE}")
}

fn overlay(error: &io::Error, dir: &Path) -> String {
    match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
        Some(rustix::io::Errno::NODEV) => {
            format!("no overlayfs in this kernel: run `sudo modprobe overlay`, {ELSE}")
        }
        Some(rustix::io::Errno::INVAL) => format!(
            "no overlayfs on the file system of {}: give a --data-dir on ext4 or xfs, {ELSE}",
            dir.parent().unwrap_or(dir).display()
        ),
        Some(rustix::io::Errno::PERM) => {
            format!("no privilege to mount overlayfs: run as root, or with Linux 5.11 on, {ELSE}")
        }
        _ => format!("overlayfs cannot be mounted in {} ({error}), {ELSE}", dir.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_lack_names_its_cure() {
        let error = |errno: rustix::io::Errno| io::Error::from(errno);
        let dir = Path::new("/var/lib/skep/runtime/try");
        for (line, expected) in [
            (namespace(&error(rustix::io::Errno::PERM), "mount", "X"), "CAP_SYS_ADMIN"),
            (namespace(&error(rustix::io::Errno::NOSPC), "network", "X"), "max_net_namespaces"),
            (namespace(&error(rustix::io::Errno::INVAL), "IPC", "CONFIG_IPC_NS"), "CONFIG_IPC_NS"),
            (overlay(&error(rustix::io::Errno::NODEV), dir), "modprobe overlay"),
            (overlay(&error(rustix::io::Errno::INVAL), dir), "--data-dir"),
            (overlay(&error(rustix::io::Errno::PERM), dir), "run as root"),
        ] {
            assert!(line.contains(expected) && line.contains("--runtime process"), "{line}");
            assert!(!line.contains('\n'), "{line}");
        }
    }

    #[test]
    fn what_is_tried_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let mounts = || fs::read_to_string("/proc/self/mountinfo").unwrap();
        let before = mounts();
        lacks(dir.path(), false);
        assert_eq!(mounts(), before);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
