//! Rows of tables, field by field as Docker's CLI names them.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use api::wire::network::PortConfig;
use api::wire::node::Node;
use api::wire::service::Service;
use api::wire::task::Task;
use serde_json::{Value, json};

use crate::ago;
use crate::format::Listing;
use crate::format::value::title;

/// What tables show of an id.
const SHORT_ID: usize = 12;
/// What `ps` shows of an error.
const SHORT_ERROR: usize = 30;

pub(crate) const SERVICES: Listing = Listing {
    fields: &[
        ("ID", "ID"),
        ("Name", "NAME"),
        ("Mode", "MODE"),
        ("Replicas", "REPLICAS"),
        ("Image", "IMAGE"),
        ("Ports", "PORTS"),
    ],
    table: "{{.ID}}\t{{.Name}}\t{{.Mode}}\t{{.Replicas}}\t{{.Image}}\t{{.Ports}}",
    quiet: "{{.ID}}",
};

pub(crate) const TASKS: Listing = Listing {
    fields: &[
        ("ID", "ID"),
        ("Name", "NAME"),
        ("Image", "IMAGE"),
        ("Node", "NODE"),
        ("DesiredState", "DESIRED STATE"),
        ("CurrentState", "CURRENT STATE"),
        ("Error", "ERROR"),
        ("Ports", "PORTS"),
    ],
    table: "{{.ID}}\t{{.Name}}\t{{.Image}}\t{{.Node}}\t{{.DesiredState}}\t{{.CurrentState}}\t\
            {{.Error}}\t{{.Ports}}",
    quiet: "{{.ID}}",
};

pub(crate) const NODES: Listing = Listing {
    fields: &[
        ("ID", "ID"),
        ("Self", ""),
        ("Hostname", "HOSTNAME"),
        ("Status", "STATUS"),
        ("Availability", "AVAILABILITY"),
        ("ManagerStatus", "MANAGER STATUS"),
        ("TLSStatus", "TLS STATUS"),
        ("EngineVersion", "ENGINE VERSION"),
    ],
    table: "{{.ID}} {{if .Self}}*{{else}} {{end}}\t{{.Hostname}}\t{{.Status}}\t{{.Availability}}\t\
            {{.ManagerStatus}}\t{{.EngineVersion}}",
    quiet: "{{.ID}}",
};

/// A row of `service ls`.
pub(crate) fn service(service: &Service) -> Value {
    let spec = &service.spec;
    let image = spec.task_template.container_spec.as_ref().map_or("", |spec| &spec.image);
    json!({
        "ID": short(&service.id),
        "Name": spec.name,
        "Mode": mode(service),
        "Replicas": replicas(service),
        "Image": without_digest(image),
        "Ports": ports(&service.endpoint.ports, "ingress"),
    })
}

fn mode(service: &Service) -> &'static str {
    let mode = &service.spec.mode;
    if mode.global.is_some() {
        "global"
    } else if mode.replicated_job.is_some() {
        "replicated job"
    } else if mode.global_job.is_some() {
        "global job"
    } else {
        "replicated"
    }
}

fn replicas(service: &Service) -> String {
    let status = service.service_status.unwrap_or_default();
    let counts = format!("{}/{}", status.running_tasks, status.desired_tasks);
    let mode = &service.spec.mode;
    if let Some(job) = &mode.replicated_job {
        let total = job.total_completions.unwrap_or(1);
        return format!("{counts} ({}/{total} completed)", status.completed_tasks);
    }
    if mode.global_job.is_some() {
        let done = status.completed_tasks;
        return format!("{counts} ({done}/{} completed)", done + status.desired_tasks);
    }
    let placement = service.spec.task_template.placement.as_ref();
    match placement.map_or(0, |placement| placement.max_replicas) {
        0 => counts,
        most => format!("{counts} (max {most} per node)"),
    }
}

/// A row of `node ls`.
pub(crate) fn node(node: &Node, me: &str) -> Value {
    let manager = node.manager_status.as_ref().map_or_else(String::new, |status| {
        if status.leader { "Leader".to_owned() } else { title(&status.reachability) }
    });
    json!({
        "ID": node.id,
        "Self": node.id == me,
        "Hostname": node.description.hostname,
        "Status": title(&node.status.state),
        "Availability": title(&node.spec.availability),
        "ManagerStatus": manager,
        "TLSStatus": "Ready",
        "EngineVersion": node.description.engine.engine_version,
    })
}

/// What rows of tasks need to know.
pub(crate) struct TaskContext {
    /// Names by id.
    pub(crate) services: BTreeMap<String, String>,
    /// Host names by id.
    pub(crate) nodes: BTreeMap<String, String>,
    /// Whole ids and errors.
    pub(crate) no_trunc: bool,
    /// The clock.
    pub(crate) now_unix_nanos: u64,
}

impl TaskContext {
    /// `web.1`, or `agent.<node id>` of a global service.
    pub(crate) fn name(&self, task: &Task) -> String {
        let service = self.services.get(&task.service_id).unwrap_or(&task.service_id);
        if task.slot == 0 && !task.node_id.is_empty() {
            format!("{service}.{}", task.node_id)
        } else {
            format!("{service}.{}", task.slot)
        }
    }

    fn node<'a>(&'a self, id: &'a str) -> &'a str {
        self.nodes.get(id).map_or(id, String::as_str)
    }

    /// Rows of `ps`: slot by slot, newest first, older ones marked as history.
    pub(crate) fn rows(&self, tasks: &[Task], names_too: bool) -> Vec<Value> {
        let mut named: Vec<_> = tasks.iter().map(|task| (self.name(task), task)).collect();
        named.sort_by(|(a, task), (b, other)| {
            natural(a, b).then_with(|| created(other).cmp(&created(task)))
        });
        let mut last = "";
        let rows = named.iter().map(|(name, task)| {
            let history = last == name && names_too;
            last = name;
            self.row(task, if history { format!(" \\_ {name}") } else { name.clone() })
        });
        rows.collect()
    }

    fn row(&self, task: &Task, name: String) -> Value {
        let status = &task.status;
        let image = task.spec.container_spec.as_ref().map_or("", |spec| &spec.image);
        let since = ago::seconds_since(&status.timestamp, self.now_unix_nanos).unwrap_or(0);
        let ago = ago::human(since).to_lowercase();
        json!({
            "ID": if self.no_trunc { &task.id } else { short(&task.id) },
            "Name": name,
            "Image": if self.no_trunc { image } else { without_digest(image) },
            "Node": self.node(&task.node_id),
            "DesiredState": title(&task.desired_state),
            "CurrentState": format!("{} {ago} ago", title(&status.state)),
            "Error": error(&status.err, self.no_trunc),
            "Ports": ports(&status.port_status.ports, "host"),
        })
    }
}

fn created(task: &Task) -> u64 {
    api::wire::time::parse(&task.created_at).unwrap_or(0)
}

fn error(text: &str, no_trunc: bool) -> String {
    if text.is_empty() {
        return String::new();
    }
    if no_trunc || text.chars().count() <= SHORT_ERROR {
        return format!("\"{text}\"");
    }
    let start: String = text.chars().take(SHORT_ERROR - 1).collect();
    format!("\"{start}…\"")
}

/// The first characters of an id.
pub(crate) fn short(id: &str) -> &str {
    id.get(..SHORT_ID).unwrap_or(id)
}

/// `name:tag` of `name:tag@sha256:…`.
pub(crate) fn without_digest(image: &str) -> &str {
    match image.split_once('@') {
        Some((name, _)) if name.rsplit('/').next().is_some_and(|last| last.contains(':')) => name,
        _ => image,
    }
}

/// `*:8080->80/tcp`; neighbours become ranges.
pub(crate) fn ports(ports: &[PortConfig], mode: &str) -> String {
    let mut all: Vec<_> = ports.iter().filter(|port| port.publish_mode == mode).collect();
    all.sort_by_key(|port| (&port.protocol, port.published_port, port.target_port));
    let mut groups: Vec<(&PortConfig, u32)> = Vec::new();
    for port in all {
        match groups.last_mut() {
            Some((first, more))
                if first.protocol == port.protocol
                    && first.published_port + *more + 1 == port.published_port
                    && first.target_port + *more + 1 == port.target_port =>
            {
                *more += 1;
            }
            _ => groups.push((port, 0)),
        }
    }
    let texts = groups.iter().map(|(port, more)| {
        let range = |first: u32| match more {
            0 => first.to_string(),
            more => format!("{first}-{}", first + more),
        };
        let (published, target) = (range(port.published_port), range(port.target_port));
        format!("*:{published}->{target}/{}", port.protocol)
    });
    texts.collect::<Vec<_>>().join(", ")
}

/// Numbers in names count as numbers: `web.2` comes before `web.10`.
pub(crate) fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let (chunk_a, rest_a) = chunk(a);
        let (chunk_b, rest_b) = chunk(b);
        let ordering = match (chunk_a.parse::<u64>(), chunk_b.parse::<u64>()) {
            (Ok(number_a), Ok(number_b)) => number_a.cmp(&number_b),
            _ => chunk_a.cmp(chunk_b),
        };
        if ordering != Ordering::Equal || (chunk_a.is_empty() && chunk_b.is_empty()) {
            return ordering;
        }
        (a, b) = (rest_a, rest_b);
    }
}

/// The digits, or what is no digit, that a text begins with.
fn chunk(text: &str) -> (&str, &str) {
    let digits = text.starts_with(|c: char| c.is_ascii_digit());
    let end = text.find(|c: char| c.is_ascii_digit() != digits).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests;
