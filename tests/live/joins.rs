//! Into the cluster with a token, and what everybody then knows of it.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use serde_json::{Value, json};
use tests::live::{Kind, Lab, Way, pause, possible, voters};

use crate::{HEALED, MOVED, RUN, VOTERS, WRITE};

/// Docker's words at a worker.
const NOT_A_MANAGER: &str = "This node is not a swarm manager. Worker nodes can't be used to view";

/// Nodes that gossip, keys and a leader hear of, and so does the one that asks.
fn until_ready(lab: &mut Lab, witness: usize, host: usize) -> String {
    lab.until(&format!("node {host} is ready"), MOVED, |lab| {
        let report = lab.status(host)?;
        let id = report["Node"]["ID"].as_str().ok_or("no id")?.to_owned();
        let states = lab.states(witness)?;
        let state = states.get(&id).map_or("unknown", String::as_str);
        let ready = state == "ready" && report["Node"]["State"] == "active";
        ready.then_some(id).ok_or_else(|| format!("{state}, waits for {}", report["Waiting"]))
    })
}

/// Every host says the same of voters, leader and term, and why each voter votes.
fn until_all_agree(lab: &mut Lab, n_nodes: u64) {
    lab.until("every status is true", HEALED, |lab| {
        let leader = lab.leader(&lab.hosts())?;
        let truth = lab.status(leader)?;
        for n in lab.hosts() {
            let report = lab.status(n)?;
            let raft = |name: &str| (report["Raft"][name].clone(), truth["Raft"][name].clone());
            let counts = |report: &Value| {
                let cluster = &report["Cluster"];
                json!([cluster["NNodes"], cluster["NEligible"], cluster["NManagers"]])
            };
            for (seen, true_one) in ["Term", "Leader", "Voters", "Learners", "Autopilot"]
                .map(raft)
                .into_iter()
                .chain([(counts(&report), counts(&truth))])
            {
                if seen != true_one {
                    return Err(format!("node {n} says {seen}, the leader {true_one}"));
                }
            }
            if report["Cluster"]["NNodes"] != n_nodes || !report["Raft"]["StaleSeconds"].is_null() {
                return Err(format!("node {n}: {} {}", report["Cluster"], report["Raft"]));
            }
            let members = report["Members"].as_array().cloned().unwrap_or_default();
            let voters = voters(&truth);
            let known = members.iter().filter(|member| {
                let id = member["ID"].as_str().unwrap_or_default();
                let role = if truth["Raft"]["Leader"] == id { "leader" } else { "manager" };
                voters.contains(id) && member["Role"] == role && member["Why"] != ""
            });
            if known.count() != voters.len() {
                return Err(format!("node {n} shows {members:?} for {voters:?}"));
            }
        }
        Ok(())
    });
}

#[test]
fn a_token_makes_a_worker_through_anybody() {
    if !possible() {
        return;
    }
    let mut lab = Lab::new(9, Kind::Seeded);
    lab.form(6);
    let once = lab.token("worker", &["--uses", "1"]);
    let many = lab.token("worker", &[]);
    // Through a node with the key, and through a worker.
    lab.start_as(7, &Way::token(&once, 6));
    let first = until_ready(&mut lab, 1, 7);
    lab.start_as(8, &Way::token(&many, 7));
    let second = until_ready(&mut lab, 1, 8);
    until_all_agree(&mut lab, 8);

    let spec = json!({
        "Name": "everywhere",
        "TaskTemplate": { "ContainerSpec": { "Image": "skep/demo" } },
        "Mode": { "Global": {} },
    });
    assert_eq!(lab.ask(1, "POST", "/services/create", &spec).unwrap().status, 201);
    let nodes = lab.until_running(1, 8, RUN);
    assert!(nodes.contains(&first) && nodes.contains(&second), "{nodes:?}");

    for host in [7, 8] {
        let answer = lab.ask(host, "GET", "/services", &Value::Null).unwrap();
        let text = answer.body["message"].as_str().unwrap_or_default();
        assert!(answer.status == 503 && text.starts_with(NOT_A_MANAGER), "{answer:?}");
    }
    let refused = lab.skep_on(1, &["node", "promote", &second]).unwrap_err();
    assert!(refused.contains("manager token"), "{refused}");

    refused_tokens(&mut lab, &once);
    restart_of_a_worker_alone(&mut lab, 8, &second);
    without_a_leader(&mut lab, 8);
}

/// A token that is used up or old ends its daemon, which says why.
fn refused_tokens(lab: &mut Lab, used_up: &std::path::Path) {
    lab.start_as(9, &Way::token(used_up, 1));
    let said = lab.until_ended(9, MOVED);
    assert!(said.contains("which is its limit: ask for a new one"), "{said}");
    let old = lab.token("worker", &["--expires", "1s"]);
    pause(Duration::from_secs(2));
    lab.wipe(9);
    lab.start_as(9, &Way::token(&old, 1));
    let said = lab.until_ended(9, MOVED);
    assert!(said.contains("its token ended at") && said.contains("ask for a new one"), "{said}");
    let revoked = lab.token("worker", &[]);
    lab.skep_on(2, &["token", "revoke", &revoked.to_string_lossy()]).unwrap();
    lab.wipe(9);
    lab.start_as(9, &Way::token(&revoked, 7));
    let said = lab.until_ended(9, MOVED);
    assert!(said.contains("was revoked: ask for a new one"), "{said}");
}

/// A worker is itself again without anybody's help.
fn restart_of_a_worker_alone(lab: &mut Lab, host: usize, id: &str) {
    lab.kill(host);
    lab.network.set_cable(host, false);
    lab.start(host);
    lab.until("the worker is itself", RUN, |lab| {
        let report = lab.status(host)?;
        let same = report["Node"]["ID"] == *id && report["Waiting"] == json!([]);
        same.then_some(()).ok_or_else(|| report.to_string())
    });
    lab.network.set_cable(host, true);
    assert_eq!(until_ready(lab, 1, host), id);
}

/// Two of three managers gone: what was known is shown, and how old it is.
fn without_a_leader(lab: &mut Lab, witness: usize) {
    let leader = lab.leader(&[1]).unwrap();
    let (leader_id, before) = (lab.id(leader), voters(&lab.status(leader).unwrap()));
    let others: Vec<_> = lab.hosts().into_iter().filter(|n| *n != leader && *n <= 6).collect();
    let second = others.into_iter().find(|n| before.contains(&lab.id(*n))).unwrap();
    lab.kill(second);
    lab.kill(leader);
    lab.until("the status says how old it is", WRITE, |lab| {
        let report = lab.status(witness)?;
        let raft = &report["Raft"];
        let stale = raft["StaleSeconds"].is_u64() && raft["Leader"] == *leader_id;
        (stale && voters(&report) == before).then_some(()).ok_or_else(|| raft.to_string())
    });
    let shown = lab.skep_on(witness, &["status"]).unwrap();
    assert!(shown.contains("ago: no leader answers now"), "{shown}");
}

#[test]
fn a_manager_token_makes_a_manager() {
    if !possible() {
        return;
    }
    let mut lab = Lab::new(4, Kind::Seeded);
    lab.form(3);
    let token = lab.token("manager", &[]);
    lab.start_as(4, &Way::token(&token, 2));
    let id = until_ready(&mut lab, 1, 4);
    let report = lab.status(4).unwrap();
    assert_eq!(report["Node"]["Eligible"], true, "{report}");
    // It was handed the key, and nobody else may read it.
    let kept = std::fs::metadata(lab.data_dir(4).join("membership")).unwrap();
    assert_eq!(kept.permissions().mode() & 0o777, 0o600);

    let leader = lab.leader(&[1]).unwrap();
    let dead = (1..=3).find(|n| *n != leader).unwrap();
    lab.kill(dead);
    lab.until("the newcomer votes", VOTERS, |lab| {
        let voters = voters(&lab.status(leader)?);
        voters.contains(&id).then_some(()).ok_or_else(|| format!("{voters:?}"))
    });
    lab.until("it answers as a manager", WRITE, |lab| lab.write(4));

    lab.kill(4);
    lab.start(4);
    assert_eq!(until_ready(&mut lab, leader, 4), id);
    lab.until("it votes after a restart", HEALED, |lab| {
        let raft = lab.status(4)?["Raft"].clone();
        (raft["Role"] == "follower" || raft["Role"] == "leader")
            .then_some(())
            .ok_or_else(|| raft.to_string())
    });
    lab.write(4).unwrap();
}
