//! Which node, which task, which peer: such fields have one name everywhere, listed in
//! `node/src/telemetry.rs`. They have a dot; a field without one is a word of its line.

use std::collections::{BTreeMap, BTreeSet};

use crate::repository::{none, page, pages};

const MACROS: &[&str] = &["trace!", "debug!", "info!", "warn!", "error!", "event!", "_span!"];

#[test]
fn log_fields_come_from_one_list() {
    let listed = listed();
    let mut used: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let ours = |path: &str| !path.starts_with("tests/") && !path.starts_with("examples/");
    for page in pages(".rs").iter().filter(|page| ours(&page.path)) {
        for field in fields(&page.code()).into_iter().filter(|field| field.contains('.')) {
            used.entry(field).or_default().insert(page.path.clone());
        }
    }
    assert!(!used.is_empty(), "no log line was found");
    let wrong: Vec<String> = used
        .iter()
        .filter(|(field, _)| !listed.contains(*field))
        .map(|(field, paths)| {
            format!("`{field}` in {paths:?} is not in FIELDS of node/src/telemetry.rs")
        })
        .collect();
    none(&wrong);
}

/// The names in FIELDS. Read as text: linking the whole node for a list would take minutes.
fn listed() -> BTreeSet<String> {
    let text = page("node/src/telemetry.rs").code();
    let begin = text.find("const FIELDS").unwrap();
    let end = begin + text[begin..].find("];").unwrap();
    text[begin..end].split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The field names of every log line and span of a file.
fn fields(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for called in MACROS {
        for (at, _) in code.match_indices(&format!("{called}(")) {
            let whole = called.starts_with('_')
                || !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            if whole {
                let arguments = arguments(&code[at + called.len() + 1..]);
                found.extend(arguments.iter().filter_map(|argument| field(argument)));
            }
        }
    }
    found
}

/// Splits what stands between the parentheses at its commas.
fn arguments(code: &str) -> Vec<String> {
    let mut split = vec![String::new()];
    let mut depth = 0_usize;
    let mut quoted = false;
    let mut escaped = false;
    for c in code.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' if depth == 0 => break,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                split.push(String::new());
                continue;
            }
            _ => {}
        }
        split.last_mut().unwrap().push(c);
    }
    split
}

/// The name of a field; `None` for the message, and for what only steers a macro.
fn field(argument: &str) -> Option<String> {
    let argument = argument.trim();
    if argument.is_empty() || argument.starts_with('"') {
        return None;
    }
    let steers = ["target:", "parent:", "name:", "Level::", "tracing::Level::"];
    if steers.iter().any(|word| argument.starts_with(word)) {
        return None;
    }
    let name = argument.split_once(" = ").map_or(argument, |(name, _)| name);
    Some(name.trim_start_matches(['%', '?']).to_owned())
}

#[test]
fn fields_are_read_in_every_form() {
    let code = r#"
        info!(node.id = %id, why, "member, joined");
        tracing::warn!(
            error = &error as &dyn Error,
            ?grace,
            "tasks aborted"
        );
        info_span!("step", task.id = %id);
        io_error!(secret);
    "#;
    let mut found = fields(code);
    found.sort();
    assert_eq!(found, ["error", "grace", "node.id", "task.id", "why"]);
}
