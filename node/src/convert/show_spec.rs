//! From the model to the API's JSON: specs, as they were given.

use api::wire;
use api::wire::container as to;
use model::service as from;
use model::{ServiceMode, ServiceSpec, TaskSpec};
use serde_json::Value;

use super::files::{shown_config_reference, shown_secret_reference};
use super::words;

/// A service spec as the user gave it.
pub(crate) fn shown_service_spec(spec: &ServiceSpec) -> wire::service::ServiceSpec {
    wire::service::ServiceSpec {
        name: spec.name.to_string(),
        labels: spec.labels.clone(),
        task_template: task_spec(&spec.task),
        mode: mode(spec.mode),
        update_config: spec.update.as_ref().map(update_config),
        rollback_config: spec.rollback.as_ref().map(update_config),
        networks: Vec::new(),
        endpoint_spec: spec.endpoint.as_ref().map(endpoint),
    }
}

pub(super) fn task_spec(spec: &TaskSpec) -> to::TaskSpec {
    to::TaskSpec {
        container_spec: Some(container_spec(&spec.container)),
        plugin_spec: None,
        network_attachment_spec: None,
        resources: Some(resources(&spec.resources)),
        restart_policy: spec.restart.as_ref().map(restart),
        placement: Some(placement(&spec.placement)),
        networks: spec.networks.iter().map(attachment).collect(),
        log_driver: spec.log_driver.as_ref().map(|driver| to::Driver {
            name: driver.name.clone(),
            options: driver.options.clone(),
        }),
        force_update: spec.force_update,
        runtime: "container".to_owned(),
    }
}

/// By id, whatever the user wrote: a name may come to mean another network.
fn attachment(network: &from::NetworkAttachment) -> wire::network::NetworkAttachmentConfig {
    wire::network::NetworkAttachmentConfig {
        target: network.network.to_string(),
        aliases: network.aliases.clone(),
        driver_opts: network.driver_opts.clone(),
    }
}

fn mode(mode: ServiceMode) -> wire::service::ServiceMode {
    use wire::service::{Empty, Replicated, ReplicatedJob};

    let mut shown = wire::service::ServiceMode::default();
    match mode {
        ServiceMode::Replicated { replicas } => {
            shown.replicated = Some(Replicated { replicas: Some(replicas) });
        }
        ServiceMode::Global => shown.global = Some(Empty {}),
        ServiceMode::ReplicatedJob { max_concurrent, total_completions } => {
            shown.replicated_job = Some(ReplicatedJob {
                max_concurrent: Some(max_concurrent),
                total_completions: Some(total_completions),
            });
        }
        ServiceMode::GlobalJob => shown.global_job = Some(Empty {}),
    }
    shown
}

/// Durations are below 292 years: they came from the same JSON.
fn signed(nanos: u64) -> i64 {
    i64::try_from(nanos).unwrap_or(i64::MAX)
}

fn container_spec(spec: &from::ContainerSpec) -> to::ContainerSpec {
    to::ContainerSpec {
        image: spec.image.clone(),
        labels: spec.labels.clone(),
        command: spec.command.clone(),
        args: spec.args.clone(),
        hostname: spec.hostname.clone(),
        env: spec.env.clone(),
        dir: spec.dir.clone(),
        user: spec.user.clone(),
        groups: spec.groups.clone(),
        privileges: spec.privileges.as_ref().map(privileges),
        init: spec.init,
        stop_signal: spec.stop_signal.clone(),
        tty: spec.tty,
        open_stdin: spec.open_stdin,
        read_only: spec.read_only,
        mounts: spec.mounts.iter().map(mount).collect(),
        stop_grace_period: spec.stop_grace_nanos.map(signed),
        healthcheck: spec.health_check.as_ref().map(health_check),
        hosts: spec.hosts.clone(),
        dns_config: spec.dns.as_ref().map(|dns| to::DnsConfig {
            nameservers: dns.nameservers.clone(),
            search: dns.search.clone(),
            options: dns.options.clone(),
        }),
        secrets: spec.secrets.iter().map(shown_secret_reference).collect(),
        configs: spec.configs.iter().map(shown_config_reference).collect(),
        isolation: spec.isolation.clone(),
        sysctls: spec.sysctls.clone(),
        capability_add: spec.cap_add.clone(),
        capability_drop: spec.cap_drop.clone(),
        ulimits: spec
            .ulimits
            .iter()
            .map(|limit| to::Ulimit {
                name: limit.name.clone(),
                hard: limit.hard,
                soft: limit.soft,
            })
            .collect(),
        oom_score_adj: spec.oom_score_adj,
    }
}

/// JSON that was stored as text when it came in.
fn value(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok()
}

fn privileges(some: &from::Privileges) -> to::Privileges {
    to::Privileges {
        credential_spec: value(&some.credential_spec),
        selinux_context: value(&some.selinux),
        seccomp: value(&some.seccomp),
        app_armor: value(&some.apparmor),
        no_new_privileges: some.no_new_privileges,
    }
}

fn mount(mount: &from::Mount) -> to::Mount {
    let tmpfs = to::TmpfsOptions {
        size_bytes: mount.tmpfs_size_bytes,
        mode: mount.tmpfs_mode,
        options: mount.tmpfs_options.clone(),
    };
    to::Mount {
        kind: words::word(words::MOUNT, mount.kind).to_owned(),
        source: mount.source.clone(),
        target: mount.target.clone(),
        read_only: mount.read_only,
        consistency: mount.consistency.clone(),
        bind_options: value(&mount.bind_options),
        volume_options: value(&mount.volume_options),
        image_options: None,
        tmpfs_options: Some(tmpfs).filter(|tmpfs| *tmpfs != to::TmpfsOptions::default()),
        cluster_options: None,
    }
}

fn health_check(check: &from::HealthCheck) -> to::HealthConfig {
    to::HealthConfig {
        test: check.test.clone(),
        interval: signed(check.interval_nanos),
        timeout: signed(check.timeout_nanos),
        start_period: signed(check.start_period_nanos),
        start_interval: signed(check.start_interval_nanos),
        retries: signed(check.retries),
    }
}

fn resources(asked: &from::ResourceRequirements) -> to::ResourceRequirements {
    to::ResourceRequirements {
        limits: asked.limits.map(|limits| to::Limit {
            nano_cpus: limits.nano_cpus,
            memory_bytes: limits.memory_bytes,
            pids: limits.pids,
        }),
        reservations: asked.reservations.as_ref().map(shown_resources),
    }
}

pub(super) fn shown_resources(resources: &from::Resources) -> wire::node::Resources {
    use wire::node::{DiscreteGenericResource, GenericResource, NamedGenericResource};

    let mut generic_resources = Vec::new();
    for (kind, resource) in &resources.generic {
        match resource {
            from::GenericResource::Discrete(value) => generic_resources.push(GenericResource {
                named_resource_spec: None,
                discrete_resource_spec: Some(DiscreteGenericResource {
                    kind: kind.clone(),
                    value: *value,
                }),
            }),
            from::GenericResource::Named(names) => {
                generic_resources.extend(names.iter().map(|name| GenericResource {
                    named_resource_spec: Some(NamedGenericResource {
                        kind: kind.clone(),
                        value: name.clone(),
                    }),
                    discrete_resource_spec: None,
                }));
            }
        }
    }
    wire::node::Resources {
        nano_cpus: resources.nano_cpus,
        memory_bytes: resources.memory_bytes,
        generic_resources,
    }
}

fn restart(policy: &from::RestartPolicy) -> to::RestartPolicy {
    to::RestartPolicy {
        condition: words::word(words::RESTART, policy.condition).to_owned(),
        delay: policy.delay_nanos.map(signed),
        max_attempts: Some(policy.max_attempts),
        window: Some(signed(policy.window_nanos)).filter(|&nanos| nanos != 0),
    }
}

fn placement(placement: &from::Placement) -> to::Placement {
    let spread = |descriptor: &String| to::PlacementPreference {
        spread: Some(to::SpreadOver { spread_descriptor: descriptor.clone() }),
    };
    to::Placement {
        constraints: placement.constraints.clone(),
        preferences: placement.spread.iter().map(spread).collect(),
        max_replicas: placement.max_replicas_per_node,
        platforms: placement.platforms.iter().map(platform).collect(),
    }
}

pub(super) fn platform(platform: &from::Platform) -> wire::node::Platform {
    wire::node::Platform { architecture: platform.architecture.clone(), os: platform.os.clone() }
}

fn update_config(config: &from::UpdateConfig) -> wire::service::UpdateConfig {
    #[expect(clippy::cast_possible_truncation, reason = "six digits are what the ratio came with")]
    let max_failure_ratio = (f64::from(config.max_failure_ratio_ppm) / 1_000_000.0) as f32;
    wire::service::UpdateConfig {
        parallelism: config.parallelism,
        delay: signed(config.delay_nanos),
        failure_action: words::word(words::FAILURE_ACTION, config.failure_action).to_owned(),
        monitor: config.monitor_nanos.map_or(0, signed),
        max_failure_ratio,
        order: words::word(words::ORDER, config.order).to_owned(),
    }
}

pub(super) fn endpoint(spec: &from::EndpointSpec) -> wire::network::EndpointSpec {
    wire::network::EndpointSpec {
        mode: words::word(words::ENDPOINT_MODE, spec.mode).to_owned(),
        ports: spec.ports.iter().map(port).collect(),
    }
}

pub(super) fn port(port: &from::PortConfig) -> wire::network::PortConfig {
    wire::network::PortConfig {
        name: port.name.clone(),
        protocol: words::word(words::PROTOCOL, port.protocol).to_owned(),
        target_port: port.target_port.into(),
        published_port: port.published_port.into(),
        publish_mode: words::word(words::PUBLISH_MODE, port.publish_mode).to_owned(),
    }
}
