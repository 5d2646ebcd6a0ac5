//! The top of the tree shows the architecture and nothing else.

use crate::repository::{none, top, visible};

/// The seven names that are the project.
const FIXED: &[&str] =
    &["Cargo.toml", "crypto", "examples", "membership", "node", "store", "tests"];

/// What a reader finds beside them.
const TEXTS: &[&str] = &[
    "ARCHITECTURE.md",
    "BENCHMARKS.md",
    "CHANGELOG.md",
    "Cargo.lock",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
];

#[test]
fn the_top_shows_seven_names_and_the_texts() {
    let seen: Vec<String> = visible(top()).into_iter().map(|(name, _)| name).collect();
    let mut wrong = Vec::new();
    for name in FIXED.iter().chain(TEXTS) {
        if !seen.iter().any(|other| other == name) {
            wrong.push(format!("`{name}` is missing at the top"));
        }
    }
    for name in seen.iter().map(String::as_str) {
        if !FIXED.contains(&name) && !TEXTS.contains(&name) {
            wrong.push(format!(
                "`{name}` has no place at the top: put it into one of the folders, or hide \
                 settings in a dot-file"
            ));
        }
    }
    none(&wrong);
}
