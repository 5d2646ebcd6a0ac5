//! Requests of Docker's CLI, recorded between it and a real Swarm, asked again of a daemon.
//!
//! Each must be answered with the status that was recorded, and with the same JSON keys and
//! types. What differs is listed in `exceptions.txt`, at most [`EXCEPTIONS_MAX`] lines, each of
//! which must still be needed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;
use tests::live::{Kind, Lab, pause, possible};

use super::ids::Ids;
use super::shape;

/// What is known to differ, for good reason.
const EXCEPTIONS_MAX: usize = 10;

/// Families that a test of their own asks for: they need more nodes, or another beginning.
const ELSEWHERE: &[&str] = &["/auth", "/configs", "/containers", "/secrets", "/swarm"];

/// Containers, images and the like: only where there is a Docker Engine.
const OF_ENGINE: &[&str] = &["/distribution", "/system"];

#[derive(Debug)]
struct Exchange {
    command: String,
    method: String,
    path: String,
    body: Value,
    status: u64,
    answer: Option<usize>,
    ids: Value,
}

impl Exchange {
    /// Path without its version and query.
    fn plain(&self) -> &str {
        let path = self.path.split('?').next().unwrap_or_default();
        let rest = path.strip_prefix("/v1.").and_then(|rest| rest.find('/').map(|at| &rest[at..]));
        rest.unwrap_or(path)
    }

    /// `GET /services/{}`.
    fn endpoint(&self) -> String {
        let mut parts = self.plain().split('/').skip(1);
        let first = parts.next().unwrap_or_default();
        let rest = parts.enumerate().map(|(at, part)| match (at, part) {
            (0, "create" | "json" | "prune") => part,
            (0, _) => "{}",
            (_, part) => part,
        });
        let path: Vec<&str> = std::iter::once(first).chain(rest).collect();
        format!("{} /{} {}", self.method, path.join("/"), self.status)
    }

    fn is_for_us(&self) -> bool {
        let path = self.plain();
        let streams = path.ends_with("/logs") || path.starts_with("/events");
        !streams && !ELSEWHERE.iter().chain(OF_ENGINE).any(|other| path.starts_with(other))
    }
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("live/docker")
}

fn lines(name: &str) -> Vec<Value> {
    let path = directory().join("recorded").join(name);
    let text = std::fs::read_to_string(&path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn exchanges(name: &str) -> Vec<Exchange> {
    let mut command = String::new();
    let mut exchanges = Vec::new();
    for line in lines(name) {
        if let Some(argv) = line["command"].as_str() {
            argv.clone_into(&mut command);
            continue;
        }
        let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
        let query = text("query");
        let path = text("path");
        exchanges.push(Exchange {
            command: command.clone(),
            method: text("method"),
            path: if query.is_empty() { path } else { format!("{path}?{query}") },
            body: line["body"].clone(),
            status: line["status"].as_u64().unwrap(),
            answer: line["answer"].as_u64().and_then(|number| usize::try_from(number).ok()),
            ids: line["ids"].clone(),
        });
    }
    exchanges
}

/// All that differs, with the first command that showed it.
type Found = BTreeMap<String, String>;

/// Names of networks that belong to a Docker Engine, and of other nodes.
const NOT_HERE: &[&str] = &["bridge", "cfgonly", "localbr", "node2", "node3"];

struct Replay<'a> {
    lab: &'a Lab,
    shapes: &'a [Value],
    seen: &'a BTreeMap<String, Value>,
    ids: Ids,
    n_asked: usize,
    found: Found,
    /// Names of what was not created.
    missing: Vec<String>,
}

impl Replay<'_> {
    /// Whether the object of a request can be here.
    fn can_ask(&self, exchange: &Exchange) -> bool {
        let name = exchange.plain().rsplit('/').next().unwrap_or_default();
        let body = exchange.body["Name"].as_str().unwrap_or_default();
        let here = |other: &str| name != other && body != other;
        exchange.is_for_us()
            && NOT_HERE.iter().all(|other| here(other))
            && self.missing.iter().all(|missing| name != missing)
            && !self.ids.is_strange(&exchange.path)
    }

    fn ask(&mut self, exchange: &Exchange) {
        let path = self.ids.translated(&exchange.path);
        let mut body = Value::Null;
        if !exchange.body.is_null() {
            let text = self.ids.translated(&exchange.body.to_string());
            body = serde_json::from_str(&text).unwrap();
            without_files(&mut body);
        }
        let answer = self.lab.ask(1, &exchange.method, &path, &body).unwrap();
        self.n_asked += 1;
        let endpoint = exchange.endpoint();
        if u64::from(answer.status) != exchange.status {
            let text = format!("{endpoint}: answered {} {}", answer.status, message(&answer.body));
            self.note(text, exchange);
            if let Some(name) = exchange.body["Name"].as_str() {
                self.missing.push(name.to_owned());
            }
            return;
        }
        self.ids.learn(&exchange.ids, &answer.body);
        let Some(recorded) = exchange.answer else { return };
        let ours = shape::of(&answer.body);
        let seen = &self.seen[&endpoint];
        let mut differs = shape::differences(&self.shapes[recorded], &ours, seen);
        differs.extend(shape::strangers(&ours, seen));
        differs.retain(|text| !text.contains(".Secrets") && !text.contains(".Configs"));
        differs.into_iter().for_each(|text| self.note(format!("{endpoint} {text}"), exchange));
    }

    fn note(&mut self, text: String, exchange: &Exchange) {
        let at = format!("{}: {} {}", exchange.command, exchange.method, exchange.path);
        self.found.entry(text).or_insert(at);
    }
}

/// Secrets and configs are tried elsewhere.
fn without_files(spec: &mut Value) {
    if let Some(container) = spec.pointer_mut("/TaskTemplate/ContainerSpec") {
        container.as_object_mut().unwrap().retain(|key, _| key != "Secrets" && key != "Configs");
    }
}

fn message(body: &Value) -> &str {
    body["message"].as_str().unwrap_or_default()
}

#[test]
fn recorded_requests_are_answered_as_docker_answered_them() {
    if !possible() {
        return;
    }
    let shapes = lines("shapes.jsonl");
    let names = [
        "00-negotiation.jsonl",
        "05-node.jsonl",
        "06-network.jsonl",
        "08-service-create.jsonl",
        "09-service-read.jsonl",
        "10-service-update.jsonl",
        "11-stack.jsonl",
        "12-events.jsonl",
    ];
    let recorded: Vec<Vec<Exchange>> = names.into_iter().map(exchanges).collect();
    let mut seen = BTreeMap::new();
    for exchange in recorded.iter().flatten() {
        let Some(shape) = exchange.answer.map(|number| shapes[number].clone()) else { continue };
        let known = seen.remove(&exchange.endpoint());
        let merged =
            known.map_or_else(|| shape.clone(), |known| shape::merge(known, shape.clone()));
        seen.insert(exchange.endpoint(), merged);
    }
    let mut lab = Lab::new(1, Kind::Pretended);
    lab.form(1);
    let mut replay = Replay {
        lab: &lab,
        shapes: &shapes,
        seen: &seen,
        ids: Ids::default(),
        n_asked: 0,
        found: Found::new(),
        missing: Vec::new(),
    };
    let hostname = lab.get(1, "/info").unwrap()["Name"].as_str().unwrap().to_owned();
    replay.ids.rename("node1", &hostname);
    for exchange in recorded.iter().flatten() {
        if !replay.can_ask(exchange) {
            continue;
        }
        replay.ask(exchange);
        if exchange.method == "POST" {
            pause(std::time::Duration::from_millis(100));
        }
    }
    assert!(400 < replay.n_asked, "only {} requests were asked", replay.n_asked);
    judge(&replay.found);
}

/// Exceptions are needed, few, and there are no other differences.
fn judge(found: &Found) {
    let text = std::fs::read_to_string(directory().join("exceptions.txt")).unwrap();
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let exceptions: Vec<&str> = lines.collect();
    assert!(exceptions.len() <= EXCEPTIONS_MAX, "{} exceptions", exceptions.len());
    let mut used = BTreeSet::new();
    let mut report = String::new();
    for (text, command) in found {
        match exceptions.iter().find(|exception| text.contains(**exception)) {
            Some(exception) => drop(used.insert(*exception)),
            None => report.push_str(&format!("{text}\n    {command}\n")),
        }
    }
    assert!(report.is_empty(), "answered otherwise than Docker does:\n{report}");
    let unused: Vec<_> = exceptions.iter().filter(|one| !used.contains(*one)).collect();
    assert!(unused.is_empty(), "exceptions that nothing needs: {unused:?}");
}
