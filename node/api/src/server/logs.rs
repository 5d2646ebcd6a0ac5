//! Log lines in Docker's frames: one byte stream, three zero bytes, length, line.

use bytes::{BufMut, Bytes, BytesMut};
use futures::stream;

use super::front::Spoken;
use super::query::Query;
use super::reply::{self, Answer};
use crate::cluster::{LogLine, LogOptions, LogSource, LogStream, Problem};
use crate::wire::time;

/// What a client wants of the logs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) options: LogOptions,
    timestamps: bool,
    details: bool,
}

impl Wanted {
    /// For what has no service, node and task to name.
    pub(super) fn without_details(self) -> Self {
        Self { details: false, ..self }
    }
}

pub(super) fn wanted(query: &Query) -> Result<Wanted, Problem> {
    let options = LogOptions {
        follow: query.is_on("follow"),
        stdout: query.is_on("stdout"),
        stderr: query.is_on("stderr"),
        // Docker takes what is no number, `all` above all, as all.
        tail: query.text("tail").parse().ok(),
        since_unix_nanos: since(query.text("since"))?,
    };
    if !options.stdout && !options.stderr {
        // Docker answers 500 here, not 400.
        return Err(Problem::new(500, "Bad parameters: you must choose at least one stream"));
    }
    let (timestamps, details) = (query.is_on("timestamps"), query.is_on("details"));
    Ok(Wanted { options, timestamps, details })
}

/// `1700000000`, `1700000000.5` or RFC 3339.
pub(super) fn since(text: &str) -> Result<u64, Problem> {
    if text.is_empty() {
        return Ok(0);
    }
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = fraction.bytes().all(|byte| byte.is_ascii_digit());
    if let (Ok(seconds), true) = (seconds.parse::<u64>(), digits) {
        let nanos = format!("{fraction:0<9}");
        let nanos: u64 = nanos.get(..9).and_then(|nanos| nanos.parse().ok()).unwrap_or(0);
        return Ok(seconds.saturating_mul(1_000_000_000).saturating_add(nanos));
    }
    time::parse(text)
        .ok_or_else(|| Problem::bad_request(format!("invalid value for \"since\": {text}")))
}

pub(super) fn answer(logs: LogStream, wanted: Wanted, Spoken(version): Spoken) -> Answer {
    // Since API 1.42 the type says whether there are frames.
    let content_type = if !logs.tty && (1, 42) <= version {
        "application/vnd.docker.multiplexed-stream"
    } else {
        "application/vnd.docker.raw-stream"
    };
    let LogStream { tty, lines } = logs;
    let frames = stream::unfold(lines, move |mut lines| async move {
        let line = lines.recv().await?;
        let bytes = if tty { line.line } else { frame(&line, wanted) };
        Some((Ok(bytes), lines))
    });
    reply::stream(content_type, frames)
}

fn frame(line: &LogLine, wanted: Wanted) -> Bytes {
    let mut text = BytesMut::new();
    if wanted.timestamps {
        text.put_slice(time::format_fixed(line.at_unix_nanos).as_bytes());
        text.put_u8(b' ');
    }
    if wanted.details && line.source != LogSource::System {
        let LogLine { node, service, task, .. } = line;
        let details = format!(
            "com.docker.swarm.node.id={node},com.docker.swarm.service.id={service},\
             com.docker.swarm.task.id={task} "
        );
        text.put_slice(details.as_bytes());
    }
    text.put_slice(&line.line);
    let stream = match line.source {
        LogSource::Stdout => 1,
        LogSource::Stderr => 2,
        LogSource::System => 3,
    };
    // A line is far below 4 GiB: the runtime cuts them at 16 KiB.
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    let mut frame = BytesMut::with_capacity(8 + text.len());
    frame.put_slice(&[stream, 0, 0, 0]);
    frame.put_u32(length);
    frame.put(text);
    frame.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_look_as_docker_writes_them() {
        let line = LogLine {
            at_unix_nanos: time::parse("2026-11-23T07:27:22.829436772Z").unwrap(),
            source: LogSource::Stderr,
            node: "n".to_owned(),
            service: "s".to_owned(),
            task: "t".to_owned(),
            line: Bytes::from_static(b"err 15\n"),
        };
        let options = LogOptions::default();
        let plain = Wanted { options, timestamps: true, details: false };
        assert_eq!(
            &frame(&line, plain)[..],
            b"\x02\0\0\0\0\0\0&2026-11-23T07:27:22.829436772Z err 15\n"
        );
        let detailed = Wanted { options, timestamps: false, details: true };
        let text = "com.docker.swarm.node.id=n,com.docker.swarm.service.id=s,\
                    com.docker.swarm.task.id=t err 15\n";
        assert_eq!(&frame(&line, detailed)[8..], text.as_bytes());
    }

    #[test]
    fn since_is_read_in_all_its_forms() {
        for (text, nanos) in [
            ("", Ok(0)),
            ("0", Ok(0)),
            ("12", Ok(12_000_000_000)),
            ("12.5", Ok(12_500_000_000)),
            ("12.000000001", Ok(12_000_000_001)),
            ("1970-01-01T00:00:01Z", Ok(1_000_000_000)),
        ] {
            assert_eq!(since(text), nanos, "{text}");
        }
        assert!(since("yesterday").is_err());
    }
}
