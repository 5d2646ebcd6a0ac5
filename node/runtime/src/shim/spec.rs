//! The OCI runtime specification of a container: everything that keeps it in.

use std::fs;
use std::io;
use std::path::Path;

use libcontainer::oci_spec::runtime::Spec;
use rustix::process::{Resource, getrlimit};
use serde_json::{Value, json};

use super::memory;
use super::request::{ContainerRequest, MountRequest};
use super::user::User;

/// Paths that show or change the node, hidden as Docker hides them.
const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];
const READ_ONLY: &[&str] =
    &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Period of CPU quotas in microseconds: the kernel's and Docker's default.
const CPU_PERIOD_MICROS: i64 = 100_000;

/// Makes the specification. Files for `/etc` are written below `dir`.
pub(crate) fn build(
    request: &ContainerRequest,
    user: &User,
    dir: &Path,
    root: &Path,
) -> io::Result<Spec> {
    let capabilities = json!(request.capabilities);
    let value = json!({
        "ociVersion": "1.0.2",
        "root": {"path": root, "readonly": request.read_only},
        "hostname": request.hostname,
        "process": {
            "terminal": false,
            "user": {"uid": user.uid, "gid": user.gid, "additionalGids": user.groups},
            "args": request.args,
            "env": request.env,
            "cwd": request.dir,
            "noNewPrivileges": true,
            "oomScoreAdj": request.oom_score_adj,
            // Inheritable and ambient ones would survive a change of user.
            "capabilities": {
                "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
                "inheritable": [], "ambient": [],
            },
            "rlimits": rlimits(request),
        },
        "mounts": mounts(request, dir)?,
        "linux": linux(request),
    });
    let mut value = value;
    if request.oom_score_adj == 0 {
        // Writing even the same value needs a right that a rootless node lacks.
        if let Some(process) = value["process"].as_object_mut() {
            process.remove("oomScoreAdj");
        }
    }
    Ok(serde_json::from_value(value)?)
}

fn rlimits(request: &ContainerRequest) -> Value {
    let limits = request.rlimits.iter().map(|(name, soft, hard)| {
        let most = own_hard_limit(name);
        json!({"type": name, "soft": soft.min(&most), "hard": hard.min(&most)})
    });
    limits.collect()
}

/// More than we have ourselves only CAP_SYS_RESOURCE may give, which a root in a
/// container of its own lacks: the task gets as much as there is.
fn own_hard_limit(name: &str) -> u64 {
    let resource = match name {
        "RLIMIT_AS" => Resource::As,
        "RLIMIT_CORE" => Resource::Core,
        "RLIMIT_CPU" => Resource::Cpu,
        "RLIMIT_DATA" => Resource::Data,
        "RLIMIT_FSIZE" => Resource::Fsize,
        "RLIMIT_LOCKS" => Resource::Locks,
        "RLIMIT_MEMLOCK" => Resource::Memlock,
        "RLIMIT_MSGQUEUE" => Resource::Msgqueue,
        "RLIMIT_NICE" => Resource::Nice,
        "RLIMIT_NOFILE" => Resource::Nofile,
        "RLIMIT_NPROC" => Resource::Nproc,
        "RLIMIT_RSS" => Resource::Rss,
        "RLIMIT_RTPRIO" => Resource::Rtprio,
        "RLIMIT_RTTIME" => Resource::Rttime,
        "RLIMIT_SIGPENDING" => Resource::Sigpending,
        "RLIMIT_STACK" => Resource::Stack,
        _ => return u64::MAX,
    };
    getrlimit(resource).maximum.unwrap_or(u64::MAX)
}

fn linux(request: &ContainerRequest) -> Value {
    // The network namespace is the shim's own, which it has made already.
    let namespaces = ["pid", "mount", "ipc", "uts", "cgroup"].map(|kind| json!({"type": kind}));
    let mut resources = json!({
        "devices": [{"allow": false, "access": "rwm"}],
    });
    if let Some(bytes) = request.memory_bytes {
        resources["memory"] = json!({"limit": bytes});
        if request.limit_swap {
            // The sum of memory and swap: without it a container just swaps.
            resources["memory"]["swap"] = json!(bytes);
        }
    }
    if let Some(nano_cpus) = request.nano_cpus {
        let quota = nano_cpus.saturating_mul(CPU_PERIOD_MICROS) / 1_000_000_000;
        resources["cpu"] = json!({"period": CPU_PERIOD_MICROS, "quota": quota.max(1000)});
    }
    if let Some(pids) = request.pids {
        resources["pids"] = json!({"limit": pids});
    }
    // Those of the network are the shim's work: it made that namespace.
    let others = request.sysctls.iter().filter(|(name, _)| !name.starts_with("net."));
    let sysctls: serde_json::Map<String, Value> =
        others.map(|(name, value)| (name.clone(), json!(value))).collect();
    let mut linux = json!({
        "namespaces": namespaces,
        "maskedPaths": MASKED,
        "readonlyPaths": READ_ONLY,
        "sysctl": sysctls,
        "resources": resources,
        "rootfsPropagation": "private",
    });
    if let Some(cgroup) = &request.cgroup {
        linux["cgroupsPath"] = json!(cgroup);
    }
    linux
}

fn mounts(request: &ContainerRequest, dir: &Path) -> io::Result<Vec<Value>> {
    let mount = |kind: &str, target: &str, options: &[&str]| json!({"destination": target, "type": kind, "source": kind, "options": options});
    // A user namespace of one user has no group 5.
    let devpts: &[&str] = if request.rootless {
        &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]
    } else {
        &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]
    };
    let mut mounts = vec![
        mount("proc", "/proc", &["nosuid", "noexec", "nodev"]),
        mount("tmpfs", "/dev", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount("devpts", "/dev/pts", devpts),
        mount("tmpfs", "/dev/shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        mount("mqueue", "/dev/mqueue", &["nosuid", "noexec", "nodev"]),
        mount("sysfs", "/sys", &["nosuid", "noexec", "nodev", "ro"]),
    ];
    for (name, text) in etc_files(request) {
        let source = dir.join(name);
        fs::write(&source, text)?;
        mounts.push(json!({
            "destination": format!("/etc/{name}"), "type": "bind", "source": source,
            "options": ["bind", "rprivate", "nosuid", "nodev"],
        }));
    }
    mounts.extend(request.mounts.iter().map(user_mount));
    // Behind the user's: a tmpfs at /run must not hide them.
    for (number, file) in request.files.iter().enumerate() {
        mounts.push(json!({
            "destination": file.target, "type": "bind", "source": memory::path_of(dir, number),
            "options": ["bind", "rprivate", "ro", "nosuid", "nodev", "noexec"],
        }));
    }
    Ok(mounts)
}

fn user_mount(wanted: &MountRequest) -> Value {
    match wanted {
        MountRequest::Bind { source, target, read_only } => {
            let access = if *read_only { "ro" } else { "rw" };
            json!({
                "destination": target, "type": "bind", "source": source,
                "options": ["rbind", "rprivate", access],
            })
        }
        MountRequest::Tmpfs { target, size_bytes, mode, read_only } => {
            let mut options = vec!["nosuid".to_owned(), "nodev".to_owned(), "noexec".to_owned()];
            options.push(if *read_only { "ro" } else { "rw" }.to_owned());
            if 0 < *size_bytes {
                options.push(format!("size={size_bytes}"));
            }
            let mode = if *mode == 0 { 0o1777 } else { *mode };
            options.push(format!("mode={mode:o}"));
            json!({"destination": target, "type": "tmpfs", "source": "tmpfs", "options": options})
        }
    }
}

/// The three files that every resolver reads, as Docker provides them.
fn etc_files(request: &ContainerRequest) -> [(&'static str, String); 3] {
    let mut hosts =
        String::from("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    hosts.push_str(&format!("127.0.1.1\t{}\n", request.hostname));
    for line in &request.hosts {
        hosts.push_str(line);
        hosts.push('\n');
    }
    let mut resolv = String::new();
    for server in &request.nameservers {
        resolv.push_str(&format!("nameserver {server}\n"));
    }
    if !request.dns_search.is_empty() {
        resolv.push_str(&format!("search {}\n", request.dns_search.join(" ")));
    }
    if !request.dns_options.is_empty() {
        resolv.push_str(&format!("options {}\n", request.dns_options.join(" ")));
    }
    [("hosts", hosts), ("resolv.conf", resolv), ("hostname", format!("{}\n", request.hostname))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_kept_in_by_default() {
        let dir = tempfile::tempdir().unwrap();
        let request = ContainerRequest {
            args: vec!["/x".into()],
            dir: "/".into(),
            hostname: "h".into(),
            cgroup: Some("/skep/x".into()),
            memory_bytes: Some(64),
            limit_swap: true,
            ..ContainerRequest::default()
        };
        let spec = build(&request, &User::default(), dir.path(), Path::new("/r")).unwrap();
        let process = spec.process().as_ref().unwrap();
        assert_eq!(process.no_new_privileges(), Some(true));
        let capabilities = process.capabilities().as_ref().unwrap();
        assert!(capabilities.ambient().as_ref().is_none_or(|set| set.is_empty()));
        assert!(capabilities.inheritable().as_ref().is_none_or(|set| set.is_empty()));
        let linux = spec.linux().as_ref().unwrap();
        assert_eq!(linux.namespaces().as_ref().unwrap().len(), 5);
        assert!(linux.masked_paths().as_ref().unwrap().contains(&"/proc/kcore".to_owned()));
        let memory = linux.resources().as_ref().unwrap().memory().unwrap();
        assert_eq!((memory.limit(), memory.swap()), (Some(64), Some(64)));
        let mounts = spec.mounts().as_ref().unwrap();
        assert!(mounts.iter().all(|mount| mount.typ().as_deref() != Some("cgroup")));
        assert!(fs::read_to_string(dir.path().join("hosts")).unwrap().contains("127.0.1.1\th"));
    }
}
