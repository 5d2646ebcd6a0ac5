//! One node: the parts, and how they hang together.
//!
//! Reading order: [`config`], `daemon` (what outlives a cluster), `wiring` (the run-time graph of
//! one life in it, on one page), then that life: `standing` (who am I), `founding` and `joining` (into a cluster), `admission`,
//! `leadership` (who leads), `lead` (what a leader does: plan, judge, choose voters), `dispatch`
//! and `follow` (what a node should run, and what became of it), `ingress`, `front` (the API).
//!
//! # Invariants
//!
//! * The only crate that knows everybody; nobody knows it but tests and examples.
//! * Nothing is decided here that could be decided by a function of values: `health`,
//!   `assignments`, `convert` and the pure crates decide, the rest carries.
//! * Every task is owned by the supervisor, or by a set that is.

pub mod config;
pub mod datadir;
pub mod supervisor;
pub mod telemetry;

mod admission;
mod agency;
mod announce;
mod assignments;
mod convert;
mod daemon;
mod dispatch;
mod entrance;
mod error;
mod events;
mod exile;
mod first_messages;
mod follow;
mod founding;
mod front;
mod health;
mod ingress;
mod joining;
mod lead;
mod leadership;
mod listener;
mod messages;
mod outside;
mod overview;
mod peers;
mod place;
mod pool;
mod relays;
mod rpc;
mod runtimes;
mod standing;
mod voters;
mod wiring;

pub use error::NodeError;
pub use founding::FoundingError;
pub use joining::JoinError;
pub use place::PlaceError;
pub use runtimes::settle;
pub use standing::{StandingError, read_key, unix_seconds};

use tokio::signal::unix::{SignalKind, signal};

use crate::config::Config;

/// 16 random bytes for the name of a token.
#[must_use]
pub fn random_id() -> [u8; 16] {
    rand::random()
}

/// A token's name, as the cluster counts its uses by.
#[must_use]
pub fn token_id(token: &crypto::Token) -> String {
    model::TokenId::from_bytes(token.grant().terms().token_id).to_string()
}

/// Runs the daemon until SIGTERM or SIGINT, or until it left its cluster.
///
/// # Errors
///
/// [`NodeError`] if it cannot start or a part of it fell.
pub fn up(config: Config) -> Result<(), NodeError> {
    let system = |what| move |source| NodeError::System { what, source };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(system("cannot start threads"))?;
    runtime.block_on(async {
        let mut terminate =
            signal(SignalKind::terminate()).map_err(system("cannot listen for signals"))?;
        let mut interrupt =
            signal(SignalKind::interrupt()).map_err(system("cannot listen for signals"))?;
        let shutdown = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        Box::pin(daemon::run(config, shutdown)).await
    })
}
