//! The bytes of log entries, votes, snapshots and Raft messages.
//!
//! These structs are ours: an upgrade of the Raft library changes neither the disk nor the wire.
//! Enums are append-only; a changed struct is a new version of its kind.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::Bytes;
use crypto::NodeId;
use crypto::wire::{self, WireError};
use serde::de::{DeserializeOwned, Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Version of everything here.
const VERSION: u16 = 1;

/// Longest record in the log or a message: some entries together, below the 4 MiB of a frame.
pub(crate) const RECORD_LIMIT: usize = 4 << 20;

/// A struct that has a kind on disk or on the wire.
pub(crate) trait Record: Serialize + DeserializeOwned {
    /// Unique in the project.
    const KIND: u16;

    /// Its bytes.
    fn to_bytes(&self) -> Result<Vec<u8>, WireError> {
        wire::encode(Self::KIND, VERSION, self)
    }

    /// Reads what [`Self::to_bytes`] wrote.
    fn from_bytes(bytes: &[u8]) -> Result<Self, WireError> {
        wire::decode(bytes, Self::KIND, VERSION, RECORD_LIMIT)
    }
}

/// Position of an entry: who led when it was written, and its index.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
pub struct LogPosition {
    /// Term of the leader that wrote it.
    pub term: u64,
    /// Raft id of that leader.
    pub leader: u64,
    /// Index.
    pub index: u64,
}

impl fmt::Display for LogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.term, self.leader, self.index)
    }
}

/// Whom a node voted for, and whether it knows that a quorum did.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct VoteRecord {
    pub(crate) term: u64,
    pub(crate) node: u64,
    pub(crate) committed: bool,
}

/// Who votes; two sets while one change is under way.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct MembershipRecord {
    pub(crate) configs: Vec<BTreeSet<u64>>,
    pub(crate) nodes: BTreeMap<u64, NodeId>,
}

/// What an entry holds.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) enum PayloadRecord {
    /// The first entry of a leader.
    Blank,
    /// A command, in its own envelope.
    Command(Blob),
    /// Who votes from here on.
    Membership(MembershipRecord),
}

/// One entry of the log.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct EntryRecord {
    pub(crate) position: LogPosition,
    pub(crate) payload: PayloadRecord,
}

/// A position on its own, for the marks beside the log.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct MarkRecord(pub(crate) Option<LogPosition>);

/// What a snapshot covers.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct SnapshotRecord {
    /// Cluster that it is of.
    pub(crate) genesis: [u8; 16],
    /// Last entry in it.
    pub(crate) last: Option<LogPosition>,
    /// Entry of the last membership in it.
    pub(crate) membership_at: Option<LogPosition>,
    /// That membership.
    pub(crate) membership: MembershipRecord,
}

/// Who speaks to whom: in front of every Raft message and every answer.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Address {
    pub(crate) genesis: [u8; 16],
    pub(crate) recovery_epoch: u32,
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// Boot count of the speaker.
    pub(crate) incarnation: u64,
    /// Drawn when the speaker's log was made: a node that lost its log has another.
    pub(crate) log_life: u64,
}

/// A Raft message.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct MessageRecord<T> {
    pub(crate) address: Address,
    pub(crate) body: T,
}

/// Entries for a follower.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct AppendRecord {
    pub(crate) vote: VoteRecord,
    pub(crate) previous: Option<LogPosition>,
    pub(crate) entries: Vec<EntryRecord>,
    pub(crate) commit: Option<LogPosition>,
}

/// A follower's answer to entries.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) enum AppendedRecord {
    Success,
    Partial(Option<LogPosition>),
    Conflict,
    HigherVote(VoteRecord),
}

/// A candidate asks for a vote, or whether it would get one.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct AskRecord {
    pub(crate) vote: VoteRecord,
    pub(crate) last: Option<LogPosition>,
    pub(crate) transfer: bool,
}

/// The answer to a candidate.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct VotedRecord {
    pub(crate) vote: VoteRecord,
    pub(crate) granted: bool,
    pub(crate) last: Option<LogPosition>,
}

/// A leader gives its office to another.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct TransferRecord {
    pub(crate) vote: VoteRecord,
    pub(crate) to: u64,
    pub(crate) last: Option<LogPosition>,
}

/// The answer to that.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) enum TransferredRecord {
    Accepted,
    VoteChanged { expected: VoteRecord, actual: VoteRecord },
    NotFlushed { expected: Option<LogPosition>, actual: Option<LogPosition> },
}

/// A snapshot comes: its bytes follow.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct InstallRecord {
    pub(crate) vote: VoteRecord,
    /// How many bytes follow.
    pub(crate) length: u64,
}

/// The answer to a snapshot.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct InstalledRecord {
    pub(crate) vote: VoteRecord,
}

/// Who this node is in Raft, in a file of its own.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct IdentityRecord {
    pub(crate) genesis: [u8; 16],
    pub(crate) recovery_epoch: u32,
    pub(crate) raft_id: u64,
    pub(crate) node: NodeId,
    /// Boot count at the last open.
    pub(crate) incarnation: u64,
    /// Drawn when the log was made.
    pub(crate) log_life: u64,
}

macro_rules! kinds {
    ($($kind:literal $record:ty;)+) => {
        $(impl Record for $record { const KIND: u16 = $kind; })+
    };
}

// Numbers are for ever. 0x20 is the store.
kinds! {
    0x2002 EntryRecord;
    0x2003 VoteRecord;
    0x2004 MarkRecord;
    0x2005 SnapshotRecord;
    0x2006 IdentityRecord;
    0x2010 MessageRecord<AppendRecord>;
    0x2011 MessageRecord<AppendedRecord>;
    0x2012 MessageRecord<AskRecord>;
    0x2013 MessageRecord<VotedRecord>;
    0x2014 MessageRecord<TransferRecord>;
    0x2015 MessageRecord<TransferredRecord>;
    0x2016 MessageRecord<InstallRecord>;
    0x2017 MessageRecord<InstalledRecord>;
}

/// Bytes that are written as one piece, not as a list of numbers, and cloned for free.
#[derive(Clone, Default, Eq, PartialEq)]
pub(crate) struct Blob(pub(crate) Bytes);

impl fmt::Debug for Blob {
    /// Only the length: commands carry secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Display for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_byte_buf(BlobVisitor)
    }
}

struct BlobVisitor;

impl<'de> Visitor<'de> for BlobVisitor {
    type Value = Blob;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Blob, E> {
        Ok(Blob(Bytes::copy_from_slice(bytes)))
    }

    fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Blob, E> {
        Ok(Blob(bytes.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Blob, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = list.next_element()? {
            bytes.push(byte);
        }
        Ok(Blob(bytes.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POSITION: LogPosition = LogPosition { term: 3, leader: 1002, index: 70_000 };

    fn membership() -> MembershipRecord {
        MembershipRecord {
            configs: vec![BTreeSet::from([1, 2])],
            nodes: BTreeMap::from([
                (1, NodeId::from_bytes([1; 16])),
                (2, NodeId::from_bytes([2; 16])),
            ]),
        }
    }

    #[track_caller]
    fn golden<T: Record + PartialEq + fmt::Debug>(value: &T, expected: &str) {
        let bytes = value.to_bytes().unwrap();
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(text, expected, "the bytes on disk changed: that needs a new version");
        assert_eq!(&T::from_bytes(&bytes).unwrap(), value);
    }

    #[test]
    fn bytes_on_disk_stay_as_they_are() {
        golden(&VoteRecord { term: 3, node: 1, committed: true }, "03200100030101");
        golden(&MarkRecord(Some(POSITION)), "042001000103fbea03fc70110100");
        golden(
            &EntryRecord {
                position: POSITION,
                payload: PayloadRecord::Command(Blob(Bytes::from_static(b"xyz"))),
            },
            "0220010003fbea03fc70110100010378797a",
        );
        let node = |byte: &str| byte.repeat(16);
        golden(
            &EntryRecord { position: POSITION, payload: PayloadRecord::Membership(membership()) },
            &format!("0220010003fbea03fc701101000201020102020 1{}02{}", node("01"), node("02"))
                .replace(' ', ""),
        );
    }

    #[test]
    fn a_command_is_never_printed() {
        let blob = Blob(Bytes::from_static(b"secret"));
        assert_eq!(format!("{blob:?} {blob}"), "6 bytes 6 bytes");
    }
}
