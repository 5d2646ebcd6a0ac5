//! The Engine at the other end of the socket: whether it answers, what it is, what it lacks.

use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bollard::errors::Error;
use bollard::models::{LocalNodeState, SystemInfo};
use bollard::{API_DEFAULT_VERSION, Docker as Client};
use tracing::warn;

use super::errors::{Said, away};
use crate::RuntimeError;

/// Until the Engine begins to answer: a start waits for the kernel, networks and storage.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// Docker Engine 20.10: nobody maintains older ones.
const API_MIN: ApiVersion = ApiVersion(1, 41);
/// Log drivers whose output the Engine can be asked for.
const READABLE: &[&str] = &["json-file", "local", "journald", ""];

/// A version of the Engine API.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct ApiVersion(pub(crate) u64, pub(crate) u64);

impl ApiVersion {
    /// The two numbers; nothing before an engine was met.
    pub(crate) fn short(self) -> Option<(u16, u16)> {
        let major = u16::try_from(self.0).ok().filter(|major| *major != 0)?;
        Some((major, u16::try_from(self.1).ok()?))
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// What an Engine says of itself.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Facts {
    pub(crate) version: String,
    /// What we speak with it.
    pub(crate) api: ApiVersion,
    pub(crate) limits: bool,
    pub(crate) rootless: bool,
    pub(crate) selinux: bool,
    pub(crate) live_restore: bool,
    pub(crate) log_driver: String,
    /// Whether it is a node of a Docker Swarm.
    pub(crate) in_swarm: bool,
}

impl Facts {
    fn of(info: &SystemInfo, api: ApiVersion) -> Self {
        let security = |name: &str| {
            let options = info.security_options.iter().flatten();
            options.flat_map(|option| option.split(',')).any(|part| part == format!("name={name}"))
        };
        let state = info.swarm.as_ref().and_then(|swarm| swarm.local_node_state);
        Self {
            version: info.server_version.clone().unwrap_or_default(),
            api,
            limits: [info.memory_limit, info.cpu_cfs_quota, info.pids_limit] == [Some(true); 3],
            rootless: security("rootless"),
            selinux: security("selinux"),
            live_restore: info.live_restore_enabled == Some(true),
            log_driver: info.logging_driver.clone().unwrap_or_default(),
            in_swarm: !matches!(
                state,
                None | Some(LocalNodeState::INACTIVE | LocalNodeState::EMPTY)
            ),
        }
    }

    /// What does not work with it, one sentence each.
    pub(crate) fn lacks(&self) -> Vec<String> {
        let mut lacks = vec![
            "no networks between nodes: containers are on Docker's bridge, reached through \
             published ports"
                .to_owned(),
        ];
        if !self.limits {
            lacks.push(
                "limits of memory, CPU or processes: the engine says that its kernel lacks some"
                    .to_owned(),
            );
        }
        if !self.live_restore {
            lacks.push(
                "a restart of dockerd ends its containers: `\"live-restore\": true` in \
                 /etc/docker/daemon.json keeps them"
                    .to_owned(),
            );
        }
        if !READABLE.contains(&self.log_driver.as_str()) {
            lacks.push(format!("logs: the engine's log driver `{}` only writes", self.log_driver));
        }
        lacks
    }
}

/// What was last seen of the Engine.
#[derive(Debug, Default)]
struct Known {
    client: Option<Client>,
    facts: Facts,
    /// Why it is of no use now.
    trouble: Option<String>,
}

/// The way to an Engine.
#[derive(Debug)]
pub(crate) struct Engine {
    socket: PathBuf,
    known: Mutex<Known>,
}

impl Engine {
    pub(crate) fn new(socket: PathBuf) -> Self {
        Self { socket, known: Mutex::default() }
    }

    /// Its socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.socket.clone()
    }

    /// Its socket, for people.
    pub(crate) fn name(&self) -> String {
        self.socket.display().to_string()
    }

    /// No code under this lock can leave it half changed.
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn facts(&self) -> Facts {
        self.known().facts.clone()
    }

    /// Why it is of no use now, if that is so.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.known().trouble.clone()
    }

    /// Gets to know the Engine, again if need be: it may be another version by now.
    pub(crate) async fn meet(&self) -> Result<(), RuntimeError> {
        let met = self.introduce().await;
        let mut known = self.known();
        match met {
            Ok((client, facts)) => {
                *known = Known { client: Some(client), facts, trouble: None };
                Ok(())
            }
            Err(error) => {
                known.trouble = Some(error.to_string());
                Err(error)
            }
        }
    }

    async fn introduce(&self) -> Result<(Client, Facts), RuntimeError> {
        let client = client(&self.socket).map_err(|error| self.said(&error))?;
        let client = client.negotiate_version().await.map_err(|error| self.said(&error))?;
        let number = |part| u64::try_from(part).unwrap_or(0);
        let version = client.client_version();
        let api = ApiVersion(number(version.major_version), number(version.minor_version));
        if api < API_MIN {
            let reason = format!(
                "Docker Engine at {} speaks API {api}; {API_MIN} (Docker 20.10) or newer is needed",
                self.name()
            );
            return Err(RuntimeError::Node { reason });
        }
        let info = client.info().await.map_err(|error| self.said(&error))?;
        let facts = Facts::of(&info, api);
        if facts.in_swarm {
            return Err(RuntimeError::Node { reason: in_swarm(&self.name()) });
        }
        Ok((client, facts))
    }

    /// The error of a call that has no better words for it.
    pub(crate) fn said(&self, error: &Error) -> RuntimeError {
        match Said::of(error) {
            Said::Away(reason) => away(&self.name(), reason),
            Said::Refused { text, .. } => RuntimeError::Node { reason: text },
            Said::Nonsense(reason) => RuntimeError::Node { reason },
        }
    }

    /// The client, once the Engine was met.
    pub(crate) fn client(&self) -> Result<Client, RuntimeError> {
        let known = self.known();
        if let Some(client) = &known.client {
            return Ok(client.clone());
        }
        let reason = known.trouble.clone();
        drop(known);
        Err(away(&self.name(), reason.unwrap_or_else(|| "it was not asked yet".to_owned())))
    }

    /// Calls the Engine; whether it answers at all is remembered for `status`.
    pub(crate) async fn ask<T, F>(&self, call: impl FnOnce(Client) -> F) -> Result<T, Said>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let client = match self.client() {
            Ok(client) => client,
            Err(error) => return Err(Said::Away(error.to_string())),
        };
        match call(client).await {
            Ok(answer) => {
                self.known().trouble = None;
                Ok(answer)
            }
            Err(error) => {
                let said = Said::of(&error);
                if let Said::Away(reason) = &said {
                    self.note_away(reason);
                }
                Err(said)
            }
        }
    }

    /// Takes note that it does not answer.
    pub(crate) fn note_away(&self, reason: &str) {
        let error = away(&self.name(), reason.to_owned());
        let before = self.known().trouble.replace(error.to_string());
        if before.is_none() {
            let error: &(dyn std::error::Error + 'static) = &error;
            warn!(error, "engine is away; tasks keep their state");
        }
    }
}

fn in_swarm(engine: &str) -> String {
    format!(
        "Docker Engine at {engine} is in swarm mode itself, and two orchestrators on one engine get in \
         each other's way: run `docker swarm leave` first (`docker swarm leave --force` on a manager), \
         or use --runtime embedded"
    )
}

/// A client that has not said anything yet.
fn client(socket: &Path) -> Result<Client, Error> {
    let path = socket.display().to_string();
    let client = Client::connect_with_unix(&path, ANSWER_MAX.as_secs(), API_DEFAULT_VERSION)?;
    Ok(client.with_request_modifier(|mut request| {
        // The Engine reads the login in the alphabet of URLs only; the client writes the other.
        const LOGIN: &str = "x-registry-auth";
        let login = request.headers().get(LOGIN).and_then(|login| login.to_str().ok());
        let login = login.map(|login| login.replace('+', "-").replace('/', "_"));
        if let Some(Ok(login)) = login.map(|login| login.parse()) {
            request.headers_mut().insert(LOGIN, login);
        }
        request
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn facts(info: serde_json::Value) -> Facts {
        Facts::of(&serde_json::from_value(info).unwrap(), ApiVersion(1, 41))
    }

    #[test]
    fn an_engine_says_what_it_is() {
        let known = facts(json!({
            "ServerVersion": "28.2.2", "MemoryLimit": true, "CpuCfsQuota": true, "PidsLimit": true,
            "SecurityOptions": ["name=seccomp,profile=builtin", "name=rootless"],
            "LiveRestoreEnabled": true, "LoggingDriver": "json-file",
            "Swarm": {"LocalNodeState": "inactive"}
        }));
        assert_eq!((known.version.as_str(), known.limits, known.rootless), ("28.2.2", true, true));
        assert!(!known.in_swarm && !known.selinux);
        assert_eq!(known.lacks().len(), 1);
        let poor = facts(json!({"MemoryLimit": true, "LoggingDriver": "syslog",
            "Swarm": {"LocalNodeState": "locked"}}));
        assert!(poor.in_swarm && !poor.limits);
        let lacks = poor.lacks().join("\n");
        for expected in ["limits", "live-restore", "syslog"] {
            assert!(lacks.contains(expected), "{lacks}");
        }
    }

    #[test]
    fn versions_have_an_order() {
        assert!(ApiVersion(1, 41) < ApiVersion(1, 44) && ApiVersion(1, 50) < ApiVersion(2, 0));
        assert!(ApiVersion(1, 9) < API_MIN);
    }
}
