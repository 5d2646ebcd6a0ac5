//! From flags to a service spec, as Docker's CLI does it.

pub(crate) mod create;
pub(crate) mod file;
pub(crate) mod mount;
pub(crate) mod port;
#[cfg(test)]
mod recorded;
pub(crate) mod update;
pub(crate) mod words;

use std::collections::BTreeMap;

use api::wire::container::{
    Limit, Placement, PlacementPreference, ResourceRequirements, RestartPolicy, SpreadOver,
};
use api::wire::node::Resources;
use api::wire::service::{ServiceSpec, UpdateConfig};

use crate::args::service::{CommonArgs, RollbackPolicyArgs, UpdatePolicyArgs};
use crate::exit::Failure;

/// `spread=node.labels.zone`, read as what to spread over.
pub(crate) fn placement_pref(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some(("spread", over)) if !over.is_empty() => Ok(over.to_owned()),
        _ => Err("write it as in spread=node.labels.zone".to_owned()),
    }
}

fn preference(over: &str) -> PlacementPreference {
    let spread = Some(SpreadOver { spread_descriptor: over.to_owned() });
    PlacementPreference { spread }
}

/// `K=V`; without `=` the value is empty.
pub(crate) fn labels(texts: &[String]) -> BTreeMap<String, String> {
    texts.iter().map(|text| pair(text)).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

/// `K=V`; without `=` the value is empty.
pub(crate) fn pair(text: &str) -> (&str, &str) {
    text.split_once('=').unwrap_or((text, ""))
}

/// Sets what create and update share; what was not given stays as it is.
fn set_common(spec: &mut ServiceSpec, args: &CommonArgs) -> Result<(), Failure> {
    set_replicas(spec, args)?;
    let task = &mut spec.task_template;
    let container = task.container_spec.get_or_insert_default();
    set(&mut container.user, args.user.as_ref());
    set(&mut container.dir, args.workdir.as_ref());
    set(&mut container.hostname, args.hostname.as_ref());
    set(&mut container.stop_signal, args.stop_signal.as_ref());
    set(&mut container.read_only, args.read_only.as_ref());
    set(&mut container.tty, args.tty.as_ref());
    container.init = args.init.or(container.init);
    container.stop_grace_period = args.stop_grace_period.or(container.stop_grace_period);
    set_resources(task.resources.get_or_insert_default(), args);
    set_restart(&mut task.restart_policy, args);
    let placement = task.placement.get_or_insert_default();
    set(&mut placement.max_replicas, args.max_per_node.as_ref());
    set_update(&mut spec.update_config, &args.update);
    set_rollback(&mut spec.rollback_config, &args.rollback_policy);
    if let Some(mode) = &args.endpoint_mode {
        spec.endpoint_spec.get_or_insert_default().mode.clone_from(mode);
    }
    Ok(())
}

fn set<T: Clone>(field: &mut T, given: Option<&T>) {
    if let Some(given) = given {
        field.clone_from(given);
    }
}

/// Sets the number of tasks of a service that has one.
fn set_replicas(spec: &mut ServiceSpec, args: &CommonArgs) -> Result<(), Failure> {
    if let Some(job) = &mut spec.mode.replicated_job {
        job.total_completions = args.replicas.or(job.total_completions);
        job.max_concurrent = args.max_concurrent.or(job.max_concurrent);
        return Ok(());
    }
    if args.max_concurrent.is_some() {
        return Err(Failure::usage("max-concurrent can only be used with replicated-job mode"));
    }
    match (&mut spec.mode.replicated, args.replicas) {
        (Some(replicated), Some(replicas)) => replicated.replicas = Some(replicas),
        (None, Some(_)) => {
            let text = "replicas can only be used with replicated or replicated-job mode";
            return Err(Failure::usage(text));
        }
        (_, None) => {}
    }
    Ok(())
}

fn set_resources(resources: &mut ResourceRequirements, args: &CommonArgs) {
    let limits = resources.limits.get_or_insert_with(Limit::default);
    set(&mut limits.nano_cpus, args.limit_cpu.as_ref());
    set(&mut limits.memory_bytes, args.limit_memory.as_ref());
    set(&mut limits.pids, args.limit_pids.as_ref());
    let reserved = resources.reservations.get_or_insert_with(Resources::default);
    set(&mut reserved.nano_cpus, args.reserve_cpu.as_ref());
    set(&mut reserved.memory_bytes, args.reserve_memory.as_ref());
}

fn set_restart(policy: &mut Option<RestartPolicy>, args: &CommonArgs) {
    let given = args.restart_condition.is_some()
        || args.restart_delay.is_some()
        || args.restart_max_attempts.is_some()
        || args.restart_window.is_some();
    if !given {
        return;
    }
    let policy = policy.get_or_insert_with(|| RestartPolicy {
        condition: "any".to_owned(),
        delay: Some(5_000_000_000),
        max_attempts: Some(0),
        window: None,
    });
    set(&mut policy.condition, args.restart_condition.as_ref());
    policy.delay = args.restart_delay.or(policy.delay);
    policy.max_attempts = args.restart_max_attempts.or(policy.max_attempts);
    policy.window = args.restart_window.or(policy.window);
}

fn set_update(config: &mut Option<UpdateConfig>, args: &UpdatePolicyArgs) {
    let UpdatePolicyArgs { parallelism, delay, failure_action, monitor, max_failure_ratio, order } =
        args.clone();
    let given = Policy { parallelism, delay, failure_action, monitor, max_failure_ratio, order };
    given.set(config);
}

fn set_rollback(config: &mut Option<UpdateConfig>, args: &RollbackPolicyArgs) {
    let RollbackPolicyArgs {
        parallelism,
        delay,
        failure_action,
        monitor,
        max_failure_ratio,
        order,
    } = args.clone();
    let given = Policy { parallelism, delay, failure_action, monitor, max_failure_ratio, order };
    given.set(config);
}

/// Flags of updates or of rollbacks.
#[derive(Default, PartialEq)]
struct Policy {
    parallelism: Option<u64>,
    delay: Option<i64>,
    failure_action: Option<String>,
    monitor: Option<i64>,
    max_failure_ratio: Option<f32>,
    order: Option<String>,
}

impl Policy {
    fn set(self, config: &mut Option<UpdateConfig>) {
        if self == Self::default() {
            return;
        }
        let config = config.get_or_insert_with(UpdateConfig::defaults);
        set(&mut config.parallelism, self.parallelism.as_ref());
        set(&mut config.delay, self.delay.as_ref());
        set(&mut config.failure_action, self.failure_action.as_ref());
        set(&mut config.monitor, self.monitor.as_ref());
        set(&mut config.max_failure_ratio, self.max_failure_ratio.as_ref());
        set(&mut config.order, self.order.as_ref());
    }
}

/// Placement of a spec, made if there is none.
fn placement(spec: &mut ServiceSpec) -> &mut Placement {
    spec.task_template.placement.get_or_insert_default()
}
