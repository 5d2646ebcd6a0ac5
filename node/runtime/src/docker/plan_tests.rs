//! Every field of a spec reaches the Engine, or is refused by name.

use std::sync::Arc;

use crypto::{NodeId, SecretBytes};
use model::service::{
    DnsConfig, FileTarget, Limits, LogDriver, Placement, ResourceRequirements, Ulimit,
};
use model::{ClusterId, ServiceId, TaskId, TaskSpec};
use serde_json::json;

use super::*;
use crate::FileKind;

pub(in crate::docker) fn task(container: ContainerSpec) -> TaskContainer {
    let spec = TaskSpec {
        container,
        resources: ResourceRequirements::default(),
        restart: None,
        placement: Placement::default(),
        networks: Vec::new(),
        log_driver: None,
        force_update: 0,
    };
    TaskContainer {
        files: Vec::new(),
        task: TaskId::from_bytes([1; 16]),
        service: ServiceId::from_bytes([2; 16]),
        service_name: "web".into(),
        slot: "2".into(),
        node: NodeId::from_bytes([3; 16]),
        node_hostname: "n".into(),
        cluster: ClusterId::from_bytes([4; 16]),
        name: "web.2.x".into(),
        spec: Arc::new(spec),
        registry_auth: None,
    }
}

fn engine(minor: u64) -> Facts {
    Facts { api: ApiVersion(1, minor), selinux: true, ..Facts::default() }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn body(task: &TaskContainer) -> Value {
    serde_json::to_value(create(task, false, &engine(50)).unwrap()).unwrap()
}

fn reason(spec: ContainerSpec, minor: u64) -> String {
    create(&task(spec), false, &engine(minor)).unwrap_err().to_string()
}

#[expect(clippy::too_many_lines, reason = "every field once")]
#[test]
fn every_field_reaches_the_engine() {
    let second = 1_000_000_000;
    let mut task = task(ContainerSpec {
        image: "a/b:1".into(),
        command: words(&["/c"]),
        args: words(&["x", "y"]),
        hostname: "h".into(),
        env: words(&["A=1"]),
        dir: "/d".into(),
        user: "1:2".into(),
        groups: words(&["5"]),
        tty: true,
        open_stdin: true,
        read_only: true,
        init: Some(true),
        mounts: vec![
            Mount {
                kind: MountKind::Bind,
                source: "/s".into(),
                target: "/b".into(),
                read_only: true,
                bind_options: r#"{"Propagation":"rslave","NonRecursive":true}"#.into(),
                ..Mount::default()
            },
            Mount {
                kind: MountKind::Volume,
                source: "v".into(),
                target: "/v".into(),
                volume_options: r#"{"NoCopy":true,"Labels":{"l":"1"}}"#.into(),
                ..Mount::default()
            },
            Mount {
                kind: MountKind::Tmpfs,
                target: "/t".into(),
                tmpfs_size_bytes: 4096,
                tmpfs_mode: 0o1777,
                tmpfs_options: vec![words(&["noexec"])],
                ..Mount::default()
            },
        ],
        stop_signal: "SIGQUIT".into(),
        stop_grace_nanos: Some(second * 3 / 2),
        health_check: Some(HealthCheck {
            test: words(&["CMD", "t"]),
            interval_nanos: second,
            timeout_nanos: 2 * second,
            retries: 3,
            start_period_nanos: 4 * second,
            start_interval_nanos: 5 * second,
        }),
        hosts: words(&["10.0.0.1 one two", "three:10.0.0.3"]),
        dns: Some(DnsConfig {
            nameservers: words(&["10.0.0.53"]),
            search: words(&["s"]),
            options: words(&["ndots:1"]),
        }),
        sysctls: [("net.core.somaxconn".to_owned(), "9".to_owned())].into(),
        cap_add: words(&["NET_ADMIN"]),
        cap_drop: words(&["ALL"]),
        ulimits: vec![Ulimit { name: "nofile".into(), soft: 10, hard: 20 }],
        oom_score_adj: 7,
        privileges: Some(Privileges {
            no_new_privileges: true,
            seccomp: json!({"Mode": "custom", "Profile": STANDARD.encode("{\"a\":1}")}).to_string(),
            apparmor: r#"{"Mode":"disabled"}"#.into(),
            selinux: r#"{"Disable":false,"Type":"t","Level":""}"#.into(),
            credential_spec: "null".into(),
        }),
        ..ContainerSpec::default()
    });
    let spec = Arc::make_mut(&mut task.spec);
    let limits = Limits { nano_cpus: 500, memory_bytes: 64 << 20, pids: 9 };
    spec.resources.limits = Some(limits);
    let options = [("max-size".to_owned(), "1m".to_owned())].into();
    spec.log_driver = Some(LogDriver { name: "json-file".into(), options });

    let mut shown = body(&task);
    assert_eq!(shown["Labels"]["com.docker.swarm.service.name"], "web");
    shown["Labels"] = Value::Null;
    let expected = json!({
        "Labels": null, "Image": "a/b:1", "Entrypoint": ["/c"], "Cmd": ["x", "y"], "Hostname": "h",
        "Env": ["A=1"], "WorkingDir": "/d", "User": "1:2", "Tty": true, "OpenStdin": true,
        "StopSignal": "SIGQUIT", "StopTimeout": 2,
        "Healthcheck": {"Test": ["CMD", "t"], "Interval": second, "Timeout": 2 * second,
            "Retries": 3, "StartPeriod": 4 * second, "StartInterval": 5 * second},
        "HostConfig": {
            "Mounts": [
                {"Type": "bind", "Source": "/s", "Target": "/b", "ReadOnly": true,
                    "BindOptions": {"Propagation": "rslave", "NonRecursive": true}},
                {"Type": "volume", "Source": "v", "Target": "/v", "ReadOnly": false,
                    "VolumeOptions": {"NoCopy": true, "Labels": {"l": "1"}}},
                {"Type": "tmpfs", "Target": "/t", "ReadOnly": false,
                    "TmpfsOptions": {"SizeBytes": 4096, "Mode": 0o1777, "Options": [["noexec"]]}}
            ],
            "ReadonlyRootfs": true, "Init": true, "GroupAdd": ["5"],
            "CapAdd": ["NET_ADMIN"], "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges=true", "seccomp={\"a\":1}", "apparmor=unconfined",
                "label=type:t"],
            "Sysctls": {"net.core.somaxconn": "9"},
            "Ulimits": [{"Name": "nofile", "Soft": 10, "Hard": 20}], "OomScoreAdj": 7,
            "NanoCpus": 500, "Memory": 64 << 20, "MemorySwap": 64 << 20, "PidsLimit": 9,
            "Dns": ["10.0.0.53"], "DnsSearch": ["s"], "DnsOptions": ["ndots:1"],
            "ExtraHosts": ["one:10.0.0.1", "two:10.0.0.1", "three:10.0.0.3"],
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m"}},
            "RestartPolicy": {"Name": "no"}
        }
    });
    assert_eq!(shown, expected);
}

#[test]
fn a_secret_is_bound_by_its_path_alone() {
    let data = Arc::new(SecretBytes::new(b"hunter2".to_vec()));
    let target = FileTarget { name: "pw".into(), uid: "7".into(), gid: "8".into(), mode: 0o400 };
    let file = TaskFile::new(FileKind::Secret, "s", &target, data).unwrap();
    let shown = serde_json::to_value(file_mount(&file, Path::new("/run/x/0"))).unwrap();
    let expected = json!({"Type": "bind", "Source": "/run/x/0", "Target": "/run/secrets/pw",
        "ReadOnly": true});
    assert_eq!(shown, expected);
}

#[test]
fn nothing_is_asked_for_that_was_not_asked_of_us() {
    let plain = task(ContainerSpec { image: "a".into(), ..ContainerSpec::default() });
    let shown = body(&plain);
    for absent in ["Entrypoint", "Cmd", "Env", "Hostname", "User", "Healthcheck", "StopSignal"] {
        assert_eq!(shown.get(absent), None, "{absent}");
    }
    for absent in
        ["Mounts", "Memory", "MemorySwap", "PidsLimit", "SecurityOpt", "LogConfig", "Init"]
    {
        assert_eq!(shown["HostConfig"].get(absent), None, "{absent}");
    }
    assert_eq!(shown["StopTimeout"], 10);
    let demo = create(&plain, true, &engine(50)).unwrap();
    assert!(demo.env.unwrap().contains(&"SKEP_TASK_NAME=web.2".to_owned()));
}

#[test]
fn what_an_old_engine_would_ignore_is_refused_by_name() {
    let with = |mount: Mount| ContainerSpec {
        mounts: vec![Mount { target: "/t".into(), ..mount }],
        ..ContainerSpec::default()
    };
    let bind =
        Mount { bind_options: r#"{"ReadOnlyForceRecursive":true}"#.into(), ..Mount::default() };
    let volume = Mount {
        kind: MountKind::Volume,
        volume_options: r#"{"Subpath":"a"}"#.into(),
        ..Mount::default()
    };
    let tmpfs = Mount {
        kind: MountKind::Tmpfs,
        tmpfs_options: vec![words(&["noexec"])],
        ..Mount::default()
    };
    for (mount, field) in [
        (bind, "BindOptions.ReadOnlyForceRecursive"),
        (volume, "VolumeOptions.Subpath"),
        (tmpfs, "TmpfsOptions.Options"),
    ] {
        let told = reason(with(mount.clone()), 41);
        assert!(told.contains(field) && told.contains("1.41"), "{told}");
        assert!(create(&task(with(mount)), false, &engine(50)).is_ok());
    }
}

#[test]
fn what_no_engine_can_do_is_refused_by_name() {
    let base = ContainerSpec::default;
    let privileges = |privileges| ContainerSpec { privileges: Some(privileges), ..base() };
    let windows = r#"{"File":"x"}"#.to_owned();
    for (spec, expected) in [
        (ContainerSpec { image: "dir:/srv".into(), ..base() }, "dir:/srv"),
        (ContainerSpec { isolation: "hyperv".into(), ..base() }, "hyperv"),
        (
            privileges(Privileges { credential_spec: windows, ..Privileges::default() }),
            "CredentialSpec",
        ),
        (
            privileges(Privileges {
                seccomp: r#"{"Mode":"custom","Profile":"%"}"#.into(),
                ..Privileges::default()
            }),
            "Seccomp",
        ),
        (
            privileges(Privileges { apparmor: r#"{"Mode":"x"}"#.into(), ..Privileges::default() }),
            "AppArmor",
        ),
        (
            privileges(Privileges { selinux: "no JSON".into(), ..Privileges::default() }),
            "SELinuxContext",
        ),
    ] {
        let told = reason(spec, 50);
        assert!(told.contains(expected), "{told}");
    }
}

#[test]
fn a_context_of_selinux_needs_selinux() {
    let selinux = r#"{"Type":"container_t"}"#.to_owned();
    let privileges = Some(Privileges { selinux, ..Privileges::default() });
    let task = task(ContainerSpec { privileges, ..ContainerSpec::default() });
    assert!(create(&task, false, &engine(50)).is_ok());
    let without = Facts { selinux: false, ..engine(50) };
    let told = create(&task, false, &without).unwrap_err().to_string();
    assert!(told.contains("SELinuxContext"), "{told}");
}
