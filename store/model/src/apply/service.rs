//! Creating, updating, rolling back and removing services.

use crate::change::ObjectKey;
use crate::command::{Applied, Refused, UpdateTo};
use crate::id::{Index, ServiceId, TaskId};
use crate::service::{PortConfig, PublishMode, Service, ServiceMode, ServiceSpec};
use crate::service::{UpdateState, UpdateStatus};
use crate::state::State;
use crate::task::TaskState;
use crate::validate::quoted;

use super::{At, not_found, taken};

/// Missing files that an error names: enough to find the others.
const MISSING_SHOWN_MAX: usize = 10;

impl State {
    pub(super) fn create_service(
        &mut self,
        at: At,
        id: ServiceId,
        spec: &ServiceSpec,
    ) -> Result<Applied, Refused> {
        spec.validate()?;
        let name = spec.name.as_str();
        if self.services.contains_key(&id) || self.service_by_name(name).is_some() {
            return Err(taken("service", name));
        }
        self.check_references(spec)?;
        self.check_ports(id, spec.endpoint.iter().flat_map(|endpoint| &endpoint.ports))?;
        self.put_service(Service {
            id,
            spec: spec.clone(),
            previous_spec: None,
            spec_version: at.index,
            modified: at.index,
            created_at: at.now,
            updated_at: at.now,
            ports: Vec::new(),
            update_status: None,
            job_iteration: 0,
        });
        self.revise();
        Ok(at.created(ObjectKey::Service(id)))
    }

    pub(super) fn update_service(
        &mut self,
        at: At,
        id: ServiceId,
        version: Index,
        to: &UpdateTo,
    ) -> Result<Applied, Refused> {
        let service = self.services.get(&id).cloned().ok_or_else(|| not_found("service", id))?;
        if version != service.spec_version {
            return Err(Refused::OutOfSequence);
        }
        let (spec, update_status) = match to {
            UpdateTo::Spec(spec) => (ServiceSpec::clone(spec), None),
            UpdateTo::Previous => {
                let Some(previous) = service.previous_spec.clone() else {
                    let text = format!("service {id} does not have a previous spec");
                    return Err(Refused::Precondition(text));
                };
                (previous, Some(asked_to_roll_back(at)))
            }
        };
        if spec.name != service.spec.name {
            return Err(Refused::Unsupported("renaming services is not supported".to_owned()));
        }
        if std::mem::discriminant(&spec.mode) != std::mem::discriminant(&service.spec.mode) {
            return Err(Refused::Unsupported("service mode change is not allowed".to_owned()));
        }
        spec.validate()?;
        self.check_references(&spec)?;
        self.check_ports(id, spec.endpoint.iter().flat_map(|endpoint| &endpoint.ports))?;
        let again = u64::from(is_job(spec.mode));
        self.put_service(Service {
            previous_spec: Some(service.spec.clone()),
            spec,
            spec_version: at.index,
            modified: at.index,
            updated_at: at.now,
            update_status,
            job_iteration: service.job_iteration + again,
            ..Service::clone(&service)
        });
        self.revise();
        Ok(at.applied())
    }

    /// The service goes at once; its tasks are to stop, and the planner forgets them then.
    pub(super) fn remove_service(&mut self, at: At, id: ServiceId) -> Result<Applied, Refused> {
        if !self.services.contains_key(&id) {
            return Err(not_found("service", id));
        }
        self.drop_service(id);
        let tasks: Vec<TaskId> = self.tasks_of_service(id).map(|task| task.id).collect();
        for task in tasks {
            self.desire(at, task, TaskState::Remove);
        }
        self.revise();
        Ok(at.applied())
    }

    /// What a spec names must exist: it may have been removed since the user looked.
    fn check_references(&self, spec: &ServiceSpec) -> Result<(), Refused> {
        for attachment in &spec.task.networks {
            if !self.networks.contains_key(&attachment.network) {
                return Err(not_found("network", quoted(&attachment.target)));
            }
        }
        let secrets = spec.task.container.secrets.iter().filter(|reference| {
            self.secrets.get(&reference.id).is_none_or(|secret| secret.name != reference.name)
        });
        none_missing("secret", secrets.map(|reference| reference.name.as_str()))?;
        let configs = spec.task.container.configs.iter().filter(|reference| {
            self.configs.get(&reference.id).is_none_or(|config| config.name != reference.name)
        });
        none_missing("config", configs.map(|reference| reference.name.as_str()))
    }

    /// Whether other services leave these ports free. Two services may publish one port in host
    /// mode: the scheduler keeps them on different nodes.
    pub(super) fn check_ports<'a>(
        &self,
        id: ServiceId,
        wanted: impl Iterator<Item = &'a PortConfig>,
    ) -> Result<(), Refused> {
        let wanted: Vec<&PortConfig> = wanted.filter(|port| port.published_port != 0).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        for service in self.services.values().filter(|service| service.id != id) {
            let written = service.spec.endpoint.iter().flat_map(|endpoint| &endpoint.ports);
            for port in written.chain(&service.ports) {
                if wanted.iter().any(|wanted| collide(wanted, port)) {
                    return Err(port_taken(port, service));
                }
            }
        }
        Ok(())
    }
}

/// Docker's words for files that are not there, or have another name than the spec says.
fn none_missing<'a>(kind: &str, missing: impl Iterator<Item = &'a str>) -> Result<(), Refused> {
    let names: Vec<String> = missing.take(MISSING_SHOWN_MAX).map(quoted).collect();
    match names.len() {
        0 => Ok(()),
        1 => Err(Refused::Invalid(format!("{kind} not found: {}", names.join(", ")))),
        _ => Err(Refused::Invalid(format!("{kind}s not found: {}", names.join(", ")))),
    }
}

fn collide(a: &PortConfig, b: &PortConfig) -> bool {
    a.published_port == b.published_port
        && a.protocol == b.protocol
        && (a.publish_mode == PublishMode::Ingress || b.publish_mode == PublishMode::Ingress)
}

fn port_taken(port: &PortConfig, by: &Service) -> Refused {
    let (number, service) = (port.published_port, by.spec.name.to_string());
    match port.publish_mode {
        PublishMode::Ingress => {
            Refused::PortTaken { port: number, service, service_id: by.id.to_string() }
        }
        PublishMode::Host => Refused::Invalid(format!(
            "port '{number}' is already in use by service '{service}' ({}) as a host-published port",
            by.id
        )),
    }
}

const fn is_job(mode: ServiceMode) -> bool {
    matches!(mode, ServiceMode::ReplicatedJob { .. } | ServiceMode::GlobalJob)
}

fn asked_to_roll_back(at: At) -> UpdateStatus {
    UpdateStatus {
        state: UpdateState::RollbackStarted,
        started_at: at.now,
        completed_at: None,
        message: "manually requested rollback".to_owned(),
    }
}
