//! The handle: what the rest of Skep asks of the store.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crypto::NodeId;
use model::{Applied, ClusterId, Command, Entry, Index, Refused, RequestId, State, UnixNanos};
use tokio::io::AsyncRead;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::changes::Subscription;
use crate::channel::Channel;
use crate::config::Config;
use crate::error::{ChangeError, OpenError, ProposeError, ReadError, StoreFailed};
use crate::genesis::Genesis;
use crate::identity;
use crate::raft::{self, Blocked, OpenLog, Parts, Published, ReadBlocked, Running, ServeError};
use crate::records::{IdentityRecord, LogPosition};
use crate::status::RaftStatus;
use crate::writer::WriterEnd;

/// Commands that may be under way together, in KiB. Raft's own queue counts messages, not bytes.
const IN_FLIGHT_KIB: u32 = 32 << 10;
/// How long a write or read that found no leader waits before it looks again, unless the status
/// changes first.
const LEADER_RETRY: Duration = Duration::from_millis(25);
/// How long a change of members may take before its outcome is called unknown.
const CHANGE_PATIENCE: Duration = Duration::from_secs(10);
/// How long a successor has to win its election: some election timeouts.
const TRANSFER_RETRY: Duration = Duration::from_secs(1);
/// How long the end waits for the log to close.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);

/// A write that has not returned for so long never will. A disk that only stalls for so long is
/// of no use to Raft either.
pub(crate) const STUCK_AFTER: Duration = Duration::from_secs(30);
const STUCK_CHECK: Duration = Duration::from_secs(1);

/// What genesis decided: the cluster, and who votes first.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Charter {
    /// The cluster.
    pub cluster: ClusterId,
    /// Raft ids, slot + 1 each, and nodes of the founding voters: the same on each of them.
    pub voters: BTreeMap<u64, NodeId>,
}

impl From<&Genesis> for Charter {
    fn from(genesis: &Genesis) -> Self {
        let voters = genesis.founders.iter().map(|founder| (founder.raft_id, founder.id()));
        Self { cluster: genesis.cluster, voters: voters.collect() }
    }
}

/// The store. Clones are the same store.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("config", &self.shared.config)
            .field("status", &self.shared.status.borrow())
            .finish_non_exhaustive()
    }
}

/// What the store stands on, so that tests can give it something else.
#[derive(Clone)]
pub(crate) struct Ground {
    pub(crate) channel: Arc<dyn Channel>,
    pub(crate) open_log: OpenLog,
    /// After which time a write counts as one that never returns.
    pub(crate) stuck_after: Duration,
}

struct Shared {
    config: Config,
    ground: Ground,
    published: Published,
    status: watch::Sender<Arc<RaftStatus>>,
    running: watch::Sender<Option<Arc<Running>>>,
    /// One start at a time.
    starting: Semaphore,
    in_flight: Semaphore,
}

impl Store {
    /// Opens the folder, and starts Raft if this node has a part in it. The future runs until
    /// `stop`; if it ends with an error, the process must end, too.
    pub(crate) async fn open_on(
        config: Config,
        ground: Ground,
        stop: CancellationToken,
    ) -> Result<(Self, impl Future<Output = Result<(), StoreFailed>> + Send + use<>), OpenError>
    {
        let shared = Arc::new(Shared {
            ground,
            published: Published::new(),
            status: watch::Sender::new(Arc::default()),
            running: watch::Sender::new(None),
            starting: Semaphore::new(1),
            in_flight: Semaphore::new(IN_FLIGHT_KIB as usize),
            config,
        });
        let store = Self { shared };
        if let Some(identity) = store.own_identity()? {
            store.start(identity).await?;
        }
        let driver = drive(Arc::clone(&store.shared), stop);
        Ok((store, driver))
    }

    /// How Raft stands, as this node sees it.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Arc<RaftStatus>> {
        self.shared.status.subscribe()
    }

    /// What was applied here: it may be older than what others have.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<Arc<State>> {
        self.shared.published.state.subscribe()
    }

    /// Follows what is applied here, from the entry after `from` or from now on.
    #[must_use]
    pub fn subscribe(&self, from: Option<Index>) -> Subscription {
        self.shared.published.changes.subscribe(from)
    }

    /// The state with everything that was acknowledged before this call. Only the leader has it.
    ///
    /// # Errors
    ///
    /// [`ReadError`], at the latest after `deadline`.
    pub async fn read(&self, deadline: Duration) -> Result<Arc<State>, ReadError> {
        let until = Instant::now() + deadline;
        let mut status = self.status();
        loop {
            status.mark_unchanged();
            let running = self.running().ok_or(ReadError::NotLeader { leader: None })?;
            match timeout_at(until, running.confirm()).await {
                Ok(Ok(())) => return Ok(Arc::clone(&self.shared.published.state.borrow())),
                Ok(Err(ReadBlocked::Elsewhere(Some(leader)))) => {
                    return Err(ReadError::NotLeader { leader: Some(leader) });
                }
                Ok(Err(ReadBlocked::Stopped)) => return Err(ReadError::Stopped),
                Ok(Err(ReadBlocked::Elsewhere(None) | ReadBlocked::NoQuorum)) => {}
                Err(_elapsed) => return Err(ReadError::NoLeader),
            }
            if !look_again(&mut status, until).await {
                return Err(ReadError::NoLeader);
            }
        }
    }

    /// Writes a command and waits for what became of it. A command that carries a request id may
    /// be proposed again after [`ProposeError::Unconfirmed`]: it has effect once.
    ///
    /// # Errors
    ///
    /// [`ProposeError`], at the latest after `deadline`.
    pub async fn propose(
        &self,
        command: Command,
        request: Option<RequestId>,
        deadline: Duration,
    ) -> Result<Applied, ProposeError> {
        let until = Instant::now() + deadline;
        let bytes = encode(command, request)?;
        let kib = u32::try_from(bytes.len() / 1024 + 1).unwrap_or(IN_FLIGHT_KIB);
        let permit = timeout_at(until, self.shared.in_flight.acquire_many(kib)).await;
        let Ok(Ok(_permit)) = permit else { return Err(ProposeError::NoLeader) };
        let mut status = self.status();
        loop {
            status.mark_unchanged();
            let running = self.running().ok_or(ProposeError::NotLeader { leader: None })?;
            match timeout_at(until, running.write(bytes.clone())).await {
                Ok(Ok(outcome)) => return outcome.map_err(ProposeError::Refused),
                Ok(Err(Blocked::Elsewhere(None))) => {}
                Ok(Err(Blocked::Elsewhere(leader))) => {
                    return Err(ProposeError::NotLeader { leader });
                }
                Ok(Err(Blocked::Stopped { disk: true })) => return Err(ProposeError::Disk),
                Ok(Err(Blocked::Stopped { disk: false })) => return Err(ProposeError::Stopped),
                Ok(Err(Blocked::Unknown)) | Err(_) => return Err(ProposeError::Unconfirmed),
            }
            if !look_again(&mut status, until).await {
                return Err(ProposeError::NoLeader);
            }
        }
    }

    /// Takes the part of a founder that genesis gave this node. The same again changes nothing,
    /// so a founder that was interrupted repeats it.
    ///
    /// # Errors
    ///
    /// [`OpenError`]: this node is no founder, or has a part in another cluster already.
    pub async fn found(&self, charter: &Charter) -> Result<(), OpenError> {
        let Charter { cluster, voters } = charter;
        let node = self.shared.config.node;
        let found = voters.iter().find(|(_, founder)| **founder == node);
        let (raft_id, _) = found.ok_or(OpenError::NoFounder { node, cluster: *cluster })?;
        let running = self.take_part(*raft_id, *cluster, 0).await?;
        running.initialize(voters).await
    }

    /// Takes the part that an admission gave this node: an empty log, to be filled by the leader.
    /// The same again changes nothing.
    ///
    /// # Errors
    ///
    /// [`OpenError`]: this node has another part already.
    pub async fn enlist(
        &self,
        raft_id: u64,
        cluster: ClusterId,
        recovery_epoch: u32,
    ) -> Result<(), OpenError> {
        self.take_part(raft_id, cluster, recovery_epoch).await.map(drop)
    }

    /// Lets a node receive the log. It is a member at once; its lag shows in the status.
    ///
    /// # Errors
    ///
    /// [`ChangeError`], at the latest after 10 s.
    pub async fn add_learner(&self, raft_id: u64, node: NodeId) -> Result<(), ChangeError> {
        let running = self.member()?;
        in_time(running.add_learner(raft_id, node)).await
    }

    /// Makes `voters` the voters in one joint change, if the members are still those of the
    /// status that `based_on` was taken from. Who is no voter any more is no member any more. The
    /// same set again finishes a joint configuration that was left behind.
    ///
    /// # Errors
    ///
    /// [`ChangeError`], at the latest after 10 s.
    pub async fn change_voters(
        &self,
        voters: BTreeSet<u64>,
        based_on: LogPosition,
    ) -> Result<(), ChangeError> {
        let running = self.member()?;
        in_time(running.change_voters(voters, based_on)).await
    }

    /// Removes a node that only receives the log.
    ///
    /// # Errors
    ///
    /// [`ChangeError`], at the latest after 10 s.
    pub async fn remove_learner(&self, raft_id: u64) -> Result<(), ChangeError> {
        let running = self.member()?;
        in_time(running.remove_learner(raft_id)).await
    }

    /// Gives the lead to another voter, and waits until somebody else leads: that one, unless a
    /// third was faster.
    ///
    /// # Errors
    ///
    /// [`ChangeError`], at the latest after 10 s: this node may lead on.
    pub async fn transfer_leader(&self, raft_id: u64) -> Result<(), ChangeError> {
        let running = self.member()?;
        let mut status = self.status();
        {
            let status = status.borrow_and_update();
            if !status.is_leader() {
                return Err(ChangeError::NotLeader { leader: status.leader.map(|(_, node)| node) });
            }
            if !status.voters.contains_key(&raft_id) {
                return Err(ChangeError::NoMember(raft_id));
            }
            if status.raft_id == Some(raft_id) {
                return Ok(());
            }
        }
        in_time(async {
            // The other may lose its election, to us for one; then it is asked again.
            loop {
                running.transfer_leader(raft_id).await?;
                let led = status.wait_for(|status| {
                    status.leader.is_some_and(|(leader, _)| Some(leader) != status.raft_id)
                });
                match timeout(TRANSFER_RETRY, led).await {
                    Ok(led) => return led.map(drop).map_err(|_| ChangeError::Stopped),
                    Err(_elapsed) => {}
                }
            }
        })
        .await
    }

    /// Answers a Raft message of the node that the handshake named.
    pub(crate) async fn answer(
        &self,
        speaker: NodeId,
        path: &str,
        body: &[u8],
    ) -> Result<Vec<u8>, ServeError> {
        let running = self.running().ok_or(ServeError::Outside)?;
        running.server.answer(speaker, path, body).await
    }

    /// Receives a snapshot from the node that the handshake named.
    pub(crate) async fn install(
        &self,
        speaker: NodeId,
        body: &[u8],
        file: impl AsyncRead + Unpin + Send,
    ) -> Result<Vec<u8>, ServeError> {
        let running = self.running().ok_or(ServeError::Outside)?;
        running.server.install(speaker, body, file).await
    }

    pub(crate) fn running(&self) -> Option<Arc<Running>> {
        self.shared.running.borrow().clone()
    }

    fn member(&self) -> Result<Arc<Running>, ChangeError> {
        self.running().ok_or(ChangeError::NotLeader { leader: None })
    }

    /// What the folder says, if it says anything, checked against what we were told.
    fn own_identity(&self) -> Result<Option<IdentityRecord>, OpenError> {
        let config = &self.shared.config;
        let Some(identity) = identity::read(&config.dir)? else { return Ok(None) };
        let dir = config.dir.clone();
        let found = ClusterId::from_bytes(identity.genesis);
        if let Some(expected) = config.cluster.filter(|expected| *expected != found) {
            return Err(OpenError::OtherCluster { dir, found, expected });
        }
        if identity.node != config.node {
            let (found, expected) = (identity.node, config.node);
            return Err(OpenError::OtherNode { dir, found, expected });
        }
        Ok(Some(identity))
    }

    async fn take_part(
        &self,
        raft_id: u64,
        cluster: ClusterId,
        recovery_epoch: u32,
    ) -> Result<Arc<Running>, OpenError> {
        let _one = self.shared.starting.acquire().await;
        let config = &self.shared.config;
        if let Some(identity) = self.own_identity()? {
            let dir = config.dir.clone();
            let found = ClusterId::from_bytes(identity.genesis);
            if found != cluster {
                return Err(OpenError::OtherCluster { dir, found, expected: cluster });
            }
            if identity.raft_id != raft_id {
                let found = identity.raft_id;
                return Err(OpenError::OtherRaftId { dir, found, expected: raft_id });
            }
            if let Some(running) = self.running() {
                return Ok(running);
            }
            return self.start(identity).await;
        }
        let identity = IdentityRecord {
            genesis: *cluster.as_bytes(),
            recovery_epoch,
            raft_id,
            node: config.node,
            incarnation: config.incarnation,
            log_life: rand::random(),
        };
        // First who we are, then the log: a log without an owner could be taken for a fresh one.
        identity::write(&config.dir, &identity)?;
        self.start(identity).await
    }

    async fn start(&self, identity: IdentityRecord) -> Result<Arc<Running>, OpenError> {
        let Shared { config, ground, published, .. } = &*self.shared;
        let identity = IdentityRecord { incarnation: config.incarnation, ..identity };
        identity::write(&config.dir, &identity)?;
        let running = raft::start(Parts {
            dir: config.dir.clone(),
            identity,
            timing: config.timing,
            compaction: config.compaction,
            ground: ground.clone(),
            published: published.clone(),
        })
        .await?;
        let running = Arc::new(running);
        self.shared.status.send_replace(Arc::new(running.status()));
        self.shared.running.send_replace(Some(Arc::clone(&running)));
        tracing::info!(raft.id = identity.raft_id, "raft started");
        Ok(running)
    }
}

fn encode(command: Command, request: Option<RequestId>) -> Result<Vec<u8>, ProposeError> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = UnixNanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX));
    let invalid = |text: String| ProposeError::Refused(Refused::Invalid(text));
    let bytes =
        Entry { request, now, command }.encode().map_err(|error| invalid(error.to_string()))?;
    if bytes.len() > Entry::BYTES_MAX {
        let text = format!("{} bytes are over the limit of {}", bytes.len(), Entry::BYTES_MAX);
        return Err(invalid(text));
    }
    Ok(bytes)
}

/// Waits until another try may go better; `false` when there is no time for one.
async fn look_again(status: &mut watch::Receiver<Arc<RaftStatus>>, until: Instant) -> bool {
    let retry = Instant::now() + LEADER_RETRY;
    if until <= retry {
        return false;
    }
    tokio::select! {
        _ = status.changed() => {
            // Status changes come in bursts; a leader is not ready with the first.
            sleep(Duration::from_millis(2)).await;
        }
        () = tokio::time::sleep_until(retry) => {}
    }
    true
}

async fn in_time(change: impl Future<Output = Result<(), ChangeError>>) -> Result<(), ChangeError> {
    timeout(CHANGE_PATIENCE, change).await.unwrap_or(Err(ChangeError::Unconfirmed))
}

/// Runs until `stop`, or until Raft or its disk fails.
async fn drive(shared: Arc<Shared>, stop: CancellationToken) -> Result<(), StoreFailed> {
    let mut starts = shared.running.subscribe();
    let running = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        // The sender lives in `shared`, so this waits for a start or for ever.
        started = starts.wait_for(Option::is_some) => started.ok().and_then(|running| running.clone()),
    };
    let Some(running) = running else { return Ok(()) };
    let result = watch_over(&shared, &running, &stop).await;
    // Raft waits for its disk, which may be what does not answer.
    if timeout(CLOSE_PATIENCE, running.shutdown()).await.is_err() {
        tracing::warn!("raft did not stop in time");
    }
    shared.running.send_replace(None);
    shared.status.send_replace(Arc::default());
    let mut log_end = running.log_end.clone();
    drop(running);
    let closed = log_end.wait_for(|end| !matches!(end, WriterEnd::Running));
    match timeout(CLOSE_PATIENCE, closed).await {
        Ok(_) => tracing::info!("raft stopped"),
        Err(_elapsed) => tracing::warn!("raft stopped, its log is still open"),
    }
    result
}

async fn watch_over(
    shared: &Shared,
    running: &Running,
    stop: &CancellationToken,
) -> Result<(), StoreFailed> {
    let mut changes = running.changes();
    let mut log_end = running.log_end.clone();
    let mut check = tokio::time::interval(STUCK_CHECK);
    check.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let more = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            more = changes.next() => more,
            _ = log_end.changed() => true,
            _ = check.tick() => match running.log_busy.elapsed() {
                Some(waited) if shared.ground.stuck_after < waited => {
                    return Err(StoreFailed::Stuck { seconds: waited.as_secs() });
                }
                _ => continue,
            },
        };
        if let WriterEnd::Failed(error) = &*log_end.borrow_and_update() {
            return Err(StoreFailed::Log(Arc::clone(error)));
        }
        if let Some(error) = running.failure() {
            return Err(StoreFailed::Raft(error));
        }
        if !more {
            return Err(StoreFailed::Raft("it ended by itself".to_owned()));
        }
        let now = running.status();
        shared.status.send_if_modified(|status| {
            let differs = now.differs(status);
            *status = Arc::new(now);
            differs
        });
    }
}
