//! The JSON that a request carries.

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use crate::cluster::Problem;
use crate::wire;

/// Largest JSON body: 16 times what a config may hold, far above any spec.
const JSON_BYTES_MAX: usize = 16 << 20;

/// All bytes of a body.
pub(super) async fn collect(body: Body) -> Result<Bytes, Problem> {
    match Limited::new(body, JSON_BYTES_MAX).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(Problem::new(413, format!("body is larger than {JSON_BYTES_MAX} bytes")))
        }
        Err(error) => Err(Problem::bad_request(format!("body could not be read: {error}"))),
    }
}

/// A JSON body; an empty one is the zero value.
pub(super) async fn json<T>(headers: &HeaderMap, body: Body) -> Result<T, Problem>
where
    T: Default + DeserializeOwned,
{
    let body = collect(body).await?;
    if body.is_empty() {
        return Ok(T::default());
    }
    is_json(headers)?;
    wire::from_slice(&body).map_err(|error| Problem::bad_request(format!("invalid JSON: {error}")))
}

/// Whether the body says that it is JSON.
fn is_json(headers: &HeaderMap) -> Result<(), Problem> {
    let said = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let said = said.unwrap_or("");
    let kind = said.split(';').next().unwrap_or("").trim();
    if kind.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(Problem::bad_request(format!(
        "unsupported Content-Type header ({said}): must be 'application/json'"
    )))
}
