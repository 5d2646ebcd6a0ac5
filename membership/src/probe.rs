//! SWIM's probes: ask a node directly, then let three others ask it, within one second.
//!
//! ```text
//!   0 ms  PING ─▶ target                    again at 200 ms
//! 400 ms  PING-REQ ─▶ three others, each of which PINGs the target for us; again at 700 ms
//!   1 s   nobody answered: dead
//! ```
//!
//! Pure: time and packets come in, packets and outcomes go out.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crypto::NodeId;
use crypto::wire::{self, WireError};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// What a probe found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ProbeOutcome {
    /// It answered us.
    Alive,
    /// It did not answer us, but it answers others.
    DirectFailedIndirectOk,
    /// It answers nobody whom we could ask, or nobody knows where it is.
    Dead,
}

/// How many others are asked.
pub(crate) const HELPERS: usize = 3;

/// The budget of a probe.
pub(crate) const PROBE_TIME: Duration = Duration::from_secs(1);

const DIRECT_AGAIN: Duration = Duration::from_millis(200);
const INDIRECT: Duration = Duration::from_millis(400);
const INDIRECT_AGAIN: Duration = Duration::from_millis(700);

/// Pings of our own that are open at once: one for each of 900 members.
const PINGS_MAX: usize = 1024;

/// Pings for others that are open at once. 16 a second and asker would do; this is for all.
const RELAYS_MAX: usize = 512;

/// Probes at once: a leader that lost a third of 300 members.
const PROBES_MAX: usize = 128;

const PING_KIND: u16 = 0x0210;
const PING_REQ_KIND: u16 = 0x0211;
const PING_ACK_KIND: u16 = 0x0212;
const PACKET_BYTES_MAX: usize = 64;

/// "Are you there?"
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Ping {
    pub(crate) nonce: u64,
}

/// "Is that one there?"
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct PingReq {
    pub(crate) nonce: u64,
    pub(crate) target: NodeId,
}

/// "Yes, and this is my clock." For others: whom it is about, and no clock.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct PingAck {
    pub(crate) nonce: u64,
    pub(crate) incarnation: u64,
    pub(crate) heartbeat: u64,
    pub(crate) on_behalf_of: Option<NodeId>,
}

macro_rules! packet {
    ($name:ident, $kind:ident) => {
        impl $name {
            pub(crate) fn encode(&self) -> Vec<u8> {
                // Plain fields always encode; empty bytes would be refused by every reader.
                wire::encode($kind, 1, self).unwrap_or_default()
            }

            pub(crate) fn decode(bytes: &[u8]) -> Result<Self, WireError> {
                wire::decode(bytes, $kind, 1, PACKET_BYTES_MAX)
            }
        }
    };
}

packet!(Ping, PING_KIND);
packet!(PingReq, PING_REQ_KIND);
packet!(PingAck, PING_ACK_KIND);

/// What the shell must do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Action {
    /// Send this PING to the node.
    Ping { target: NodeId, ping: Ping },
    /// Send this PING-REQ to some others that seem alive.
    AskOthers { request: PingReq },
    /// Tell the asker that the target answered us.
    Answer { to: SocketAddr, ack: PingAck },
    /// A probe ended.
    Done { target: NodeId, outcome: ProbeOutcome },
    /// A node answered a PING of ours, with its clock.
    Answered { node: NodeId, incarnation: u64, heartbeat: u64, rtt: Duration },
    /// A node left a PING of ours unanswered.
    Unanswered { node: NodeId },
}

/// Open questions.
#[derive(Debug, Default)]
pub(crate) struct Probes {
    /// PINGs of our own, by nonce.
    pings: BTreeMap<u64, Asked>,
    /// PINGs for others, by our nonce.
    relays: BTreeMap<u64, Relay>,
    probes: BTreeMap<NodeId, Probe>,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    target: NodeId,
    at: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Relay {
    target: NodeId,
    at: Instant,
    asker: SocketAddr,
    nonce: u64,
}

#[derive(Clone, Copy, Debug)]
struct Probe {
    ping: Ping,
    started: Instant,
    n_steps_done: usize,
}

impl Probes {
    /// Opens one PING, outside of any probe.
    pub(crate) fn ping(&mut self, now: Instant, target: NodeId, nonce: u64) -> Option<Action> {
        if self.pings.len() >= PINGS_MAX {
            return None;
        }
        self.pings.insert(nonce, Asked { target, at: now });
        Some(Action::Ping { target, ping: Ping { nonce } })
    }

    /// Starts a probe unless one is under way already.
    pub(crate) fn probe(&mut self, now: Instant, target: NodeId, nonce: u64) -> Vec<Action> {
        if self.probes.contains_key(&target) {
            return Vec::new();
        }
        if self.probes.len() >= PROBES_MAX {
            // Not asked is not dead: the only answer that makes nobody act.
            return vec![Action::Done { target, outcome: ProbeOutcome::DirectFailedIndirectOk }];
        }
        self.pings.insert(nonce, Asked { target, at: now });
        let ping = Ping { nonce };
        self.probes.insert(target, Probe { ping, started: now, n_steps_done: 0 });
        vec![Action::Ping { target, ping }]
    }

    /// Somebody asks us to ping for it.
    pub(crate) fn asked(
        &mut self,
        now: Instant,
        asker: SocketAddr,
        request: PingReq,
        nonce: u64,
    ) -> Option<Action> {
        if self.relays.len() >= RELAYS_MAX {
            return None;
        }
        let target = request.target;
        self.relays.insert(nonce, Relay { target, at: now, asker, nonce: request.nonce });
        Some(Action::Ping { target, ping: Ping { nonce } })
    }

    /// An answer came, from an authenticated node.
    pub(crate) fn answered(&mut self, now: Instant, from: NodeId, ack: PingAck) -> Vec<Action> {
        if let Some(target) = ack.on_behalf_of {
            return self.answered_for(target, ack.nonce);
        }
        if let Some(relay) = self.relays.get(&ack.nonce).copied() {
            if relay.target != from {
                return Vec::new();
            }
            self.relays.remove(&ack.nonce);
            let ack = PingAck { nonce: relay.nonce, on_behalf_of: Some(from), ..ack };
            return vec![Action::Answer { to: relay.asker, ack }];
        }
        let Some(asked) = self.pings.get(&ack.nonce).copied() else { return Vec::new() };
        if asked.target != from {
            return Vec::new();
        }
        self.pings.remove(&ack.nonce);
        let PingAck { incarnation, heartbeat, .. } = ack;
        let rtt = now.duration_since(asked.at);
        let mut actions = vec![Action::Answered { node: from, incarnation, heartbeat, rtt }];
        if self.probes.remove(&from).is_some() {
            actions.push(Action::Done { target: from, outcome: ProbeOutcome::Alive });
        }
        actions
    }

    fn answered_for(&mut self, target: NodeId, nonce: u64) -> Vec<Action> {
        // The nonce was told only to those whom we asked.
        if self.probes.get(&target).is_none_or(|probe| probe.ping.nonce != nonce) {
            return Vec::new();
        }
        self.probes.remove(&target);
        vec![Action::Done { target, outcome: ProbeOutcome::DirectFailedIndirectOk }]
    }

    /// What time demands.
    pub(crate) fn tick(&mut self, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        self.probes.retain(|target, probe| {
            let elapsed = now.duration_since(probe.started);
            if elapsed >= PROBE_TIME {
                actions.push(Action::Done { target: *target, outcome: ProbeOutcome::Dead });
                return false;
            }
            let steps = [DIRECT_AGAIN, INDIRECT, INDIRECT_AGAIN];
            let n_steps_due = steps.iter().filter(|step| **step <= elapsed).count();
            for step in probe.n_steps_done..n_steps_due {
                actions.push(if step == 0 {
                    Action::Ping { target: *target, ping: probe.ping }
                } else {
                    let request = PingReq { nonce: probe.ping.nonce, target: *target };
                    Action::AskOthers { request }
                });
            }
            probe.n_steps_done = n_steps_due;
            true
        });
        self.pings.retain(|_, asked| {
            let open = now.duration_since(asked.at) < PROBE_TIME;
            if !open {
                actions.push(Action::Unanswered { node: asked.target });
            }
            open
        });
        self.relays.retain(|_, relay| now.duration_since(relay.at) < PROBE_TIME);
        actions
    }

    /// When [`Self::tick`] is needed next, if a probe is under way.
    pub(crate) fn due(&self) -> Option<Instant> {
        let next = |probe: &Probe| {
            let step = [DIRECT_AGAIN, INDIRECT, INDIRECT_AGAIN].get(probe.n_steps_done).copied();
            probe.started + step.unwrap_or(PROBE_TIME)
        };
        self.probes.values().map(next).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: NodeId = NodeId::from_bytes([7; 16]);
    const HELPER: NodeId = NodeId::from_bytes([8; 16]);

    fn ack(nonce: u64, on_behalf_of: Option<NodeId>) -> PingAck {
        PingAck { nonce, incarnation: 1, heartbeat: 9, on_behalf_of }
    }

    fn done(actions: &[Action]) -> Option<ProbeOutcome> {
        actions.iter().find_map(|action| match action {
            Action::Done { outcome, .. } => Some(*outcome),
            Action::Ping { .. }
            | Action::AskOthers { .. }
            | Action::Answer { .. }
            | Action::Answered { .. }
            | Action::Unanswered { .. } => None,
        })
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_dead_after_all_steps() {
        let (mut probes, start) = (Probes::default(), Instant::now());
        let mut actions = probes.probe(start, TARGET, 5);
        assert!(probes.probe(start, TARGET, 6).is_empty(), "one probe at a time");
        while let Some(due) = probes.due() {
            actions.extend(probes.tick(due));
        }
        let ping = Action::Ping { target: TARGET, ping: Ping { nonce: 5 } };
        let ask = Action::AskOthers { request: PingReq { nonce: 5, target: TARGET } };
        let dead = Action::Done { target: TARGET, outcome: ProbeOutcome::Dead };
        let unanswered = Action::Unanswered { node: TARGET };
        assert_eq!(actions, [ping, ping, ask, ask, dead, unanswered]);
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_target_or_one_who_was_asked_can_answer() {
        let cases = [
            (TARGET, ack(5, None), Some(ProbeOutcome::Alive)),
            (HELPER, ack(5, Some(TARGET)), Some(ProbeOutcome::DirectFailedIndirectOk)),
            (HELPER, ack(5, None), None),
            (TARGET, ack(6, None), None),
            (HELPER, ack(6, Some(TARGET)), None),
            (HELPER, ack(5, Some(HELPER)), None),
        ];
        for (from, answer, expected) in cases {
            let (mut probes, start) = (Probes::default(), Instant::now());
            probes.probe(start, TARGET, 5);
            let actions = probes.answered(start, from, answer);
            assert_eq!(done(&actions), expected, "{from:?} {answer:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_helper_answers_with_the_askers_nonce_and_only_for_the_target() {
        let (mut probes, start) = (Probes::default(), Instant::now());
        let asker = "10.0.0.1:7964".parse().unwrap();
        let asked = probes.asked(start, asker, PingReq { nonce: 5, target: TARGET }, 77);
        assert_eq!(asked, Some(Action::Ping { target: TARGET, ping: Ping { nonce: 77 } }));
        assert_eq!(probes.answered(start, HELPER, ack(77, None)), []);
        let answer = Action::Answer { to: asker, ack: ack(5, Some(TARGET)) };
        assert_eq!(probes.answered(start, TARGET, ack(77, None)), [answer]);
        assert_eq!(probes.answered(start, TARGET, ack(77, None)), [], "once");
    }
}
