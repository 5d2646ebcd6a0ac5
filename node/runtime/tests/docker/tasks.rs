//! Lives of tasks: made, started, adopted, stopped, gone; and how they end.

use std::time::{Duration, Instant};

use model::UnixNanos;
use model::service::{HealthCheck, Limits};
use runtime::{Blame, Health, LogQuery, LogStream, Phase, RuntimeError};

use crate::machine::{Node, demo, possible, run, shell};

#[tokio::test]
async fn a_demo_task_is_seen_answers_and_goes() {
    if !possible() {
        return;
    }
    let node = Node::open().await;
    let container = node.container(1, demo(&[]));
    let task = container.task;
    let first = node.runtime.prepare(&container).await.unwrap();
    assert_eq!(node.runtime.prepare(&container).await.unwrap(), first, "twice is once");
    assert_eq!(node.phase(task).await, Some(Phase::Created));
    let pid = node.runtime.start(task).await.unwrap();
    assert_eq!(node.runtime.start(task).await.unwrap(), pid, "twice is once");
    assert_eq!(node.phase(task).await, Some(Phase::Running { pid, health: Health::Unchecked }));
    let answer = node.get(task, 80).await;
    let expected = format!("hello from {}.1 (task {task}) on node alpha\n", container.service_name);
    assert!(answer.ends_with(&expected), "{answer}");

    // What anybody sees who knows Swarm.
    let filter = format!("label=com.docker.swarm.task.id={task}");
    let names = run(node.docker().args(["ps", "--filter", &filter, "--format", "{{.Names}}"]));
    assert!(names.contains(&container.name), "{names}");
    let labels = node.shows(&first.native_id, "{{json .Config.Labels}}");
    for expected in [
        format!("\"com.docker.swarm.service.name\":\"{}\"", container.service_name),
        format!("\"com.docker.swarm.service.id\":\"{}\"", container.service),
        format!("\"com.docker.swarm.node.id\":\"{}\"", container.node),
        format!("\"com.docker.swarm.task.name\":\"{}\"", container.name),
        "\"com.docker.swarm.task\":\"\"".to_owned(),
        format!("\"skep.cluster\":\"{}\"", container.cluster),
        format!("\"skep.task\":\"{task}\""),
    ] {
        assert!(labels.contains(&expected), "{expected} is not in {labels}");
    }

    node.runtime.stop(task, Duration::from_secs(10)).await.unwrap();
    assert_eq!(node.exit(task).await.code, 0);
    assert!(node.runtime.start(task).await.is_err(), "a task never starts twice");
    assert!(node.runtime.connect(task, 80).await.is_err());
    let output = node.output(task).await;
    assert_eq!(output, "listening on 0.0.0.0:80\nGET / HTTP/1.1 200 OK\n");
    for _ in 0..2 {
        node.runtime.stop(task, Duration::ZERO).await.unwrap();
        node.runtime.remove(task).await.unwrap();
    }
    assert_eq!(node.runtime.list().await.unwrap(), []);
    assert!(node.runtime.logs(task, LogQuery::ALL).await.is_err());
}

#[tokio::test]
async fn ends_come_back_by_their_kind() {
    if !possible() {
        return;
    }
    let node = Node::open().await;
    let fails = node.run(1, shell("exit 7")).await;
    let ignores = node.run(2, shell("trap '' TERM; echo ready; sleep 60 & wait; wait")).await;
    let mut eats = node.container(3, demo(&["--eat", "200"]));
    let limits = Limits { memory_bytes: 32 << 20, nano_cpus: 500_000_000, pids: 64 };
    std::sync::Arc::make_mut(&mut eats.spec).resources.limits = Some(limits);
    let eats = node.start(&eats).await.unwrap();

    let exit = node.exit(fails).await;
    assert_eq!((exit.code, exit.signal, exit.oom, exit.unhealthy), (7, None, false, false));
    let age = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() - u128::from(exit.at.0);
    assert!(age < 60_000_000_000, "it ended {age} ns ago");

    let ready = async { while node.lines(ignores, LogQuery::ALL).await.is_empty() {} };
    tokio::time::timeout(crate::machine::PATIENCE, ready).await.unwrap();
    let began = Instant::now();
    node.runtime.stop(ignores, Duration::from_millis(700)).await.unwrap();
    assert!(Duration::from_millis(700) <= began.elapsed());
    let exit = node.exit(ignores).await;
    assert_eq!((exit.code, exit.signal, exit.oom), (137, Some(9), false));

    let exit = node.exit(eats).await;
    assert_eq!((exit.code, exit.oom), (137, node.runtime.info().limits));
}

#[tokio::test]
async fn a_new_daemon_adopts_its_own_and_nobody_elses() {
    if !possible() {
        return;
    }
    let (node, other) = (Node::open().await, Node::open().await);
    let foreign = other.run(1, demo(&[])).await;
    let lives = node.run(1, demo(&[])).await;
    let ends = node.run(2, shell("sleep 1; exit 42")).await;
    let created = node.container(3, demo(&[]));
    node.runtime.prepare(&created).await.unwrap();
    let before = node.phase(lives).await;
    let node = node.again().await;
    assert_eq!(node.phase(lives).await, before, "the same process");
    assert_eq!(node.phase(created.task).await, Some(Phase::Created));
    assert_eq!(node.runtime.list().await.unwrap().len(), 3, "not that of the other node");
    assert_eq!(node.exit(ends).await.code, 42);
    assert!(node.get(lives, 80).await.contains("hello"));
    node.runtime.start(created.task).await.unwrap();
    node.get(created.task, 80).await;

    // Somebody removes one behind our back.
    let all = node.runtime.list().await.unwrap();
    let id = all.into_iter().find(|one| one.task == created.task).unwrap().native_id;
    run(node.docker().args(["rm", "-f", &id]));
    assert_eq!(node.phase(created.task).await, None);
    assert!(matches!(other.phase(foreign).await, Some(Phase::Running { .. })));
}

#[tokio::test]
async fn what_cannot_run_blames_the_spec() {
    if !possible() {
        return;
    }
    let node = Node::open().await;
    let mut missing = shell("");
    missing.command = vec!["/nope".to_owned()];
    let mut nobody = shell("true");
    nobody.user = "nobody-of-this-name".to_owned();
    for (number, spec) in [(1, missing), (2, nobody)] {
        let container = node.container(number, spec);
        node.runtime.prepare(&container).await.unwrap();
        let error = node.runtime.start(container.task).await.unwrap_err();
        assert_eq!(error.blame(), Blame::Spec, "{error}");
        assert!(error.to_string().starts_with("starting container failed: "), "{error}");
        // It is to be thrown away by the agent, and no process is there.
        assert_eq!(node.phase(container.task).await, Some(Phase::Created));
        node.runtime.remove(container.task).await.unwrap();
    }
    let mut bind = shell("true");
    bind.mounts.push(model::service::Mount {
        source: "/no/such/path".to_owned(),
        target: "/m".to_owned(),
        ..Default::default()
    });
    let error = node.start(&node.container(3, bind)).await.unwrap_err();
    assert_eq!(error.blame(), Blame::Spec);
    let swarms = "invalid mount config for type \"bind\": bind source path does not exist: \
                  /no/such/path";
    assert_eq!(error.to_string(), swarms);

    let taken = node.container(4, shell("true"));
    run(node.docker().args(["create", "--name", &taken.name, &crate::machine::image(), "true"]));
    let error = node.start(&taken).await.unwrap_err();
    run(node.docker().args(["rm", &taken.name]));
    assert!(
        matches!(&error, RuntimeError::Node { reason } if reason.contains(&taken.name)),
        "{error}"
    );
}

#[tokio::test]
async fn a_health_check_drives_the_phase() {
    if !possible() {
        return;
    }
    let node = Node::open().await;
    let mut spec =
        shell("trap 'exit 0' TERM; sleep 2; touch /well; while true; do sleep 0.1; done");
    spec.health_check = Some(HealthCheck {
        test: vec!["CMD-SHELL".to_owned(), "test -f /well".to_owned()],
        interval_nanos: 500_000_000,
        timeout_nanos: 5_000_000_000,
        retries: 2,
        start_period_nanos: 60_000_000_000,
        ..HealthCheck::default()
    });
    let task = node.run(1, spec).await;
    let health = |phase: &Phase| {
        let Phase::Running { health, .. } = phase else { return None };
        Some(*health)
    };
    assert_eq!(node.phase(task).await.as_ref().and_then(health), Some(Health::Starting));
    node.wait(task, |phase| health(phase) == Some(Health::Healthy)).await;
    let id = node.runtime.list().await.unwrap()[0].native_id.clone();
    run(node.docker().args(["exec", &id, "busybox", "rm", "/well"]));
    node.wait(task, |phase| health(phase) == Some(Health::Unhealthy)).await;
    node.runtime.stop(task, Duration::from_secs(10)).await.unwrap();
    let exit = node.exit(task).await;
    assert_eq!((exit.code, exit.unhealthy), (0, true));
}

#[tokio::test]
async fn output_comes_by_stream_time_and_number() {
    if !possible() {
        return;
    }
    let node = Node::open().await;
    let line = "echo one; sleep 0.3; echo two >&2; sleep 1.2; echo three; sleep 0.5; echo four >&2";
    let task = node.run(1, shell(line)).await;
    // Followed while it runs, to the end.
    let all = node.lines(task, LogQuery { follow: true, ..LogQuery::ALL }).await;
    let texts = |lines: &[(LogStream, String)]| {
        lines.iter().map(|(_, text)| text.clone()).collect::<Vec<_>>()
    };
    assert_eq!(texts(&all), ["one", "two", "three", "four"]);
    assert_eq!(all[1].0, LogStream::Stderr);
    assert_eq!(all[2].0, LogStream::Stdout);
    let mut receiver = node.runtime.logs(task, LogQuery::ALL).await.unwrap();
    let mut third = UnixNanos(0);
    while let Some(line) = receiver.recv().await {
        if line.line == b"three" {
            third = line.at;
        }
    }
    let all = LogQuery::ALL;
    for (query, expected) in [
        (LogQuery { tail: Some(2), ..all }, &["three", "four"][..]),
        (LogQuery { tail: Some(0), ..all }, &[]),
        (LogQuery { stdout: false, ..all }, &["two", "four"]),
        (LogQuery { stderr: false, ..all }, &["one", "three"]),
        (LogQuery { since: Some(third), ..all }, &["three", "four"]),
        (LogQuery { since: Some(UnixNanos(third.0 + 1)), ..all }, &["four"]),
    ] {
        assert_eq!(texts(&node.lines(task, query).await), expected, "{query:?}");
    }

    let mut terminal = shell("test -t 1 && echo a terminal");
    terminal.tty = true;
    let task = node.run(2, terminal).await;
    assert_eq!(node.output(task).await, "a terminal\n");
}
