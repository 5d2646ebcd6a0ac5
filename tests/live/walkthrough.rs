//! A first session with Docker Swarm as articles show it, slips and all, through the real
//! `docker` CLI.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;
use tests::engine::{SOCKET, docker, engine_is_there};
use tests::live::{Kind, Lab, Way, brief, curl, is_wanted, possible, runs};
use tests::live_cli::{Said, docker_is_here};
use tests::live_images::{self, Image};
use tests::live_net::address;

use crate::swarm::until_outside;
use crate::{HEALED, MOVED};

const N_HOSTS: usize = 3;
const PORT: u16 = 8080;

/// What the article's images are called where the session runs.
struct Names {
    web: String,
    alpine: String,
    busybox: String,
}

impl Names {
    fn below(prefix: &str) -> Self {
        let name = |name: &str| format!("{prefix}{name}");
        Self { web: name("nginx"), alpine: name("nginx:alpine"), busybox: name("busybox:1.28.3") }
    }

    /// Each of them as an archive on the disk.
    fn archives(&self, lab: &Lab) -> Vec<String> {
        let archive = |(n, name): (usize, &String)| {
            let name = if name.contains(':') { name.clone() } else { format!("{name}:latest") };
            let file = lab.dir().join(format!("image{n}.tar"));
            Image::new(&name).save(&name, &file);
            file.display().to_string()
        };
        [&self.web, &self.alpine, &self.busybox].into_iter().enumerate().map(archive).collect()
    }
}

/// Images in the engine of this machine, which go with this.
struct Loaded(Names);

impl Drop for Loaded {
    fn drop(&mut self) {
        for name in [&self.0.web, &self.0.alpine, &self.0.busybox] {
            let _ = docker(Path::new(SOCKET)).args(["image", "rm", "-f", name]).output(); // At best.
        }
    }
}

fn says(lab: &Lab, n: usize, args: &[&str]) -> Said {
    lab.docker(n, args, b"")
}

/// What a command prints at the manager.
fn prints(lab: &Lab, args: &[&str]) -> String {
    says(lab, 1, args).well()
}

/// A word after another one.
fn after<'a>(text: &'a str, word: &str) -> &'a str {
    let mut words = text.split_whitespace().skip_while(|it| *it != word);
    words.nth(1).unwrap_or_else(|| panic!("no {word} in {text}"))
}

/// Rows 1 to 3: a manager, two workers, and what it knows of them.
fn three_hosts(lab: &mut Lab) {
    let own = address(1).to_string();
    let said = prints(lab, &["swarm", "init", "--advertise-addr", &own]);
    assert!(said.contains("Swarm initialized: current node ("), "{said}");
    assert!(said.contains("docker swarm join --token "), "{said}");
    let token = after(&said, "--token");
    // Swarm's port, as everybody types it: ours is tried beside it.
    let remote = format!("{own}:2377");
    for n in [2, 3] {
        let joined = says(lab, n, &["swarm", "join", "--token", token, &remote]).well();
        assert_eq!(joined, "This node joined a swarm as a worker.");
    }
    lab.until("three nodes are ready", MOVED, |lab| {
        let listed = prints(lab, &["node", "ls"]);
        let n_ready = listed.matches("Ready").count();
        let whole = n_ready == N_HOSTS && listed.matches("Leader").count() == 1;
        whole.then_some(()).ok_or(listed)
    });
    let refused = says(lab, 2, &["node", "ls"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("This node is not a swarm manager."), "{refused:?}");
}

/// Whether `service ls` shows so many tasks of so many.
fn replicas(lab: &Lab, name: &str) -> String {
    let filter = format!("name={name}");
    prints(lab, &["service", "ls", "--filter", &filter, "--format", "{{.Name}} {{.Replicas}}"])
}

/// Images of the tasks that `service ps` shows running.
fn running(lab: &Lab, name: &str) -> Vec<String> {
    let filter = ["--filter", "desired-state=running"];
    let format = ["--format", "{{.Name}} {{.Image}} {{.CurrentState}}"];
    let shown = prints(lab, &[&["service", "ps", name], filter.as_slice(), &format].concat());
    let mut images = Vec::new();
    for line in shown.lines() {
        let words: Vec<_> = line.split(' ').collect();
        assert!(words[0].starts_with(&format!("{name}.")) && words[2] == "Running", "{shown}");
        images.push(words[1].to_owned());
    }
    images
}

/// How many nodes have a task that runs. By id: the hosts of a lab have one host name.
fn n_nodes(lab: &Lab) -> usize {
    let tasks = lab.tasks(1).unwrap();
    let wanted = tasks.iter().filter(|task| runs(task) && is_wanted(task));
    let nodes: BTreeSet<_> = wanted.filter_map(|task| task["NodeID"].as_str()).collect();
    nodes.len()
}

fn remove(lab: &mut Lab, name: &str) {
    assert_eq!(prints(lab, &["service", "rm", name]), name);
    lab.until("its tasks are gone", MOVED, |lab| {
        let tasks = lab.tasks(1)?;
        tasks.is_empty().then_some(()).ok_or_else(|| brief(&tasks))
    });
}

/// Rows 4 to 8: a service is made, updated, scaled, shown and removed.
fn one_service(lab: &mut Lab, names: &Names) {
    let slip = ["service", "create", "--image", &names.web, "--replicas", "2", &names.web];
    let slip = says(lab, 1, &slip);
    assert_eq!(slip.code, 125, "{slip:?}");
    assert!(slip.stderr.starts_with("unknown flag: --image"), "{slip:?}");

    let create = ["service", "create", "--name", "nginx", "--replicas", "2", &names.web];
    let said = prints(lab, &create);
    assert!(said.contains("verify: Service ") && said.contains("converged"), "{said}");
    assert_eq!(replicas(lab, "nginx"), "nginx 2/2");
    let said = prints(lab, &["service", "update", "--image", &names.alpine, "nginx"]);
    assert!(said.starts_with("nginx\n") && said.contains("converged"), "{said}");
    let now = running(lab, "nginx");
    assert_eq!(now, [&*names.alpine, &*names.alpine]);

    let said = prints(lab, &["service", "scale", "nginx=0"]);
    assert!(said.starts_with("nginx scaled to 0\n"), "{said}");
    assert_eq!(replicas(lab, "nginx"), "nginx 0/0");
    let said = prints(lab, &["service", "scale", "nginx=5"]);
    assert!(said.starts_with("nginx scaled to 5\n"), "{said}");
    assert_eq!(replicas(lab, "nginx"), "nginx 5/5");
    assert_eq!((running(lab, "nginx").len(), n_nodes(lab)), (5, N_HOSTS));

    let shown = prints(lab, &["service", "inspect", "nginx"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown[0]["Spec"]["Name"], "nginx");
    assert_eq!(shown[0]["Spec"]["Mode"]["Replicated"]["Replicas"], 5);
    let shown = prints(lab, &["service", "inspect", "--pretty", "nginx"]);
    for line in ["Name:\t\tnginx", "Replicas:\t5", &format!("Image:\t\t{}", names.alpine)] {
        assert!(shown.contains(line), "{line} is not in {shown}");
    }
    remove(lab, "nginx");
    assert_eq!(replicas(lab, "nginx"), "");
}

/// Rows 9 to 11: a published port, which every node answers at.
fn one_port(lab: &mut Lab, names: &Names) {
    let create = ["service", "create", "--replicas", "2", "--name", "nginx", "--publish"];
    let port = format!("{PORT}:80");
    let _ = prints(lab, &[create.as_slice(), &[&port, &names.web]].concat());
    let slip = says(lab, 1, &["service", "ps", "swarm-nginx"]);
    assert_eq!((slip.code, &*slip.stderr), (1, "no such service: swarm-nginx"));
    // So there is a node without a task.
    assert!(running(lab, "nginx").len() == 2 && n_nodes(lab) < N_HOSTS);
    for n in 1..=N_HOSTS {
        lab.until(&format!("host {n} answers"), HEALED, |lab| {
            let said = lab.network.outside(|| curl(address(n), PORT))?;
            (said == format!("{}:latest", names.web)).then_some(()).ok_or(said)
        });
    }
    let ports = ["service", "ls", "--format", "{{.Ports}}"];
    assert_eq!(prints(lab, &ports), format!("*:{PORT}->80/tcp"));
    remove(lab, "nginx");
}

/// Rows 12 to 14: a network of the cluster, and two services that ask for it.
fn one_network(lab: &mut Lab, names: &Names) {
    let id = prints(lab, &["network", "create", "--driver", "overlay", "swarm-overlay"]);
    let listed = ["network", "ls", "--no-trunc", "--format", "{{.ID}} {{.Name}} {{.Driver}}"];
    let listed = prints(lab, &[listed.as_slice(), &["--filter", "scope=swarm"]].concat());
    assert!(listed.contains(&format!("{id} swarm-overlay overlay")), "{listed}");
    assert!(listed.contains(" ingress overlay"), "{listed}");

    let network = ["--network", "swarm-overlay", "-d"];
    let port = format!("{PORT}:80");
    let web = ["service", "create", "--name", "nginx", "-p", &port];
    let _ = prints(lab, &[web.as_slice(), &network, &[&names.web]].concat());
    let sleep = [&*names.busybox, "sh", "-c", "while true; do sleep 7200; done"];
    let busybox = ["service", "create", "--name", "busybox"];
    let _ = prints(lab, &[busybox.as_slice(), &network, &sleep].concat());
    lab.until("both services run", MOVED, |lab| {
        let shown = [replicas(lab, "nginx"), replicas(lab, "busybox")];
        (shown == ["nginx 1/1", "busybox 1/1"]).then_some(()).ok_or_else(|| shown.join(", "))
    });
}

/// Row 15, as far as it needs no overlay: whatever an engine runs, its users look into.
fn a_shell(lab: &Lab) {
    let filter = ["--filter", "label=com.docker.swarm.service.name=busybox"];
    let listed = prints(lab, &[["ps", "-q"].as_slice(), &filter].concat());
    // Another run on this engine may have one of that name.
    let own = lab.tasks(1).unwrap();
    let own = |id: &&str| own.iter().any(|task| container(task).starts_with(id));
    let id = listed.lines().find(own).expect("the container of busybox");
    assert_eq!(prints(lab, &["exec", id, "sh", "-c", "echo $((6 * 7))"]), "42");
}

fn container(task: &Value) -> &str {
    task["Status"]["ContainerStatus"]["ContainerID"].as_str().unwrap_or_default()
}

/// The services go, and after them the network.
fn no_network(lab: &mut Lab) {
    assert_eq!(prints(lab, &["service", "rm", "nginx", "busybox"]), "nginx\nbusybox");
    let _ = lab.until("the network is free", MOVED, |lab| {
        let removed = says(lab, 1, &["network", "rm", "swarm-overlay"]);
        if removed.code == 0 { Ok(removed) } else { Err(removed.stderr) }
    });
}

fn walk(lab: &mut Lab, names: &Names) {
    three_hosts(lab);
    one_service(lab, names);
    one_port(lab, names);
    one_network(lab, names);
}

fn hosts(kind: Kind, runtime: &'static str) -> Lab {
    let mut lab = Lab::new(N_HOSTS, kind);
    let way = Way { runtime, ..Way::outside() };
    (1..=N_HOSTS).for_each(|n| lab.start_as(n, &way));
    (1..=N_HOSTS).for_each(|n| until_outside(&mut lab, n));
    lab
}

#[test]
fn a_first_session_with_containers_of_our_own() {
    if !possible() || !docker_is_here() || !live_images::possible() {
        return;
    }
    let mut lab = hosts(Kind::Alone, "embedded");
    let names = Names::below("");
    for archive in names.archives(&lab) {
        for n in 1..=N_HOSTS {
            let said = lab.put(n, &["image", "load", "-i", &archive], b"").well();
            assert!(said.contains("Loaded image: "), "{said}");
        }
    }
    walk(&mut lab, &names);
    no_network(&mut lab);
}

/// All hosts share the engine of this machine, as far as it knows.
#[test]
fn a_first_session_with_containers_of_an_engine() {
    if !possible() || !docker_is_here() || !engine_is_there() || !live_images::possible() {
        return;
    }
    // Names that no registry has: an image that were pulled would be another one.
    let loaded = Loaded(Names::below(&format!("skep-walk{}/", std::process::id())));
    let mut lab = hosts(Kind::Docker, "docker");
    for archive in loaded.0.archives(&lab) {
        let output = docker(Path::new(SOCKET)).args(["load", "-i", &archive]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    walk(&mut lab, &loaded.0);
    a_shell(&lab);
    no_network(&mut lab);
}
