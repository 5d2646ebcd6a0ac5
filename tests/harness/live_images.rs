//! Images made by hand, and a registry that has them.
#![expect(clippy::expect_used, reason = "only tests link this, and they end so")]

use std::fmt::Write as _;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::live::{Lab, has, pause, skip};

/// Who may pull where a login is needed.
pub const USER: &str = "me";
/// Its password.
pub const PASSWORD: &str = "hunter2";
/// The same as the registry keeps it: bcrypt.
const HTPASSWD: &str = "me:$2y$05$abcdefghijklmnopqrstuuoXuKqgZXLiJqzfmMXDDhSFPIvxV7t8.\n";
/// A registry of Go starts in a moment, on a machine that has one to spare.
const START_MAX: Duration = Duration::from_secs(20);

/// One layer with a web server of busybox that says one line.
#[derive(Debug)]
pub struct Image {
    layer: Vec<u8>,
    config: Vec<u8>,
}

impl Image {
    /// An image whose web server says `line`.
    #[must_use]
    pub fn new(line: &str) -> Self {
        let mut layer = tar::Builder::new(Vec::new());
        for directory in ["bin/", "www/"] {
            add(&mut layer, directory, tar::EntryType::Directory, 0o755, b"");
        }
        let busybox = std::fs::read(busybox()).expect("busybox of busybox-static");
        add(&mut layer, "bin/busybox", tar::EntryType::Regular, 0o755, &busybox);
        for name in ["bin/sh", "bin/sleep"] {
            link(&mut layer, name, "busybox");
        }
        add(&mut layer, "www/index.html", tar::EntryType::Regular, 0o644, line.as_bytes());
        let layer = layer.into_inner().expect("memory");
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let config = json!({
            "architecture": architecture,
            "os": "linux",
            "config": {
                "Env": ["PATH=/bin"],
                "Cmd": ["/bin/busybox", "httpd", "-f", "-p", "80", "-h", "/www"],
                // As process 1 busybox would not hear SIGTERM.
                "StopSignal": "SIGKILL",
            },
            "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] },
        });
        Self { layer, config: config.to_string().into_bytes() }
    }

    /// The directory that its layer makes.
    pub fn unpack(&self, to: &Path) {
        tar::Archive::new(self.layer.as_slice()).unpack(to).expect("a directory");
    }

    /// What `docker save` writes.
    pub fn save(&self, name: &str, to: &Path) {
        let config = format!("{}.json", hex(&self.config));
        let layer = format!("{}/layer.tar", hex(&self.layer));
        let manifest = json!([{ "Config": config, "RepoTags": [name], "Layers": [layer] }]);
        let manifest = manifest.to_string();
        let files = [
            (config.as_str(), self.config.as_slice()),
            (layer.as_str(), &self.layer),
            ("manifest.json", manifest.as_bytes()),
        ];
        write_tar(to, &files);
    }

    /// An OCI layout in a tar.
    pub fn layout(&self, name: &str, to: &Path) {
        let manifest = self.manifest();
        let index = json!({
            "schemaVersion": 2,
            "manifests": [{
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": digest(&manifest), "size": manifest.len(),
                "annotations": { "io.containerd.image.name": name },
            }],
        });
        let index = index.to_string();
        let blob = |bytes: &[u8]| format!("blobs/sha256/{}", hex(bytes));
        let (config, layer, name) = (blob(&self.config), blob(&self.layer), blob(&manifest));
        let files = [
            ("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#.as_slice()),
            ("index.json", index.as_bytes()),
            (config.as_str(), &self.config),
            (layer.as_str(), &self.layer),
            (name.as_str(), &manifest),
        ];
        write_tar(to, &files);
    }

    fn manifest(&self) -> Vec<u8> {
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": digest(&self.config), "size": self.config.len(),
            },
            "layers": [{
                "mediaType": "application/vnd.oci.image.layer.v1.tar",
                "digest": digest(&self.layer), "size": self.layer.len(),
            }],
        });
        manifest.to_string().into_bytes()
    }
}

/// Debian's docker-registry on the loopback of host 1; it ends with this.
#[derive(Debug)]
pub struct Registry {
    daemon: Child,
    port: u16,
    login: bool,
}

impl Registry {
    /// Starts one; with `login` it asks for [`USER`] and [`PASSWORD`].
    #[must_use]
    pub fn start(lab: &Lab, port: u16, login: bool) -> Self {
        let dir = lab.dir().join(format!("registry{port}"));
        std::fs::create_dir_all(&dir).expect("a directory");
        let users = dir.join("users");
        std::fs::write(&users, HTPASSWD).expect("a file");
        let mut config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
             http: {{addr: 127.0.0.1:{port}}}\n",
            dir.display()
        );
        if login {
            let _ =
                writeln!(config, "auth: {{htpasswd: {{realm: test, path: {}}}}}", users.display());
        }
        let file = dir.join("config.yml");
        std::fs::write(&file, config).expect("a file");
        let log = std::fs::File::create(dir.join("log")).expect("a file");
        let mut command = lab.network.command(1, Path::new("docker-registry"));
        command.arg("serve").arg(file).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a file")).stderr(log);
        let daemon = command.spawn().expect("docker-registry of docker-registry runs");
        let registry = Self { daemon, port, login };
        let began = Instant::now();
        while !lab.network.on(1, || TcpStream::connect(("127.0.0.1", port)).is_ok()) {
            assert!(began.elapsed() < START_MAX, "docker-registry does not listen at {port}");
            pause(Duration::from_millis(100));
        }
        registry
    }

    /// Pushes an image and gives the name by which it is pulled.
    #[must_use]
    pub fn push(&self, lab: &Lab, image: &Image, repository: &str, tag: &str) -> String {
        for blob in [&image.config, &image.layer] {
            let begun = self.curl(lab, "POST", &format!("/v2/{repository}/blobs/uploads/"), None);
            let location = begun
                .lines()
                .find_map(|line| line.strip_prefix("Location: "))
                .unwrap_or_else(|| unreachable!("the registry takes no blob: {begun}"));
            let and = if location.contains('?') { '&' } else { '?' };
            let put = format!("{}{and}digest={}", location.trim(), digest(blob));
            self.upload(lab, &put, blob, "application/octet-stream");
        }
        let put = format!("/v2/{repository}/manifests/{tag}");
        self.upload(lab, &put, &image.manifest(), "application/vnd.oci.image.manifest.v1+json");
        format!("127.0.0.1:{}/{repository}:{tag}", self.port)
    }

    fn upload(&self, lab: &Lab, to: &str, bytes: &[u8], kind: &str) {
        let file = lab.dir().join("upload");
        std::fs::write(&file, bytes).expect("a file");
        let answer = self.curl(lab, "PUT", to, Some((&file, kind)));
        assert!(answer.contains(" 201 "), "the registry answers {answer}");
    }

    fn curl(&self, lab: &Lab, method: &str, to: &str, body: Option<(&Path, &str)>) -> String {
        let mut command = lab.network.command(1, Path::new("curl"));
        command.args(["-s", "-i", "--http1.1", "-X", method]);
        if self.login {
            command.args(["-u", &format!("{USER}:{PASSWORD}")]);
        }
        match body {
            Some((file, kind)) => {
                command.args(["-H", &format!("Content-Type: {kind}"), "--data-binary"]);
                command.arg(format!("@{}", file.display()));
            }
            None => _ = command.args(["--data-binary", ""]),
        }
        let url = if to.starts_with("http") {
            to.to_owned()
        } else {
            format!("http://127.0.0.1:{}{to}", self.port)
        };
        let output = command.arg(url).output().expect("curl of curl runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.daemon.kill(); // It may have ended by itself.
        let _ = self.daemon.wait();
    }
}

/// Where the busybox is that needs no libraries.
fn busybox() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).map(|place| place.join("busybox"));
    places.find(|place| place.is_file()).expect("busybox of busybox-static")
}

/// Whether this machine has a busybox that runs in an empty directory.
#[must_use]
pub fn possible() -> bool {
    if !has("busybox", "busybox-static", "registry") {
        return false;
    }
    let dynamic = Command::new("grep").args(["-q", "/ld-linux"]).arg(busybox()).status();
    let is_static = !dynamic.is_ok_and(|found| found.success());
    is_static || skip("registry", "busybox needs libraries: apt-get install busybox-static")
}

fn add(tar: &mut tar::Builder<Vec<u8>>, path: &str, kind: tar::EntryType, mode: u32, bytes: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(bytes.len() as u64);
    tar.append_data(&mut header, path, bytes).expect("memory");
}

fn link(tar: &mut tar::Builder<Vec<u8>>, path: &str, to: &str) {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_mode(0o777);
    header.set_size(0);
    tar.append_link(&mut header, path, to).expect("memory");
}

fn write_tar(to: &Path, files: &[(&str, &[u8])]) {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, bytes) in files {
        add(&mut tar, path, tar::EntryType::Regular, 0o644, bytes);
    }
    std::fs::write(to, tar.into_inner().expect("memory")).expect("a file");
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // A string takes everything.
        text
    })
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(bytes))
}
