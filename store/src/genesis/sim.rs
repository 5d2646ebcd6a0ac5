//! Foundings under loss, crashes and partitions, in virtual time, from one seed number each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crypto::NodePublic;
use model::{ClusterId, UnixNanos};

use super::founding::{Chance, Founding, Outgoing, Setup};
use super::message::{Answer, Candidate, Message};
use super::record::Record;
use super::seeds::{Rule, SeedList};

const TICK_MS: u64 = 250;
const TIMEOUT_MS: u64 = 1_000;
/// Faults end within 30 s; who has not formed a minute later is counted as stuck.
const END_MS: u64 = 90_000;

/// A small generator whose runs can be repeated for ever (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn within(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to - from)
    }

    fn id(&mut self) -> [u8; 16] {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.next().to_le_bytes());
        id[8..].copy_from_slice(&self.next().to_le_bytes());
        id
    }
}

enum Event {
    Start { node: usize },
    Crash { node: usize, wipe: bool },
    Tick { node: usize, life: u32 },
    Request { from: usize, life: u32, slot: u16, ticket: u64, message: Message },
    Reply { node: usize, life: u32, slot: u16, ticket: u64, answer: Answer },
    Timeout { node: usize, life: u32, slot: u16, ticket: u64 },
}

struct Node {
    founding: Option<Founding>,
    disk: Option<Record>,
    /// Rises with each start, so that answers to an earlier one are lost.
    life: u32,
    /// Rises with each wipe: a wiped node has new keys.
    keys: u8,
    slot: Option<u16>,
}

struct Cut {
    from_ms: u64,
    to_ms: u64,
    side: u64,
}

/// What a run is made of.
#[derive(Clone, Copy, Debug)]
struct Faults {
    n_seeds: u64,
    n_others: u64,
    loss_percent: u64,
    n_crashes: u64,
    n_cuts: u64,
    wipes: bool,
}

struct World {
    random: Random,
    now_ms: u64,
    sequence: u64,
    queue: BTreeMap<(u64, u64), Event>,
    nodes: Vec<Node>,
    seeds: Arc<SeedList>,
    cuts: Vec<Cut>,
    faults: Faults,
    faults_end_ms: u64,
    learned: BTreeSet<ClusterId>,
    /// Seeds, with their keys, that ever had a cluster on disk, accepted or learned.
    holders: BTreeSet<(ClusterId, usize, u8)>,
    /// A second cluster was founded although a seed still remembered the first.
    broken: bool,
}

impl World {
    fn new(seed: u64, faults: Faults) -> Self {
        let mut random = Random(seed);
        let entries: Vec<String> = (0..faults.n_seeds).map(|slot| format!("s{slot}")).collect();
        let seeds = Arc::new(SeedList::new(&entries, Rule::Automatic).unwrap());
        let nodes = (0..faults.n_seeds + faults.n_others)
            .map(|node| Node {
                founding: None,
                disk: None,
                life: 0,
                keys: 0,
                slot: (node < faults.n_seeds).then(|| u16::try_from(node).unwrap()),
            })
            .collect();
        let cuts = (0..faults.n_cuts)
            .map(|_| {
                let from_ms = random.within(0, 15_000);
                let to_ms = from_ms + random.within(1_000, 12_000);
                Cut { from_ms, to_ms, side: random.next() }
            })
            .collect();
        let mut world = Self {
            random,
            now_ms: 0,
            sequence: 0,
            queue: BTreeMap::new(),
            nodes,
            seeds,
            cuts,
            faults,
            faults_end_ms: 0,
            learned: BTreeSet::new(),
            holders: BTreeSet::new(),
            broken: false,
        };
        for node in 0..world.nodes.len() {
            let at = world.random.below(6_000);
            world.at(at, Event::Start { node });
        }
        for _ in 0..faults.n_crashes {
            let node = usize::try_from(world.random.below(faults.n_seeds)).unwrap();
            let crash = world.random.within(1_000, 20_000);
            let start = crash + world.random.within(500, 6_000);
            let wipe = faults.wipes && world.random.below(2) == 0;
            world.at(crash, Event::Crash { node, wipe });
            world.at(start, Event::Start { node });
            world.faults_end_ms = world.faults_end_ms.max(start);
        }
        world
    }

    fn at(&mut self, at_ms: u64, event: Event) {
        self.sequence += 1;
        self.queue.insert((at_ms, self.sequence), event);
    }

    /// Runs to the end; whether every node knows the cluster then.
    fn run(&mut self) -> bool {
        while let Some(((at_ms, _), event)) = self.queue.pop_first() {
            self.now_ms = at_ms;
            if END_MS < at_ms {
                return false;
            }
            self.handle(event);
            if self.faults_end_ms < at_ms && self.all_know() {
                return true;
            }
        }
        self.all_know()
    }

    fn all_know(&self) -> bool {
        let knows = |node: &Node| node.founding.as_ref().is_some_and(|f| f.genesis().is_some());
        self.nodes.iter().all(knows)
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Start { node } => self.start(node),
            Event::Crash { node, wipe } => {
                self.nodes[node].founding = None;
                if wipe {
                    self.nodes[node].disk = None;
                    self.nodes[node].keys += 1;
                }
            }
            Event::Tick { node, life } => {
                if self.alive(node, life) {
                    self.tick(node);
                    self.at(self.now_ms + TICK_MS, Event::Tick { node, life });
                }
            }
            Event::Request { from, life, slot, ticket, message } => {
                let to = usize::from(slot);
                let timeout = Event::Timeout { node: from, life, slot, ticket };
                let Some(founding) = &mut self.nodes[to].founding else {
                    return self.at(self.now_ms + TIMEOUT_MS, timeout);
                };
                let answer = founding.receive(&message);
                self.save(to);
                match self.arrival(to, from) {
                    Some(at) => {
                        self.at(at, Event::Reply { node: from, life, slot, ticket, answer });
                    }
                    None => self.at(self.now_ms + TIMEOUT_MS, timeout),
                }
            }
            Event::Reply { node, life, slot, ticket, answer } => {
                if self.alive(node, life) {
                    let now = Duration::from_millis(self.now_ms);
                    if let Some(founding) = &mut self.nodes[node].founding {
                        founding.answered(now, slot, ticket, answer);
                    }
                    self.tick(node);
                }
            }
            Event::Timeout { node, life, slot, ticket } => {
                if self.alive(node, life) {
                    let now = Duration::from_millis(self.now_ms);
                    if let Some(founding) = &mut self.nodes[node].founding {
                        founding.unanswered(now, slot, ticket, "no answer".to_owned());
                    }
                }
            }
        }
    }

    fn alive(&self, node: usize, life: u32) -> bool {
        self.nodes[node].life == life && self.nodes[node].founding.is_some()
    }

    fn start(&mut self, index: usize) {
        let start = self.random.id();
        let node = &mut self.nodes[index];
        if node.founding.is_some() {
            return;
        }
        let mut key = [node.keys; 32];
        key[0] = u8::try_from(index).unwrap();
        let me =
            Candidate { public: NodePublic { ed25519: key, x25519: key }, zone: String::new() };
        let (seeds, slot) = (Arc::clone(&self.seeds), node.slot);
        let setup = Setup { seeds, slot, me, eligible: true, found: false, start };
        node.founding = Some(Founding::new(setup, node.disk.clone()).unwrap());
        node.life += 1;
        let life = node.life;
        self.at(self.now_ms, Event::Tick { node: index, life });
    }

    fn tick(&mut self, node: usize) {
        let now = Duration::from_millis(self.now_ms);
        let jitter = u16::try_from(self.random.below(0x1_0000)).unwrap();
        let chance = Chance { jitter, cluster: self.random.id() };
        let Some(founding) = &mut self.nodes[node].founding else { return };
        let outgoing = founding.tick(now, UnixNanos(self.now_ms), chance);
        self.save(node);
        let life = self.nodes[node].life;
        for Outgoing { ticket, slot, message } in outgoing {
            match self.arrival(node, usize::from(slot)) {
                Some(at) => {
                    self.at(at, Event::Request { from: node, life, slot, ticket, message });
                }
                None => {
                    let timeout = Event::Timeout { node, life, slot, ticket };
                    self.at(self.now_ms + TIMEOUT_MS, timeout);
                }
            }
        }
    }

    fn save(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let Some(record) = node.founding.as_mut().and_then(Founding::unsaved) else { return };
        let record = record.clone();
        let accepted = record.accepted.iter().map(|(_, genesis)| genesis);
        for genesis in accepted.chain(&record.genesis).filter(|_| node.slot.is_some()) {
            self.holders.insert((genesis.cluster, index, node.keys));
        }
        let learned = record.genesis.as_ref().map(|genesis| genesis.cluster);
        node.disk = Some(record);
        if learned.is_some_and(|cluster| self.learned.insert(cluster)) && 1 < self.learned.len() {
            let remembers = |(cluster, node, keys): &(ClusterId, usize, u8)| {
                Some(*cluster) != learned
                    && self.learned.contains(cluster)
                    && self.nodes[*node].keys == *keys
            };
            self.broken |= self.holders.iter().any(remembers);
        }
    }

    /// When a message arrives; `None` if it is lost.
    fn arrival(&mut self, from: usize, to: usize) -> Option<u64> {
        let now = self.now_ms;
        let apart = |cut: &Cut| {
            let active = cut.from_ms <= now && now < cut.to_ms;
            active && (cut.side >> from) & 1 != (cut.side >> to) & 1
        };
        let lost = self.random.below(100) < self.faults.loss_percent;
        let latency = self.random.within(1, 60);
        (!lost && !self.cuts.iter().any(apart)).then_some(now + latency)
    }
}

/// Faults of run number `seed`.
fn faults(seed: u64, wipes: bool) -> Faults {
    let mut random = Random(seed ^ 0xfa17);
    Faults {
        n_seeds: [2, 3, 3, 3, 5][usize::try_from(random.below(5)).unwrap()],
        n_others: random.below(2),
        loss_percent: [0, 3, 10, 30][usize::try_from(random.below(4)).unwrap()],
        n_crashes: random.below(5),
        n_cuts: random.below(4),
        wipes,
    }
}

/// What became of many runs.
#[derive(Debug, Default, Eq, PartialEq)]
struct Outcome {
    formed: u64,
    split: Vec<u64>,
    broken: Vec<u64>,
}

impl Outcome {
    fn of(seeds: impl Iterator<Item = u64>, wipes: bool) -> Self {
        let mut outcome = Self::default();
        for seed in seeds {
            let mut world = World::new(seed, faults(seed, wipes));
            outcome.formed += u64::from(world.run());
            outcome.split.extend((1 < world.learned.len()).then_some(seed));
            outcome.broken.extend(world.broken.then_some(seed));
        }
        outcome
    }
}

/// Runs seeds in two threads.
fn campaign(runs: u64, wipes: bool) -> Outcome {
    std::thread::scope(|scope| {
        let odd = scope.spawn(move || Outcome::of((1..runs).step_by(2), wipes));
        let mut outcome = Outcome::of((0..runs).step_by(2), wipes);
        let other = odd.join().unwrap();
        outcome.formed += other.formed;
        outcome.split.extend(other.split);
        outcome.broken.extend(other.broken);
        outcome
    })
}

#[test]
fn ten_thousand_foundings_never_split() {
    let runs = 10_000;
    let outcome = campaign(runs, false);
    assert_eq!(outcome.split, [], "these seeds founded two clusters");
    assert!(runs * 99 / 100 < outcome.formed, "only {} of {runs} formed", outcome.formed);
}

#[test]
fn one_seed_that_keeps_its_disk_keeps_the_cluster_one() {
    let outcome = campaign(1_000, true);
    assert_eq!(outcome.broken, [], "two clusters although a seed remembered the first");
    assert!(!outcome.split.is_empty(), "no run lost all disks: the faults are too mild");
}

#[test]
fn without_faults_a_cluster_forms_soon_after_the_last_start() {
    for seed in 0..100 {
        for n_seeds in [2, 3, 5] {
            let none = Faults {
                n_seeds,
                n_others: 1,
                loss_percent: 0,
                n_crashes: 0,
                n_cuts: 0,
                wipes: false,
            };
            let mut world = World::new(seed, none);
            assert!(world.run());
            // The last start is before 6 s; the slowest seed then waits for its turn once.
            assert!(world.now_ms < 9_000, "seed {seed}: {} ms", world.now_ms);
        }
    }
}
