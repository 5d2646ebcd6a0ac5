//! Our own reading and writing of chitchat 0.11.2's messages, because the crate's types show nothing.
//!
//! ```text
//! message   45139 u16 | 0 version | type | body                       (little endian throughout)
//! Syn       digest | text cluster        SynAck  digest | delta        Ack  delta
//! digest    u16 n | n × (id | u64 heartbeat | u64 last_gc | u64 max_version)
//! id        text node | u64 generation | 4 or 6 | address | u16 port   text  u16 length | bytes
//! delta     blocks: 1 u16 length zstd | 2 u16 length bytes | 0 end; together a row of
//!           0 id u64 last_gc u64 from_excluded | 1 text key, text value, u64 version, u8 status
//!           | 2 u64 set_max_version
//! ```
//!
//! What no honest node of ours ever says cannot be said in these types: a second key, a tombstone,
//! a value with an end, `SetMaxVersion`, a garbage-collection version.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crypto::id::ID_SHORT_LENGTH;
use thiserror::Error;

/// Ids in one message. chitchat's own digest must stay below its 65,507 bytes (it asserts so), and
/// an id with an IPv6 address takes 64.
pub const IDS_MAX: usize = 900;

/// What the blocks of one delta may unfold to: four times the largest honest message.
pub const DELTA_BYTES_MAX: usize = 256 * 1024;

/// Bytes of a whole message: chitchat fills no more than one UDP datagram.
pub const MESSAGE_BYTES_MAX: usize = 65_507;

/// Characters of a record: 3 KiB in base 64.
const RECORD_TEXT_MAX: usize = 4096;

/// The only key there is.
pub const KEY: &str = "r";

const MAGIC: u16 = 45_139;
const CLUSTER_ID_MAX: usize = 64;

/// chitchat's own block size; only how well a delta packs depends on it.
const BLOCK_BYTES: usize = 16_384;

/// A node in chitchat's eyes: one life of one process.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct GossipId {
    /// The first characters of the node id.
    pub short: String,
    /// Its incarnation.
    pub generation: u64,
    /// Where it listens.
    pub address: SocketAddr,
}

/// What a peer knows of one node.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DigestEntry {
    /// Whom.
    pub id: GossipId,
    /// The last heartbeat it heard of.
    pub heartbeat: u64,
    /// The sequence number of the record it has; 0 for none.
    pub max_version: u64,
}

/// A record on its way.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DeltaEntry {
    /// Whose.
    pub id: GossipId,
    /// What the receiver is thought to have.
    pub from_excluded: u64,
    /// The signed text, still unchecked.
    pub text: String,
    /// chitchat's number for it; must be the signed sequence.
    pub version: u64,
}

/// A message that has the right shape and nothing that is forbidden.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Message {
    /// "This is what I know."
    Syn {
        /// Which cluster is meant.
        cluster_id: String,
        /// What the sender knows.
        digest: Vec<DigestEntry>,
    },
    /// "This is what I know, and what you lack."
    SynAck {
        /// What the sender knows.
        digest: Vec<DigestEntry>,
        /// What the receiver lacks.
        delta: Vec<DeltaEntry>,
    },
    /// "This is what you lack."
    Ack {
        /// What the receiver lacks.
        delta: Vec<DeltaEntry>,
    },
}

/// The bytes are no message that an honest node sends.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum ParseError {
    /// It ends too early.
    #[error("the message ends within {within}")]
    Short {
        /// In the middle of what.
        within: &'static str,
    },
    /// Bytes behind its end.
    #[error("{extra} bytes behind the end of the message")]
    Trailing {
        /// How many.
        extra: usize,
    },
    /// More than we accept of something.
    #[error("{found} {what}, over the limit of {limit}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        found: usize,
        /// How many we accept.
        limit: usize,
    },
    /// A tag or number that means nothing.
    #[error("unknown {what} {found}")]
    Unknown {
        /// What it should have been.
        what: &'static str,
        /// What it was.
        found: u64,
    },
    /// A text that is none, or not of the right form.
    #[error("malformed {what}")]
    Malformed {
        /// What it should have been.
        what: &'static str,
    },
    /// Ids twice, or out of order.
    #[error("ids in {within} are not unique and in order")]
    Unordered {
        /// Where.
        within: &'static str,
    },
    /// Something that our nodes never send, and that chitchat would obey.
    #[error("forbidden: {what}")]
    Forbidden {
        /// What.
        what: &'static str,
    },
}

/// Reads a gossip message. Safe on any bytes: no panic, and no more than [`DELTA_BYTES_MAX`]
/// unfolded.
///
/// # Errors
///
/// [`ParseError`] names the first thing that is wrong.
pub fn parse(bytes: &[u8]) -> Result<Message, ParseError> {
    at_most("bytes", bytes.len(), MESSAGE_BYTES_MAX)?;
    let mut reader = Reader { rest: bytes };
    let magic = reader.u16("magic")?;
    if magic != MAGIC {
        return Err(ParseError::Unknown { what: "magic", found: magic.into() });
    }
    let version = reader.u8("version")?;
    if version != 0 {
        return Err(ParseError::Unknown { what: "version", found: version.into() });
    }
    let message = match reader.u8("type")? {
        0 => {
            let digest = reader.digest()?;
            let cluster_id = reader.text("cluster id", CLUSTER_ID_MAX)?.to_owned();
            Message::Syn { cluster_id, digest }
        }
        1 => Message::SynAck { digest: reader.digest()?, delta: reader.delta()? },
        2 => Message::Ack { delta: reader.delta()? },
        3 => return Err(ParseError::Forbidden { what: "bad cluster" }),
        found => return Err(ParseError::Unknown { what: "type", found: found.into() }),
    };
    reader.finish()?;
    Ok(message)
}

/// How the blocks of a delta are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Packing {
    /// For another node: zstd where it helps.
    Wire,
    /// For the chitchat in this process: as it is.
    Local,
}

/// Writes what [`parse`] reads.
#[must_use]
pub fn encode(message: &Message, packing: Packing) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    out.extend_from_slice(&MAGIC.to_le_bytes());
    out.push(0);
    match message {
        Message::Syn { cluster_id, digest } => {
            out.push(0);
            write_digest(&mut out, digest);
            write_text(&mut out, cluster_id);
        }
        Message::SynAck { digest, delta } => {
            out.push(1);
            write_digest(&mut out, digest);
            write_delta(&mut out, delta, packing);
        }
        Message::Ack { delta } => {
            out.push(2);
            write_delta(&mut out, delta, packing);
        }
    }
    out
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize, within: &'static str) -> Result<&'a [u8], ParseError> {
        let Some((taken, rest)) = self.rest.split_at_checked(n) else {
            return Err(ParseError::Short { within });
        };
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, within: &'static str) -> Result<[u8; N], ParseError> {
        let Some((taken, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(ParseError::Short { within });
        };
        self.rest = rest;
        Ok(*taken)
    }

    fn u8(&mut self, within: &'static str) -> Result<u8, ParseError> {
        self.array::<1>(within).map(|[byte]| byte)
    }

    fn u16(&mut self, within: &'static str) -> Result<u16, ParseError> {
        self.array(within).map(u16::from_le_bytes)
    }

    fn u64(&mut self, within: &'static str) -> Result<u64, ParseError> {
        self.array(within).map(u64::from_le_bytes)
    }

    fn text(&mut self, what: &'static str, limit: usize) -> Result<&'a str, ParseError> {
        let length = usize::from(self.u16(what)?);
        at_most(what, length, limit)?;
        let bytes = self.take(length, what)?;
        std::str::from_utf8(bytes).map_err(|_| ParseError::Malformed { what })
    }

    fn id(&mut self) -> Result<GossipId, ParseError> {
        const WHAT: &str = "node id";
        let short = self.text(WHAT, ID_SHORT_LENGTH)?;
        let honest = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        if short.len() != ID_SHORT_LENGTH || !short.bytes().all(honest) {
            return Err(ParseError::Malformed { what: WHAT });
        }
        let generation = self.u64(WHAT)?;
        let ip: IpAddr = match self.u8(WHAT)? {
            4 => Ipv4Addr::from(self.array::<4>(WHAT)?).into(),
            6 => Ipv6Addr::from(self.array::<16>(WHAT)?).into(),
            found => return Err(ParseError::Unknown { what: "address", found: found.into() }),
        };
        let address = SocketAddr::new(ip, self.u16(WHAT)?);
        Ok(GossipId { short: short.to_owned(), generation, address })
    }

    fn digest(&mut self) -> Result<Vec<DigestEntry>, ParseError> {
        let n = usize::from(self.u16("digest")?);
        at_most("ids", n, IDS_MAX)?;
        let mut digest: Vec<DigestEntry> = Vec::with_capacity(n);
        for _ in 0..n {
            let id = self.id()?;
            if digest.last().is_some_and(|last| id <= last.id) {
                return Err(ParseError::Unordered { within: "digest" });
            }
            let heartbeat = self.u64("digest")?;
            if self.u64("digest")? != 0 {
                return Err(ParseError::Forbidden { what: "garbage-collection version" });
            }
            let max_version = self.u64("digest")?;
            digest.push(DigestEntry { id, heartbeat, max_version });
        }
        Ok(digest)
    }

    fn delta(&mut self) -> Result<Vec<DeltaEntry>, ParseError> {
        let unfolded = self.blocks()?;
        read_delta(Reader { rest: &unfolded })
    }

    /// Unfolds the blocks of a delta, never further than its limit.
    fn blocks(&mut self) -> Result<Vec<u8>, ParseError> {
        const WHAT: &str = "block";
        let mut unfolded = Vec::new();
        let mut room = Vec::new();
        loop {
            match self.u8(WHAT)? {
                0 => return Ok(unfolded),
                1 => {
                    let length = usize::from(self.u16(WHAT)?);
                    let packed = self.take(length, WHAT)?;
                    let left = DELTA_BYTES_MAX.saturating_sub(unfolded.len());
                    // The crate's own buffer: a block that needs more would fail there anyway.
                    room.resize(left.min(usize::from(u16::MAX)), 0);
                    let n = zstd::bulk::decompress_to_buffer(packed, &mut room[..])
                        .map_err(|_| ParseError::Malformed { what: WHAT })?;
                    unfolded.extend_from_slice(&room[..n]);
                }
                2 => {
                    let length = usize::from(self.u16(WHAT)?);
                    unfolded.extend_from_slice(self.take(length, WHAT)?);
                    at_most("unfolded bytes", unfolded.len(), DELTA_BYTES_MAX)?;
                }
                found => return Err(ParseError::Unknown { what: WHAT, found: found.into() }),
            }
        }
    }

    fn finish(&self) -> Result<(), ParseError> {
        match self.rest.len() {
            0 => Ok(()),
            extra => Err(ParseError::Trailing { extra }),
        }
    }
}

fn read_delta(mut reader: Reader<'_>) -> Result<Vec<DeltaEntry>, ParseError> {
    const WHAT: &str = "delta";
    let mut delta: Vec<DeltaEntry> = Vec::new();
    let mut seen = BTreeSet::new();
    // A node whose record has not come yet. At the end of a full message it never does.
    let mut open: Option<(GossipId, u64)> = None;
    while !reader.rest.is_empty() {
        match reader.u8(WHAT)? {
            0 => {
                let id = reader.id()?;
                if !seen.insert(id.clone()) {
                    return Err(ParseError::Unordered { within: WHAT });
                }
                at_most("ids", seen.len(), IDS_MAX)?;
                if reader.u64(WHAT)? != 0 {
                    return Err(ParseError::Forbidden { what: "garbage-collection version" });
                }
                open = Some((id, reader.u64(WHAT)?));
            }
            1 => {
                let key = reader.text("key", usize::from(u16::MAX))?;
                let text = reader.text("record", RECORD_TEXT_MAX)?.to_owned();
                let version = reader.u64(WHAT)?;
                let status = reader.u8(WHAT)?;
                if key != KEY {
                    return Err(ParseError::Forbidden { what: "another key" });
                }
                if status != 0 {
                    return Err(ParseError::Forbidden { what: "tombstone or time to live" });
                }
                let Some((id, from_excluded)) = open.take() else {
                    return Err(ParseError::Forbidden { what: "second record of a node" });
                };
                if version <= from_excluded {
                    return Err(ParseError::Malformed { what: "version" });
                }
                delta.push(DeltaEntry { id, from_excluded, text, version });
            }
            2 => return Err(ParseError::Forbidden { what: "set_max_version" }),
            found => return Err(ParseError::Unknown { what: "operation", found: found.into() }),
        }
    }
    Ok(delta)
}

fn at_most(what: &'static str, found: usize, limit: usize) -> Result<(), ParseError> {
    if found > limit { Err(ParseError::TooMany { what, found, limit }) } else { Ok(()) }
}

/// A length that the limits above keep within 16 bits.
fn write_length(out: &mut Vec<u8>, length: usize) {
    out.extend_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_le_bytes());
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    write_length(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

fn write_id(out: &mut Vec<u8>, id: &GossipId) {
    write_text(out, &id.short);
    out.extend_from_slice(&id.generation.to_le_bytes());
    match id.address.ip() {
        IpAddr::V4(ip) => {
            out.push(4);
            out.extend_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            out.push(6);
            out.extend_from_slice(&ip.octets());
        }
    }
    out.extend_from_slice(&id.address.port().to_le_bytes());
}

fn write_digest(out: &mut Vec<u8>, digest: &[DigestEntry]) {
    write_length(out, digest.len());
    for entry in digest {
        write_id(out, &entry.id);
        for number in [entry.heartbeat, 0, entry.max_version] {
            out.extend_from_slice(&number.to_le_bytes());
        }
    }
}

fn write_delta(out: &mut Vec<u8>, delta: &[DeltaEntry], packing: Packing) {
    let mut plain = Vec::new();
    for entry in delta {
        plain.push(0);
        write_id(&mut plain, &entry.id);
        plain.extend_from_slice(&0_u64.to_le_bytes());
        plain.extend_from_slice(&entry.from_excluded.to_le_bytes());
        plain.push(1);
        write_text(&mut plain, KEY);
        write_text(&mut plain, &entry.text);
        plain.extend_from_slice(&entry.version.to_le_bytes());
        plain.push(0);
    }
    for block in plain.chunks(BLOCK_BYTES) {
        let packed = match packing {
            Packing::Wire => zstd::bulk::compress(block, 1).ok(),
            Packing::Local => None,
        };
        let (kind, bytes) = match &packed {
            Some(packed) if packed.len() < block.len() => (1, packed.as_slice()),
            Some(_) | None => (2, block),
        };
        out.push(kind);
        write_length(out, bytes.len());
        out.extend_from_slice(bytes);
    }
    out.push(0);
}
