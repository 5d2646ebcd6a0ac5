//! Who you are: keys, certificates, handshakes, sessions and streams.
//!
//! # Invariants
//!
//! * No policy of the cluster: who may vote or run tasks is decided elsewhere.
//! * `stream` is the only module with I/O; everything else is bytes to bytes.
#![deny(missing_docs)]

pub mod id;

pub use id::NodeId;
