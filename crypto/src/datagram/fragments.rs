//! Messages that are longer than a packet: cut here, put together there.

use std::collections::BTreeMap;
use std::time::Duration;

/// Every network that IPv6 runs on carries this; IP fragments are lost in middleboxes.
pub(crate) const PACKET_BYTES: usize = 1200;

/// Header 16 and tag 16 around a part, part header 7 within it.
pub(crate) const PART_BYTES: usize = PACKET_BYTES - 16 - 16 - PART_HEADER_BYTES;

/// With 5 % loss 8 parts arrive in two of three cases and 52 in one of 14: more go by stream.
pub(crate) const PARTS_LIMIT: usize = 8;

const PART_HEADER_BYTES: usize = 7;

/// A part that is later than this belongs to a message that its sender has given up.
const PATIENCE: Duration = Duration::from_secs(5);

/// Messages in pieces: 1,024 of at most 9.3 KB are 9.5 MB.
const PARTIALS_LIMIT: usize = 1024;

/// No session may push out more than this many of others' unfinished messages.
const PARTIALS_PER_SESSION_LIMIT: usize = 16;

/// Plaintexts of the packets that carry one message; the caller has checked its length.
pub(super) fn split(message_id: u32, kind: u8, payload: &[u8]) -> Vec<Vec<u8>> {
    let count = payload.len().div_ceil(PART_BYTES).clamp(1, PARTS_LIMIT);
    (0..count)
        .map(|part| {
            let from = part * PART_BYTES;
            let bytes = &payload[from..payload.len().min(from + PART_BYTES)];
            let mut plaintext = Vec::with_capacity(PART_HEADER_BYTES + bytes.len());
            plaintext.extend_from_slice(&message_id.to_le_bytes());
            plaintext.extend([part, count].map(|n| u8::try_from(n).unwrap_or(u8::MAX)));
            plaintext.push(kind);
            plaintext.extend_from_slice(bytes);
            plaintext
        })
        .collect()
}

/// A whole message.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Whole {
    pub(super) kind: u8,
    pub(super) payload: Vec<u8>,
}

/// Messages of all sessions of which some parts are missing.
#[derive(Debug, Default)]
pub(super) struct Reassembly {
    partials: BTreeMap<(u32, u32), Partial>,
}

#[derive(Debug)]
struct Partial {
    kind: u8,
    parts: Vec<Option<Vec<u8>>>,
    since: Duration,
}

impl Reassembly {
    /// Takes the authenticated plaintext of one packet; a message if it was the last part.
    pub(super) fn take(&mut self, now: Duration, session: u32, plaintext: &[u8]) -> Option<Whole> {
        let (header, bytes) = plaintext.split_first_chunk::<PART_HEADER_BYTES>()?;
        let [a, b, c, d, part, count, kind] = *header;
        let (part, count) = (usize::from(part), usize::from(count));
        if count == 0 || count > PARTS_LIMIT || part >= count || bytes.len() > PART_BYTES {
            return None;
        }
        if count == 1 {
            return Some(Whole { kind, payload: bytes.to_vec() });
        }
        if part + 1 < count && bytes.len() != PART_BYTES {
            return None;
        }
        let key = (session, u32::from_le_bytes([a, b, c, d]));
        if !self.partials.contains_key(&key) {
            self.make_room(session);
        }
        let partial = self.partials.entry(key).or_insert_with(|| Partial {
            kind,
            parts: vec![None; count],
            since: now,
        });
        if partial.parts.len() != count || partial.kind != kind {
            return None;
        }
        partial.parts[part] = Some(bytes.to_vec());
        if partial.parts.iter().any(Option::is_none) {
            return None;
        }
        let partial = self.partials.remove(&key)?;
        let payload = partial.parts.into_iter().flatten().flatten().collect();
        Some(Whole { kind, payload })
    }

    /// Gives up what is too old.
    pub(super) fn tick(&mut self, now: Duration) {
        self.partials.retain(|_, partial| now.saturating_sub(partial.since) < PATIENCE);
    }

    pub(super) fn forget_session(&mut self, session: u32) {
        self.partials.retain(|(of, _), _| *of != session);
    }

    fn make_room(&mut self, session: u32) {
        let own = (session, 0)..=(session, u32::MAX);
        let oldest = if self.partials.range(own.clone()).count() >= PARTIALS_PER_SESSION_LIMIT {
            self.partials.range(own).min_by_key(|(_, partial)| partial.since)
        } else if self.partials.len() >= PARTIALS_LIMIT {
            self.partials.iter().min_by_key(|(_, partial)| partial.since)
        } else {
            None
        };
        if let Some(key) = oldest.map(|(key, _)| *key) {
            self.partials.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn parts_in_any_order_and_twice_make_the_message(
            payload in prop::collection::vec(any::<u8>(), 0..=PART_BYTES * PARTS_LIMIT),
            order in prop::collection::vec(any::<prop::sample::Index>(), 0..30),
        ) {
            let parts = split(9, 3, &payload);
            prop_assert!(parts.len() <= PARTS_LIMIT);
            let mut reassembly = Reassembly::default();
            let mut whole = Vec::new();
            let shuffled = order.iter().map(|index| index.index(parts.len()));
            for part in shuffled.chain(0..parts.len()) {
                if whole.is_empty() {
                    whole.extend(reassembly.take(Duration::ZERO, 1, &parts[part]));
                }
            }
            prop_assert_eq!(whole, [Whole { kind: 3, payload }]);
            prop_assert!(reassembly.partials.is_empty());
        }

        #[test]
        fn any_plaintext_is_answered_without_a_panic(
            plaintexts in prop::collection::vec(prop::collection::vec(0_u8..10, 0..20), 0..50),
        ) {
            let mut reassembly = Reassembly::default();
            for plaintext in plaintexts {
                reassembly.take(Duration::ZERO, 1, &plaintext);
            }
        }
    }

    #[test]
    fn unfinished_messages_are_bounded_and_end() {
        let mut reassembly = Reassembly::default();
        let payload = vec![0; PART_BYTES + 1];
        for session in 0..200 {
            for message in 0..20 {
                let parts = split(message, 0, &payload);
                reassembly.take(Duration::from_millis(message.into()), session, &parts[0]);
            }
        }
        assert_eq!(reassembly.partials.len(), PARTIALS_LIMIT);
        for session in 0..200 {
            let own = reassembly.partials.range((session, 0)..=(session, u32::MAX)).count();
            assert!(own <= PARTIALS_PER_SESSION_LIMIT);
        }
        reassembly.forget_session(199);
        assert!(reassembly.partials.range((199, 0)..).next().is_none());
        reassembly.tick(Duration::from_secs(6));
        assert!(reassembly.partials.is_empty());
    }
}
