//! Certificates: the cluster's word for who a node is, for 24 hours.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::id::NodeId;
use crate::identity::{NodeKeys, NodePublic, verify_with};
use crate::schedule::{CaPublic, ClusterTag};
use crate::token::{Grant, Token};
use crate::wire::{self, WireError};

/// Short enough that a forgotten revocation ends by itself.
pub const CERTIFICATE_LIFE_SECONDS: u64 = 24 * 60 * 60;

/// No outage of managers shorter than this stops running tasks.
pub const EXPIRED_GRACE_SECONDS: u64 = 7 * 24 * 60 * 60;

/// Wall clocks of honest machines differ; a wrong time zone is an hour.
pub const CLOCK_TOLERANCE_SECONDS: u64 = 60 * 60;

/// Body at most 126 bytes and a signature of 64.
pub const MAX_CERTIFICATE_BYTES: usize = 208;

const CERTIFICATE_KIND: u16 = 1;
const CERTIFICATE_DOMAIN: &str = "node certificate v1";
const CANDIDATE_DOMAIN: &str = "candidate certificate v1";

/// What a node may become.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Role {
    /// Runs tasks and never votes.
    Worker,
    /// May be chosen to vote.
    Eligible,
}

/// Who signed a certificate.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Issuer {
    /// The cluster's CA.
    Authority,
    /// The node itself, which knocks with a token.
    Candidate,
}

/// What a peer may do now, by the age of its certificate.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Standing {
    /// Everything its role allows.
    Valid,
    /// Expired for at most 7 days: renewal, gossip, and what it already holds.
    Expired,
}

/// What a certificate says; only worth something after [`Certificate::verify`].
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Claims {
    /// Who signed.
    pub issuer: Issuer,
    /// The cluster.
    pub cluster_tag: ClusterTag,
    /// The node's keys, and by them its id.
    pub node: NodePublic,
    /// What it may become.
    pub role: Role,
    /// Generation of the cluster's keys at the time of issue.
    pub epoch: u32,
    /// First second of validity, Unix time.
    pub not_before: u64,
    /// Last second of validity, Unix time.
    pub not_after: u64,
    /// The token it joined with, if any.
    pub token: Option<[u8; 16]>,
}

/// [`Claims`] with a signature; the signed bytes are carried as they were signed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "Vec<u8>", into = "Vec<u8>")]
pub struct Certificate {
    claims: Claims,
    bytes: Vec<u8>,
}

/// Who is at the other end, as far as cryptography can tell.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Peer {
    /// The node.
    pub id: NodeId,
    /// Its public keys.
    pub public: NodePublic,
    /// What it may become.
    pub role: Role,
    /// Generation of keys that its certificate names.
    pub epoch: u32,
    /// Whether its certificate is current.
    pub standing: Standing,
    /// The token it joined with, or knocks with.
    pub token: Option<[u8; 16]>,
    /// It is not a member yet: it may ask to join and nothing else.
    pub candidate: bool,
    /// What a candidate's token grants, signature checked; `None` for members.
    pub grant: Option<Grant>,
}

/// A certificate was refused.
#[derive(Debug, Error)]
pub enum CertificateError {
    /// The bytes are none.
    #[error("not a certificate")]
    Encoding {
        /// Why not.
        source: WireError,
    },
    /// Shorter than a signature, or longer than any certificate.
    #[error("a certificate of {length} bytes")]
    Length {
        /// How many.
        length: usize,
    },
    /// Another cluster's.
    #[error("the certificate of {node} is of another cluster")]
    Cluster {
        /// Whose it claims to be.
        node: NodeId,
    },
    /// Not signed by whom it must be.
    #[error("the signature on the certificate of {node} is wrong")]
    Signature {
        /// Whose it claims to be.
        node: NodeId,
    },
    /// A candidate where a member is needed, or the other way round.
    #[error("the certificate of {node} has the wrong issuer")]
    Issuer {
        /// Whose it claims to be.
        node: NodeId,
    },
    /// Its time has not come.
    #[error("the certificate of {node} starts at {not_before} and it is {now}")]
    Early {
        /// Whose it is.
        node: NodeId,
        /// Its first second.
        not_before: u64,
        /// Our clock.
        now: u64,
    },
    /// It expired longer ago than the grace time.
    #[error("the certificate of {node} expired at {not_after} and it is {now}")]
    Expired {
        /// Whose it is.
        node: NodeId,
        /// Its last second.
        not_after: u64,
        /// Our clock.
        now: u64,
    },
    /// The grant of a candidate is missing, forged, expired or another token's.
    #[error("the grant of candidate {node} is not valid")]
    Grant {
        /// Who knocks.
        node: NodeId,
    },
}

impl Certificate {
    pub(crate) fn sign(claims: Claims, sign: impl FnOnce(&str, &[u8]) -> [u8; 64]) -> Self {
        let domain = domain_of(claims.issuer);
        // Plain fields always encode; empty bytes would be refused by every reader.
        let mut bytes = wire::encode(CERTIFICATE_KIND, 1, &claims).unwrap_or_default();
        bytes.extend_from_slice(&sign(domain, &bytes));
        Self { claims, bytes }
    }

    /// What a node shows that holds a token and nothing else yet: signed by itself.
    #[must_use]
    pub fn candidate(keys: &NodeKeys, token: &Token) -> Self {
        let terms = token.grant().terms();
        let claims = Claims {
            issuer: Issuer::Candidate,
            cluster_tag: token.ca().cluster_tag(),
            node: keys.public(),
            role: terms.role,
            epoch: 0,
            not_before: 0,
            not_after: terms.not_after,
            token: Some(terms.token_id),
        };
        Self::sign(claims, |domain, bytes| keys.sign(domain, bytes))
    }

    /// What it says.
    #[must_use]
    pub const fn claims(&self) -> &Claims {
        &self.claims
    }

    /// When to ask for the next one: half of its life.
    #[must_use]
    pub const fn renew_at(&self) -> u64 {
        let life = self.claims.not_after.saturating_sub(self.claims.not_before);
        self.claims.not_before.saturating_add(life / 2)
    }

    /// The signed bytes and the signature.
    #[must_use]
    pub fn encode(&self) -> &[u8] {
        &self.bytes
    }

    /// Reads what [`Self::encode`] gave; the signature is not checked here.
    ///
    /// # Errors
    ///
    /// [`CertificateError`] if the bytes are no certificate.
    pub fn decode(bytes: &[u8]) -> Result<Self, CertificateError> {
        let length = bytes.len();
        let Some((body, _signature)) = bytes.split_last_chunk::<64>() else {
            return Err(CertificateError::Length { length });
        };
        if length > MAX_CERTIFICATE_BYTES {
            return Err(CertificateError::Length { length });
        }
        let claims = wire::decode(body, CERTIFICATE_KIND, 1, MAX_CERTIFICATE_BYTES)
            .map_err(|source| CertificateError::Encoding { source })?;
        Ok(Self { claims, bytes: bytes.to_vec() })
    }

    /// Who a member is, by the cluster's word.
    ///
    /// # Errors
    ///
    /// [`CertificateError`] unless the CA signed it and its time is now, give or take
    /// `tolerance` seconds and the grace time of expired certificates.
    pub fn verify(
        &self,
        ca: &CaPublic,
        now: u64,
        tolerance: u64,
    ) -> Result<Peer, CertificateError> {
        let claims = &self.claims;
        let node = claims.node.id();
        if claims.issuer != Issuer::Authority {
            return Err(CertificateError::Issuer { node });
        }
        if claims.cluster_tag != ca.cluster_tag() {
            return Err(CertificateError::Cluster { node });
        }
        if !self.signed_by(&ca.0) {
            return Err(CertificateError::Signature { node });
        }
        let (not_before, not_after) = (claims.not_before, claims.not_after);
        if now.saturating_add(tolerance) < not_before {
            return Err(CertificateError::Early { node, not_before, now });
        }
        let last = not_after.saturating_add(tolerance);
        if last.saturating_add(EXPIRED_GRACE_SECONDS) < now {
            return Err(CertificateError::Expired { node, not_after, now });
        }
        let standing = if now <= last { Standing::Valid } else { Standing::Expired };
        Ok(self.peer(standing, None))
    }

    /// Who knocks: a node that proves its own keys and shows what its token grants.
    ///
    /// # Errors
    ///
    /// [`CertificateError`] unless it signed for itself, for this cluster and this token, and
    /// the CA signed the grant and its time is not over.
    pub fn verify_candidate(
        &self,
        ca: &CaPublic,
        grant: Option<&Grant>,
        token_id: [u8; 16],
        now: u64,
    ) -> Result<Peer, CertificateError> {
        let claims = &self.claims;
        let node = claims.node.id();
        if claims.issuer != Issuer::Candidate {
            return Err(CertificateError::Issuer { node });
        }
        if claims.cluster_tag != ca.cluster_tag() {
            return Err(CertificateError::Cluster { node });
        }
        if !self.signed_by(&claims.node.ed25519) {
            return Err(CertificateError::Signature { node });
        }
        let Some(grant) = grant else {
            return Err(CertificateError::Grant { node });
        };
        let terms = grant.terms();
        let fits = terms.token_id == token_id
            && claims.token == Some(token_id)
            && terms.role == claims.role
            && now <= terms.not_after
            && grant.is_signed_by(ca);
        if !fits {
            return Err(CertificateError::Grant { node });
        }
        Ok(self.peer(Standing::Valid, Some(grant.clone())))
    }

    fn peer(&self, standing: Standing, grant: Option<Grant>) -> Peer {
        let claims = &self.claims;
        Peer {
            id: claims.node.id(),
            public: claims.node,
            role: claims.role,
            epoch: claims.epoch,
            standing,
            token: claims.token,
            candidate: grant.is_some(),
            grant,
        }
    }

    fn signed_by(&self, ed25519: &[u8; 32]) -> bool {
        let domain = domain_of(self.claims.issuer);
        self.bytes
            .split_last_chunk::<64>()
            .is_some_and(|(body, signature)| verify_with(ed25519, domain, body, signature))
    }
}

impl From<Certificate> for Vec<u8> {
    fn from(certificate: Certificate) -> Self {
        certificate.bytes
    }
}

impl TryFrom<Vec<u8>> for Certificate {
    type Error = CertificateError;

    fn try_from(bytes: Vec<u8>) -> Result<Self, CertificateError> {
        Self::decode(&bytes)
    }
}

const fn domain_of(issuer: Issuer) -> &'static str {
    match issuer {
        Issuer::Authority => CERTIFICATE_DOMAIN,
        Issuer::Candidate => CANDIDATE_DOMAIN,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::key::ClusterKey;
    use crate::schedule::Authority;
    use crate::testing::{check_golden, golden_authority};

    const NOW: u64 = 1_790_000_000;
    const HOUR: u64 = 3600;
    const DAY: u64 = 24 * HOUR;

    fn authority() -> Authority {
        Authority::from_key(&ClusterKey::generate().unwrap())
    }

    #[test]
    fn standing_by_the_clock() {
        let authority = authority();
        let keys = NodeKeys::generate().unwrap();
        let certificate = authority.issue(&keys.public(), Role::Worker, 1, NOW, None);
        assert_eq!(certificate.renew_at(), NOW + 12 * HOUR);
        let standing =
            |now| certificate.verify(&authority.ca(), now, HOUR).ok().map(|peer| peer.standing);
        for (now, expected) in [
            (NOW - HOUR - 1, None),
            (NOW - HOUR, Some(Standing::Valid)),
            (NOW + DAY + HOUR, Some(Standing::Valid)),
            (NOW + DAY + HOUR + 1, Some(Standing::Expired)),
            (NOW + 8 * DAY + HOUR, Some(Standing::Expired)),
            (NOW + 8 * DAY + HOUR + 1, None),
            (0, None),
            (u64::MAX, None),
        ] {
            assert_eq!(standing(now), expected, "{now}");
        }
    }

    #[test]
    fn the_bytes_of_certificates_are_for_ever() {
        let authority = golden_authority();
        let node = NodePublic { ed25519: [1; 32], x25519: [2; 32] };
        let certificate = authority.issue(&node, Role::Worker, 3, NOW, Some([4; 16]));
        check_golden("certificate.bin", certificate.encode());
        let read = Certificate::decode(certificate.encode()).unwrap();
        assert!(read.verify(&authority.ca(), NOW, 0).is_ok());
    }

    #[test]
    fn only_the_own_ca_counts() {
        let (ours, theirs) = (authority(), authority());
        let keys = NodeKeys::generate().unwrap();
        let certificate = theirs.issue(&keys.public(), Role::Eligible, 1, NOW, None);
        assert!(matches!(
            certificate.verify(&ours.ca(), NOW, HOUR),
            Err(CertificateError::Cluster { .. })
        ));
        let token = ours.grant(Role::Worker, [1; 16], NOW + DAY, 1);
        let candidate = Certificate::candidate(&keys, &token);
        assert!(candidate.verify(&ours.ca(), NOW, HOUR).is_err());
    }

    #[test]
    fn a_candidate_needs_its_own_unexpired_grant() {
        let authority = authority();
        let keys = NodeKeys::generate().unwrap();
        let token = authority.grant(Role::Worker, [1; 16], NOW + DAY, 1);
        let manager = authority.grant(Role::Eligible, [1; 16], NOW + DAY, 1);
        let candidate = Certificate::candidate(&keys, &token);
        let verify = |grant, id, now| candidate.verify_candidate(&authority.ca(), grant, id, now);
        let peer = verify(Some(token.grant()), [1; 16], NOW).unwrap();
        assert!(peer.candidate && peer.role == Role::Worker && peer.id == keys.id());
        assert!(verify(None, [1; 16], NOW).is_err());
        assert!(verify(Some(manager.grant()), [1; 16], NOW).is_err());
        assert!(verify(Some(token.grant()), [2; 16], NOW).is_err());
        let forged = self::authority().grant(Role::Worker, [1; 16], NOW + DAY, 1);
        assert!(verify(Some(forged.grant()), [1; 16], NOW).is_err());
        assert!(verify(Some(token.grant()), [1; 16], NOW + DAY + 1).is_err());
    }

    proptest! {
        #[test]
        fn bytes_round_trip_and_no_changed_byte_passes(
            place: prop::sample::Index,
            mask in 1_u8..,
            epoch: u32,
            token: Option<[u8; 16]>,
        ) {
            let authority = authority();
            let keys = NodeKeys::generate().unwrap();
            let certificate = authority.issue(&keys.public(), Role::Eligible, epoch, NOW, token);
            let mut bytes = certificate.encode().to_vec();
            prop_assert!(bytes.len() <= MAX_CERTIFICATE_BYTES);
            let read = Certificate::decode(&bytes).unwrap();
            prop_assert_eq!(&read, &certificate);
            prop_assert!(read.verify(&authority.ca(), NOW, HOUR).is_ok());
            let place = place.index(bytes.len());
            bytes[place] ^= mask;
            let changed = Certificate::decode(&bytes);
            prop_assert!(changed.is_err_and(|_| true)
                || Certificate::decode(&bytes).unwrap().verify(&authority.ca(), NOW, HOUR).is_err());
        }
    }
}
