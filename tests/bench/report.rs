//! Lines, the table they make, and what it was measured on.

use std::any::Any;
use std::io::Write as _;
use std::process::Command;
use std::time::Duration;

/// One promise and what was measured.
#[derive(Debug)]
pub(crate) struct Line {
    what: String,
    target: String,
    measured: String,
    pub(crate) met: bool,
}

impl Line {
    pub(crate) fn new(what: &str, target: &str, measured: String, met: bool) -> Self {
        Self { what: what.to_owned(), target: target.to_owned(), measured, met }
    }

    /// Every one of these times must be within the target.
    pub(crate) fn times(what: &str, target: Duration, times: &[Duration]) -> Self {
        let worst = times.iter().max().copied();
        let measured = match times {
            [] => "nothing".to_owned(),
            [one] => seconds(*one),
            [..] => format!(
                "median {}, max {} of {}",
                seconds(median(times)),
                seconds(worst.unwrap_or_default()),
                times.len()
            ),
        };
        let met = worst.is_some_and(|worst| worst <= target);
        Self::new(what, &format!("≤ {} s", target.as_secs()), measured, met)
    }

    /// A part that panicked.
    pub(crate) fn broken(name: &str, panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let why = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked");
        Self::new(name, "it works", why.replace('\n', " "), false)
    }
}

/// The one in the middle; zero of none.
fn median(times: &[Duration]) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// As a person reads it.
pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

/// Says on stderr how far it is.
pub(crate) fn say(what: &str) {
    // Whoever closed stderr does not want to know.
    let _ = writeln!(std::io::stderr(), "numbers: {what}");
}

/// Commit, date, and the machine.
pub(crate) fn machine() -> String {
    let commit = output("git", &["rev-parse", "--short=12", "HEAD"]);
    let changed = output("git", &["status", "--porcelain", "--untracked-files=no"]);
    let dirty = if changed.is_empty() { "" } else { " with changes" };
    let date = output("date", &["-u", "+%Y-%m-%d %H:%M UTC"]);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = output("uname", &["-srm"]);
    format!("commit {commit}{dirty}, {date}, {cores} cores, {kernel}")
}

fn output(program: &str, arguments: &[&str]) -> String {
    let done = Command::new(program).args(arguments).output();
    done.map(|done| String::from_utf8_lossy(&done.stdout).trim().to_owned()).unwrap_or_default()
}

/// All lines in columns.
pub(crate) fn table(lines: &[Line]) -> String {
    let head = ["what", "target", "measured", "met or missed"].map(str::to_owned);
    let rows = lines.iter().map(|line| {
        let met = if line.met { "met" } else { "MISSED" };
        [line.what.clone(), line.target.clone(), line.measured.clone(), met.to_owned()]
    });
    let rows: Vec<_> = std::iter::once(head).chain(rows).collect();
    let width =
        |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 3] = [width(0), width(1), width(2)];
    let text = |[what, target, measured, met]: &[String; 4]| {
        let [a, b, c] = widths;
        format!("{what:<a$} | {target:<b$} | {measured:<c$} | {met}")
    };
    rows.iter().map(text).collect::<Vec<_>>().join("\n")
}
