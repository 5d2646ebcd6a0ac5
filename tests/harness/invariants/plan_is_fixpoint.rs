//! A plan that was adopted whole leaves nothing to plan.
//!
//! A planner that always finds something to do fills the log for ever, and hides what is news.

use planner::Plan;

use crate::cluster::Cluster;

pub(super) fn check(cluster: &Cluster, made: &Plan) -> Vec<String> {
    let again = cluster.propose();
    let mut wrong = Vec::new();
    if !again.decisions.is_empty() {
        wrong.push(format!("after {:?} it wants {:?}", made.decisions, again.decisions));
    }
    if again.wake_at.is_some_and(|at| at <= cluster.now()) {
        wrong.push("it wants to wake in the past".to_owned());
    }
    wrong
}
