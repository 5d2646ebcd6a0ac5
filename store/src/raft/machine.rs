//! The state machine: the model's state in memory, published after each batch.

use std::io;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use model::{Index, State};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, alias::SnapshotMetaOf, alias::SnapshotOf};
use tokio::sync::watch;

use super::types::{
    LogId, Outcome, StoredMembers, Types, log_id, members, membership_record, position,
};
use crate::changes::ChangeLog;
use crate::records::{Blob, SnapshotRecord};
use crate::snapshot::{self, SnapshotDir, SnapshotError, SnapshotFile};
use crate::writer::Report;

/// Entries that are applied before readers see them, so that a long catch-up is not silent.
const PUBLISH_EACH: usize = 256;

pub(crate) type Meta = SnapshotMetaOf<Types>;
pub(crate) type Snapshot = SnapshotOf<Types, SnapshotFile>;

/// Where applied state goes.
#[derive(Clone, Debug)]
pub(crate) struct Published {
    pub(crate) state: Arc<watch::Sender<Arc<State>>>,
    pub(crate) changes: ChangeLog,
}

impl Published {
    pub(crate) fn new() -> Self {
        let state = Arc::new(watch::Sender::new(Arc::new(State::default())));
        Self { state, changes: ChangeLog::new() }
    }
}

/// The state machine.
pub(crate) struct Machine {
    genesis: [u8; 16],
    state: State,
    applied: Option<LogId>,
    membership: StoredMembers,
    dir: SnapshotDir,
    published: Published,
}

impl Machine {
    /// Loads the newest snapshot. Blocks.
    pub(crate) fn load(
        genesis: [u8; 16],
        dir: SnapshotDir,
        published: Published,
    ) -> Result<Self, SnapshotError> {
        let newest = dir.newest()?;
        let mut machine = Self {
            genesis,
            state: State::default(),
            applied: None,
            membership: StoredMembers::default(),
            dir,
            published,
        };
        if let Some((file, state)) = newest {
            let path = file.path.clone();
            machine
                .jump(&file, state)
                .map_err(|source| SnapshotError::Unreadable { path, source: source.into() })?;
        }
        Ok(machine)
    }

    /// Up to where the snapshot reaches that it starts from.
    pub(crate) fn snapshot_last(&self) -> Option<LogId> {
        self.dir.current().and_then(|file| file.header.last.as_ref().map(log_id))
    }

    fn jump(&mut self, file: &SnapshotFile, state: State) -> io::Result<()> {
        let header = &file.header;
        if header.genesis != self.genesis {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the snapshot is of another cluster",
            ));
        }
        self.applied = header.last.as_ref().map(log_id);
        self.membership = StoredMembers::new(
            header.membership_at.as_ref().map(log_id),
            members(header.membership.clone())?,
        );
        self.state = state;
        let index = self.state.index();
        self.published.state.send_replace(Arc::new(self.state.clone()));
        self.published.changes.jump(index);
        Ok(())
    }

    fn apply_one(&mut self, entry: super::types::Entry) -> io::Result<Outcome> {
        let index = Index(entry.log_id.index);
        self.applied = Some(entry.log_id);
        match entry.payload {
            EntryPayload::Blank => {
                self.state.advance(index);
                Ok(Outcome(None))
            }
            EntryPayload::Membership(members) => {
                self.membership = StoredMembers::new(self.applied, members);
                self.state.advance(index);
                Ok(Outcome(None))
            }
            EntryPayload::Normal(Blob(bytes)) => {
                // A newer program may have written it. To skip it would make this node's state
                // another one than everybody else's, so it must stop instead.
                let entry = model::Entry::decode(&bytes)
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                let result = self.state.apply(index, &entry);
                self.published.changes.push(index, self.state.take_changes());
                Ok(Outcome(Some(result)))
            }
        }
    }

    fn publish(&self) {
        let index = self.state.index();
        self.published.state.send_replace(Arc::new(self.state.clone()));
        self.published.changes.publish(index);
    }

    fn meta(&self) -> Meta {
        Meta { last_log_id: self.applied, last_membership: self.membership.clone() }
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembers), io::Error> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<Strm>(&mut self, entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        let mut batches = entries.ready_chunks(PUBLISH_EACH);
        while let Some(batch) = batches.next().await {
            let mut answers = Vec::with_capacity(batch.len());
            for item in batch {
                let (entry, responder) = item?;
                let outcome = self.apply_one(entry)?;
                answers.extend(responder.map(|responder| (responder, outcome)));
            }
            // First the state, then the answers: who was answered reads what it wrote.
            self.publish();
            for (responder, outcome) in answers {
                responder.send(outcome);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder {
            genesis: self.genesis,
            state: self.state.clone(),
            meta: self.meta(),
            dir: self.dir.clone(),
        }
    }

    async fn install_snapshot(&mut self, _: &Meta, file: SnapshotFile) -> Result<(), io::Error> {
        let dir = self.dir.clone();
        let (file, state) = tokio::task::spawn_blocking(move || {
            let (header, state) = snapshot::load(&file.path)?;
            let file = dir.adopt(SnapshotFile { header, path: file.path })?;
            Ok((file, state))
        })
        .await
        .map_err(io::Error::other)?
        .map_err(|error: SnapshotError| io::Error::other(Report(&error).to_string()))?;
        self.jump(&file, state)
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        self.dir.current().map(snapshot_of).transpose()
    }
}

/// What openraft wants to know of a snapshot file.
pub(crate) fn snapshot_of(file: SnapshotFile) -> io::Result<Snapshot> {
    Ok(Snapshot {
        meta: Meta {
            last_log_id: file.header.last.as_ref().map(log_id),
            last_membership: StoredMembers::new(
                file.header.membership_at.as_ref().map(log_id),
                members(file.header.membership.clone())?,
            ),
        },
        snapshot: file,
    })
}

/// Writes a snapshot beside the machine: the state is a free clone.
pub(crate) struct Builder {
    genesis: [u8; 16],
    state: State,
    meta: Meta,
    dir: SnapshotDir,
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let header = SnapshotRecord {
            genesis: self.genesis,
            last: self.meta.last_log_id.as_ref().map(position),
            membership_at: self.meta.last_membership.log_id().as_ref().map(position),
            membership: membership_record(self.meta.last_membership.membership()),
        };
        let (dir, state) = (self.dir.clone(), self.state.clone());
        let file = tokio::task::spawn_blocking(move || dir.write(header, &state))
            .await
            .map_err(io::Error::other)?
            .map_err(|error| io::Error::other(Report(&error).to_string()))?;
        Ok(Snapshot { meta: self.meta.clone(), snapshot: file })
    }
}
