//! What this node shows and whom it trusts: read at start, renewed while it runs.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crypto::certificate::Certificate;
use crypto::credentials::Credentials;
use crypto::identity::NodeKeys;
use crypto::key::ClusterKey;
use crypto::schedule::{Authority, CaPublic, Psk};
use crypto::token::Token;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tracing::info;

use crate::config::Secret;
use crate::datadir::{DataDir, DataDirError};

/// File with what a token brought us.
const MEMBERSHIP: &str = "membership";
/// File with the cluster tag that a data directory belongs to.
const CLUSTER: &str = "cluster";
/// Kind and version of the membership file.
const MEMBERSHIP_KIND: (u16, u16) = (40, 1);
/// A certificate and a few keys.
const MEMBERSHIP_BYTES_MAX: usize = 64 * 1024;

/// This node cannot say who it is.
#[derive(Debug, Error)]
pub enum StandingError {
    /// The data directory.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The node's own key.
    #[error("cannot use this node's own key in {}", dir.display())]
    NodeKey {
        /// Where it is kept.
        dir: PathBuf,
        /// Why.
        #[source]
        source: crypto::SecretFileError,
    },
    /// The key or token file.
    #[error("cannot use {what} {}", path.display())]
    SecretFile {
        /// `key file` or `token file`.
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: crypto::SecretFileError,
    },
    /// There is no such file.
    #[error("there is no {what} {}: {cure}", path.display())]
    NoSecretFile {
        /// `key file` or `token file`.
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// Where it comes from.
        cure: &'static str,
    },
    /// The other kind of secret.
    #[error(
        "{} holds a join token, not the cluster key: give it with --token-file, or the file of \
         the key with --key-file",
        path.display()
    )]
    TokenForKey {
        /// Which.
        path: PathBuf,
    },
    /// The other kind of secret.
    #[error(
        "{} holds the cluster key, not a join token: give it with --key-file, or make a token \
         where the key is with `skep token worker --key-file FILE`",
        path.display()
    )]
    KeyForToken {
        /// Which.
        path: PathBuf,
    },
    /// The directory was used with another key.
    #[error(
        "data directory {} belongs to another cluster: give that cluster's key or token, \
         or another --data-dir (nothing there was changed)",
        path.display()
    )]
    OtherCluster {
        /// Which.
        path: PathBuf,
    },
}

/// How this node stands to the cluster.
#[derive(Debug)]
pub(crate) struct Standing {
    /// What it shows.
    pub(crate) credentials: Credentials,
    /// The token it still has to join with.
    pub(crate) join_with: Option<Token>,
    /// The cluster key, to hand to nodes that join with a manager token.
    pub(crate) key: Option<Arc<ClusterKey>>,
}

/// What a token brought us, as it is kept.
#[derive(Deserialize, Serialize)]
pub(crate) struct Membership {
    pub(crate) ca: [u8; 32],
    pub(crate) certificate: Vec<u8>,
    pub(crate) psks: Vec<(u32, [u8; 32])>,
    pub(crate) cluster_key: Option<[u8; 32]>,
    pub(crate) genesis: [u8; 16],
}

/// Seconds since 1970.
#[must_use]
pub fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs())
}

/// Reads key or token and what is in the data directory.
pub(crate) fn load(secret: &Secret, data: &DataDir) -> Result<Standing, StandingError> {
    let keys = NodeKeys::load_or_create(data.path())
        .map_err(|source| StandingError::NodeKey { dir: data.path().to_owned(), source })?;
    let keys = Arc::new(keys);
    match secret {
        Secret::Key(path) => {
            let key = read_key(path)?;
            let standing = key_holder(keys, key);
            claim(data, standing.credentials.ca)?;
            Ok(standing)
        }
        Secret::Token(path) => {
            let token = read_token(path)?;
            claim(data, token.ca())?;
            token_holder(data, keys, token)
        }
    }
}

/// Reads the cluster key, and says what else it found there.
///
/// # Errors
///
/// [`StandingError`], with what to do.
pub fn read_key(path: &Path) -> Result<ClusterKey, StandingError> {
    ClusterKey::read_file(path).map_err(|source| {
        if Token::read_file(path).is_ok() {
            return StandingError::TokenForKey { path: path.to_owned() };
        }
        let cure = "copy the cluster's key there; `skep key new --out FILE` makes the key of a \
                    new cluster";
        no_secret("key file", path, cure, source)
    })
}

fn read_token(path: &Path) -> Result<Token, StandingError> {
    Token::read_file(path).map_err(|source| {
        if ClusterKey::read_file(path).is_ok() {
            return StandingError::KeyForToken { path: path.to_owned() };
        }
        let cure = "make one where the key is, with `skep token worker --key-file FILE --out FILE`";
        no_secret("token file", path, cure, source)
    })
}

fn no_secret(
    what: &'static str,
    path: &Path,
    cure: &'static str,
    source: crypto::SecretFileError,
) -> StandingError {
    let path = path.to_owned();
    let missing = matches!(&source, crypto::SecretFileError::Io { source, .. }
        if source.kind() == ErrorKind::NotFound);
    if missing {
        StandingError::NoSecretFile { what, path, cure }
    } else {
        StandingError::SecretFile { what, path, source }
    }
}

fn key_holder(keys: Arc<NodeKeys>, key: ClusterKey) -> Standing {
    let authority = Arc::new(Authority::from_key(&key));
    let credentials = Credentials::for_key_holder(keys, authority, unix_seconds(), &[FIRST_EPOCH]);
    Standing { credentials, join_with: None, key: Some(Arc::new(key)) }
}

/// Gossip keys count from here.
pub(crate) const FIRST_EPOCH: u32 = 1;

fn token_holder(
    data: &DataDir,
    keys: Arc<NodeKeys>,
    token: Token,
) -> Result<Standing, StandingError> {
    let Some(membership) = read_membership(data)? else {
        let credentials = Credentials::candidate(keys, &token);
        return Ok(Standing { credentials, join_with: Some(token), key: None });
    };
    let (credentials, key) = member(keys, &membership)
        .map_err(|what| DataDirError::Damaged { path: data.join(MEMBERSHIP), what })?;
    Ok(Standing { credentials, join_with: None, key })
}

/// Credentials from what a token brought us.
pub(crate) fn member(
    keys: Arc<NodeKeys>,
    membership: &Membership,
) -> Result<(Credentials, Option<Arc<ClusterKey>>), String> {
    let certificate =
        Certificate::decode(&membership.certificate).map_err(|error| error.to_string())?;
    let psks = membership.psks.iter().map(|(epoch, psk)| (*epoch, Psk::from_bytes(*psk))).collect();
    let key = membership.cluster_key.map(ClusterKey::from_bytes).map(Arc::new);
    let credentials = Credentials::for_member(keys, certificate, CaPublic(membership.ca), psks);
    let credentials = match &key {
        None => credentials,
        Some(key) => {
            let credentials = credentials.with_authority(Arc::new(Authority::from_key(key)));
            credentials.renew(unix_seconds()).unwrap_or(credentials)
        }
    };
    Ok((credentials, key))
}

fn read_membership(data: &DataDir) -> Result<Option<Membership>, StandingError> {
    let Some(bytes) = data.read(MEMBERSHIP)? else { return Ok(None) };
    let (kind, version) = MEMBERSHIP_KIND;
    let membership = crypto::wire::decode(&bytes, kind, version, MEMBERSHIP_BYTES_MAX);
    membership.map(Some).map_err(|error| {
        DataDirError::Damaged { path: data.join(MEMBERSHIP), what: error.to_string() }.into()
    })
}

/// Keeps what a token brought us, durable before it is used.
pub(crate) fn keep_membership(data: &DataDir, membership: &Membership) -> Result<(), String> {
    let (kind, version) = MEMBERSHIP_KIND;
    let bytes =
        crypto::wire::encode(kind, version, membership).map_err(|error| error.to_string())?;
    data.write(MEMBERSHIP, &bytes).map_err(|error| error.to_string())
}

/// Keeps a renewed certificate.
pub(crate) fn keep_certificate(data: &DataDir, certificate: &Certificate) -> Result<(), String> {
    let before = read_membership(data).map_err(|error| error.to_string())?;
    let before = before.ok_or("there is no membership to renew")?;
    keep_membership(data, &Membership { certificate: certificate.encode().to_vec(), ..before })
}

/// The genesis that a token's holder was told.
pub(crate) fn kept_genesis(data: &DataDir) -> Result<Option<[u8; 16]>, StandingError> {
    Ok(read_membership(data)?.map(|membership| membership.genesis))
}

/// Marks the directory as this cluster's, or finds that it is another's.
fn claim(data: &DataDir, ca: CaPublic) -> Result<(), StandingError> {
    let tag = ca.cluster_tag().0;
    match data.read(CLUSTER)? {
        None => Ok(data.write(CLUSTER, &tag)?),
        Some(seen) if seen == tag => Ok(()),
        Some(_) => Err(StandingError::OtherCluster { path: data.path().to_owned() }),
    }
}

/// How often the age of the certificate is looked at. It lives for a day.
const RENEWAL_PERIOD: Duration = Duration::from_secs(60);

/// Renews the certificate of a key holder when half of its life is over.
pub(crate) async fn renew_own(
    credentials: tokio::sync::watch::Sender<Arc<Credentials>>,
    stop: tokio_util::sync::CancellationToken,
) {
    let mut period = tokio::time::interval(RENEWAL_PERIOD);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = period.tick() => {}
        }
        let now = unix_seconds();
        let renewed = credentials.borrow().is_due(now).then(|| credentials.borrow().renew(now));
        if let Some(renewed) = renewed.flatten() {
            info!("certificate renewed");
            credentials.send_replace(Arc::new(renewed));
        }
    }
}
