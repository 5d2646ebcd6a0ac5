//! The list of seeds: its one canonical form, and the hash that every message carries.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Port of a seed that is written without one.
const PORT: u16 = 7964;
/// Founding needs all of them at the same time, so more would only wait longer.
const SEEDS_MAX: usize = 32;
/// Longest DNS name and a port.
const ENTRY_BYTES_MAX: usize = 260;

/// Names a list and a rule.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct SeedHash(pub [u8; 32]);

/// How many of the seeds become the first voters.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub enum Rule {
    /// 1 of 1 or 2 seeds, 3 of more.
    #[default]
    Automatic,
    /// 5 where there are as many seeds.
    Five,
}

impl Rule {
    /// Number of first voters among so many seeds.
    #[must_use]
    pub const fn founders(self, n_seeds: usize) -> usize {
        match (self, n_seeds) {
            (_, 0) => 0,
            (_, 1 | 2) => 1,
            (Self::Five, 5..) => 5,
            (_, 3..) => 3,
        }
    }
}

/// The text is no list of seeds.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum BadSeeds {
    /// Too many.
    #[error("{n} seeds were given, at most {SEEDS_MAX} are allowed: a few are enough to join")]
    TooMany {
        /// How many.
        n: usize,
    },
    /// One of them is no address.
    #[error("seed {entry:?} is not HOST or HOST:PORT")]
    BadEntry {
        /// As it was written.
        entry: String,
    },
}

/// Seeds in canonical form: lower case, with port, sorted, each once.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SeedList {
    entries: Vec<String>,
    rule: Rule,
    hash: SeedHash,
}

impl SeedList {
    /// Brings entries into canonical form. Order, case and repetition do not matter.
    ///
    /// # Errors
    ///
    /// [`BadSeeds`] if there are too many, or one is no address. None at all is fine.
    pub fn new<T: AsRef<str>>(
        entries: impl IntoIterator<Item = T>,
        rule: Rule,
    ) -> Result<Self, BadSeeds> {
        let mut canonical = entries
            .into_iter()
            .map(|entry| canonical(entry.as_ref()))
            .collect::<Result<Vec<String>, BadSeeds>>()?;
        canonical.sort();
        canonical.dedup();
        if SEEDS_MAX < canonical.len() {
            return Err(BadSeeds::TooMany { n: canonical.len() });
        }
        let hash = hash(&canonical, rule);
        Ok(Self { entries: canonical, rule, hash })
    }

    /// The entries; the place of an entry is its slot.
    #[must_use]
    pub fn entries(&self) -> &[String] {
        &self.entries
    }

    /// Number of seeds.
    #[must_use]
    pub fn n_seeds(&self) -> usize {
        self.entries.len()
    }

    /// The hash of list and rule.
    #[must_use]
    pub const fn hash(&self) -> SeedHash {
        self.hash
    }

    /// How many seeds become voters.
    #[must_use]
    pub fn n_founders(&self) -> usize {
        self.rule.founders(self.entries.len())
    }

    /// The slot of an entry, written in any form.
    #[must_use]
    pub fn slot_of(&self, entry: &str) -> Option<u16> {
        let entry = canonical(entry).ok()?;
        let slot = self.entries.binary_search(&entry).ok()?;
        u16::try_from(slot).ok()
    }

    /// The entry of a slot; empty if there is none.
    pub(crate) fn entry(&self, slot: u16) -> &str {
        self.entries.get(usize::from(slot)).map_or("", String::as_str)
    }

    pub(crate) fn slots(&self) -> impl Iterator<Item = u16> + use<> {
        0..u16::try_from(self.entries.len()).unwrap_or(u16::MAX)
    }
}

impl fmt::Display for SeedList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.entries.join(", "))
    }
}

fn canonical(entry: &str) -> Result<String, BadSeeds> {
    let bad = || BadSeeds::BadEntry { entry: entry.chars().take(ENTRY_BYTES_MAX).collect() };
    let text = entry.trim().to_ascii_lowercase();
    let (host, port) = match text.rsplit_once(':') {
        _ if text.ends_with(']') => (text.as_str(), PORT),
        Some((host, _)) if host.contains(':') && !host.starts_with('[') => {
            // An IPv6 address as it is, without brackets and port.
            let address: std::net::Ipv6Addr = text.parse().map_err(|_| bad())?;
            return Ok(format!("[{address}]:{PORT}"));
        }
        Some((host, port)) => (host, port.parse().map_err(|_| bad())?),
        None => (text.as_str(), PORT),
    };
    let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let good = match bracketed {
        Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            !host.is_empty() && host.chars().all(plain)
        }
    };
    if !good || port == 0 || ENTRY_BYTES_MAX < text.len() {
        return Err(bad());
    }
    match bracketed.and_then(|inner| inner.parse::<std::net::Ipv6Addr>().ok()) {
        Some(address) => Ok(format!("[{address}]:{port}")),
        None => Ok(format!("{host}:{port}")),
    }
}

fn hash(entries: &[String], rule: Rule) -> SeedHash {
    let mut hasher = blake3::Hasher::new_derive_key("skep 2026 seed list v1");
    hasher.update(&[match rule {
        Rule::Automatic => 0,
        Rule::Five => 5,
    }]);
    for entry in entries {
        hasher.update(entry.as_bytes()).update(b"\n");
    }
    SeedHash(*hasher.finalize().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[&str]) -> Result<SeedList, BadSeeds> {
        SeedList::new(entries, Rule::Automatic)
    }

    #[test]
    fn order_case_and_repetition_do_not_matter() {
        let one = list(&["b:7964", "A:7964", "c"]).unwrap();
        let two = list(&[" C:7964 ", "a", "b", "B:7964"]).unwrap();
        assert_eq!(one, two);
        assert_eq!(one.entries(), ["a:7964", "b:7964", "c:7964"]);
        assert_eq!(one.slot_of("B"), Some(1));
        assert_eq!(one.slot_of("d"), None);
        assert_ne!(one.hash(), list(&["a", "b"]).unwrap().hash());
        let five = SeedList::new(["a", "b", "c"], Rule::Five).unwrap();
        assert_ne!(one.hash(), five.hash(), "the rule is part of the hash");
    }

    #[test]
    fn entries_are_read_in_every_usual_form() {
        for (entry, expected) in [
            ("10.0.0.1", Some("10.0.0.1:7964")),
            ("10.0.0.1:80", Some("10.0.0.1:80")),
            ("::1", Some("[::1]:7964")),
            ("[::1]", Some("[::1]:7964")),
            ("[0:0::1]:80", Some("[::1]:80")),
            ("Node-1.example.org", Some("node-1.example.org:7964")),
            ("", None),
            (":80", None),
            ("a:", None),
            ("a:0", None),
            ("a:99999", None),
            ("a b", None),
            ("[::x]:80", None),
            ("http://a", None),
        ] {
            let found = list(&[entry]).ok().map(|list| list.entries()[0].clone());
            assert_eq!(found.as_deref(), expected, "{entry}");
        }
    }

    #[test]
    fn so_many_seeds_found_so_many_voters() {
        let founders = |rule: Rule| [1, 2, 3, 4, 5, 9].map(|n| rule.founders(n));
        assert_eq!(founders(Rule::Automatic), [1, 1, 3, 3, 3, 3]);
        assert_eq!(founders(Rule::Five), [1, 1, 3, 3, 5, 5]);
    }
}
