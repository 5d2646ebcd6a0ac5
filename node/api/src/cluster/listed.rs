//! Lists as they go to the client: a node may keep them between two requests.

use bytes::Bytes;
use serde::Serialize;

use super::Problem;

/// A list in JSON. Docker's CLI asks for three of them five times a second while it waits, and
/// most of the time nothing has changed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listed(Bytes);

impl Listed {
    /// Of objects, with the newline that Docker writes behind them.
    ///
    /// # Errors
    /// 500, when they cannot be written.
    pub fn of<T: Serialize>(objects: &[T]) -> Result<Self, Problem> {
        let mut body = serde_json::to_vec(objects)
            .map_err(|error| Problem::new(500, format!("answer could not be written: {error}")))?;
        body.push(b'\n');
        Ok(Self(body.into()))
    }

    pub(crate) fn into_bytes(self) -> Bytes {
        self.0
    }
}
