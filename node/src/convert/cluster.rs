//! The cluster object and whom it trusts, as Docker shows them.

use api::wire::ObjectVersion;
use api::wire::node::TlsInfo;
use api::wire::system::ClusterInfo;
use api::wire::time::format;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::Cluster;

use crate::entrance;

/// A public key of ed25519 in DER begins so; 32 bytes of key follow.
const ED25519_DER: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// `CN=swarm-ca` in DER, as Docker names its authority.
const SUBJECT_DER: &[u8] = b"\x30\x13\x31\x11\x30\x0f\x06\x03\x55\x04\x03\x13\x08swarm-ca";

/// UDP port of the overlay.
const DATA_PATH_PORT: u32 = 7965;

/// The public key of the cluster's authority, in the forms that Docker has for it. Ours signs
/// certificates of its own kind, so the root is the key, not an X.509 certificate.
pub(crate) fn trust(ca: &[u8; 32]) -> TlsInfo {
    let der: Vec<u8> = ED25519_DER.iter().chain(ca).copied().collect();
    let key = STANDARD.encode(der);
    TlsInfo {
        trust_root: format!("-----BEGIN PUBLIC KEY-----\n{key}\n-----END PUBLIC KEY-----\n"),
        cert_issuer_subject: STANDARD.encode(SUBJECT_DER),
        cert_issuer_public_key: key,
    }
}

/// The cluster object.
pub(crate) fn cluster(cluster: &Cluster, trust: &TlsInfo) -> ClusterInfo {
    ClusterInfo {
        id: cluster.id.to_string(),
        version: ObjectVersion { index: cluster.spec_version.0 },
        created_at: format(cluster.created_at.0),
        updated_at: format(cluster.created_at.0),
        spec: entrance::show_spec(&cluster.spec),
        tls_info: trust.clone(),
        root_rotation_in_progress: false,
        default_addr_pool: cluster.spec.address_pools.clone(),
        subnet_size: u32::from(cluster.spec.subnet_size),
        data_path_port: match cluster.spec.data_path_port {
            0 => DATA_PATH_PORT,
            port => u32::from(port),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authority_is_shown_in_pem_and_der() {
        let trust = trust(&[7; 32]);
        // The same subject as real Swarm's, byte for byte.
        assert_eq!(trust.cert_issuer_subject, "MBMxETAPBgNVBAMTCHN3YXJtLWNh");
        let der = STANDARD.decode(&trust.cert_issuer_public_key).unwrap();
        assert_eq!(der.len(), 44);
        assert!(trust.trust_root.contains(&trust.cert_issuer_public_key));
    }
}
