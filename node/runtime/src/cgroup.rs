//! Control groups: what this node has, and how they are left behind clean.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const ROOT: &str = "/sys/fs/cgroup";
/// The kernel frees a group some time after its last process: seen up to 100 ms.
const REMOVE_TIMEOUT: Duration = Duration::from_secs(2);
const REMOVE_RETRY: Duration = Duration::from_millis(10);
/// Groups inside groups that are cleaned up: containers make a few levels at most.
const DEPTH_MAX: usize = 16;

/// Which limits have an effect on this node.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct CgroupSupport {
    pub(crate) memory: bool,
    pub(crate) swap: bool,
    pub(crate) cpu: bool,
    pub(crate) pids: bool,
}

impl CgroupSupport {
    pub(crate) const fn all_limits(&self) -> bool {
        self.memory && self.cpu && self.pids
    }

    /// What is missing, in a sentence for people.
    pub(crate) fn lacks(&self) -> Option<String> {
        let missing = [(self.memory, "memory"), (self.cpu, "CPU"), (self.pids, "processes")];
        let missing: Vec<&str> =
            missing.iter().filter(|(has, _)| !has).map(|(_, name)| *name).collect();
        (!missing.is_empty()).then(|| {
            format!(
                "no limits of {}: this node's cgroups do not offer them to skep, and limits in \
                 services have no effect here",
                missing.join(", ")
            )
        })
    }
}

/// Directories of a container's group, one for each hierarchy.
fn directories(group: &str) -> Vec<PathBuf> {
    let relative = group.trim_start_matches('/');
    hierarchies().into_iter().map(|root| root.join(relative)).collect()
}

fn is_unified() -> bool {
    Path::new(ROOT).join("cgroup.controllers").exists()
}

/// Where groups are made: the one of cgroup v2, or one for each controller of v1.
fn hierarchies() -> Vec<PathBuf> {
    if is_unified() {
        return vec![PathBuf::from(ROOT)];
    }
    let entries = fs::read_dir(ROOT).into_iter().flatten().flatten();
    let dirs = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    dirs.map(|entry| entry.path()).filter(|path| path.join("cgroup.procs").exists()).collect()
}

/// Whether there is any hierarchy: without one no container can be made.
pub(crate) fn is_mounted() -> bool {
    !hierarchies().is_empty()
}

/// Whether a group can be made anywhere: root's containers have one.
pub(crate) fn is_writable() -> bool {
    hierarchies().iter().any(|root| {
        let group = root.join("skep").join(format!("try-{}", std::process::id()));
        let made = fs::create_dir_all(&group).is_ok();
        let _ = fs::remove_dir(&group); // An empty group is in the way of nobody.
        made
    })
}

/// Finds out by making a group, since files alone do not tell what may be written.
pub(crate) fn probe(group: &str) -> CgroupSupport {
    let name = group.trim_start_matches('/');
    if is_unified() {
        return probe_unified(name);
    }
    let can = |controller: &str, file: &str| {
        let dir = Path::new(ROOT).join(controller).join(name);
        let made = fs::create_dir_all(&dir).is_ok();
        made && can_write(&dir.join(file))
    };
    let memory = can("memory", "memory.limit_in_bytes");
    let swap = memory && can("memory", "memory.memsw.limit_in_bytes");
    let (cpu, pids) = (can("cpu", "cpu.cfs_quota_us"), can("pids", "pids.max"));
    remove(group);
    CgroupSupport { memory, swap, cpu, pids }
}

fn probe_unified(name: &str) -> CgroupSupport {
    let root = Path::new(ROOT);
    let parent = root.join(name);
    let available = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
    if fs::create_dir_all(&parent).is_err() || !can_write(&parent.join("cgroup.procs")) {
        return CgroupSupport::default();
    }
    let has = |controller: &str| {
        let listed = available.split_ascii_whitespace().any(|word| word == controller);
        let control = |dir: &Path| dir.join("cgroup.subtree_control");
        // Already on is as good as switched on.
        let enable = |dir: &Path| {
            let _ = fs::write(control(dir), format!("+{controller}"));
            fs::read_to_string(control(dir)).is_ok_and(|on| on.contains(controller))
        };
        listed && enable(root)
    };
    let (memory, cpu, pids) = (has("memory"), has("cpu"), has("pids"));
    let swap = memory && parent.join("memory.swap.max").exists();
    remove(&format!("/{name}"));
    CgroupSupport { memory, swap, cpu, pids }
}

fn can_write(path: &Path) -> bool {
    fs::OpenOptions::new().write(true).open(path).is_ok()
}

/// How often the kernel killed a process of the group for using too much memory.
pub(crate) fn oom_kills(group: &str) -> u64 {
    let count = |path: PathBuf| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        line.and_then(|count| count.trim().parse::<u64>().ok()).unwrap_or(0)
    };
    let dirs = directories(group).into_iter();
    dirs.map(|dir| count(dir.join("memory.events")) + count(dir.join("memory.oom_control"))).sum()
}

/// Kills what is in a group and removes it with all groups below it.
pub(crate) fn remove(group: &str) {
    let deadline = Instant::now() + REMOVE_TIMEOUT;
    for dir in directories(group) {
        while dir.exists() && remove_dir(&dir, 0).is_err() && Instant::now() < deadline {
            kill_all(&dir, 0);
            pause(REMOVE_RETRY);
        }
    }
}

/// Groups directly below `parent`, in any hierarchy, by name.
pub(crate) fn children(parent: &str) -> Vec<String> {
    let dirs = directories(parent).into_iter();
    let entries = dirs.filter_map(|dir| fs::read_dir(dir).ok()).flatten().flatten();
    let dirs = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let mut names: Vec<String> =
        dirs.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names.dedup();
    names
}

fn remove_dir(dir: &Path, depth: usize) -> io::Result<()> {
    for child in subgroups(dir) {
        if depth < DEPTH_MAX {
            remove_dir(&child, depth + 1)?;
        }
    }
    match fs::remove_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn kill_all(dir: &Path, depth: usize) {
    let procs = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    for pid in procs.lines().filter_map(|line| line.parse::<i32>().ok()) {
        if let Some(pid) = rustix::process::Pid::from_raw(pid) {
            // It may be gone already. Nobody else's process is ever in our group.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
    if depth < DEPTH_MAX {
        subgroups(dir).iter().for_each(|child| kill_all(child, depth + 1));
    }
}

fn subgroups(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let dirs = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    dirs.map(|entry| entry.path()).collect()
}

/// Waits on a thread that may: the shim's, or one for file work.
pub(crate) fn pause(time: Duration) {
    let time = rustix::event::Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: time.subsec_nanos().into(),
    };
    // Woken early by a signal is as good.
    let _ = rustix::event::poll(&mut [], Some(&time));
}
