//! A process that is killed while it writes loses nothing that it acknowledged.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command as Process, Stdio};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use crypto::NodeId;
use model::Command;
use tokio_util::sync::CancellationToken;

use super::harness::{PATIENCE, charter, has_nodes, sled};
use crate::channel::{Channel, ChannelError};
use crate::store::{Ground, STUCK_AFTER};
use crate::testing::{CLUSTER, admission, node};
use crate::{Config, ProposeError, Store, Timing};

const ROUNDS: u64 = 20;
/// Set for the process that writes: its folder.
const DIR: &str = "SKEP_TEST_KILL_DIR";
/// How many admissions were acknowledged before.
const ACKNOWLEDGED: &str = "SKEP_TEST_KILL_ACKNOWLEDGED";
/// First number that is admitted.
const FIRST: u64 = 100;

struct Alone;

#[async_trait]
impl Channel for Alone {
    async fn call(
        &self,
        node: NodeId,
        _: &'static str,
        _: Vec<u8>,
        _: Duration,
    ) -> Result<Vec<u8>, ChannelError> {
        Err(ChannelError::Timeout { node })
    }

    async fn send_file(
        &self,
        node: NodeId,
        _: Vec<u8>,
        _: &Path,
        _: Duration,
    ) -> Result<Vec<u8>, ChannelError> {
        Err(ChannelError::Timeout { node })
    }
}

/// Checks what is there, then admits one node after the other and says so, until it is killed.
async fn write_until_killed(dir: &str, acknowledged: u64) {
    let mut config = Config::new(dir, node(1), acknowledged + 1);
    config.timing = Timing {
        election_min: Duration::from_millis(40),
        election_max: Duration::from_millis(60),
        heartbeat: Duration::from_millis(15),
    };
    config.compaction.snapshot_each = 200;
    config.compaction.keep = 50;
    let channel = Arc::new(Alone);
    let ground = Ground { channel, open_log: sled(), stuck_after: STUCK_AFTER };
    let stop = CancellationToken::new();
    let (store, driver) = Store::open_on(config, ground, stop).await.unwrap();
    let mut drivers = tokio::task::JoinSet::new();
    drivers.spawn(driver);
    store.found(&charter(1)).await.unwrap();
    let founders = vec![(1, admission(1))];
    match store.propose(Command::Found { id: CLUSTER, founders }, None, PATIENCE).await {
        Ok(_) | Err(ProposeError::Refused(_)) => {}
        Err(error) => panic!("{error}"),
    }
    let state = store.read(PATIENCE).await.unwrap();
    assert!(has_nodes(&state, FIRST..FIRST + acknowledged), "LOST {acknowledged}");
    println!("verified {acknowledged}");
    for number in acknowledged.. {
        let command = Command::Admit(admission(FIRST + number));
        store.propose(command, None, PATIENCE).await.unwrap();
        println!("acknowledged {}", number + 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_loses_nothing_that_was_acknowledged() {
    if let Ok(dir) = std::env::var(DIR) {
        let acknowledged = std::env::var(ACKNOWLEDGED).unwrap().parse().unwrap();
        return write_until_killed(&dir, acknowledged).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for round in 0..=ROUNDS {
        // The last round only looks; the others are killed after a time that differs.
        let enough = if round == ROUNDS { 1 } else { 1 + round * 7 % 60 };
        let before = acknowledged;
        acknowledged = one_round(dir.path(), acknowledged, enough);
        assert!(acknowledged > before, "round {round} wrote nothing");
    }
}

/// Runs the writer until it has acknowledged `enough`, kills it; how many it acknowledged in all.
fn one_round(dir: &Path, before: u64, enough: u64) -> u64 {
    let mut child = Process::new(std::env::current_exe().unwrap())
        .args(["--exact", "tests::kill::a_kill_loses_nothing_that_was_acknowledged", "--nocapture"])
        .env(DIR, dir)
        .env(ACKNOWLEDGED, before.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut acknowledged = before;
    let mut verified = false;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        // The harness of the child may have written the begin of the line.
        verified |= line.ends_with(&format!("verified {before}"));
        if let Some((_, number)) = line.split_once("acknowledged ") {
            acknowledged = number.parse().unwrap();
            if before + enough <= acknowledged {
                // Whatever is under way dies with it; what it says until then still counts.
                child.kill().unwrap();
            }
        }
    }
    child.wait().unwrap();
    assert!(verified, "the writer did not find what was acknowledged: {before}");
    acknowledged
}
