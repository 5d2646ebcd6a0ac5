//! Answers as Docker gives them.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::Stream;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use crate::cluster::{Listed, Problem};
use crate::header::PROBLEM;
use crate::wire::ErrorBody;

/// What a handler gives back.
pub(super) type Answer = Result<Response, Problem>;

/// JSON with a newline at its end.
pub(super) fn json<T: Serialize>(status: StatusCode, value: &T) -> Answer {
    let mut body = serde_json::to_vec(value)
        .map_err(|error| Problem::new(500, format!("answer could not be written: {error}")))?;
    body.push(b'\n');
    let json = HeaderValue::from_static("application/json");
    Ok((status, [(header::CONTENT_TYPE, json)], body).into_response())
}

/// 200 with JSON.
pub(super) fn ok<T: Serialize>(value: &T) -> Answer {
    json(StatusCode::OK, value)
}

/// 200 with a list that is JSON already.
pub(super) fn listed(list: Listed) -> Answer {
    let json = HeaderValue::from_static("application/json");
    Ok(([(header::CONTENT_TYPE, json)], list.into_bytes()).into_response())
}

/// 200 with nothing.
pub(super) fn empty() -> Answer {
    Ok(StatusCode::OK.into_response())
}

/// 204.
pub(super) fn no_content() -> Answer {
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// 200 at once, then what comes.
pub(super) fn stream<S>(content_type: &'static str, chunks: S) -> Answer
where
    S: Stream<Item = Result<Bytes, std::convert::Infallible>> + Send + 'static,
{
    let content_type = HeaderValue::from_static(content_type);
    Ok(([(header::CONTENT_TYPE, content_type)], Body::from_stream(chunks)).into_response())
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status);
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let kind = self.kind.as_header();
        let body = ErrorBody { message: self.message };
        let mut response = json(status, &body).unwrap_or_else(|_| status.into_response());
        if let Some(kind) = kind {
            response.headers_mut().insert(PROBLEM, HeaderValue::from_static(kind));
        }
        response
    }
}
