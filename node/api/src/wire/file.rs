//! Secrets and configs.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use super::container::Driver;
use super::{ObjectVersion, zero};

/// Bytes in base64. What they are is nobody's to print: they may be a secret's.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Data(Zeroizing<Vec<u8>>);

impl Data {
    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Data {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Data(…)")
    }
}

impl Serialize for Data {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Zeroizing::new(STANDARD.encode(&*self.0)))
    }
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        // Neither the text nor where it is wrong is repeated: it may be a secret.
        let bytes = STANDARD.decode(text.as_bytes());
        bytes.map(Self::from).map_err(|_| D::Error::custom("illegal base64 data"))
    }
}

/// A secret. Its data is never in an answer.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Secret {
    /// Id.
    #[serde(rename = "ID")]
    pub id: String,
    /// Version of its spec.
    pub version: ObjectVersion,
    /// When it was created.
    pub created_at: String,
    /// When its labels were last written.
    pub updated_at: String,
    /// What the user gave.
    pub spec: SecretSpec,
}

/// What a user gives to make a secret.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct SecretSpec {
    /// Unique among secrets.
    pub name: String,
    /// Labels: the only part that can be updated.
    pub labels: BTreeMap<String, String>,
    /// The secret itself; only on the way in.
    #[serde(skip_serializing_if = "zero")]
    pub data: Option<Data>,
    /// A plugin that has the data instead.
    #[serde(skip_serializing_if = "zero")]
    pub driver: Option<Driver>,
    /// What fills in the data as a template.
    #[serde(skip_serializing_if = "zero")]
    pub templating: Option<Driver>,
}

/// A config.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Config {
    /// Id.
    #[serde(rename = "ID")]
    pub id: String,
    /// Version of its spec.
    pub version: ObjectVersion,
    /// When it was created.
    pub created_at: String,
    /// When its labels were last written.
    pub updated_at: String,
    /// What the user gave.
    pub spec: ConfigSpec,
}

/// What a user gives to make a config.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ConfigSpec {
    /// Unique among configs.
    pub name: String,
    /// Labels: the only part that can be updated.
    pub labels: BTreeMap<String, String>,
    /// The content.
    #[serde(skip_serializing_if = "zero")]
    pub data: Option<Data>,
    /// What fills in the content as a template.
    #[serde(skip_serializing_if = "zero")]
    pub templating: Option<Driver>,
}

/// Answer of requests that create a secret or config.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct FileCreated {
    /// Id of what was created.
    #[serde(rename = "ID")]
    pub id: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_base64_and_nobody_prints_it() {
        let spec: SecretSpec =
            serde_json::from_str(r#"{"Name":"s","Data":"aHVudGVyMg=="}"#).unwrap();
        assert_eq!(spec.data.as_ref().unwrap().as_bytes(), b"hunter2");
        let printed = format!("{spec:?}");
        assert!(!printed.contains("hunter2") && !printed.contains("aHVudGVy"), "{printed}");
        let again = serde_json::to_string(&spec).unwrap();
        assert_eq!(again, r#"{"Name":"s","Labels":{},"Data":"aHVudGVyMg=="}"#);
        let error = serde_json::from_str::<SecretSpec>(r#"{"Data":"hunter2!"}"#).unwrap_err();
        assert!(error.to_string().contains("illegal base64 data"), "{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}
