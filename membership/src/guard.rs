//! Stands between the network and chitchat: not a byte passes that was not understood and allowed.
//!
//! ```text
//!  network ─▶ parse ─▶ judge each record, each heartbeat ─▶ write anew ─▶ chitchat
//!  network ◀─ write anew ◀─ leave out what is stale, restore heartbeats ◀─ parse ◀─ chitchat
//! ```
//!
//! chitchat believes every member, and single datagrams can kill, rename or crash nodes that run it
//! bare: a heartbeat of `u64::MAX`, other nodes' keys, `SetMaxVersion` below a known version (an
//! assertion), a thousand ghosts (a digest over 65 kB, another assertion). Here a node can only
//! speak for itself, by its signature; about others it can only say "it was alive just now".
//!
//! # What passes
//!
//! * Of each node the one record it signed, with chitchat's version equal to the signed sequence
//!   and chitchat's id equal to the signed node, incarnation and address.
//! * Only the newest incarnation, and only so many new ones in a while.
//! * Only nodes that the CA certified, that are not revoked, and that are on the list if there is
//!   one; at most [`IDS_MAX`] ids.
//! * Heartbeats as `pulse` understands them.
//! * Of ourselves nothing but how much of our record the peer has, which is only used to choose
//!   what to send it.

mod codec;
mod known;
mod pulse;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crypto::{Credentials, NodeId, Peer};
use thiserror::Error;
use tokio::time::Instant;

pub use codec::{
    DELTA_BYTES_MAX, DeltaEntry, DigestEntry, GossipId, IDS_MAX, KEY, MESSAGE_BYTES_MAX, Message,
    Packing, ParseError, encode, parse,
};
pub(crate) use known::Known;

use crate::record::{Record, RecordError};

/// Nodes remembered after chitchat forgot them, so that an echo does not bring them back.
const GONE_MAX: usize = 4096;

/// Who may be a member, as the store has it.
#[derive(Clone, Debug, Default)]
pub struct Admission {
    /// Only these; `None` for everybody whom the CA certified.
    pub allowed: Option<Arc<BTreeSet<NodeId>>>,
    /// Never these.
    pub revoked: Arc<BTreeSet<NodeId>>,
}

/// A message was thrown away as a whole, because no honest node sends it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Rejected {
    /// It has not the shape of an honest message.
    #[error("malformed gossip message")]
    Parse {
        /// What is wrong with it.
        source: ParseError,
    },
    /// Another cluster's.
    #[error("gossip of another cluster")]
    Cluster,
    /// It carries a record that its subject did not sign.
    #[error("forged record of {short}")]
    Forged {
        /// Whose it claims to be.
        short: String,
        /// What does not hold.
        source: RecordError,
    },
    /// chitchat's id or version is not what the subject signed.
    #[error("record of {short} under another id or version")]
    Misplaced {
        /// Whose it claims to be.
        short: String,
    },
}

/// What chitchat may see of a message, and what we learned from it.
#[derive(Debug)]
pub(crate) struct Passed {
    /// For `ChitchatMessage::deserialize`.
    pub(crate) bytes: Vec<u8>,
    /// Ids that chitchat may not have heard of yet.
    pub(crate) fresh: Vec<GossipId>,
    /// A record is new or newer.
    pub(crate) changed: bool,
}

/// What time it is, in the three ways that matter here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    pub(crate) now: Instant,
    /// Since we started: our own heartbeat.
    pub(crate) uptime_ms: u64,
    /// For certificates.
    pub(crate) unix: u64,
}

/// Everything the guard knows. Pure: time comes in, bytes go out.
#[derive(Debug)]
pub(crate) struct Guard {
    me: NodeId,
    my_id: GossipId,
    cluster_id: String,
    credentials: Arc<Credentials>,
    admission: Admission,
    known: BTreeMap<String, Known>,
    /// Ids that chitchat holds, ours among them, as of the last [`Self::sync`] plus what came since.
    n_ids: usize,
    rival_incarnation: Option<u64>,
}

/// What becomes of one record.
enum Verdict {
    Pass,
    LeaveOut,
    New(Box<(Record, Peer)>),
}

impl Guard {
    pub(crate) fn new(my_id: GossipId, credentials: Arc<Credentials>) -> Self {
        Self {
            me: credentials.node(),
            my_id,
            cluster_id: cluster_id(&credentials),
            credentials,
            admission: Admission::default(),
            known: BTreeMap::new(),
            n_ids: 1,
            rival_incarnation: None,
        }
    }

    pub(crate) fn me(&self) -> NodeId {
        self.me
    }

    /// Nodes that are there or were until a quarter of an hour ago, by their signed records.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Known> {
        self.known.values().filter(|known| !known.gone && self.permits(known.node()))
    }

    pub(crate) fn member(&self, node: NodeId) -> Option<&Known> {
        let known = self.known.get(&node.short())?;
        (known.node() == node && !known.gone && self.permits(node)).then_some(known)
    }

    pub(crate) fn n_ids(&self) -> usize {
        self.n_ids
    }

    pub(crate) fn rival_incarnation(&self) -> Option<u64> {
        self.rival_incarnation
    }

    /// Whether packets of a node are to be read at all.
    pub(crate) fn hears(&self, peer: &Peer) -> bool {
        !peer.candidate && peer.id != self.me && !self.is_revoked(peer.id)
    }

    pub(crate) fn trust(&mut self, credentials: Arc<Credentials>) {
        self.credentials = credentials;
    }

    pub(crate) fn admit(&mut self, admission: Admission) {
        self.admission = admission;
    }

    /// A packet came over the node's own session: whatever gossip says, it is alive.
    pub(crate) fn heard_from(&mut self, peer: &Peer, from: std::net::SocketAddr, now: Instant) {
        if let Some(known) = self.known_mut(peer.id) {
            known.heard(from, now);
        }
    }

    /// The node itself told us its clock, outside of gossip.
    pub(crate) fn own_heartbeat(&mut self, node: NodeId, generation: u64, value: u64, at: Clock) {
        if let Some(known) = self.known_mut(node)
            && known.id.generation == generation
        {
            known.pulse.direct(at.uptime_ms, value);
            known.risen_at = Some(at.now);
            known.gone = false;
        }
    }

    pub(crate) fn pinged(&mut self, node: NodeId, answer: Option<std::time::Duration>) {
        if let Some(known) = self.known_mut(node) {
            match answer {
                Some(rtt) => (known.rtt, known.n_unanswered) = (Some(rtt), 0),
                None => known.n_unanswered = known.n_unanswered.saturating_add(1),
            }
        }
    }

    /// Tells which ids chitchat holds: what it forgot, we set aside.
    pub(crate) fn sync(&mut self, held: &BTreeSet<GossipId>) {
        self.n_ids = held.len();
        for known in self.known.values_mut() {
            let is_held = held.contains(&known.id);
            known.gone |= known.held && !is_held;
            known.held = is_held;
        }
        let mut n_gone = self.known.values().filter(|known| known.gone).count();
        while n_gone > GONE_MAX {
            let oldest =
                self.known.values().filter(|known| known.gone).min_by_key(|k| k.first_seen);
            let Some(oldest) = oldest.map(|known| known.id.short.clone()) else { break };
            self.known.remove(&oldest);
            n_gone -= 1;
        }
    }

    /// Judges a message of an authenticated peer.
    ///
    /// # Errors
    ///
    /// [`Rejected`] if no honest node can have sent it; then nothing of it counts.
    pub(crate) fn inbound(
        &mut self,
        at: Clock,
        peer: &Peer,
        bytes: &[u8],
    ) -> Result<Passed, Rejected> {
        let message = parse(bytes).map_err(|source| Rejected::Parse { source })?;
        let mut passed = Passed { bytes: Vec::new(), fresh: Vec::new(), changed: false };
        let clean = match message {
            Message::Syn { cluster_id, digest } => {
                if cluster_id != self.cluster_id {
                    return Err(Rejected::Cluster);
                }
                Message::Syn { cluster_id, digest: self.digest(at, peer, digest) }
            }
            Message::SynAck { digest, delta } => {
                // Records first: they may make the digest's ids known.
                let delta = self.delta(at, delta, &mut passed)?;
                Message::SynAck { digest: self.digest(at, peer, digest), delta }
            }
            Message::Ack { delta } => Message::Ack { delta: self.delta(at, delta, &mut passed)? },
        };
        passed.bytes = encode(&clean, Packing::Local);
        Ok(passed)
    }

    /// Rewrites a message of our own chitchat for the wire, so that it fits into `limit` if its
    /// digest does. Otherwise it goes another way, and then with all that it has.
    pub(crate) fn outbound(
        &self,
        at: Clock,
        bytes: &[u8],
        limit: usize,
    ) -> Result<Vec<u8>, Rejected> {
        let message = parse(bytes).map_err(|source| Rejected::Parse { source })?;
        let whole = match message {
            Message::Syn { cluster_id, digest } => {
                Message::Syn { cluster_id, digest: self.tell(at, digest) }
            }
            Message::SynAck { digest, delta } => {
                Message::SynAck { digest: self.tell(at, digest), delta: self.share(delta) }
            }
            Message::Ack { delta } => Message::Ack { delta: self.share(delta) },
        };
        let short = pack(&mut whole.clone(), limit);
        if short.len() <= limit {
            return Ok(short);
        }
        let mut whole = whole;
        Ok(pack(&mut whole, MESSAGE_BYTES_MAX))
    }

    fn delta(
        &mut self,
        at: Clock,
        delta: Vec<DeltaEntry>,
        passed: &mut Passed,
    ) -> Result<Vec<DeltaEntry>, Rejected> {
        let mut verdicts = Vec::with_capacity(delta.len());
        for entry in delta {
            // The first forgery ends it: one message costs us no more than one wrong signature.
            let verdict = self.judge(at, &entry)?;
            verdicts.push((entry, verdict));
        }
        let mut clean = Vec::with_capacity(verdicts.len());
        for (entry, verdict) in verdicts {
            match verdict {
                Verdict::LeaveOut => {}
                Verdict::Pass => clean.push(entry),
                Verdict::New(new) => {
                    if self.learn(at, *new, &entry, passed) {
                        clean.push(entry);
                    }
                }
            }
        }
        Ok(clean)
    }

    /// Changes nothing but our knowledge of a rival.
    fn judge(&mut self, at: Clock, entry: &DeltaEntry) -> Result<Verdict, Rejected> {
        let is_mine = entry.id.short == self.my_id.short;
        if is_mine && entry.id.generation <= self.my_id.generation {
            return Ok(Verdict::LeaveOut);
        }
        if let Some(known) = self.known.get(&entry.id.short) {
            if known.id == entry.id && known.text == entry.text {
                let current = entry.version == known.record.sequence;
                return Ok(if current { Verdict::Pass } else { Verdict::LeaveOut });
            }
            if (entry.id.generation, entry.version) <= known.age() {
                return Ok(Verdict::LeaveOut);
            }
        }
        let short = || entry.id.short.clone();
        let (record, peer) = match Record::verify(&entry.text, &self.credentials.ca, at.unix) {
            Ok(verified) => verified,
            Err(error) if error.is_a_matter_of_time() => return Ok(Verdict::LeaveOut),
            Err(source) => return Err(Rejected::Forged { short: short(), source }),
        };
        let signed = (record.node.short(), record.incarnation, record.address, record.sequence);
        let placed = (short(), entry.id.generation, entry.id.address, entry.version);
        if signed != placed {
            return Err(Rejected::Misplaced { short: short() });
        }
        if is_mine {
            if record.node == self.me {
                self.rival_incarnation = self.rival_incarnation.max(Some(record.incarnation));
            }
            return Ok(Verdict::LeaveOut);
        }
        if !self.permits(record.node) {
            return Ok(Verdict::LeaveOut);
        }
        Ok(Verdict::New(Box::new((record, peer))))
    }

    /// Takes a verified record that is newer than what we have. Returns whether there was room.
    fn learn(
        &mut self,
        at: Clock,
        (record, peer): (Record, Peer),
        entry: &DeltaEntry,
        passed: &mut Passed,
    ) -> bool {
        let full = self.n_ids >= IDS_MAX;
        let known = match self.known.get_mut(&entry.id.short) {
            // Two nodes with the same 56 bits: the first one stays.
            Some(known) if known.node() != record.node => return false,
            Some(known) if known.id == entry.id => {
                known.update(record, peer, entry.text.clone());
                passed.changed = true;
                return true;
            }
            // A process keeps its address for life.
            Some(known) if known.id.generation == entry.id.generation => return false,
            Some(_) if full => return false,
            Some(known) => {
                if !known.may_restart(at.now) {
                    return false;
                }
                known
            }
            None if full => return false,
            None => self
                .known
                .entry(entry.id.short.clone())
                .or_insert_with(|| Known::new(entry, &record, &peer, at.now)),
        };
        known.begin(entry, record, peer, at.now);
        self.n_ids += 1;
        passed.fresh.push(entry.id.clone());
        passed.changed = true;
        true
    }

    /// Judges what a peer says it knows.
    fn digest(&mut self, at: Clock, peer: &Peer, digest: Vec<DigestEntry>) -> Vec<DigestEntry> {
        let mut clean = Vec::with_capacity(digest.len());
        for mut entry in digest {
            if entry.id == self.my_id {
                entry.heartbeat = 1;
                clean.push(entry);
                continue;
            }
            let Some(known) = self.known.get_mut(&entry.id.short) else { continue };
            if known.id != entry.id {
                continue;
            }
            let rose = if known.node() == peer.id {
                known.pulse.direct(at.uptime_ms, entry.heartbeat);
                true
            } else {
                known.pulse.claimed(at.uptime_ms, entry.heartbeat)
            };
            if rose {
                known.risen_at = Some(at.now);
                known.gone = false;
            }
            let permitted = !known.gone && !self.is_revoked_id(&entry.id.short);
            if permitted {
                entry.heartbeat = self.counter_of(&entry.id.short);
                clean.push(entry);
            }
        }
        clean
    }

    fn counter_of(&self, short: &str) -> u64 {
        self.known.get(short).map_or(1, |known| known.pulse.counter())
    }

    fn is_revoked_id(&self, short: &str) -> bool {
        self.known.get(short).is_none_or(|known| !self.permits(known.node()))
    }

    /// What we say we know: heartbeats in their subjects' own clocks.
    fn tell(&self, at: Clock, digest: Vec<DigestEntry>) -> Vec<DigestEntry> {
        let mut told = Vec::with_capacity(digest.len());
        for mut entry in digest {
            if entry.id == self.my_id {
                entry.heartbeat = at.uptime_ms.max(1);
            } else if let Some(known) = self.current(&entry.id) {
                entry.heartbeat = known.pulse.best();
            } else {
                continue;
            }
            told.push(entry);
        }
        told
    }

    fn share(&self, mut delta: Vec<DeltaEntry>) -> Vec<DeltaEntry> {
        delta.retain(|entry| entry.id == self.my_id || self.current(&entry.id).is_some());
        delta
    }

    fn current(&self, id: &GossipId) -> Option<&Known> {
        let known = self.known.get(&id.short)?;
        (known.id == *id && !known.gone && self.permits(known.node())).then_some(known)
    }

    fn known_mut(&mut self, node: NodeId) -> Option<&mut Known> {
        self.known.get_mut(&node.short()).filter(|known| known.node() == node)
    }

    fn permits(&self, node: NodeId) -> bool {
        let allowed = self.admission.allowed.as_ref().is_none_or(|list| list.contains(&node));
        allowed && !self.is_revoked(node)
    }

    fn is_revoked(&self, node: NodeId) -> bool {
        self.admission.revoked.contains(&node) || self.credentials.revoked.contains(&node)
    }
}

/// chitchat's name for the cluster. It is no secret and no proof: the session is.
pub(crate) fn cluster_id(credentials: &Credentials) -> String {
    crypto::id::id_to_text(credentials.cluster_tag.0)
}

/// Writes a message for the wire with as many records as fit into `limit`: the rest comes next time.
fn pack(message: &mut Message, limit: usize) -> Vec<u8> {
    loop {
        let bytes = encode(message, Packing::Wire);
        match message {
            Message::SynAck { delta, .. } | Message::Ack { delta }
                if bytes.len() > limit && !delta.is_empty() =>
            {
                delta.truncate(delta.len() * 3 / 4);
            }
            Message::Syn { .. } | Message::SynAck { .. } | Message::Ack { .. } => return bytes,
        }
    }
}
