//! A node's own keys: ed25519 to sign, X25519 for handshakes, made once in its data directory.

use std::fmt;
use std::path::Path;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use crate::armor::{self, BadText};
use crate::id::NodeId;
use crate::random::{self, NoRandomness};
use crate::secret_file::{self, SecretFileError};

/// The file of a node's keys inside its data directory.
pub const NODE_KEY_FILE: &str = "node.key";

const NODE_KEY_PREFIX: &str = "SKEP-NODE-1-";

/// The public half of a node's keys.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct NodePublic {
    /// Verifies what the node signs; the node's id is its hash.
    pub ed25519: [u8; 32],
    /// The static key of its handshakes.
    pub x25519: [u8; 32],
}

impl NodePublic {
    /// The node's id.
    #[must_use]
    pub fn id(&self) -> NodeId {
        NodeId::of_key(&self.ed25519)
    }
}

/// A node's keys: a wiped data directory makes a new node.
pub struct NodeKeys {
    signing: SigningKey,
    agreement: StaticSecret,
    public: NodePublic,
}

impl NodeKeys {
    /// New keys from the operating system's randomness.
    ///
    /// # Errors
    ///
    /// [`NoRandomness`] if there is none.
    pub fn generate() -> Result<Self, NoRandomness> {
        let secrets = Zeroizing::new(random::bytes::<64>()?);
        Ok(Self::from_secrets(&secrets))
    }

    /// Reads the keys in `directory`, or makes them if there are none.
    ///
    /// # Errors
    ///
    /// [`SecretFileError`], also when group or others could read the file. Damaged keys are
    /// never replaced: that would make this another node behind the operator's back.
    pub fn load_or_create(directory: &Path) -> Result<Self, SecretFileError> {
        let path = directory.join(NODE_KEY_FILE);
        match secret_file::read(&path) {
            Ok(text) => {
                let content = |source| SecretFileError::Content { path: path.clone(), source };
                let secrets = armor::read(NODE_KEY_PREFIX, &text).map_err(content)?;
                let secrets: &[u8; 64] = secrets
                    .as_slice()
                    .try_into()
                    .map_err(|_| content(BadText::Content { prefix: NODE_KEY_PREFIX }))?;
                Ok(Self::from_secrets(secrets))
            }
            Err(SecretFileError::Io { source, .. })
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                let random = |source| SecretFileError::Random { path: path.clone(), source };
                let secrets = Zeroizing::new(random::bytes::<64>().map_err(random)?);
                secret_file::place(&path, &armor::write(NODE_KEY_PREFIX, secrets.as_slice()))?;
                Ok(Self::from_secrets(&secrets))
            }
            Err(error) => Err(error),
        }
    }

    /// The public half.
    #[must_use]
    pub const fn public(&self) -> NodePublic {
        self.public
    }

    /// The node's id.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.public.id()
    }

    /// Signs `message`; a signature of one `domain` is worthless in every other.
    #[must_use]
    pub fn sign(&self, domain: &str, message: &[u8]) -> [u8; 64] {
        self.signing.sign(&in_domain(domain, message)).to_bytes()
    }

    pub(crate) fn agreement_secret(&self) -> &[u8; 32] {
        self.agreement.as_bytes()
    }

    fn from_secrets(secrets: &[u8; 64]) -> Self {
        let mut half = Zeroizing::new([0; 32]);
        half.copy_from_slice(&secrets[..32]);
        let signing = SigningKey::from_bytes(&half);
        half.copy_from_slice(&secrets[32..]);
        let agreement = StaticSecret::from(*half);
        let public = NodePublic {
            ed25519: signing.verifying_key().to_bytes(),
            x25519: PublicKey::from(&agreement).to_bytes(),
        };
        Self { signing, agreement, public }
    }
}

impl fmt::Debug for NodeKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeKeys").field("id", &self.id()).finish_non_exhaustive()
    }
}

/// Whether `signature` is that of `public` over `message` in `domain`.
#[must_use]
pub fn verify(public: &NodePublic, domain: &str, message: &[u8], signature: &[u8; 64]) -> bool {
    verify_with(&public.ed25519, domain, message, signature)
}

/// [`verify`] with a bare ed25519 key.
pub(crate) fn verify_with(
    ed25519: &[u8; 32],
    domain: &str,
    message: &[u8],
    signature: &[u8; 64],
) -> bool {
    let Ok(key) = VerifyingKey::from_bytes(ed25519) else {
        return false;
    };
    // Strict: refuses the weak keys under which one signature fits many messages.
    key.verify_strict(&in_domain(domain, message), &Signature::from_bytes(signature)).is_ok()
}

/// Signs with a key that is no node's: the CA's.
pub(crate) fn sign_with(key: &SigningKey, domain: &str, message: &[u8]) -> [u8; 64] {
    key.sign(&in_domain(domain, message)).to_bytes()
}

/// The signed bytes; the length keeps ("ab", "c") and ("a", "bc") apart.
fn in_domain(domain: &str, message: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(32 + domain.len() + message.len());
    bytes.extend_from_slice(b"skep 2026 signature v1");
    bytes.extend_from_slice(&(domain.len() as u64).to_le_bytes());
    bytes.extend_from_slice(domain.as_bytes());
    bytes.extend_from_slice(message);
    bytes
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_same_directory_is_the_same_node_and_a_wiped_one_is_another() {
        let directory = tempfile::tempdir().unwrap();
        let first = NodeKeys::load_or_create(directory.path()).unwrap();
        let again = NodeKeys::load_or_create(directory.path()).unwrap();
        assert_eq!(first.public(), again.public());
        let path = directory.path().join(NODE_KEY_FILE);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::remove_file(path).unwrap();
        let wiped = NodeKeys::load_or_create(directory.path()).unwrap();
        assert_ne!(first.id(), wiped.id());
    }

    #[test]
    fn refuses_loose_permissions_and_damaged_keys_and_replaces_neither() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(NODE_KEY_FILE);
        NodeKeys::load_or_create(directory.path()).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let error = NodeKeys::load_or_create(directory.path()).unwrap_err();
        assert!(matches!(error, SecretFileError::Permissions { .. }));
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        for damage in ["", "SKEP-NODE-1-aaaa"] {
            std::fs::write(&path, damage).unwrap();
            let error = NodeKeys::load_or_create(directory.path()).unwrap_err();
            assert!(matches!(error, SecretFileError::Content { .. }));
        }
    }

    proptest! {
        #[test]
        fn a_signature_fits_its_domain_message_and_key_alone(message: Vec<u8>, bit in 0_usize..512) {
            let keys = NodeKeys::generate().unwrap();
            let signature = keys.sign("record", &message);
            prop_assert!(verify(&keys.public(), "record", &message, &signature));
            prop_assert!(!verify(&keys.public(), "recor", &message, &signature));
            let mut longer = message.clone();
            longer.push(0);
            prop_assert!(!verify(&keys.public(), "record", &longer, &signature));
            let mut flipped = signature;
            flipped[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!verify(&keys.public(), "record", &message, &flipped));
            let other = NodeKeys::generate().unwrap();
            prop_assert!(!verify(&other.public(), "record", &message, &signature));
        }
    }
}
