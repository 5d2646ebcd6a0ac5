//! Which container is which task's: names and labels, written and read.
//!
//! Where Docker Swarm has a label for it, ours is Swarm's, so that whoever selects
//! containers by it goes on doing so. Adoption reads our own labels only: those of Swarm
//! may be on a container that a Swarm left behind.

use std::collections::HashMap;

use model::{ClusterId, ServiceId, TaskId};

use crate::TaskContainer;

/// The cluster of a container. Who has it, is one of ours.
pub(crate) const CLUSTER: &str = "skep.cluster";
/// The data directory of the daemon that made it: two daemons may share one Engine.
pub(crate) const MACHINE: &str = "skep.machine";
/// The node that runs it.
const NODE: &str = "skep.node";
const SERVICE: &str = "skep.service";
/// The task that it runs.
pub(crate) const TASK: &str = "skep.task";

/// Whose a container is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Owner {
    pub(crate) cluster: ClusterId,
    pub(crate) service: ServiceId,
    pub(crate) task: TaskId,
}

/// The labels of a task's container. A label of the user never hides one of these.
pub(crate) fn of_task(task: &TaskContainer) -> HashMap<String, String> {
    let mut labels: HashMap<String, String> =
        task.spec.container.labels.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
    let ours = [
        (CLUSTER, task.cluster.to_string()),
        (NODE, task.node.to_string()),
        (SERVICE, task.service.to_string()),
        (TASK, task.task.to_string()),
        ("com.docker.swarm.node.id", task.node.to_string()),
        ("com.docker.swarm.service.id", task.service.to_string()),
        ("com.docker.swarm.service.name", task.service_name.clone()),
        ("com.docker.swarm.task", String::new()),
        ("com.docker.swarm.task.id", task.task.to_string()),
        ("com.docker.swarm.task.name", task.name.clone()),
    ];
    labels.extend(ours.map(|(name, value)| (name.to_owned(), value)));
    labels
}

/// Whose a container is; `None` if it is none of ours, or its labels make no sense.
pub(crate) fn owner(labels: &HashMap<String, String>) -> Option<Owner> {
    Some(Owner {
        cluster: labels.get(CLUSTER)?.parse().ok()?,
        service: labels.get(SERVICE)?.parse().ok()?,
        task: labels.get(TASK)?.parse().ok()?,
    })
}

/// What an Engine is asked for, to see the containers of one daemon only.
pub(crate) fn filters(machine: &str, task: Option<TaskId>) -> HashMap<String, Vec<String>> {
    let mut labels = vec![format!("{MACHINE}={machine}")];
    labels.extend(task.map(|task| format!("{TASK}={task}")));
    [("label".to_owned(), labels)].into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docker::plan::tests::task;

    #[test]
    fn who_wrote_labels_reads_them() {
        let mut task = task(Default::default());
        let spec = std::sync::Arc::make_mut(&mut task.spec);
        spec.container.labels =
            [("mine", "1"), (TASK, "hidden")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let labels = of_task(&task);
        let owner = owner(&labels).unwrap();
        assert_eq!(
            (owner.task, owner.service, owner.cluster),
            (task.task, task.service, task.cluster)
        );
        assert_eq!(labels["mine"], "1");
        assert_eq!(labels["com.docker.swarm.task.name"], "web.2.x");
        assert_eq!(labels["com.docker.swarm.task"], "");
    }

    #[test]
    fn what_is_not_ours_has_no_owner() {
        let task = task(Default::default());
        for missing in [CLUSTER, SERVICE, TASK] {
            let mut labels = of_task(&task);
            labels.remove(missing);
            assert_eq!(owner(&labels), None, "without {missing}");
        }
        let mut labels = of_task(&task);
        labels.insert(TASK.to_owned(), "no id".to_owned());
        assert_eq!(owner(&labels), None);
    }
}
