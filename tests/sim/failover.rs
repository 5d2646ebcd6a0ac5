//! Leaders and machines fall: a new leader goes on where the last one stopped.

use tests::cluster::{Cluster, SECOND};
use tests::services::{job, replicated};
use tests::voters::Group;

use crate::{comes_to_rest, keeps_its_promises};

#[test]
fn a_plan_from_before_the_failover_is_refused_as_a_whole() {
    let mut cluster = Cluster::new(2);
    cluster.run(replicated("web", 2)).unwrap();
    // Both leaders fill the same two slots; the second one is late.
    assert!(cluster.plan(0));
    let revision = cluster.state.revision();
    assert!(!cluster.plan(1));
    assert_eq!(cluster.state.revision(), revision);
    comes_to_rest(&mut cluster);
}

#[test]
fn a_leader_whose_clock_is_behind_or_ahead_settles_all_the_same() {
    let mut cluster = Cluster::new(3);
    cluster.lead(30 * SECOND);
    cluster.run(replicated("web", 3)).unwrap();
    comes_to_rest(&mut cluster);
    cluster.machines[1].fail(0);
    cluster.agents();
    cluster.plan(0);
    cluster.lead(0);
    comes_to_rest(&mut cluster);
    assert_eq!(cluster.running("web"), [0, 1, 2]);
}

#[test]
fn machines_that_lost_power_run_everything_again() {
    let mut cluster = Cluster::new(3);
    cluster.run(replicated("web", 3)).unwrap();
    cluster.run(job("once", 4)).unwrap();
    comes_to_rest(&mut cluster);
    for machine in &mut cluster.machines {
        machine.lose_power();
    }
    cluster.settle_within(60 * SECOND);
    keeps_its_promises(&cluster);
    for machine in &mut cluster.machines {
        machine.start();
    }
    comes_to_rest(&mut cluster);
    assert_eq!(cluster.running("web").len(), 3);
}

#[test]
fn a_daemon_that_starts_again_finds_its_containers() {
    let mut cluster = Cluster::new(2);
    cluster.run(replicated("web", 2)).unwrap();
    comes_to_rest(&mut cluster);
    let before: Vec<_> = cluster.machines[0].running().collect();
    cluster.machines[0].stop();
    cluster.settle_within(2 * SECOND);
    cluster.machines[0].start();
    comes_to_rest(&mut cluster);
    assert_eq!(cluster.machines[0].running().collect::<Vec<_>>(), before);
}

#[test]
fn a_change_of_voters_that_was_interrupted_is_finished_first() {
    let mut group = Group::new(7, 5);
    group.after(60);
    group.is_next_change_interrupted = true;
    group.set_up(3, false);
    let seconds = group.until(60, Group::is_whole);
    // The leader fell with the change: two dead voters, and two standbys for them.
    assert!(seconds.is_some_and(|seconds| seconds <= 45), "{seconds:?} {group:?}");
    assert_eq!(group.violations, Vec::<String>::new());
}
