//! Services.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::container::TaskSpec;
use super::network::{Endpoint, EndpointSpec, NetworkAttachmentConfig};
use super::{ObjectVersion, ratio, time, zero};

/// A service.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Service {
    /// Id.
    #[serde(rename = "ID")]
    pub id: String,
    /// Version of its spec.
    pub version: ObjectVersion,
    /// When it was created.
    pub created_at: String,
    /// When its spec was last written.
    pub updated_at: String,
    /// What the user wants.
    pub spec: ServiceSpec,
    /// What the user wanted before.
    #[serde(skip_serializing_if = "zero")]
    pub previous_spec: Option<Box<ServiceSpec>>,
    /// How clients reach it.
    pub endpoint: Endpoint,
    /// How the last update goes.
    #[serde(skip_serializing_if = "zero")]
    pub update_status: Option<UpdateStatus>,
    /// Counts of its tasks, in lists with `status=true`.
    #[serde(skip_serializing_if = "zero")]
    pub service_status: Option<ServiceStatus>,
    /// Present on jobs.
    #[serde(skip_serializing_if = "zero")]
    pub job_status: Option<JobStatus>,
}

/// What a user wants to run.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ServiceSpec {
    /// Unique among services; empty: one is made up.
    #[serde(skip_serializing_if = "zero")]
    pub name: String,
    /// Labels of the service.
    pub labels: BTreeMap<String, String>,
    /// What each task runs.
    pub task_template: TaskSpec,
    /// How many tasks, where.
    pub mode: ServiceMode,
    /// How an update replaces tasks.
    #[serde(skip_serializing_if = "zero")]
    pub update_config: Option<UpdateConfig>,
    /// How a rollback replaces tasks.
    #[serde(skip_serializing_if = "zero")]
    pub rollback_config: Option<UpdateConfig>,
    /// Old place of `TaskTemplate.Networks`.
    #[serde(skip_serializing_if = "zero")]
    pub networks: Vec<NetworkAttachmentConfig>,
    /// How clients reach it.
    #[serde(skip_serializing_if = "zero")]
    pub endpoint_spec: Option<EndpointSpec>,
}

/// How many tasks, where: one of the four is set.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ServiceMode {
    /// So many tasks, anywhere.
    #[serde(skip_serializing_if = "zero")]
    pub replicated: Option<Replicated>,
    /// One task on every node that fits.
    #[serde(skip_serializing_if = "zero")]
    pub global: Option<Empty>,
    /// So many tasks that each run to completion.
    #[serde(skip_serializing_if = "zero")]
    pub replicated_job: Option<ReplicatedJob>,
    /// One task that runs to completion on every node that fits.
    #[serde(skip_serializing_if = "zero")]
    pub global_job: Option<Empty>,
}

/// An object without fields.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Empty {}

/// How many tasks.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Replicated {
    /// Absent means 1.
    #[serde(skip_serializing_if = "zero")]
    pub replicas: Option<u64>,
}

/// How many tasks of a job.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ReplicatedJob {
    /// At the same time.
    #[serde(skip_serializing_if = "zero")]
    pub max_concurrent: Option<u64>,
    /// In all.
    #[serde(skip_serializing_if = "zero")]
    pub total_completions: Option<u64>,
}

/// How an update or a rollback replaces tasks; durations are nanoseconds.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct UpdateConfig {
    /// Tasks at once; 0 means all.
    pub parallelism: u64,
    /// Between two batches.
    #[serde(skip_serializing_if = "zero")]
    pub delay: i64,
    /// `pause`, `continue` or `rollback`.
    #[serde(skip_serializing_if = "zero")]
    pub failure_action: String,
    /// How long a new task is watched for failure.
    #[serde(skip_serializing_if = "zero")]
    pub monitor: i64,
    /// Share of failures that is tolerated.
    #[serde(with = "ratio")]
    pub max_failure_ratio: f32,
    /// `stop-first` or `start-first`.
    pub order: String,
}

/// How an update goes.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct UpdateStatus {
    /// `updating`, `paused`, `completed`, `rollback_started`, `rollback_paused` or
    /// `rollback_completed`.
    #[serde(skip_serializing_if = "zero")]
    pub state: String,
    /// When it began.
    #[serde(skip_serializing_if = "zero")]
    pub started_at: Option<String>,
    /// When it ended.
    #[serde(skip_serializing_if = "zero")]
    pub completed_at: Option<String>,
    /// In words.
    #[serde(skip_serializing_if = "zero")]
    pub message: String,
}

/// Counts of tasks.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ServiceStatus {
    /// That run.
    pub running_tasks: u64,
    /// That should.
    pub desired_tasks: u64,
    /// That ended well, of jobs.
    pub completed_tasks: u64,
}

/// How a job goes.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct JobStatus {
    /// Raised each time the job is started anew.
    pub job_iteration: ObjectVersion,
    /// When it was last started.
    pub last_execution: String,
}

impl Default for JobStatus {
    fn default() -> Self {
        Self { job_iteration: ObjectVersion::default(), last_execution: time::ZERO.to_owned() }
    }
}

impl ServiceSpec {
    /// Fills in what Docker takes where the user said nothing (`insertDefaults=true`).
    pub fn insert_defaults(&mut self) {
        let task = &mut self.task_template;
        if let Some(container) = &mut task.container_spec {
            container.stop_grace_period.get_or_insert(10_000_000_000);
            container.dns_config.get_or_insert_default();
        }
        task.resources.get_or_insert_default();
        task.placement.get_or_insert_default();
        let restart = task.restart_policy.get_or_insert_default();
        if restart.condition.is_empty() {
            "any".clone_into(&mut restart.condition);
        }
        restart.delay.get_or_insert(5_000_000_000);
        restart.max_attempts.get_or_insert(0);
        for update in [&mut self.update_config, &mut self.rollback_config] {
            update.get_or_insert_with(UpdateConfig::defaults);
        }
    }
}

impl UpdateConfig {
    /// What Docker takes where the user said nothing: one by one, pause on failure.
    #[must_use]
    pub fn defaults() -> Self {
        Self {
            parallelism: 1,
            delay: 0,
            failure_action: "pause".to_owned(),
            monitor: 5_000_000_000,
            max_failure_ratio: 0.0,
            order: "stop-first".to_owned(),
        }
    }
}
