//! Dying, loss, cuts: what is noticed, how soon, and what is not believed.

use std::time::Duration;

use membership::{Liveness, ProbeOutcome};

use crate::sim::{GRACE, Sim, is_suspect};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_dead_node_is_suspected_within_five_seconds() {
    let mut sim = Sim::settled(10, 11).await;
    sim.pass(SECOND * 60).await;
    sim.kill(7).await;
    let others: Vec<usize> = (0..10).filter(|place| *place != 7).collect();
    let first = sim.until("the first one", 6, |sim| {
        others.iter().any(|observer| is_suspect(sim.sees(*observer, 7)))
    });
    let first = first.await;
    let rest = sim.until("all of them", 6, |sim| {
        others.iter().all(|observer| is_suspect(sim.sees(*observer, 7)))
    });
    let all = first + rest.await;
    println!("dead: suspected by the first after {first:?}, by all after {all:?}");
    assert!(first > SECOND && all <= SECOND * 5, "{first:?} {all:?}");
    for observer in others {
        let outcome = sim.nodes[observer].membership.probe(sim.id(7)).await.unwrap();
        assert_eq!(outcome, ProbeOutcome::Dead);
    }
}

/// Ten nodes for 100 seconds.
async fn false_suspicions_at(percent: u8, chance: u64) -> usize {
    let mut sim = Sim::settled(10, chance).await;
    sim.network.set_loss(f64::from(percent) / 100.0);
    let count = sim.false_suspicions(SECOND * 100).await;
    println!("{percent} % loss, 10 nodes, 100 s: {count} false suspicions");
    count
}

#[tokio::test(start_paused = true)]
async fn a_tenth_lost_makes_nobody_a_suspect() {
    assert_eq!(false_suspicions_at(10, 12).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_third_lost_makes_hardly_anybody_a_suspect() {
    assert!(false_suspicions_at(30, 13).await <= 1);
}

#[tokio::test(start_paused = true)]
async fn half_lost_makes_few_suspects() {
    assert!(false_suspicions_at(50, 14).await <= 10);
}

#[tokio::test(start_paused = true)]
async fn who_cannot_hear_is_found_by_probes_and_doubts_itself() {
    let mut sim = Sim::settled(6, 15).await;
    sim.pass(SECOND * 20).await;
    let deaf = sim.nodes[3].address;
    for other in [0, 1, 2, 4, 5] {
        sim.network.set_cut(sim.nodes[other].address, deaf, true);
    }
    sim.pass(SECOND * 25).await;
    assert_eq!(sim.sees(0, 3), Some(Liveness::Alive), "gossip alone never notices");
    let member = sim.view(0).members[&sim.id(3)].clone();
    assert!(member.n_unanswered >= 3, "but the view gives a hint: {}", member.n_unanswered);
    let outcome = sim.nodes[0].membership.probe(sim.id(3)).await.unwrap();
    assert_eq!(outcome, ProbeOutcome::Dead);
    assert!(sim.view(3).self_suspect, "who sees nobody doubts itself");
    assert!(!sim.view(0).self_suspect);
}

#[tokio::test(start_paused = true)]
async fn a_cut_between_two_is_answered_by_others() {
    let mut sim = Sim::settled(5, 16).await;
    let (a, b) = (sim.nodes[1].address, sim.nodes[2].address);
    sim.network.set_cut(a, b, true);
    sim.network.set_cut(b, a, true);
    assert_eq!(sim.false_suspicions(SECOND * 30).await, 0);
    let outcome = sim.nodes[1].membership.probe(sim.id(2)).await.unwrap();
    assert_eq!(outcome, ProbeOutcome::DirectFailedIndirectOk);
    let outcome = sim.nodes[1].membership.probe(sim.id(3)).await.unwrap();
    assert_eq!(outcome, ProbeOutcome::Alive);
}

/// Splits eight nodes for a time; how long they need to be one again.
async fn healed_after(split: Duration) -> Duration {
    let mut sim = Sim::settled(8, 17).await;
    let halves = |sim: &Sim, cut| {
        for (a, b) in (0..4).flat_map(|a| (4..8).map(move |b| (a, b))) {
            sim.network.set_cut(sim.nodes[a].address, sim.nodes[b].address, cut);
            sim.network.set_cut(sim.nodes[b].address, sim.nodes[a].address, cut);
        }
    };
    halves(&sim, true);
    sim.until("each sees its half", 12, |sim| (0..8).all(|n| sim.n_alive(n) == 4)).await;
    assert!((0..8).all(|observer| !sim.view(observer).self_suspect), "half is enough");
    sim.pass(split).await;
    halves(&sim, false);
    let took = sim.settle().await;
    println!("healed {took:?} after a split of {split:?}");
    took
}

#[tokio::test(start_paused = true)]
async fn two_halves_part_and_meet_again() {
    assert!(healed_after(GRACE / 2).await < SECOND * 5);
}

#[tokio::test(start_paused = true)]
async fn two_halves_that_forgot_each_other_meet_again_through_seeds() {
    assert!(healed_after(GRACE * 2).await < SECOND * 10);
}

#[tokio::test(start_paused = true)]
async fn who_loses_most_of_the_others_holds_its_tongue() {
    let mut sim = Sim::settled(7, 18).await;
    sim.pass(SECOND * 10).await;
    for place in 1..6 {
        sim.kill(place).await;
    }
    let took = sim.until("it doubts itself", 8, |sim| sim.view(0).self_suspect).await;
    let accused = (1..6).filter(|place| is_suspect(sim.sees(0, *place))).count();
    assert!(accused < 5, "some are held back: {accused}");
    sim.until("late, not never", 6, |sim| (1..6).all(|n| is_suspect(sim.sees(0, n)))).await;
    println!("self-suspicion after {took:?} with {accused} accused");
    assert_eq!(sim.sees(0, 6), Some(Liveness::Alive));
}

#[tokio::test(start_paused = true)]
async fn detection_does_not_slow_down_with_size() {
    const N_NODES: usize = 30;
    let mut sim = Sim::settled(N_NODES, 19).await;
    sim.pass(SECOND * 15).await;
    sim.kill(7).await;
    let sees_it = |sim: &Sim| {
        (0..N_NODES).filter(|n| *n != 7).all(|observer| is_suspect(sim.sees(observer, 7)))
    };
    let took = sim.until("all of them", 8, sees_it).await;
    println!("{N_NODES} nodes: a dead one is suspected by all after {took:?}");
    assert!(took <= SECOND * 5, "relays that learn late must not refresh it: {took:?}");
}
