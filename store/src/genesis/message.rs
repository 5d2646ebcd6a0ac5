//! What seeds say to each other, and what they agree on.
//!
//! The enums are append-only: bincode writes the position of a variant.

use crypto::{NodeId, NodePublic};
use model::{Admission, ClusterId, Command, Grant, NodeDescription, UnixNanos};
use serde::{Deserialize, Serialize};

use super::seeds::{SeedHash, SeedList};

/// A try to found the cluster; a higher one overrules a lower one.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Ballot {
    /// Rises with each try.
    pub round: u64,
    /// Who tries.
    pub slot: u16,
    /// Drawn at each start, so that a wiped proposer does not use a ballot twice.
    pub start: [u8; 16],
}

/// A seed as it presents itself.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Candidate {
    /// Its keys.
    pub public: NodePublic,
    /// Voters are spread over zones; empty if it has none.
    pub zone: String,
}

impl Candidate {
    /// Its node id.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.public.id()
    }
}

/// A first voter.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Founder {
    /// Its slot + 1.
    pub raft_id: u64,
    /// Its keys.
    pub public: NodePublic,
}

impl Founder {
    /// Its node id.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.public.id()
    }
}

/// The one event that founds a cluster.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Genesis {
    /// The cluster.
    pub cluster: ClusterId,
    /// List and rule that it was founded with.
    pub seed_hash: SeedHash,
    /// The first voters, by slot.
    pub founders: Vec<Founder>,
    /// First generation of gossip keys.
    pub psk_epoch: u32,
    /// When, by the clock of whoever proposed it.
    pub created_at: UnixNanos,
}

impl Genesis {
    /// The genesis id that gossip, handshakes and Raft carry: the cluster's.
    #[must_use]
    pub const fn id(&self) -> [u8; 16] {
        *self.cluster.as_bytes()
    }

    /// The Raft id of a founder; `None` for everybody else.
    #[must_use]
    pub fn raft_id_of(&self, node: NodeId) -> Option<u64> {
        self.founders.iter().find(|founder| founder.id() == node).map(|founder| founder.raft_id)
    }

    /// The first entry of the log. What the founders say of themselves, they say when they are
    /// admitted like everybody else.
    #[must_use]
    pub fn found_command(&self) -> Command {
        let admission = |founder: &Founder| Admission {
            id: founder.id(),
            ed25519: founder.public.ed25519,
            x25519: founder.public.x25519,
            grant: Grant::Eligible,
            token: None,
            availability: model::Availability::Active,
            incarnation: 0,
            description: NodeDescription::default(),
        };
        let founders =
            self.founders.iter().map(|founder| (founder.raft_id, admission(founder))).collect();
        Command::Found { id: self.cluster, founders }
    }

    /// Chooses the founders among all seeds: over as many zones as possible, then by slot.
    pub(crate) fn propose(
        seeds: &SeedList,
        candidates: &[(u16, Candidate)],
        cluster: ClusterId,
        created_at: UnixNanos,
    ) -> Self {
        let mut left: Vec<&(u16, Candidate)> = candidates.iter().collect();
        let mut chosen: Vec<&(u16, Candidate)> = Vec::new();
        while chosen.len() < seeds.n_founders() {
            let crowd = |zone: &str| chosen.iter().filter(|(_, c)| c.zone == zone).count();
            let next = (0..left.len()).min_by_key(|at| (crowd(&left[*at].1.zone), left[*at].0));
            let Some(next) = next else { break };
            let next = left.remove(next);
            chosen.push(next);
        }
        chosen.sort_by_key(|(slot, _)| *slot);
        let founders = chosen
            .into_iter()
            .map(|(slot, c)| Founder { raft_id: u64::from(*slot) + 1, public: c.public })
            .collect();
        let psk_epoch = model::Cluster::FIRST_PSK_EPOCH;
        Self { cluster, seed_hash: seeds.hash(), founders, psk_epoch, created_at }
    }
}

/// A question of one node to a seed. Append only.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Message {
    /// Do you know a genesis?
    Ask {
        /// The asker's list, if the asker is one of its seeds and may found.
        seed: Option<SeedHash>,
    },
    /// Promise to ignore lower ballots.
    Prepare {
        /// List and rule.
        seed_hash: SeedHash,
        /// The slot that is asked.
        to: u16,
        /// The try.
        ballot: Ballot,
    },
    /// Accept this genesis.
    Accept {
        /// List and rule.
        seed_hash: SeedHash,
        /// The slot that is asked.
        to: u16,
        /// Who promised in this slot.
        node: NodeId,
        /// The try.
        ballot: Ballot,
        /// What to accept.
        genesis: Genesis,
    },
    /// This genesis was chosen.
    Chosen(Genesis),
}

/// The answer of a seed. Append only.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Answer {
    /// This genesis was chosen.
    Genesis(Genesis),
    /// None that it knows of.
    None {
        /// The slot it believes to have; `None` if it does not find itself in its list.
        slot: Option<u16>,
        /// Who it is.
        me: Candidate,
    },
    /// It promises.
    Promised {
        /// To ignore what is lower than this.
        ballot: Ballot,
        /// What it accepted before.
        accepted: Option<(Ballot, Genesis)>,
        /// Who it is.
        me: Candidate,
    },
    /// It accepted.
    Accepted {
        /// In this try.
        ballot: Ballot,
    },
    /// It promised something higher.
    Overruled {
        /// What it promised.
        promised: Ballot,
    },
    /// It takes no part.
    Denied(Denial),
}

/// Why a node takes no part in a ballot. Append only.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Denial {
    /// It has another list.
    OtherSeeds {
        /// Its list.
        entries: Vec<String>,
    },
    /// It holds no cluster key.
    WorkerOnly {
        /// Who it is.
        node: NodeId,
    },
    /// It is not that seed, or no longer that node.
    NotThatSeed {
        /// The slot it believes to have.
        slot: Option<u16>,
        /// Who it is.
        node: NodeId,
    },
    /// It knows another genesis.
    OtherGenesis(Genesis),
}

#[cfg(test)]
mod tests {
    use super::super::seeds::Rule;
    use super::*;

    fn candidate(slot: u16, zone: &str) -> (u16, Candidate) {
        let key = [u8::try_from(slot).unwrap(); 32];
        (
            slot,
            Candidate { public: NodePublic { ed25519: key, x25519: key }, zone: zone.to_owned() },
        )
    }

    #[test]
    fn founders_are_spread_over_zones_then_taken_by_slot() {
        for (zones, expected) in [
            (&["", "", ""][..], &[1, 2, 3][..]),
            (&["", ""], &[1]),
            (&["", "", "", ""], &[1, 2, 3]),
            (&["x", "x", "x", "y"], &[1, 2, 4]),
            (&["x", "x", "y", "z"], &[1, 3, 4]),
        ] {
            let entries: Vec<String> = (0..zones.len()).map(|slot| format!("s{slot}")).collect();
            let seeds = SeedList::new(&entries, Rule::Automatic).unwrap();
            let candidates: Vec<_> =
                zones.iter().zip(0..).map(|(zone, slot)| candidate(slot, zone)).collect();
            let id = ClusterId::from_bytes([1; 16]);
            let genesis = Genesis::propose(&seeds, &candidates, id, UnixNanos(1));
            let raft_ids: Vec<u64> = genesis.founders.iter().map(|f| f.raft_id).collect();
            assert_eq!(raft_ids, expected, "{zones:?}");
        }
    }

    #[test]
    fn the_first_entry_founds_the_cluster() {
        let seeds = SeedList::new(["a", "b", "c"], Rule::Automatic).unwrap();
        let candidates: Vec<_> = (0..3).map(|slot| candidate(slot, "")).collect();
        let id = ClusterId::from_bytes([1; 16]);
        let genesis = Genesis::propose(&seeds, &candidates, id, UnixNanos(1));
        let entry =
            model::Entry { request: None, now: UnixNanos(1), command: genesis.found_command() };
        let mut state = model::State::default();
        state.apply(model::Index(1), &entry).unwrap();
        let node = candidates[2].1.id();
        assert_eq!(state.node(node).map(|node| node.raft_id), genesis.raft_id_of(node));
    }
}
