//! Two of three voters gone: writes get a clear answer soon, and what runs goes on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::live::{Kind, Lab, brief, curl, host_of, pause, runs, voters};
use tests::live_net::address;

use crate::Counts;
use crate::report::{Line, say, seconds};
use crate::whole::until_whole;

const PORT: u16 = 8080;
/// Gives up long after the promises.
const GIVE_UP: Duration = Duration::from_secs(120);
/// Between two visits of a published port.
const VISIT: Duration = Duration::from_millis(50);

/// How the majority goes.
#[derive(Clone, Copy, Debug)]
enum Blow {
    /// The leader stays, and learns that nobody follows.
    FollowersKilled,
    /// Its hosts are no longer heard, but their daemons answer their own users.
    FollowersCut,
    /// One follower stays.
    LeaderAndFollowerKilled,
    /// As it says.
    LeaderAndFollowerCut,
}

const BLOWS: [Blow; 4] = [
    Blow::FollowersKilled,
    Blow::FollowersCut,
    Blow::LeaderAndFollowerKilled,
    Blow::LeaderAndFollowerCut,
];

/// What users saw.
#[derive(Debug, Default)]
struct Seen {
    answers: Vec<Duration>,
    wrong: Vec<String>,
    n_visits: usize,
    failed: Vec<String>,
}

pub(crate) fn measure(counts: &Counts) -> Vec<Line> {
    let mut seen = Seen::default();
    for blow in BLOWS {
        let now = strike(blow, counts.leaderless);
        let slowest = seconds(now.answers.iter().max().copied().unwrap_or_default());
        let (answers, visits) = (now.answers.len(), now.n_visits);
        let (wrong, failed) = (now.wrong.len(), now.failed.len());
        say(&format!(
            "  {blow:?}: {answers} answers, slowest {slowest}, {wrong} wrong; {visits} visits, \
             {failed} failed"
        ));
        now.wrong.iter().chain(&now.failed).take(10).for_each(|line| say(&format!("    {line}")));
        seen.answers.extend(now.answers);
        seen.wrong.extend(now.wrong);
        seen.n_visits += now.n_visits;
        seen.failed.extend(now.failed);
    }
    let answers = Line::times("no leader → a write is answered", LIMIT, &seen.answers);
    let wrong = seen.wrong.len();
    let clear = format!("{} of {} answers", seen.answers.len() - wrong, seen.answers.len());
    let (failed, visits) = (seen.failed.len(), seen.n_visits);
    let visited = format!("{failed} of {visits} visits");
    vec![
        answers,
        Line::new("no leader → that answer is a 503 that says what was done", "all", clear, {
            wrong == 0 && !seen.answers.is_empty()
        }),
        Line::new("no leader → published ports that do not answer", "0", visited, {
            failed == 0 && 0 < visits
        }),
    ]
}

/// A write has its answer by then.
const LIMIT: Duration = Duration::from_secs(2);

/// One cluster, one blow; everything is repaired before it goes, for its containers' sake.
fn strike(blow: Blow, time: Duration) -> Seen {
    let mut lab = Lab::new(5, Kind::Containers);
    lab.form(5);
    until_whole(&mut lab);
    lab.until("the service is created", GIVE_UP, |lab| lab.create(1, "web", 3, Some(PORT)));
    lab.until_running(1, 3, GIVE_UP);
    for n in 1..=5 {
        lab.until("the published port answers", GIVE_UP, |lab| {
            lab.network.outside(|| curl(address(n), PORT)).map(drop)
        });
    }
    let victims = victims(&mut lab, blow);
    let before = running(&lab, 1);
    let killed = matches!(blow, Blow::FollowersKilled | Blow::LeaderAndFollowerKilled);
    for n in &victims {
        if killed { lab.kill(*n) } else { lab.network.set_cable(*n, false) }
    }
    let seen = live_on(&lab, &victims, time);
    for n in &victims {
        if killed { lab.start(*n) } else { lab.network.set_cable(*n, true) }
    }
    lab.until("the same tasks run as before", GIVE_UP, |lab| {
        let after = running(lab, 1);
        (after == before).then_some(()).ok_or_else(|| brief(&lab.tasks(1).unwrap_or_default()))
    });
    until_whole(&mut lab);
    seen
}

/// Two of the three voters.
fn victims(lab: &mut Lab, blow: Blow) -> Vec<usize> {
    let hosts = lab.hosts();
    let leader = lab.until("a leader", GIVE_UP, |lab| lab.leader(&hosts));
    let report = lab.status(leader).unwrap_or_default();
    let ids = voters(&report);
    let hosts = ids.iter().filter_map(|id| host_of(&report, id));
    let followers: Vec<_> = hosts.filter(|n| *n != leader).collect();
    match (blow, followers.as_slice()) {
        (Blow::FollowersKilled | Blow::FollowersCut, [_, _]) => followers,
        (Blow::LeaderAndFollowerKilled | Blow::LeaderAndFollowerCut, [first, _]) => {
            vec![leader, *first]
        }
        (_, other) => unreachable!("three vote, and these do not lead: {other:?}"),
    }
}

/// Process and id of every task that runs.
fn running(lab: &Lab, n: usize) -> Vec<(String, i64)> {
    let tasks = lab.tasks(n).unwrap_or_default();
    let running = tasks.iter().filter(|task| runs(task));
    let named = running.filter_map(|task| {
        let pid = task["Status"]["ContainerStatus"]["PID"].as_i64()?;
        Some((task["ID"].as_str()?.to_owned(), pid))
    });
    let mut named: Vec<_> = named.collect();
    named.sort();
    named
}

/// Users of every host that has a daemon write, and visit every host that is heard.
fn live_on(lab: &Lab, victims: &[usize], time: Duration) -> Seen {
    let over = AtomicBool::new(false);
    let mut seen = Seen::default();
    std::thread::scope(|scope| {
        let heard = (1..=5).filter(|n| !victims.contains(n));
        let visitors: Vec<_> = heard
            .map(|n| {
                scope.spawn({
                    let over = &over;
                    move || lab.network.outside(|| visit(n, over))
                })
            })
            .collect();
        let writers: Vec<_> = lab
            .hosts()
            .into_iter()
            .map(|n| {
                scope.spawn({
                    let over = &over;
                    move || write(lab, n, over)
                })
            })
            .collect();
        pause(time);
        over.store(true, Ordering::Relaxed);
        for writer in writers {
            let (answers, wrong) = writer.join().unwrap_or_default();
            seen.answers.extend(answers);
            seen.wrong.extend(wrong);
        }
        for visitor in visitors {
            let (n_visits, failed) = visitor.join().unwrap_or_default();
            seen.n_visits += n_visits;
            seen.failed.extend(failed);
        }
    });
    seen
}

fn visit(n: usize, over: &AtomicBool) -> (usize, Vec<String>) {
    let (mut n_visits, mut failed) = (0, Vec::new());
    let began = Instant::now();
    while !over.load(Ordering::Relaxed) {
        let at = began.elapsed();
        n_visits += 1;
        if let Err(why) = curl(address(n), PORT) {
            failed.push(format!("node {n}, visited after {}: {why}", seconds(at)));
        }
        pause(VISIT);
    }
    (n_visits, failed)
}

/// Writes of each kind in turns; how long each answer took, and those that were not clear.
fn write(lab: &Lab, n: usize, over: &AtomicBool) -> (Vec<Duration>, Vec<String>) {
    let spec = |name: String| {
        let image = json!({ "ContainerSpec": { "Image": "skep/demo" } });
        let mode = json!({ "Replicated": { "Replicas": 0 } });
        json!({ "Name": name, "TaskTemplate": image, "Mode": mode })
    };
    let (mut answers, mut wrong) = (Vec::new(), Vec::new());
    let began = Instant::now();
    while !over.load(Ordering::Relaxed) {
        let nth = answers.len();
        let (method, path, body) = match nth % 3 {
            0 => ("POST", "/services/create", spec(format!("n{n}w{nth}"))),
            1 => ("DELETE", "/services/nothing", Value::Null),
            _ => ("POST", "/services/web/update?version=1", spec("web".to_owned())),
        };
        let (at, asked) = (began.elapsed(), Instant::now());
        let answer = lab.ask(n, method, path, &body);
        let took = asked.elapsed();
        answers.push(took);
        let said = match answer {
            Ok(answer) if answer.status == 503 && says_what_was_done(&answer.body) => None,
            Ok(answer) => Some(format!("{} {}", answer.status, answer.body)),
            Err(why) => Some(why),
        };
        if let Some(said) = said {
            let (at, took) = (seconds(at), seconds(took));
            wrong.push(format!("node {n}, {method} {path} after {at}, in {took}: {said}"));
        }
    }
    (answers, wrong)
}

fn says_what_was_done(body: &Value) -> bool {
    let message = body["message"].as_str().unwrap_or_default();
    message.contains("nothing was changed") || message.contains("not confirmed")
}
