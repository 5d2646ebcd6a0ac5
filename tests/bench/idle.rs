//! What a daemon costs that has nothing to do.

use std::time::{Duration, Instant};

use tests::live::{Kind, Lab, pause};

use crate::Counts;
use crate::report::{Line, say};
use crate::whole::until_whole;

const N_HOSTS: usize = 5;
const N_SERVICES: usize = 5;
const RSS_MAX_MB: f64 = 40.0;
const CORE_MAX_PERCENT: f64 = 1.0;
/// The kernel counts time of processes in hundredths of a second, on every Linux.
const TICKS: f64 = 100.0;

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
    let (began, before) = (Instant::now(), ticks(&pids));
    pause(counts.idle);
    let (took, after) = (began.elapsed().as_secs_f64(), ticks(&pids));
    let used = before.iter().zip(&after).map(|(before, after)| after - before);
    let percent: Vec<f64> = used.map(|used| used / TICKS / took * 100.0).collect();
    let megabytes: Vec<f64> = pids.iter().map(|pid| resident(*pid)).collect();
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

/// Time of each process, its own and the kernel's for it.
fn ticks(pids: &[u32]) -> Vec<f64> {
    let of = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The name of the program is in parentheses and may hold anything; fields 14 and 15.
        let rest = stat.rsplit(')').next().unwrap_or_default();
        rest.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<f64>().ok()).sum()
    };
    pids.iter().map(of).collect()
}

/// Megabytes in memory.
fn resident(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kib.unwrap_or(f64::INFINITY) * 1024.0 / 1e6
}
