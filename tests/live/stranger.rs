//! Who has no key gets no byte.

use std::net::SocketAddr;

use tests::live::{CONTROL_PORT, Kind, Lab, possible};
use tests::live_net::address;
use tests::stranger::Recorded;

/// First packets on each carrier.
const N_PACKETS: usize = 1_000;

#[test]
fn a_stranger_gets_no_byte() {
    if !possible() {
        return;
    }
    let mut lab = Lab::new(3, Kind::Seeded);
    lab.form(3);
    let to = SocketAddr::from((address(1), CONTROL_PORT));
    let recorded = Recorded::of_member(&lab.key_file(), to);
    lab.network.outside(|| {
        recorded.check();
        assert_eq!(recorded.udp(N_PACKETS), 0, "a stranger got bytes over UDP");
        assert_eq!(recorded.tcp(N_PACKETS), 0, "a stranger got bytes over TCP");
    });
    let report = lab.status(1).unwrap();
    assert_eq!(report["Members"].as_array().unwrap().len(), 3, "a stranger became a member");
}
