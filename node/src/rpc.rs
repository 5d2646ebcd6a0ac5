//! Who may ask this node what: every path with its check, on one page.

use std::sync::Arc;

use api::cluster::Origin;
use api::server::{Limits, Server};
use crypto::stream::{Code, Context, Offer, Router, Status};
use crypto::{Credentials, NodeId, Peer, Role, Standing};
use membership::{Membership, View};
use model::{Grant, State};
use runtime::Runtime;
use store::Store;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::dispatch::Dispatcher;
use crate::front::logs;
use crate::ingress;
use crate::joining::Gatekeeper;
use crate::leadership::Leadership;
use crate::messages::{
    ADMIT, API, ASSIGNMENTS, AdmitRequest, ApiRequest, AssignmentsRequest, BIG_GOSSIP, BigGossip,
    BigGossipAnswer, ENLIST, EnlistAnswer, EnlistRequest, JOIN, JoinRequest, LEADER, LOGS,
    LeaderAnswer, LeaderRequest, LogsRequest, OVERVIEW, OverviewRequest, PROXY, ProxyRequest,
    RELAY, RENEW, REPORT, RelayRequest, RenewAnswer, RenewRequest, ReportRequest, STANDING,
    StandingAnswer, StandingRequest,
};
use crate::overview::Overseer;
use crate::relays;
use crate::standing::unix_seconds;

/// What every node answers.
#[derive(Clone)]
pub(crate) struct Everybody {
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) membership: Membership,
    pub(crate) view: watch::Receiver<Arc<View>>,
    pub(crate) leadership: Leadership,
    pub(crate) genesis: watch::Receiver<Option<[u8; 16]>>,
}

/// What eligible nodes answer beside it.
#[derive(Clone)]
pub(crate) struct Eligible {
    pub(crate) credentials: watch::Receiver<Arc<Credentials>>,
    pub(crate) store: Store,
    pub(crate) dispatcher: Dispatcher,
    pub(crate) gatekeeper: Gatekeeper,
    pub(crate) overseer: Overseer,
    pub(crate) api: Arc<Server>,
    pub(crate) stop: CancellationToken,
}

/// A member of the cluster, by a certificate that has not expired.
fn member(context: &Context) -> Result<NodeId, Status> {
    let peer = &context.peer;
    if peer.candidate {
        return Err(Status::denied("a token's holder joins first"));
    }
    if peer.standing != Standing::Valid {
        return Err(Status::denied("the certificate has expired: renew it"));
    }
    Ok(peer.id)
}

/// A member that holds the cluster key.
fn eligible(context: &Context) -> Result<NodeId, Status> {
    let id = member(context)?;
    if context.peer.role == Role::Eligible {
        Ok(id)
    } else {
        Err(Status::denied("only nodes with the cluster key may ask this"))
    }
}

/// Paths that every node answers.
pub(crate) fn for_everybody(node: &Everybody, router: Router) -> Router {
    let (logs_runtime, proxy_runtime) = (Arc::clone(&node.runtime), Arc::clone(&node.runtime));
    let (big, relay, leader) = (node.membership.clone(), node.view.clone(), node.clone());
    router
        .unary(LEADER, move |context, _: LeaderRequest| {
            let node = leader.clone();
            async move {
                member(&context)?;
                let leader = node.leadership.now().node;
                Ok(LeaderAnswer { genesis: *node.genesis.borrow(), recovery_epoch: 0, leader })
            }
        })
        .unary(STANDING, |_, _: StandingRequest| async { Ok(StandingAnswer { removed: false }) })
        .stream(LOGS, move |context, request: LogsRequest, out| {
            let runtime = Arc::clone(&logs_runtime);
            async move {
                eligible(&context)?;
                logs::serve(runtime, context, request, out).await
            }
        })
        .tunnel(PROXY, move |context, request: ProxyRequest, offer| {
            let runtime = Arc::clone(&proxy_runtime);
            async move {
                member(&context)?;
                ingress::serve(runtime, context, request, offer).await
            }
        })
        .tunnel(RELAY, move |context, request: RelayRequest, offer| {
            let address = relay.borrow().members.get(&request.to).map(|member| member.address);
            async move {
                member(&context)?;
                relays::carry(address, offer).await
            }
        })
        .unary(BIG_GOSSIP, move |context, request: BigGossip| {
            let membership = big.clone();
            async move {
                member(&context)?;
                let from = context.remote.ok_or_else(|| Status::invalid("no address"))?;
                let delivered = membership.deliver_big(context.peer, from, request.bytes).await;
                delivered.map_err(|error| Status::unavailable(error.to_string()))?;
                Ok(BigGossipAnswer {})
            }
        })
}

/// All that a removed node hears from anybody.
pub(crate) fn for_removed() -> Router {
    Router::new()
        .unary(STANDING, |_, _: StandingRequest| async { Ok(StandingAnswer { removed: true }) })
}

/// Paths that only eligible nodes answer.
pub(crate) fn for_eligible(node: &Eligible, router: Router) -> Router {
    let (assign, report, admit) =
        (node.dispatcher.clone(), node.dispatcher.clone(), node.dispatcher.clone());
    let overseer = node.overseer.clone();
    let (join, renew, enlist, api) =
        (node.gatekeeper.clone(), node.clone(), node.store.clone(), node.clone());
    router
        .stream(ASSIGNMENTS, move |context, request: AssignmentsRequest, out| {
            let dispatcher = assign.clone();
            async move {
                member(&context)?;
                dispatcher.assignments(context, request, out).await
            }
        })
        .unary(REPORT, move |context, request: ReportRequest| {
            let dispatcher = report.clone();
            async move {
                member(&context)?;
                dispatcher.report(context, request).await
            }
        })
        .unary(ADMIT, move |context, request: AdmitRequest| {
            let dispatcher = admit.clone();
            async move {
                member(&context)?;
                dispatcher.admit(context, request).await
            }
        })
        .unary(JOIN, move |context, request: JoinRequest| join.clone().join(context, request))
        .unary(OVERVIEW, move |context, _: OverviewRequest| {
            let overseer = overseer.clone();
            async move {
                member(&context)?;
                overseer.answer()
            }
        })
        .unary(RENEW, move |context, _: RenewRequest| {
            let node = renew.clone();
            async move { node.renew(&context) }
        })
        .unary(ENLIST, move |context, request: EnlistRequest| {
            let store = enlist.clone();
            async move {
                eligible(&context)?;
                let EnlistRequest { raft_id, cluster, recovery_epoch } = request;
                let enlisted = store.enlist(raft_id, cluster, recovery_epoch).await;
                enlisted.map_err(|error| Status::new(Code::Refused, error.to_string()))?;
                Ok(EnlistAnswer {})
            }
        })
        .tunnel(API, move |context, _: ApiRequest, offer| {
            let node = api.clone();
            async move {
                let id = eligible(&context)?;
                node.serve_api(id, offer).await
            }
        })
}

/// Who gets a new certificate: an admitted worker, expired or not, that nobody put out. A node
/// without a part in Raft has no state to ask; there, sessions of removed nodes do not come about.
fn may_renew(peer: &Peer, state: &State) -> Result<(), Status> {
    if peer.candidate || peer.role != Role::Worker {
        return Err(Status::denied("only workers are given certificates"));
    }
    // A token that was revoked or rotated admits nobody; who came with it before, stays.
    if state.cluster().is_some() && state.node(peer.id).is_none() {
        return Err(Status::denied("this node is not part of the cluster (any more)"));
    }
    Ok(())
}

impl Eligible {
    /// A new certificate for a worker, even if its old one has expired.
    fn renew(&self, context: &Context) -> Result<RenewAnswer, Status> {
        let peer = &context.peer;
        may_renew(peer, &self.store.state().borrow())?;
        let credentials = Arc::clone(&self.credentials.borrow());
        let authority = credentials
            .authority
            .as_ref()
            .ok_or_else(|| Status::internal("a node without the key was asked to renew"))?;
        let epoch = credentials.psks.first().map_or(0, |(epoch, _)| *epoch);
        let certificate =
            authority.issue(&peer.public, Role::Worker, epoch, unix_seconds(), peer.token);
        Ok(RenewAnswer { certificate: certificate.encode().to_vec() })
    }

    /// The API for another node's user. Its admission record decides, at each request anew.
    async fn serve_api(&self, from: NodeId, offer: Offer) -> Result<(), Status> {
        let state = Arc::clone(&self.store.state().borrow());
        if state.node(from).is_none_or(|node| node.grant != Grant::Eligible) {
            return Err(Status::denied("this node is not admitted as a manager"));
        }
        let tunnel = offer.accept()?;
        let origin = Origin::Node(from.to_string());
        let server = Server::clone(&self.api);
        server.serve_io(tunnel, origin, Limits::default(), self.stop.clone()).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use model::{Admission, ClusterId, Command, Entry, Index, TokenId, UnixNanos};

    use super::*;

    fn admission(n: u8, grant: Grant) -> Admission {
        let ed25519 = [n; 32];
        Admission {
            id: NodeId::of_key(&ed25519),
            ed25519,
            x25519: [n; 32],
            grant,
            token: (grant == Grant::Worker).then_some((TokenId::from_bytes([n; 16]), 0)),
            availability: model::Availability::Active,
            incarnation: 1,
            description: model::NodeDescription::default(),
        }
    }

    /// Node 1 founded; nodes 2 to 4 are workers with tokens of their own.
    fn state(more: Vec<Command>) -> State {
        let founders = vec![(1, admission(1, Grant::Eligible))];
        let id = ClusterId::from_bytes([1; 16]);
        let workers = (2..=4).map(|n| Command::Admit(admission(n, Grant::Worker)));
        let commands = std::iter::once(Command::Found { id, founders }).chain(workers).chain(more);
        let mut state = State::default();
        for (index, command) in (1..).zip(commands) {
            let entry = Entry { request: None, now: UnixNanos(index), command };
            state.apply(Index(index), &entry).unwrap();
        }
        state
    }

    fn peer(n: u8, role: Role, standing: Standing) -> Peer {
        let public = crypto::NodePublic { ed25519: [n; 32], x25519: [n; 32] };
        Peer {
            id: NodeId::of_key(&public.ed25519),
            public,
            role,
            epoch: 1,
            standing,
            token: (role == Role::Worker).then_some([n; 16]),
            candidate: false,
            grant: None,
        }
    }

    #[test]
    fn who_gets_a_new_certificate() {
        use Role::{Eligible, Worker};
        use Standing::{Expired, Valid};
        let removed = Command::RemoveNode { id: NodeId::of_key(&[3; 32]), force: true };
        let revoked = Command::RevokeToken(TokenId::from_bytes([4; 16]));
        let state = state(vec![removed, revoked]);
        for (what, peer, expected) in [
            ("a worker", peer(2, Worker, Valid), true),
            ("a worker that was away for a day", peer(2, Worker, Expired), true),
            ("a removed worker", peer(3, Worker, Expired), false),
            ("a worker whose token was revoked since", peer(4, Worker, Expired), true),
            ("a worker that was never admitted", peer(5, Worker, Valid), false),
            ("a node with the key", peer(1, Eligible, Expired), false),
            ("a candidate", Peer { candidate: true, ..peer(2, Worker, Valid) }, false),
        ] {
            assert_eq!(may_renew(&peer, &state).is_ok(), expected, "{what}");
        }
        // At a node that has no state an admitted worker is renewed, too.
        assert!(may_renew(&peer(2, Worker, Expired), &State::default()).is_ok());
    }
}
