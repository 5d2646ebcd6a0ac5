//! `service create`.

use std::path::Path;

use api::wire::container::{ContainerSpec, TaskSpec};
use api::wire::network::{EndpointSpec, NetworkAttachmentConfig};
use api::wire::service::{Empty, Replicated, ReplicatedJob, ServiceMode, ServiceSpec};

use super::{labels, placement, preference, set_common, words};
use crate::args::service::CreateArgs;
use crate::exit::Failure;
use crate::spec::{mount, port};

/// The spec; `environment` is this process's, for `--env NAME` without a value.
pub(crate) fn spec(
    args: &CreateArgs,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<ServiceSpec, Failure> {
    let (image, command) = match args.image.split_first() {
        Some((image, command)) if !image.is_empty() => (image, command),
        _ => return Err(Failure::usage("an image is needed")),
    };
    let entrypoint = args.entrypoint.as_deref().map(words::split).transpose();
    let mut env = Vec::new();
    for file in &args.env_file {
        env.extend(env_lines(file)?);
    }
    env.extend(args.env.iter().cloned());
    let container = ContainerSpec {
        image: image.clone(),
        labels: labels(&args.container_labels),
        command: entrypoint.map_err(Failure::usage)?.unwrap_or_default(),
        args: command.to_vec(),
        env: resolve_env(env, environment),
        init: Some(false),
        mounts: args.mounts.iter().map(mount::MountFlag::to_wire).collect(),
        dns_config: Some(api::wire::container::DnsConfig::default()),
        ..ContainerSpec::default()
    };
    let mut spec = ServiceSpec {
        name: args.name.clone(),
        labels: labels(&args.labels),
        task_template: TaskSpec { container_spec: Some(container), ..TaskSpec::default() },
        mode: mode(&args.mode)?,
        ..ServiceSpec::default()
    };
    let ports = args.publish.iter().flat_map(port::PortFlag::to_wire).collect();
    spec.endpoint_spec = Some(EndpointSpec { mode: "vip".to_owned(), ports });
    let networks = args.networks.iter();
    spec.task_template.networks = networks.map(|name| network(name)).collect();
    set_common(&mut spec, &args.common)?;
    if let Some(job) = &mut spec.mode.replicated_job {
        // Docker: all at once, one in all, if not said.
        let total = *job.total_completions.get_or_insert(1);
        job.max_concurrent.get_or_insert(total);
    }
    placement(&mut spec).constraints.clone_from(&args.constraints);
    placement(&mut spec).preferences =
        args.placement_prefs.iter().map(|over| preference(over)).collect();
    Ok(spec)
}

fn mode(text: &str) -> Result<ServiceMode, Failure> {
    let mut mode = ServiceMode::default();
    match text {
        "replicated" => mode.replicated = Some(Replicated::default()),
        "global" => mode.global = Some(Empty {}),
        "replicated-job" => mode.replicated_job = Some(ReplicatedJob::default()),
        "global-job" => mode.global_job = Some(Empty {}),
        _ => {
            let known = "replicated, global, replicated-job and global-job are";
            return Err(Failure::usage(format!("{text}: no such mode; {known}")));
        }
    }
    Ok(mode)
}

/// `NAME` or `name=NAME,alias=A`.
pub(super) fn network(text: &str) -> NetworkAttachmentConfig {
    let mut network = NetworkAttachmentConfig::default();
    if !text.contains('=') {
        text.clone_into(&mut network.target);
        return network;
    }
    for (key, value) in text.split(',').map(super::pair) {
        match key {
            "name" => value.clone_into(&mut network.target),
            "alias" => network.aliases.push(value.to_owned()),
            "driver-opt" => {
                let (name, value) = super::pair(value);
                network.driver_opts.insert(name.to_owned(), value.to_owned());
            }
            _ => {}
        }
    }
    network
}

/// Lines of a file that are not empty and no comments.
fn env_lines(file: &Path) -> Result<Vec<String>, Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::new(format!("{}: {error}", file.display())))?;
    let lines = text.lines().map(str::trim_start);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.map(str::to_owned).collect())
}

/// `NAME` alone takes the value from here, and is left out if there is none. Of a repeated name
/// the last value stays, at the place of the first.
pub(super) fn resolve_env(
    lines: Vec<String>,
    environment: impl Fn(&str) -> Option<String>,
) -> Vec<String> {
    let mut resolved: Vec<String> = Vec::new();
    for line in lines {
        let line = if line.contains('=') {
            Some(line)
        } else {
            environment(&line).map(|value| format!("{line}={value}"))
        };
        let Some(line) = line else { continue };
        let (name, _) = super::pair(&line);
        match resolved.iter_mut().find(|old| super::pair(old).0 == name) {
            Some(old) => *old = line,
            None => resolved.push(line),
        }
    }
    resolved
}
