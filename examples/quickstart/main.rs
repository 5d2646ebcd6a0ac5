//! The main job, start to end: a cluster of six from a seed list of three, a service that every
//! node answers for, a dead leader, and everything whole again.
//!
//! Run it with `cargo run --release --example quickstart`. It builds the shipped binary, starts
//! exactly that file, prints each command so that it can be typed by hand, and cleans up.
//! `-- --runtime process` runs without containers where those are impossible.

mod cluster;
mod machine;
mod narrator;
mod story;

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::machine::Runtime;
use crate::narrator::Narrator;

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
    let runtime = arguments()?;
    machine::check(narrator, runtime)?;
    let binary = machine::build(narrator)?;
    story::tell(narrator, &binary, runtime)
}

fn arguments() -> Result<Runtime> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] | ["--runtime", "embedded"] => Ok(Runtime::Embedded),
        ["--runtime", "process"] => Ok(Runtime::Process),
        other => bail!("unknown arguments {other:?}: there is --runtime embedded|process"),
    }
}
