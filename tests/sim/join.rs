//! Nodes come, and are used for what is new.

use tests::cluster::Cluster;
use tests::services::{global, replicated};

use crate::comes_to_rest;

#[test]
fn one_node_is_a_cluster() {
    let mut cluster = Cluster::new(1);
    cluster.run(replicated("web", 3)).unwrap();
    comes_to_rest(&mut cluster);
    assert_eq!(cluster.running("web"), [0, 0, 0]);
}

#[test]
fn a_new_node_gets_its_global_tasks_and_takes_no_others() {
    let mut cluster = Cluster::new(2);
    cluster.run(replicated("web", 4)).unwrap();
    cluster.run(global("log")).unwrap();
    comes_to_rest(&mut cluster);
    cluster.join();
    comes_to_rest(&mut cluster);
    // A task never moves: evening out is no reason to stop one.
    assert_eq!(cluster.running("web"), [0, 0, 1, 1]);
    assert_eq!(cluster.running("log"), [0, 1, 2]);
}

#[test]
fn what_found_no_room_runs_once_there_is_some() {
    let mut cluster = Cluster::new(1);
    cluster.run(tests::services::reserving(replicated("big", 2), 3)).unwrap();
    comes_to_rest(&mut cluster);
    assert_eq!(cluster.running("big"), [0]);
    cluster.join();
    comes_to_rest(&mut cluster);
    assert_eq!(cluster.running("big"), [0, 1]);
}

#[test]
fn a_removed_machine_comes_back_as_another_node() {
    let mut cluster = Cluster::new(3);
    cluster.run(replicated("web", 3)).unwrap();
    comes_to_rest(&mut cluster);
    let before = cluster.machines[1].id();
    cluster.replace(1);
    comes_to_rest(&mut cluster);
    assert_ne!(cluster.machines[1].id(), before);
    assert!(cluster.state.node(before).is_none());
    assert_eq!(cluster.running("web").len(), 3);
}
