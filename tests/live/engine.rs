//! Tasks as containers of a Docker Engine: seen there, adopted, and not lost with the engine.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tests::engine::{Engine, SOCKET, docker, engine_is_there};
use tests::live::{Kind, Lab, brief, curl, is_wanted, lives, pause, possible, runs};
use tests::live_net::address;

use crate::{HEALED, MOVED, RUN};

const PORT: u16 = 8080;

/// What the `docker` CLI prints.
fn prints(socket: &Path, arguments: &[&str]) -> String {
    let output = docker(socket).args(arguments).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "docker {arguments:?}: {error}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Containers of one node; those that are left go with it.
struct Containers {
    socket: PathBuf,
    filter: String,
}

impl Containers {
    fn of(lab: &Lab, socket: &Path) -> Self {
        Self { socket: socket.to_owned(), filter: format!("label=skep.node={}", lab.id(1)) }
    }

    /// One line for each, as `docker ps -a` formats it.
    fn shown(&self, template: &str) -> Vec<String> {
        let arguments = ["ps", "-a", "--no-trunc", "--filter", &self.filter, "--format", template];
        let lines = prints(&self.socket, &arguments);
        lines.lines().map(str::to_owned).collect()
    }
}

impl Drop for Containers {
    fn drop(&mut self) {
        let listed = docker(&self.socket).args(["ps", "-aq", "--filter", &self.filter]).output();
        let listed = listed.map(|it| String::from_utf8_lossy(&it.stdout).into_owned());
        for id in listed.unwrap_or_default().split_whitespace() {
            let _ = docker(&self.socket).args(["rm", "-f", id]).output(); // At best.
        }
    }
}

/// The one task that runs and is to run: its id and its process.
fn running(lab: &mut Lab) -> Result<(String, i64), String> {
    let tasks = lab.tasks(1)?;
    let mut wanted = tasks.iter().filter(|task| runs(task) && is_wanted(task));
    let (Some(task), None) = (wanted.next(), wanted.next()) else { return Err(brief(&tasks)) };
    let pid = task["Status"]["ContainerStatus"]["PID"].as_i64().filter(|pid| 0 < *pid);
    let id = task["ID"].as_str().map(str::to_owned);
    id.zip(pid).ok_or_else(|| brief(&tasks))
}

fn answers(lab: &mut Lab) -> Result<(), String> {
    lab.network.outside(|| curl(address(1), PORT)).map(drop)
}

fn remove(lab: &mut Lab, name: &str, containers: &Containers) {
    let removed = lab.ask(1, "DELETE", &format!("/services/{name}"), &Value::Null).unwrap();
    assert_eq!(removed.status, 200, "{}", removed.body);
    lab.until("the containers are gone", MOVED, |_| {
        let left = containers.shown("{{.Names}}");
        left.is_empty().then_some(()).ok_or_else(|| left.join(", "))
    });
}

#[test]
fn tasks_are_containers_that_anybody_sees_and_the_next_daemon_adopts() {
    if !possible() || !engine_is_there() {
        return;
    }
    let socket = Path::new(SOCKET);
    let mut lab = Lab::new(1, Kind::Docker);
    lab.form(1);
    let containers = Containers::of(&lab, socket);
    let runtime = lab.status(1).unwrap()["Node"]["Runtime"].as_str().unwrap().to_owned();
    let version = prints(socket, &["version", "--format", "{{.Server.Version}}"]);
    assert!(runtime.starts_with(&format!("docker {version} (API 1.")), "{runtime}");

    lab.create(1, "web", 1, Some(PORT)).unwrap();
    let (task, pid) = lab.until("a container runs", MOVED, running);
    lab.until("the published port answers", HEALED, answers);
    let line = "{{.Names}} {{.Label \"com.docker.swarm.service.name\"}} \
                {{.Label \"com.docker.swarm.task.id\"}} {{.Label \"com.docker.swarm.task.name\"}}";
    let name = format!("web.1.{task}");
    assert_eq!(containers.shown(line), [format!("{name} web {task} {name}")]);
    let id = containers.shown("{{.ID}}").remove(0);
    let tasks = lab.tasks(1).unwrap();
    assert_eq!(tasks[0]["Status"]["ContainerStatus"]["ContainerID"], id.as_str());

    lab.kill(1);
    assert!(lives(pid), "the container ended with the daemon");
    lab.start(1);
    assert_eq!(lab.until("it is adopted", HEALED, running), (task, pid), "it is another one");
    lab.until("the published port answers again", HEALED, answers);
    assert_eq!(containers.shown("{{.ID}}"), [id], "it was made anew");
    remove(&mut lab, "web", &containers);
    assert!(!lives(pid));
}

/// A service of one task whose health is a file inside.
fn checked_service(lab: &Lab) {
    let check = json!({
        "Test": ["CMD", "/demo", "--healthy"], "Interval": 300_000_000, "Retries": 2,
        "Timeout": 5_000_000_000_i64,
    });
    let spec = json!({
        "Name": "checked",
        "TaskTemplate": {
            "ContainerSpec": { "Image": "skep/demo", "Healthcheck": check },
            "RestartPolicy": { "Condition": "none" },
        },
        "Mode": { "Replicated": { "Replicas": 1 } },
    });
    let answer = lab.ask(1, "POST", "/services/create", &spec).unwrap();
    assert_eq!(answer.status, 201, "{}", answer.body);
}

#[test]
fn a_task_whose_health_check_fails_never_runs_and_fails_in_swarms_words() {
    if !possible() || !engine_is_there() {
        return;
    }
    let mut lab = Lab::new(1, Kind::Docker);
    lab.form(1);
    let containers = Containers::of(&lab, Path::new(SOCKET));
    // The demo has no such flag, so the check fails.
    checked_service(&lab);
    let mut states = Vec::new();
    let error = lab.until("the task fails", MOVED, |lab| {
        let tasks = lab.tasks(1)?;
        let status = tasks.first().map(|task| &task["Status"]).ok_or("no task")?;
        let state = status["State"].as_str().unwrap_or_default().to_owned();
        states.push(state.clone());
        let error = status["Err"].as_str().unwrap_or_default().to_owned();
        (state == "failed").then_some(error).ok_or(state)
    });
    assert!(error.ends_with("dockerexec: unhealthy container"), "{error}");
    assert!(!states.contains(&"running".to_owned()), "{states:?}");
    remove(&mut lab, "checked", &containers);
}

#[test]
fn an_engine_that_is_killed_with_live_restore_loses_no_task() {
    if !possible() || !engine_is_there() {
        return;
    }
    let mut engine = Engine::start(true);
    let mut lab = Lab::new(1, Kind::Docker);
    lab.engine = Some(engine.socket());
    lab.form(1);
    let containers = Containers::of(&lab, &engine.socket());
    lab.create(1, "web", 1, Some(PORT)).unwrap();
    let before = lab.until("a container runs", MOVED, running);
    lab.until("the published port answers", HEALED, answers);

    engine.end(Signal::KILL);
    lab.until("the node says that its engine is away", RUN, |lab| {
        let lacks = lab.status(1)?["Lacks"].to_string();
        let says = lacks.contains("does not answer") && lacks.contains("keep their state");
        says.then_some(()).ok_or(lacks)
    });
    // Long enough for each loop that could take fright.
    pause(Duration::from_secs(12));
    assert_eq!(running(&mut lab), Ok(before.clone()), "nothing is known, so nothing changes");
    assert_eq!(lab.tasks(1).unwrap().len(), 1);
    // A daemon that starts meanwhile waits for the engine that it had.
    lab.kill(1);
    lab.start(1);
    lab.until("the daemon answers", HEALED, |lab| lab.status(1));
    engine.up();
    let after = lab.until("it is adopted", HEALED, running);
    assert_eq!(after, before, "it is another one");
    lab.until("the published port answers again", HEALED, answers);
    assert_eq!(lab.tasks(1).unwrap().len(), 1);
    remove(&mut lab, "web", &containers);
}

#[test]
fn an_engine_that_restarts_without_live_restore_gets_its_tasks_replaced() {
    if !possible() || !engine_is_there() {
        return;
    }
    let mut engine = Engine::start(false);
    let mut lab = Lab::new(1, Kind::Docker);
    lab.engine = Some(engine.socket());
    lab.form(1);
    let containers = Containers::of(&lab, &engine.socket());
    lab.create(1, "web", 1, Some(PORT)).unwrap();
    let (before, _) = lab.until("a container runs", MOVED, running);
    engine.end(Signal::KILL);
    engine.up();
    lab.until("a successor runs", MOVED, |lab| {
        let (now, _) = running(lab)?;
        (now != before).then_some(()).ok_or_else(|| "the old one".to_owned())
    });
    lab.until("the published port answers again", HEALED, answers);
    let tasks = lab.tasks(1).unwrap();
    let old = tasks.iter().find(|task| task["ID"] == before.as_str()).unwrap();
    // A new dockerd asks what it finds to stop, and the demo ends well when it is asked.
    assert_eq!(old["Status"]["State"], "complete", "{old}");
    assert_eq!(old["Status"]["ContainerStatus"]["ExitCode"], 0, "{old}");
    remove(&mut lab, "web", &containers);
}
