//! The Docker Engine of this machine, where it runs the tasks.

use std::path::PathBuf;

/// A Docker Engine: what concerns containers, images and the like goes there unchanged.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Engine {
    /// Its socket.
    pub socket: PathBuf,
    /// Newest API version that it speaks.
    pub api_version: (u16, u16),
}

/// Where the requests go that we do not answer.
pub trait Engines: Send + Sync {
    /// The Docker Engine behind this node, if it runs the tasks.
    fn engine(&self) -> Option<Engine> {
        None
    }
}
