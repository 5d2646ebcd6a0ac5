//! Whether there is a Docker Engine on this machine. Asked before any thread exists.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where Docker's own packages put it.
const DEFAULT: &str = "/var/run/docker.sock";
/// An engine that is up answers a ping in milliseconds.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// The socket of this machine's engine: as `DOCKER_HOST` says, unless that is ourselves, as it
/// is for a user who drives this cluster with the `docker` CLI.
///
/// # Errors
///
/// A sentence, if `DOCKER_HOST` is no unix socket.
pub fn docker_socket(docker_host: Option<&str>, own: &Path) -> Result<PathBuf, String> {
    let Some(host) = docker_host.filter(|host| !host.is_empty()) else {
        return Ok(PathBuf::from(DEFAULT));
    };
    match host.strip_prefix("unix://") {
        Some(path) if Path::new(path) == own => Ok(PathBuf::from(DEFAULT)),
        Some(path) => Ok(PathBuf::from(path)),
        None => Err(format!(
            "DOCKER_HOST is {host}: containers of this node run on this machine's engine, give \
             unix:///path or leave it out"
        )),
    }
}

/// Whether an engine answers there, or why not.
///
/// # Errors
///
/// A sentence.
pub fn docker_answers(socket: &Path) -> Result<(), String> {
    let said = |error: std::io::Error| format!("{}: {error}", socket.display());
    let mut stream = UnixStream::connect(socket).map_err(said)?;
    stream.set_read_timeout(Some(ANSWER_MAX)).map_err(said)?;
    stream.set_write_timeout(Some(ANSWER_MAX)).map_err(said)?;
    stream.write_all(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n").map_err(said)?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).map_err(said)?;
    let line = String::from_utf8_lossy(&answer);
    match line.split_once(' ') {
        Some((_, "200")) => Ok(()),
        _ => Err(format!("{} answered `{line}` to a ping", socket.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_the_users_choice_but_never_our_own() {
        let own = Path::new("/run/skep/skep.sock");
        for (host, expected) in [
            (None, Some("/var/run/docker.sock")),
            (Some(""), Some("/var/run/docker.sock")),
            (Some("unix:///run/user/1/docker.sock"), Some("/run/user/1/docker.sock")),
            (Some("unix:///run/skep/skep.sock"), Some("/var/run/docker.sock")),
            (Some("tcp://10.0.0.1:2376"), None),
        ] {
            let found = docker_socket(host, own);
            assert_eq!(found.ok().as_deref(), expected.map(Path::new), "{host:?}");
        }
    }

    #[test]
    fn nobody_there_is_no_engine() {
        let dir = tempfile::tempdir().unwrap();
        assert!(docker_answers(&dir.path().join("none.sock")).is_err());
    }
}
