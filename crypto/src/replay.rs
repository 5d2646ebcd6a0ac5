//! Memory of what was already received, so that nothing counts twice.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use zeroize::Zeroizing;

use crate::random::{self, NoRandomness};

/// Packets that may overtake one another within a session: at 1,200 bytes about 2.4 MB in flight.
pub const REPLAY_WINDOW: u64 = 2048;

/// One more word than the window needs, because the newest word is only partly used.
const WORDS: usize = 33;

/// A first message may be this much older or newer than our clock says.
pub const FIRST_MESSAGE_WINDOW_SECONDS: u64 = 600;

/// 109 handshakes per second for ten minutes; 24 bytes each make 1.5 MB on disk.
pub const FIRST_MESSAGES_LIMIT: usize = 65_536;

const RECORD_BYTES: usize = 24;

/// Which counters of a session were received.
///
/// Ask [`Self::would_accept`] before the tag is verified and [`Self::accept`] after it: a forged
/// counter must not move the window.
#[derive(Clone, Debug)]
pub struct ReplayWindow {
    /// The highest counter that was accepted, plus one.
    next: u64,
    seen: [u64; WORDS],
}

impl Default for ReplayWindow {
    fn default() -> Self {
        Self { next: 0, seen: [0; WORDS] }
    }
}

impl ReplayWindow {
    /// Whether a packet with this counter is neither a repetition nor too old.
    #[must_use]
    pub const fn would_accept(&self, counter: u64) -> bool {
        if counter == u64::MAX {
            return false;
        }
        if counter >= self.next {
            return true;
        }
        let (word, bit) = place(counter);
        self.next - counter <= REPLAY_WINDOW && self.seen[word] & bit == 0
    }

    /// Marks a counter as received; false if it would not have been accepted.
    pub fn accept(&mut self, counter: u64) -> bool {
        if !self.would_accept(counter) {
            return false;
        }
        if counter >= self.next {
            self.forget_up_to(counter);
            self.next = counter + 1;
        }
        let (word, bit) = place(counter);
        self.seen[word] |= bit;
        true
    }

    /// Clears the words that the window moves into.
    fn forget_up_to(&mut self, counter: u64) {
        // With nothing accepted yet every word is clear anyway.
        let newest = self.next.saturating_sub(1) / 64;
        let steps = (counter / 64 - newest).min(WORDS as u64);
        for step in 1..=steps {
            let (word, _) = place((newest + step) * 64);
            self.seen[word] = 0;
        }
    }
}

const fn place(counter: u64) -> (usize, u64) {
    ((counter / 64 % WORDS as u64) as usize, 1 << (counter % 64))
}

/// First messages of handshakes, by their MAC, until their own time is too old to be accepted.
///
/// Bounded: when it is full it forgets the oldest, and from then on demands a cookie of
/// everybody until nothing forgotten could pass any more.
pub struct FirstMessages {
    expires_at: BTreeMap<[u8; 16], u64>,
    by_expiry: BTreeSet<(u64, [u8; 16])>,
    journal: VecDeque<[u8; RECORD_BYTES]>,
    capacity: usize,
    crowded_until: u64,
    secret: Zeroizing<[u8; 32]>,
}

impl FirstMessages {
    /// An empty memory of [`FIRST_MESSAGES_LIMIT`].
    ///
    /// # Errors
    ///
    /// [`NoRandomness`] if there is none for the secret of its cookies.
    pub fn new() -> Result<Self, NoRandomness> {
        Self::with_capacity(FIRST_MESSAGES_LIMIT)
    }

    /// An empty memory of another size.
    ///
    /// # Errors
    ///
    /// As [`Self::new`].
    pub fn with_capacity(capacity: usize) -> Result<Self, NoRandomness> {
        Ok(Self {
            expires_at: BTreeMap::new(),
            by_expiry: BTreeSet::new(),
            journal: VecDeque::new(),
            capacity: capacity.max(1),
            crowded_until: 0,
            secret: Zeroizing::new(random::bytes()?),
        })
    }

    /// The memory of an earlier process: what [`Self::snapshot`] and [`Self::journal`] wrote.
    ///
    /// A torn last record is ignored.
    ///
    /// # Errors
    ///
    /// As [`Self::new`].
    pub fn restore(bytes: &[u8], now: u64) -> Result<Self, NoRandomness> {
        let mut memory = Self::new()?;
        let (records, _torn) = bytes.as_chunks::<RECORD_BYTES>();
        for record in records {
            let (expires_at, mac) = record.split_at(8);
            let expires_at = u64::from_le_bytes(expires_at.try_into().unwrap_or_default());
            let latest = now.saturating_add(2 * FIRST_MESSAGE_WINDOW_SECONDS);
            if (now..=latest).contains(&expires_at) {
                memory.remember(mac.try_into().unwrap_or_default(), expires_at, now);
            }
        }
        memory.journal.clear();
        Ok(memory)
    }

    /// Everything still worth remembering, as the whole content of a file.
    #[must_use]
    pub fn snapshot(&mut self) -> Vec<u8> {
        self.journal.clear();
        let mut bytes = Vec::with_capacity(self.by_expiry.len() * RECORD_BYTES);
        for (expires_at, mac) in &self.by_expiry {
            bytes.extend_from_slice(&record(*expires_at, mac));
        }
        bytes
    }

    /// What was learnt since the last call, to be appended to the file.
    #[must_use]
    pub fn journal(&mut self) -> Vec<u8> {
        self.journal.drain(..).flatten().collect()
    }

    pub(crate) fn contains(&self, mac: &[u8; 16]) -> bool {
        self.expires_at.contains_key(mac)
    }

    pub(crate) const fn is_crowded(&self, now: u64) -> bool {
        now <= self.crowded_until
    }

    /// The cookie that proves that its bearer read our answer to this very message.
    pub(crate) fn cookie(&self, mac: &[u8; 16]) -> [u8; 16] {
        let mut cookie = [0; 16];
        cookie.copy_from_slice(&blake3::keyed_hash(&self.secret, mac).as_bytes()[..16]);
        cookie
    }

    pub(crate) fn remember(&mut self, mac: [u8; 16], expires_at: u64, now: u64) {
        while let Some((oldest_expiry, oldest)) = self.by_expiry.first().copied() {
            let expired = oldest_expiry < now;
            if !expired && self.by_expiry.len() < self.capacity {
                break;
            }
            if !expired {
                self.crowded_until = self.crowded_until.max(oldest_expiry);
            }
            self.by_expiry.remove(&(oldest_expiry, oldest));
            self.expires_at.remove(&oldest);
        }
        if self.expires_at.insert(mac, expires_at).is_none() {
            self.by_expiry.insert((expires_at, mac));
            if self.journal.len() == self.capacity {
                self.journal.pop_front();
            }
            self.journal.push_back(record(expires_at, &mac));
        }
    }
}

impl fmt::Debug for FirstMessages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FirstMessages")
            .field("len", &self.by_expiry.len())
            .field("crowded_until", &self.crowded_until)
            .finish_non_exhaustive()
    }
}

fn record(expires_at: u64, mac: &[u8; 16]) -> [u8; RECORD_BYTES] {
    let mut record = [0; RECORD_BYTES];
    record[..8].copy_from_slice(&expires_at.to_le_bytes());
    record[8..].copy_from_slice(mac);
    record
}

/// One memory for all carriers of a node.
#[derive(Clone, Debug)]
pub struct SharedFirstMessages(Arc<Mutex<FirstMessages>>);

impl SharedFirstMessages {
    /// Shares a memory.
    #[must_use]
    pub fn new(memory: FirstMessages) -> Self {
        Self(Arc::new(Mutex::new(memory)))
    }

    /// The memory, for the time of one decision: never across an await.
    pub fn lock(&self) -> MutexGuard<'_, FirstMessages> {
        // Every change is whole before anything can panic, so a poisoned memory is still right.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const NOW: u64 = 1_790_000_000;

    fn mac(number: u64) -> [u8; 16] {
        u128::from(number).to_le_bytes()
    }

    proptest! {
        #[test]
        fn the_window_is_a_set_of_the_last_counters(
            steps in prop::collection::vec((0_u64..6000, any::<bool>()), 1..400),
            start in prop_oneof![Just(0_u64), 0..5_000_000_u64, Just(u64::MAX - 20_000)],
        ) {
            let mut window = ReplayWindow::default();
            let mut accepted = BTreeSet::new();
            let mut base = start;
            for (offset, moves) in steps {
                if moves {
                    base = base.saturating_add(offset / 8);
                }
                let counter = base.saturating_add(3000).saturating_sub(offset);
                let next = accepted.last().map_or(0, |highest| highest + 1);
                let expected = counter != u64::MAX
                    && !accepted.contains(&counter)
                    && (counter >= next || next - counter <= REPLAY_WINDOW);
                prop_assert_eq!(window.would_accept(counter), expected);
                prop_assert_eq!(window.accept(counter), expected);
                if expected {
                    accepted.insert(counter);
                }
            }
        }
    }

    #[test]
    fn remembers_until_expiry_and_not_longer() {
        let mut memory = FirstMessages::new().unwrap();
        memory.remember(mac(1), NOW + 600, NOW);
        memory.remember(mac(2), NOW + 700, NOW + 600);
        assert!(memory.contains(&mac(1)));
        memory.remember(mac(3), NOW + 1300, NOW + 601);
        assert!(!memory.contains(&mac(1)) && memory.contains(&mac(2)));
        assert!(!memory.is_crowded(NOW + 601));
    }

    #[test]
    fn a_full_memory_stays_bounded_and_asks_for_cookies_while_it_has_forgotten() {
        let mut memory = FirstMessages::with_capacity(10).unwrap();
        for number in 0..10 {
            memory.remember(mac(number), NOW + 600 + number, NOW);
            assert!(!memory.is_crowded(NOW));
        }
        memory.remember(mac(10), NOW + 900, NOW);
        assert_eq!((memory.by_expiry.len(), memory.expires_at.len()), (10, 10));
        assert!(!memory.contains(&mac(0)));
        assert!(memory.is_crowded(NOW + 600), "the forgotten one could still pass");
        assert!(!memory.is_crowded(NOW + 601));
    }

    #[test]
    fn survives_a_restart_by_snapshot_and_journal() {
        let mut memory = FirstMessages::new().unwrap();
        memory.remember(mac(1), NOW + 10, NOW);
        memory.remember(mac(2), NOW + 600, NOW);
        let mut file = memory.snapshot();
        memory.remember(mac(3), NOW + 600, NOW);
        file.extend(memory.journal());
        assert!(memory.journal().is_empty());
        file.extend([1, 2, 3]);
        let restored = FirstMessages::restore(&file, NOW + 20).unwrap();
        let known = [1, 2, 3].map(|number| restored.contains(&mac(number)));
        assert_eq!(known, [false, true, true]);
    }

    proptest! {
        #[test]
        fn any_file_is_read_without_a_panic(bytes: Vec<u8>) {
            let _ = FirstMessages::restore(&bytes, NOW);
        }
    }
}
