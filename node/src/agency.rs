//! The agent and its surroundings: begins when the cluster is known, hands over in its words.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use agent::{Agent, Assignment, AssignmentSet, Reports, TaskFiles};
use crypto::NodeId;
use model::{ClusterId, Task, TaskState};
use runtime::{FileKind, RegistryAuth, Runtime, TaskFile};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::assignments::files_of;
use crate::front::logins::{login_of, own_login};
use crate::messages::{AssignedTask, Assignments, FileContent, FileId};

/// What the agent is made of.
pub(crate) struct Agency {
    pub(crate) me: NodeId,
    pub(crate) hostname: String,
    pub(crate) dir: PathBuf,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) genesis: watch::Receiver<Option<[u8; 16]>>,
    pub(crate) assignments: watch::Receiver<Option<Arc<Assignments>>>,
    pub(crate) reports: watch::Sender<Reports>,
}

impl Agency {
    /// Waits for the cluster, then runs the agent until told to stop.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> Result<(), String> {
        let known = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            known = self.genesis.wait_for(Option::is_some) => known.map(|genesis| *genesis),
        };
        let Ok(Some(genesis)) = known else { return Ok(()) };
        let config = agent::Config {
            dir: self.dir.clone(),
            node: self.me,
            hostname: self.hostname.clone(),
            cluster: ClusterId::from_bytes(genesis),
        };
        let sets = watch::Sender::new(Arc::new(AssignmentSet::default()));
        let opened = Agent::open(config, Arc::clone(&self.runtime), sets.subscribe(), stop.clone());
        let (agent, running) = opened.map_err(|error| error.to_string())?;
        let mut reports = agent.reports();
        tokio::select! {
            () = running => Ok(()),
            () = translate(self.assignments, sets) => Ok(()),
            () = copy(&mut reports, &self.reports) => Ok(()),
        }
    }
}

/// Hands assignments over in the agent's words.
async fn translate(
    mut assignments: watch::Receiver<Option<Arc<Assignments>>>,
    sets: watch::Sender<Arc<AssignmentSet>>,
) {
    loop {
        let now = assignments.borrow_and_update().clone();
        if let Some(now) = now {
            sets.send_replace(Arc::new(in_agents_words(&now)));
        }
        if assignments.changed().await.is_err() {
            return;
        }
    }
}

fn in_agents_words(assignments: &Assignments) -> AssignmentSet {
    let tasks: BTreeMap<_, _> = assignments
        .tasks
        .iter()
        .map(|assigned| {
            let assignment = Assignment {
                task: assigned.task.clone(),
                service_name: assigned.service_name.clone(),
                registry_auth: registry_auth(assigned),
                files: files_for(&assigned.task, &assignments.files),
            };
            (assigned.task.id, assignment)
        })
        .collect();
    AssignmentSet { heard: true, tasks }
}

/// What came with the service, or else what this node's own configuration says; only as long as
/// the image may have to be pulled.
fn registry_auth(assigned: &AssignedTask) -> Option<RegistryAuth> {
    if TaskState::Starting <= assigned.task.status.state {
        return None;
    }
    let sent = assigned.registry_login.as_ref();
    let sent = sent.and_then(|login| std::str::from_utf8(login.as_bytes()).ok());
    let sent = sent.and_then(|header| login_of(header).ok().flatten());
    sent.or_else(|| own_login(&assigned.task.spec.container.image))
}

/// The files of a task, as its runtime puts them into the container.
fn files_for(task: &Task, sent: &BTreeMap<FileId, FileContent>) -> TaskFiles {
    let mut files = Vec::new();
    for named in files_of(task) {
        let kind = match named.id {
            FileId::Secret(_) => FileKind::Secret,
            FileId::Config(_) => FileKind::Config,
        };
        let data = match sent.get(&named.id) {
            None => return TaskFiles::Awaited,
            Some(Err(why)) => {
                return TaskFiles::Unavailable(format!("{kind} {}: {why}", named.name));
            }
            Some(Ok(data)) => Arc::clone(data),
        };
        match TaskFile::new(kind, named.name, named.target, data) {
            Ok(file) => files.push(file),
            Err(error) => return TaskFiles::Unavailable(error.to_string()),
        }
    }
    TaskFiles::Here(files)
}

async fn copy(from: &mut watch::Receiver<Reports>, to: &watch::Sender<Reports>) {
    loop {
        to.send_replace(Arc::clone(&from.borrow_and_update()));
        if from.changed().await.is_err() {
            // The agent has ended; its own branch says so.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use crypto::SecretBytes;
    use model::service::{
        ContainerSpec, FileTarget, Placement, ResourceRequirements, SecretReference,
    };
    use model::{
        Index, SecretId, ServiceId, Slot, TaskId, TaskSpec, TaskState, TaskStatus, UnixNanos,
    };

    use super::*;

    fn task(secrets: Vec<SecretReference>) -> Task {
        let spec = TaskSpec {
            container: ContainerSpec { secrets, ..ContainerSpec::default() },
            resources: ResourceRequirements::default(),
            restart: None,
            placement: Placement::default(),
            networks: Vec::new(),
            log_driver: None,
            force_update: 0,
        };
        Task {
            id: TaskId::from_bytes([1; 16]),
            service: ServiceId::from_bytes([1; 16]),
            slot: Slot::Replica(1),
            node: None,
            desired: TaskState::Running,
            status: TaskStatus {
                state: TaskState::Assigned,
                at: UnixNanos(0),
                message: String::new(),
                error: String::new(),
                container: None,
                host_ports: Vec::new(),
            },
            spec: Arc::new(spec),
            spec_version: Index(1),
            ports: Vec::new(),
            job_iteration: 0,
            created: Index(1),
            modified: Index(1),
            created_at: UnixNanos(0),
            updated_at: UnixNanos(0),
        }
    }

    #[test]
    fn a_task_has_all_its_files_or_waits_or_is_told_why_not() {
        let id = SecretId::from_bytes([2; 16]);
        let reference = |uid: &str| SecretReference {
            id,
            name: "s1".to_owned(),
            file: Some(FileTarget {
                name: "pw".to_owned(),
                uid: uid.to_owned(),
                mode: 0o400,
                ..FileTarget::default()
            }),
        };
        let sent = |content: FileContent| BTreeMap::from([(FileId::Secret(id), content)]);
        let data = || Ok(Arc::new(SecretBytes::new(b"hunter2".to_vec())));
        let none = BTreeMap::new();
        assert_eq!(files_for(&task(Vec::new()), &none), TaskFiles::Here(Vec::new()));
        assert_eq!(files_for(&task(vec![reference("7")]), &none), TaskFiles::Awaited);
        let TaskFiles::Here(files) = files_for(&task(vec![reference("7")]), &sent(data())) else {
            panic!("it is here");
        };
        let [file] = &files[..] else { panic!("{files:?}") };
        assert_eq!((file.target.as_str(), file.uid, file.mode), ("/run/secrets/pw", 7, 0o400));
        assert_eq!(file.data.as_bytes(), b"hunter2");
        for (uid, content, reason) in [
            ("7", Err("it is gone".to_owned()), "secret s1: it is gone"),
            ("www", data(), "secret s1: uid `www` is no number"),
        ] {
            let files = files_for(&task(vec![reference(uid)]), &sent(content));
            assert_eq!(files, TaskFiles::Unavailable(reason.to_owned()));
        }
    }
}
