//! What a node shows to others, and whom it trusts.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::certificate::{Certificate, Role};
use crate::id::NodeId;
use crate::identity::NodeKeys;
use crate::schedule::{Authority, CaPublic, ClusterTag, Psk};
use crate::token::{Grant, Token};

/// Which key opens the gate in front of a handshake; named in its first message.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Gate {
    /// The members' key of an epoch.
    Psk {
        /// The epoch.
        epoch: u32,
    },
    /// A token's secret.
    Token {
        /// The token.
        id: [u8; 16],
    },
}

/// A gate and the key that opens it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GateKey {
    /// Which gate.
    pub gate: Gate,
    /// Its key.
    pub psk: Psk,
}

/// What a node shows and whom it trusts; replaced as a whole when something changes.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The node's own keys.
    pub keys: Arc<NodeKeys>,
    /// What it shows.
    pub certificate: Certificate,
    /// Whose signature it accepts.
    pub ca: CaPublic,
    /// The cluster.
    pub cluster_tag: ClusterTag,
    /// Members' gate keys by epoch, newest first; every one listed opens our gate.
    pub psks: Vec<(u32, Psk)>,
    /// What derives everything; only eligible nodes have it.
    pub authority: Option<Arc<Authority>>,
    /// Nodes whose certificates no longer count.
    pub revoked: Arc<BTreeSet<NodeId>>,
    /// What a candidate shows beside its certificate.
    pub grant: Option<Grant>,
}

impl Credentials {
    /// Of a node that holds the cluster key: it vouches for itself.
    ///
    /// `epochs` are those of the gate keys in use, newest first.
    #[must_use]
    pub fn for_key_holder(
        keys: Arc<NodeKeys>,
        authority: Arc<Authority>,
        now: u64,
        epochs: &[u32],
    ) -> Self {
        let epoch = epochs.first().copied().unwrap_or(0);
        Self {
            certificate: authority.issue(&keys.public(), Role::Eligible, epoch, now, None),
            keys,
            ca: authority.ca(),
            cluster_tag: authority.cluster_tag(),
            psks: epochs.iter().map(|epoch| (*epoch, authority.gossip_psk(*epoch))).collect(),
            authority: Some(authority),
            revoked: Arc::default(),
            grant: None,
        }
    }

    /// Of a node that was admitted: a certificate and gate keys, never what derives them.
    #[must_use]
    pub fn for_member(
        keys: Arc<NodeKeys>,
        certificate: Certificate,
        ca: CaPublic,
        psks: Vec<(u32, Psk)>,
    ) -> Self {
        Self {
            keys,
            certificate,
            ca,
            cluster_tag: ca.cluster_tag(),
            psks,
            authority: None,
            revoked: Arc::default(),
            grant: None,
        }
    }

    /// Of a node that holds a token and nothing else: it may knock, nobody may knock at it.
    #[must_use]
    pub fn candidate(keys: Arc<NodeKeys>, token: &Token) -> Self {
        Self {
            certificate: Certificate::candidate(&keys, token),
            keys,
            ca: token.ca(),
            cluster_tag: token.ca().cluster_tag(),
            psks: Vec::new(),
            authority: None,
            revoked: Arc::default(),
            grant: Some(token.grant().clone()),
        }
    }

    /// The node's id.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.keys.id()
    }

    /// The newest members' gate key; a candidate has none and uses [`Token::gate_key`].
    #[must_use]
    pub fn gate_key(&self) -> Option<GateKey> {
        let (epoch, psk) = self.psks.first()?;
        Some(GateKey { gate: Gate::Psk { epoch: *epoch }, psk: psk.clone() })
    }

    /// The key of a gate that somebody knocks at, if it is one of ours.
    #[must_use]
    pub fn psk_of(&self, gate: Gate) -> Option<Psk> {
        match gate {
            Gate::Psk { epoch } => {
                self.psks.iter().find(|(known, _)| *known == epoch).map(|(_, psk)| psk.clone())
            }
            Gate::Token { id } => Some(self.authority.as_ref()?.token_secret(id)),
        }
    }

    /// Whether half of the certificate's life is over, or it starts in the future.
    #[must_use]
    pub fn is_due(&self, now: u64) -> bool {
        now >= self.certificate.renew_at() || now < self.certificate.claims().not_before
    }

    /// The same node with a new certificate of its own making, if it holds the authority.
    #[must_use]
    pub fn renew(&self, now: u64) -> Option<Self> {
        let authority = self.authority.as_ref()?;
        let epoch = self.psks.first().map_or(0, |(epoch, _)| *epoch);
        let token = self.certificate.claims().token;
        let certificate = authority.issue(&self.keys.public(), Role::Eligible, epoch, now, token);
        Some(self.with_certificate(certificate))
    }

    /// The same node with a certificate that somebody else issued.
    #[must_use]
    pub fn with_certificate(&self, certificate: Certificate) -> Self {
        Self { certificate, grant: None, ..self.clone() }
    }

    /// The same node with other gate keys, newest first.
    #[must_use]
    pub fn with_psks(&self, psks: Vec<(u32, Psk)>) -> Self {
        Self { psks, ..self.clone() }
    }

    /// The same node that no longer trusts these.
    #[must_use]
    pub fn with_revoked(&self, revoked: BTreeSet<NodeId>) -> Self {
        Self { revoked: Arc::new(revoked), ..self.clone() }
    }

    /// The same node after a manager handed it the cluster key.
    #[must_use]
    pub fn with_authority(&self, authority: Arc<Authority>) -> Self {
        Self { authority: Some(authority), ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::{CLOCK_TOLERANCE_SECONDS, Standing};
    use crate::key::ClusterKey;

    const NOW: u64 = 1_790_000_000;

    #[test]
    fn three_ways_to_be_somebody() {
        let authority = Arc::new(Authority::from_key(&ClusterKey::generate().unwrap()));
        let keys = Arc::new(NodeKeys::generate().unwrap());

        let holder = Credentials::for_key_holder(keys.clone(), authority.clone(), NOW, &[2, 1]);
        assert_eq!(holder.gate_key().unwrap().gate, Gate::Psk { epoch: 2 });
        assert_eq!(holder.psk_of(Gate::Psk { epoch: 1 }), Some(authority.gossip_psk(1)));
        assert_eq!(holder.psk_of(Gate::Psk { epoch: 3 }), None);
        assert!(holder.psk_of(Gate::Token { id: [1; 16] }).is_some());

        let token = authority.grant(Role::Worker, [1; 16], NOW + 60, 1);
        let candidate = Credentials::candidate(keys.clone(), &token);
        assert!(candidate.gate_key().is_none());
        assert_eq!(holder.psk_of(token.gate_key().gate), Some(token.gate_key().psk));

        let certificate = authority.issue(&keys.public(), Role::Worker, 2, NOW, Some([1; 16]));
        let psks = holder.psks;
        let worker = Credentials::for_member(keys, certificate, token.ca(), psks);
        assert!(worker.psk_of(Gate::Token { id: [1; 16] }).is_none());
        assert!(worker.renew(NOW).is_none());
    }

    #[test]
    fn a_renewed_certificate_is_valid_where_the_old_one_is_not() {
        let authority = Arc::new(Authority::from_key(&ClusterKey::generate().unwrap()));
        let keys = Arc::new(NodeKeys::generate().unwrap());
        let old = Credentials::for_key_holder(keys, authority, NOW, &[1]);
        assert!(!old.is_due(NOW) && old.is_due(NOW + 12 * 3600) && old.is_due(NOW - 1));
        let later = NOW + 3 * 24 * 3600;
        let new = old.renew(later).unwrap();
        let standing = |credentials: &Credentials| {
            let verified = credentials.certificate.verify(&old.ca, later, CLOCK_TOLERANCE_SECONDS);
            verified.unwrap().standing
        };
        assert_eq!((standing(&old), standing(&new)), (Standing::Expired, Standing::Valid));
    }
}
