//! What the daemon and the shim tell each other through files, and where these are.
//!
//! ```text
//!   DIR/request.json   what to run: written by the daemon before the shim starts
//!   DIR/state.json     which processes: written by the shim when the container is made
//!   DIR/exit.json      how it ended: written by the shim as the last thing
//!   DIR/lock           locked by the shim as long as it lives
//!   DIR/log.jsonl      output, and log.jsonl.1, log.jsonl.2: older output
//!   DIR/shim.log       what the shim itself has to say
//! ```
//!
//! A shim may be older than the daemon that reads its files: fields are only ever
//! added, with a default.

use std::path::{Path, PathBuf};

use crypto::NodeId;
use model::{ClusterId, ServiceId, TaskId, UnixNanos};
use serde::{Deserialize, Serialize};

use crate::pid::ProcessName;

/// What to run.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Request {
    pub(crate) identity: Identity,
    /// Path of the control socket: short, because a socket's path may have 108 bytes.
    pub(crate) control: PathBuf,
    /// Sent when the shim itself is asked to end.
    pub(crate) stop_signal: i32,
    pub(crate) stop_grace_millis: u64,
    pub(crate) image_digest: String,
    pub(crate) logs: LogLimits,
    pub(crate) workload: Workload,
}

/// Whose container it is.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Identity {
    pub(crate) task: TaskId,
    pub(crate) service: ServiceId,
    pub(crate) cluster: ClusterId,
    pub(crate) node: NodeId,
    pub(crate) name: String,
}

/// How much output is kept.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct LogLimits {
    /// Bytes of one file.
    pub(crate) file_bytes_max: u64,
    /// Files, the current one included.
    pub(crate) n_files_max: u32,
}

impl LogLimits {
    /// 30 MiB for a task: enough to see what happened, and 100 tasks fit 3 GiB.
    pub(crate) const DEFAULT: Self = Self { file_bytes_max: 10 * 1024 * 1024, n_files_max: 3 };
}

/// What kind of process.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) enum Workload {
    /// A container.
    Container(Box<ContainerRequest>),
    /// A process of the node, without any isolation.
    Process(ProcessRequest),
}

/// A container, fully resolved but for what only its file system tells (users).
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct ContainerRequest {
    /// Directories for overlayfs, topmost first.
    pub(crate) lower_dirs: Vec<PathBuf>,
    /// Whether we are root of a user namespace only.
    pub(crate) rootless: bool,
    /// Path below the root of each cgroup hierarchy; none if the node has no cgroups.
    pub(crate) cgroup: Option<String>,
    pub(crate) memory_bytes: Option<i64>,
    /// Whether swap is limited as well.
    pub(crate) limit_swap: bool,
    pub(crate) nano_cpus: Option<i64>,
    pub(crate) pids: Option<i64>,
    pub(crate) hostname: String,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<String>,
    pub(crate) dir: String,
    pub(crate) user: String,
    pub(crate) groups: Vec<String>,
    pub(crate) read_only: bool,
    pub(crate) mounts: Vec<MountRequest>,
    /// Secrets and configs, whose content comes through a pipe.
    pub(crate) files: Vec<FileRequest>,
    pub(crate) hosts: Vec<String>,
    pub(crate) nameservers: Vec<String>,
    pub(crate) dns_search: Vec<String>,
    pub(crate) dns_options: Vec<String>,
    pub(crate) sysctls: Vec<(String, String)>,
    pub(crate) capabilities: Vec<String>,
    pub(crate) rlimits: Vec<(String, u64, u64)>,
    pub(crate) oom_score_adj: i64,
}

/// One mount that the user asked for.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) enum MountRequest {
    Bind { source: String, target: String, read_only: bool },
    Tmpfs { target: String, size_bytes: i64, mode: u32, read_only: bool },
}

/// A secret or a config: where it goes. Its content is never in here.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct FileRequest {
    pub(crate) target: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mode: u32,
}

/// A process of the node.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct ProcessRequest {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    /// The port in the image that callers ask for.
    pub(crate) image_port: u16,
    /// The port on 127.0.0.1 that it was given instead.
    pub(crate) host_port: u16,
}

/// Which processes belong to a task.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct ShimState {
    pub(crate) boot_id: String,
    pub(crate) shim: ProcessName,
    pub(crate) init: ProcessName,
    pub(crate) created_at: UnixNanos,
    pub(crate) started_at: Option<UnixNanos>,
}

/// Paths of one task's directory.
#[derive(Clone, Debug)]
pub(crate) struct TaskDir(pub(crate) PathBuf);

impl TaskDir {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn request(&self) -> PathBuf {
        self.0.join("request.json")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.0.join("state.json")
    }

    pub(crate) fn exit(&self) -> PathBuf {
        self.0.join("exit.json")
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.0.join("log.jsonl")
    }

    pub(crate) fn shim_log(&self) -> PathBuf {
        self.0.join("shim.log")
    }
}
