//! Answers that come bit by bit: lines of JSON, and frames of log lines.

use std::marker::PhantomData;

use axum::body::Body;
use bytes::{Buf, Bytes, BytesMut};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;

use super::ClientError;
use crate::cluster::LogSource;
use crate::wire::from_slice;

/// Longest line or frame; the runtime cuts log lines at 16 KiB, progress lines are shorter.
const PIECE_BYTES_MAX: usize = 1 << 20;

/// Objects of JSON, one a line.
#[derive(Debug)]
pub struct Lines<T> {
    bytes: Incoming,
    kind: PhantomData<T>,
}

/// Log lines.
#[derive(Debug)]
pub struct Frames {
    bytes: Incoming,
    framed: bool,
}

/// A log line as it came.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Frame {
    /// Where the task wrote it.
    pub source: LogSource,
    /// What is in front of the line, and the line with its end.
    pub line: Bytes,
}

/// Bytes that have come and were not taken yet.
#[derive(Debug)]
struct Incoming {
    body: Body,
    buffer: BytesMut,
}

impl Incoming {
    fn new(body: Body) -> Self {
        Self { body, buffer: BytesMut::new() }
    }

    /// Waits for more; `false` at the end.
    async fn more(&mut self) -> Result<bool, ClientError> {
        let broken = |source: Box<dyn std::error::Error + Send + Sync>| ClientError::Broken {
            what: "to the end".to_owned(),
            source,
        };
        if PIECE_BYTES_MAX < self.buffer.len() {
            return Err(broken("a line is too long".into()));
        }
        loop {
            match self.body.frame().await {
                None => return Ok(false),
                Some(Err(error)) => return Err(broken(Box::new(error))),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                        return Ok(true);
                    }
                }
            }
        }
    }
}

impl<T: DeserializeOwned> Lines<T> {
    pub(super) fn new(body: Body) -> Self {
        Self { bytes: Incoming::new(body), kind: PhantomData }
    }

    /// The next one; `None` at the end.
    ///
    /// # Errors
    /// When the connection breaks or a line is no such object.
    pub async fn next(&mut self) -> Result<Option<T>, ClientError> {
        loop {
            let end = self.bytes.buffer.iter().position(|&byte| byte == b'\n');
            let line = match end {
                Some(end) => self.bytes.buffer.split_to(end + 1),
                None if self.bytes.more().await? => continue,
                None => self.bytes.buffer.split(),
            };
            let line = line.trim_ascii();
            if !line.is_empty() {
                return from_slice(line).map(Some).map_err(|source| ClientError::Malformed {
                    what: "a line".to_owned(),
                    source,
                });
            }
            if end.is_none() {
                return Ok(None);
            }
        }
    }
}

impl Frames {
    pub(super) fn new(body: Body, framed: bool) -> Self {
        Self { bytes: Incoming::new(body), framed }
    }

    /// The next one; `None` at the end.
    ///
    /// # Errors
    /// When the connection breaks or sends no frame.
    pub async fn next(&mut self) -> Result<Option<Frame>, ClientError> {
        loop {
            if let Some(frame) = self.take() {
                return Ok(Some(frame));
            }
            if !self.bytes.more().await? {
                return Ok(None);
            }
        }
    }

    fn take(&mut self) -> Option<Frame> {
        let buffer = &mut self.bytes.buffer;
        if !self.framed {
            let line = (!buffer.is_empty()).then(|| buffer.split().freeze())?;
            return Some(Frame { source: LogSource::Stdout, line });
        }
        let head: [u8; 8] = buffer.get(..8)?.try_into().ok()?;
        let [stream, _, _, _, length @ ..] = head;
        let length = usize::try_from(u32::from_be_bytes(length)).ok()?;
        if buffer.len() < 8 + length {
            return None;
        }
        buffer.advance(8);
        let line = buffer.split_to(length).freeze();
        let source = match stream {
            1 => LogSource::Stdout,
            2 => LogSource::Stderr,
            _ => LogSource::System,
        };
        Some(Frame { source, line })
    }
}
