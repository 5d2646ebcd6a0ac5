//! Arrows point down, pure crates stay pure, and each big dependency has one home.

use toml::Table;

use crate::repository::{Page, none, page, pages};

/// Who may depend on whom inside the workspace. A new arrow is a decision: write it down.
const ARROWS: &[(&str, &[&str])] = &[
    ("crypto", &[]),
    ("membership", &["crypto"]),
    ("model", &["crypto"]),
    ("store", &["crypto", "model"]),
    ("base2histogram", &[]),
    ("planner", &["crypto", "model"]),
    ("runtime", &["crypto", "model"]),
    ("agent", &["crypto", "model", "runtime"]),
    ("network", &["crypto", "model"]),
    ("api", &[]),
    ("cli", &["api"]),
    ("node", ALL),
    ("tests", ALL),
    ("examples", ALL),
];

/// What whoever wires or tests may know.
const ALL: &[&str] = &[
    "agent",
    "api",
    "cli",
    "crypto",
    "membership",
    "model",
    "network",
    "node",
    "planner",
    "runtime",
    "store",
];

const KINDS: &[&str] = &["dependencies", "dev-dependencies", "build-dependencies"];

/// Crates that decide: what they are told is all they know.
const PURE: &[&str] = &["store/model", "node/planner"];

/// What a pure crate may link, beside our own crates.
const PURE_DEPENDENCIES: &[&str] = &["blake3", "imbl", "serde", "thiserror"];

/// Words of code that is not pure.
const IMPURE: &[&str] = &[
    "std::time",
    "std::fs",
    "std::net::Tcp",
    "std::net::Udp",
    "std::env",
    "std::thread",
    "HashMap",
    "HashSet",
];

/// The only places that name a dependency: everybody else sees a facade of ours.
const HOMES: &[(&str, &[&str])] = &[
    ("axum", &["node/api/src/"]),
    ("bincode", &["crypto/src/wire.rs"]),
    ("bollard", &["node/runtime/src/docker/"]),
    ("chitchat", &["membership/"]),
    ("clap", &["node/cli/src/", "node/src/main.rs"]),
    ("h2", &["crypto/src/stream/"]),
    ("libcontainer", &["node/runtime/"]),
    ("oci_client", &["node/runtime/src/images/"]),
    ("openraft", &["store/src/raft.rs", "store/src/raft/"]),
    ("sled", &["store/src/backend.rs", "store/src/backend/"]),
    ("snow", &["crypto/src/"]),
];

fn manifest(page: &Page) -> Table {
    page.text.parse().unwrap()
}

/// The manifest of every package of the workspace, with the folder that it is in.
fn packages() -> Vec<(String, Table)> {
    let root = manifest(&page("Cargo.toml"));
    let members = root["workspace"]["members"].as_array().unwrap();
    members
        .iter()
        .map(|member| member.as_str().unwrap())
        .map(|folder| (folder.to_owned(), manifest(&page(&format!("{folder}/Cargo.toml")))))
        .collect()
}

fn name(package: &Table) -> &str {
    package["package"]["name"].as_str().unwrap()
}

fn dependencies<'a>(package: &'a Table, kinds: &[&str]) -> Vec<&'a str> {
    kinds
        .iter()
        .filter_map(|kind| package.get(*kind))
        .flat_map(|table| table.as_table().unwrap().keys())
        .map(String::as_str)
        .collect()
}

#[test]
fn dependencies_point_one_way() {
    let mut wrong = Vec::new();
    for (_, package) in packages() {
        let name = name(&package);
        let Some((_, allowed)) = ARROWS.iter().find(|(other, _)| *other == name) else {
            wrong.push(format!("`{name}` has no place in ARROWS"));
            continue;
        };
        for dependency in dependencies(&package, KINDS) {
            let ours = ARROWS.iter().any(|(other, _)| *other == dependency);
            // A crate may name itself, to test its own features.
            if ours && dependency != name && !allowed.contains(&dependency) {
                wrong.push(format!("`{name}` must not depend on `{dependency}`: see ARROWS"));
            }
        }
    }
    none(&wrong);
}

#[test]
fn pure_crates_link_nothing_that_acts() {
    let mut wrong = Vec::new();
    for folder in PURE {
        let package = manifest(&page(&format!("{folder}/Cargo.toml")));
        for dependency in dependencies(&package, &["dependencies", "build-dependencies"]) {
            if !ALL.contains(&dependency) && !PURE_DEPENDENCIES.contains(&dependency) {
                wrong.push(format!(
                    "{folder} decides and does nothing: no place for `{dependency}`"
                ));
            }
        }
        // Clippy takes the nearest file and does not merge: the strict one must stay.
        let own = page(&format!("{folder}/clippy.toml")).text;
        for banned in ["std::time::Instant::now", "std::collections::HashMap"] {
            if !own.contains(banned) {
                wrong.push(format!("{folder}/clippy.toml no longer refuses {banned}"));
            }
        }
    }
    none(&wrong);
}

#[test]
fn pure_crates_name_nothing_that_acts() {
    let mut wrong = Vec::new();
    let pure =
        |page: &Page| PURE.iter().any(|folder| page.path.starts_with(&format!("{folder}/src/")));
    // A test may look at the clock to say how long something took.
    for page in pages(".rs").iter().filter(|page| pure(page) && !page.path.contains("/tests")) {
        let code = page.code();
        for word in IMPURE.iter().filter(|word| code.contains(**word)) {
            wrong.push(format!("{}: `{word}` in a pure crate", page.path));
        }
    }
    none(&wrong);
}

#[test]
fn every_big_dependency_has_one_home() {
    let mut wrong = Vec::new();
    for page in pages(".rs") {
        let code = page.code();
        for (dependency, homes) in HOMES {
            let at_home = homes.iter().any(|home| page.path.starts_with(home));
            if !at_home && names(&code, dependency) {
                wrong.push(format!("{} names `{dependency}`; only {homes:?} may", page.path));
            }
        }
    }
    none(&wrong);
}

/// Whether code names a crate, by a path that starts with it or by a `use`.
fn names(code: &str, dependency: &str) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let path = format!("{dependency}::");
    let begins = |at: usize| !code[..at].ends_with(|c| word(c) || c == ':');
    code.match_indices(&path).any(|(at, _)| begins(at))
        || code.contains(&format!("use {dependency};"))
        || code.contains(&format!("extern crate {dependency}"))
}

#[test]
fn a_name_is_told_from_a_module_of_that_name() {
    assert!(names("use hive::Comb;", "hive"));
    assert!(names("let comb: hive::Comb;", "hive"));
    assert!(names("use hive;", "hive"));
    assert!(!names("use crate::backend::hive::Comb;", "hive"));
    assert!(!names("use beehive::Comb;", "hive"));
}

#[test]
fn every_dependency_says_why_it_is_there() {
    let root = page("Cargo.toml");
    let begin = root.text.lines().skip_while(|line| *line != "[workspace.dependencies]").skip(1);
    let lines: Vec<&str> = begin
        .take_while(|line| !line.starts_with('['))
        .filter(|line| !line.is_empty() && !line.starts_with('#') && !line.contains("path = "))
        .collect();
    assert!(!lines.is_empty(), "no dependency was found in Cargo.toml");
    let wrong: Vec<String> = lines
        .into_iter()
        .filter(|line| line.rsplit_once("# ").is_none_or(|(_, reason)| reason.trim().is_empty()))
        .map(|line| format!("say in the same line why it is there: {line}"))
        .collect();
    none(&wrong);
}

#[test]
fn every_dependency_is_used_and_comes_from_the_root() {
    let root = manifest(&page("Cargo.toml"));
    let mut unused: Vec<&str> =
        root["workspace"]["dependencies"].as_table().unwrap().keys().map(String::as_str).collect();
    let mut wrong = Vec::new();
    let packages = packages();
    for (folder, package) in &packages {
        for (dependency, how) in
            KINDS.iter().filter_map(|kind| package.get(*kind)?.as_table()).flatten()
        {
            if how.get("workspace").and_then(toml::Value::as_bool) != Some(true) {
                wrong.push(format!("{folder}: write `{dependency}.workspace = true`"));
            }
            unused.retain(|name| name != dependency);
        }
    }
    // `node` is the top: nothing of ours needs it.
    unused.retain(|name| *name != "node");
    wrong.extend(unused.iter().map(|name| format!("nobody uses `{name}` of the root Cargo.toml")));
    none(&wrong);
}
