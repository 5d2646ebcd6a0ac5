//! How many strangers may stand at the door: a bound on half-open connections, by origin.
//!
//! Pure: the listener asks before it starts a handshake and says when one has ended.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use thiserror::Error;

/// Handshakes under way at once. Each holds a socket and a few KB for at most three seconds.
const HALF_OPEN_MAX: usize = 256;

/// Of these, from one neighbourhood: so one of them cannot fill the door.
const HALF_OPEN_PER_ORIGIN_MAX: usize = 16;

/// Connections that a neighbourhood may open at once after a pause: a restarted rack of nodes,
/// two connections each.
const BURST: u32 = 64;

/// Connections per second that it may go on opening: ten milliseconds of handshakes.
const PER_SECOND: u32 = 32;

/// Neighbourhoods that are remembered; one is forgotten once its bucket is full again.
const ORIGINS_MAX: usize = 1024;

/// The door is shut for this one.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum Refusal {
    /// Too many handshakes are under way.
    #[error("{HALF_OPEN_MAX} handshakes are under way")]
    Full,
    /// Too many of them from there.
    #[error("{HALF_OPEN_PER_ORIGIN_MAX} handshakes are under way from there")]
    OriginFull,
    /// Too many connections from there lately.
    #[error("more than {PER_SECOND} connections a second from there")]
    OriginBusy,
    /// Connections from more neighbourhoods than can be told apart.
    #[error("connections from more than {ORIGINS_MAX} neighbourhoods")]
    Crowd,
}

/// The right to one handshake; given back by [`Doorkeeper::done`].
#[derive(Debug, Eq, PartialEq)]
#[must_use = "an admission that is not given back stays taken"]
pub struct Admission(Origin);

/// A /24 of IPv4 or a /64 of IPv6: what one customer usually holds.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Origin {
    V4([u8; 3]),
    V6([u8; 8]),
}

impl From<IpAddr> for Origin {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => {
                let [a, b, c, _] = v4.octets();
                Self::V4([a, b, c])
            }
            IpAddr::V6(v6) => {
                let [a, b, c, d, e, f, g, h, ..] = v6.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Visits {
    half_open: usize,
    /// When the bucket will be full; each visit moves it on.
    full_at: Instant,
}

/// Decides who may begin a handshake.
#[derive(Debug, Default)]
pub struct Doorkeeper {
    half_open: usize,
    visits: BTreeMap<Origin, Visits>,
}

impl Doorkeeper {
    /// Nobody at the door.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets one connection begin its handshake.
    ///
    /// # Errors
    ///
    /// [`Refusal`]: close it without a word.
    pub fn admit(&mut self, from: IpAddr, now: Instant) -> Result<Admission, Refusal> {
        if HALF_OPEN_MAX <= self.half_open {
            return Err(Refusal::Full);
        }
        let origin = Origin::from(from);
        if !self.visits.contains_key(&origin) && ORIGINS_MAX <= self.visits.len() {
            self.visits.retain(|_, visits| 0 < visits.half_open || now < visits.full_at);
            if ORIGINS_MAX <= self.visits.len() {
                return Err(Refusal::Crowd);
            }
        }
        let visits = self.visits.entry(origin).or_insert(Visits { half_open: 0, full_at: now });
        if HALF_OPEN_PER_ORIGIN_MAX <= visits.half_open {
            return Err(Refusal::OriginFull);
        }
        let interval = Duration::from_secs(1) / PER_SECOND;
        let full_at = visits.full_at.max(now) + interval;
        if interval * BURST < full_at - now {
            return Err(Refusal::OriginBusy);
        }
        visits.full_at = full_at;
        visits.half_open += 1;
        self.half_open += 1;
        Ok(Admission(origin))
    }

    /// A handshake has ended, well or not.
    pub fn done(&mut self, admission: Admission) {
        self.half_open = self.half_open.saturating_sub(1);
        if let Some(visits) = self.visits.get_mut(&admission.0) {
            visits.half_open = visits.half_open.saturating_sub(1);
        }
    }

    /// Handshakes under way.
    #[must_use]
    pub fn half_open(&self) -> usize {
        self.half_open
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    fn v4(c: u8, d: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(10, 0, c, d))
    }

    #[test]
    fn one_neighbourhood_does_not_fill_the_door() {
        let (mut keeper, now) = (Doorkeeper::new(), Instant::now());
        let mut inside = Vec::new();
        for host in 0..16 {
            inside.push(keeper.admit(v4(0, host), now).unwrap());
        }
        assert_eq!(keeper.admit(v4(0, 200), now), Err(Refusal::OriginFull));
        assert!(keeper.admit(v4(1, 200), now).is_ok());
        keeper.done(inside.pop().unwrap());
        assert!(keeper.admit(v4(0, 200), now).is_ok());
    }

    #[test]
    fn the_door_has_a_size() {
        let (mut keeper, now) = (Doorkeeper::new(), Instant::now());
        for n in 0..=255 {
            let _admission = keeper.admit(v4(n, 1), now).unwrap();
        }
        assert_eq!(keeper.half_open(), 256);
        assert_eq!(keeper.admit(IpAddr::V6(Ipv6Addr::LOCALHOST), now), Err(Refusal::Full));
    }

    #[test]
    fn a_burst_is_served_and_then_a_rate() {
        let (mut keeper, start) = (Doorkeeper::new(), Instant::now());
        let visit = |keeper: &mut Doorkeeper, now| {
            keeper.admit(v4(0, 1), now).map(|admission| keeper.done(admission))
        };
        for _ in 0..BURST {
            assert_eq!(visit(&mut keeper, start), Ok(()));
        }
        assert_eq!(visit(&mut keeper, start), Err(Refusal::OriginBusy));
        let later = start + Duration::from_secs(1);
        for _ in 0..PER_SECOND {
            assert_eq!(visit(&mut keeper, later), Ok(()));
        }
        assert_eq!(visit(&mut keeper, later), Err(Refusal::OriginBusy));
    }

    #[test]
    fn the_memory_of_neighbourhoods_is_bounded_and_forgets() {
        let (mut keeper, start) = (Doorkeeper::new(), Instant::now());
        let network = |n: u16| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, n, 0, 0, 0, 1));
        for n in 0..1024 {
            let admission = keeper.admit(network(n), start).unwrap();
            keeper.done(admission);
        }
        assert_eq!(keeper.admit(network(5000), start), Err(Refusal::Crowd));
        assert!(keeper.admit(network(5000), start + Duration::from_secs(1)).is_ok());
    }

    #[test]
    fn a_mapped_address_is_the_address() {
        let mapped = IpAddr::V6(Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped());
        assert_eq!(Origin::from(mapped), Origin::from(v4(0, 99)));
    }

    proptest! {
        #[test]
        fn no_bound_is_ever_passed(steps: Vec<(u8, u8, bool, u16)>) {
            let (mut keeper, mut now) = (Doorkeeper::new(), Instant::now());
            let mut inside: Vec<Admission> = Vec::new();
            for (c, d, leaves, millis) in steps {
                now += Duration::from_millis(u64::from(millis));
                if leaves && let Some(admission) = inside.pop() {
                    keeper.done(admission);
                }
                inside.extend(keeper.admit(v4(c % 4, d), now));
                prop_assert_eq!(keeper.half_open(), inside.len());
                prop_assert!(inside.len() <= HALF_OPEN_MAX);
                for origin in 0..4 {
                    let here = inside.iter().filter(|a| a.0 == Origin::from(v4(origin, 0)));
                    prop_assert!(here.count() <= HALF_OPEN_PER_ORIGIN_MAX);
                }
            }
        }
    }
}
