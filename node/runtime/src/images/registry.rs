//! Pulls images from registries into the content store.

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use futures::StreamExt as _;
use oci_client::client::{
    BlobResponse, Certificate, CertificateEncoding, Client, ClientConfig, ClientProtocol,
};
use oci_client::errors::{OciDistributionError as PullError, OciErrorCode};
use sha2::{Digest, Sha256};
use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};

use super::content::{Content, digest_of, digest_text};
use super::locks::KeyedLocks;
use super::manifest::{Descriptor, ImageConfig, JSON_BYTES_MAX, Manifest, broken, node_platform};
use super::reference::Name;
use crate::{RegistryAuth, RuntimeError};

/// Attempts at one request: with the delays below about three seconds, which bridges a
/// restart of a registry and is short enough to tell the user.
const ATTEMPTS_MAX: u32 = 5;
/// Delay before the second attempt; doubles.
const RETRY_DELAY: Duration = Duration::from_millis(200);
/// A registry that sends nothing for so long is gone.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Time to reach a registry.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

const MANIFEST_TYPES: &[&str] = &[
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

/// What was pulled.
#[derive(Debug)]
pub(crate) struct Pulled {
    /// Digest of the manifest for this node.
    pub(crate) digest: String,
    /// Digest of the index that it was chosen from: what a service is pinned to.
    pub(crate) index_digest: Option<String>,
}

/// One pull: a client of its own, because the client keeps the first login it sees.
pub(crate) struct Pull<'a> {
    content: &'a Content,
    locks: &'a KeyedLocks,
    name: &'a Name,
    auth: oci_client::secrets::RegistryAuth,
    client: Client,
}

/// Whether the registry is on this machine, where `http` is as good as `https`.
fn is_loopback(registry: &str) -> bool {
    let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn client(registry: &str) -> Result<Client, RuntimeError> {
    // Fails only if somebody else was first, with the same provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = |roots: Vec<Certificate>| ClientConfig {
        protocol: if is_loopback(registry) {
            ClientProtocol::HttpsExcept(vec![registry.to_owned()])
        } else {
            ClientProtocol::Https
        },
        tls_certs_only: roots,
        read_timeout: Some(READ_TIMEOUT),
        connect_timeout: Some(CONNECT_TIMEOUT),
        user_agent: concat!("skep/", env!("CARGO_PKG_VERSION")),
        ..ClientConfig::default()
    };
    // A machine without CA certificates gets Mozilla's, as of when we were built.
    let bundled = || {
        let roots = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter();
        let der =
            |root: &[u8]| Certificate { encoding: CertificateEncoding::Der, data: root.into() };
        roots.map(|root| der(root)).collect()
    };
    Client::try_from(config(Vec::new())).or_else(|_| Client::try_from(config(bundled()))).map_err(
        |error| RuntimeError::Node { reason: format!("cannot set up TLS for registries: {error}") },
    )
}

impl<'a> Pull<'a> {
    pub(crate) fn new(
        content: &'a Content,
        locks: &'a KeyedLocks,
        name: &'a Name,
        auth: Option<&RegistryAuth>,
    ) -> Result<Self, RuntimeError> {
        use oci_client::secrets::RegistryAuth as Auth;
        let auth = match auth {
            None => Auth::Anonymous,
            Some(RegistryAuth::Basic { username, password }) => {
                Auth::Basic(username.clone(), password.clone())
            }
            Some(RegistryAuth::Bearer { token }) => Auth::Bearer(token.clone()),
        };
        let client = client(name.as_reference().resolve_registry())?;
        Ok(Self { content, locks, name, auth, client })
    }

    /// Gets manifest, configuration and layers, all checked, into the store.
    pub(crate) async fn run(&self) -> Result<Pulled, RuntimeError> {
        let text = self.name.familiar();
        let node = node_platform();
        let (bytes, first_digest) = self.manifest(self.name).await?;
        let first = Manifest::parse(&text, &bytes)?;
        if first.manifests.is_empty() {
            self.image(&first, &bytes, &node).await?;
            return Ok(Pulled { digest: first_digest, index_digest: None });
        }
        let chosen = first.choose(&text, &node)?.digest.clone();
        let (image_bytes, digest) = self.manifest(&self.name.at(&chosen)).await?;
        let image = Manifest::parse(&text, &image_bytes)?;
        self.image(&image, &image_bytes, &node).await?;
        self.content.put(&bytes)?;
        Ok(Pulled { digest, index_digest: Some(first_digest) })
    }

    /// The original bytes of a manifest or index, and their digest.
    async fn manifest(&self, name: &Name) -> Result<(Vec<u8>, String), RuntimeError> {
        let reference = name.as_reference();
        let mut attempt = 0;
        let (bytes, _) = loop {
            match self.client.pull_manifest_raw(reference, &self.auth, MANIFEST_TYPES).await {
                Ok(answer) => break answer,
                Err(error) => self.wait_or_fail(&mut attempt, error).await?,
            }
        };
        let digest = digest_of(&bytes);
        if let Some(wanted) = name.digest().filter(|wanted| *wanted != digest) {
            let reason = format!("the registry sent {digest} for {wanted}");
            return Err(broken(&self.name.familiar(), reason));
        }
        if JSON_BYTES_MAX < bytes.len() as u64 {
            return Err(broken(&self.name.familiar(), "a manifest of more than 4 MiB"));
        }
        Ok((bytes.to_vec(), digest))
    }

    async fn image(
        &self,
        manifest: &Manifest,
        bytes: &[u8],
        node: &str,
    ) -> Result<(), RuntimeError> {
        let text = self.name.familiar();
        let Some(config) = &manifest.config else {
            return Err(broken(&text, "a manifest without configuration"));
        };
        self.blob(config).await?;
        // Before the layers: they are in vain if the platform is wrong.
        ImageConfig::parse(&text, &self.content.read_json(&text, &config.digest)?, node)?;
        for layer in &manifest.layers {
            self.blob(layer).await?;
        }
        self.content.put(bytes)?;
        Ok(())
    }

    /// Gets one blob; goes on where an earlier attempt, or an earlier daemon, stopped.
    async fn blob(&self, descriptor: &Descriptor) -> Result<(), RuntimeError> {
        let digest = &descriptor.digest;
        // Two images that share a layer must not write the same file.
        let _lock = self.locks.lock(digest).await;
        if self.content.has(digest) {
            return Ok(());
        }
        let part = self.content.part_path(digest)?;
        let mut attempt = 0;
        loop {
            match self.blob_attempt(descriptor, &part).await {
                Ok(found) if found == *digest => return self.content.adopt(&part, digest),
                Ok(found) => {
                    crate::fs::remove_file(&part)
                        .map_err(|error| RuntimeError::io("removing a wrong blob", error))?;
                    let reason = format!("a blob should be {digest} and is {found}");
                    return Err(broken(&self.name.familiar(), reason));
                }
                Err(error) => self.wait_or_fail(&mut attempt, error).await?,
            }
        }
    }

    /// Appends to `part` what is missing; gives the digest of the whole file.
    async fn blob_attempt(
        &self,
        descriptor: &Descriptor,
        part: &Path,
    ) -> Result<String, PullError> {
        let options = OpenOptions::new().create(true).read(true).write(true).clone();
        let mut file = options.open(part).await?;
        let (mut hasher, mut n_bytes) = hash_existing(&mut file).await?;
        if n_bytes < descriptor.size || descriptor.size == 0 {
            let reference = self.name.as_reference();
            let registry = reference.resolve_registry();
            self.client.store_auth_if_needed(registry, &self.auth).await;
            let blob = oci_client::manifest::OciDescriptor {
                digest: descriptor.digest.clone(),
                ..Default::default()
            };
            let mut stream = if n_bytes == 0 {
                self.client.pull_blob_stream(reference, &blob).await?.stream
            } else {
                match self.client.pull_blob_stream_partial(reference, &blob, n_bytes, None).await? {
                    BlobResponse::Partial(sized) => sized.stream,
                    BlobResponse::Full(sized) => {
                        (hasher, n_bytes) = (Sha256::new(), 0);
                        file.set_len(0).await?;
                        file.seek(io::SeekFrom::Start(0)).await?;
                        sized.stream
                    }
                }
            };
            while let Some(chunk) = stream.next().await {
                let chunk = chunk?;
                n_bytes += chunk.len() as u64;
                if descriptor.size != 0 && descriptor.size < n_bytes {
                    return Ok("longer than announced".to_owned());
                }
                hasher.update(&chunk);
                file.write_all(&chunk).await?;
            }
        }
        file.flush().await?;
        file.sync_all().await?;
        Ok(digest_text(hasher))
    }

    /// Waits before the next attempt, or says why there is none.
    async fn wait_or_fail(&self, attempt: &mut u32, error: PullError) -> Result<(), RuntimeError> {
        let error = classify(self.name, error);
        *attempt += 1;
        if !matches!(error, RuntimeError::Unavailable { .. }) || ATTEMPTS_MAX <= *attempt {
            return Err(error);
        }
        tokio::time::sleep(RETRY_DELAY * 2_u32.pow(*attempt - 1)).await;
        Ok(())
    }
}

async fn hash_existing(file: &mut File) -> io::Result<(Sha256, u64)> {
    let (mut hasher, mut n_bytes) = (Sha256::new(), 0);
    let mut buffer = vec![0; 128 * 1024];
    loop {
        let n_read = file.read(&mut buffer).await?;
        if n_read == 0 {
            return Ok((hasher, n_bytes));
        }
        hasher.update(&buffer[..n_read]);
        n_bytes += n_read as u64;
    }
}

/// Tells apart what the user can cure, what time may cure, and what nobody can.
#[expect(clippy::wildcard_enum_match_arm, reason = "all other errors may pass with time")]
fn classify(name: &Name, error: PullError) -> RuntimeError {
    let reference = name.familiar();
    let registry = name.registry().to_owned();
    let missing = |reason: &str| RuntimeError::NoSuchImage {
        reference: name.familiar(),
        reason: format!("not on this node, and {} says: {reason}", name.registry()),
    };
    match error {
        PullError::UnauthorizedError { .. } | PullError::AuthenticationFailure(_) => {
            RuntimeError::Unauthorized { reference, registry }
        }
        PullError::ImageManifestNotFoundError(_) => missing("manifest unknown"),
        PullError::RegistryError { envelope, .. } => {
            let of =
                |codes: &[OciErrorCode]| envelope.errors.iter().any(|e| codes.contains(&e.code));
            if of(&[OciErrorCode::Unauthorized, OciErrorCode::Denied]) {
                RuntimeError::Unauthorized { reference, registry }
            } else if of(&[OciErrorCode::ManifestUnknown, OciErrorCode::NotFound]) {
                missing("manifest unknown")
            } else if of(&[OciErrorCode::NameUnknown, OciErrorCode::NameInvalid]) {
                missing("repository unknown")
            } else if of(&[OciErrorCode::BlobUnknown, OciErrorCode::ManifestBlobUnknown]) {
                broken(&reference, "the registry lacks one of its blobs")
            } else {
                RuntimeError::Unavailable { registry, reason: envelope.to_string() }
            }
        }
        PullError::ServerError { code: 401 | 403, .. } => {
            RuntimeError::Unauthorized { reference, registry }
        }
        PullError::ServerError { code: 404, .. } => missing("not found"),
        PullError::IoError(error) if error.kind() == io::ErrorKind::StorageFull => {
            RuntimeError::NoSpace { step: format!("pulling {reference}") }
        }
        PullError::DigestError(error) => broken(&reference, error.to_string()),
        PullError::UnsupportedMediaTypeError(kind) => {
            broken(&reference, format!("unsupported media type {kind}"))
        }
        other => RuntimeError::Unavailable { registry, reason: chain(&other) },
    }
}

/// An error with its causes: the transport hides the interesting part in them.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_registries_on_this_machine_may_speak_http() {
        for (registry, expected) in [
            ("localhost:5000", true),
            ("127.0.0.2:5000", true),
            ("[::1]:5000", true),
            ("localhost", true),
            ("192.168.1.1:5000", false),
            ("localhost.evil.example", false),
            ("docker.io", false),
        ] {
            assert_eq!(is_loopback(registry), expected, "{registry}");
        }
    }
}
