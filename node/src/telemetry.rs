//! Where log lines go, and the words they are made of.
//!
//! Human on a terminal, JSON otherwise, always to stderr. A span is where, an
//! event is what happened, fields are which.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::prelude::*;

/// Names of fields that say which, the same everywhere. A test of the repository holds
/// every name with a dot to this list; the others are the usual words.
pub const FIELDS: &[&str] = &[
    "cluster.id",
    "node.id",
    "task.id",
    "service.name",
    "peer.id",
    "peer.addr",
    "raft.id",
    "raft.term",
    "raft.index",
    "error",
    "retry_in",
    "grace",
    "waited",
    "why",
];

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Format {
    /// By where stderr goes.
    #[default]
    Auto,
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// Starts logging. `SKEP_LOG` chooses what is said, as in `info,membership=debug`.
///
/// sled and openraft speak in their own words; only their warnings are passed on.
pub fn start(format: Format) {
    let filter = EnvFilter::try_from_env("SKEP_LOG")
        .unwrap_or_else(|_| EnvFilter::new("info,openraft=error,sled=warn,chitchat=warn,h2=warn"));
    let json = match format {
        Format::Auto => !std::io::stderr().is_terminal(),
        Format::Text => false,
        Format::Json => true,
    };
    let registry = tracing_subscriber::registry().with(filter);
    // A second start, as in a test with two nodes, keeps the first subscriber.
    let _ = if json {
        let layer = fmt::layer().json().flatten_event(true).with_writer(std::io::stderr);
        registry.with(layer).try_init()
    } else {
        let layer = fmt::layer().with_target(false).with_writer(std::io::stderr);
        registry.with(layer).try_init()
    };
}
