//! Who leads, as far as this node knows: from its own Raft, or by asking managers.

use std::sync::Arc;
use std::time::Duration;

use crypto::NodeId;
use futures::stream::{FuturesUnordered, StreamExt};
use membership::View;
use store::{RaftRole, RaftStatus, Store};
use tokio::sync::{Notify, watch};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::messages::{LEADER, LeaderAnswer, LeaderRequest};
use crate::peers::{Link, Peers};

/// A node without Raft asks so often while it knows no leader.
const SEARCH: Duration = Duration::from_millis(300);

/// And so often while it does: a new leader is otherwise noticed by a request that fails.
const CONFIRM: Duration = Duration::from_secs(2);

/// One answer. A manager that takes longer is no help.
const ANSWER: Duration = Duration::from_secs(1);

/// Managers that are asked at the same time.
const ASKED_MAX: usize = 3;

/// What is known of the leader.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Leader {
    /// Who leads.
    pub(crate) node: Option<NodeId>,
    /// Whether that is this node.
    pub(crate) here: bool,
    /// The cluster's genesis, from whoever answered.
    pub(crate) genesis: Option<[u8; 16]>,
}

/// Handle: who leads, and a way to doubt it.
#[derive(Clone, Debug)]
pub(crate) struct Leadership {
    leader: watch::Receiver<Leader>,
    doubt: Arc<Notify>,
}

impl Leadership {
    /// Builds the handle and the future that must be run for it to work.
    pub(crate) fn new(
        me: NodeId,
        store: Option<Store>,
        peers: Peers,
        view: watch::Receiver<Arc<View>>,
        stop: CancellationToken,
    ) -> (Self, impl Future<Output = ()>) {
        let (published, leader) = watch::channel(Leader::default());
        let doubt = Arc::new(Notify::new());
        let finder = Finder { me, peers, view, published, doubt: Arc::clone(&doubt), n_asked: 0 };
        (Self { leader, doubt }, finder.run(store, stop))
    }

    /// Who leads now.
    pub(crate) fn now(&self) -> Leader {
        *self.leader.borrow()
    }

    /// Changes of it.
    pub(crate) fn watch(&self) -> watch::Receiver<Leader> {
        self.leader.clone()
    }

    /// A request to the leader failed: ask again now.
    pub(crate) fn doubt(&self) {
        self.doubt.notify_one();
    }
}

struct Finder {
    me: NodeId,
    peers: Peers,
    view: watch::Receiver<Arc<View>>,
    published: watch::Sender<Leader>,
    doubt: Arc<Notify>,
    /// Counts rounds, so that each asks others first.
    n_asked: usize,
}

impl Finder {
    async fn run(mut self, store: Option<Store>, stop: CancellationToken) {
        let mut status = store.as_ref().map(Store::status);
        loop {
            let own = status.as_mut().map(|status| Arc::clone(&status.borrow_and_update()));
            // A Raft of ours that knows no leader may have been voted out while we were away, and
            // nobody tells it: then others know.
            let taking_part = |status: &Arc<RaftStatus>| {
                status.role != RaftRole::Outside && status.leader.is_some()
            };
            let wait = match own.filter(taking_part) {
                Some(status) => {
                    self.publish(self.as_raft_says(&status));
                    CONFIRM
                }
                None => {
                    let found = self.ask().await;
                    self.publish(found);
                    if found.node.is_some() { CONFIRM } else { SEARCH }
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = changed(&mut status) => {}
                () = self.doubt.notified() => {}
                () = sleep(wait) => {}
            }
        }
    }

    fn as_raft_says(&self, status: &RaftStatus) -> Leader {
        let node = status.leader.map(|(_, node)| node);
        let here = status.role == RaftRole::Leader && node == Some(self.me);
        Leader { node, here, genesis: status.cluster.map(|cluster| *cluster.as_bytes()) }
    }

    fn publish(&self, leader: Leader) {
        self.published.send_if_modified(|known| {
            let news = *known != leader;
            *known = leader;
            news
        });
    }

    /// Asks a few managers; the first that knows a leader is believed.
    async fn ask(&mut self) -> Leader {
        let mut candidates: Vec<_> = {
            let view = self.view.borrow();
            let eligible = view.alive().filter(|member| member.eligible && member.id != self.me);
            let mut all: Vec<_> =
                eligible.map(|member| (member.payload.raft_id == 0, member.id)).collect();
            all.sort_unstable();
            all.into_iter().map(|(_, id)| id).collect()
        };
        if candidates.is_empty() {
            return Leader::default();
        }
        let turn = self.n_asked % candidates.len();
        candidates.rotate_left(turn);
        self.n_asked = self.n_asked.wrapping_add(1);
        let peers = &self.peers;
        let mut answers: FuturesUnordered<_> =
            candidates.into_iter().take(ASKED_MAX).map(|node| ask_one(peers, node)).collect();
        let mut best = Leader::default();
        while let Some(answer) = answers.next().await {
            let Some(answer) = answer else { continue };
            best.genesis = best.genesis.or(answer.genesis);
            if answer.leader.is_some() {
                return Leader { node: answer.leader, here: false, genesis: best.genesis };
            }
        }
        best
    }
}

async fn changed(status: &mut Option<watch::Receiver<Arc<RaftStatus>>>) {
    if let Some(status) = status
        && status.changed().await.is_ok()
    {
        return;
    }
    // Without Raft there is nothing to wait for; with the store gone, the node is about to stop.
    std::future::pending::<()>().await;
}

async fn ask_one(peers: &Peers, node: NodeId) -> Option<LeaderAnswer> {
    let client = peers.client(node, Link::Control).await.ok()?;
    client.unary(LEADER, &LeaderRequest {}, ANSWER).await.ok()
}
