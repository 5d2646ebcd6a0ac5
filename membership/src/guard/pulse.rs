//! Heartbeats that nobody can sign, kept so that a forged one may refresh and can never kill.
//!
//! On our wire the heartbeat of a node is its own clock: milliseconds since it started. Each
//! message that the node itself sends, over its own authenticated session, tells us how its clock
//! stands to ours, and from then on how far that clock can be by now. What others claim is cut at
//! that bound before the highest claim is kept, so a lie of any size means no more than "alive
//! now": the truth is never behind it by more than the way of a datagram. And since claims stay in
//! the clock of their subject, what is relayed in circles never grows: a dead node's clock stands.
//!
//! chitchat sees none of these values but a counter of ours that rises when the kept value rose.

/// What we know of one node's clock.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pulse {
    /// The highest credible value of its clock, in milliseconds; 0 is "never heard of".
    best: u64,
    /// Its clock less ours, by its own last word.
    offset: Option<i128>,
    /// The counter that chitchat is handed.
    counter: u64,
}

impl Pulse {
    /// Takes the node's own word. It is alive whatever was claimed before.
    pub(crate) fn direct(&mut self, ours_ms: u64, value: u64) {
        self.best = value.max(1);
        self.offset = Some(i128::from(value) - i128::from(ours_ms));
        self.rise(ours_ms);
    }

    /// Takes another node's claim. Returns whether it tells of a later sign of life.
    pub(crate) fn claimed(&mut self, ours_ms: u64, value: u64) -> bool {
        let credible = match self.offset {
            Some(offset) => {
                let bound = i128::from(ours_ms) + offset;
                u64::try_from(bound.clamp(0, i128::from(value))).unwrap_or(value)
            }
            None => value,
        };
        if credible <= self.best {
            return false;
        }
        self.best = credible;
        self.rise(ours_ms);
        true
    }

    /// What to hand chitchat.
    pub(crate) fn counter(&self) -> u64 {
        self.counter.max(1)
    }

    /// What to tell others.
    pub(crate) fn best(&self) -> u64 {
        self.best
    }

    /// The node itself has not told us its clock yet, so a lie about it cannot be cut.
    pub(crate) fn is_unanchored(&self) -> bool {
        self.offset.is_none()
    }

    /// Never below our own clock, so that a node which chitchat forgot counts as news again.
    fn rise(&mut self, ours_ms: u64) {
        self.counter = self.counter.saturating_add(1).max(ours_ms);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_forged_maximum_refreshes_once_and_the_truth_still_counts() {
        let mut pulse = Pulse::default();
        pulse.direct(1_000, 50_000);
        assert!(pulse.claimed(1_500, u64::MAX));
        // The truth half a second later; 20 ms of it were spent on the way.
        assert!(pulse.claimed(2_020, 51_000), "a lie must not hide the next true heartbeat");
    }

    #[test]
    fn claims_that_go_in_circles_keep_nobody_alive() {
        let (mut a, mut b) = (Pulse::default(), Pulse::default());
        a.direct(0, 7_000);
        b.direct(0, 7_000);
        let mut rises = 0;
        for round in 1..100 {
            rises += usize::from(a.claimed(round * 500, b.best()));
            rises += usize::from(b.claimed(round * 500 + 5, a.best()));
        }
        assert_eq!(rises, 0);
    }

    #[test]
    fn a_lie_told_before_the_first_own_word_ends_with_it() {
        let mut pulse = Pulse::default();
        assert!(pulse.claimed(10, u64::MAX));
        assert!(pulse.is_unanchored());
        pulse.direct(20, 300);
        assert!(pulse.claimed(1_030, 1_300));
    }

    proptest! {
        #[test]
        fn no_lie_outlives_the_way_of_a_datagram(
            lies in prop::collection::vec((0_u64..60_000, any::<u64>()), 0..50),
            start: u32,
        ) {
            let mut pulse = Pulse::default();
            let start = u64::from(start);
            pulse.direct(0, start);
            let mut lies = lies;
            lies.sort_unstable();
            for (at, value) in lies {
                pulse.claimed(at, value);
            }
            // True at 60,000 by our clock, heard through two others 300 ms later.
            prop_assert!(pulse.claimed(60_300, start + 60_001));
        }

        #[test]
        fn the_counter_never_falls(steps in prop::collection::vec((any::<bool>(), any::<u64>()), 1..50)) {
            let mut pulse = Pulse::default();
            let mut last = 0;
            for (n, (direct, value)) in (0_u64..).zip(steps) {
                if direct { pulse.direct(n, value) } else { let _ = pulse.claimed(n, value); }
                prop_assert!(last <= pulse.counter());
                last = pulse.counter();
            }
        }
    }
}
