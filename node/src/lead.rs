//! What only the leader does: plan, judge health, choose voters. All of it ends with the term.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crypto::NodeId;
use futures::stream::{FuturesUnordered, StreamExt};
use membership::{Liveness, Membership, ProbeOutcome, View};
use model::{Command, UnixNanos};
use planner::Snapshot;
use store::Store;
use store::genesis::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, interval, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::dispatch::Served;
use crate::front::Notices;
use crate::front::status::unix_nanos;
use crate::health::{self, Gossip, Sight, Verdict};
use crate::ingress::suspects;
use crate::leadership::Leadership;
use crate::peers::Peers;

/// Plans are made at most so often; what changes meanwhile is planned together.
const PLAN_GATHER: Duration = Duration::from_millis(15);

/// Without any change a plan is made this often: delays end, clocks pass.
const PLAN_PERIOD: Duration = Duration::from_secs(5);

/// A refused plan was made for an older state; the next one follows at once, almost.
const PLAN_RETRY: Duration = Duration::from_millis(20);

/// One proposal.
const DEADLINE: Duration = Duration::from_secs(3);

/// Half of the gossip interval: a suspicion is acted on when it is fresh.
const HEALTH_PERIOD: Duration = Duration::from_millis(250);

/// Nodes probed in one round; the others follow 250 ms later.
const PROBES_MAX: usize = 16;

/// What the leader works with.
#[derive(Clone, Debug)]
pub(crate) struct Lead {
    pub(crate) me: NodeId,
    pub(crate) store: Store,
    pub(crate) leadership: Leadership,
    pub(crate) membership: Membership,
    pub(crate) view: watch::Receiver<Arc<View>>,
    pub(crate) served: Served,
    pub(crate) peers: Peers,
    pub(crate) founding: watch::Receiver<Option<Handle>>,
    pub(crate) notices: watch::Sender<Arc<Notices>>,
}

impl Lead {
    /// Works whenever this node leads, until told to stop.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut leader = self.leadership.watch();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                changed = leader.wait_for(|leader| leader.here) => if changed.is_err() { return },
            }
            info!("leading");
            tokio::select! {
                () = self.vote() => {}
                () = stop.cancelled() => return,
                _ = leader.wait_for(|leader| !leader.here) => info!("no longer leading"),
                () = self.plan() => {}
                () = self.judge() => {}
            }
        }
    }

    /// Writes the first entry of a new cluster: who founded it.
    async fn found(&self) {
        let genesis = self
            .founding
            .borrow()
            .as_ref()
            .and_then(|founding| founding.progress().borrow().genesis.clone());
        let founded = self.store.state().borrow().cluster().is_some();
        let Some(genesis) = genesis.filter(|_| !founded) else { return };
        match self.store.propose(genesis.found_command(), None, DEADLINE).await {
            Ok(_) => info!("cluster founded"),
            // Another leader was faster, or it is tried again before the next plan.
            Err(error) => debug!(error = &error as &dyn std::error::Error, "founding not written"),
        }
    }

    /// Plans until the term ends.
    async fn plan(&self) {
        let mut states = self.store.state();
        let mut view = self.view.clone();
        let mut last = BTreeSet::new();
        loop {
            let state = Arc::clone(&states.borrow_and_update());
            if state.cluster().is_none() {
                self.found().await;
                sleep(PLAN_RETRY).await;
                continue;
            }
            let suspects = suspects(&view.borrow_and_update());
            let now = unix_nanos();
            let plan = planner::plan(&Snapshot { state: &state, now, suspects: &suspects });
            let wait = wait_of(plan.wake_at, now);
            last.clone_from(&suspects);
            if plan.decisions.is_empty() {
                tokio::select! {
                    changed = states.changed() => if changed.is_err() { return },
                    () = suspects_change(&mut view, &last) => {}
                    () = sleep(wait) => {}
                }
                sleep(PLAN_GATHER).await;
                continue;
            }
            let n_decisions = plan.decisions.len();
            let command = Command::AdoptPlan { based_on: plan.based_on, decisions: plan.decisions };
            match self.store.propose(command, None, DEADLINE).await {
                Ok(_) => debug!(n_decisions, "plan adopted"),
                Err(error) => {
                    debug!(error = &error as &dyn std::error::Error, "plan not adopted");
                    sleep(PLAN_RETRY).await;
                }
            }
        }
    }

    /// Judges the health of nodes until the term ends.
    async fn judge(&self) {
        let began = Instant::now();
        let mut period = interval(HEALTH_PERIOD);
        let mut probes: BTreeMap<NodeId, (Instant, bool)> = BTreeMap::new();
        loop {
            period.tick().await;
            let state = Arc::clone(&self.store.state().borrow());
            let view = Arc::clone(&self.view.borrow());
            let leading = began.elapsed();
            let sights = state
                .nodes()
                .map(|node| (node.id, self.sight(node.id, &view, leading, probes.get(&node.id))));
            let sights: BTreeMap<_, _> = sights.collect();
            let verdicts = health::judge(self.me, &state, &sights, leading, view.self_suspect);
            let mut writes = Vec::new();
            let mut suspects = Vec::new();
            for (node, verdict) in verdicts {
                match verdict {
                    Verdict::Write(state, why) => writes.push((node, state, why.to_owned())),
                    Verdict::Probe => suspects.push(node),
                    Verdict::Leave => {}
                }
            }
            self.write(writes).await;
            let asked = suspects.into_iter().take(PROBES_MAX).map(|node| async move {
                let outcome = self.membership.probe(node).await;
                (node, !matches!(outcome, Ok(ProbeOutcome::Dead)))
            });
            let mut asked: FuturesUnordered<_> = asked.collect();
            while let Some((node, alive)) = asked.next().await {
                probes.insert(node, (Instant::now(), alive));
            }
        }
    }

    fn sight(
        &self,
        node: NodeId,
        view: &View,
        leading: Duration,
        probe: Option<&(Instant, bool)>,
    ) -> Sight {
        let gossip = match view.members.get(&node).map(|member| member.liveness) {
            None => Gossip::Unseen,
            Some(Liveness::Alive) => Gossip::Alive,
            Some(Liveness::Suspect { .. }) => Gossip::Suspect,
            Some(Liveness::Left) => Gossip::Left,
        };
        // Who never came to this leader counts from the beginning of its term.
        let unserved = self.served.unserved(node).unwrap_or(Some(leading));
        let unserved = unserved.map(|age| age.min(leading));
        let probe = probe.map(|(at, alive)| (at.elapsed(), *alive));
        Sight { gossip, unserved, probe }
    }

    async fn write(&self, writes: Vec<(NodeId, model::NodeState, String)>) {
        if writes.is_empty() {
            return;
        }
        for (node, state, why) in &writes {
            info!(node.id = %node.short(), state = ?state, why, "node state changed");
        }
        let proposed = self.store.propose(Command::SetNodeStates(writes), None, DEADLINE).await;
        if let Err(error) = proposed {
            // The next round judges again.
            warn!(error = &error as &dyn std::error::Error, "node states not written");
        }
    }
}

/// Until the plan says that time alone changes something.
fn wait_of(wake_at: Option<UnixNanos>, now: UnixNanos) -> Duration {
    wake_at.map_or(PLAN_PERIOD, |at| Duration::from_nanos(at.since(now)).min(PLAN_PERIOD))
}

async fn suspects_change(view: &mut watch::Receiver<Arc<View>>, known: &BTreeSet<NodeId>) {
    // An error means that gossip has ended, and with it soon the node.
    let _ = view.wait_for(|view| suspects(view) != *known).await;
}
