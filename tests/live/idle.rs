//! A daemon that has nothing to do costs next to nothing.

use std::time::Duration;

use tests::live::{Kind, Lab, pause, possible};
use tests::usage::{processor_time, resident_bytes};

/// 40 MB are promised.
const RESIDENT: u64 = 200_000_000;
/// One percent of a core is promised.
const SHARE: u32 = 20;
/// Both are read after it has settled, over as much time.
const WHILE: Duration = Duration::from_secs(5);

#[test]
fn an_idle_daemon_is_small_and_quiet() {
    if !possible() {
        return;
    }
    let mut lab = Lab::new(5, Kind::Seeded);
    lab.form(5);
    pause(WHILE);
    let before: Vec<_> = (1..=5).map(|n| processor_time(lab.pid(n))).collect();
    pause(WHILE);
    for (n, before) in (1..=5).zip(before) {
        let used = processor_time(lab.pid(n)) - before;
        assert!(used < WHILE / SHARE, "daemon {n} worked {used:?} of {WHILE:?}");
        let resident = resident_bytes(lab.pid(n)).expect("it runs");
        assert!(resident < RESIDENT, "daemon {n} holds {resident} bytes of memory");
    }
}
