//! Every figure that is promised, measured on real daemons of the shipped binary, one line each.
//!
//! `cargo bench --bench numbers`, as root: hosts are network namespaces. About 25 minutes;
//! `-- --only NAME` measures one part, `-- --quick` counts little and proves little. Progress goes
//! to stderr, the table to stdout; exit code 1 if a line is missed.
#![expect(clippy::print_stdout, reason = "the table is what this program is for")]

mod cut;
mod forming;
mod idle;
mod kills;
mod leaderless;
mod loss;
mod report;
mod stranger;
mod whole;

use std::panic::catch_unwind;
use std::process::ExitCode;
use std::time::Duration;

use report::{Line, machine, say, table};

/// How much of everything.
#[derive(Clone, Copy, Debug)]
struct Counts {
    clusters: usize,
    kills: usize,
    replaced: usize,
    loss: Duration,
    cuts: usize,
    leaderless: Duration,
    settle: Duration,
    idle: Duration,
    packets: usize,
}

/// What the promises are about.
const FULL: Counts = Counts {
    clusters: 5,
    kills: 30,
    replaced: 3,
    loss: Duration::from_secs(600),
    cuts: 5,
    leaderless: Duration::from_secs(20),
    settle: Duration::from_secs(30),
    idle: Duration::from_secs(60),
    packets: 20_000,
};

/// Whether it works at all.
const QUICK: Counts = Counts {
    clusters: 1,
    kills: 3,
    replaced: 1,
    loss: Duration::from_secs(20),
    cuts: 1,
    leaderless: Duration::from_secs(8),
    settle: Duration::from_secs(10),
    idle: Duration::from_secs(10),
    packets: 1_000,
};

type Measure = fn(&Counts) -> Vec<Line>;

const PARTS: &[(&str, Measure)] = &[
    ("forming", forming::measure),
    ("kills", kills::measure),
    ("voters", kills::measure_voters),
    ("loss", loss::measure),
    ("cut", cut::measure),
    ("leaderless", leaderless::measure),
    ("idle", idle::measure),
    ("stranger", stranger::measure),
];

fn main() -> ExitCode {
    let (counts, only) = match options(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(why) => {
            say(&why);
            return ExitCode::from(2);
        }
    };
    if !tests::live::possible() {
        return ExitCode::FAILURE;
    }
    let mut lines = Vec::new();
    for (name, measure) in PARTS {
        if only.is_empty() || only.iter().any(|wanted| wanted == name) {
            say(name);
            // A part that breaks is a line that is missed, and the others are measured.
            let measured = catch_unwind(|| measure(&counts));
            lines.extend(measured.unwrap_or_else(|panic| vec![Line::broken(name, &*panic)]));
        }
    }
    println!("{}\n\n{}", machine(), table(&lines));
    let missed = lines.iter().any(|line| !line.met);
    if missed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn options(words: impl Iterator<Item = String>) -> Result<(Counts, Vec<String>), String> {
    let (mut counts, mut only) = (FULL, Vec::new());
    let mut words = words;
    while let Some(word) = words.next() {
        match word.as_str() {
            "--quick" => counts = QUICK,
            "--only" => only.extend(words.next()),
            // Cargo says this to every bench.
            "--bench" => {}
            other => return Err(format!("unknown option {other}: {}", usage())),
        }
    }
    match only.iter().find(|wanted| PARTS.iter().all(|(name, _)| name != wanted)) {
        Some(unknown) => Err(format!("unknown part {unknown}: {}", usage())),
        None => Ok((counts, only)),
    }
}

fn usage() -> String {
    let names: Vec<_> = PARTS.iter().map(|(name, _)| *name).collect();
    format!("there are --quick and --only {}", names.join("|"))
}
