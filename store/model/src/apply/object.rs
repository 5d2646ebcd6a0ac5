//! The cluster object.

use crate::command::{Applied, Refused};
use crate::id::{Index, TokenId};
use crate::object::{Cluster, ClusterSpec};
use crate::state::State;

use super::{At, touched};

/// Settings that are kept as they came: every field of Docker's, many times over.
const CLUSTER_BYTES_MAX: usize = 16 * 1024;
/// Docker's: names of secrets, configs and networks.
const NAME_LENGTH_MAX: usize = 64;

impl State {
    pub(super) fn update_cluster(
        &mut self,
        at: At,
        cluster: &Cluster,
        version: Index,
        spec: &ClusterSpec,
    ) -> Result<Applied, Refused> {
        if version != cluster.spec_version {
            return Err(Refused::OutOfSequence);
        }
        if !matches!(spec.voters, None | Some(1 | 3 | 5)) {
            return Err(Refused::Invalid("the number of voters must be 1, 3 or 5".to_owned()));
        }
        if CLUSTER_BYTES_MAX < spec.kept.len() {
            let text = format!("the settings are longer than {CLUSTER_BYTES_MAX} bytes");
            return Err(Refused::Invalid(text));
        }
        let mut next =
            Cluster { spec: spec.clone(), spec_version: at.index, ..touched(cluster, at) };
        // A rotated token admits nobody from the moment that its successor is shown.
        for (before, after) in [
            (cluster.worker_token(), next.worker_token()),
            (cluster.manager_token(), next.manager_token()),
        ] {
            if before != after {
                next.revoked_tokens.insert(before);
            }
        }
        let moved = (&next.spec.address_pools, next.spec.subnet_size)
            != (&cluster.spec.address_pools, cluster.spec.subnet_size);
        self.put_cluster(next);
        if moved {
            self.move_ingress(at);
        }
        self.revise();
        Ok(at.applied())
    }

    pub(super) fn revoke_token(&mut self, at: At, cluster: &Cluster, token: TokenId) -> Applied {
        if !cluster.revoked_tokens.contains(&token) {
            let mut cluster = touched(cluster, at);
            cluster.revoked_tokens.insert(token);
            self.put_cluster(cluster);
        }
        at.applied()
    }

    pub(super) fn raise_psk_epoch(
        &mut self,
        at: At,
        cluster: &Cluster,
    ) -> Result<Applied, Refused> {
        let Some(psk_epoch) = cluster.psk_epoch.checked_add(1) else {
            return Err(Refused::Precondition("there are no more generations of keys".to_owned()));
        };
        self.put_cluster(Cluster { psk_epoch, ..touched(cluster, at) });
        Ok(at.applied())
    }
}

pub(super) fn check_name(name: &str) -> Result<(), Refused> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    if name.len() <= NAME_LENGTH_MAX
        && name.chars().all(plain)
        && ends(name.chars().next())
        && ends(name.chars().last())
    {
        return Ok(());
    }
    Err(Refused::Invalid(
        "invalid name, only 64 [a-zA-Z0-9-_.] characters allowed, and the start and end \
         character must be [a-zA-Z0-9]"
            .to_owned(),
    ))
}
