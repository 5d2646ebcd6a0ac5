//! Coming, changing, leaving, coming back.

use std::time::Duration;

use membership::{Liveness, Payload};
use tokio::time::Instant;

use crate::sim::{GRACE, LOOK, Node, Sim, address, is_suspect, payload};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn ten_nodes_with_one_seed_find_each_other() {
    let mut sim = Sim::new(10, 1).await;
    let took = sim.settle().await;
    println!("10 nodes see each other {took:?} after the last start");
    assert!(took < SECOND * 5, "{took:?}");
    let view = sim.view(3);
    let seed = &view.seeds[0];
    assert_eq!((seed.node, seed.waiting_reason.as_deref()), (Some(sim.id(0)), None));
    assert!(sim.view(0).seeds[0].is_me);
    assert!(view.members.values().all(|member| member.eligible));
    assert!(!view.self_suspect);
}

#[tokio::test(start_paused = true)]
async fn a_node_alone_says_what_it_waits_for() {
    let mut sim = Sim::new(2, 2).await;
    sim.kill(0).await;
    sim.nodes.truncate(2);
    sim.pass(SECOND * 60).await;
    let mut alone = Sim::new(1, 3).await;
    alone.nodes.clear();
    let view = sim.view(1);
    let said = view.seeds[0].describe(Instant::now());
    assert!(said.starts_with("10.0.0.1:7964: no answer, "), "{said}");
}

#[tokio::test(start_paused = true)]
async fn what_a_node_says_reaches_everybody() {
    let mut sim = Sim::settled(6, 4).await;
    let said = Payload { genesis: Some([9; 16]), raft_id: 77, ..payload() };
    sim.nodes[2].membership.update(said.clone()).await.unwrap();
    let who = sim.id(2);
    let took = sim
        .until("everybody knows", 5, |sim| {
            (0..6).all(|observer| *sim.view(observer).members[&who].payload == said)
        })
        .await;
    println!("a change reached everybody after {took:?}");
    let long = Payload { hostname: "x".repeat(3_000), ..payload() };
    assert!(sim.nodes[2].membership.update(long).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn who_says_good_bye_is_never_suspected() {
    let mut sim = Sim::settled(6, 5).await;
    sim.nodes[4].membership.leave().await.unwrap();
    sim.kill(4).await;
    let others = [0, 1, 2, 3, 5];
    sim.until("everybody heard it", 3, |sim| {
        others.iter().all(|observer| sim.sees(*observer, 4) == Some(Liveness::Left))
    })
    .await;
    for _ in 0..200 {
        sim.pass(LOOK).await;
        assert!(others.iter().all(|observer| !is_suspect(sim.sees(*observer, 4))));
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_is_one_member_with_a_new_incarnation() {
    let mut sim = Sim::settled(6, 6).await;
    sim.kill(2).await;
    sim.restart(2);
    let who = sim.id(2);
    let took = sim
        .until("everybody sees the new life", 5, |sim| {
            (0..6).all(|observer| {
                let view = sim.view(observer);
                let member = &view.members[&who];
                member.incarnation == 2 && member.liveness == Liveness::Alive
            })
        })
        .await;
    println!("a restart was seen everywhere after {took:?}");
    assert!((0..6).all(|observer| sim.view(observer).members.len() == 6));
    assert!(sim.view(0).n_known_ids == 7, "the old life is still known to chitchat");
    sim.pass(GRACE + SECOND * 8).await;
    for observer in [0, 1, 3, 4, 5] {
        assert_eq!(sim.view(observer).n_known_ids, 6, "and gone after the grace time");
    }
    assert!((0..6).all(|observer| sim.n_alive(observer) == 6));
}

#[tokio::test(start_paused = true)]
async fn the_dead_are_forgotten_and_stay_so() {
    let mut sim = Sim::settled(5, 7).await;
    sim.kill(1).await;
    sim.pass(GRACE + SECOND * 8).await;
    for _ in 0..60 {
        sim.pass(SECOND).await;
        for observer in [0, 2, 3, 4] {
            assert_eq!(sim.sees(observer, 1), None);
            assert_eq!(sim.view(observer).n_known_ids, 4);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn messages_too_long_for_datagrams_go_another_way() {
    let mut sim = Sim::new(4, 8).await;
    sim.network.set_payload_bytes_max(150);
    // What the node does: it carries them over a stream.
    let mut carried = 0;
    for _ in 0..100 {
        sim.pass(LOOK).await;
        for place in 0..4 {
            let from = sim.nodes[place].address;
            let sender = crate::sim::peer(&sim.nodes[place].credentials);
            let mut receiver = sim.nodes[place].big.take().unwrap();
            while let Ok(message) = receiver.try_recv() {
                carried += 1;
                let is_there = |node: &&Node| match message.node {
                    Some(id) => node.credentials.node() == id,
                    None => node.address == message.address,
                };
                let to = sim.nodes.iter().find(is_there).unwrap();
                let dialled_from = (from.ip(), 40_000).into();
                to.membership
                    .deliver_big(sender.clone(), dialled_from, message.bytes)
                    .await
                    .unwrap();
            }
            sim.nodes[place].big = Some(receiver);
        }
    }
    assert!(carried > 10);
    assert!((0..4).all(|observer| sim.n_alive(observer) == 4));
}

#[tokio::test(start_paused = true)]
async fn a_renewed_certificate_is_a_new_record_of_the_same_life() {
    let mut sim = Sim::settled(3, 9).await;
    let renewed = sim.nodes[1].credentials.renew(1_800_000_500).unwrap();
    sim.nodes[1].renew.send_replace(renewed.into());
    sim.pass(SECOND * 3).await;
    assert!((0..3).all(|observer| sim.n_alive(observer) == 3));
    assert!(sim.view(0).members.values().all(|member| member.incarnation == 1));
    assert_eq!(sim.view(0).members[&sim.id(1)].address, address(1));
}
