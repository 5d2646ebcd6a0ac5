//! The one task that owns membership: it waits for something to happen, then acts on it.

mod asking;
mod liveness;
mod rate;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use chitchat::{ChitchatHandle, DeletionStatus, VersionedValue};
use crypto::{Credentials, NodeId, Peer};
use rand::seq::IteratorRandom;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::bridge::{self, Bridge, GossipDied, Settings};
use crate::guard::{self, Admission, Clock, GossipId, Guard, KEY, Known};
use crate::packet::{Kind, Packet, PacketTransport, Received, TransportBroke};
use crate::probe::{Ping, PingAck, PingReq, ProbeOutcome, Probes};
use crate::record::{Payload, Presence, Record};
use crate::seeds::{self, Own, Seeds};
use crate::view::View;
use crate::{BigMessage, Config, Me, MembershipError};
use liveness::Watcher;
use rate::Rates;

/// Others to whom a leaving node says good-bye itself.
const GOODBYES: usize = 8;

/// Callers whose address we remember to answer big messages; more are forgotten at once.
const CALLERS_MAX: usize = 1024;

/// Names that are being resolved at once.
const RESOLVING_MAX: usize = 64;

/// Complaints about rejected messages: one each so often.
const COMPLAIN: Duration = Duration::from_secs(1);

/// What a handle asks for.
#[derive(Debug)]
pub(crate) enum Command {
    Update(Payload),
    Leave(oneshot::Sender<()>),
    Admit(Admission),
    Probe(NodeId, oneshot::Sender<ProbeOutcome>),
    Contact(SocketAddr),
    Big(Packet),
}

/// Everything that can happen. Closed on purpose.
enum Event {
    Stop,
    GossipEnded(String),
    Tick,
    ProbeDue,
    Command(Command),
    Credentials,
    Resolved(String, Result<Vec<SocketAddr>, String>),
    Sent(SocketAddr, Vec<u8>),
    Received(Received),
    Broke(TransportBroke),
}

/// What exists before chitchat does.
pub(crate) struct Task {
    config: Config,
    me: Me,
    transport: Box<dyn PacketTransport>,
    big: mpsc::Sender<BigMessage>,
    published: watch::Sender<Arc<View>>,
    started: Instant,
}

impl Task {
    pub(crate) fn new(
        config: Config,
        me: Me,
        transport: Box<dyn PacketTransport>,
        big: mpsc::Sender<BigMessage>,
    ) -> (Self, watch::Receiver<Arc<View>>) {
        let now = Instant::now();
        let view = View {
            me: me.credentials.borrow().node(),
            members: BTreeMap::new(),
            n_known_ids: 1,
            self_suspect: false,
            rival_incarnation: None,
            seeds: Vec::new(),
            changed_at: now,
        };
        let (published, view) = watch::channel(Arc::new(view));
        (Self { config, me, transport, big, published, started: now }, view)
    }

    pub(crate) async fn run(
        self,
        inbox: mpsc::Receiver<Command>,
        stop: CancellationToken,
    ) -> Result<(), MembershipError> {
        let mut running = self.start(inbox).await?;
        loop {
            let event = running.next(&stop).await;
            if let Some(end) = running.apply(event).await {
                return end;
            }
            if running.is_dirty {
                running.refresh().await;
            }
        }
    }

    async fn start(self, inbox: mpsc::Receiver<Command>) -> Result<Running, MembershipError> {
        let Self { config, me, mut transport, big, published, started } = self;
        let Me { mut credentials, payload, incarnation } = me;
        let current = Arc::clone(&credentials.borrow_and_update());
        // Who joins with a token gets its credentials after the transport was bound.
        transport.trust(Arc::clone(&current));
        let node = current.node();
        let my_id =
            GossipId { short: node.short(), generation: incarnation, address: config.advertise };
        let record = sign(&current, &my_id, &payload, 1)?;
        let settings = Settings {
            id: my_id.clone(),
            cluster_id: guard::cluster_id(&current),
            interval: config.gossip_interval,
            phi: config.phi,
            grace: config.grace,
            record,
        };
        let (bridge, chitchat) =
            Bridge::start(settings).await.map_err(|source| MembershipError::Gossip { source })?;
        let now = Instant::now();
        let own = Own { listen: config.listen, advertise: config.advertise };
        let mut ticks = interval(config.gossip_interval / 2);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let ended = Box::pin(chitchat.termination_watcher());
        info!(node.id = %node, address = %my_id.address, incarnation, "Gossip started");
        Ok(Running {
            guard: Guard::new(my_id.clone(), current),
            watcher: Watcher::new(now, config.gossip_interval),
            seeds: Seeds::new(&config.seeds, own, now),
            config,
            credentials,
            credentials_end: false,
            payload,
            my_id,
            transport,
            big,
            published,
            started,
            inbox,
            bridge,
            chitchat,
            ended,
            ticks,
            probes: Probes::default(),
            waiters: BTreeMap::new(),
            pinged_last: BTreeMap::new(),
            pinged_somebody: now,
            callers: BTreeMap::new(),
            rates: Rates::default(),
            resolving: JoinSet::new(),
            leaving: Vec::new(),
            complained: None,
            is_dirty: true,
        })
    }
}

/// The task with a chitchat of its own.
struct Running {
    config: Config,
    credentials: watch::Receiver<Arc<Credentials>>,
    /// Nobody will renew them any more.
    credentials_end: bool,
    payload: Payload,
    my_id: GossipId,
    transport: Box<dyn PacketTransport>,
    big: mpsc::Sender<BigMessage>,
    published: watch::Sender<Arc<View>>,
    started: Instant,
    inbox: mpsc::Receiver<Command>,
    bridge: Bridge,
    chitchat: ChitchatHandle,
    ended: Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>,
    ticks: Interval,
    guard: Guard,
    watcher: Watcher,
    seeds: Seeds,
    probes: Probes,
    waiters: BTreeMap<NodeId, Vec<oneshot::Sender<ProbeOutcome>>>,
    pinged_last: BTreeMap<NodeId, Instant>,
    pinged_somebody: Instant,
    callers: BTreeMap<SocketAddr, NodeId>,
    rates: Rates,
    resolving: JoinSet<(String, Result<Vec<SocketAddr>, String>)>,
    /// Who waits for our good-bye to be heard, and until when.
    leaving: Vec<(Instant, oneshot::Sender<()>)>,
    complained: Option<Instant>,
    /// The view may be out of date.
    is_dirty: bool,
}

impl Running {
    /// Waits and changes nothing.
    async fn next(&mut self, stop: &CancellationToken) -> Event {
        let probe_due = self.probes.due();
        let probe_time = async {
            match probe_due {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // A flood of packets must delay neither the end nor our own ticks.
            biased;
            () = stop.cancelled() => Event::Stop,
            ended = &mut self.ended => Event::GossipEnded(match ended {
                Ok(()) => "it ended by itself".to_owned(),
                Err(error) => format!("{error:#}"),
            }),
            _ = self.ticks.tick() => Event::Tick,
            () = probe_time => Event::ProbeDue,
            command = self.inbox.recv() => match command {
                Some(command) => Event::Command(command),
                None => Event::Stop, // Every handle is gone, and so is our job.
            },
            changed = self.credentials.changed(), if !self.credentials_end => {
                self.credentials_end = changed.is_err();
                Event::Credentials
            }
            Some(Ok((entry, found))) = self.resolving.join_next() => Event::Resolved(entry, found),
            (to, bytes) = self.bridge.sent() => Event::Sent(to, bytes),
            received = self.transport.receive() => match received {
                Ok(received) => Event::Received(received),
                Err(error) => Event::Broke(error),
            },
        }
    }

    /// Acts. Returns how it ended, if it did.
    async fn apply(&mut self, event: Event) -> Option<Result<(), MembershipError>> {
        match event {
            Event::Stop => {
                info!("Gossip stopped");
                return Some(Ok(()));
            }
            Event::GossipEnded(reason) => {
                return Some(Err(MembershipError::Gossip { source: GossipDied { reason } }));
            }
            Event::Broke(source) => return Some(Err(MembershipError::Transport { source })),
            Event::Tick => self.tick(),
            Event::ProbeDue => {
                let actions = self.probes.tick(Instant::now());
                self.perform(actions);
            }
            Event::Command(command) => self.command(command).await,
            Event::Credentials => {
                let credentials = Arc::clone(&self.credentials.borrow_and_update());
                self.transport.trust(credentials);
                self.say().await;
                self.is_dirty = true;
            }
            Event::Resolved(entry, found) => {
                for address in self.seeds.resolved(&entry, found, Instant::now()) {
                    self.call(address);
                }
                self.is_dirty = true;
            }
            Event::Sent(to, bytes) => self.send_gossip(to, &bytes),
            Event::Received(Received::Packet(packet)) => self.packet(packet).await,
            Event::Received(Received::Ourselves { from }) => self.seeds.heard_ourselves(from),
            Event::Received(Received::Refused { from, reason }) => {
                self.seeds.refused(from, &reason, Instant::now());
            }
        }
        None
    }

    fn tick(&mut self) {
        let now = Instant::now();
        self.watcher.tick(now);
        let actions = self.probes.tick(now);
        self.perform(actions);
        let watcher = &self.watcher;
        self.seeds.tick(now, |node| watcher.is_alive(node));
        self.call_seeds(now);
        self.ping_the_silent(now);
        let (done, waiting): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.leaving).into_iter().partition(|(until, _)| *until <= now);
        self.leaving = waiting;
        for (_, reply) in done {
            // Who asked may have gone ahead.
            let _ = reply.send(());
        }
        self.is_dirty = true;
    }

    fn call_seeds(&mut self, now: Instant) {
        let alone = self.watcher.n_alive_others() == 0;
        let Some(due) = self.seeds.due(now, alone) else { return };
        for entry in due.names {
            if self.resolving.len() < RESOLVING_MAX {
                self.resolving.spawn(seeds::resolve(entry));
            }
        }
        for address in due.addresses {
            self.call(address);
        }
    }

    /// Starts a gossip exchange.
    fn call(&self, address: SocketAddr) {
        // It fails only when chitchat has ended, and then `ended` says so.
        let _ = self.chitchat.gossip(address);
    }

    async fn command(&mut self, command: Command) {
        let now = Instant::now();
        match command {
            Command::Update(payload) => {
                // A node that said good-bye does not take it back in this life.
                let state = match self.payload.state {
                    Presence::Leaving => Presence::Leaving,
                    Presence::Alive => payload.state,
                };
                self.payload = Payload { state, ..payload };
                self.say().await;
            }
            Command::Leave(reply) => {
                self.payload.state = Presence::Leaving;
                self.say().await;
                let others = self.watcher.alive().choose_multiple(&mut rand::rng(), GOODBYES);
                for known in others.iter().filter_map(|node| self.guard.member(*node)) {
                    self.call(known.id.address);
                }
                self.leaving.push((now + self.config.gossip_interval * 2, reply));
            }
            Command::Admit(admission) => self.guard.admit(admission),
            Command::Probe(node, reply) => self.probe(now, node, reply),
            Command::Contact(address) => self.seeds.add_contact(address),
            Command::Big(mut packet) => {
                // The answer goes where the node listens, not to the port it dialled from.
                if let Some(known) = self.guard.member(packet.peer.id) {
                    packet.from = known.id.address;
                }
                if self.guard.hears(&packet.peer) {
                    self.remember(packet.from, packet.peer.id);
                    self.gossip(packet.from, &packet.peer, &packet.payload).await;
                }
            }
        }
        self.is_dirty = true;
    }

    /// Signs and publishes what we say about ourselves.
    async fn say(&mut self) {
        let credentials = Arc::clone(&self.credentials.borrow_and_update());
        let (id, payload) = (&self.my_id, &self.payload);
        let said = self
            .chitchat
            .with_chitchat(|chitchat| {
                let state = chitchat.self_node_state();
                let record = sign(&credentials, id, payload, state.max_version() + 1)?;
                state.set(KEY, record);
                Ok::<(), MembershipError>(())
            })
            .await;
        if let Err(error) = said {
            warn!(error = %chain(&error), "Own record was not published");
        }
        self.guard.trust(credentials);
    }

    /// chitchat wants to send something.
    fn send_gossip(&mut self, to: SocketAddr, bytes: &[u8]) {
        let limit = self.transport.payload_bytes_max();
        let bytes = match self.guard.outbound(self.clock(), bytes, limit) {
            Ok(bytes) => bytes,
            Err(error) => {
                warn!(error = %chain(&error), "Own gossip message was not understood");
                return;
            }
        };
        if bytes.len() <= limit {
            self.transport.send(to, Kind::Gossip, bytes);
            return;
        }
        let at_home = self.guard.members().find(|known| known.addresses().any(|a| a == to));
        let node = at_home.map(Known::node).or_else(|| self.callers.get(&to).copied());
        if self.big.try_send(BigMessage { node, address: to, bytes }).is_err() {
            debug!(peer.addr = %to, "Big gossip message was dropped");
        }
    }

    async fn packet(&mut self, packet: Packet) {
        let now = Instant::now();
        let Packet { from, peer, kind, payload } = packet;
        if peer.id == self.guard.me() {
            self.seeds.heard_ourselves(from);
            return;
        }
        if !self.guard.hears(&peer) {
            return;
        }
        self.guard.heard_from(&peer, from, now);
        self.seeds.heard(from, peer.id, now);
        match kind {
            Kind::Gossip => {
                self.remember(from, peer.id);
                self.gossip(from, &peer, &payload).await;
            }
            Kind::Ping => {
                let Ok(Ping { nonce }) = Ping::decode(&payload) else { return };
                let clock = self.clock();
                let ack = PingAck {
                    nonce,
                    incarnation: self.my_id.generation,
                    heartbeat: clock.uptime_ms,
                    on_behalf_of: None,
                };
                self.transport.send(from, Kind::PingAck, ack.encode());
            }
            Kind::PingReq => {
                let Ok(request) = PingReq::decode(&payload) else { return };
                // Only members are pinged, at their own address: nobody can aim us at a stranger.
                if self.guard.member(request.target).is_some() {
                    let ping = self.probes.asked(now, from, request, rand::random());
                    self.perform(ping);
                }
            }
            Kind::PingAck => {
                let Ok(ack) = PingAck::decode(&payload) else { return };
                let actions = self.probes.answered(now, peer.id, ack);
                self.perform(actions);
            }
        }
    }

    /// So that a long answer finds its way by stream.
    fn remember(&mut self, caller: SocketAddr, node: NodeId) {
        if self.callers.len() >= CALLERS_MAX {
            self.callers.clear();
        }
        self.callers.insert(caller, node);
    }

    /// A gossip message of an authenticated peer.
    async fn gossip(&mut self, from: SocketAddr, peer: &Peer, bytes: &[u8]) {
        let clock = self.clock();
        if !self.rates.allow(clock.now, peer.id) {
            return;
        }
        let passed = match self.guard.inbound(clock, peer, bytes) {
            Ok(passed) => passed,
            Err(error) => {
                let quiet = self.complained.is_some_and(|last| clock.now < last + COMPLAIN);
                if !quiet {
                    self.complained = Some(clock.now);
                    warn!(peer.id = %peer.id, peer.addr = %from, error = %chain(&error),
                        "Gossip message was rejected");
                }
                return;
            }
        };
        self.is_dirty |= passed.changed;
        for id in &passed.fresh {
            introduce(&self.chitchat, &self.guard, id).await;
        }
        if !self.bridge.deliver(from, &passed.bytes) {
            warn!(peer.id = %peer.id, "Checked gossip message was not understood");
        }
    }

    /// Brings the view up to date.
    async fn refresh(&mut self) {
        self.is_dirty = false;
        let (live, held) = self
            .chitchat
            .with_chitchat(|chitchat| {
                let live: BTreeSet<_> = chitchat.live_nodes().map(bridge::gossip_id).collect();
                let held: BTreeSet<_> =
                    chitchat.node_states().keys().map(bridge::gossip_id).collect();
                (live, held)
            })
            .await;
        self.guard.sync(&held);
        let now = Instant::now();
        let myself = liveness::Myself {
            id: &self.my_id,
            payload: &self.payload,
            certificate: &self.credentials.borrow().certificate,
            since: self.started,
        };
        let view = self.watcher.look(now, &self.guard, &live, &myself);
        let view = View { seeds: self.seeds.states().to_vec(), ..view };
        if self.watcher.is_news(now, &self.published.borrow(), &view) {
            self.published.send_replace(Arc::new(view));
        }
    }

    fn clock(&self) -> Clock {
        let now = Instant::now();
        let uptime = now.duration_since(self.started).as_millis();
        let uptime_ms = u64::try_from(uptime).unwrap_or(u64::MAX);
        Clock { now, uptime_ms, unix: (self.config.unix_now)() }
    }
}

/// Tells chitchat of an id whose record is verified. By itself it takes records only of ids that a
/// digest named before, and an `Ack` has no digest.
async fn introduce(chitchat: &ChitchatHandle, guard: &Guard, id: &GossipId) {
    let Some(known) = guard.members().find(|known| known.id == *id) else { return };
    let (text, version) = (known.text.clone(), known.record.sequence);
    let id = bridge::chitchat_id(id);
    chitchat
        .with_chitchat(|chitchat| {
            let status = DeletionStatus::Set;
            let value = VersionedValue { value: text.clone(), version, status };
            let values = std::iter::once((KEY.to_owned(), value));
            chitchat.reset_node_state_if_update(&id, values, version, 0);
        })
        .await;
}

fn sign(
    credentials: &Credentials,
    id: &GossipId,
    payload: &Payload,
    sequence: u64,
) -> Result<String, MembershipError> {
    let record = Record {
        node: credentials.node(),
        incarnation: id.generation,
        sequence,
        address: id.address,
        payload: payload.clone(),
        certificate: credentials.certificate.clone(),
    };
    record.sign(&credentials.keys).map_err(|source| MembershipError::Record { source })
}

/// An error and its causes, for one line of log.
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
