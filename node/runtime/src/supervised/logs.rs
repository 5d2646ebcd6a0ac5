//! Reads what a shim keeps of a task's output.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::shim::log::{LINE_BYTES_MAX, decode, file_name};
use crate::shim::request::{LogLimits, TaskDir};
use crate::{LogLine, LogQuery, LogStream};

/// How often the end of a log is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Bytes of one line as JSON: each byte may become six.
const RECORD_BYTES_MAX: u64 = 8 * LINE_BYTES_MAX as u64;
/// Lines that `tail` remembers: more are read from the start without remembering.
const TAIL_MAX: u64 = 100_000;

/// A place in a log that is being written and rotated.
struct Reader {
    path: PathBuf,
    file: Option<BufReader<File>>,
    inode: u64,
    partial: Vec<u8>,
}

impl Reader {
    /// At the oldest line there is.
    const fn new(path: PathBuf) -> Self {
        Self { path, file: None, inode: 0, partial: Vec::new() }
    }

    /// The next whole line; nothing if there is none now.
    fn next(&mut self) -> io::Result<Option<LogLine>> {
        loop {
            if self.file.is_none() && !self.open_next()? {
                return Ok(None);
            }
            let Some(file) = &mut self.file else { return Ok(None) };
            let n_read = file.take(RECORD_BYTES_MAX).read_until(b'\n', &mut self.partial)?;
            if n_read == 0 {
                if self.open_next()? {
                    continue;
                }
                return Ok(None);
            }
            if self.partial.last() == Some(&b'\n') {
                let line = decode(&self.partial);
                self.partial.clear();
                // A torn line is skipped.
                if line.is_some() {
                    return Ok(line);
                }
            }
        }
    }

    /// Goes on to the file after the one that is read; `false` if that is the newest.
    fn open_next(&mut self) -> io::Result<bool> {
        let n_files = LogLimits::DEFAULT.n_files_max;
        let inode = |age| fs::metadata(file_name(&self.path, age)).map(|m| m.ino()).ok();
        let inodes: Vec<Option<u64>> = (0..n_files).map(inode).collect();
        let here = inodes.iter().position(|inode| *inode == Some(self.inode));
        let next = match here {
            Some(0) if self.file.is_some() => return Ok(false),
            Some(age) if self.file.is_some() => (age - 1..age).next(),
            // The file was rotated away, or none was read yet: the oldest there is.
            _ => inodes.iter().rposition(Option::is_some),
        };
        let Some(age) = next.and_then(|age| u32::try_from(age).ok()) else { return Ok(false) };
        let file = File::open(file_name(&self.path, age))?;
        self.inode = file.metadata()?.ino();
        self.file = Some(BufReader::new(file));
        self.partial.clear();
        Ok(true)
    }
}

fn wanted(query: &LogQuery, line: &LogLine) -> bool {
    let stream = match line.stream {
        LogStream::Stdout => query.stdout,
        LogStream::Stderr => query.stderr,
    };
    stream && query.since.is_none_or(|since| since <= line.at)
}

/// Sends what was asked for until the end, or until nobody reads any more.
pub(crate) async fn read_logs(
    dir: TaskDir,
    query: LogQuery,
    is_over: impl Fn() -> bool + Send,
    sender: mpsc::Sender<LogLine>,
) {
    if let Err(error) = send_logs(&dir, query, is_over, &sender).await {
        tracing::warn!(path = %dir.path().display(), %error, "could not read a log");
    }
}

async fn send_logs(
    dir: &TaskDir,
    query: LogQuery,
    is_over: impl Fn() -> bool + Send,
    sender: &mpsc::Sender<LogLine>,
) -> io::Result<()> {
    let mut reader = Reader::new(dir.log());
    if let Some(tail) = query.tail {
        let keep = usize::try_from(tail.min(TAIL_MAX)).unwrap_or(usize::MAX);
        let mut last = VecDeque::new();
        while let Some(line) = reader.next()? {
            if wanted(&query, &line) {
                last.push_back(line);
            }
            if keep < last.len() {
                last.pop_front();
            }
        }
        for line in last {
            if sender.send(line).await.is_err() {
                return Ok(());
            }
        }
    }
    loop {
        // Asked before reading: what is written until then is read below.
        let over = !query.follow || is_over();
        while let Some(line) = reader.next()? {
            if wanted(&query, &line) && sender.send(line).await.is_err() {
                return Ok(());
            }
        }
        if over || sender.is_closed() {
            return Ok(());
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use model::UnixNanos;

    use super::*;
    use crate::shim::log::LogWriter;

    fn line(number: u64) -> LogLine {
        let stream = if number.is_multiple_of(2) { LogStream::Stderr } else { LogStream::Stdout };
        LogLine { at: UnixNanos(number), stream, line: number.to_string().into_bytes() }
    }

    async fn numbers(dir: &Path, query: LogQuery) -> Vec<u64> {
        let (sender, mut receiver) = mpsc::channel(1000);
        read_logs(TaskDir(dir.to_owned()), query, || true, sender).await;
        let mut numbers = Vec::new();
        while let Some(line) = receiver.recv().await {
            numbers.push(String::from_utf8_lossy(&line.line).parse().unwrap());
        }
        numbers
    }

    #[tokio::test]
    async fn queries_choose_lines() {
        let dir = tempfile::tempdir().unwrap();
        let limits = LogLimits { file_bytes_max: 100, n_files_max: 3 };
        let mut writer = LogWriter::new(dir.path().join("log.jsonl"), limits);
        (1..=5).for_each(|number| writer.write(&line(number)));
        let all = LogQuery::ALL;
        for (query, expected) in [
            (all, vec![1, 2, 3, 4, 5]),
            (LogQuery { tail: Some(2), ..all }, vec![4, 5]),
            (LogQuery { tail: Some(0), follow: true, ..all }, vec![]),
            (LogQuery { since: Some(UnixNanos(4)), ..all }, vec![4, 5]),
            (LogQuery { stdout: false, ..all }, vec![2, 4]),
            (LogQuery { stderr: false, tail: Some(2), ..all }, vec![3, 5]),
        ] {
            assert_eq!(numbers(dir.path(), query).await, expected, "{query:?}");
        }
    }

    #[test]
    fn a_reader_follows_through_rotations() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.jsonl");
        let limits = LogLimits { file_bytes_max: 60, n_files_max: 3 };
        let mut writer = LogWriter::new(path.clone(), limits);
        let mut reader = Reader::new(path);
        let mut seen = Vec::new();
        for number in 1..=50 {
            writer.write(&line(number));
            while let Some(line) = reader.next().unwrap() {
                seen.push(line.at.0);
            }
        }
        assert_eq!(seen, (1..=50).collect::<Vec<u64>>());
    }
}
