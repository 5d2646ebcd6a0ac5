//! Ten minutes of bad weather, in which nothing may be decided.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use tests::live::{Kind, Lab, pause, voters};

use crate::Counts;
use crate::report::{Line, say};
use crate::whole::until_whole;

const N_HOSTS: usize = 5;
const PERCENT: u32 = 20;
/// Between two looks: a swap of voters lasts until the next one, at least 5 s.
const LOOK: Duration = Duration::from_millis(500);

/// What was seen while it lasted.
#[derive(Default)]
struct Seen {
    groups: BTreeMap<usize, BTreeSet<String>>,
    down: BTreeSet<String>,
    n_swaps: usize,
    n_downs: usize,
    term: u64,
}

pub(crate) fn measure(counts: &Counts) -> Vec<Line> {
    let mut lab = Lab::new(N_HOSTS, Kind::Seeded);
    lab.form(N_HOSTS);
    until_whole(&mut lab);
    let mut seen = Seen::default();
    (1..=N_HOSTS).for_each(|n| seen.look(&lab, n));
    let first_term = seen.term;
    (1..=N_HOSTS).for_each(|n| lab.network.lose(n, PERCENT));

    let began = Instant::now();
    let mut said = began;
    while began.elapsed() < counts.loss {
        pause(LOOK);
        (1..=N_HOSTS).for_each(|n| seen.look(&lab, n));
        if Duration::from_secs(60) <= said.elapsed() {
            said = Instant::now();
            let (swaps, downs) = (seen.n_swaps, seen.n_downs);
            let (past, terms) = (began.elapsed().as_secs(), seen.term - first_term);
            say(&format!("  {past} s: {swaps} swaps, {terms} elections, {downs} false Downs"));
        }
    }
    for n in 1..=N_HOSTS {
        assert!(0 < lab.network.n_dropped(n), "node {n} lost nothing: this proved nothing");
    }
    let (swaps, downs, terms) = (seen.n_swaps, seen.n_downs, seen.term - first_term);
    let minutes = counts.loss.as_secs_f64() / 60.0;
    let what = format!("swaps of voters in {minutes:.1} min of {PERCENT} % loss on every host");
    let measured = format!("{swaps}; {terms} elections, {downs} false Downs");
    vec![Line::new(&what, "0", measured, swaps == 0)]
}

impl Seen {
    /// What node `n` knows. In this weather an answer may be missing.
    fn look(&mut self, lab: &Lab, n: usize) {
        let Ok(report) = lab.status(n) else { return };
        let raft = &report["Raft"];
        self.term = self.term.max(raft["Term"].as_u64().unwrap_or(0));
        if raft["Role"] == "leader" {
            let group = voters(&report);
            let before = self.groups.insert(0, group.clone());
            self.n_swaps += usize::from(before.is_some_and(|before| before != group));
            let Ok(states) = lab.states(n) else { return };
            let down = states.into_iter().filter(|(_, state)| state != "ready");
            let down: BTreeSet<_> = down.map(|(id, _)| id).collect();
            self.n_downs += down.difference(&self.down).count();
            self.down = down;
        }
    }
}
