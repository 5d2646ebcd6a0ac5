//! Two of three voters are gone: nothing can be agreed, and nothing that runs may stop.

use std::time::Instant;

use tests::live::{Kind, Lab, curl, possible};
use tests::live_net::address;

use crate::{ANSWER, HEALED, MOVED};

const PORT: u16 = 8081;

#[test]
fn without_a_leader_writes_are_answered_and_ports_go_on() {
    if !possible() {
        return;
    }
    let mut lab = Lab::new(3, Kind::Containers);
    lab.form(3);
    lab.create(1, "web", 3, Some(PORT)).unwrap();
    // The first container of a machine unpacks its image.
    lab.until_running(1, 3, MOVED);
    lab.until("the published port answers", HEALED, |lab| {
        lab.network.outside(|| curl(address(3), PORT)).map(drop)
    });
    lab.kill(1);
    lab.kill(2);

    let began = Instant::now();
    while began.elapsed() < ANSWER {
        let asked = Instant::now();
        let said = lab.write(3).expect_err("two of three voters are dead");
        assert!(asked.elapsed() < ANSWER, "answered after {:?}: {said}", asked.elapsed());
        let clear = said.contains("nothing was changed") || said.contains("not confirmed");
        assert!(said.contains(": 503 ") && clear, "an unclear answer: {said}");
        lab.network.outside(|| curl(address(3), PORT)).expect("its container runs");
    }

    // With one more there is a majority, and the cluster goes on by itself.
    lab.start(1);
    lab.until("a write", MOVED, |lab| lab.write(3));
    lab.start(2);
    lab.until_running(3, 3, MOVED);
}
