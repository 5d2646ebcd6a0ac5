//! Whether a node fits a task: what is asked of the node itself, and of the room on it.

use std::net::IpAddr;

use crypto::NodeId;
use model::constraint::Key;
use model::service::{Placement, Platform, Resources};
use model::{Constraint, DesiredRole, Grant, Node, Task};

use crate::load::{NodeLoad, generic_amount, host_ports};

/// Why a node does not fit, in the order in which it is asked; the first counts.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Rejection {
    Unavailable,
    Resources,
    Constraints,
    Platform,
    HostPort,
    MaxReplicas,
}

impl Rejection {
    /// Docker Swarm's words.
    pub(crate) fn explain(self, count: u64) -> String {
        let nodes = if count == 1 { "1 node".to_owned() } else { format!("{count} nodes") };
        match self {
            Self::Unavailable => format!("{nodes} not available for new tasks"),
            Self::Resources => format!("insufficient resources on {nodes}"),
            Self::Constraints => format!("scheduling constraints not satisfied on {nodes}"),
            Self::Platform => format!("unsupported platform on {nodes}"),
            Self::HostPort => format!("host-mode port already in use on {nodes}"),
            Self::MaxReplicas => "max replicas per node limit exceed".to_owned(),
        }
    }
}

/// Whether the node itself is one that tasks of this service may run on.
pub(crate) fn is_suitable(node: &Node, placement: &Placement) -> bool {
    meets_constraints(node, placement) && meets_platforms(node, &placement.platforms)
}

/// Whether all constraints hold. One that makes no sense holds nowhere.
pub(crate) fn meets_constraints(node: &Node, placement: &Placement) -> bool {
    placement
        .constraints
        .iter()
        .all(|text| Constraint::parse(text).is_ok_and(|constraint| holds(&constraint, node)))
}

/// Whether one constraint holds. A missing label is unequal to every value.
pub(crate) fn holds(constraint: &Constraint, node: &Node) -> bool {
    let is = |text: &str| text.eq_ignore_ascii_case(&constraint.value);
    let platform = &node.description.platform;
    let equal = match &constraint.key {
        Key::Id => is(&node.id.to_string()),
        Key::Hostname => is(&node.description.hostname),
        Key::Ip => is_within(&node.description.address, &constraint.value),
        Key::Role => is(role(node)),
        Key::Os => is(&platform.os),
        Key::Arch => architecture(&platform.architecture) == architecture(&constraint.value),
        Key::NodeLabel(label) => node.spec.labels.get(label).is_some_and(|value| is(value)),
        Key::EngineLabel(label) => {
            node.description.engine_labels.get(label).is_some_and(|value| is(value))
        }
    };
    equal == constraint.equal
}

/// Every eligible node answers as a manager; who votes at the moment is no reason to
/// move a task.
const fn role(node: &Node) -> &'static str {
    match (node.grant, node.spec.desired_role) {
        (Grant::Worker, _) | (Grant::Eligible, DesiredRole::Worker) => "worker",
        (Grant::Eligible, DesiredRole::Automatic | DesiredRole::Manager) => "manager",
    }
}

/// Whether the address in `ip:port` is `range`, which may be one address.
fn is_within(address: &str, range: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() else { return false };
    let (base, length) = range.split_once('/').map_or((range, None), |(b, l)| (b, Some(l)));
    let (address, base, width) = match (address, base.parse::<IpAddr>()) {
        (IpAddr::V4(a), Ok(IpAddr::V4(b))) => {
            (u128::from(a.to_bits()), u128::from(b.to_bits()), 32)
        }
        (IpAddr::V6(a), Ok(IpAddr::V6(b))) => (a.to_bits(), b.to_bits(), 128),
        _ => return false,
    };
    let Ok(length) = length.map_or(Ok(width), str::parse::<u32>) else { return false };
    length <= width && (length == 0 || (address ^ base).checked_shr(width - length) == Some(0))
}

/// Docker's and the kernel's names for one thing.
fn architecture(name: &str) -> String {
    match name.to_ascii_lowercase().as_str() {
        "x86_64" => "amd64".to_owned(),
        "aarch64" => "arm64".to_owned(),
        other => other.to_owned(),
    }
}

pub(crate) fn meets_platforms(node: &Node, platforms: &[Platform]) -> bool {
    let mine = &node.description.platform;
    let fits = |wanted: &Platform| {
        (wanted.os.is_empty() || wanted.os.eq_ignore_ascii_case(&mine.os))
            && (wanted.architecture.is_empty()
                || architecture(&wanted.architecture) == architecture(&mine.architecture))
    };
    platforms.is_empty() || platforms.iter().any(fits)
}

/// Whether the node has room for one more task.
pub(crate) fn check_room(node: &Node, load: &NodeLoad, task: &Task) -> Result<(), Rejection> {
    if !has_resources(&node.description.resources, load, task) {
        return Err(Rejection::Resources);
    }
    if host_ports(task).any(|port| load.host_ports.contains(&port)) {
        return Err(Rejection::HostPort);
    }
    let max = task.spec.placement.max_replicas_per_node;
    if 0 < max && max <= load.of_service(task.service) {
        return Err(Rejection::MaxReplicas);
    }
    Ok(())
}

fn has_resources(total: &Resources, load: &NodeLoad, task: &Task) -> bool {
    let Some(wanted) = &task.spec.resources.reservations else { return true };
    let fits =
        |wanted: i64, used: i64, total: i64| wanted <= 0 || wanted.saturating_add(used) <= total;
    fits(wanted.nano_cpus, load.nano_cpus, total.nano_cpus)
        && fits(wanted.memory_bytes, load.memory_bytes, total.memory_bytes)
        && wanted.generic.iter().all(|(kind, amount)| {
            let used = load.generic.get(kind).copied().unwrap_or(0);
            let total = total.generic.get(kind).map_or(0, generic_amount);
            fits(generic_amount(amount), used, total)
        })
}

/// The value that a node has for a spread preference; `None` for a preference that is no
/// label, which has no effect, as in Docker Swarm.
pub(crate) fn spread_value<'a>(node: &'a Node, preference: &str) -> Option<&'a str> {
    let labels =
        [("node.labels.", &node.spec.labels), ("engine.labels.", &node.description.engine_labels)];
    labels.into_iter().find_map(|(prefix, labels)| {
        let (head, label) = preference.split_at_checked(prefix.len())?;
        // Nodes without the label are one group of their own.
        head.eq_ignore_ascii_case(prefix).then(|| labels.get(label).map_or("", String::as_str))
    })
}

/// Ids only order nodes that are alike in everything else.
pub(crate) type Rank = (bool, Vec<u64>, u64, u64, NodeId);
