//! From the last start to a cluster, and from a wish to containers.

use std::time::{Duration, Instant};

use tests::live::{Kind, Lab};

use crate::Counts;
use crate::report::{Line, say, seconds};

/// Gives up long after the promise.
const RUN: Duration = Duration::from_secs(60);

pub(crate) fn measure(counts: &Counts) -> Vec<Line> {
    let (mut formed, mut ran) = (Vec::new(), Vec::new());
    for nth in 1..=counts.clusters {
        let mut lab = Lab::new(5, Kind::Containers);
        let took = lab.form(5);
        let written = Instant::now();
        lab.until("a write", RUN, |lab| lab.write(5));
        formed.push(took + written.elapsed());

        let asked = Instant::now();
        lab.until("the service is created", RUN, |lab| lab.create(4, "web", 3, None));
        lab.until_running(4, 3, RUN);
        ran.push(asked.elapsed());
        let [formed, ran] = [&formed, &ran].map(|times| seconds(times[nth - 1]));
        say(&format!("  cluster {nth} of {}: {formed}, service {ran}", counts.clusters));
    }
    vec![
        Line::times(
            "last seed started → three managers, every node ready, a write acknowledged",
            Duration::from_secs(10),
            &formed,
        ),
        Line::times("service create → 3 containers run on 5 nodes", Duration::from_secs(2), &ran),
    ]
}
