//! Output of tasks, fetched from the nodes that ran them and merged.

use std::sync::Arc;
use std::time::Duration;

use api::cluster::{LogLine, LogOptions, LogSource, LogStream, Problem};
use bytes::Bytes;
use crypto::stream::{Context, Sending, Status};
use model::{Task, UnixNanos};
use runtime::{LogQuery, LogStream as Source, Runtime};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::Front;
use crate::messages::{LOGS, LogsLine, LogsRequest};
use crate::peers::{Link, Peers};

/// Lines on their way to one client; a slow client slows its tasks' readers down, not the tasks.
const LINES: usize = 256;

/// Tasks whose output one request merges: a stream each.
const TASKS_MAX: usize = 512;

/// The first line of a node that does not follow; a node that is gone takes this long.
const FIRST: Duration = Duration::from_secs(5);

impl Front {
    pub(super) async fn logs_of(
        &self,
        tasks: Vec<Arc<Task>>,
        options: LogOptions,
    ) -> Result<LogStream, Problem> {
        let (send, lines) = mpsc::channel(LINES);
        let mut tty = false;
        for task in tasks.into_iter().filter(|task| task.node.is_some()).take(TASKS_MAX) {
            tty |= task.spec.container.tty;
            let reader = Reader { peers: self.peers.clone(), task, options, out: send.clone() };
            let started = self.pool.run(reader.run()).await;
            started.map_err(|error| Problem::unavailable(error.to_string()))?;
        }
        Ok(LogStream { tty, lines })
    }
}

/// Reads one task's output, wherever it ran.
struct Reader {
    peers: Peers,
    task: Arc<Task>,
    options: LogOptions,
    out: mpsc::Sender<LogLine>,
}

impl Reader {
    async fn run(self) {
        if let Err(why) = self.copy().await {
            let text = format!("Error grabbing logs: {why}\n");
            let line = self.line(LogSource::System, 0, text.into());
            // The client may be gone; nobody is left to be told.
            let _ = self.out.send(line).await;
        }
    }

    async fn copy(&self) -> Result<(), String> {
        let node = self.task.node.ok_or("the task never had a node")?;
        let request = LogsRequest {
            task: self.task.id,
            follow: self.options.follow,
            tail: self.options.tail,
            since: Some(UnixNanos(self.options.since_unix_nanos)).filter(|since| since.0 != 0),
            stdout: self.options.stdout,
            stderr: self.options.stderr,
        };
        let client =
            self.peers.client(node, Link::Bulk).await.map_err(|error| error.to_string())?;
        let stream = client.server_stream::<_, LogsLine>(LOGS, &request).await;
        let mut stream = stream.map_err(|error| error.to_string())?;
        loop {
            let next = if self.options.follow {
                tokio::select! {
                    next = stream.next() => next,
                    () = self.out.closed() => return Ok(()),
                }
            } else {
                timeout(FIRST, stream.next()).await.map_err(|_| format!("node {node} is silent"))?
            };
            let Some(mut line) = next.map_err(|error| error.to_string())? else { return Ok(()) };
            line.line.push(b'\n');
            let source = if line.stderr { LogSource::Stderr } else { LogSource::Stdout };
            let line = self.line(source, line.at.0, line.line.into());
            if self.out.send(line).await.is_err() {
                return Ok(());
            }
        }
    }

    fn line(&self, source: LogSource, at_unix_nanos: u64, line: Bytes) -> LogLine {
        LogLine {
            at_unix_nanos,
            source,
            node: self.task.node.map(|node| node.to_string()).unwrap_or_default(),
            service: self.task.service.to_string(),
            task: self.task.id.to_string(),
            line,
        }
    }
}

/// The other end: what this node has of a task's output.
pub(crate) async fn serve(
    runtime: Arc<dyn Runtime>,
    _context: Context,
    request: LogsRequest,
    mut out: Sending<LogsLine>,
) -> Result<(), Status> {
    let query = LogQuery {
        follow: request.follow,
        tail: request.tail,
        since: request.since,
        stdout: request.stdout,
        stderr: request.stderr,
    };
    let lines = runtime.logs(request.task, query).await;
    let mut lines = lines.map_err(|error| Status::not_found(error.to_string()))?;
    while let Some(line) = lines.recv().await {
        let line = LogsLine { at: line.at, stderr: line.stream == Source::Stderr, line: line.line };
        if out.send(&line).await.is_err() {
            break; // The reader has seen enough.
        }
    }
    Ok(())
}
