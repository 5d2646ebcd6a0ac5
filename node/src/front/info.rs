//! `/version` and `/info`.

use std::sync::Arc;

use api::wire::system::{Component, Info, PlatformName, Plugins, SwarmInfo, SwarmPeer, Version};
use api::wire::time;
use serde_json::json;

use super::Front;
use crate::convert;

/// The newest Engine API whose shapes we speak.
const API_VERSION: &str = "1.50";
const API_VERSION_MIN: &str = "1.24";

pub(super) fn version() -> Version {
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

impl Front {
    pub(super) async fn build_info(&self) -> Info {
        let uname = rustix::system::uname();
        let runtime = self.runtime.info();
        let report = self.build_status();
        let containers = self.runtime.list().await.unwrap_or_default();
        let running = containers
            .iter()
            .filter(|container| matches!(container.phase, runtime::Phase::Running { .. }))
            .count();
        let images = self.runtime.images().await.map_or(0, |images| images.len());
        let mut system_status = vec![["Runtime".to_owned(), report.node.runtime.clone()]];
        if let Some(raft) = &report.raft {
            system_status.push(["Term".to_owned(), raft.term.to_string()]);
            system_status
                .extend(raft.autopilot.iter().map(|line| ["Autopilot".to_owned(), line.clone()]));
        }
        let members = report.members.iter().map(|member| {
            [format!("Member {}", member.hostname), format!("{} {}", member.liveness, member.role)]
        });
        system_status.extend(members);
        Info {
            id: self.me.to_string(),
            containers: n(containers.len()),
            containers_running: n(running),
            containers_stopped: n(containers.len() - running),
            images: n(images),
            driver: "overlayfs".to_owned(),
            system_status,
            memory_limit: runtime.limits,
            cpu_cfs_quota: runtime.limits,
            pids_limit: runtime.limits,
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
            n_cpu: u64::try_from(self.description.resources.nano_cpus / 1_000_000_000).unwrap_or(0),
            mem_total: self.description.resources.memory_bytes,
            name: self.description.hostname.clone(),
            server_version: env!("CARGO_PKG_VERSION").to_owned(),
            default_runtime: runtime.name,
            swarm: self.swarm_info(),
            live_restore_enabled: true,
            warnings: report.warnings.into_iter().chain(report.lacks).collect(),
            ..Info::default()
        }
    }

    fn swarm_info(&self) -> SwarmInfo {
        let admitted = *self.admitted.borrow();
        let state = self.store.as_ref().map(|store| Arc::clone(&store.state().borrow()));
        let cluster = state.as_ref().and_then(|state| state.cluster().cloned());
        let address =
            |id| self.view.borrow().members.get(&id).map(|member| member.address.to_string());
        let voters = self.raft_view().voters;
        let peers = voters.iter().map(|id| SwarmPeer {
            node_id: id.to_string(),
            addr: address(*id).unwrap_or_else(|| self.description.address.clone()),
        });
        SwarmInfo {
            node_id: self.me.to_string(),
            node_addr: self
                .description
                .address
                .rsplit_once(':')
                .map_or("", |(ip, _)| ip)
                .to_owned(),
            local_node_state: if admitted.is_some() { "active" } else { "pending" }.to_owned(),
            control_available: admitted.is_some() && self.eligible,
            remote_managers: peers.collect(),
            nodes: state.as_ref().map_or(0, |state| n(state.nodes().count())),
            managers: n(voters.len()),
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
