//! Secrets and configs of containers: in memory that we mount, bound into each container.
//!
//! ```text
//!   <run dir>/docker-files/<machine>/<task>     a tmpfs of its own, which only root enters
//!                                        /0 …   the files, in the order of the task
//! ```
//!
//! The engine is told paths, never contents. The mounts are the machine's and not our process's,
//! so they outlive the daemon as the containers do; they go with the container, and those whose
//! container went while nobody looked are swept. A running container does not need them any
//! more: it has the files themselves.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use model::TaskId;
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::geteuid;
use tokio::sync::RwLock;
use tracing::{info, warn};

use super::engine::Facts;
use crate::shim::memory::{mount_memory, write_file};
use crate::{RuntimeError, TaskContainer, TaskFile, file, fs as files};

/// The largest page that a machine has: a file takes whole ones.
const PAGE_BYTES_MAX: u64 = 64 << 10;

/// The files of all tasks.
#[derive(Debug)]
pub(crate) struct Placed {
    root: PathBuf,
    /// Held while a task has files but may have no container yet; alone by who sweeps.
    pub(crate) placing: RwLock<()>,
}

impl Placed {
    /// For one daemon: several may share a directory.
    pub(crate) fn new(run_dir: &Path, machine: &str) -> Self {
        let run_dir = std::path::absolute(run_dir).unwrap_or_else(|_| run_dir.to_owned());
        Self { root: run_dir.join("docker-files").join(machine), placing: RwLock::default() }
    }

    fn dir(&self, task: TaskId) -> PathBuf {
        self.root.join(task.to_string())
    }

    /// Where a file of a task is on this machine.
    pub(crate) fn path(&self, task: TaskId, number: usize) -> PathBuf {
        self.dir(task).join(number.to_string())
    }

    /// Puts the files of a task into memory. What is there already stays as it is.
    pub(crate) fn place(&self, task: TaskId, all: &[TaskFile]) -> Result<(), RuntimeError> {
        if all.is_empty() {
            return Ok(());
        }
        let dir = self.dir(task);
        self.mount(&dir, size(all)).map_err(|error| {
            let doing =
                "mounting memory for secrets and configs (skep must be root of the machine)";
            RuntimeError::io(format!("{doing} at {}", dir.display()), error)
        })?;
        for (number, file) in all.iter().enumerate() {
            write_once(&self.path(task, number), file).map_err(|error| {
                let TaskFile { kind, name, .. } = file;
                RuntimeError::io(format!("writing {kind} {name} below {}", dir.display()), error)
            })?;
        }
        Ok(())
    }

    fn mount(&self, dir: &Path, size_max: u64) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        if is_mounted(dir)? {
            return Ok(());
        }
        // Without the memory nothing is written: the directory may be on a disk.
        mount_memory(dir, Some(size_max)).inspect_err(|_| {
            let _ = fs::remove_dir(dir); // The error that matters is the first one.
        })
    }

    /// Forgets the files of a task; does nothing if there are none.
    pub(crate) fn remove(&self, task: TaskId) -> Result<(), RuntimeError> {
        let dir = self.dir(task);
        forget(&dir).map_err(|error| {
            RuntimeError::io(format!("removing secrets and configs at {}", dir.display()), error)
        })
    }

    /// Whether any task has some.
    pub(crate) fn are_there(&self) -> bool {
        fs::read_dir(&self.root).is_ok_and(|mut entries| entries.next().is_some())
    }

    /// Forgets what no container needs.
    pub(crate) fn sweep(&self, needed: &BTreeSet<TaskId>) {
        for entry in fs::read_dir(&self.root).into_iter().flatten().flatten() {
            let task = entry.file_name().to_str().and_then(|name| name.parse::<TaskId>().ok());
            let Some(task) = task.filter(|task| !needed.contains(task)) else { continue };
            match self.remove(task) {
                Ok(()) => info!(task.id = %task, "removed files of a task without a container"),
                Err(error) => warn!(task.id = %task, error = %error, "files of a task are left"),
            }
        }
    }

    /// What it means that the engine does not find a path of ours; `None` if it said another
    /// thing.
    pub(crate) fn unseen(&self, engine: &str, task: TaskId, said: &str) -> Option<RuntimeError> {
        const CAUSES: &[&str] = &["bind source path does not exist", "no such file or directory"];
        let root = self.root.display().to_string();
        if !said.contains(&root) || !CAUSES.iter().any(|cause| said.contains(cause)) {
            return None;
        }
        let reason = if is_mounted(&self.dir(task)).unwrap_or(false) {
            format!(
                "Docker Engine at {engine} does not see the secrets and configs that are mounted at \
                 {root}: run skep where dockerd runs, outside of containers and without a mount \
                 namespace of its own (PrivateMounts= and the like in systemd), or use --runtime \
                 embedded"
            )
        } else {
            "the secrets and configs of the task are gone from memory, as after a start of the \
             machine: only a new task gets them"
                .to_owned()
        };
        Some(RuntimeError::Node { reason })
    }
}

/// Why no task with secrets or configs can run here, if that is so.
pub(crate) fn lack(engine: &Facts) -> Option<String> {
    lack_of(engine, geteuid().is_root())
}

/// Refuses secrets and configs that could not be where and whose they should be.
pub(crate) fn check(task: &TaskContainer, engine: &Facts) -> Result<(), RuntimeError> {
    file::check(task, false)?;
    match lack(engine) {
        Some(reason) if !task.files.is_empty() => Err(RuntimeError::Spec { reason }),
        _ => Ok(()),
    }
}

fn lack_of(engine: &Facts, is_root: bool) -> Option<String> {
    let why = if !is_root {
        "skep must run as root to mount memory for them"
    } else if engine.rootless {
        "a rootless engine does not see what root mounts"
    } else if engine.remaps_users {
        "an engine with userns-remap cannot reach them, and their owners would be others"
    } else if engine.selinux {
        "an engine with SELinux lets containers read only what has its label, and they have none"
    } else {
        return None;
    };
    Some(format!("secrets and configs: {why}; --runtime embedded has them"))
}

/// Whether another file system begins here.
fn is_mounted(dir: &Path) -> io::Result<bool> {
    let above = dir.parent().ok_or(io::ErrorKind::InvalidInput)?;
    Ok(fs::metadata(dir)?.dev() != fs::metadata(above)?.dev())
}

/// Room for the files, each of them twice: one that a crash left half written may lie beside.
fn size(all: &[TaskFile]) -> u64 {
    let whole = |file: &TaskFile| (file.data.len() as u64).next_multiple_of(PAGE_BYTES_MAX);
    let content: u64 = all.iter().map(whole).sum();
    2 * content.max(PAGE_BYTES_MAX)
}

/// A file that has its name is whole, and what a task names never changes.
fn write_once(path: &Path, file: &TaskFile) -> io::Result<()> {
    if path.try_exists()? {
        return Ok(());
    }
    let unfinished = path.with_extension("new");
    files::remove_file(&unfinished)?;
    write_file(&unfinished, file.data.as_bytes(), (file.uid, file.gid), file.mode)?;
    fs::rename(unfinished, path)
}

fn forget(dir: &Path) -> io::Result<()> {
    if !dir.try_exists()? {
        return Ok(());
    }
    if is_mounted(dir)? {
        // Another mount namespace may have a copy of the mount, which would keep them.
        for entry in fs::read_dir(dir)? {
            files::remove_file(&entry?.path())?;
        }
        unmount(dir, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)?;
    }
    fs::remove_dir(dir)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crypto::SecretBytes;
    use model::SecretId;
    use model::service::{ContainerSpec, SecretReference};

    use super::*;
    use crate::FileKind;
    use crate::docker::plan;

    const TASK: TaskId = TaskId::from_bytes([1; 16]);

    #[test]
    fn a_node_says_why_it_has_no_secrets() {
        let plain = Facts::default;
        assert_eq!(lack_of(&plain(), true), None);
        for (engine, is_root, expected) in [
            (plain(), false, "as root"),
            (Facts { rootless: true, ..plain() }, true, "rootless"),
            (Facts { remaps_users: true, ..plain() }, true, "userns-remap"),
            (Facts { selinux: true, ..plain() }, true, "SELinux"),
        ] {
            let told = lack_of(&engine, is_root).unwrap();
            assert!(told.contains(expected), "{told}");
        }
    }

    #[test]
    fn what_was_not_sent_or_has_no_place_is_refused() {
        let secret = |target: &str| TaskFile {
            kind: FileKind::Secret,
            name: "s".into(),
            target: target.into(),
            uid: 7,
            gid: 7,
            mode: 0o400,
            data: Arc::new(SecretBytes::new(b"hunter2".to_vec())),
        };
        let id = SecretId::from_bytes([7; 16]);
        let secrets = vec![SecretReference { id, name: "s".into(), file: None }; 2];
        let spec = ContainerSpec { secrets, ..ContainerSpec::default() };
        let mut task = plan::tests::task(spec);
        let rootless = Facts { rootless: true, ..Facts::default() };
        for (files, engine, expected) in [
            (vec![secret("/a")], Facts::default(), "not sent"),
            (vec![secret("/a"), secret("/a")], Facts::default(), "is at /a already"),
            (vec![secret("/a"), secret("/b")], rootless, "secrets and configs: "),
        ] {
            task.files = files;
            let told = check(&task, &engine).unwrap_err().to_string();
            assert!(told.contains(expected) && !told.contains("hunter2"), "{told}");
        }
    }

    #[test]
    fn a_path_of_ours_that_the_engine_lacks_is_no_fault_of_the_spec() {
        let placed = Placed::new(Path::new("/run/skep"), "m");
        let said = |path: &str| {
            format!(
                "invalid mount config for type \"bind\": bind source path does not exist: {path}"
            )
        };
        let ours = said(&placed.path(TASK, 0).display().to_string());
        let error = placed.unseen("/s", TASK, &ours).unwrap();
        assert!(matches!(error, RuntimeError::Node { .. }), "{error:?}");
        assert!(placed.unseen("/s", TASK, &said("/srv/data")).is_none());
        let other = format!("permission denied: {}", placed.path(TASK, 0).display());
        assert!(placed.unseen("/s", TASK, &other).is_none());
    }

    #[test]
    fn where_nothing_is_there_is_nothing_to_forget() {
        let dir = tempfile::tempdir().unwrap();
        let placed = Placed::new(dir.path(), "m");
        placed.remove(TASK).unwrap();
        placed.sweep(&BTreeSet::new());
        fs::create_dir_all(placed.dir(TASK)).unwrap();
        assert!(!is_mounted(&placed.dir(TASK)).unwrap());
        placed.sweep(&[TASK].into());
        assert!(placed.dir(TASK).exists(), "a container needs it");
        placed.sweep(&BTreeSet::new());
        assert!(!placed.dir(TASK).exists());
    }
}
