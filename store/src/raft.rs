//! Raft itself: everything that names openraft is here and below.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use openraft::{Config as RaftConfig, SnapshotPolicy};
use tokio::sync::watch;

mod log;
mod machine;
mod network;
mod operate;
mod server;
mod types;

use crate::backend::{BackendError, LogBackend};
use crate::config::{Compaction, Timing};
use crate::error::OpenError;
use crate::guard::Guard;
use crate::records::{Address, IdentityRecord};
use crate::snapshot::SnapshotDir;
use crate::store::Ground;
use crate::writer::{Busy, WriterEnd};
use log::{LoadError, Log};
use machine::Machine;
use network::Network;
use server::Server;
use types::Types;

pub(crate) use machine::Published;
pub(crate) use operate::{Blocked, ReadBlocked};
pub(crate) use server::ServeError;

type Raft = openraft::Raft<Types, Machine>;

/// How long a whole snapshot may take; openraft's default of 200 ms suits none.
const SNAPSHOT_PATIENCE_MS: u64 = 30_000;

/// Where the log is, in the store's folder.
pub(crate) const LOG_DIR: &str = "log";

/// Opens the log in a folder. Blocks.
pub(crate) type OpenLog =
    Arc<dyn Fn(&Path) -> Result<Box<dyn LogBackend>, BackendError> + Send + Sync>;

/// What a Raft is started from.
pub(crate) struct Parts {
    pub(crate) dir: PathBuf,
    pub(crate) identity: IdentityRecord,
    pub(crate) timing: Timing,
    pub(crate) compaction: Compaction,
    pub(crate) ground: Ground,
    pub(crate) published: Published,
}

/// A Raft that runs.
pub(crate) struct Running {
    raft: Raft,
    pub(crate) identity: IdentityRecord,
    pub(crate) server: Server,
    pub(crate) log_end: watch::Receiver<WriterEnd>,
    pub(crate) log_busy: Busy,
}

/// Opens log and snapshots and starts Raft.
pub(crate) async fn start(parts: Parts) -> Result<Running, OpenError> {
    let Parts { dir, identity, timing, compaction, ground, published } = parts;
    let Ground { channel, open_log, .. } = ground;
    let config = Arc::new(raft_config(timing, compaction)?);
    let (log, snapshots, machine) = tokio::task::spawn_blocking(move || {
        open_files(dir, &open_log, identity.genesis, published)
    })
    .await
    .map_err(|error| OpenError::Raft(error.to_string()))??;
    let (log_end, log_busy) = (log.writer().end(), log.writer().busy());
    let guard = Arc::new(Mutex::new(Guard::new(Address {
        genesis: identity.genesis,
        recovery_epoch: identity.recovery_epoch,
        from: identity.raft_id,
        to: 0,
        incarnation: identity.incarnation,
        log_life: identity.log_life,
    })));
    let me = identity.raft_id;
    let network = Network { channel, guard: Arc::clone(&guard), me };
    let raft = Raft::new(me, config, network, log, machine)
        .await
        .map_err(|error| OpenError::Raft(error.to_string()))?;
    let server = Server::new(raft.clone(), guard, snapshots);
    Ok(Running { raft, identity, server, log_end, log_busy })
}

fn open_files(
    dir: PathBuf,
    open_log: &OpenLog,
    genesis: [u8; 16],
    published: Published,
) -> Result<(Log, SnapshotDir, Machine), OpenError> {
    let backend = open_log(&dir.join(LOG_DIR))?;
    let snapshots = SnapshotDir::open(&dir.join("snapshots"))?;
    let machine = Machine::load(genesis, snapshots.clone(), published)?;
    let log = Log::load(backend).map_err(|error| match error {
        LoadError::Backend(error) => OpenError::Log(error),
        LoadError::Thread(source) | LoadError::Garbled(source) => {
            OpenError::LogContents { dir: dir.clone(), source }
        }
    })?;
    let snapshot = machine.snapshot_last();
    match log.purged() {
        Some(purged) if Some(purged.index) > snapshot.map(|id| id.index) => Err(OpenError::Gap {
            dir,
            purged: purged.index,
            snapshot: snapshot.map_or(0, |id| id.index),
        }),
        _ => Ok((log, snapshots, machine)),
    }
}

fn raft_config(timing: Timing, compaction: Compaction) -> Result<RaftConfig, OpenError> {
    let millis = |duration: std::time::Duration| {
        u64::try_from(duration.as_millis()).map_err(|error| OpenError::Timing(error.to_string()))
    };
    RaftConfig {
        cluster_name: "skep".to_owned(),
        election_timeout_min: millis(timing.election_min)?,
        election_timeout_max: millis(timing.election_max)?,
        heartbeat_interval: millis(timing.heartbeat)?,
        install_snapshot_timeout: SNAPSHOT_PATIENCE_MS,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(compaction.snapshot_each),
        max_in_snapshot_log_to_keep: compaction.keep,
        // Must exceed the snapshot interval, or a snapshot may not help a follower that is late.
        replication_lag_threshold: compaction.snapshot_each.saturating_mul(2),
        enable_pre_vote: Some(true),
        // A leader that restarts must be elected again: with its state in memory it would
        // otherwise answer reads from before its restart.
        enable_leader_restore: Some(false),
        ..RaftConfig::default()
    }
    .validate()
    .map_err(|error| OpenError::Timing(error.to_string()))
}
