//! How this node gets into the cluster, and what it says of itself there.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crypto::{Credentials, NodeId, Role};
use model::node::NodeDescription;
use model::service::{Platform, Resources};
use model::{Admission, Availability, ClusterId, Grant, TokenId};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::config::Config;
use crate::leadership::Leadership;
use crate::messages::{ADMIT, AdmitAnswer, AdmitRequest};
use crate::peers::{Link, Peers};

/// A proposal and its commit, twice over.
const DEADLINE: Duration = Duration::from_secs(4);

/// A refused or lost request is repeated after this.
const RETRY: Duration = Duration::from_millis(500);

/// An admitted node says what it is again so often, in case a leader lost it.
const REPEAT: Duration = Duration::from_secs(60);

/// Where this node stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Admitted {
    /// The cluster.
    pub(crate) cluster: ClusterId,
    /// Its number in Raft.
    pub(crate) raft_id: u64,
}

/// What this node says of itself.
pub(crate) fn describe(
    config: &Config,
    address: Option<SocketAddr>,
    runtime: &runtime::RuntimeInfo,
) -> NodeDescription {
    let mut engine_labels = config.labels.clone();
    if !config.zone.is_empty() {
        engine_labels.insert("zone".to_owned(), config.zone.clone());
    }
    let uname = rustix::system::uname();
    NodeDescription {
        hostname: uname.nodename().to_string_lossy().into_owned(),
        platform: Platform {
            architecture: uname.machine().to_string_lossy().into_owned(),
            os: "linux".to_owned(),
        },
        resources: resources(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        runtime: runtime_text(runtime),
        engine_labels,
        address: address.map(|address| address.to_string()).unwrap_or_default(),
        lacks: runtime.lacks.clone(),
    }
}

/// Name and version of a runtime, as people read it.
pub(crate) fn runtime_text(runtime: &runtime::RuntimeInfo) -> String {
    format!("{} {}", runtime.name, runtime.version).trim_end().to_owned()
}

fn resources() -> Resources {
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let info = rustix::system::sysinfo();
    let memory = info.totalram.saturating_mul(u64::from(info.mem_unit));
    Resources {
        nano_cpus: i64::try_from(cpus).unwrap_or(1).saturating_mul(1_000_000_000),
        memory_bytes: i64::try_from(memory).unwrap_or(i64::MAX),
        generic: std::collections::BTreeMap::new(),
    }
}

/// The request for admission of this node.
pub(crate) fn own_admission(
    credentials: &Credentials,
    incarnation: u64,
    description: &NodeDescription,
    availability: Availability,
) -> Admission {
    let public = credentials.keys.public();
    let claims = credentials.certificate.claims();
    Admission {
        id: credentials.node(),
        ed25519: public.ed25519,
        x25519: public.x25519,
        grant: grant_of(claims.role),
        // The token was counted when its holder joined.
        token: claims.token.map(|id| (TokenId::from_bytes(id), 0)),
        incarnation,
        description: description.clone(),
        availability,
    }
}

/// The model's word for a role in a certificate.
pub(crate) const fn grant_of(role: Role) -> Grant {
    match role {
        Role::Worker => Grant::Worker,
        Role::Eligible => Grant::Eligible,
    }
}

/// Asks the leader for admission, again for every leader, until told to stop.
#[expect(clippy::too_many_arguments, reason = "a loop between six parts, called once")]
pub(crate) async fn run(
    admission: impl Fn(&Credentials) -> Admission,
    credentials: watch::Receiver<Arc<Credentials>>,
    peers: Peers,
    leadership: Leadership,
    admitted: watch::Sender<Option<Admitted>>,
    stop: CancellationToken,
) {
    let mut leader = leadership.watch();
    let mut asked: Option<NodeId> = None;
    loop {
        let node = leader.borrow_and_update().node;
        let wait = match node {
            Some(node) if asked != Some(node) => {
                let admission = admission(&credentials.borrow());
                match ask(&peers, node, admission).await {
                    Ok(answer) => {
                        asked = Some(node);
                        admit(&admitted, answer);
                        REPEAT
                    }
                    Err(why) => {
                        debug!(peer.id = %node.short(), why, "admission not confirmed");
                        leadership.doubt();
                        RETRY
                    }
                }
            }
            Some(_) => {
                asked = None;
                continue;
            }
            None => REPEAT,
        };
        tokio::select! {
            () = stop.cancelled() => return,
            changed = leader.changed() => if changed.is_err() { return },
            () = sleep(wait) => {}
        }
    }
}

fn admit(admitted: &watch::Sender<Option<Admitted>>, answer: AdmitAnswer) {
    let now = Admitted { cluster: answer.cluster, raft_id: answer.raft_id };
    admitted.send_if_modified(|known| match known {
        Some(before) if *before == now => false,
        Some(before) if before.cluster != now.cluster => {
            warn!("a leader of another cluster answered");
            false
        }
        Some(_) | None => {
            info!(raft.id = now.raft_id, "admitted");
            *known = Some(now);
            true
        }
    });
}

async fn ask(peers: &Peers, leader: NodeId, admission: Admission) -> Result<AdmitAnswer, String> {
    let client = peers.client(leader, Link::Control).await.map_err(|error| error.to_string())?;
    let answer = client.unary(ADMIT, &AdmitRequest { admission }, DEADLINE).await;
    answer.map_err(|error| error.to_string())
}
