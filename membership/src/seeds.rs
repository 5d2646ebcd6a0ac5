//! The seed list: whom to call when nobody is there, and from time to time when somebody is.
//!
//! Names are resolved again on each try, because the machine behind a name may have changed; order,
//! case and repetition mean nothing; one of the entries is usually ourselves.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use crypto::NodeId;
use tokio::time::Instant;

use crate::view::SeedState;

/// The port of an entry that names none.
pub const PORT_DEFAULT: u16 = 7964;

/// While nobody is there.
const TRY_ALONE: Duration = Duration::from_secs(1);

/// While somebody is: a partition longer than the memory for dead nodes heals only here.
const TRY_WITH_OTHERS: Duration = Duration::from_secs(30);

/// While somebody is there, for entries that do not answer: two groups that started apart should
/// not wait for each other.
const TRY_WAITING: Duration = Duration::from_secs(5);

/// An entry that did not answer for so long is waited for. Two tries may be lost.
const ANSWER_TIME: Duration = Duration::from_secs(3);

const NO_ANSWER: &str = "no answer";

/// Entries; a list is for first contact, not an inventory.
const ENTRIES_MAX: usize = 64;

/// Addresses of one name.
const ADDRESSES_MAX: usize = 8;

/// Contacts that others told us, beside the list.
const CONTACTS_MAX: usize = 256;

/// Where we ourselves can be found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Own {
    pub(crate) listen: SocketAddr,
    pub(crate) advertise: SocketAddr,
}

/// The list and how each entry fares.
#[derive(Debug)]
pub(crate) struct Seeds {
    own: Own,
    states: Vec<SeedState>,
    contacts: Vec<SocketAddr>,
    tried_last: Option<Instant>,
    tried_waiting_last: Option<Instant>,
}

impl Seeds {
    pub(crate) fn new(list: &[String], own: Own, now: Instant) -> Self {
        let mut entries: Vec<String> = list.iter().filter_map(|entry| normalize(entry)).collect();
        entries.sort_unstable();
        entries.dedup();
        entries.truncate(ENTRIES_MAX);
        let state = |entry| SeedState {
            entry,
            resolved: Vec::new(),
            is_me: false,
            node: None,
            answered_last: None,
            since: now,
            waiting_reason: Some("not tried yet".to_owned()),
        };
        let states = entries.into_iter().map(state).collect();
        Self { own, states, contacts: Vec::new(), tried_last: None, tried_waiting_last: None }
    }

    pub(crate) fn states(&self) -> &[SeedState] {
        &self.states
    }

    /// Remembers an address that is worth a call.
    pub(crate) fn add_contact(&mut self, address: SocketAddr) {
        if !self.contacts.contains(&address) && !self.is_own(address) {
            if self.contacts.len() >= CONTACTS_MAX {
                self.contacts.remove(0);
            }
            self.contacts.push(address);
            self.tried_last = None;
        }
    }

    /// The entries to resolve and call now; contacts are called as they are.
    pub(crate) fn due(&mut self, now: Instant, alone: bool) -> Option<Due> {
        let is_due = |last: Option<Instant>, period| last.is_none_or(|last| last + period <= now);
        let everybody = is_due(self.tried_last, if alone { TRY_ALONE } else { TRY_WITH_OTHERS });
        if !everybody && !is_due(self.tried_waiting_last, TRY_WAITING) {
            return None;
        }
        self.tried_waiting_last = Some(now);
        let is_called =
            |seed: &&SeedState| !seed.is_me && (everybody || seed.waiting_reason.is_some());
        let names = self.states.iter().filter(is_called).map(|seed| seed.entry.clone()).collect();
        let mut addresses = Vec::new();
        if everybody {
            self.tried_last = Some(now);
            addresses.clone_from(&self.contacts);
        }
        Some(Due { names, addresses })
    }

    /// What a name resolved to. Returns the addresses to call.
    pub(crate) fn resolved(
        &mut self,
        entry: &str,
        found: Result<Vec<SocketAddr>, String>,
        now: Instant,
    ) -> Vec<SocketAddr> {
        let own = self.own;
        let Some(seed) = self.states.iter_mut().find(|seed| seed.entry == entry) else {
            return Vec::new();
        };
        match found {
            Ok(mut addresses) => {
                addresses.sort_unstable();
                addresses.dedup();
                addresses.truncate(ADDRESSES_MAX);
                seed.is_me = !addresses.is_empty() && addresses.iter().all(|a| own.is(*a));
                addresses.retain(|address| !own.is(*address));
                seed.resolved.clone_from(&addresses);
                if seed.is_me {
                    seed.waiting_reason = None;
                } else if seed.answered_last.is_none() {
                    wait(seed, NO_ANSWER, now);
                }
                addresses
            }
            Err(reason) => {
                // What it resolved to before may still be right.
                wait(seed, &reason, now);
                seed.resolved.clone()
            }
        }
    }

    /// An authenticated packet came from an address.
    pub(crate) fn heard(&mut self, from: SocketAddr, node: NodeId, now: Instant) {
        for seed in self.states.iter_mut().filter(|seed| seed.resolved.contains(&from)) {
            seed.answered_last = Some(now);
            seed.node = Some(node);
            if seed.waiting_reason.take().is_some() {
                seed.since = now;
            }
        }
    }

    /// Somebody is there, but no session came about.
    pub(crate) fn refused(&mut self, from: SocketAddr, reason: &str, now: Instant) {
        for seed in self.states.iter_mut().filter(|seed| seed.resolved.contains(&from)) {
            if seed.answered_last.is_none() {
                wait(seed, reason, now);
            }
        }
    }

    /// An address turned out to be our own: somebody there has our key and our session.
    pub(crate) fn heard_ourselves(&mut self, from: SocketAddr) {
        for seed in self.states.iter_mut().filter(|seed| seed.resolved.contains(&from)) {
            seed.is_me = true;
            seed.waiting_reason = None;
        }
        self.contacts.retain(|contact| *contact != from);
    }

    /// Entries that stopped answering wait again. `is_alive` says whom gossip still sees.
    pub(crate) fn tick(&mut self, now: Instant, is_alive: impl Fn(NodeId) -> bool) {
        for seed in &mut self.states {
            let Some(last) = seed.answered_last else { continue };
            let fresh = now.duration_since(last) < ANSWER_TIME;
            if fresh || seed.node.is_some_and(&is_alive) {
                continue;
            }
            seed.answered_last = None;
            seed.node = None;
            wait(seed, NO_ANSWER, last);
        }
    }

    fn is_own(&self, address: SocketAddr) -> bool {
        self.own.is(address)
    }
}

/// What to call.
#[derive(Debug)]
pub(crate) struct Due {
    pub(crate) names: Vec<String>,
    pub(crate) addresses: Vec<SocketAddr>,
}

impl Own {
    fn is(&self, address: SocketAddr) -> bool {
        let everywhere = self.listen.ip().is_unspecified() && address.port() == self.listen.port();
        address == self.advertise
            || address == self.listen
            || (everywhere && is_local(address.ip()))
    }
}

/// Only an address of this machine can be bound.
fn is_local(ip: IpAddr) -> bool {
    ip.is_loopback() || UdpSocket::bind((ip, 0)).is_ok()
}

fn wait(seed: &mut SeedState, reason: &str, since: Instant) {
    match &seed.waiting_reason {
        Some(_) => seed.waiting_reason = Some(reason.to_owned()),
        None => {
            seed.waiting_reason = Some(reason.to_owned());
            seed.since = since;
        }
    }
}

/// Lower case, trimmed, with a port; `None` for an empty entry.
fn normalize(entry: &str) -> Option<String> {
    let entry = entry.trim().to_lowercase();
    if entry.is_empty() {
        return None;
    }
    if let Ok(address) = entry.parse::<SocketAddr>() {
        return Some(address.to_string());
    }
    if let Ok(ip) = entry.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Some(SocketAddr::new(ip, PORT_DEFAULT).to_string());
    }
    let entry = entry.trim_end_matches('.').to_owned();
    let has_port = entry.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    Some(if has_port { entry } else { format!("{entry}:{PORT_DEFAULT}") })
}

/// Asks the resolver, unless the entry is an address already.
pub(crate) async fn resolve(entry: String) -> (String, Result<Vec<SocketAddr>, String>) {
    /// A resolver that takes longer will be asked again.
    const RESOLVE_TIME: Duration = Duration::from_secs(2);
    if let Ok(address) = entry.parse() {
        return (entry, Ok(vec![address]));
    }
    let looked_up = tokio::time::timeout(RESOLVE_TIME, tokio::net::lookup_host(entry.clone()));
    let found = match looked_up.await {
        Ok(Ok(addresses)) => Ok(addresses.collect()),
        Ok(Err(_)) => Err("name not found".to_owned()),
        Err(_) => Err("no answer from the resolver".to_owned()),
    };
    (entry, found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn seeds(list: &[&str], now: Instant) -> Seeds {
        let own = Own { listen: address("10.0.0.1:7964"), advertise: address("10.0.0.1:7964") };
        let list: Vec<String> = list.iter().map(|entry| (*entry).to_owned()).collect();
        Seeds::new(&list, own, now)
    }

    fn entries(seeds: &Seeds) -> Vec<&str> {
        seeds.states().iter().map(|seed| seed.entry.as_str()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn order_case_and_repetition_mean_nothing() {
        let now = Instant::now();
        let a = seeds(&["B:7964", "a", " b ", "", "A:7964", "10.0.0.9", "c:1", "[::1]"], now);
        let b = seeds(&["::1", "c:1", "a.:7964", "b", "10.0.0.9:7964"], now);
        assert_eq!(entries(&a), ["10.0.0.9:7964", "[::1]:7964", "a:7964", "b:7964", "c:1"]);
        // A trailing dot before a port is the same name to the resolver, and kept as typed.
        assert_eq!(entries(&b), ["10.0.0.9:7964", "[::1]:7964", "a.:7964", "b:7964", "c:1"]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_entry_says_what_it_waits_for_and_since_when() {
        let start = Instant::now();
        let mut seeds = seeds(&["c:7964"], start);
        let there = address("10.0.0.3:7964");
        assert_eq!(seeds.resolved("c:7964", Ok(vec![there]), start), [there]);
        let later = start + Duration::from_secs(41);
        assert_eq!(seeds.states()[0].describe(later), "c:7964: no answer, 41 s");
        let node = NodeId::from_bytes([3; 16]);
        seeds.heard(there, node, later);
        assert_eq!(seeds.states()[0].describe(later), "c:7964: answers");
        let silent = later + Duration::from_secs(10);
        seeds.tick(silent, |_| true);
        assert_eq!(seeds.states()[0].describe(silent), "c:7964: answers");
        seeds.tick(silent, |_| false);
        assert_eq!(seeds.states()[0].describe(silent), "c:7964: no answer, 10 s");
        seeds.resolved("c:7964", Err("name not found".to_owned()), silent);
        assert_eq!(seeds.states()[0].describe(silent), "c:7964: name not found, 10 s");
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_knows_its_own_entry() {
        let now = Instant::now();
        let mut seeds = seeds(&["a", "b"], now);
        assert!(seeds.resolved("a:7964", Ok(vec![address("10.0.0.1:7964")]), now).is_empty());
        assert_eq!(seeds.states()[0].describe(now), "a:7964: this node");
        let due = seeds.due(now, true).unwrap();
        assert_eq!(due.names, ["b:7964"]);
        let b = address("10.0.0.2:7964");
        seeds.resolved("b:7964", Ok(vec![b]), now);
        seeds.heard_ourselves(b);
        assert!(seeds.states()[1].is_me);
    }

    #[tokio::test(start_paused = true)]
    async fn tries_each_second_alone_and_less_often_in_company() {
        let start = Instant::now();
        let there = address("10.0.0.2:7964");
        for (alone, answers, period) in [(true, false, 1), (false, true, 30), (false, false, 5)] {
            let mut seeds = seeds(&["a"], start);
            seeds.resolved("a:7964", Ok(vec![there]), start);
            if answers {
                seeds.heard(there, NodeId::from_bytes([2; 16]), start);
            }
            let mut tries = 0;
            for second in 0..60 {
                let now = start + Duration::from_secs(second);
                let due = seeds.due(now, alone);
                tries += u64::from(due.is_some_and(|due| !due.names.is_empty()));
            }
            assert_eq!(tries, 60 / period, "alone {alone}, answers {answers}");
        }
    }
}
