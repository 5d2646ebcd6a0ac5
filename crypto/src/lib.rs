//! Who you are: keys, certificates, handshakes, sessions and streams.
//!
//! Reading order: [`key`] and [`schedule`] (what one secret gives), [`token`] (what a stranger is
//! handed), [`sealed`] (what lies on disks), [`identity`] and [`certificate`] (who a node is), [`credentials`] (what it shows and
//! whom it trusts), [`handshake`] and [`replay`] (two nodes meet), [`datagram`] (they talk).
//!
//! # Invariants
//!
//! * No policy of the cluster: who may vote or run tasks is decided elsewhere.
//! * `stream` is the only module that touches the network; keys and tokens read and write their
//!   own small files; everything else is bytes to bytes, and time is an argument.
//! * Nothing unauthenticated is ever answered, and no secret is printed by `Debug`.
#![deny(missing_docs)]

pub mod certificate;
pub mod credentials;
pub mod datagram;
#[doc(hidden)]
pub mod fuzz;
pub mod handshake;
pub mod id;
pub mod identity;
pub mod key;
pub mod replay;
pub mod schedule;
pub mod sealed;
pub mod stream;
pub mod token;
pub mod wire;

mod armor;
mod random;
mod secret_file;
#[cfg(test)]
mod testing;

pub use certificate::{Certificate, Peer, Role, Standing};
pub use credentials::{Credentials, Gate, GateKey};
pub use handshake::{Carrier, Established, HandshakeError, Initiator, Local, Responder};
pub use id::NodeId;
pub use identity::{NodeKeys, NodePublic};
pub use key::ClusterKey;
pub use random::NoRandomness;
pub use replay::{FirstMessages, ReplayWindow, SharedFirstMessages};
pub use schedule::{Authority, CaPublic, ClusterTag, Psk};
pub use sealed::SecretBytes;
pub use secret_file::SecretFileError;
pub use token::Token;
