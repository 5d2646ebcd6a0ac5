//! Whole clusters in one thread and in virtual time: what members see of each other.
#![expect(
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "helpers of tests are not marked as tests"
)]

mod attacks;
mod failures;
mod life;
mod sim;
mod sockets;
