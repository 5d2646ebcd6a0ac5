//! Connections into a container's network namespace.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::thread;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::os::fd::AsFd;
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use crate::pid::ProcessName;

/// A server on the same machine answers at once, or its queue is full.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Connects to 127.0.0.1 in the namespace of `shim`, which its container shares.
pub(crate) async fn connect(shim: ProcessName, port: u16) -> io::Result<TcpStream> {
    let namespace = File::open(format!("/proc/{}/ns/net", shim.pid))?;
    if !shim.is_alive() {
        // The number may be somebody else's by now, and so the namespace.
        return Err(io::ErrorKind::NotFound.into());
    }
    connect_in(namespace, port).await
}

/// Connects to 127.0.0.1 in a network namespace.
///
/// A socket belongs for ever to the namespace that its thread was in, so a thread goes
/// there, connects, and ends: it is never used for anything else.
pub(crate) async fn connect_in(namespace: File, port: u16) -> io::Result<TcpStream> {
    let (sender, receiver) = oneshot::channel();
    thread::Builder::new().name("connect".to_owned()).spawn(move || {
        // A caller that went away does not need the answer.
        let _ = sender.send(connect_inside(&namespace, port));
    })?;
    let stream = receiver.await.map_err(io::Error::other)??;
    stream.set_nonblocking(true)?;
    TcpStream::from_std(stream)
}

fn connect_inside(namespace: &File, port: u16) -> io::Result<std::net::TcpStream> {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    std::net::TcpStream::connect_timeout(&address, CONNECT_TIMEOUT)
}
