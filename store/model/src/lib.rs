//! The nouns, and the one step that changes them.
//!
//! Everything the cluster agrees on is a [`State`]; everything that can be
//! written is a [`Command`]; `State::apply` is the only step from one to the
//! next, and it is the same on every node.
//!
//! # Invariants
//!
//! * No I/O, no clock, no randomness: see this crate's `Cargo.toml` and
//!   `clippy.toml`, which make it so. Time and ids come in with the command.
//! * A refused command is an ordinary outcome and changes nothing.
//! * A task never moves to another node, and its state only goes forward.
//! * No secret is ever printed.
#![deny(missing_docs)]

mod apply;
pub mod change;
pub mod command;
pub mod constraint;
pub mod id;
mod indexes;
pub mod node;
pub mod object;
pub mod service;
pub mod snapshot;
pub mod state;
pub mod task;
pub mod validate;

pub use change::{Change, Changed, Diff, ObjectKey};
pub use command::{
    Admission, Applied, Command, Decision, Entry, NewTask, Refused, RequestId, UpdateTo,
};
pub use constraint::Constraint;
pub use id::{
    ClusterId, ConfigId, Index, NetworkId, Revision, SecretId, ServiceId, Slot, TaskId, TokenId,
    UnixNanos,
};
pub use node::{
    Availability, DesiredRole, Grant, Node, NodeDescription, NodeSpec, NodeState, NodeStatus,
};
pub use object::{Cluster, ClusterSpec, Config, Network, NetworkSpec, Secret, Subnet};
pub use service::{Service, ServiceMode, ServiceName, ServiceSpec, TaskSpec};
pub use snapshot::StateBuilder;
pub use state::State;
pub use task::{Task, TaskState, TaskStatus};
