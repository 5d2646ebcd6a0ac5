//! How this node comes to know its cluster: it finds its entry among the seeds, takes part in
//! the ballot, or learns the result from others.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use crypto::stream::{Code, Router, Status};
use crypto::{NodeId, Role, Standing};
use membership::View;
use store::genesis::{
    Answer, Ask, Candidate, Genesis, Handle, Message, NoAnswer, Progress, Rule, SeedList, Setup,
};
use store::{Charter, Store};
use thiserror::Error;
use tokio::net::lookup_host;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::{Beginning, Place};
use crate::front::Notices;
use crate::peers::{Link, Peers};

/// Path of the ballot.
const GENESIS: &str = "/genesis/ask";

/// One question of the ballot, once connected.
const DEADLINE: Duration = Duration::from_secs(3);

/// Names that do not resolve yet may be ours: a node does not take its place among the seeds
/// before they do, or before so long.
const RESOLVE_MAX: Duration = Duration::from_secs(20);

/// Between two looks at the names.
const RESOLVE_AGAIN: Duration = Duration::from_secs(1);

/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;

/// The seeds make no sense for this node.
#[derive(Debug, Error)]
pub enum FoundingError {
    /// Two entries are this node.
    #[error("seeds {first} and {second} are both this node: name each machine once")]
    Twice {
        /// One.
        first: String,
        /// The other.
        second: String,
    },
    /// The list.
    #[error(transparent)]
    Seeds(#[from] store::genesis::BadSeeds),
    /// The record of an earlier start.
    #[error(transparent)]
    Record(#[from] store::genesis::RecordError),
    /// The store did not take the result.
    #[error("the store cannot take part in the cluster")]
    Store(#[from] store::OpenError),
    /// `--found` on a directory that belongs to a cluster already is harmless; this is not.
    #[error("{0}")]
    Stopped(&'static str),
}

/// The list, and what this node is called in it if it founds alone.
pub(crate) fn seed_list(place: &Place) -> Result<SeedList, FoundingError> {
    let rule = if place.voters == Some(5) { Rule::Five } else { Rule::Automatic };
    let entries = match &place.beginning {
        Beginning::Seeds(seeds) => seeds.clone(),
        Beginning::Found => vec![place.advertise.to_string()],
    };
    Ok(SeedList::new(entries, rule)?)
}

/// Which entry this node is: the one whose address is advertised, or at which it meets its own
/// key. Two of them are an error.
pub(crate) async fn find_slot(
    seeds: &SeedList,
    advertise: SocketAddr,
    me: NodeId,
    peers: &Peers,
    stop: &CancellationToken,
) -> Result<Option<u16>, FoundingError> {
    let began = Instant::now();
    loop {
        let mut mine: Option<&String> = None;
        let mut unresolved = false;
        for entry in seeds.entries() {
            match is_me(entry, advertise, me, peers).await {
                Some(true) => match mine {
                    Some(first) => {
                        let (first, second) = (first.clone(), entry.clone());
                        return Err(FoundingError::Twice { first, second });
                    }
                    None => mine = Some(entry),
                },
                Some(false) => {}
                None => unresolved = true,
            }
        }
        if let Some(entry) = mine {
            info!(entry, "found myself among the seeds");
            return Ok(seeds.slot_of(entry));
        }
        if !unresolved || RESOLVE_MAX <= began.elapsed() {
            return Ok(None);
        }
        tokio::select! {
            () = stop.cancelled() => return Err(FoundingError::Stopped("stopped while looking for the seeds")),
            () = sleep(RESOLVE_AGAIN) => {}
        }
    }
}

/// Whether an entry is this node; `None` if its name has no address yet.
async fn is_me(entry: &str, advertise: SocketAddr, me: NodeId, peers: &Peers) -> Option<bool> {
    let addresses: Vec<_> = lookup_host(entry).await.ok()?.take(ADDRESSES_MAX).collect();
    if addresses.contains(&advertise) {
        return Some(true);
    }
    for address in addresses.into_iter().filter(|address| is_local(*address)) {
        if let Ok(client) = peers.dial_address(address, Link::Control).await
            && client.peer().id == me
        {
            return Some(true);
        }
    }
    Some(false)
}

/// Only an address of this machine can be ours.
fn is_local(address: SocketAddr) -> bool {
    std::net::UdpSocket::bind((address.ip(), 0)).is_ok()
}

/// What this node brings to the ballot.
pub(crate) fn setup(
    place: &Place,
    zone: &str,
    seeds: SeedList,
    slot: Option<u16>,
    public: crypto::NodePublic,
) -> Setup {
    Setup {
        seeds: Arc::new(seeds),
        slot,
        me: Candidate { public, zone: zone.to_owned() },
        eligible: true,
        found: place.beginning == Beginning::Found,
        start: rand::random(),
    }
}

/// Carries the ballot's questions.
#[derive(Debug)]
pub(crate) struct Asker {
    pub(crate) peers: Peers,
}

#[async_trait]
impl Ask for Asker {
    async fn ask(&self, address: &str, message: Message) -> Result<Answer, NoAnswer> {
        let addresses = lookup_host(address).await.map_err(|error| NoAnswer(error.to_string()))?;
        let mut last = NoAnswer("its name has no address".to_owned());
        for address in addresses.take(ADDRESSES_MAX) {
            match self.ask_one(address, &message).await {
                Ok(answer) => return Ok(answer),
                Err(why) => last = why,
            }
        }
        Err(last)
    }
}

impl Asker {
    async fn ask_one(&self, address: SocketAddr, message: &Message) -> Result<Answer, NoAnswer> {
        let client = self.peers.client_at(address).await.map_err(|why| NoAnswer(why.brief()))?;
        let answer = client.unary::<_, Answer>(GENESIS, message, DEADLINE).await;
        let answer = answer.map_err(|error| NoAnswer(error.to_string()))?;
        let peer = client.peer();
        let worker_only =
            matches!(answer, Answer::Denied(store::genesis::Denial::WorkerOnly { .. }));
        if peer.role != Role::Eligible && !worker_only {
            return Err(NoAnswer("a worker answered for a seed".to_owned()));
        }
        Ok(answer)
    }
}

/// The other end of the ballot, on a node with the key.
pub(crate) fn answers(founding: watch::Receiver<Option<Handle>>, router: Router) -> Router {
    router.unary(GENESIS, move |context, message: Message| {
        let founding = founding.borrow().clone();
        async move {
            if context.peer.candidate || context.peer.standing != Standing::Valid {
                return Err(Status::denied("only members take part in the ballot"));
            }
            if context.peer.role != Role::Eligible && !matches!(message, Message::Ask { .. }) {
                return Err(Status::denied("only nodes with the cluster key take part"));
            }
            let founding = founding.ok_or_else(|| {
                Status::new(Code::Unavailable, "still looking for itself among the seeds")
            })?;
            let answer = founding.answer(message).await;
            answer.ok_or_else(|| Status::unavailable("this node is stopping"))
        }
    })
}

/// The other end of the ballot, on a worker: it says that it cannot.
pub(crate) fn declines(me: NodeId, router: Router) -> Router {
    router.unary(GENESIS, move |_, _: Message| async move {
        Ok(Answer::Denied(store::genesis::Denial::WorkerOnly { node: me }))
    })
}

/// Waits for the result and takes part in it; then tells everybody else.
#[expect(clippy::too_many_arguments, reason = "a step between six parts, called once")]
pub(crate) async fn conclude(
    me: NodeId,
    handle: Handle,
    store: Store,
    genesis: watch::Sender<Option<[u8; 16]>>,
    notices: watch::Sender<Arc<Notices>>,
    stop: CancellationToken,
) -> Result<(), String> {
    let mut progress = handle.progress();
    let result = loop {
        let now = progress.borrow_and_update().clone();
        if let Some(result) = now.genesis {
            break result;
        }
        say(&notices, &now);
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            changed = progress.changed() => if changed.is_err() { return Ok(()) },
            // The text counts the seconds that a seed has been silent.
            () = sleep(Duration::from_secs(1)) => {}
        }
    };
    notices.send_modify(|notices| Arc::make_mut(notices).waiting.clear());
    if result.raft_id_of(me).is_some()
        && let Err(error) = store.found(&charter(&result)).await
    {
        warn!(error = &error as &dyn std::error::Error, "founding failed");
        return Err(format!("this founder cannot take part: {error}"));
    }
    genesis.send_replace(Some(result.id()));
    stop.cancelled().await;
    Ok(())
}

fn say(notices: &watch::Sender<Arc<Notices>>, progress: &Progress) {
    let waiting = vec![progress.to_string()];
    notices.send_if_modified(|notices| {
        let news = notices.waiting != waiting;
        Arc::make_mut(notices).waiting = waiting;
        news
    });
}

fn charter(genesis: &Genesis) -> Charter {
    let voters = genesis.founders.iter().map(|founder| (founder.raft_id, founder.id()));
    Charter { cluster: genesis.cluster, voters: voters.collect() }
}

/// Addresses of members with the key, for nodes whose seeds are gone.
pub(crate) async fn contacts(
    mut view: watch::Receiver<Arc<View>>,
    published: watch::Sender<Vec<String>>,
    stop: CancellationToken,
) {
    loop {
        let eligible: Vec<_> = {
            let view = view.borrow_and_update();
            let others = view.alive().filter(|member| member.eligible && member.id != view.me);
            others.map(|member| member.address.to_string()).collect()
        };
        published.send_if_modified(|known| {
            let news = *known != eligible;
            *known = eligible;
            news
        });
        tokio::select! {
            () = stop.cancelled() => return,
            changed = view.changed() => if changed.is_err() { return },
        }
    }
}
