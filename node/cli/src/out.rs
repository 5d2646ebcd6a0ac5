//! Where words go: results to stdout, the rest to stderr.

use std::io::{IsTerminal, Write};

use crate::exit::Failure;

/// The two outputs of a command.
pub(crate) struct Out {
    stdout: Box<dyn Write>,
    stderr: Box<dyn Write>,
    /// Whether stderr is a terminal: only then progress is drawn.
    pub(crate) terminal: bool,
}

impl Out {
    pub(crate) fn to_terminal() -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self { stdout: Box::new(std::io::stdout()), stderr: Box::new(std::io::stderr()), terminal }
    }

    #[cfg(test)]
    pub(crate) fn to(stdout: Box<dyn Write>, stderr: Box<dyn Write>) -> Self {
        Self { stdout, stderr, terminal: false }
    }

    /// A line of the result.
    pub(crate) fn line(&mut self, text: impl AsRef<str>) -> Result<(), Failure> {
        self.bytes(format!("{}\n", text.as_ref()).as_bytes())
    }

    /// A part of the result.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.stdout.write_all(bytes)?;
        Ok(self.stdout.flush()?)
    }

    /// A line of a container's stderr.
    pub(crate) fn err_bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        Ok(self.stderr.write_all(bytes)?)
    }

    /// Something that is not the result.
    pub(crate) fn note(&mut self, text: impl AsRef<str>) {
        // Without a stderr there is nobody to tell.
        drop(writeln!(self.stderr, "{}", text.as_ref()));
    }

    pub(crate) fn warn(&mut self, text: &str) {
        self.note(format!("WARNING: {text}"));
    }

    pub(crate) fn error(&mut self, failure: &Failure) {
        let text = failure.to_string();
        if !text.is_empty() {
            self.note(text);
        }
    }
}
