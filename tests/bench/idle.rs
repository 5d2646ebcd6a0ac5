//! What a daemon costs that has nothing to do.

use std::time::{Duration, Instant};

use tests::live::{Kind, Lab, pause};
use tests::usage::{processor_time, resident_bytes};

use crate::Counts;
use crate::report::{Line, say};
use crate::whole::until_whole;

const N_HOSTS: usize = 5;
const N_SERVICES: usize = 5;
const RSS_MAX_MB: f64 = 40.0;
const CORE_MAX_PERCENT: f64 = 1.0;

pub(crate) fn measure(counts: &Counts) -> Vec<Line> {
    let mut lab = Lab::new(N_HOSTS, Kind::Containers);
    lab.form(N_HOSTS);
    let limit = Duration::from_secs(60);
    for nth in 1..=N_SERVICES {
        lab.until("a service", limit, |lab| lab.create(1, &format!("idle{nth}"), 1, None));
    }
    lab.until_running(1, N_SERVICES, limit);
    until_whole(&mut lab);
    pause(counts.settle);

    let pids: Vec<_> = (1..=N_HOSTS).map(|n| lab.pid(n)).collect();
    let times = || pids.iter().map(|pid| processor_time(*pid)).collect::<Vec<_>>();
    let (began, before) = (Instant::now(), times());
    pause(counts.idle);
    let (took, after) = (began.elapsed().as_secs_f64(), times());
    let used = before.iter().zip(&after).map(|(before, after)| *after - *before);
    let percent: Vec<f64> = used.map(|used| used.as_secs_f64() / took * 100.0).collect();
    let megabytes: Vec<f64> = pids.iter().map(|pid| megabytes(*pid)).collect();
    say(&format!("  MB {megabytes:.1?}, percent of a core {percent:.2?}"));

    let (rss, core) = (worst(&megabytes), worst(&percent));
    let of = format!("of {N_HOSTS} daemons, {N_SERVICES} services");
    vec![
        Line::new("idle daemon, memory (VmRSS)", "≤ 40 MB", format!("max {rss:.1} MB {of}"), {
            rss <= RSS_MAX_MB
        }),
        Line::new(
            "idle daemon, share of a core",
            "≤ 1 %",
            format!("max {core:.2} % {of}, {took:.0} s"),
            core <= CORE_MAX_PERCENT,
        ),
    ]
}

fn worst(values: &[f64]) -> f64 {
    values.iter().copied().fold(0.0, f64::max)
}

fn megabytes(pid: u32) -> f64 {
    let bytes = resident_bytes(pid).and_then(|bytes| u32::try_from(bytes).ok());
    bytes.map_or(f64::INFINITY, |bytes| f64::from(bytes) / 1e6)
}
