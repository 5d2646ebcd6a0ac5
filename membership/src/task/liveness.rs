//! Who is alive: what chitchat's detector says, what we heard ourselves, and our own doubts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crypto::{Certificate, NodeId, Role};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::guard::{GossipId, Guard, Known};
use crate::lifeguard::Lifeguard;
use crate::record::{Payload, Presence};
use crate::view::{Liveness, Member, View};

/// The detection time in gossip intervals: what phi 8 needs at worst.
const DETECTION: u32 = 8;

/// A packet of its own keeps a node alive for so many intervals, whatever gossip says.
const OWN_WORD: u32 = 6;

/// Who has been suspected for longer no longer counts when we ask whether we see half: a rack that
/// burnt down must not make the rest doubt itself for the quarter of an hour that ids live.
const COUNTED: Duration = Duration::from_secs(60);

/// Round trips and counters are news so often.
const DETAILS: Duration = Duration::from_secs(5);

/// Remembers who was alive, to tell what is new.
#[derive(Debug)]
pub(super) struct Watcher {
    interval: Duration,
    lifeguard: Lifeguard,
    alive: BTreeSet<NodeId>,
    suspects: BTreeMap<NodeId, Instant>,
    /// Who has ever been alive here. Whom we only heard of is nobody that we lost.
    met: BTreeSet<NodeId>,
    incarnations: BTreeMap<NodeId, u64>,
}

/// Ourselves, for the view.
pub(super) struct Myself<'a> {
    pub(super) id: &'a GossipId,
    pub(super) payload: &'a Payload,
    pub(super) certificate: &'a Certificate,
    pub(super) since: Instant,
}

impl Watcher {
    pub(super) fn new(now: Instant, interval: Duration) -> Self {
        Self {
            interval,
            lifeguard: Lifeguard::new(now, interval, interval * DETECTION),
            alive: BTreeSet::new(),
            suspects: BTreeMap::new(),
            met: BTreeSet::new(),
            incarnations: BTreeMap::new(),
        }
    }

    pub(super) fn tick(&mut self, now: Instant) {
        self.lifeguard.tick(now);
    }

    /// Others that are alive.
    pub(super) fn alive(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.alive.iter().copied()
    }

    pub(super) fn n_alive_others(&self) -> usize {
        self.alive.len()
    }

    pub(super) fn is_alive(&self, node: NodeId) -> bool {
        self.alive.contains(&node)
    }

    /// Makes the view of this moment, seeds aside.
    pub(super) fn look(
        &mut self,
        now: Instant,
        guard: &Guard,
        live: &BTreeSet<GossipId>,
        myself: &Myself<'_>,
    ) -> View {
        let own_word = self.interval * OWN_WORD;
        let heard = |known: &Known| {
            live.contains(&known.id) || known.heard_at.is_some_and(|at| now < at + own_word)
        };
        self.count(now, guard, heard);
        let mut members = BTreeMap::new();
        for known in guard.members() {
            let liveness = self.judge(now, known, heard(known));
            members.insert(known.node(), member(known, liveness));
        }
        self.forget(&members);
        members.insert(guard.me(), own_member(guard.me(), myself));
        View {
            me: guard.me(),
            members,
            n_known_ids: guard.n_ids(),
            self_suspect: self.lifeguard.is_self_suspect(now),
            rival_incarnation: guard.rival_incarnation(),
            seeds: Vec::new(),
            changed_at: now,
        }
    }

    /// Whether a view is worth waking everybody for.
    pub(super) fn is_news(&self, now: Instant, old: &View, new: &View) -> bool {
        !old.same_news(new) || now >= old.changed_at + DETAILS
    }

    /// Asks whether we see half of those who should be there, ourselves among them.
    fn count(&mut self, now: Instant, guard: &Guard, heard: impl Fn(&Known) -> bool) {
        let (mut n_alive, mut n_members) = (1, 1);
        for known in guard.members().filter(|known| known.payload.state == Presence::Alive) {
            if !self.met.contains(&known.node()) {
                continue;
            }
            let since = self.suspects.get(&known.node());
            if since.is_some_and(|since| *since + COUNTED <= now) {
                continue;
            }
            n_members += 1;
            n_alive += usize::from(heard(known));
        }
        self.lifeguard.counted(now, n_alive, n_members);
    }

    fn judge(&mut self, now: Instant, known: &Known, heard: bool) -> Liveness {
        let node = known.node();
        let was_alive = self.alive.contains(&node);
        // Who doubts itself accuses nobody new.
        let spared = was_alive && self.lifeguard.holds(now);
        let never_seen = !was_alive && !self.suspects.contains_key(&node);
        let since = if never_seen { known.first_seen } else { now };
        let since = self.suspects.get(&node).copied().unwrap_or(since);
        let liveness = Liveness::of(known.payload.state, heard || spared, since);
        match liveness {
            Liveness::Alive => {
                let back = self.suspects.remove(&node).is_some();
                self.met.insert(node);
                if self.alive.insert(node) {
                    info!(node.id = %node, address = %known.id.address, back, "Member is alive");
                }
            }
            Liveness::Suspect { since } => {
                self.suspects.insert(node, since);
                if self.alive.remove(&node) {
                    warn!(node.id = %node, address = %known.id.address,
                        unanswered = known.n_unanswered, "Member is suspected");
                }
            }
            Liveness::Left => {
                self.suspects.remove(&node);
                if self.alive.remove(&node) {
                    info!(node.id = %node, "Member left");
                }
            }
        }
        let incarnation = known.record.incarnation;
        if self.incarnations.insert(node, incarnation).is_some_and(|old| old != incarnation) {
            info!(node.id = %node, incarnation, "Member restarted");
        }
        liveness
    }

    fn forget(&mut self, members: &BTreeMap<NodeId, Member>) {
        self.alive.retain(|node| members.contains_key(node));
        self.suspects.retain(|node, _| members.contains_key(node));
        self.met.retain(|node| members.contains_key(node));
        self.incarnations.retain(|node, _| members.contains_key(node));
    }
}

fn member(known: &Known, liveness: Liveness) -> Member {
    Member {
        id: known.node(),
        address: known.id.address,
        incarnation: known.record.incarnation,
        payload: Arc::clone(&known.payload),
        eligible: known.is_eligible(),
        liveness,
        rtt: known.rtt,
        n_unanswered: known.n_unanswered,
        first_seen: known.first_seen,
    }
}

fn own_member(me: NodeId, myself: &Myself<'_>) -> Member {
    Member {
        id: me,
        address: myself.id.address,
        incarnation: myself.id.generation,
        payload: Arc::new(myself.payload.clone()),
        eligible: myself.payload.eligible && myself.certificate.claims().role == Role::Eligible,
        liveness: Liveness::of(myself.payload.state, true, myself.since),
        rtt: None,
        n_unanswered: 0,
        first_seen: myself.since,
    }
}
