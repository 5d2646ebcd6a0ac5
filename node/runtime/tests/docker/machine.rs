//! An engine, an image, a node, and everything gone afterwards.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crypto::NodeId;
use model::service::{ContainerSpec, Placement, ResourceRequirements};
use model::{ClusterId, ServiceId, TaskId, TaskSpec};
use runtime::{
    DockerConfig, DockerRuntime, Exit, LogQuery, LogStream, Phase, Runtime, RuntimeError,
    TaskContainer,
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

pub(crate) use crate::engine::engine_is_there as possible;
use crate::engine::{SOCKET, docker};

/// Five times what the slowest of these takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Runs a program that must succeed; what it printed.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    printed(command, &output)
}

fn printed(command: &Command, output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {error}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A static busybox under all of its names, and two users, as `docker import` takes it.
fn busybox() -> Vec<u8> {
    let program = std::fs::read("/bin/busybox").unwrap();
    let mut archive = tar::Builder::new(Vec::new());
    let mut put = |path: &str, bytes: &[u8], mode: u32| {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(mode);
        archive.append_data(&mut header, path, bytes).unwrap();
    };
    put("bin/busybox", &program, 0o755);
    put("etc/passwd", b"root:x:0:0::/:/bin/sh\nwww:x:33:44::/:/bin/sh\n", 0o644);
    put("etc/group", b"root:x:0:\nwww:x:44:\nextra:x:77:\n", 0o644);
    for name in ["sh", "cat", "grep", "sleep", "id", "hostname", "touch", "test", "echo", "wget"] {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        header.set_mode(0o777);
        archive.append_link(&mut header, format!("bin/{name}"), "busybox").unwrap();
    }
    archive.into_inner().unwrap()
}

/// Imports busybox into an engine under a name.
pub(crate) fn import(socket: &Path, name: &str) {
    let mut command = docker(socket);
    command.args(["import", "--change", "ENV PATH=/bin", "-", name]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&busybox()).unwrap();
    printed(&command, &child.wait_with_output().unwrap());
}

/// How many tests of this process use the image; the last one removes it.
static USERS: Mutex<u32> = Mutex::new(0);
static NODES: AtomicU32 = AtomicU32::new(1);

/// Imports the image for the first who needs it.
fn use_image() {
    let mut users = USERS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if *users == 0 {
        import(Path::new(SOCKET), &image());
    }
    *users += 1;
}

/// Where a node mounts secrets and configs; the same after a restart of it.
pub(crate) fn run_dir(id: NodeId) -> PathBuf {
    std::env::temp_dir().join(format!("skd-run-{id}"))
}

pub(crate) fn config(socket: &Path, id: NodeId, may_wait: bool) -> DockerConfig {
    let (socket, machine) = (socket.to_owned(), id.to_string());
    DockerConfig { socket, machine, run_dir: run_dir(id), may_wait }
}

/// One node on one engine.
pub(crate) struct Node {
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) driver: JoinHandle<()>,
    socket: PathBuf,
    pub(crate) id: NodeId,
    lives_on: bool,
}

impl Node {
    /// On the engine of this machine.
    pub(crate) async fn open() -> Self {
        use_image();
        let nth = NODES.fetch_add(1, Ordering::Relaxed);
        let mut id = [0; 16];
        id[..4].copy_from_slice(&std::process::id().to_be_bytes());
        id[4..8].copy_from_slice(&nth.to_be_bytes());
        Self::open_at(Path::new(SOCKET), NodeId::from_bytes(id)).await.unwrap()
    }

    pub(crate) async fn open_at(socket: &Path, id: NodeId) -> Result<Self, RuntimeError> {
        let (runtime, driver) = DockerRuntime::open(config(socket, id, false)).await?;
        #[expect(clippy::disallowed_methods, reason = "the test owns the driver and aborts it")]
        let driver = tokio::spawn(driver);
        let socket = socket.to_owned();
        Ok(Self { runtime: Arc::new(runtime), driver, socket, id, lives_on: false })
    }

    /// The daemon is killed, and another one takes its place.
    pub(crate) async fn again(mut self) -> Self {
        self.driver.abort();
        self.lives_on = true;
        Self::open_at(&self.socket, self.id).await.unwrap()
    }

    pub(crate) fn docker(&self) -> Command {
        docker(&self.socket)
    }

    /// What the engine's own CLI says of a container.
    pub(crate) fn shows(&self, id: &str, template: &str) -> String {
        run(self.docker().args(["inspect", "--format", template, id]))
    }

    pub(crate) fn container(&self, number: u8, spec: ContainerSpec) -> TaskContainer {
        let task = TaskId::from_bytes([number; 16]);
        let spec = TaskSpec {
            container: spec,
            resources: ResourceRequirements::default(),
            restart: None,
            placement: Placement::default(),
            networks: Vec::new(),
            log_driver: None,
            force_update: 0,
        };
        let service = format!("test-{}", self.id);
        TaskContainer {
            files: Vec::new(),
            task,
            service: ServiceId::from_bytes([2; 16]),
            name: format!("{service}.{number}.{task}"),
            service_name: service,
            slot: number.to_string(),
            node: self.id,
            node_hostname: "alpha".into(),
            cluster: ClusterId::from_bytes([4; 16]),
            spec: Arc::new(spec),
            registry_auth: None,
        }
    }

    pub(crate) async fn run(&self, number: u8, spec: ContainerSpec) -> TaskId {
        self.start(&self.container(number, spec)).await.unwrap()
    }

    pub(crate) async fn start(&self, container: &TaskContainer) -> Result<TaskId, RuntimeError> {
        self.runtime.prepare(container).await?;
        self.runtime.start(container.task).await?;
        Ok(container.task)
    }

    pub(crate) async fn phase(&self, task: TaskId) -> Option<Phase> {
        let all = self.runtime.list().await.unwrap();
        all.into_iter().find(|container| container.task == task).map(|container| container.phase)
    }

    /// Waits until the phase is as wanted, woken by changes alone.
    pub(crate) async fn wait(&self, task: TaskId, wanted: impl Fn(&Phase) -> bool) -> Phase {
        let mut changes = self.runtime.changes();
        let waiting = async {
            loop {
                changes.borrow_and_update();
                if let Ok(all) = self.runtime.list().await
                    && let Some(found) = all.into_iter().find(|container| container.task == task)
                    && wanted(&found.phase)
                {
                    return found.phase;
                }
                changes.changed().await.unwrap();
            }
        };
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(phase) => phase,
            Err(_) => panic!("still {:?}", self.runtime.list().await),
        }
    }

    pub(crate) async fn exit(&self, task: TaskId) -> Exit {
        let phase = self.wait(task, |phase| matches!(phase, Phase::Exited(_))).await;
        let Phase::Exited(exit) = phase else { panic!("{phase:?}") };
        exit
    }

    /// What a query gives until its end.
    pub(crate) async fn lines(&self, task: TaskId, query: LogQuery) -> Vec<(LogStream, String)> {
        let mut receiver = self.runtime.logs(task, query).await.unwrap();
        let mut lines = Vec::new();
        while let Some(line) = receiver.recv().await {
            lines.push((line.stream, String::from_utf8(line.line).unwrap()));
        }
        lines
    }

    /// Output until the task has ended, as one text.
    pub(crate) async fn output(&self, task: TaskId) -> String {
        let lines = self.lines(task, LogQuery { follow: true, ..LogQuery::ALL }).await;
        lines.into_iter().map(|(_, text)| text + "\n").collect()
    }

    /// Waits for a server, then asks it.
    pub(crate) async fn get(&self, task: TaskId, port: u16) -> String {
        let began = Instant::now();
        loop {
            match self.runtime.connect(task, port).await {
                Ok(mut stream) => {
                    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
                    let mut answer = String::new();
                    stream.read_to_string(&mut answer).await.unwrap();
                    return answer;
                }
                Err(_) if began.elapsed() < PATIENCE => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.driver.abort();
        if self.lives_on {
            return;
        }
        let filter = format!("label=skep.machine={}", self.id);
        let left = self.docker().args(["ps", "-aq", "--filter", &filter]).output();
        let left = left.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        for id in left.unwrap_or_default().split_whitespace() {
            let _ = self.docker().args(["rm", "-fv", id]).output(); // It may be gone by now.
        }
        let run_dir = run_dir(self.id);
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mounts = mounts.lines().filter_map(|line| line.split(' ').nth(4));
        for path in mounts.filter(|path| Path::new(path).starts_with(&run_dir)) {
            let _ = Command::new("umount").args(["-l", path]).output(); // At best.
        }
        let _ = std::fs::remove_dir_all(run_dir); // Most tests never make it.
        if self.socket != Path::new(SOCKET) {
            return;
        }
        let mut users = USERS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *users -= 1;
        if *users == 0 {
            let _ = self.docker().args(["rmi", "-f", &image()]).output(); // At best.
        }
    }
}

/// The name of the busybox image of this process.
pub(crate) fn image() -> String {
    format!("skep-test/busybox:{}", std::process::id())
}

/// A shell that runs a line.
pub(crate) fn shell(line: &str) -> ContainerSpec {
    ContainerSpec {
        image: image(),
        command: ["sh", "-c", line].map(str::to_owned).to_vec(),
        ..ContainerSpec::default()
    }
}

pub(crate) fn demo(args: &[&str]) -> ContainerSpec {
    let args = args.iter().map(|arg| (*arg).to_owned()).collect();
    ContainerSpec { image: runtime::DEMO_IMAGE.into(), args, ..ContainerSpec::default() }
}

/// A directory that the engine can see too.
pub(crate) fn directory() -> TempDir {
    tempfile::Builder::new().prefix("skd").tempdir_in("/tmp").unwrap()
}
