//! Services grow and shrink.

use model::ServiceMode;
use tests::cluster::Cluster;
use tests::services::{published, replicated, reserving};

use crate::comes_to_rest;

#[test]
fn growing_spreads_and_shrinking_takes_from_the_fullest() {
    let mut cluster = Cluster::new(3);
    for (replicas, expected) in [(1, 1), (7, 7), (3, 3), (0, 0), (5, 5)] {
        cluster.run(replicated("web", replicas)).unwrap();
        comes_to_rest(&mut cluster);
        let running = cluster.running("web");
        assert_eq!(running.len(), expected);
        let on = |machine| running.iter().filter(|other| **other == machine).count();
        let counts = [on(0), on(1), on(2)];
        assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{counts:?}");
    }
}

#[test]
fn two_services_share_what_there_is_and_no_more() {
    let mut cluster = Cluster::new(2);
    cluster.run(reserving(replicated("big", 3), 2)).unwrap();
    cluster.run(reserving(replicated("small", 5), 1)).unwrap();
    comes_to_rest(&mut cluster);
    // Eight processors in all: six for the big ones, two for the small.
    assert_eq!((cluster.running("big").len(), cluster.running("small").len()), (3, 2));
    cluster.change("big", |spec| spec.mode = ServiceMode::Replicated { replicas: 1 });
    comes_to_rest(&mut cluster);
    assert_eq!((cluster.running("big").len(), cluster.running("small").len()), (1, 5));
}

#[test]
fn a_taken_port_is_refused_and_a_free_one_is_found() {
    let mut cluster = Cluster::new(1);
    cluster.run(published(replicated("web", 1), 8080)).unwrap();
    cluster.run(published(replicated("other", 1), 8080)).unwrap_err();
    cluster.run(published(replicated("other", 1), 0)).unwrap();
    comes_to_rest(&mut cluster);
    let id = tests::services::id("other");
    let port = cluster.state.service(id).unwrap().ports[0].published_port;
    assert!((30_000..=32_767).contains(&port), "{port}");
}
