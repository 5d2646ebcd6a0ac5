//! Simulated clusters: stories with a name, and random histories that must keep every invariant.
//!
//! A history that breaks one is printed as short as it can be made; then it becomes a story.
#![expect(clippy::unwrap_used, reason = "the whole crate is a test, helpers included")]

mod drain;
mod failover;
mod histories;
mod join;
mod partition;
mod promotion;
mod scale;
mod update;

use tests::cluster::{Cluster, SECOND};
use tests::invariants;

/// As long as any story takes to come to rest: an update watches its last task for 5 s, a slot
/// waits up to 60 s for a task that does not stop.
const LONG: u64 = 600 * SECOND;

/// The cluster comes to rest, nothing was broken and nothing is missing.
#[track_caller]
fn comes_to_rest(cluster: &mut Cluster) {
    assert!(cluster.settle_within(LONG), "it does not settle");
    keeps_its_promises(cluster);
    assert_eq!(invariants::at_rest(cluster), vec![]);
}

/// Nothing was broken so far.
#[track_caller]
fn keeps_its_promises(cluster: &Cluster) {
    assert_eq!(cluster.violations, vec![]);
}

/// How often random histories are tried: enough for every change, or all night.
fn n_histories() -> u32 {
    if std::env::var_os("SKEP_COUNTS").is_some_and(|counts| counts == "full") {
        20_000
    } else {
        150
    }
}
