//! From the API's JSON to the model: what a user wants.

use api::cluster::Problem;
use api::wire;
use api::wire::container as from;
use model::NetworkId;
use model::node::DesiredRole;
use model::service as to;
use model::service::{ServiceMode, ServiceName, ServiceSpec, TaskSpec};
use serde_json::Value;

use super::files::{config_reference, secret_reference};
use super::words;

/// Docker's word for isolation as usual.
const DEFAULT: &str = "default";

/// Finds the networks that a spec names by id or name.
pub(crate) type FindNetwork<'a> = &'a dyn Fn(&str) -> Result<NetworkId, Problem>;

/// Reads a service spec and checks all of it that needs no cluster but its networks.
pub(crate) fn service_spec(
    spec: wire::service::ServiceSpec,
    find_network: FindNetwork<'_>,
) -> Result<ServiceSpec, Problem> {
    let mut task = spec.task_template;
    if task.networks.is_empty() {
        task.networks = spec.networks;
    }
    let task = task_spec(task, find_network)?;
    let name =
        ServiceName::try_from(spec.name).map_err(|bad| Problem::bad_request(bad.to_string()))?;
    let spec = ServiceSpec {
        name,
        labels: spec.labels,
        task,
        mode: mode(spec.mode)?,
        update: spec.update_config.map(update_config).transpose()?,
        rollback: spec.rollback_config.map(update_config).transpose()?,
        endpoint: spec.endpoint_spec.map(endpoint).transpose()?,
    };
    spec.validate().map_err(|refused| Problem::bad_request(refused.to_string()))?;
    Ok(spec)
}

/// Reads what a user wants of a node; labels and availability as they are.
pub(crate) fn node_spec(spec: wire::node::NodeSpec) -> Result<model::NodeSpec, Problem> {
    Ok(model::NodeSpec {
        name: spec.name,
        labels: spec.labels,
        availability: words::variant(words::AVAILABILITY, "availability", &spec.availability)
            .map_err(|_| invalid("Availability", &spec.availability))?,
        desired_role: match spec.role.as_str() {
            "" => DesiredRole::Automatic,
            role => words::variant(words::ROLE, "role", role).map_err(|_| invalid("Role", role))?,
        },
    })
}

/// As Docker says it of nodes.
fn invalid(field: &str, given: &str) -> Problem {
    Problem::bad_request(format!("invalid {field}: \"{given}\""))
}

pub(super) fn unbuilt(what: &str) -> Problem {
    Problem::not_implemented(format!("{what} are not supported by this version of skep"))
}

fn mode(mode: wire::service::ServiceMode) -> Result<ServiceMode, Problem> {
    match (mode.replicated, mode.global, mode.replicated_job, mode.global_job) {
        (Some(some), None, None, None) => {
            Ok(ServiceMode::Replicated { replicas: some.replicas.unwrap_or(1) })
        }
        // As Docker: no mode at all means one replica.
        (None, None, None, None) => Ok(ServiceMode::Replicated { replicas: 1 }),
        (None, Some(_), None, None) => Ok(ServiceMode::Global),
        (None, None, Some(job), None) => {
            let total_completions = job.total_completions.or(job.max_concurrent).unwrap_or(1);
            let max_concurrent = job.max_concurrent.unwrap_or(1);
            Ok(ServiceMode::ReplicatedJob { max_concurrent, total_completions })
        }
        (None, None, None, Some(_)) => Ok(ServiceMode::GlobalJob),
        _ => Err(Problem::bad_request("must specify only one service mode")),
    }
}

fn task_spec(spec: from::TaskSpec, find_network: FindNetwork<'_>) -> Result<TaskSpec, Problem> {
    if spec.plugin_spec.is_some() || spec.network_attachment_spec.is_some() {
        return Err(unbuilt("plugin services and network attachments"));
    }
    let container = spec
        .container_spec
        .ok_or_else(|| Problem::bad_request("mismatched Runtime and *Spec fields"))?;
    Ok(TaskSpec {
        container: container_spec(container)?,
        resources: spec.resources.map(resources).transpose()?.unwrap_or_default(),
        restart: spec.restart_policy.map(restart).transpose()?,
        placement: spec.placement.map(placement).unwrap_or_default(),
        networks: spec
            .networks
            .into_iter()
            .map(|wanted| attachment(wanted, find_network))
            .collect::<Result<_, _>>()?,
        log_driver: spec
            .log_driver
            .map(|driver| to::LogDriver { name: driver.name, options: driver.options }),
        force_update: spec.force_update,
    })
}

fn attachment(
    wanted: wire::network::NetworkAttachmentConfig,
    find_network: FindNetwork<'_>,
) -> Result<to::NetworkAttachment, Problem> {
    Ok(to::NetworkAttachment {
        network: find_network(&wanted.target)?,
        target: wanted.target,
        aliases: wanted.aliases,
        driver_opts: wanted.driver_opts,
    })
}

fn container_spec(spec: from::ContainerSpec) -> Result<to::ContainerSpec, Problem> {
    Ok(to::ContainerSpec {
        image: spec.image,
        labels: spec.labels,
        command: spec.command,
        args: spec.args,
        hostname: spec.hostname,
        env: spec.env,
        dir: spec.dir,
        user: spec.user,
        groups: spec.groups,
        tty: spec.tty,
        open_stdin: spec.open_stdin,
        read_only: spec.read_only,
        init: spec.init,
        mounts: spec.mounts.into_iter().map(mount).collect::<Result<_, _>>()?,
        stop_signal: spec.stop_signal,
        stop_grace_nanos: optional_nanos("StopGracePeriod", spec.stop_grace_period)?,
        health_check: spec.healthcheck.map(health_check).transpose()?,
        hosts: spec.hosts,
        dns: spec.dns_config.map(|dns| to::DnsConfig {
            nameservers: dns.nameservers,
            search: dns.search,
            options: dns.options,
        }),
        secrets: spec.secrets.into_iter().map(secret_reference).collect::<Result<_, _>>()?,
        configs: spec.configs.into_iter().map(config_reference).collect::<Result<_, _>>()?,
        sysctls: spec.sysctls,
        cap_add: spec.capability_add,
        cap_drop: spec.capability_drop,
        ulimits: spec
            .ulimits
            .into_iter()
            .map(|limit| to::Ulimit { name: limit.name, soft: limit.soft, hard: limit.hard })
            .collect(),
        oom_score_adj: spec.oom_score_adj,
        privileges: spec.privileges.map(|some| to::Privileges {
            no_new_privileges: some.no_new_privileges,
            seccomp: text(some.seccomp),
            apparmor: text(some.app_armor),
            selinux: text(some.selinux_context),
            credential_spec: text(some.credential_spec),
        }),
        // As Docker: what was not said is filled in when the spec comes in.
        isolation: if spec.isolation.is_empty() { DEFAULT.to_owned() } else { spec.isolation },
    })
}

fn text(value: Option<Value>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

fn mount(mount: from::Mount) -> Result<to::Mount, Problem> {
    if mount.image_options.is_some() || mount.cluster_options.is_some() {
        return Err(unbuilt("image and cluster mounts"));
    }
    let tmpfs = mount.tmpfs_options.unwrap_or_default();
    Ok(to::Mount {
        kind: words::variant(words::MOUNT, "mount type", &mount.kind)?,
        source: mount.source,
        target: mount.target,
        read_only: mount.read_only,
        consistency: mount.consistency,
        bind_options: text(mount.bind_options),
        volume_options: text(mount.volume_options),
        tmpfs_size_bytes: tmpfs.size_bytes,
        tmpfs_mode: tmpfs.mode,
        tmpfs_options: tmpfs.options,
    })
}

fn health_check(check: from::HealthConfig) -> Result<to::HealthCheck, Problem> {
    Ok(to::HealthCheck {
        test: check.test,
        interval_nanos: nanos("Healthcheck.Interval", check.interval)?,
        timeout_nanos: nanos("Healthcheck.Timeout", check.timeout)?,
        retries: u64::try_from(check.retries)
            .map_err(|_| Problem::bad_request("Retries in Healthcheck cannot be negative"))?,
        start_period_nanos: nanos("Healthcheck.StartPeriod", check.start_period)?,
        start_interval_nanos: nanos("Healthcheck.StartInterval", check.start_interval)?,
    })
}

fn nanos(what: &str, nanos: i64) -> Result<u64, Problem> {
    u64::try_from(nanos).map_err(|_| Problem::bad_request(format!("{what} must not be negative")))
}

fn optional_nanos(what: &str, value: Option<i64>) -> Result<Option<u64>, Problem> {
    value.map(|value| nanos(what, value)).transpose()
}

fn resources(asked: from::ResourceRequirements) -> Result<to::ResourceRequirements, Problem> {
    let limits = asked.limits.map(|limits| to::Limits {
        nano_cpus: limits.nano_cpus,
        memory_bytes: limits.memory_bytes,
        pids: limits.pids,
    });
    let reservations = asked.reservations.map(reservations).transpose()?;
    Ok(to::ResourceRequirements { limits, reservations })
}

fn reservations(asked: wire::node::Resources) -> Result<to::Resources, Problem> {
    let mut generic = std::collections::BTreeMap::new();
    for resource in asked.generic_resources {
        // As Docker: a service asks for a number of a kind, never for a named one.
        let Some(discrete) = resource.discrete_resource_spec else {
            return Err(Problem::bad_request("generic resources are asked for by number"));
        };
        generic.insert(discrete.kind, to::GenericResource::Discrete(discrete.value));
    }
    Ok(to::Resources { nano_cpus: asked.nano_cpus, memory_bytes: asked.memory_bytes, generic })
}

fn restart(policy: from::RestartPolicy) -> Result<to::RestartPolicy, Problem> {
    Ok(to::RestartPolicy {
        condition: words::variant(words::RESTART, "restart condition", &policy.condition)?,
        delay_nanos: optional_nanos("RestartPolicy.Delay", policy.delay)?,
        max_attempts: policy.max_attempts.unwrap_or(0),
        window_nanos: nanos("RestartPolicy.Window", policy.window.unwrap_or(0))?,
    })
}

fn placement(placement: from::Placement) -> to::Placement {
    let spread = placement.preferences.into_iter().filter_map(|preference| preference.spread);
    to::Placement {
        constraints: placement.constraints,
        spread: spread.map(|over| over.spread_descriptor).collect(),
        max_replicas_per_node: placement.max_replicas,
        platforms: placement
            .platforms
            .into_iter()
            .map(|platform| to::Platform { architecture: platform.architecture, os: platform.os })
            .collect(),
    }
}

fn update_config(config: wire::service::UpdateConfig) -> Result<to::UpdateConfig, Problem> {
    let action = &config.failure_action;
    let monitor = nanos("Monitor", config.monitor)?;
    Ok(to::UpdateConfig {
        parallelism: config.parallelism,
        delay_nanos: nanos("Delay", config.delay)?,
        failure_action: words::variant(words::FAILURE_ACTION, "update failure action", action)?,
        monitor_nanos: Some(monitor).filter(|&nanos| nanos != 0),
        max_failure_ratio_ppm: ppm(config.max_failure_ratio)?,
        order: words::variant(words::ORDER, "update order", &config.order)?,
    })
}

fn ppm(ratio: f32) -> Result<u32, Problem> {
    if !(0.0..=1.0).contains(&ratio) {
        return Err(Problem::bad_request(
            "update-maxfailureratio cannot be less than 0 or bigger than 1",
        ));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "from 0 to a million"
    )]
    let ppm = (f64::from(ratio) * 1_000_000.0).round() as u32;
    Ok(ppm)
}

fn endpoint(spec: wire::network::EndpointSpec) -> Result<to::EndpointSpec, Problem> {
    Ok(to::EndpointSpec {
        mode: words::variant(words::ENDPOINT_MODE, "endpoint mode", &spec.mode)?,
        ports: spec.ports.into_iter().map(port).collect::<Result<_, _>>()?,
    })
}

fn port(port: wire::network::PortConfig) -> Result<to::PortConfig, Problem> {
    let number = |number: u32| {
        u16::try_from(number).map_err(|_| Problem::bad_request(format!("invalid port {number}")))
    };
    Ok(to::PortConfig {
        name: port.name,
        protocol: words::variant(words::PROTOCOL, "protocol", &port.protocol)?,
        target_port: number(port.target_port)?,
        published_port: number(port.published_port)?,
        publish_mode: words::variant(words::PUBLISH_MODE, "publish mode", &port.publish_mode)?,
    })
}
