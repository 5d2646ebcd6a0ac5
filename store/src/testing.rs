//! Small helpers that several tests share.

use crypto::NodeId;
use model::{
    Admission, ClusterId, Command, Entry, Grant, Index, NodeDescription, State, UnixNanos,
};

pub(crate) const CLUSTER: ClusterId = ClusterId::from_bytes([7; 16]);

pub(crate) fn admission(number: u64) -> Admission {
    let mut ed25519 = [0; 32];
    ed25519[..8].copy_from_slice(&number.to_be_bytes());
    Admission {
        id: NodeId::of_key(&ed25519),
        ed25519,
        x25519: [1; 32],
        grant: Grant::Eligible,
        token: None,
        availability: model::Availability::Active,
        incarnation: 1,
        description: NodeDescription::default(),
    }
}

pub(crate) fn node(number: u64) -> NodeId {
    admission(number).id
}

/// A founded cluster with so many nodes.
pub(crate) fn state_with_nodes(nodes: u64) -> State {
    let mut state = State::default();
    let founders = (1..=nodes).map(|number| (number, admission(number))).collect();
    let command = Command::Found { id: CLUSTER, founders };
    let entry = Entry { request: None, now: UnixNanos(1), command };
    state.apply(Index(1), &entry).unwrap();
    state.take_changes();
    state
}
