//! A user takes a node out of use.

use model::Availability;
use tests::cluster::Cluster;
use tests::services::{global, replicated};

use crate::comes_to_rest;

#[test]
fn a_drained_node_is_left_and_not_used_again() {
    let mut cluster = Cluster::new(3);
    cluster.run(replicated("web", 6)).unwrap();
    cluster.run(global("log")).unwrap();
    comes_to_rest(&mut cluster);
    cluster.set_availability(1, Availability::Drain);
    comes_to_rest(&mut cluster);
    assert_eq!(cluster.running("web"), [0, 0, 0, 2, 2, 2]);
    assert_eq!(cluster.running("log"), [0, 2]);
    assert_eq!(cluster.machines[1].running().count(), 0);
    cluster.set_availability(1, Availability::Active);
    comes_to_rest(&mut cluster);
    assert_eq!(cluster.running("web"), [0, 0, 0, 2, 2, 2]);
    assert_eq!(cluster.running("log"), [0, 1, 2]);
}

#[test]
fn a_paused_node_keeps_what_it_has() {
    let mut cluster = Cluster::new(2);
    cluster.run(replicated("web", 2)).unwrap();
    comes_to_rest(&mut cluster);
    cluster.set_availability(0, Availability::Pause);
    cluster.run(replicated("web", 4)).unwrap();
    assert!(cluster.settle_within(crate::LONG));
    assert_eq!(cluster.running("web"), [0, 1, 1, 1]);
    crate::keeps_its_promises(&cluster);
}

#[test]
fn draining_everything_makes_everything_wait() {
    let mut cluster = Cluster::new(2);
    cluster.run(replicated("web", 2)).unwrap();
    comes_to_rest(&mut cluster);
    cluster.set_availability(0, Availability::Drain);
    cluster.set_availability(1, Availability::Drain);
    comes_to_rest(&mut cluster);
    assert_eq!(cluster.running("web"), Vec::<usize>::new());
    let waits = cluster.propose().waiting;
    assert_eq!(waits.len(), 2);
    assert!(waits[0].reason.contains("2 nodes not available for new tasks"), "{waits:?}");
}
