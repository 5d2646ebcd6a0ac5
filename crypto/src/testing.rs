//! A small cluster for the tests of this crate.

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
