//! Secrets and configs: into containers, and nowhere else.

use std::time::Duration;

use serde_json::Value;
use tests::live::{Kind, Lab, brief, is_wanted, lives, possible, runs};
use tests::live_cli::docker_is_here;

use crate::{HEALED, MOVED, WRITE};

const SECRET: &str = "canary-of-the-secret-0f9d2c7b41";
const CONFIG: &str = "canary-of-the-config-5e81aa03d6";

/// The secret as it is, as base64 at each of its three places in a longer text, as numbers and
/// as hexadecimal digits.
const FORMS_OF_SECRET: [&str; 6] = [
    SECRET,
    "LW9mLXRoZS1zZWNyZXQtMGY5ZDJj",
    "eS1vZi10aGUtc2VjcmV0LTBmOWQy",
    "cnktb2YtdGhlLXNlY3JldC0wZjlk",
    "99,97,110,97,114,121,45,111,102,45,116,104,101,45,115",
    "63616e6172792d6f662d7468652d736563726574",
];

fn holds_secret(text: &str) -> bool {
    FORMS_OF_SECRET.iter().any(|form| text.replace(' ', "").contains(form))
}

/// Id and process of the running task.
fn running(lab: &Lab) -> Result<(String, i64), String> {
    let tasks = lab.tasks(1)?;
    let one = tasks.iter().find(|task| runs(task));
    let pid = one.and_then(|task| task["Status"]["ContainerStatus"]["PID"].as_i64());
    let id = one.and_then(|task| task["ID"].as_str()).map(str::to_owned);
    id.zip(pid.filter(|pid| *pid != 0)).ok_or_else(|| brief(&tasks))
}

/// A file as the container sees it, if it does.
fn look_inside(pid: i64, path: &str) -> std::io::Result<String> {
    std::fs::read_to_string(format!("/proc/{pid}/root{path}"))
}

/// A file that the container sees.
fn inside(pid: i64, path: &str) -> String {
    look_inside(pid, path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn remove_service(lab: &mut Lab, name: &str, pid: i64) {
    assert_eq!(lab.put(1, &["service", "rm", name], b"").well(), name);
    lab.until("the container is gone", MOVED, |lab| {
        let n_left = lab.tasks(1)?.len();
        let gone = !lives(pid) && n_left == 0;
        gone.then_some(()).ok_or_else(|| format!("{n_left} tasks, process: {}", lives(pid)))
    });
    lab.until("its files are gone", HEALED, |lab| {
        let n_left = lab.n_memories();
        (n_left == 0).then_some(()).ok_or_else(|| format!("{n_left} processes see them"))
    });
}

/// Reads through the API and the command line whatever could show a secret.
fn nothing_shows_it(lab: &Lab, said: &mut Vec<String>) {
    for args in [
        &["secret", "inspect", "s1"][..],
        &["secret", "inspect", "--pretty", "s1"],
        &["secret", "ls", "--format", "json"],
        &["service", "inspect", "files"],
        &["service", "inspect", "--pretty", "files"],
        &["service", "ps", "--no-trunc", "files"],
        &["service", "logs", "files"],
        &["status", "--format", "json"],
        &["node", "inspect", "self"],
    ] {
        said.push(lab.put(1, args, b"").well());
    }
    for path in ["/secrets", "/secrets/s1", "/services", "/tasks", "/info", "/skep/status"] {
        said.push(lab.get(1, path).unwrap().to_string());
    }
    for text in said {
        assert!(!holds_secret(text), "{text}");
    }
}

#[test]
fn a_secret_is_in_its_container_and_nowhere_else() {
    if !possible() {
        return;
    }
    let mut lab = Lab::new(1, Kind::Alone);
    lab.form(1);
    let id = lab.put(1, &["secret", "create", "-l", "env=prod", "s1", "-"], SECRET.as_bytes());
    assert_eq!(id.well().len(), 25);
    let _ = lab.put(1, &["config", "create", "c1", "-"], CONFIG.as_bytes()).well();
    let again = lab.put(1, &["secret", "create", "s1", "-"], SECRET.as_bytes()).badly();
    assert_eq!(again, "Error response from daemon: secret s1 already exists");
    let unknown = ["service", "create", "-d", "--secret", "nosuch", "skep/demo"];
    assert_eq!(lab.put(1, &unknown, b"").badly(), "secret not found: nosuch");

    // What it prints of the secret has another form: output is kept on the disk.
    let line = "sed s/canary/read/ /run/secrets/pw; sed s/canary/read/ /etc/app.conf; echo; \
                stat -c '%u:%g %a' /run/secrets/pw; exec sleep 1000";
    let created = lab.put(
        1,
        &[
            "service",
            "create",
            "-d",
            "--name",
            "files",
            "--user",
            "1000",
            "--secret",
            "source=s1,target=pw,uid=1000,gid=1000,mode=0400",
            "--config",
            "source=c1,target=/etc/app.conf",
            "dir:/",
            "/bin/sh",
            "-c",
            line,
        ],
        b"",
    );
    let _ = created.well();
    let (task, pid) = lab.until("the container runs", MOVED, |lab| running(lab));
    assert_eq!(inside(pid, "/run/secrets/pw"), SECRET);
    assert_eq!(inside(pid, "/etc/app.conf"), CONFIG);
    let expected = "read-of-the-secret-0f9d2c7b41read-of-the-config-5e81aa03d6\n1000:1000 400";
    lab.until("it reads them", HEALED, |lab| {
        let logs = lab.put(1, &["service", "logs", "--raw", "files"], b"").well();
        (logs == expected).then_some(()).ok_or(logs)
    });

    let mut said = Vec::new();
    for (args, text) in [
        (["secret", "rm", "s1"], "secret 's1' is in use by the following service: files"),
        (["config", "rm", "c1"], "config 'c1' is in use by the following service: files"),
    ] {
        let refused = lab.put(1, &args, b"").badly();
        assert_eq!(refused, format!("Error response from daemon: {text}"));
        said.push(refused);
    }
    labels_only(&lab, &mut said);
    nothing_shows_it(&lab, &mut said);

    lab.kill(1);
    assert!(0 < lab.n_memories(), "the files went with the daemon");
    lab.start(1);
    let adopted = lab.until("the container is adopted", HEALED, |lab| running(lab));
    assert_eq!(adopted, (task, pid), "the task or its process is another");
    assert_eq!(inside(pid, "/run/secrets/pw"), SECRET);
    nothing_shows_it(&lab, &mut said);
    assert_eq!(lab.files_with(&FORMS_OF_SECRET), Vec::<std::path::PathBuf>::new());
    assert_eq!(lab.files_with(&[CONFIG]), Vec::<std::path::PathBuf>::new());
    assert!(!lab.files_with(&["/run/secrets/pw"]).is_empty(), "the disks can be searched");

    remove_service(&mut lab, "files", pid);
    assert_eq!(lab.put(1, &["secret", "rm", "s1"], b"").well(), "s1");
    assert_eq!(lab.put(1, &["config", "rm", "c1"], b"").well(), "c1");
    assert_eq!(lab.files_with(&FORMS_OF_SECRET), Vec::<std::path::PathBuf>::new());
}

/// The same data is no change; other data is refused, and nobody repeats it.
fn labels_only(lab: &Lab, said: &mut Vec<String>) {
    let version = |lab: &Lab| lab.get(1, "/secrets/s1").unwrap()["Version"]["Index"].clone();
    let update = |data: &str| {
        let body = serde_json::json!({ "Name": "s1", "Labels": { "new": "label" }, "Data": data });
        let path = format!("/secrets/s1/update?version={}", version(lab));
        lab.ask(1, "POST", &path, &body).unwrap()
    };
    let same = "Y2FuYXJ5LW9mLXRoZS1zZWNyZXQtMGY5ZDJjN2I0MQ==";
    assert_eq!(update(same).status, 200);
    assert_eq!(lab.get(1, "/secrets/s1").unwrap()["Spec"]["Labels"]["new"], "label");
    let other = update("eC1jYW5hcnktb2YtdGhlLXNlY3JldC0wZjlkMmM3YjQx");
    assert_eq!(other.status, 400);
    assert_eq!(other.body["message"], "only updates to Labels are allowed");
    said.push(other.body.to_string());
}

#[test]
fn whoever_leads_opens_them_for_any_node() {
    if !possible() {
        return;
    }
    let mut lab = Lab::new(3, Kind::Seeded);
    lab.form(3);
    // Two of these three do not lead.
    for (n, name) in [(1, "s1"), (2, "s2"), (3, "s3")] {
        let _ = lab.put(n, &["secret", "create", name, "-"], SECRET.as_bytes()).well();
    }
    let mut args = vec!["service", "create", "-d", "--name", "web", "--replicas", "3"];
    args.extend(["--secret", "s1", "--secret", "s2", "--secret", "s3", "skep/demo"]);
    let _ = lab.put(2, &args, b"").well();
    // An agent makes no container before it has all its files.
    let mut nodes = lab.until_running(1, 3, MOVED);
    nodes.sort();
    nodes.dedup();
    assert_eq!(nodes.len(), 3, "one on each node");
    let leader = lab.leader(&[1, 2, 3]).unwrap();
    lab.kill(leader);
    let other = 1 + leader % 3;
    lab.until("a new leader takes a change", WRITE, |lab| {
        let said = lab.put(other, &["service", "scale", "-d", "web=9"], b"");
        (said.code == 0).then_some(()).ok_or(said.stderr)
    });
    lab.until("nine tasks run", MOVED, |lab| {
        let tasks = lab.tasks(other)?;
        let n_running = tasks.iter().filter(|task| runs(task) && is_wanted(task)).count();
        (9 <= n_running).then_some(()).ok_or_else(|| brief(&tasks))
    });
    assert_eq!(lab.files_with(&FORMS_OF_SECRET), Vec::<std::path::PathBuf>::new());
}

#[test]
fn the_largest_config_arrives_and_a_larger_one_is_refused() {
    if !possible() {
        return;
    }
    let mut lab = Lab::new(1, Kind::Alone);
    lab.form(1);
    let largest: String = ('a'..='z').cycle().take(1_023_999).collect();
    // Together they are longer than any message between nodes.
    for name in ["c1", "c2", "c3", "c4", "c5"] {
        let _ = lab.put(1, &["config", "create", name, "-"], largest.as_bytes()).well();
    }
    let larger = format!("{largest}!");
    let refused = lab.put(1, &["config", "create", "c6", "-"], larger.as_bytes()).badly();
    let text = "config data must be larger than 0 and less than 1024000 bytes";
    assert_eq!(refused, format!("Error response from daemon: {text}"));
    let mut args = vec!["service", "create", "-d", "--name", "big"];
    args.extend(["c1", "c2", "c3", "c4", "c5"].iter().flat_map(|name| ["--config", *name]));
    args.push("skep/demo");
    let _ = lab.put(1, &args, b"").well();
    let (_, pid) = lab.until("the container runs", MOVED, |lab| running(lab));
    for path in ["/c1", "/c5"] {
        assert!(inside(pid, path) == largest, "{path} is another");
    }
    let shown = lab.get(1, "/configs/c1").unwrap();
    assert_eq!(shown["Spec"]["Data"].as_str().map(str::len), Some(1_365_332));
    remove_service(&mut lab, "big", pid);
}

#[test]
fn dockers_own_command_line_makes_and_uses_them() {
    if !possible() || !docker_is_here() {
        return;
    }
    let mut lab = Lab::new(1, Kind::Alone);
    lab.form(1);
    let secret = lab.docker(1, &["secret", "create", "--label", "a=b", "s1", "-"], b"hunter2");
    let secret = secret.well();
    let config = lab.docker(1, &["config", "create", "c1", "-"], b"key=val\n").well();
    assert_eq!((secret.len(), config.len()), (25, 25));
    let listed = lab.docker(1, &["secret", "ls", "--filter", "label=a=b", "-q"], b"").well();
    assert_eq!(listed, secret);
    let table = lab.docker(1, &["config", "ls", "--format", "{{.ID}} {{.Name}}"], b"").well();
    assert_eq!(table, format!("{config} c1"));
    let shown = lab.docker(1, &["secret", "inspect", "s1"], b"").well();
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown[0]["Spec"], serde_json::json!({ "Name": "s1", "Labels": { "a": "b" } }));
    let shown = lab.docker(1, &["config", "inspect", "--format", "{{json .Spec.Data}}", "c1"], b"");
    assert_eq!(shown.well(), "\"a2V5PXZhbAo=\"");
    let template = ["secret", "create", "--template-driver", "golang", "s2", "-"];
    let refused = lab.docker(1, &template, b"{{.Node.Hostname}}").badly();
    assert!(refused.contains("secret templates are not supported"), "{refused}");

    let create = [
        "service",
        "create",
        "-d",
        "--no-resolve-image",
        "--name",
        "web",
        "--secret",
        "s1",
        "--config",
        "c1",
        "skep/demo",
    ];
    let _ = lab.docker(1, &create, b"").well();
    let (_, pid) = lab.until("the container runs", MOVED, |lab| running(lab));
    assert_eq!(inside(pid, "/run/secrets/s1"), "hunter2");
    assert_eq!(inside(pid, "/c1"), "key=val\n");
    for (args, text) in [
        (["secret", "rm", "s1"], "secret 's1' is in use by the following service: web"),
        (["secret", "rm", "nosuch"], "secret nosuch not found"),
        (["config", "inspect", "nosuch"], "config nosuch not found"),
    ] {
        let refused = lab.docker(1, &args, b"").badly();
        assert!(refused.contains(text), "{refused}");
    }
    let update = ["service", "update", "-d", "--secret-rm", "s1", "--no-resolve-image", "web"];
    let _ = lab.docker(1, &update, b"").well();
    let (_, pid) = lab.until("a container without it runs", MOVED, |lab| {
        let (id, now) = running(lab)?;
        (now != pid && lives(now)).then_some((id, now)).ok_or_else(|| "the old one".to_owned())
    });
    let gone = look_inside(pid, "/run/secrets/s1");
    assert!(gone.is_err(), "it still has the secret");
    assert_eq!(inside(pid, "/c1"), "key=val\n");
    assert_eq!(lab.docker(1, &["secret", "rm", "s1"], b"").well(), "s1");
    let _ = lab.docker(1, &["service", "rm", "web"], b"").well();
    lab.until("the service is gone", Duration::from_secs(20), |lab| {
        let n_left = lab.tasks(1)?.len();
        (n_left == 0).then_some(()).ok_or_else(|| format!("{n_left} tasks"))
    });
    assert_eq!(lab.docker(1, &["config", "rm", "c1"], b"").well(), "c1");
}
