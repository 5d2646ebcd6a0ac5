//! Writes the seeds: real messages, from which the fuzzer starts.
//!
//! `cargo run --example seeds` in this folder writes `seeds/<target>/`. Needed only when a
//! format changes; old seeds stay valid inputs, so remove them first if they are to go.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use crypto::{Authority, Carrier, ClusterKey, Credentials, Initiator, Local, NodeKeys, Role};
use membership::guard::{DeltaEntry, DigestEntry, GossipId, Message, Packing, encode};
use membership::{Payload, Presence, Record};

const NOW: u64 = 1_790_000_000;

fn main() {
    let authority = Arc::new(Authority::from_key(&ClusterKey::from_bytes([7; 32])));
    let keys = Arc::new(NodeKeys::generate().expect("randomness"));
    let credentials = Credentials::for_key_holder(keys, Arc::clone(&authority), NOW, &[1]);
    let record = record(&credentials);

    handshake(&credentials);
    datagrams();
    wire(&credentials, &record);
    guard(&record);
    texts(&authority, &credentials);
}

fn write(target: &str, name: &str, bytes: &[u8]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join(name), bytes).expect("a file");
}

/// A seed of a target whose first byte says what the rest is.
fn write_as(target: &str, name: &str, which: u8, rest: &[u8]) {
    write(target, name, &[&[which], rest].concat());
}

fn repository(path: &str) -> Vec<u8> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    fs::read(top.join(path)).expect("a golden file")
}

fn record(credentials: &Credentials) -> String {
    let record = Record {
        node: credentials.node(),
        incarnation: 3,
        sequence: 9,
        address: SocketAddr::from(([10, 0, 0, 1], 7964)),
        payload: Payload {
            eligible: true,
            hostname: "one".to_owned(),
            zone: "z".to_owned(),
            genesis: Some([4; 16]),
            state: Presence::Alive,
            version: "0.1.0".to_owned(),
            raft_id: 1,
            draining: false,
        },
        certificate: credentials.certificate.clone(),
    };
    record.sign(&credentials.keys).expect("a short record")
}

fn handshake(credentials: &Credentials) {
    let gate = credentials.gate_key().expect("a member has a gate");
    for (name, carrier) in [("first-udp", Carrier::Datagram), ("first-tcp", Carrier::Stream)] {
        let local = Local { credentials, carrier, hello: b"hello", index: 1, now: NOW };
        let (_, first) = Initiator::start(&local, &gate).expect("it starts");
        write_as("handshake", name, 0, &first);
    }
    for name in ["certificate.bin", "grant.bin", "identity.bin", "handshake.bin"] {
        write_as("handshake", name, 0, &repository(&format!("crypto/golden/{name}")));
    }
    // Carriers, each message as it is, one byte turned, cut short.
    for which in (1..=3).chain(5..=7) {
        write_as("handshake", &format!("honest-{which}"), which, &[]);
        write_as("handshake", &format!("turned-{which}"), which, &[0, 60, 1]);
        write_as("handshake", &format!("cut-{which}"), which, &[9]);
    }
}

/// Scripts; see the target for what a step is.
fn datagrams() {
    let (send_a, send_b, deliver, turn, pass, tick, restart) = (0, 1, 2, 3, 4, 5, 7);
    let meet = [send_a, 0, pass, pass, pass, pass, tick, 1, pass];
    let scripts: [(&str, Vec<u8>); 6] = [
        ("meet", meet.to_vec()),
        ("long", [&meet[..], &[send_b, 240, pass, send_a, 200, pass, pass]].concat()),
        ("replay", [&meet[..], &[send_a, 1, deliver, 0, deliver, 0, turn, 0, 9, 1]].concat()),
        ("both", vec![send_a, 0, send_b, 0, pass, pass, pass, tick, 20, pass, pass]),
        ("lost", vec![send_a, 0, tick, 60, pass, tick, 60, pass, pass, tick, 60]),
        ("restart", [&meet[..], &[restart, 5, send_a, 2, tick, 40, pass, pass, pass]].concat()),
    ];
    for (name, script) in scripts {
        write("datagrams", name, &script);
    }
}

fn wire(credentials: &Credentials, record: &str) {
    let lines = |path| String::from_utf8(repository(path)).expect("text");
    for (nth, line) in lines("store/model/golden/entries.hex").lines().enumerate() {
        write_as("wire", &format!("entry-{nth}"), 0, &unhex(line));
    }
    write_as("wire", "certificate", 1, credentials.certificate.encode());
    write_as("wire", "record", 2, record.as_bytes());
    let mut chunks = Vec::new();
    for line in lines("store/model/golden/chunks.hex").lines() {
        let chunk = unhex(line);
        let length = u16::try_from(chunk.len()).expect("a short chunk");
        chunks.extend_from_slice(&length.to_be_bytes());
        chunks.extend_from_slice(&chunk);
    }
    write_as("wire", "snapshot", 3, &chunks);
    write_as("wire", "tuple", 4, &repository("crypto/golden/wire.bin"));
}

fn unhex(line: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&line[at..at + 2], 16).expect("two digits");
    (0..line.len()).step_by(2).map(byte).collect()
}

fn guard(record: &str) {
    let id = |nth: u8| GossipId {
        short: format!("{nth:01}123456789a"),
        generation: u64::from(nth),
        address: SocketAddr::from(([10, 0, 0, nth], 7964)),
    };
    let digest: Vec<_> =
        (1..4).map(|nth| DigestEntry { id: id(nth), heartbeat: 7, max_version: 9 }).collect();
    let delta: Vec<_> = (1..3)
        .map(|nth| DeltaEntry {
            id: id(nth),
            from_excluded: 0,
            text: record.to_owned(),
            version: 9,
        })
        .collect();
    let cluster_id = "skep".to_owned();
    for (name, message) in [
        ("syn", Message::Syn { cluster_id, digest: digest.clone() }),
        ("synack", Message::SynAck { digest, delta: delta.clone() }),
        ("ack", Message::Ack { delta }),
    ] {
        write("guard", &format!("{name}-wire"), &encode(&message, Packing::Wire));
        write("guard", &format!("{name}-local"), &encode(&message, Packing::Local));
    }
}

fn texts(authority: &Authority, credentials: &Credentials) {
    let key = ClusterKey::from_bytes([7; 32]);
    write("texts", "key", key.to_text().as_bytes());
    for (name, role) in [("worker", Role::Worker), ("manager", Role::Eligible)] {
        let token = authority.grant(role, [1; 16], NOW, 5);
        write("texts", name, token.to_text().as_bytes());
    }
    write("texts", "node", credentials.node().to_string().as_bytes());
    write("texts", "name", b"web_front-2");
    write("texts", "equal", b"node.labels.zone == a");
    write("texts", "unequal", b"node.ip!=10.0.0.0/8");
}
