//! Shapes: which keys a JSON answer has, and of which types.
//!
//! A shape is JSON itself: an object of shapes, a list with at most one shape, or a word of
//! `s` (text), `n` (number), `b` (truth) and `0` (null), with `|` between alternatives. A key
//! that ends in `?` was in some elements of a list and not in others.

use serde_json::{Map, Value};

/// Objects whose keys are the user's, not Docker's.
const FREE: &[&str] = &[
    "Attributes",
    "Containers",
    "Details",
    "DriverOpts",
    "Labels",
    "Options",
    "Runtimes",
    "Sysctls",
];

/// The shape of an answer.
pub(super) fn of(value: &Value) -> Value {
    match value {
        Value::Null => "0".into(),
        Value::Bool(_) => "b".into(),
        Value::Number(_) => "n".into(),
        Value::String(_) => "s".into(),
        Value::Array(items) => {
            let merged = items.iter().map(of).reduce(merge);
            Value::Array(merged.into_iter().collect())
        }
        Value::Object(fields) => {
            let fields = fields.iter().map(|(key, value)| {
                let free = FREE.contains(&key.as_str()) && value.is_object();
                (key.clone(), if free { Value::Object(Map::new()) } else { of(value) })
            });
            Value::Object(fields.collect())
        }
    }
}

/// A shape that both have.
pub(super) fn merge(one: Value, other: Value) -> Value {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => Value::Object(merge_fields(one, other)),
        (Value::Array(one), Value::Array(other)) => {
            Value::Array(one.into_iter().chain(other).reduce(merge).into_iter().collect())
        }
        (Value::String(one), Value::String(other)) => {
            let mut words: Vec<&str> = one.split('|').chain(other.split('|')).collect();
            words.sort_unstable();
            words.dedup();
            words.join("|").into()
        }
        // Go writes an empty list or map as null.
        (one, Value::String(_)) => one,
        (_, other) => other,
    }
}

fn merge_fields(one: Map<String, Value>, mut other: Map<String, Value>) -> Map<String, Value> {
    let mut merged = Map::new();
    for (key, value) in one {
        let name = key.trim_end_matches('?');
        let sure = !key.ends_with('?') && other.contains_key(name);
        let twin = other.remove(name).or_else(|| other.remove(&format!("{name}?")));
        let key = if sure { name.to_owned() } else { format!("{name}?") };
        merged.insert(key, twin.map_or_else(|| value.clone(), |twin| merge(value.clone(), twin)));
    }
    for (key, value) in other {
        merged.insert(format!("{}?", key.trim_end_matches('?')), value);
    }
    merged
}

/// How an answer differs from what was recorded, one line each.
///
/// `seen` is what any recorded answer of this endpoint has: a key that comes and goes there, as
/// `Err` of a task does, may come and go here. What a user wrote (`Spec`) comes back exactly.
pub(super) fn differences(recorded: &Value, ours: &Value, seen: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare("", recorded, ours, seen, &mut found);
    found
}

fn compare(path: &str, recorded: &Value, ours: &Value, seen: &Value, found: &mut Vec<String>) {
    match (recorded, ours) {
        (Value::Object(recorded), Value::Object(ours)) => {
            compare_fields(path, recorded, ours, seen, found);
        }
        (Value::Array(recorded), Value::Array(ours)) => {
            let seen = seen.get(0).unwrap_or(&Value::Null);
            if let ([recorded], [ours]) = (recorded.as_slice(), ours.as_slice()) {
                compare(&format!("{path}[]"), recorded, ours, seen, found);
            }
        }
        _ if fits(recorded, ours) || fits(seen, ours) => {}
        _ => found.push(format!("{path}: {} instead of {}", brief(ours), brief(recorded))),
    }
}

fn compare_fields(
    path: &str,
    recorded: &Map<String, Value>,
    ours: &Map<String, Value>,
    seen: &Value,
    found: &mut Vec<String>,
) {
    let exact = path.contains("Spec") && !path.contains("Cluster");
    let ours = |name: &str| ours.get(name).or_else(|| ours.get(&format!("{name}?")));
    let known = |name: &str| seen.get(name).or_else(|| seen.get(format!("{name}?")));
    for (key, value) in recorded {
        let name = key.trim_end_matches('?');
        let path = format!("{path}.{name}");
        let optional = key.ends_with('?') || (!exact && seen.get(name).is_none());
        match ours(name) {
            Some(ours) => {
                compare(&path, value, ours, known(name).unwrap_or(value), found);
            }
            None if optional => {}
            None => found.push(format!("{path}: missing")),
        }
    }
}

/// Keys of ours that no recorded answer of the endpoint has.
pub(super) fn strangers(ours: &Value, seen: &Value) -> Vec<String> {
    let mut found = Vec::new();
    look_for_strangers("", ours, seen, &mut found);
    found
}

fn look_for_strangers(path: &str, ours: &Value, seen: &Value, found: &mut Vec<String>) {
    match (ours, seen) {
        (Value::Object(ours), Value::Object(seen)) => {
            for (key, value) in ours {
                let name = key.trim_end_matches('?');
                let path = format!("{path}.{name}");
                match seen.get(name).or_else(|| seen.get(&format!("{name}?"))) {
                    Some(seen) => look_for_strangers(&path, value, seen, found),
                    None if FREE.iter().any(|free| path.contains(free)) => {}
                    None => found.push(format!("{path}: never recorded")),
                }
            }
        }
        (Value::Array(ours), Value::Array(seen)) => {
            if let ([ours], [seen]) = (ours.as_slice(), seen.as_slice()) {
                look_for_strangers(&format!("{path}[]"), ours, seen, found);
            }
        }
        _ => {}
    }
}

/// Whether a shape may stand where another was recorded; null stands for an empty container.
fn fits(recorded: &Value, ours: &Value) -> bool {
    match (recorded, ours) {
        (Value::String(recorded), Value::String(ours)) => {
            ours.split('|').all(|word| recorded.split('|').any(|known| known == word))
        }
        (Value::String(null), Value::Array(_) | Value::Object(_))
        | (Value::Array(_) | Value::Object(_), Value::String(null)) => null == "0",
        (Value::Array(_), Value::Array(_)) | (Value::Object(_), Value::Object(_)) => true,
        _ => false,
    }
}

fn brief(shape: &Value) -> String {
    match shape {
        Value::Object(_) => "an object".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::String(words) => words.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) => String::new(),
    }
}

#[test]
fn shapes_differ_where_keys_and_types_do() {
    use serde_json::json;

    let seen = json!([{"ID": "s", "Err?": "s", "Spec": {"Name": "s", "Labels": {}}}]);
    let check = |recorded: Value, answer: Value, after: &[&str]| {
        let ours = of(&answer);
        let mut found = differences(&recorded, &ours, &seen);
        found.extend(strangers(&ours, &seen));
        assert_eq!(found, after, "{answer}");
    };
    let recorded = || json!([{"ID": "s", "Err": "s", "Spec": {"Name": "s", "Labels": {}}}]);
    check(recorded(), json!([{"ID": "a", "Spec": {"Name": "x", "Labels": {"a": 1}}}]), &[]);
    check(recorded(), json!([{"ID": "a", "Spec": {"Name": "x", "Labels": null}}]), &[]);
    check(
        recorded(),
        json!([{"ID": 7, "Odd": true, "Spec": {"Labels": {}}}]),
        &["[].ID: n instead of s", "[].Spec.Name: missing", "[].Odd: never recorded"],
    );
    let two = json!([{"a": 1}, {"a": null, "b": "x"}]);
    assert_eq!(of(&two), json!([{"a": "0|n", "b?": "s"}]));
}
