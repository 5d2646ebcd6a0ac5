//! Every source file tells its story in its first line and stays small.

use crate::repository::{Page, none, pages};

/// What a reader still keeps in mind.
const LINES_AIM: usize = 400;
/// What nobody may exceed.
const LINES_MAX: usize = 800;

/// Words for work that was put off.
const LATER: &[&str] = &["TO-DO", "FIX-ME", "XX-X", "to-do!(", "un-implemented!(", "#[ig-nore"];
/// Exceptions from a lint that outlive their cause.
const ALLOW: &[&str] = &["#[al-low(", "#![al-low("];
/// Where the work of somebody lies, on somebody's machine.
const MACHINES: &[&str] = &["/wo-rk/", "/ro-ot/", "/ho-me/"];

/// The lists are spelled apart, or this file would find itself.
fn spelled(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| word.replace('-', "")).collect()
}

/// Every line of these files with one of these words in it.
fn lines_with(pages: &[Page], words: &[&str], cure: &str) -> Vec<String> {
    let words = spelled(words);
    let mut found = Vec::new();
    for page in pages {
        for (nth, line) in page.text.lines().enumerate() {
            if let Some(word) = words.iter().find(|word| line.contains(word.as_str())) {
                found.push(format!("{}:{}: `{word}`: {cure}", page.path, nth + 1));
            }
        }
    }
    found
}

#[test]
fn every_file_begins_with_what_it_is() {
    let told =
        |page: &Page| page.text.strip_prefix("//! ").is_some_and(|rest| !rest.starts_with('\n'));
    let wrong: Vec<String> = pages(".rs")
        .iter()
        .filter(|page| !told(page))
        .map(|page| format!("{}: begin with `//! ` and a sentence of what the file is", page.path))
        .collect();
    none(&wrong);
}

#[test]
fn no_file_is_too_long() {
    let mut wrong = Vec::new();
    for page in pages(".rs") {
        let n_lines = page.text.lines().count();
        if LINES_MAX < n_lines {
            wrong.push(format!(
                "{} has {n_lines} lines, at most {LINES_MAX} are allowed: name a part, move it out",
                page.path
            ));
        } else if LINES_AIM < n_lines {
            println!("{} has {n_lines} lines; we aim at {LINES_AIM}", page.path);
        }
    }
    none(&wrong);
}

#[test]
fn nothing_is_left_for_later() {
    none(&lines_with(&pages(".rs"), LATER, "do it now, or say in a sentence what is missing"));
}

#[test]
fn no_lint_is_silenced_for_ever() {
    none(&lines_with(&pages(".rs"), ALLOW, "use #[expect(.., reason = \"..\")]"));
}

#[test]
fn no_path_of_a_machine_is_written_down() {
    for suffix in [".rs", ".toml", ".md"] {
        none(&lines_with(&pages(suffix), MACHINES, "a path of somebody's machine"));
    }
}
