//! Sessions that do not stand yet: our handshakes and those of others.

use std::net::SocketAddr;
use std::time::Duration;

use crate::handshake::{
    Carrier, First, HandshakeError, Initiator, Local, Responder, is_first_for_us, read_index,
};
use crate::replay::FIRST_MESSAGE_WINDOW_SECONDS;

use super::session::{Path, REPEAT_AFTER, Session};
use super::{Endpoint, Event, Now, REKEY_AFTER, REKEY_JITTER, jitter};

/// Handshakes of others that may be half open: each costs about 3 KB.
const INCOMING_LIMIT: usize = 1024;

/// Of those, as many as one address may have: one, its repetition after a restart, and spare.
const INCOMING_PER_ADDRESS_LIMIT: usize = 4;

/// Our own: with more at once, answers queue behind their own timers (measured at 200 nodes).
const OUTGOING_LIMIT: usize = 16;

/// Longer than the initiator's 3 s and the first four repetitions of its third message.
const INCOMING_LIFE: Duration = Duration::from_secs(10);

/// First messages are sent at 0, 0.4 and 1.2 s.
const OUTGOING_LIFE: Duration = Duration::from_secs(3);
const FIRST_REPEATS: u32 = 2;

/// A network may duplicate a packet, a sender repeats it twice, and a replayer wants more.
const SECOND_REPEATS: u32 = 4;

/// A handshake that somebody else began.
#[derive(Debug)]
pub(super) struct Incoming {
    responder: Responder,
    from: SocketAddr,
    first_mac: [u8; 16],
    second: Vec<u8>,
    repeats: u32,
    since: Duration,
}

/// A handshake that we began.
#[derive(Debug)]
pub(super) struct Outgoing {
    initiator: Initiator,
    to: SocketAddr,
    since: Duration,
    repeat_at: Duration,
    repeats: u32,
}

impl Endpoint {
    /// Begins a handshake with a contact that wants one, if it may now.
    pub(super) fn open_if_possible(&mut self, now: Now, to: SocketAddr) {
        let Some(contact) = self.contacts.get(&to) else {
            return;
        };
        let almost_there = contact.sessions.iter().any(|index| {
            self.sessions.get(index).is_some_and(|session| {
                !session.confirmed
                    && now.monotonic.saturating_sub(session.created_at) < OUTGOING_LIFE
            })
        });
        if !contact.may_open(now.monotonic) || almost_there || self.outgoing.len() >= OUTGOING_LIMIT
        {
            return;
        }
        let Some(gate) = self.credentials.gate_key() else {
            return;
        };
        let index = self.new_index();
        match Initiator::start(&self.local(now, index), &gate) {
            Ok((initiator, first)) => {
                // Whoever sends it back to us shall not be answered.
                let expires_at = now.unix.saturating_add(FIRST_MESSAGE_WINDOW_SECONDS);
                self.memory.lock().remember(initiator.mac(), expires_at, now.unix);
                let outgoing = Outgoing {
                    initiator,
                    to,
                    since: now.monotonic,
                    repeat_at: now.monotonic + REPEAT_AFTER,
                    repeats: 0,
                };
                self.outgoing.insert(index, outgoing);
                self.contact(now.monotonic, to).opening_started(index);
                self.transmit(to, first);
            }
            Err(reason) => {
                self.contact(now.monotonic, to).opening_failed(now.monotonic);
                self.emit(Event::Refused { from: to, reason });
            }
        }
    }

    pub(super) fn receive_first(&mut self, now: Now, from: SocketAddr, packet: &[u8]) {
        let Some(first) = First::parse(packet) else {
            return;
        };
        if self.is_from_ourselves(now, from, &first) {
            self.emit(Event::Ourselves { from });
            return;
        }
        let same_address = self.incoming.values().filter(|incoming| incoming.from == from);
        let known = self
            .incoming
            .iter()
            .find(|(_, incoming)| incoming.first_mac == first.mac && incoming.from == from)
            .map(|(index, _)| *index);
        if let Some(index) = known {
            self.repeat_second(now, index, packet);
            return;
        }
        if self.incoming.len() >= INCOMING_LIMIT
            || same_address.count() >= INCOMING_PER_ADDRESS_LIMIT
        {
            return;
        }
        let index = self.new_index();
        let memory = self.memory.clone();
        let answer = Responder::accept(&self.local(now, index), packet, &mut memory.lock());
        match answer {
            Ok((responder, second)) => {
                self.transmit(from, second.clone());
                let incoming = Incoming {
                    responder,
                    from,
                    first_mac: first.mac,
                    second,
                    repeats: 0,
                    since: now.monotonic,
                };
                self.incoming.insert(index, incoming);
                if let Some(contact) = self.contacts.get_mut(&from) {
                    contact.answering(now.monotonic);
                }
            }
            Err(HandshakeError::Cookie { reply }) => self.transmit(from, reply),
            // Junk and replays are not worth an event: anybody can send them.
            Err(HandshakeError::Stranger | HandshakeError::Replayed) => {}
            Err(reason) => self.emit(Event::Refused { from, reason }),
        }
    }

    /// Our own first message came back from where we sent it: we dialled ourselves.
    ///
    /// Who can bend the path could do the same, and could cut it as well.
    fn is_from_ourselves(&mut self, now: Now, from: SocketAddr, first: &First<'_>) -> bool {
        let own = self
            .outgoing
            .iter()
            .find(|(_, outgoing)| outgoing.to == from && outgoing.initiator.mac() == first.mac)
            .map(|(index, _)| *index);
        let Some(index) = own else {
            return false;
        };
        self.outgoing.remove(&index);
        if let Some(contact) = self.contacts.get_mut(&from) {
            contact.opening_failed(now.monotonic);
        }
        true
    }

    /// Our answer may have been lost.
    fn repeat_second(&mut self, now: Now, index: u32, packet: &[u8]) {
        if !is_first_for_us(&self.local(now, 0), packet) {
            return;
        }
        let Some(incoming) = self.incoming.get_mut(&index) else {
            return;
        };
        if incoming.repeats < SECOND_REPEATS {
            incoming.repeats += 1;
            let (to, second) = (incoming.from, incoming.second.clone());
            self.transmit(to, second);
        }
    }

    pub(super) fn receive_second(&mut self, now: Now, from: SocketAddr, packet: &[u8]) {
        let Some(index) = read_index(packet) else {
            return;
        };
        if !self.outgoing.get(&index).is_some_and(|outgoing| outgoing.initiator.is_answer(packet)) {
            return;
        }
        let Some(Outgoing { initiator, to, .. }) = self.outgoing.remove(&index) else {
            return;
        };
        match initiator.finish(&self.credentials, packet, now.unix) {
            Ok((established, _)) if established.peer.id == self.credentials.node() => {
                self.contact(now.monotonic, to).opening_failed(now.monotonic);
                self.emit(Event::Ourselves { from: to });
            }
            Ok((established, third)) => {
                self.contact(now.monotonic, to).opening = None;
                self.transmit(to, third.clone());
                let path = Path { remote: to, heard_from: from };
                let rekey_at = self.rekey_at(now.monotonic);
                let session = Session::new(established, path, now.monotonic, rekey_at, Some(third));
                self.add_session(now.monotonic, index, session);
            }
            Err(reason) => {
                self.contact(now.monotonic, to).opening_failed(now.monotonic);
                self.emit(Event::Refused { from: to, reason });
            }
        }
    }

    pub(super) fn receive_third(&mut self, now: Now, from: SocketAddr, packet: &[u8]) {
        let Some(index) = read_index(packet) else {
            return;
        };
        let expected = self
            .incoming
            .get(&index)
            .is_some_and(|incoming| incoming.from == from && incoming.responder.is_answer(packet));
        if !expected {
            self.repeat_confirmation(index, from, packet);
            return;
        }
        let Some(Incoming { responder, .. }) = self.incoming.remove(&index) else {
            return;
        };
        match responder.finish(&self.credentials, packet, now.unix) {
            Ok(established) if established.peer.id == self.credentials.node() => {}
            Ok(established) => {
                let path = Path { remote: from, heard_from: from };
                let rekey_at = self.rekey_at(now.monotonic);
                let mut session = Session::new(established, path, now.monotonic, rekey_at, None);
                session.third_hash = Some(blake3::hash(packet));
                // An empty packet tells the peer that we have the keys too.
                if let Some(confirmation) = session.seal(&[]) {
                    self.transmit(from, confirmation);
                }
                self.add_session(now.monotonic, index, session);
            }
            Err(reason) => self.emit(Event::Refused { from, reason }),
        }
    }

    /// The peer repeats its third message because it heard nothing on the session yet.
    fn repeat_confirmation(&mut self, index: u32, from: SocketAddr, packet: &[u8]) {
        let Some(session) = self.sessions.get_mut(&index) else {
            return;
        };
        let repeated = session.last_received.is_none()
            && session.heard_from == from
            && session.third_hash == Some(blake3::hash(packet));
        if repeated && let Some(confirmation) = session.seal(&[]) {
            let to = session.remote;
            self.transmit(to, confirmation);
        }
    }

    pub(super) fn receive_cookie(&mut self, packet: &[u8]) {
        let outgoing = read_index(packet).and_then(|index| self.outgoing.get_mut(&index));
        if let Some(outgoing) = outgoing
            && outgoing.initiator.take_cookie(packet)
        {
            let (to, first) = (outgoing.to, outgoing.initiator.first().to_vec());
            self.transmit(to, first);
        }
    }

    /// Repeats first messages and gives up handshakes that took too long.
    pub(super) fn tick_openings(&mut self, now: Now) {
        self.incoming
            .retain(|_, incoming| now.monotonic.saturating_sub(incoming.since) < INCOMING_LIFE);
        let mut packets = Vec::new();
        let mut failed = Vec::new();
        for (index, outgoing) in &mut self.outgoing {
            if now.monotonic.saturating_sub(outgoing.since) >= OUTGOING_LIFE {
                failed.push((*index, outgoing.to));
            } else if now.monotonic >= outgoing.repeat_at && outgoing.repeats < FIRST_REPEATS {
                outgoing.repeats += 1;
                outgoing.repeat_at = now.monotonic + REPEAT_AFTER * (1 << outgoing.repeats);
                packets.push((outgoing.to, outgoing.initiator.first().to_vec()));
            }
        }
        for (to, packet) in packets {
            self.transmit(to, packet);
        }
        for (index, to) in failed {
            self.outgoing.remove(&index);
            self.contact(now.monotonic, to).opening_failed(now.monotonic);
            self.emit(Event::Unanswered { to });
        }
    }

    fn local(&self, now: Now, index: u32) -> Local<'_> {
        Local {
            credentials: &self.credentials,
            carrier: Carrier::Datagram,
            hello: &self.hello,
            index,
            now: now.unix,
        }
    }

    /// A name that no other session of ours has, and that nobody can guess.
    fn new_index(&mut self) -> u32 {
        loop {
            let index = self.rng.next_u32();
            if !self.sessions.contains_key(&index)
                && !self.incoming.contains_key(&index)
                && !self.outgoing.contains_key(&index)
            {
                return index;
            }
        }
    }

    fn rekey_at(&mut self, now: Duration) -> Duration {
        now + REKEY_AFTER - REKEY_JITTER + jitter(&mut self.rng, REKEY_JITTER * 2)
    }
}
