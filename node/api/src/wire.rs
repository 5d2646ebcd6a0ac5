//! The JSON of the API: Docker's field for field, and our own under `/skep`.
//!
//! Names, order and presence of fields follow the Go types of Docker Engine 28.2.2 (API 1.50):
//! what Go marks `omitempty` is left out when empty, an empty list without that mark is `null`,
//! and structs are always written. Unknown fields are ignored, as Go does.

pub mod container;
pub mod event;
pub mod file;
pub mod image;
pub mod local;
pub mod network;
pub mod node;
pub mod service;
pub mod status;
pub mod swarm;
pub mod system;
pub mod task;
pub mod time;

#[cfg(test)]
mod recorded;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// Deepest nesting of a body; Docker's own deepest is 9 (`Service` with a previous spec), and
/// without a limit a body of brackets would exhaust the stack. serde_json's own limit is 128.
const DEPTH_MAX: usize = 64;

/// Version of an object: changes when its spec does, compared by `?version=` of an update.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ObjectVersion {
    /// A small counter.
    #[serde(skip_serializing_if = "zero")]
    pub index: u64,
}

/// Body of every answer that is an error.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct ErrorBody {
    /// What a user reads.
    pub message: String,
}

/// Answer of requests that create something.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Created {
    /// Id of what was created.
    #[serde(rename = "ID", skip_serializing_if = "zero")]
    pub id: String,
    /// What the user should know.
    #[serde(with = "nullable")]
    pub warnings: Vec<String>,
}

/// Answer of requests that update a service.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Updated {
    /// What the user should know.
    #[serde(with = "nullable")]
    pub warnings: Vec<String>,
}

/// A body from the other side: `null` counts as absent, as in Go.
///
/// # Errors
/// When it is not JSON or not of this shape.
pub fn from_slice<T: DeserializeOwned>(body: &[u8]) -> Result<T, serde_json::Error> {
    let mut value: Value = serde_json::from_slice(body)?;
    drop_nulls(&mut value, DEPTH_MAX);
    serde_json::from_value(value)
}

/// Removes the fields of objects that are `null`.
fn drop_nulls(value: &mut Value, depth: usize) {
    let Some(depth) = depth.checked_sub(1) else { return };
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(|field| drop_nulls(field, depth));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| drop_nulls(item, depth)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Whether a field is what Go's `omitempty` leaves out.
fn zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Lists and maps that Go writes as `null` when they are empty.
mod nullable {
    use super::{Deserialize, Deserializer, Serialize, Serializer, zero};

    pub(super) fn serialize<T, S>(value: &T, serializer: S) -> Result<S::Ok, S::Error>
    where
        T: Default + PartialEq + Serialize,
        S: Serializer,
    {
        if zero(value) { serializer.serialize_none() } else { value.serialize(serializer) }
    }

    pub(super) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: Default + Deserialize<'de>,
        D: Deserializer<'de>,
    {
        Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
    }
}

/// Numbers with a fraction, written as Go does: `0`, `0.25`.
mod ratio {
    use super::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &f32, serializer: S) -> Result<S::Ok, S::Error> {
        let whole = value.trunc();
        if whole == *value && whole.abs() < 1_000_000.0 {
            #[expect(clippy::cast_possible_truncation, reason = "whole and below a million")]
            let whole = whole as i32;
            serializer.serialize_i32(whole)
        } else {
            value.serialize(serializer)
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f32, D::Error> {
        f32::deserialize(from)
    }
}
