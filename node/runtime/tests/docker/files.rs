//! Secrets and configs: where they are, whose they are, and that they are nowhere else.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use crypto::SecretBytes;
use model::SecretId;
use model::service::{FileTarget, Mount, MountKind, SecretReference};
use runtime::{FileKind, TaskContainer, TaskFile};

use crate::engines::possible_here;
use crate::machine::{Node, PATIENCE, directory, run, run_dir, shell};

const CANARY: &str = "canary-5up3r-53cr3t";

/// A task that waits, with a secret that belongs to a user and another at a place of its own
/// below a tmpfs of the user.
fn with_secrets(node: &Node, number: u8) -> TaskContainer {
    let mut spec = shell("trap 'exit 0' TERM; while true; do sleep 0.1; done");
    spec.read_only = true;
    let id = SecretId::from_bytes([7; 16]);
    spec.secrets = vec![SecretReference { id, name: "s".into(), file: None }; 2];
    let tmpfs = Mount { kind: MountKind::Tmpfs, target: "/deep".into(), ..Mount::default() };
    spec.mounts = vec![tmpfs];
    let mut container = node.container(number, spec);
    let file = |name: &str, uid: &str, mode, content: &str| {
        let at = FileTarget { name: name.into(), uid: uid.into(), gid: "44".into(), mode };
        let data = Arc::new(SecretBytes::new(content.as_bytes().to_vec()));
        TaskFile::new(FileKind::Secret, "s", &at, data).unwrap()
    };
    let twice = format!("{CANARY}/{CANARY}");
    container.files =
        vec![file("pw", "33", 0o400, CANARY), file("/deep/er/pw", "0", 0o444, &twice)];
    container
}

/// Everything below a directory that has the canary in it; does not enter other file systems.
fn hits(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    let device = std::fs::metadata(dir).unwrap().dev();
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            if kind.is_dir() && entry.metadata().unwrap().dev() == device {
                dirs.push(path);
            } else if kind.is_file() {
                let bytes = std::fs::read(&path).unwrap();
                let mut windows = bytes.windows(CANARY.len());
                if windows.any(|window| window == CANARY.as_bytes()) {
                    found.push(path);
                }
            }
        }
    }
    found
}

/// What is on the disk below a directory, under whatever is mounted there.
fn hits_on_disk(dir: &Path) -> Vec<PathBuf> {
    let bare = directory();
    run(Command::new("mount").arg("--bind").args([dir, bare.path()]));
    let found = hits(bare.path());
    run(Command::new("umount").arg(bare.path()));
    found
}

fn mounts_below(dir: &Path) -> Vec<String> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let dir = dir.display().to_string();
    mounts.lines().filter(|line| line.contains(&dir)).map(str::to_owned).collect()
}

/// The directory of each task that has files.
fn tasks_below(dir: &Path) -> Vec<String> {
    let machine = std::fs::read_dir(dir.join("docker-files")).unwrap().next().unwrap().unwrap();
    let tasks = std::fs::read_dir(machine.path()).unwrap();
    tasks.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test]
async fn secrets_are_in_memory_for_their_owner_and_go_with_the_task() {
    if !possible_here() {
        return;
    }
    let node = Node::open().await;
    let dir = run_dir(node.id);
    let container = with_secrets(&node, 1);
    let id = node.runtime.prepare(&container).await.unwrap().native_id;
    assert_eq!(node.runtime.prepare(&container).await.unwrap().native_id, id, "twice is once");
    node.runtime.start(container.task).await.unwrap();
    node.runtime.prepare(&container).await.unwrap();

    let inside = |user: &str, args: &[&str]| {
        let output = node.docker().args(["exec", "-u", user, &id]).args(args).output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    assert_eq!(inside("33", &["cat", "/run/secrets/pw"]), CANARY);
    assert_eq!(inside("99", &["cat", "/run/secrets/pw"]), "", "it is somebody else's");
    assert_eq!(inside("99", &["cat", "/deep/er/pw"]), format!("{CANARY}/{CANARY}"));
    let stat = ["busybox", "stat", "-c", "%u %g %a", "/run/secrets/pw", "/deep/er/pw"];
    assert_eq!(inside("0", &stat), "33 44 400\n0 44 444");
    let write = "echo x > /run/secrets/pw || echo read-only";
    assert_eq!(inside("0", &["sh", "-c", write]), "read-only");

    let mounts = mounts_below(&dir);
    assert!(mounts.len() == 1 && mounts[0].contains(" tmpfs "), "{mounts:?}");
    let place = mounts[0].split(' ').nth(1).unwrap();
    let place = std::fs::metadata(place).unwrap();
    assert_eq!((place.uid(), place.mode() & 0o777), (0, 0o700));
    assert_eq!(hits_on_disk(&dir), [] as [PathBuf; 0]);
    let shown = run(node.docker().args(["inspect", &id]));
    assert!(shown.contains("/run/secrets/pw") && !shown.contains(CANARY), "{shown}");
    let root = run(node.docker().args(["info", "--format", "{{.DockerRootDir}}"]));
    assert_eq!(hits(&Path::new(&root).join("containers").join(&id)), [] as [PathBuf; 0]);

    // A new daemon leaves them where they are.
    let node = node.again().await;
    assert_eq!(mounts_below(&dir).len(), 1);
    for _ in 0..2 {
        node.runtime.remove(container.task).await.unwrap();
    }
    assert_eq!(mounts_below(&dir), [] as [String; 0]);
    assert_eq!(tasks_below(&dir), [] as [String; 0]);
}

#[tokio::test]
async fn secrets_whose_container_is_gone_are_swept() {
    if !possible_here() {
        return;
    }
    let node = Node::open().await;
    let dir = run_dir(node.id);
    // While the daemon looks.
    let container = with_secrets(&node, 1);
    let id = node.runtime.prepare(&container).await.unwrap().native_id;
    run(node.docker().args(["rm", "-f", &id]));
    let began = Instant::now();
    while !tasks_below(&dir).is_empty() {
        assert!(began.elapsed() < PATIENCE, "{:?}", mounts_below(&dir));
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    // While there is none.
    let kept = with_secrets(&node, 2);
    let lost = with_secrets(&node, 3);
    node.start(&kept).await.unwrap();
    let id = node.runtime.prepare(&lost).await.unwrap().native_id;
    node.driver.abort();
    run(node.docker().args(["rm", "-f", &id]));
    assert_eq!(tasks_below(&dir).len(), 2);
    let node = node.again().await;
    assert_eq!(tasks_below(&dir), [kept.task.to_string()]);
    node.runtime.remove(kept.task).await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_made_leaves_nothing() {
    if !possible_here() {
        return;
    }
    let node = Node::open().await;
    let dir = run_dir(node.id);
    let container = with_secrets(&node, 1);
    run(node.docker().args([
        "create",
        "--name",
        &container.name,
        &crate::machine::image(),
        "true",
    ]));
    let error = node.runtime.prepare(&container).await.unwrap_err();
    run(node.docker().args(["rm", &container.name]));
    assert!(!error.to_string().contains(CANARY), "{error}");
    assert_eq!(tasks_below(&dir), [] as [String; 0]);
    assert_eq!(mounts_below(&dir), [] as [String; 0]);
}
