//! Which specs become which containers, and which are refused.

use std::sync::Arc;

use crypto::NodeId;
use model::service::{Limits, Placement, Privileges, ResourceRequirements};
use model::{ClusterId, ServiceId, TaskId};

use super::*;

fn task(container: ContainerSpec) -> TaskContainer {
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
        files: Vec::new(),
    }
}

fn image() -> Ready {
    let mut image = Ready {
        digest: String::new(),
        run: Default::default(),
        lower_dirs: Vec::new(),
        is_demo: false,
    };
    image.run.entrypoint = Some(vec!["/entry".into()]);
    image.run.cmd = Some(vec!["cmd".into()]);
    image.run.env = Some(vec!["A=image".into(), "B=image".into()]);
    image
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn commands_replace_as_in_docker() {
    for (command, given, expected) in [
        (&[][..], &[][..], &["/entry", "cmd"][..]),
        (&[], &["x"], &["/entry", "x"]),
        (&["/c"], &[], &["/c"]),
        (&["/c"], &["x"], &["/c", "x"]),
    ] {
        let spec = ContainerSpec {
            command: texts(command),
            args: texts(given),
            ..ContainerSpec::default()
        };
        assert_eq!(args(&spec, &image()).unwrap(), expected);
    }
    let bare = Ready { run: Default::default(), ..image() };
    assert!(args(&ContainerSpec::default(), &bare).is_err());
}

#[test]
fn later_variables_win_and_names_alone_remove() {
    let spec = ContainerSpec { env: texts(&["A=mine", "B", "C="]), ..ContainerSpec::default() };
    let env = env(&task(spec), &image());
    assert!(env.contains(&"A=mine".to_owned()) && env.contains(&"C=".to_owned()));
    assert!(!env.iter().any(|variable| variable.starts_with('B')));
    assert_eq!(env.iter().filter(|variable| variable.starts_with("PATH=")).count(), 1);
}

#[test]
fn signals_are_names_or_numbers() {
    for (text, expected) in [
        ("", Some(15)),
        ("SIGINT", Some(2)),
        ("quit", Some(3)),
        ("SIGWINCH", Some(28)),
        ("9", Some(9)),
        ("SIGNOPE", None),
        ("0", None),
        ("65", None),
    ] {
        let spec = ContainerSpec { stop_signal: text.into(), ..ContainerSpec::default() };
        assert_eq!(stop_signal(&task(spec).spec, &image()).ok(), expected, "{text}");
    }
}

#[test]
fn what_cannot_be_honoured_is_refused() {
    let base = ContainerSpec::default;
    let privileges =
        |seccomp: &str| Some(Privileges { seccomp: seccomp.into(), ..Default::default() });
    for (ok, spec) in [
        (true, base()),
        (true, ContainerSpec { cap_add: texts(&["NET_ADMIN"]), ..base() }),
        (true, ContainerSpec { privileges: privileges(r#"{"Mode":"default"}"#), ..base() }),
        (false, ContainerSpec { privileges: privileges(r#"{"Mode":"unconfined"}"#), ..base() }),
        (false, ContainerSpec { cap_add: texts(&["CAP_SYS_ADMIN"]), ..base() }),
        (false, ContainerSpec { cap_add: texts(&["all"]), ..base() }),
        (false, ContainerSpec { tty: true, ..base() }),
        (false, ContainerSpec { isolation: "hyperv".into(), ..base() }),
    ] {
        assert_eq!(check(&task(spec.clone()).spec, false).is_ok(), ok, "{spec:?}");
    }
    let sysctl = |name: &str| ContainerSpec {
        sysctls: [(name.to_owned(), "1".to_owned())].into(),
        ..base()
    };
    assert!(sysctls(&sysctl("net.ipv4.ip_forward")).is_ok());
    assert!(sysctls(&sysctl("kernel.core_pattern")).is_err());
    let bind =
        |source: &str| Mount { source: source.into(), target: "/m".into(), ..Mount::default() };
    assert!(mount(&bind("/")).is_ok());
    assert!(mount(&bind("/no/such/path")).is_err());
    assert!(mount(&Mount { kind: MountKind::Volume, ..bind("v") }).is_err());
    assert!(mount(&Mount { target: "relative".into(), ..bind("/") }).is_err());
}

#[test]
fn limits_that_the_node_lacks_are_left_out() {
    let mut task = task(ContainerSpec::default());
    let limits = Limits { nano_cpus: 5, memory_bytes: 6, pids: 0 };
    Arc::make_mut(&mut task.spec).resources.limits = Some(limits);
    let all = CgroupSupport { memory: true, swap: true, cpu: true, pids: true };
    let none = CgroupSupport::default();
    let plan = |support| {
        container(&task, &image(), Node { support, rootless: false, group: "/g".into() }).unwrap()
    };
    let with = plan(&all);
    assert_eq!((with.memory_bytes, with.nano_cpus, with.pids), (Some(6), Some(5), None));
    assert_eq!(plan(&none).memory_bytes, None);
    assert!(all.lacks().is_none() && none.lacks().unwrap().contains("memory, CPU, processes"));
}
