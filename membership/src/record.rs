//! What a node says about itself: one record, signed as a whole, that anybody may carry.
//!
//! ```text
//! text    base 64 of: envelope {kind, version, Body} | 64 bytes of ed25519 signature
//! Body    node, incarnation, sequence, address, payload, certificate
//! ```
//!
//! The certificate inside makes a record complete: CA → certificate → key → record, so a node that
//! never met the subject can check every byte.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use crypto::certificate::{CLOCK_TOLERANCE_SECONDS, CertificateError};
use crypto::wire::{self, WireError};
use crypto::{CaPublic, Certificate, NodeId, NodeKeys, Peer, identity};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What a node may say about itself. Gossip carries every record to every node.
pub const PAYLOAD_BYTES_MAX: usize = 2048;

/// Payload, certificate (208), signature and the few fields around them.
const RECORD_BYTES_MAX: usize = PAYLOAD_BYTES_MAX + 512;

const RECORD_KIND: u16 = 0x0201;
const PAYLOAD_KIND: u16 = 0x0202;
const RECORD_DOMAIN: &str = "gossip record v1";

/// What a node says about itself.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Payload {
    /// It holds the cluster key and may be chosen to manage.
    pub eligible: bool,
    /// Its host name, for people.
    pub hostname: String,
    /// Its failure zone; empty for none.
    pub zone: String,
    /// The cluster it belongs to, once it knows.
    pub genesis: Option<[u8; 16]>,
    /// Here, or about to go.
    pub state: Presence,
    /// Its version of the program.
    pub version: String,
    /// Its Raft id; 0 for none.
    pub raft_id: u64,
    /// It is about to be emptied of tasks.
    pub draining: bool,
}

/// Whether a node means to stay.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Presence {
    /// It does.
    Alive,
    /// It said good-bye.
    Leaving,
}

/// A record in the clear.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Record {
    /// Whose.
    pub node: NodeId,
    /// Which of its lives.
    pub incarnation: u64,
    /// Counts the records of this life, from 1.
    pub sequence: u64,
    /// Where it listens.
    pub address: SocketAddr,
    /// What it says.
    pub payload: Payload,
    /// Proves who it is.
    pub certificate: Certificate,
}

/// A record could not be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SignError {
    /// More than gossip should carry.
    #[error("a payload of {length} bytes is over its limit of {PAYLOAD_BYTES_MAX}")]
    Long {
        /// How many.
        length: usize,
    },
    /// The type cannot be written.
    #[error("failed to write a record")]
    Encode {
        /// Why not.
        source: WireError,
    },
}

/// A record was not believed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The text is none.
    #[error("not a record")]
    Encoding {
        /// Why not.
        source: WireError,
    },
    /// The text is not base 64, or too short for a signature.
    #[error("not the text of a record")]
    Text,
    /// More than a node may say.
    #[error("a payload of {length} bytes is over its limit of {PAYLOAD_BYTES_MAX}")]
    Long {
        /// How many.
        length: usize,
    },
    /// The certificate inside is not good.
    #[error("the certificate in a record was refused")]
    Certificate {
        /// Why.
        source: CertificateError,
    },
    /// The certificate is somebody else's.
    #[error("a record of {node} carries the certificate of {certified}")]
    Subject {
        /// Whose it claims to be.
        node: NodeId,
        /// Whose certificate it carries.
        certified: NodeId,
    },
    /// Not signed by its subject.
    #[error("the signature on a record of {node} is wrong")]
    Signature {
        /// Whose it claims to be.
        node: NodeId,
    },
}

impl RecordError {
    /// Whether an honest node could have passed it on: our clocks may differ.
    pub(crate) fn is_a_matter_of_time(&self) -> bool {
        use CertificateError::{Early, Expired};
        matches!(self, Self::Certificate { source: Early { .. } | Expired { .. } })
    }
}

impl Payload {
    /// Bytes it takes.
    ///
    /// # Errors
    ///
    /// [`SignError::Long`] above [`PAYLOAD_BYTES_MAX`].
    pub fn check_length(&self) -> Result<usize, SignError> {
        let bytes =
            wire::encode(PAYLOAD_KIND, 1, self).map_err(|source| SignError::Encode { source })?;
        let length = bytes.len();
        if length > PAYLOAD_BYTES_MAX { Err(SignError::Long { length }) } else { Ok(length) }
    }
}

impl Record {
    /// The text that goes into gossip.
    ///
    /// # Errors
    ///
    /// [`SignError`] if the payload is too long.
    pub fn sign(&self, keys: &NodeKeys) -> Result<String, SignError> {
        self.payload.check_length()?;
        let mut bytes =
            wire::encode(RECORD_KIND, 1, self).map_err(|source| SignError::Encode { source })?;
        let signature = keys.sign(RECORD_DOMAIN, &bytes);
        bytes.extend_from_slice(&signature);
        Ok(STANDARD_NO_PAD.encode(bytes))
    }

    /// Reads a text and believes it, all the way up to the CA.
    ///
    /// # Errors
    ///
    /// [`RecordError`] names the first link that does not hold.
    pub fn verify(text: &str, ca: &CaPublic, unix_now: u64) -> Result<(Self, Peer), RecordError> {
        let bytes = STANDARD_NO_PAD.decode(text).map_err(|_| RecordError::Text)?;
        let Some((body, signature)) = bytes.split_last_chunk::<64>() else {
            return Err(RecordError::Text);
        };
        let record: Self = wire::decode(body, RECORD_KIND, 1, RECORD_BYTES_MAX)
            .map_err(|source| RecordError::Encoding { source })?;
        record.payload.check_length().map_err(|error| match error {
            SignError::Long { length } => RecordError::Long { length },
            SignError::Encode { source } => RecordError::Encoding { source },
        })?;
        let peer = record
            .certificate
            .verify(ca, unix_now, CLOCK_TOLERANCE_SECONDS)
            .map_err(|source| RecordError::Certificate { source })?;
        if peer.id != record.node {
            return Err(RecordError::Subject { node: record.node, certified: peer.id });
        }
        if !identity::verify(&peer.public, RECORD_DOMAIN, body, signature) {
            return Err(RecordError::Signature { node: record.node });
        }
        Ok((record, peer))
    }
}
