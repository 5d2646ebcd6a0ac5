//! Who answers a path: the leader, this node, or the Docker Engine behind it.

/// Who answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Family {
    /// What only the leader knows for certain.
    Cluster,
    /// Networks: those of the cluster, then those of this node.
    Networks,
    /// Events: of the cluster, and of the Docker Engine.
    Events,
    /// This node itself.
    Node,
    /// The Docker Engine, if there is one; else what this node can do alone.
    Engine,
}

impl Family {
    /// By the path.
    pub(super) fn of(path: &str) -> Self {
        let path = path.strip_prefix('/').unwrap_or(path);
        // Ways in and out are this node's; what a user may set is the cluster's.
        if matches!(path, "swarm" | "swarm/update" | "swarm/unlockkey")
            || path.starts_with("skep/tokens/")
        {
            return Self::Cluster;
        }
        match path.split('/').next() {
            Some("nodes" | "services" | "tasks" | "secrets" | "configs") => Self::Cluster,
            Some("networks") => Self::Networks,
            Some("events") => Self::Events,
            Some("_ping" | "version" | "info" | "swarm" | "skep") => Self::Node,
            _ => Self::Engine,
        }
    }
}

/// First parts of paths that Docker Engine has and a node without one cannot serve.
const OF_ENGINE: &[&str] = &[
    "auth",
    "build",
    "commit",
    "containers",
    "distribution",
    "exec",
    "grpc",
    "images",
    "networks",
    "plugins",
    "session",
    "system",
    "volumes",
];

/// Whether Docker Engine would know the path.
pub(super) fn is_of_engine(path: &str) -> bool {
    let first = path.strip_prefix('/').unwrap_or(path).split('/').next().unwrap_or("");
    OF_ENGINE.contains(&first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_part_of_a_path_says_who_answers() {
        for (path, family) in [
            ("/services/web/logs", Family::Cluster),
            ("/networks", Family::Networks),
            ("/events", Family::Events),
            ("/swarm/init", Family::Node),
            ("/swarm", Family::Cluster),
            ("/skep/tokens/x/revoke", Family::Cluster),
            ("/_ping", Family::Node),
            ("/containers/json", Family::Engine),
            ("/servicesx", Family::Engine),
            ("/", Family::Engine),
        ] {
            assert_eq!(Family::of(path), family, "{path}");
        }
        assert!(is_of_engine("/images/json") && !is_of_engine("/nosuch"));
    }
}
