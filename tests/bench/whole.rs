//! When a cluster is whole again, so that the next blow hits a healthy one.

use std::time::Duration;

use serde_json::Value;
use tests::live::{Lab, voters};

/// Far more than any promise: who is not whole by then is broken.
const WHOLE: Duration = Duration::from_secs(240);

/// Waits until every host of a lab is seen alive by all, one of them leads, three vote and are up
/// to date, and standbys keep the log.
pub(crate) fn until_whole(lab: &mut Lab) {
    lab.until("the cluster is whole", WHOLE, whole);
}

fn whole(lab: &mut Lab) -> Result<(), String> {
    let hosts = lab.hosts();
    let leader = lab.leader(&hosts)?;
    let lead = lab.status(leader)?["Raft"].clone();
    let n_voters = lead["Voters"].as_object().map_or(0, serde_json::Map::len);
    let n_learners = lead["Learners"].as_object().map_or(0, serde_json::Map::len);
    let n_standbys = hosts.len().saturating_sub(3).min(2);
    if (n_voters, n_learners) != (3, n_standbys) {
        return Err(format!("{n_voters} voters, {n_learners} standbys"));
    }
    for n in &hosts {
        let report = lab.status(*n)?;
        sees_all(&report, hosts.len()).map_err(|why| format!("node {n}: {why}"))?;
        let raft = &report["Raft"];
        let votes = voters(&report).iter().any(|id| report["Node"]["ID"] == **id);
        if votes && raft["Applied"].as_u64() < lead["Applied"].as_u64() {
            return Err(format!("node {n} is behind: {raft}"));
        }
    }
    let states = lab.states(leader)?;
    let n_ready = states.values().filter(|state| *state == "ready").count();
    (n_ready == hosts.len()).then_some(()).ok_or_else(|| format!("{n_ready} nodes are ready"))
}

fn sees_all(report: &Value, n_hosts: usize) -> Result<(), String> {
    let members = report["Members"].as_array().map(Vec::as_slice).unwrap_or_default();
    let n_alive = members.iter().filter(|member| member["Liveness"] == "alive").count();
    (n_alive == n_hosts).then_some(()).ok_or_else(|| format!("{n_alive} members are alive"))
}
