//! How a packet finds a task: published ports that answer on every node.
//!
//! ```text
//!   client ──▶ any node's port ──▶ proxy ─┬─▶ task on this node
//!                                         └─▶ Noise tunnel ─▶ task elsewhere
//! ```
//!
//! Three steps, each its own module: [`wanted()`] computes from values which ports
//! should answer and who is behind them, [`diff()`] compares that with what is open,
//! and [`Proxy`] takes the steps. Kernel overlays will be a second taker of steps.
//!
//! # Invariants
//!
//! * `wanted`, `diff` and `balance` are pure: members and tasks come in as values.
//! * Nothing here dials a peer: [`Connect`] is given by the node.
//! * A backend on a suspected node gets no new connection, leader or not.
#![deny(missing_docs)]

mod balance;
mod diff;
mod proxy;
mod wanted;

pub use balance::Rotation;
pub use diff::{Step, diff};
pub use proxy::{BoxedStream, ByteStream, Config, Connect, Problems, Proxy};
pub use wanted::{Backend, Backends, Ingress, PublishedPort, Wanted, wanted};
