//! How long a plan of a big cluster takes; printed, not judged.

#![expect(clippy::disallowed_methods, reason = "a test may look at the clock")]
#![expect(clippy::print_stderr, reason = "the numbers are the point of this test")]

use std::time::Instant;

use super::world::World;

#[test]
fn plans_a_thousand_services() {
    let mut world = World::new();
    for nth in 0..50 {
        world.node(&format!("n{nth}"), &["cpu=1000"]);
    }
    for nth in 0..1_000 {
        world.service(&format!("s{nth}"), &["replicas=5", "cpu=1"]);
    }
    let mut n_plans = 0;
    let began = Instant::now();
    while !world.adopt().decisions.is_empty() {
        n_plans += 1;
    }
    assert_eq!(world.state.tasks().count(), 5_000);
    let placing = began.elapsed();
    world.agents();
    let began = Instant::now();
    assert!(world.adopt().decisions.is_empty());
    let idle = began.elapsed();
    eprintln!(
        "1,000 services x 5 tasks on 50 nodes: {n_plans} plans in {placing:?}, idle {idle:?}"
    );
}
