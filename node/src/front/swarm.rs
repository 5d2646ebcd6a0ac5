//! `/swarm` of a member: the cluster object, its tokens, and the way out.

use std::sync::Arc;
use std::time::Duration;

use api::cluster::{Caller, Problem};
use api::wire::swarm::{JoinTokens, Rotate, Swarm, SwarmSpec};
use crypto::{Authority, Role};
use model::{Cluster, Command, Grant, Index, TokenId};
use tokio::time::timeout;

use super::Front;
use crate::{convert, entrance};

/// Leaving: the farewell, containers that are removed, a store that closes.
const LEAVE_MAX: Duration = Duration::from_secs(20);

/// Tokens of `join-token` do not grow old: they are rotated.
const NEVER: u64 = u64::MAX;

impl Front {
    pub(super) async fn show_swarm(&self, caller: &Caller) -> Result<Swarm, Problem> {
        let state = self.state(caller).await?;
        let cluster = state.cluster().ok_or_else(Problem::no_cluster)?;
        let credentials = Arc::clone(&self.credentials.borrow());
        let authority = credentials.authority.as_ref().ok_or_else(Problem::worker)?;
        Ok(Swarm {
            info: convert::cluster(cluster, &self.trust),
            join_tokens: tokens(authority, cluster),
        })
    }

    pub(super) async fn write_swarm(
        &self,
        caller: &Caller,
        version: u64,
        spec: &SwarmSpec,
        rotate: Rotate,
    ) -> Result<(), Problem> {
        let state = self.state(caller).await?;
        let cluster = state.cluster().ok_or_else(Problem::no_cluster)?;
        let mut next = entrance::cluster_spec(&cluster.spec, spec)?;
        if next.autolock {
            return Err(Problem::not_implemented(AUTOLOCK));
        }
        let fresh = || Some(TokenId::from_bytes(rand::random()));
        if rotate.worker_token {
            next.worker_token = fresh();
        }
        if rotate.manager_token {
            next.manager_token = fresh();
        }
        if rotate.unlock_key {
            next.unlock_epoch = next.unlock_epoch.saturating_add(1);
        }
        let command = Command::UpdateCluster { version: Index(version), spec: next };
        self.propose(caller, command).await.map(|_| ())
    }

    /// Says goodbye, and returns when this node is out.
    pub(super) async fn go(&self, force: bool) -> Result<(), Problem> {
        if !force {
            self.may_go()?;
        }
        // Gossip that has ended has nobody left to tell.
        let _ = self.membership.leave().await;
        self.leave.cancel();
        timeout(LEAVE_MAX, self.gone.cancelled()).await.map_err(|_| {
            Problem::unavailable("this node has said goodbye and is still removing its containers")
        })
    }

    /// A voter goes without force only if another node can take its place.
    fn may_go(&self) -> Result<(), Problem> {
        let voters = self.raft_view().voters;
        if !voters.contains(&self.me) {
            return Ok(());
        }
        let state = self.store.as_ref().map(|store| Arc::clone(&store.state().borrow()));
        let others = state.iter().flat_map(|state| state.nodes()).filter(|node| {
            node.id != self.me
                && node.grant == Grant::Eligible
                && node.status.state == model::NodeState::Ready
                && !voters.contains(&node.id)
        });
        if 0 < others.count() {
            return Ok(());
        }
        let start = "You are attempting to leave the swarm on a node that is participating as a \
                     manager. ";
        let n_left = voters.len() - 1;
        let text = if n_left == 0 {
            "Removing the last manager erases all current state of the swarm. Use `--force` to \
             ignore this message. "
                .to_owned()
        } else {
            format!(
                "Removing this node leaves {n_left} managers out of {}. Without a Raft quorum \
                 your swarm will be inaccessible. The only way to restore a swarm that has lost \
                 consensus is to reinitialize it with `--force-new-cluster`. Use `--force` to \
                 suppress this message.",
                voters.len()
            )
        };
        Err(Problem::unavailable(format!("{start}{text}")))
    }
}

/// What an autolock needs is not there yet; a key that lies open must not be believed wrapped.
pub(super) const AUTOLOCK: &str = "--autolock is not built yet: keep the data directory on an \
                                   encrypted disk, or give the key with --key-file";

/// The tokens of `docker swarm join-token`: the same text each time, because their secrets are
/// derived and their signatures deterministic.
fn tokens(authority: &Authority, cluster: &Cluster) -> JoinTokens {
    let text =
        |role, id: TokenId| authority.grant(role, *id.as_bytes(), NEVER, 0).to_text().to_string();
    JoinTokens {
        worker: text(Role::Worker, cluster.worker_token()),
        manager: text(Role::Eligible, cluster.manager_token()),
    }
}
