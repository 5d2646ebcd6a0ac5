//! `skep status`: who is here, who votes, who leads, and why.

use api::client::Client;
use api::wire::status::{Member, StatusReport};

use crate::ago;
use crate::args::StatusArgs;
use crate::columns::align;
use crate::exit::Failure;
use crate::format;
use crate::out::Out;
use crate::rows::{natural, short};

pub(crate) async fn run(args: &StatusArgs, client: &Client, out: &mut Out) -> Result<(), Failure> {
    let report = client.status().await?;
    let text = match args.format.as_deref() {
        None | Some("") => show(&report),
        // One object, for programs to read.
        Some("json") => format::pretty_json(&report)? + "\n",
        Some(template) => format::inspect(std::slice::from_ref(&report), Some(template))?,
    };
    out.bytes(text.as_bytes())
}

fn show(report: &StatusReport) -> String {
    let mut head = Vec::new();
    let node = &report.node;
    let eligible = if node.eligible { "may manage" } else { "worker" };
    let up = ago::human(node.uptime_seconds).to_lowercase();
    head.push(format!(
        "node\t{} {} at {}: {}, {eligible}, up {up}",
        node.hostname,
        short(&node.id),
        node.address,
        node.state
    ));
    head.push(format!("skep\t{}, runtime {}", node.version, node.runtime));
    if let Some(cluster) = &report.cluster {
        head.push(format!(
            "cluster\t{}: {}, {} may manage, {}",
            short(&cluster.id),
            count(cluster.n_nodes, "node"),
            cluster.n_eligible,
            count(cluster.n_managers, "manager")
        ));
    }
    if let Some(raft) = &report.raft {
        head.push(leader(report, raft));
        head.extend(raft.autopilot.iter().map(|line| format!("autopilot\t{line}")));
    }
    // Words of their own, for people who look for them: `waiting for seeds: 2 of 3 (…)`.
    head.extend(report.waiting.iter().cloned());
    head.extend(report.warnings.iter().map(|line| format!("WARNING\t{line}")));
    head.extend(report.lacks.iter().map(|line| format!("lacks\t{line}")));
    let mut text = align(&head);
    if !report.members.is_empty() {
        text.push('\n');
        text.push_str(&members(report));
    }
    text
}

fn leader(report: &StatusReport, raft: &api::wire::status::RaftReport) -> String {
    let quorum = raft
        .quorum_age_millis
        .map_or_else(String::new, |age| format!(", a majority answered {age} ms ago"));
    match &raft.leader {
        Some(id) => {
            let member = report.members.iter().find(|member| member.id == *id);
            let name = member.map_or("", |member| &member.hostname);
            let stale = raft.stale_seconds.map_or_else(String::new, |age| {
                let age = ago::human(age).to_lowercase();
                format!(", {age} ago: no leader answers now")
            });
            format!("leader\t{name} {} in term {}{quorum}{stale}", short(id), raft.term)
        }
        None => format!("leader\tnobody (term {})", raft.term),
    }
}

fn count(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

fn members(report: &StatusReport) -> String {
    let mut members: Vec<_> = report.members.iter().collect();
    members.sort_by(|a, b| natural(&a.hostname, &b.hostname).then_with(|| a.id.cmp(&b.id)));
    let zones = members.iter().any(|member| !member.zone.is_empty());
    let zone_header = if zones { "ZONE\t" } else { "" };
    let mut lines =
        vec![format!("ID\tHOSTNAME\tADDRESS\tHEALTH\tRTT\tROLE\tAVAILABILITY\t{zone_header}WHY")];
    lines.extend(members.iter().map(|member| line(member, &report.node.id, zones)));
    align(&lines)
}

fn line(member: &Member, me: &str, zones: bool) -> String {
    let star = if member.id == me { " *" } else { "" };
    let rtt = member.rtt_millis.map_or_else(|| "-".to_owned(), |millis| format!("{millis:.1} ms"));
    let health = if member.liveness == "alive" {
        "alive".to_owned()
    } else {
        format!("{} for {}", member.liveness, ago::human(member.since_seconds).to_lowercase())
    };
    let zone = if zones { format!("{}\t", member.zone) } else { String::new() };
    let Member { id, hostname, address, role, availability, why, .. } = member;
    let id = short(id);
    format!(
        "{id}{star}\t{hostname}\t{address}\t{health}\t{rtt}\t{role}\t{availability}\t{zone}{why}"
    )
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[track_caller]
    fn check(json: &str, after: Expect) {
        after.assert_eq(&show(&serde_json::from_str(json).unwrap()));
    }

    #[test]
    fn a_node_that_waits_says_for_what() {
        check(
            r#"{"Node":{"ID":"iaahyiav1xnypit1xoyqfy1ls","Hostname":"a","Address":"10.0.0.1:7964",
            "Version":"0.1.0","Runtime":"embedded 0.1.0","State":"waiting","Eligible":true,"UptimeSeconds":41},
            "Waiting":["waiting for seeds: 2 of 3 (c:7964: no answer, 41 s)"],
            "Lacks":["no resource limits: no cgroup can be written"]}"#,
            expect![[r#"
                node      a iaahyiav1xny at 10.0.0.1:7964: waiting, may manage, up 41 seconds
                skep      0.1.0, runtime embedded 0.1.0
                waiting for seeds: 2 of 3 (c:7964: no answer, 41 s)
                lacks     no resource limits: no cgroup can be written
            "#]],
        );
    }

    #[test]
    fn a_cluster_is_shown_with_its_reasons() {
        check(
            r#"{"Node":{"ID":"iaahyiav1xnypit1xoyqfy1ls","Hostname":"a","Address":"10.0.0.1:7964",
            "Version":"0.1.0","Runtime":"embedded 0.1.0","State":"active","Eligible":true,"UptimeSeconds":200},
            "Cluster":{"ID":"95vami2rwa52r6f1lbbjys3in","NNodes":3,"NEligible":2,"NManagers":1},
            "Raft":{"Role":"follower","Term":3,"Leader":"rpnq9f7w60yrbjymh3krw2tdc","QuorumAgeMillis":12},
            "Warnings":["2 nodes may manage: a third would let one fail"],
            "Members":[
              {"ID":"iaahyiav1xnypit1xoyqfy1ls","Hostname":"a","Address":"10.0.0.1:7964","Liveness":"alive",
               "Role":"standby","Why":"two nodes may manage: one votes","Availability":"active"},
              {"ID":"rpnq9f7w60yrbjymh3krw2tdc","Hostname":"b","Address":"10.0.0.2:7964","Liveness":"alive",
               "RttMillis":0.42,"Role":"leader","Why":"founder","Availability":"active"},
              {"ID":"ftjval3a7x1ewndskj4091neu","Hostname":"c","Address":"10.0.0.3:7964","Liveness":"down",
               "SinceSeconds":75,"Role":"worker","Why":"","Availability":"drain"}]}"#,
            expect![[r#"
                node      a iaahyiav1xny at 10.0.0.1:7964: active, may manage, up 3 minutes
                skep      0.1.0, runtime embedded 0.1.0
                cluster   95vami2rwa52: 3 nodes, 2 may manage, 1 manager
                leader    b rpnq9f7w60yr in term 3, a majority answered 12 ms ago
                WARNING   2 nodes may manage: a third would let one fail

                ID               HOSTNAME   ADDRESS         HEALTH                    RTT       ROLE      AVAILABILITY   WHY
                iaahyiav1xny *   a          10.0.0.1:7964   alive                     -         standby   active         two nodes may manage: one votes
                rpnq9f7w60yr     b          10.0.0.2:7964   alive                     0.4 ms    leader    active         founder
                ftjval3a7x1e     c          10.0.0.3:7964   down for about a minute   -         worker    drain          
            "#]],
        );
    }
}
