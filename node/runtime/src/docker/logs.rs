//! Output of a container, in the Engine's frames, becomes lines.

use std::collections::VecDeque;
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptionsBuilder;
use futures::StreamExt as _;
use model::UnixNanos;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::debug;

use super::engine::Engine;
use super::errors::Said;
use super::look;
use crate::{LogLine, LogQuery, LogStream, Phase};

/// An engine that restarts is asked again after this.
const RETRY: Duration = Duration::from_secs(1);

/// Where a reader of a container's output stands.
struct Place {
    /// The newest time that was sent, and how many lines had it: a second reading starts there.
    newest: UnixNanos,
    n_newest: usize,
}

/// Sends what was asked for until the end, or until nobody reads any more.
pub(crate) async fn send(
    engine: &Engine,
    id: &str,
    query: LogQuery,
    sender: mpsc::Sender<LogLine>,
) {
    let mut place = Place { newest: UnixNanos(0), n_newest: 0 };
    let mut tail = query.tail;
    loop {
        let read = tokio::select! {
            read = read(engine, id, LogQuery { tail, ..query }, &mut place, &sender) => read,
            () = sender.closed() => return,
        };
        let goes_on = match read {
            Ok(()) => query.follow && runs(engine, id).await,
            // The engine restarts, perhaps under a container that lives on.
            Err(Said::Away(reason)) => {
                debug!(reason, "output is cut off");
                query.follow
            }
            Err(said) => {
                debug!(?said, "output cannot be read");
                false
            }
        };
        if !goes_on || sender.is_closed() {
            return;
        }
        // What was sent is not sent again, and nothing after it is left out.
        tail = None;
        sleep(RETRY).await;
    }
}

async fn runs(engine: &Engine, id: &str) -> bool {
    match engine.ask(|client| async move { client.inspect_container(id, None).await }).await {
        Ok(inspected) => matches!(look::phase(&inspected), Some(Phase::Running { .. })),
        Err(said) => matches!(said, Said::Away(_)),
    }
}

async fn read(
    engine: &Engine,
    id: &str,
    query: LogQuery,
    place: &mut Place,
    sender: &mpsc::Sender<LogLine>,
) -> Result<(), Said> {
    let client = engine.client().map_err(|error| Said::Away(error.to_string()))?;
    let since = query.since.unwrap_or(UnixNanos(0)).max(place.newest);
    let seconds = i32::try_from(since.0 / 1_000_000_000).unwrap_or(0);
    let mut options = LogsOptionsBuilder::default()
        .follow(query.follow)
        .stdout(query.stdout)
        .stderr(query.stderr)
        .since(seconds)
        .timestamps(true);
    if let Some(tail) = query.tail {
        options = options.tail(&tail.to_string());
    }
    let mut frames = client.logs(id, Some(options.build()));
    // Lines of the newest time that were sent before.
    let mut n_again = place.n_newest;
    while let Some(frame) = frames.next().await {
        let frame = frame.map_err(|error| Said::of(&error))?;
        for line in lines(&frame) {
            // The engine counts in seconds.
            if line.at < since {
                continue;
            }
            if line.at == place.newest && 0 < n_again {
                n_again -= 1;
                continue;
            }
            if line.at == place.newest {
                place.n_newest += 1;
            } else if place.newest < line.at {
                (place.newest, place.n_newest) = (line.at, 1);
            }
            if sender.send(line).await.is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The lines of one frame: `TIME TEXT` each. A line beyond 16 KiB is in several frames, and
/// is several lines here too.
fn lines(frame: &LogOutput) -> VecDeque<LogLine> {
    let (stream, bytes) = match frame {
        LogOutput::StdErr { message } => (LogStream::Stderr, message),
        // A terminal has one stream.
        LogOutput::StdOut { message } | LogOutput::Console { message } => {
            (LogStream::Stdout, message)
        }
        LogOutput::StdIn { .. } => return VecDeque::new(),
    };
    let whole = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let mut lines: VecDeque<LogLine> = VecDeque::new();
    for text in whole.split(|byte| *byte == b'\n') {
        match stamped(text) {
            Some((at, line)) => {
                let line = line.strip_suffix(b"\r").unwrap_or(line);
                lines.push_back(LogLine { at, stream, line: line.to_vec() });
            }
            // Not a line of its own: a driver that keeps line feeds inside of a message.
            None => {
                if let Some(last) = lines.back_mut() {
                    last.line.push(b'\n');
                    last.line.extend_from_slice(text);
                }
            }
        }
    }
    lines
}

fn stamped(text: &[u8]) -> Option<(UnixNanos, &[u8])> {
    let space = text.iter().position(|byte| *byte == b' ').unwrap_or(text.len());
    let at = look::time(str::from_utf8(text.get(..space)?).ok()?);
    let line = text.get(space + 1..).unwrap_or_default();
    (at.0 != 0).then_some((at, line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(frame: LogOutput) -> Vec<(u64, LogStream, String)> {
        let text = |line: LogLine| {
            (line.at.0, line.stream, String::from_utf8_lossy(&line.line).into_owned())
        };
        lines(&frame).into_iter().map(text).collect()
    }

    fn out(text: &'static str) -> LogOutput {
        LogOutput::StdOut { message: text.into() }
    }

    #[test]
    fn frames_become_lines() {
        use LogStream::{Stderr, Stdout};
        let line = |at, stream, text: &str| (at, stream, text.to_owned());
        let error = LogOutput::StdErr { message: "1970-01-01T00:00:01Z oh no\n".into() };
        let terminal = LogOutput::Console { message: "1970-01-01T00:00:01Z $ ls\r\n".into() };
        for (frame, expected) in [
            (out("1970-01-01T00:00:00.000000005Z one two\n"), vec![line(5, Stdout, "one two")]),
            (out("1970-01-01T00:00:00.000000005Z \n"), vec![line(5, Stdout, "")]),
            (out("1970-01-01T00:00:00.000000005Z"), vec![line(5, Stdout, "")]),
            (out("1970-01-01T00:00:00.000000005Z cut"), vec![line(5, Stdout, "cut")]),
            (out("1970-01-01T00:00:00.000000005Z a\nb\n"), vec![line(5, Stdout, "a\nb")]),
            (error, vec![line(1_000_000_000, Stderr, "oh no")]),
            (terminal, vec![line(1_000_000_000, Stdout, "$ ls")]),
            (out("no time\n"), vec![]),
        ] {
            assert_eq!(read(frame.clone()), expected, "{frame:?}");
        }
    }
}
