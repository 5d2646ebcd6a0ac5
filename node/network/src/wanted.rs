//! Which ports should answer on this node, and which tasks are behind them.

use std::collections::{BTreeMap, BTreeSet};

use crypto::NodeId;
use model::TaskId;
use model::service::{Protocol, PublishMode};

/// A port of this node that clients connect to.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct PublishedPort {
    /// Its protocol.
    pub protocol: Protocol,
    /// Its number.
    pub port: u16,
}

/// One running task behind one published port, as the leader tells every node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ingress {
    /// The published port.
    pub published: PublishedPort,
    /// Whether every node answers, or only the task's.
    pub mode: PublishMode,
    /// The task; `None` keeps the port open while no task runs.
    pub backend: Option<Backend>,
}

/// A task that can take a connection.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Backend {
    /// Which task.
    pub task: TaskId,
    /// Where it runs.
    pub node: NodeId,
    /// Its port inside the container.
    pub target_port: u16,
}

/// Tasks behind one port.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Backends {
    /// On this node: preferred, they cost no hop.
    pub local: Vec<Backend>,
    /// On other nodes that are not suspected.
    pub remote: Vec<Backend>,
}

/// Every port that should answer here.
pub type Wanted = BTreeMap<PublishedPort, Backends>;

/// Computes what should answer on node `me`.
///
/// A port stays open without a backend: a connection is then refused at once by
/// being closed, and no other program takes the port in between.
#[must_use]
pub fn wanted(me: NodeId, ingress: &[Ingress], suspects: &BTreeSet<NodeId>) -> Wanted {
    let mut wanted = Wanted::new();
    for entry in ingress {
        let here = entry.backend.is_some_and(|backend| backend.node == me);
        if entry.mode == PublishMode::Host && !here {
            continue;
        }
        let backends = wanted.entry(entry.published).or_default();
        match entry.backend {
            Some(backend) if here => backends.local.push(backend),
            Some(backend) if !suspects.contains(&backend.node) => backends.remote.push(backend),
            Some(_) | None => {}
        }
    }
    for backends in wanted.values_mut() {
        backends.local.sort_unstable();
        backends.remote.sort_unstable();
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: NodeId = NodeId::from_bytes([1; 16]);
    const OTHER: NodeId = NodeId::from_bytes([2; 16]);
    const WEB: PublishedPort = PublishedPort { protocol: Protocol::Tcp, port: 8080 };

    fn entry(mode: PublishMode, backend: Option<(u8, NodeId)>) -> Ingress {
        let backend = backend.map(|(task, node)| Backend {
            task: TaskId::from_bytes([task; 16]),
            node,
            target_port: 80,
        });
        Ingress { published: WEB, mode, backend }
    }

    fn counts(ingress: &[Ingress], suspects: &[NodeId]) -> Option<(usize, usize)> {
        let suspects = suspects.iter().copied().collect();
        let wanted = wanted(ME, ingress, &suspects);
        wanted.get(&WEB).map(|backends| (backends.local.len(), backends.remote.len()))
    }

    #[test]
    fn every_node_answers_and_a_suspect_gets_nothing() {
        use PublishMode::{Host, Ingress as Mesh};

        let here = Some((1, ME));
        let there = Some((2, OTHER));
        for (ingress, suspects, expected) in [
            (vec![], vec![], None),
            (vec![entry(Mesh, None)], vec![], Some((0, 0))),
            (vec![entry(Mesh, there)], vec![], Some((0, 1))),
            (vec![entry(Mesh, there)], vec![OTHER], Some((0, 0))),
            (vec![entry(Mesh, here), entry(Mesh, there)], vec![OTHER], Some((1, 0))),
            (vec![entry(Mesh, here)], vec![ME], Some((1, 0))),
            (vec![entry(Host, there)], vec![], None),
            (vec![entry(Host, here), entry(Host, there)], vec![], Some((1, 0))),
        ] {
            assert_eq!(counts(&ingress, &suspects), expected, "{ingress:?} {suspects:?}");
        }
    }
}
