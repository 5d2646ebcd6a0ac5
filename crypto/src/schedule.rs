//! Everything that is derived from the cluster key.

use std::fmt;

use ed25519_dalek::SigningKey;
use hkdf::Hkdf;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::certificate::{CERTIFICATE_LIFE_SECONDS, Certificate, Claims, Issuer, Role};
use crate::identity::{self, NodePublic};
use crate::key::ClusterKey;
use crate::token::{Grant, Token};

/// Fixed by RFC 5869's extract step; another product that holds the same bytes derives others.
const SALT: &[u8] = b"skep 2026 key schedule v1";

/// Who a cluster is before it exists: the hash of its CA's public key.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct ClusterTag(pub [u8; 16]);

/// The public key of the cluster's certificate authority.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct CaPublic(pub [u8; 32]);

impl CaPublic {
    /// The tag of the cluster whose CA this is.
    #[must_use]
    pub fn cluster_tag(&self) -> ClusterTag {
        let hash = blake3::derive_key("skep 2026 cluster tag v1", &self.0);
        let mut tag = [0; 16];
        tag.copy_from_slice(&hash[..16]);
        ClusterTag(tag)
    }

    pub(crate) fn verify(&self, domain: &str, message: &[u8], signature: &[u8; 64]) -> bool {
        identity::verify_with(&self.0, domain, message, signature)
    }
}

/// A pre-shared key of the gate in front of handshakes.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Psk([u8; 32]);

impl Psk {
    /// From its raw bytes, as a manager pushed them.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its raw bytes, to push them to a worker.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl PartialEq for Psk {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Psk {}

impl fmt::Debug for Psk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Psk(secret)")
    }
}

/// What a holder of the cluster key can do: sign for the cluster, open every gate.
pub struct Authority {
    schedule: Hkdf<Sha256>,
    ca_key: SigningKey,
    ca: CaPublic,
}

impl Authority {
    /// Derives everything from the key.
    #[must_use]
    pub fn from_key(key: &ClusterKey) -> Self {
        let schedule = Hkdf::<Sha256>::new(Some(SALT), key.bytes());
        let seed = expand(&schedule, "ca ed25519", &[]);
        let ca_key = SigningKey::from_bytes(&seed);
        let ca = CaPublic(ca_key.verifying_key().to_bytes());
        Self { schedule, ca_key, ca }
    }

    /// The public key of the certificate authority.
    #[must_use]
    pub const fn ca(&self) -> CaPublic {
        self.ca
    }

    /// The cluster's tag.
    #[must_use]
    pub fn cluster_tag(&self) -> ClusterTag {
        self.ca.cluster_tag()
    }

    /// The gate key of members, by epoch.
    #[must_use]
    pub fn gossip_psk(&self, epoch: u32) -> Psk {
        Psk(*expand(&self.schedule, "gossip psk", &epoch.to_le_bytes()))
    }

    /// The gate key of a token, which is therefore stored nowhere.
    #[must_use]
    pub fn token_secret(&self, token_id: [u8; 16]) -> Psk {
        Psk(*expand(&self.schedule, "token secret", &token_id))
    }

    /// The key that wraps keys of state at rest, by epoch.
    #[must_use]
    pub fn state_key(&self, epoch: u32) -> Zeroizing<[u8; 32]> {
        expand(&self.schedule, "state at rest", &epoch.to_le_bytes())
    }

    /// Signs a certificate of 24 hours that starts at `now` (Unix seconds).
    #[must_use]
    #[expect(clippy::too_many_arguments, reason = "each is a field of the certificate")]
    pub fn issue(
        &self,
        node: &NodePublic,
        role: Role,
        epoch: u32,
        now: u64,
        token: Option<[u8; 16]>,
    ) -> Certificate {
        let claims = Claims {
            issuer: Issuer::Authority,
            cluster_tag: self.cluster_tag(),
            node: *node,
            role,
            epoch,
            not_before: now,
            not_after: now.saturating_add(CERTIFICATE_LIFE_SECONDS),
            token,
        };
        Certificate::sign(claims, |domain, bytes| self.sign(domain, bytes))
    }

    /// Makes a token: signed by the CA, its secret derived from the cluster key.
    #[must_use]
    pub fn grant(&self, role: Role, token_id: [u8; 16], not_after: u64, max_uses: u32) -> Token {
        let grant = Grant::sign(role, token_id, not_after, max_uses, |domain, bytes| {
            self.sign(domain, bytes)
        });
        Token::new(self.ca, grant, self.token_secret(token_id))
    }

    /// Signs with the CA key, for instance a list of revoked nodes.
    #[must_use]
    pub fn sign(&self, domain: &str, message: &[u8]) -> [u8; 64] {
        identity::sign_with(&self.ca_key, domain, message)
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("ca", &self.ca).finish_non_exhaustive()
    }
}

fn expand(schedule: &Hkdf<Sha256>, purpose: &str, context: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut output = Zeroizing::new([0; 32]);
    let info: [&[u8]; 3] = [purpose.as_bytes(), &[0], context];
    let result = schedule.expand_multi_info(&info, output.as_mut_slice());
    debug_assert!(result.is_ok(), "32 bytes are below HKDF's limit of 8,160");
    output
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_purpose_epoch_and_key_gives_another_secret() {
        let mut secrets = BTreeSet::new();
        for _ in 0..2 {
            let authority = Authority::from_key(&ClusterKey::generate().unwrap());
            secrets.insert(authority.ca().0);
            for epoch in 0..3 {
                secrets.insert(*authority.gossip_psk(epoch).as_bytes());
                secrets.insert(*authority.state_key(epoch));
                secrets
                    .insert(*authority.token_secret([u8::try_from(epoch).unwrap(); 16]).as_bytes());
            }
        }
        assert_eq!(secrets.len(), 2 * 10);
        assert!(!secrets.contains(&[0; 32]));
    }

    #[test]
    fn the_same_key_gives_the_same_secrets_for_ever() {
        let key = ClusterKey::from_text(&crate::armor::write("SKEP-KEY-1-", &[7; 32])).unwrap();
        let authority = Authority::from_key(&key);
        let digest = blake3::Hasher::new()
            .update(&authority.ca().0)
            .update(authority.gossip_psk(1).as_bytes())
            .update(authority.token_secret([1; 16]).as_bytes())
            .update(authority.state_key(1).as_slice())
            .finalize();
        // A change here locks every existing cluster out: it needs a new schedule version.
        assert_eq!(
            digest.to_hex().as_str(),
            "59eeca2733280c113e4556de8d9f5adb8321ac455399fbfacc62e63cbc9a8c7c"
        );
    }
}
