//! The userspace proxy: listens on published ports and carries TCP to tasks.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use model::service::Protocol;
use socket2::{Domain, Socket, TcpKeepalive, Type};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy_bidirectional_with_sizes};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::balance::Rotation;
use crate::diff::{Step, diff};
use crate::wanted::{Backend, Backends, PublishedPort, Wanted};

/// Connections waiting in the kernel: the usual limit of Linux (`somaxconn`).
const BACKLOG: i32 = 4096;

/// Connections of one port at the same time: two file descriptors each, and a
/// daemon has 65,536 of them for a handful of busy ports.
const CONNECTIONS_MAX: usize = 8192;

/// One attempt to reach a backend. Three lost SYNs are over this; the next
/// backend is the better choice.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// One direction of one connection; what `splice` in HAProxy moves at a time.
const BUFFER_BYTES: usize = 16 * 1024;

/// A port held by somebody else is tried again: it may become free.
const REOPEN: Duration = Duration::from_secs(2);

/// Dead clients are noticed after about two minutes, as HAProxy's users set it.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// Both halves of a byte stream to a task.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// A connection to a task, local or through a tunnel.
pub type BoxedStream = Box<dyn ByteStream>;

/// Reaches tasks. The node implements it; so does a test.
#[async_trait]
pub trait Connect: Debug + Send + Sync {
    /// Opens a byte stream to the port of a task.
    ///
    /// # Errors
    ///
    /// Whatever kept it from the task; another backend is tried then.
    async fn connect(&self, backend: Backend) -> io::Result<BoxedStream>;
}

/// Settings of the proxy.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Address to publish on; `None` means every address of the node, IPv4 and IPv6.
    pub address: Option<IpAddr>,
    /// How long connections may go on when the daemon stops.
    pub drain: Duration,
}

/// Ports that should answer and do not, with the reason.
pub type Problems = BTreeMap<PublishedPort, String>;

/// Handle of the proxy.
#[derive(Clone, Debug)]
pub struct Proxy {
    problems: watch::Receiver<Arc<Problems>>,
}

impl Proxy {
    /// Builds the handle and the future that must be run for it to work.
    pub fn new(
        config: Config,
        wanted: watch::Receiver<Arc<Wanted>>,
        connect: Arc<dyn Connect>,
        stop: CancellationToken,
    ) -> (Self, impl Future<Output = ()>) {
        let (published, problems) = watch::channel(Arc::default());
        let owner = Owner {
            config,
            wanted,
            connect,
            stop,
            open: BTreeMap::new(),
            problems: published,
            listeners: JoinSet::new(),
        };
        (Self { problems }, owner.run())
    }

    /// Ports that should answer and do not.
    #[must_use]
    pub fn problems(&self) -> watch::Receiver<Arc<Problems>> {
        self.problems.clone()
    }
}

/// Owns the listeners.
struct Owner {
    config: Config,
    wanted: watch::Receiver<Arc<Wanted>>,
    connect: Arc<dyn Connect>,
    stop: CancellationToken,
    /// Listening ports, each with its end and its backends.
    open: BTreeMap<PublishedPort, CancellationToken>,
    problems: watch::Sender<Arc<Problems>>,
    listeners: JoinSet<PublishedPort>,
}

impl Owner {
    async fn run(mut self) {
        loop {
            let failed = self.reconcile();
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                changed = self.wanted.changed() => if changed.is_err() { break },
                Some(ended) = self.listeners.join_next() => {
                    if let Ok(port) = ended {
                        self.open.remove(&port);
                    }
                }
                () = sleep(REOPEN), if failed => {}
            }
        }
        for end in self.open.values() {
            end.cancel();
        }
        // The listeners drain by themselves within `config.drain`.
        while self.listeners.join_next().await.is_some() {}
    }

    /// Takes the steps; says whether a port could not be opened.
    fn reconcile(&mut self) -> bool {
        let wanted = Arc::clone(&self.wanted.borrow_and_update());
        let open: BTreeSet<_> = self.open.keys().copied().collect();
        let mut problems = Problems::new();
        for step in diff(&wanted, &open) {
            match step {
                Step::Close(port) => {
                    if let Some(end) = self.open.remove(&port) {
                        info!(port = port.port, "published port closed");
                        end.cancel();
                    }
                }
                Step::Open(port) => {
                    if let Err(error) = self.open(port) {
                        problems.insert(port, cure(&error, port.port));
                    }
                }
            }
        }
        let failed = problems.keys().any(|port| port.protocol == Protocol::Tcp);
        self.problems.send_if_modified(|seen| {
            let news = **seen != problems;
            for (port, error) in problems.iter().filter(|(port, _)| !seen.contains_key(port)) {
                warn!(port = port.port, error, "published port did not open");
            }
            *seen = Arc::new(problems);
            news
        });
        failed
    }

    fn open(&mut self, port: PublishedPort) -> io::Result<()> {
        if port.protocol != Protocol::Tcp {
            let text = "only TCP is published without a kernel data plane";
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
        let sockets = listen(self.config.address, port.port)?;
        let end = self.stop.child_token();
        info!(port = port.port, "published port opened");
        let listener = Listener {
            port,
            wanted: self.wanted.clone(),
            connect: Arc::clone(&self.connect),
            end: end.clone(),
            drain: self.config.drain,
        };
        self.open.insert(port, end);
        self.listeners.spawn(listener.run(sockets));
        Ok(())
    }
}

/// Listens on one address, or on all of IPv4 and, where the node has it, IPv6.
fn listen(address: Option<IpAddr>, port: u16) -> io::Result<Vec<TcpListener>> {
    if let Some(address) = address {
        return Ok(vec![listen_on(SocketAddr::new(address, port))?]);
    }
    let mut sockets = vec![listen_on((Ipv4Addr::UNSPECIFIED, port).into())?];
    match listen_on((Ipv6Addr::UNSPECIFIED, port).into()) {
        Ok(socket) => sockets.push(socket),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
        Err(error) => debug!(port, %error, "no IPv6 on this node"),
    }
    Ok(sockets)
}

fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// One published port.
struct Listener {
    port: PublishedPort,
    wanted: watch::Receiver<Arc<Wanted>>,
    connect: Arc<dyn Connect>,
    end: CancellationToken,
    drain: Duration,
}

impl Listener {
    async fn run(self, sockets: Vec<TcpListener>) -> PublishedPort {
        let limit = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = JoinSet::new();
        let mut rotation = Rotation::default();
        loop {
            let Ok(permit) = Arc::clone(&limit).acquire_owned().await else { break };
            let client = tokio::select! {
                biased;
                () = self.end.cancelled() => break,
                Some(_) = connections.join_next() => continue,
                client = accept(&sockets) => client,
            };
            let client = match client {
                Ok(client) => client,
                Err(error) => {
                    // Out of file descriptors, or a client that left: neither ends the port.
                    debug!(port = self.port.port, %error, "accept failed");
                    sleep(Duration::from_millis(10)).await;
                    continue;
                }
            };
            let order = rotation.order(&self.backends());
            let connect = Arc::clone(&self.connect);
            connections.spawn(async move {
                carry(client, order, connect).await;
                drop(permit);
            });
        }
        drop(sockets);
        let drained =
            timeout(self.drain, async { while connections.join_next().await.is_some() {} });
        if drained.await.is_err() {
            debug!(port = self.port.port, left = connections.len(), "connections cut");
        }
        self.port
    }

    fn backends(&self) -> Backends {
        self.wanted.borrow().get(&self.port).cloned().unwrap_or_default()
    }
}

/// The next client of one or two sockets.
async fn accept(sockets: &[TcpListener]) -> io::Result<TcpStream> {
    let accepted = match sockets {
        [v4, v6] => tokio::select! {
            accepted = v4.accept() => accepted,
            accepted = v6.accept() => accepted,
        },
        [one] => one.accept().await,
        _ => return Err(io::Error::other("a published port has one or two sockets")),
    };
    let (client, _) = accepted?;
    client.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE);
    socket2::SockRef::from(&client).set_tcp_keepalive(&keepalive)?;
    Ok(client)
}

/// Carries one connection to the first backend that answers.
async fn carry(mut client: TcpStream, order: Vec<Backend>, connect: Arc<dyn Connect>) {
    for backend in order {
        match timeout(CONNECT_TIMEOUT, connect.connect(backend)).await {
            Ok(Ok(mut task)) => {
                // Either side may go away at any time; that is how connections end.
                let _ = copy_bidirectional_with_sizes(
                    &mut client,
                    &mut task,
                    BUFFER_BYTES,
                    BUFFER_BYTES,
                )
                .await;
                return;
            }
            Ok(Err(error)) => debug!(task.id = %backend.task, %error, "backend refused"),
            Err(_) => debug!(task.id = %backend.task, "backend did not answer"),
        }
    }
    // No backend: closing is the answer, and the client may already be gone.
    let _ = client.shutdown().await;
}

/// Why a port did not open, and what somebody can do about it.
fn cure(error: &io::Error, port: u16) -> String {
    if error.kind() == io::ErrorKind::AddrInUse {
        return format!(
            "another program has it (`ss -ltnp 'sport = :{port}'` shows which): stop that, or \
             publish another port"
        );
    }
    if error.kind() == io::ErrorKind::PermissionDenied {
        return format!(
            "only root may open it: publish a port from 1024 on, or run `sudo sysctl -w \
             net.ipv4.ip_unprivileged_port_start={port}`"
        );
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use crypto::NodeId;
    use model::TaskId;
    use tokio::io::AsyncReadExt;

    use super::*;

    const ME: NodeId = NodeId::from_bytes([1; 16]);

    /// Task 0 refuses; every other task answers with its number.
    #[derive(Debug)]
    struct Numbers;

    #[async_trait]
    impl Connect for Numbers {
        async fn connect(&self, backend: Backend) -> io::Result<BoxedStream> {
            let number = backend.task.as_bytes()[0];
            if number == 0 {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let (ours, mut theirs) = tokio::io::duplex(64);
            theirs.write_all(&[number]).await?;
            Ok(Box::new(ours))
        }
    }

    fn backend(number: u8) -> Backend {
        Backend { task: TaskId::from_bytes([number; 16]), node: ME, target_port: 80 }
    }

    /// A port that was free a moment ago.
    async fn free_port() -> u16 {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        socket.local_addr().unwrap().port()
    }

    async fn ask(port: u16) -> Option<u8> {
        for _ in 0..200 {
            if let Ok(mut client) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
                let mut answer = Vec::new();
                client.read_to_end(&mut answer).await.ok()?;
                return answer.first().copied();
            }
            sleep(Duration::from_millis(10)).await;
        }
        None
    }

    #[tokio::test]
    async fn answers_takes_turns_and_tries_the_next_when_one_refuses() {
        let number = free_port().await;
        let port = PublishedPort { protocol: Protocol::Tcp, port: number };
        let backends = Backends { local: vec![], remote: [0, 1, 2].map(backend).to_vec() };
        let (wish, wanted) = watch::channel(Arc::new(Wanted::from([(port, backends)])));
        let stop = CancellationToken::new();
        let config =
            Config { address: Some(Ipv4Addr::LOCALHOST.into()), drain: Duration::from_millis(100) };
        let (proxy, run) = Proxy::new(config, wanted, Arc::new(Numbers), stop.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(run);
        let answers = [ask(number).await, ask(number).await, ask(number).await];
        assert_eq!(answers, [Some(1), Some(1), Some(2)]);

        let udp = PublishedPort { protocol: Protocol::Udp, port: number };
        wish.send_replace(Arc::new(Wanted::from([(udp, Backends::default())])));
        let mut problems = proxy.problems();
        problems.wait_for(|problems| problems.contains_key(&udp)).await.unwrap();
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, number)).await.is_err());
        stop.cancel();
        tasks.join_next().await.unwrap().unwrap();
    }
}
