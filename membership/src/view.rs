//! What a node knows about who is here: an immutable picture, replaced as a whole.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crypto::NodeId;
use tokio::time::Instant;

use crate::record::{Payload, Presence};

/// Ids at which `status` should warn: the guard takes no more than 900.
pub const IDS_WARN: usize = 800;

/// Everybody we know of, ourselves among them.
#[derive(Clone, Debug)]
pub struct View {
    /// Us.
    pub me: NodeId,
    /// Everybody, also ourselves and those who seem to be gone.
    pub members: BTreeMap<NodeId, Member>,
    /// Ids that gossip carries, older incarnations included. See [`IDS_WARN`].
    pub n_known_ids: usize,
    /// We stalled or see less than half of the members: our suspicions are worth little.
    pub self_suspect: bool,
    /// A higher incarnation that somebody else signed with our key: a copied data directory.
    pub rival_incarnation: Option<u64>,
    /// The seed list as it was understood, and how each entry fares.
    pub seeds: Vec<SeedState>,
    /// When this last became different.
    pub changed_at: Instant,
}

impl View {
    /// The members that seem alive, ourselves among them.
    pub fn alive(&self) -> impl Iterator<Item = &Member> {
        self.members.values().filter(|member| member.liveness == Liveness::Alive)
    }

    /// Whether a node is there, as far as we can tell.
    #[must_use]
    pub fn is_alive(&self, id: NodeId) -> bool {
        self.members.get(&id).is_some_and(|member| member.liveness == Liveness::Alive)
    }

    /// Whether both say the same, round trip times and counters aside.
    pub(crate) fn same_news(&self, other: &Self) -> bool {
        let same = |(a, b): (&Member, &Member)| a.same_news(b);
        self.members.len() == other.members.len()
            && self.members.values().zip(other.members.values()).all(same)
            && self.n_known_ids == other.n_known_ids
            && self.self_suspect == other.self_suspect
            && self.rival_incarnation == other.rival_incarnation
            && self.seeds.len() == other.seeds.len()
            && self.seeds.iter().zip(&other.seeds).all(|(a, b)| a.same_news(b))
    }
}

/// One node, by its own signed word.
#[derive(Clone, Debug)]
pub struct Member {
    /// Who.
    pub id: NodeId,
    /// Where it says it listens.
    pub address: SocketAddr,
    /// Which of its lives.
    pub incarnation: u64,
    /// What it says about itself.
    pub payload: Arc<Payload>,
    /// Both it and its certificate say that it may manage.
    pub eligible: bool,
    /// Whether it seems to be there.
    pub liveness: Liveness,
    /// Round trip of the last answered ping.
    pub rtt: Option<Duration>,
    /// Pings in a row that it left unanswered. A few mean: it can talk to us but does not hear us.
    pub n_unanswered: u32,
    /// When this life of it was first heard of here.
    pub first_seen: Instant,
}

impl Member {
    fn same_news(&self, other: &Self) -> bool {
        let unheard = |member: &Self| member.n_unanswered >= UNHEARD;
        self.id == other.id
            && self.address == other.address
            && self.incarnation == other.incarnation
            && self.liveness == other.liveness
            && self.eligible == other.eligible
            && self.payload == other.payload
            && self.rtt.is_some() == other.rtt.is_some()
            && unheard(self) == unheard(other)
    }
}

/// So many unanswered pings in a row are worth a new view; one or two are loss.
const UNHEARD: u32 = 3;

/// Whether a node seems to be there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Liveness {
    /// It was heard of within the detection time.
    Alive,
    /// It was not. Whether it is down is not for gossip to say.
    Suspect {
        /// Since when.
        since: Instant,
    },
    /// It said good-bye.
    Left,
}

impl Liveness {
    pub(crate) fn of(presence: Presence, heard: bool, since: Instant) -> Self {
        match (presence, heard) {
            (Presence::Leaving, _) => Self::Left,
            (Presence::Alive, true) => Self::Alive,
            (Presence::Alive, false) => Self::Suspect { since },
        }
    }
}

/// How one entry of the seed list fares.
#[derive(Clone, Debug)]
pub struct SeedState {
    /// The entry, in lower case and with its port.
    pub entry: String,
    /// What it last resolved to.
    pub resolved: Vec<SocketAddr>,
    /// It is ourselves.
    pub is_me: bool,
    /// Who answers there, if anybody did.
    pub node: Option<NodeId>,
    /// When it last answered.
    pub answered_last: Option<Instant>,
    /// Since when it has been as it is now: answering, or not.
    pub since: Instant,
    /// Why we wait for it, if we do; without the time.
    pub waiting_reason: Option<String>,
}

impl SeedState {
    /// One line for `status`, such as `c:7964: no answer, 41 s`.
    #[must_use]
    pub fn describe(&self, now: Instant) -> String {
        Described { seed: self, now }.to_string()
    }

    fn same_news(&self, other: &Self) -> bool {
        self.entry == other.entry
            && self.resolved == other.resolved
            && self.is_me == other.is_me
            && self.node == other.node
            && self.waiting_reason == other.waiting_reason
    }
}

struct Described<'a> {
    seed: &'a SeedState,
    now: Instant,
}

impl fmt::Display for Described<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seed = self.seed;
        write!(f, "{}: ", seed.entry)?;
        if seed.is_me {
            return f.write_str("this node");
        }
        let seconds = self.now.duration_since(seed.since).as_secs();
        match &seed.waiting_reason {
            Some(reason) => write!(f, "{reason}, {seconds} s"),
            None => f.write_str("answers"),
        }
    }
}
