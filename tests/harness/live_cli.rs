//! Command lines that are put to the daemons of a lab, and what they leave on its disks.
#![expect(clippy::expect_used, reason = "only tests link this, and they end so")]

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use crate::live::Lab;

/// What a command said.
#[derive(Clone, Debug)]
pub struct Said {
    /// Exit code.
    pub code: i32,
    /// What it printed, without the last line feed.
    pub stdout: String,
    /// What it complained about, without the last line feed.
    pub stderr: String,
}

impl Said {
    fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    /// What it printed.
    ///
    /// # Panics
    ///
    /// If it failed.
    #[must_use]
    pub fn well(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.stdout
    }

    /// What it complained about.
    ///
    /// # Panics
    ///
    /// If it did not fail.
    #[must_use]
    pub fn badly(self) -> String {
        assert_ne!(self.code, 0, "{self:?}");
        self.stderr
    }
}

impl Lab {
    /// `skep ARGS` at the daemon of host `n`, with something on its stdin.
    #[must_use]
    pub fn put(&self, n: usize, args: &[&str], stdin: &[u8]) -> Said {
        let mut command = Command::new(&self.binary);
        command.arg("-H").arg(format!("unix://{}", self.socket(n).display())).args(args);
        say(&mut command, stdin)
    }

    /// `docker ARGS` at the daemon of host `n`, with settings of its own.
    #[must_use]
    pub fn docker(&self, n: usize, args: &[&str], stdin: &[u8]) -> Said {
        let mut command = Command::new("docker");
        command.env("DOCKER_CONFIG", self.dir().join("docker"));
        command.arg("-H").arg(format!("unix://{}", self.socket(n).display())).args(args);
        say(&mut command, stdin)
    }

    /// Files of all daemons that hold one of the texts: data, records, logs.
    #[must_use]
    pub fn files_with(&self, texts: &[&str]) -> Vec<PathBuf> {
        let mut command = Command::new("grep");
        command.args(["-rlaF"]);
        for text in texts {
            command.args(["-e", text]);
        }
        let found = say(command.arg(self.dir()), b"");
        // 1: none; 2: a file went away meanwhile.
        assert!(found.code <= 2, "{found:?}");
        found.stdout.lines().map(PathBuf::from).collect()
    }

    /// Processes that see a memory file system of this lab's containers.
    #[must_use]
    pub fn n_memories(&self) -> usize {
        let dir = self.dir().display().to_string();
        let tables = std::fs::read_dir("/proc").expect("there are processes").flatten();
        let tables = tables.map(|entry| entry.path().join("mountinfo"));
        let has_one = |table: &PathBuf| {
            let table = std::fs::read_to_string(table).unwrap_or_default();
            table.lines().any(|line| line.contains(&dir) && line.contains("/files "))
        };
        tables.filter(has_one).count()
    }
}

/// Whether the real `docker` is here; says that it is not.
#[must_use]
pub fn docker_is_here() -> bool {
    let found = Command::new("docker").arg("--version").output();
    let is_here = found.is_ok_and(|output| output.status.success());
    if !is_here {
        let required = std::env::var("SKEP_REQUIRE").unwrap_or_default();
        assert!(!required.contains("docker"), "SKEP_REQUIRE names docker, which is not here");
        // Not by a macro, whose output the test runner keeps to itself when a test passes.
        let _ = writeln!(std::io::stderr(), "SKIPPED: there is no docker client"); // At best.
    }
    is_here
}

fn say(command: &mut Command, stdin: &[u8]) -> Said {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program runs");
    if let Some(mut pipe) = child.stdin.take() {
        let _ = pipe.write_all(stdin); // It may not want it.
    }
    Said::of(&child.wait_with_output().expect("it is ours"))
}
