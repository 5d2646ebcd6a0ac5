//! What each state says and refuses.

use crypto::NodePublic;

use super::super::seeds::Rule;
use super::*;

const CHANCE: Chance = Chance { jitter: 0, cluster: [9; 16] };

fn me(key: u8) -> Candidate {
    let key = [key; 32];
    Candidate { public: NodePublic { ed25519: key, x25519: key }, zone: String::new() }
}

fn setup(seeds: &[&str], slot: Option<u16>) -> Setup {
    let seeds = Arc::new(SeedList::new(seeds, Rule::Automatic).unwrap());
    let key = slot.map_or(100, |slot| u8::try_from(slot).unwrap());
    Setup { seeds, slot, me: me(key), eligible: true, found: false, start: [0; 16] }
}

fn seed_of_three(slot: u16) -> Founding {
    Founding::new(setup(&["a", "b", "c"], Some(slot)), None).unwrap()
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Asks every node once and gives it the answers.
fn round(nodes: &mut [Founding], asker: usize, now: Duration) {
    for out in nodes[asker].tick(now, UnixNanos(1), CHANCE) {
        let answer = nodes[usize::from(out.slot)].receive(&out.message);
        nodes[asker].answered(now, out.slot, out.ticket, answer);
    }
}

#[test]
fn three_seeds_agree_and_say_so() {
    let mut nodes: Vec<Founding> = (0..3).map(seed_of_three).collect();
    for tenths in 0..30 {
        round(&mut nodes, 0, Duration::from_millis(tenths * 100));
    }
    let genesis = nodes[0].genesis().unwrap().clone();
    assert_eq!(genesis.cluster, ClusterId::from_bytes([9; 16]));
    assert_eq!(genesis.founders.len(), 3);
    assert!(nodes.iter().all(|node| node.genesis() == Some(&genesis)));
    assert!(nodes[0].is_quiet());
    let mut joiner = Founding::new(setup(&["c"], None), None).unwrap();
    let out = joiner.tick(at(9), UnixNanos(1), CHANCE).remove(0);
    let answer = nodes[2].receive(&out.message);
    joiner.answered(at(9), out.slot, out.ticket, answer);
    assert_eq!(joiner.genesis(), Some(&genesis), "any subset of the seeds is enough to join");
}

#[test]
fn one_seed_founds_only_when_told_to() {
    let mut alone = Founding::new(setup(&["a"], Some(0)), None).unwrap();
    assert_eq!(alone.tick(at(99), UnixNanos(1), CHANCE).len(), 0);
    assert!(alone.genesis().is_none());
    assert!(alone.problem().unwrap().to_string().contains("use --found"));
    let told = Setup { found: true, ..setup(&["a"], Some(0)) };
    let mut told = Founding::new(told, None).unwrap();
    told.tick(at(0), UnixNanos(1), CHANCE);
    assert_eq!(told.genesis().unwrap().founders.len(), 1);
}

#[test]
fn what_cannot_found_a_cluster_is_named() {
    let twin = Founding::new(Setup { me: me(0), ..setup(&["a", "b", "c"], Some(1)) }, None);
    let worker = Setup { eligible: false, ..setup(&["a", "b", "c"], Some(1)) };
    let list = ["a:7964", "b:7964", "c:7964"].map(str::to_owned).to_vec();
    for (other, expected) in [
        (
            Founding::new(setup(&["a", "b"], Some(1)), None),
            Problem::OtherSeeds {
                entry: "b:7964".to_owned(),
                theirs: list[..2].to_vec(),
                ours: list.clone(),
            },
        ),
        (
            Founding::new(worker, None),
            Problem::WorkerOnly { entry: "b:7964".to_owned(), node: me(1).id() },
        ),
        (
            twin,
            Problem::SameNode {
                first: "a:7964".to_owned(),
                second: "b:7964".to_owned(),
                node: me(0).id(),
            },
        ),
        (
            Founding::new(setup(&["a", "b", "c"], None), None),
            Problem::NotItself { entry: "b:7964".to_owned(), node: me(100).id() },
        ),
    ] {
        let mut nodes = vec![seed_of_three(0), other.unwrap(), seed_of_three(2)];
        for tenths in 0..100 {
            round(&mut nodes, 0, Duration::from_millis(tenths * 100));
        }
        assert_eq!(nodes[0].problem(), Some(expected));
        assert!(nodes[0].genesis().is_none());
    }
}

#[test]
fn another_list_is_refused_once_something_was_accepted() {
    let mut nodes: Vec<Founding> = (0..3).map(seed_of_three).collect();
    let genesis = Genesis::propose(
        &nodes[0].setup.seeds,
        &[(0, me(0)), (1, me(1)), (2, me(2))],
        ClusterId::from_bytes([1; 16]),
        UnixNanos(1),
    );
    let ballot = Ballot { round: 1, slot: 0, start: [0; 16] };
    let seed_hash = nodes[0].setup.seeds.hash();
    let promise = Message::Prepare { seed_hash, to: 1, ballot };
    assert!(matches!(nodes[1].receive(&promise), Answer::Promised { .. }));
    let promised = nodes[1].unsaved().unwrap().clone();
    let other = || setup(&["a", "b", "d"], Some(1));
    assert!(Founding::new(other(), Some(promised)).is_ok(), "a promise binds nobody else");
    let node = me(1).id();
    let accept = Message::Accept { seed_hash, to: 1, node, ballot, genesis };
    assert!(matches!(nodes[1].receive(&accept), Answer::Accepted { .. }));
    let accepted = nodes[1].unsaved().unwrap().clone();
    let refused = Founding::new(other(), Some(accepted.clone())).unwrap_err();
    assert!(refused.to_string().contains("[a:7964, b:7964, c:7964]"), "{refused}");
    assert_eq!(Record::decode(&accepted.encode().unwrap()).unwrap(), accepted);
}

#[test]
fn two_clusters_are_an_alarm() {
    let told = |seed| {
        let setup = Setup { found: true, me: me(seed), ..setup(&["a"], Some(0)) };
        let mut node = Founding::new(setup, None).unwrap();
        node.tick(at(0), UnixNanos(1), Chance { jitter: 0, cluster: [seed; 16] });
        node
    };
    let (mut one, two) = (told(1), told(2));
    one.learn("x:7964", two.genesis().unwrap().clone());
    let text = one.problem().unwrap().to_string();
    assert!(text.contains("x:7964 says that the cluster is"), "{text}");
    assert_eq!(one.genesis().unwrap().id(), [1; 16]);
}
