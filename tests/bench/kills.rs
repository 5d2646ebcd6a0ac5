//! Leaders that are killed: when the next write is acknowledged, and when another node votes.

use std::time::{Duration, Instant};

use tests::live::{Kind, Lab, host_of, pause, voters};

use crate::Counts;
use crate::report::{Line, say, seconds};
use crate::whole::until_whole;

/// Gives up long after the promises.
const GIVE_UP: Duration = Duration::from_secs(120);
/// Between two tries to write, of which each waits by itself.
const RETRY: Duration = Duration::from_millis(10);

pub(crate) fn measure(counts: &Counts) -> Vec<Line> {
    let mut lab = Lab::new(5, Kind::Seeded);
    lab.form(5);
    let mut times = Vec::new();
    for nth in 1..=counts.kills {
        until_whole(&mut lab);
        let (leader, _) = leader(&mut lab);
        let others: Vec<_> = lab.hosts().into_iter().filter(|n| *n != leader).collect();
        let witness = others[nth % others.len()];
        let began = Instant::now();
        lab.kill(leader);
        while let Err(why) = lab.write(witness) {
            assert!(began.elapsed() < GIVE_UP, "no write after the leader was killed: {why}");
            pause(RETRY);
        }
        times.push(began.elapsed());
        let took = seconds(began.elapsed());
        say(&format!("  kill {nth} of {}: node {leader}, write {took}", counts.kills));
        lab.start(leader);
    }
    let what = "leader killed → next write acknowledged";
    vec![Line::times(what, Duration::from_secs(3), &times)]
}

/// A new cluster for every two kills: a node that was replaced rests for minutes.
pub(crate) fn measure_voters(counts: &Counts) -> Vec<Line> {
    let mut times = Vec::new();
    for nth in 1..=counts.replaced {
        let mut lab = Lab::new(5, Kind::Seeded);
        lab.form(5);
        until_whole(&mut lab);
        let (leading, _) = leader(&mut lab);
        times.push(replaced(&mut lab, leading));
        let of_leader = seconds(times[times.len() - 1]);

        let (leading, report) = leader_with_standby(&mut lab);
        let ids = voters(&report);
        let mut others = ids.iter().filter_map(|id| host_of(&report, id));
        let other = others.find(|host| *host != leading).unwrap_or(leading);
        times.push(replaced(&mut lab, other));
        let of_other = seconds(times[times.len() - 1]);
        let of = counts.replaced;
        say(&format!("  cluster {nth} of {of}: leader {of_leader}, other voter {of_other}"));
    }
    let what = "voter killed → another node votes in its place, by itself";
    vec![Line::times(what, Duration::from_secs(30), &times)]
}

/// Who leads, and what it reports.
fn leader(lab: &mut Lab) -> (usize, serde_json::Value) {
    let hosts = lab.hosts();
    lab.until("a leader", GIVE_UP, |lab| {
        let leader = lab.leader(&hosts)?;
        Ok((leader, lab.status(leader)?))
    })
}

/// The same once the last living node keeps the log.
fn leader_with_standby(lab: &mut Lab) -> (usize, serde_json::Value) {
    let hosts = lab.hosts();
    lab.until("a standby", GIVE_UP, |lab| {
        let leader = lab.leader(&hosts)?;
        let report = lab.status(leader)?;
        let learners = report["Raft"]["Learners"].as_object();
        let ids = learners.into_iter().flatten().filter_map(|(_, id)| id.as_str());
        let standby = ids.filter_map(|id| host_of(&report, id)).any(|n| hosts.contains(&n));
        standby.then_some((leader, report)).ok_or_else(|| "no standby lives".to_owned())
    })
}

/// Kills a voter for good; how long until three others vote.
fn replaced(lab: &mut Lab, victim: usize) -> Duration {
    let id = lab.id(victim);
    let began = Instant::now();
    lab.kill(victim);
    let hosts = lab.hosts();
    lab.until("three living voters", GIVE_UP, |lab| {
        let leader = lab.leader(&hosts)?;
        let voters = voters(&lab.status(leader)?);
        let whole = voters.len() == 3 && !voters.contains(&id);
        whole.then_some(()).ok_or_else(|| format!("{voters:?}, of which {id} is dead"))
    });
    began.elapsed()
}
