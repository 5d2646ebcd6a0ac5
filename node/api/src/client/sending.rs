//! A request before it is sent.

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, header};
use serde::Serialize;

use super::ClientError;
use crate::header::{REGISTRY_AUTH, REQUEST_ID};
use crate::request_id::RequestId;

/// What to send.
pub(super) struct Sending<'a> {
    pub(super) method: Method,
    pub(super) path: &'a str,
    pub(super) query: Vec<(&'a str, String)>,
    pub(super) body: Option<Bytes>,
    pub(super) registry_auth: Option<&'a str>,
}

impl<'a> Sending<'a> {
    pub(super) const fn new(method: Method, path: &'a str) -> Self {
        Self { method, path, query: Vec::new(), body: None, registry_auth: None }
    }

    pub(super) const fn get(path: &'a str) -> Self {
        Self::new(Method::GET, path)
    }

    pub(super) fn with(mut self, name: &'a str, value: impl Into<String>) -> Self {
        let value = value.into();
        if !value.is_empty() {
            self.query.push((name, value));
        }
        self
    }

    pub(super) fn json<T: Serialize>(mut self, body: &T) -> Result<Self, ClientError> {
        let body = serde_json::to_vec(body).map_err(|source| self.malformed(source))?;
        self.body = Some(body.into());
        Ok(self)
    }

    pub(super) fn what(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    pub(super) fn malformed(&self, source: serde_json::Error) -> ClientError {
        ClientError::Malformed { what: self.what(), source }
    }

    pub(super) fn request(&self, id: Option<RequestId>) -> Result<Request<Body>, ClientError> {
        let mut uri = encode_path(self.path);
        for (nth, (name, value)) in self.query.iter().enumerate() {
            uri.push(if nth == 0 { '?' } else { '&' });
            uri.push_str(name);
            uri.push('=');
            uri.push_str(&encode(value));
        }
        let mut request = Request::builder().method(&self.method).uri(uri);
        request = request.header(header::HOST, "skep");
        if self.body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if let Some(auth) = self.registry_auth.and_then(|auth| HeaderValue::try_from(auth).ok()) {
            request = request.header(REGISTRY_AUTH, auth);
        }
        if let Some(id) = id {
            request = request.header(REQUEST_ID, id.to_string());
        }
        let body = self.body.clone().map_or_else(Body::empty, Body::from);
        request.body(body).map_err(|error| self.broken(error))
    }

    pub(super) fn broken(
        &self,
        error: impl std::error::Error + Sync + Send + 'static,
    ) -> ClientError {
        ClientError::Broken { what: self.what(), source: Box::new(error) }
    }
}

pub(super) const fn switch(on: bool) -> &'static str {
    if on { "1" } else { "" }
}

/// One segment of a path.
pub(super) fn segment(reference: &str) -> String {
    encode(reference)
}

/// A path whose slashes stay; what was encoded before stays, too.
fn encode_path(path: &str) -> String {
    let keep = |byte: u8| is_plain(byte) || matches!(byte, b'/' | b':' | b'@' | b'%');
    encode_except(path, keep)
}

fn encode(text: &str) -> String {
    encode_except(text, is_plain)
}

/// Bytes that mean themselves everywhere in a URI (RFC 3986, unreserved).
const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn encode_except(text: &str, keep: impl Fn(u8) -> bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if keep(byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}
