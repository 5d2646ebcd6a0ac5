//! `service logs`: lines of many tasks, each with its name in front.

use std::collections::BTreeMap;

use api::client::{Client, ClientError, Frame, LogsOf, LogsShown};
use api::cluster::{LogOptions, LogSource};
use api::wire::task::Task;

use crate::args::service::LogsArgs;
use crate::exit::Failure;
use crate::out::Out;
use crate::rows::short;
use crate::{ago, units};

pub(super) async fn run(args: &LogsArgs, client: &Client, out: &mut Out) -> Result<(), Failure> {
    let target = find(args, client).await?;
    if target.tty && !args.raw {
        return Err(Failure::new("tty service logs only supported with --raw"));
    }
    let options = LogOptions {
        follow: args.follow,
        stdout: true,
        stderr: true,
        tail: tail(&args.tail)?,
        since_unix_nanos: since(&args.since, ago::now_unix_nanos())?,
    };
    let shown = LogsShown { timestamps: args.timestamps, details: !args.raw };
    let of = match &target.id {
        Id::Service(id) => LogsOf::Service(id),
        Id::Task(id) => LogsOf::Task(id),
    };
    let mut frames = client.logs(of, options, shown).await?;
    let mut names = Names { args, client, width: target.width, known: BTreeMap::new() };
    loop {
        let next = tokio::select! {
            next = frames.next() => next?,
            // Following ends by Ctrl-C: that is no failure.
            _ = tokio::signal::ctrl_c() => return Ok(()),
        };
        let Some(frame) = next else { return Ok(()) };
        let line = if args.raw { frame.line.to_vec() } else { names.line(&frame).await? };
        match frame.source {
            LogSource::Stdout => out.bytes(&line)?,
            LogSource::Stderr | LogSource::System => out.err_bytes(&line)?,
        }
    }
}

enum Id {
    Service(String),
    Task(String),
}

struct Target {
    id: Id,
    tty: bool,
    /// Digits of the longest slot number.
    width: usize,
}

/// A service, else a task.
async fn find(args: &LogsArgs, client: &Client) -> Result<Target, Failure> {
    let missing = |error: ClientError| {
        if error.is_status(404) {
            Failure::new(format!("no such task or service: {}", args.target))
        } else {
            error.into()
        }
    };
    match client.service(&args.target, false).await {
        Ok(service) => {
            let container = service.spec.task_template.container_spec.as_ref();
            let replicas = service.spec.mode.replicated.and_then(|mode| mode.replicas);
            Ok(Target {
                id: Id::Service(service.id),
                tty: container.is_some_and(|spec| spec.tty),
                width: replicas.unwrap_or(1).to_string().len(),
            })
        }
        Err(error) if error.is_status(404) => {
            let task = client.task(&args.target).await.map_err(missing)?;
            Ok(Target {
                id: Id::Task(task.id),
                tty: task.spec.container_spec.as_ref().is_some_and(|spec| spec.tty),
                width: task.slot.to_string().len(),
            })
        }
        Err(error) => Err(error.into()),
    }
}

fn tail(text: &str) -> Result<Option<u64>, Failure> {
    if text == "all" {
        return Ok(None);
    }
    let number = text.parse().map(Some);
    number.map_err(|_| Failure::usage(format!("--tail: {text}: a number, or all")))
}

/// A time, Unix seconds, or so long ago.
fn since(text: &str, now_unix_nanos: u64) -> Result<u64, Failure> {
    if text.is_empty() {
        return Ok(0);
    }
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(seconds.saturating_mul(1_000_000_000));
    }
    if let Ok(nanos) = units::nanos(text) {
        return Ok(now_unix_nanos.saturating_sub(nanos.unsigned_abs()));
    }
    api::wire::time::parse(text).ok_or_else(|| {
        let forms = "a time as in 2026-01-02T15:04:05Z, Unix seconds, or so long ago as in 42m";
        Failure::usage(format!("--since: {text}: {forms}"))
    })
}

/// Names of tasks, as they are needed.
struct Names<'a> {
    args: &'a LogsArgs,
    client: &'a Client,
    width: usize,
    known: BTreeMap<String, String>,
}

impl Names<'_> {
    /// `web.1.tstp5l2mjqsl@node1    | line`.
    async fn line(&mut self, frame: &Frame) -> Result<Vec<u8>, Failure> {
        let Some(parts) = split(&frame.line, self.args.timestamps) else {
            return Ok(frame.line.to_vec());
        };
        let name = match self.known.get(parts.task) {
            Some(name) => name.clone(),
            None => {
                let name = self.find(parts.task).await?;
                self.known.insert(parts.task.to_owned(), name.clone());
                name
            }
        };
        let mut line = Vec::new();
        if !parts.time.is_empty() {
            line.extend_from_slice(parts.time.as_bytes());
            line.push(b' ');
        }
        line.extend_from_slice(name.as_bytes());
        line.extend_from_slice(b"    | ");
        if self.args.details {
            line.push(b' ');
        }
        line.extend_from_slice(parts.text);
        Ok(line)
    }

    async fn find(&self, id: &str) -> Result<String, Failure> {
        // A task may be forgotten while its lines are still read.
        let task = match self.client.task(id).await {
            Ok(task) => task,
            Err(error) if error.is_status(404) => return Ok(id.to_owned()),
            Err(error) => return Err(error.into()),
        };
        let (mut service, mut node) = (task.service_id.clone(), task.node_id.clone());
        if !self.args.no_resolve {
            if let Ok(found) = self.client.service(&task.service_id, false).await {
                service = found.spec.name;
            }
            if let Ok(found) = self.client.node(&task.node_id).await {
                node = found.description.hostname;
            }
        }
        Ok(self.show(&task, &service, &node))
    }

    fn show(&self, task: &Task, service: &str, node: &str) -> String {
        let slot = if task.slot == 0 { task.node_id.clone() } else { task.slot.to_string() };
        let padding = self.width.saturating_sub(slot.len());
        let mut name = format!("{service}.{slot}");
        if !self.args.no_task_ids {
            name += ".";
            name += if self.args.no_trunc { &task.id } else { short(&task.id) };
        }
        format!("{name}@{node}{}", " ".repeat(padding))
    }
}

#[derive(Debug, Eq, PartialEq)]
struct Parts<'a> {
    time: &'a str,
    task: &'a str,
    text: &'a [u8],
}

/// `[TIME ]com.docker.swarm.node.id=…,…,com.docker.swarm.task.id=… LINE`.
fn split(line: &[u8], timestamps: bool) -> Option<Parts<'_>> {
    let word = |bytes: &[u8]| bytes.iter().position(|&byte| byte == b' ');
    let (time, rest) = if timestamps {
        let (time, rest) = line.split_at_checked(word(line)?)?;
        (std::str::from_utf8(time).ok()?, rest.get(1..)?)
    } else {
        ("", line)
    };
    let (details, text) = rest.split_at_checked(word(rest)?)?;
    let details = std::str::from_utf8(details).ok()?;
    let mut pairs = details.split(',').filter_map(|pair| pair.split_once('='));
    let (_, task) = pairs.find(|(name, _)| *name == "com.docker.swarm.task.id")?;
    Some(Parts { time, task, text: text.get(1..)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_taken_off_a_line() {
        let details = "com.docker.swarm.node.id=n,com.docker.swarm.service.id=s,\
                       com.docker.swarm.task.id=t ";
        let line = format!("{details}out 5\n");
        let parts = Parts { time: "", task: "t", text: b"out 5\n" };
        assert_eq!(split(line.as_bytes(), false), Some(parts));
        let line = format!("2026-11-23T07:27:14.8Z {details}\n");
        let parts = Parts { time: "2026-11-23T07:27:14.8Z", task: "t", text: b"\n" };
        assert_eq!(split(line.as_bytes(), true), Some(parts));
        assert_eq!(split(b"Error grabbing logs\n", false), None);
        assert_eq!(split(b"\xff\xfe", false), None);
    }

    #[test]
    fn since_is_read_in_all_its_forms() {
        let now = 100_000_000_000;
        for (text, at) in [
            ("", Some(0)),
            ("12", Some(12_000_000_000)),
            ("10s", Some(90_000_000_000)),
            ("1970-01-01T00:00:01Z", Some(1_000_000_000)),
            ("yesterday", None),
        ] {
            assert_eq!(since(text, now).ok(), at, "{text}");
        }
    }
}
