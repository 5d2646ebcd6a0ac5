//! Doubt of ourselves first: who stalled, or sees less than half, is no witness against others.
//!
//! After Lifeguard (Dadgar, Phillips, Currey, 2018): most false suspicions come from a slow
//! accuser. So for one detection time after a stall nobody is newly suspected.

use std::time::Duration;

use tokio::time::Instant;

/// Watches our own ticks and how much of the cluster we see.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lifeguard {
    /// A gap between own ticks that is a stall.
    stall: Duration,
    /// How long suspicions are held back.
    detection: Duration,
    ticked_last: Instant,
    /// Suspicions are held back until then.
    hold_until: Option<Instant>,
    sees_less_than_half: bool,
}

impl Lifeguard {
    pub(crate) fn new(now: Instant, interval: Duration, detection: Duration) -> Self {
        let stall = interval * 2;
        Self { stall, detection, ticked_last: now, hold_until: None, sees_less_than_half: false }
    }

    /// One of our own ticks, which should come at least each interval.
    pub(crate) fn tick(&mut self, now: Instant) {
        if now.duration_since(self.ticked_last) > self.stall {
            self.hold_until = Some(now + self.detection);
        }
        self.ticked_last = now;
    }

    /// How many of the members (ourselves among them) the failure detector holds for alive.
    pub(crate) fn counted(&mut self, now: Instant, n_alive: usize, n_members: usize) {
        let less_than_half = n_alive * 2 < n_members;
        if less_than_half && !self.sees_less_than_half {
            self.hold_until = Some(now + self.detection);
        }
        self.sees_less_than_half = less_than_half;
    }

    /// New suspicions must wait.
    pub(crate) fn holds(&self, now: Instant) -> bool {
        self.hold_until.is_some_and(|until| now < until)
    }

    /// Our own word about others is worth little now.
    pub(crate) fn is_self_suspect(&self, now: Instant) -> bool {
        self.sees_less_than_half || self.holds(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(500);
    const DETECTION: Duration = Duration::from_secs(4);

    #[tokio::test(start_paused = true)]
    async fn a_stall_holds_suspicions_for_one_detection_time() {
        let start = Instant::now();
        let mut lifeguard = Lifeguard::new(start, INTERVAL, DETECTION);
        lifeguard.tick(start + INTERVAL);
        assert!(!lifeguard.holds(start + INTERVAL));
        let woken = start + INTERVAL + Duration::from_millis(1_001);
        lifeguard.tick(woken);
        assert!(lifeguard.holds(woken) && lifeguard.is_self_suspect(woken));
        let late = woken + DETECTION;
        assert!(!lifeguard.holds(late) && !lifeguard.is_self_suspect(late));
    }

    #[tokio::test(start_paused = true)]
    async fn less_than_half_is_doubted_and_half_is_not() {
        let now = Instant::now();
        for (n_alive, n_members, doubted) in
            [(1, 1, false), (1, 2, false), (1, 3, true), (2, 4, false), (4, 9, true), (0, 0, false)]
        {
            let mut lifeguard = Lifeguard::new(now, INTERVAL, DETECTION);
            lifeguard.counted(now, n_alive, n_members);
            assert_eq!(lifeguard.is_self_suspect(now), doubted, "{n_alive} of {n_members}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn isolation_holds_once_and_stays_doubted() {
        let now = Instant::now();
        let mut lifeguard = Lifeguard::new(now, INTERVAL, DETECTION);
        lifeguard.counted(now, 1, 5);
        lifeguard.counted(now + DETECTION, 1, 5);
        assert!(!lifeguard.holds(now + DETECTION), "suspicions may only be late, not absent");
        assert!(lifeguard.is_self_suspect(now + DETECTION));
    }
}
