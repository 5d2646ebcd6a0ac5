//! What a reader sees: headings, commands, a line that moves, and a table at the end.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Between two redraws of the moving line.
const TICK: Duration = Duration::from_millis(100);

/// Tells the story and keeps the times.
pub(crate) struct Narrator {
    times: Vec<Measured>,
    notes: Vec<String>,
}

struct Measured {
    what: &'static str,
    target: Option<Duration>,
    took: Duration,
}

#[expect(clippy::print_stdout, reason = "this program talks to a reader")]
impl Narrator {
    pub(crate) const fn new() -> Self {
        Self { times: Vec::new(), notes: Vec::new() }
    }

    /// A new chapter.
    pub(crate) fn heading(&self, text: &str) {
        println!("\n── {text}");
    }

    /// A command as it could be typed.
    pub(crate) fn command(&self, line: &str) {
        println!("   $ {line}");
    }

    /// What came out of it.
    pub(crate) fn output(&self, text: &str) {
        for line in text.trim_end().lines() {
            println!("     {line}");
        }
    }

    /// A sentence.
    pub(crate) fn say(&self, text: &str) {
        println!("   {text}");
    }

    /// A sentence for the end, beside the table.
    pub(crate) fn note(&mut self, text: &str) {
        self.notes.push(text.to_owned());
    }

    /// A line that moves while something is waited for; nothing but its end where nobody looks.
    pub(crate) fn waiting(&self, text: &str) -> Waiting {
        let bar = ProgressBar::new_spinner();
        let style = ProgressStyle::with_template("   {spinner} {msg} {elapsed}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        bar.set_message(text.to_owned());
        bar.enable_steady_tick(TICK);
        Waiting { bar, began: Instant::now(), what: text.to_owned() }
    }

    /// Keeps a time for the table.
    pub(crate) fn measured(
        &mut self,
        what: &'static str,
        target: Option<Duration>,
        took: Duration,
    ) {
        self.times.push(Measured { what, target, took });
    }

    /// The table.
    pub(crate) fn table(&self) {
        println!("\n── Measured\n");
        println!("   {:<58} {:>8} {:>9}", "what", "target", "measured");
        for Measured { what, target, took } in &self.times {
            let target =
                target.map_or_else(|| "–".to_owned(), |t| format!("{:.0} s", t.as_secs_f64()));
            let met = self.verdict(*took, &target);
            println!("   {what:<58} {target:>8} {:>7.2} s {met}", took.as_secs_f64());
        }
        for note in &self.notes {
            println!("\n   {note}");
        }
        println!();
    }

    fn verdict(&self, took: Duration, target: &str) -> &'static str {
        let seconds = target.trim_end_matches(" s").parse::<f64>();
        match seconds {
            Ok(seconds) if took.as_secs_f64() <= seconds => "met",
            Ok(_) => "missed",
            Err(_) => "",
        }
    }

    #[expect(clippy::print_stderr, reason = "this program talks to a reader")]
    pub(crate) fn failed(&self, error: &anyhow::Error) {
        eprintln!("\nquickstart failed: {error:#}");
    }
}

/// Something that is waited for.
pub(crate) struct Waiting {
    bar: ProgressBar,
    began: Instant,
    what: String,
}

impl Waiting {
    /// How far it is.
    pub(crate) fn set(&self, text: &str) {
        self.bar.set_message(format!("{}: {text}", self.what));
    }

    /// It came.
    #[expect(clippy::print_stdout, reason = "this program talks to a reader")]
    pub(crate) fn done(self, text: &str) -> Duration {
        let took = self.began.elapsed();
        self.bar.finish_and_clear();
        println!("   ✓ {text} ({:.2} s)", took.as_secs_f64());
        took
    }
}
