//! What a task's spec becomes: the body of a `POST /containers/create`. Pure.
//!
//! The Engine does the work. Here stands what it would do silently otherwise: a field that
//! an older API does not know is ignored by it, and where that meant less isolation or less
//! protection than was asked for, the task is refused instead.

use std::collections::HashMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bollard::models::{
    ContainerCreateBody, HealthConfig, HostConfig, HostConfigLogConfig, Mount as EngineMount,
    MountBindOptions, MountTmpfsOptions, MountType, MountVolumeOptions, ResourcesUlimits,
    RestartPolicy, RestartPolicyNameEnum,
};
use model::service::{ContainerSpec, HealthCheck, Mount, MountKind, Privileges};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::engine::{ApiVersion, Facts};
use super::labels;
use crate::{RuntimeError, TaskContainer, TaskFile};

/// Docker's: between the stop signal and SIGKILL, when nothing else was said.
const STOP_GRACE_NANOS: u64 = 10_000_000_000;

fn refuse<T>(reason: impl Into<String>) -> Result<T, RuntimeError> {
    Err(RuntimeError::Spec { reason: reason.into() })
}

/// The body, or a refusal that names the field.
pub(crate) fn create(
    task: &TaskContainer,
    is_demo: bool,
    engine: &Facts,
) -> Result<ContainerCreateBody, RuntimeError> {
    let spec = &task.spec.container;
    check(spec)?;
    let grace = spec.stop_grace_nanos.unwrap_or(STOP_GRACE_NANOS);
    Ok(ContainerCreateBody {
        image: Some(spec.image.clone()),
        labels: Some(labels::of_task(task)),
        // As Swarm: a command replaces entrypoint and command of the image.
        entrypoint: some(spec.command.clone()),
        cmd: some(spec.args.clone()),
        env: some(env(task, is_demo)),
        hostname: text(&spec.hostname),
        user: text(&spec.user),
        working_dir: text(&spec.dir),
        tty: Some(spec.tty),
        open_stdin: Some(spec.open_stdin),
        stop_signal: text(&spec.stop_signal),
        stop_timeout: i64::try_from(grace.div_ceil(1_000_000_000)).ok(),
        healthcheck: spec.health_check.as_ref().map(health_check),
        host_config: Some(host_config(task, engine)?),
        ..ContainerCreateBody::default()
    })
}

/// What no Engine on Linux can do, or this version of ours not yet.
fn check(spec: &ContainerSpec) -> Result<(), RuntimeError> {
    if ["dir:", "oci:"].iter().any(|scheme| spec.image.starts_with(scheme)) {
        return refuse(format!(
            "image {}: Docker Engine runs images of registries and archives only",
            spec.image
        ));
    }
    if !matches!(spec.isolation.as_str(), "" | "default") {
        return refuse(format!("isolation {}: there is none on Linux", spec.isolation));
    }
    Ok(())
}

/// Binds a secret or config that was placed at `source` on this machine.
pub(crate) fn file_mount(file: &TaskFile, source: &Path) -> EngineMount {
    EngineMount {
        typ: Some(MountType::BIND),
        source: Some(source.display().to_string()),
        target: Some(file.target.clone()),
        read_only: Some(true),
        ..EngineMount::default()
    }
}

fn some<T>(values: Vec<T>) -> Option<Vec<T>> {
    Some(values).filter(|values| !values.is_empty())
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

/// Zero means: as the Engine does it.
fn positive(number: i64) -> Option<i64> {
    Some(number).filter(|number| 0 < *number)
}

fn env(task: &TaskContainer, is_demo: bool) -> Vec<String> {
    let demo = [
        format!("SKEP_TASK_NAME={}.{}", task.service_name, task.slot),
        format!("SKEP_TASK_ID={}", task.task),
        format!("SKEP_NODE_HOSTNAME={}", task.node_hostname),
    ];
    let demo = demo.into_iter().filter(|_| is_demo);
    demo.chain(task.spec.container.env.iter().cloned()).collect()
}

fn health_check(check: &HealthCheck) -> HealthConfig {
    let nanos = |nanos: u64| i64::try_from(nanos).ok().and_then(positive);
    HealthConfig {
        test: some(check.test.clone()),
        interval: nanos(check.interval_nanos),
        timeout: nanos(check.timeout_nanos),
        retries: nanos(check.retries),
        start_period: nanos(check.start_period_nanos),
        // Older engines ignore it and check at the usual interval.
        start_interval: nanos(check.start_interval_nanos),
    }
}

fn host_config(task: &TaskContainer, engine: &Facts) -> Result<HostConfig, RuntimeError> {
    let spec = &task.spec.container;
    let limits = task.spec.resources.limits.unwrap_or_default();
    let memory = positive(limits.memory_bytes);
    let dns = spec.dns.clone().unwrap_or_default();
    let mounts = spec.mounts.iter().map(|asked| mount(asked, engine.api));
    let security = spec.privileges.as_ref().map(|asked| security_options(asked, engine));
    let security = security.transpose()?;
    Ok(HostConfig {
        mounts: some(mounts.collect::<Result<_, _>>()?),
        readonly_rootfs: Some(spec.read_only),
        init: spec.init,
        group_add: some(spec.groups.clone()),
        cap_add: some(spec.cap_add.clone()),
        cap_drop: some(spec.cap_drop.clone()),
        security_opt: security.and_then(some),
        sysctls: Some(spec.sysctls.clone().into_iter().collect()),
        ulimits: some(
            spec.ulimits
                .iter()
                .map(|limit| ResourcesUlimits {
                    name: Some(limit.name.clone()),
                    soft: Some(limit.soft),
                    hard: Some(limit.hard),
                })
                .collect(),
        ),
        oom_score_adj: Some(spec.oom_score_adj).filter(|score| *score != 0),
        nano_cpus: positive(limits.nano_cpus),
        memory,
        // Without this the Engine gives as much swap on top.
        memory_swap: memory,
        pids_limit: positive(limits.pids),
        dns: some(dns.nameservers),
        dns_search: some(dns.search),
        dns_options: some(dns.options),
        extra_hosts: some(spec.hosts.iter().flat_map(|line| hosts(line)).collect()),
        log_config: task.spec.log_driver.as_ref().map(|driver| HostConfigLogConfig {
            typ: text(&driver.name),
            config: Some(driver.options.clone().into_iter().collect()),
        }),
        // Whether a task gets a successor is decided by the cluster.
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: None,
        }),
        ..HostConfig::default()
    })
}

/// `IP name [alias…]` as `name:IP` each; what is written so already stays.
fn hosts(line: &str) -> Vec<String> {
    let mut words = line.split_whitespace();
    match (words.next(), words.clone().next()) {
        (Some(address), Some(_)) => words.map(|name| format!("{name}:{address}")).collect(),
        (Some(pair), None) => vec![pair.to_owned()],
        (None, _) => Vec::new(),
    }
}

/// Options that were stored as JSON when they came in.
fn options<T: DeserializeOwned>(what: &str, json: &str) -> Result<Option<T>, RuntimeError> {
    if matches!(json, "" | "null") {
        return Ok(None);
    }
    serde_json::from_str(json)
        .map(Some)
        .map_err(|error| RuntimeError::Spec { reason: format!("{what}: {error}") })
}

/// Refuses a field that an Engine of this version would ignore.
fn needs(asked: bool, field: &str, minor: u64, api: ApiVersion) -> Result<(), RuntimeError> {
    if asked && api < ApiVersion(1, minor) {
        return refuse(format!(
            "{field} needs Docker Engine API 1.{minor}, the engine of this node speaks {api}"
        ));
    }
    Ok(())
}

fn mount(asked: &Mount, api: ApiVersion) -> Result<EngineMount, RuntimeError> {
    let mut mount = EngineMount {
        target: text(&asked.target),
        source: text(&asked.source),
        read_only: Some(asked.read_only),
        consistency: text(&asked.consistency),
        ..EngineMount::default()
    };
    match asked.kind {
        MountKind::Bind => {
            let options: Option<MountBindOptions> = options("BindOptions", &asked.bind_options)?;
            if let Some(options) = &options {
                let recursive = options.read_only_force_recursive == Some(true);
                needs(recursive, "BindOptions.ReadOnlyForceRecursive", 44, api)?;
            }
            mount.typ = Some(MountType::BIND);
            mount.bind_options = options;
        }
        MountKind::Volume => {
            let options: Option<MountVolumeOptions> =
                options("VolumeOptions", &asked.volume_options)?;
            let subpath = options.as_ref().and_then(|options| options.subpath.as_deref());
            needs(subpath.is_some_and(|path| !path.is_empty()), "VolumeOptions.Subpath", 45, api)?;
            mount.typ = Some(MountType::VOLUME);
            mount.volume_options = options;
        }
        MountKind::Tmpfs => {
            needs(!asked.tmpfs_options.is_empty(), "TmpfsOptions.Options", 46, api)?;
            mount.typ = Some(MountType::TMPFS);
            mount.tmpfs_options = Some(MountTmpfsOptions {
                size_bytes: positive(asked.tmpfs_size_bytes),
                mode: positive(asked.tmpfs_mode.into()),
                options: some(asked.tmpfs_options.clone()),
            });
        }
    }
    Ok(mount)
}

/// As Docker Swarm translates them.
fn security_options(privileges: &Privileges, engine: &Facts) -> Result<Vec<String>, RuntimeError> {
    let mut chosen = Vec::new();
    if privileges.no_new_privileges {
        chosen.push("no-new-privileges=true".to_owned());
    }
    chosen.extend(seccomp(&privileges.seccomp)?);
    let apparmor: Option<Value> = options("Privileges.AppArmor", &privileges.apparmor)?;
    match apparmor.as_ref().and_then(|value| value["Mode"].as_str()).unwrap_or("default") {
        "default" | "" => {}
        "disabled" => chosen.push("apparmor=unconfined".to_owned()),
        other => return refuse(format!("Privileges.AppArmor: there is no mode `{other}`")),
    }
    let selinux: Option<HashMap<String, Value>> =
        options("Privileges.SELinuxContext", &privileges.selinux)?;
    let selinux = selinux.unwrap_or_default();
    if selinux.get("Disable").and_then(Value::as_bool) == Some(true) {
        chosen.push("label=disable".to_owned());
    }
    for (field, word) in [("User", "user"), ("Role", "role"), ("Type", "type"), ("Level", "level")]
    {
        let value = selinux.get(field).and_then(Value::as_str).filter(|value| !value.is_empty());
        let Some(value) = value else { continue };
        if !engine.selinux {
            return refuse("Privileges.SELinuxContext: the engine of this node has no SELinux");
        }
        chosen.push(format!("label={word}:{value}"));
    }
    let windows: Option<Value> = options("Privileges.CredentialSpec", &privileges.credential_spec)?;
    if windows.is_some_and(|value| value.as_object().is_none_or(|fields| !fields.is_empty())) {
        return refuse("Privileges.CredentialSpec is for Windows");
    }
    Ok(chosen)
}

fn seccomp(json: &str) -> Result<Option<String>, RuntimeError> {
    const FIELD: &str = "Privileges.Seccomp";
    let Some(asked) = options::<Value>(FIELD, json)? else { return Ok(None) };
    match asked["Mode"].as_str().unwrap_or("default") {
        "default" | "" => Ok(None),
        "unconfined" => Ok(Some("seccomp=unconfined".to_owned())),
        "custom" => {
            let profile = asked["Profile"].as_str().unwrap_or_default();
            let bytes = STANDARD.decode(profile).ok().and_then(|b| String::from_utf8(b).ok());
            match bytes.filter(|text| serde_json::from_str::<Value>(text).is_ok()) {
                Some(profile) => Ok(Some(format!("seccomp={profile}"))),
                None => refuse(format!("{FIELD}: the profile is no JSON in base64")),
            }
        }
        other => refuse(format!("{FIELD}: there is no mode `{other}`")),
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
pub(super) mod tests;
