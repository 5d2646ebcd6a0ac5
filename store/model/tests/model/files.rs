//! Secrets and configs: what each command does with them and how it is refused.

use std::collections::BTreeMap;

use crypto::sealed::SEAL_BYTES;
use model::service::{ConfigReference, FileTarget, SecretReference};
use model::{
    Applied, Command, ConfigId, Entry, Refused, SecretId, ServiceSpec, StateBuilder, UnixNanos,
};

use crate::fixtures::*;

fn refusal(result: Result<Applied, Refused>) -> String {
    result.unwrap_err().to_string()
}

fn secret(seed: u8, name: &str, n_sealed: usize) -> Command {
    Command::CreateSecret {
        id: SecretId::from_bytes([seed; 16]),
        name: name.to_owned(),
        labels: BTreeMap::new(),
        sealed: vec![1; n_sealed],
    }
}

fn config(seed: u8, name: &str, n_sealed: usize) -> Command {
    Command::CreateConfig {
        id: ConfigId::from_bytes([seed; 16]),
        name: name.to_owned(),
        labels: BTreeMap::new(),
        sealed: vec![1; n_sealed],
    }
}

#[test]
fn files_are_named_once_and_have_dockers_limits() {
    let mut world = World::founded();
    for (command, text) in [
        (secret(1, "s1", 511_999 + SEAL_BYTES), ""),
        (secret(2, "s1", 1), "secret s1 already exists"),
        (secret(1, "s2", 1), "secret s2 already exists"),
        (secret(2, "S1", 1), "secret S1 already exists"),
        (secret(2, "s 1", 1), "invalid name, only 64 [a-zA-Z0-9-_.] characters"),
        (secret(2, "s1-", 1), "invalid name, only 64 [a-zA-Z0-9-_.] characters"),
        (secret(2, "", 1), "invalid name, only 64 [a-zA-Z0-9-_.] characters"),
        (secret(2, "s2", 0), "secret data must be larger than 0 and less than 512000 bytes"),
        (
            secret(2, "s2", 512_000 + SEAL_BYTES),
            "secret data must be larger than 0 and less than 512000 bytes",
        ),
        (config(1, "s1", 1_023_999 + SEAL_BYTES), ""),
        (config(2, "s1", 1), "config s1 already exists"),
        (config(2, "c2", 0), "config data must be larger than 0 and less than 1024000 bytes"),
        (
            config(2, "c2", 1_024_000 + SEAL_BYTES),
            "config data must be larger than 0 and less than 1024000 bytes",
        ),
    ] {
        let entry = Entry { request: None, now: UnixNanos(0), command: command.clone() };
        assert!(entry.encode().unwrap().len() <= Entry::BYTES_MAX, "it fits the log");
        let got =
            world.apply(command).map_or_else(|refused| refused.to_string(), |_| String::new());
        assert!(got.starts_with(text) && got.is_empty() == text.is_empty(), "{got}, not {text}");
    }
    let mut largest = StateBuilder::default();
    for chunk in world.state.chunks() {
        largest.push(&chunk.unwrap()).unwrap();
    }
    assert_eq!(largest.finish().unwrap(), world.state);
}

#[test]
fn only_labels_of_files_are_written_and_only_by_who_saw_the_last_ones() {
    let mut world = World::founded();
    let (secret_id, config_id) = (SecretId::from_bytes([1; 16]), ConfigId::from_bytes([1; 16]));
    let labels = || BTreeMap::from([("a".to_owned(), "b".to_owned())]);
    let first = world.ok(secret(1, "s1", 9)).index;
    let update = |version| Command::UpdateSecret { id: secret_id, version, labels: labels() };
    let second = world.ok(update(first)).index;
    assert_eq!(world.apply(update(first)), Err(Refused::OutOfSequence));
    let written = world.state.secret(secret_id).unwrap();
    assert_eq!((written.spec_version, &written.labels), (second, &labels()));
    assert_eq!((&written.sealed, written.created_at.0), (&vec![1; 9], first.0 * SECOND));
    assert_eq!(written.updated_at.0, second.0 * SECOND);
    world.ok(update(second));

    let first = world.ok(config(1, "c1", 9)).index;
    let update = |version| Command::UpdateConfig { id: config_id, version, labels: labels() };
    let second = world.ok(update(first)).index;
    assert_eq!(world.apply(update(first)), Err(Refused::OutOfSequence));
    let written = world.state.config(config_id).unwrap();
    assert_eq!((written.spec_version, &written.labels), (second, &labels()));
    world.ok(Command::RemoveConfig(config_id));
    assert!(refusal(world.apply(update(second))).ends_with("not found"));
}

fn file(name: &str) -> Option<FileTarget> {
    Some(FileTarget { name: name.to_owned(), ..FileTarget::default() })
}

#[test]
fn a_spec_names_files_that_are_there_under_that_name() {
    let mut world = World::founded();
    world.ok(secret(1, "s1", 9));
    world.ok(config(1, "c1", 9));
    let with = |secrets: &[(u8, &str)], configs: &[(u8, &str)]| {
        let mut user = spec("user");
        let secrets = secrets.iter().map(|(seed, name)| SecretReference {
            id: SecretId::from_bytes([*seed; 16]),
            name: (*name).to_owned(),
            file: file(name),
        });
        let configs = configs.iter().map(|(seed, name)| ConfigReference {
            id: ConfigId::from_bytes([*seed; 16]),
            name: (*name).to_owned(),
            file: file(name),
        });
        user.task.container.secrets = secrets.collect();
        user.task.container.configs = configs.collect();
        Command::CreateService { id: service_id(1), spec: user }
    };
    for (command, text) in [
        (with(&[(2, "s2")], &[]), "secret not found: s2"),
        (with(&[(1, "s2")], &[]), "secret not found: s2"),
        (with(&[(1, "s1"), (2, "s2"), (3, "s3")], &[]), "secrets not found: s2, s3"),
        (with(&[], &[(2, "c2")]), "config not found: c2"),
        (with(&[(1, "s1")], &[(2, "c2"), (1, "s1")]), "configs not found: c2, s1"),
    ] {
        assert_eq!(refusal(world.apply(command)), text);
    }
    world.ok(with(&[(1, "s1")], &[(1, "c1")]));
    let refused = refusal(world.apply(Command::RemoveConfig(ConfigId::from_bytes([1; 16]))));
    assert_eq!(refused, "config 'c1' is in use by the following service: user");
}

#[test]
fn what_is_in_use_stays() {
    let mut world = World::founded();
    let id = SecretId::from_bytes([1; 16]);
    world.ok(secret(1, "s1", 9));
    let mut user = spec("big");
    let reference = SecretReference { id, name: "s1".to_owned(), file: file("s1") };
    user.task.container.secrets.push(reference);
    world.ok(Command::CreateService { id: service_id(1), spec: user.clone() });
    let text = "secret 's1' is in use by the following service: big";
    assert_eq!(refusal(world.apply(Command::RemoveSecret(id))), text);
    let name = spec("big2").name;
    let second = ServiceSpec { name, ..user.clone() };
    world.ok(Command::CreateService { id: service_id(2), spec: second });
    let text = "secret 's1' is in use by the following services: big, big2";
    assert_eq!(refusal(world.apply(Command::RemoveSecret(id))), text);
    world.ok(Command::RemoveService { id: service_id(1) });
    world.ok(Command::RemoveService { id: service_id(2) });
    world.ok(Command::RemoveSecret(id));
    let create = Command::CreateService { id: service_id(3), spec: user };
    assert_eq!(refusal(world.apply(create)), "secret not found: s1");
}
