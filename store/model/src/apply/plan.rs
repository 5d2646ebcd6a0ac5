//! Adopting a plan: whole, or not at all.

use std::sync::Arc;

use crate::command::{Applied, Decision, Refused};
use crate::id::{Revision, ServiceId, TaskId};
use crate::node::NodeState;
use crate::service::{PortConfig, Service, UpdateStatus};
use crate::state::State;
use crate::task::{Task, TaskState};

use super::{At, not_found};

/// Siblings that are searched for a spec to share: after an update most have the new one.
const SIBLINGS_MAX: usize = 256;

impl State {
    pub(super) fn adopt(
        &mut self,
        at: At,
        based_on: Revision,
        decisions: &[Decision],
    ) -> Result<Applied, Refused> {
        if based_on != self.revision {
            return Err(Refused::Outdated { based_on, current: self.revision });
        }
        let mut told = self.take_changes();
        let before = self.clone();
        for decision in decisions {
            if let Err(refused) = self.decide(at, decision) {
                *self = before;
                self.changes = told;
                return Err(refused);
            }
        }
        told.append(&mut self.changes);
        self.changes = told;
        self.revise();
        Ok(at.applied())
    }

    fn decide(&mut self, at: At, decision: &Decision) -> Result<(), Refused> {
        match decision {
            Decision::CreateTask(new) => self.create_task(at, &new.task),
            Decision::Assign { task, node } => {
                self.known_node(*node)?;
                let task = self.unassigned(*task)?;
                self.assign(at, task, *node);
                Ok(())
            }
            Decision::Desire { task, desired } => {
                if *desired < self.known_task(*task)?.desired {
                    return Err(unlawful(*task, "is wanted further already"));
                }
                self.desire(at, *task, *desired);
                Ok(())
            }
            Decision::Wait { task, state, message, reason } => {
                let mut task = Task::clone(&*self.unassigned(*task)?);
                if *state < task.status.state || TaskState::Pending < *state {
                    return Err(unlawful(task.id, "cannot wait in that state"));
                }
                task.status.state = *state;
                task.status.at = at.now;
                task.status.message.clone_from(message);
                task.status.error.clone_from(reason);
                self.put_task(stamped(at, task));
                Ok(())
            }
            Decision::Forget(task) => self.forget(*task),
            Decision::Orphan(task) => self.give_up(at, *task),
            Decision::Ports { service, ports } => self.publish(at, *service, ports),
            Decision::Update { service, status } => {
                let mut service = Service::clone(&*self.known_service(*service)?);
                service.update_status = Some(status.clone());
                service.modified = at.index;
                self.put_service(service);
                Ok(())
            }
            Decision::RollBack { service, status } => self.roll_back(at, *service, status),
        }
    }

    fn known_task(&self, id: TaskId) -> Result<Arc<Task>, Refused> {
        self.tasks.get(&id).cloned().ok_or_else(|| not_found("task", id))
    }

    fn known_service(&self, id: ServiceId) -> Result<Arc<Service>, Refused> {
        self.services.get(&id).cloned().ok_or_else(|| not_found("service", id))
    }

    fn known_node(&self, id: crypto::NodeId) -> Result<(), Refused> {
        self.nodes.get(&id).map(|_| ()).ok_or_else(|| not_found("node", id))
    }

    fn unassigned(&self, id: TaskId) -> Result<Arc<Task>, Refused> {
        let task = self.known_task(id)?;
        match task.node {
            None => Ok(task),
            Some(_) => Err(unlawful(id, "has a node already, and never moves")),
        }
    }

    fn create_task(&mut self, at: At, task: &Task) -> Result<(), Refused> {
        let service = self.known_service(task.service)?;
        if self.tasks.contains_key(&task.id) {
            return Err(unlawful(task.id, "exists already"));
        }
        if let Some(node) = task.node {
            self.known_node(node)?;
        }
        let last = if task.node.is_some() { TaskState::Assigned } else { TaskState::Pending };
        if last < task.status.state {
            return Err(unlawful(task.id, "cannot be born in that state"));
        }
        let mut task = task.clone();
        task.spec = self.shared_spec(&service, &task);
        task.created = at.index;
        task.created_at = at.now;
        task.status.at = at.now;
        self.put_task(stamped(at, task));
        Ok(())
    }

    /// The spec of a sibling, if it is the same: a thousand tasks keep one copy.
    fn shared_spec(&self, service: &Service, task: &Task) -> Arc<crate::service::TaskSpec> {
        self.tasks_of_service(service.id)
            .take(SIBLINGS_MAX)
            .find(|sibling| sibling.spec_version == task.spec_version)
            .filter(|sibling| sibling.spec == task.spec)
            .map_or_else(|| Arc::clone(&task.spec), |sibling| Arc::clone(&sibling.spec))
    }

    fn assign(&mut self, at: At, task: Arc<Task>, node: crypto::NodeId) {
        let mut task = Task::clone(&task);
        task.node = Some(node);
        task.status.state = TaskState::Assigned;
        task.status.at = at.now;
        "scheduler assigned task to node".clone_into(&mut task.status.message);
        task.status.error.clear();
        self.put_task(stamped(at, task));
    }

    /// Forgets a task that runs nowhere, or on a node that is told to stop it when it returns.
    fn forget(&mut self, id: TaskId) -> Result<(), Refused> {
        let task = self.known_task(id)?;
        let state = task.node.and_then(|node| self.nodes.get(&node)).map(|n| n.status.state);
        let away = matches!(state, None | Some(NodeState::Down));
        if !task.status.state.is_terminal() && !away {
            return Err(unlawful(id, "may still run"));
        }
        self.drop_task(id);
        Ok(())
    }

    fn give_up(&mut self, at: At, id: TaskId) -> Result<(), Refused> {
        let task = self.known_task(id)?;
        let Some(node) = task.node else {
            return Err(unlawful(id, "has no node"));
        };
        if self.nodes.get(&node).is_some_and(|node| node.status.state == NodeState::Ready) {
            return Err(unlawful(id, "is on a node that answers"));
        }
        self.orphan(at, id, "node was away for too long");
        Ok(())
    }

    fn publish(&mut self, at: At, id: ServiceId, ports: &[PortConfig]) -> Result<(), Refused> {
        let mut service = Service::clone(&*self.known_service(id)?);
        self.check_ports(id, ports.iter())?;
        service.ports = ports.to_vec();
        service.modified = at.index;
        self.put_service(service);
        Ok(())
    }

    /// The previous spec comes back, and there is none behind it: a rollback is not rolled back.
    fn roll_back(&mut self, at: At, id: ServiceId, status: &UpdateStatus) -> Result<(), Refused> {
        let mut service = Service::clone(&*self.known_service(id)?);
        let Some(previous) = service.previous_spec.take() else {
            let text = format!("service {id} does not have a previous spec");
            return Err(Refused::Precondition(text));
        };
        service.spec = previous;
        service.spec_version = at.index;
        service.modified = at.index;
        service.updated_at = at.now;
        service.update_status = Some(status.clone());
        self.put_service(service);
        Ok(())
    }
}

fn stamped(at: At, task: Task) -> Task {
    Task { modified: at.index, updated_at: at.now, ..task }
}

/// The planner asked for something that no plan may do: a mistake in it, not an accident.
fn unlawful(task: TaskId, what: &str) -> Refused {
    Refused::Precondition(format!("task {task} {what}"))
}
