//! Processes named so that a reused number is not taken for the old process.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// A process id and the time when that process started, in ticks since boot.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct ProcessName {
    pub(crate) pid: i32,
    pub(crate) start_ticks: u64,
}

impl ProcessName {
    /// The name of a process that runs now.
    pub(crate) fn of(pid: i32) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let (_, start_ticks) = state_and_start(&stat)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc/PID/stat"))?;
        Ok(Self { pid, start_ticks })
    }

    /// Whether it runs; a zombie does not.
    pub(crate) fn is_alive(self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        state_and_start(&stat).is_some_and(|(state, start_ticks)| {
            start_ticks == self.start_ticks && !matches!(state, 'Z' | 'X')
        })
    }

    /// A handle that means this process and no later one; `None` if it is gone.
    pub(crate) fn open(self) -> Option<OwnedFd> {
        let fd = pidfd_open(Pid::from_raw(self.pid)?, PidfdFlags::empty()).ok()?;
        // Checked after opening: what the handle means cannot change any more.
        self.is_alive().then_some(fd)
    }

    /// Ends it at once, if it runs.
    pub(crate) fn kill(self) {
        if let Some(fd) = self.open() {
            // It may have ended meanwhile, which is what was wanted.
            let _ = pidfd_send_signal(&fd, Signal::KILL);
        }
    }
}

/// Fields 3 and 22 of `/proc/PID/stat`. Field 2 may contain spaces and parentheses.
fn state_and_start(stat: &str) -> Option<(char, u64)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

/// Differs after each start of the machine.
pub(crate) fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_start() {
        let own = ProcessName::of(std::process::id().cast_signed()).unwrap();
        assert!(own.is_alive());
        assert!(!ProcessName { start_ticks: own.start_ticks + 1, ..own }.is_alive());
        assert!(!ProcessName { pid: i32::MAX, start_ticks: 1 }.is_alive());
    }

    #[test]
    fn names_with_parentheses_do_not_confuse() {
        let stat = format!("7 (a) b) S {} 99 0", ["1"; 18].join(" "));
        assert_eq!(state_and_start(&stat), Some(('S', 99)));
    }
}
