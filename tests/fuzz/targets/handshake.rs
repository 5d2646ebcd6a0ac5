//! A stranger gets no byte, and a handshake that somebody touched never stands.
//!
//! The first byte chooses what is touched: nothing that is ours (the rest is a datagram of a
//! stranger), or one of the three messages of a real handshake (the rest is edits of it).
#![no_main]

use std::cell::RefCell;
use std::sync::Arc;

use crypto::fuzz::{Target, decoding};
use crypto::{
    Authority, Carrier, ClusterKey, Credentials, FirstMessages, GateKey, Initiator, Local,
    NodeKeys, Responder,
};
use libfuzzer_sys::fuzz_target;

const NOW: u64 = 1_790_000_000;

struct Pair {
    a: Credentials,
    b: Credentials,
    gate: GateKey,
}

thread_local! {
    static STRANGER: RefCell<Target> = RefCell::new(Target::new().expect("randomness"));
    static PAIR: Pair = pair();
}

fn pair() -> Pair {
    let authority = Arc::new(Authority::from_key(&ClusterKey::from_bytes([7; 32])));
    let member = || {
        let keys = Arc::new(NodeKeys::generate().expect("randomness"));
        Credentials::for_key_holder(keys, Arc::clone(&authority), NOW, &[1])
    };
    let (a, b) = (member(), member());
    let gate = a.gate_key().expect("a member has a gate");
    Pair { a, b, gate }
}

/// Applies edits to a message: each is two bytes of place and one to xor; an odd byte cuts it.
/// False if nothing changed.
fn edit(message: &mut Vec<u8>, edits: &[u8]) -> bool {
    let before = message.clone();
    let (triples, rest) = edits.as_chunks::<3>();
    for [high, low, change] in triples {
        let place = usize::from(u16::from_be_bytes([*high, *low])) % message.len().max(1);
        if let Some(byte) = message.get_mut(place) {
            *byte ^= change;
        }
    }
    if let [cut] = rest {
        message.truncate(message.len().saturating_sub(usize::from(*cut)));
    }
    *message != before
}

fn meet(pair: &Pair, which: u8, edits: &[u8]) {
    let carrier = if which & 4 == 0 { Carrier::Datagram } else { Carrier::Stream };
    let local =
        |credentials, index| Local { credentials, carrier, hello: b"hello", index, now: NOW };
    let mut memory = FirstMessages::with_capacity(16).expect("randomness");
    let (a, b) = (local(&pair.a, 1), local(&pair.b, 2));
    let (initiator, mut first) = Initiator::start(&a, &pair.gate).expect("it starts");
    let mut touched = which & 3 == 1 && edit(&mut first, edits);
    // The cookie is outside of the MAC: it is checked only when the responder demands one.
    let Ok((responder, mut second)) = Responder::accept(&b, &first, &mut memory) else {
        assert!(touched, "an honest first message was refused");
        return;
    };
    assert!(Responder::accept(&b, &first, &mut memory).is_err(), "a first message counted twice");
    touched = which & 3 == 2 && edit(&mut second, edits);
    let Ok((at_a, mut third)) = initiator.finish(&pair.a, &second, NOW) else {
        assert!(touched, "an honest second message was refused");
        return;
    };
    assert!(!touched, "a forged second message was taken");
    touched = which & 3 == 3 && edit(&mut third, edits);
    let Ok(at_b) = responder.finish(&pair.b, &third, NOW) else {
        assert!(touched, "an honest third message was refused");
        return;
    };
    assert!(!touched, "a forged third message was taken");
    assert_eq!(at_a.hash, at_b.hash);
    assert_eq!((at_a.peer.id, at_b.peer.id), (pair.b.node(), pair.a.node()));
}

fuzz_target!(|data: &[u8]| {
    let Some((which, rest)) = data.split_first() else { return };
    if which & 3 == 0 {
        decoding(rest);
        STRANGER.with_borrow_mut(|target| assert!(!target.is_answered(rest), "it was answered"));
    } else {
        PAIR.with(|pair| meet(pair, *which, rest));
    }
});
