//! `filters=` of lists: what to show.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::cluster::Problem;

/// Values by key. Values of one key are alternatives (labels are demands), keys are demands.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Filters(BTreeMap<String, Vec<String>>);

impl Filters {
    /// Of nodes.
    pub const OF_NODES: &[&str] = &["id", "label", "membership", "name", "node.label", "role"];
    /// Of services.
    pub const OF_SERVICES: &[&str] = &["id", "label", "mode", "name", "runtime"];
    /// Of tasks.
    pub const OF_TASKS: &[&str] =
        &["_up-to-date", "desired-state", "id", "label", "name", "node", "runtime", "service"];
    /// Of networks.
    pub const OF_NETWORKS: &[&str] =
        &["dangling", "driver", "id", "label", "name", "scope", "type"];
    /// Of a request that removes networks; `until` spares the younger ones.
    pub const OF_PRUNED_NETWORKS: &[&str] = &["label", "label!", "until"];
    /// Of containers of a node without Docker Engine.
    pub const OF_CONTAINERS: &[&str] = &["id", "label", "name", "status"];
    /// Of events.
    pub const OF_EVENTS: &[&str] = &[
        "config",
        "container",
        "daemon",
        "event",
        "image",
        "label",
        "network",
        "node",
        "plugin",
        "scope",
        "secret",
        "service",
        "type",
        "volume",
    ];
    /// Of secrets.
    pub const OF_SECRETS: &[&str] = &["id", "label", "name", "names"];
    /// Of configs.
    pub const OF_CONFIGS: &[&str] = &["id", "label", "name", "names"];
    /// Of images; those that are not understood here narrow nothing.
    pub const OF_IMAGES: &[&str] = &["before", "dangling", "label", "reference", "since", "until"];

    /// From the query; both the form of Go clients, `{"label":{"a=b":true}}`, and that of
    /// others, `{"label":["a=b"]}`.
    ///
    /// # Errors
    /// Docker's texts, when it is not that or a key is unknown.
    pub fn parse(json: &str, known: &[&str]) -> Result<Self, Problem> {
        let invalid = || Problem::bad_request("invalid filter");
        if json.is_empty() {
            return Ok(Self::default());
        }
        let Ok(Value::Object(keys)) = serde_json::from_str(json) else { return Err(invalid()) };
        let mut filters = BTreeMap::new();
        for (key, values) in keys {
            if !known.contains(&key.as_str()) {
                return Err(Problem::bad_request(format!("invalid filter '{key}'")));
            }
            let values = match values {
                Value::Object(values) => values.into_iter().map(|(value, _)| value).collect(),
                Value::Array(values) => values
                    .into_iter()
                    .map(|value| value.as_str().map(str::to_owned).ok_or_else(invalid))
                    .collect::<Result<_, _>>()?,
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                    return Err(invalid());
                }
            };
            filters.insert(key, values);
        }
        Ok(Self(filters))
    }

    /// As Go clients write it; empty if there are none.
    #[must_use]
    pub fn to_json(&self) -> String {
        if self.0.is_empty() {
            return String::new();
        }
        let keys = self.0.iter().map(|(key, values)| {
            let values = values.iter().map(|value| (value.clone(), Value::Bool(true)));
            (key.clone(), Value::Object(values.collect()))
        });
        Value::Object(keys.collect()).to_string()
    }

    /// With one more value.
    #[must_use]
    pub fn and(mut self, key: &str, value: impl Into<String>) -> Self {
        self.0.entry(key.to_owned()).or_default().push(value.into());
        self
    }

    /// Values of a key; empty if it was not given.
    #[must_use]
    pub fn values(&self, key: &str) -> &[String] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }

    /// Whether the key was given.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// Whether one of the values is this one, or the key was not given.
    #[must_use]
    pub fn accepts(&self, key: &str, seen: &str) -> bool {
        self.0.get(key).is_none_or(|values| values.iter().any(|value| value == seen))
    }

    /// Whether one of the values begins what was seen, or the key was not given.
    #[must_use]
    pub fn accepts_prefix(&self, key: &str, seen: &str) -> bool {
        let begins = |value: &String| seen.starts_with(value.as_str());
        self.0.get(key).is_none_or(|values| values.iter().any(begins))
    }

    /// Whether one of the values is part of what was seen, or the key was not given.
    #[must_use]
    pub fn accepts_part(&self, key: &str, seen: &str) -> bool {
        let within = |value: &String| seen.contains(value.as_str());
        self.0.get(key).is_none_or(|values| values.iter().any(within))
    }

    /// Whether an action is asked for; `exec_create` also stands for `exec_create: sh`.
    #[must_use]
    pub fn accepts_action(&self, action: &str) -> bool {
        let begins = |value: &String| {
            action
                .strip_prefix(value.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
        };
        self.0.get("event").is_none_or(|values| values.iter().any(begins))
    }

    /// Whether one of the values is a switch that is on; `None` if the key was not given.
    ///
    /// # Errors
    /// Docker's text, when it is no switch.
    pub fn switch(&self, key: &str) -> Result<Option<bool>, Problem> {
        let Some(values) = self.0.get(key) else { return Ok(None) };
        let mut found = None;
        for value in values {
            let on = match value.as_str() {
                "1" | "true" | "True" | "TRUE" | "t" | "T" => true,
                "0" | "false" | "False" | "FALSE" | "f" | "F" => false,
                _ => return Err(Problem::bad_request(format!("invalid filter '{key}={value}'"))),
            };
            if found.replace(on).is_some_and(|before| before != on) {
                return Err(Problem::bad_request(format!("invalid filter '{key}'")));
            }
        }
        Ok(found)
    }

    /// Whether all demanded labels (`a` or `a=b`) are there.
    #[must_use]
    pub fn accepts_labels(&self, key: &str, labels: &BTreeMap<String, String>) -> bool {
        self.values(key).iter().all(|demand| match demand.split_once('=') {
            Some((name, value)) => labels.get(name).is_some_and(|seen| seen == value),
            None => labels.contains_key(demand),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(json: &str, after: Result<&[&str], &str>) {
        let got = Filters::parse(json, &["label", "name"]);
        let got = got.map(|filters| filters.values("label").to_vec());
        assert_eq!(
            got.map_err(|problem| problem.message),
            after
                .map(|values| values.iter().map(|&value| value.to_owned()).collect())
                .map_err(str::to_owned)
        );
    }

    #[test]
    fn both_forms_are_read_and_unknown_keys_are_named() {
        check("", Ok(&[]));
        check("{}", Ok(&[]));
        check(r#"{"label":{"a=b":true}}"#, Ok(&["a=b"]));
        check(r#"{"label":["a=b","c"]}"#, Ok(&["a=b", "c"]));
        check(r#"{"bogus":["x"]}"#, Err("invalid filter 'bogus'"));
        check(r#"{"label":[1]}"#, Err("invalid filter"));
        check("[]", Err("invalid filter"));
        check("nonsense", Err("invalid filter"));
    }

    #[test]
    fn labels_are_demands_and_other_values_alternatives() {
        let labels = BTreeMap::from([("zone".to_owned(), "a".to_owned())]);
        let filters = Filters::default().and("label", "zone").and("label", "zone=a");
        assert!(filters.accepts_labels("label", &labels));
        assert!(!filters.and("label", "zone=b").accepts_labels("label", &labels));
        let filters = Filters::default().and("name", "we").and("name", "db");
        assert!(filters.accepts_prefix("name", "web"));
        assert!(!filters.accepts("name", "web"));
        assert!(filters.accepts("id", "anything"));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(values in prop::collection::btree_set(".{0,9}", 1..4)) {
            let add = |filters: Filters, value: String| filters.and("label", value);
            let filters = values.into_iter().fold(Filters::default(), add);
            prop_assert_eq!(Filters::parse(&filters.to_json(), &["label"]), Ok(filters));
        }
    }
}
