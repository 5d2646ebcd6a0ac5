//! What a user may ask: the node behind the API, between the wire's words and the model's.

mod containers;
mod files;
pub(crate) mod group;
pub(crate) mod images;
pub(crate) mod info;
mod lists;
pub(crate) mod logins;
pub(crate) mod logs;
mod networks;
mod services;
pub(crate) mod status;
mod swarm;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use api::cluster::{
    Caller, Cluster, Engine, Engines, EventsWanted, Listed, LogOptions, LogStream, NewService,
    Problem, Pull, Route, ServiceUpdate, SwarmState, Upload,
};
use api::filters::Filters;
use api::wire::event::Event;
use api::wire::image::{ImageDeleted, ImageProgress, ImageSummary};
use api::wire::node::{Node, NodeSpec, TlsInfo};
use api::wire::service::Service;
use api::wire::status::StatusReport;
use api::wire::swarm::{InitRequest, JoinRequest, Rotate, Swarm, SwarmSpec, UnlockKey};
use api::wire::system::{Info, Version};
use api::wire::task::Task;
use api::wire::{Created, Updated};
use async_trait::async_trait;
use crypto::{Credentials, NodeId};
use membership::{Liveness, Membership, View};
use model::node::NodeDescription;
use model::{Applied, Command, DesiredRole, Grant, Refused, RequestId, State, UnixNanos};
use store::{ProposeError, ReadError, Store};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

pub(crate) use self::lists::Lists;
use self::lists::Version as ListVersion;
use crate::admission::Admitted;
use crate::convert::{self, RaftView};
use crate::events::Events;
use crate::exile::REMOVED;
use crate::leadership::Leadership;
use crate::messages::{API, ApiRequest};
use crate::overview::Overviews;
use crate::peers::{Link, Peers};
use crate::pool::Pool;

/// How long a request waits for a leader, and a proposal for its commit. Docker
/// Swarm's users wait 20 s for the same answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Events on their way to one client.
const EVENTS: usize = 64;

/// A leader that refuses the tunnel is asked again after this.
const RETRY: Duration = Duration::from_millis(100);

/// The node behind the API.
#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) me: NodeId,
    pub(crate) incarnation: u64,
    pub(crate) eligible: bool,
    pub(crate) started: Instant,
    pub(crate) started_at: UnixNanos,
    /// Whose signature the nodes of the cluster trust.
    pub(crate) trust: TlsInfo,
    pub(crate) events: Events,
    pub(crate) lists: Lists,
    pub(crate) description: NodeDescription,
    pub(crate) store: Option<Store>,
    /// With the key that seals what is stored.
    pub(crate) credentials: watch::Receiver<Arc<Credentials>>,
    pub(crate) leadership: Leadership,
    pub(crate) peers: Peers,
    pub(crate) overviews: Overviews,
    pub(crate) pool: Pool,
    pub(crate) membership: Membership,
    pub(crate) view: watch::Receiver<Arc<View>>,
    pub(crate) runtime: Arc<dyn runtime::Runtime>,
    pub(crate) admitted: watch::Receiver<Option<Admitted>>,
    pub(crate) removed: watch::Receiver<bool>,
    /// What is still missing before this node is part of a cluster, and what somebody should
    /// look at: lines that other parts write.
    pub(crate) notices: watch::Receiver<Arc<Notices>>,
    /// Begins to end this life in the cluster.
    pub(crate) leave: CancellationToken,
    /// It has ended.
    pub(crate) gone: CancellationToken,
}

/// Lines for `status` from the parts that know.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Notices {
    /// `waiting for seeds: …`.
    pub(crate) waiting: Vec<String>,
    /// What somebody should look at.
    pub(crate) warnings: Vec<String>,
    /// Published ports that do not answer here.
    pub(crate) ports: Vec<String>,
    /// What autopilot is doing; only the leader knows.
    pub(crate) autopilot: Vec<String>,
    /// Why each node votes, or why not; only the leader knows.
    pub(crate) why: std::collections::BTreeMap<NodeId, String>,
}

impl Front {
    fn store(&self) -> Result<&Store, Problem> {
        self.store.as_ref().ok_or_else(Problem::worker)
    }

    /// The state for one request: linearizable, or what this node remembers.
    async fn state(&self, caller: &Caller) -> Result<Arc<State>, Problem> {
        let store = self.store()?;
        if caller.stale {
            return Ok(Arc::clone(&store.state().borrow()));
        }
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "the enum grows, and whatever comes is no answer"
        )]
        store.read(PATIENCE).await.map_err(|error| match error {
            ReadError::NotLeader { .. } => Problem::not_leader(),
            _ => Problem::no_leader(),
        })
    }

    async fn propose(&self, caller: &Caller, command: Command) -> Result<Applied, Problem> {
        let request = RequestId(caller.request.0);
        let proposed = self.store()?.propose(command, Some(request), PATIENCE).await;
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "the enum grows, and whatever comes is no confirmation"
        )]
        proposed.map_err(|error| match error {
            ProposeError::Refused(refused) => problem(&refused),
            ProposeError::NotLeader { .. } => Problem::not_leader(),
            ProposeError::NoLeader => Problem::no_leader(),
            _ => Problem::unconfirmed(caller.request),
        })
    }

    fn raft_view(&self) -> RaftView {
        let view = self.view.borrow();
        let silent = view.members.values().filter(|member| member.liveness != Liveness::Alive);
        let status = self.store.as_ref().map(|store| Arc::clone(&store.status().borrow()));
        RaftView {
            leader: self.leadership.now().node,
            voters: status
                .map(|status| status.voters.values().copied().collect())
                .unwrap_or_default(),
            suspects: silent.map(|member| member.id).collect::<BTreeSet<_>>(),
            trust: self.trust.clone(),
        }
    }

    /// The HTTP tunnel to the leader's API.
    async fn tunnel(&self, leader: NodeId) -> Result<Route, String> {
        let client =
            self.peers.client(leader, Link::Api).await.map_err(|error| error.to_string())?;
        let tunnel = client.tunnel(API, &ApiRequest {}, PATIENCE).await;
        let tunnel = tunnel.map_err(|error| error.to_string())?;
        Ok(Route::There(Box::new(tunnel)))
    }
}

/// Docker's status codes for our refusals.
fn problem(refused: &Refused) -> Problem {
    let text = refused.to_string();
    match refused {
        Refused::OutOfSequence => Problem::out_of_sequence(),
        Refused::NotFound { .. } => Problem::new(404, text),
        Refused::NameTaken { .. } | Refused::IngressTaken(_) => Problem::conflict(text),
        Refused::Invalid(_)
        | Refused::InUse { .. }
        | Refused::PortTaken { .. }
        | Refused::Precondition(_) => Problem::bad_request(text),
        Refused::Unsupported(_) => Problem::not_implemented(text),
        Refused::Forbidden(_) => Problem::new(403, text),
        Refused::Outdated { .. } | Refused::NotFounded(_) => Problem::unavailable(text),
    }
}

impl Engines for Front {
    fn engine(&self) -> Option<Engine> {
        engine_of(self.runtime.as_ref())
    }
}

/// The Docker Engine behind a runtime, in the API's words.
pub(crate) fn engine_of(runtime: &dyn runtime::Runtime) -> Option<Engine> {
    let engine = runtime.info().engine?;
    Some(Engine { socket: engine.socket, api_version: engine.api })
}

#[async_trait]
impl api::cluster::Events for Front {
    async fn events(&self, wanted: EventsWanted) -> Result<mpsc::Receiver<Event>, Problem> {
        self.store()?;
        let (send, events) = mpsc::channel(EVENTS);
        let told = self.pool.run(self.events.clone().tell(wanted, send)).await;
        told.map_err(|error| Problem::unavailable(error.to_string()))?;
        Ok(events)
    }
}

#[async_trait]
impl Cluster for Front {
    fn swarm_state(&self) -> SwarmState {
        match (self.admitted.borrow().is_some(), self.eligible) {
            (false, _) => SwarmState::Pending,
            (true, true) => SwarmState::Manager,
            (true, false) => SwarmState::Worker,
        }
    }

    async fn route(&self, _caller: &Caller, write: bool) -> Result<Route, Problem> {
        if *self.removed.borrow() {
            return Err(Problem::unavailable(REMOVED));
        }
        if !self.eligible {
            return Err(Problem::worker());
        }
        let deadline = Instant::now() + PATIENCE;
        let mut leader = self.leadership.watch();
        loop {
            let now = *leader.borrow_and_update();
            match now.node {
                Some(_) if now.here => return Ok(Route::Here),
                Some(node) => match timeout_at(deadline, self.tunnel(node)).await {
                    Ok(Ok(route)) => return Ok(route),
                    Ok(Err(_)) | Err(_) => self.leadership.doubt(),
                },
                None => {}
            }
            let again = async {
                tokio::select! {
                    _ = leader.changed() => {}
                    () = sleep(RETRY), if now.node.is_some() => {}
                }
            };
            if timeout_at(deadline, again).await.is_err() || deadline <= Instant::now() {
                break;
            }
        }
        let remembers =
            self.store.as_ref().is_some_and(|store| store.state().borrow().cluster().is_some());
        if remembers && !write { Ok(Route::Stale) } else { Err(Problem::no_leader()) }
    }

    async fn version(&self) -> Result<Version, Problem> {
        Ok(info::version())
    }

    async fn info(&self) -> Result<Info, Problem> {
        Ok(self.build_info().await)
    }

    async fn status(&self) -> Result<StatusReport, Problem> {
        Ok(self.build_status().await)
    }

    async fn leave(&self, _caller: &Caller, force: bool) -> Result<(), Problem> {
        self.go(force).await
    }

    async fn swarm(&self, caller: &Caller) -> Result<Swarm, Problem> {
        self.show_swarm(caller).await
    }

    async fn init_swarm(&self, _: InitRequest) -> Result<String, Problem> {
        Err(Problem::already_member())
    }

    async fn join_swarm(&self, _: JoinRequest) -> Result<(), Problem> {
        Err(Problem::already_member())
    }

    async fn update_swarm(
        &self,
        caller: &Caller,
        version: u64,
        spec: SwarmSpec,
        rotate: Rotate,
    ) -> Result<(), Problem> {
        self.write_swarm(caller, version, &spec, rotate).await
    }

    async fn unlock_key(&self, _: &Caller) -> Result<UnlockKey, Problem> {
        Ok(UnlockKey::default())
    }

    async fn unlock(&self, _: UnlockKey) -> Result<(), Problem> {
        Err(Problem::conflict("swarm is not locked"))
    }

    async fn revoke_token(&self, caller: &Caller, id: &str) -> Result<(), Problem> {
        let token =
            id.parse().map_err(|_| Problem::bad_request(format!("'{id}' is no id of a token")))?;
        self.propose(caller, Command::RevokeToken(token)).await.map(|_| ())
    }

    async fn nodes(&self, caller: &Caller, filters: &Filters) -> Result<Listed, Problem> {
        let (state, raft) = (self.state(caller).await?, self.raft_view());
        let version = ListVersion { index: state.index(), raft: raft.clone() };
        self.lists.get(format!("nodes {}", filters.to_json()), version, || {
            let nodes = state.nodes().map(|node| convert::node(node, &raft));
            Ok(nodes.filter(|node| services::node_passes(node, filters)).collect())
        })
    }

    async fn node(&self, caller: &Caller, reference: &str) -> Result<Node, Problem> {
        let state = self.state(caller).await?;
        Ok(convert::node(services::find_node(&state, self.me, reference)?, &self.raft_view()))
    }

    async fn update_node(
        &self,
        caller: &Caller,
        reference: &str,
        version: u64,
        spec: NodeSpec,
    ) -> Result<(), Problem> {
        let state = self.state(caller).await?;
        let node = services::find_node(&state, self.me, reference)?;
        let mut spec = convert::node_spec(spec)?;
        // The API always carries a role; the one that is shown anyway changes nothing.
        let shown = convert::node(node, &RaftView::default()).spec.role;
        let unchanged = match spec.desired_role {
            DesiredRole::Manager => shown == "manager",
            DesiredRole::Worker => shown == "worker",
            DesiredRole::Automatic => true,
        };
        if unchanged {
            spec.desired_role = node.spec.desired_role;
        }
        if spec.desired_role == DesiredRole::Manager && node.grant == Grant::Worker {
            return Err(Problem::bad_request(format!(
                "node {reference} joined with a worker token and stays a worker: let it leave and \
                 join again with a manager token"
            )));
        }
        let command = Command::UpdateNode { id: node.id, version: model::Index(version), spec };
        self.propose(caller, command).await.map(|_| ())
    }

    async fn remove_node(
        &self,
        caller: &Caller,
        reference: &str,
        force: bool,
    ) -> Result<(), Problem> {
        let state = self.state(caller).await?;
        let id = services::find_node(&state, self.me, reference)?.id;
        if id == self.me {
            return Err(Problem::bad_request(format!(
                "node {id} leads the cluster and can't be removed: demote it, and remove it then"
            )));
        }
        self.propose(caller, Command::RemoveNode { id, force }).await.map(|_| ())
    }

    async fn services(
        &self,
        caller: &Caller,
        filters: &Filters,
        status: bool,
    ) -> Result<Listed, Problem> {
        self.list_services(caller, filters, status).await
    }

    async fn service(&self, caller: &Caller, reference: &str) -> Result<Service, Problem> {
        let state = self.state(caller).await?;
        let service = services::find_service(&state, reference)?;
        Ok(convert::service(service, &state, false))
    }

    async fn create_service(&self, caller: &Caller, new: NewService) -> Result<Created, Problem> {
        self.create(caller, new).await
    }

    async fn update_service(
        &self,
        caller: &Caller,
        reference: &str,
        update: ServiceUpdate,
    ) -> Result<Updated, Problem> {
        self.update(caller, reference, update).await
    }

    async fn remove_service(&self, caller: &Caller, reference: &str) -> Result<(), Problem> {
        let state = self.state(caller).await?;
        let id = services::find_service(&state, reference)?.id;
        self.propose(caller, Command::RemoveService { id }).await.map(|_| ())
    }

    async fn service_logs(
        &self,
        caller: &Caller,
        reference: &str,
        options: LogOptions,
    ) -> Result<LogStream, Problem> {
        let state = self.state(caller).await?;
        let service = services::find_service(&state, reference)?;
        let tasks = state.tasks_of_service(service.id).cloned().collect();
        self.logs_of(tasks, options).await
    }

    async fn tasks(&self, caller: &Caller, filters: &Filters) -> Result<Listed, Problem> {
        let state = self.state(caller).await?;
        let version = ListVersion { index: state.index(), raft: RaftView::default() };
        self.lists.get(format!("tasks {}", filters.to_json()), version, || {
            services::list_tasks(&state, self.me, filters)
        })
    }

    async fn task(&self, caller: &Caller, reference: &str) -> Result<Task, Problem> {
        let state = self.state(caller).await?;
        Ok(convert::task(services::find_task(&state, reference)?))
    }

    async fn task_logs(
        &self,
        caller: &Caller,
        reference: &str,
        options: LogOptions,
    ) -> Result<LogStream, Problem> {
        let state = self.state(caller).await?;
        let task = Arc::clone(services::find_task(&state, reference)?);
        self.logs_of(vec![task], options).await
    }

    async fn images(&self, filters: &Filters) -> Result<Vec<ImageSummary>, Problem> {
        images::list(self.runtime.as_ref(), filters).await
    }

    async fn load_image(&self, tar: Upload) -> Result<mpsc::Receiver<ImageProgress>, Problem> {
        images::load(Arc::clone(&self.runtime), &self.pool, tar).await
    }

    async fn pull_image(&self, pull: Pull) -> Result<mpsc::Receiver<ImageProgress>, Problem> {
        images::pull(Arc::clone(&self.runtime), &self.pool, pull).await
    }

    async fn remove_image(
        &self,
        reference: &str,
        _force: bool,
    ) -> Result<Vec<ImageDeleted>, Problem> {
        images::remove(self.runtime.as_ref(), reference).await
    }
}
