//! Random bytes of the operating system.

use thiserror::Error;

/// The operating system gave no random bytes, so no key can be made.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("the operating system gave no random bytes")]
pub struct NoRandomness;

/// Fills an array with bytes fit for keys.
pub(crate) fn bytes<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| NoRandomness)?;
    Ok(bytes)
}
