//! The agent over the fake runtime, in paused time.

#![expect(clippy::disallowed_methods, reason = "a test is its own supervisor")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crypto::{NodeId, SecretBytes};
use model::service::{ContainerSpec, FileTarget, Placement, ResourceRequirements, SecretReference};
use model::{
    ClusterId, Index, SecretId, ServiceId, Slot, Task, TaskId, TaskSpec, TaskState, TaskStatus,
    UnixNanos,
};
use runtime::Health;
use runtime::fake::{Fake, FakeBehaviour, FakeControl, FakeFailure};
use runtime::{FileKind, TaskFile};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::{Agent, Assignment, AssignmentSet, Config, Reports, TaskFiles};

/// Longer than anything here takes, in paused time.
const LONG: Duration = Duration::from_secs(600);

fn id(nth: u8) -> TaskId {
    TaskId::from_bytes([nth; 16])
}

fn assignment(nth: u8, desired: TaskState) -> Assignment {
    let spec = TaskSpec {
        container: ContainerSpec { image: "demo".to_owned(), ..ContainerSpec::default() },
        resources: ResourceRequirements::default(),
        restart: None,
        placement: Placement::default(),
        networks: Vec::new(),
        log_driver: None,
        force_update: 0,
    };
    let task = Task {
        id: id(nth),
        service: ServiceId::from_bytes([1; 16]),
        slot: Slot::Replica(u64::from(nth)),
        node: Some(NodeId::from_bytes([1; 16])),
        desired,
        status: TaskStatus {
            state: TaskState::Assigned,
            at: UnixNanos(0),
            message: "scheduler assigned task to node".to_owned(),
            error: String::new(),
            container: None,
            host_ports: Vec::new(),
        },
        spec: Arc::new(spec),
        spec_version: Index(1),
        ports: Vec::new(),
        job_iteration: 0,
        created: Index(2),
        modified: Index(2),
        created_at: UnixNanos(0),
        updated_at: UnixNanos(0),
    };
    Assignment {
        task,
        service_name: "web".to_owned(),
        registry_auth: None,
        files: TaskFiles::default(),
    }
}

/// One life of an agent.
struct Life {
    assign: watch::Sender<Arc<AssignmentSet>>,
    reports: watch::Receiver<Reports>,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl Life {
    fn begin(dir: &Path, runtime: &Fake) -> Self {
        let config = Config {
            dir: dir.to_owned(),
            node: NodeId::from_bytes([1; 16]),
            hostname: "here".to_owned(),
            cluster: ClusterId::from_bytes([1; 16]),
        };
        let assign = watch::Sender::new(Arc::new(AssignmentSet::default()));
        let stop = CancellationToken::new();
        let runtime = Arc::new(runtime.clone());
        let (agent, work) =
            Agent::open(config, runtime, assign.subscribe(), stop.clone()).expect("it opens");
        let running = tokio::spawn(work);
        Self { assign, reports: agent.reports(), stop, running }
    }

    /// A leader says what this node is to run.
    fn assign(&self, tasks: &[(u8, TaskState)]) {
        let tasks: BTreeMap<_, _> =
            tasks.iter().map(|(nth, desired)| (id(*nth), assignment(*nth, *desired))).collect();
        self.assign.send_replace(Arc::new(AssignmentSet { heard: true, tasks }));
    }

    async fn until(&mut self, what: &str, holds: impl FnMut(&Reports) -> bool) -> Reports {
        let reports = timeout(LONG, self.reports.wait_for(holds)).await;
        reports.unwrap_or_else(|_| panic!("never {what}")).expect("the agent lives").clone()
    }

    async fn until_state(&mut self, nth: u8, state: TaskState) -> TaskStatus {
        let holds = |reports: &Reports| reports.get(&id(nth)).is_some_and(|s| s.state == state);
        self.until(&format!("task {nth} {}", state.as_str()), holds).await[&id(nth)].clone()
    }

    async fn end(self) {
        self.stop.cancel();
        self.running.await.expect("it ends well");
    }
}

fn fake(behaviour: FakeBehaviour) -> (TempDir, Fake, FakeControl) {
    let (runtime, control) = Fake::new(behaviour);
    (TempDir::new().expect("a directory"), runtime, control)
}

fn calls_of(control: &FakeControl, verb: &str) -> usize {
    control.calls().iter().filter(|call| call.starts_with(verb)).count()
}

#[tokio::test(start_paused = true)]
async fn a_task_starts_and_ends() {
    let (dir, runtime, control) = fake(FakeBehaviour::default());
    let mut life = Life::begin(dir.path(), &runtime);
    life.assign(&[(1, TaskState::Running), (2, TaskState::Running)]);
    let status = life.until_state(1, TaskState::Running).await;
    assert_eq!(status.message, "started");
    assert!(status.container.is_some_and(|container| 0 < container.pid));
    life.until_state(2, TaskState::Running).await;

    control.exit(id(1), 1);
    let status = life.until_state(1, TaskState::Failed).await;
    assert_eq!(status.error, "task: non-zero exit (1)");
    assert_eq!(status.message, "started");
    assert!(status.container.is_some_and(|c| c.exit_code == 1 && c.pid == 0));
    control.exit(id(2), 0);
    let status = life.until_state(2, TaskState::Complete).await;
    assert_eq!((status.message.as_str(), status.error.as_str()), ("finished", ""));
    // It keeps both, with their logs, until they are forgotten.
    assert_eq!(calls_of(&control, "remove"), 0);
    life.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_to_be_ready_waits() {
    let (dir, runtime, control) = fake(FakeBehaviour::default());
    let mut life = Life::begin(dir.path(), &runtime);
    life.assign(&[(1, TaskState::Ready)]);
    let status = life.until_state(1, TaskState::Ready).await;
    assert_eq!(status.message, "prepared");
    sleep(LONG).await;
    assert_eq!(calls_of(&control, "start"), 0);
    life.assign(&[(1, TaskState::Running)]);
    life.until_state(1, TaskState::Running).await;
    life.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_not_wanted_stops_and_stays_until_it_is_forgotten() {
    let (dir, runtime, control) = fake(FakeBehaviour::default());
    let mut life = Life::begin(dir.path(), &runtime);
    life.assign(&[(1, TaskState::Running)]);
    life.until_state(1, TaskState::Running).await;
    life.assign(&[(1, TaskState::Shutdown)]);
    let status = life.until_state(1, TaskState::Shutdown).await;
    assert_eq!(status.message, "shutdown");
    assert!(control.running().is_empty());
    assert_eq!(calls_of(&control, "remove"), 0);
    life.assign(&[]);
    life.until("forgotten", |reports| reports.is_empty()).await;
    assert_eq!(calls_of(&control, "remove"), 1);
    life.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_missing_image_rejects_the_task() {
    let missing_images = ["demo".to_owned()].into();
    let (dir, runtime, control) =
        fake(FakeBehaviour { missing_images, ..FakeBehaviour::default() });
    let mut life = Life::begin(dir.path(), &runtime);
    life.assign(&[(1, TaskState::Running)]);
    let status = life.until_state(1, TaskState::Rejected).await;
    assert!(status.error.starts_with("No such image: demo"), "{}", status.error);
    assert_eq!(status.message, "preparing");
    assert_eq!(calls_of(&control, "prepare"), 1);
    life.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_fails_tries_again_and_gives_up_in_the_end() {
    for (failures, prepares, state) in [(3, 4, TaskState::Running), (9, 5, TaskState::Rejected)] {
        let prepare_failures = Some((failures, FakeFailure::Node));
        let (dir, runtime, control) =
            fake(FakeBehaviour { prepare_failures, ..FakeBehaviour::default() });
        let mut life = Life::begin(dir.path(), &runtime);
        life.assign(&[(1, TaskState::Running)]);
        let complains = |reports: &Reports| {
            reports.get(&id(1)).is_some_and(|status| {
                status.state == TaskState::Preparing && !status.error.is_empty()
            })
        };
        life.until("complaining", complains).await;
        life.until_state(1, state).await;
        assert_eq!(calls_of(&control, "prepare"), prepares);
        life.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_is_away_costs_no_task() {
    let prepare_failures = Some((20, FakeFailure::Engine));
    let (dir, runtime, control) =
        fake(FakeBehaviour { prepare_failures, ..FakeBehaviour::default() });
    let mut life = Life::begin(dir.path(), &runtime);
    life.assign(&[(1, TaskState::Running)]);
    life.until_state(1, TaskState::Running).await;
    assert_eq!(calls_of(&control, "prepare"), 21);
    life.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_task_runs_once_it_is_healthy_and_fails_when_it_no_longer_is() {
    let health = Some(Health::Starting);
    let (dir, runtime, control) = fake(FakeBehaviour { health, ..FakeBehaviour::default() });
    let mut life = Life::begin(dir.path(), &runtime);
    life.assign(&[(1, TaskState::Running), (2, TaskState::Running)]);
    life.until_state(1, TaskState::Starting).await;
    life.until_state(2, TaskState::Starting).await;
    sleep(LONG).await;
    assert_eq!(life.reports.borrow()[&id(1)].state, TaskState::Starting);
    control.say_health(id(1), Health::Healthy);
    life.until_state(1, TaskState::Running).await;

    // One was healthy once, the other never.
    for nth in [1, 2] {
        control.say_health(id(nth), Health::Unhealthy);
        let status = life.until_state(nth, TaskState::Failed).await;
        let text = "task: non-zero exit (143): dockerexec: unhealthy container";
        assert_eq!(status.error, text);
    }
    assert!(control.running().is_empty());
    life.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_start_is_a_failed_task() {
    let start_failures = Some((1, FakeFailure::Spec));
    let (dir, runtime, _) = fake(FakeBehaviour { start_failures, ..FakeBehaviour::default() });
    let mut life = Life::begin(dir.path(), &runtime);
    life.assign(&[(1, TaskState::Running)]);
    let status = life.until_state(1, TaskState::Failed).await;
    assert_eq!(status.error, "the fake runtime was told to");
    life.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_pull_holds_up_nobody() {
    let (dir, runtime, control) = fake(FakeBehaviour::default());
    let mut life = Life::begin(dir.path(), &runtime);
    life.assign(&[(90, TaskState::Running)]);
    life.until_state(90, TaskState::Running).await;

    control.behave(|behaviour| behaviour.prepare_delay = Duration::from_secs(300));
    let before = tokio::time::Instant::now();
    // More pulls than there is room for, and all of them come before the stop.
    let pulls: Vec<_> = (2..80).map(|nth| (nth, TaskState::Running)).collect();
    life.assign(&[&pulls[..], &[(90, TaskState::Running)]].concat());
    life.until_state(2, TaskState::Preparing).await;
    life.assign(&[&pulls[..], &[(90, TaskState::Shutdown)]].concat());
    life.until_state(90, TaskState::Shutdown).await;
    assert!(before.elapsed() < Duration::from_secs(1));
    // A pull that nobody waits for is given up, and its task with it.
    life.assign(&[(2, TaskState::Shutdown)]);
    life.until_state(2, TaskState::Shutdown).await;
    assert!(before.elapsed() < Duration::from_secs(1));
    life.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_restarted_daemon_finds_its_containers() {
    let (dir, runtime, control) = fake(FakeBehaviour::default());
    let mut life = Life::begin(dir.path(), &runtime);
    let all = [(1, TaskState::Running), (2, TaskState::Running), (3, TaskState::Running)];
    life.assign(&all);
    for (nth, state) in all {
        life.until_state(nth, state).await;
    }
    life.end().await;
    assert_eq!(control.running().len(), 3);

    // One ends, and one is lost, while nobody looks; no leader is heard for long.
    control.exit(id(2), 7);
    control.lose(id(3));
    let mut life = Life::begin(dir.path(), &runtime);
    assert_eq!(life.reports.borrow()[&id(1)].state, TaskState::Running);
    let status = life.until_state(2, TaskState::Failed).await;
    assert_eq!(status.error, "task: non-zero exit (7)");
    life.until_state(3, TaskState::Failed).await;
    sleep(LONG).await;
    assert_eq!(control.running(), [id(1)].into());
    assert_eq!((calls_of(&control, "start"), calls_of(&control, "stop")), (3, 0));
    // A report of the last life is not forgotten in the next.
    life.end().await;
    let life = Life::begin(dir.path(), &runtime);
    assert_eq!(life.reports.borrow()[&id(2)].error, "task: non-zero exit (7)");
    life.end().await;
}

#[tokio::test(start_paused = true)]
async fn orphans_go_once_a_leader_was_heard_and_not_before() {
    let (dir, runtime, control) = fake(FakeBehaviour::default());
    let mut life = Life::begin(dir.path(), &runtime);
    life.assign(&[(1, TaskState::Running), (2, TaskState::Running)]);
    life.until_state(1, TaskState::Running).await;
    life.until_state(2, TaskState::Running).await;
    life.end().await;

    // The record is lost with the daemon.
    std::fs::remove_file(dir.path().join("tasks.json")).expect("it is there");
    let mut life = Life::begin(dir.path(), &runtime);
    sleep(LONG).await;
    assert_eq!(control.running().len(), 2);
    life.assign(&[(2, TaskState::Running)]);
    life.until_state(2, TaskState::Running).await;
    let mut changes = runtime::Runtime::changes(&runtime);
    let gone = changes.wait_for(|_| control.running() == [id(2)].into());
    assert!(timeout(LONG, gone).await.is_ok_and(|seen| seen.is_ok()));
    life.end().await;
    assert_eq!(calls_of(&control, "start"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_record_that_makes_no_sense_is_set_aside() {
    let (dir, runtime, control) = fake(FakeBehaviour::default());
    std::fs::write(dir.path().join("tasks.json"), "no json").expect("it is written");
    let mut life = Life::begin(dir.path(), &runtime);
    life.assign(&[(1, TaskState::Running)]);
    life.until_state(1, TaskState::Running).await;
    assert_eq!(control.running().len(), 1);
    assert!(dir.path().join("tasks.json.bad").exists());
    life.end().await;
}

#[tokio::test(start_paused = true)]
async fn other_clusters_are_left_alone() {
    let (dir, runtime, control) = fake(FakeBehaviour::default());
    let mut life = Life::begin(dir.path(), &runtime);
    life.assign(&[(1, TaskState::Running)]);
    life.until_state(1, TaskState::Running).await;
    life.end().await;

    let other = TempDir::new().expect("a directory");
    let config = Config {
        dir: other.path().to_owned(),
        node: NodeId::from_bytes([1; 16]),
        hostname: "here".to_owned(),
        cluster: ClusterId::from_bytes([2; 16]),
    };
    let set = AssignmentSet { heard: true, tasks: BTreeMap::new() };
    let (_assign, assignments) = watch::channel(Arc::new(set));
    let stop = CancellationToken::new();
    let runtime = Arc::new(runtime);
    let (_agent, work) = Agent::open(config, runtime, assignments, stop).expect("it opens");
    assert!(timeout(LONG, work).await.is_err());
    assert_eq!(control.running(), [id(1)].into());
}

/// A task that names a secret.
fn with_secret(nth: u8, files: TaskFiles) -> Assignment {
    let mut assignment = assignment(nth, TaskState::Running);
    let reference = SecretReference {
        id: SecretId::from_bytes([1; 16]),
        name: "s1".to_owned(),
        file: Some(FileTarget { name: "s1".to_owned(), mode: 0o444, ..FileTarget::default() }),
    };
    Arc::make_mut(&mut assignment.task.spec).container.secrets.push(reference);
    Assignment { files, ..assignment }
}

fn secret(text: &str) -> TaskFiles {
    let target = FileTarget { name: "s1".to_owned(), mode: 0o444, ..FileTarget::default() };
    let data = Arc::new(SecretBytes::new(text.as_bytes().to_vec()));
    let file = TaskFile::new(FileKind::Secret, "s1", &target, data);
    TaskFiles::Here(vec![file.expect("it is a good file")])
}

#[tokio::test(start_paused = true)]
async fn secrets_are_waited_for_and_never_written() {
    let (dir, runtime, control) = fake(FakeBehaviour::default());
    let life = Life::begin(dir.path(), &runtime);
    let assign = |life: &Life, files| {
        let tasks = [(id(1), with_secret(1, files))].into();
        life.assign.send_replace(Arc::new(AssignmentSet { heard: true, tasks }));
    };
    assign(&life, TaskFiles::Awaited);
    sleep(LONG).await;
    assert_eq!(calls_of(&control, "prepare"), 0, "no container without its secret");
    // The daemon is restarted while the task waits, and hears no leader for a while.
    life.end().await;
    let mut life = Life::begin(dir.path(), &runtime);
    sleep(LONG).await;
    assert_eq!(calls_of(&control, "prepare"), 0);
    assign(&life, secret("hunter2"));
    life.until_state(1, TaskState::Running).await;
    let record = std::fs::read_to_string(dir.path().join("tasks.json")).expect("a record");
    assert!(record.contains("s1"), "the reference is on the disk");
    let as_numbers = format!("{:?}", b"hunter2").replace(' ', "");
    let none = ["hunter2", "aHVudGVy", &as_numbers[1..as_numbers.len() - 1]];
    assert!(none.iter().all(|form| !record.contains(form)), "{record}");
    life.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_cannot_be_had_rejects_its_task() {
    let (dir, runtime, control) = fake(FakeBehaviour::default());
    let mut life = Life::begin(dir.path(), &runtime);
    let unavailable = TaskFiles::Unavailable("secret not found: s1".to_owned());
    let tasks = [(id(1), with_secret(1, unavailable))].into();
    life.assign.send_replace(Arc::new(AssignmentSet { heard: true, tasks }));
    let status = life.until_state(1, TaskState::Rejected).await;
    assert!(status.error.contains("secret not found: s1"), "{}", status.error);
    assert_eq!(calls_of(&control, "prepare"), 0);
    life.end().await;
}
