//! A node outside any cluster: it answers what concerns this machine, and waits to be told which
//! cluster to enter.

use std::sync::Arc;
use std::time::Duration;

use api::cluster::files::Files;
use api::cluster::{
    Caller, Cluster, Containers, Engine, Engines, Events, EventsWanted, Listed, LogOptions,
    LogStream, Networks, NewService, Problem, Pull, Route, ServiceUpdate, SwarmState, Upload,
};
use api::filters::Filters;
use api::wire::event::Event;
use api::wire::file::{Config, ConfigSpec, FileCreated, Secret, SecretSpec};
use api::wire::image::{ImageDeleted, ImageProgress, ImageSummary};
use api::wire::local::{ContainerDetails, ContainerSummary};
use api::wire::network::{Network, NetworkCreated, NetworksPruned, NewNetwork};
use api::wire::node::{Node, NodeSpec};
use api::wire::service::Service;
use api::wire::status::{StatusReport, ThisNode};
use api::wire::swarm::{InitRequest, JoinRequest, Rotate, Swarm, SwarmSpec, UnlockKey};
use api::wire::system::{Info, SwarmInfo, Version};
use api::wire::task::Task;
use api::wire::{Created, Updated};
use async_trait::async_trait;
use model::{ClusterSpec, NodeDescription};
use runtime::Runtime;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use crate::config::Addresses;
use crate::entrance;
use crate::front::{engine_of, images, info};
use crate::place::{Entrance, Terms};
use crate::pool::Pool;

/// Docker's: an init or join that takes longer goes on in the background.
const ENTER_MAX: Duration = Duration::from_secs(20);

/// A wish to enter a cluster, and where to say what came of it.
#[derive(Debug)]
pub(crate) struct Wish {
    pub(crate) entrance: Entrance,
    pub(crate) terms: Terms,
    /// What a cluster that is founded begins with.
    pub(crate) spec: Option<ClusterSpec>,
    pub(crate) entered: oneshot::Sender<Result<String, Problem>>,
}

/// This node while it is in no cluster.
#[derive(Debug)]
pub(crate) struct Outside {
    /// `Inactive`, or `Pending` while it is on its way.
    pub(crate) state: SwarmState,
    pub(crate) started: Instant,
    pub(crate) addresses: Addresses,
    pub(crate) description: NodeDescription,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) pool: Pool,
    pub(crate) wishes: mpsc::Sender<Wish>,
}

impl Outside {
    async fn enter(
        &self,
        entrance: Entrance,
        terms: Terms,
        spec: Option<ClusterSpec>,
    ) -> Result<String, Problem> {
        if self.state != SwarmState::Inactive {
            return Err(Problem::already_member());
        }
        let (entered, answer) = oneshot::channel();
        let wish = Wish { entrance, terms, spec, entered };
        // Somebody else's wish is being granted.
        self.wishes.try_send(wish).map_err(|_| Problem::already_member())?;
        match timeout(ENTER_MAX, answer).await {
            Ok(Ok(entered)) => entered,
            Ok(Err(_)) => Err(Problem::unavailable("the daemon is stopping")),
            Err(_) => Err(Problem::unavailable(
                "Timeout was reached before node joined. The attempt to join the swarm will \
                 continue in the background. Use the \"docker info\" command to see the current \
                 swarm status of your node.",
            )),
        }
    }
}

#[async_trait]
impl Containers for Outside {
    async fn containers(&self) -> Result<Vec<ContainerSummary>, Problem> {
        // Outside a cluster there are no tasks.
        Ok(Vec::new())
    }

    async fn container(&self, reference: &str) -> Result<ContainerDetails, Problem> {
        Err(Problem::new(404, format!("No such container: {reference}")))
    }

    async fn container_logs(&self, reference: &str, _: LogOptions) -> Result<LogStream, Problem> {
        Err(Problem::new(404, format!("No such container: {reference}")))
    }
}

impl Engines for Outside {
    fn engine(&self) -> Option<Engine> {
        engine_of(self.runtime.as_ref())
    }
}

#[async_trait]
impl Events for Outside {
    async fn events(&self, _: EventsWanted) -> Result<mpsc::Receiver<Event>, Problem> {
        Err(Problem::no_cluster())
    }
}

#[async_trait]
impl Files for Outside {
    async fn secrets(&self, _: &Caller, _: &Filters) -> Result<Vec<Secret>, Problem> {
        Err(Problem::no_cluster())
    }

    async fn secret(&self, _: &Caller, _: &str) -> Result<Secret, Problem> {
        Err(Problem::no_cluster())
    }

    async fn create_secret(&self, _: &Caller, _: SecretSpec) -> Result<FileCreated, Problem> {
        Err(Problem::no_cluster())
    }

    async fn update_secret(
        &self,
        _: &Caller,
        _: &str,
        _: u64,
        _: SecretSpec,
    ) -> Result<(), Problem> {
        Err(Problem::no_cluster())
    }

    async fn remove_secret(&self, _: &Caller, _: &str) -> Result<(), Problem> {
        Err(Problem::no_cluster())
    }

    async fn configs(&self, _: &Caller, _: &Filters) -> Result<Vec<Config>, Problem> {
        Err(Problem::no_cluster())
    }

    async fn config(&self, _: &Caller, _: &str) -> Result<Config, Problem> {
        Err(Problem::no_cluster())
    }

    async fn create_config(&self, _: &Caller, _: ConfigSpec) -> Result<FileCreated, Problem> {
        Err(Problem::no_cluster())
    }

    async fn update_config(
        &self,
        _: &Caller,
        _: &str,
        _: u64,
        _: ConfigSpec,
    ) -> Result<(), Problem> {
        Err(Problem::no_cluster())
    }

    async fn remove_config(&self, _: &Caller, _: &str) -> Result<(), Problem> {
        Err(Problem::no_cluster())
    }
}

#[async_trait]
impl Networks for Outside {
    async fn networks(&self, _: &Caller) -> Result<Vec<Network>, Problem> {
        Err(Problem::no_cluster())
    }

    async fn network(&self, _: &Caller, _: &str) -> Result<Network, Problem> {
        Err(Problem::no_cluster())
    }

    async fn create_network(&self, _: &Caller, _: NewNetwork) -> Result<NetworkCreated, Problem> {
        Err(Problem::no_cluster())
    }

    async fn remove_network(&self, _: &Caller, _: &str) -> Result<(), Problem> {
        Err(Problem::no_cluster())
    }

    async fn prune_networks(&self, _: &Caller, _: &Filters) -> Result<NetworksPruned, Problem> {
        Err(Problem::no_cluster())
    }

    fn local_networks(&self) -> Vec<Network> {
        Vec::new()
    }
}

#[async_trait]
impl Cluster for Outside {
    fn swarm_state(&self) -> SwarmState {
        self.state
    }

    async fn route(&self, _: &Caller, _: bool) -> Result<Route, Problem> {
        Err(Problem::no_cluster())
    }

    async fn version(&self) -> Result<Version, Problem> {
        Ok(info::version())
    }

    async fn info(&self) -> Result<Info, Problem> {
        let machine = info::machine(self.runtime.as_ref(), &self.description).await;
        let swarm =
            SwarmInfo { local_node_state: self.state.as_str().to_owned(), ..SwarmInfo::default() };
        Ok(Info { swarm, ..machine })
    }

    async fn status(&self) -> Result<StatusReport, Problem> {
        let waiting = match self.state {
            SwarmState::Inactive => {
                "in no cluster: `docker swarm init` makes one, `docker swarm join` enters one; or \
                 start the daemon with --key-file and --seed"
            }
            SwarmState::Pending | SwarmState::Locked | SwarmState::Manager | SwarmState::Worker => {
                "on the way into a cluster"
            }
        };
        Ok(StatusReport {
            node: ThisNode {
                hostname: self.description.hostname.clone(),
                address: self.description.address.clone(),
                version: self.description.version.clone(),
                runtime: self.description.runtime.clone(),
                state: "waiting".to_owned(),
                uptime_seconds: self.started.elapsed().as_secs(),
                ..ThisNode::default()
            },
            waiting: vec![waiting.to_owned()],
            lacks: self.description.lacks.clone(),
            ..StatusReport::default()
        })
    }

    async fn leave(&self, _: &Caller, _: bool) -> Result<(), Problem> {
        Err(Problem::not_part())
    }

    async fn swarm(&self, _: &Caller) -> Result<Swarm, Problem> {
        Err(Problem::no_cluster())
    }

    async fn init_swarm(&self, request: InitRequest) -> Result<String, Problem> {
        let (terms, spec) = entrance::init(&request, self.addresses, &entrance::interfaces())?;
        self.enter(Entrance::Found, terms, Some(spec)).await
    }

    async fn join_swarm(&self, request: JoinRequest) -> Result<(), Problem> {
        let (terms, entrance) = entrance::join(&request, self.addresses, &entrance::interfaces())?;
        self.enter(entrance, terms, None).await.map(|_| ())
    }

    async fn update_swarm(
        &self,
        _: &Caller,
        _: u64,
        _: SwarmSpec,
        _: Rotate,
    ) -> Result<(), Problem> {
        Err(Problem::no_cluster())
    }

    async fn unlock_key(&self, _: &Caller) -> Result<UnlockKey, Problem> {
        Err(Problem::no_cluster())
    }

    async fn unlock(&self, _: UnlockKey) -> Result<(), Problem> {
        Err(Problem::no_cluster())
    }

    async fn revoke_token(&self, _: &Caller, _: &str) -> Result<(), Problem> {
        Err(Problem::no_cluster())
    }

    async fn nodes(&self, _: &Caller, _: &Filters) -> Result<Listed, Problem> {
        Err(Problem::no_cluster())
    }

    async fn node(&self, _: &Caller, _: &str) -> Result<Node, Problem> {
        Err(Problem::no_cluster())
    }

    async fn update_node(&self, _: &Caller, _: &str, _: u64, _: NodeSpec) -> Result<(), Problem> {
        Err(Problem::no_cluster())
    }

    async fn remove_node(&self, _: &Caller, _: &str, _: bool) -> Result<(), Problem> {
        Err(Problem::no_cluster())
    }

    async fn services(&self, _: &Caller, _: &Filters, _: bool) -> Result<Listed, Problem> {
        Err(Problem::no_cluster())
    }

    async fn service(&self, _: &Caller, _: &str) -> Result<Service, Problem> {
        Err(Problem::no_cluster())
    }

    async fn create_service(&self, _: &Caller, _: NewService) -> Result<Created, Problem> {
        Err(Problem::no_cluster())
    }

    async fn update_service(
        &self,
        _: &Caller,
        _: &str,
        _: ServiceUpdate,
    ) -> Result<Updated, Problem> {
        Err(Problem::no_cluster())
    }

    async fn remove_service(&self, _: &Caller, _: &str) -> Result<(), Problem> {
        Err(Problem::no_cluster())
    }

    async fn service_logs(&self, _: &Caller, _: &str, _: LogOptions) -> Result<LogStream, Problem> {
        Err(Problem::no_cluster())
    }

    async fn tasks(&self, _: &Caller, _: &Filters) -> Result<Listed, Problem> {
        Err(Problem::no_cluster())
    }

    async fn task(&self, _: &Caller, _: &str) -> Result<Task, Problem> {
        Err(Problem::no_cluster())
    }

    async fn task_logs(&self, _: &Caller, _: &str, _: LogOptions) -> Result<LogStream, Problem> {
        Err(Problem::no_cluster())
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

    async fn remove_image(&self, reference: &str, _: bool) -> Result<Vec<ImageDeleted>, Problem> {
        images::remove(self.runtime.as_ref(), reference).await
    }
}
