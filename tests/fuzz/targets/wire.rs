//! Any bytes as anything that comes from a disk or a peer: no panic, and what was read can be
//! written and read again.
#![no_main]

use crypto::{Authority, Certificate, ClusterKey};
use libfuzzer_sys::fuzz_target;
use membership::Record;
use model::{Entry, StateBuilder};

const NOW: u64 = 1_790_000_000;

fn entry(bytes: &[u8]) {
    let Ok(entry) = Entry::decode(bytes) else { return };
    let again = Entry::decode(&entry.encode().expect("it was read")).expect("it was written");
    assert_eq!(again, entry);
}

fn certificate(bytes: &[u8]) {
    let Ok(certificate) = Certificate::decode(bytes) else { return };
    assert_eq!(certificate.encode(), bytes, "signed bytes are kept as they came");
    let ca = Authority::from_key(&ClusterKey::from_bytes([7; 32])).ca();
    let _ = certificate.verify(&ca, NOW, 3600);
}

fn record(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let ca = Authority::from_key(&ClusterKey::from_bytes([7; 32])).ca();
    let _ = Record::verify(text, &ca, NOW);
}

/// Chunks of a snapshot, each behind two bytes of its length.
fn snapshot(mut bytes: &[u8]) {
    let mut builder = StateBuilder::default();
    while let Some((length, rest)) = bytes.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length)).min(rest.len());
        let (chunk, rest) = rest.split_at(length);
        if builder.push(chunk).is_err() {
            return;
        }
        bytes = rest;
    }
    let Ok(state) = builder.finish() else { return };
    let mut builder = StateBuilder::default();
    for chunk in state.chunks() {
        builder.push(&chunk.expect("it was read")).expect("it was written");
    }
    assert_eq!(builder.finish().expect("all of it"), state);
}

fuzz_target!(|data: &[u8]| {
    let Some((which, rest)) = data.split_first() else { return };
    match which % 5 {
        0 => entry(rest),
        1 => certificate(rest),
        2 => record(rest),
        3 => snapshot(rest),
        _ => crypto::fuzz::decoding(rest),
    }
});
