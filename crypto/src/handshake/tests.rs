//! Who gets in, who does not, and what a stranger costs.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::certificate::{Role, Standing};
use crate::identity::NodeKeys;
use crate::testing::{NOW, authority, check_golden, golden_authority, holder, worker};

fn local<'a>(credentials: &'a Credentials, index: u32) -> Local<'a> {
    Local { credentials, carrier: Carrier::Datagram, hello: b"hello", index, now: NOW }
}

type Both = (Established, Established);

fn meet(
    knocking: &Local<'_>,
    gate: &GateKey,
    answering: &Local<'_>,
) -> Result<Both, HandshakeError> {
    let mut memory = FirstMessages::new().unwrap();
    let (initiator, first) = Initiator::start(knocking, gate)?;
    let (responder, second) = Responder::accept(answering, &first, &mut memory)?;
    assert!(second.len() <= first.len(), "no amplification");
    let (ours, third) = initiator.finish(knocking.credentials, &second, knocking.now)?;
    assert!(third.len() <= HANDSHAKE_LIMIT_BYTES);
    let theirs = responder.finish(answering.credentials, &third, answering.now)?;
    Ok((ours, theirs))
}

#[test]
fn the_bytes_around_noise_are_for_ever() {
    let identity = Identity {
        index: 0x0102_0304,
        wire_oldest: 1,
        wire_newest: 300,
        certificate: vec![5; 190],
        grant: Some(vec![6; 110]),
        hello: b"hello".to_vec(),
    };
    check_golden("identity.bin", &wire::encode(IDENTITY_KIND, 1, &identity).unwrap());
    let mac_key = MacKey::new(&golden_authority().gossip_psk(1));
    let gates = [Gate::Psk { epoch: 7 }, Gate::Token { id: [8; 16] }];
    let mut bytes = Vec::new();
    for (gate, carrier) in gates.into_iter().zip([Carrier::Datagram, Carrier::Stream]) {
        let header = packet::first_header(gate, carrier, 9);
        bytes.extend(header);
        bytes.extend(mac_key.of_first(&header, &[1; 584]));
    }
    bytes.extend(mac_key.frame(kind::SECOND, 9, &[3; 16], b"body"));
    check_golden("handshake.bin", &bytes);
}

#[test]
fn members_meet_and_can_talk() {
    let authority = authority();
    let (a, b) = (holder(&authority), worker(&authority, NOW));
    for carrier in [Carrier::Datagram, Carrier::Stream] {
        let hello = [7; HELLO_LIMIT_BYTES];
        let knocking = Local { carrier, hello: &hello, ..local(&a, 5) };
        let answering = Local { carrier, hello: &hello, ..local(&b, 6) };
        let (ours, theirs) = meet(&knocking, &a.gate_key().unwrap(), &answering).unwrap();
        assert_eq!(ours.hash, theirs.hash);
        assert_eq!((ours.remote_index, theirs.remote_index), (6, 5));
        assert_eq!((ours.peer.id, theirs.peer.id), (b.node(), a.node()));
        assert_eq!((ours.peer.role, theirs.peer.role), (Role::Worker, Role::Eligible));
        assert_eq!((ours.peer_hello.len(), ours.wire_version), (256, 1));
        assert!(!ours.peer.candidate && !theirs.peer.candidate);
        let mut sealed = [0; 64];
        let mut opened = [0; 64];
        let length = ours.transport.write_message(9, b"text", &mut sealed).unwrap();
        let read = theirs.transport.read_message(9, &sealed[..length], &mut opened);
        assert_eq!(&opened[..read.unwrap()], b"text");
    }
}

#[test]
fn a_candidate_enters_by_its_token_alone_and_is_called_one() {
    let authority = authority();
    let manager = holder(&authority);
    let (plain_worker, other_cluster) =
        (worker(&authority, NOW), holder(&crate::testing::authority()));
    for role in [Role::Worker, Role::Eligible] {
        let token = authority.grant(role, [4; 16], NOW + 60, 2);
        let keys = Arc::new(NodeKeys::generate().unwrap());
        let candidate = Credentials::candidate(keys, &token);
        let knocking = local(&candidate, 1);
        let (ours, theirs) = meet(&knocking, &token.gate_key(), &local(&manager, 2)).unwrap();
        assert_eq!((theirs.peer.candidate, theirs.peer.role), (true, role));
        assert_eq!(theirs.peer.grant.unwrap().terms().max_uses, 2);
        assert_eq!((ours.peer.id, ours.peer.candidate), (manager.node(), false));
        // Who cannot derive the token's secret cannot even pretend.
        for wrong in [&plain_worker, &other_cluster] {
            let refused = meet(&knocking, &token.gate_key(), &local(wrong, 2));
            assert!(matches!(refused, Err(HandshakeError::Stranger)));
        }
        // A candidate with the members' key is still none of them.
        let refused = meet(&knocking, &manager.gate_key().unwrap(), &local(&manager, 2));
        assert!(matches!(refused, Err(HandshakeError::Certificate { .. })));
        // Nor may it answer anybody.
        let posing = candidate.with_psks(manager.psks.clone());
        let refused = meet(&local(&manager, 1), &manager.gate_key().unwrap(), &local(&posing, 2));
        assert!(matches!(refused, Err(HandshakeError::Certificate { .. })));
    }
}

#[test]
fn who_is_not_let_in() {
    let authority = authority();
    let (a, b) = (holder(&authority), holder(&authority));
    let gate = a.gate_key().unwrap();
    let later = |seconds| Local { now: NOW + seconds, ..local(&b, 2) };
    assert!(meet(&local(&a, 1), &gate, &later(600)).is_ok());
    let refused = meet(&local(&a, 1), &gate, &later(601));
    assert!(matches!(refused, Err(HandshakeError::Clock { .. })));

    let revoking = b.with_revoked(BTreeSet::from([a.node()]));
    let refused = meet(&local(&a, 1), &gate, &local(&revoking, 2));
    assert!(matches!(refused, Err(HandshakeError::Revoked { .. })));
    let refused = meet(&local(&revoking, 1), &gate, &local(&a, 2));
    assert!(matches!(refused, Err(HandshakeError::Revoked { .. })));

    let borrowing = Credentials { certificate: b.certificate.clone(), ..a.clone() };
    let refused = meet(&local(&borrowing, 1), &gate, &local(&b, 2));
    assert!(matches!(refused, Err(HandshakeError::Borrowed { .. })));

    let mut stolen = holder(&crate::testing::authority());
    stolen.psks = a.psks.clone();
    let refused = meet(&local(&stolen, 1), &gate, &local(&b, 2));
    assert!(matches!(refused, Err(HandshakeError::Cluster)));
    stolen.cluster_tag = a.cluster_tag;
    let refused = meet(&local(&stolen, 1), &gate, &local(&b, 2));
    assert!(matches!(refused, Err(HandshakeError::Certificate { .. })));

    let day = 24 * 3600;
    let expired = worker(&authority, NOW - 3 * day);
    let (_, theirs) = meet(&local(&expired, 1), &gate, &local(&b, 2)).unwrap();
    assert_eq!(theirs.peer.standing, Standing::Expired);
    let dead = worker(&authority, NOW - 9 * day);
    let refused = meet(&local(&dead, 1), &gate, &local(&b, 2));
    assert!(matches!(refused, Err(HandshakeError::Certificate { .. })));

    let hello = [0; HELLO_LIMIT_BYTES + 1];
    let refused = meet(&Local { hello: &hello, ..local(&a, 1) }, &gate, &local(&b, 2));
    assert!(matches!(refused, Err(HandshakeError::Hello { .. })));
}

#[test]
fn epochs_overlap_as_long_as_they_are_listed() {
    let authority = authority();
    let old = holder(&authority);
    let both = old.with_psks(vec![(2, authority.gossip_psk(2)), (1, authority.gossip_psk(1))]);
    let new = old.with_psks(vec![(2, authority.gossip_psk(2))]);
    let knock = |from: &Credentials, to: &Credentials| {
        meet(&local(from, 1), &from.gate_key().unwrap(), &local(to, 2)).is_ok()
    };
    assert!(knock(&old, &both) && knock(&both, &new) && knock(&new, &both));
    assert!(!knock(&old, &new) && !knock(&both, &old));
}

#[test]
fn a_first_message_counts_once_even_after_a_restart() {
    let authority = authority();
    let (a, b) = (holder(&authority), holder(&authority));
    let mut memory = FirstMessages::new().unwrap();
    let (_, first) = Initiator::start(&local(&a, 1), &a.gate_key().unwrap()).unwrap();
    assert!(Responder::accept(&local(&b, 2), &first, &mut memory).is_ok());
    let mut restarted = FirstMessages::restore(&memory.snapshot(), NOW).unwrap();
    for memory in [&mut memory, &mut restarted] {
        for carrier in [Carrier::Datagram, Carrier::Stream] {
            let again = Responder::accept(&Local { carrier, ..local(&b, 3) }, &first, memory);
            assert!(again.is_err());
        }
    }
}

#[test]
fn a_crowded_memory_demands_a_cookie_that_a_replayer_cannot_read() {
    let authority = authority();
    let (a, b) = (holder(&authority), holder(&authority));
    let gate = a.gate_key().unwrap();
    let mut memory = FirstMessages::with_capacity(1).unwrap();
    for number in 0..2 {
        memory.remember([number; 16], NOW + 600, NOW);
    }
    let (mut initiator, first) = Initiator::start(&local(&a, 1), &gate).unwrap();
    let Err(HandshakeError::Cookie { reply }) =
        Responder::accept(&local(&b, 2), &first, &mut memory)
    else {
        panic!("a cookie is demanded");
    };
    assert!(reply.len() < first.len());
    let (mut other, _) = Initiator::start(&local(&a, 1), &gate).unwrap();
    assert!(!other.take_cookie(&reply), "a cookie is for one message");
    let mut changed = reply.clone();
    changed[50] ^= 1;
    assert!(!initiator.take_cookie(&changed));
    assert!(initiator.take_cookie(&reply) && !initiator.take_cookie(&reply));
    let (_, second) = Responder::accept(&local(&b, 2), initiator.first(), &mut memory).unwrap();
    let again = Responder::accept(&local(&b, 2), initiator.first(), &mut memory);
    assert!(matches!(again, Err(HandshakeError::Replayed)));
    assert!(initiator.finish(&a, &second, NOW).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn random_first_packets_are_strangers(packet in prop::collection::vec(any::<u8>(), 0..1300)) {
        let b = holder(&authority());
        let mut memory = FirstMessages::new().unwrap();
        let refused = Responder::accept(&local(&b, 2), &packet, &mut memory);
        prop_assert!(matches!(refused, Err(HandshakeError::Stranger)));
    }

    #[test]
    fn a_changed_packet_is_refused_and_the_genuine_one_still_works(
        which in 0_usize..3,
        place: prop::sample::Index,
        mask in 1_u8..,
    ) {
        let authority = authority();
        let (a, b) = (holder(&authority), holder(&authority));
        let mut memory = FirstMessages::new().unwrap();
        let change = |packet: &[u8], wanted: usize| {
            let mut packet = packet.to_vec();
            let place = place.index(packet.len());
            // The cookie of a first message is outside its MAC and means nothing here.
            if which == wanted && !(wanted == 0 && (40..56).contains(&place)) {
                packet[place] ^= mask;
                Some(packet)
            } else {
                None
            }
        };
        let (initiator, first) = Initiator::start(&local(&a, 1), &a.gate_key().unwrap()).unwrap();
        if let Some(changed) = change(&first, 0) {
            let refused = Responder::accept(&local(&b, 2), &changed, &mut memory);
            prop_assert!(matches!(refused, Err(HandshakeError::Stranger)));
        }
        let (responder, second) = Responder::accept(&local(&b, 2), &first, &mut memory).unwrap();
        if let Some(changed) = change(&second, 1) {
            prop_assert!(!initiator.is_answer(&changed));
        }
        prop_assert!(initiator.is_answer(&second));
        let (_, third) = initiator.finish(&a, &second, NOW).unwrap();
        if let Some(changed) = change(&third, 2) {
            prop_assert!(!responder.is_answer(&changed));
        }
        prop_assert!(responder.is_answer(&third));
        prop_assert!(responder.finish(&b, &third, NOW).is_ok());
    }
}
