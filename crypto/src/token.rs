//! Join tokens: what a machine is handed instead of the cluster key.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::armor::{self, BadText};
use crate::certificate::Role;
use crate::credentials::{Gate, GateKey};
use crate::schedule::{CaPublic, Psk};
use crate::secret_file::{self, SecretFileError};
use crate::wire;

/// What the text of a worker's token starts with.
pub const WORKER_PREFIX: &str = "SKEP-WORKER-1-";

/// What the text of a manager's token starts with.
pub const MANAGER_PREFIX: &str = "SKEP-MANAGER-1-";

const GRANT_KIND: u16 = 2;
const GRANT_DOMAIN: &str = "token grant v1";

/// Body at most 35 bytes and a signature of 64.
pub(crate) const MAX_GRANT_BYTES: usize = 112;

/// What the CA allows the holder of one token.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct GrantTerms {
    /// The token.
    pub token_id: [u8; 16],
    /// What a node becomes with it, for good.
    pub role: Role,
    /// Last second of its life, Unix time.
    pub not_after: u64,
    /// How many nodes may join with it; 0 is no limit.
    pub max_uses: u32,
}

/// [`GrantTerms`] with the CA's signature.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Grant {
    terms: GrantTerms,
    bytes: Vec<u8>,
}

impl Grant {
    pub(crate) fn sign(
        role: Role,
        token_id: [u8; 16],
        not_after: u64,
        max_uses: u32,
        sign: impl FnOnce(&str, &[u8]) -> [u8; 64],
    ) -> Self {
        let terms = GrantTerms { token_id, role, not_after, max_uses };
        // Plain fields always encode; empty bytes would be refused by every reader.
        let mut bytes = wire::encode(GRANT_KIND, 1, &terms).unwrap_or_default();
        bytes.extend_from_slice(&sign(GRANT_DOMAIN, &bytes));
        Self { terms, bytes }
    }

    /// What was granted; only worth something after [`Self::is_signed_by`].
    #[must_use]
    pub const fn terms(&self) -> &GrantTerms {
        &self.terms
    }

    /// The signed bytes and the signature.
    #[must_use]
    pub fn encode(&self) -> &[u8] {
        &self.bytes
    }

    /// Reads what [`Self::encode`] gave; the signature is not checked here.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, _signature) = bytes.split_last_chunk::<64>()?;
        let terms = wire::decode(body, GRANT_KIND, 1, MAX_GRANT_BYTES).ok()?;
        Some(Self { terms, bytes: bytes.to_vec() })
    }

    /// Whether the CA signed it.
    #[must_use]
    pub fn is_signed_by(&self, ca: &CaPublic) -> bool {
        self.bytes
            .split_last_chunk::<64>()
            .is_some_and(|(body, signature)| ca.verify(GRANT_DOMAIN, body, signature))
    }
}

/// {CA public key, grant, secret}: enough to knock, not enough to enter.
#[derive(Clone)]
pub struct Token {
    ca: CaPublic,
    grant: Grant,
    secret: Psk,
}

impl Token {
    pub(crate) const fn new(ca: CaPublic, grant: Grant, secret: Psk) -> Self {
        Self { ca, grant, secret }
    }

    /// Reads the text form; white space around it is allowed.
    ///
    /// # Errors
    ///
    /// [`BadText`] for anything that [`Self::to_text`] did not write.
    pub fn from_text(text: &str) -> Result<Self, BadText> {
        let prefix = if text.trim_start().starts_with(MANAGER_PREFIX) {
            MANAGER_PREFIX
        } else {
            WORKER_PREFIX
        };
        let payload = armor::read(prefix, text)?;
        let content = || BadText::Content { prefix };
        let (ca, rest) = payload.split_first_chunk::<32>().ok_or_else(content)?;
        let (secret, grant) = rest.split_first_chunk::<32>().ok_or_else(content)?;
        let grant = Grant::decode(grant).ok_or_else(content)?;
        let token = Self { ca: CaPublic(*ca), grant, secret: Psk::from_bytes(*secret) };
        if !token.grant.is_signed_by(&token.ca) || token.prefix() != prefix {
            return Err(content());
        }
        Ok(token)
    }

    /// One line that starts with the prefix of its role and carries a checksum.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let grant = self.grant.encode();
        let mut payload = Zeroizing::new(Vec::with_capacity(64 + grant.len()));
        payload.extend_from_slice(&self.ca.0);
        payload.extend_from_slice(self.secret.as_bytes());
        payload.extend_from_slice(grant);
        armor::write(self.prefix(), &payload)
    }

    /// Reads a token file.
    ///
    /// # Errors
    ///
    /// [`SecretFileError`], also when group or others could read the file.
    pub fn read_file(path: &Path) -> Result<Self, SecretFileError> {
        let text = secret_file::read(path)?;
        Self::from_text(&text)
            .map_err(|source| SecretFileError::Content { path: path.to_owned(), source })
    }

    /// Writes a new token file with mode 0600; an existing file is never overwritten.
    ///
    /// # Errors
    ///
    /// [`SecretFileError`] if the file exists or cannot be written durably.
    pub fn create_file(&self, path: &Path) -> Result<(), SecretFileError> {
        secret_file::create(path, &self.to_text())
    }

    /// The CA that the joiner will insist on.
    #[must_use]
    pub const fn ca(&self) -> CaPublic {
        self.ca
    }

    /// What the CA granted.
    #[must_use]
    pub const fn grant(&self) -> &Grant {
        &self.grant
    }

    /// The key of the gate that this token opens.
    #[must_use]
    pub fn gate_key(&self) -> GateKey {
        GateKey { gate: Gate::Token { id: self.grant.terms().token_id }, psk: self.secret.clone() }
    }

    const fn prefix(&self) -> &'static str {
        match self.grant.terms.role {
            Role::Worker => WORKER_PREFIX,
            Role::Eligible => MANAGER_PREFIX,
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("terms", self.grant.terms()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::armor::tests::single_character_changes;
    use crate::key::ClusterKey;
    use crate::schedule::Authority;
    use crate::testing::{check_golden, golden_authority};

    #[test]
    fn text_round_trip_and_every_single_character_change_refused() {
        let authority = Authority::from_key(&ClusterKey::generate().unwrap());
        for (role, prefix) in [(Role::Worker, WORKER_PREFIX), (Role::Eligible, MANAGER_PREFIX)] {
            let token = authority.grant(role, [9; 16], 1_800_000_000, 3);
            let text = token.to_text();
            assert!(text.starts_with(prefix));
            let read = Token::from_text(&text).unwrap();
            assert_eq!(read.grant(), token.grant());
            assert_eq!(read.gate_key().psk, authority.token_secret([9; 16]));
            for changed in single_character_changes(&text) {
                assert!(Token::from_text(&changed).is_err(), "{changed}");
            }
        }
    }

    #[test]
    fn the_bytes_of_tokens_are_for_ever() {
        let authority = golden_authority();
        for (role, name) in [(Role::Worker, "worker.token"), (Role::Eligible, "manager.token")] {
            let token = authority.grant(role, [9; 16], 1_800_000_000, 3);
            check_golden(name, token.to_text().as_bytes());
        }
        check_golden("grant.bin", authority.grant(Role::Worker, [9; 16], 0, 0).grant().encode());
    }

    #[test]
    fn a_worker_token_cannot_be_dressed_up() {
        let authority = Authority::from_key(&ClusterKey::generate().unwrap());
        let token = authority.grant(Role::Worker, [9; 16], u64::MAX, u32::MAX);
        assert!(token.grant().encode().len() <= MAX_GRANT_BYTES);
        let payload = armor::read(WORKER_PREFIX, &token.to_text()).unwrap();
        assert!(Token::from_text(&armor::write(MANAGER_PREFIX, &payload)).is_err());
        for place in 0..payload.len() {
            let mut changed = payload.clone();
            changed[place] ^= 1;
            let result = Token::from_text(&armor::write(WORKER_PREFIX, &changed));
            // The secret is known to the CA's holders alone, so only they can judge it.
            assert_eq!(result.is_ok(), (32..64).contains(&place), "{place}");
        }
    }
}
