//! A small cluster for the tests of this crate.

use std::path::Path;
use std::sync::Arc;

use crate::certificate::Role;
use crate::credentials::Credentials;
use crate::identity::NodeKeys;
use crate::key::ClusterKey;
use crate::schedule::Authority;

/// The Unix time at which every test starts.
pub(crate) const NOW: u64 = 1_790_000_000;

pub(crate) fn authority() -> Arc<Authority> {
    Arc::new(Authority::from_key(&ClusterKey::generate().unwrap()))
}

pub(crate) fn holder(authority: &Arc<Authority>) -> Credentials {
    let keys = Arc::new(NodeKeys::generate().unwrap());
    Credentials::for_key_holder(keys, Arc::clone(authority), NOW, &[1])
}

pub(crate) fn worker(authority: &Authority, now: u64) -> Credentials {
    let keys = Arc::new(NodeKeys::generate().unwrap());
    let certificate = authority.issue(&keys.public(), Role::Worker, 1, now, Some([3; 16]));
    let psks = vec![(1, authority.gossip_psk(1))];
    Credentials::for_member(keys, certificate, authority.ca(), psks)
}

/// The cluster whose key is 32 times the byte 7, for golden files.
pub(crate) fn golden_authority() -> Authority {
    let text = crate::armor::write(crate::key::KEY_PREFIX, &[7; 32]);
    Authority::from_key(&ClusterKey::from_text(&text).unwrap())
}

/// Compares with a file of `crypto/golden`: other versions of this program read these bytes.
///
/// A new form is written once, with `SKEP_GOLDEN=write`; an existing one is never changed.
pub(crate) fn check_golden(name: &str, bytes: &[u8]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(name);
    if std::env::var_os("SKEP_GOLDEN").is_some() && !path.exists() {
        std::fs::write(&path, bytes).unwrap();
    }
    let golden = std::fs::read(&path).unwrap();
    assert!(golden == bytes, "{name} differs: this needs a new version of the message");
}
