//! What somebody gets wrong, typed as they would type it: a clear error, its exit code, nothing
//! lost.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tests::live::possible;

use crate::desk::{Desk, PATIENCE};

/// Three seeds that are on this host.
const SEEDS: &str = "--seed 127.0.0.1 --seed 127.0.0.2 --seed 127.0.0.3";

#[test]
fn a_line_that_makes_no_sense_says_what_to_write() {
    if !possible() {
        return;
    }
    let desk = Desk::new();
    desk.says("token worker --key-file k --out wt", 0, "Wrote wt");
    let write = |name: &str, text: &str| fs::write(desk.path(name), text).unwrap();
    write("junk", "junk\n");
    fs::set_permissions(desk.path("junk"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::copy(desk.path("k"), desk.path("seen")).unwrap();
    fs::set_permissions(desk.path("seen"), fs::Permissions::from_mode(0o644)).unwrap();
    write("unknown.toml", "key-file = \"k\"\nseedz = [\"a\"]\n");
    write("type.toml", "key-file = \"k\"\nfound = \"yes\"\n");
    let key = fs::read(desk.path("k")).unwrap();

    for (line, code, words) in [
        ("key new --out k", 1, "never overwritten"),
        ("key new --out no/k", 1, "no/k: No such file or directory"),
        ("up --seed a", 2, "--key-file cluster.key"),
        ("up --found", 2, "--key-file cluster.key"),
        ("up --key-file k", 2, "--found"),
        ("up --key-file k --seed ''", 2, "unset variable"),
        ("up --key-file k --seed a:x", 2, "is not HOST or HOST:PORT"),
        ("up --key-file k --found --seed a", 2, "leave out one"),
        ("up --key-file k --token-file wt --seed a", 2, "cannot be used with"),
        ("up --key-file none --found --data-dir d", 1, "skep key new --out FILE"),
        ("up --key-file seen --found --data-dir d", 1, "run `chmod 600 seen`"),
        ("up --key-file junk --found --data-dir d", 1, "does not start with SKEP-KEY-1-"),
        ("up --key-file wt --found --data-dir d", 1, "give it with --token-file"),
        ("up --token-file k --seed a --data-dir d", 1, "give it with --key-file"),
        ("up --token-file none --seed a --data-dir d", 1, "skep token worker"),
        ("up --token-file wt --found", 2, "cannot found one"),
        ("up --token-file wt", 2, "add --seed"),
        ("token worker --key-file seen", 1, "run `chmod 600 seen`"),
        ("token worker --key-file wt", 1, "not the cluster key"),
        ("up --config unknown.toml", 2, "line 2"),
        ("up --config unknown.toml", 2, "unknown field `seedz`"),
        ("up --config type.toml", 2, "line 2"),
        ("up --config none.toml", 2, "none.toml: No such file"),
        ("up --key-file k --found --advertise 127.0.0.300", 2, "IP:PORT"),
        ("up --key-file k --found --data-dir junk", 1, "there is a file of that name"),
        ("up --key-file k --found --data-dir /proc/x", 1, "--data-dir"),
        ("-H unix:///nonexistent.sock status", 3, "Start it with `skep up`"),
        ("-H unix:///nonexistent.sock service ls", 3, "unix:///nonexistent.sock"),
        ("-H tcp://10.0.0.1:2375 status", 2, "a host is unix://"),
        ("frobnicate", 2, "unrecognized subcommand"),
    ] {
        desk.says(line, code, words);
    }
    assert_eq!(fs::read(desk.path("k")).unwrap(), key, "the key was changed");
    let mut empty = desk.command(&tests::live::binary());
    empty.args(["up", "--key-file", "k"]).env("SKEP_SEED", "");
    let said = desk.hear(empty);
    assert!(said.code == Some(2) && said.text.contains("unset variable"), "{said:?}");
}

#[test]
fn a_daemon_refuses_what_is_wrong_and_goes_on() {
    if !possible() {
        return;
    }
    let mut desk = Desk::new();
    desk.says("key new --out other", 0, "Wrote other");
    fs::write(desk.path("junk.tar"), "junk").unwrap();
    desk.up(1, "--key-file k --found --runtime embedded");
    desk.until(1, "node ls", &["Leader"]);
    desk.answers(1, "service create --name web --publish 8080:80 skep/demo", 0, "converged");

    let second = desk.place(2);
    for (theirs, ours, words) in [
        ("127.0.0.2", "127.0.0.1", "ss -ltnp 'sport = :7964'"),
        ("n2 ", "n1 ", "in use by another skep"),
        ("n2.sock", "n1.sock", "another daemon answers there"),
    ] {
        let place = second.replace(theirs, ours);
        desk.says(&format!("up --key-file k --found {place}"), 1, words);
    }
    desk.says(&format!("up --key-file other --found {second}"), 1, "belongs to another cluster");

    for (line, code, words) in [
        ("service create --name -x skep/demo", 1, "name must be valid as a DNS name component"),
        ("service create --name web skep/demo", 1, "name conflicts with an existing object"),
        (
            "service create --name b --publish 8080:80 skep/demo",
            1,
            "already in use by service 'web'",
        ),
        (
            "service create --name b --constraint node.x==1 skep/demo",
            1,
            "key 'node.x' is unknown: use",
        ),
        ("service create --name all --mode global --detach skep/demo", 0, ""),
        ("service scale all=2", 1, "only be used with replicated"),
        ("service scale none=2", 1, "service none not found"),
        ("service scale web", 2, "web=3"),
        ("service create --name b --publish 99999:80 skep/demo", 2, "invalid port"),
        ("service create --name b --limit-memory 1x skep/demo", 2, "64m"),
        ("service create --name b bad!image", 1, "not a valid repository/tag"),
        ("service rm none", 1, "service none not found"),
        ("service inspect none", 1, "no such service: none"),
        ("node update --availability drian self", 2, "'drain'"),
        ("node rm self", 1, "leads the cluster and can't be removed: demote it"),
        ("image rm none", 1, "no such image"),
        ("image load -i junk.tar", 1, "broken image archive"),
        ("image load -i none.tar", 1, "none.tar: No such file"),
    ] {
        desk.answers(1, line, code, words);
    }
    tasks_that_cannot_run(&mut desk);
    desk.until(1, "service ls", &["web", "1/1"]);
    desk.all_live();
    desk.answers(1, "service rm web all", 0, "web");
    let began = std::time::Instant::now();
    while !desk.answers(1, "node ps -q self", 0, "").is_empty() {
        assert!(began.elapsed() < PATIENCE, "tasks are left");
    }
}

/// Tasks that no node can run say why, and the command that waits for them says it too.
fn tasks_that_cannot_run(desk: &mut Desk) {
    alien(&desk.path("alien"));
    let tar = desk.hear({
        let mut tar = desk.command(Path::new("tar"));
        tar.args(["-C", "alien", "-cf", "alien.tar", "."]);
        tar
    });
    assert_eq!(tar.code, Some(0), "{tar:?}");
    desk.answers(1, "image load -i alien.tar", 1, "image archive is for linux/riscv64, this node");

    let wait = "--wait-timeout 3s";
    for (name, rest, words) in [
        ("nodir", "dir:/no/such/dir".to_owned(), "there is no such directory on this node"),
        ("noregistry", "127.0.0.1:5999/none:1".to_owned(), "registry 127.0.0.1:5999"),
        ("nocommand", "--entrypoint /no/such/command skep/demo".to_owned(), "/no/such/command"),
        ("nouser", "--user nobody-here skep/demo".to_owned(), "no user `nobody-here`"),
        ("nonode", "--constraint node.hostname==none skep/demo".to_owned(), "no suitable node"),
    ] {
        let create = format!("service create --name {name} {wait} {rest}");
        let said = desk.answers(1, &create, 5, "did not run in time");
        // A registry is given longer than this before it counts as away.
        assert!(name == "noregistry" || said.contains(words), "{create}: {said}");
        desk.until(1, &format!("service ps --no-trunc {name}"), &[words]);
        desk.answers(1, &format!("service rm {name}"), 0, name);
    }
    taken_by_a_program(desk);
}

/// The tasks run, and the port answers for somebody else: who publishes it is told.
fn taken_by_a_program(desk: &mut Desk) {
    let other = desk.network.on(1, || TcpListener::bind(("0.0.0.0", 8081)).unwrap());
    let create = "service create --name late --publish 8081:80 skep/demo";
    let said = desk.answers(1, create, 0, "published port 8081 does not answer here");
    assert!(said.contains("ss -ltnp 'sport = :8081'"), "{said}");
    desk.until(1, "status", &["WARNING", "published port 8081"]);
    drop(other);
    let began = std::time::Instant::now();
    while desk.ask(1, "status").text.contains("published port 8081") {
        assert!(began.elapsed() < PATIENCE, "the port is free and was not taken");
    }
    desk.answers(1, "service rm late", 0, "late");
}

/// An image for another platform, as an OCI layout.
fn alien(dir: &Path) {
    let blobs = dir.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let blob = |bytes: &[u8]| {
        let sum = sha256(bytes, dir);
        fs::write(blobs.join(&sum), bytes).unwrap();
        serde_json::json!({ "digest": format!("sha256:{sum}"), "size": bytes.len() })
    };
    let with = |mut object: serde_json::Value, media: &str| {
        object["mediaType"] = format!("application/vnd.oci.image.{media}").into();
        object
    };
    // An empty tar: two blocks of zeros.
    let layer = with(blob(&[0; 1024]), "layer.v1.tar");
    let config = serde_json::json!({ "architecture": "riscv64", "os": "linux", "config": {},
        "rootfs": { "type": "layers", "diff_ids": [layer["digest"]] } });
    let config = with(blob(config.to_string().as_bytes()), "config.v1+json");
    let manifest = serde_json::json!({ "schemaVersion": 2, "config": config, "layers": [layer] });
    let mut manifest = with(blob(manifest.to_string().as_bytes()), "manifest.v1+json");
    manifest["annotations"] = serde_json::json!({ "org.opencontainers.image.ref.name": "alien:1" });
    let index = serde_json::json!({ "schemaVersion": 2, "manifests": [manifest] });
    fs::write(dir.join("index.json"), index.to_string()).unwrap();
    fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

/// By the program that every machine has.
fn sha256(bytes: &[u8], dir: &Path) -> String {
    let file = dir.join("bytes");
    fs::write(&file, bytes).unwrap();
    let sum = std::process::Command::new("sha256sum").arg(&file).output().unwrap();
    fs::remove_file(&file).unwrap();
    String::from_utf8(sum.stdout).unwrap().split_whitespace().next().unwrap().to_owned()
}

#[test]
fn seeds_that_are_wrong_are_named_and_nothing_is_founded_twice() {
    if !possible() {
        return;
    }
    let mut desk = Desk::new();
    desk.says("key new --out other", 0, "Wrote other");
    desk.says("token worker --key-file k --out wt", 0, "Wrote wt");
    let twice = "up --key-file k --seed 127.0.0.9 --seed localhost:7964 --seed 127.0.0.1";
    desk.says(
        &format!("{twice} {}", desk.place(1)),
        1,
        "are both this node: name each machine once",
    );

    let good = format!("--runtime fake --key-file k {SEEDS}");
    desk.up(1, &good);
    desk.until(1, "status", &["waiting for seeds: 1 of 3", "127.0.0.3:7964: Connection refused"]);
    desk.answers(1, "service ls", 4, "nothing was changed");

    // Another key, and only a token: alike from outside, and both are named.
    desk.up(2, &good.replace("-file k", "-file other"));
    desk.up(3, &format!("--runtime fake --token-file wt {SEEDS}"));
    let hung_up = "hung up: another cluster key, or only a token there, or one of the two clocks";
    let [two, three] = [2, 3].map(|n| format!("127.0.0.{n}:7964: {hung_up}"));
    desk.until(1, "status", &["waiting for seeds: 1 of 3", &two, &three]);
    desk.until(2, "status", &["waiting for seeds: 1 of 3", hung_up]);
    desk.until(3, "status", &["joining with a token", "there is no cluster yet"]);
    desk.stop(2);
    desk.stop(3);
    fs::remove_dir_all(desk.path("n2")).unwrap();
    fs::remove_dir_all(desk.path("n3")).unwrap();

    desk.up(2, &format!("{good} --seed 127.0.0.4"));
    let both =
        ["127.0.0.2:7964, 127.0.0.3:7964, 127.0.0.4:7964]", "127.0.0.2:7964, 127.0.0.3:7964]"];
    desk.until(1, "status", &["start all seeds with the same list", both[0], both[1]]);
    desk.until(2, "status", &["start all seeds with the same list", both[0], both[1]]);
    desk.stop(2);

    // The same daemon goes on when the others are right, in another order and case.
    desk.up(2, "--runtime fake --key-file k --seed 127.0.0.3:7964,127.0.0.1 --seed 127.0.0.2");
    desk.up(3, &good);
    desk.until(1, "status", &["3 managers"]);
    desk.answers(1, "node ls", 0, "Leader");
}

#[test]
fn a_list_of_one_asks_for_a_decision() {
    if !possible() {
        return;
    }
    let mut desk = Desk::new();
    desk.up(1, "--runtime fake --key-file k --seed 127.0.0.1");
    desk.until(1, "status", &["if this is the first start, use --found"]);
    desk.stop(1);
    desk.up(1, "--runtime fake --key-file k --found");
    desk.until(1, "status", &["1 manager", "losing one stops changes"]);
    desk.answers(1, "service create --detach --replicas 0 --name kept skep/demo", 0, "");
    desk.stop(1);

    // What was founded goes on with the same line, and is not founded again without its memory.
    desk.up(1, "--runtime fake --key-file k --found");
    desk.until(1, "service ls", &["kept"]);
    desk.stop(1);
    fs::rename(desk.path("n1/genesis"), desk.path("genesis")).unwrap();
    let again = format!("up --runtime fake --key-file k --found {}", desk.place(1));
    desk.says(&again, 1, "is of a cluster already");
}
