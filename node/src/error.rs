//! Why a node cannot start, or had to stop.

use std::net::SocketAddr;
use std::path::PathBuf;

use thiserror::Error;

use crate::datadir::DataDirError;
use crate::founding::FoundingError;
use crate::joining::JoinError;
use crate::place::PlaceError;
use crate::standing::StandingError;
use crate::supervisor::Stopped;

/// The node could not start, or had to stop.
#[derive(Debug, Error)]
pub enum NodeError {
    /// The data directory.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// Key, token, certificate.
    #[error(transparent)]
    Standing(#[from] StandingError),
    /// The control port.
    #[error(
        "cannot listen on {address}: {}",
        port_advice(source, *address)
    )]
    Port {
        /// Which.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The control port's UDP half.
    #[error(
        "cannot listen for gossip: is another program there? `ss -lnup` shows which; stop it, or \
         give another --advertise or --listen"
    )]
    Datagrams(#[source] membership::udp::BindError),
    /// The API socket.
    #[error("cannot serve the API on {}: {}", path.display(), socket_advice(source))]
    Socket {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The memory of first messages.
    #[error("cannot read {}", path.display())]
    FirstMessages {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Containers.
    #[error("cannot run containers")]
    Runtime(#[source] runtime::RuntimeError),
    /// The store.
    #[error("cannot open the store")]
    Store(#[from] store::OpenError),
    /// The seeds.
    #[error(transparent)]
    Founding(#[from] FoundingError),
    /// A token.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// The place that the API gave it.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// `--found` where there is something already.
    #[error(
        "data directory {} is of a cluster already: --found makes a new one; start without it, \
         with --seed, to go on, or give another --data-dir",
        path.display()
    )]
    FoundAgain {
        /// Which.
        path: PathBuf,
    },
    /// A task fell.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// The system refused something basic.
    #[error("{what}")]
    System {
        /// What.
        what: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

fn port_advice(source: &std::io::Error, address: SocketAddr) -> String {
    if source.kind() == std::io::ErrorKind::AddrInUse {
        return format!(
            "is another skep running there? `ss -ltnp 'sport = :{}'` shows who has it; stop it, \
             or give another --advertise or --listen",
            address.port()
        );
    }
    if source.kind() == std::io::ErrorKind::AddrNotAvailable {
        return "it is no address of this machine; give one with --listen IP:PORT".to_owned();
    }
    "give another --advertise or --listen".to_owned()
}

fn socket_advice(source: &std::io::Error) -> &'static str {
    if source.kind() == std::io::ErrorKind::AddrInUse {
        return "another daemon answers there; stop it, or give another one with -H unix:///path";
    }
    "give another one with -H unix:///path"
}

/// An error with its causes on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
