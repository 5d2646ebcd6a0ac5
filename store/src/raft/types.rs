//! The type parameters of openraft, and how its types become our records and back.

use std::fmt;
use std::io;

use crypto::NodeId;
use model::{Applied, Refused};
use openraft::alias::{CommittedLeaderIdOf, EntryOf, LeaderIdOf, LogIdOf, VoteOf};
use openraft::{EntryPayload, Membership, StoredMembership};
use serde::{Deserialize, Serialize};

use crate::records::{Blob, EntryRecord, LogPosition, MembershipRecord, PayloadRecord, VoteRecord};

openraft::declare_raft_types!(
    /// What openraft is made of here: commands are opaque bytes to it.
    pub(crate) Types:
        D = Blob,
        R = Outcome,
        NodeId = u64,
        Node = Member,
);

pub(crate) type Entry = EntryOf<Types>;
pub(crate) type LogId = LogIdOf<Types>;
pub(crate) type Vote = VoteOf<Types>;
pub(crate) type Members = Membership<u64, Member>;
pub(crate) type StoredMembers = StoredMembership<CommittedLeaderIdOf<Types>, u64, Member>;

/// What openraft keeps of a member: only its name, because addresses come from gossip.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Member(pub(crate) NodeId);

impl Default for Member {
    fn default() -> Self {
        Self(NodeId::from_bytes([0; 16]))
    }
}

/// What applying an entry gave; `None` for entries that hold no command.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Outcome(pub(crate) Option<Result<Applied, Refused>>);

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            None => "no command",
            Some(Ok(_)) => "applied",
            Some(Err(_)) => "refused",
        })
    }
}

pub(crate) fn position(id: &LogId) -> LogPosition {
    LogPosition { term: id.leader_id.term, leader: id.leader_id.node_id, index: id.index }
}

pub(crate) fn log_id(position: &LogPosition) -> LogId {
    LogId::new(leader_id(position.term, position.leader), position.index)
}

fn leader_id(term: u64, node_id: u64) -> LeaderIdOf<Types> {
    LeaderIdOf::<Types> { term, node_id }
}

pub(crate) fn vote_record(vote: &Vote) -> VoteRecord {
    VoteRecord {
        term: vote.leader_id.term,
        node: vote.leader_id.node_id,
        committed: vote.committed,
    }
}

pub(crate) fn vote(record: &VoteRecord) -> Vote {
    Vote { leader_id: leader_id(record.term, record.node), committed: record.committed }
}

pub(crate) fn membership_record(members: &Members) -> MembershipRecord {
    MembershipRecord {
        configs: members.get_joint_config().clone(),
        nodes: members.nodes().map(|(id, member)| (*id, member.0)).collect(),
    }
}

pub(crate) fn members(record: MembershipRecord) -> io::Result<Members> {
    let nodes: std::collections::BTreeMap<u64, Member> =
        record.nodes.into_iter().map(|(id, node)| (id, Member(node))).collect();
    if record.configs.is_empty() && nodes.is_empty() {
        return Ok(Members::default());
    }
    Members::new(record.configs, nodes)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

pub(crate) fn entry_record(entry: &Entry) -> EntryRecord {
    EntryRecord {
        position: position(&entry.log_id),
        payload: match &entry.payload {
            EntryPayload::Blank => PayloadRecord::Blank,
            EntryPayload::Normal(command) => PayloadRecord::Command(command.clone()),
            EntryPayload::Membership(members) => {
                PayloadRecord::Membership(membership_record(members))
            }
        },
    }
}

pub(crate) fn entry(record: EntryRecord) -> io::Result<Entry> {
    Ok(Entry {
        log_id: log_id(&record.position),
        payload: match record.payload {
            PayloadRecord::Blank => EntryPayload::Blank,
            PayloadRecord::Command(command) => EntryPayload::Normal(command),
            PayloadRecord::Membership(record) => EntryPayload::Membership(members(record)?),
        },
    })
}
