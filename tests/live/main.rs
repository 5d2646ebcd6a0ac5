//! Real daemons in network namespaces, and what must hold when their world breaks.
//!
//! Run with root: `cargo build --release --bin skep && cargo live --release -- --test-threads=1`.
//! A deadline here is five times what the project promises, so that a slow machine passes and a
//! broken daemon does not.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

mod bad_input;
mod bad_machine;
mod containers;
mod desk;
mod docker;
mod engine;
mod idle;
mod images;
mod joins;
mod leaderless;
mod network;
mod processes;
mod removal;
mod secrets;
mod stranger;
mod swarm;
mod walkthrough;

use std::time::Duration;

/// A write after the leader was lost: 3 s are promised.
const WRITE: Duration = Duration::from_secs(15);
/// The answer to a write that nobody can accept: 2 s are promised.
const ANSWER: Duration = Duration::from_secs(10);
/// Three living voters after one was lost: 30 s are promised.
const VOTERS: Duration = Duration::from_secs(150);
/// Three tasks run after they were asked for: 2 s are promised.
const RUN: Duration = Duration::from_secs(10);
/// Tasks of a node that was cut off run elsewhere: 10 s are promised.
const MOVED: Duration = Duration::from_secs(50);
/// A node that was cut off is whole again: 5 s are promised.
const HEALED: Duration = Duration::from_secs(25);
