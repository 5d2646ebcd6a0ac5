//! What a spec asks for is what a process inside sees.

use std::sync::Arc;

use model::service::{DnsConfig, Limits, Mount, MountKind, Privileges, Ulimit};

use crate::machine::{Node, directory, possible, run, shell};

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[expect(clippy::too_many_lines, reason = "every field once")]
#[tokio::test]
async fn a_process_finds_what_was_asked_for() {
    if !possible() {
        return;
    }
    let node = Node::open().await;
    let shared = directory();
    std::fs::write(shared.path().join("hello"), "from the host\n").unwrap();
    let line = "id; id -G; hostname; echo $GREETING; busybox pwd; cat /proc/self/oom_score_adj; \
                grep -E '^(CapEff|NoNewPrivs|Seccomp):' /proc/self/status; \
                touch /x 2>/dev/null || echo root is read-only; \
                cat /bind/hello; touch /bind/y 2>/dev/null || echo bind is read-only; \
                touch /volume/z && echo volume is written; \
                grep ' /tmpfs ' /proc/mounts; ulimit -n; cat /proc/sys/net/core/somaxconn; \
                cat /proc/1/comm; cat /etc/hosts; cat /etc/resolv.conf";
    let mut spec = shell(line);
    spec.user = "www".to_owned();
    spec.groups = words(&["extra"]);
    spec.hostname = "inside".to_owned();
    spec.env = words(&["GREETING=hello"]);
    spec.dir = "/tmpfs".to_owned();
    spec.read_only = true;
    spec.init = Some(true);
    spec.cap_add = words(&["NET_ADMIN"]);
    spec.cap_drop = words(&["ALL"]);
    spec.oom_score_adj = 321;
    spec.ulimits = vec![Ulimit { name: "nofile".into(), soft: 77, hard: 88 }];
    spec.sysctls = [("net.core.somaxconn".to_owned(), "99".to_owned())].into();
    spec.hosts = words(&["10.9.8.7 db database"]);
    spec.dns = Some(DnsConfig {
        nameservers: words(&["10.9.8.53"]),
        search: words(&["example.org"]),
        options: words(&["ndots:3"]),
    });
    spec.privileges = Some(Privileges { no_new_privileges: true, ..Privileges::default() });
    let volume = format!("skep-test-{}", std::process::id());
    spec.mounts = vec![
        Mount {
            source: shared.path().display().to_string(),
            target: "/bind".into(),
            read_only: true,
            ..Mount::default()
        },
        Mount {
            kind: MountKind::Tmpfs,
            target: "/tmpfs".into(),
            tmpfs_size_bytes: 1 << 20,
            tmpfs_mode: 0o1777,
            ..Mount::default()
        },
    ];
    let task = node.run(1, spec).await;
    let output = node.output(task).await;
    for expected in [
        "uid=33(www) gid=44(www)",
        "44 77\n",
        "inside\n",
        "hello\n",
        "/tmpfs\n",
        "321\n",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
        "CapEff:\t0000000000000000",
        "root is read-only",
        "from the host",
        "bind is read-only",
        "tmpfs /tmpfs tmpfs",
        "size=1024k",
        "\n77\n",
        "\n99\n",
        "docker-init",
        "10.9.8.7\tdb",
        "10.9.8.7\tdatabase",
        "nameserver 10.9.8.53",
        "example.org",
        "ndots:3",
    ] {
        assert!(output.contains(expected), "{expected:?} is not in\n{output}");
    }

    let mut spec =
        shell("touch /volume/z && echo volume is written; grep CapEff /proc/self/status");
    spec.cap_add = words(&["NET_ADMIN"]);
    spec.cap_drop = words(&["ALL"]);
    spec.mounts.push(Mount {
        kind: MountKind::Volume,
        source: volume.clone(),
        target: "/volume".into(),
        ..Mount::default()
    });
    let task = node.run(2, spec).await;
    let output = node.output(task).await;
    node.runtime.remove(task).await.unwrap();
    run(node.docker().args(["volume", "rm", &volume]));
    assert!(output.contains("volume is written"), "{output}");
    // NET_ADMIN alone.
    assert!(output.contains("CapEff:\t0000000000001000"), "{output}");
}

#[tokio::test]
async fn the_engine_holds_the_rest() {
    if !possible() {
        return;
    }
    let node = Node::open().await;
    let mut spec = shell("sleep 60");
    spec.stop_signal = "SIGUSR1".to_owned();
    spec.stop_grace_nanos = Some(3_000_000_000);
    spec.open_stdin = true;
    spec.privileges = Some(Privileges {
        seccomp: r#"{"Mode":"unconfined"}"#.into(),
        apparmor: r#"{"Mode":"disabled"}"#.into(),
        ..Privileges::default()
    });
    let mut container = node.container(1, spec);
    let limits = Limits { memory_bytes: 64 << 20, nano_cpus: 250_000_000, pids: 50 };
    Arc::make_mut(&mut container.spec).resources.limits = Some(limits);
    let id = node.runtime.prepare(&container).await.unwrap().native_id;
    for (template, expected) in [
        ("{{.Config.StopSignal}}", "SIGUSR1"),
        ("{{.Config.StopTimeout}}", "3"),
        ("{{.Config.OpenStdin}}", "true"),
        ("{{.HostConfig.SecurityOpt}}", "[seccomp=unconfined apparmor=unconfined]"),
        ("{{.HostConfig.Memory}}", "67108864"),
        ("{{.HostConfig.NanoCpus}}", "250000000"),
        ("{{.HostConfig.PidsLimit}}", "50"),
        ("{{.HostConfig.RestartPolicy.Name}}", "no"),
    ] {
        assert_eq!(node.shows(&id, template), expected, "{template}");
    }
}
