//! Snapshots in chunks, and entries of the log as bytes.
//!
//! Each chunk is one envelope of [`crypto::wire`] with records of one kind. Kinds are only ever
//! added: a program that meets one it does not know must stop, not skip it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crypto::wire::{self, WireError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::command::{Entry, RequestId};
use crate::id::{Index, Revision, ServiceId};
use crate::node::Node;
use crate::object::{Cluster, Config, Network, Secret};
use crate::service::{Service, TaskSpec};
use crate::state::{Answer, State};
use crate::task::Task;

const VERSION: u16 = 1;
const ENTRY: u16 = 0x0201;
const HEAD: u16 = 0x0210;
const CLUSTER: u16 = 0x0211;
const NODES: u16 = 0x0212;
const SERVICES: u16 = 0x0213;
const TASKS: u16 = 0x0214;
const NETWORKS: u16 = 0x0215;
const SECRETS: u16 = 0x0216;
const CONFIGS: u16 = 0x0217;
const REQUESTS: u16 = 0x0218;
const LOGINS: u16 = 0x0219;

/// Largest chunk. 32 tasks with the longest specs are 4 MiB; everything else is smaller.
pub const CHUNK_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Records in one chunk, so that the longest ones still fit it.
const TASKS_PER_CHUNK: usize = 32;
const NODES_PER_CHUNK: usize = 64;
const SERVICES_PER_CHUNK: usize = 16;
const NETWORKS_PER_CHUNK: usize = 16;
const FILES_PER_CHUNK: usize = 4;
const REQUESTS_PER_CHUNK: usize = 1_024;
const LOGINS_PER_CHUNK: usize = 64;

impl Entry {
    /// Largest entry: a config of 1,000 KiB with its labels fits. Longer plans are split.
    pub const BYTES_MAX: usize = 1_536 * 1024;

    /// The entry as bytes, for the log.
    ///
    /// # Errors
    ///
    /// [`WireError::Encode`]: a mistake in a type.
    pub fn encode(&self) -> Result<Vec<u8>, WireError> {
        wire::encode(ENTRY, VERSION, self)
    }

    /// What [`Entry::encode`] wrote.
    ///
    /// # Errors
    ///
    /// [`WireError`] for anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        wire::decode(bytes, ENTRY, VERSION, Self::BYTES_MAX)
    }
}

/// First chunk: what is about to come.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct Head {
    index: Index,
    revision: Revision,
    n_nodes: u64,
    n_services: u64,
    n_tasks: u64,
    n_networks: u64,
    n_secrets: u64,
    n_configs: u64,
    n_requests: u64,
}

/// Version of the first chunk where registry logins follow; without any it is written as
/// earlier programs did.
const VERSION_WITH_LOGINS: u16 = 2;

/// First chunk of a state with registry logins.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct WholeHead {
    head: Head,
    n_logins: u64,
}

impl WholeHead {
    fn of(state: &State) -> Self {
        Self { head: Head::of(state), n_logins: state.logins.len() as u64 }
    }

    fn encode(self) -> Result<Vec<u8>, WireError> {
        match self.n_logins {
            0 => wire::encode(HEAD, VERSION, &self.head),
            _ => wire::encode(HEAD, VERSION_WITH_LOGINS, &self),
        }
    }

    fn decode(chunk: &[u8]) -> Result<Self, WireError> {
        match wire::peek(chunk)? {
            (_, VERSION_WITH_LOGINS) => {
                wire::decode(chunk, HEAD, VERSION_WITH_LOGINS, CHUNK_BYTES_MAX)
            }
            _ => Ok(Self { head: read(chunk, HEAD)?, n_logins: 0 }),
        }
    }
}

impl Head {
    fn of(state: &State) -> Self {
        Self {
            index: state.index,
            revision: state.revision,
            n_nodes: state.nodes.len() as u64,
            n_services: state.services.len() as u64,
            n_tasks: state.tasks.len() as u64,
            n_networks: state.networks.len() as u64,
            n_secrets: state.secrets.len() as u64,
            n_configs: state.configs.len() as u64,
            n_requests: state.requests.len() as u64,
        }
    }
}

impl State {
    /// The whole state as chunks, in the order in which [`StateBuilder`] takes them.
    ///
    /// Equal states give equal chunks.
    pub fn chunks(&self) -> impl Iterator<Item = Result<Vec<u8>, WireError>> + '_ {
        let logins = self.logins.iter().map(|(service, login)| (service, login.to_vec()));
        std::iter::once_with(|| WholeHead::of(self).encode())
            .chain(self.cluster.iter().map(|cluster| wire::encode(CLUSTER, VERSION, cluster)))
            .chain(groups(NODES, NODES_PER_CHUNK, self.nodes.values()))
            .chain(groups(NETWORKS, NETWORKS_PER_CHUNK, self.networks.values()))
            .chain(groups(SECRETS, FILES_PER_CHUNK, self.secrets.values()))
            .chain(groups(CONFIGS, FILES_PER_CHUNK, self.configs.values()))
            .chain(groups(SERVICES, SERVICES_PER_CHUNK, self.services.values()))
            .chain(groups(TASKS, TASKS_PER_CHUNK, self.tasks.values()))
            .chain(groups(REQUESTS, REQUESTS_PER_CHUNK, self.requests.iter()))
            .chain(groups(LOGINS, LOGINS_PER_CHUNK, logins))
    }
}

fn groups<T: Serialize>(
    kind: u16,
    size: usize,
    mut values: impl Iterator<Item = T>,
) -> impl Iterator<Item = Result<Vec<u8>, WireError>> {
    std::iter::from_fn(move || {
        let group: Vec<T> = values.by_ref().take(size).collect();
        (!group.is_empty()).then(|| wire::encode(kind, VERSION, &group))
    })
}

/// Chunks that make no state.
#[derive(Debug, Error)]
pub enum SnapshotError {
    /// A chunk could not be read.
    #[error("cannot read a chunk of a snapshot")]
    Chunk {
        /// Why not.
        #[from]
        source: WireError,
    },
    /// A newer program wrote it.
    #[error("a snapshot has chunks of kind {kind}, which this version of skep does not know")]
    UnknownKind {
        /// Which kind.
        kind: u16,
    },
    /// The first chunk is missing or came twice.
    #[error("a snapshot does not begin with its head")]
    NoHead,
    /// Chunks are missing, or came twice.
    #[error("a snapshot is not complete")]
    Incomplete,
}

/// Makes a state of chunks.
#[derive(Debug, Default)]
pub struct StateBuilder {
    head: Option<WholeHead>,
    state: State,
    /// Tasks of one service and version share their spec, as they did before.
    specs: BTreeMap<(ServiceId, Index), Arc<TaskSpec>>,
}

impl StateBuilder {
    /// Takes the next chunk.
    ///
    /// # Errors
    ///
    /// [`SnapshotError`]; the builder is of no more use then.
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), SnapshotError> {
        let (kind, _) = wire::peek(chunk)?;
        if (kind == HEAD) == self.head.is_some() {
            return Err(SnapshotError::NoHead);
        }
        match kind {
            HEAD => {
                let whole = WholeHead::decode(chunk)?;
                self.state.index = whole.head.index;
                self.state.revision = whole.head.revision;
                self.head = Some(whole);
            }
            CLUSTER => self.state.put_cluster(read::<Cluster>(chunk, kind)?),
            NODES => each(chunk, kind, |node: Node| self.state.put_node(node))?,
            SERVICES => each(chunk, kind, |service: Service| self.state.put_service(service))?,
            TASKS => each(chunk, kind, |task: Task| self.put_task(task))?,
            NETWORKS => each(chunk, kind, |network: Network| self.state.put_network(network))?,
            SECRETS => each(chunk, kind, |secret: Secret| self.state.put_secret(secret))?,
            CONFIGS => each(chunk, kind, |config: Config| self.state.put_config(config))?,
            REQUESTS => each(chunk, kind, |(request, answer): (RequestId, Answer)| {
                self.state.remember(request, answer);
            })?,
            LOGINS => each(chunk, kind, |(service, login): (ServiceId, Vec<u8>)| {
                self.state.put_login(service, &login);
            })?,
            kind => return Err(SnapshotError::UnknownKind { kind }),
        }
        self.state.take_changes();
        Ok(())
    }

    fn put_task(&mut self, mut task: Task) {
        let shared = self
            .specs
            .entry((task.service, task.spec_version))
            .or_insert_with(|| Arc::clone(&task.spec));
        if *shared == task.spec {
            task.spec = Arc::clone(shared);
        }
        self.state.put_task(task);
    }

    /// The state, if all of it came.
    ///
    /// # Errors
    ///
    /// [`SnapshotError::NoHead`] or [`SnapshotError::Incomplete`].
    pub fn finish(self) -> Result<State, SnapshotError> {
        let head = self.head.ok_or(SnapshotError::NoHead)?;
        if head != WholeHead::of(&self.state) {
            return Err(SnapshotError::Incomplete);
        }
        Ok(self.state)
    }
}

fn read<T: DeserializeOwned>(chunk: &[u8], kind: u16) -> Result<T, WireError> {
    wire::decode(chunk, kind, VERSION, CHUNK_BYTES_MAX)
}

fn each<T: DeserializeOwned>(
    chunk: &[u8],
    kind: u16,
    take: impl FnMut(T),
) -> Result<(), WireError> {
    read::<Vec<T>>(chunk, kind)?.into_iter().for_each(take);
    Ok(())
}
