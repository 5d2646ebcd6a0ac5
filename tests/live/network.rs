//! Cables that are pulled, ears that are closed, and packets that are lost.

use std::time::{Duration, Instant};

use tests::live::{Kind, Lab, brief, pause, possible, runs, voters};

use crate::{HEALED, MOVED, RUN};

/// How long the weather is bad.
const WEATHER: Duration = Duration::from_secs(45);

/// A host with a task that does not lead, and its node.
fn victim(lab: &mut Lab) -> (usize, String) {
    let leader = lab.leader(&[1]).unwrap();
    let running = lab.until_running(leader, 3, RUN);
    let hosts = lab.hosts().into_iter().filter(|n| *n != leader);
    let mut with_id = hosts.map(|n| (n, lab.id(n)));
    with_id.find(|(_, id)| running.contains(id)).expect("three tasks on more than one node")
}

fn state_of(lab: &Lab, witness: usize, id: &str, wanted: &str) -> Result<(), String> {
    let states = lab.states(witness)?;
    let state = states.get(id).map_or("unknown", String::as_str);
    (state == wanted).then_some(()).ok_or_else(|| format!("{id} is {state}, not {wanted}"))
}

#[test]
fn tasks_of_a_node_that_is_cut_off_run_elsewhere_and_once() {
    if !possible() {
        return;
    }
    let mut lab = Lab::new(5, Kind::Seeded);
    lab.form(5);
    lab.create(1, "web", 3, None).unwrap();
    let (host, id) = victim(&mut lab);
    let leader = lab.leader(&[1]).unwrap();

    lab.network.set_cable(host, false);
    lab.until("three tasks run elsewhere", MOVED, |lab| {
        let running = lab.tasks(leader)?;
        let running = running.iter().filter(|task| runs(task) && task["DesiredState"] == "running");
        let elsewhere = running.filter(|task| task["NodeID"] != *id).count();
        (elsewhere == 3).then_some(()).ok_or_else(|| format!("{elsewhere} of 3"))
    });

    // Nobody can know that the old one ended: it counts until its node has said so.
    let tasks = lab.tasks(leader).unwrap();
    assert_eq!(tasks.iter().filter(|task| runs(task)).count(), 4, "{}", brief(&tasks));

    lab.network.set_cable(host, true);
    lab.until("the node is ready and the duplicate gone", HEALED, |lab| {
        state_of(lab, leader, &id, "ready")?;
        let tasks = lab.tasks(leader)?;
        let n_running = tasks.iter().filter(|task| runs(task)).count();
        (n_running == 3).then_some(()).ok_or_else(|| brief(&tasks))
    });
}

#[test]
fn a_node_that_hears_nothing_is_down_until_it_hears() {
    if !possible() {
        return;
    }
    let mut lab = Lab::new(5, Kind::Seeded);
    lab.form(5);
    lab.create(1, "web", 3, None).unwrap();
    let (host, id) = victim(&mut lab);
    let leader = lab.leader(&[1]).unwrap();

    lab.network.deafen(host);
    lab.until("the deaf node is down", MOVED, |lab| state_of(lab, leader, &id, "down"));
    lab.network.heal(host);
    lab.until("the node is ready", HEALED, |lab| state_of(lab, leader, &id, "ready"));
    lab.until_running(leader, 3, MOVED);
}

/// A manager and the leader do not reach each other; a third node carries their bytes.
#[test]
fn a_manager_that_cannot_reach_the_leader_answers_through_another() {
    if !possible() {
        return;
    }
    let mut lab = Lab::new(3, Kind::Seeded);
    lab.form(3);
    let leader = lab.leader(&[1]).unwrap();
    let host = lab.hosts().into_iter().find(|n| *n != leader).unwrap();
    let id = lab.id(host);
    lab.network.cut(host, leader);
    // What was open hangs until its pings are missed; then a new way is found.
    let name = lab.until("a write through another node", HEALED, |lab| lab.write(host));
    assert!(lab.services(leader).unwrap().contains(&name), "{name} was acknowledged");
    let began = Instant::now();
    for _ in 0..5 {
        lab.write(host).unwrap();
    }
    assert!(began.elapsed() < HEALED, "each request looks for a way again");

    // It is no worse a node for that: nobody writes it off, and it runs tasks.
    let spec = serde_json::json!({
        "Name": "everywhere",
        "TaskTemplate": { "ContainerSpec": { "Image": "skep/demo" } },
        "Mode": { "Global": {} },
    });
    assert_eq!(lab.ask(host, "POST", "/services/create", &spec).unwrap().status, 201);
    let nodes = lab.until_running(host, 3, RUN);
    assert!(nodes.contains(&id), "{nodes:?}");
    state_of(&lab, leader, &id, "ready").unwrap();
    assert_eq!(lab.leader(&[leader]).unwrap(), leader, "the leader lost its place for one cable");
    for n in [host, leader] {
        assert!(0 < lab.network.n_dropped(n), "node {n} lost nothing: this proved nothing");
    }
}

#[test]
fn a_tenth_of_all_packets_lost_changes_nothing() {
    if !possible() {
        return;
    }
    let mut lab = Lab::new(5, Kind::Seeded);
    lab.form(5);
    let leader = lab.leader(&[1]).unwrap();
    let before = voters(&lab.status(leader).unwrap());
    (1..=5).for_each(|n| lab.network.lose(n, 10));

    let began = Instant::now();
    let mut n_looks = 0;
    while began.elapsed() < WEATHER {
        pause(Duration::from_secs(1));
        for n in 1..=5 {
            // An answer may be late in this weather; a wrong one may not come at all.
            if let Ok(states) = lab.states(n) {
                n_looks += 1;
                let down: Vec<_> = states.iter().filter(|(_, state)| *state != "ready").collect();
                assert!(down.is_empty(), "after {:?}, node {n}: {down:?}", began.elapsed());
            }
            let report = lab.status(n).unwrap();
            if report["Raft"].is_object() && report["Raft"]["Role"] != "outside" {
                let now = voters(&report);
                assert_eq!(now, before, "after {:?}, node {n}: voters", began.elapsed());
            }
        }
    }
    for n in 1..=5 {
        assert!(0 < lab.network.n_dropped(n), "node {n} lost nothing: this proved nothing");
    }
    assert!(50 < n_looks, "only {n_looks} answers in {WEATHER:?}");
}
