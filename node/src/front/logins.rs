//! How to log in at registries: what clients send along, what is stored sealed, and what this
//! node's own configuration says.

use std::path::PathBuf;

use api::cluster::Problem;
use api::wire::image::RegistryAuth as Sent;
use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use model::{Service, ServiceId};
use runtime::RegistryAuth;
use tracing::warn;

use super::Front;

/// Longest login. Tokens of clouds have 2 to 4 KiB.
const LOGIN_BYTES_MAX: usize = 32 * 1024;

/// Reads `X-Registry-Auth`: base64url of JSON; an empty object means no login.
pub(crate) fn login_of(header: &str) -> Result<Option<RegistryAuth>, Problem> {
    // What is wrong with it is not told: it is secret.
    let bad = || Problem::bad_request("X-Registry-Auth is not base64url of JSON");
    let header = header.trim();
    let json = URL_SAFE.decode(header).or_else(|_| URL_SAFE_NO_PAD.decode(header));
    let sent: Sent = serde_json::from_slice(&json.map_err(|_| bad())?).map_err(|_| bad())?;
    Ok(if !sent.registrytoken.is_empty() {
        Some(RegistryAuth::Bearer { token: sent.registrytoken })
    } else if sent.username.is_empty() {
        None
    } else {
        Some(RegistryAuth::Basic { username: sent.username, password: sent.password })
    })
}

/// The login for an image that `~/.docker/config.json` of whoever runs the daemon has.
pub(crate) fn own_login(image: &str) -> Option<RegistryAuth> {
    if ["dir:", "oci:"].iter().any(|local| image.starts_with(local)) {
        return None; // It comes from no registry.
    }
    let dir = std::env::var_os("DOCKER_CONFIG")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".docker")))?;
    match runtime::login_from_docker_config(&dir.join("config.json"), image) {
        Ok(login) => login,
        Err(error) => {
            // The registry may need none.
            warn!(
                error = &error as &dyn std::error::Error,
                "registry logins of this node unusable"
            );
            None
        }
    }
}

impl Front {
    /// Seals what a client sent along, if it says anything.
    pub(super) fn seal_login(
        &self,
        service: ServiceId,
        header: Option<&str>,
    ) -> Result<Option<Vec<u8>>, Problem> {
        let Some(header) = header else { return Ok(None) };
        if LOGIN_BYTES_MAX < header.len() {
            return Err(Problem::bad_request("X-Registry-Auth is longer than 32 KiB"));
        }
        if login_of(header)?.is_none() {
            return Ok(None);
        }
        let credentials = std::sync::Arc::clone(&self.credentials.borrow());
        let authority = credentials.authority.as_ref();
        let authority = authority
            .ok_or_else(|| Problem::new(500, "this node does not hold the cluster key"))?;
        let sealed = authority.seal(&Service::login_seal_context(service), header.as_bytes());
        sealed.map(Some).map_err(|error| Problem::new(500, error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_send_is_read() {
        let header = |json: &str| URL_SAFE.encode(json);
        let basic = header(r#"{"username":"me","password":"p","serveraddress":"a:5000"}"#);
        let expected = RegistryAuth::Basic { username: "me".into(), password: "p".into() };
        assert_eq!(login_of(&basic).unwrap(), Some(expected));
        assert!(login_of(basic.trim_end_matches('=')).unwrap().is_some());
        let bearer = RegistryAuth::Bearer { token: "t".into() };
        assert_eq!(login_of(&header(r#"{"registrytoken":"t"}"#)).unwrap(), Some(bearer));
        assert_eq!(login_of(&header("{}")).unwrap(), None);
        for bad in ["hunter2", &header("hunter2")] {
            let problem = login_of(bad).unwrap_err();
            assert!(problem.status == 400 && !problem.message.contains("hunter2"));
        }
    }
}
