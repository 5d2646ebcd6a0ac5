//! What a process costs its machine, as the kernel counts it.

use std::fs::read_to_string;
use std::time::Duration;

/// The kernel counts time of processes in hundredths of a second, on every Linux.
const TICK: Duration = Duration::from_millis(10);

/// Time of a process so far, its own and the kernel's for it; zero if there is none.
#[must_use]
pub fn processor_time(pid: u32) -> Duration {
    let stat = read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name of the program is in parentheses and may hold anything; fields 14 and 15.
    let rest = stat.rsplit(')').next().unwrap_or_default();
    let ticks = rest.split_whitespace().skip(11).take(2);
    TICK * ticks.filter_map(|n| n.parse::<u32>().ok()).sum()
}

/// Bytes of a process that are in memory (`VmRSS`); `None` if there is no such process.
#[must_use]
pub fn resident_bytes(pid: u32) -> Option<u64> {
    let status = read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}
