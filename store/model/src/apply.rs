//! The one step that changes the state, the same on every node.
//!
//! Each command checks everything before it writes anything, so that a refusal changes nothing
//! but the index. A plan, whose steps build on each other, works on a clone that is dropped.

mod file;
mod network;
mod node;
mod object;
mod plan;
mod service;
mod task;

use crypto::NodeId;

use crate::change::ObjectKey;
use crate::command::{Applied, Command, Entry, Refused};
use crate::id::{Index, UnixNanos};
use crate::object::Cluster;
use crate::state::{Answer, State};

/// Where and when a command is applied.
#[derive(Clone, Copy)]
struct At {
    index: Index,
    now: UnixNanos,
}

impl At {
    const fn applied(self) -> Applied {
        Applied { index: self.index, raft_id: None, created: None }
    }

    const fn created(self, key: ObjectKey) -> Applied {
        Applied { index: self.index, raft_id: None, created: Some(key) }
    }
}

impl State {
    /// Requests whose outcome is remembered. At 100 writes a second that is 40 s: longer than
    /// the 15 s for which our own clients repeat a request.
    pub const REQUESTS_MAX: usize = 4_096;

    /// Applies one entry of the log.
    ///
    /// A request that was answered before gets the same answer again and has no second effect.
    ///
    /// # Errors
    ///
    /// [`Refused`]: an ordinary outcome, the same on every node; nothing but the index changed.
    pub fn apply(&mut self, index: Index, entry: &Entry) -> Result<Applied, Refused> {
        self.index = index;
        if let Some(answer) = entry.request.and_then(|request| self.answer(request)) {
            return answer.clone();
        }
        let result = self.step(At { index, now: entry.now }, &entry.command);
        if let Some(request) = entry.request {
            self.remember(request, Answer { index, result: result.clone() });
        }
        result
    }

    /// Takes note of a log entry that is no command: a blank one, or a change of voters.
    pub const fn advance(&mut self, index: Index) {
        self.index = index;
    }

    /// The planner must look again.
    const fn revise(&mut self) {
        self.revision.0 += 1;
    }

    fn step(&mut self, at: At, command: &Command) -> Result<Applied, Refused> {
        let Some(cluster) = self.cluster.clone() else {
            let Command::Found { id, founders } = command else {
                return Err(Refused::NotFounded("the cluster is not founded yet".to_owned()));
            };
            return self.found(at, *id, founders);
        };
        match command {
            Command::Found { .. } => {
                Err(Refused::NotFounded(format!("cluster {} is already founded", cluster.id)))
            }
            Command::Admit(admission) => self.admit(at, &cluster, admission),
            Command::UpdateNode { id, version, spec } => self.update_node(at, *id, *version, spec),
            Command::SetNodeStates(states) => self.set_node_states(at, states),
            Command::RemoveNode { id, force } => self.remove_node(at, &cluster, *id, *force),
            Command::CreateService { id, spec } => self.create_service(at, *id, spec),
            Command::UpdateService { id, version, to } => {
                self.update_service(at, *id, *version, to)
            }
            Command::RemoveService { id } => self.remove_service(at, *id),
            Command::AdoptPlan { based_on, decisions } => self.adopt(at, *based_on, decisions),
            Command::ReportTasks { node, incarnation, statuses } => {
                self.report(at, *node, *incarnation, statuses)
            }
            Command::UpdateCluster { version, spec } => {
                self.update_cluster(at, &cluster, *version, spec)
            }
            Command::RevokeToken(token) => Ok(self.revoke_token(at, &cluster, *token)),
            Command::RaisePskEpoch => self.raise_psk_epoch(at, &cluster),
            Command::CreateNetwork { id, spec } => self.create_network(at, *id, spec),
            Command::RemoveNetwork(id) => self.remove_network(at, *id),
            Command::CreateSecret { id, name, labels, sealed } => {
                self.create_secret(at, *id, file::File { name, labels, sealed })
            }
            Command::RemoveSecret(id) => self.remove_secret(at, *id),
            Command::CreateConfig { id, name, labels, sealed } => {
                self.create_config(at, *id, file::File { name, labels, sealed })
            }
            Command::RemoveConfig(id) => self.remove_config(at, *id),
            Command::UpdateSecret { id, version, labels } => {
                self.update_secret(at, *id, *version, labels)
            }
            Command::UpdateConfig { id, version, labels } => {
                self.update_config(at, *id, *version, labels)
            }
            Command::CreateServiceWithLogin { id, spec, login } => {
                let applied = self.create_service(at, *id, spec)?;
                self.put_login(*id, login);
                Ok(applied)
            }
            Command::UpdateServiceWithLogin { id, version, to, login } => {
                let applied = self.update_service(at, *id, *version, to)?;
                self.put_login(*id, login);
                Ok(applied)
            }
        }
    }
}

fn not_found(kind: &str, name: impl ToString) -> Refused {
    Refused::NotFound { kind: kind.to_owned(), name: name.to_string() }
}

fn taken(kind: &str, name: &str) -> Refused {
    Refused::NameTaken { kind: kind.to_owned(), name: crate::validate::quoted(name) }
}

/// What to do with a node whose identity is of no more use.
fn start_afresh(id: NodeId) -> String {
    format!(
        "to let the machine of node {id} join again: stop skep there, move its data directory \
         away and start skep; it joins as a new node"
    )
}

/// The cluster object with only `modified` moved: nobody wrote its spec.
fn touched(cluster: &Cluster, at: At) -> Cluster {
    Cluster { modified: at.index, ..cluster.clone() }
}
