//! In which order a connection tries its backends.

use crate::wanted::{Backend, Backends};

/// Backends that one connection tries: one that is stale by a moment must not
/// fail it, a service that is down must not hold it for long.
const ATTEMPTS_MAX: usize = 4;

/// Round robin over the tasks of one port.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rotation {
    next: usize,
}

impl Rotation {
    /// The backends for the next connection, best first: tasks of this node in
    /// turn, then tasks of other nodes in turn.
    #[must_use]
    pub fn order(&mut self, backends: &Backends) -> Vec<Backend> {
        let turn = self.next;
        self.next = self.next.wrapping_add(1);
        let local = rotated(&backends.local, turn);
        let remote = rotated(&backends.remote, turn);
        local.chain(remote).copied().take(ATTEMPTS_MAX).collect()
    }
}

fn rotated(backends: &[Backend], turn: usize) -> impl Iterator<Item = &Backend> {
    let start = turn.checked_rem(backends.len()).unwrap_or(0);
    backends[start..].iter().chain(&backends[..start])
}

#[cfg(test)]
mod tests {
    use crypto::NodeId;
    use model::TaskId;

    use super::*;

    fn backends(tasks: &[u8]) -> Vec<Backend> {
        let backend = |task: &u8| Backend {
            task: TaskId::from_bytes([*task; 16]),
            node: NodeId::from_bytes([*task; 16]),
            target_port: 80,
        };
        tasks.iter().map(backend).collect()
    }

    fn turns(local: &[u8], remote: &[u8], n_turns: usize) -> Vec<Vec<u8>> {
        let backends = Backends { local: backends(local), remote: backends(remote) };
        let mut rotation = Rotation::default();
        (0..n_turns)
            .map(|_| rotation.order(&backends).iter().map(|b| b.task.as_bytes()[0]).collect())
            .collect()
    }

    #[test]
    fn takes_turns_and_prefers_this_node() {
        assert_eq!(turns(&[], &[1, 2, 3], 4), [[1, 2, 3], [2, 3, 1], [3, 1, 2], [1, 2, 3]]);
        assert_eq!(turns(&[1, 2], &[3], 2), [[1, 2, 3], [2, 1, 3]]);
        assert_eq!(turns(&[], &[], 1), [[0_u8; 0]]);
        assert_eq!(turns(&[], &[1, 2, 3, 4, 5, 6], 1), [[1, 2, 3, 4]]);
    }
}
