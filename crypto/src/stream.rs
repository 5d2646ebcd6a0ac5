//! Noise over TCP, and calls over that: the one module of this crate with network I/O.
//!
//! ```text
//!   Client ── call, stream, tunnel ──▶ h2 ──▶ NoiseStream ──▶ TCP, or a Tunnel of another session
//!   Router ◀── serve ───────────────── h2 ◀── NoiseStream ◀──
//! ```
//!
//! [`dial`] and [`accept`] make a [`NoiseStream`] of any reliable pipe. [`client`] and [`serve`]
//! put `h2` on it, which brings flow control, cancellation and multiplexing; a thin shim adds
//! bincode messages, deadlines and statuses. A [`Tunnel`] is a pipe again, so a session may run
//! inside a session: a relay then carries bytes that it can neither read nor answer.
//!
//! # Invariants
//!
//! * A stranger gets no byte, whatever it sends.
//! * Every body, buffer, queue and wait has a limit, and the number says why.
//! * Nothing is spawned that outlives the future the caller runs.

mod doorkeeper;
mod handshake;
mod noise;

mod client;
mod router;
mod server;

mod frame;
mod keepalive;
mod offer;
mod sending;
mod session;
mod settings;
mod status;
mod tunnel;

pub mod testing;

pub use client::{Client, OpenError, Receiving, client};
pub use doorkeeper::{Admission, Doorkeeper, Refusal};
pub use frame::MESSAGE_BYTES_MAX;
pub use handshake::{HANDSHAKE_DEADLINE, Met, StreamError, accept, dial, meet};
pub use noise::NoiseStream;
pub use offer::{Gone, Offer};
pub use router::{Context, Router};
pub use sending::{SendError, Sending};
pub use server::serve;
pub use settings::{Limits, Options};
pub use status::{Code, RpcError, Status};
pub use tunnel::Tunnel;

#[cfg(test)]
mod tests;
