//! The guard of gossip reads any bytes, and what it lets through it can write and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use membership::guard::{DELTA_BYTES_MAX, IDS_MAX, Message, Packing, encode, parse};

fn check_limits(message: &Message) {
    let (digest, delta): (&[_], &[_]) = match message {
        Message::Syn { digest, .. } => (digest, &[]),
        Message::SynAck { digest, delta } => (digest, delta),
        Message::Ack { delta } => (&[], delta),
    };
    assert!(digest.len() <= IDS_MAX && delta.len() <= IDS_MAX);
    let texts: usize = delta.iter().map(|entry| entry.text.len()).sum();
    assert!(texts <= DELTA_BYTES_MAX);
}

fuzz_target!(|data: &[u8]| {
    let Ok(message) = parse(data) else { return };
    check_limits(&message);
    // Unpacked it may be longer than a datagram, which is no fault of the reader.
    for packing in [Packing::Wire, Packing::Local] {
        let written = encode(&message, packing);
        if let Ok(again) = parse(&written) {
            assert_eq!(again, message, "read differently when written as {packing:?}");
        } else {
            assert!(membership::guard::MESSAGE_BYTES_MAX < written.len(), "{packing:?}");
        }
    }
});
