//! What the guard knows of one node.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crypto::{NodeId, Peer, Role};
use tokio::time::Instant;

use super::codec::{DeltaEntry, GossipId};
use super::pulse::Pulse;
use crate::record::{Payload, Record};

/// New incarnations of one node that are taken at once. A few restarts by hand are no flood.
const RESTARTS_BURST: u32 = 8;

/// After that one in so much time. Old ids live for 15 minutes in chitchat, so one node holds at
/// most 24 of the 900 however often it restarts.
const RESTARTS_PERIOD: Duration = Duration::from_secs(60);

/// One node, by its newest verified record.
#[derive(Debug)]
pub(crate) struct Known {
    /// chitchat's name for its present life.
    pub(crate) id: GossipId,
    pub(crate) record: Record,
    pub(crate) payload: Arc<Payload>,
    pub(crate) peer: Peer,
    /// The record as it was signed.
    pub(crate) text: String,
    pub(crate) pulse: Pulse,
    /// When gossip last brought a sign of life.
    pub(crate) risen_at: Option<Instant>,
    /// When a packet of its own last came, and from where.
    pub(crate) heard_at: Option<Instant>,
    pub(crate) heard_from: Option<SocketAddr>,
    pub(crate) first_seen: Instant,
    pub(crate) rtt: Option<Duration>,
    pub(crate) n_unanswered: u32,
    /// chitchat holds it.
    pub(crate) held: bool,
    /// chitchat held it and forgot it; only a new sign of life brings it back.
    pub(crate) gone: bool,
    restarts_left: u32,
    restarts_counted: Instant,
}

impl Known {
    pub(super) fn new(entry: &DeltaEntry, record: &Record, peer: &Peer, now: Instant) -> Self {
        Self {
            id: entry.id.clone(),
            record: record.clone(),
            payload: Arc::new(record.payload.clone()),
            peer: peer.clone(),
            text: entry.text.clone(),
            pulse: Pulse::default(),
            risen_at: None,
            heard_at: None,
            heard_from: None,
            first_seen: now,
            rtt: None,
            n_unanswered: 0,
            held: false,
            gone: false,
            restarts_left: RESTARTS_BURST,
            restarts_counted: now,
        }
    }

    pub(crate) fn node(&self) -> NodeId {
        self.record.node
    }

    /// Both it and its certificate say that it may manage.
    pub(crate) fn is_eligible(&self) -> bool {
        self.record.payload.eligible && self.peer.role == Role::Eligible
    }

    /// The last sign of life of any kind.
    pub(crate) fn signed_at(&self) -> Option<Instant> {
        self.risen_at.max(self.heard_at)
    }

    /// Where to reach it: where it says, and where it was heard from if that is elsewhere.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = SocketAddr> + use<> {
        let other = self.heard_from.filter(|from| *from != self.id.address);
        std::iter::once(self.id.address).chain(other)
    }

    pub(super) fn age(&self) -> (u64, u64) {
        (self.record.incarnation, self.record.sequence)
    }

    pub(super) fn heard(&mut self, from: SocketAddr, now: Instant) {
        self.heard_at = Some(now);
        self.heard_from = Some(from);
    }

    /// A newer record of the same life.
    pub(super) fn update(&mut self, record: Record, peer: Peer, text: String) {
        self.payload = Arc::new(record.payload.clone());
        (self.record, self.peer, self.text) = (record, peer, text);
    }

    /// A new life: everything that belonged to the old one ends.
    pub(super) fn begin(&mut self, entry: &DeltaEntry, record: Record, peer: Peer, now: Instant) {
        let (restarts_left, restarts_counted) = (self.restarts_left, self.restarts_counted);
        *self = Self::new(entry, &record, &peer, now);
        (self.restarts_left, self.restarts_counted) = (restarts_left, restarts_counted);
    }

    /// Spends one restart, if there is one left.
    pub(super) fn may_restart(&mut self, now: Instant) -> bool {
        while self.restarts_counted + RESTARTS_PERIOD <= now && self.restarts_left < RESTARTS_BURST
        {
            self.restarts_counted += RESTARTS_PERIOD;
            self.restarts_left += 1;
        }
        if self.restarts_left == 0 {
            return false;
        }
        if self.restarts_left == RESTARTS_BURST {
            self.restarts_counted = now;
        }
        self.restarts_left -= 1;
        true
    }
}
