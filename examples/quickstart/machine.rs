//! What the machine must have, said before time is spent; and the binary that is shipped.

use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cluster::{CONTROL_PORT, N_NODES, PUBLISHED_PORT, address};
use crate::narrator::Narrator;

/// How tasks run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Runtime {
    /// As containers.
    Embedded,
    /// As plain processes.
    Process,
}

/// Looks for everything that would fail later, and says how to cure it.
pub(crate) fn check(narrator: &mut Narrator, runtime: Runtime) -> Result<()> {
    let mut missing = Vec::new();
    if !cfg!(target_os = "linux") {
        bail!("skep runs on Linux (x86_64 and aarch64) only");
    }
    for n in 1..=N_NODES {
        let ip = address(n);
        let ports = [(ip.as_str(), CONTROL_PORT), (ip.as_str(), PUBLISHED_PORT)];
        for (ip, port) in ports {
            if TcpListener::bind((ip, port)).is_err() || UdpSocket::bind((ip, port)).is_err() {
                missing.push(format!(
                    "{ip}:{port} is taken: `ss -ltnup | grep :{port}` shows by whom"
                ));
            }
        }
    }
    if runtime == Runtime::Embedded && !is_root() {
        missing.extend(user_namespaces());
    }
    if runtime == Runtime::Process {
        narrator.note("Tasks ran as plain processes, without isolation: --runtime process.");
    }
    if missing.is_empty() {
        return Ok(());
    }
    bail!("this machine lacks something:\n  {}", missing.join("\n  "))
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// An ordinary user needs user namespaces for containers.
fn user_namespaces() -> Option<String> {
    let tried = Command::new("unshare").args(["--user", "--map-root-user", "true"]).output();
    let works = tried.is_ok_and(|output| output.status.success());
    (!works).then(|| {
        "containers without root need user namespaces: `sudo sysctl -w \
         kernel.unprivileged_userns_clone=1 kernel.apparmor_restrict_unprivileged_userns=0` allows \
         them, or run with `-- --runtime process`"
            .to_owned()
    })
}

/// The binary that the reader brought.
pub(crate) fn given(binary: &Path) -> Result<PathBuf> {
    let binary = binary.canonicalize().with_context(|| format!("--binary {}", binary.display()))?;
    if !binary.is_file() {
        bail!("--binary {} is no file", binary.display());
    }
    Ok(binary)
}

/// Builds the shipped binary with the same cargo; its progress is shown.
pub(crate) fn build(narrator: &Narrator) -> Result<PathBuf> {
    narrator.heading("Build the binary that is shipped");
    narrator.command("cargo build --release --bin skep");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("no workspace")?;
    let mut command = Command::new(cargo);
    // What cargo tells this program about itself would make the inner cargo build some crates
    // again: their build scripts look at it.
    let own = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_", "CARGO_BIN_", "CARGO_PRIMARY_"];
    for (name, _) in std::env::vars_os() {
        if own.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    let built = command
        .args(["build", "--release", "--bin", "skep"])
        .current_dir(root)
        .status()
        .context("cannot run cargo")?;
    if !built.success() {
        bail!("the build failed: a C compiler is needed too (`apt install gcc`)");
    }
    // Beside this example: target/release/examples/quickstart.
    let own = std::env::current_exe().context("cannot find this program")?;
    let binary = own.parent().and_then(Path::parent).context("no target directory")?.join("skep");
    if !binary.exists() {
        bail!("{} was not built: run this example with --release", binary.display());
    }
    Ok(binary)
}
