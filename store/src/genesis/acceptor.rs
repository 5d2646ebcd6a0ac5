//! The acceptor of one seed: it promises, accepts, and knows the result once there is one.

use std::sync::Arc;

use super::message::{Answer, Ballot, Candidate, Denial, Genesis, Message};
use super::record::{Record, RecordError};
use super::seeds::{SeedHash, SeedList};

/// Promises of one seed, and the rules by which it makes them.
#[derive(Debug)]
pub(crate) struct Acceptor {
    pub(crate) record: Record,
    /// Whether the record says more than the disk.
    pub(crate) unsaved: bool,
    seeds: Arc<SeedList>,
    slot: Option<u16>,
    me: Candidate,
    eligible: bool,
}

impl Acceptor {
    /// Goes on from what was promised before.
    ///
    /// A promise for another list binds nobody here, but an acceptance may have been the last
    /// that was missing, so it does.
    pub(crate) fn new(
        seeds: Arc<SeedList>,
        slot: Option<u16>,
        me: Candidate,
        eligible: bool,
        before: Option<Record>,
    ) -> Result<Self, RecordError> {
        let fresh = Record {
            seed_hash: seeds.hash(),
            entries: seeds.entries().to_vec(),
            promised: None,
            accepted: None,
            genesis: None,
        };
        let record = match before {
            Some(record) if record.genesis.is_some() => record,
            Some(record) if record.seed_hash == seeds.hash() => record,
            Some(Record { accepted: Some(_), entries, .. }) => {
                return Err(RecordError::OtherSeeds { entries });
            }
            Some(_) | None => fresh,
        };
        Ok(Self { record, unsaved: false, seeds, slot, me, eligible })
    }

    /// Answers a message. The answer may leave only after `record` is on disk.
    pub(crate) fn receive(&mut self, message: &Message) -> Answer {
        if let Some(genesis) = &self.record.genesis {
            return match message {
                Message::Chosen(other) if other.cluster != genesis.cluster => {
                    Answer::Denied(Denial::OtherGenesis(genesis.clone()))
                }
                Message::Ask { .. }
                | Message::Prepare { .. }
                | Message::Accept { .. }
                | Message::Chosen(_) => Answer::Genesis(genesis.clone()),
            };
        }
        match message {
            Message::Chosen(genesis) => {
                self.learn(genesis.clone());
                Answer::Genesis(genesis.clone())
            }
            _ if !self.eligible => Answer::Denied(Denial::WorkerOnly { node: self.me.id() }),
            Message::Ask { seed } => match seed {
                Some(seed) if *seed != self.seeds.hash() => Answer::Denied(self.other_seeds()),
                _ => Answer::None { slot: self.slot, me: self.me.clone() },
            },
            Message::Prepare { seed_hash, to, ballot } => match self.check(*seed_hash, *to) {
                Err(denial) => Answer::Denied(denial),
                Ok(()) => self.promise(*ballot),
            },
            Message::Accept { seed_hash, to, node, ballot, genesis } => {
                match self.check(*seed_hash, *to) {
                    Err(denial) => Answer::Denied(denial),
                    Ok(()) if *node != self.me.id() => Answer::Denied(self.not_that_seed()),
                    Ok(()) => self.accept(*ballot, genesis),
                }
            }
        }
    }

    fn check(&self, seed_hash: SeedHash, to: u16) -> Result<(), Denial> {
        if seed_hash != self.seeds.hash() {
            return Err(self.other_seeds());
        }
        if self.slot != Some(to) {
            return Err(self.not_that_seed());
        }
        Ok(())
    }

    fn other_seeds(&self) -> Denial {
        Denial::OtherSeeds { entries: self.seeds.entries().to_vec() }
    }

    fn not_that_seed(&self) -> Denial {
        Denial::NotThatSeed { slot: self.slot, node: self.me.id() }
    }

    fn promise(&mut self, ballot: Ballot) -> Answer {
        match self.record.promised {
            Some(promised) if ballot < promised => return Answer::Overruled { promised },
            Some(promised) if ballot == promised => {}
            _ => {
                self.record.promised = Some(ballot);
                self.unsaved = true;
            }
        }
        Answer::Promised { ballot, accepted: self.record.accepted.clone(), me: self.me.clone() }
    }

    fn accept(&mut self, ballot: Ballot, genesis: &Genesis) -> Answer {
        match self.record.promised {
            Some(promised) if ballot < promised => return Answer::Overruled { promised },
            _ => {}
        }
        let accepted = Some((ballot, genesis.clone()));
        if self.record.accepted != accepted {
            self.record.promised = Some(ballot);
            self.record.accepted = accepted;
            self.unsaved = true;
        }
        Answer::Accepted { ballot }
    }

    /// Takes the result; there is no other.
    pub(crate) fn learn(&mut self, genesis: Genesis) {
        if self.record.genesis.is_none() {
            self.record.genesis = Some(genesis);
            self.unsaved = true;
        }
    }
}
