//! Placement constraints: `node.labels.zone==a`, as Docker Swarm writes them.

use crate::command::Refused;
use crate::validate::{quoted, spec_error};

/// One constraint: all constraints of a service must hold on a node.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Constraint {
    /// Which property of the node.
    pub key: Key,
    /// Whether it must equal the value.
    pub equal: bool,
    /// What it is compared with: whole, and without regard to case.
    pub value: String,
}

/// A property of a node that a constraint looks at.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Key {
    /// `node.id`.
    Id,
    /// `node.hostname`.
    Hostname,
    /// `node.ip`: an address or a range in CIDR form.
    Ip,
    /// `node.role`: `manager` or `worker`.
    Role,
    /// `node.platform.os`.
    Os,
    /// `node.platform.arch`.
    Arch,
    /// `node.labels.…`: what users say of it.
    NodeLabel(String),
    /// `engine.labels.…`: what its operator says of it.
    EngineLabel(String),
}

const KNOWN: &str = "node.id, node.hostname, node.ip, node.role, node.platform.os, \
                     node.platform.arch, node.labels.LABEL, engine.labels.LABEL";

impl Constraint {
    /// Reads one constraint.
    ///
    /// # Errors
    ///
    /// [`Refused::Invalid`]: Docker's texts, and one of our own for a key that Docker would
    /// accept and never match.
    pub fn parse(text: &str) -> Result<Self, Refused> {
        // Docker looks for `==` first, in the whole text.
        let (key, equal, value) = if let Some((key, value)) = text.split_once("==") {
            (key, true, value)
        } else if let Some((key, value)) = text.split_once("!=") {
            (key, false, value)
        } else {
            return Err(spec_error("constraint expected one operator from ==, !="));
        };
        let (key, value) = (key.trim(), value.trim());
        if !is_key(key) {
            return Err(spec_error(format!("key '{}' is invalid", quoted(key))));
        }
        if !is_value(value) {
            return Err(spec_error(format!("value '{}' is invalid", quoted(value))));
        }
        let Some(key) = Key::parse(key) else {
            let key = quoted(key);
            return Err(spec_error(format!("constraint key '{key}' is unknown: use {KNOWN}")));
        };
        Ok(Self { key, equal, value: value.to_owned() })
    }
}

impl Key {
    /// Fixed keys and prefixes in any case; the label itself as it is written.
    fn parse(text: &str) -> Option<Self> {
        let label = |prefix: &str| {
            let (head, label) = text.split_at_checked(prefix.len())?;
            (head.eq_ignore_ascii_case(prefix) && !label.is_empty()).then(|| label.to_owned())
        };
        match text.to_ascii_lowercase().as_str() {
            "node.id" => Some(Self::Id),
            "node.hostname" => Some(Self::Hostname),
            "node.ip" => Some(Self::Ip),
            "node.role" => Some(Self::Role),
            "node.platform.os" => Some(Self::Os),
            "node.platform.arch" => Some(Self::Arch),
            _ => label("node.labels.")
                .map(Self::NodeLabel)
                .or_else(|| label("engine.labels.").map(Self::EngineLabel)),
        }
    }
}

/// `^(?i)[a-z_][a-z0-9\-_.]+$`
fn is_key(text: &str) -> bool {
    let mut chars = text.chars();
    let first = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    let rest = chars.as_str();
    first
        && !rest.is_empty()
        && rest.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

/// `^(?i)[a-z0-9:\-_\s\.\*\(\)\?\+\[\]\\\^\$\|\/]+$`
fn is_value(text: &str) -> bool {
    let allowed = |c: char| {
        c.is_ascii_alphanumeric() || c.is_ascii_whitespace() || r":-_.*()?+[]\^$|/".contains(c)
    };
    !text.is_empty() && text.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constraints_are_read_as_docker_reads_them() {
        let read = |text: &str| Constraint::parse(text).map_err(|refused| refused.to_string());
        let one = |key, equal, value: &str| Ok(Constraint { key, equal, value: value.to_owned() });
        let fails = |text: &str| Err(text.to_owned());
        for (text, expected) in [
            ("node.id==abc", one(Key::Id, true, "abc")),
            (" NODE.Role != manager ", one(Key::Role, false, "manager")),
            ("node.labels.Zone==a b", one(Key::NodeLabel("Zone".to_owned()), true, "a b")),
            ("engine.labels.disk!=ssd", one(Key::EngineLabel("disk".to_owned()), false, "ssd")),
            ("node.ip==10.0.0.0/8", one(Key::Ip, true, "10.0.0.0/8")),
            ("node.id", fails("constraint expected one operator from ==, !=")),
            ("node.id=abc", fails("constraint expected one operator from ==, !=")),
            ("==abc", fails("key '' is invalid")),
            ("n de.id==abc", fails("key 'n de.id' is invalid")),
            ("node.id==", fails("value '' is invalid")),
            ("node.id==a&b", fails("value 'a&b' is invalid")),
            (
                "node.labels.==a",
                fails(&format!("constraint key 'node.labels.' is unknown: use {KNOWN}")),
            ),
            (
                "node.colour==red",
                fails(&format!("constraint key 'node.colour' is unknown: use {KNOWN}")),
            ),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }
}
