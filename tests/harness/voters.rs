//! A Raft group in one thread: autopilot is real, elections and logs are a few numbers.
//!
//! Its purpose is what no single decision shows: that a life full of failures, leaders that
//! change and changes that are interrupted ends with the voters that there should be.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crypto::NodeId;
use model::DesiredRole;
use store::autopilot::{Change, Health, Memory, Observation, Raft, Seen, decide};

/// A second between two decisions.
const TICK: Duration = Duration::from_secs(1);
/// Silent for so many seconds: gossip suspects it, then probes convict it.
const SUSPECTED_AFTER: u64 = 4;
const DEAD_AFTER: u64 = 6;
/// Entries that a new learner lacks, that a member gets in a second, and that are written in one.
const LAG_NEW: u64 = 3_000;
const CAUGHT_UP: u64 = 2_000;
const WRITTEN: u64 = 50;

/// One node that may vote.
#[derive(Clone, Debug)]
pub struct Member {
    /// Whether it answers.
    pub is_up: bool,
    /// Whether a user drains it.
    pub is_draining: bool,
    /// Its zone.
    pub zone: String,
    silent_seconds: u64,
    lag: u64,
}

/// A group of members by Raft id, and all that was broken in its life.
#[derive(Debug)]
pub struct Group {
    /// Who is there.
    pub members: BTreeMap<u64, Member>,
    /// Who votes.
    pub voters: BTreeSet<u64>,
    /// Who leads.
    pub leader: Option<u64>,
    /// The next change of voters stays half done, and the leader falls.
    pub is_next_change_interrupted: bool,
    /// What must never be, and was.
    pub violations: Vec<String>,
    learners: BTreeSet<u64>,
    joint: Option<BTreeSet<u64>>,
    memory: Memory,
    now: Duration,
}

fn node(raft_id: u64) -> NodeId {
    NodeId::of_key(&[u8::try_from(raft_id).unwrap(); 32])
}

impl Group {
    /// So many nodes, of which the first ones vote.
    #[must_use]
    pub fn new(n_members: u64, n_voters: u64) -> Self {
        let mut group = Self {
            members: BTreeMap::new(),
            voters: (1..=n_voters).collect(),
            leader: None,
            is_next_change_interrupted: false,
            violations: Vec::new(),
            learners: BTreeSet::new(),
            joint: None,
            memory: Memory::default(),
            now: Duration::ZERO,
        };
        (0..n_members).for_each(|_| group.join(""));
        group
    }

    /// One more node.
    pub fn join(&mut self, zone: &str) {
        let raft_id = self.members.len() as u64 + 1;
        let member = Member {
            is_up: true,
            is_draining: false,
            zone: zone.to_owned(),
            silent_seconds: 0,
            lag: LAG_NEW,
        };
        self.members.insert(raft_id, member);
    }

    /// A member falls, or comes back.
    pub fn set_up(&mut self, raft_id: u64, is_up: bool) {
        self.members.get_mut(&raft_id).unwrap().is_up = is_up;
    }

    /// Voters that there should be: autopilot's table of Docker's odd numbers.
    #[must_use]
    pub fn target(&self) -> usize {
        match self.members.len() {
            0..3 => 1,
            3..7 => 3,
            7.. => 5,
        }
    }

    /// So many seconds go by.
    pub fn after(&mut self, seconds: u64) {
        (0..seconds).for_each(|_| self.tick());
    }

    /// How many seconds go by until it holds; `None` if it does not within the limit.
    pub fn until(&mut self, limit: u64, holds: impl Fn(&Self) -> bool) -> Option<u64> {
        (0..=limit).find(|_| {
            let done = holds(self);
            if !done {
                self.tick();
            }
            done
        })
    }

    /// Whether all voters answer, and are as many as there should be.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.joint.is_none()
            && self.voters.len() == self.target()
            && self.voters.iter().all(|voter| self.members[voter].is_up)
    }

    fn tick(&mut self) {
        self.now += TICK;
        for member in self.members.values_mut() {
            member.silent_seconds = if member.is_up { 0 } else { member.silent_seconds + 1 };
        }
        self.elect();
        let receives: BTreeSet<u64> = self.everybody();
        for (raft_id, member) in &mut self.members {
            let written = if self.leader.is_some() { WRITTEN } else { 0 };
            if self.leader.is_some() && member.is_up && receives.contains(raft_id) {
                member.lag = member.lag.saturating_sub(CAUGHT_UP);
            } else {
                member.lag += written;
            }
            if Some(*raft_id) == self.leader {
                member.lag = 0;
            }
        }
        if let Some(leader) = self.leader {
            let seen = self.observe(leader);
            if let Some(change) = decide(&self.memory.observe(self.now, &seen)).change {
                self.change(change);
            }
        }
    }

    /// Voters of both sets, and learners.
    fn everybody(&self) -> BTreeSet<u64> {
        let joint = self.joint.iter().flatten();
        self.voters.iter().chain(joint).chain(&self.learners).copied().collect()
    }

    fn has_quorum(&self, set: &BTreeSet<u64>, works: impl Fn(&Member) -> bool) -> bool {
        let n_working = set.iter().filter(|voter| works(&self.members[*voter])).count();
        set.len() / 2 < n_working
    }

    fn can_commit(&self) -> bool {
        let up = |member: &Member| member.is_up;
        self.has_quorum(&self.voters, up)
            && self.joint.as_ref().is_none_or(|joint| self.has_quorum(joint, up))
    }

    /// A leader without a quorum steps down; the voter with the longest log follows.
    fn elect(&mut self) {
        let leads = self.leader.is_some_and(|leader| self.members[&leader].is_up);
        if leads && self.can_commit() {
            return;
        }
        self.leader = None;
        if !self.can_commit() {
            return;
        }
        let voters = self.voters.iter().chain(self.joint.iter().flatten());
        self.leader = voters
            .copied()
            .filter(|voter| self.members[voter].is_up)
            .min_by_key(|voter| self.members[voter].lag);
        self.memory = Memory::default();
    }

    fn observe(&self, leader: u64) -> Observation {
        let named = |set: &BTreeSet<u64>| set.iter().map(|id| (*id, node(*id))).collect();
        let union = self.voters.iter().chain(self.joint.iter().flatten()).copied().collect();
        let lag = self.everybody().into_iter().map(|id| (id, self.members[&id].lag)).collect();
        let nodes = self.members.iter().map(|(raft_id, member)| {
            let health = match member.silent_seconds {
                0..SUSPECTED_AFTER => Health::Alive,
                SUSPECTED_AFTER..DEAD_AFTER => Health::Suspect,
                DEAD_AFTER.. => Health::Dead,
            };
            let seen = Seen {
                raft_id: *raft_id,
                eligible: true,
                role: DesiredRole::Automatic,
                draining: member.is_draining,
                zone: member.zone.clone(),
                health,
            };
            (node(*raft_id), seen)
        });
        Observation {
            raft: Raft {
                voters: named(&union),
                learners: named(&self.learners),
                joint: self.joint.clone(),
                settled: true,
                leader,
                lag,
                quorum_ack_age: Some(Duration::from_millis(60)),
            },
            nodes: nodes.collect(),
            wanted: None,
            cluster_age: self.now,
        }
    }

    fn change(&mut self, change: Change) {
        match change {
            Change::AddLearner { raft_id, .. } => {
                self.learners.insert(raft_id);
            }
            Change::RemoveLearner { raft_id } => {
                self.learners.remove(&raft_id);
            }
            Change::TransferLeader { raft_id } => {
                self.judge_leader(raft_id);
                self.leader = Some(raft_id);
                self.memory = Memory::default();
            }
            Change::Voters(new) => {
                self.judge(&new);
                self.joint = Some(new);
                if self.is_next_change_interrupted {
                    self.is_next_change_interrupted = false;
                    let leader = self.leader.take();
                    leader.into_iter().for_each(|leader| self.set_up(leader, false));
                } else {
                    self.finish();
                }
            }
            Change::FinishJoint(new) => {
                if self.joint.as_ref() != Some(&new) {
                    self.broke(format!("finishes {new:?} instead of {:?}", self.joint));
                }
                self.finish();
            }
        }
    }

    /// A joint configuration is left as soon as both sets have a quorum.
    fn finish(&mut self) {
        if self.can_commit()
            && let Some(new) = self.joint.take()
        {
            self.learners.retain(|learner| !new.contains(learner));
            self.voters = new;
            if self.leader.is_some_and(|leader| !self.voters.contains(&leader)) {
                self.leader = None;
            }
        }
    }

    /// What a change of voters must never do, by what its maker could know.
    fn judge(&mut self, new: &BTreeSet<u64>) {
        let seems_up = |member: &Member| member.silent_seconds < SUSPECTED_AFTER;
        if !self.has_quorum(new, seems_up) {
            self.broke(format!("{new:?} has no healthy quorum"));
        }
        if new.len() < self.voters.len().min(self.target()) {
            self.broke(format!("{:?} shrinks to {new:?}", self.voters));
        }
        if self.target().max(self.voters.len()) < new.len() {
            self.broke(format!("{new:?} are more than {} voters", self.target()));
        }
        let unfit =
            |added: &&u64| !seems_up(&self.members[*added]) || !self.learners.contains(*added);
        if let Some(added) = new.difference(&self.voters).copied().find(|added| unfit(&added)) {
            self.broke(format!("{added} became a voter and is dead or knows nothing"));
        }
    }

    fn judge_leader(&mut self, raft_id: u64) {
        if !self.voters.contains(&raft_id) {
            self.broke(format!("{raft_id} is to lead and does not vote"));
        }
    }

    fn broke(&mut self, what: String) {
        self.violations.push(format!("after {} s: {what}", self.now.as_secs()));
    }
}
