//! Flags of `skep service`, as Docker has them.

use clap::{Args, Subcommand};

use crate::spec::file::FileFlag;
use crate::spec::mount::MountFlag;
use crate::spec::port::PortFlag;
use crate::units;

/// `skep service`.
#[derive(Debug, Subcommand)]
pub(crate) enum ServiceCommand {
    /// Create a service
    Create(Box<CreateArgs>),
    /// List services
    #[command(visible_alias = "list")]
    Ls(ListArgs),
    /// List the tasks of services
    Ps {
        /// How to list.
        #[command(flatten)]
        list: TaskListArgs,
        /// Which
        #[arg(required = true, value_name = "SERVICE")]
        services: Vec<String>,
    },
    /// Show services in detail
    Inspect {
        /// `json`, or a Go template
        #[arg(short, long)]
        format: Option<String>,
        /// For people
        #[arg(long, conflicts_with = "format")]
        pretty: bool,
        /// Which
        #[arg(required = true, value_name = "SERVICE")]
        services: Vec<String>,
    },
    /// Change how many tasks services have
    Scale {
        /// How to wait.
        #[command(flatten)]
        wait: WaitArgs,
        /// Which, and how many
        #[arg(required = true, value_name = "SERVICE=REPLICAS")]
        scales: Vec<String>,
    },
    /// Change a service
    Update(Box<UpdateArgs>),
    /// Take a service back to its previous spec
    Rollback {
        /// How to wait.
        #[command(flatten)]
        wait: WaitArgs,
        /// Which
        service: String,
    },
    /// Remove services
    #[command(visible_alias = "remove")]
    Rm {
        /// Which
        #[arg(required = true, value_name = "SERVICE")]
        services: Vec<String>,
    },
    /// Show what the tasks of a service, or a task, wrote
    Logs(LogsArgs),
}

/// Flags of every list.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ListArgs {
    /// Only what fits, KEY=VALUE
    #[arg(short, long, value_name = "K=V")]
    pub(crate) filter: Vec<String>,
    /// `json`, or a Go template, or `table` and a template
    #[arg(long)]
    pub(crate) format: Option<String>,
    /// Only ids
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// Flags of lists of tasks.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct TaskListArgs {
    /// As every list.
    #[command(flatten)]
    pub(crate) list: ListArgs,
    /// Whole ids and errors
    #[arg(long = "no-trunc")]
    pub(crate) no_trunc: bool,
    /// Ids instead of names
    #[arg(long = "no-resolve")]
    pub(crate) no_resolve: bool,
}

/// How to wait for tasks.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct WaitArgs {
    /// Do not wait until the tasks run
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_value_t = false)]
    #[arg(default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(crate) detach: bool,
    /// Give up waiting after so long (exit code 5); the service stays
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    pub(crate) wait_timeout: Option<std::time::Duration>,
    /// No progress
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// `skep service logs`.
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// Ids of node, service and task in front of lines
    #[arg(long)]
    pub(crate) details: bool,
    /// Go on as lines come
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Ids instead of names
    #[arg(long = "no-resolve")]
    pub(crate) no_resolve: bool,
    /// No task ids
    #[arg(long = "no-task-ids")]
    pub(crate) no_task_ids: bool,
    /// Whole ids
    #[arg(long = "no-trunc")]
    pub(crate) no_trunc: bool,
    /// Lines as they were written
    #[arg(long)]
    pub(crate) raw: bool,
    /// Only since then: a time (RFC 3339), Unix seconds, or so long ago (42m)
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) since: String,
    /// So many old lines of each task
    #[arg(short = 'n', long, default_value = "all")]
    pub(crate) tail: String,
    /// When lines were written
    #[arg(short, long)]
    pub(crate) timestamps: bool,
    /// Service or task
    #[arg(value_name = "SERVICE|TASK")]
    pub(crate) target: String,
}

/// `skep service create`.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Name; one is made up if not given
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) name: String,
    /// replicated, global, replicated-job or global-job
    #[arg(long, default_value = "replicated")]
    pub(crate) mode: String,
    /// What create and update share.
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    /// Label of the service, KEY=VALUE
    #[arg(short, long = "label", value_name = "K=V")]
    pub(crate) labels: Vec<String>,
    /// Label of the containers, KEY=VALUE
    #[arg(long = "container-label", value_name = "K=V")]
    pub(crate) container_labels: Vec<String>,
    /// Environment, NAME=VALUE, or NAME to take it from here
    #[arg(short, long = "env", value_name = "K=V")]
    pub(crate) env: Vec<String>,
    /// File of environment lines
    #[arg(long = "env-file", value_name = "FILE")]
    pub(crate) env_file: Vec<std::path::PathBuf>,
    /// Publish a port: [PUBLISHED:]TARGET[/PROTOCOL], or target=80,published=8080,…
    #[arg(short, long = "publish", value_name = "PORT")]
    pub(crate) publish: Vec<PortFlag>,
    /// Where it may run, as in node.labels.zone==a
    #[arg(long = "constraint")]
    pub(crate) constraints: Vec<String>,
    /// Spread, as in spread=node.labels.zone
    #[arg(long = "placement-pref", value_name = "PREF", value_parser = crate::spec::placement_pref)]
    pub(crate) placement_prefs: Vec<String>,
    /// Mount, as in type=bind,src=/a,dst=/b
    #[arg(long = "mount")]
    pub(crate) mounts: Vec<MountFlag>,
    /// Secret to show as a file: NAME, or source=NAME,target=FILE,uid=0,gid=0,mode=0400
    #[arg(long = "secret", value_name = "SECRET")]
    pub(crate) secrets: Vec<FileFlag>,
    /// Config to show as a file: NAME, or source=NAME,target=/PATH,uid=0,gid=0,mode=0444
    #[arg(long = "config", value_name = "CONFIG")]
    pub(crate) configs: Vec<FileFlag>,
    /// Network to join
    #[arg(long = "network")]
    pub(crate) networks: Vec<String>,
    /// Replaces the image's entrypoint
    #[arg(long)]
    pub(crate) entrypoint: Option<String>,
    /// How to wait.
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
    /// Image, then what replaces its command
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    #[arg(value_names = ["IMAGE", "COMMAND"])]
    pub(crate) image: Vec<String>,
}

/// `skep service update`.
#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    /// What create and update share.
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    /// New image
    #[arg(long)]
    pub(crate) image: Option<String>,
    /// New arguments, as one shell-quoted text
    #[arg(long)]
    pub(crate) args: Option<String>,
    /// New entrypoint, as one shell-quoted text
    #[arg(long)]
    pub(crate) entrypoint: Option<String>,
    /// Replace tasks even if nothing changed
    #[arg(long)]
    pub(crate) force: bool,
    /// Back to the previous spec
    #[arg(long)]
    pub(crate) rollback: bool,
    /// Add or change a label
    #[arg(long = "label-add", value_name = "K=V")]
    pub(crate) label_add: Vec<String>,
    /// Remove a label
    #[arg(long = "label-rm", value_name = "K")]
    pub(crate) label_rm: Vec<String>,
    /// Add or change a label of containers
    #[arg(long = "container-label-add", value_name = "K=V")]
    pub(crate) container_label_add: Vec<String>,
    /// Remove a label of containers
    #[arg(long = "container-label-rm", value_name = "K")]
    pub(crate) container_label_rm: Vec<String>,
    /// Add or change environment
    #[arg(long = "env-add", value_name = "K=V")]
    pub(crate) env_add: Vec<String>,
    /// Remove environment
    #[arg(long = "env-rm", value_name = "K")]
    pub(crate) env_rm: Vec<String>,
    /// Publish another port
    #[arg(long = "publish-add", value_name = "PORT")]
    pub(crate) publish_add: Vec<PortFlag>,
    /// No longer publish the port with this target
    #[arg(long = "publish-rm", value_name = "PORT")]
    pub(crate) publish_rm: Vec<PortFlag>,
    /// Add a constraint
    #[arg(long = "constraint-add")]
    pub(crate) constraint_add: Vec<String>,
    /// Remove a constraint
    #[arg(long = "constraint-rm")]
    pub(crate) constraint_rm: Vec<String>,
    /// Add a preference
    #[arg(long = "placement-pref-add", value_parser = crate::spec::placement_pref)]
    pub(crate) placement_pref_add: Vec<String>,
    /// Remove a preference
    #[arg(long = "placement-pref-rm", value_parser = crate::spec::placement_pref)]
    pub(crate) placement_pref_rm: Vec<String>,
    /// Add or change a mount
    #[arg(long = "mount-add")]
    pub(crate) mount_add: Vec<MountFlag>,
    /// Remove the mount at this path
    #[arg(long = "mount-rm", value_name = "PATH")]
    pub(crate) mount_rm: Vec<String>,
    /// Add a secret
    #[arg(long = "secret-add", value_name = "SECRET")]
    pub(crate) secret_add: Vec<FileFlag>,
    /// Remove a secret
    #[arg(long = "secret-rm", value_name = "NAME")]
    pub(crate) secret_rm: Vec<String>,
    /// Add a config
    #[arg(long = "config-add", value_name = "CONFIG")]
    pub(crate) config_add: Vec<FileFlag>,
    /// Remove a config
    #[arg(long = "config-rm", value_name = "NAME")]
    pub(crate) config_rm: Vec<String>,
    /// Join another network
    #[arg(long = "network-add")]
    pub(crate) network_add: Vec<String>,
    /// Leave a network
    #[arg(long = "network-rm")]
    pub(crate) network_rm: Vec<String>,
    /// How to wait.
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
    /// Which
    pub(crate) service: String,
}

/// Flags that create and update share.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct CommonArgs {
    /// How many tasks
    #[arg(long, value_name = "N")]
    pub(crate) replicas: Option<u64>,
    /// Of a job: how many tasks at once
    #[arg(long = "max-concurrent", value_name = "N")]
    pub(crate) max_concurrent: Option<u64>,
    /// Tasks on one node; 0 means no limit
    #[arg(long = "replicas-max-per-node", value_name = "N")]
    pub(crate) max_per_node: Option<u64>,
    /// CPUs, as in 0.5
    #[arg(long = "limit-cpu", value_name = "CPUS", value_parser = units::cpus)]
    pub(crate) limit_cpu: Option<i64>,
    /// Memory, as in 64m
    #[arg(long = "limit-memory", value_name = "BYTES", value_parser = units::bytes)]
    pub(crate) limit_memory: Option<i64>,
    /// Processes
    #[arg(long = "limit-pids")]
    pub(crate) limit_pids: Option<i64>,
    /// CPUs to set aside
    #[arg(long = "reserve-cpu", value_name = "CPUS", value_parser = units::cpus)]
    pub(crate) reserve_cpu: Option<i64>,
    /// Memory to set aside
    #[arg(long = "reserve-memory", value_name = "BYTES", value_parser = units::bytes)]
    pub(crate) reserve_memory: Option<i64>,
    /// After which endings a task gets a successor: none, on-failure or any
    #[arg(long = "restart-condition", value_parser = ["none", "on-failure", "any"])]
    pub(crate) restart_condition: Option<String>,
    /// How long to wait before
    #[arg(long = "restart-delay", value_name = "DURATION", value_parser = units::nanos)]
    pub(crate) restart_delay: Option<i64>,
    /// How often at most
    #[arg(long = "restart-max-attempts")]
    pub(crate) restart_max_attempts: Option<u64>,
    /// In how long a time
    #[arg(long = "restart-window", value_name = "DURATION", value_parser = units::nanos)]
    pub(crate) restart_window: Option<i64>,
    /// How updates go.
    #[command(flatten)]
    pub(crate) update: UpdatePolicyArgs,
    /// How rollbacks go.
    #[command(flatten)]
    pub(crate) rollback_policy: RollbackPolicyArgs,
    /// `user[:group]`
    #[arg(short, long)]
    pub(crate) user: Option<String>,
    /// Working directory
    #[arg(short, long)]
    pub(crate) workdir: Option<String>,
    /// Host name inside
    #[arg(long)]
    pub(crate) hostname: Option<String>,
    /// Root file system read-only
    #[arg(long = "read-only", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(crate) read_only: Option<bool>,
    /// A small init as process 1
    #[arg(long, num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(crate) init: Option<bool>,
    /// A terminal
    #[arg(short, long, num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(crate) tty: Option<bool>,
    /// Between the stop signal and SIGKILL
    #[arg(long = "stop-grace-period", value_name = "DURATION", value_parser = units::nanos)]
    pub(crate) stop_grace_period: Option<i64>,
    /// Signal that asks it to stop
    #[arg(long = "stop-signal")]
    pub(crate) stop_signal: Option<String>,
    /// vip or dnsrr
    #[arg(long = "endpoint-mode", value_parser = ["vip", "dnsrr"])]
    pub(crate) endpoint_mode: Option<String>,
    /// Send registry credentials along
    #[arg(long = "with-registry-auth")]
    pub(crate) with_registry_auth: bool,
    /// Accepted as in Docker; nodes resolve images themselves
    #[arg(long = "no-resolve-image")]
    pub(crate) no_resolve_image: bool,
}

/// How updates go.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct UpdatePolicyArgs {
    /// Tasks at once; 0 means all
    #[arg(long = "update-parallelism", id = "update-parallelism", value_name = "N")]
    pub(crate) parallelism: Option<u64>,
    /// Between two batches
    #[arg(long = "update-delay", id = "update-delay", value_name = "DURATION", value_parser = units::nanos)]
    pub(crate) delay: Option<i64>,
    /// pause, continue or rollback
    #[arg(long = "update-failure-action", id = "update-failure-action", value_name = "ACTION")]
    #[arg(value_parser = ["pause", "continue", "rollback"])]
    pub(crate) failure_action: Option<String>,
    /// How long a new task is watched for failure
    #[arg(long = "update-monitor", id = "update-monitor", value_name = "DURATION", value_parser = units::nanos)]
    pub(crate) monitor: Option<i64>,
    /// Share of failures that is tolerated
    #[arg(
        long = "update-max-failure-ratio",
        id = "update-max-failure-ratio",
        value_name = "RATIO"
    )]
    pub(crate) max_failure_ratio: Option<f32>,
    /// start-first or stop-first
    #[arg(long = "update-order", id = "update-order", value_name = "ORDER")]
    #[arg(value_parser = ["start-first", "stop-first"])]
    pub(crate) order: Option<String>,
}

/// How rollbacks go.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct RollbackPolicyArgs {
    /// Tasks at once; 0 means all
    #[arg(long = "rollback-parallelism", id = "rollback-parallelism", value_name = "N")]
    pub(crate) parallelism: Option<u64>,
    /// Between two batches
    #[arg(long = "rollback-delay", id = "rollback-delay", value_name = "DURATION", value_parser = units::nanos)]
    pub(crate) delay: Option<i64>,
    /// pause or continue
    #[arg(long = "rollback-failure-action", id = "rollback-failure-action", value_name = "ACTION")]
    #[arg(value_parser = ["pause", "continue"])]
    pub(crate) failure_action: Option<String>,
    /// How long a new task is watched for failure
    #[arg(long = "rollback-monitor", id = "rollback-monitor", value_name = "DURATION", value_parser = units::nanos)]
    pub(crate) monitor: Option<i64>,
    /// Share of failures that is tolerated
    #[arg(
        long = "rollback-max-failure-ratio",
        id = "rollback-max-failure-ratio",
        value_name = "RATIO"
    )]
    pub(crate) max_failure_ratio: Option<f32>,
    /// start-first or stop-first
    #[arg(long = "rollback-order", id = "rollback-order", value_name = "ORDER")]
    #[arg(value_parser = ["start-first", "stop-first"])]
    pub(crate) order: Option<String>,
}
