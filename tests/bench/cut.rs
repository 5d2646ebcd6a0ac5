//! A node whose cable is pulled: when its containers run elsewhere, and, when it is plugged in
//! again, when the doubles are gone.

use std::time::{Duration, Instant};

use serde_json::Value;
use tests::live::{Kind, Lab, brief, is_wanted, lives, runs};

use crate::Counts;
use crate::report::{Line, say, seconds};
use crate::whole::until_whole;

/// Gives up long after the promises.
const GIVE_UP: Duration = Duration::from_secs(120);

pub(crate) fn measure(counts: &Counts) -> Vec<Line> {
    let mut lab = Lab::new(5, Kind::Containers);
    lab.form(5);
    lab.until("the service is created", GIVE_UP, |lab| lab.create(1, "web", 3, None));
    let (mut moved, mut healed) = (Vec::new(), Vec::new());
    for nth in 1..=counts.cuts {
        until_whole(&mut lab);
        let (away, back) = cut(&mut lab);
        let (a, b) = (seconds(away), seconds(back));
        say(&format!("  cut {nth} of {}: moved {a}, healed {b}", counts.cuts));
        moved.push(away);
        healed.push(back);
    }
    vec![
        Line::times("node cut off → its containers run elsewhere", Duration::from_secs(10), &moved),
        Line::times(
            "node back → it is ready and the doubles are gone",
            Duration::from_secs(5),
            &healed,
        ),
    ]
}

fn cut(lab: &mut Lab) -> (Duration, Duration) {
    let hosts = lab.hosts();
    let leader = lab.until("a leader", GIVE_UP, |lab| lab.leader(&hosts));
    let running = lab.until_running(leader, 3, GIVE_UP);
    let mut others = hosts.into_iter().filter(|n| *n != leader).map(|n| (n, lab.id(n)));
    let victim = others.find(|(_, id)| running.contains(id));
    let Some((host, id)) = victim else { unreachable!("three tasks spread over three nodes") };
    let tasks = lab.tasks(leader).unwrap_or_default();
    let pids: Vec<_> = tasks.iter().filter(|task| task["NodeID"] == *id).filter_map(pid).collect();
    assert!(!pids.is_empty() && pids.iter().all(|pid| lives(*pid)), "no container to leave");

    let began = Instant::now();
    lab.network.set_cable(host, false);
    lab.until("three tasks run elsewhere", GIVE_UP, |lab| {
        let tasks = lab.tasks(leader)?;
        let wanted = tasks.iter().filter(|task| runs(task) && is_wanted(task));
        let elsewhere = wanted.filter(|task| task["NodeID"] != *id).count();
        (elsewhere == 3).then_some(()).ok_or_else(|| brief(&tasks))
    });
    let moved = began.elapsed();
    assert!(pids.iter().all(|pid| lives(*pid)), "a container of the lonely node ended by itself");

    let began = Instant::now();
    lab.network.set_cable(host, true);
    lab.until("the node is ready and the doubles are gone", GIVE_UP, |lab| {
        let states = lab.states(leader)?;
        let tasks = lab.tasks(leader)?;
        let n_running = tasks.iter().filter(|task| runs(task)).count();
        let n_left = pids.iter().filter(|pid| lives(**pid)).count();
        let healed = states.get(&id).is_some_and(|state| state == "ready");
        let done = healed && n_running == 3 && n_left == 0;
        done.then_some(()).ok_or_else(|| format!("ready: {healed}, {n_left} left, {n_running} run"))
    });
    (moved, began.elapsed())
}

/// The process of a running task.
fn pid(task: &Value) -> Option<i64> {
    let pid = task["Status"]["ContainerStatus"]["PID"].as_i64();
    pid.filter(|pid| runs(task) && *pid != 0)
}
