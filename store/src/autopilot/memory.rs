//! For how long things have been as they are: observations become facts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crypto::NodeId;
use model::DesiredRole;

use super::{Facts, Inputs, LAG_MAX, Raft};

/// Deaths within this time are one event, perhaps of the network.
const LATELY: Duration = Duration::from_secs(15);
/// A node that was replaced once is no candidate for so long; twice as long each further time.
const BAN: Duration = Duration::from_secs(120);
/// But not longer.
const BAN_MAX: Duration = Duration::from_secs(3_600);
/// A node that was healthy for so long starts with a clean slate.
const FORGIVEN: Duration = Duration::from_secs(3_600);

/// How a node looks at this moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Health {
    /// It answers.
    Alive,
    /// Gossip suspects it; no probe has confirmed it.
    Suspect,
    /// Gossip and probes agree that it is dead.
    Dead,
}

/// One admitted node at this moment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Seen {
    /// Its number in Raft.
    pub raft_id: u64,
    /// Whether it holds the cluster key.
    pub eligible: bool,
    /// What a user wants of it.
    pub role: DesiredRole,
    /// Whether a user drains it.
    pub draining: bool,
    /// Its zone; empty if it has none.
    pub zone: String,
    /// Whether it lives.
    pub health: Health,
}

/// All that is seen at one moment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Observation {
    /// What Raft says.
    pub raft: Raft,
    /// Every admitted node.
    pub nodes: BTreeMap<NodeId, Seen>,
    /// Number of voters that a user wants.
    pub wanted: Option<u8>,
    /// Since the cluster was founded.
    pub cluster_age: Duration,
}

#[derive(Clone, Debug, Default)]
struct Track {
    dead_since: Option<Duration>,
    healthy_since: Option<Duration>,
    caught_up_since: Option<Duration>,
    banned_until: Option<Duration>,
    n_flaps: u32,
}

/// What a leader remembers between two decisions. A new leader begins with nothing, and so
/// with caution.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    tracks: BTreeMap<NodeId, Track>,
    voters: Option<BTreeSet<NodeId>>,
    changed_at: Option<Duration>,
}

impl Memory {
    /// Takes note of this moment. `now` is any clock that only goes forward.
    pub fn observe(&mut self, now: Duration, seen: &Observation) -> Inputs {
        self.tracks.retain(|node, _| seen.nodes.contains_key(node));
        self.note_change(now, &seen.raft);
        let mut nodes = BTreeMap::new();
        for (id, node) in &seen.nodes {
            let track = self.tracks.entry(*id).or_default();
            let me = node.raft_id == seen.raft.leader;
            track.note(now, if me { Health::Alive } else { node.health });
            let lag = seen.raft.lag.get(&node.raft_id);
            let caught_up = lag.is_some_and(|lag| *lag < LAG_MAX);
            track.caught_up_since = since(track.caught_up_since, caught_up, now);
            nodes.insert(*id, track.facts(now, node));
        }
        let lately = |facts: &&Facts| facts.dead_for.is_some_and(|age| age < LATELY);
        Inputs {
            n_died_lately: nodes.values().filter(lately).count(),
            raft: seen.raft.clone(),
            nodes,
            wanted: seen.wanted,
            cluster_age: seen.cluster_age,
            since_change: self.changed_at.map(|at| now.saturating_sub(at)),
        }
    }

    /// A voter that was dead and votes no more was replaced for that.
    fn note_change(&mut self, now: Duration, raft: &Raft) {
        let voters: BTreeSet<NodeId> = raft.voters.values().copied().collect();
        if let Some(before) = self.voters.as_ref().filter(|before| **before != voters) {
            self.changed_at = Some(now);
            for node in before.difference(&voters) {
                if let Some(track) = self.tracks.get_mut(node).filter(|t| t.dead_since.is_some()) {
                    let ban = BAN.saturating_mul(1 << track.n_flaps.min(10)).min(BAN_MAX);
                    track.banned_until = Some(now + ban);
                    track.n_flaps += 1;
                }
            }
        }
        self.voters = Some(voters);
    }
}

impl Track {
    fn note(&mut self, now: Duration, health: Health) {
        self.dead_since = since(self.dead_since, health == Health::Dead, now);
        self.healthy_since = since(self.healthy_since, health == Health::Alive, now);
        if self.healthy_since.is_some_and(|since| since + FORGIVEN <= now) {
            self.n_flaps = 0;
        }
    }

    fn facts(&self, now: Duration, seen: &Seen) -> Facts {
        let age = |since: Option<Duration>| since.map(|since| now.saturating_sub(since));
        Facts {
            raft_id: seen.raft_id,
            eligible: seen.eligible,
            role: seen.role,
            draining: seen.draining,
            zone: seen.zone.clone(),
            dead_for: age(self.dead_since),
            healthy_for: age(self.healthy_since),
            caught_up_for: age(self.caught_up_since),
            banned_for: self
                .banned_until
                .and_then(|until| until.checked_sub(now))
                .filter(|left| !left.is_zero()),
        }
    }
}

/// Since when something holds, given since when it held before.
const fn since(before: Option<Duration>, holds: bool, now: Duration) -> Option<Duration> {
    match (holds, before) {
        (false, _) => None,
        (true, Some(since)) => Some(since),
        (true, None) => Some(now),
    }
}
