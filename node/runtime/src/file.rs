//! Files that a task gets: its secrets and configs.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Component, Path};
use std::sync::Arc;

use crypto::SecretBytes;
use model::service::FileTarget;

use crate::{RuntimeError, TaskContainer};

/// Where secrets are that name no place of their own.
const SECRETS_DIR: &str = "/run/secrets";
/// What a file may allow: reading, writing and executing, never another identity.
const MODE_MAX: u32 = 0o777;

/// What a file is made of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FileKind {
    /// A secret: in memory only, never on a disk.
    Secret,
    /// A config: its content may be shown.
    Config,
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Secret => "secret",
            Self::Config => "config",
        })
    }
}

/// A file that a runtime puts into a container, read-only, from memory.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TaskFile {
    /// What it is made of.
    pub kind: FileKind,
    /// Name of the secret or config.
    pub name: String,
    /// Absolute path in the container, without `..`.
    pub target: String,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permissions.
    pub mode: u32,
    /// Its content.
    pub data: Arc<SecretBytes>,
}

impl TaskFile {
    /// Puts a file where a service's spec says.
    ///
    /// # Errors
    ///
    /// [`RuntimeError::Spec`] for a place, owner or mode that cannot be.
    pub fn new(
        kind: FileKind,
        name: &str,
        file: &FileTarget,
        data: Arc<SecretBytes>,
    ) -> Result<Self, RuntimeError> {
        let refuse =
            |reason: String| RuntimeError::Spec { reason: format!("{kind} {name}: {reason}") };
        let number = |what: &str, text: &str| match text {
            "" => Ok(0),
            text => text.parse().map_err(|_| refuse(format!("{what} `{text}` is no number"))),
        };
        if MODE_MAX < file.mode {
            let mode = file.mode;
            return Err(refuse(format!("mode {mode:o} has more than permissions")));
        }
        Ok(Self {
            kind,
            name: name.to_owned(),
            target: target(kind, &file.name)
                .ok_or_else(|| refuse(format!("invalid target `{}`", file.name)))?,
            uid: number("uid", &file.uid)?,
            gid: number("gid", &file.gid)?,
            mode: file.mode,
            data,
        })
    }
}

/// As Docker: absolute paths as they are, others below the place of their kind.
fn target(kind: FileKind, name: &str) -> Option<String> {
    let below = match kind {
        FileKind::Secret => Path::new(SECRETS_DIR),
        FileKind::Config => Path::new("/"),
    };
    let path = below.join(name);
    let plain =
        path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    let is_file = !name.is_empty() && !name.ends_with('/') && path.file_name().is_some();
    (plain && is_file).then(|| path.to_str().map(str::to_owned)).flatten()
}

/// Refuses files that could not be where and whose they should be.
pub(crate) fn check(task: &TaskContainer, rootless: bool) -> Result<(), RuntimeError> {
    let spec = &task.spec.container;
    let refuse = |reason: String| Err(RuntimeError::Spec { reason });
    let n_configs = spec.configs.iter().filter(|config| config.file.is_some()).count();
    if task.files.len() != spec.secrets.len() + n_configs {
        let reason = "a secret or config that the service names was not sent to this node";
        return refuse(reason.to_owned());
    }
    let mut targets = BTreeSet::new();
    for TaskFile { kind, name, target, uid, gid, .. } in &task.files {
        if rootless && (*uid, *gid) != (0, 0) {
            return refuse(format!(
                "{kind} {name} is to belong to {uid}:{gid}, but this node runs without root and \
                 has one user only: let it belong to 0:0 (which is you), or run skep as root"
            ));
        }
        let mounted = spec.mounts.iter().any(|mount| mount.target == *target);
        if !targets.insert(target) || mounted {
            return refuse(format!("{kind} {name}: something else is at {target} already"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_where_docker_puts_them_or_refused() {
        let file = |name: &str, uid: &str, mode: u32| FileTarget {
            name: name.to_owned(),
            uid: uid.to_owned(),
            gid: "7".to_owned(),
            mode,
        };
        for (kind, file, expected) in [
            (FileKind::Secret, file("s1", "0", 0o444), Ok(("/run/secrets/s1", 0))),
            (FileKind::Secret, file("a/b", "", 0o444), Ok(("/run/secrets/a/b", 0))),
            (FileKind::Secret, file("/etc/pw", "33", 0o400), Ok(("/etc/pw", 33))),
            (FileKind::Config, file("c1", "0", 0o444), Ok(("/c1", 0))),
            (FileKind::Config, file("/etc/c.conf", "0", 0o444), Ok(("/etc/c.conf", 0))),
            (FileKind::Config, file("", "0", 0o444), Err("config x: invalid target ``")),
            (FileKind::Config, file("/", "0", 0o444), Err("config x: invalid target `/`")),
            (FileKind::Config, file("a/", "0", 0o444), Err("config x: invalid target `a/`")),
            (FileKind::Secret, file("../a", "0", 0o444), Err("secret x: invalid target `../a`")),
            (FileKind::Secret, file("s", "www", 0o444), Err("secret x: uid `www` is no number")),
            (FileKind::Secret, file("s", "-1", 0o444), Err("secret x: uid `-1` is no number")),
            (
                FileKind::Secret,
                file("s", "0", 0o4444),
                Err("secret x: mode 4444 has more than permissions"),
            ),
        ] {
            let data = Arc::new(SecretBytes::new(b"hunter2".to_vec()));
            let made = TaskFile::new(kind, "x", &file, data);
            assert!(!format!("{made:?}").contains("hunter2"));
            match (made, expected) {
                (Ok(made), Ok((target, uid))) => {
                    assert_eq!((made.target.as_str(), made.uid, made.gid), (target, uid, 7));
                }
                (Err(error), Err(text)) => assert!(error.to_string().contains(text), "{error}"),
                (made, expected) => panic!("{made:?}, not {expected:?}"),
            }
        }
    }
}
