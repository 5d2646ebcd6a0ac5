//! Who votes: standbys are promoted, without a hand and without a quorum at risk.

use proptest::prelude::*;
use tests::voters::Group;

use crate::n_histories;

#[track_caller]
fn is_whole_within(group: &mut Group, seconds: u64) {
    let taken = group.until(seconds, Group::is_whole);
    assert!(taken.is_some(), "not whole after {seconds} s: {group:?}");
    assert_eq!(group.violations, Vec::<String>::new());
}

#[test]
fn a_dead_voter_is_replaced_within_thirty_seconds() {
    let mut group = Group::new(4, 3);
    group.after(60);
    group.set_up(2, false);
    is_whole_within(&mut group, 30);
    assert_eq!(group.voters, [1, 3, 4].into());
}

#[test]
fn a_dead_leader_is_replaced_within_thirty_seconds() {
    let mut group = Group::new(5, 3);
    group.after(60);
    let leader = group.leader.unwrap();
    group.set_up(leader, false);
    is_whole_within(&mut group, 30);
    assert!(!group.voters.contains(&leader));
}

#[test]
fn a_cluster_of_one_grows_to_three() {
    let mut group = Group::new(1, 1);
    group.after(10);
    assert_eq!(group.voters.len(), 1);
    group.join("");
    group.after(30);
    // Two voters are worse than one: the second stands by.
    assert_eq!(group.voters.len(), 1);
    group.join("");
    is_whole_within(&mut group, 30);
    assert_eq!(group.voters.len(), 3);
}

#[test]
fn nobody_to_take_its_place_leaves_a_dead_voter_in_it() {
    let mut group = Group::new(3, 3);
    group.after(60);
    group.set_up(3, false);
    group.after(600);
    assert_eq!(group.voters, [1, 2, 3].into());
    group.join("");
    is_whole_within(&mut group, 30);
    assert_eq!(group.voters, [1, 2, 4].into());
}

#[test]
fn voters_are_spread_over_zones() {
    let mut group = Group::new(0, 0);
    for zone in ["a", "a", "a", "b", "c"] {
        group.join(zone);
    }
    group.voters = [1, 2, 3].into();
    group.after(120);
    let zones: std::collections::BTreeSet<_> =
        group.voters.iter().map(|voter| group.members[voter].zone.as_str()).collect();
    assert_eq!(zones, ["a", "b", "c"].into());
    assert_eq!(group.violations, Vec::<String>::new());
}

#[test]
fn a_drained_voter_hands_its_vote_on() {
    let mut group = Group::new(4, 3);
    group.after(60);
    let leader = group.leader.unwrap();
    group.members.get_mut(&leader).unwrap().is_draining = true;
    group.after(30);
    assert!(!group.voters.contains(&leader), "{group:?}");
    is_whole_within(&mut group, 0);
}

#[derive(Clone, Debug)]
enum Event {
    Fall(u64),
    Rise(u64),
    Join,
    Interrupt,
    After(u64),
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (1_u64..8).prop_map(Event::Fall),
        3 => (1_u64..8).prop_map(Event::Rise),
        1 => Just(Event::Join),
        1 => Just(Event::Interrupt),
        6 => (1_u64..40).prop_map(Event::After),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None, cases: n_histories(), ..ProptestConfig::default()
    })]

    #[test]
    fn every_life_ends_with_the_voters_that_there_should_be(
        n_members in 1_u64..8,
        events in prop::collection::vec(any_event(), 1..30),
    ) {
        let mut group = Group::new(n_members, if n_members < 3 { 1 } else { 3 });
        for event in events {
            match event {
                Event::Fall(raft_id) if raft_id <= group.members.len() as u64 => {
                    group.set_up(raft_id, false);
                }
                Event::Rise(raft_id) if raft_id <= group.members.len() as u64 => {
                    group.set_up(raft_id, true);
                }
                Event::Fall(_) | Event::Rise(_) => {}
                Event::Join if group.members.len() < 8 => group.join(""),
                Event::Join => {}
                Event::Interrupt => group.is_next_change_interrupted = true,
                Event::After(seconds) => group.after(seconds),
            }
            prop_assert_eq!(&group.violations, &Vec::<String>::new());
        }
        group.is_next_change_interrupted = false;
        for raft_id in 1..=group.members.len() as u64 {
            group.set_up(raft_id, true);
        }
        // Bans of nodes that were replaced several times take up to an hour.
        let seconds = group.until(4_000, Group::is_whole);
        prop_assert!(seconds.is_some(), "not whole: {:?}", group);
        prop_assert_eq!(&group.violations, &Vec::<String>::new());
    }
}
