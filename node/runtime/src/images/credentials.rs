//! Logins from Docker's `config.json`.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::reference::Name;
use crate::{RegistryAuth, RuntimeError, fs as files};

/// How Docker Hub is called in `config.json`.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

#[derive(Deserialize)]
struct ConfigFile {
    #[serde(default)]
    auths: BTreeMap<String, AuthEntry>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct AuthEntry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

impl AuthEntry {
    fn login(self) -> Option<RegistryAuth> {
        if !self.registrytoken.is_empty() {
            return Some(RegistryAuth::Bearer { token: self.registrytoken });
        }
        if !self.username.is_empty() && self.identitytoken.is_empty() {
            return Some(RegistryAuth::Basic { username: self.username, password: self.password });
        }
        let decoded = String::from_utf8(STANDARD.decode(self.auth.trim()).ok()?).ok()?;
        let (username, password) = decoded.split_once(':')?;
        let (username, password) =
            (username.to_owned(), password.trim_end_matches('\0').to_owned());
        Some(RegistryAuth::Basic { username, password })
    }
}

/// The login for an image in a Docker `config.json`, if it has one. Credential helpers
/// are programs of the user's desktop and are not run.
///
/// # Errors
///
/// For a bad image name, and for a file that is there and cannot be read.
pub fn login_from_docker_config(
    config: &Path,
    image: &str,
) -> Result<Option<RegistryAuth>, RuntimeError> {
    let name = Name::parse(image)?;
    let read = files::read_json::<ConfigFile>(config);
    let step = || format!("reading logins from {}", config.display());
    // The bytes of the file are secret: its error must not quote them.
    let file = read.map_err(|error| {
        // What did not come from the kernel came from the JSON parser.
        if error.raw_os_error().is_none() {
            return RuntimeError::Spec { reason: format!("{} is not JSON", config.display()) };
        }
        RuntimeError::io(step(), error)
    })?;
    let Some(mut file) = file else { return Ok(None) };
    let registry = name.registry();
    let hub = registry == "docker.io";
    let keys = [registry.to_owned(), format!("https://{registry}"), format!("https://{registry}/")];
    let mut keys = keys.into_iter().chain(hub.then(|| DOCKER_HUB.to_owned()));
    Ok(keys.find_map(|key| file.auths.remove(&key)).and_then(AuthEntry::login))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_are_found_by_registry() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        let secret = STANDARD.encode("me:p:w");
        let text = serde_json::json!({"auths": {
            DOCKER_HUB: {"auth": secret},
            "localhost:5000": {"username": "you", "password": "x"},
            "ghcr.io": {"auth": "%%%"},
        }});
        std::fs::write(&path, text.to_string()).unwrap();
        let basic = |username: &str, password: &str| {
            let (username, password) = (username.to_owned(), password.to_owned());
            Some(RegistryAuth::Basic { username, password })
        };
        for (image, expected) in [
            ("nginx", basic("me", "p:w")),
            ("localhost:5000/a", basic("you", "x")),
            ("ghcr.io/a/b", None),
            ("quay.io/a/b", None),
        ] {
            assert_eq!(login_from_docker_config(&path, image).unwrap(), expected, "{image}");
        }
        let missing = dir.path().join("none.json");
        assert_eq!(login_from_docker_config(&missing, "nginx").unwrap(), None);
    }

    #[test]
    fn a_login_never_shows_its_password() {
        let auth = RegistryAuth::Basic { username: "me".into(), password: "hunter2".into() };
        assert_eq!(format!("{auth:?}"), "Basic(me, …)");
    }
}
