//! Progress on a terminal in bars, elsewhere in lines that appear when something changed.

use std::collections::BTreeMap;
use std::io::Write;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::seen::Goal;

/// Slots that get a line; more would scroll the terminal away.
const SLOTS_MAX: usize = 20;

/// What is shown.
pub(super) struct Drawn {
    how: How,
    last: Vec<String>,
}

enum How {
    Quiet,
    Lines,
    Bars { all: MultiProgress, overall: ProgressBar, slots: BTreeMap<String, ProgressBar> },
}

impl Drawn {
    pub(super) fn new(terminal: bool, quiet: bool) -> Self {
        let how = if quiet {
            How::Quiet
        } else if terminal {
            let all = MultiProgress::new();
            let overall = all.add(styled("{msg} {wide_bar:.green} {pos}/{len}"));
            How::Bars { all, overall, slots: BTreeMap::new() }
        } else {
            How::Lines
        };
        Self { how, last: Vec::new() }
    }

    pub(super) fn show(&mut self, goal: &Goal) {
        match &mut self.how {
            How::Quiet => {}
            How::Lines => {
                let lines = lines(goal);
                for line in lines.iter().filter(|line| !self.last.contains(line)) {
                    tell(line);
                }
                self.last = lines;
            }
            How::Bars { all, overall, slots } => {
                overall.set_length(goal.n_wanted);
                overall.set_position(goal.n_done);
                overall.set_message(goal.title.clone());
                for (slot, words) in goal.slots.iter().take(SLOTS_MAX) {
                    let bar = slots
                        .entry(slot.clone())
                        .or_insert_with(|| all.add(styled("{prefix}: {msg}")));
                    bar.set_prefix(slot.clone());
                    bar.set_message(words.clone());
                    bar.tick();
                }
            }
        }
    }

    /// What is awaited once all is well.
    pub(super) fn verify(&self, words: String) {
        if let How::Bars { overall, .. } = &self.how {
            overall.set_message(words);
        }
    }

    /// Leaves the terminal as it was.
    pub(super) fn clear(&self) {
        if let How::Bars { all, overall, slots } = &self.how {
            slots.values().for_each(ProgressBar::finish_and_clear);
            overall.finish_and_clear();
            // A terminal that is gone needs no clearing.
            drop(all.clear());
        }
    }
}

/// A line for the whole, and one for each slot that has an error to tell.
fn lines(goal: &Goal) -> Vec<String> {
    let overall = format!("{}: {} out of {} tasks", goal.title, goal.n_done, goal.n_wanted);
    let errors = goal.slots.iter().filter(|(_, words)| words.contains(": "));
    let errors = errors.take(SLOTS_MAX).map(|(slot, words)| format!("{slot}: {words}"));
    std::iter::once(overall).chain(errors).collect()
}

fn styled(template: &str) -> ProgressBar {
    let bar = ProgressBar::new(0);
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        // The templates are constants; a wrong one only looks plain.
        Err(_) => bar,
    }
}

fn tell(line: &str) {
    // Without a stderr there is nobody to tell.
    drop(writeln!(std::io::stderr(), "{line}"));
}
