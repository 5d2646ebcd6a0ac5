//! Daemons that die, that stop to breathe, and that all start again.

use std::time::Duration;

use rustix::process::Signal;
use tests::live::{Kind, Lab, pause, possible, voters};

use crate::{MOVED, RUN, VOTERS, WRITE};

#[test]
fn a_dead_leader_is_replaced() {
    if !possible() {
        return;
    }
    let mut lab = Lab::new(5, Kind::Seeded);
    lab.form(5);
    lab.create(4, "web", 3, None).unwrap();
    lab.until_running(4, 3, RUN);

    let leader = lab.leader(&[1]).unwrap();
    let dead = lab.id(leader);
    let others: Vec<_> = lab.hosts().into_iter().filter(|n| *n != leader).collect();
    let witness = others[others.len() - 1];
    lab.kill(leader);

    let name = lab.until("a write without the old leader", WRITE, |lab| lab.write(witness));
    let services = lab.services(witness).unwrap();
    assert!(services.contains(&name), "{name} was acknowledged and is not among {services:?}");

    lab.until("three living voters", VOTERS, |lab| {
        let now = lab.leader(&others)?;
        let voters = voters(&lab.status(now)?);
        let whole = voters.len() == 3 && !voters.contains(&dead);
        whole.then_some(()).ok_or_else(|| format!("{voters:?}, of which {dead} is dead"))
    });
    let nodes = lab.until_running(witness, 3, MOVED);
    assert!(!nodes.contains(&dead), "a task counts as running on the dead node");
}

#[test]
fn a_leader_that_stops_to_breathe_is_overtaken_and_follows() {
    if !possible() {
        return;
    }
    let mut lab = Lab::new(3, Kind::Seeded);
    lab.form(3);
    let old = lab.leader(&[1]).unwrap();
    let others: Vec<_> = lab.hosts().into_iter().filter(|n| *n != old).collect();
    lab.signal(old, Signal::STOP);
    let began = std::time::Instant::now();

    let mut written = vec![lab.until("a write", WRITE, |lab| lab.write(others[0]))];
    let new = lab.leader(&others).unwrap();
    assert_ne!(new, old, "a stopped process leads");
    while began.elapsed() < Duration::from_secs(8) {
        written.push(lab.until("writes go on", WRITE, |lab| lab.write(others[1])));
        pause(Duration::from_millis(200));
    }

    lab.signal(old, Signal::CONT);
    written.push(lab.until("a write through the old leader", WRITE, |lab| lab.write(old)));
    lab.until("one leader and one term", WRITE, |lab| {
        let reports: Vec<_> = (1..=3).map(|n| lab.status(n)).collect::<Result<_, _>>()?;
        let leaders = reports.iter().filter(|report| report["Raft"]["Role"] == "leader").count();
        let same = reports.iter().all(|report| {
            report["Raft"]["Term"] == reports[0]["Raft"]["Term"]
                && report["Raft"]["Leader"] == reports[0]["Raft"]["Leader"]
        });
        let shown = || reports.iter().map(|report| report["Raft"].to_string()).collect();
        (leaders == 1 && same).then_some(()).ok_or_else(shown)
    });
    for n in 1..=3 {
        let services = lab.services(n).unwrap();
        let lost: Vec<_> = written.iter().filter(|name| !services.contains(*name)).collect();
        assert!(lost.is_empty(), "node {n} does not show {lost:?}, which were acknowledged");
    }
}

#[test]
fn a_cluster_that_lost_power_goes_on_in_another_order() {
    if !possible() {
        return;
    }
    let mut lab = Lab::new(5, Kind::Seeded);
    lab.form(5);
    lab.create(2, "web", 3, None).unwrap();
    lab.until_running(2, 3, RUN);
    let before = lab.states(2).unwrap();
    let cluster = lab.status(2).unwrap()["Cluster"]["ID"].clone();
    (1..=5).for_each(|n| lab.kill(n));

    for n in [4, 2, 5, 1, 3] {
        lab.start(n);
        pause(Duration::from_millis(700));
    }
    // Forming takes 10 s, and this is no more than that.
    lab.until("the same five nodes are ready", Duration::from_secs(50), |lab| {
        let states = lab.states(4)?;
        let whole = states == before;
        whole.then_some(()).ok_or_else(|| format!("{states:?}, before {before:?}"))
    });
    assert_eq!(lab.status(4).unwrap()["Cluster"]["ID"], cluster, "another cluster was founded");
    assert!(lab.services(4).unwrap().contains("web"), "the service is lost");
    lab.until_running(4, 3, MOVED);
}
