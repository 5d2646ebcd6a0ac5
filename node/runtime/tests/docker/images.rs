//! Images: from a registry that wants a login, by digest, from a file; and what goes wrong.

use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use runtime::{Blame, RegistryAuth, RuntimeError};
use tempfile::TempDir;

use crate::machine::{Node, PATIENCE, directory, image, possible, run, shell};

const USER: &str = "tester";
/// In base64 it has letters that the two alphabets write differently.
const PASSWORD: &str = "p~a?s>w~~o??r>>d";
/// Of that password, by `htpasswd -nbB`.
const HTPASSWD: &str = "tester:$2y$05$J06euDsRN2Zvetq1OoB0reVi66GeW2JBTka4aO5DHkKBg0spc05J6\n";

/// Debian's registry on loopback, with a login.
struct Registry {
    process: Child,
    address: String,
    dir: TempDir,
}

impl Registry {
    fn start() -> Self {
        let dir = directory();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        std::fs::write(dir.path().join("htpasswd"), HTPASSWD).unwrap();
        let root = dir.path().display();
        let config = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {root}/data}}}}\n\
             http: {{addr: \"{address}\"}}\n\
             auth: {{htpasswd: {{realm: test, path: {root}/htpasswd}}}}\n"
        );
        let path = dir.path().join("config.yml");
        std::fs::write(&path, config).unwrap();
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("Debian's docker-registry is installed");
        let began = Instant::now();
        while TcpStream::connect(&address).is_err() {
            assert!(began.elapsed() < PATIENCE, "the registry does not listen");
            wait(Duration::from_millis(20));
        }
        Self { process, address, dir }
    }

    /// Puts the image of the tests there, and takes its name away from the engine.
    fn push(&self, node: &Node) -> String {
        let name = format!("{}/box:1", self.address);
        run(node.docker().args(["tag", &image(), &name]));
        let docker = || {
            let mut command = node.docker();
            command.env("DOCKER_CONFIG", self.dir.path());
            command
        };
        run(docker().args(["login", "-u", USER, "-p", PASSWORD, &self.address]));
        run(docker().args(["push", "-q", &name]));
        run(node.docker().args(["rmi", &name]));
        name
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill(); // It may have ended by itself.
        let _ = self.process.wait();
    }
}

#[expect(clippy::disallowed_methods, reason = "a registry starts in a tenth of a second")]
fn wait(time: Duration) {
    std::thread::sleep(time);
}

fn login(password: &str) -> Option<RegistryAuth> {
    Some(RegistryAuth::Basic { username: USER.to_owned(), password: password.to_owned() })
}

#[tokio::test]
async fn a_private_image_needs_its_login_and_a_digest_pins_it() {
    if !possible() {
        return;
    }
    let node = Node::open().await;
    let registry = Registry::start();
    let name = registry.push(&node);
    let mut container = node.container(1, shell("echo from the registry"));
    std::sync::Arc::make_mut(&mut container.spec).container.image.clone_from(&name);
    for auth in [None, login("wrong")] {
        container.registry_auth = auth;
        let error = node.runtime.prepare(&container).await.unwrap_err();
        assert!(matches!(error, RuntimeError::Unauthorized { .. }), "{error}");
    }
    container.registry_auth = login(PASSWORD);
    let prepared = node.runtime.prepare(&container).await.unwrap();
    let digest = prepared.image_digest;
    assert!(digest.starts_with("sha256:"), "{digest}");
    node.runtime.start(container.task).await.unwrap();
    assert_eq!(node.output(container.task).await, "from the registry\n");
    node.runtime.remove(container.task).await.unwrap();
    node.runtime.remove_image(&name).await.unwrap();

    // As the docker CLI writes it into a spec; the tag is for people.
    let pinned = format!("{name}@{digest}");
    let mut container = node.container(2, shell("echo pinned"));
    std::sync::Arc::make_mut(&mut container.spec).container.image.clone_from(&pinned);
    container.registry_auth = login(PASSWORD);
    let task = node.start(&container).await.unwrap();
    assert_eq!(node.output(task).await, "pinned\n");
    node.runtime.remove(task).await.unwrap();
    let bare = format!("{}@{digest}", name.trim_end_matches(":1"));
    node.runtime.remove_image(&bare).await.unwrap();

    let pulled = node.runtime.pull_image(&name, login(PASSWORD)).await.unwrap();
    assert_eq!(pulled.digest, digest);
    let unknown = format!("{}/box:2", registry.address);
    let error = node.runtime.pull_image(&unknown, login(PASSWORD)).await.unwrap_err();
    assert!(matches!(error, RuntimeError::NoSuchImage { .. }), "{error}");
    node.runtime.remove_image(&name).await.unwrap();
    let error = node.runtime.remove_image(&name).await.unwrap_err();
    assert!(matches!(error, RuntimeError::NoSuchImage { .. }), "{error}");
}

#[tokio::test]
async fn a_registry_that_is_not_there_is_not_the_specs_fault() {
    if !possible() {
        return;
    }
    let node = Node::open().await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut spec = shell("true");
    spec.image = format!("{free}/box:1");
    let error = node.runtime.prepare(&node.container(1, spec)).await.unwrap_err();
    assert_eq!(error.blame(), Blame::Registry, "{error}");
    let mut spec = shell("true");
    spec.image = "No Image".to_owned();
    let error = node.runtime.prepare(&node.container(2, spec)).await.unwrap_err();
    assert_eq!(error.blame(), Blame::Spec, "{error}");
}

#[tokio::test]
async fn a_saved_image_is_loaded() {
    if !possible() {
        return;
    }
    let node = Node::open().await;
    let dir = directory();
    let name = format!("skep-test/saved:{}", std::process::id());
    let archive = dir.path().join("saved.tar");
    run(node.docker().args(["tag", &image(), &name]));
    run(node.docker().args(["save", "-o"]).arg(&archive).arg(&name));
    run(node.docker().args(["rmi", &name]));
    let loaded = node.runtime.load_image(&archive).await.unwrap();
    assert_eq!(loaded.len(), 1, "{loaded:?}");
    assert!(loaded[0].names.contains(&name));
    assert!(node.runtime.images().await.unwrap().contains(&loaded[0]));
    node.runtime.remove_image(&name).await.unwrap();
    std::fs::write(&archive, "no archive").unwrap();
    let error = node.runtime.load_image(&archive).await.unwrap_err();
    assert_eq!(error.blame(), Blame::Spec, "{error}");
}
