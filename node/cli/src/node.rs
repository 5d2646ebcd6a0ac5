//! `skep node`.

mod pretty;

use std::collections::BTreeMap;

use api::client::{Client, ClientError};
use api::filters::Filters;
use api::wire::node::{Node, NodeSpec};

use crate::args::node::{Availability, NodeCommand, NodeUpdateArgs, Role};
use crate::args::service::{ListArgs, TaskListArgs};
use crate::exit::Failure;
use crate::format;
use crate::out::Out;
use crate::rows;
use crate::service::{filters, first_of, show_tasks};

pub(crate) async fn run(
    command: NodeCommand,
    client: &Client,
    out: &mut Out,
) -> Result<(), Failure> {
    match command {
        NodeCommand::Ls(args) => list(&args, client, out).await,
        NodeCommand::Inspect { format, pretty, nodes } => {
            inspect(&nodes, format.as_deref(), pretty, (client, out)).await
        }
        NodeCommand::Update(args) => {
            change(&args.node, client, |spec| apply(spec, &args)).await?;
            out.line(&args.node)
        }
        NodeCommand::Promote { nodes } => set_role(&nodes, "manager", client, out).await,
        NodeCommand::Demote { nodes } => set_role(&nodes, "worker", client, out).await,
        NodeCommand::Rm { force, nodes } => remove(&nodes, force, client, out).await,
        NodeCommand::Ps { list, nodes } => ps(&nodes, &list, client, out).await,
    }
}

async fn list(args: &ListArgs, client: &Client, out: &mut Out) -> Result<(), Failure> {
    let mut nodes = client.nodes(&filters(&args.filter)?).await?;
    nodes.sort_by(|a, b| rows::natural(&a.description.hostname, &b.description.hostname));
    let me = if args.quiet || nodes.is_empty() {
        String::new()
    } else {
        client.info().await?.swarm.node_id
    };
    let rows: Vec<_> = nodes.iter().map(|node| rows::node(node, &me)).collect();
    out.bytes(rows::NODES.render(&rows, args.format.as_deref(), args.quiet)?.as_bytes())
}

/// The id behind `self`; other references stay as they are.
async fn resolve(reference: &str, client: &Client) -> Result<String, ClientError> {
    if reference != "self" {
        return Ok(reference.to_owned());
    }
    let id = client.info().await?.swarm.node_id;
    if id.is_empty() {
        // Outside a cluster: the daemon says so in its own words.
        client.nodes(&Filters::default()).await?;
    }
    Ok(id)
}

async fn find(reference: &str, client: &Client) -> Result<Node, ClientError> {
    client.node(&resolve(reference, client).await?).await
}

async fn inspect(
    references: &[String],
    format: Option<&str>,
    pretty: bool,
    (client, out): (&Client, &mut Out),
) -> Result<(), Failure> {
    let mut found = Vec::new();
    let mut missing = None;
    for reference in references {
        match find(reference, client).await {
            Ok(node) => found.push(node),
            Err(error) if error.is_status(404) => {
                missing = Some(Failure::from(error));
                break;
            }
            Err(error) => return Err(error.into()),
        }
    }
    if pretty {
        for node in &found {
            out.bytes(pretty::show(node).as_bytes())?;
        }
    } else {
        out.bytes(format::inspect(&found, format)?.as_bytes())?;
    }
    missing.map_or(Ok(()), Err)
}

/// Reads a node's spec, changes it, and writes it if it differs.
async fn change(
    reference: &str,
    client: &Client,
    change: impl FnOnce(&mut NodeSpec) -> Result<(), Failure>,
) -> Result<bool, Failure> {
    let node = find(reference, client).await?;
    let mut spec = node.spec.clone();
    change(&mut spec)?;
    if spec == node.spec {
        return Ok(false);
    }
    client.update_node(&node.id, node.version.index, &spec).await?;
    Ok(true)
}

fn apply(spec: &mut NodeSpec, args: &NodeUpdateArgs) -> Result<(), Failure> {
    for label in &args.label_rm {
        if spec.labels.remove(label).is_none() {
            return Err(Failure::new(format!("key {label} doesn't exist in node's labels")));
        }
    }
    for label in &args.label_add {
        let (name, value) = crate::spec::pair(label);
        spec.labels.insert(name.to_owned(), value.to_owned());
    }
    if let Some(availability) = args.availability {
        let word = match availability {
            Availability::Active => "active",
            Availability::Pause => "pause",
            Availability::Drain => "drain",
        };
        word.clone_into(&mut spec.availability);
    }
    if let Some(role) = args.role {
        let word = match role {
            Role::Worker => "worker",
            Role::Manager => "manager",
        };
        word.clone_into(&mut spec.role);
    }
    Ok(())
}

async fn set_role(
    references: &[String],
    role: &str,
    client: &Client,
    out: &mut Out,
) -> Result<(), Failure> {
    let mut failures = Vec::new();
    for reference in references {
        let changed = change(reference, client, |spec| {
            role.clone_into(&mut spec.role);
            Ok(())
        });
        match changed.await {
            Ok(true) if role == "manager" => {
                out.line(format!("Node {reference} promoted to a manager in the swarm."))?;
            }
            Ok(true) => {
                out.line(format!("Manager {reference} demoted in the swarm."))?;
            }
            Ok(false) => out.line(format!("Node {reference} is already a {role}."))?,
            Err(failure) => failures.push(failure),
        }
    }
    first_of(failures)
}

async fn remove(
    references: &[String],
    force: bool,
    client: &Client,
    out: &mut Out,
) -> Result<(), Failure> {
    let mut failures = Vec::new();
    for reference in references {
        match client.remove_node(reference, force).await {
            Ok(()) => out.line(reference)?,
            Err(error @ ClientError::Refused(_)) => failures.push(error.into()),
            Err(error) => return Err(error.into()),
        }
    }
    first_of(failures)
}

async fn ps(
    references: &[String],
    args: &TaskListArgs,
    client: &Client,
    out: &mut Out,
) -> Result<(), Failure> {
    let here = ["self".to_owned()];
    let references = if references.is_empty() { &here[..] } else { references };
    let mut wanted = filters(&args.list.filter)?;
    for reference in references {
        wanted = wanted.and("node", find(reference, client).await?.id);
    }
    let tasks = client.tasks(&wanted).await?;
    let services = client.services(&Filters::default(), false).await?;
    let services: BTreeMap<_, _> =
        services.into_iter().map(|service| (service.id, service.spec.name)).collect();
    show_tasks(&tasks, services, args, (client, out)).await
}
