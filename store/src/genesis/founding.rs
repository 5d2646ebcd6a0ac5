//! One node's part in founding a cluster: a state machine that is told what happens and when.
//!
//! Whoever drives it saves the record that [`Founding::unsaved`] gives after each call, before
//! it sends an answer or a message.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crypto::NodeId;
use model::{ClusterId, UnixNanos};

use super::Problem;
use super::acceptor::Acceptor;
use super::message::{Answer, Ballot, Candidate, Denial, Genesis, Message};
use super::record::{Record, RecordError};
use super::seeds::SeedList;

/// Between two questions to a seed that answers, so that the last seed to start is noticed soon.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// Between two questions to a seed that is silent for longer than [`SILENT_LONG`].
const ASK_SILENT_EVERY: Duration = Duration::from_secs(2);
/// From here on a seed is rather switched off than about to start.
const SILENT_LONG: Duration = Duration::from_secs(30);
/// Between two tries to get a ballot's message through.
const RETRY_EVERY: Duration = Duration::from_millis(200);
/// An answer is as good as presence for six questions.
const LIVE: Duration = Duration::from_secs(3);
/// What each slot waits longer than the one before it, so that the lowest one proposes alone.
const TURN: Duration = Duration::from_millis(1_500);
/// A try that takes longer has lost a seed.
const BALLOT_MAX: Duration = Duration::from_secs(6);
/// Shortest wait after a try that failed.
const BACKOFF: Duration = Duration::from_millis(400);
/// The most that chance adds to a turn or a wait.
const JITTER: Duration = Duration::from_millis(600);
/// How often a seed is told the result; one that misses them all asks for it.
const TELL_MAX: u8 = 5;
/// Parts of the whole that [`Founding::tick`] takes chance in.
const CHANCE_WHOLE: u32 = 1 << 16;

/// What a node brings to the founding.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The seeds.
    pub seeds: Arc<SeedList>,
    /// Which of them this node is.
    pub slot: Option<u16>,
    /// Who it is.
    pub me: Candidate,
    /// Whether it holds the cluster key.
    pub eligible: bool,
    /// Whether it may found alone: `--found`.
    pub found: bool,
    /// Drawn at each start.
    pub start: [u8; 16],
}

/// A message to a seed, whose answer is given back with its ticket.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Names this question.
    pub ticket: u64,
    /// Which seed.
    pub slot: u16,
    /// What to ask it.
    pub message: Message,
}

/// Random bits that [`Founding::tick`] may use.
#[derive(Clone, Copy, Debug)]
pub struct Chance {
    /// For waits.
    pub jitter: u16,
    /// Becomes the id of the cluster if this node proposes one now.
    pub cluster: [u8; 16],
}

/// A seed, as `status` shows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SeedProgress {
    /// As in the list.
    pub entry: String,
    /// Whether it is there.
    pub state: SlotState,
}

/// Whether a seed is there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SlotState {
    /// It is this node.
    Me,
    /// It answers.
    Answers,
    /// It does not.
    Silent {
        /// For how long.
        since: Duration,
        /// `no answer`, or what the network says.
        why: String,
    },
}

/// What is known of another seed.
#[derive(Debug, Default)]
struct Peer {
    ticket: Option<u64>,
    next_at: Duration,
    node: Option<NodeId>,
    answered_at: Option<Duration>,
    silent: Option<(Duration, String)>,
    problem: Option<Problem>,
    told: bool,
    n_told: u8,
}

#[derive(Debug)]
enum Phase {
    Asking,
    Preparing { ballot: Ballot, until: Duration, promises: BTreeMap<u16, Promise> },
    Accepting { ballot: Ballot, until: Duration, genesis: Genesis, accepts: BTreeSet<u16> },
    Known,
}

#[derive(Debug)]
struct Promise {
    me: Candidate,
    accepted: Option<(Ballot, Genesis)>,
}

/// See the module.
#[derive(Debug)]
pub struct Founding {
    setup: Setup,
    me: NodeId,
    acceptor: Acceptor,
    phase: Phase,
    peers: BTreeMap<u16, Peer>,
    /// Who promised in which slot, for the messages that ask to accept.
    nodes: BTreeMap<u16, NodeId>,
    highest_round: u64,
    all_live_since: Option<Duration>,
    not_before: Duration,
    jitter: Duration,
    last_ticket: u64,
    clash: Option<Problem>,
}

impl Founding {
    /// Begins, or goes on from what an earlier start promised.
    ///
    /// # Errors
    ///
    /// [`RecordError::OtherSeeds`] if it agreed to something under another list.
    pub fn new(setup: Setup, before: Option<Record>) -> Result<Self, RecordError> {
        let seeds = Arc::clone(&setup.seeds);
        let acceptor = Acceptor::new(seeds, setup.slot, setup.me.clone(), setup.eligible, before)?;
        let silent = || Some((Duration::ZERO, "no answer".to_owned()));
        let peers = setup
            .seeds
            .slots()
            .filter(|slot| Some(*slot) != setup.slot)
            .map(|slot| (slot, Peer { silent: silent(), ..Peer::default() }))
            .collect();
        let highest_round = acceptor.record.promised.map_or(0, |ballot| ballot.round);
        let phase = if acceptor.record.genesis.is_some() { Phase::Known } else { Phase::Asking };
        let mut founding = Self {
            me: setup.me.id(),
            setup,
            acceptor,
            phase,
            peers,
            nodes: BTreeMap::new(),
            highest_round,
            all_live_since: None,
            not_before: Duration::ZERO,
            jitter: Duration::ZERO,
            last_ticket: 0,
            clash: None,
        };
        if founding.genesis().is_some() {
            // Known from an earlier start: who missed it asks.
            founding.peers.values_mut().for_each(|peer| peer.n_told = TELL_MAX);
        }
        Ok(founding)
    }

    /// The result, once there is one.
    #[must_use]
    pub const fn genesis(&self) -> Option<&Genesis> {
        self.acceptor.record.genesis.as_ref()
    }

    /// What must be on disk before anything else is said.
    pub fn unsaved(&mut self) -> Option<&Record> {
        std::mem::take(&mut self.acceptor.unsaved).then_some(&self.acceptor.record)
    }

    /// Whether there is nothing left to say unasked.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        matches!(self.phase, Phase::Known)
            && self.peers.values().all(|peer| peer.told || TELL_MAX <= peer.n_told)
    }

    /// Answers a question of another node.
    pub fn receive(&mut self, message: &Message) -> Answer {
        let answer = self.acceptor.receive(message);
        self.enter_known();
        answer
    }

    /// Takes a result that was heard of in another way.
    pub fn learn(&mut self, from: &str, genesis: Genesis) {
        match self.genesis() {
            Some(ours) if ours.cluster != genesis.cluster => {
                self.clash = Some(Problem::TwoClusters {
                    entry: from.to_owned(),
                    ours: ours.cluster,
                    theirs: genesis.cluster,
                });
            }
            Some(_) => {}
            None => self.acceptor.learn(genesis),
        }
        self.enter_known();
    }

    fn enter_known(&mut self) {
        if self.acceptor.record.genesis.is_some() && !matches!(self.phase, Phase::Known) {
            self.phase = Phase::Known;
            self.wake_all(Duration::ZERO);
        }
    }

    fn wake_all(&mut self, now: Duration) {
        for peer in self.peers.values_mut() {
            peer.ticket = None;
            peer.next_at = now;
        }
    }

    /// Goes on, and says what to send now. `now` is any clock that only goes forward.
    pub fn tick(&mut self, now: Duration, wall: UnixNanos, chance: Chance) -> Vec<Outgoing> {
        self.jitter = JITTER * u32::from(chance.jitter) / CHANCE_WHOLE;
        self.advance(now, wall, chance);
        let due: Vec<u16> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.ticket.is_none() && peer.next_at <= now)
            .map(|(slot, _)| *slot)
            .collect();
        due.into_iter().filter_map(|slot| self.next_message(slot)).collect()
    }

    fn advance(&mut self, now: Duration, wall: UnixNanos, chance: Chance) {
        let asking = matches!(self.phase, Phase::Asking);
        if asking && self.is_my_turn(now) {
            self.prepare(now);
        }
        if let Phase::Preparing { until, .. } | Phase::Accepting { until, .. } = &self.phase
            && *until <= now
        {
            self.abandon(now);
        }
        let n_seeds = self.setup.seeds.n_seeds();
        if let Phase::Preparing { promises, .. } = &self.phase
            && promises.len() == n_seeds
        {
            self.propose(now, wall, chance);
        }
        if let Phase::Accepting { genesis, accepts, .. } = &self.phase
            && accepts.len() == n_seeds
        {
            self.acceptor.learn(genesis.clone());
            self.enter_known();
        }
    }

    /// Whether everybody is there and the lower slots had their chance.
    fn is_my_turn(&mut self, now: Duration) -> bool {
        let Some(slot) = self.setup.slot.filter(|_| self.setup.eligible) else { return false };
        if self.setup.seeds.n_seeds() == 1 && !self.setup.found {
            return false;
        }
        let live = |peer: &Peer| {
            peer.problem.is_none() && peer.answered_at.is_some_and(|at| now < at + LIVE)
        };
        if !self.peers.values().all(live) {
            self.all_live_since = None;
            return false;
        }
        let since = *self.all_live_since.get_or_insert(now);
        let turn = TURN * u32::from(slot) + if slot == 0 { Duration::ZERO } else { self.jitter };
        since + turn <= now && self.not_before <= now
    }

    fn prepare(&mut self, now: Duration) {
        let Some(slot) = self.setup.slot else { return };
        let promised = self.acceptor.record.promised.map_or(0, |ballot| ballot.round);
        self.highest_round = self.highest_round.max(promised) + 1;
        let ballot = Ballot { round: self.highest_round, slot, start: self.setup.start };
        let seed_hash = self.setup.seeds.hash();
        let own = self.acceptor.receive(&Message::Prepare { seed_hash, to: slot, ballot });
        self.phase =
            Phase::Preparing { ballot, until: now + BALLOT_MAX, promises: BTreeMap::new() };
        self.wake_all(now);
        self.count(now, slot, own);
    }

    /// Everybody promised: ask to accept what was accepted before, or something new.
    fn propose(&mut self, now: Duration, wall: UnixNanos, chance: Chance) {
        let Phase::Preparing { ballot, promises, .. } = &self.phase else { return };
        let (ballot, Some(slot)) = (*ballot, self.setup.slot) else { return };
        let distinct: BTreeSet<NodeId> = promises.values().map(|p| p.me.id()).collect();
        if distinct.len() < promises.len() {
            return self.abandon(now);
        }
        let before = promises.values().filter_map(|p| p.accepted.as_ref());
        let genesis = match before.max_by_key(|(ballot, _)| *ballot) {
            Some((_, genesis)) => genesis.clone(),
            None => {
                let candidates: Vec<(u16, Candidate)> =
                    promises.iter().map(|(slot, p)| (*slot, p.me.clone())).collect();
                let cluster = ClusterId::from_bytes(chance.cluster);
                Genesis::propose(&self.setup.seeds, &candidates, cluster, wall)
            }
        };
        self.nodes = promises.iter().map(|(slot, p)| (*slot, p.me.id())).collect();
        let own = self.acceptor.receive(&Message::Accept {
            seed_hash: self.setup.seeds.hash(),
            to: slot,
            node: self.me,
            ballot,
            genesis: genesis.clone(),
        });
        let until = now + BALLOT_MAX;
        self.phase = Phase::Accepting { ballot, until, genesis, accepts: BTreeSet::new() };
        self.wake_all(now);
        self.count(now, slot, own);
    }

    fn abandon(&mut self, now: Duration) {
        let turn = TURN * u32::from(self.setup.slot.unwrap_or(0)) / 2;
        self.not_before = now + BACKOFF + turn + self.jitter;
        self.phase = Phase::Asking;
        self.wake_all(now);
    }

    fn next_message(&mut self, slot: u16) -> Option<Outgoing> {
        let seed_hash = self.setup.seeds.hash();
        let message = match &self.phase {
            Phase::Asking => {
                let may_found = self.setup.slot.is_some() && self.setup.eligible;
                Message::Ask { seed: may_found.then_some(seed_hash) }
            }
            Phase::Preparing { promises, .. } if promises.contains_key(&slot) => return None,
            Phase::Preparing { ballot, .. } => {
                Message::Prepare { seed_hash, to: slot, ballot: *ballot }
            }
            Phase::Accepting { accepts, .. } if accepts.contains(&slot) => return None,
            Phase::Accepting { ballot, genesis, .. } => Message::Accept {
                seed_hash,
                to: slot,
                node: *self.nodes.get(&slot)?,
                ballot: *ballot,
                genesis: genesis.clone(),
            },
            Phase::Known => Message::Chosen(self.acceptor.record.genesis.clone()?),
        };
        let known = matches!(self.phase, Phase::Known);
        let peer = self.peers.get_mut(&slot)?;
        if known {
            if peer.told || TELL_MAX <= peer.n_told {
                return None;
            }
            peer.n_told += 1;
        }
        self.last_ticket += 1;
        peer.ticket = Some(self.last_ticket);
        Some(Outgoing { ticket: self.last_ticket, slot, message })
    }

    /// A seed answered.
    pub fn answered(&mut self, now: Duration, slot: u16, ticket: u64, answer: Answer) {
        let asking = matches!(self.phase, Phase::Asking);
        let Some(peer) = self.peers.get_mut(&slot) else { return };
        if peer.ticket == Some(ticket) {
            peer.ticket = None;
            peer.next_at = now + if asking { ASK_EVERY } else { RETRY_EVERY };
        }
        peer.silent = None;
        if !matches!(answer, Answer::Denied(_)) {
            peer.problem = None;
        }
        self.count(now, slot, answer);
    }

    /// A seed did not answer in time, or could not be reached.
    pub fn unanswered(&mut self, now: Duration, slot: u16, ticket: u64, why: String) {
        let asking = matches!(self.phase, Phase::Asking | Phase::Known);
        let Some(peer) = self.peers.get_mut(&slot) else { return };
        let since = peer.silent.take().map_or(now, |(since, _)| since);
        peer.silent = Some((since, why));
        if peer.ticket == Some(ticket) {
            peer.ticket = None;
            peer.next_at = now
                + match (asking, now < since + SILENT_LONG) {
                    (false, _) => RETRY_EVERY,
                    (true, true) => ASK_EVERY,
                    (true, false) => ASK_SILENT_EVERY,
                };
        }
    }

    /// Takes an answer into account, of another seed or of the acceptor here.
    fn count(&mut self, now: Duration, slot: u16, answer: Answer) {
        match answer {
            Answer::Genesis(genesis) => {
                let entry = self.setup.seeds.entry(slot).to_owned();
                self.learn(&entry, genesis);
                if let Some(peer) = self.peers.get_mut(&slot) {
                    peer.answered_at = Some(now);
                    peer.told = true;
                }
            }
            Answer::None { slot: theirs, me } => self.present(now, slot, theirs, me.id()),
            Answer::Promised { ballot, accepted, me } => {
                if let Phase::Preparing { ballot: ours, promises, .. } = &mut self.phase
                    && *ours == ballot
                {
                    promises.insert(slot, Promise { me, accepted });
                }
            }
            Answer::Accepted { ballot } => {
                if let Phase::Accepting { ballot: ours, accepts, .. } = &mut self.phase
                    && *ours == ballot
                {
                    accepts.insert(slot);
                }
            }
            Answer::Overruled { promised } => {
                self.highest_round = self.highest_round.max(promised.round);
                if matches!(self.phase, Phase::Preparing { .. } | Phase::Accepting { .. }) {
                    self.abandon(now);
                }
            }
            Answer::Denied(denial) => self.denied(now, slot, denial),
        }
    }

    /// A seed is there and ready; is it the one it should be?
    fn present(&mut self, now: Duration, slot: u16, theirs: Option<u16>, id: NodeId) {
        let twin = self
            .peers
            .iter()
            .filter(|(other, _)| **other != slot)
            .find(|(_, peer)| peer.node == Some(id))
            .map(|(other, _)| *other)
            .or_else(|| self.setup.slot.filter(|_| id == self.me))
            .or_else(|| theirs.filter(|theirs| *theirs != slot));
        let seeds = &self.setup.seeds;
        let entry = |slot: u16| seeds.entry(slot).to_owned();
        let problem = match (twin, theirs) {
            (Some(other), _) => {
                let (first, second) = (entry(other.min(slot)), entry(other.max(slot)));
                Some(Problem::SameNode { first, second, node: id })
            }
            (None, None) => Some(Problem::NotItself { entry: entry(slot), node: id }),
            (None, Some(_)) => None,
        };
        if let Some(peer) = self.peers.get_mut(&slot) {
            peer.node = Some(id);
            peer.answered_at = Some(now);
            peer.problem = problem;
        }
    }

    fn denied(&mut self, now: Duration, slot: u16, denial: Denial) {
        let entry = self.setup.seeds.entry(slot).to_owned();
        let problem = match denial {
            Denial::OtherSeeds { entries } => {
                let ours = self.setup.seeds.entries().to_vec();
                Problem::OtherSeeds { entry, theirs: entries, ours }
            }
            Denial::WorkerOnly { node } => Problem::WorkerOnly { entry, node },
            Denial::NotThatSeed { slot: Some(other), node } if other != slot => {
                let first = self.setup.seeds.entry(other).to_owned();
                Problem::SameNode { first, second: entry, node }
            }
            Denial::NotThatSeed { slot: None, node } => Problem::NotItself { entry, node },
            // The same seed with an empty disk: the next try asks the new node.
            Denial::NotThatSeed { .. } => return self.abandon_ballot(now),
            Denial::OtherGenesis(genesis) => return self.learn(&entry, genesis),
        };
        if let Some(peer) = self.peers.get_mut(&slot) {
            peer.problem = Some(problem);
            peer.answered_at = None;
        }
        self.abandon_ballot(now);
    }

    fn abandon_ballot(&mut self, now: Duration) {
        if matches!(self.phase, Phase::Preparing { .. } | Phase::Accepting { .. }) {
            self.abandon(now);
        }
    }

    /// What keeps the cluster from being founded until somebody changes something.
    #[must_use]
    pub fn problem(&self) -> Option<Problem> {
        if self.clash.is_some() || self.genesis().is_some() {
            return self.clash.clone();
        }
        let alone = self.setup.seeds.n_seeds() == 1 && !self.setup.found;
        if let Some(slot) = self.setup.slot.filter(|_| alone) {
            return Some(Problem::OnlySeed { entry: self.entry(slot) });
        }
        // What a seed said counts as long as it is there to say it again.
        let there = self.peers.values().filter(|peer| peer.silent.is_none());
        there.filter_map(|peer| peer.problem.clone()).next()
    }

    /// The address of a seed.
    pub(crate) fn entry(&self, slot: u16) -> String {
        self.setup.seeds.entry(slot).to_owned()
    }

    /// Each seed in turn: is it there?
    #[must_use]
    pub fn seeds(&self, now: Duration) -> Vec<SeedProgress> {
        let state = |slot: u16| match self.peers.get(&slot) {
            None => SlotState::Me,
            Some(Peer { silent: Some((since, why)), .. }) => {
                SlotState::Silent { since: now.saturating_sub(*since), why: why.clone() }
            }
            Some(_) => SlotState::Answers,
        };
        self.setup
            .seeds
            .slots()
            .map(|slot| SeedProgress {
                entry: self.setup.seeds.entry(slot).to_owned(),
                state: state(slot),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests;
