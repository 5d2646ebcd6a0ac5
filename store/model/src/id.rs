//! Names of the replicated objects. Each kind has a type of its own.

use std::fmt;
use std::str::FromStr;

use crypto::id::{BadId, id_from_text, id_to_text};
use serde::{Deserialize, Serialize};

macro_rules! object_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
        pub struct $name([u8; 16]);

        impl $name {
            /// From 16 bytes, which whoever proposes the object draws at random.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// Its raw bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&id_to_text(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = BadId;

            fn from_str(text: &str) -> Result<Self, BadId> {
                id_from_text(text).map(Self)
            }
        }
    };
}

object_id!(
    /// A cluster: made once, at genesis.
    ClusterId
);
object_id!(
    /// A service.
    ServiceId
);
object_id!(
    /// A task: one slot's one attempt.
    TaskId
);
object_id!(
    /// An overlay network.
    NetworkId
);
object_id!(
    /// A secret.
    SecretId
);
object_id!(
    /// A config.
    ConfigId
);
object_id!(
    /// A join token.
    TokenId
);

impl TaskId {
    /// The name of a new task, computed from what makes it unique.
    ///
    /// The planner may not draw random numbers; `revision` never repeats, and
    /// within one plan no two new tasks share service, slot and node.
    #[must_use]
    pub fn derive(service: ServiceId, slot: Slot, revision: Revision) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("skep 2026 task id v1");
        hasher.update(service.as_bytes());
        match slot {
            Slot::Replica(number) => hasher.update(&[0]).update(&number.to_be_bytes()),
            Slot::Node(node) => hasher.update(&[1]).update(node.as_bytes()),
        };
        hasher.update(&revision.0.to_be_bytes());
        let mut id = [0; 16];
        id.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Self(id)
    }
}

/// The place of a task in its service.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Slot {
    /// Replicated services count from 1, replicated jobs from 0.
    Replica(u64),
    /// Global services and jobs have one slot for each node.
    Node(crypto::NodeId),
}

/// How many specs and plans the state has adopted: a plan names the revision
/// that it was made for, and a late plan is refused as a whole.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
pub struct Revision(pub u64);

/// Index of the Raft log entry that wrote something; 0 before the first.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
pub struct Index(pub u64);

impl fmt::Display for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Nanoseconds since 1970-01-01 00:00 UTC, by the clock of whoever proposed.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
pub struct UnixNanos(pub u64);

impl UnixNanos {
    /// This moment plus a duration in nanoseconds.
    #[must_use]
    pub const fn plus(self, nanos: u64) -> Self {
        Self(self.0.saturating_add(nanos))
    }

    /// Nanoseconds since `earlier`; 0 if the clock went back.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}
