//! Builds all parts of a node: the run-time graph on one page.
//!
//! ```text
//!   credentials ─▶ listener ─▶ rpc ─▶ dispatch, join, api, proxy, logs
//!        │                                │
//!        ├──▶ membership ─▶ view ─▶ leadership ─▶ lead (plan, judge, vote) ─▶ store
//!        │                   │          │
//!        └──▶ peers ◀────────┘          └──▶ follow ─▶ assignments ─▶ agent ─▶ runtime
//!                                                          └──▶ ingress ─▶ proxy
//! ```

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use api::server::{Limits, Server};
use crypto::{ClusterKey, Credentials, NodeId, Role, SharedFirstMessages};
use membership::{Membership, Payload, Presence, View};
use model::NodeDescription;
use network::Proxy;
use runtime::Runtime;
use store::Store;
use store::genesis::Handle;
use thiserror::Error;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::admission::{self, Admitted};
use crate::agency::Agency;
use crate::config::{Beginning, Config, RuntimeChoice};
use crate::datadir::{DataDir, DataDirError};
use crate::dispatch::{Dispatcher, Served};
use crate::follow::Follower;
use crate::founding::{self, FoundingError};
use crate::front::{Front, Notices};
use crate::ingress::{self, Tasks};
use crate::joining::{Gatekeeper, JoinError, Joiner};
use crate::lead::Lead;
use crate::leadership::Leadership;
use crate::listener::{self, Listener};
use crate::messages::Assignments;
use crate::peers::{Hello, Link, Peers};
use crate::pool::Pool;
use crate::rpc::{self, Eligible, Everybody};
use crate::standing::{self, Standing, StandingError};
use crate::supervisor::{Stage, Stopped, Supervisor};
use crate::{announce, first_messages};

/// Long gossip messages on their way to streams; the next round brings newer ones.
const BIG_MESSAGES: usize = 16;

/// Where the store is, in the data directory.
const RAFT_DIR: &str = "raft";

/// How long users' connections may go on when the daemon stops.
const DRAIN: Duration = Duration::from_secs(2);

/// The node could not start, or had to stop.
#[derive(Debug, Error)]
pub enum NodeError {
    /// The data directory.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// Key, token, certificate.
    #[error(transparent)]
    Standing(#[from] StandingError),
    /// The control port.
    #[error(
        "cannot listen on {address}: {}",
        port_advice(source, *address)
    )]
    Port {
        /// Which.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The control port's UDP half.
    #[error(
        "cannot listen for gossip: is another program there? `ss -lnup` shows which; stop it, or \
         give another --advertise or --listen"
    )]
    Datagrams(#[source] membership::udp::BindError),
    /// The API socket.
    #[error("cannot serve the API on {}: {}", path.display(), socket_advice(source))]
    Socket {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The memory of first messages.
    #[error("cannot read {}", path.display())]
    FirstMessages {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Containers.
    #[error("cannot run containers")]
    Runtime(#[source] runtime::RuntimeError),
    /// The store.
    #[error("cannot open the store")]
    Store(#[from] store::OpenError),
    /// The seeds.
    #[error(transparent)]
    Founding(#[from] FoundingError),
    /// A token.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// `--found` where there is something already.
    #[error(
        "data directory {} is of a cluster already: --found makes a new one; start without it, \
         with --seed, to go on, or give another --data-dir",
        path.display()
    )]
    FoundAgain {
        /// Which.
        path: PathBuf,
    },
    /// A task fell.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// The system refused something basic.
    #[error("{what}")]
    System {
        /// What.
        what: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

fn port_advice(source: &std::io::Error, address: SocketAddr) -> String {
    if source.kind() == std::io::ErrorKind::AddrInUse {
        return format!(
            "is another skep running there? `ss -ltnp 'sport = :{}'` shows who has it; stop it, \
             or give another --advertise or --listen",
            address.port()
        );
    }
    if source.kind() == std::io::ErrorKind::AddrNotAvailable {
        return "it is no address of this machine; give one with --listen IP:PORT".to_owned();
    }
    "give another --advertise or --listen".to_owned()
}

fn socket_advice(source: &std::io::Error) -> &'static str {
    if source.kind() == std::io::ErrorKind::AddrInUse {
        return "another daemon answers there; stop it, or give another one with -H unix:///path";
    }
    "give another one with -H unix:///path"
}

/// Facts that parts tell one another.
struct Channels {
    credentials: watch::Sender<Arc<Credentials>>,
    genesis: watch::Sender<Option<[u8; 16]>>,
    founding: watch::Sender<Option<Handle>>,
    key: watch::Sender<Option<Arc<ClusterKey>>>,
    admitted: watch::Sender<Option<Admitted>>,
    notices: watch::Sender<Arc<Notices>>,
    assignments: watch::Sender<Option<Arc<Assignments>>>,
    /// Whether this node may gossip: at once with the key, after joining with a token.
    joined: watch::Sender<bool>,
}

/// What everything else is built from.
struct Base {
    config: Config,
    data: Arc<DataDir>,
    me: NodeId,
    incarnation: u64,
    eligible: bool,
    description: NodeDescription,
    runtime: Arc<dyn Runtime>,
    first_messages: SharedFirstMessages,
    channels: Channels,
}

/// Runs a node until `shutdown`, or until it left, or a part of it fell.
pub(crate) async fn run(
    config: Config,
    shutdown: impl Future<Output = ()>,
) -> Result<(), NodeError> {
    let data = Arc::new(DataDir::open(&config.data_dir)?);
    let standing = standing::load(&config.secret, &data)?;
    let incarnation = next_incarnation(&data)?;
    if config.beginning == Beginning::Found && is_of_a_cluster(&data) {
        return Err(NodeError::FoundAgain { path: config.data_dir });
    }
    let (runtime, supervised) = open_runtime(&config, &data)?;
    let path = data.join("first-messages");
    let first_messages =
        first_messages::load(&path).map_err(|source| NodeError::FirstMessages { path, source })?;
    let eligible = standing.credentials.certificate.claims().role == Role::Eligible;
    let description = admission::describe(&config, &runtime.info());
    let Standing { credentials, join_with, key } = standing;
    let me = credentials.node();
    let channels = Channels {
        credentials: watch::Sender::new(Arc::new(credentials)),
        genesis: watch::Sender::new(None),
        founding: watch::Sender::new(None),
        key: watch::Sender::new(key),
        admitted: watch::Sender::new(None),
        notices: watch::Sender::new(Arc::default()),
        assignments: watch::Sender::new(None),
        joined: watch::Sender::new(join_with.is_none()),
    };
    info!(node.id = %me, address = %config.advertise, why = config.advertise_why, incarnation, "starting");
    let base = Base {
        config,
        data,
        me,
        incarnation,
        eligible,
        description,
        runtime,
        first_messages,
        channels,
    };
    let mut supervisor = Supervisor::default();
    let stop = supervisor.stop(Stage::Store);
    supervisor.spawn(Stage::Store, "runtime", async move {
        tokio::select! {
            () = supervised => {}
            () = stop.cancelled() => {}
        }
    });
    start(base, supervisor, join_with, shutdown).await
}

/// Whether the directory is of a cluster whose founding it does not remember. A start that came
/// to nothing leaves a node's own key, and may be repeated.
fn is_of_a_cluster(data: &DataDir) -> bool {
    let has = |name: &str| data.join(name).exists();
    !has("genesis") && (has("membership") || data.join(RAFT_DIR).join("raft.identity").exists())
}

/// Counts this start. A full disk has space set aside for it: the node must be able to come back
/// to where somebody can remove something.
fn next_incarnation(data: &DataDir) -> Result<u64, DataDirError> {
    match data.next_incarnation() {
        Err(error) if error.is_full() && Store::make_room(&data.join(RAFT_DIR)) => {
            data.next_incarnation()
        }
        other => other,
    }
}

async fn start(
    base: Base,
    mut supervisor: Supervisor,
    join_with: Option<crypto::Token>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), NodeError> {
    let control = listener::bind(base.config.listen)
        .map_err(|source| NodeError::Port { address: base.config.listen, source })?;
    let socket = bind_socket(&base.config.socket)
        .map_err(|source| NodeError::Socket { path: base.config.socket.clone(), source })?;
    let parts = parts(&base, &mut supervisor).await?;
    let leave = CancellationToken::new();
    let front = front(&base, &parts, leave.clone());
    let server = Server::new(front, env!("CARGO_PKG_VERSION"));
    listen(&base, &parts, &mut supervisor, control, &server);
    spawn_loops(&base, &parts, &mut supervisor);
    spawn_agent(&base, &parts, &mut supervisor);
    let stop = supervisor.stop(Stage::Front);
    let served = server.serve(socket, Limits::default(), stop);
    supervisor.spawn(Stage::Front, "api", served);

    let path = base.config.socket.clone();
    let begin = begin(base, parts, join_with, supervisor.stop(Stage::Reconcile));
    supervisor.spawn_fallible(Stage::Reconcile, "beginning", begin);
    let ended = async {
        tokio::select! {
            () = shutdown => {}
            () = leave.cancelled() => info!("left the cluster"),
        }
    };
    let result = supervisor.run(ended).await;
    // Somebody else's socket is not there any more by now: we hold the data directory's lock.
    let _ = std::fs::remove_file(path);
    Ok(result?)
}

/// Handles of the parts that others use.
struct Parts {
    pool: Pool,
    membership: Membership,
    view: watch::Receiver<Arc<View>>,
    peers: Peers,
    store: Option<Store>,
    leadership: Leadership,
    served: Served,
}

async fn parts(base: &Base, supervisor: &mut Supervisor) -> Result<Parts, NodeError> {
    let (pool, running) = Pool::new(supervisor.stop(Stage::Membership));
    supervisor.spawn(Stage::Membership, "pool", running);
    let (big, big_messages) = mpsc::channel(BIG_MESSAGES);
    let (membership, view) = membership(base, supervisor, big)?;
    let channels = &base.channels;
    let peers = Peers::new(
        base.config.advertise,
        channels.credentials.subscribe(),
        view.clone(),
        channels.genesis.subscribe(),
        pool.clone(),
    );
    let stop = supervisor.stop(Stage::Membership);
    let carried = announce::big_gossip(big_messages, peers.clone(), stop);
    supervisor.spawn(Stage::Membership, "long gossip", carried);
    let store = match base.eligible {
        false => None,
        true => {
            let config = store::Config::new(base.data.join(RAFT_DIR), base.me, base.incarnation);
            let stop = supervisor.stop(Stage::Store);
            let (store, driver) = Store::open(config, Arc::new(peers.clone()), stop).await?;
            let driver = async move { driver.await.map_err(|error| chain(&error)) };
            supervisor.spawn_fallible(Stage::Store, "store", driver);
            Some(store)
        }
    };
    let (leadership, finder) = Leadership::new(
        base.me,
        store.clone(),
        peers.clone(),
        view.clone(),
        supervisor.stop(Stage::Reconcile),
    );
    supervisor.spawn(Stage::Reconcile, "leadership", finder);
    Ok(Parts { pool, membership, view, peers, store, leadership, served: Served::default() })
}

fn membership(
    base: &Base,
    supervisor: &mut Supervisor,
    big: mpsc::Sender<membership::BigMessage>,
) -> Result<(Membership, watch::Receiver<Arc<View>>), NodeError> {
    let config = &base.config;
    let credentials = base.channels.credentials.subscribe();
    let hello = Hello { link: Link::Control, genesis: None }.encode();
    let transport = membership::udp::UdpTransport::bind(membership::udp::UdpConfig {
        listen: config.listen,
        credentials: Arc::clone(&credentials.borrow()),
        hello,
        first_messages: base.first_messages.clone(),
        unix_now: standing::unix_seconds,
    })
    .map_err(NodeError::Datagrams)?;
    let seeds = match &config.beginning {
        Beginning::Seeds(seeds) => seeds.clone(),
        Beginning::Found => Vec::new(),
    };
    let me = membership::Me { credentials, payload: payload(base), incarnation: base.incarnation };
    let settings = membership::Config::new(config.listen, config.advertise, seeds);
    let stop = supervisor.stop(Stage::Membership);
    let (membership, gossip) =
        Membership::new(settings, me, Box::new(transport), big, stop.clone());
    let mut joined = base.channels.joined.subscribe();
    let gossip = async move {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            joined = joined.wait_for(|joined| *joined) => if joined.is_err() { return Ok(()) },
        }
        gossip.await.map_err(|error| chain(&error))
    };
    supervisor.spawn_fallible(Stage::Membership, "membership", gossip);
    let view = membership.view();
    Ok((membership, view))
}

fn payload(base: &Base) -> Payload {
    Payload {
        eligible: base.eligible,
        hostname: base.description.hostname.clone(),
        zone: base.config.zone.clone(),
        genesis: None,
        state: Presence::Alive,
        version: base.description.version.clone(),
        raft_id: 0,
        draining: false,
    }
}

fn front(base: &Base, parts: &Parts, leave: CancellationToken) -> Arc<Front> {
    Arc::new(Front {
        me: base.me,
        incarnation: base.incarnation,
        eligible: base.eligible,
        started: Instant::now(),
        description: base.description.clone(),
        store: parts.store.clone(),
        leadership: parts.leadership.clone(),
        peers: parts.peers.clone(),
        pool: parts.pool.clone(),
        membership: parts.membership.clone(),
        view: parts.view.clone(),
        runtime: Arc::clone(&base.runtime),
        admitted: base.channels.admitted.subscribe(),
        notices: base.channels.notices.subscribe(),
        leave,
    })
}

/// What other nodes may ask, and the socket they ask at.
fn listen(
    base: &Base,
    parts: &Parts,
    supervisor: &mut Supervisor,
    control: TcpListener,
    server: &Server,
) {
    let channels = &base.channels;
    let everybody = Everybody {
        runtime: Arc::clone(&base.runtime),
        membership: parts.membership.clone(),
        view: parts.view.clone(),
        leadership: parts.leadership.clone(),
        genesis: channels.genesis.subscribe(),
    };
    let mut router = rpc::for_everybody(&everybody, crypto::stream::Router::new());
    match &parts.store {
        None => router = founding::declines(base.me, router),
        Some(store) => {
            let dispatcher = Dispatcher {
                store: store.clone(),
                leadership: parts.leadership.clone(),
                served: parts.served.clone(),
            };
            let gatekeeper = Gatekeeper {
                credentials: channels.credentials.subscribe(),
                key: channels.key.subscribe(),
                genesis: channels.genesis.subscribe(),
                view: parts.view.clone(),
                dispatcher: dispatcher.clone(),
                leadership: parts.leadership.clone(),
                peers: parts.peers.clone(),
            };
            let eligible = Eligible {
                credentials: channels.credentials.subscribe(),
                store: store.clone(),
                dispatcher,
                gatekeeper,
                api: Arc::new(server.clone()),
                stop: supervisor.stop(Stage::Front),
            };
            router = rpc::for_eligible(&eligible, store.router(router));
            router = founding::answers(channels.founding.subscribe(), router);
        }
    }
    let listener = Listener {
        credentials: channels.credentials.subscribe(),
        genesis: channels.genesis.subscribe(),
        first_messages: base.first_messages.clone(),
        router: Arc::new(router),
    };
    // Raft and gossip go on while the stages above them end.
    let stop = supervisor.stop(Stage::Membership);
    supervisor.spawn(Stage::Membership, "listener", listener.run(control, stop));
}

fn spawn_loops(base: &Base, parts: &Parts, supervisor: &mut Supervisor) {
    let channels = &base.channels;
    let reconcile = || supervisor_stop(supervisor, Stage::Reconcile);
    let kept = first_messages::keep(
        base.first_messages.clone(),
        base.data.join("first-messages"),
        reconcile(),
    );
    let revoked = announce::revocations(
        channels.assignments.subscribe(),
        channels.credentials.clone(),
        parts.membership.clone(),
        reconcile(),
    );
    let announced = announce::payload(
        parts.membership.clone(),
        payload(base),
        channels.genesis.subscribe(),
        channels.admitted.subscribe(),
        parts.store.clone(),
        reconcile(),
    );
    let (incarnation, description) = (base.incarnation, base.description.clone());
    let admitted = admission::run(
        move |credentials| admission::own_admission(credentials, incarnation, &description),
        channels.credentials.subscribe(),
        parts.peers.clone(),
        parts.leadership.clone(),
        channels.admitted.clone(),
        reconcile(),
    );
    let renew_stop = reconcile();
    let renewed = standing::renew_own(channels.credentials.clone(), renew_stop.clone());
    supervisor.spawn(Stage::Reconcile, "first messages", kept);
    supervisor.spawn(Stage::Reconcile, "revocations", revoked);
    supervisor.spawn(Stage::Reconcile, "record", announced);
    supervisor.spawn(Stage::Reconcile, "admission", admitted);
    match &parts.store {
        Some(store) => {
            let lead = Lead {
                me: base.me,
                store: store.clone(),
                leadership: parts.leadership.clone(),
                membership: parts.membership.clone(),
                view: parts.view.clone(),
                served: parts.served.clone(),
                peers: parts.peers.clone(),
                founding: channels.founding.subscribe(),
                notices: channels.notices.clone(),
            };
            let stop = supervisor.stop(Stage::Reconcile);
            supervisor.spawn(Stage::Reconcile, "lead", lead.run(stop));
            supervisor.spawn(Stage::Reconcile, "renewal", renewed);
        }
        None => {
            let data = Arc::clone(&base.data);
            let renewed = announce::renew_worker(
                channels.credentials.clone(),
                parts.view.clone(),
                parts.peers.clone(),
                move |certificate| standing::keep_certificate(&data, certificate),
                renew_stop,
            );
            supervisor.spawn(Stage::Reconcile, "renewal", renewed);
        }
    }
}

fn supervisor_stop(supervisor: &Supervisor, stage: Stage) -> CancellationToken {
    supervisor.stop(stage)
}

/// Assignments, the agent that acts on them, published ports, reports.
fn spawn_agent(base: &Base, parts: &Parts, supervisor: &mut Supervisor) {
    let channels = &base.channels;
    let stop = supervisor.stop(Stage::Reconcile);
    let follower = Follower {
        peers: parts.peers.clone(),
        leadership: parts.leadership.clone(),
        incarnation: base.incarnation,
    };
    let followed = follower.clone().assignments(channels.assignments.clone(), stop.clone());
    supervisor.spawn(Stage::Reconcile, "assignments", followed);

    let reports = watch::Sender::new(agent::Reports::default());
    let reported = follower.reports(reports.subscribe(), stop.clone());
    let agency = Agency {
        me: base.me,
        hostname: base.description.hostname.clone(),
        dir: base.data.join("agent"),
        runtime: Arc::clone(&base.runtime),
        genesis: channels.genesis.subscribe(),
        assignments: channels.assignments.subscribe(),
        reports,
    };
    supervisor.spawn_fallible(Stage::Reconcile, "agent", agency.run(stop.clone()));
    supervisor.spawn(Stage::Reconcile, "reports", reported);

    let wanted = watch::Sender::new(Arc::default());
    let connect =
        Tasks { me: base.me, runtime: Arc::clone(&base.runtime), peers: parts.peers.clone() };
    let settings = network::Config { address: base.config.publish, drain: DRAIN };
    let (proxy, proxied) =
        Proxy::new(settings, wanted.subscribe(), Arc::new(connect), supervisor.stop(Stage::Front));
    supervisor.spawn(Stage::Front, "proxy", proxied);
    let computed = ingress::compute(
        base.me,
        channels.assignments.subscribe(),
        parts.view.clone(),
        wanted,
        stop.clone(),
    );
    supervisor.spawn(Stage::Reconcile, "ingress", computed);
    let told = ingress::tell(proxy.problems(), channels.notices.clone(), stop);
    supervisor.spawn(Stage::Reconcile, "port problems", told);
}

/// The way into a cluster: the ballot for a key, `/join` for a token.
async fn begin(
    base: Base,
    parts: Parts,
    join_with: Option<crypto::Token>,
    stop: CancellationToken,
) -> Result<(), String> {
    let begun = match join_with {
        Some(token) => join(&base, &parts, &token, &stop).await.map_err(|error| chain(&error)),
        None => found(&base, &parts, &stop).await,
    };
    begun?;
    stop.cancelled().await;
    Ok(())
}

async fn join(
    base: &Base,
    parts: &Parts,
    token: &crypto::Token,
    stop: &CancellationToken,
) -> Result<(), JoinError> {
    let Beginning::Seeds(seeds) = &base.config.beginning else { return Ok(()) };
    let credentials = Arc::clone(&base.channels.credentials.borrow());
    let joiner = Joiner {
        peers: &parts.peers,
        seeds,
        token,
        credentials: &credentials,
        incarnation: base.incarnation,
        description: &base.description,
        data: &base.data,
        notices: &base.channels.notices,
    };
    let joined = match joiner.run(stop).await {
        Err(JoinError::Stopped) => return Ok(()),
        other => other?,
    };
    let channels = &base.channels;
    channels.notices.send_modify(|notices| Arc::make_mut(notices).waiting.clear());
    channels.key.send_replace(joined.key);
    channels.credentials.send_replace(Arc::new(joined.credentials));
    channels.genesis.send_replace(Some(joined.genesis));
    channels.joined.send_replace(true);
    for contact in joined.contacts {
        // Gossip that has ended takes the node down by itself.
        let _ = parts.membership.add_contact(contact).await;
    }
    Ok(())
}

async fn found(base: &Base, parts: &Parts, stop: &CancellationToken) -> Result<(), String> {
    let Some(store) = parts.store.clone() else {
        return known_genesis(base);
    };
    if base.channels.credentials.borrow().certificate.claims().token.is_some() {
        return known_genesis(base);
    }
    let seeds = founding::seed_list(&base.config).map_err(|error| error.to_string())?;
    let peers = &parts.peers;
    let slot = match founding::find_slot(&seeds, base.config.advertise, base.me, peers, stop).await
    {
        Err(FoundingError::Stopped(_)) => return Ok(()),
        other => other.map_err(|error| error.to_string())?,
    };
    let public = base.channels.credentials.borrow().keys.public();
    let (contacts_tx, contacts) = watch::channel(Vec::new());
    let config = store::genesis::Config {
        setup: founding::setup(&base.config, seeds, slot, public),
        file: store::genesis::RecordFile::in_dir(base.data.path().to_owned()),
        ask: Arc::new(founding::Asker { peers: peers.clone() }),
        contacts,
    };
    let (handle, ballot) =
        store::genesis::open(config, stop.clone()).map_err(|error| chain(&error))?;
    base.channels.founding.send_replace(Some(handle.clone()));
    let concluded = founding::conclude(
        base.me,
        handle,
        store,
        base.channels.genesis.clone(),
        base.channels.notices.clone(),
        stop.clone(),
    );
    let contacts = founding::contacts(parts.view.clone(), contacts_tx, stop.clone());
    tokio::select! {
        ended = ballot => ended.map_err(|error| chain(&error)),
        ended = concluded => ended,
        () = contacts => Ok(()),
    }
}

/// A node that joined with a token was told the genesis then.
fn known_genesis(base: &Base) -> Result<(), String> {
    let genesis = standing::kept_genesis(&base.data).map_err(|error| error.to_string())?;
    base.channels.genesis.send_replace(genesis);
    Ok(())
}

type Opened = (Arc<dyn Runtime>, Pin<Box<dyn Future<Output = ()> + Send>>);

/// The runtime, and what must run for it to work.
fn open_runtime(config: &Config, data: &DataDir) -> Result<Opened, NodeError> {
    match config.runtime {
        RuntimeChoice::Fake => {
            let (fake, _) = runtime::fake::Fake::new(runtime::fake::FakeBehaviour::default());
            Ok((Arc::new(fake), Box::pin(std::future::pending())))
        }
        RuntimeChoice::Embedded => {
            let (opened, running) =
                runtime::Embedded::open(supervised(config, data)).map_err(NodeError::Runtime)?;
            Ok((Arc::new(opened), Box::pin(running)))
        }
        RuntimeChoice::Process => {
            let (opened, running) = runtime::ProcessRuntime::open(supervised(config, data))
                .map_err(NodeError::Runtime)?;
            Ok((Arc::new(opened), Box::pin(running)))
        }
    }
}

fn supervised(config: &Config, data: &DataDir) -> runtime::EmbeddedConfig {
    runtime::EmbeddedConfig {
        data_dir: data.join("runtime"),
        run_dir: config.run_dir.clone(),
        program: PathBuf::from("/proc/self/exe"),
        rootless: config.rootless,
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

/// An error with its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
