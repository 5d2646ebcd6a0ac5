//! Cases by table, laws for any inputs, and minutes of a cluster's life.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crypto::NodeId;
use model::DesiredRole;
use proptest::prelude::*;

use super::{
    Change, Decision, Facts, Health, Inputs, Memory, Observation, Raft, STANDBY, Seen, decide,
};

fn node(raft_id: u64) -> NodeId {
    NodeId::from_bytes([u8::try_from(raft_id).unwrap(); 16])
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn healthy(raft_id: u64) -> Facts {
    Facts {
        raft_id,
        eligible: true,
        role: DesiredRole::Automatic,
        draining: false,
        zone: String::new(),
        dead_for: None,
        healthy_for: Some(secs(100)),
        caught_up_for: Some(secs(100)),
        banned_for: None,
    }
}

/// Nodes 1 to `n`, all healthy; node 1 leads.
fn cluster(n: u64, voters: &[u64], learners: &[u64]) -> Inputs {
    let members = |ids: &[u64]| ids.iter().map(|id| (*id, node(*id))).collect();
    Inputs {
        raft: Raft {
            voters: members(voters),
            learners: members(learners),
            joint: None,
            settled: true,
            leader: 1,
            lag: BTreeMap::new(),
            quorum_ack_age: Some(Duration::from_millis(60)),
        },
        nodes: (1..=n).map(|id| (node(id), healthy(id))).collect(),
        wanted: None,
        cluster_age: secs(10_000),
        since_change: None,
        n_died_lately: 0,
    }
}

fn with(mut inputs: Inputs, change: impl FnOnce(&mut Inputs)) -> Inputs {
    change(&mut inputs);
    inputs
}

fn facts(inputs: &mut Inputs, raft_id: u64) -> &mut Facts {
    inputs.nodes.get_mut(&node(raft_id)).unwrap()
}

fn dead(inputs: &mut Inputs, raft_id: u64, seconds: u64) {
    let facts = facts(inputs, raft_id);
    (facts.dead_for, facts.healthy_for) = (Some(secs(seconds)), None);
}

fn voters(ids: &[u64]) -> Option<Change> {
    Some(Change::Voters(ids.iter().copied().collect()))
}

fn learn(raft_id: u64) -> Option<Change> {
    Some(Change::AddLearner { raft_id, node: node(raft_id) })
}

#[test]
fn the_number_of_voters_follows_the_number_of_eligible_nodes() {
    for (n, wanted, expected) in [
        (1, None, 1),
        (2, None, 1),
        (3, None, 3),
        (6, None, 3),
        (7, None, 5),
        (50, None, 5),
        (50, Some(3), 3),
        (4, Some(5), 3),
        (2, Some(3), 1),
    ] {
        let inputs = with(cluster(n, &[1], &[]), |inputs| inputs.wanted = wanted);
        assert_eq!(decide(&inputs).target, expected, "{n} {wanted:?}");
    }
}

#[test]
fn a_group_grows_to_odd_numbers_and_keeps_two_standing_by() {
    for (inputs, expected) in [
        (cluster(1, &[1], &[]), None),
        (cluster(2, &[1], &[]), learn(2)),
        (cluster(2, &[1], &[2]), None),
        (cluster(3, &[1], &[]), learn(2)),
        (cluster(3, &[1], &[2]), learn(3)),
        (cluster(3, &[1], &[2, 3]), voters(&[1, 2, 3])),
        (cluster(6, &[1, 2, 3], &[]), learn(4)),
        (cluster(6, &[1, 2, 3], &[4, 5]), None),
        (cluster(7, &[1, 2, 3], &[4, 5]), voters(&[1, 2, 3, 4, 5])),
        (cluster(7, &[1, 2, 3, 4, 5], &[6]), learn(7)),
        (cluster(5, &[1, 2, 3], &[4, 5, 9]), Some(Change::RemoveLearner { raft_id: 9 })),
    ] {
        assert_eq!(decide(&inputs).change, expected, "{inputs:?}");
    }
}

#[test]
fn a_dead_voter_is_swapped_and_never_just_dropped() {
    let five = || cluster(5, &[1, 2, 3], &[4, 5]);
    for (inputs, expected) in [
        (with(five(), |i| dead(i, 2, 9)), None),
        (with(five(), |i| dead(i, 2, 10)), voters(&[1, 3, 4])),
        (
            with(five(), |i| {
                dead(i, 2, 20);
                dead(i, 4, 5);
            }),
            voters(&[1, 3, 5]),
        ),
        // The one that stands by has a log that is not caught up, or is not healthy for long.
        (
            with(cluster(4, &[1, 2, 3], &[4]), |i| {
                dead(i, 2, 20);
                facts(i, 4).caught_up_for = Some(Duration::from_millis(900));
            }),
            None,
        ),
        (
            with(cluster(4, &[1, 2, 3], &[4]), |i| {
                dead(i, 2, 20);
                facts(i, 4).healthy_for = Some(secs(4));
            }),
            None,
        ),
        (
            with(cluster(4, &[1, 2, 3], &[4]), |i| {
                dead(i, 2, 20);
                facts(i, 4).healthy_for = Some(secs(0));
                i.cluster_age = secs(59);
            }),
            voters(&[1, 3, 4]),
        ),
        // Nobody left: the dead one keeps its vote.
        (with(cluster(3, &[1, 2, 3], &[]), |i| dead(i, 2, 500)), None),
        // Too soon, too many at once, no quorum.
        (
            with(five(), |i| {
                dead(i, 2, 20);
                i.since_change = Some(secs(4));
            }),
            None,
        ),
        (
            with(five(), |i| {
                dead(i, 2, 12);
                i.n_died_lately = 2;
            }),
            None,
        ),
        (
            with(five(), |i| {
                dead(i, 2, 20);
                i.raft.quorum_ack_age = Some(Duration::from_millis(1_100));
            }),
            None,
        ),
        // Two of three are dead: there is no quorum that could agree to a change.
        (
            with(five(), |i| {
                dead(i, 2, 20);
                dead(i, 3, 20);
            }),
            None,
        ),
    ] {
        assert_eq!(decide(&inputs).change, expected, "{inputs:?}");
    }
}

#[test]
fn users_are_obeyed_at_once() {
    let four = || cluster(4, &[1, 2, 3], &[4]);
    let demote = |raft_id| with(four(), |i| facts(i, raft_id).role = DesiredRole::Worker);
    for (inputs, expected) in [
        (demote(2), voters(&[1, 3, 4])),
        (with(four(), |i| facts(i, 2).draining = true), voters(&[1, 3, 4])),
        // The leader hands over first.
        (demote(1), Some(Change::TransferLeader { raft_id: 2 })),
        // Drained without anybody to take its place: it goes on.
        (with(cluster(3, &[1, 2, 3], &[]), |i| facts(i, 2).draining = true), None),
        // Removed: two are left, of which one votes.
        (
            with(cluster(3, &[1, 2, 3], &[]), |i| {
                i.nodes.remove(&node(3));
            }),
            voters(&[1]),
        ),
        (with(cluster(7, &[1, 2, 3, 4, 5], &[]), |i| i.wanted = Some(3)), voters(&[1, 2, 3])),
        // A promoted node takes the place of one that nobody promoted.
        (with(four(), |i| facts(i, 4).role = DesiredRole::Manager), voters(&[1, 2, 4])),
        (
            with(cluster(4, &[1, 2, 3], &[4]), |i| {
                facts(i, 4).draining = true;
            }),
            Some(Change::RemoveLearner { raft_id: 4 }),
        ),
    ] {
        assert_eq!(decide(&inputs).change, expected, "{inputs:?}");
    }
}

#[test]
fn voters_are_spread_over_zones() {
    let zones = |zones: &[&str], inputs: Inputs| {
        with(inputs, |inputs| {
            for (zone, raft_id) in zones.iter().zip(1..) {
                (*zone).clone_into(&mut facts(inputs, raft_id).zone);
            }
        })
    };
    for (inputs, expected) in [
        (zones(&["a", "a", "b", "c"], cluster(4, &[1, 2, 3], &[4])), voters(&[1, 3, 4])),
        (zones(&["a", "b", "c", "a"], cluster(4, &[1, 2, 3], &[4])), None),
        (
            zones(
                &["a", "b", "c", "a", "c"],
                with(cluster(5, &[1, 2, 3], &[4, 5]), |i| dead(i, 3, 20)),
            ),
            voters(&[1, 2, 5]),
        ),
        (zones(&["a", "b", "a", "b", "c"], cluster(5, &[1], &[])), learn(2)),
        (zones(&["a", "b", "a", "b", "c"], cluster(5, &[1], &[2])), learn(5)),
    ] {
        assert_eq!(decide(&inputs).change, expected, "{inputs:?}");
    }
}

#[test]
fn what_was_left_behind_is_finished_first() {
    let joint: BTreeSet<u64> = [1, 3, 4].into();
    let inputs = with(cluster(5, &[1, 2, 3, 4], &[5]), |inputs| {
        inputs.raft.joint = Some(joint.clone());
        inputs.raft.settled = false;
    });
    assert_eq!(decide(&inputs).change, Some(Change::FinishJoint(joint)));
    let cut_off = with(inputs, |inputs| inputs.raft.quorum_ack_age = None);
    assert_eq!(decide(&cut_off).change, None);
    let unsettled = with(cluster(2, &[1], &[]), |inputs| inputs.raft.settled = false);
    assert_eq!(decide(&unsettled).change, None);
}

#[test]
fn everybody_has_a_reason() {
    let inputs = with(cluster(8, &[1, 2, 3], &[4]), |i| {
        dead(i, 2, 7);
        "x".clone_into(&mut facts(i, 1).zone);
        facts(i, 3).draining = true;
        facts(i, 4).caught_up_for = None;
        i.raft.lag.insert(4, 340);
        facts(i, 5).banned_for = Some(secs(80));
        facts(i, 6).role = DesiredRole::Worker;
        facts(i, 7).healthy_for = Some(secs(1));
        facts(i, 8).eligible = false;
    });
    let Decision { why, target, .. } = decide(&inputs);
    assert_eq!(target, 3);
    let expected = [
        "leads: one of 3 of 3 wanted voters, zone x",
        "dead for 7 s: replaced after 10 s",
        "votes until another can: it is drained",
        "catches up: 340 entries to go",
        "does not vote: it was replaced, a candidate in 80 s",
        "does not vote: it was demoted",
        "does not vote: not healthy for long enough",
    ];
    let found: Vec<String> = (1..=7).map(|id| why[&node(id)].clone()).collect();
    assert_eq!(found, expected);
    assert_eq!(why.get(&node(8)), None, "workers need no reason");
}

/// A cluster that does what it is told; nodes live and die as the test says.
struct Life {
    memory: Memory,
    raft: Raft,
    n_nodes: u64,
    now: Duration,
    swaps: Vec<(Duration, BTreeSet<u64>)>,
}

impl Life {
    fn new(n_nodes: u64) -> Self {
        let raft = cluster(n_nodes, &[1, 2, 3], &[]).raft;
        let mut life =
            Self { memory: Memory::default(), raft, n_nodes, now: secs(0), swaps: Vec::new() };
        for _ in 0..20 {
            life.second(|_| Health::Alive);
        }
        assert_eq!(life.raft.learners.len(), STANDBY.min(usize::try_from(n_nodes).unwrap() - 3));
        life
    }

    fn second(&mut self, health: impl Fn(u64) -> Health) {
        self.now += secs(1);
        let seen = |raft_id| Seen {
            raft_id,
            eligible: true,
            role: DesiredRole::Automatic,
            draining: false,
            zone: String::new(),
            health: health(raft_id),
        };
        let members = self.raft.voters.keys().chain(self.raft.learners.keys());
        let lag = members.map(|id| (*id, if health(*id) == Health::Dead { 1_000 } else { 0 }));
        self.raft.lag = lag.collect();
        let observation = Observation {
            raft: self.raft.clone(),
            nodes: (1..=self.n_nodes).map(|id| (node(id), seen(id))).collect(),
            wanted: None,
            cluster_age: secs(1_000) + self.now,
        };
        let inputs = self.memory.observe(self.now, &observation);
        match decide(&inputs).change {
            Some(Change::AddLearner { raft_id, node }) => {
                self.raft.learners.insert(raft_id, node);
            }
            Some(Change::RemoveLearner { raft_id }) => {
                self.raft.learners.remove(&raft_id);
            }
            Some(Change::Voters(new)) => {
                self.raft.learners.retain(|id, _| !new.contains(id));
                self.raft.voters = new.iter().map(|id| (*id, node(*id))).collect();
                self.swaps.push((self.now, new));
            }
            Some(Change::FinishJoint(_) | Change::TransferLeader { .. }) | None => {}
        }
    }
}

#[test]
fn a_dead_voter_is_replaced_once_within_twelve_seconds() {
    let mut life = Life::new(5);
    let died = life.now;
    for _ in 0..60 {
        life.second(|id| if id == 2 { Health::Dead } else { Health::Alive });
    }
    let [(at, voters)] = &life.swaps[..] else { panic!("{:?}", life.swaps) };
    let (at, voters) = (*at, voters.clone());
    assert_eq!(voters, [1, 3, 4].into());
    assert!(at - died <= secs(12), "{:?}", at - died);
    assert_eq!(life.raft.learners.len(), 1, "node 5 stands by");
    // It comes back, and stands by only after two minutes.
    let mut rejoined = None;
    for _ in 0..120 {
        life.second(|_| Health::Alive);
        rejoined = rejoined.or_else(|| life.raft.learners.contains_key(&2).then_some(life.now));
    }
    let since = rejoined.unwrap() - at;
    assert!((secs(120)..secs(124)).contains(&since), "{since:?}");
    assert_eq!(life.swaps.len(), 1);
}

#[test]
fn a_node_that_dies_again_and_again_waits_longer_each_time() {
    let mut memory = Memory::default();
    let mut now = secs(0);
    let mut bans = Vec::new();
    for _ in 0..7 {
        for (voters, health) in [(&[1, 2, 3], Health::Dead), (&[1, 3, 4], Health::Dead)] {
            now += secs(1);
            let inputs = cluster(4, voters, &[]);
            let seen = |raft_id| Seen {
                raft_id,
                eligible: true,
                role: DesiredRole::Automatic,
                draining: false,
                zone: String::new(),
                health: if raft_id == 2 { health } else { Health::Alive },
            };
            let observation = Observation {
                raft: inputs.raft,
                nodes: (1..=4).map(|id| (node(id), seen(id))).collect(),
                wanted: None,
                cluster_age: secs(1_000),
            };
            let inputs = memory.observe(now, &observation);
            bans.extend(inputs.nodes[&node(2)].banned_for.filter(|_| voters == &[1, 3, 4]));
        }
    }
    assert_eq!(bans, [120, 240, 480, 960, 1_920, 3_600, 3_600].map(secs));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn loss_makes_nodes_flicker_and_swaps_nobody(seed: u64) {
        let mut life = Life::new(6);
        let mut random = seed;
        for _ in 0..600 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let bits = random >> 20;
            life.second(|id| match (bits >> (5 * id)) & 31 {
                // A fifth of the time each: suspected, and falsely declared dead.
                0..6 => Health::Dead,
                6..12 => Health::Suspect,
                _ => Health::Alive,
            });
        }
        prop_assert_eq!(life.swaps, []);
    }
}

fn any_facts(raft_id: u64) -> impl Strategy<Value = Facts> {
    let age = |max: u64| proptest::option::of((0..max).prop_map(secs));
    (
        (proptest::bool::weighted(0.9), 0..8_u8, proptest::bool::weighted(0.1), 0..3_u8),
        (0..5_u8, 0..20_u64, age(4), proptest::option::weighted(0.1, Just(secs(5)))),
    )
        .prop_map(
            move |(
                (eligible, role, draining, zone),
                (health, seconds, caught_up_for, banned_for),
            )| Facts {
                raft_id,
                eligible,
                role: match role {
                    0 => DesiredRole::Worker,
                    1 => DesiredRole::Manager,
                    _ => DesiredRole::Automatic,
                },
                draining,
                zone: ["", "a", "b"][usize::from(zone)].to_owned(),
                dead_for: (health == 0).then_some(secs(seconds)),
                healthy_for: (1 < health).then_some(secs(seconds)),
                caught_up_for,
                banned_for,
            },
        )
}

fn any_inputs() -> impl Strategy<Value = Inputs> {
    let facts: Vec<_> = (1..=9).map(any_facts).collect();
    let parts = proptest::collection::vec(0..4_u8, 9);
    (facts, 1..=9_u64, parts, 0..20_u64, proptest::option::of(1..=5_u8)).prop_map(
        |(facts, n, parts, age, wanted)| {
            let mut inputs = cluster(0, &[1], &[]);
            for (facts, part) in facts.into_iter().zip(&parts) {
                let id = facts.raft_id;
                match part {
                    0 | 1 => drop(inputs.raft.voters.insert(id, node(id))),
                    2 if id != 1 => drop(inputs.raft.learners.insert(id, node(id))),
                    _ => {}
                }
                // A member whose node is gone was removed by a user.
                if id <= n {
                    inputs.nodes.insert(node(id), facts);
                }
            }
            inputs.wanted = wanted;
            inputs.since_change = Some(secs(age));
            inputs
        },
    )
}

fn is_healthy(inputs: &Inputs, raft_id: u64) -> bool {
    let facts = inputs.nodes.get(&node(raft_id));
    raft_id == inputs.raft.leader || facts.is_some_and(|facts| facts.healthy_for.is_some())
}

fn has_quorum(inputs: &Inputs, set: &BTreeSet<u64>) -> bool {
    set.len() < 2 * set.iter().filter(|id| is_healthy(inputs, **id)).count()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_change_of_voters_is_safe(inputs in any_inputs()) {
        let Decision { change, target, .. } = decide(&inputs);
        let old: BTreeSet<u64> = inputs.raft.voters.keys().copied().collect();
        match change {
            Some(Change::Voters(new)) => {
                prop_assert!(has_quorum(&inputs, &old) && has_quorum(&inputs, &new));
                prop_assert!(target.min(old.len()) <= new.len() && new.len() <= target.max(old.len()));
                prop_assert!(secs(5) <= inputs.since_change.unwrap());
                for added in new.difference(&old) {
                    let facts = &inputs.nodes[&node(*added)];
                    prop_assert!(inputs.raft.learners.contains_key(added));
                    prop_assert!(facts.eligible && !facts.draining && facts.banned_for.is_none());
                    prop_assert!(facts.role != DesiredRole::Worker);
                    prop_assert!(secs(5) <= facts.healthy_for.unwrap());
                    prop_assert!(secs(1) <= facts.caught_up_for.unwrap());
                }
            }
            Some(Change::AddLearner { raft_id, node }) => {
                prop_assert!(!old.contains(&raft_id) && inputs.nodes[&node].eligible);
                prop_assert!(inputs.raft.learners.len() < STANDBY);
            }
            Some(Change::TransferLeader { raft_id }) => {
                prop_assert!(old.contains(&raft_id) && is_healthy(&inputs, raft_id));
            }
            Some(Change::RemoveLearner { raft_id }) => {
                prop_assert!(inputs.raft.learners.contains_key(&raft_id));
            }
            Some(Change::FinishJoint(_)) => prop_assert!(false, "there is none"),
            None => {}
        }
    }

    /// While nothing happens, changes come to an end: no two of them undo each other.
    #[test]
    fn changes_come_to_an_end(mut inputs in any_inputs()) {
        inputs.since_change = None;
        let mut last = None;
        for _ in 0..30 {
            last = decide(&inputs).change;
            match last.clone() {
                Some(Change::AddLearner { raft_id, node }) => {
                    inputs.raft.learners.insert(raft_id, node);
                }
                Some(Change::RemoveLearner { raft_id }) => {
                    inputs.raft.learners.remove(&raft_id);
                }
                Some(Change::Voters(new)) => {
                    inputs.raft.learners.retain(|id, _| !new.contains(id));
                    inputs.raft.voters = new.iter().map(|id| (*id, node(*id))).collect();
                    if !new.contains(&inputs.raft.leader) {
                        inputs.raft.leader = *new.iter().find(|id| is_healthy(&inputs, **id)).unwrap();
                    }
                }
                Some(Change::TransferLeader { raft_id }) => inputs.raft.leader = raft_id,
                Some(Change::FinishJoint(_)) | None => break,
            }
        }
        prop_assert_eq!(last, None);
    }
}
