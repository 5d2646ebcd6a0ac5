//! Bytes that were written once can be read for ever.
//!
//! A line that changes means that no older log or snapshot can be read: give the changed kind a
//! new version instead. `UPDATE_EXPECT=1` writes new lines.

use std::fmt::Write;

use expect_test::expect_file;
use model::service::PublishMode;
use model::{
    Command, ConfigId, Decision, Entry, NetworkId, NodeState, RequestId, SecretId, State,
    StateBuilder, TaskState, TokenId, UpdateTo,
};

use crate::fixtures::*;

/// Each command once, so that each variant has its line.
fn world() -> World {
    let (mut world, service, task) = World::running();
    let labels = || [("a".to_owned(), "b".to_owned())].into();
    let web = published("web", vec![port(8080, PublishMode::Ingress)]);
    let version = world.state.service(service).unwrap().spec_version;
    let to = UpdateTo::Spec(Box::new(web));
    world.ok(Command::UpdateService { id: service, version, to });
    world.apply_as(Some(RequestId([5; 16])), Command::RaisePskEpoch).unwrap();
    world.ok(Command::Admit(admission(4)));
    world.ok(node_state(4, NodeState::Down));
    let node = world.state.node(node_id(4)).unwrap();
    let (version, spec) = (node.spec_version, node.spec.clone());
    world.ok(Command::UpdateNode { id: node_id(4), version, spec });
    world.ok(Command::RemoveNode { id: node_id(4), force: false });
    let cluster = world.state.cluster().unwrap();
    let (version, spec) = (cluster.spec_version, cluster.spec.clone());
    world.ok(Command::UpdateCluster { version, spec });
    world.ok(Command::RevokeToken(TokenId::from_bytes([6; 16])));
    for seed in 1..=2 {
        let spec = model::NetworkSpec { name: format!("n{seed}"), ..Default::default() };
        world.ok(Command::CreateNetwork { id: NetworkId::from_bytes([seed; 16]), spec });
        let (name, sealed) = (format!("f{seed}"), vec![seed; 3]);
        let id = SecretId::from_bytes([seed; 16]);
        world.ok(Command::CreateSecret {
            id,
            name: name.clone(),
            labels: labels(),
            sealed: sealed.clone(),
        });
        let id = ConfigId::from_bytes([seed; 16]);
        world.ok(Command::CreateConfig { id, name, labels: labels(), sealed });
    }
    world.ok(Command::RemoveNetwork(NetworkId::from_bytes([2; 16])));
    world.ok(Command::RemoveSecret(SecretId::from_bytes([2; 16])));
    world.ok(Command::RemoveConfig(ConfigId::from_bytes([2; 16])));
    let waiting = world.new_task(service, 2);
    let reason = Decision::Wait {
        task: waiting.id,
        state: TaskState::Pending,
        message: "pending task scheduling".to_owned(),
        reason: "no suitable node".to_owned(),
    };
    let desire = Decision::Desire { task, desired: TaskState::Shutdown };
    world.plan(vec![create(waiting), reason, desire]).unwrap();
    world.ok(Command::CreateService { id: service_id(2), spec: crate::fixtures::spec("gone") });
    world.ok(Command::RemoveService { id: service_id(2) });
    let id = SecretId::from_bytes([1; 16]);
    let version = world.state.secret(id).unwrap().spec_version;
    world.ok(Command::UpdateSecret { id, version, labels: labels() });
    let id = ConfigId::from_bytes([1; 16]);
    let version = world.state.config(id).unwrap().spec_version;
    world.ok(Command::UpdateConfig { id, version, labels: labels() });
    with_login(&mut world, "gone2");
    world.ok(Command::RemoveService { id: service_id(3) });
    world
}

/// Service 3, with a login that was written twice.
fn with_login(world: &mut World, name: &str) {
    let (id, spec) = (service_id(3), spec(name));
    let login = b"sealed".to_vec();
    world.ok(Command::CreateServiceWithLogin { id, spec: spec.clone(), login });
    let version = world.state.service(id).unwrap().spec_version;
    let (to, login) = (UpdateTo::Spec(Box::new(spec)), b"sealed again".to_vec());
    world.ok(Command::UpdateServiceWithLogin { id, version, to, login });
}

#[test]
fn logins_live_and_go_with_their_service() {
    let mut world = world();
    with_login(&mut world, "web3");
    assert_eq!(world.state.login(service_id(3)).unwrap().as_ref(), b"sealed again");
    let build = |chunks: &[Vec<u8>]| {
        let mut builder = StateBuilder::default();
        chunks.iter().try_for_each(|chunk| builder.push(chunk))?;
        builder.finish()
    };
    let mut chunks: Vec<Vec<u8>> = world.state.chunks().map(Result::unwrap).collect();
    assert_eq!(build(&chunks).unwrap(), world.state);
    chunks.pop();
    assert!(build(&chunks).is_err(), "a snapshot without its logins is not complete");
    world.ok(Command::RemoveService { id: service_id(3) });
    assert_eq!(world.state.login(service_id(3)), None);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

#[test]
fn entries_keep_their_bytes() {
    let world = world();
    let lines: String =
        world.entries.iter().map(|entry| hex(&entry.encode().unwrap()) + "\n").collect();
    expect_file!["../../golden/entries.hex"].assert_eq(&lines);
    for (line, entry) in lines.lines().zip(&world.entries) {
        assert_eq!(&Entry::decode(&unhex(line)).unwrap(), entry);
    }
}

#[test]
fn chunks_keep_their_bytes() {
    let state = world().state;
    let lines: String = state.chunks().map(|chunk| hex(&chunk.unwrap()) + "\n").collect();
    expect_file!["../../golden/chunks.hex"].assert_eq(&lines);
    let mut builder = StateBuilder::default();
    for line in lines.lines() {
        builder.push(&unhex(line)).unwrap();
    }
    assert_eq!(builder.finish().unwrap(), state);
}

#[test]
fn broken_snapshots_are_refused() {
    let chunks: Vec<Vec<u8>> = world().state.chunks().map(Result::unwrap).collect();
    let build = |chunks: &[Vec<u8>]| {
        let mut builder = StateBuilder::default();
        chunks.iter().try_for_each(|chunk| builder.push(chunk))?;
        builder.finish()
    };
    assert!(build(&chunks).is_ok());
    for missing in 0..chunks.len() {
        let mut chunks = chunks.clone();
        chunks.remove(missing);
        // The cluster object is the only one that is not counted: there is one, or none yet.
        assert!(build(&chunks).is_err() || missing == 1, "without chunk {missing}");
    }
    let mut twice = chunks.clone();
    twice.insert(0, chunks[0].clone());
    assert!(build(&twice).is_err());
    let mut newer = chunks;
    newer.push(vec![0xff, 0x02, 1, 0, 0]);
    assert!(build(&newer).unwrap_err().to_string().contains("does not know"));
    assert!(StateBuilder::default().finish().is_err());
    assert_ne!(State::default(), world().state);
}
