//! No member may keep us busy: gossip of each is read only so often.

use std::collections::BTreeMap;
use std::time::Duration;

use crypto::NodeId;
use tokio::time::Instant;

/// Messages of one member in one window. Between two nodes alone, three exchanges in each half
/// second make 12 a second; the rest is for answers after a stall.
const MESSAGES_MAX: u32 = 64;

const WINDOW: Duration = Duration::from_secs(1);

/// Members that are counted at once; more than there can be.
const COUNTED_MAX: usize = 1024;

/// How much each member said lately.
#[derive(Debug, Default)]
pub(super) struct Rates {
    said: BTreeMap<NodeId, (Instant, u32)>,
}

impl Rates {
    /// Counts one message. Returns whether it may be read.
    pub(super) fn allow(&mut self, now: Instant, node: NodeId) -> bool {
        if self.said.len() >= COUNTED_MAX {
            self.said.retain(|_, (since, _)| now < *since + WINDOW);
        }
        let (since, n_messages) = self.said.entry(node).or_insert((now, 0));
        if *since + WINDOW <= now {
            (*since, *n_messages) = (now, 0);
        }
        *n_messages = n_messages.saturating_add(1);
        *n_messages <= MESSAGES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_one_leaves_the_others_heard() {
        let (mut rates, start) = (Rates::default(), Instant::now());
        let (loud, calm) = (NodeId::from_bytes([1; 16]), NodeId::from_bytes([2; 16]));
        let read = (0..1_000).filter(|_| rates.allow(start, loud)).count();
        assert_eq!(read, 64);
        assert!(rates.allow(start, calm));
        assert!(rates.allow(start + WINDOW, loud));
    }
}
