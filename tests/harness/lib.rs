//! What the tests of the whole cluster share: a cluster in one thread, and what must never break.
//!
//! [`cluster`] runs the real state and the real planner over simulated [`machine`]s, with a clock
//! that only the test moves; after each command every one of the [`invariants`] is checked.
//! [`voters`] does the same for the real autopilot over a Raft group of which only the members
//! are simulated.
#![expect(clippy::unwrap_used, reason = "only tests link this; a broken simulation must stop")]

pub mod cluster;
#[expect(clippy::expect_used, reason = "only tests link this, and they end so")]
pub mod engine;
pub mod invariants;
pub mod live;
pub mod live_cli;
pub mod live_images;
pub mod live_net;
pub mod machine;
pub mod services;
pub mod stranger;
pub mod usage;
pub mod voters;
