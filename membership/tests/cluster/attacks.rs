//! A real member sends what kills, renames and crashes bare chitchat nodes. Here nothing happens.
//!
//! Each forged message is one that chitchat 0.11.2 itself reads without complaint, which is checked.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chitchat::{ChitchatId, ChitchatMessage, Deserializable, Serializable};
use crypto::{Credentials, NodeId};
use membership::memory::MemoryTransport;
use membership::{Kind, Liveness, PacketTransport, Payload, Record};

use crate::sim::{Sim, address, payload, peer};

const SECOND: Duration = Duration::from_secs(1);

/// Raw chitchat messages.
struct Forge(Vec<u8>);

impl Forge {
    fn message(kind: u8) -> Self {
        Self(vec![0x53, 0xB0, 0, kind])
    }

    fn digest(mut self, entries: &[(ChitchatId, u64, u64)]) -> Self {
        self.0.extend_from_slice(&u16::try_from(entries.len()).unwrap().to_le_bytes());
        for (id, heartbeat, max_version) in entries {
            id.serialize(&mut self.0);
            self.numbers(&[*heartbeat, 0, *max_version]);
        }
        self
    }

    /// Operations of a delta, in one uncompressed block.
    fn delta(mut self, operations: &[u8]) -> Self {
        for block in operations.chunks(60_000) {
            self.0.push(2);
            self.0.extend_from_slice(&u16::try_from(block.len()).unwrap().to_le_bytes());
            self.0.extend_from_slice(block);
        }
        self.0.push(0);
        self
    }

    fn text(mut self, text: &str) -> Self {
        text.serialize(&mut self.0);
        self
    }

    fn numbers(&mut self, numbers: &[u64]) {
        for number in numbers {
            self.0.extend_from_slice(&number.to_le_bytes());
        }
    }

    /// The bytes, which chitchat itself reads without complaint.
    fn well_formed(self) -> Vec<u8> {
        assert!(ChitchatMessage::deserialize(&mut &self.0[..]).is_ok());
        self.0
    }
}

fn node_operation(id: &ChitchatId, last_gc: u64, from: u64) -> Vec<u8> {
    let mut forge = Forge(vec![0]);
    id.serialize(&mut forge.0);
    forge.numbers(&[last_gc, from]);
    forge.0
}

fn value_operation(key: &str, value: &str, version: u64, status: u8) -> Vec<u8> {
    let mut forge = Forge(vec![1]).text(key).text(value);
    forge.numbers(&[version]);
    forge.0.push(status);
    forge.0
}

fn max_version_operation(version: u64) -> Vec<u8> {
    let mut forge = Forge(vec![2]);
    forge.numbers(&[version]);
    forge.0
}

fn id(node: NodeId, generation: u64, address: SocketAddr) -> ChitchatId {
    ChitchatId::new(node.short(), generation, address)
}

fn record(credentials: &Credentials, place: usize, sequence: u64, payload: Payload) -> String {
    let record = Record {
        node: credentials.node(),
        incarnation: 1,
        sequence,
        address: address(place),
        payload,
        certificate: credentials.certificate.clone(),
    };
    record.sign(&credentials.keys).unwrap()
}

/// Four honest nodes and a member with valid keys and a transport of its own.
struct Stage {
    sim: Sim,
    attacker: MemoryTransport,
    credentials: Arc<Credentials>,
    cluster_id: String,
}

const ATTACKER: usize = 9;

impl Stage {
    async fn new(chance: u64) -> Self {
        let sim = Sim::settled(4, chance).await;
        let credentials = sim.credentials();
        let attacker = sim.network.join(address(ATTACKER), peer(&credentials));
        let cluster_id = crypto::id::id_to_text(credentials.cluster_tag.0);
        Self { sim, attacker, credentials, cluster_id }
    }

    fn victim(&self) -> ChitchatId {
        id(self.sim.id(1), 1, address(1))
    }

    fn send_to_all(&mut self, message: &[u8]) {
        for place in 0..4 {
            self.attacker.send(address(place), Kind::Gossip, message.to_vec());
        }
    }

    /// Everybody still sees everybody, as it was, and gossip still works.
    async fn unharmed(&mut self, what: &str) {
        for observer in 0..4 {
            let view = self.sim.view(observer);
            for subject in 0..4 {
                let member = &view.members[&self.sim.id(subject)];
                assert_eq!(member.liveness, Liveness::Alive, "{what}: {observer} on {subject}");
                assert_eq!(*member.payload, payload(), "{what}: {observer} on {subject}");
                assert_eq!(member.address, address(subject), "{what}");
            }
            assert!(view.members.len() <= 5, "{what}: no ghosts");
            assert!(view.n_known_ids <= 5, "{what}: {} ids", view.n_known_ids);
        }
        let who = self.sim.id(2);
        let said = Payload { raft_id: 5, ..payload() };
        self.sim.nodes[2].membership.update(said).await.unwrap();
        self.sim
            .until(what, 5, |sim| (0..4).all(|n| sim.view(n).members[&who].payload.raft_id == 5))
            .await;
        self.sim.nodes[2].membership.update(payload()).await.unwrap();
        self.sim.pass(SECOND * 3).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_of_the_far_future_kills_nobody() {
    let mut stage = Stage::new(21).await;
    let entries = [(stage.victim(), u64::MAX, 1)];
    let forged = Forge::message(0).digest(&entries).text(&stage.cluster_id).well_formed();
    stage.send_to_all(&forged);
    assert_eq!(stage.sim.false_suspicions(SECOND * 20).await, 0);
    stage.unharmed("heartbeat").await;
    // Nor when it is told again and again.
    for _ in 0..40 {
        stage.send_to_all(&forged);
        assert_eq!(stage.sim.false_suspicions(SECOND / 2).await, 0);
    }
    stage.unharmed("heartbeats").await;
    // And a liar can keep the dead in view, but only while it lies and only for gossip.
    stage.sim.kill(1).await;
    stage.sim.pass(SECOND * 6).await;
    assert!(crate::sim::is_suspect(stage.sim.sees(0, 1)));
}

#[tokio::test(start_paused = true)]
async fn nobody_speaks_for_another() {
    let mut stage = Stage::new(22).await;
    let victim = stage.victim();
    let entries = [(victim.clone(), 1_000, 9)];
    let manager = Payload { raft_id: 666, ..payload() };
    let by_attacker = record(&stage.credentials, 1, 9, manager.clone());
    let mut operations = Vec::new();
    let texts =
        [("role", "manager"), ("pubkey", "ATTACKER"), ("r", "manager"), ("r", &by_attacker)];
    for (key, value) in texts {
        let mut operation = node_operation(&victim, 0, 0);
        operation.extend(value_operation(key, value, 9, 0));
        stage.send_to_all(&Forge::message(2).delta(&operation).well_formed());
        stage.send_to_all(&Forge::message(1).digest(&entries).delta(&operation).well_formed());
        operations = operation;
    }
    // Its own record, but in another's place, or with a version it did not sign.
    let own = record(&stage.credentials, ATTACKER, 1, manager);
    let own_id = id(stage.credentials.node(), 1, address(ATTACKER));
    for (under, version) in [(&victim, 9), (&own_id, u64::MAX)] {
        let mut operation = node_operation(under, 0, 0);
        operation.extend(value_operation("r", &own, version, 0));
        stage.send_to_all(&Forge::message(2).delta(&operation).well_formed());
    }
    assert!(!operations.is_empty());
    stage.unharmed("other nodes' values").await;
}

#[tokio::test(start_paused = true)]
async fn an_ack_of_77_bytes_crashes_nobody() {
    let mut stage = Stage::new(23).await;
    let victim = stage.victim();
    let value = "x";
    let deltas = [
        // `assert!(node_delta.max_version >= self.max_version)`
        [
            node_operation(&victim, 0, 0),
            value_operation("k", value, 99, 0),
            max_version_operation(5),
        ]
        .concat(),
        [node_operation(&victim, 0, 0), max_version_operation(u64::MAX)].concat(),
        [node_operation(&victim, u64::MAX, 0), value_operation("r", value, 1, 0)].concat(),
        [node_operation(&victim, 0, 0), value_operation("r", "", 99, 1)].concat(),
        [node_operation(&victim, 0, 0), value_operation("r", value, 99, 2)].concat(),
    ];
    for delta in deltas {
        stage.send_to_all(&Forge::message(2).delta(&delta).well_formed());
        stage.sim.pass(SECOND).await;
    }
    stage.unharmed("assertions").await;
}

#[tokio::test(start_paused = true)]
async fn ghosts_do_not_fill_the_digest() {
    let mut stage = Stage::new(24).await;
    let mut ghosts: Vec<ChitchatId> = (0..1_803_u128)
        .map(|n| NodeId::from_bytes((n << 96 | n).to_be_bytes()))
        .map(|ghost| id(ghost, 1, address(ATTACKER)))
        .collect();
    // Lives of the attacker itself and of a victim are ghosts too.
    for generation in 2..300 {
        ghosts.push(id(stage.credentials.node(), generation, address(ATTACKER)));
        ghosts.push(id(stage.sim.id(1), generation, address(1)));
    }
    ghosts.sort();
    ghosts.dedup();
    for some in ghosts.chunks(451) {
        let entries: Vec<_> = some.iter().map(|ghost| (ghost.clone(), 5, 1)).collect();
        let forged = Forge::message(0).digest(&entries).text(&stage.cluster_id).well_formed();
        assert!(forged.len() < 65_507);
        for _ in 0..3 {
            stage.send_to_all(&forged);
            stage.sim.pass(SECOND / 4).await;
        }
    }
    let all: Vec<_> = ghosts.iter().map(|ghost| (ghost.clone(), 5, 1)).collect();
    stage.send_to_all(&Forge::message(0).digest(&all).text(&stage.cluster_id).well_formed());
    stage.sim.pass(SECOND * 5).await;
    stage.unharmed("ghosts").await;
}

#[tokio::test(start_paused = true)]
async fn strangers_clusters_and_noise_are_not_answered() {
    let mut stage = Stage::new(25).await;
    let wrong = Forge::message(0).digest(&[]).text("another cluster").well_formed();
    stage.send_to_all(&wrong);
    stage.send_to_all(&Forge::message(3).well_formed());
    for length in 0..200 {
        let noise: Vec<u8> = (0..length).map(|n| (n * 7 + length) as u8).collect();
        stage.send_to_all(&noise);
        // Below the rate at which they would not even be read.
        stage.sim.pass(SECOND / 40).await;
    }
    let answer = tokio::time::timeout(SECOND / 4, stage.attacker.receive());
    assert!(answer.await.is_err(), "nobody answered");
    stage.unharmed("noise").await;
}
