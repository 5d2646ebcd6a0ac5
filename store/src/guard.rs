//! Who may say what to this node's Raft: pure checks of the address in front of each message.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use crypto::NodeId;
use thiserror::Error;

use crate::records::Address;

/// A message was not for this node, or not from whom it says.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub(crate) enum Mismatch {
    /// Another cluster.
    #[error("the message is of cluster {}, this node is of cluster {}", Hex(*theirs), Hex(*ours))]
    Genesis { ours: [u8; 16], theirs: [u8; 16] },
    /// One of the two missed a recovery.
    #[error("the message is of recovery epoch {theirs}, this node is at {ours}")]
    RecoveryEpoch { ours: u32, theirs: u32 },
    /// Meant for another: this node's predecessor, say.
    #[error("the message is for raft id {theirs}, this node has raft id {ours}")]
    Recipient { ours: u64, theirs: u64 },
    /// The handshake says somebody else.
    #[error("raft id {raft_id} is node {expected}, but node {found} speaks for it")]
    Sender { raft_id: u64, expected: NodeId, found: NodeId },
    /// An older process of the same node.
    #[error("raft id {raft_id} spoke in incarnation {seen} already, this is incarnation {found}")]
    Incarnation { raft_id: u64, seen: u64, found: u64 },
    /// It lost its log, and with it its votes: it must come back under a new id.
    #[error("raft id {raft_id} lost its log; the node must be admitted again under a new raft id")]
    LostLog { raft_id: u64 },
}

struct Hex([u8; 16]);

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What was seen of the others since this process started. One entry for each Raft id that ever
/// spoke, all of them members once.
#[derive(Debug)]
pub(crate) struct Guard {
    me: Address,
    seen: BTreeMap<u64, Seen>,
    warned: BTreeMap<u64, Instant>,
}

/// A refusal is logged again after so long: heartbeats would repeat it 8 times a second.
const WARN_EACH: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug)]
struct Seen {
    node: NodeId,
    incarnation: u64,
    log_life: u64,
}

impl Guard {
    /// For this node; `to` of `me` does not matter.
    pub(crate) const fn new(me: Address) -> Self {
        Self { me, seen: BTreeMap::new(), warned: BTreeMap::new() }
    }

    /// Whether a refusal by or of this member should be logged.
    pub(crate) fn should_warn(&mut self, raft_id: u64, now: Instant) -> bool {
        let due = self.warned.get(&raft_id).is_none_or(|last| WARN_EACH <= now - *last);
        if due {
            self.warned.insert(raft_id, now);
        }
        due
    }

    /// The address of a message to `to`.
    pub(crate) const fn address_to(&self, to: u64) -> Address {
        Address { to, ..self.me }
    }

    /// Checks a message of the node that the handshake named; `member` is who has its Raft id in
    /// the membership that this node knows, if it knows.
    pub(crate) fn check(
        &mut self,
        address: &Address,
        speaker: NodeId,
        member: Option<NodeId>,
    ) -> Result<(), Mismatch> {
        let raft_id = address.from;
        if address.genesis != self.me.genesis {
            return Err(Mismatch::Genesis { ours: self.me.genesis, theirs: address.genesis });
        }
        if address.recovery_epoch != self.me.recovery_epoch {
            let (ours, theirs) = (self.me.recovery_epoch, address.recovery_epoch);
            return Err(Mismatch::RecoveryEpoch { ours, theirs });
        }
        if address.to != self.me.from {
            return Err(Mismatch::Recipient { ours: self.me.from, theirs: address.to });
        }
        let seen = self.seen.get(&raft_id).copied();
        if let Some(expected) = member.or_else(|| seen.map(|seen| seen.node))
            && expected != speaker
        {
            return Err(Mismatch::Sender { raft_id, expected, found: speaker });
        }
        if let Some(seen) = seen {
            if seen.log_life != address.log_life {
                return Err(Mismatch::LostLog { raft_id });
            }
            if address.incarnation < seen.incarnation {
                let (seen, found) = (seen.incarnation, address.incarnation);
                return Err(Mismatch::Incarnation { raft_id, seen, found });
            }
        }
        let Address { incarnation, log_life, .. } = *address;
        self.seen.insert(raft_id, Seen { node: speaker, incarnation, log_life });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn node(byte: u8) -> NodeId {
        NodeId::from_bytes([byte; 16])
    }

    const fn address(from: u64, to: u64) -> Address {
        Address { genesis: [1; 16], recovery_epoch: 0, from, to, incarnation: 5, log_life: 70 }
    }

    #[test]
    fn names_what_does_not_match() {
        let good = address(2, 1);
        let cases = [
            (good, 2, None, Ok(())),
            (good, 2, Some(2), Ok(())),
            (Address { incarnation: 6, ..good }, 2, None, Ok(())),
            (
                Address { genesis: [2; 16], ..good },
                2,
                None,
                Err(Mismatch::Genesis { ours: [1; 16], theirs: [2; 16] }),
            ),
            (
                Address { recovery_epoch: 3, ..good },
                2,
                None,
                Err(Mismatch::RecoveryEpoch { ours: 0, theirs: 3 }),
            ),
            (address(2, 9), 2, None, Err(Mismatch::Recipient { ours: 1, theirs: 9 })),
            (
                good,
                3,
                Some(2),
                Err(Mismatch::Sender { raft_id: 2, expected: node(2), found: node(3) }),
            ),
            (
                good,
                3,
                None,
                Err(Mismatch::Sender { raft_id: 2, expected: node(2), found: node(3) }),
            ),
            (
                Address { incarnation: 4, ..good },
                2,
                None,
                Err(Mismatch::Incarnation { raft_id: 2, seen: 5, found: 4 }),
            ),
            (Address { log_life: 71, ..good }, 2, None, Err(Mismatch::LostLog { raft_id: 2 })),
        ];
        for (message, speaker, member, expected) in cases {
            let mut guard = Guard::new(address(1, 0));
            guard.check(&good, node(2), None).unwrap();
            assert_eq!(guard.check(&message, node(speaker), member.map(node)), expected);
        }
    }
}
