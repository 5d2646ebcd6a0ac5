//! `skep service`.

mod logs;
mod pretty;

pub(crate) use self::pretty::cpus;

use std::collections::BTreeMap;

use api::client::{Client, ClientError};
use api::filters::Filters;
use api::wire::service::{Service, ServiceSpec};
use api::wire::task::Task;

use crate::args::service::{
    CreateArgs, ListArgs, ServiceCommand, TaskListArgs, UpdateArgs, WaitArgs,
};
use crate::exit::Failure;
use crate::format;
use crate::out::Out;
use crate::rows::{self, TaskContext};
use crate::spec;
use crate::spec::file::FileFlag;
use crate::{ago, progress, registry};

pub(crate) async fn run(
    command: ServiceCommand,
    client: &Client,
    out: &mut Out,
) -> Result<(), Failure> {
    match command {
        ServiceCommand::Create(args) => create(&args, client, out).await,
        ServiceCommand::Ls(args) => list(&args, client, out).await,
        ServiceCommand::Ps { list, services } => ps(&services, &list, client, out).await,
        ServiceCommand::Inspect { format, pretty, services } => {
            inspect(&services, format.as_deref(), pretty, (client, out)).await
        }
        ServiceCommand::Scale { wait, scales } => scale(&scales, wait, client, out).await,
        ServiceCommand::Update(args) => update(&args, client, out).await,
        ServiceCommand::Rollback { wait, service } => rollback(&service, wait, client, out).await,
        ServiceCommand::Rm { services } => remove(&services, client, out).await,
        ServiceCommand::Logs(args) => logs::run(&args, client, out).await,
    }
}

async fn create(args: &CreateArgs, client: &Client, out: &mut Out) -> Result<(), Failure> {
    let mut spec = spec::create::spec(args, |name| std::env::var(name).ok())?;
    add_files(&mut spec, &args.secrets, &args.configs, client).await?;
    let auth = credentials(&spec, args.common.with_registry_auth).await?;
    let created = client.create_service(&spec, auth.as_deref()).await?;
    created.warnings.iter().for_each(|warning| out.warn(warning));
    out.line(&created.id)?;
    wait_for(&created.id, true, args.wait, (client, out)).await?;
    if !args.wait.detach {
        warn_of_ports(&spec, client, out).await;
    }
    Ok(())
}

/// A port that another program holds answers for that program, though every task runs.
async fn warn_of_ports(spec: &ServiceSpec, client: &Client, out: &mut Out) {
    let ports = spec.endpoint_spec.iter().flat_map(|endpoint| &endpoint.ports);
    let published: Vec<_> =
        ports.map(|port| format!("published port {} ", port.published_port)).collect();
    if published.is_empty() {
        return;
    }
    // The service runs: that its node does not answer now is no failure of it.
    let Ok(report) = client.status().await else { return };
    let concerns = |warning: &&String| published.iter().any(|port| warning.starts_with(port));
    report.warnings.iter().filter(concerns).for_each(|warning| out.warn(warning));
}

/// Adds secrets and configs, whose ids only the daemon knows.
async fn add_files(
    spec: &mut ServiceSpec,
    secrets: &[FileFlag],
    configs: &[FileFlag],
    client: &Client,
) -> Result<(), Failure> {
    let secrets = spec::file::secrets(secrets, client).await?;
    let configs = spec::file::configs(configs, client).await?;
    let container = spec.task_template.container_spec.get_or_insert_default();
    container.secrets.extend(secrets);
    container.configs.extend(configs);
    Ok(())
}

/// Credentials for the image, if they are asked for.
async fn credentials(spec: &ServiceSpec, wanted: bool) -> Result<Option<String>, Failure> {
    let image = spec.task_template.container_spec.as_ref().map(|spec| &spec.image);
    match image {
        Some(image) if wanted => registry::credentials(image).await,
        _ => Ok(None),
    }
}

/// Waits until the tasks run, unless told not to.
async fn wait_for(
    id: &str,
    is_new: bool,
    wait: WaitArgs,
    (client, out): (&Client, &mut Out),
) -> Result<(), Failure> {
    if wait.detach {
        return Ok(());
    }
    progress::wait(id, is_new, wait, (client, out)).await
}

async fn list(args: &ListArgs, client: &Client, out: &mut Out) -> Result<(), Failure> {
    let mut services = client.services(&filters(&args.filter)?, true).await?;
    services.sort_by(|a, b| rows::natural(&a.spec.name, &b.spec.name));
    let rows: Vec<_> = services.iter().map(rows::service).collect();
    out.bytes(rows::SERVICES.render(&rows, args.format.as_deref(), args.quiet)?.as_bytes())
}

/// `--filter K=V`.
pub(crate) fn filters(texts: &[String]) -> Result<Filters, Failure> {
    let mut filters = Filters::default();
    for text in texts {
        let Some((key, value)) = text.split_once('=') else {
            return Err(Failure::usage(format!(
                "invalid argument {text:?} for \"-f, --filter\": write it as in name=web"
            )));
        };
        filters = filters.and(&key.trim().to_lowercase(), value.trim());
    }
    Ok(filters)
}

/// One service; Docker has words of its own for one that is not there.
async fn find(reference: &str, defaults: bool, client: &Client) -> Result<Service, Failure> {
    match client.service(reference, defaults).await {
        Ok(service) => Ok(service),
        Err(error) if error.is_status(404) => {
            Err(Failure::new(format!("no such service: {reference}")))
        }
        Err(error) => Err(error.into()),
    }
}

async fn ps(
    references: &[String],
    args: &TaskListArgs,
    client: &Client,
    out: &mut Out,
) -> Result<(), Failure> {
    let mut wanted = filters(&args.list.filter)?;
    let mut services = BTreeMap::new();
    let mut missing = Vec::new();
    for reference in references {
        match find(reference, false, client).await {
            Ok(service) => {
                wanted = wanted.and("service", service.id.as_str());
                services.insert(service.id, service.spec.name);
            }
            Err(failure) if failure.code() == crate::exit::FAILED => {
                missing.push(failure.to_string());
            }
            Err(failure) => return Err(failure),
        }
    }
    if !services.is_empty() {
        let tasks = client.tasks(&wanted).await?;
        show_tasks(&tasks, services, args, (client, out)).await?;
    }
    if missing.is_empty() { Ok(()) } else { Err(Failure::new(missing.join("\n"))) }
}

/// The table of `service ps` and `node ps`.
pub(crate) async fn show_tasks(
    tasks: &[Task],
    services: BTreeMap<String, String>,
    args: &TaskListArgs,
    (client, out): (&Client, &mut Out),
) -> Result<(), Failure> {
    let nodes = if args.no_resolve || tasks.is_empty() {
        Vec::new()
    } else {
        client.nodes(&Filters::default()).await?
    };
    let nodes = nodes.into_iter().map(|node| (node.id, node.description.hostname));
    let quiet = args.list.quiet;
    let context = TaskContext {
        services: if args.no_resolve { BTreeMap::new() } else { services },
        nodes: nodes.collect(),
        // Docker shows whole ids to scripts.
        no_trunc: args.no_trunc || quiet,
        now_unix_nanos: ago::now_unix_nanos(),
    };
    let rows = context.rows(tasks, args.list.format.is_none());
    let text = rows::TASKS.render(&rows, args.list.format.as_deref(), quiet)?;
    out.bytes(text.as_bytes())
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
        match find(reference, true, client).await {
            Ok(service) => found.push(service),
            Err(failure) if failure.code() == crate::exit::FAILED => {
                missing = Some(failure);
                break;
            }
            Err(failure) => return Err(failure),
        }
    }
    if pretty {
        let now = ago::now_unix_nanos();
        for service in &found {
            out.bytes(pretty::show(service, now).as_bytes())?;
        }
    } else {
        out.bytes(format::inspect(&found, format)?.as_bytes())?;
    }
    missing.map_or(Ok(()), Err)
}

async fn update(args: &UpdateArgs, client: &Client, out: &mut Out) -> Result<(), Failure> {
    if args.rollback {
        return rollback(&args.service, args.wait, client, out).await;
    }
    let service = client.service(&args.service, false).await?;
    let mut spec = service.spec.clone();
    spec::update::apply(&mut spec, args, |name| std::env::var(name).ok())?;
    add_files(&mut spec, &args.secret_add, &args.config_add, client).await?;
    let auth = credentials(&spec, args.common.with_registry_auth).await?;
    let updated = client.update_service(&service, &spec, auth.as_deref()).await?;
    updated.warnings.iter().for_each(|warning| out.warn(warning));
    out.line(&args.service)?;
    wait_for(&service.id, false, args.wait, (client, out)).await
}

async fn rollback(
    reference: &str,
    wait: WaitArgs,
    client: &Client,
    out: &mut Out,
) -> Result<(), Failure> {
    let service = client.service(reference, false).await?;
    let updated = client.roll_back_service(&service).await?;
    updated.warnings.iter().for_each(|warning| out.warn(warning));
    out.line(reference)?;
    wait_for(&service.id, false, wait, (client, out)).await
}

async fn scale(
    scales: &[String],
    wait: WaitArgs,
    client: &Client,
    out: &mut Out,
) -> Result<(), Failure> {
    let mut ids = Vec::new();
    let mut failures: Vec<Failure> = Vec::new();
    for text in scales {
        let Some((name, number)) = text.split_once('=') else {
            let usage = format!("invalid scale specifier {text:?}: write it as in web=3");
            return Err(Failure::usage(usage));
        };
        match scale_one(name, number, client).await {
            Ok(id) => {
                out.line(format!("{name} scaled to {number}"))?;
                ids.push(id);
            }
            Err(failure) => failures.push(failure.of(name)),
        }
    }
    for id in &ids {
        wait_for(id, false, wait, (client, out)).await?;
    }
    first_of(failures)
}

async fn scale_one(name: &str, number: &str, client: &Client) -> Result<String, Failure> {
    let replicas: u64 = number.parse().map_err(|_| {
        Failure::new(format!(
            "invalid replicas value {number}: strconv.ParseUint: parsing {number:?}: invalid syntax"
        ))
    })?;
    let service = client.service(name, false).await?;
    let mut spec = service.spec.clone();
    if let Some(job) = &mut spec.mode.replicated_job {
        job.total_completions = Some(replicas);
    } else if let Some(replicated) = &mut spec.mode.replicated {
        replicated.replicas = Some(replicas);
    } else {
        let text = "scale can only be used with replicated or replicated-job mode";
        return Err(Failure::new(text));
    }
    client.update_service(&service, &spec, None).await?;
    Ok(service.id)
}

async fn remove(references: &[String], client: &Client, out: &mut Out) -> Result<(), Failure> {
    let mut failures = Vec::new();
    for reference in references {
        match client.remove_service(reference).await {
            Ok(()) => out.line(reference)?,
            Err(error @ ClientError::Refused(_)) => failures.push(error.into()),
            Err(error) => return Err(error.into()),
        }
    }
    first_of(failures)
}

/// All failures in words, with the exit code of the first.
pub(crate) fn first_of(failures: Vec<Failure>) -> Result<(), Failure> {
    let words: Vec<_> = failures.iter().map(ToString::to_string).collect();
    match failures.into_iter().next() {
        None => Ok(()),
        Some(first) => Err(first.with_words(words.join("\n"))),
    }
}
