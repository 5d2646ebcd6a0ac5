//! Asking nodes whether they are there: what the pure probes decide is carried out here.

use std::collections::BTreeSet;
use std::time::Duration;

use crypto::NodeId;
use rand::seq::IteratorRandom;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Running;
use crate::guard::Known;
use crate::packet::Kind;
use crate::probe::{Action, HELPERS, PingReq, ProbeOutcome};
use crate::record::Presence;

/// Pings of our own accord in one tick, four ticks a second: each may cost a handshake, and a
/// newcomer that meets 300 nodes should not need a core for it.
const PINGS_PER_TICK: usize = 8;

/// Between pings of a node that just fell silent. Three of them fit into the detection time.
const PING_SILENT: Duration = Duration::from_millis(700);

/// Between pings of a node that has been silent for long.
const PING_SUSPECT: Duration = Duration::from_secs(5);

/// Between pings of somebody, to know the round trip and who does not hear us.
const PING_SOMEBODY: Duration = Duration::from_secs(1);

/// Unanswered pings after which a node is called no more often than a suspect.
const PINGS_PATIENT: u32 = 5;

impl Running {
    /// Asks those who fell silent before anybody suspects them, those who never told us their own
    /// clock, and somebody.
    pub(super) fn ping_the_silent(&mut self, now: Instant) {
        let silence = self.config.gossip_interval * 4;
        let pinged = |known: &Known| self.pinged_last.get(&known.node()).copied();
        let is_due = |known: &&Known| {
            let heard = known.signed_at().unwrap_or(known.first_seen);
            let is_silent = heard + silence <= now || known.pulse.is_unanchored();
            let patient = known.n_unanswered >= PINGS_PATIENT;
            let period = if patient { PING_SUSPECT } else { PING_SILENT };
            is_silent && pinged(known).is_none_or(|last| last + period <= now)
        };
        let stays = |known: &&Known| known.payload.state == Presence::Alive;
        let mut due: Vec<(Option<Instant>, NodeId)> = self
            .guard
            .members()
            .filter(stays)
            .filter(is_due)
            .map(|known| (pinged(known), known.node()))
            .collect();
        due.sort_unstable();
        due.truncate(PINGS_PER_TICK);
        if self.pinged_somebody + PING_SOMEBODY <= now {
            self.pinged_somebody = now;
            let least = self.guard.members().filter(stays).map(|known| (pinged(known), known));
            let least = least.min_by_key(|(last, known)| (*last, known.node()));
            due.extend(least.map(|(last, known)| (last, known.node())));
        }
        let present: BTreeSet<NodeId> = self.guard.members().map(Known::node).collect();
        self.pinged_last.retain(|node, _| present.contains(node));
        for (_, node) in due {
            self.pinged_last.insert(node, now);
            let ping = self.probes.ping(now, node, rand::random());
            self.perform(ping);
        }
    }

    pub(super) fn probe(
        &mut self,
        now: Instant,
        node: NodeId,
        reply: oneshot::Sender<ProbeOutcome>,
    ) {
        if self.guard.member(node).is_none() {
            let _ = reply.send(ProbeOutcome::Dead);
            return;
        }
        self.waiters.entry(node).or_default().push(reply);
        let actions = self.probes.probe(now, node, rand::random());
        self.perform(actions);
    }

    pub(super) fn perform(&mut self, actions: impl IntoIterator<Item = Action>) {
        for action in actions {
            match action {
                Action::Ping { target, ping } => {
                    let Some(known) = self.guard.member(target) else { continue };
                    for address in known.addresses() {
                        self.transport.send(address, Kind::Ping, ping.encode());
                    }
                }
                Action::AskOthers { request } => self.ask_others(request),
                Action::Answer { to, ack } => self.transport.send(to, Kind::PingAck, ack.encode()),
                Action::Done { target, outcome } => {
                    for waiter in self.waiters.remove(&target).unwrap_or_default() {
                        // Who asked may have stopped waiting.
                        let _ = waiter.send(outcome);
                    }
                }
                Action::Answered { node, incarnation, heartbeat, rtt } => {
                    let clock = self.clock();
                    self.guard.own_heartbeat(node, incarnation, heartbeat, clock);
                    self.guard.pinged(node, Some(rtt));
                    self.is_dirty |= !self.watcher.is_alive(node);
                }
                Action::Unanswered { node } => self.guard.pinged(node, None),
            }
        }
    }

    fn ask_others(&mut self, request: PingReq) {
        let others = self.watcher.alive().filter(|node| *node != request.target);
        for helper in others.choose_multiple(&mut rand::rng(), HELPERS) {
            let Some(known) = self.guard.member(helper) else { continue };
            self.transport.send(known.id.address, Kind::PingReq, request.encode());
        }
    }
}
