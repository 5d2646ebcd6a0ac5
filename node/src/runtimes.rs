//! Which runtime runs the containers of this node: chosen once, then opened.
//!
//! `auto` asks whether a Docker Engine answers, on the first start only. From then on the node
//! keeps what it chose: its containers are there, whether the engine is up by now or not.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use runtime::{DockerConfig, DockerRuntime, Embedded, EmbeddedConfig, ProcessRuntime, Runtime};
use tracing::{info, warn};

use crate::config::{Config, RuntimeChoice};
use crate::datadir::DataDir;
use crate::error::NodeError;

/// In the data directory: the word of the runtime that ran last.
const RECORD: &str = "runtime.choice";

/// In the data directory: what names it.
const MACHINE: &str = "machine";

/// The runtime, and what must run for it to work.
pub(crate) type Opened = (Arc<dyn Runtime>, Pin<Box<dyn Future<Output = ()> + Send>>);

/// Puts a runtime in the place of `auto`. Asks the engine, so it is called before there are
/// threads: who ends up with the embedded runtime may need a user namespace first.
#[must_use]
pub fn settle(config: Config) -> Config {
    let RuntimeChoice::Auto = config.runtime else { return config };
    let before = recorded(&config.data_dir);
    let (runtime, runtime_why) = match before {
        Some(before) => choose(Some(before), Ok(())),
        None => choose(None, runtime::docker_answers(&config.docker)),
    };
    Config { runtime, runtime_why, ..config }
}

/// The whole choice: what ran before, or else what there is.
fn choose(before: Option<RuntimeChoice>, engine: Result<(), String>) -> (RuntimeChoice, String) {
    match (before, engine) {
        (Some(before), _) => (before, "it ran here before".to_owned()),
        (None, Ok(())) => (RuntimeChoice::Docker, "Docker Engine answers".to_owned()),
        (None, Err(why)) => (RuntimeChoice::Embedded, format!("no Docker Engine answers: {why}")),
    }
}

/// What ran last, if it is something that has containers.
fn recorded(data_dir: &Path) -> Option<RuntimeChoice> {
    let word = std::fs::read_to_string(data_dir.join(RECORD)).ok()?;
    match RuntimeChoice::from_word(word.trim()) {
        Some(RuntimeChoice::Auto) | None => None,
        known => known,
    }
}

/// Opens the runtime, and remembers it for the next start.
pub(crate) async fn open(config: &Config, data: &DataDir) -> Result<Opened, NodeError> {
    let choice = config.runtime;
    let before = recorded(data.path());
    if let Some(before) = before.filter(|before| *before != choice) {
        let (before, now) = (before.word(), choice.word());
        warn!(before, now, "another runtime ran here; what it left running is not looked after");
    }
    let opened = open_one(config, data, before == Some(choice)).await?;
    info!(runtime = choice.word(), why = config.runtime_why, "runtime is open");
    if before != Some(choice) {
        std::fs::write(data.join(RECORD), choice.word())
            .map_err(|source| NodeError::System { what: "cannot remember the runtime", source })?;
    }
    Ok(opened)
}

async fn open_one(config: &Config, data: &DataDir, ran_before: bool) -> Result<Opened, NodeError> {
    match config.runtime {
        RuntimeChoice::Fake => {
            let (fake, _) = runtime::fake::Fake::new(runtime::fake::FakeBehaviour::default());
            Ok((Arc::new(fake), Box::pin(std::future::pending())))
        }
        RuntimeChoice::Docker => {
            let socket = config.docker.clone();
            let machine = machine_id(data)?;
            let run_dir = config.run_dir.clone();
            let wanted = DockerConfig { socket, machine, run_dir, may_wait: ran_before };
            let (opened, running) =
                DockerRuntime::open(wanted).await.map_err(NodeError::Runtime)?;
            Ok((Arc::new(opened), Box::pin(running)))
        }
        // `settle` was not called: what needs nothing else.
        RuntimeChoice::Embedded | RuntimeChoice::Auto => {
            let (opened, running) =
                Embedded::open(supervised(config, data)).map_err(NodeError::Runtime)?;
            Ok((Arc::new(opened), Box::pin(running)))
        }
        RuntimeChoice::Process => {
            let (opened, running) =
                ProcessRuntime::open(supervised(config, data)).map_err(NodeError::Runtime)?;
            Ok((Arc::new(opened), Box::pin(running)))
        }
    }
}

/// Names this data directory on an engine that several may share. A node gets a new id when it
/// leaves one cluster for another; its containers stay those of this machine.
fn machine_id(data: &DataDir) -> Result<String, NodeError> {
    if let Some(id) = data.read(MACHINE)?.and_then(|bytes| String::from_utf8(bytes).ok()) {
        return Ok(id);
    }
    let id = format!("{:032x}", rand::random::<u128>());
    data.write(MACHINE, id.as_bytes())?;
    Ok(id)
}

fn supervised(config: &Config, data: &DataDir) -> EmbeddedConfig {
    EmbeddedConfig {
        data_dir: data.join("runtime"),
        run_dir: config.run_dir.clone(),
        program: PathBuf::from("/proc/self/exe"),
        rootless: config.rootless,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_keeps_what_it_chose_first() {
        use RuntimeChoice::{Docker, Embedded};
        let away = || Err("nobody".to_owned());
        for (before, engine, expected) in [
            (None, Ok(()), Docker),
            (None, away(), Embedded),
            (Some(Embedded), Ok(()), Embedded),
            (Some(Docker), away(), Docker),
        ] {
            assert_eq!(choose(before, engine).0, expected, "{before:?}");
        }
    }

    #[test]
    fn a_record_is_a_word_or_it_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(recorded(dir.path()), None);
        for (word, expected) in [
            ("docker\n", Some(RuntimeChoice::Docker)),
            ("embedded", Some(RuntimeChoice::Embedded)),
            ("auto", None),
            ("", None),
        ] {
            std::fs::write(dir.path().join(RECORD), word).unwrap();
            assert_eq!(recorded(dir.path()), expected, "{word}");
        }
    }
}
