//! What a service spec must be like, whatever the state of the cluster is.
//!
//! The texts are Docker Swarm's where it has one.

use std::collections::BTreeSet;

use crate::command::Refused;
use crate::constraint::Constraint;
use crate::service::{
    ContainerSpec, EndpointMode, EndpointSpec, FileTarget, HealthCheck, Limits, Placement,
    PublishMode, Resources, ServiceMode, ServiceSpec, TaskSpec, UpdateConfig,
};

/// More replicas than any cluster here has room for: a slip of the finger, not a wish.
pub const REPLICAS_MAX: u64 = 100_000;
/// Longest spec in bytes: tasks carry it too, and a plan with several must fit one entry.
pub const SPEC_BYTES_MAX: usize = 128 * 1024;
/// Docker's: a thousandth of a CPU.
const NANO_CPUS_MIN: i64 = 1_000_000;
/// Docker's: 4 MiB.
const MEMORY_BYTES_MIN: i64 = 4 * 1024 * 1024;
/// Docker's: 1 ms.
const HEALTH_NANOS_MIN: u64 = 1_000_000;
/// Published ports of one service: each is a listening socket on every node.
const PORTS_MAX: usize = 1_000;
/// Constraints of one service: each is checked for every node in every plan.
const CONSTRAINTS_MAX: usize = 100;
/// Characters of a user's text that an error repeats; answers are kept for repeated requests.
const QUOTED_CHARS_MAX: usize = 128;

/// A refusal because of what the user wrote.
pub(crate) fn spec_error(text: impl Into<String>) -> Refused {
    Refused::Invalid(text.into())
}

/// A user's text, short enough for an error.
pub(crate) fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTED_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

impl ServiceSpec {
    /// Whether a cluster could run this at all.
    ///
    /// # Errors
    ///
    /// [`Refused::Invalid`] with the first thing that is wrong.
    pub fn validate(&self) -> Result<(), Refused> {
        let bytes = spec_bytes(self);
        if SPEC_BYTES_MAX < bytes {
            return Err(spec_error(format!(
                "service spec has {bytes} bytes, at most {SPEC_BYTES_MAX} are allowed"
            )));
        }
        self.task.validate()?;
        validate_mode(self)?;
        self.update.iter().chain(&self.rollback).try_for_each(validate_update)?;
        self.endpoint.as_ref().map_or(Ok(()), validate_endpoint)
    }
}

/// A spec that cannot be encoded is as bad as one that is too long.
fn spec_bytes(spec: &ServiceSpec) -> usize {
    crypto::wire::encode(0, 0, spec).map_or(usize::MAX, |bytes| bytes.len())
}

impl TaskSpec {
    fn validate(&self) -> Result<(), Refused> {
        self.resources.limits.as_ref().map_or(Ok(()), validate_limits)?;
        self.resources.reservations.as_ref().map_or(Ok(()), validate_reservations)?;
        validate_placement(&self.placement)?;
        validate_container(&self.container)
    }
}

fn validate_amounts(nano_cpus: i64, memory_bytes: i64) -> Result<(), Refused> {
    if nano_cpus != 0 && nano_cpus < NANO_CPUS_MIN {
        let cpus = decimal(nano_cpus);
        return Err(spec_error(format!("invalid cpu value {cpus}: Must be at least 0.001")));
    }
    if memory_bytes != 0 && memory_bytes < MEMORY_BYTES_MIN {
        return Err(spec_error(format!(
            "invalid memory value {memory_bytes}: Must be at least 4MiB"
        )));
    }
    Ok(())
}

/// Billionths as a decimal number without trailing zeros; floats have no place here.
fn decimal(nano: i64) -> String {
    let sign = if nano < 0 { "-" } else { "" };
    let nano = nano.unsigned_abs();
    let text = format!("{sign}{}.{:09}", nano / 1_000_000_000, nano % 1_000_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn validate_limits(limits: &Limits) -> Result<(), Refused> {
    if limits.pids < 0 {
        return Err(spec_error("TaskSpec: pids limit cannot be negative"));
    }
    validate_amounts(limits.nano_cpus, limits.memory_bytes)
}

fn validate_reservations(amount: &Resources) -> Result<(), Refused> {
    validate_amounts(amount.nano_cpus, amount.memory_bytes)
}

fn validate_placement(placement: &Placement) -> Result<(), Refused> {
    if CONSTRAINTS_MAX < placement.constraints.len() {
        return Err(spec_error(format!("at most {CONSTRAINTS_MAX} constraints are allowed")));
    }
    placement.constraints.iter().try_for_each(|text| Constraint::parse(text).map(|_| ()))
}

fn validate_container(container: &ContainerSpec) -> Result<(), Refused> {
    if container.image.is_empty() {
        return Err(spec_error("ContainerSpec: image reference must be provided"));
    }
    if !is_image(&container.image) {
        let image = quoted(&container.image);
        return Err(spec_error(format!(
            "ContainerSpec: \"{image}\" is not a valid repository/tag"
        )));
    }
    let mut targets = BTreeSet::new();
    for mount in &container.mounts {
        if mount.target.is_empty() {
            return Err(spec_error("ContainerSpec: mount target must be provided"));
        }
        if !targets.insert(&mount.target) {
            let target = quoted(&mount.target);
            return Err(spec_error(format!("ContainerSpec: duplicate mount point: {target}")));
        }
    }
    if !(-1000..=1000).contains(&container.oom_score_adj) {
        return Err(spec_error("ContainerSpec: oom score adjustment must be from -1000 to 1000"));
    }
    container.health_check.as_ref().map_or(Ok(()), validate_health_check)?;
    if container.secrets.iter().any(|secret| secret.file.is_none()) {
        return Err(spec_error("malformed secret reference, no target provided"));
    }
    let secrets = container.secrets.iter().map(|s| (s.name.as_str(), s.file.as_ref()));
    validate_targets("secret", secrets)?;
    let configs = container.configs.iter().map(|c| (c.name.as_str(), c.file.as_ref()));
    validate_targets("config", configs)
}

/// No characters that cannot be in a reference; the runtime judges the rest.
fn is_image(image: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/:@+".contains(c);
    // `dir:/path` names a directory of the node, whose path may hold anything.
    image.starts_with("dir:/")
        || (image.chars().all(plain) && image.starts_with(|c: char| c.is_ascii_alphanumeric()))
}

fn validate_health_check(check: &HealthCheck) -> Result<(), Refused> {
    for (name, nanos) in [
        ("Interval", check.interval_nanos),
        ("Timeout", check.timeout_nanos),
        ("StartPeriod", check.start_period_nanos),
        ("StartInterval", check.start_interval_nanos),
    ] {
        if nanos != 0 && nanos < HEALTH_NANOS_MIN {
            return Err(spec_error(format!(
                "ContainerSpec: {name} in HealthConfig cannot be less than 1ms"
            )));
        }
    }
    Ok(())
}

/// Two secrets, or two configs, must not become one file.
fn validate_targets<'a>(
    kind: &str,
    references: impl Iterator<Item = (&'a str, Option<&'a FileTarget>)>,
) -> Result<(), Refused> {
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for (name, file) in references {
        let Some(file) = file else { continue };
        if file.name.is_empty() {
            return Err(spec_error(format!(
                "malformed file {kind} reference, invalid target file name provided"
            )));
        }
        if let Some((other, _)) = seen.iter().find(|(_, target)| *target == file.name) {
            let (other, name, target) = (quoted(other), quoted(name), quoted(&file.name));
            return Err(spec_error(format!(
                "{kind} references '{other}' and '{name}' have a conflicting target: '{target}'"
            )));
        }
        seen.push((name, &file.name));
    }
    Ok(())
}

fn validate_mode(spec: &ServiceSpec) -> Result<(), Refused> {
    let (tasks, job) = match spec.mode {
        ServiceMode::Replicated { replicas } => (replicas, false),
        ServiceMode::ReplicatedJob { max_concurrent, total_completions } => {
            (max_concurrent.max(total_completions), true)
        }
        ServiceMode::Global => (0, false),
        ServiceMode::GlobalJob => (0, true),
    };
    if REPLICAS_MAX < tasks {
        return Err(spec_error(format!(
            "invalid number of replicas {tasks}: at most {REPLICAS_MAX} are allowed"
        )));
    }
    if job && (spec.update.is_some() || spec.rollback.is_some()) {
        return Err(spec_error("job-mode services cannot have an update or a rollback policy"));
    }
    Ok(())
}

fn validate_update(update: &UpdateConfig) -> Result<(), Refused> {
    if 1_000_000 < update.max_failure_ratio_ppm {
        return Err(spec_error(
            "TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1",
        ));
    }
    Ok(())
}

fn validate_endpoint(endpoint: &EndpointSpec) -> Result<(), Refused> {
    if PORTS_MAX < endpoint.ports.len() {
        return Err(spec_error(format!("EndpointSpec: at most {PORTS_MAX} ports are allowed")));
    }
    let mut published = BTreeSet::new();
    for port in &endpoint.ports {
        if endpoint.mode == EndpointMode::Dnsrr && port.publish_mode == PublishMode::Ingress {
            return Err(spec_error(
                "EndpointSpec: port published with ingress mode can't be used with dnsrr mode",
            ));
        }
        if port.target_port == 0 {
            return Err(spec_error("EndpointSpec: target port must be from 1 to 65535"));
        }
        if port.published_port != 0 && !published.insert((port.published_port, port.protocol)) {
            return Err(spec_error("EndpointSpec: duplicate published ports provided"));
        }
    }
    Ok(())
}
