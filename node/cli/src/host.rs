//! Which socket: `-H`, else the user's daemon, else the machine's.
//!
//! A user without `XDG_RUNTIME_DIR` has it in the data directory, as `skep up` does.

use std::path::{Path, PathBuf};

use crate::exit::Failure;

/// The daemon of the machine.
const SYSTEM: &str = "/run/skep/skep.sock";

/// The socket that a host names, or the first that exists.
pub(crate) fn socket(host: Option<&str>) -> Result<PathBuf, Failure> {
    let dir = |name| std::env::var_os(name).map(PathBuf::from);
    let data = || dir("XDG_DATA_HOME").or_else(|| Some(dir("HOME")?.join(".local/share")));
    choose(host, dir("XDG_RUNTIME_DIR").or_else(data).as_deref(), Path::exists)
}

fn choose(
    host: Option<&str>,
    users_dir: Option<&Path>,
    exists: impl Fn(&Path) -> bool,
) -> Result<PathBuf, Failure> {
    if let Some(host) = host.filter(|host| !host.is_empty()) {
        let path = host.strip_prefix("unix://").unwrap_or(host);
        if path.starts_with('/') {
            return Ok(PathBuf::from(path));
        }
        return Err(Failure::usage(format!(
            "{host}: a host is unix:// and an absolute path, as in unix://{SYSTEM}"
        )));
    }
    let user = users_dir.map(|dir| dir.join("skep/skep.sock")).filter(|path| exists(path));
    Ok(user.unwrap_or_else(|| PathBuf::from(SYSTEM)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_beats_the_users_daemon_and_that_the_machines() {
        let dir = Some(Path::new("/run/user/1"));
        for (host, dir, exists, socket) in [
            (Some("unix:///tmp/a.sock"), dir, true, Some("/tmp/a.sock")),
            (Some("/tmp/a.sock"), dir, true, Some("/tmp/a.sock")),
            (Some("tcp://a:1"), dir, true, None),
            (Some("unix://a.sock"), dir, true, None),
            (Some(""), dir, true, Some("/run/user/1/skep/skep.sock")),
            (None, dir, true, Some("/run/user/1/skep/skep.sock")),
            (None, dir, false, Some(SYSTEM)),
            (None, None, true, Some(SYSTEM)),
        ] {
            let chosen = choose(host, dir, |_| exists).ok();
            assert_eq!(chosen, socket.map(PathBuf::from), "{host:?}");
        }
    }
}
