//! Credentials for registries, from Docker's configuration.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use api::wire::image::RegistryAuth;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde_json::Value;
use tokio::io::AsyncWriteExt;

use crate::exit::Failure;

/// Docker's name for the registry of short image names.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";
/// A credential helper asks a keyring, maybe a person: longer than that is a hang.
const HELPER_TIMEOUT: Duration = Duration::from_secs(60);

/// `X-Registry-Auth` for an image; `None` if there are no credentials.
pub(crate) async fn credentials(image: &str) -> Result<Option<String>, Failure> {
    let Some(file) = config_file() else { return Ok(None) };
    let text = match std::fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Failure::new(format!("{}: {error}", file.display()))),
    };
    let config: Value = serde_json::from_str(&text)
        .map_err(|error| Failure::new(format!("{}: {error}", file.display())))?;
    let registry = registry(image);
    let auth = match helper(&config, registry) {
        Some(helper) => ask_helper(&helper, registry).await?,
        None => stored(&config, registry),
    };
    auth.map(|auth| encode(&auth)).transpose()
}

fn config_file() -> Option<PathBuf> {
    let dir = match std::env::var_os("DOCKER_CONFIG") {
        Some(dir) => PathBuf::from(dir),
        None => Path::new(&std::env::var_os("HOME")?).join(".docker"),
    };
    Some(dir.join("config.json"))
}

/// The registry an image comes from, as Docker's configuration names it.
fn registry(image: &str) -> &str {
    match image.split_once('/') {
        Some(("docker.io" | "index.docker.io", _)) | None => DOCKER_HUB,
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        Some(_) => DOCKER_HUB,
    }
}

/// Name of the program that keeps the credentials.
fn helper(config: &Value, registry: &str) -> Option<String> {
    let host = registry.trim_start_matches("https://").split('/').next().unwrap_or(registry);
    let one = config.get("credHelpers").and_then(|all| all.get(registry).or_else(|| all.get(host)));
    let name = one.or_else(|| config.get("credsStore"))?.as_str()?;
    (!name.is_empty()).then(|| name.to_owned())
}

/// Credentials in the file itself.
fn stored(config: &Value, registry: &str) -> Option<RegistryAuth> {
    let entries = config.get("auths")?.as_object()?;
    let host = |name: &str| {
        let name = name.trim_start_matches("https://").trim_start_matches("http://");
        name.split('/').next().unwrap_or(name).to_owned()
    };
    let exact = entries.get(registry);
    let entry = exact.or_else(|| {
        let same = entries.iter().find(|(name, _)| host(name) == host(registry));
        same.map(|(_, entry)| entry)
    })?;
    let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
    let mut auth = RegistryAuth {
        username: text("username"),
        password: text("password"),
        identitytoken: text("identitytoken"),
        registrytoken: text("registrytoken"),
        serveraddress: registry.to_owned(),
        auth: String::new(),
    };
    if let Some((user, password)) = decode(&text("auth")) {
        (auth.username, auth.password) = (user, password);
    }
    let empty = auth.username.is_empty() && auth.identitytoken.is_empty();
    (!empty || !auth.registrytoken.is_empty()).then_some(auth)
}

/// `user:password` in base64.
fn decode(text: &str) -> Option<(String, String)> {
    let bytes = STANDARD.decode(text).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.trim_end_matches('\0').to_owned()))
}

async fn ask_helper(name: &str, registry: &str) -> Result<Option<RegistryAuth>, Failure> {
    let program = format!("docker-credential-{name}");
    let failed = |error: std::io::Error| Failure::new(format!("{program}: {error}"));
    let mut child = tokio::process::Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(registry.as_bytes()).await.map_err(failed)?;
    }
    let output = tokio::time::timeout(HELPER_TIMEOUT, child.wait_with_output()).await;
    let output = output.map_err(|_| Failure::timeout(format!("{program}: no answer")))?;
    let output = output.map_err(failed)?;
    if !output.status.success() {
        // It has none for this registry: images may be public.
        return Ok(None);
    }
    let answer: Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| Failure::new(format!("{program}: {error}")))?;
    let text = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
    let mut auth = RegistryAuth { serveraddress: registry.to_owned(), ..RegistryAuth::default() };
    if text("Username") == "<token>" {
        auth.identitytoken = text("Secret");
    } else {
        (auth.username, auth.password) = (text("Username"), text("Secret"));
    }
    Ok(Some(auth))
}

fn encode(auth: &RegistryAuth) -> Result<String, Failure> {
    let json = serde_json::to_vec(auth)
        .map_err(|error| Failure::new(format!("credentials cannot be written: {error}")))?;
    Ok(URL_SAFE.encode(json))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn images_name_their_registry_as_docker_does() {
        for (image, name) in [
            ("nginx", DOCKER_HUB),
            ("user/app:1", DOCKER_HUB),
            ("docker.io/library/nginx", DOCKER_HUB),
            ("ghcr.io/a/b@sha256:00", "ghcr.io"),
            ("localhost/a", "localhost"),
            ("127.0.0.1:5000/bb:1", "127.0.0.1:5000"),
        ] {
            assert_eq!(registry(image), name, "{image}");
        }
    }

    #[test]
    fn credentials_are_found_in_the_file() {
        let config = json!({
            "auths": {
                DOCKER_HUB: {"auth": STANDARD.encode("me:secret:x")},
                "https://ghcr.io": {"identitytoken": "t"},
                "quay.io": {},
            },
            "credHelpers": {"gcr.io": "gcloud"},
        });
        let hub = stored(&config, DOCKER_HUB).unwrap();
        assert_eq!((&*hub.username, &*hub.password), ("me", "secret:x"));
        assert_eq!(stored(&config, "ghcr.io").unwrap().identitytoken, "t");
        assert_eq!(stored(&config, "quay.io"), None);
        assert_eq!(stored(&config, "nosuch.io"), None);
        assert_eq!(helper(&config, "gcr.io").as_deref(), Some("gcloud"));
        assert_eq!(helper(&config, DOCKER_HUB), None);
    }
}
