//! Messages over UDP: pairwise Noise sessions between addresses, without a socket or a clock.
//!
//! The owner feeds [`Endpoint::receive`] with what its socket receives, calls
//! [`Endpoint::tick`] every [`TICK`], and drains [`Endpoint::poll_transmit`] into the socket and
//! [`Endpoint::poll_event`] into the application after each call. Messages may be lost,
//! duplicated by the application's own repetition only, and overtake one another.
//!
//! # Invariants
//!
//! * A stranger gets no byte: everything that is sent answers a packet that was authenticated,
//!   or is our own wish to talk to an address that we know.
//! * A packet that fails authentication changes nothing, with one exception: data of an unknown
//!   session from a known address makes us open a session with that address, once in 2 s.
//! * A session is never re-keyed in place: its successor is a new session.

mod contact;
mod fragments;
mod opening;
mod rng;
mod session;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::certificate::Peer;
use crate::credentials::Credentials;
use crate::handshake::{HandshakeError, packet_kind, read_index};
use crate::id::NodeId;
use crate::replay::SharedFirstMessages;

use self::contact::{Contact, SESSIONS_PER_CONTACT_LIMIT};
use self::fragments::{PART_BYTES, PARTS_LIMIT, Reassembly, split};
use self::opening::{Incoming, Outgoing};
use self::rng::Rng;
use self::session::Session;

/// The longest message; longer ones go by stream.
pub const MESSAGE_LIMIT_BYTES: usize = PART_BYTES * PARTS_LIMIT;

/// How often [`Endpoint::tick`] is to be called: a quarter of the shortest timer.
pub const TICK: Duration = Duration::from_millis(100);

/// 900 nodes, their old addresses, and as many that were only tried.
const CONTACTS_LIMIT: usize = 2048;

/// Packets that the owner has not taken yet: 5 MB.
const TRANSMITS_LIMIT: usize = 4096;

/// Events that the owner has not taken yet: 10 MB of the longest messages.
const EVENTS_LIMIT: usize = 1024;

/// A new session each hour, give or take a tenth so that not all are renewed at once.
const REKEY_AFTER: Duration = Duration::from_secs(60 * 60);
const REKEY_JITTER: Duration = Duration::from_secs(6 * 60);

/// After a change of our certificate or gate key, every session is renewed within this time.
const REKEY_SPREAD: Duration = Duration::from_secs(60);

/// Packets of the predecessor may still be on their way.
const RETIRE_AFTER: Duration = Duration::from_secs(60);

/// Two sessions younger than this, one opened by each side, were opened at the same time.
const YOUNG: Duration = Duration::from_secs(5);

/// How long the application may take to answer before we do with an empty packet: well below
/// the 2 s after which the sender begins to doubt.
const ANSWER_AFTER: Duration = Duration::from_millis(300);

/// An address that nothing was heard from or sent to for so long is forgotten.
const FORGET_AFTER: Duration = Duration::from_secs(10 * 60);

/// The two clocks that an endpoint needs, read by its owner.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Time since some fixed moment of this process; never runs backwards.
    pub monotonic: Duration,
    /// Unix time in seconds, for certificates; may jump.
    pub unix: u64,
}

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// A session with a peer stands: its first, or a successor.
    Connected {
        /// The peer's address.
        from: SocketAddr,
        /// Who it is.
        peer: Arc<Peer>,
        /// What its application said in the handshake.
        peer_hello: Arc<[u8]>,
    },
    /// A whole message of an authenticated peer.
    Message {
        /// The peer's address.
        from: SocketAddr,
        /// Who it is.
        peer: Arc<Peer>,
        /// What its application said in the handshake.
        peer_hello: Arc<[u8]>,
        /// The application's kind of message.
        kind: u8,
        /// The message.
        payload: Vec<u8>,
    },
    /// The address is our own: the handshake met our own key.
    Ourselves {
        /// The address.
        from: SocketAddr,
    },
    /// A handshake failed behind the gate, or a session was revoked.
    Refused {
        /// The peer's address.
        from: SocketAddr,
        /// Why.
        reason: HandshakeError,
    },
    /// No handshake came about: nobody there, wrong key, wrong clock, or no way through.
    Unanswered {
        /// The address.
        to: SocketAddr,
    },
}

/// A message cannot be sent.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum SendError {
    /// It belongs on a stream.
    #[error("a message of {length} bytes is over the limit of {MESSAGE_LIMIT_BYTES}")]
    TooBig {
        /// Its length.
        length: usize,
    },
    /// We have no members' key: a candidate joins by stream.
    #[error("no gate key: not a member yet")]
    NoGate,
}

/// All sessions of one UDP socket.
#[derive(Debug)]
pub struct Endpoint {
    credentials: Arc<Credentials>,
    hello: Vec<u8>,
    memory: SharedFirstMessages,
    rng: Rng,
    contacts: BTreeMap<SocketAddr, Contact>,
    sessions: BTreeMap<u32, Session>,
    incoming: BTreeMap<u32, Incoming>,
    outgoing: BTreeMap<u32, Outgoing>,
    reassembly: Reassembly,
    transmits: VecDeque<(SocketAddr, Vec<u8>)>,
    events: VecDeque<Event>,
}

impl Endpoint {
    /// `hello` is told to every peer; `seed` makes indexes and jitter, and must be random.
    #[must_use]
    pub fn new(
        credentials: Arc<Credentials>,
        hello: Vec<u8>,
        memory: SharedFirstMessages,
        seed: &[u8; 32],
    ) -> Self {
        Self {
            credentials,
            hello,
            memory,
            rng: Rng::new(seed),
            contacts: BTreeMap::new(),
            sessions: BTreeMap::new(),
            incoming: BTreeMap::new(),
            outgoing: BTreeMap::new(),
            reassembly: Reassembly::default(),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Takes new credentials: revoked peers are dropped now, sessions that show an old
    /// certificate or gate key are renewed within a minute of use.
    pub fn set_credentials(&mut self, now: Now, credentials: Arc<Credentials>) {
        let before = std::mem::replace(&mut self.credentials, credentials);
        let revoked = Arc::clone(&self.credentials.revoked);
        let dropped: Vec<(u32, SocketAddr, NodeId)> = self
            .sessions
            .iter()
            .filter(|(_, session)| revoked.contains(&session.peer.id))
            .map(|(index, session)| (*index, session.remote, session.peer.id))
            .collect();
        for (index, from, node) in dropped {
            self.drop_session(index);
            self.emit(Event::Refused { from, reason: HandshakeError::Revoked { node } });
        }
        let changed = before.certificate != self.credentials.certificate
            || before.gate_key() != self.credentials.gate_key();
        if changed {
            for session in self.sessions.values_mut() {
                let spread = jitter(&mut self.rng, REKEY_SPREAD);
                session.rekey_at = session.rekey_at.min(now.monotonic + spread);
            }
        }
    }

    /// Changes what is told to peers in handshakes from now on.
    pub fn set_hello(&mut self, hello: Vec<u8>) {
        self.hello = hello;
    }

    /// Sends a message, at once or as soon as there is a session.
    ///
    /// # Errors
    ///
    /// [`SendError::TooBig`] over [`MESSAGE_LIMIT_BYTES`]; [`SendError::NoGate`] for a candidate.
    pub fn send(
        &mut self,
        now: Now,
        to: SocketAddr,
        kind: u8,
        payload: &[u8],
    ) -> Result<(), SendError> {
        if payload.len() > MESSAGE_LIMIT_BYTES {
            return Err(SendError::TooBig { length: payload.len() });
        }
        if self.credentials.gate_key().is_none() {
            return Err(SendError::NoGate);
        }
        let contact = self.contact(now.monotonic, to);
        contact.last_used = now.monotonic;
        let Some(active) = contact.active else {
            contact.enqueue(kind, payload);
            contact.wants_session = true;
            self.open_if_possible(now, to);
            return Ok(());
        };
        contact.sent(now.monotonic);
        let doubtful = contact.is_doubtful(now.monotonic);
        let due = self.sessions.get(&active).is_none_or(|session| session.is_due(now.monotonic));
        self.seal_message(active, kind, payload);
        if (doubtful || due)
            && let Some(contact) = self.contacts.get_mut(&to)
        {
            contact.wants_session = true;
            self.open_if_possible(now, to);
        }
        Ok(())
    }

    /// Takes a datagram from the socket, whoever sent it.
    pub fn receive(&mut self, now: Now, from: SocketAddr, packet: &[u8]) {
        match packet.first() {
            Some(&packet_kind::DATA) => self.receive_data(now, from, packet),
            Some(&packet_kind::FIRST) => self.receive_first(now, from, packet),
            Some(&packet_kind::SECOND) => self.receive_second(now, from, packet),
            Some(&packet_kind::THIRD) => self.receive_third(now, from, packet),
            Some(&packet_kind::COOKIE) => self.receive_cookie(packet),
            _ => {}
        }
    }

    /// Does what time demands; to be called every [`TICK`].
    pub fn tick(&mut self, now: Now) {
        self.tick_openings(now);
        self.tick_sessions(now.monotonic);
        self.reassembly.tick(now.monotonic);
        self.contacts.retain(|_, contact| {
            !contact.is_idle() || now.monotonic.saturating_sub(contact.last_used) < FORGET_AFTER
        });
        let mut ready = Vec::new();
        for (address, contact) in &mut self.contacts {
            let is_waiting = !contact.queue.is_empty() && contact.opening.is_none();
            contact.wants_session |= is_waiting || contact.is_doubtful(now.monotonic);
            if contact.may_open(now.monotonic) {
                ready.push(*address);
            }
        }
        for address in ready {
            self.open_if_possible(now, address);
        }
    }

    /// The next datagram for the socket.
    pub fn poll_transmit(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.transmits.pop_front()
    }

    /// The next event for the application.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Who is at an address, if a session stands with it.
    #[must_use]
    pub fn peer_at(&self, address: SocketAddr) -> Option<Arc<Peer>> {
        let active = self.contacts.get(&address)?.active?;
        Some(Arc::clone(&self.sessions.get(&active)?.peer))
    }

    /// How many sessions stand.
    #[must_use]
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    fn receive_data(&mut self, now: Now, from: SocketAddr, packet: &[u8]) {
        let Some(index) = read_index(packet) else {
            return;
        };
        let Some(session) = self.sessions.get_mut(&index) else {
            self.receive_unknown(now, from, index);
            return;
        };
        if session.heard_from != from {
            return;
        }
        let was_confirmed = session.confirmed;
        let Some(plaintext) = session.open(now.monotonic, packet) else {
            return;
        };
        let (remote, peer) = (session.remote, Arc::clone(&session.peer));
        let peer_hello = Arc::clone(&session.peer_hello);
        if !plaintext.is_empty() {
            session.answer_at.get_or_insert(now.monotonic + ANSWER_AFTER);
        }
        self.contact(now.monotonic, remote).heard(now.monotonic);
        if !was_confirmed {
            self.confirm(now.monotonic, index);
        }
        self.follow_the_peer(now.monotonic, remote, index);
        if let Some(whole) = self.reassembly.take(now.monotonic, index, &plaintext) {
            let (kind, payload) = (whole.kind, whole.payload);
            self.emit(Event::Message { from: remote, peer, peer_hello, kind, payload });
        }
    }

    /// The sender believes in a session that we do not have. It may be anybody, so nobody is
    /// answered; a known address is opened to, if its sessions are silent.
    fn receive_unknown(&mut self, now: Now, from: SocketAddr, index: u32) {
        if self.incoming.contains_key(&index) || self.outgoing.contains_key(&index) {
            return;
        }
        let Some(contact) = self.contacts.get_mut(&from) else {
            return;
        };
        let heard_lately = contact
            .active
            .and_then(|active| self.sessions.get(&active)?.last_received)
            .is_some_and(|at| now.monotonic.saturating_sub(at) < contact::PROVOKED_EVERY);
        if !heard_lately {
            contact.provoked(now.monotonic);
            self.open_if_possible(now, from);
        }
    }

    fn tick_sessions(&mut self, now: Duration) {
        let mut over = Vec::new();
        let mut packets = Vec::new();
        for (index, session) in &mut self.sessions {
            if session.is_over(now) {
                over.push(*index);
                continue;
            }
            packets.extend(session.third_to_repeat(now).map(|packet| (session.remote, packet)));
            if session.answer_at.is_some_and(|at| now >= at) {
                packets.extend(session.seal(&[]).map(|packet| (session.remote, packet)));
            }
        }
        for (to, packet) in packets {
            self.transmit(to, packet);
        }
        for index in over {
            self.drop_session(index);
        }
    }

    /// Adds a session to its contact; one that the peer confirmed may be sent on.
    fn add_session(&mut self, now: Duration, index: u32, session: Session) {
        let (remote, confirmed) = (session.remote, session.confirmed);
        self.sessions.insert(index, session);
        let contact = self.contact(now, remote);
        contact.sessions.push(index);
        if contact.sessions.len() > SESSIONS_PER_CONTACT_LIMIT {
            let active = contact.active;
            let oldest = contact.sessions.iter().find(|index| Some(**index) != active).copied();
            if let Some(oldest) = oldest {
                self.drop_session(oldest);
            }
        }
        if confirmed {
            self.confirm(now, index);
        }
    }

    /// The peer has the keys of this session: choose what to send on, and send what waited.
    fn confirm(&mut self, now: Duration, index: u32) {
        let Some(session) = self.sessions.get(&index) else {
            return;
        };
        let remote = session.remote;
        let event = Event::Connected {
            from: remote,
            peer: Arc::clone(&session.peer),
            peer_hello: Arc::clone(&session.peer_hello),
        };
        let active = self.contacts.get(&remote).and_then(|contact| contact.active);
        let active = active.and_then(|active| self.sessions.get(&active));
        if active.is_none_or(|active| succeeds(now, active, session)) {
            self.activate(now, remote, index);
        } else if let Some(session) = self.sessions.get_mut(&index) {
            session.retire_at = Some(now + RETIRE_AFTER);
        }
        let contact = self.contact(now, remote);
        contact.heard(now);
        contact.wants_session = false;
        let waiting = std::mem::take(&mut contact.queue);
        let active = contact.active;
        self.emit(event);
        for (kind, payload) in waiting {
            self.contact(now, remote).sent(now);
            if let Some(active) = active {
                self.seal_message(active, kind, &payload);
            }
        }
    }

    /// The two sides of a simultaneous open, or of a restart, may have chosen different sessions:
    /// if all we hear is on a younger one than we send on, that is the one.
    fn follow_the_peer(&mut self, now: Duration, remote: SocketAddr, heard_on: u32) {
        let Some(active) = self.contacts.get(&remote).and_then(|contact| contact.active) else {
            return;
        };
        let (Some(sending), Some(hearing)) =
            (self.sessions.get(&active), self.sessions.get(&heard_on))
        else {
            return;
        };
        let settled = now.saturating_sub(hearing.created_at) >= ANSWER_AFTER * 2;
        let silent = sending.last_received.is_none_or(|at| at < hearing.created_at);
        if active != heard_on && settled && silent && sending.created_at <= hearing.created_at {
            self.activate(now, remote, heard_on);
        }
    }

    fn activate(&mut self, now: Duration, remote: SocketAddr, index: u32) {
        let before = self.contact(now, remote).active.replace(index);
        if let Some(before) = before.and_then(|before| self.sessions.get_mut(&before)) {
            before.retire_at = Some(now + RETIRE_AFTER);
        }
        if let Some(session) = self.sessions.get_mut(&index) {
            session.retire_at = None;
        }
    }

    fn seal_message(&mut self, index: u32, kind: u8, payload: &[u8]) {
        let Some(session) = self.sessions.get_mut(&index) else {
            return;
        };
        let (remote, message_id) = (session.remote, session.next_message_id());
        let packets: Vec<Vec<u8>> = split(message_id, kind, payload)
            .iter()
            .filter_map(|plaintext| session.seal(plaintext))
            .collect();
        for packet in packets {
            self.transmit(remote, packet);
        }
    }

    fn drop_session(&mut self, index: u32) {
        self.reassembly.forget_session(index);
        let Some(session) = self.sessions.remove(&index) else {
            return;
        };
        if let Some(contact) = self.contacts.get_mut(&session.remote) {
            contact.sessions.retain(|other| *other != index);
            if contact.active == Some(index) {
                contact.active = None;
            }
        }
    }

    /// The contact of an address, made if there is none; the one unused longest makes room.
    fn contact(&mut self, now: Duration, address: SocketAddr) -> &mut Contact {
        if self.contacts.len() >= CONTACTS_LIMIT && !self.contacts.contains_key(&address) {
            let oldest = self.contacts.iter().min_by_key(|(_, contact)| contact.last_used);
            if let Some(oldest) = oldest.map(|(address, _)| *address) {
                let contact = self.contacts.remove(&oldest).unwrap_or_default();
                contact.sessions.into_iter().for_each(|index| self.drop_session(index));
                if let Some(opening) = contact.opening {
                    self.outgoing.remove(&opening);
                }
            }
        }
        self.contacts.entry(address).or_insert_with(|| Contact::new(now))
    }

    fn transmit(&mut self, to: SocketAddr, packet: Vec<u8>) {
        if self.transmits.len() == TRANSMITS_LIMIT {
            self.transmits.pop_front();
        }
        self.transmits.push_back((to, packet));
    }

    fn emit(&mut self, event: Event) {
        if self.events.len() < EVENTS_LIMIT {
            self.events.push_back(event);
        }
    }
}

/// Whether a newly confirmed session replaces the one that we send on.
///
/// Of two that were opened at the same time from both sides, both sides choose the one with the
/// smaller handshake hash; otherwise the newest is right.
fn succeeds(now: Duration, active: &Session, new: &Session) -> bool {
    let simultaneous = active.peer.id == new.peer.id
        && active.initiated != new.initiated
        && now.saturating_sub(active.created_at) < YOUNG;
    !simultaneous || new.hash < active.hash
}

fn jitter(rng: &mut Rng, span: Duration) -> Duration {
    span.mul_f64(f64::from(rng.next_u32()) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests;
