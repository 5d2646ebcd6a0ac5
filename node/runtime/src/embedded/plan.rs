//! What a service's spec and its image become: a request for the shim, or a refusal.
//!
//! A container never runs with less isolation than was asked for, and never without
//! something that it was promised: what cannot be honoured is refused here, with a
//! sentence for the user. Limits that the node's kernel does not offer are the one
//! exception: they are in `RuntimeInfo::lacks`.

use std::path::Path;

use model::TaskSpec;
use model::service::{ContainerSpec, Mount, MountKind, Ulimit};

use crate::cgroup::CgroupSupport;
use crate::images::Ready;
use crate::shim::request::{ContainerRequest, FileRequest, MountRequest};
use crate::{RuntimeError, TaskContainer, TaskFile};

/// Docker's default set without MKNOD: where the node has no device control groups,
/// making a device node would open the node's disks.
const CAPABILITIES: &[&str] = &[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];
/// Capabilities that lead out of a container here, so they are not given.
const CAPABILITIES_REFUSED: &[&str] = &[
    "ALL",
    "BPF",
    "DAC_READ_SEARCH",
    "MKNOD",
    "PERFMON",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_MODULE",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_TIME",
    "SYSLOG",
];
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Parameters that belong to a container's namespaces and not to the node.
const SYSCTLS: &[&str] = &["net.", "kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue."];
const RLIMITS: &[&str] = &[
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];
/// Signals by the names that Docker accepts, in the order of their numbers.
const SIGNALS: &[&str] = &[
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// What the plan needs to know of the node.
pub(crate) struct Node<'a> {
    pub(crate) support: &'a CgroupSupport,
    pub(crate) rootless: bool,
    pub(crate) group: String,
}

fn refuse<T>(reason: impl Into<String>) -> Result<T, RuntimeError> {
    Err(RuntimeError::Spec { reason: reason.into() })
}

/// Refuses what no image could make possible.
pub(crate) fn check(spec: &TaskSpec, rootless: bool) -> Result<(), RuntimeError> {
    let container = &spec.container;
    let impossible = [
        (container.tty, "a terminal (tty)"),
        (container.init == Some(true), "an init process (init)"),
        (!matches!(container.isolation.as_str(), "" | "default"), "another isolation"),
    ];
    if let Some((_, what)) = impossible.iter().find(|(asked, _)| *asked) {
        return refuse(format!("the embedded runtime does not offer {what} yet"));
    }
    if let Some(driver) = &spec.log_driver
        && !matches!(driver.name.as_str(), "" | "json-file" | "local")
    {
        return refuse(format!("the embedded runtime has no log driver `{}`", driver.name));
    }
    check_privileges(container)?;
    capabilities(container)?;
    if rootless && container.oom_score_adj < 0 {
        return refuse("a negative oom score needs a node that runs as root");
    }
    Ok(())
}

fn check_privileges(container: &ContainerSpec) -> Result<(), RuntimeError> {
    let Some(privileges) = &container.privileges else { return Ok(()) };
    let is_default = |text: &str| {
        let value: Option<serde_json::Value> = serde_json::from_str(text).ok();
        let mode =
            value.as_ref().and_then(|value| value.get("Mode")).and_then(|mode| mode.as_str());
        text.is_empty() || matches!(text, "null" | "{}") || mode == Some("default")
    };
    let selinux_off = matches!(privileges.selinux.as_str(), "" | "null" | "{}");
    for (ok, what) in [
        (is_default(&privileges.seccomp), "seccomp profile than its own"),
        (is_default(&privileges.apparmor), "AppArmor profile than the node's"),
        (selinux_off, "SELinux context than the node's"),
        (matches!(privileges.credential_spec.as_str(), "" | "null" | "{}"), "credential spec"),
    ] {
        if !ok {
            return refuse(format!("the embedded runtime offers no other {what}"));
        }
    }
    Ok(())
}

/// The request, for a spec that [`check`] let through.
pub(crate) fn container(
    task: &TaskContainer,
    image: &Ready,
    node: Node<'_>,
) -> Result<ContainerRequest, RuntimeError> {
    let spec = &task.spec.container;
    let limits = task.spec.resources.limits;
    let limit = |supported: bool, value: Option<i64>| value.filter(|v| supported && 0 < *v);
    let support = node.support;
    let dns = spec.dns.clone().unwrap_or_default();
    Ok(ContainerRequest {
        lower_dirs: image.lower_dirs.clone(),
        rootless: node.rootless,
        // Named even where it cannot be made: libcontainer's own choice would be one
        // group for all.
        cgroup: Some(node.group),
        memory_bytes: limit(support.memory, limits.map(|limits| limits.memory_bytes)),
        limit_swap: support.swap,
        nano_cpus: limit(support.cpu, limits.map(|limits| limits.nano_cpus)),
        pids: limit(support.pids, limits.map(|limits| limits.pids)),
        hostname: hostname(task),
        args: args(spec, image)?,
        env: env(task, image),
        dir: first([&spec.dir, image.run.working_dir.as_deref().unwrap_or(""), "/"]),
        user: first([&spec.user, image.run.user.as_deref().unwrap_or(""), ""]),
        groups: spec.groups.clone(),
        read_only: spec.read_only,
        mounts: spec.mounts.iter().map(mount).collect::<Result<_, _>>()?,
        files: task.files.iter().map(file).collect(),
        hosts: spec.hosts.iter().map(|line| hosts_line(line)).collect(),
        nameservers: dns.nameservers,
        dns_search: dns.search,
        dns_options: dns.options,
        sysctls: sysctls(spec)?,
        capabilities: capabilities(spec)?,
        rlimits: spec.ulimits.iter().map(rlimit).collect::<Result<_, _>>()?,
        oom_score_adj: spec.oom_score_adj,
    })
}

fn first(texts: [&str; 3]) -> String {
    texts.into_iter().find(|text| !text.is_empty()).unwrap_or("").to_owned()
}

/// Docker's default is the first characters of the container's id.
fn hostname(task: &TaskContainer) -> String {
    if task.spec.container.hostname.is_empty() {
        return task.task.to_string().chars().take(12).collect();
    }
    task.spec.container.hostname.clone()
}

/// Docker writes and sends `IP name`; its API also has `name:IP`.
fn hosts_line(line: &str) -> String {
    match line.split_once(':') {
        Some((name, address))
            if !line.contains(' ') && address.parse::<std::net::IpAddr>().is_ok() =>
        {
            format!("{address}\t{name}")
        }
        _ => line.to_owned(),
    }
}

/// As Docker: a command of the service replaces entrypoint and command of the image.
pub(crate) fn args(spec: &ContainerSpec, image: &Ready) -> Result<Vec<String>, RuntimeError> {
    let mut args = spec.command.clone();
    if args.is_empty() {
        args.extend(image.run.entrypoint.iter().flatten().cloned());
        if spec.args.is_empty() {
            args.extend(image.run.cmd.iter().flatten().cloned());
        }
    }
    args.extend(spec.args.iter().cloned());
    if args.first().is_none_or(String::is_empty) {
        return refuse(format!("no command: neither the service nor image {} has one", spec.image));
    }
    Ok(args)
}

/// The image's variables, then the service's; a later one of the same name wins.
pub(crate) fn env(task: &TaskContainer, image: &Ready) -> Vec<String> {
    let mut env: Vec<String> = Vec::new();
    let default = ["HOSTNAME=".to_owned() + &hostname(task), PATH.to_owned()];
    let demo = [
        format!("SKEP_TASK_NAME={}.{}", task.service_name, task.slot),
        format!("SKEP_TASK_ID={}", task.task),
        format!("SKEP_NODE_HOSTNAME={}", task.node_hostname),
    ];
    let demo = demo.iter().filter(|_| image.is_demo);
    let of_image = image.run.env.iter().flatten();
    for variable in default.iter().chain(demo).chain(of_image).chain(&task.spec.container.env) {
        let name = variable.split('=').next().unwrap_or("");
        env.retain(|other| other.split('=').next() != Some(name));
        // Docker takes a name without `=` as: remove what the image says.
        if variable.contains('=') {
            env.push(variable.clone());
        }
    }
    env
}

/// The signal that asks the task to end.
pub(crate) fn stop_signal(spec: &TaskSpec, image: &Ready) -> Result<i32, RuntimeError> {
    let of_image = image.run.stop_signal.as_deref().unwrap_or("");
    let text = first([&spec.container.stop_signal, of_image, "TERM"]);
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let by_name = SIGNALS.iter().position(|known| *known == name);
    let number = by_name.map(|index| index + 1).or_else(|| name.parse().ok());
    match number.and_then(|number| i32::try_from(number).ok()) {
        Some(number @ 1..=64) => Ok(number),
        _ => refuse(format!("invalid signal: {text}")),
    }
}

fn mount(mount: &Mount) -> Result<MountRequest, RuntimeError> {
    let target = mount.target.clone();
    if !Path::new(&target).is_absolute() || target == "/" {
        return refuse(format!("invalid mount target `{target}`: it must be an absolute path"));
    }
    match mount.kind {
        MountKind::Bind => {
            if !Path::new(&mount.source).is_absolute() {
                return refuse(format!("invalid bind source `{}`: not absolute", mount.source));
            }
            if !Path::new(&mount.source).exists() {
                return refuse(format!("bind source path does not exist: {}", mount.source));
            }
            let options: Option<serde_json::Value> = serde_json::from_str(&mount.bind_options).ok();
            let propagation = options.as_ref().and_then(|value| value.get("Propagation"));
            let propagation = propagation.and_then(|text| text.as_str()).unwrap_or("");
            if !matches!(propagation, "" | "rprivate") {
                return refuse(format!("bind propagation `{propagation}` is not offered here"));
            }
            let (source, read_only) = (mount.source.clone(), mount.read_only);
            Ok(MountRequest::Bind { source, target, read_only })
        }
        MountKind::Tmpfs if !mount.tmpfs_options.is_empty() => {
            refuse("the embedded runtime offers no tmpfs options beside size and mode")
        }
        MountKind::Tmpfs => Ok(MountRequest::Tmpfs {
            target,
            size_bytes: mount.tmpfs_size_bytes,
            mode: mount.tmpfs_mode,
            read_only: mount.read_only,
        }),
        MountKind::Volume => refuse("the embedded runtime has no volumes yet: bind a directory"),
    }
}

fn file(file: &TaskFile) -> FileRequest {
    let TaskFile { target, uid, gid, mode, .. } = file;
    FileRequest { target: target.clone(), uid: *uid, gid: *gid, mode: *mode }
}

fn sysctls(spec: &ContainerSpec) -> Result<Vec<(String, String)>, RuntimeError> {
    let mut sysctls = Vec::new();
    for (name, value) in &spec.sysctls {
        if !SYSCTLS.iter().any(|prefix| name.starts_with(prefix)) {
            return refuse(format!("sysctl {name} belongs to the node, not to a container"));
        }
        sysctls.push((name.clone(), value.clone()));
    }
    Ok(sysctls)
}

fn capabilities(spec: &ContainerSpec) -> Result<Vec<String>, RuntimeError> {
    let plain = |name: &String| {
        let name = name.to_ascii_uppercase();
        name.strip_prefix("CAP_").unwrap_or(&name).to_owned()
    };
    let dropped: Vec<String> = spec.cap_drop.iter().map(plain).collect();
    let mut capabilities: Vec<String> = Vec::new();
    if !dropped.iter().any(|name| name == "ALL") {
        let kept = CAPABILITIES.iter().filter(|name| !dropped.iter().any(|other| other == *name));
        capabilities.extend(kept.map(|name| (*name).to_owned()));
    }
    for name in spec.cap_add.iter().map(plain) {
        if CAPABILITIES_REFUSED.contains(&name.as_str()) {
            return refuse(format!("the embedded runtime does not give capability {name}"));
        }
        if !capabilities.contains(&name) {
            capabilities.push(name);
        }
    }
    Ok(capabilities.into_iter().map(|name| format!("CAP_{name}")).collect())
}

fn rlimit(limit: &Ulimit) -> Result<(String, u64, u64), RuntimeError> {
    if !RLIMITS.contains(&limit.name.as_str()) {
        return refuse(format!("invalid ulimit type: {}", limit.name));
    }
    let number = |value: i64| u64::try_from(value).unwrap_or(u64::MAX);
    let (soft, hard) = (number(limit.soft), number(limit.hard));
    if hard < soft {
        return refuse(format!("ulimit {}: soft limit above hard limit", limit.name));
    }
    Ok((format!("RLIMIT_{}", limit.name.to_ascii_uppercase()), soft, hard))
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
