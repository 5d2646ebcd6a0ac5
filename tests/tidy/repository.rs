//! The repository as texts.

use std::fs;
use std::path::{Path, PathBuf};

/// One file, by its path from the top with `/` between the names.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Page {
    /// The file without comments at the start of a line, blank lines in their place.
    pub(crate) fn code(&self) -> String {
        let code = |line| if str::trim_start(line).starts_with("//") { "" } else { line };
        self.text.lines().map(code).collect::<Vec<_>>().join("\n")
    }
}

/// Fails with everything that is wrong at once: who mends one thing wants to know the next.
#[track_caller]
pub(crate) fn none(wrong: &[String]) {
    assert!(wrong.is_empty(), "{} to mend:\n{}", wrong.len(), wrong.join("\n"));
}

/// The top of the repository.
pub(crate) fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Every file whose name ends so, sorted; nothing that is hidden or built.
pub(crate) fn pages(suffix: &str) -> Vec<Page> {
    let mut paths = Vec::new();
    collect(top(), suffix, &mut paths);
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let path = path.strip_prefix(top()).unwrap().to_str().unwrap().to_owned();
            Page { path, text }
        })
        .collect()
}

/// One file.
pub(crate) fn page(path: &str) -> Page {
    Page { path: path.to_owned(), text: fs::read_to_string(top().join(path)).unwrap() }
}

/// What lies in a directory and is neither hidden nor built.
pub(crate) fn visible(directory: &Path) -> Vec<(String, PathBuf)> {
    let mut found: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), entry.path()))
        .filter(|(name, _)| !name.starts_with('.'))
        .filter(|(name, path)| !(path.is_dir() && BUILT.contains(&name.as_str())))
        .collect();
    found.sort();
    found
}

/// Directories that git does not keep; see `.gitignore`.
const BUILT: &[&str] = &["target", "artifacts", "coverage", "corpus"];

fn collect(directory: &Path, suffix: &str, found: &mut Vec<PathBuf>) {
    for (name, path) in visible(directory) {
        if path.is_dir() {
            collect(&path, suffix, found);
        } else if name.ends_with(suffix) {
            found.push(path);
        }
    }
}
