//! Who is Ready and who is Down: the leader's judgement, and its only owner.
//!
//! Gossip nominates a suspect, or a node that does not fetch its assignments;
//! a direct probe and three through others convict it. Pure: the loop is in `lead`.

use std::collections::BTreeMap;
use std::time::Duration;

use crypto::NodeId;
use model::{NodeState, State};

/// A new leader believes nobody dead before its own view was stable for one
/// detection time of gossip (4.2 s was the longest measured).
pub(crate) const SETTLE: Duration = Duration::from_millis(4_500);

/// A node that has been silent towards this leader from the start is given up
/// after this: its gossip would have reached us in a quarter of it.
const UNSEEN: Duration = Duration::from_secs(10);

/// A node without an assignment stream for so long is probed even if gossip
/// hears it: it may be able to send and not to receive.
const UNSERVED: Duration = Duration::from_secs(3);

/// A verdict of a probe is used once and not for longer than this.
const PROBE_FRESH: Duration = Duration::from_secs(2);

/// What is seen of one node at this moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Sight {
    /// What gossip says.
    pub(crate) gossip: Gossip,
    /// How long it has had no assignment stream; `None` while it has one.
    pub(crate) unserved: Option<Duration>,
    /// The last probe: its age and whether anybody got an answer.
    pub(crate) probe: Option<(Duration, bool)>,
}

/// What gossip says of one node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Gossip {
    /// Never heard of it.
    Unseen,
    /// It is heard.
    Alive,
    /// It has fallen silent.
    Suspect,
    /// It said goodbye.
    Left,
}

/// What to do about one node.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// Nothing.
    Leave,
    /// Ask it, directly and through others.
    Probe,
    /// Write this.
    Write(NodeState, &'static str),
}

/// Judges every node but the leader itself, which is Ready by leading.
pub(crate) fn judge(
    me: NodeId,
    state: &State,
    sights: &BTreeMap<NodeId, Sight>,
    leading: Duration,
    self_suspect: bool,
) -> Vec<(NodeId, Verdict)> {
    let settled = SETTLE <= leading && !self_suspect;
    let verdict = |node: &model::Node| {
        if node.id == me {
            return written(node.status.state, NodeState::Ready, "it leads");
        }
        let sight = sights.get(&node.id).copied().unwrap_or(Sight {
            gossip: Gossip::Unseen,
            unserved: Some(leading),
            probe: None,
        });
        one(node.status.state, sight, leading, settled)
    };
    let verdicts = state.nodes().map(|node| (node.id, verdict(node)));
    verdicts.filter(|(_, verdict)| *verdict != Verdict::Leave).collect()
}

fn one(now: NodeState, sight: Sight, leading: Duration, settled: bool) -> Verdict {
    let unserved = sight.unserved.is_some_and(|age| UNSERVED <= age);
    match sight.gossip {
        Gossip::Left => written(now, NodeState::Down, "it left"),
        Gossip::Alive if !unserved => written(now, NodeState::Ready, "gossip hears it"),
        Gossip::Alive | Gossip::Suspect if now == NodeState::Down => match sight.probe {
            // It gossips again but fetches nothing yet: it is back when it can be reached.
            Some((age, true)) if age < PROBE_FRESH => {
                written(now, NodeState::Ready, "it answers probes")
            }
            _ if sight.gossip == Gossip::Alive => Verdict::Probe,
            _ => Verdict::Leave,
        },
        Gossip::Alive | Gossip::Suspect => match sight.probe {
            _ if !settled => Verdict::Leave,
            Some((age, false)) if age < PROBE_FRESH => {
                written(now, NodeState::Down, "neither we nor others got an answer")
            }
            Some((age, true)) if age < PROBE_FRESH => Verdict::Leave,
            _ => Verdict::Probe,
        },
        Gossip::Unseen if settled && UNSEEN <= leading => {
            written(now, NodeState::Down, "never heard of since this leader began")
        }
        Gossip::Unseen => Verdict::Leave,
    }
}

fn written(now: NodeState, wanted: NodeState, why: &'static str) -> Verdict {
    if now == wanted { Verdict::Leave } else { Verdict::Write(wanted, why) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);
    const NOW: Duration = Duration::from_millis(100);

    fn sight(gossip: Gossip) -> Sight {
        Sight { gossip, unserved: None, probe: None }
    }

    #[test]
    fn gossip_nominates_and_probes_convict() {
        use NodeState::{Down, Ready, Unknown};

        let alive = sight(Gossip::Alive);
        let suspect = sight(Gossip::Suspect);
        let deaf = Sight { unserved: Some(LONG), ..alive };
        let convicted = Sight { probe: Some((NOW, false)), ..suspect };
        let cleared = Sight { probe: Some((NOW, true)), ..suspect };
        let stale = Sight { probe: Some((LONG, false)), ..suspect };
        let down = Verdict::Write(Down, "neither we nor others got an answer");
        for (now, seen, settled, expected) in [
            (Unknown, alive, false, Verdict::Write(Ready, "gossip hears it")),
            (Ready, alive, true, Verdict::Leave),
            (Ready, suspect, true, Verdict::Probe),
            (Ready, suspect, false, Verdict::Leave),
            (Ready, convicted, true, down.clone()),
            (Ready, convicted, false, Verdict::Leave),
            (Ready, cleared, true, Verdict::Leave),
            (Ready, stale, true, Verdict::Probe),
            (Ready, deaf, true, Verdict::Probe),
            (Ready, Sight { probe: Some((NOW, false)), ..deaf }, true, down),
            (Down, suspect, true, Verdict::Leave),
            (Down, alive, true, Verdict::Write(Ready, "gossip hears it")),
            (Down, deaf, true, Verdict::Probe),
            (Ready, sight(Gossip::Left), true, Verdict::Write(Down, "it left")),
        ] {
            assert_eq!(one(now, seen, LONG, settled), expected, "{now:?} {seen:?} {settled}");
        }
    }

    #[test]
    fn a_new_leader_waits_before_it_gives_up_who_it_never_heard() {
        let unseen = sight(Gossip::Unseen);
        assert_eq!(one(NodeState::Ready, unseen, SETTLE, true), Verdict::Leave);
        let late = one(NodeState::Ready, unseen, UNSEEN, true);
        assert!(matches!(late, Verdict::Write(NodeState::Down, _)));
    }
}
