//! `/version` and `/info`.

use std::sync::Arc;

use api::wire::system::{Component, Info, PlatformName, Plugins, SwarmInfo, SwarmPeer, Version};
use api::wire::time;
use model::NodeDescription;
use runtime::Runtime;
use serde_json::json;

use super::Front;
use crate::convert;
use crate::exile::REMOVED;

/// The newest Engine API whose shapes we speak.
const API_VERSION: &str = "1.50";
const API_VERSION_MIN: &str = "1.24";

pub(crate) fn version() -> Version {
    let uname = rustix::system::uname();
    let version = env!("CARGO_PKG_VERSION").to_owned();
    Version {
        platform: Some(PlatformName { name: "Skep".to_owned() }),
        components: vec![Component {
            name: "Skep".to_owned(),
            version: version.clone(),
            details: [
                ("ApiVersion", API_VERSION),
                ("Arch", docker_arch()),
                ("Experimental", "false"),
                ("MinAPIVersion", API_VERSION_MIN),
                ("Os", "linux"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        }],
        version,
        api_version: API_VERSION.to_owned(),
        min_api_version: API_VERSION_MIN.to_owned(),
        os: "linux".to_owned(),
        arch: docker_arch().to_owned(),
        kernel_version: uname.release().to_string_lossy().into_owned(),
        ..Version::default()
    }
}

/// Docker's word for the processor.
fn docker_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// What `/info` says of this machine, whether it is in a cluster or not.
pub(crate) async fn machine(runtime: &dyn Runtime, description: &NodeDescription) -> Info {
    let uname = rustix::system::uname();
    let about = runtime.info();
    let containers = runtime.list().await.unwrap_or_default();
    let running = containers
        .iter()
        .filter(|container| matches!(container.phase, runtime::Phase::Running { .. }))
        .count();
    let images = runtime.images().await.map_or(0, |images| images.len());
    Info {
        containers: n(containers.len()),
        containers_running: n(running),
        containers_stopped: n(containers.len() - running),
        images: n(images),
        driver: "overlayfs".to_owned(),
        system_status: vec![["Runtime".to_owned(), description.runtime.clone()]],
        memory_limit: about.limits,
        cpu_cfs_quota: about.limits,
        pids_limit: about.limits,
        system_time: time::format(super::status::unix_nanos().0),
        logging_driver: "json-file".to_owned(),
        cgroup_driver: "cgroupfs".to_owned(),
        cgroup_version: cgroup_version().to_owned(),
        plugins: Plugins {
            volume: Vec::new(),
            network: vec!["overlay".to_owned()],
            authorization: Vec::new(),
            log: vec!["json-file".to_owned()],
        },
        other: [
            ("CDISpecDirs".to_owned(), json!([])),
            ("KernelMemoryTCP".to_owned(), json!(false)),
        ]
        .into(),
        kernel_version: uname.release().to_string_lossy().into_owned(),
        operating_system: "Linux".to_owned(),
        os_type: "linux".to_owned(),
        architecture: uname.machine().to_string_lossy().into_owned(),
        index_server_address: "https://index.docker.io/v1/".to_owned(),
        n_cpu: u64::try_from(description.resources.nano_cpus / 1_000_000_000).unwrap_or(0),
        mem_total: description.resources.memory_bytes,
        name: description.hostname.clone(),
        server_version: env!("CARGO_PKG_VERSION").to_owned(),
        default_runtime: about.name,
        live_restore_enabled: true,
        warnings: about.lacks,
        ..Info::default()
    }
}

impl Front {
    pub(super) async fn build_info(&self) -> Info {
        let report = self.build_status().await;
        let voters: Vec<String> =
            report.raft.iter().flat_map(|raft| raft.voters.values().cloned()).collect();
        let mut info = machine(self.runtime.as_ref(), &self.description).await;
        if let Some(raft) = &report.raft {
            info.system_status.push(["Term".to_owned(), raft.term.to_string()]);
            let lines = raft.autopilot.iter().map(|line| ["Autopilot".to_owned(), line.clone()]);
            info.system_status.extend(lines);
        }
        let members = report.members.iter().map(|member| {
            [format!("Member {}", member.hostname), format!("{} {}", member.liveness, member.role)]
        });
        info.system_status.extend(members);
        info.warnings.splice(0..0, report.warnings);
        Info { id: self.me.to_string(), swarm: self.swarm_info(voters), ..info }
    }

    fn swarm_info(&self, voters: Vec<String>) -> SwarmInfo {
        let admitted = *self.admitted.borrow();
        let removed = *self.removed.borrow();
        let state = self.store.as_ref().map(|store| Arc::clone(&store.state().borrow()));
        let cluster = state.as_ref().and_then(|state| state.cluster().cloned());
        let view = Arc::clone(&self.view.borrow());
        let n_voters = voters.len();
        let peers = voters.into_iter().map(|id| {
            let member = view.members.values().find(|member| member.id.to_string() == id);
            let addr = member.map(|member| member.address.to_string()).unwrap_or_default();
            SwarmPeer { node_id: id, addr }
        });
        SwarmInfo {
            node_id: self.me.to_string(),
            node_addr: self
                .description
                .address
                .rsplit_once(':')
                .map_or("", |(ip, _)| ip)
                .to_owned(),
            local_node_state: match (removed, admitted.is_some()) {
                (true, _) => "error",
                (false, true) => "active",
                (false, false) => "pending",
            }
            .to_owned(),
            error: if removed { REMOVED.to_owned() } else { String::new() },
            control_available: admitted.is_some() && self.eligible && !removed,
            remote_managers: peers.collect(),
            nodes: state.as_ref().map_or(0, |state| n(state.nodes().count())),
            managers: n(n_voters),
            cluster: cluster.map(|cluster| convert::cluster(&cluster, &self.trust)),
            ..SwarmInfo::default()
        }
    }
}

/// Which hierarchy this machine has, as Docker counts them.
fn cgroup_version() -> &'static str {
    if std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists() { "2" } else { "1" }
}

fn n(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
