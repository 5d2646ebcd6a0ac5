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

use std::sync::Arc;
use std::time::Duration;

use crypto::{ClusterKey, Credentials, NodeId, Role};
use membership::{Membership, Payload, Presence, View};
use model::NodeDescription;
use network::Proxy;
use store::Store;
use store::genesis::Handle;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::admission::{self, Admitted};
use crate::agency::Agency;
use crate::config::{Beginning, Place};
use crate::convert;
use crate::daemon::Machine;
use crate::datadir::{DataDir, DataDirError};
use crate::dispatch::{Dispatcher, Served};
use crate::error::{NodeError, chain};
use crate::events::Events;
use crate::exile::Exile;
use crate::follow::Follower;
use crate::founding::{self, FoundingError};
use crate::front::{Front, Lists, Notices};
use crate::ingress::{self, Tasks};
use crate::joining::{Gatekeeper, JoinError, Joiner};
use crate::lead::Lead;
use crate::leadership::Leadership;
use crate::listener::{self, Listener};
use crate::messages::Assignments;
use crate::overview::{Overseer, Overviews};
use crate::peers::{Hello, Link, Peers};
use crate::pool::Pool;
use crate::relays::JoinRelay;
use crate::rpc::{self, Eligible, Everybody};
use crate::standing::{self, Standing};
use crate::supervisor::{Stage, Supervisor};
use crate::{announce, first_messages};

/// Long gossip messages on their way to streams; the next round brings newer ones.
const BIG_MESSAGES: usize = 16;

/// Where the store is, in the data directory.
const RAFT_DIR: &str = "raft";

/// How long users' connections may go on when the daemon stops.
const DRAIN: Duration = Duration::from_secs(2);

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
    /// Whether a leader tells this node what to do.
    following: watch::Sender<bool>,
    /// Whether this node was removed.
    removed: watch::Sender<bool>,
}

/// What everything else is built from.
struct Base {
    machine: Machine,
    place: Place,
    me: NodeId,
    incarnation: u64,
    eligible: bool,
    description: NodeDescription,
    channels: Channels,
}

/// One life in a cluster, wired and running.
pub(crate) struct Life {
    supervisor: Supervisor,
    /// The node behind the API.
    pub(crate) front: Arc<Front>,
    /// What it waits for, for whoever waits for it.
    pub(crate) notices: watch::Receiver<Arc<Notices>>,
    /// The cluster whose tasks it runs; `None` until it is known.
    pub(crate) genesis: watch::Receiver<Option<[u8; 16]>>,
    /// Held here too: channels that closed with a failed beginning would end others first, and
    /// their names would hide its reason.
    held: (Arc<Base>, Arc<Parts>),
}

impl Life {
    /// Builds all parts and hands them to a supervisor.
    pub(crate) async fn begin(machine: Machine, place: Place) -> Result<Self, NodeError> {
        let standing = standing::load(&place.secret, &machine.data)?;
        let incarnation = next_incarnation(&machine.data)?;
        let eligible = standing.credentials.certificate.claims().role == Role::Eligible;
        let description =
            admission::describe(&machine.config, Some(place.advertise), &machine.runtime.info());
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
            following: watch::Sender::new(false),
            removed: watch::Sender::new(false),
        };
        info!(node.id = %me, address = %place.advertise, why = place.advertise_why, incarnation, "starting");
        let base = Base { machine, place, me, incarnation, eligible, description, channels };
        start(base, join_with).await
    }

    /// Runs until `shutdown`, or until it left, or a part of it fell.
    pub(crate) async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), NodeError> {
        let leave = self.front.leave.clone();
        let ended = async {
            tokio::select! {
                () = shutdown => {}
                () = leave.cancelled() => info!("left the cluster"),
            }
        };
        let result = self.supervisor.run(ended).await;
        drop(self.held);
        Ok(result?)
    }
}

/// Whether the directory is of a cluster whose founding it does not remember. A start that came
/// to nothing leaves a node's own key, and may be repeated.
pub(crate) fn is_of_a_cluster(data: &DataDir) -> bool {
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

async fn start(base: Base, join_with: Option<crypto::Token>) -> Result<Life, NodeError> {
    let mut supervisor = Supervisor::default();
    let listen_on = base.place.listen;
    let control = listener::bind(listen_on)
        .map_err(|source| NodeError::Port { address: listen_on, source })?;
    let parts = parts(&base, &mut supervisor).await?;
    let front = front(&base, &parts);
    listen(&base, &parts, &mut supervisor, control);
    spawn_loops(&base, &parts, &mut supervisor);
    spawn_agent(&base, &parts, &mut supervisor);
    let notices = base.channels.notices.subscribe();
    let genesis = base.channels.genesis.subscribe();
    let (base, parts) = (Arc::new(base), Arc::new(parts));
    let stop = supervisor.stop(Stage::Reconcile);
    let begin = begin(Arc::clone(&base), Arc::clone(&parts), join_with, stop);
    supervisor.spawn_fallible(Stage::Reconcile, "beginning", begin);
    Ok(Life { supervisor, front, notices, genesis, held: (base, parts) })
}

/// Handles of the parts that others use.
struct Parts {
    pool: Pool,
    membership: Membership,
    view: watch::Receiver<Arc<View>>,
    peers: Peers,
    store: Option<Store>,
    leadership: Leadership,
    overviews: Overviews,
    served: Served,
    events: Events,
}

async fn parts(base: &Base, supervisor: &mut Supervisor) -> Result<Parts, NodeError> {
    let (pool, running) = Pool::new(supervisor.stop(Stage::Membership));
    supervisor.spawn(Stage::Membership, "pool", running);
    let (big, big_messages) = mpsc::channel(BIG_MESSAGES);
    let (membership, view) = membership(base, supervisor, big)?;
    let channels = &base.channels;
    let peers = Peers::new(
        base.place.advertise,
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
            let raft = base.machine.data.join(RAFT_DIR);
            let config = store::Config::new(raft, base.me, base.incarnation);
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
    let overviews = Overviews::new(leadership.clone(), peers.clone());
    let stop = supervisor.stop(Stage::Reconcile);
    supervisor.spawn(Stage::Reconcile, "overview", overviews.clone().run(stop));
    let events = Events::new();
    if let Some(store) = &store {
        let told = events.clone().run(store.clone(), supervisor.stop(Stage::Reconcile));
        supervisor.spawn(Stage::Reconcile, "events", told);
    }
    let served = Served::default();
    Ok(Parts { pool, membership, view, peers, store, leadership, overviews, served, events })
}

fn membership(
    base: &Base,
    supervisor: &mut Supervisor,
    big: mpsc::Sender<membership::BigMessage>,
) -> Result<(Membership, watch::Receiver<Arc<View>>), NodeError> {
    let place = &base.place;
    let credentials = base.channels.credentials.subscribe();
    let hello = Hello { link: Link::Control, genesis: None }.encode();
    let transport = membership::udp::UdpTransport::bind(membership::udp::UdpConfig {
        listen: place.listen,
        credentials: Arc::clone(&credentials.borrow()),
        hello,
        first_messages: base.machine.first_messages.clone(),
        unix_now: standing::unix_seconds,
    })
    .map_err(NodeError::Datagrams)?;
    let seeds = match &place.beginning {
        Beginning::Seeds(seeds) => seeds.clone(),
        Beginning::Found => Vec::new(),
    };
    let me = membership::Me { credentials, payload: payload(base), incarnation: base.incarnation };
    let settings = membership::Config::new(place.listen, place.advertise, seeds);
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
        zone: base.machine.config.zone.clone(),
        genesis: None,
        state: Presence::Alive,
        version: base.description.version.clone(),
        raft_id: 0,
        draining: false,
    }
}

fn front(base: &Base, parts: &Parts) -> Arc<Front> {
    Arc::new(Front {
        me: base.me,
        incarnation: base.incarnation,
        eligible: base.eligible,
        started: Instant::now(),
        started_at: crate::front::status::unix_nanos(),
        events: parts.events.clone(),
        lists: Lists::default(),
        trust: convert::trust(&base.channels.credentials.borrow().ca.0),
        description: base.description.clone(),
        store: parts.store.clone(),
        credentials: base.channels.credentials.subscribe(),
        leadership: parts.leadership.clone(),
        peers: parts.peers.clone(),
        overviews: parts.overviews.clone(),
        pool: parts.pool.clone(),
        membership: parts.membership.clone(),
        view: parts.view.clone(),
        runtime: Arc::clone(&base.machine.runtime),
        admitted: base.channels.admitted.subscribe(),
        removed: base.channels.removed.subscribe(),
        notices: base.channels.notices.subscribe(),
        leave: CancellationToken::new(),
        gone: CancellationToken::new(),
    })
}

/// What other nodes may ask, and the socket they ask at.
fn listen(base: &Base, parts: &Parts, supervisor: &mut Supervisor, control: TcpListener) {
    let channels = &base.channels;
    let everybody = Everybody {
        runtime: Arc::clone(&base.machine.runtime),
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
                credentials: channels.credentials.subscribe(),
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
                overseer: Overseer {
                    store: store.clone(),
                    leadership: parts.leadership.clone(),
                    notices: channels.notices.subscribe(),
                },
                api: Arc::new(base.machine.server.clone()),
                stop: supervisor.stop(Stage::Front),
            };
            router = rpc::for_eligible(&eligible, store.router(router));
            router = founding::answers(channels.founding.subscribe(), router);
        }
    }
    let listener = Listener {
        credentials: channels.credentials.subscribe(),
        genesis: channels.genesis.subscribe(),
        first_messages: base.machine.first_messages.clone(),
        router: Arc::new(router),
        farewell: Arc::new(rpc::for_removed()),
        relay: JoinRelay::new(base.me, parts.view.clone(), parts.leadership.clone()),
    };
    // Raft and gossip go on while the stages above them end.
    let stop = supervisor.stop(Stage::Membership);
    supervisor.spawn(Stage::Membership, "listener", listener.run(control, stop));
}

fn spawn_loops(base: &Base, parts: &Parts, supervisor: &mut Supervisor) {
    let channels = &base.channels;
    let reconcile = || supervisor_stop(supervisor, Stage::Reconcile);
    let kept = first_messages::keep(
        base.machine.first_messages.clone(),
        base.machine.data.join("first-messages"),
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
    let availability = base.place.availability;
    let admitted = admission::run(
        move |credentials| {
            admission::own_admission(credentials, incarnation, &description, availability)
        },
        channels.credentials.subscribe(),
        parts.peers.clone(),
        parts.leadership.clone(),
        channels.admitted.clone(),
        reconcile(),
    );
    let renew_stop = reconcile();
    let renewed = standing::renew_own(channels.credentials.clone(), renew_stop.clone());
    let exiled = exile(base, parts).run(reconcile());
    supervisor.spawn(Stage::Reconcile, "exile", exiled);
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
            let data = Arc::clone(&base.machine.data);
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

fn exile(base: &Base, parts: &Parts) -> Exile {
    let channels = &base.channels;
    Exile {
        seeds: match &base.place.beginning {
            Beginning::Seeds(seeds) => seeds.clone(),
            Beginning::Found => Vec::new(),
        },
        peers: parts.peers.clone(),
        view: parts.view.clone(),
        following: channels.following.subscribe(),
        joined: channels.joined.subscribe(),
        removed: channels.removed.clone(),
        assignments: channels.assignments.clone(),
        notices: channels.notices.clone(),
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
        following: channels.following.clone(),
    };
    let followed = follower.clone().assignments(channels.assignments.clone(), stop.clone());
    supervisor.spawn(Stage::Reconcile, "assignments", followed);

    let reports = watch::Sender::new(agent::Reports::default());
    let reported = follower.reports(reports.subscribe(), stop.clone());
    let agency = Agency {
        me: base.me,
        hostname: base.description.hostname.clone(),
        dir: base.machine.data.join("agent"),
        runtime: Arc::clone(&base.machine.runtime),
        genesis: channels.genesis.subscribe(),
        assignments: channels.assignments.subscribe(),
        reports,
    };
    supervisor.spawn_fallible(Stage::Reconcile, "agent", agency.run(stop.clone()));
    supervisor.spawn(Stage::Reconcile, "reports", reported);

    let wanted = watch::Sender::new(Arc::default());
    let connect = Tasks {
        me: base.me,
        runtime: Arc::clone(&base.machine.runtime),
        peers: parts.peers.clone(),
    };
    let settings = network::Config { address: base.place.publish, drain: DRAIN };
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
    base: Arc<Base>,
    parts: Arc<Parts>,
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
    let Beginning::Seeds(seeds) = &base.place.beginning else { return Ok(()) };
    let credentials = Arc::clone(&base.channels.credentials.borrow());
    let joiner = Joiner {
        peers: &parts.peers,
        seeds,
        token,
        credentials: &credentials,
        incarnation: base.incarnation,
        description: &base.description,
        availability: base.place.availability,
        data: &base.machine.data,
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
    let seeds = founding::seed_list(&base.place).map_err(|error| error.to_string())?;
    let peers = &parts.peers;
    let slot = match founding::find_slot(&seeds, base.place.advertise, base.me, peers, stop).await {
        Err(FoundingError::Stopped(_)) => return Ok(()),
        other => other.map_err(|error| error.to_string())?,
    };
    let public = base.channels.credentials.borrow().keys.public();
    let (contacts_tx, contacts) = watch::channel(Vec::new());
    let config = store::genesis::Config {
        setup: founding::setup(&base.place, &base.machine.config.zone, seeds, slot, public),
        file: store::genesis::RecordFile::in_dir(base.machine.data.path().to_owned()),
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
    let genesis = standing::kept_genesis(&base.machine.data).map_err(|error| error.to_string())?;
    base.channels.genesis.send_replace(genesis);
    Ok(())
}
