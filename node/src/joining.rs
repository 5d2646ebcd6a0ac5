//! Into a cluster with nothing but a token: both ends of `/join`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crypto::stream::{Code, Context, Status};
use crypto::{ClusterKey, Credentials, Role, Token};
use model::{Admission, TokenId};
use thiserror::Error;
use tokio::net::lookup_host;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::admission::{grant_of, own_admission};
use crate::datadir::DataDir;
use crate::dispatch::Dispatcher;
use crate::front::Notices;
use crate::leadership::Leadership;
use crate::messages::{ADMIT, AdmitAnswer, AdmitRequest, JOIN, JoinAnswer, JoinRequest};
use crate::peers::{Link, Peers};
use crate::standing::{self, Membership};

/// The seeds are tried again after this, for ever: machines come up in any order.
const RETRY: Duration = Duration::from_secs(2);

/// Dial, admission and commit.
const DEADLINE: Duration = Duration::from_secs(8);

/// Admission of somebody else by the leader.
const FORWARD: Duration = Duration::from_secs(4);

/// Addresses that a joiner is given; gossip brings the rest.
const CONTACTS_MAX: usize = 16;

/// Seeds that name many addresses are cut to this.
const ADDRESSES_MAX: usize = 16;

/// How a refusal begins: it passes the supervisor as text.
pub(crate) const REFUSED: &str = "the cluster refused this node";

/// A token did not help.
#[derive(Debug, Error)]
pub enum JoinError {
    /// The cluster refused for good.
    #[error("{REFUSED}: {0}")]
    Refused(String),
    /// What it sent makes no sense or cannot be kept.
    #[error("cannot join: {0}")]
    Broken(String),
    /// We were told to stop.
    #[error("stopped while joining")]
    Stopped,
}

/// What the joiner works with.
pub(crate) struct Joiner<'a> {
    pub(crate) peers: &'a Peers,
    pub(crate) seeds: &'a [String],
    pub(crate) token: &'a Token,
    pub(crate) credentials: &'a Credentials,
    pub(crate) incarnation: u64,
    pub(crate) description: &'a model::NodeDescription,
    pub(crate) availability: model::Availability,
    pub(crate) data: &'a DataDir,
    pub(crate) notices: &'a watch::Sender<Arc<Notices>>,
}

/// What joining brought.
pub(crate) struct Joined {
    pub(crate) credentials: Credentials,
    pub(crate) key: Option<Arc<ClusterKey>>,
    pub(crate) genesis: [u8; 16],
    pub(crate) contacts: Vec<SocketAddr>,
}

impl Joiner<'_> {
    /// Knocks at the seeds until one lets us in.
    pub(crate) async fn run(self, stop: &CancellationToken) -> Result<Joined, JoinError> {
        loop {
            self.check_age()?;
            let mut seen = Vec::new();
            for seed in self.seeds {
                match self.knock(seed).await {
                    Ok(answer) => return self.keep(answer),
                    Err(Knock::Final(why)) => return Err(JoinError::Refused(why)),
                    Err(Knock::Later(why)) => {
                        debug!(seed, why, "seed did not let us in");
                        seen.push(format!("{seed}: {why}"));
                    }
                }
            }
            let waiting = vec![format!(
                "joining with a token: {}; a seed is silent if the token is of another cluster, or \
                 a clock is wrong (ours: {})",
                seen.join(", "),
                moment(standing::unix_seconds())
            )];
            self.notices.send_modify(|notices| Arc::make_mut(notices).waiting = waiting);
            tokio::select! {
                () = stop.cancelled() => return Err(JoinError::Stopped),
                () = sleep(RETRY) => {}
            }
        }
    }

    /// A node with the key would say nothing to an old token.
    fn check_age(&self) -> Result<(), JoinError> {
        let (end, now) = (self.token.grant().terms().not_after, standing::unix_seconds());
        if now <= end {
            return Ok(());
        }
        Err(JoinError::Refused(format!(
            "its token ended at {}, and it is {} here: ask for a new one, `skep token` makes it",
            moment(end),
            moment(now)
        )))
    }

    async fn knock(&self, seed: &str) -> Result<JoinAnswer, Knock> {
        let addresses = lookup_host(seed).await.map_err(|error| Knock::Later(error.to_string()))?;
        let mut last = Knock::Later("its name has no address".to_owned());
        for address in addresses.take(ADDRESSES_MAX) {
            match self.ask(address).await {
                Ok(answer) => return Ok(answer),
                Err(Knock::Final(why)) => return Err(Knock::Final(why)),
                Err(later) => last = later,
            }
        }
        Err(last)
    }

    async fn ask(&self, address: SocketAddr) -> Result<JoinAnswer, Knock> {
        let gate = self.token.gate_key();
        let client = self.peers.dial_gate(address, Link::Control, gate).await;
        let client = client.map_err(|error| Knock::Later(error.brief()))?;
        let admission =
            own_admission(self.credentials, self.incarnation, self.description, self.availability);
        let answer = client.unary(JOIN, &JoinRequest { admission }, DEADLINE).await;
        answer.map_err(|error| match error.status() {
            Some(status) if matches!(status.code, Code::Denied | Code::Refused) => {
                Knock::Final(status.message.clone())
            }
            _ => Knock::Later(error.to_string()),
        })
    }

    fn keep(&self, answer: JoinAnswer) -> Result<Joined, JoinError> {
        let membership = Membership {
            ca: self.credentials.ca.0,
            certificate: answer.certificate,
            psks: answer.psks,
            cluster_key: answer.cluster_key,
            genesis: answer.genesis,
        };
        standing::keep_membership(self.data, &membership).map_err(JoinError::Broken)?;
        let (credentials, key) = standing::member(Arc::clone(&self.credentials.keys), &membership)
            .map_err(JoinError::Broken)?;
        info!("joined with a token");
        Ok(Joined { credentials, key, genesis: answer.genesis, contacts: answer.contacts })
    }
}

fn moment(unix_seconds: u64) -> String {
    api::wire::time::format(unix_seconds.saturating_mul(1_000_000_000))
}

enum Knock {
    Later(String),
    Final(String),
}

/// The other end: an eligible node lets a token's holder in, with the leader's consent.
#[derive(Clone)]
pub(crate) struct Gatekeeper {
    pub(crate) credentials: watch::Receiver<Arc<Credentials>>,
    /// Handed to holders of a manager token; a node that joined with one has it after that.
    pub(crate) key: watch::Receiver<Option<Arc<ClusterKey>>>,
    pub(crate) genesis: watch::Receiver<Option<[u8; 16]>>,
    pub(crate) view: watch::Receiver<Arc<membership::View>>,
    pub(crate) dispatcher: Dispatcher,
    pub(crate) leadership: Leadership,
    pub(crate) peers: Peers,
}

impl Gatekeeper {
    pub(crate) async fn join(
        self,
        context: Context,
        request: JoinRequest,
    ) -> Result<JoinAnswer, Status> {
        let peer = &context.peer;
        let Some(grant) = peer.grant.as_ref().filter(|_| peer.candidate) else {
            return Err(Status::denied("only a token's holder joins; members are admitted"));
        };
        let genesis = *self.genesis.borrow();
        let genesis = genesis.ok_or_else(|| Status::unavailable("there is no cluster yet"))?;
        let terms = grant.terms();
        // Keys and grant are the handshake's; only the description is the joiner's word.
        let admission = Admission {
            id: peer.id,
            ed25519: peer.public.ed25519,
            x25519: peer.public.x25519,
            grant: grant_of(terms.role),
            token: Some((TokenId::from_bytes(terms.token_id), terms.max_uses)),
            ..request.admission
        };
        self.admit(admission).await?;
        let credentials = Arc::clone(&self.credentials.borrow());
        let authority = credentials
            .authority
            .as_ref()
            .ok_or_else(|| Status::internal("a node without the key was asked to let in"))?;
        let epoch = credentials.psks.first().map_or(0, |(epoch, _)| *epoch);
        let now = standing::unix_seconds();
        let certificate =
            authority.issue(&peer.public, terms.role, epoch, now, Some(terms.token_id));
        let contacts: Vec<_> =
            self.view.borrow().alive().map(|member| member.address).take(CONTACTS_MAX).collect();
        let cluster_key = match terms.role {
            Role::Worker => None,
            Role::Eligible => self.key.borrow().as_ref().map(|key| *key.as_bytes()),
        };
        info!(peer.id = %peer.id.short(), "token's holder let in");
        Ok(JoinAnswer {
            certificate: certificate.encode().to_vec(),
            psks: credentials.psks.iter().map(|(epoch, psk)| (*epoch, *psk.as_bytes())).collect(),
            cluster_key,
            genesis,
            contacts,
        })
    }

    async fn admit(&self, admission: Admission) -> Result<AdmitAnswer, Status> {
        let leader = self.leadership.now();
        if leader.here {
            return self.dispatcher.admit_as(admission).await;
        }
        let node = leader.node.ok_or_else(|| Status::unavailable("no leader is known"))?;
        let client = self.peers.client(node, Link::Control).await;
        let client = client.map_err(|error| Status::unavailable(error.to_string()))?;
        let answer = client.unary(ADMIT, &AdmitRequest { admission }, FORWARD).await;
        answer.map_err(|error| match error.status() {
            Some(status) => status.clone(),
            None => Status::unavailable(error.to_string()),
        })
    }
}
