//! The shell around [`Founding`]: clock, disk, network.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use model::UnixNanos;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::Problem;
use super::founding::{Chance, Founding, Outgoing, SeedProgress, Setup, SlotState};
use super::message::{Answer, Genesis, Message};
use super::record::{RecordError, RecordFile};

/// Between two looks at what is due.
const TICK: Duration = Duration::from_millis(100);
/// A seed that is there answers within this, on any network that people use.
const ASK_MAX: Duration = Duration::from_secs(3);
/// Questions of other nodes that wait: each seed has one under way, and each node that joins.
const INBOX: usize = 256;
/// Between two rounds of questions to members that are no seeds.
const CONTACTS_EVERY: Duration = Duration::from_secs(2);
/// Members asked in one round: one that knows is enough.
const CONTACTS_MAX: usize = 8;

/// Why a question was not answered: `no answer`, `connection refused`, …
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("{0}")]
pub struct NoAnswer(pub String);

/// Carries a question to whoever answers at an address.
#[async_trait]
pub trait Ask: Send + Sync {
    /// Asks. The name is resolved anew each time.
    ///
    /// An answer must come from a node whose certificate makes it eligible, or say
    /// [`Denial::WorkerOnly`](super::Denial::WorkerOnly): a worker must not found a cluster.
    async fn ask(&self, address: &str, message: Message) -> Result<Answer, NoAnswer>;
}

/// What [`open`] needs.
pub struct Config {
    /// Who this node is.
    pub setup: Setup,
    /// Where it keeps its promises.
    pub file: RecordFile,
    /// How it reaches others.
    pub ask: Arc<dyn Ask>,
    /// Addresses of members that gossip knows; they are asked too.
    pub contacts: watch::Receiver<Vec<String>>,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config").field("setup", &self.setup).finish_non_exhaustive()
    }
}

/// How far the founding is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Progress {
    /// The result, once there is one.
    pub genesis: Option<Genesis>,
    /// Each seed.
    pub seeds: Vec<SeedProgress>,
    /// What somebody must change first.
    pub problem: Option<Problem>,
}

impl fmt::Display for Progress {
    /// `waiting for seeds: 2 of 3 (c:7964: no answer, 41 s)`, or what comes nearest.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(problem) = &self.problem {
            return problem.fmt(f);
        }
        if let Some(genesis) = &self.genesis {
            return write!(f, "founded cluster {}", genesis.cluster);
        }
        let silent: Vec<String> = self
            .seeds
            .iter()
            .filter_map(|seed| match &seed.state {
                SlotState::Silent { since, why } => {
                    Some(format!("{}: {why}, {} s", seed.entry, since.as_secs()))
                }
                SlotState::Me | SlotState::Answers => None,
            })
            .collect();
        let n_seeds = self.seeds.len();
        if silent.is_empty() {
            return write!(f, "founding a cluster of {n_seeds} seeds");
        }
        let n_there = n_seeds - silent.len();
        write!(f, "waiting for seeds: {n_there} of {n_seeds} ({})", silent.join("; "))
    }
}

type Inbox = mpsc::Receiver<(Message, oneshot::Sender<Answer>)>;

/// Speaks to the founding of this node.
#[derive(Clone, Debug)]
pub struct Handle {
    inbox: mpsc::Sender<(Message, oneshot::Sender<Answer>)>,
    progress: watch::Receiver<Progress>,
}

impl Handle {
    /// Answers a question of another node: the handler of `/genesis/ask`.
    ///
    /// `None` when the founding was stopped.
    pub async fn answer(&self, message: Message) -> Option<Answer> {
        let (reply, answer) = oneshot::channel();
        self.inbox.send((message, reply)).await.ok()?;
        answer.await.ok()
    }

    /// How far it is; the result stays in it.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }
}

/// Reads the record and begins, or goes on.
///
/// The future answers other nodes until it is stopped, also when the result is known.
///
/// # Errors
///
/// [`RecordError`] if the record cannot be read, or was made with other seeds. The future gives
/// it if the record cannot be written: this node must not go on then.
pub fn open(
    config: Config,
    stop: CancellationToken,
) -> Result<(Handle, impl Future<Output = Result<(), RecordError>>), RecordError> {
    let before = config.file.load()?;
    let founding = Founding::new(config.setup.clone(), before)?;
    let (inbox, questions) = mpsc::channel(INBOX);
    let (publish, progress) = watch::channel(Progress {
        genesis: founding.genesis().cloned(),
        seeds: founding.seeds(Duration::ZERO),
        problem: founding.problem(),
    });
    let driver = Driver {
        founding,
        file: config.file,
        ask: config.ask,
        contacts: config.contacts,
        asks: JoinSet::new(),
        publish,
        began: Instant::now(),
        contacts_at: Instant::now(),
    };
    Ok((Handle { inbox, progress }, driver.run(questions, stop)))
}

/// A question that has come to its end.
struct Asked {
    /// The seed and the ticket; `None` for other members.
    seed: Option<(u16, u64)>,
    address: String,
    result: Result<Answer, NoAnswer>,
}

struct Driver {
    founding: Founding,
    file: RecordFile,
    ask: Arc<dyn Ask>,
    contacts: watch::Receiver<Vec<String>>,
    /// One for each seed and contact at most.
    asks: JoinSet<Asked>,
    publish: watch::Sender<Progress>,
    began: Instant,
    contacts_at: Instant,
}

impl Driver {
    async fn run(
        mut self,
        mut questions: Inbox,
        stop: CancellationToken,
    ) -> Result<(), RecordError> {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let quiet = self.founding.is_quiet();
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                question = questions.recv() => {
                    // All handles are gone: nobody can ask any more.
                    let Some((message, reply)) = question else { return Ok(()) };
                    let answer = self.founding.receive(&message);
                    self.save().await?;
                    // An asker that went away asks again.
                    drop(reply.send(answer));
                }
                Some(asked) = self.asks.join_next() => {
                    // An ask that panicked or was aborted is asked again when it is due.
                    if let Ok(asked) = asked {
                        self.take(asked);
                    }
                    self.step().await?;
                }
                _ = ticks.tick(), if !quiet => self.step().await?,
            }
            self.tell();
        }
    }

    fn take(&mut self, asked: Asked) {
        let now = self.began.elapsed();
        match (asked.seed, asked.result) {
            (Some((slot, ticket)), Ok(answer)) => self.founding.answered(now, slot, ticket, answer),
            (Some((slot, ticket)), Err(NoAnswer(why))) => {
                self.founding.unanswered(now, slot, ticket, why);
            }
            (None, Ok(Answer::Genesis(genesis))) => self.founding.learn(&asked.address, genesis),
            // Another member that does not know either.
            (None, _) => {}
        }
    }

    async fn step(&mut self) -> Result<(), RecordError> {
        let chance = Chance { jitter: rand::random(), cluster: rand::random() };
        let outgoing = self.founding.tick(self.began.elapsed(), wall_clock(), chance);
        self.save().await?;
        for Outgoing { ticket, slot, message } in outgoing {
            let entry = self.founding.entry(slot);
            self.send(Some((slot, ticket)), entry, message);
        }
        if self.founding.genesis().is_none() && self.contacts_at <= Instant::now() {
            self.contacts_at = Instant::now() + CONTACTS_EVERY;
            let contacts: Vec<String> =
                self.contacts.borrow().iter().take(CONTACTS_MAX).cloned().collect();
            for contact in contacts {
                self.send(None, contact, Message::Ask { seed: None });
            }
        }
        Ok(())
    }

    fn send(&mut self, seed: Option<(u16, u64)>, address: String, message: Message) {
        let ask = Arc::clone(&self.ask);
        self.asks.spawn(async move {
            let result = timeout(ASK_MAX, ask.ask(&address, message))
                .await
                .unwrap_or_else(|_| Err(NoAnswer("no answer".to_owned())));
            Asked { seed, address, result }
        });
    }

    /// Nothing leaves this node before its promises are on disk.
    async fn save(&mut self) -> Result<(), RecordError> {
        let Some(record) = self.founding.unsaved().cloned() else { return Ok(()) };
        let file = self.file.clone();
        let saved = tokio::task::spawn_blocking(move || file.save(&record)).await;
        match saved {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                error!(error = &error as &dyn std::error::Error, "promise of a founding was lost");
                Err(error)
            }
            Err(error) => Err(self.file.interrupted(error)),
        }
    }

    fn tell(&self) {
        let progress = Progress {
            genesis: self.founding.genesis().cloned(),
            seeds: self.founding.seeds(self.began.elapsed()),
            problem: self.founding.problem(),
        };
        self.publish.send_if_modified(|old| {
            if *old == progress {
                return false;
            }
            if let Some(genesis) = progress.genesis.as_ref().filter(|_| old.genesis.is_none()) {
                info!(cluster.id = %genesis.cluster, "learned the cluster's genesis");
            }
            if let Some(problem) = progress.problem.as_ref().filter(|_| old.problem.is_none()) {
                warn!(problem = %problem, "cluster cannot be founded");
            }
            *old = progress;
            true
        });
    }
}

fn wall_clock() -> UnixNanos {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixNanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::OnceLock;

    use crypto::NodePublic;

    use super::super::message::Candidate;
    use super::super::seeds::{Rule, SeedList};
    use super::*;

    /// Reaches nodes of the same process by their entry.
    #[derive(Default)]
    struct Loopback(OnceLock<BTreeMap<String, Handle>>);

    #[async_trait]
    impl Ask for Loopback {
        async fn ask(&self, address: &str, message: Message) -> Result<Answer, NoAnswer> {
            let refused = || NoAnswer("connection refused".to_owned());
            let handle = self.0.get().and_then(|nodes| nodes.get(address)).ok_or_else(refused)?;
            handle.answer(message).await.ok_or_else(refused)
        }
    }

    struct Cluster {
        nodes: BTreeMap<String, Handle>,
        drivers: JoinSet<Result<(), RecordError>>,
        stop: CancellationToken,
    }

    fn start(seeds: &[&str], up: &[&str], dir: &std::path::Path) -> Cluster {
        let seeds = Arc::new(SeedList::new(seeds, Rule::Automatic).unwrap());
        let ask = Arc::new(Loopback::default());
        let (mut nodes, mut drivers) = (BTreeMap::new(), JoinSet::new());
        let stop = CancellationToken::new();
        for (entry, key) in up.iter().zip(1..) {
            let public = NodePublic { ed25519: [key; 32], x25519: [key; 32] };
            let setup = Setup {
                seeds: Arc::clone(&seeds),
                slot: seeds.slot_of(entry),
                me: Candidate { public, zone: String::new() },
                eligible: true,
                found: false,
                start: [key; 16],
            };
            let file = RecordFile::in_dir(dir.join(entry));
            let ask: Arc<dyn Ask> = Arc::<Loopback>::clone(&ask);
            let (_, contacts) = watch::channel(Vec::new());
            let config = Config { setup, file, ask, contacts };
            let (handle, driver) = open(config, stop.clone()).unwrap();
            nodes.insert(format!("{entry}:7964"), handle);
            drivers.spawn(driver);
        }
        assert!(ask.0.set(nodes.clone()).is_ok());
        Cluster { nodes, drivers, stop }
    }

    impl Cluster {
        async fn end(mut self) {
            self.stop.cancel();
            while let Some(ended) = self.drivers.join_next().await {
                ended.unwrap().unwrap();
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn seeds_found_a_cluster_and_remember_it() {
        let dir = tempfile::tempdir().unwrap();
        let cluster = start(&["a", "b", "c"], &["a", "b", "c", "d"], dir.path());
        let mut geneses = Vec::new();
        for handle in cluster.nodes.values() {
            let mut progress = handle.progress();
            let known = progress.wait_for(|progress| progress.genesis.is_some()).await.unwrap();
            geneses.push(known.genesis.clone().unwrap());
        }
        geneses.dedup();
        assert_eq!(geneses.len(), 1);
        cluster.end().await;
        // One of them alone: it does not ask anybody, it remembers.
        let again = start(&["a", "b", "c"], &["b"], dir.path());
        let handle = &again.nodes["b:7964"];
        assert_eq!(handle.progress().borrow().genesis, Some(geneses.remove(0)));
        let answer = handle.answer(Message::Ask { seed: None }).await;
        assert!(matches!(answer, Some(Answer::Genesis(_))));
        again.end().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_missing_seed_is_named_with_the_time_it_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let cluster = start(&["a", "b", "c"], &["a", "b"], dir.path());
        tokio::time::sleep(Duration::from_secs(41)).await;
        let text = cluster.nodes["a:7964"].progress().borrow().to_string();
        let expected = |s| format!("waiting for seeds: 2 of 3 (c:7964: connection refused, {s} s)");
        assert!([40, 41].map(expected).contains(&text), "{text}");
        cluster.end().await;
    }
}
