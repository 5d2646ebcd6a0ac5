//! The main job, start to end: a cluster of six from a seed list of three, a service that every
//! node answers for, a dead leader, and everything whole again.
//!
//! Run it with `cargo run --release --example quickstart`. It builds the shipped binary, starts
//! exactly that file, prints each command so that it can be typed by hand, and cleans up.
//! `-- --runtime process` runs without containers where those are impossible; `-- --help` shows
//! what else there is.

mod cluster;
mod machine;
mod narrator;
mod story;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::machine::Runtime;
use crate::narrator::Narrator;

const HELP: &str = "\
The main job of skep, start to end, on this machine: six daemons, a service, a dead leader.

Usage: cargo run --release --example quickstart [-- OPTIONS]

Options:
  --runtime embedded|process  How tasks run: as containers, or as plain processes without
                              isolation where containers are impossible [default: embedded]
  --binary PATH               Start this skep instead of building one: for a user who may not
                              write the target directory
  -h, --help                  Print this text
";

/// What the reader asked for.
struct Asked {
    runtime: Runtime,
    binary: Option<PathBuf>,
}

fn main() -> ExitCode {
    let mut narrator = Narrator::new();
    match tell(&mut narrator) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            narrator.failed(&error);
            ExitCode::FAILURE
        }
    }
}

fn tell(narrator: &mut Narrator) -> Result<()> {
    let Some(Asked { runtime, binary }) = arguments(std::env::args().skip(1))? else {
        narrator.output(HELP);
        return Ok(());
    };
    machine::check(narrator, runtime)?;
    let binary = match binary {
        Some(binary) => machine::given(&binary)?,
        None => machine::build(narrator)?,
    };
    story::tell(narrator, &binary, runtime)
}

/// `None` if the reader wants to know what there is.
fn arguments(mut given: impl Iterator<Item = String>) -> Result<Option<Asked>> {
    let mut asked = Asked { runtime: Runtime::Embedded, binary: None };
    while let Some(word) = given.next() {
        match word.as_str() {
            "-h" | "--help" => return Ok(None),
            "--runtime" => {
                asked.runtime = match given.next().as_deref() {
                    Some("embedded") => Runtime::Embedded,
                    Some("process") => Runtime::Process,
                    other => bail!("--runtime {}: embedded or process", other.unwrap_or("")),
                };
            }
            "--binary" => {
                asked.binary = Some(given.next().context("--binary needs a PATH")?.into());
            }
            other => bail!("unknown argument `{other}`: `-- --help` shows what there is"),
        }
    }
    Ok(Some(asked))
}
