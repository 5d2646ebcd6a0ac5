//! The daemon: what outlives every cluster that this machine is part of, and its lives in them.
//!
//! ```text
//!   machine: data directory, runtime, API socket ── always there
//!      └─ outside ──(swarm init, swarm join)──▶ life ──(swarm leave)──▶ outside ─▶ …
//! ```
//!
//! A daemon that was given a key or a token begins with a life and ends with it. One that was
//! given neither is outside, or where it was before it was stopped.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use api::cluster::{Cluster, Problem, SwarmState};
use api::server::{Limits, Server};
use crypto::SharedFirstMessages;
use futures::future::join_all;
use model::{ClusterId, ClusterSpec, Command, NodeState};
use runtime::Runtime;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::admission;
use crate::config::{Beginning, Config, Place};
use crate::datadir::DataDir;
use crate::error::{NodeError, chain};
use crate::first_messages;
use crate::front::Front;
use crate::joining::REFUSED;
use crate::outside::{Outside, Wish};
use crate::place;
use crate::pool::Pool;
use crate::runtimes;
use crate::supervisor::{Stage, Supervisor};
use crate::wiring::{Life, is_of_a_cluster};

/// A join whose seeds do not answer is given up after this, as Docker does.
const SEEDS_MAX: Duration = Duration::from_secs(10);

/// Removing the containers of a cluster that this node left: each is killed, none is waited for.
const EVICT_MAX: Duration = Duration::from_secs(15);

/// The first spec of a cluster of one: its only manager leads within an election.
const FIRST_SPEC_MAX: Duration = Duration::from_secs(10);

/// A founder's own verdict about itself; without it the answer is as good.
const READY_MAX: Duration = Duration::from_secs(3);

/// What every life is built on. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Machine {
    pub(crate) config: Arc<Config>,
    pub(crate) data: Arc<DataDir>,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) first_messages: SharedFirstMessages,
    pub(crate) server: Server,
}

/// Runs the daemon until `shutdown`, or until the life that its command line asked for ended.
pub(crate) async fn run(
    config: Config,
    shutdown: impl Future<Output = ()>,
) -> Result<(), NodeError> {
    let data = Arc::new(DataDir::open(&config.data_dir)?);
    let place = first_place(&config, &data)?;
    let (runtime, supervised) = runtimes::open(&config, &data).await?;
    let path = data.join("first-messages");
    let first_messages =
        first_messages::load(&path).map_err(|source| NodeError::FirstMessages { path, source })?;
    let mut supervisor = Supervisor::default();
    let stop = supervisor.stop(Stage::Store);
    supervisor.spawn(Stage::Store, "runtime", async move {
        tokio::select! {
            () = supervised => {}
            () = stop.cancelled() => {}
        }
    });
    let (pool, running) = Pool::new(supervisor.stop(Stage::Membership));
    supervisor.spawn(Stage::Membership, "pool of the machine", running);

    // One wish at a time: a node enters one cluster.
    let (wishes, wished) = mpsc::channel(1);
    let outside = OutsideParts { started: Instant::now(), pool, wishes };
    let config = Arc::new(config);
    let first = outside.node(SwarmState::Pending, &config, &runtime);
    let answers = watch::Sender::new(first);
    let server = Server::following(answers.subscribe(), env!("CARGO_PKG_VERSION"));
    let socket = bind_socket(&config.socket)
        .map_err(|source| NodeError::Socket { path: config.socket.clone(), source })?;
    let api = supervisor.stop(Stage::Front);
    let served = server.clone().serve(socket, Limits::default(), api.clone());
    supervisor.spawn(Stage::Front, "api", served);

    let socket = config.socket.clone();
    let machine = Machine { config, data, runtime, first_messages, server };
    let daemon = Daemon { machine, outside, answers, wished, api };
    let mut outcome = Ok(());
    let stopped = supervisor.run(async { outcome = daemon.lives(place, shutdown).await }).await;
    // Somebody else's socket is not there any more by now: we hold the data directory's lock.
    let _ = std::fs::remove_file(socket);
    stopped?;
    outcome
}

/// Where the command line puts this node, or where an earlier request did.
fn first_place(config: &Config, data: &DataDir) -> Result<Option<Place>, NodeError> {
    let Some(place) = config.place.clone() else {
        return Ok(place::kept(data, config.addresses)?);
    };
    if place.beginning == Beginning::Found && is_of_a_cluster(data) {
        return Err(NodeError::FoundAgain { path: config.data_dir.clone() });
    }
    Ok(Some(place))
}

/// What a node outside is made of.
struct OutsideParts {
    started: Instant,
    pool: Pool,
    wishes: mpsc::Sender<Wish>,
}

impl OutsideParts {
    fn node(
        &self,
        state: SwarmState,
        config: &Config,
        runtime: &Arc<dyn Runtime>,
    ) -> Arc<dyn Cluster> {
        Arc::new(Outside {
            state,
            started: self.started,
            addresses: config.addresses,
            description: admission::describe(config, None, &runtime.info()),
            runtime: Arc::clone(runtime),
            pool: self.pool.clone(),
            wishes: self.wishes.clone(),
        })
    }
}

/// What comes after a life.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Next {
    /// The daemon ends.
    Stop,
    /// It waits for the next wish.
    Outside,
}

/// Somebody who waits for a life to begin.
struct Asked {
    spec: Option<ClusterSpec>,
    entered: oneshot::Sender<Result<String, Problem>>,
}

impl Asked {
    fn answer(self, answer: Result<String, Problem>) {
        // Who asked may have gone; the status says what came of it.
        let _ = self.entered.send(answer);
    }
}

struct Daemon {
    machine: Machine,
    outside: OutsideParts,
    answers: watch::Sender<Arc<dyn Cluster>>,
    wished: mpsc::Receiver<Wish>,
    /// Ends the API, before anything else.
    api: CancellationToken,
}

impl Daemon {
    async fn lives(
        mut self,
        first: Option<Place>,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), NodeError> {
        let mut shutdown = std::pin::pin!(shutdown);
        let mut next = match first {
            Some(place) => self.live(place, None, shutdown.as_mut()).await?,
            None => Next::Outside,
        };
        while next == Next::Outside {
            self.answer_from_outside(SwarmState::Inactive);
            info!("outside any cluster: waiting for `docker swarm init` or `docker swarm join`");
            let wish = tokio::select! {
                () = shutdown.as_mut() => return Ok(()),
                wish = self.wished.recv() => wish,
            };
            let Some(Wish { entrance, terms, spec, entered }) = wish else { return Ok(()) };
            let asked = Asked { spec, entered };
            self.answer_from_outside(SwarmState::Pending);
            next = match place::take(&self.machine.data, entrance, terms) {
                Ok(place) => self.live(place, Some(asked), shutdown.as_mut()).await?,
                Err(error) => {
                    asked.answer(Err(Problem::new(500, chain(&error))));
                    Next::Outside
                }
            };
        }
        Ok(())
    }

    fn answer_from_outside(&self, state: SwarmState) {
        let Machine { config, runtime, .. } = &self.machine;
        self.answers.send_replace(self.outside.node(state, config, runtime));
    }

    /// One life, from its place to its end.
    async fn live(
        &self,
        place: Place,
        asked: Option<Asked>,
        mut shutdown: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<Next, NodeError> {
        let life = match Life::begin(self.machine.clone(), place).await {
            Ok(life) => life,
            Err(error) => return self.did_not_begin(asked, error),
        };
        let front = Arc::clone(&life.front);
        let (notices, genesis) = (life.notices.clone(), life.genesis.clone());
        self.answers.send_replace(Arc::clone(&front) as Arc<dyn Cluster>);
        let end = CancellationToken::new();
        let mut running = std::pin::pin!(life.run(end.cancelled()));
        let spec = asked.as_ref().and_then(|asked| asked.spec.clone());
        let mut settled = std::pin::pin!(settle(&front, spec));
        let give_up_at = Instant::now() + SEEDS_MAX;
        let (mut asked, mut stopping, mut was_late) = (asked, false, false);
        let ended = loop {
            tokio::select! {
                ended = running.as_mut() => break ended,
                () = shutdown.as_mut(), if !stopping => {
                    stopping = true;
                    self.api.cancel();
                    end.cancel();
                }
                done = settled.as_mut(), if asked.is_some() => if let Some(asked) = asked.take() {
                    asked.answer(done.map(|()| front.me.to_string()));
                },
                () = sleep_until(give_up_at), if asked.is_some() && !was_late => {
                    was_late = true;
                    let waiting = notices.borrow().waiting.join("; ");
                    // What is slow and under way goes on: who asked has a patience of its own.
                    if let Some(asked) = asked.take_if(|_| !waiting.is_empty()) {
                        asked.answer(Err(Problem::unavailable(waiting)));
                        end.cancel();
                    }
                }
            }
        };
        match ended {
            Err(error) => return self.did_not_begin(asked, error),
            Ok(()) if stopping => return Ok(Next::Stop),
            Ok(()) => {}
        }
        let cluster = genesis.borrow().map(ClusterId::from_bytes);
        self.go(cluster, &front).await
    }

    /// A life that somebody waits for may fail; one of the command line takes the daemon down.
    fn did_not_begin(&self, asked: Option<Asked>, error: NodeError) -> Result<Next, NodeError> {
        let why = chain(&error);
        let by_api = self.machine.config.place.is_none();
        match asked {
            Some(asked) => asked.answer(Err(problem(&error, why.clone()))),
            // Killed while it joined, and refused now: nobody waits for it any more, and a
            // daemon that ended here would end so at each start.
            None if by_api && is_refusal(&why) => {}
            None => return Err(error),
        }
        warn!(why, "did not get into the cluster");
        place::forget(&self.machine.data)?;
        Ok(Next::Outside)
    }

    /// After a life was left: its containers go, and what only concerned it.
    async fn go(&self, cluster: Option<ClusterId>, front: &Front) -> Result<Next, NodeError> {
        if let Some(cluster) = cluster {
            evict(self.machine.runtime.as_ref(), cluster).await;
        }
        let next = if self.machine.config.place.is_some() {
            Next::Stop
        } else {
            place::forget(&self.machine.data)?;
            self.answer_from_outside(SwarmState::Inactive);
            Next::Outside
        };
        front.gone.cancel();
        Ok(next)
    }
}

/// Whether a life ended because the cluster did not let this node in.
fn is_refusal(why: &str) -> bool {
    why.contains(REFUSED)
}

/// Docker's answer to a request to enter that failed.
fn problem(error: &NodeError, why: String) -> Problem {
    #[expect(clippy::wildcard_enum_match_arm, reason = "what is not named is our own failure")]
    match error {
        NodeError::Stopped(_) if is_refusal(&why) => Problem::bad_request(format!(
            "A valid join token is necessary to join this cluster: {why}"
        )),
        NodeError::Port { .. } | NodeError::Datagrams(_) => Problem::bad_request(why),
        _ => Problem::new(500, why),
    }
}

/// Returns when this node is part of its cluster, and the cluster has its first spec.
async fn settle(front: &Front, spec: Option<ClusterSpec>) -> Result<(), Problem> {
    let mut admitted = front.admitted.clone();
    if admitted.wait_for(Option::is_some).await.is_err() {
        return Err(Problem::unavailable("the node is stopping"));
    }
    let (Some(spec), Some(store)) = (spec, &front.store) else { return Ok(()) };
    let state = store.read(FIRST_SPEC_MAX).await;
    let state = state.map_err(|error| Problem::unavailable(chain(&error)))?;
    let version = state.cluster().ok_or_else(Problem::no_cluster)?.spec_version;
    let command = Command::UpdateCluster { version, spec };
    let written = store.propose(command, None, FIRST_SPEC_MAX).await;
    written.map_err(|error| Problem::unavailable(chain(&error)))?;
    // Who looks at `node ls` next should see what will be true in a moment.
    let mut states = store.state();
    let ready = states.wait_for(|state| {
        state.node(front.me).is_some_and(|node| node.status.state == NodeState::Ready)
    });
    let _ = timeout(READY_MAX, ready).await;
    Ok(())
}

/// Removes the containers of a cluster that this node left, as Docker does: at once.
async fn evict(runtime: &dyn Runtime, cluster: ClusterId) {
    let removed = async {
        let containers = runtime.list().await.unwrap_or_default();
        let ours = containers.iter().filter(|container| container.cluster == cluster);
        join_all(ours.map(|container| runtime.remove(container.task))).await
    };
    match timeout(EVICT_MAX, removed).await {
        Ok(results) => {
            for error in results.into_iter().filter_map(Result::err) {
                warn!(error = &error as &dyn std::error::Error, "container not removed");
            }
        }
        Err(_) => warn!(waited = ?EVICT_MAX, "containers not removed"),
    }
}

/// Binds the API socket: 0660, in a directory that is made where it is missing. A socket that
/// nobody answers at is what a crash left.
fn bind_socket(path: &Path) -> std::io::Result<UnixListener> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(std::io::ErrorKind::AddrInUse.into());
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let socket = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::joining::JoinError;
    use crate::supervisor::Stopped;

    #[test]
    fn a_refused_join_is_known_by_its_reason_and_told_in_dockers_words() {
        let refused = JoinError::Refused("token x was revoked".to_owned()).to_string();
        let error = NodeError::Stopped(Stopped::GaveUp { name: "beginning", why: refused });
        let why = chain(&error);
        assert!(is_refusal(&why), "{why}");
        let told = problem(&error, why);
        assert_eq!(told.status, 400);
        assert!(told.message.starts_with("A valid join token is necessary"), "{}", told.message);
        assert!(!is_refusal(&JoinError::Broken("disk".to_owned()).to_string()));
    }
}
