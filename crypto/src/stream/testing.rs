//! For tests, here and in the crates above: sessions in memory between generated identities.
//!
//! Nothing in the product uses this. It is not behind `cfg(test)` because other crates' tests
//! need it, too.

use std::future::Future;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, duplex};
use tokio_util::sync::CancellationToken;

use super::client::{OpenError, client};
use super::handshake::{HANDSHAKE_DEADLINE, StreamError, accept, dial};
use super::{Client, Limits, NoiseStream, Options, Router, serve};
use crate::certificate::Role;
use crate::credentials::{Credentials, GateKey};
use crate::identity::NodeKeys;
use crate::key::ClusterKey;
use crate::random::NoRandomness;
use crate::replay::{FirstMessages, SharedFirstMessages};
use crate::schedule::Authority;
use crate::token::Token;

/// Bytes that a pipe in memory holds, as a socket buffer would.
const PIPE_BYTES: usize = 64 << 10;

/// The epoch of every test cluster.
const EPOCH: u32 = 1;

/// A test could not be set up.
#[derive(Debug, Error)]
pub enum TestError {
    /// No random numbers.
    #[error("no keys")]
    Random(#[from] NoRandomness),
    /// No session.
    #[error("no session")]
    Stream(#[from] StreamError),
    /// No multiplexer.
    #[error("no client")]
    Open(#[from] OpenError),
}

/// A cluster key, and nodes made with it.
#[derive(Clone, Debug)]
pub struct TestCluster {
    authority: Arc<Authority>,
}

impl TestCluster {
    /// A cluster of its own.
    ///
    /// # Errors
    ///
    /// [`TestError::Random`].
    pub fn new() -> Result<Self, TestError> {
        Ok(Self { authority: Arc::new(Authority::from_key(&ClusterKey::generate()?)) })
    }

    /// A new eligible node of this cluster.
    ///
    /// # Errors
    ///
    /// [`TestError::Random`].
    pub fn eligible(&self) -> Result<Credentials, TestError> {
        let keys = Arc::new(NodeKeys::generate()?);
        let authority = Arc::clone(&self.authority);
        Ok(Credentials::for_key_holder(keys, authority, unix_seconds(), &[EPOCH]))
    }

    /// A new worker of this cluster.
    ///
    /// # Errors
    ///
    /// [`TestError::Random`].
    pub fn worker(&self) -> Result<Credentials, TestError> {
        let keys = Arc::new(NodeKeys::generate()?);
        let public = keys.public();
        let certificate =
            self.authority.issue(&public, Role::Worker, EPOCH, unix_seconds(), Some([1; 16]));
        let psks = vec![(EPOCH, self.authority.gossip_psk(EPOCH))];
        Ok(Credentials::for_member(keys, certificate, self.authority.ca(), psks))
    }

    /// A worker's token.
    #[must_use]
    pub fn token(&self) -> Token {
        self.authority.grant(Role::Worker, [1; 16], unix_seconds() + 60, 0)
    }

    /// The key of the members' gate.
    #[must_use]
    pub fn gate(&self) -> GateKey {
        let gate = crate::credentials::Gate::Psk { epoch: EPOCH };
        GateKey { gate, psk: self.authority.gossip_psk(EPOCH) }
    }
}

/// A session between two new eligible nodes of one cluster: who dialled, who accepted.
///
/// # Errors
///
/// [`TestError`].
pub async fn pair() -> Result<(NoiseStream<DuplexStream>, NoiseStream<DuplexStream>), TestError> {
    let cluster = TestCluster::new()?;
    let (near, far) = duplex(PIPE_BYTES);
    pair_over(near, far, &cluster.gate(), (&cluster.eligible()?, &cluster.eligible()?)).await
}

/// A session over the two ends of any pipe, between two nodes.
///
/// # Errors
///
/// [`TestError`].
pub async fn pair_over<A, B>(
    near: A,
    far: B,
    gate: &GateKey,
    (dialler, acceptor): (&Credentials, &Credentials),
) -> Result<(NoiseStream<A>, NoiseStream<B>), TestError>
where
    A: AsyncRead + AsyncWrite + Unpin + Send,
    B: AsyncRead + AsyncWrite + Unpin + Send,
{
    let memory = SharedFirstMessages::new(FirstMessages::new()?);
    let (near, far) = tokio::try_join!(
        dial(near, dialler, gate, b"near", HANDSHAKE_DEADLINE),
        accept(far, acceptor, &memory, b"far", HANDSHAKE_DEADLINE),
    )?;
    Ok((near, far))
}

/// A client of `router` between two new eligible nodes, and the future that runs both sides.
///
/// # Errors
///
/// [`TestError`].
pub async fn connect(
    router: Router,
) -> Result<(Client, impl Future<Output = ()> + Send + use<>), TestError> {
    let cluster = TestCluster::new()?;
    connect_as(router, &cluster.gate(), (&cluster.eligible()?, &cluster.eligible()?)).await
}

/// As [`connect`], between two given nodes: who calls, who answers.
///
/// # Errors
///
/// [`TestError`].
pub async fn connect_as(
    router: Router,
    gate: &GateKey,
    nodes: (&Credentials, &Credentials),
) -> Result<(Client, impl Future<Output = ()> + Send + use<>), TestError> {
    let (near, far) = duplex(PIPE_BYTES);
    let (near, far) = pair_over(near, far, gate, nodes).await?;
    let (client, driver) = client(near, Options::control()).await?;
    let server = serve(far, Arc::new(router), Limits::control(), CancellationToken::new());
    let both = async {
        tokio::join!(driver, server);
    };
    Ok((client, both))
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
