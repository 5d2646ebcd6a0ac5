//! What to open and what to close so that the ports match what is wanted.

use std::collections::BTreeSet;

use crate::wanted::{PublishedPort, Wanted};

/// One step towards what is wanted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// Begin to listen.
    Open(PublishedPort),
    /// Take no new connection; those that exist drain.
    Close(PublishedPort),
}

/// Compares what is wanted with what is open. Closes come first, so that a port
/// that changes hands is free when it is opened.
#[must_use]
pub fn diff(wanted: &Wanted, open: &BTreeSet<PublishedPort>) -> Vec<Step> {
    let close = open.iter().filter(|port| !wanted.contains_key(port)).copied().map(Step::Close);
    let missing = wanted.keys().filter(|port| !open.contains(port)).copied().map(Step::Open);
    close.chain(missing).collect()
}

#[cfg(test)]
mod tests {
    use model::service::Protocol;
    use proptest::prelude::*;

    use super::*;
    use crate::wanted::Backends;

    fn port(port: u16) -> PublishedPort {
        PublishedPort { protocol: Protocol::Tcp, port }
    }

    proptest! {
        #[test]
        fn taking_the_steps_reaches_what_is_wanted(
            wish in prop::collection::btree_set(1_u16..20, 0..10),
            open in prop::collection::btree_set(1_u16..20, 0..10),
        ) {
            let wanted: Wanted = wish.into_iter().map(|n| (port(n), Backends::default())).collect();
            let mut open: BTreeSet<_> = open.into_iter().map(port).collect();
            for step in diff(&wanted, &open) {
                match step {
                    Step::Open(port) => prop_assert!(open.insert(port)),
                    Step::Close(port) => prop_assert!(open.remove(&port)),
                }
            }
            prop_assert_eq!(&open, &wanted.keys().copied().collect());
            prop_assert_eq!(diff(&wanted, &open), vec![]);
        }
    }
}
