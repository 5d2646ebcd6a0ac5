//! How a cluster is founded once: a ballot among the seeds, whose one result everybody learns.
//!
//! Every seed is an acceptor of single-decree Paxos, and every one of them must agree: a node
//! with an empty disk has forgotten what it promised, so a majority could choose twice. What is
//! decided lives in [`Founding`], a state machine without clock, network or disk; [`open`] is
//! the thin shell around it, and the simulator in `sim.rs` is another.
//!
//! ```text
//!   Asking ──all seeds answer, my turn──▶ Preparing ──all promise──▶ Accepting ──all accept──▶ founded
//!     ▲  └──────────── a peer knows a genesis: learn it ─────────────────────────────────────────▲
//!     └────────── somebody refuses, or it takes too long: later, with a higher ballot
//! ```
//!
//! # Invariants
//!
//! * A record is on disk before anything that follows from it is said.
//! * Two nodes never learn two results, whatever is lost, crashes or is cut off, as long as one
//!   seed that accepted the first result keeps its disk.
//! * Seeds with different lists make no progress instead of two clusters.

mod acceptor;
mod founding;
mod message;
mod record;
mod seeds;
mod shell;
#[cfg(test)]
mod sim;

pub use founding::{Chance, Founding, Outgoing, SeedProgress, Setup, SlotState};
pub use message::{Answer, Ballot, Candidate, Denial, Founder, Genesis, Message};
pub use record::{Record, RecordError, RecordFile};
pub use seeds::{BadSeeds, Rule, SeedHash, SeedList};
pub use shell::{Ask, Config, Handle, NoAnswer, Progress, open};

use crypto::NodeId;
use thiserror::Error;

/// Why a node cannot take part in founding a cluster, until somebody changes something.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum Problem {
    /// A seed was started with another list.
    #[error(
        "seed {entry} was started with other seeds: it has [{}], this node has [{}]; start all \
         seeds with the same list",
        theirs.join(", "), ours.join(", ")
    )]
    OtherSeeds {
        /// Which seed.
        entry: String,
        /// Its list.
        theirs: Vec<String>,
        /// Ours.
        ours: Vec<String>,
    },
    /// A seed cannot vote.
    #[error(
        "seed {entry} (node {node}) holds only a worker token: start it with the cluster key, or \
         take it off the list of seeds everywhere"
    )]
    WorkerOnly {
        /// Which seed.
        entry: String,
        /// Who it is.
        node: NodeId,
    },
    /// Two names of one node would give it two votes.
    #[error("seeds {first} and {second} are one node ({node}): name each node once")]
    SameNode {
        /// One name.
        first: String,
        /// The other.
        second: String,
        /// Who it is.
        node: NodeId,
    },
    /// A node answers at a seed's address and does not know that it is that seed.
    #[error(
        "the node that answers as seed {entry} ({node}) does not find itself in the list: start \
         it with --advertise {entry}"
    )]
    NotItself {
        /// Which seed.
        entry: String,
        /// Who answered.
        node: NodeId,
    },
    /// One seed alone cannot tell a first start from a wiped disk.
    #[error(
        "{entry} is the only seed, and a list of one cannot tell a first start from a wiped disk: \
         if this is the first start, use --found; else name more seeds"
    )]
    OnlySeed {
        /// The seed.
        entry: String,
    },
    /// Somebody else knows another result. This must never happen.
    #[error(
        "this node belongs to cluster {ours}, and {entry} says that the cluster is {theirs}: \
         they share a key and must never meet; give one of them a key of its own"
    )]
    TwoClusters {
        /// Who says so.
        entry: String,
        /// Our cluster.
        ours: model::ClusterId,
        /// Theirs.
        theirs: model::ClusterId,
    },
}
