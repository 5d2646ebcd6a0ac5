//! The chapters.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::cluster::{Cluster, N_NODES, N_SEEDS, PUBLISHED_PORT, address};
use crate::machine::Runtime;
use crate::narrator::Narrator;

/// Nothing here takes this long on a machine of two cores.
const LIMIT: Duration = Duration::from_secs(90);

const fn seconds(n: u64) -> Option<Duration> {
    Some(Duration::from_secs(n))
}

pub(crate) fn tell(narrator: &mut Narrator, binary: &Path, runtime: Runtime) -> Result<()> {
    let mut cluster = Cluster::new(binary, runtime)?;
    form(narrator, &mut cluster)?;
    deploy(narrator, &mut cluster)?;
    let dead = lose_the_leader(narrator, &mut cluster)?;
    come_back(narrator, &mut cluster, dead)?;
    clean_up(narrator, &mut cluster)?;
    narrator.table();
    Ok(())
}

fn form(narrator: &mut Narrator, cluster: &mut Cluster) -> Result<()> {
    narrator.heading("One key, made once");
    let key = cluster.key_file();
    cluster.skep(narrator, 0, &format!("key new --out {}", key.display()))?;

    narrator.heading("Six daemons, three of them seeds; the same line on every machine");
    for n in (N_SEEDS + 1)..=N_NODES {
        cluster.start(narrator, n)?;
    }
    for n in 1..=N_SEEDS {
        cluster.start(narrator, n)?;
    }
    let waiting = narrator.waiting("they find each other and choose three managers by themselves");
    cluster.wait(&waiting, LIMIT, |cluster| {
        let report = cluster.get(1, "/skep/status")?;
        let n_voters = voters(&report).len();
        if n_voters != 3 {
            return Ok(Err(format!("{n_voters} managers, {}", lines(&report["Waiting"]))));
        }
        cluster.get(1, "/nodes")?;
        Ok(Ok(()))
    })?;
    let took = waiting.done("three managers and a usable API");
    narrator.measured("last seed started → three managers, usable API", seconds(10), took);

    let waiting = narrator.waiting("the others are admitted");
    cluster.wait(&waiting, LIMIT, |cluster| {
        let nodes = cluster.get(1, "/nodes")?;
        let ready = array(&nodes).iter().filter(|node| node["Status"]["State"] == "ready").count();
        Ok(if ready == N_NODES { Ok(()) } else { Err(format!("{ready} of {N_NODES} ready")) })
    })?;
    waiting.done("six nodes are ready");
    cluster.skep(narrator, 1, "status")?;
    cluster.skep(narrator, 1, "node ls")
}

fn deploy(narrator: &mut Narrator, cluster: &mut Cluster) -> Result<()> {
    narrator.heading("A service of three, published on every node");
    let began = Instant::now();
    let create =
        format!("service create --name web --replicas 3 --publish {PUBLISHED_PORT}:80 skep/demo");
    cluster.skep(narrator, 4, &create)?;
    let waiting = narrator.waiting("three tasks run");
    cluster.wait(&waiting, LIMIT, |cluster| running(cluster, 4, 3))?;
    waiting.done("three tasks run");
    narrator.measured("service create → three tasks run", seconds(2), began.elapsed());
    cluster.skep(narrator, 4, "service ps web")?;

    narrator.heading("Every node answers, also those without a task");
    curl_everywhere(narrator, cluster, None)?;

    narrator.heading("One task for each node");
    cluster.skep(narrator, 2, &format!("service scale web={N_NODES}"))?;
    let waiting = narrator.waiting("six tasks run");
    cluster.wait(&waiting, LIMIT, |cluster| running(cluster, 2, N_NODES))?;
    waiting.done("six tasks run");
    Ok(())
}

fn curl_everywhere(narrator: &Narrator, cluster: &mut Cluster, dead: Option<usize>) -> Result<()> {
    for n in (1..=N_NODES).filter(|n| Some(*n) != dead) {
        narrator.command(&format!("curl {}:{PUBLISHED_PORT}", address(n)));
        let waiting = narrator.waiting("an answer");
        let answer = cluster.wait(&waiting, LIMIT, |_| Ok(Ok(Cluster::curl(n)?)))?;
        waiting.done(&answer);
    }
    Ok(())
}

fn lose_the_leader(narrator: &mut Narrator, cluster: &mut Cluster) -> Result<usize> {
    narrator.heading("The leader dies");
    let report = cluster.get(1, "/skep/status")?;
    let leader = report["Raft"]["Leader"].as_str().context("nobody leads")?.to_owned();
    let dead = number(&report, &leader).context("the leader has no address")?;
    let before = voters(&report);
    let witness = if dead == N_NODES { N_NODES - 1 } else { N_NODES };
    narrator.say(&format!("the leader is {} ({leader})", address(dead)));
    let began = Instant::now();
    cluster.kill(narrator, dead)?;

    cluster.skep(narrator, witness, "service update --label-add written=after --detach web")?;
    narrator.measured("leader killed → next write acknowledged", seconds(3), began.elapsed());

    let waiting = narrator.waiting("its task runs elsewhere");
    cluster.wait(&waiting, LIMIT, |cluster| {
        let tasks = tasks(cluster, witness)?;
        let alive =
            tasks.iter().filter(|task| is_running(task) && task["NodeID"] != *leader).count();
        Ok(if alive == N_NODES { Ok(()) } else { Err(format!("{alive} of {N_NODES}")) })
    })?;
    waiting.done("six tasks run on five nodes");
    narrator.measured("node killed → its task runs elsewhere", seconds(10), began.elapsed());
    let waiting = narrator.waiting("another node takes its vote");
    let now = cluster.wait(&waiting, LIMIT, |cluster| {
        // Some managers know more than others: ask until one shows the new voters.
        let mut last = "nobody answers".to_owned();
        for n in (1..=N_NODES).filter(|n| *n != dead) {
            let report = cluster.get(n, "/skep/status")?;
            let now = voters(&report);
            if now.len() == 3 && !now.contains(&leader) {
                return Ok(Ok(report));
            }
            last = format!("{} managers", now.len());
        }
        Ok(Err(last))
    })?;
    waiting.done("three managers again");
    narrator.measured("leader killed → three living managers", seconds(30), began.elapsed());
    let fresh = voters(&now).difference(&before).next().cloned().context("no new voter")?;
    let place = number(&now, &fresh).context("the new voter has no address")?;
    narrator.say(&format!("new voter: {} — not one of the {N_SEEDS} seeds", address(place)));
    if place <= N_SEEDS {
        bail!("the new voter is a seed, which were all voters before");
    }
    cluster.skep(narrator, witness, "service ps web")?;
    cluster.skep(narrator, witness, "status")?;
    curl_everywhere(narrator, cluster, Some(dead))?;
    Ok(dead)
}

fn come_back(narrator: &mut Narrator, cluster: &mut Cluster, dead: usize) -> Result<()> {
    narrator.heading("The dead node comes back");
    let witness = if dead == N_NODES { N_NODES - 1 } else { N_NODES };
    let orphans = orphans(cluster, witness)?;
    let alive: Vec<_> = orphans.iter().filter(|(_, pid)| exists(**pid)).collect();
    narrator.say(&format!(
        "its containers outlived the daemon: {} of {} still run there",
        alive.len(),
        orphans.len()
    ));
    let began = Instant::now();
    cluster.start(narrator, dead)?;
    let waiting = narrator.waiting("it adopts its container and is told to stop it");
    cluster.wait(&waiting, LIMIT, |cluster| {
        let left = orphans.values().filter(|pid| exists(**pid)).count();
        let nodes = cluster.get(witness, "/nodes")?;
        let ready = array(&nodes).iter().filter(|node| node["Status"]["State"] == "ready").count();
        Ok(match (left, ready) {
            (0, N_NODES) => Ok(()),
            (left, ready) => Err(format!("{left} left, {ready} nodes ready")),
        })
    })?;
    waiting.done("the orphan is gone, six nodes are ready");
    narrator.measured(
        "node started again → orphan adopted and stopped",
        seconds(5),
        began.elapsed(),
    );
    curl_everywhere(narrator, cluster, None)
}

fn clean_up(narrator: &Narrator, cluster: &mut Cluster) -> Result<()> {
    narrator.heading("Clean up");
    cluster.skep(narrator, 5, "service rm web")?;
    let waiting = narrator.waiting("containers are gone");
    cluster.wait(&waiting, LIMIT, |cluster| {
        let left = array(&cluster.get(5, "/tasks")?).len();
        Ok(if left == 0 { Ok(()) } else { Err(format!("{left} tasks left")) })
    })?;
    waiting.done("no task is left");
    let waiting = narrator.waiting("daemons stop");
    cluster.stop();
    waiting.done("daemons stopped, directory removed");
    Ok(())
}

/// Whether `n_wanted` tasks run.
fn running(cluster: &Cluster, node: usize, n_wanted: usize) -> Result<Result<(), String>> {
    let tasks = tasks(cluster, node)?;
    let n_running = tasks.iter().filter(|task| is_running(task)).count();
    let errors: BTreeSet<_> =
        tasks.iter().filter_map(|task| task["Status"]["Err"].as_str()).collect();
    let errors: Vec<_> = errors.into_iter().collect();
    Ok(if n_running == n_wanted {
        Ok(())
    } else {
        Err(format!("{n_running} of {n_wanted} {}", errors.join("; ")))
    })
}

fn is_running(task: &Value) -> bool {
    task["DesiredState"] == "running" && task["Status"]["State"] == "running"
}

fn tasks(cluster: &Cluster, node: usize) -> Result<Vec<Value>> {
    Ok(array(&cluster.get(node, "/tasks")?).to_vec())
}

/// Tasks that should have stopped, with the process ids they were last seen with.
fn orphans(cluster: &Cluster, node: usize) -> Result<BTreeMap<String, i64>> {
    let tasks = tasks(cluster, node)?;
    let orphan = |task: &&Value| task["DesiredState"] == "shutdown";
    let named = |task: &Value| {
        let pid = task["Status"]["ContainerStatus"]["PID"].as_i64()?;
        Some((task["ID"].as_str()?.to_owned(), pid))
    };
    Ok(tasks.iter().filter(orphan).filter_map(named).filter(|(_, pid)| *pid != 0).collect())
}

fn exists(pid: i64) -> bool {
    Path::new(&format!("/proc/{pid}/exe")).symlink_metadata().is_ok()
        && std::fs::read_to_string(format!("/proc/{pid}/stat"))
            .is_ok_and(|stat| !stat.contains(") Z "))
}

fn voters(report: &Value) -> BTreeSet<String> {
    let voters = report["Raft"]["Voters"].as_object();
    voters.into_iter().flatten().filter_map(|(_, id)| id.as_str()).map(str::to_owned).collect()
}

/// Which node an id is, by the last number of its address.
fn number(report: &Value, id: &str) -> Option<usize> {
    let member = array(&report["Members"]).iter().find(|member| member["ID"] == id)?;
    let address = member["Address"].as_str()?;
    address.split(':').next()?.rsplit('.').next()?.parse().ok()
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn lines(value: &Value) -> String {
    let lines: Vec<_> = array(value).iter().filter_map(Value::as_str).collect();
    lines.join(", ")
}
