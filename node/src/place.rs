//! A place that was taken through the API, kept so that the next start finds it again.
//!
//! A daemon that was started with a key or a token is told its place by its command line each
//! time. One that was started with neither waits for `swarm init` or `swarm join`; what came of
//! that is here, and the secrets are files beside it.

use std::net::SocketAddr;
use std::path::PathBuf;

use crypto::{ClusterKey, Token};
use model::Availability;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::config::{Addresses, Beginning, Place, Secret};
use crate::datadir::{DataDir, DataDirError};

/// File with the place.
const PLACE: &str = "place";
/// File with the key of a cluster that was made here.
const KEY: &str = "cluster.key";
/// File with the token that this node came with.
const TOKEN: &str = "join.token";
/// Kind and version of the place file.
const PLACE_KIND: (u16, u16) = (41, 1);
/// Addresses of a few seeds.
const PLACE_BYTES_MAX: usize = 64 * 1024;

/// All that belongs to one life in a cluster. The node's own key is among it: who comes back
/// after leaving is another node.
const OF_A_CLUSTER: [&str; 8] =
    [KEY, TOKEN, "membership", "cluster", "genesis", "node.key", "raft", "agent"];

/// A place cannot be kept or found.
#[derive(Debug, Error)]
pub enum PlaceError {
    /// The data directory.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The key or token file.
    #[error("cannot keep the secret of the cluster")]
    Secret(#[from] crypto::SecretFileError),
    /// There is no key to be had.
    #[error("cannot make a cluster key")]
    Random(#[from] crypto::NoRandomness),
    /// It cannot be written down.
    #[error("cannot write down this node's place")]
    Encode(#[from] crypto::wire::WireError),
    /// What an earlier life left is still there.
    #[error("cannot remove {}", path.display())]
    Forget {
        /// What.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// How a node enters a cluster through the API.
#[derive(Clone, Debug)]
pub(crate) enum Entrance {
    /// It makes one, and its key.
    Found,
    /// It joins one, through any of these nodes.
    Join { token: Token, seeds: Vec<String> },
}

/// The place as it is kept.
#[derive(Deserialize, Serialize)]
struct Kept {
    /// Empty: founded here.
    seeds: Vec<String>,
    advertise: SocketAddr,
    listen: SocketAddr,
    availability: Availability,
    /// Address of the overlay, if it is not that of the control traffic.
    data_path: Option<std::net::IpAddr>,
}

/// What a place needs beside its entrance.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) addresses: Addresses,
    pub(crate) availability: Availability,
    pub(crate) data_path: Option<std::net::IpAddr>,
}

/// The place of an earlier `swarm init` or `swarm join`.
pub(crate) fn kept(data: &DataDir, given: Addresses) -> Result<Option<Place>, PlaceError> {
    let Some(bytes) = data.read(PLACE)? else { return Ok(None) };
    let (kind, version) = PLACE_KIND;
    let kept: Kept = crypto::wire::decode(&bytes, kind, version, PLACE_BYTES_MAX)
        .map_err(|error| damaged(data, &error))?;
    let (secret, beginning) = if kept.seeds.is_empty() {
        (Secret::Key(data.join(KEY)), Beginning::Found)
    } else {
        (Secret::Token(data.join(TOKEN)), Beginning::Seeds(kept.seeds))
    };
    let addresses = Addresses {
        advertise: Some(kept.advertise),
        listen: Some(kept.listen),
        publish: given.publish,
    };
    let place = Place::new(secret, beginning, None, addresses);
    Ok(Some(Place { availability: kept.availability, ..place }))
}

fn damaged(data: &DataDir, error: &dyn std::error::Error) -> PlaceError {
    DataDirError::Damaged { path: data.join(PLACE), what: error.to_string() }.into()
}

/// Takes a place on an empty directory. The place itself is written last: a crash before that
/// leaves a node outside, and secrets that nobody looks at.
pub(crate) fn take(data: &DataDir, entrance: Entrance, terms: Terms) -> Result<Place, PlaceError> {
    forget(data)?;
    let (secret, beginning, seeds) = match entrance {
        Entrance::Found => {
            let path = data.join(KEY);
            ClusterKey::generate()?.create_file(&path)?;
            (Secret::Key(path), Beginning::Found, Vec::new())
        }
        Entrance::Join { token, seeds } => {
            let path = data.join(TOKEN);
            token.create_file(&path)?;
            (Secret::Token(path), Beginning::Seeds(seeds.clone()), seeds)
        }
    };
    let place = Place::new(secret, beginning, None, terms.addresses);
    let place = Place { availability: terms.availability, ..place };
    let kept = Kept {
        seeds,
        advertise: place.advertise,
        listen: place.listen,
        availability: place.availability,
        data_path: terms.data_path,
    };
    let (kind, version) = PLACE_KIND;
    data.write(PLACE, &crypto::wire::encode(kind, version, &kept)?)?;
    Ok(place)
}

/// Forgets the cluster. The place goes first: a crash after that leaves a node outside.
pub(crate) fn forget(data: &DataDir) -> Result<(), PlaceError> {
    for name in std::iter::once(PLACE).chain(OF_A_CLUSTER) {
        let path = data.join(name);
        let removed = match path.symlink_metadata() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => Err(error),
            Ok(found) if found.is_dir() => std::fs::remove_dir_all(&path),
            Ok(_) => std::fs::remove_file(&path),
        };
        removed.map_err(|source| PlaceError::Forget { path, source })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms() -> Terms {
        let address = Some("10.0.0.7:7964".parse().unwrap());
        let addresses = Addresses { advertise: address, listen: address, publish: None };
        Terms { addresses, availability: Availability::Drain, data_path: None }
    }

    #[test]
    fn a_place_is_found_again_and_forgotten_with_all_that_belonged_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::open(dir.path()).unwrap();
        assert_eq!(kept(&data, Addresses::default()).unwrap(), None);

        let taken = take(&data, Entrance::Found, terms()).unwrap();
        assert_eq!(kept(&data, Addresses::default()).unwrap(), Some(taken));
        let Secret::Key(path) = kept(&data, Addresses::default()).unwrap().unwrap().secret else {
            panic!("who founds has a key");
        };
        let first = ClusterKey::read_file(&path).unwrap();
        std::fs::create_dir(data.join("raft")).unwrap();
        std::fs::write(data.join("raft/log"), "x").unwrap();
        std::fs::write(data.join("node.key"), "x").unwrap();

        forget(&data).unwrap();
        assert_eq!(kept(&data, Addresses::default()).unwrap(), None);
        let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().flatten().collect();
        assert_eq!(left.len(), 1, "only the lock is left: {left:?}");

        take(&data, Entrance::Found, terms()).unwrap();
        assert_ne!(first.as_bytes(), ClusterKey::read_file(&path).unwrap().as_bytes());
    }

    #[test]
    fn a_damaged_place_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::open(dir.path()).unwrap();
        data.write(PLACE, b"?").unwrap();
        let error = kept(&data, Addresses::default()).unwrap_err().to_string();
        assert!(error.contains("place is damaged"), "{error}");
    }
}
