//! The API of a node: Docker's wire types and routes over a [`cluster::Cluster`], and a client.
//!
//! Knows no other crate of ours: what is behind the API is the node's business.
//!
//! - [`wire`]: the JSON.
//! - [`cluster`]: what the server needs of a node.
//! - [`filters`], [`lookup`]: rules that lists and references follow.

#![deny(missing_docs)]

mod carry;
pub mod client;
pub mod cluster;
pub mod filters;
mod header;
pub mod lookup;
pub mod request_id;
pub mod server;
pub mod wire;
