//! Learners, swaps, and nodes that must not come back as they were.

use std::collections::BTreeSet;
use std::time::Duration;

use model::Command;

use super::harness::{Cluster, PATIENCE, has_nodes};
use crate::testing::{CLUSTER, admission, node};
use crate::{ChangeError, RaftRole};

/// Raft id of a node that joined later.
const JOINED: u64 = 1004;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blank_learner_is_filled_by_a_snapshot() {
    let mut cluster = Cluster::founded(3).await;
    cluster.admit(10..60).await;
    let leader = cluster.leader().await;
    cluster.store(leader).running().unwrap().make_snapshot(45).await;
    cluster.admit(60..65).await;
    cluster.start(4).await;
    cluster.store(4).enlist(JOINED, CLUSTER, 0).await.unwrap();
    let leader = cluster.leader().await;
    cluster.store(leader).add_learner(JOINED, node(4)).await.unwrap();
    cluster.state_where(4, |state| has_nodes(state, 10..65)).await;
    let status = cluster.status_where(4, |status| status.leader.is_some()).await;
    assert_eq!(status.role, RaftRole::Learner);
    let snapshots = cluster.dirs[&4].path().join("snapshots");
    assert_eq!(std::fs::read_dir(snapshots).unwrap().count(), 1, "it came by another way");
    let caught_up = |status: &crate::RaftStatus| status.lag.get(&JOINED) == Some(&0);
    cluster.status_where(leader, caught_up).await;
    // It starts again from the snapshot that it was given.
    cluster.kill(4).await;
    cluster.start(4).await;
    cluster.agreed().await;
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_voter_is_swapped_in_one_change() {
    let mut cluster = Cluster::founded(3).await;
    cluster.start(4).await;
    cluster.store(4).enlist(JOINED, CLUSTER, 0).await.unwrap();
    let leader = cluster.leader().await;
    cluster.store(leader).add_learner(JOINED, node(4)).await.unwrap();
    let dead = 1 + leader % 3;
    cluster.kill(dead).await;

    let status = cluster.status_where(leader, |status| status.learners.contains_key(&JOINED)).await;
    let based_on = status.membership.unwrap();
    let mut voters: BTreeSet<u64> = (1..=3).filter(|voter| *voter != dead).collect();
    voters.insert(JOINED);
    let store = cluster.store(leader);
    store.change_voters(voters.clone(), based_on).await.unwrap();
    let outdated = store.change_voters(voters.clone(), based_on).await;
    assert_eq!(outdated, Err(ChangeError::Outdated));

    let expected = voters.clone();
    let done = move |status: &crate::RaftStatus| {
        status.joint.is_none() && status.voters.keys().copied().collect::<BTreeSet<_>>() == expected
    };
    let status = cluster.status_where(4, done).await;
    assert!(status.learners.is_empty());
    cluster.write(Command::Admit(admission(10))).await;
    cluster.agreed().await;

    // Who was removed and comes back with its old disk disturbs nobody.
    let term = cluster.store(leader).status().borrow().term;
    cluster.start(dead).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    cluster.write(Command::Admit(admission(11))).await;
    assert_eq!(cluster.store(leader).status().borrow().term, term, "the leader was disturbed");
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_that_make_no_sense_are_refused() {
    let cluster = Cluster::founded(3).await;
    let leader = cluster.leader().await;
    let store = cluster.store(leader);
    let status = cluster.status_where(leader, |status| status.membership_committed).await;
    let based_on = status.membership.unwrap();
    let strangers = store.change_voters(BTreeSet::from([leader, 77]), based_on).await;
    assert_eq!(strangers, Err(ChangeError::NoMember(77)));
    assert_eq!(store.transfer_leader(77).await, Err(ChangeError::NoMember(77)));
    let follower = 1 + leader % 3;
    let elsewhere = cluster.store(follower).add_learner(JOINED, node(4)).await;
    assert!(matches!(elsewhere, Err(ChangeError::NotLeader { .. })), "{elsewhere:?}");
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_hands_over_and_a_learner_leaves() {
    let mut cluster = Cluster::founded(3).await;
    let old = cluster.leader().await;
    let next = 1 + old % 3;
    cluster.store(old).transfer_leader(next).await.unwrap();
    let next = cluster.leader().await;
    assert_ne!(next, old);
    // A learner that never answers does not hold anything up.
    let store = cluster.store(next);
    store.add_learner(JOINED, node(4)).await.unwrap();
    cluster.status_where(next, |status| status.learners.contains_key(&JOINED)).await;
    cluster.store(next).remove_learner(JOINED).await.unwrap();
    cluster.status_where(next, |status| status.learners.is_empty()).await;
    cluster.start(4).await;
    cluster.admit(10..12).await;
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_lost_its_log_is_refused_under_its_old_id() {
    let mut cluster = Cluster::founded(3).await;
    cluster.admit(10..20).await;
    cluster.agreed().await;
    let leader = cluster.leader().await;
    let wiped = 1 + leader % 3;
    cluster.kill(wiped).await;
    cluster.dirs.remove(&wiped);
    cluster.start(wiped).await;
    // Without a log it is refused because it has no raft, with a blank one because it is blank.
    cluster.admit(20..22).await;
    cluster.store(wiped).enlist(wiped, CLUSTER, 0).await.unwrap();
    cluster.admit(22..25).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(
        cluster.store(wiped).state().borrow().index().0,
        0,
        "it was filled under its old id"
    );

    // Under a new one it is welcome.
    cluster.kill(wiped).await;
    cluster.dirs.remove(&wiped);
    cluster.start(wiped).await;
    cluster.store(wiped).enlist(JOINED, CLUSTER, 0).await.unwrap();
    let leader = cluster.leader().await;
    cluster.store(leader).add_learner(JOINED, node(wiped)).await.unwrap();
    let status = cluster.status_where(leader, |status| status.learners.contains_key(&JOINED)).await;
    let voters = (1..=3).filter(|voter| *voter != wiped).chain([JOINED]).collect();
    let store = cluster.store(leader);
    store.change_voters(voters, status.membership.unwrap()).await.unwrap();
    let state = cluster.store(leader).read(PATIENCE).await.unwrap();
    assert!(has_nodes(&state, 10..25));
    cluster.agreed().await;
    cluster.close().await;
}
