//! A network in virtual time: loss, duplicates, reordering, restarts and strangers.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::rng::Rng;
use super::*;
use crate::handshake::FIRST_BYTES;
use crate::replay::FirstMessages;
use crate::schedule::Authority;
use crate::testing::{NOW, authority, holder, worker};

/// What the network does to a packet, in hundredths.
#[derive(Clone, Copy, Default)]
struct Weather {
    loss: u32,
    duplicates: u32,
    /// Up to this many milliseconds on top of one.
    delay: u32,
}

/// A message that arrived: from, to, payload.
type Delivery = (SocketAddr, SocketAddr, Vec<u8>);

struct World {
    now: Duration,
    rng: Rng,
    weather: Weather,
    endpoints: BTreeMap<SocketAddr, Endpoint>,
    /// Packets on their way by time of arrival and a number that keeps them apart.
    wire: BTreeMap<(Duration, u64), (SocketAddr, SocketAddr, Vec<u8>)>,
    n_sent: u64,
    /// The next so many packets of a kind are lost.
    lose_next: (u8, usize),
    log: Vec<(SocketAddr, SocketAddr, Vec<u8>)>,
    delivered: Vec<Delivery>,
    connected: Vec<(SocketAddr, SocketAddr)>,
    others: Vec<(SocketAddr, Event)>,
}

fn address(number: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, number], 7964))
}

fn memory() -> SharedFirstMessages {
    SharedFirstMessages::new(FirstMessages::new().unwrap())
}

impl World {
    fn new(seed: u8, weather: Weather) -> Self {
        Self {
            now: Duration::ZERO,
            rng: Rng::new(&[seed; 32]),
            weather,
            endpoints: BTreeMap::new(),
            wire: BTreeMap::new(),
            n_sent: 0,
            lose_next: (0, 0),
            log: Vec::new(),
            delivered: Vec::new(),
            connected: Vec::new(),
            others: Vec::new(),
        }
    }

    /// Two members of one cluster at addresses 1 and 2.
    fn pair(seed: u8, weather: Weather) -> (Self, Arc<Authority>) {
        let mut world = Self::new(seed, weather);
        let authority = authority();
        world.start(1, holder(&authority));
        world.start(2, worker(&authority, NOW));
        (world, authority)
    }

    fn start(&mut self, number: u8, credentials: Credentials) {
        let seed = [number ^ u8::try_from(self.rng.next_u32() % 256).unwrap(); 32];
        let hello = vec![number; 20];
        let endpoint = Endpoint::new(Arc::new(credentials), hello, memory(), &seed);
        self.endpoints.insert(address(number), endpoint);
    }

    /// The same node after a kill: its keys and its memory of first messages, nothing else.
    fn restart(&mut self, number: u8) {
        let before = self.endpoints.remove(&address(number)).unwrap();
        let unix = self.clocks().unix;
        let snapshot = before.memory.lock().snapshot();
        self.start(number, Credentials::clone(&before.credentials));
        let restored = FirstMessages::restore(&snapshot, unix).unwrap();
        self.at(number).memory = SharedFirstMessages::new(restored);
    }

    fn at(&mut self, number: u8) -> &mut Endpoint {
        self.endpoints.get_mut(&address(number)).unwrap()
    }

    fn clocks(&self) -> Now {
        Now { monotonic: self.now, unix: NOW + self.now.as_secs() }
    }

    fn send(&mut self, from: u8, to: u8, payload: &[u8]) {
        let now = self.clocks();
        self.at(from).send(now, address(to), 7, payload).unwrap();
        self.drain();
    }

    fn chance(&mut self, hundredths: u32) -> bool {
        self.rng.next_u32() % 100 < hundredths
    }

    /// Takes what the endpoints produced: packets to the wire, events to the record.
    fn drain(&mut self) {
        let addresses: Vec<SocketAddr> = self.endpoints.keys().copied().collect();
        for from in addresses {
            while let Some((to, packet)) = self.endpoints.get_mut(&from).unwrap().poll_transmit() {
                assert!(packet.len() <= 1200);
                self.log.push((from, to, packet.clone()));
                let copies = if self.lose_next.0 == packet[0] && self.lose_next.1 > 0 {
                    self.lose_next.1 -= 1;
                    0
                } else if self.chance(self.weather.loss) {
                    0
                } else {
                    1 + u32::from(self.chance(self.weather.duplicates))
                };
                for _ in 0..copies {
                    let delay = 1 + self.rng.next_u32() % (self.weather.delay + 1);
                    let at = self.now + Duration::from_millis(delay.into());
                    self.n_sent += 1;
                    self.wire.insert((at, self.n_sent), (from, to, packet.clone()));
                }
            }
            while let Some(event) = self.endpoints.get_mut(&from).unwrap().poll_event() {
                match event {
                    Event::Message { from: sender, kind, payload, peer_hello, .. } => {
                        assert_eq!((kind, peer_hello.len()), (7, 20));
                        self.delivered.push((sender, from, payload));
                    }
                    Event::Connected { from: peer, .. } => self.connected.push((peer, from)),
                    other @ (Event::Ourselves { .. }
                    | Event::Refused { .. }
                    | Event::Unanswered { .. }) => self.others.push((from, other)),
                }
            }
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            let next_tick = self.now + TICK;
            while let Some(entry) = self.wire.first_entry() {
                if entry.key().0 > next_tick {
                    break;
                }
                let ((at, _), (from, to, packet)) = entry.remove_entry();
                self.now = self.now.max(at);
                let now = self.clocks();
                if let Some(endpoint) = self.endpoints.get_mut(&to) {
                    endpoint.receive(now, from, &packet);
                }
                self.drain();
            }
            self.now = next_tick;
            let now = self.clocks();
            for endpoint in self.endpoints.values_mut() {
                endpoint.tick(now);
            }
            self.drain();
        }
    }

    fn seconds(&mut self, seconds: u64) {
        self.run(Duration::from_secs(seconds));
    }

    fn active_hash(&mut self, at: u8, peer: u8) -> Option<[u8; 32]> {
        let endpoint = self.at(at);
        let active = endpoint.contacts.get(&address(peer))?.active?;
        Some(endpoint.sessions.get(&active)?.hash)
    }

    /// Packets of one kind that left one node.
    fn n_packets(&self, from: u8, kind: u8) -> usize {
        self.log
            .iter()
            .filter(|(sender, _, packet)| *sender == address(from) && packet[0] == kind)
            .count()
    }
}

#[test]
fn first_message_arrives_whole_and_once() {
    for length in [0, 1, PART_BYTES, PART_BYTES + 1, MESSAGE_LIMIT_BYTES] {
        let (mut world, _) = World::pair(1, Weather::default());
        let payload = vec![5; length];
        world.send(1, 2, &payload);
        world.seconds(1);
        assert_eq!(world.delivered, [(address(1), address(2), payload)]);
        assert_eq!(world.connected.len(), 2);
        assert!(world.at(1).peer_at(address(2)).is_some());
    }
}

#[test]
fn too_long_is_said_at_once() {
    let (mut world, _) = World::pair(1, Weather::default());
    let length = MESSAGE_LIMIT_BYTES + 1;
    let now = world.clocks();
    let refused = world.at(1).send(now, address(2), 7, &vec![0; length]);
    assert_eq!(refused, Err(SendError::TooBig { length }));
}

#[test]
fn tens_of_thousands_of_packets_through_bad_weather() {
    for (seed, loss) in [(1, 0), (2, 10), (3, 30), (4, 50)] {
        let weather = Weather { loss, duplicates: 10, delay: 80 };
        let (mut world, _) = World::pair(seed, weather);
        let n_messages = 5000_u32;
        for number in 0..n_messages {
            let (from, to) = if number % 3 == 0 { (2, 1) } else { (1, 2) };
            world.send(from, to, &number.to_le_bytes());
            world.run(Duration::from_millis(20));
        }
        world.seconds(2);
        let unique: BTreeSet<&Delivery> = world.delivered.iter().collect();
        assert_eq!(unique.len(), world.delivered.len(), "nothing counts twice");
        let n_expected = f64::from(n_messages) * (f64::from(100 - loss) / 100.0);
        let ratio = world.delivered.len() as f64 / n_expected;
        assert!(ratio > 0.94, "loss {loss}: {ratio} of what the network let through");
        assert!(world.log.len() > 5000);
    }
}

#[test]
fn a_restart_of_either_side_heals_whoever_talks() {
    for (seed, restarted, talks) in
        [(1, 1, vec![(1, 2)]), (2, 2, vec![(1, 2)]), (3, 2, vec![(1, 2), (2, 1)])]
    {
        for loss in [0, 20] {
            for uptime in [1, 30, 1000] {
                let (mut world, _) = World::pair(seed, Weather { loss, duplicates: 5, delay: 40 });
                let talk = |world: &mut World, seconds: u32| {
                    for number in 0..seconds * 2 {
                        for (from, to) in &talks {
                            world.send(*from, *to, &number.to_le_bytes());
                        }
                        world.run(Duration::from_millis(500));
                    }
                };
                talk(&mut world, 10);
                world.seconds(uptime);
                world.restart(restarted);
                talk(&mut world, if loss == 0 { 6 } else { 30 });
                world.delivered.clear();
                talk(&mut world, 10);
                for (from, to) in &talks {
                    let n = world
                        .delivered
                        .iter()
                        .filter(|(sender, receiver, _)| {
                            (*sender, *receiver) == (address(*from), address(*to))
                        })
                        .count();
                    let least = if loss == 0 { 20 } else { 8 };
                    assert!(n >= least, "{n} of 20 after a restart of {restarted}, loss {loss}");
                }
            }
        }
    }
}

#[test]
fn both_sides_open_at_once_and_agree() {
    for seed in 0..20 {
        let (mut world, _) = World::pair(seed, Weather { delay: 30, ..Weather::default() });
        let now = world.clocks();
        world.at(1).send(now, address(2), 7, b"one").unwrap();
        world.at(2).send(now, address(1), 7, b"two").unwrap();
        world.drain();
        world.seconds(3);
        assert_eq!(world.delivered.len(), 2, "nothing is lost");
        for _ in 0..10 {
            world.send(1, 2, b"more");
            world.send(2, 1, b"more");
            world.seconds(1);
        }
        assert_eq!(world.delivered.len(), 22);
        let (ours, theirs) = (world.active_hash(1, 2), world.active_hash(2, 1));
        assert!(ours.is_some() && ours == theirs);
        world.seconds(120);
        assert_eq!((world.at(1).session_count(), world.at(2).session_count()), (1, 1));
    }
}

#[test]
fn a_restart_right_after_the_first_session_is_no_simultaneous_open() {
    for seed in 0..8 {
        let (mut world, _) = World::pair(seed, Weather::default());
        let talk = |world: &mut World| {
            for _ in 0..10 {
                world.send(2, 1, b"text");
                world.send(1, 2, b"text");
                world.run(Duration::from_millis(200));
            }
        };
        world.send(1, 2, b"text");
        world.seconds(1);
        world.restart(2);
        talk(&mut world);
        world.delivered.clear();
        talk(&mut world);
        assert_eq!(world.delivered.len(), 20, "whichever hash is smaller");
    }
}

#[test]
fn any_lost_handshake_packet_is_repeated() {
    for kind in [packet_kind::FIRST, packet_kind::SECOND, packet_kind::THIRD, packet_kind::DATA] {
        let (mut world, _) = World::pair(1, Weather::default());
        world.lose_next = (kind, 1);
        world.send(1, 2, b"text");
        world.seconds(2);
        assert_eq!(world.lose_next.1, 0);
        assert_eq!(world.delivered.len(), 1, "after the loss of a packet of kind {kind}");
        assert!(world.n_packets(1, packet_kind::FIRST) <= 2);
    }
}

#[test]
fn a_handshake_that_is_cut_off_at_its_end_is_begun_again() {
    let (mut world, _) = World::pair(1, Weather::default());
    world.lose_next = (packet_kind::THIRD, usize::MAX);
    world.send(1, 2, b"text");
    world.seconds(1);
    world.lose_next = (0, 0);
    world.at(2).incoming.clear();
    world.seconds(6);
    assert_eq!(world.delivered.len(), 1);
    assert!(world.n_packets(1, packet_kind::FIRST) >= 2);
}

#[test]
fn silence_is_answered_so_that_nobody_doubts_without_reason() {
    let (mut world, _) = World::pair(1, Weather::default());
    for _ in 0..100 {
        world.send(1, 2, b"text");
        world.seconds(1);
    }
    assert_eq!(world.delivered.len(), 100);
    assert_eq!(world.n_packets(1, packet_kind::FIRST), 1);
    let n_answers = world.n_packets(2, packet_kind::DATA);
    assert!((100..=102).contains(&n_answers), "one empty packet per message: {n_answers}");
    world.log.clear();
    world.seconds(100);
    assert!(world.log.is_empty(), "nothing to say, nothing sent");
}

#[test]
fn a_session_is_renewed_after_an_hour_without_losing_anything() {
    let (mut world, _) = World::pair(1, Weather { delay: 30, ..Weather::default() });
    world.send(1, 2, b"text");
    world.seconds(1);
    let before = world.active_hash(1, 2);
    for _ in 0..45 * 4 {
        world.send(1, 2, b"text");
        world.seconds(15);
    }
    assert_eq!(world.active_hash(1, 2), before, "not before 54 minutes");
    for _ in 0..30 * 4 {
        world.send(1, 2, b"text");
        world.send(2, 1, b"text");
        world.seconds(15);
    }
    assert_ne!(world.active_hash(1, 2), before);
    assert_eq!(world.active_hash(1, 2), world.active_hash(2, 1));
    assert_eq!(world.delivered.len(), 1 + 45 * 4 + 2 * 30 * 4);
    assert_eq!(world.at(1).session_count(), 1);
}

#[test]
fn new_credentials_are_shown_within_a_minute_and_revoked_peers_are_gone_at_once() {
    let (mut world, authority) = World::pair(1, Weather::default());
    world.send(1, 2, b"text");
    world.seconds(10);
    let before = world.active_hash(1, 2);
    let credentials = Arc::clone(&world.at(1).credentials);
    let now = world.clocks();
    world.at(1).set_credentials(now, Arc::clone(&credentials));
    world.send(1, 2, b"text");
    world.seconds(61);
    world.send(1, 2, b"text");
    world.seconds(1);
    assert_eq!(world.active_hash(1, 2), before, "the same credentials change nothing");

    let epochs = [2, 1].map(|epoch| (epoch, authority.gossip_psk(epoch)));
    let now = world.clocks();
    for number in [2, 1] {
        let credentials = world.at(number).credentials.with_psks(epochs.to_vec());
        world.at(number).set_credentials(now, Arc::new(credentials));
    }
    world.seconds(61);
    world.send(1, 2, b"text");
    world.seconds(1);
    assert_ne!(world.active_hash(1, 2), before);

    let revoked = BTreeSet::from([world.at(2).credentials.node()]);
    let credentials = world.at(1).credentials.with_revoked(revoked);
    let now = world.clocks();
    world.at(1).set_credentials(now, Arc::new(credentials));
    assert_eq!(world.at(1).session_count(), 0);
    world.delivered.clear();
    for _ in 0..20 {
        world.send(2, 1, b"let me in");
        world.send(1, 2, b"text");
        world.seconds(1);
    }
    assert!(world.delivered.is_empty());
    assert_eq!(world.at(1).session_count(), 0);
}

#[test]
fn a_certificate_opens_for_a_week_past_its_end_and_then_no_more() {
    let day = 24 * 3600;
    for (age, is_accepted) in [(0, true), (7 * day, true), (9 * day, false)] {
        let authority = authority();
        let mut world = World::new(1, Weather::default());
        world.start(1, holder(&authority));
        world.start(2, worker(&authority, NOW - age));
        world.send(2, 1, b"text");
        world.seconds(5);
        assert_eq!(world.delivered.len(), usize::from(is_accepted), "{age}");
    }
}

#[test]
fn data_of_an_unknown_session_opens_one_with_known_addresses_only_and_seldom() {
    let (mut world, _) = World::pair(1, Weather::default());
    world.send(1, 2, b"text");
    world.seconds(60);
    world.log.clear();
    let mut stray = vec![packet_kind::DATA, 1, 0, 0, 1, 2, 3, 4];
    stray.resize(100, 9);
    for _ in 0..100 {
        let now = world.clocks();
        world.at(2).receive(now, address(9), &stray);
        world.drain();
        world.run(TICK);
    }
    assert!(world.log.is_empty(), "a stranger gets nothing");
    // The other end is gone, so that no handshake comes about.
    world.endpoints.remove(&address(1));
    for _ in 0..100 {
        let now = world.clocks();
        world.at(2).receive(now, address(1), &stray);
        world.drain();
        world.run(TICK);
    }
    let n_firsts = world.n_packets(2, packet_kind::FIRST);
    assert!((1..=15).contains(&n_firsts), "{n_firsts} in 10 s, with repetitions");
}

#[test]
fn a_crowded_memory_costs_one_more_round_trip() {
    let (mut world, _) = World::pair(1, Weather::default());
    let mut crowded = FirstMessages::with_capacity(1).unwrap();
    for number in 0..2 {
        crowded.remember([number; 16], NOW + 600, NOW);
    }
    world.at(2).memory = SharedFirstMessages::new(crowded);
    world.send(1, 2, b"text");
    world.seconds(1);
    assert_eq!(world.delivered.len(), 1);
    assert_eq!(world.n_packets(1, packet_kind::FIRST), 2);
    assert_eq!(world.n_packets(2, packet_kind::COOKIE), 1);
}

#[test]
fn a_peer_may_answer_from_another_of_its_addresses() {
    let (mut world, _) = World::pair(1, Weather::default());
    let now = world.clocks();
    world.at(1).send(now, address(2), 7, b"text").unwrap();
    let mut received = Vec::new();
    for _ in 0..10 {
        while let Some((_, packet)) = world.at(1).poll_transmit() {
            world.at(2).receive(now, address(1), &packet);
        }
        while let Some((_, packet)) = world.at(2).poll_transmit() {
            world.at(1).receive(now, address(22), &packet);
        }
        while let Some(event) = world.at(2).poll_event() {
            if let Event::Message { payload, .. } = event {
                received.push(payload);
                world.at(2).send(now, address(1), 7, b"answer").unwrap();
            }
        }
    }
    assert_eq!(received, [b"text"]);
    world.drain();
    assert_eq!(world.delivered, [(address(2), address(1), b"answer".to_vec())]);
}

#[test]
fn thirty_nodes_start_at_once_and_all_reach_all() {
    let authority = authority();
    let mut world = World::new(1, Weather { loss: 5, duplicates: 2, delay: 20 });
    for number in 1..=30 {
        world.start(number, holder(&authority));
    }
    for round in 0..60_u32 {
        for from in 1..=30_u8 {
            for to in 1..=30_u8 {
                if from != to && (u32::from(from) * 7 + u32::from(to) * 3 + round) % 10 == 0 {
                    world.send(from, to, &round.to_le_bytes());
                }
            }
        }
        if round == 40 {
            world.delivered.clear();
        }
        world.run(Duration::from_millis(500));
    }
    let reached: BTreeSet<(SocketAddr, SocketAddr)> =
        world.delivered.iter().map(|(from, to, _)| (*from, *to)).collect();
    assert!(reached.len() >= 860, "{} of 870 pairs in the last 10 s", reached.len());
}

#[test]
fn an_endpoint_may_move_between_threads() {
    const fn is_send<T: Send>() {}
    is_send::<Endpoint>();
    is_send::<crate::handshake::Established>();
}

#[test]
fn a_fuzz_target_is_silent() {
    let mut target = crate::fuzz::Target::new().unwrap();
    let (_, log) = recorded_conversation();
    for (_, _, packet) in log {
        assert!(!target.is_answered(&packet));
        crate::fuzz::decoding(&packet);
        crate::fuzz::texts(&packet);
    }
}

#[test]
fn tables_are_bounded() {
    let authority = authority();
    let mut world = World::new(1, Weather::default());
    world.start(1, holder(&authority));
    let now = world.clocks();
    for number in 0..CONTACTS_LIMIT + 500 {
        let port = u16::try_from(number + 1).unwrap();
        let to = SocketAddr::from(([10, 9, 9, 9], port));
        for _ in 0..10 {
            world.at(1).send(now, to, 7, b"text").unwrap();
        }
    }
    let endpoint = world.at(1);
    assert_eq!(endpoint.contacts.len(), CONTACTS_LIMIT);
    assert!(endpoint.contacts.values().all(|contact| contact.queue.len() <= 4));
    assert!(endpoint.outgoing.len() <= 16);

    let (mut world, authority) = World::pair(1, Weather::default());
    let gate = holder(&authority);
    let now = world.clocks();
    for number in 0..40_u8 {
        let mut other = Endpoint::new(Arc::new(gate.clone()), Vec::new(), memory(), &[number; 32]);
        other.send(now, address(1), 7, b"text").unwrap();
        let (_, first) = other.poll_transmit().unwrap();
        world.at(1).receive(now, address(50 + number % 5), &first);
    }
    assert_eq!(world.at(1).incoming.len(), 5 * 4, "four for each address");
    world.seconds(11);
    assert!(world.at(1).incoming.is_empty());
}

#[test]
fn meeting_ourselves_is_said() {
    let (mut world, _) = World::pair(1, Weather::default());
    world.send(1, 1, b"text");
    world.seconds(1);
    assert!(matches!(world.others[..], [(_, Event::Ourselves { from })] if from == address(1)));
    assert_eq!(world.at(1).session_count(), 0);
}

#[test]
fn nobody_there_is_said_and_tried_more_and_more_seldom() {
    let (mut world, _) = World::pair(1, Weather::default());
    for _ in 0..120 {
        world.send(1, 9, b"text");
        world.seconds(1);
    }
    let n_unanswered =
        world.others.iter().filter(|(_, event)| matches!(event, Event::Unanswered { .. })).count();
    assert!((10..=16).contains(&n_unanswered), "{n_unanswered} attempts in two minutes");
}

/// A conversation of all kinds of packets, and a victim that took part in it.
fn recorded_conversation() -> (World, Vec<(SocketAddr, SocketAddr, Vec<u8>)>) {
    let (mut world, _) = World::pair(1, Weather::default());
    for _ in 0..3 {
        world.send(1, 2, &[1; 3000]);
        world.send(2, 1, &[2; 30]);
        world.seconds(1);
    }
    world.seconds(20);
    let log = std::mem::take(&mut world.log);
    (world, log)
}

#[test]
fn a_replayed_conversation_delivers_nothing_and_no_stranger_is_answered() {
    for is_restarted in [false, true] {
        let (mut world, log) = recorded_conversation();
        if is_restarted {
            world.restart(2);
        }
        let n_delivered = world.delivered.len();
        for source in [address(1), address(9)] {
            for (_, _, packet) in &log {
                let now = world.clocks();
                world.at(2).receive(now, source, packet);
                world.drain();
            }
        }
        world.seconds(5);
        assert_eq!(world.delivered.len(), n_delivered);
        assert!(world.log.iter().all(|(_, to, _)| *to != address(9)), "a stranger gets nothing");
        // Its own data, thrown back at it from a known address, are of no session that it has.
        let n_opened = world.n_packets(2, packet_kind::FIRST);
        assert_eq!(n_opened, usize::from(!is_restarted));
        assert!(!is_restarted || world.log.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn strangers_get_no_byte(
        which in any::<prop::sample::Index>(),
        place in any::<prop::sample::Index>(),
        mask: u8,
        length in any::<prop::sample::Index>(),
        random in prop::collection::vec(any::<u8>(), 0..1400),
    ) {
        let (mut world, log) = recorded_conversation();
        let mut firsts = log.iter().filter(|(_, _, packet)| packet.len() == FIRST_BYTES);
        let mut first = firsts.next().unwrap().2.clone();
        let place = place.index(first.len());
        first[place] ^= mask;
        let mut any = log[which.index(log.len())].2.clone();
        let place = place % any.len();
        any[place] ^= mask;
        let shorter = any[..length.index(any.len())].to_vec();
        for packet in [first, any, shorter, random] {
            let now = world.clocks();
            for number in [1, 2] {
                world.at(number).receive(now, address(77), &packet);
            }
            world.drain();
        }
        world.seconds(2);
        prop_assert!(world.log.is_empty());
    }

    #[test]
    fn changed_data_moves_no_state_and_the_genuine_packet_still_counts(
        place in any::<prop::sample::Index>(),
        mask in 1_u8..,
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
    ) {
        let (mut world, _) = recorded_conversation();
        let now = world.clocks();
        let mut packets = Vec::new();
        for number in 0..5_u8 {
            world.at(1).send(now, address(2), 7, &[number]).unwrap();
            packets.extend(world.at(1).poll_transmit());
        }
        world.delivered.clear();
        for (_, packet) in &packets {
            let mut changed = packet.clone();
            let place = place.index(packet.len());
            changed[place] ^= mask;
            world.at(2).receive(now, address(1), &changed);
            // From another address even the genuine one means nothing.
            world.at(2).receive(now, address(9), packet);
        }
        world.drain();
        prop_assert!(world.delivered.is_empty());
        let shuffled = order.iter().map(|index| index.index(packets.len()));
        for index in shuffled.chain(0..packets.len()) {
            world.at(2).receive(now, address(1), &packets[index].1);
        }
        world.drain();
        let delivered: BTreeSet<&[u8]> =
            world.delivered.iter().map(|(_, _, payload)| &payload[..]).collect();
        prop_assert_eq!((world.delivered.len(), delivered.len()), (5, 5));
    }
}
