//! Commands, laws and bytes of the model, through its public face.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed unwrap is a failed test, in fixtures too"
)]

mod commands;
mod files;
mod fixtures;
mod golden;
mod laws;
mod specs;
