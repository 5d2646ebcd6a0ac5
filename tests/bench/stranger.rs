//! Bytes that somebody without the key gets.

use std::net::SocketAddr;

use tests::live::{CONTROL_PORT, Kind, Lab};
use tests::live_net::address;
use tests::stranger::Recorded;

use crate::Counts;
use crate::report::{Line, say};

pub(crate) fn measure(counts: &Counts) -> Vec<Line> {
    let mut lab = Lab::new(3, Kind::Seeded);
    lab.form(3);
    let to = SocketAddr::from((address(1), CONTROL_PORT));
    let recorded = Recorded::of_member(&lab.key_file(), to);
    let n_packets = counts.packets;
    let heard = lab.network.outside(|| {
        recorded.check();
        let udp = recorded.udp(n_packets);
        say(&format!("  {n_packets} datagrams: {udp} bytes"));
        let tcp = recorded.tcp(n_packets);
        say(&format!("  {n_packets} connections: {tcp} bytes"));
        [("UDP", udp), ("TCP", tcp)]
    });
    let line = |(carrier, n_bytes): (&str, usize)| {
        let what = format!("stranger → bytes answered to {n_packets} first packets over {carrier}");
        Line::new(&what, "0", n_bytes.to_string(), n_bytes == 0)
    };
    heard.map(line).into()
}
