//! Whoever applies the same entries has the same state, and its indexes are right.
//!
//! A follower reads entries from bytes and may start from a snapshot; any difference would stay
//! unseen until it leads.

use model::{State, StateBuilder};

use crate::cluster::Cluster;

/// A snapshot is made and read every so many entries: it is the dear part.
const SNAPSHOT_EVERY: u64 = 16;

pub(super) fn check(cluster: &Cluster) -> Vec<String> {
    let mut wrong = Vec::new();
    if cluster.state != cluster.follower {
        wrong.push("a follower has another state".to_owned());
    }
    if let Err(index) = cluster.state.audit() {
        wrong.push(format!("the index of {index} is wrong"));
    }
    if cluster.state.index().0.is_multiple_of(SNAPSHOT_EVERY)
        && restored(&cluster.state) != cluster.state
    {
        wrong.push("a snapshot restores another state".to_owned());
    }
    wrong
}

fn restored(state: &State) -> State {
    let mut builder = StateBuilder::default();
    for chunk in state.chunks() {
        builder.push(&chunk.unwrap()).unwrap();
    }
    builder.finish().unwrap()
}
