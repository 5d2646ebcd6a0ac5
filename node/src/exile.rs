//! Learns that this node was removed: nobody talks to it any more, so it asks why.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crypto::Role;
use membership::View;
use tokio::net::lookup_host;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::front::Notices;
use crate::messages::{Assignments, STANDING, StandingAnswer, StandingRequest};
use crate::peers::{Link, Peers};

/// An election and a search for its winner are over by then; who is still told nothing asks.
const UNTOLD: Duration = Duration::from_secs(2);

/// Between two rounds of questions.
const AGAIN: Duration = Duration::from_secs(2);

/// One dial and one answer.
const ANSWER: Duration = Duration::from_secs(2);

/// Nodes that are asked in one round.
const ASKED_MAX: usize = 4;

/// Addresses of one seed's name that are looked at.
const ADDRESSES_MAX: usize = 4;

/// What a user reads.
pub(crate) const REMOVED: &str = "this node was removed from the cluster and runs none of its \
    tasks: stop it, and to bring the machine back start it with an empty data directory";

/// What it works with.
pub(crate) struct Exile {
    pub(crate) seeds: Vec<String>,
    pub(crate) peers: Peers,
    pub(crate) view: watch::Receiver<Arc<View>>,
    /// Whether a leader tells us what to do. Our own Raft may name one that does not talk to us.
    pub(crate) following: watch::Receiver<bool>,
    pub(crate) joined: watch::Receiver<bool>,
    pub(crate) removed: watch::Sender<bool>,
    pub(crate) assignments: watch::Sender<Option<Arc<Assignments>>>,
    pub(crate) notices: watch::Sender<Arc<Notices>>,
}

impl Exile {
    /// Asks while no leader talks to us; acts once, and for good, when the answer is that we are out.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.learn() => {
                self.leave();
                stop.cancelled().await;
            }
        }
    }

    async fn learn(&mut self) {
        if self.joined.wait_for(|joined| *joined).await.is_err() {
            return std::future::pending().await;
        }
        let mut alone_since: Option<Instant> = None;
        let mut turn = 0;
        loop {
            if *self.following.borrow() {
                alone_since = None;
            } else if UNTOLD <= alone_since.get_or_insert_with(Instant::now).elapsed() {
                let addresses = self.addresses().await;
                for nth in 0..addresses.len().min(ASKED_MAX) {
                    let address = addresses[(turn + nth) % addresses.len()];
                    if timeout(ANSWER, self.says_removed(address)).await == Ok(true) {
                        return;
                    }
                }
                turn = turn.wrapping_add(ASKED_MAX);
            }
            sleep(AGAIN).await;
        }
    }

    /// Everybody who may still answer: gossip has gone silent.
    async fn addresses(&self) -> Vec<SocketAddr> {
        let mut addresses: Vec<_> = {
            let view = self.view.borrow();
            let others = view.members.values().filter(|member| member.id != view.me);
            others.filter(|member| member.eligible).map(|member| member.address).collect()
        };
        for seed in &self.seeds {
            if let Ok(found) = lookup_host(seed).await {
                addresses.extend(found.take(ADDRESSES_MAX));
            }
        }
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    }

    async fn says_removed(&self, address: SocketAddr) -> bool {
        let Ok(client) = self.peers.dial_address(address, Link::Control).await else {
            return false;
        };
        // One bad worker stays one bad worker.
        if client.peer().role != Role::Eligible {
            return false;
        }
        let answer = client.unary::<_, StandingAnswer>(STANDING, &StandingRequest {}, ANSWER).await;
        answer.is_ok_and(|answer| answer.removed)
    }

    /// Its tasks run elsewhere by now: here they end.
    fn leave(&self) {
        warn!("{REMOVED}");
        self.removed.send_replace(true);
        self.notices.send_modify(|notices| {
            Arc::make_mut(notices).warnings.push(REMOVED.to_owned());
        });
        self.assignments.send_replace(Some(Arc::default()));
    }
}
