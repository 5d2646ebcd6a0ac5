//! The guard against honest, forged and broken messages.

use std::net::SocketAddr;
use std::time::Duration;

use chitchat::{ChitchatMessage, Deserializable, Serializable};
use crypto::{Authority, ClusterKey, NodeKeys, Role};
use proptest::prelude::*;

use super::*;
use crate::record::{Payload, Presence};

const UNIX: u64 = 1_800_000_000;

/// A cluster key and what it makes.
struct Cluster {
    authority: Arc<Authority>,
}

/// A node that can sign for itself.
struct Node {
    credentials: Arc<Credentials>,
    address: SocketAddr,
}

impl Cluster {
    fn new() -> Self {
        let key = ClusterKey::generate().unwrap();
        Self { authority: Arc::new(Authority::from_key(&key)) }
    }

    fn node(&self, port: u16) -> Node {
        let keys = Arc::new(NodeKeys::generate().unwrap());
        let authority = Arc::clone(&self.authority);
        let credentials = Credentials::for_key_holder(keys, authority, UNIX, &[1]);
        let address = SocketAddr::from(([10, 0, 0, 1], port));
        Node { credentials: Arc::new(credentials), address }
    }
}

impl Node {
    fn id(&self) -> NodeId {
        self.credentials.node()
    }

    fn peer(&self) -> Peer {
        let Credentials { certificate, ca, .. } = &*self.credentials;
        certificate.verify(ca, UNIX, 0).unwrap()
    }

    fn gossip_id(&self, generation: u64) -> GossipId {
        GossipId { short: self.id().short(), generation, address: self.address }
    }

    fn guard(&self) -> Guard {
        Guard::new(self.gossip_id(1), Arc::clone(&self.credentials))
    }

    fn record(&self, incarnation: u64, sequence: u64) -> Record {
        Record {
            node: self.id(),
            incarnation,
            sequence,
            address: self.address,
            payload: payload(),
            certificate: self.credentials.certificate.clone(),
        }
    }

    fn entry(&self, incarnation: u64, sequence: u64) -> DeltaEntry {
        DeltaEntry {
            id: self.gossip_id(incarnation),
            from_excluded: 0,
            text: self.record(incarnation, sequence).sign(&self.credentials.keys).unwrap(),
            version: sequence,
        }
    }

    fn heard(&self, generation: u64, heartbeat: u64) -> DigestEntry {
        DigestEntry { id: self.gossip_id(generation), heartbeat, max_version: 1 }
    }
}

fn payload() -> Payload {
    Payload {
        eligible: true,
        hostname: "host".to_owned(),
        zone: String::new(),
        genesis: None,
        state: Presence::Alive,
        version: "0.1.0".to_owned(),
        raft_id: 0,
        draining: false,
    }
}

fn at(start: Instant, ms: u64) -> Clock {
    Clock { now: start + Duration::from_millis(ms), uptime_ms: ms, unix: UNIX }
}

fn ack(delta: Vec<DeltaEntry>) -> Vec<u8> {
    encode(&Message::Ack { delta }, Packing::Wire)
}

fn syn(guard: &Guard, mut digest: Vec<DigestEntry>) -> Vec<u8> {
    digest.sort_by(|a, b| a.id.cmp(&b.id));
    encode(&Message::Syn { cluster_id: guard.cluster_id.clone(), digest }, Packing::Wire)
}

fn digest_of(passed: &Passed) -> Vec<DigestEntry> {
    match parse(&passed.bytes).unwrap() {
        Message::Syn { digest, .. } | Message::SynAck { digest, .. } => digest,
        Message::Ack { .. } => Vec::new(),
    }
}

fn delta_of(passed: &Passed) -> Vec<DeltaEntry> {
    delta_in(&parse(&passed.bytes).unwrap()).to_vec()
}

fn delta_in(message: &Message) -> &[DeltaEntry] {
    match message {
        Message::SynAck { delta, .. } | Message::Ack { delta } => delta,
        Message::Syn { .. } => &[],
    }
}

/// A guard of the first node that knows the second one, which sits at the other end.
fn acquainted() -> (Cluster, Node, Node, Guard, Instant) {
    let cluster = Cluster::new();
    let (me, other) = (cluster.node(1), cluster.node(2));
    let mut guard = me.guard();
    let start = Instant::now();
    let passed = guard.inbound(at(start, 0), &other.peer(), &ack(vec![other.entry(1, 1)])).unwrap();
    assert_eq!(passed.fresh, [other.gossip_id(1)]);
    (cluster, me, other, guard, start)
}

#[test]
fn an_honest_record_passes_once_and_then_its_digest_does() {
    let (_, me, other, mut guard, start) = acquainted();
    assert_eq!(guard.member(other.id()).unwrap().payload.hostname, "host");
    let message = syn(&guard, vec![other.heard(1, 40), me.heard(1, 9)]);
    let digest = digest_of(&guard.inbound(at(start, 7), &other.peer(), &message).unwrap());
    assert_eq!(digest.len(), 2, "the sender's own entry, and how much it has of ours");
    let again = ack(vec![other.entry(1, 1)]);
    let passed = guard.inbound(at(start, 9), &other.peer(), &again).unwrap();
    assert!(passed.fresh.is_empty() && !passed.changed);
}

#[test]
fn forgeries_are_rejected_as_a_whole() {
    let (cluster, me, other, mut guard, start) = acquainted();
    let third = cluster.node(3);
    let mut foreign = Cluster::new().node(3);
    foreign.address = third.address;
    let forged = |change: &dyn Fn(&mut DeltaEntry)| {
        let mut entry = third.entry(1, 5);
        change(&mut entry);
        entry
    };
    let mut signed_by_other = third.entry(1, 5);
    signed_by_other.text = third.record(1, 5).sign(&other.credentials.keys).unwrap();
    let cases = [
        ("signed by somebody else", signed_by_other),
        ("of another cluster", foreign.entry(1, 5)),
        ("under a higher version", forged(&|entry| entry.version = 6)),
        ("under another generation", forged(&|entry| entry.id.generation = 2)),
        ("under another address", forged(&|entry| entry.id.address.set_port(9))),
        ("under another name", forged(&|entry| entry.id.short = "00000000000".to_owned())),
        ("no record at all", forged(&|entry| entry.text = "role=manager".to_owned())),
    ];
    for (what, entry) in cases {
        let message = ack(vec![third.entry(1, 1), entry.clone()]);
        // Twice the same id is malformed; alone it is still a forgery.
        let alone = ack(vec![entry]);
        for message in [message, alone] {
            let result = guard.inbound(at(start, 1), &other.peer(), &message);
            assert!(result.is_err(), "{what}");
        }
        assert!(guard.member(third.id()).is_none(), "{what}: nothing of the message counts");
    }
    let about_us = ack(vec![me.entry(1, 77)]);
    let passed = guard.inbound(at(start, 1), &other.peer(), &about_us).unwrap();
    assert_eq!(delta_of(&passed), [], "nobody tells us who we are");
}

#[test]
fn a_worker_cannot_make_itself_eligible() {
    let cluster = Cluster::new();
    let (me, mut worker) = (cluster.node(1), cluster.node(2));
    let certificate =
        cluster.authority.issue(&worker.credentials.keys.public(), Role::Worker, 1, UNIX, None);
    worker.credentials = Arc::new(worker.credentials.with_certificate(certificate));
    let mut guard = me.guard();
    let start = Instant::now();
    guard.inbound(at(start, 0), &worker.peer(), &ack(vec![worker.entry(1, 1)])).unwrap();
    let known = guard.member(worker.id()).unwrap();
    assert!(known.payload.eligible && !known.is_eligible());
}

#[test]
fn who_may_be_a_member_is_obeyed_at_once() {
    let (cluster, _, other, mut guard, start) = acquainted();
    let third = cluster.node(3);
    let records = ack(vec![third.entry(1, 1)]);
    let only_other = Some(Arc::new(BTreeSet::from([other.id()])));
    guard.admit(Admission { allowed: only_other, revoked: Arc::default() });
    let passed = guard.inbound(at(start, 1), &other.peer(), &records).unwrap();
    assert_eq!(delta_of(&passed), [], "not on the list");
    guard.admit(Admission::default());
    let passed = guard.inbound(at(start, 1), &other.peer(), &records).unwrap();
    assert_eq!(delta_of(&passed).len(), 1);
    let revoked = Arc::new(BTreeSet::from([third.id()]));
    guard.admit(Admission { allowed: None, revoked });
    assert!(guard.member(third.id()).is_none() && !guard.hears(&third.peer()));
    let message = syn(&guard, vec![third.heard(1, 5)]);
    let passed = guard.inbound(at(start, 2), &other.peer(), &message).unwrap();
    assert_eq!(digest_of(&passed), [], "and nobody vouches for it");
}

#[test]
fn a_new_life_replaces_the_old_one_and_lives_are_rationed() {
    let (_, _, other, mut guard, start) = acquainted();
    let restart = |guard: &mut Guard, ms, incarnation| {
        let message = ack(vec![other.entry(incarnation, 1)]);
        guard.inbound(at(start, ms), &other.peer(), &message).unwrap().fresh.len()
    };
    assert_eq!(restart(&mut guard, 1, 3), 1);
    assert_eq!(restart(&mut guard, 2, 2), 0, "older");
    let message = syn(&guard, vec![other.heard(1, 500), other.heard(3, 1)]);
    let digest = digest_of(&guard.inbound(at(start, 3), &other.peer(), &message).unwrap());
    assert_eq!(digest.len(), 1, "the old life is spoken of no more");
    assert_eq!(digest[0].id.generation, 3);
    let taken: usize = (4..500).map(|n| restart(&mut guard, n, n)).sum();
    assert_eq!(taken, 7, "a burst of 8 in all");
    assert_eq!(restart(&mut guard, 60_010, 1_000), 1, "and one each minute");
    assert_eq!(restart(&mut guard, 60_020, 1_001), 0);
}

#[test]
fn heartbeats_that_are_claimed_never_silence_the_true_ones() {
    let (cluster, _, victim, mut guard, start) = acquainted();
    let attacker = cluster.node(3).peer();
    let mut counters = Vec::new();
    for round in 0..20 {
        let ms = 500 * (round + 1);
        let truth = syn(&guard, vec![victim.heard(1, ms)]);
        let passed = guard.inbound(at(start, ms), &victim.peer(), &truth).unwrap();
        counters.push(digest_of(&passed)[0].heartbeat);
        let lie = syn(&guard, vec![victim.heard(1, u64::MAX)]);
        guard.inbound(at(start, ms + 1), &attacker, &lie).unwrap();
    }
    assert!(counters.is_sorted_by(|a, b| a < b), "each true heartbeat is a rise: {counters:?}");
}

#[test]
fn what_chitchat_forgot_comes_back_only_by_a_sign_of_life() {
    let (cluster, _, other, mut guard, start) = acquainted();
    let relay = cluster.node(3).peer();
    let hear = |guard: &mut Guard, peer: &Peer, ms, heartbeat| {
        let message = syn(guard, vec![other.heard(1, heartbeat)]);
        digest_of(&guard.inbound(at(start, ms), peer, &message).unwrap()).len()
    };
    assert_eq!(hear(&mut guard, &other.peer(), 1, 1_000), 1);
    guard.sync(&BTreeSet::from([other.gossip_id(1)]));
    guard.sync(&BTreeSet::new());
    assert!(guard.member(other.id()).is_none());
    assert_eq!(hear(&mut guard, &relay, 900_000, 1_000), 0, "an echo");
    assert_eq!(hear(&mut guard, &relay, 900_001, 1_001), 1, "a sign of life");
    assert!(guard.member(other.id()).is_some());
}

#[test]
fn never_more_ids_than_chitchat_can_carry() {
    let (cluster, _, other, mut guard, start) = acquainted();
    let held: BTreeSet<GossipId> = (0..IDS_MAX as u64).map(|n| other.gossip_id(n)).collect();
    guard.sync(&held);
    let message = ack(vec![cluster.node(9).entry(1, 1)]);
    let passed = guard.inbound(at(start, 1), &other.peer(), &message).unwrap();
    assert!(passed.fresh.is_empty() && delta_of(&passed).is_empty());
}

#[test]
fn our_own_messages_leave_without_the_dead_and_with_true_clocks() {
    let (_, me, other, mut guard, start) = acquainted();
    let message = syn(&guard, vec![other.heard(1, 7_000)]);
    guard.inbound(at(start, 100), &other.peer(), &message).unwrap();
    // What our chitchat would say: local counters, and an old life.
    let mut digest = vec![me.heard(1, 3), other.heard(0, 2), other.heard(1, 99)];
    digest.sort_by(|a, b| a.id.cmp(&b.id));
    let delta = vec![other.entry(0, 1), other.entry(1, 1)];
    let said = encode(&Message::SynAck { digest, delta }, Packing::Local);
    let told = parse(&guard.outbound(at(start, 1_234), &said, 9_000).unwrap()).unwrap();
    let Message::SynAck { digest, delta } = told else { panic!("another message") };
    let heartbeats: BTreeMap<GossipId, u64> =
        digest.into_iter().map(|entry| (entry.id, entry.heartbeat)).collect();
    assert_eq!(heartbeats, BTreeMap::from([(me.gossip_id(1), 1_234), (other.gossip_id(1), 7_000)]));
    assert_eq!(delta.len(), 1);
}

#[test]
fn forbidden_operations_are_refused_though_chitchat_would_take_them() {
    let cluster = Cluster::new();
    let node = cluster.node(2);
    let subject = |last_gc| {
        let mut out = vec![0];
        node.gossip_id(1).write(&mut out);
        numbers(&mut out, &[last_gc, 0]);
        out
    };
    let max_version = || [&[2][..], &1_u64.to_le_bytes()].concat();
    let cases = [
        ("set max version", [subject(0), max_version()].concat()),
        ("another key", [subject(0), key_value("role", "manager", 1, 0)].concat()),
        ("tombstone", [subject(0), key_value(KEY, "", 1, 1)].concat()),
        ("time to live", [subject(0), key_value(KEY, "x", 1, 2)].concat()),
        (
            "second value",
            [subject(0), key_value(KEY, "x", 1, 0), key_value(KEY, "y", 2, 0)].concat(),
        ),
        ("reset", [subject(9), key_value(KEY, "x", 1, 0)].concat()),
    ];
    for (what, operations) in cases {
        let mut message = vec![0x53, 0xB0, 0, 2, 2];
        message.extend_from_slice(&u16::try_from(operations.len()).unwrap().to_le_bytes());
        message.extend_from_slice(&operations);
        message.push(0);
        assert!(ChitchatMessage::deserialize(&mut &message[..]).is_ok(), "{what}");
        assert!(matches!(parse(&message), Err(ParseError::Forbidden { .. })), "{what}");
    }
}

#[test]
fn a_small_block_cannot_unfold_into_a_large_delta() {
    let bomb = zstd::bulk::compress(&vec![0; 60_000], 19).unwrap();
    let mut message = vec![0x53, 0xB0, 0, 2];
    for _ in 0..200 {
        message.push(1);
        message.extend_from_slice(&u16::try_from(bomb.len()).unwrap().to_le_bytes());
        message.extend_from_slice(&bomb);
    }
    message.push(0);
    assert!(message.len() < 10_000);
    assert_eq!(parse(&message), Err(ParseError::Malformed { what: "block" }));
}

impl GossipId {
    fn write(&self, out: &mut Vec<u8>) {
        crate::bridge::chitchat_id(self).serialize(out);
    }
}

fn numbers(out: &mut Vec<u8>, numbers: &[u64]) {
    for number in numbers {
        out.extend_from_slice(&number.to_le_bytes());
    }
}

fn key_value(key: &str, value: &str, version: u64, status: u8) -> Vec<u8> {
    let mut out = vec![1];
    for text in [key, value] {
        text.serialize(&mut out);
    }
    numbers(&mut out, &[version]);
    out.push(status);
    out
}

fn any_id() -> impl Strategy<Value = GossipId> {
    let address = prop_oneof![
        (any::<[u8; 4]>(), any::<u16>()).prop_map(SocketAddr::from),
        (any::<[u8; 16]>(), any::<u16>()).prop_map(SocketAddr::from),
    ];
    ("[0-9a-z]{11}", any::<u64>(), address).prop_map(|(short, generation, address)| GossipId {
        short,
        generation,
        address,
    })
}

fn any_digest() -> impl Strategy<Value = Vec<DigestEntry>> {
    let entry = (any_id(), any::<u64>(), any::<u64>())
        .prop_map(|(id, heartbeat, max_version)| DigestEntry { id, heartbeat, max_version });
    prop::collection::vec(entry, 0..8).prop_map(|mut digest| {
        digest.sort_by(|a, b| a.id.cmp(&b.id));
        digest.dedup_by(|a, b| a.id == b.id);
        digest
    })
}

fn any_delta() -> impl Strategy<Value = Vec<DeltaEntry>> {
    let entry = (any_id(), 0..u64::MAX, "[ -~]{0,400}", 0_usize..10);
    let entry = entry.prop_map(|(id, from_excluded, text, times)| {
        let text = text.repeat(times);
        DeltaEntry { id, from_excluded, text, version: from_excluded + 1 }
    });
    prop::collection::vec(entry, 0..12).prop_map(|mut delta| {
        delta.sort_by(|a, b| a.id.cmp(&b.id));
        delta.dedup_by(|a, b| a.id == b.id);
        delta
    })
}

fn any_message() -> impl Strategy<Value = Message> {
    prop_oneof![
        ("[a-z]{0,30}", any_digest())
            .prop_map(|(cluster_id, digest)| Message::Syn { cluster_id, digest }),
        (any_digest(), any_delta()).prop_map(|(digest, delta)| Message::SynAck { digest, delta }),
        any_delta().prop_map(|delta| Message::Ack { delta }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn chitchat_and_we_read_the_same(message in any_message()) {
        for packing in [Packing::Wire, Packing::Local] {
            let ours = encode(&message, packing);
            prop_assert_eq!(parse(&ours), Ok(message.clone()));
            let theirs = ChitchatMessage::deserialize(&mut &ours[..]).unwrap();
            if matches!(message, Message::Syn { .. }) {
                prop_assert_eq!(parse(&theirs.serialize_to_vec()), Ok(message.clone()));
            }
            // It writes a delta only if that comes out as long as it was read, so look inside.
            let inside = format!("{theirs:?}");
            for entry in delta_in(&message) {
                let id = format!("{:?}", crate::bridge::chitchat_id(&entry.id));
                let (text, version) = (&entry.text, entry.version);
                let value = format!("value: {text:?}, version: {version}, status: Set");
                prop_assert!(inside.contains(&id) && inside.contains(&value));
            }
        }
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), kind in 0_u8..4) {
        let _ = parse(&bytes);
        let mut message = vec![0x53, 0xB0, 0, kind];
        message.extend_from_slice(&bytes);
        let _ = parse(&message);
    }

    #[test]
    fn a_mutated_message_lets_nothing_foreign_through(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
        packing in prop_oneof![Just(Packing::Wire), Just(Packing::Local)],
    ) {
        let (cluster, me, other, mut guard, start) = acquainted();
        let third = cluster.node(3);
        let honest = [other.entry(1, 2), third.entry(4, 1)];
        let mut digest = vec![me.heard(1, 5), other.heard(1, 6), third.heard(4, 7)];
        digest.sort_by(|a, b| a.id.cmp(&b.id));
        let message = Message::SynAck { digest, delta: honest.to_vec() };
        let mut bytes = encode(&message, packing);
        for (place, value) in flips {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let result = guard.inbound(at(start, 10), &other.peer(), &bytes);
        if let Ok(passed) = result {
            prop_assert!(ChitchatMessage::deserialize(&mut &passed.bytes[..]).is_ok());
            for entry in delta_of(&passed) {
                let same = |honest: &DeltaEntry| {
                    (&honest.id, &honest.text, honest.version) == (&entry.id, &entry.text, entry.version)
                };
                prop_assert!(honest.iter().any(same), "{:?}", entry);
            }
            let known = [me.gossip_id(1), other.gossip_id(1), third.gossip_id(4)];
            for entry in digest_of(&passed) {
                prop_assert!(known.contains(&entry.id));
            }
        }
        let members: BTreeSet<NodeId> = guard.members().map(Known::node).collect();
        prop_assert!(members.is_subset(&BTreeSet::from([other.id(), third.id()])));
    }
}
