//! Connections to a container's port.

use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::embedded::connect::connect_in;

/// A server on the same machine answers at once, or its queue is full.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Connects to 127.0.0.1 in the container's network namespace. Where the engine's process
/// ids mean nothing to us, because it or we are in a container ourselves, to the container's
/// address.
pub(crate) async fn connect(
    id: &str,
    pid: i64,
    addresses: &[IpAddr],
    port: u16,
) -> io::Result<TcpStream> {
    if let Some(namespace) = namespace(id, pid) {
        return connect_in(namespace, port).await;
    }
    let Some(address) = addresses.first() else {
        let why = "its process is not on this machine, and it has no address on Docker's bridge";
        return Err(io::Error::new(io::ErrorKind::NotFound, why));
    };
    let connecting = TcpStream::connect(SocketAddr::new(*address, port));
    timeout(CONNECT_TIMEOUT, connecting)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// The network namespace of a container's process; `None` if that number is another process.
fn namespace(id: &str, pid: i64) -> Option<File> {
    if pid <= 0 {
        return None;
    }
    let namespace = File::open(format!("/proc/{pid}/ns/net")).ok()?;
    // After opening: a number that is somebody else's by now is in another control group.
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    groups.contains(id).then_some(namespace)
}
