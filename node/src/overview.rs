//! What the leader sees of the cluster: asked for by every node that has no part in Raft, and
//! kept for the time when there is no leader to ask.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crypto::NodeId;
use crypto::stream::{Code, Status};
use model::{Grant, NodeState};
use store::Store;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::front::Notices;
use crate::leadership::Leadership;
use crate::messages::{NodeOverview, OVERVIEW, Overview, OverviewRequest};
use crate::peers::{Link, Peers};

/// An answer is used again for so long: what polls every 100 ms then asks the leader less often.
const FRESH: Duration = Duration::from_millis(250);

/// Nobody waits longer than this for a leader that does not answer; what was known is shown.
const PATIENCE: Duration = Duration::from_millis(500);

/// Even if nobody looks, so that there is something to show when the leader is gone. Three
/// hundred nodes then ask for 10 KB 10 times a second together.
const REFRESH: Duration = Duration::from_secs(30);

/// After a change of leaders nodes ask at different times.
const SPREAD_MILLIS: u64 = 2_000;

/// The leader's side.
#[derive(Clone)]
pub(crate) struct Overseer {
    pub(crate) store: Store,
    pub(crate) leadership: Leadership,
    pub(crate) notices: watch::Receiver<Arc<Notices>>,
}

impl Overseer {
    /// Everything, if this node leads.
    pub(crate) fn answer(&self) -> Result<Overview, Status> {
        if !self.leadership.now().here {
            return Err(Status::new(Code::NotLeader, "this node does not lead"));
        }
        let state = Arc::clone(&self.store.state().borrow());
        let raft = Arc::clone(&self.store.status().borrow());
        let notices = Arc::clone(&self.notices.borrow());
        let nodes = state.nodes().map(|node| NodeOverview {
            id: node.id,
            eligible: node.grant == Grant::Eligible,
            down: node.status.state == NodeState::Down,
            availability: node.spec.availability,
            why: notices.why.get(&node.id).cloned().unwrap_or_default(),
        });
        Ok(Overview {
            term: raft.term,
            voters: raft.voters.clone(),
            learners: raft.learners.clone(),
            last_log: raft.last_log,
            applied: raft.applied,
            quorum_age_millis: raft.quorum_ack_age().map(millis),
            autopilot: notices.autopilot.clone(),
            nodes: nodes.collect(),
        })
    }
}

/// What a leader said, and how long ago if it cannot be asked now.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Who said it.
    pub(crate) leader: NodeId,
    /// What.
    pub(crate) overview: Arc<Overview>,
    /// `None`: just now.
    pub(crate) stale: Option<Duration>,
}

#[derive(Debug)]
struct Known {
    leader: NodeId,
    at: Instant,
    overview: Arc<Overview>,
}

/// Handle: asks the leader, remembers what it said.
#[derive(Clone, Debug)]
pub(crate) struct Overviews {
    leadership: Leadership,
    peers: Peers,
    // A std mutex, never held across an await: one value, read by requests.
    known: Arc<Mutex<Option<Known>>>,
}

impl Overviews {
    pub(crate) fn new(leadership: Leadership, peers: Peers) -> Self {
        Self { leadership, peers, known: Arc::default() }
    }

    /// What the leader says, or last said. `None` on the leader itself and before the first answer.
    pub(crate) async fn now(&self) -> Option<Seen> {
        let leader = self.leadership.now();
        if leader.here {
            return None;
        }
        if let Some(known) = self.remembered().filter(|seen| seen.stale.is_none()) {
            return Some(known);
        }
        if let Some(node) = leader.node {
            match timeout(PATIENCE, self.ask(node)).await {
                Ok(Ok(())) => {}
                Ok(Err(why)) => {
                    debug!(peer.id = %node.short(), why, "leader did not say what it sees");
                    self.leadership.doubt();
                }
                Err(_) => self.leadership.doubt(),
            }
        }
        self.remembered()
    }

    fn remembered(&self) -> Option<Seen> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.as_ref().map(|known| {
            let age = known.at.elapsed();
            Seen {
                leader: known.leader,
                overview: Arc::clone(&known.overview),
                stale: (FRESH < age).then_some(age),
            }
        })
    }

    async fn ask(&self, leader: NodeId) -> Result<(), String> {
        let client = self.peers.client(leader, Link::Control).await;
        let client = client.map_err(|error| error.to_string())?;
        let answer = client.unary::<_, Overview>(OVERVIEW, &OverviewRequest {}, PATIENCE).await;
        let overview = Arc::new(answer.map_err(|error| error.to_string())?);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Some(Known { leader, at: Instant::now(), overview });
        Ok(())
    }

    /// Keeps something to show, until told to stop.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut leader = self.leadership.watch();
        let spread = Duration::from_millis(rand::random::<u64>() % SPREAD_MILLIS);
        loop {
            leader.mark_unchanged();
            let _ = self.now().await; // Kept for later.
            tokio::select! {
                () = stop.cancelled() => return,
                changed = leader.changed() => if changed.is_err() { return },
                () = sleep(REFRESH) => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(spread) => {}
            }
        }
    }
}

fn millis(age: Duration) -> u64 {
    u64::try_from(age.as_millis()).unwrap_or(u64::MAX)
}
