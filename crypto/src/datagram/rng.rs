//! Indexes and jitter: unpredictable from outside, repeatable in a simulation.

/// Not for keys: those come from the operating system.
#[derive(Debug)]
pub(super) struct Rng(blake3::OutputReader);

impl Rng {
    pub(super) fn new(seed: &[u8; 32]) -> Self {
        Self(blake3::Hasher::new_keyed(seed).finalize_xof())
    }

    pub(super) fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        u32::from_le_bytes(bytes)
    }
}
