//! Between the nouns of the store and the JSON of the API. Pure, both ways.
//!
//! What the model has no place for is refused, never dropped: a container must not
//! run with less than its user asked for.

mod cluster;
mod files;
mod network;
pub(crate) mod read;
mod show;
mod show_spec;
pub(crate) mod words;

pub(crate) use cluster::{cluster, trust};
pub(crate) use files::{config, secret};
pub(crate) use network::{network, network_spec};
pub(crate) use read::{node_spec, service_spec};
pub(crate) use show::{RaftView, node, service, task};

#[cfg(test)]
mod tests;
