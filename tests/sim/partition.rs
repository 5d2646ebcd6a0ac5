//! A node is cut off: its tasks get successors, and it stops the old ones when it is back.

use tests::cluster::{Cluster, SECOND};
use tests::services::replicated;

use crate::{comes_to_rest, keeps_its_promises};

#[test]
fn tasks_of_a_node_that_was_cut_off_run_elsewhere_within_ten_seconds() {
    let mut cluster = Cluster::new(3);
    cluster.run(replicated("web", 3)).unwrap();
    comes_to_rest(&mut cluster);
    cluster.machines[1].is_connected = false;
    cluster.settle_within(10 * SECOND);
    keeps_its_promises(&cluster);
    let running = cluster.running("web");
    assert_eq!(running.iter().filter(|machine| **machine != 1).count(), 3, "{running:?}");
    // It does not know, and goes on: nobody could tell it.
    assert_eq!(cluster.machines[1].running().count(), 1);
}

#[test]
fn what_came_back_stops_what_was_replaced() {
    let mut cluster = Cluster::new(3);
    cluster.run(replicated("web", 6)).unwrap();
    comes_to_rest(&mut cluster);
    cluster.machines[2].is_connected = false;
    cluster.settle_within(60 * SECOND);
    cluster.machines[2].is_connected = true;
    cluster.settle_within(5 * SECOND);
    let n_processes: usize = cluster.machines.iter().map(|m| m.running().count()).sum();
    assert_eq!(n_processes, 6);
    comes_to_rest(&mut cluster);
}

#[test]
fn a_hiccup_below_the_detection_time_changes_nothing() {
    let mut cluster = Cluster::new(3);
    cluster.run(replicated("web", 3)).unwrap();
    comes_to_rest(&mut cluster);
    let before: Vec<_> = cluster.state.tasks().map(|task| task.id).collect();
    cluster.machines[0].is_connected = false;
    cluster.settle_within(4 * SECOND);
    cluster.machines[0].is_connected = true;
    comes_to_rest(&mut cluster);
    let after: Vec<_> = cluster.state.tasks().map(|task| task.id).collect();
    assert_eq!(before, after);
}

#[test]
fn a_whole_day_away_orphans_what_was_there() {
    let mut cluster = Cluster::new(2);
    cluster.run(replicated("web", 2)).unwrap();
    comes_to_rest(&mut cluster);
    cluster.machines[1].is_connected = false;
    cluster.settle_within(25 * 3_600 * SECOND);
    let lost = cluster.machines[1].id();
    assert!(cluster.state.tasks_of_node(lost).all(|task| task.status.state.is_terminal()));
    cluster.machines[1].is_connected = true;
    comes_to_rest(&mut cluster);
}
