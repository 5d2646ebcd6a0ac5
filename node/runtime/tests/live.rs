//! Real containers: needs root. Runs as its own shim, hence without the test harness.
#![expect(
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test, which clippy does not see because it has no harness"
)]

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crypto::{NodeId, SecretBytes};
use model::service::{
    ConfigReference, ContainerSpec, FileTarget, Limits, Mount, MountKind, Placement,
    ResourceRequirements, SecretReference,
};
use model::{ClusterId, ConfigId, SecretId, ServiceId, TaskId, TaskSpec};
use runtime::{
    Container, Embedded, EmbeddedConfig, FileKind, Health, LogQuery, LogStream, Phase, Runtime,
    RuntimeError, TaskContainer, TaskFile,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

/// Five times what the slowest of these takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    match args.next().as_deref().and_then(|arg| arg.to_str()) {
        Some("shim") => return runtime::shim_main(args),
        Some("rootless") => return rootless_daemon(args.next().unwrap().as_ref()),
        _ => {}
    }
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED live: containers in network namespaces need root; run the tests as root");
        let required = std::env::var("SKEP_REQUIRE").unwrap_or_default();
        return ExitCode::from(u8::from(required.contains("root")));
    }
    let filter = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).unwrap_or_default();
    let tokio = tokio::runtime::Runtime::new().unwrap();
    let mut n_run = 0;
    macro_rules! tests {
        ($($name:ident),* $(,)?) => {$(
            if stringify!($name).contains(&filter) {
                let began = Instant::now();
                tokio.block_on($name());
                println!("test {} ... ok ({} ms)", stringify!($name), began.elapsed().as_millis());
                n_run += 1;
            }
        )*};
    }
    tests!(
        a_demo_task_answers_logs_and_stops,
        exit_codes_come_back,
        a_task_that_ignores_its_signal_is_killed_after_the_grace,
        a_second_daemon_adopts_what_runs_and_learns_what_ended,
        a_killed_shim_takes_its_container_along,
        too_much_memory_is_told_apart,
        a_container_is_kept_in,
        bad_specs_are_the_specs_fault,
        mounts_and_users_are_honoured,
        secrets_are_in_memory_only_and_gone_with_the_task,
        many_tasks_start_at_the_same_time,
        plain_processes_answer_where_containers_cannot_be,
        an_ordinary_user_runs_and_adopts_containers,
    );
    println!("test result: ok. {n_run} passed");
    ExitCode::SUCCESS
}

/// A node: a runtime with its driver, on a directory that outlives it.
struct Node {
    runtime: Arc<dyn Runtime>,
    driver: JoinHandle<()>,
}

fn config(dir: &Path, rootless: bool) -> EmbeddedConfig {
    EmbeddedConfig {
        data_dir: dir.join("data"),
        run_dir: dir.join("r"),
        program: "/proc/self/exe".into(),
        rootless,
    }
}

impl Node {
    fn open(dir: &Path) -> Self {
        let (runtime, driver) = Embedded::open(config(dir, false)).unwrap();
        Self::new(runtime, driver)
    }

    fn new(
        runtime: impl Runtime + 'static,
        driver: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        #[expect(clippy::disallowed_methods, reason = "the test owns the driver and aborts it")]
        let driver = tokio::spawn(driver);
        Self { runtime: Arc::new(runtime), driver }
    }

    /// As kill -9 of the daemon: nothing is told to anybody.
    fn die(self) {
        self.driver.abort();
    }

    async fn run(&self, number: u8, spec: ContainerSpec) -> TaskId {
        self.try_run(number, spec, None).await.unwrap()
    }

    async fn try_run(
        &self,
        number: u8,
        spec: ContainerSpec,
        limits: Option<Limits>,
    ) -> Result<TaskId, RuntimeError> {
        let container = container(number, spec, limits);
        self.runtime.prepare(&container).await?;
        self.runtime.start(container.task).await?;
        Ok(container.task)
    }

    async fn phase(&self, task: TaskId) -> Option<Phase> {
        let all = self.runtime.list().await.unwrap();
        all.into_iter().find(|container: &Container| container.task == task).map(|c| c.phase)
    }

    /// Waits until the phase is as wanted, woken by changes alone.
    async fn wait(&self, task: TaskId, wanted: impl Fn(&Phase) -> bool) -> Phase {
        let mut changes = self.runtime.changes();
        let waiting = async {
            loop {
                changes.borrow_and_update();
                if let Some(phase) = self.phase(task).await.filter(&wanted) {
                    return phase;
                }
                changes.changed().await.unwrap();
            }
        };
        let Ok(phase) = tokio::time::timeout(PATIENCE, waiting).await else {
            panic!("still {:?}", self.phase(task).await);
        };
        phase
    }

    async fn exit(&self, task: TaskId) -> runtime::Exit {
        match self.wait(task, |phase| matches!(phase, Phase::Exited(_))).await {
            Phase::Exited(exit) => exit,
            other => panic!("{other:?}"),
        }
    }

    /// Output until the task has ended.
    async fn output(&self, task: TaskId) -> Vec<(LogStream, String)> {
        let query = LogQuery { follow: true, ..LogQuery::ALL };
        let mut receiver = self.runtime.logs(task, query).await.unwrap();
        let mut lines = Vec::new();
        while let Some(line) = receiver.recv().await {
            lines.push((line.stream, String::from_utf8(line.line).unwrap()));
        }
        lines
    }

    /// Waits for a server, then asks it.
    async fn get(&self, task: TaskId, port: u16) -> String {
        let began = Instant::now();
        loop {
            match self.runtime.connect(task, port).await {
                Ok(mut stream) => {
                    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
                    let mut answer = String::new();
                    stream.read_to_string(&mut answer).await.unwrap();
                    return answer;
                }
                Err(error) if began.elapsed() < PATIENCE => {
                    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused, "{error}");
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}

fn container(number: u8, spec: ContainerSpec, limits: Option<Limits>) -> TaskContainer {
    let task = TaskId::from_bytes([number; 16]);
    let spec = TaskSpec {
        container: spec,
        resources: ResourceRequirements { limits, reservations: None },
        restart: None,
        placement: Placement::default(),
        networks: Vec::new(),
        log_driver: None,
        force_update: 0,
    };
    TaskContainer {
        task,
        service: ServiceId::from_bytes([2; 16]),
        service_name: "web".into(),
        slot: number.to_string(),
        node: NodeId::from_bytes([3; 16]),
        node_hostname: "alpha".into(),
        cluster: ClusterId::from_bytes([4; 16]),
        name: format!("web.{number}.{task}"),
        spec: Arc::new(spec),
        registry_auth: None,
        files: Vec::new(),
    }
}

fn demo(args: &[&str]) -> ContainerSpec {
    let args = args.iter().map(|arg| (*arg).to_owned()).collect();
    ContainerSpec { image: runtime::DEMO_IMAGE.into(), args, ..ContainerSpec::default() }
}

/// The machine's own busybox or shell as an image: a directory.
fn shell(line: &str) -> ContainerSpec {
    ContainerSpec {
        image: "dir:/".into(),
        command: vec!["/bin/sh".into(), "-c".into(), line.into()],
        ..ContainerSpec::default()
    }
}

/// Nothing of a data directory's containers is left on the machine.
fn assert_clean(dir: &Path) {
    let instance = std::fs::read_to_string(dir.join("data/instance")).unwrap();
    let output = std::process::Command::new("find")
        .args(["/sys/fs/cgroup", "-path", &format!("*{instance}/*"), "-type", "d"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "groups are left");
    // A daemon keeps the parent of its groups; nobody will open this directory again.
    for controller in std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        let parent = controller.path().join("skep").join(&instance);
        let _ = std::fs::remove_dir(parent);
    }
    let _ = std::fs::remove_dir(Path::new("/sys/fs/cgroup/skep").join(&instance));
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(dir.to_str().unwrap()), "mounts are left");
}

async fn a_demo_task_answers_logs_and_stops() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::open(dir.path());
    let prepared = container(1, demo(&[]), None);
    let first = node.runtime.prepare(&prepared).await.unwrap();
    assert_eq!(node.runtime.prepare(&prepared).await.unwrap(), first, "twice is once");
    assert!(first.image_digest.starts_with("sha256:"));
    let task = prepared.task;
    assert_eq!(node.phase(task).await, Some(Phase::Created));
    let pid = node.runtime.start(task).await.unwrap();
    assert_eq!(node.runtime.start(task).await.unwrap(), pid, "twice is once");
    assert_eq!(node.phase(task).await, Some(Phase::Running { pid, health: Health::Unchecked }));
    let answer = node.get(task, 80).await;
    assert!(
        answer.ends_with(&format!("hello from web.1 (task {task}) on node alpha\n")),
        "{answer}"
    );

    let began = Instant::now();
    node.runtime.stop(task, Duration::from_secs(10)).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(5), "it ends on SIGTERM");
    let exit = node.exit(task).await;
    assert_eq!((exit.code, exit.signal, exit.oom), (0, None, false));
    let output = node.output(task).await;
    let texts: Vec<&str> = output.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(texts, ["listening on 0.0.0.0:80", "GET / HTTP/1.1 200 OK"]);
    assert!(node.runtime.connect(task, 80).await.is_err());
    node.runtime.stop(task, Duration::ZERO).await.unwrap();
    node.runtime.remove(task).await.unwrap();
    node.runtime.remove(task).await.unwrap();
    assert_eq!(node.runtime.list().await.unwrap(), []);
    assert!(node.runtime.logs(task, LogQuery::ALL).await.is_err());
    assert_clean(dir.path());
}

async fn exit_codes_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::open(dir.path());
    let args = ["--no-server", "--lines", "3", "--exit-after", "0", "--exit-code", "7"];
    let task = node.run(1, demo(&args)).await;
    let output = node.output(task).await;
    assert_eq!(node.exit(task).await.code, 7);
    let of = |wanted: LogStream| {
        output.iter().filter(move |(stream, _)| *stream == wanted).map(|(_, text)| text.as_str())
    };
    assert_eq!(of(LogStream::Stdout).collect::<Vec<_>>(), ["line 1", "line 3"]);
    assert_eq!(of(LogStream::Stderr).collect::<Vec<_>>(), ["line 2"]);
    node.runtime.remove(task).await.unwrap();
    assert_clean(dir.path());
}

async fn a_task_that_ignores_its_signal_is_killed_after_the_grace() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::open(dir.path());
    let task = node.run(1, demo(&["--ignore-term"])).await;
    node.get(task, 80).await;
    let grace = Duration::from_millis(700);
    let began = Instant::now();
    node.runtime.stop(task, grace).await.unwrap();
    assert!(grace <= began.elapsed());
    let exit = node.exit(task).await;
    assert_eq!((exit.code, exit.signal), (137, Some(9)));
    node.runtime.remove(task).await.unwrap();
}

async fn a_second_daemon_adopts_what_runs_and_learns_what_ended() {
    let dir = tempfile::tempdir().unwrap();
    let first = Node::open(dir.path());
    let lives = first.run(1, demo(&[])).await;
    let ends = first.run(2, demo(&["--no-server", "--exit-after", "1", "--exit-code", "42"])).await;
    let created = container(3, demo(&[]), None);
    first.runtime.prepare(&created).await.unwrap();
    let before = first.phase(lives).await;
    first.die();

    let second = Node::open(dir.path());
    assert_eq!(second.phase(lives).await, before, "the same process");
    assert_eq!(second.phase(created.task).await, Some(Phase::Created));
    assert!(second.get(lives, 80).await.contains("hello from web.1"));
    assert_eq!(second.exit(ends).await.code, 42);
    second.runtime.start(created.task).await.unwrap();
    assert!(second.get(created.task, 80).await.contains("hello from web.3"));
    for task in [lives, ends, created.task] {
        second.runtime.remove(task).await.unwrap();
    }
    assert_clean(dir.path());
}

async fn a_killed_shim_takes_its_container_along() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::open(dir.path());
    let task = node.run(1, demo(&["--lines", "1"])).await;
    node.get(task, 80).await;
    let Some(Phase::Running { pid, .. }) = node.phase(task).await else { panic!() };
    let state = dir.path().join(format!("data/tasks/{task}/state.json"));
    let state: serde_json::Value = serde_json::from_slice(&std::fs::read(state).unwrap()).unwrap();
    let shim = state["shim"]["pid"].as_i64().unwrap();
    let shim = rustix::process::Pid::from_raw(i32::try_from(shim).unwrap()).unwrap();
    rustix::process::kill_process(shim, rustix::process::Signal::KILL).unwrap();
    node.wait(task, |phase| *phase == Phase::Lost).await;
    let began = Instant::now();
    while Path::new(&format!("/proc/{pid}")).exists() {
        assert!(began.elapsed() < PATIENCE, "the container lives on");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let output = node.output(task).await;
    assert!(output.iter().any(|(_, text)| text == "line 1"), "its output is still there");
    assert!(node.runtime.start(task).await.is_err());
    assert_clean(dir.path());
    node.runtime.remove(task).await.unwrap();
}

async fn too_much_memory_is_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::open(dir.path());
    if !node.runtime.info().limits {
        println!("SKIPPED too_much_memory_is_told_apart: {:?}", node.runtime.info().lacks);
        let required = std::env::var("SKEP_REQUIRE").unwrap_or_default();
        assert!(!required.contains("cgroups"), "cgroups are required");
        return;
    }
    let limits = Limits { memory_bytes: 32 << 20, nano_cpus: 500_000_000, pids: 64 };
    let task = node.try_run(1, demo(&["--eat", "200"]), Some(limits)).await.unwrap();
    let exit = node.exit(task).await;
    assert_eq!((exit.code, exit.oom), (137, true));
    let modest = node.try_run(2, demo(&["--eat", "4"]), Some(limits)).await.unwrap();
    assert!(node.get(modest, 80).await.contains("hello"));
    node.runtime.remove(task).await.unwrap();
    node.runtime.remove(modest).await.unwrap();
    assert_clean(dir.path());
}

async fn a_container_is_kept_in() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::open(dir.path());
    let line = "grep -E '^(NoNewPrivs|Seccomp|CapEff|SigBlk|SigIgn):' /proc/self/status; \
                echo pids $(ls /proc | grep -c '^[0-9]'); hostname; \
                mount -t tmpfs x /mnt 2>/dev/null || echo no mount; \
                mknod /tmp/sda b 8 0 2>/dev/null || echo no device; \
                ls -A /sys/fs/cgroup; echo > /etc/written; cat /proc/net/dev | wc -l";
    let task = node.run(1, shell(line)).await;
    let output = node.output(task).await;
    let text: Vec<&str> = output.iter().map(|(_, text)| text.as_str()).collect();
    let text = text.join("\n");
    for expected in [
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
        "CapEff:\t00000000a00425fb",
        "SigBlk:\t0000000000000000",
        &task.to_string()[..12],
        "no mount",
        "no device",
        "\n3",
    ] {
        assert!(text.contains(expected), "{expected} is not in {text}");
    }
    // 32 and 33 are the C library's own and stay as they were found.
    let ignored = text.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap().trim();
    assert_eq!(u64::from_str_radix(ignored, 16).unwrap() & !(0b11 << 31), 0, "{ignored}");
    assert!(!Path::new("/etc/written").exists());
    node.runtime.remove(task).await.unwrap();
}

async fn bad_specs_are_the_specs_fault() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::open(dir.path());
    let missing = |image: &str| ContainerSpec { image: image.into(), ..ContainerSpec::default() };
    let command = ContainerSpec { command: vec!["/no/such".into()], ..demo(&[]) };
    let user = ContainerSpec { user: "nobody-here".into(), ..demo(&[]) };
    for (number, spec, text) in [
        (1, command, "not found"),
        (2, user, "no user `nobody-here`"),
        (3, missing("Bad Name"), "invalid image reference"),
        (4, missing("dir:/no/such"), "no such image"),
        (5, ContainerSpec { tty: true, ..demo(&[]) }, "tty"),
    ] {
        let error = node.try_run(number, spec, None).await.unwrap_err();
        assert_eq!(error.blame(), runtime::Blame::Spec, "{error}");
        assert!(error.to_string().contains(text), "{error}");
    }
    let error = node.try_run(6, missing("127.0.0.1:1/none"), None).await.unwrap_err();
    assert_eq!(error.blame(), runtime::Blame::Registry, "{error}");
    assert_eq!(node.runtime.list().await.unwrap(), []);
    assert_clean(dir.path());
}

async fn mounts_and_users_are_honoured() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::open(dir.path());
    let shared = dir.path().join("shared");
    std::fs::create_dir(&shared).unwrap();
    std::fs::write(shared.join("in"), "from the node").unwrap();
    let bind = |target: &str, read_only| Mount {
        kind: MountKind::Bind,
        source: shared.to_str().unwrap().into(),
        target: target.into(),
        read_only,
        ..Mount::default()
    };
    let tmpfs = Mount { kind: MountKind::Tmpfs, target: "/mem".into(), ..Mount::default() };
    let line = "id -u; id -G; cat /m/in; echo; pwd; ulimit -n; cat /proc/sys/net/ipv4/ip_forward; \
                touch /ro/x 2>/dev/null || echo ro; touch /root-fs 2>/dev/null || echo rootfs ro; \
                touch /mem/x && echo mem; grep -c myhost /etc/hosts; echo $FOO";
    let spec = ContainerSpec {
        user: "1000:1001".into(),
        groups: vec!["7".into()],
        dir: "/mem".into(),
        read_only: true,
        env: vec!["FOO=bar".into()],
        hosts: vec!["10.0.0.1 myhost".into()],
        sysctls: [("net.ipv4.ip_forward".to_owned(), "1".to_owned())].into(),
        ulimits: vec![model::service::Ulimit { name: "nofile".into(), soft: 99, hard: 99 }],
        mounts: vec![bind("/m", false), bind("/ro", true), tmpfs],
        ..shell(line)
    };
    let task = node.run(1, spec).await;
    let output = node.output(task).await;
    let text: Vec<&str> = output.iter().map(|(_, text)| text.as_str()).collect();
    let expected = [
        "1000",
        "1001 7",
        "from the node",
        "/mem",
        "99",
        "1",
        "ro",
        "rootfs ro",
        "mem",
        "1",
        "bar",
    ];
    assert_eq!(text, expected);
    node.runtime.remove(task).await.unwrap();
}

/// A spec that names a secret and a config, and the files that an agent makes of it.
fn with_files(
    number: u8,
    spec: ContainerSpec,
    owner: &str,
    (secret, config): (&str, &str),
) -> TaskContainer {
    let file = |name: &str, mode| FileTarget {
        name: name.to_owned(),
        uid: owner.to_owned(),
        gid: owner.to_owned(),
        mode,
    };
    let (secret_file, config_file) = (file("pw", 0o400), file("/etc/app/c.conf", 0o444));
    let spec = ContainerSpec {
        secrets: vec![SecretReference {
            id: SecretId::from_bytes([1; 16]),
            name: "s1".to_owned(),
            file: Some(secret_file.clone()),
        }],
        configs: vec![ConfigReference {
            id: ConfigId::from_bytes([1; 16]),
            name: "c1".to_owned(),
            file: Some(config_file.clone()),
        }],
        ..spec
    };
    let data = |text: &str| Arc::new(SecretBytes::new(text.as_bytes().to_vec()));
    let files = vec![
        TaskFile::new(FileKind::Secret, "s1", &secret_file, data(secret)).unwrap(),
        TaskFile::new(FileKind::Config, "c1", &config_file, data(config)).unwrap(),
    ];
    TaskContainer { files, ..container(number, spec, None) }
}

/// Files below `dir` that hold `text`.
fn holding(dir: &Path, text: &str) -> String {
    let found = std::process::Command::new("grep").args(["-rlF", text]).arg(dir).output().unwrap();
    String::from_utf8(found.stdout).unwrap()
}

/// Processes in whose mount namespace a tmpfs of secrets below `dir` is.
fn n_memories(dir: &Path) -> usize {
    let mine = format!("{}/", dir.canonicalize().unwrap().display());
    let has_one = |entry: &std::fs::DirEntry| {
        let table = std::fs::read_to_string(entry.path().join("mountinfo")).unwrap_or_default();
        table.lines().any(|line| line.contains(&mine) && line.contains("/files "))
    };
    std::fs::read_dir("/proc").unwrap().flatten().filter(has_one).count()
}

async fn secrets_are_in_memory_only_and_gone_with_the_task() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::open(dir.path());
    let (secret, config) = ("canary-of-live", "config-of-live");
    let line = "cat /run/secrets/pw; echo; cat /etc/app/c.conf; echo; \
                stat -c '%u:%g %a' /run/secrets/pw /etc/app/c.conf; \
                (echo x >/run/secrets/pw) 2>/dev/null || echo ro; \
                grep -c '/run/secrets/pw .*tmpfs' /proc/self/mountinfo; sleep 1000";
    let user = ContainerSpec { user: "1000:1000".into(), ..shell(line) };
    let prepared = with_files(1, user, "1000", (secret, config));
    let task = prepared.task;
    node.runtime.prepare(&prepared).await.unwrap();
    node.runtime.start(task).await.unwrap();
    let query = LogQuery { follow: true, ..LogQuery::ALL };
    let mut lines = node.runtime.logs(task, query).await.unwrap();
    for expected in [secret, config, "1000:1000 400", "1000:1000 444", "ro", "1"] {
        let line = tokio::time::timeout(PATIENCE, lines.recv()).await.unwrap().unwrap();
        assert_eq!(String::from_utf8(line.line).unwrap(), expected);
    }
    // What the task itself wrote is its own affair.
    std::fs::remove_file(dir.path().join(format!("data/tasks/{task}/log.jsonl"))).unwrap();
    assert_eq!(holding(dir.path(), secret), "", "the secret is on the disk");
    assert_eq!(holding(dir.path(), config), "");
    node.die();
    let node = Node::open(dir.path());
    assert!(matches!(node.phase(task).await, Some(Phase::Running { .. })));
    assert!(0 < n_memories(dir.path()), "it lives on with its files");

    let twice = with_files(2, shell("true"), "0", (secret, config));
    let mut twice = TaskContainer { files: vec![twice.files[0].clone(); 2], ..twice };
    let error = node.runtime.prepare(&twice).await.unwrap_err();
    assert!(error.to_string().contains("something else is at /run/secrets/pw"), "{error}");
    twice.files.clear();
    let error = node.runtime.prepare(&twice).await.unwrap_err();
    assert!(error.to_string().contains("was not sent to this node"), "{error}");

    node.runtime.remove(task).await.unwrap();
    assert_eq!(n_memories(dir.path()), 0, "gone with the task");
    assert_clean(dir.path());
}

async fn many_tasks_start_at_the_same_time() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::open(dir.path());
    let numbers: Vec<u8> = (1..=12).collect();
    let began = Instant::now();
    let started = numbers.iter().map(|number| node.run(*number, demo(&[])));
    let tasks = futures::future::join_all(started).await;
    println!("  12 tasks in {} ms", began.elapsed().as_millis());
    let stopped = tasks.iter().map(|task| node.runtime.remove(*task));
    for removed in futures::future::join_all(stopped).await {
        removed.unwrap();
    }
    assert_clean(dir.path());
}

async fn plain_processes_answer_where_containers_cannot_be() {
    let dir = tempfile::tempdir().unwrap();
    let (runtime, driver) = runtime::ProcessRuntime::open(config(dir.path(), true)).unwrap();
    let node = Node::new(runtime, driver);
    assert!(!node.runtime.info().isolation);
    let (one, two) = (node.run(1, demo(&[])).await, node.run(2, demo(&[])).await);
    assert!(node.get(one, 80).await.contains("hello from web.1"));
    assert!(node.get(two, 80).await.contains("hello from web.2"));
    assert!(node.runtime.connect(one, 81).await.is_err());
    let other = ContainerSpec { image: "busybox".into(), ..ContainerSpec::default() };
    let error = node.try_run(3, other, None).await.unwrap_err();
    assert_eq!(error.blame(), runtime::Blame::Spec, "{error}");
    node.runtime.stop(one, Duration::from_secs(5)).await.unwrap();
    assert_eq!(node.exit(one).await.code, 0);
    node.die();
    let (runtime, driver) = runtime::ProcessRuntime::open(config(dir.path(), true)).unwrap();
    let node = Node::new(runtime, driver);
    assert!(node.get(two, 80).await.contains("hello from web.2"));
    node.runtime.remove(one).await.unwrap();
    node.runtime.remove(two).await.unwrap();
    assert_eq!(node.runtime.list().await.unwrap(), []);
}

/// A daemon of an ordinary user: the first one starts a task, the second adopts it.
fn rootless_daemon(dir: &Path) -> ExitCode {
    let root = match runtime::enter_user_namespace_if_needed(&dir.join("data")) {
        Ok(root) => root,
        Err(error) => {
            println!("SKIPPED rootless: {error}");
            return ExitCode::from(3);
        }
    };
    assert_eq!(root, runtime::Root::UserNamespace);
    let tokio = tokio::runtime::Runtime::new().unwrap();
    tokio.block_on(async {
        let (runtime, driver) = Embedded::open(config(dir, true)).unwrap();
        let node = Node::new(runtime, driver);
        let task = TaskId::from_bytes([1; 16]);
        if node.runtime.list().await.unwrap().is_empty() {
            node.run(1, demo(&[])).await;
            assert!(node.get(task, 80).await.contains("hello from web.1"));
            node.die();
            return;
        }
        assert!(node.get(task, 80).await.contains("hello from web.1"), "adopted");
        let user = ContainerSpec { user: "1000".into(), ..demo(&[]) };
        let error = node.try_run(2, user, None).await.unwrap_err();
        assert_eq!(error.blame(), runtime::Blame::Spec, "{error}");
        let others = with_files(3, demo(&[]), "1000", ("a", "b"));
        let error = node.runtime.prepare(&others).await.unwrap_err();
        assert!(error.to_string().contains("runs without root"), "{error}");
        let own = with_files(4, demo(&[]), "0", ("rootless", "files"));
        node.runtime.prepare(&own).await.unwrap();
        let pid = node.runtime.start(own.task).await.unwrap();
        node.get(own.task, 80).await;
        let inside = |path: &str| std::fs::read_to_string(format!("/proc/{pid}/root{path}"));
        assert_eq!(inside("/run/secrets/pw").unwrap(), "rootless");
        assert_eq!(inside("/etc/app/c.conf").unwrap(), "files");
        node.runtime.remove(own.task).await.unwrap();
        node.runtime.stop(task, Duration::from_secs(5)).await.unwrap();
        assert_eq!(node.exit(task).await.code, 0);
        node.runtime.remove(task).await.unwrap();
        assert_eq!(node.runtime.list().await.unwrap(), []);
    });
    ExitCode::SUCCESS
}

async fn an_ordinary_user_runs_and_adopts_containers() {
    use std::os::unix::fs::{PermissionsExt, chown};
    let dir = tempfile::tempdir().unwrap();
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(dir.path(), open.clone()).unwrap();
    // The build directory may be closed to other users.
    let program = dir.path().join("program");
    std::fs::copy("/proc/self/exe", &program).unwrap();
    std::fs::set_permissions(&program, open).unwrap();
    let home = dir.path().join("h");
    std::fs::create_dir(&home).unwrap();
    chown(&home, Some(12345), Some(12345)).unwrap();
    for _ in 0..2 {
        let mut command = tokio::process::Command::new(&program);
        let output = command.arg("rootless").arg(&home).uid(12345).gid(12345).output();
        let output = tokio::time::timeout(3 * PATIENCE, output).await.unwrap().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        if output.status.code() == Some(3) {
            println!("{said}");
            let required = std::env::var("SKEP_REQUIRE").unwrap_or_default();
            assert!(!required.contains("userns"), "user namespaces are required");
            return;
        }
        let complained = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said} {complained}");
    }
}
