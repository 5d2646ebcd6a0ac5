//! What we agreed: Raft over a durable log, with the model's state in memory.
//!
//! # Invariants
//!
//! * What was acknowledged is on the disks of a quorum: one sync for each batch, and no word
//!   after a disk error.
//! * A Raft id is never used twice; a node that lost its log is refused under its old one.
//! * The Raft library is named in `raft` only; its types reach neither disk nor wire.
#![deny(missing_docs)]

pub mod autopilot;
mod backend;
mod changes;
mod channel;
mod config;
mod error;
pub mod genesis;
mod guard;
mod identity;
mod raft;
mod records;
mod rpc;
mod snapshot;
mod status;
mod store;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod writer;

pub use backend::BackendError;
pub use changes::{EntryChanges, SubscribeError, Subscription};
pub use config::{Compaction, Config, Timing};
pub use error::{ChangeError, OpenError, ProposeError, ReadError, StoreFailed};
pub use identity::IdentityError;
pub use records::LogPosition;
pub use rpc::{Dial, DialError};
pub use snapshot::SnapshotError;
pub use status::{RaftRole, RaftStatus};
pub use store::{Charter, Store};
