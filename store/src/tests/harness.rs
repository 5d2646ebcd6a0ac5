//! A cluster in one process: real logs on disk, a network of function calls.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use crypto::NodeId;
use model::{Command, State};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::backend::sled::SledBackend;
use crate::channel::{Channel, ChannelError};
use crate::raft::OpenLog;
use crate::store::{Charter, Ground, STUCK_AFTER};
use crate::testing::{CLUSTER, admission, node};
use crate::{Config, ProposeError, RaftStatus, Store, StoreFailed};

/// Far beyond what anything here takes, even on a machine with other things to do.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
pub(super) const SECONDS_2: Duration = Duration::from_secs(2);

/// Who hears whom.
#[derive(Clone, Default)]
pub(super) struct Net(Arc<Mutex<NetState>>);

#[derive(Default)]
struct NetState {
    stores: BTreeMap<NodeId, Store>,
    cut: BTreeSet<NodeId>,
}

impl Net {
    fn reach(&self, from: NodeId, to: NodeId) -> Result<Store, ChannelError> {
        let net = self.0.lock().unwrap();
        let lost = || ChannelError::Unreachable { node: to, why: "cut".to_owned() };
        if net.cut.contains(&from) || net.cut.contains(&to) {
            return Err(lost());
        }
        net.stores.get(&to).cloned().ok_or_else(lost)
    }

    pub(super) fn cut(&self, number: u64) {
        self.0.lock().unwrap().cut.insert(node(number));
    }

    pub(super) fn heal(&self, number: u64) {
        self.0.lock().unwrap().cut.remove(&node(number));
    }
}

struct Port {
    net: Net,
    me: NodeId,
}

#[async_trait]
impl Channel for Port {
    async fn call(
        &self,
        node: NodeId,
        path: &'static str,
        body: Vec<u8>,
        deadline: Duration,
    ) -> Result<Vec<u8>, ChannelError> {
        let store = self.net.reach(self.me, node)?;
        let answer = timeout(deadline, store.answer(self.me, path, &body)).await;
        let answer = answer.map_err(|_| ChannelError::Timeout { node })?;
        // A node that was cut off meanwhile is not heard.
        self.net.reach(self.me, node)?;
        answer.map_err(|error| ChannelError::Refused { node, why: error.to_string() })
    }

    async fn send_file(
        &self,
        node: NodeId,
        body: Vec<u8>,
        file: &Path,
        deadline: Duration,
    ) -> Result<Vec<u8>, ChannelError> {
        let store = self.net.reach(self.me, node)?;
        let file = tokio::fs::File::open(file).await.unwrap();
        let answer = timeout(deadline, store.install(self.me, &body, file)).await;
        let answer = answer.map_err(|_| ChannelError::Timeout { node })?;
        answer.map_err(|error| ChannelError::Refused { node, why: error.to_string() })
    }
}

pub(super) fn sled() -> OpenLog {
    Arc::new(|dir| Ok(Box::new(SledBackend::open(dir)?)))
}

pub(super) struct Member {
    pub(super) store: Store,
    stop: CancellationToken,
    driver: JoinSet<Result<(), StoreFailed>>,
}

impl Member {
    /// Waits until it ends by itself.
    pub(super) async fn ended(&mut self) -> Result<(), StoreFailed> {
        timeout(PATIENCE, self.driver.join_next()).await.unwrap().unwrap().unwrap()
    }
}

/// Nodes by number; the number is the Raft id of a founder.
pub(super) struct Cluster {
    pub(super) net: Net,
    pub(super) dirs: BTreeMap<u64, TempDir>,
    pub(super) members: BTreeMap<u64, Member>,
    pub(super) open_log: OpenLog,
    pub(super) stuck_after: Duration,
    starts: u64,
}

impl Cluster {
    pub(super) fn new() -> Self {
        Self {
            net: Net::default(),
            dirs: BTreeMap::new(),
            members: BTreeMap::new(),
            open_log: sled(),
            stuck_after: STUCK_AFTER,
            starts: 0,
        }
    }

    /// A founded cluster that has a leader.
    pub(super) async fn founded(size: u64) -> Self {
        let mut cluster = Self::new();
        for number in 1..=size {
            cluster.start(number).await;
        }
        for number in 1..=size {
            cluster.store(number).found(&charter(size)).await.unwrap();
        }
        let founders = (1..=size).map(|number| (number, admission(number))).collect();
        cluster.write(Command::Found { id: CLUSTER, founders }).await;
        cluster
    }

    /// Starts a node, or starts it again on the same disk.
    pub(super) async fn start(&mut self, number: u64) {
        self.starts += 1;
        let dir = self.dirs.entry(number).or_insert_with(|| tempfile::tempdir().unwrap());
        let config = Config::new(dir.path(), node(number), self.starts);
        let channel = Arc::new(Port { net: self.net.clone(), me: node(number) });
        let open_log = Arc::clone(&self.open_log);
        let ground = Ground { channel, open_log, stuck_after: self.stuck_after };
        let stop = CancellationToken::new();
        let (store, run) = Store::open_on(config, ground, stop.clone()).await.unwrap();
        let mut driver = JoinSet::new();
        driver.spawn(run);
        self.net.0.lock().unwrap().stores.insert(node(number), store.clone());
        self.members.insert(number, Member { store, stop, driver });
    }

    /// Nobody hears it any more, then its process ends.
    pub(super) async fn kill(&mut self, number: u64) {
        self.net.0.lock().unwrap().stores.remove(&node(number));
        let mut member = self.members.remove(&number).unwrap();
        member.stop.cancel();
        member.ended().await.unwrap();
    }

    /// Ends all: sled waits for ever for files that are gone, and all of its databases in a
    /// process share a lock, so the folders go last.
    pub(super) async fn close(mut self) {
        for number in self.members.keys().copied().collect::<Vec<_>>() {
            self.kill(number).await;
        }
    }

    pub(super) fn store(&self, number: u64) -> &Store {
        &self.members[&number].store
    }

    /// Waits for a leader among those that run and are not cut off.
    pub(super) async fn leader(&self) -> u64 {
        let found = async {
            loop {
                for (number, member) in &self.members {
                    let cut = self.net.0.lock().unwrap().cut.contains(&node(*number));
                    if !cut && member.store.read(Duration::from_millis(500)).await.is_ok() {
                        return *number;
                    }
                }
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, found).await.expect("there is no leader")
    }

    /// Writes on whoever leads, as a client that repeats itself does.
    pub(super) async fn write(&self, command: Command) -> u64 {
        let written = async {
            loop {
                let leader = self.leader().await;
                let store = self.store(leader);
                match store.propose(command.clone(), None, SECONDS_2).await {
                    Ok(_) => return leader,
                    Err(ProposeError::Refused(refused)) => panic!("refused: {refused}"),
                    Err(_) => {}
                }
            }
        };
        timeout(PATIENCE, written).await.expect("nothing can be written")
    }

    /// Admits so many nodes: each is a write that can be found again.
    pub(super) async fn admit(&self, numbers: std::ops::Range<u64>) {
        for number in numbers {
            self.write(Command::Admit(admission(number))).await;
        }
    }

    pub(super) async fn state_where(&self, number: u64, fits: impl Fn(&State) -> bool) {
        let mut state = self.store(number).state();
        let fitting = state.wait_for(|state| fits(state));
        timeout(PATIENCE, fitting).await.expect("the state never came").unwrap();
    }

    pub(super) async fn status_where(
        &self,
        number: u64,
        fits: impl Fn(&RaftStatus) -> bool,
    ) -> Arc<RaftStatus> {
        let mut status: watch::Receiver<Arc<RaftStatus>> = self.store(number).status();
        let fitting = timeout(PATIENCE, status.wait_for(|status| fits(status))).await;
        let Ok(status) = fitting else { panic!("never so: {:?}", self.store(number).status()) };
        Arc::clone(&status.unwrap())
    }

    /// Waits until every running node has applied the same.
    pub(super) async fn agreed(&self) {
        let leader = self.leader().await;
        let state = self.store(leader).read(PATIENCE).await.unwrap();
        for number in self.members.keys() {
            self.state_where(*number, |other| *other == *state).await;
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // A test that failed must not hold up the others, see `close`.
        if !self.members.is_empty() {
            for (_, dir) in std::mem::take(&mut self.dirs) {
                drop(dir.keep());
            }
        }
    }
}

pub(super) fn charter(size: u64) -> Charter {
    Charter { cluster: CLUSTER, voters: (1..=size).map(|number| (number, node(number))).collect() }
}

pub(super) fn has_nodes(state: &State, numbers: std::ops::Range<u64>) -> bool {
    numbers.into_iter().all(|number| state.node(node(number)).is_some())
}
