//! An engine of our own, which is killed and started under its containers.

use std::time::Duration;

use crypto::NodeId;
use runtime::{Blame, DockerConfig, DockerRuntime, LogQuery, Phase};
use rustix::process::Signal;

use crate::engine::{Engine, docker};
use crate::machine::{self, Node, PATIENCE, demo, directory, possible, run};

pub(crate) fn possible_here() -> bool {
    let root = rustix::process::geteuid().is_root();
    let required = std::env::var("SKEP_REQUIRE").unwrap_or_default();
    assert!(root || !required.contains("root"), "SKEP_REQUIRE names root, and this is not root");
    root && possible()
}

const NODE: [u8; 16] = [9; 16];

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_engine_with_live_restore_leaves_the_tasks_as_they_are() {
    if !possible_here() {
        return;
    }
    let mut engine = Engine::start(true);
    let node = Node::open_at(&engine.socket(), NodeId::from_bytes(NODE)).await.unwrap();
    assert!(!node.runtime.info().lacks.join(" ").contains("live-restore"));
    let task = node.run(1, demo(&["--lines", "1"])).await;
    assert!(node.get(task, 80).await.contains("hello"));
    let before = node.phase(task).await.unwrap();
    let mut followed =
        node.runtime.logs(task, LogQuery { follow: true, ..LogQuery::ALL }).await.unwrap();

    engine.end(Signal::KILL);
    // Nothing is said of tasks while nothing is known.
    let error = node.runtime.list().await.unwrap_err();
    assert_eq!(error.blame(), Blame::Engine, "{error}");
    assert_eq!(node.runtime.start(task).await.unwrap_err().blame(), Blame::Engine);
    let lacks = node.runtime.info().lacks.join(" ");
    assert!(lacks.contains("does not answer") && lacks.contains("keep their state"), "{lacks}");
    let Phase::Running { pid, .. } = before else { panic!("{before:?}") };
    assert!(std::path::Path::new(&format!("/proc/{pid}")).exists(), "it lives on");

    engine.up();
    assert_eq!(node.wait(task, |_| true).await, before, "the same process");
    assert!(node.get(task, 80).await.contains("hello"));
    assert!(!node.runtime.info().lacks.join(" ").contains("does not answer"));
    // The reader of its output has every line once.
    node.runtime.stop(task, Duration::from_secs(10)).await.unwrap();
    let mut lines = Vec::new();
    while let Ok(Some(line)) = tokio::time::timeout(PATIENCE, followed.recv()).await {
        lines.push(String::from_utf8(line.line).unwrap());
    }
    let n_hellos = lines.iter().filter(|line| line.contains("GET /")).count();
    assert_eq!(
        (n_hellos, lines.iter().filter(|line| *line == "line 1").count()),
        (2, 1),
        "{lines:?}"
    );
    node.runtime.remove(task).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_engine_without_live_restore_ends_the_tasks_and_says_so_once_it_is_back() {
    if !possible_here() {
        return;
    }
    let mut engine = Engine::start(false);
    let node = Node::open_at(&engine.socket(), NodeId::from_bytes(NODE)).await.unwrap();
    assert!(node.runtime.info().lacks.join(" ").contains("live-restore"));
    let task = node.run(1, demo(&["--ignore-term"])).await;
    node.get(task, 80).await;
    engine.end(Signal::KILL);
    assert!(node.runtime.list().await.is_err());
    engine.up();
    let exit = node.exit(task).await;
    assert_ne!(exit.code, 0, "{exit:?}");
    assert!(node.runtime.connect(task, 80).await.is_err());

    // And it works on.
    let task = node.run(2, demo(&[])).await;
    assert!(node.get(task, 80).await.contains("hello"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_of_a_swarm_is_refused_with_the_cure() {
    if !possible_here() {
        return;
    }
    let engine = Engine::start(false);
    let socket = engine.socket();
    run(docker(&socket).args(["swarm", "init", "--advertise-addr", "127.0.0.1"]));
    let config = machine::config(&socket, NodeId::from_bytes(NODE), true);
    let Err(error) = DockerRuntime::open(config.clone()).await else { panic!("it opened") };
    let told = error.to_string();
    assert!(told.contains("docker swarm leave") && told.contains("swarm mode"), "{told}");
    run(docker(&config.socket).args(["swarm", "leave", "--force"]));
    assert!(DockerRuntime::open(config).await.is_ok());
}

#[tokio::test]
async fn an_engine_that_is_not_there_is_an_error_or_is_waited_for() {
    let dir = directory();
    let socket = dir.path().join("none.sock");
    let config = machine::config(&socket, NodeId::from_bytes(NODE), false);
    let Err(error) = DockerRuntime::open(config.clone()).await else { panic!("it opened") };
    assert_eq!(error.blame(), Blame::Engine);
    let (runtime, _driver) =
        DockerRuntime::open(DockerConfig { may_wait: true, ..config }).await.unwrap();
    let error = runtime::Runtime::list(&runtime).await.unwrap_err();
    assert!(error.to_string().contains("does not answer"), "{error}");
}
