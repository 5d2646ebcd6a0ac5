//! Published ports: from assignments to the proxy, and the two ways to a task.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use crypto::NodeId;
use crypto::stream::{Context, Offer, Status};
use membership::{Liveness, View};
use network::{Backend, BoxedStream, Connect, Ingress, PublishedPort, Wanted, wanted};
use runtime::Runtime;
use tokio::io::copy_bidirectional;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::front::Notices;
use crate::messages::{Assignments, PROXY, ProxyRequest};
use crate::peers::{Link, Peers};

/// A tunnel to a task of another node, once its node is connected.
const DEADLINE: Duration = Duration::from_secs(2);

/// Reaches tasks here by the runtime and elsewhere by a tunnel.
#[derive(Debug)]
pub(crate) struct Tasks {
    pub(crate) me: NodeId,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) peers: Peers,
}

#[async_trait]
impl Connect for Tasks {
    async fn connect(&self, backend: Backend) -> io::Result<BoxedStream> {
        if backend.node == self.me {
            let stream = self.runtime.connect(backend.task, backend.target_port).await?;
            return Ok(Box::new(stream));
        }
        let client = self.peers.client(backend.node, Link::Bulk).await.map_err(io::Error::other)?;
        let request = ProxyRequest { task: backend.task, port: backend.target_port };
        let tunnel = client.tunnel(PROXY, &request, DEADLINE).await.map_err(io::Error::other)?;
        Ok(Box::new(tunnel))
    }
}

/// The far end of a tunnel to a task of this node.
pub(crate) async fn serve(
    runtime: Arc<dyn Runtime>,
    _context: Context,
    request: ProxyRequest,
    offer: Offer,
) -> Result<(), Status> {
    let connected = runtime.connect(request.task, request.port).await;
    let mut task = connected.map_err(|error| Status::unavailable(error.to_string()))?;
    let mut tunnel = offer.accept()?;
    // Either side may go away at any time; that is how connections end.
    let _ = copy_bidirectional(&mut tunnel, &mut task).await;
    Ok(())
}

/// Recomputes what the proxy should do whenever assignments or the view change.
pub(crate) async fn compute(
    me: NodeId,
    mut assignments: watch::Receiver<Option<Arc<Assignments>>>,
    mut view: watch::Receiver<Arc<View>>,
    published: watch::Sender<Arc<Wanted>>,
    stop: CancellationToken,
) {
    loop {
        let suspects = suspects(&view.borrow_and_update());
        let now = assignments.borrow_and_update().as_ref().map(|assignments| ingress(assignments));
        if let Some(ingress) = now {
            let wish = wanted(me, &ingress, &suspects);
            published.send_if_modified(|known| {
                let news = **known != wish;
                *known = Arc::new(wish);
                news
            });
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = assignments.changed() => if changed.is_err() { return },
            changed = view.changed() => if changed.is_err() { return },
        }
    }
}

/// Tells `status` which ports should answer and do not.
pub(crate) async fn tell(
    mut problems: watch::Receiver<Arc<network::Problems>>,
    notices: watch::Sender<Arc<Notices>>,
    stop: CancellationToken,
) {
    loop {
        let ports: Vec<_> = problems
            .borrow_and_update()
            .iter()
            .map(|(port, why)| format!("published port {} does not answer here: {why}", port.port))
            .collect();
        notices.send_if_modified(|notices| {
            let news = notices.ports != ports;
            Arc::make_mut(notices).ports = ports;
            news
        });
        tokio::select! {
            () = stop.cancelled() => return,
            changed = problems.changed() => if changed.is_err() { return },
        }
    }
}

/// Nodes that get no new connection: whoever gossip does not hear right now.
pub(crate) fn suspects(view: &View) -> BTreeSet<NodeId> {
    let silent = view.members.values().filter(|member| member.liveness != Liveness::Alive);
    silent.map(|member| member.id).filter(|id| *id != view.me).collect()
}

fn ingress(assignments: &Assignments) -> Vec<Ingress> {
    let entry = |entry: &crate::messages::IngressEntry| Ingress {
        published: PublishedPort { protocol: entry.protocol, port: entry.published_port },
        mode: entry.mode,
        backend: entry.backend.map(|(task, node, target_port)| Backend { task, node, target_port }),
    };
    assignments.ingress.iter().filter(|entry| entry.published_port != 0).map(entry).collect()
}
