//! Output of a task as lines of JSON, rotated by size.
//!
//! Each line has `t` (nanoseconds since 1970), `s` (1 or 2) and `m` (text) or `b`
//! (base64, if the bytes are no UTF-8). Writing never waits for the disk to have
//! room: what does not fit is dropped and counted, and the count is written when
//! there is room again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::UnixNanos;
use serde::{Deserialize, Serialize};

use super::request::LogLimits;
use crate::{LogLine, LogStream};

/// Bytes of one line: a longer one becomes several, as with Docker.
pub(crate) const LINE_BYTES_MAX: usize = 16 * 1024;

#[derive(Deserialize, Serialize)]
struct Record {
    t: u64,
    s: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    m: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    b: Option<String>,
}

/// One line as it is kept, with its line feed.
pub(crate) fn encode(line: &LogLine) -> Vec<u8> {
    let stream = match line.stream {
        LogStream::Stdout => 1,
        LogStream::Stderr => 2,
    };
    let (text, bytes) = match str::from_utf8(&line.line) {
        Ok(text) => (Some(text.to_owned()), None),
        Err(_) => (None, Some(STANDARD.encode(&line.line))),
    };
    let record = Record { t: line.at.0, s: stream, m: text, b: bytes };
    // Numbers and strings always become JSON.
    let mut encoded = serde_json::to_vec(&record).unwrap_or_default();
    encoded.push(b'\n');
    encoded
}

/// Reads what [`encode`] wrote; `None` for a line that a power cut tore.
pub(crate) fn decode(bytes: &[u8]) -> Option<LogLine> {
    let record: Record = serde_json::from_slice(bytes).ok()?;
    let stream = if record.s == 2 { LogStream::Stderr } else { LogStream::Stdout };
    let line = match (record.m, record.b) {
        (Some(text), _) => text.into_bytes(),
        (None, Some(bytes)) => STANDARD.decode(bytes).ok()?,
        (None, None) => return None,
    };
    Some(LogLine { at: UnixNanos(record.t), stream, line })
}

/// Files of a log, newest first: `log.jsonl`, `log.jsonl.1`, …
pub(crate) fn file_name(current: &Path, age: u32) -> PathBuf {
    if age == 0 {
        return current.to_owned();
    }
    let mut name = current.as_os_str().to_owned();
    name.push(format!(".{age}"));
    PathBuf::from(name)
}

/// Cuts a stream of bytes into lines.
#[derive(Debug, Default)]
pub(crate) struct LineSplitter {
    rest: Vec<u8>,
}

impl LineSplitter {
    /// Gives every line that is complete, or as long as a line may be.
    pub(crate) fn push(&mut self, bytes: &[u8], mut give: impl FnMut(Vec<u8>)) {
        for byte in bytes {
            if *byte == b'\n' {
                give(std::mem::take(&mut self.rest));
                continue;
            }
            if self.rest.len() == LINE_BYTES_MAX {
                give(std::mem::take(&mut self.rest));
            }
            self.rest.push(*byte);
        }
    }

    /// The last line, if it had no line feed.
    pub(crate) fn finish(&mut self) -> Option<Vec<u8>> {
        (!self.rest.is_empty()).then(|| std::mem::take(&mut self.rest))
    }
}

/// Writes lines to files of limited size.
#[derive(Debug)]
pub(crate) struct LogWriter {
    path: PathBuf,
    limits: LogLimits,
    file: Option<File>,
    n_bytes: u64,
    n_dropped: u64,
}

impl LogWriter {
    /// Continues a log or begins one.
    pub(crate) const fn new(path: PathBuf, limits: LogLimits) -> Self {
        Self { path, limits, file: None, n_bytes: 0, n_dropped: 0 }
    }

    /// Writes one line, or counts it as dropped.
    pub(crate) fn write(&mut self, line: &LogLine) {
        if self.n_dropped != 0 {
            let text = format!("[skep] {} lines were dropped: the disk was full", self.n_dropped);
            let notice =
                LogLine { at: line.at, stream: LogStream::Stderr, line: text.into_bytes() };
            if self.try_write(&encode(&notice)).is_ok() {
                self.n_dropped = 0;
            }
        }
        if self.n_dropped != 0 || self.try_write(&encode(line)).is_err() {
            self.n_dropped += 1;
        }
    }

    fn try_write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.file.is_some() && self.limits.file_bytes_max < self.n_bytes + bytes.len() as u64 {
            self.file = None;
            self.rotate()?;
        }
        if self.file.is_none() {
            let file = OpenOptions::new().create(true).append(true).open(&self.path)?;
            self.n_bytes = file.metadata()?.len();
            self.file = Some(file);
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        match file.write_all(bytes) {
            Ok(()) => self.n_bytes += bytes.len() as u64,
            Err(error) => {
                // Half a line would spoil the next one.
                let _ = file.set_len(self.n_bytes);
                return Err(error);
            }
        }
        Ok(())
    }

    fn rotate(&self) -> io::Result<()> {
        let oldest = self.limits.n_files_max.saturating_sub(1);
        if oldest == 0 {
            return fs::remove_file(&self.path);
        }
        for age in (0..oldest).rev() {
            let (from, to) = (file_name(&self.path, age), file_name(&self.path, age + 1));
            match fs::rename(from, to) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(text: &[u8]) -> LogLine {
        LogLine { at: UnixNanos(7), stream: LogStream::Stderr, line: text.to_owned() }
    }

    proptest! {
        #[test]
        fn any_line_comes_back(bytes: Vec<u8>, at: u64) {
            let line = LogLine { at: UnixNanos(at), stream: LogStream::Stdout, line: bytes };
            let encoded = encode(&line);
            prop_assert_eq!(encoded.iter().filter(|byte| **byte == b'\n').count(), 1);
            prop_assert_eq!(decode(&encoded), Some(line));
        }

        #[test]
        fn splitting_loses_nothing_wherever_the_reads_end(
            bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..500),
            cuts in proptest::collection::vec(1..50_usize, 1..20),
        ) {
            let mut splitter = LineSplitter::default();
            let mut lines = Vec::new();
            let mut rest = bytes.as_slice();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break }
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                splitter.push(now, |line| lines.push(line));
                rest = later;
            }
            lines.extend(splitter.finish());
            let text: &[u8] = bytes.strip_suffix(b"\n").map_or(&bytes, |bytes| bytes);
            let mut expected: Vec<Vec<u8>> = text.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
            if bytes.is_empty() { expected.clear(); }
            prop_assert_eq!(lines, expected);
        }
    }

    #[test]
    fn long_lines_are_cut() {
        let mut splitter = LineSplitter::default();
        let mut lengths = Vec::new();
        splitter.push(&vec![b'x'; LINE_BYTES_MAX * 2 + 1], |line| lengths.push(line.len()));
        splitter.push(b"\n", |line| lengths.push(line.len()));
        assert_eq!(lengths, [LINE_BYTES_MAX, LINE_BYTES_MAX, 1]);
    }

    #[test]
    fn files_are_rotated_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.jsonl");
        let limits = LogLimits { file_bytes_max: 200, n_files_max: 3 };
        let mut writer = LogWriter::new(path.clone(), limits);
        for number in 0..100 {
            writer.write(&line(format!("line {number}").as_bytes()));
        }
        let sizes = (0..3).map(|age| fs::metadata(file_name(&path, age)).unwrap().len());
        assert!(sizes.into_iter().all(|size| size <= 200));
        assert!(!file_name(&path, 3).exists());
        let newest = fs::read_to_string(&path).unwrap();
        let last = decode(newest.lines().last().unwrap().as_bytes()).unwrap();
        assert_eq!(last.line, b"line 99");
    }

    #[test]
    fn a_disk_without_room_drops_lines_and_says_so_later() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.jsonl");
        let mut writer = LogWriter::new(path.clone(), LogLimits::DEFAULT);
        writer.write(&line(b"one"));
        writer.file = Some(OpenOptions::new().write(true).open("/dev/full").unwrap());
        writer.write(&line(b"two"));
        writer.write(&line(b"three"));
        writer.file = None;
        writer.write(&line(b"four"));
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<_> = text.lines().filter_map(|line| decode(line.as_bytes())).collect();
        let lines: Vec<_> = lines.iter().map(|line| String::from_utf8_lossy(&line.line)).collect();
        assert_eq!(lines, ["one", "[skep] 2 lines were dropped: the disk was full", "four"]);
    }
}
