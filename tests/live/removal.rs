//! `node rm`: who is out is out, knows it, and comes back as somebody else.

use serde_json::Value;
use tests::live::{Kind, Lab, brief, is_wanted, possible, runs, voters};

use crate::{HEALED, MOVED, RUN, VOTERS};

/// What a removed node says.
const REMOVED: &str = "this node was removed from the cluster";

fn states(lab: &Lab, witness: usize, id: &str) -> Result<Option<String>, String> {
    Ok(lab.states(witness)?.get(id).cloned())
}

#[test]
fn a_removed_node_is_out_and_comes_back_as_another() {
    if !possible() {
        return;
    }
    let mut lab = Lab::new(6, Kind::Seeded);
    lab.form(5);
    let token = lab.token("worker", &[]);
    lab.start_as(6, &tests::live::Way::token(&token, 2));
    let worker = lab.until("the worker is ready", MOVED, |lab| {
        let id = lab.status(6)?["Node"]["ID"].as_str().ok_or("no id")?.to_owned();
        let state = states(lab, 1, &id)?;
        (state.as_deref() == Some("ready")).then_some(id).ok_or_else(|| format!("{state:?}"))
    });
    lab.create(1, "web", 6, None).unwrap();
    lab.until_running(1, 6, RUN);
    let leader = lab.leader(&[1]).unwrap();

    // The leader and whoever is up stay; a worker that is down goes.
    let refused = lab.skep_on(leader, &["node", "rm", "--force", &lab.id(leader)]).unwrap_err();
    assert!(refused.contains("demote it, and remove it then"), "{refused}");
    let refused = lab.skep_on(leader, &["node", "rm", &worker]).unwrap_err();
    assert!(refused.contains("is not down and can't be removed"), "{refused}");
    lab.kill(6);
    lab.until("the worker is down", MOVED, |lab| {
        let state = states(lab, leader, &worker)?;
        (state.as_deref() == Some("down")).then_some(()).ok_or_else(|| format!("{state:?}"))
    });
    lab.skep_on(leader, &["node", "rm", &worker]).unwrap();
    assert_eq!(states(&lab, leader, &worker).unwrap(), None);

    // A manager that is up goes by force: its tasks run elsewhere, and it says what it is.
    let of_voters = voters(&lab.status(leader).unwrap());
    let hosts = lab.hosts().into_iter().filter(|n| *n != leader);
    let victim = hosts.into_iter().find(|n| of_voters.contains(&lab.id(*n))).unwrap();
    let id = lab.id(victim);
    lab.skep_on(leader, &["node", "rm", "--force", &id]).unwrap();
    says_so(&mut lab, victim);
    let answer = lab.ask(victim, "GET", "/services", &Value::Null).unwrap();
    assert!(answer.status == 503 && answer.body["message"].as_str().unwrap().contains(REMOVED));
    lab.until("six tasks run elsewhere", MOVED, |lab| {
        let tasks = lab.tasks(leader)?;
        let here = tasks.iter().filter(|task| runs(task) && is_wanted(task));
        let elsewhere = here.filter(|task| task["NodeID"] != *id).count();
        (elsewhere == 6).then_some(()).ok_or_else(|| brief(&tasks))
    });
    lab.until("three voters without it", VOTERS, |lab| {
        let now = voters(&lab.status(leader)?);
        (now.len() == 3 && !now.contains(&id)).then_some(()).ok_or_else(|| format!("{now:?}"))
    });

    // Starting it again changes nothing; starting afresh does.
    lab.kill(victim);
    lab.start(victim);
    says_so(&mut lab, victim);
    lab.kill(victim);
    lab.wipe(victim);
    lab.start(victim);
    lab.until("it is back under a new id", MOVED, |lab| {
        let new = lab.status(victim)?["Node"]["ID"].as_str().ok_or("no id")?.to_owned();
        assert_ne!(new, id, "a wiped node kept its id");
        let state = states(lab, leader, &new)?;
        (state.as_deref() == Some("ready")).then_some(()).ok_or_else(|| format!("{state:?}"))
    });
}

/// 5 s are promised until its sessions are refused; soon after, it knows why.
fn says_so(lab: &mut Lab, host: usize) {
    lab.until("the removed node says so", HEALED, |lab| {
        let report = lab.status(host)?;
        let said = report["Warnings"].to_string();
        let out = report["Node"]["State"] == "removed" && said.contains(REMOVED);
        out.then_some(()).ok_or_else(|| format!("{} {said}", report["Node"]["State"]))
    });
}
