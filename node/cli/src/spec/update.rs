//! `service update`: changes to a spec that was read before.

use std::collections::BTreeMap;

use api::wire::service::ServiceSpec;

use super::create::network;
use super::{pair, placement, preference, set_common, words};
use crate::args::service::UpdateArgs;
use crate::exit::Failure;

/// Applies the flags; `environment` is this process's, for `--env-add NAME` without a value.
pub(crate) fn apply(
    spec: &mut ServiceSpec,
    args: &UpdateArgs,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<(), Failure> {
    set_common(spec, &args.common)?;
    change_labels(&mut spec.labels, &args.label_add, &args.label_rm);
    let container = spec.task_template.container_spec.get_or_insert_default();
    if let Some(image) = &args.image {
        container.image.clone_from(image);
    }
    if let Some(text) = &args.args {
        container.args = words::split(text).map_err(Failure::usage)?;
    }
    if let Some(text) = &args.entrypoint {
        container.command = words::split(text).map_err(Failure::usage)?;
    }
    change_labels(&mut container.labels, &args.container_label_add, &args.container_label_rm);
    container.env.retain(|line| !args.env_rm.iter().any(|name| pair(line).0 == name));
    container.env.extend(args.env_add.iter().cloned());
    container.env = super::create::resolve_env(std::mem::take(&mut container.env), environment);
    let added: Vec<_> = args.mount_add.iter().map(super::mount::MountFlag::to_wire).collect();
    container.mounts.retain(|mount| {
        let replaced = added.iter().any(|new| new.target == mount.target);
        !replaced && !args.mount_rm.contains(&mount.target)
    });
    container.mounts.extend(added);
    container.secrets.retain(|secret| !args.secret_rm.contains(&secret.secret_name));
    container.configs.retain(|config| !args.config_rm.contains(&config.config_name));
    change_ports(spec, args);
    let networks = &mut spec.task_template.networks;
    networks.retain(|network| !args.network_rm.contains(&network.target));
    networks.extend(args.network_add.iter().map(|name| network(name)));
    let placement = placement(spec);
    change(&mut placement.constraints, args.constraint_add.clone(), &args.constraint_rm);
    let added = args.placement_pref_add.iter().map(|over| preference(over)).collect();
    let removed: Vec<_> = args.placement_pref_rm.iter().map(|over| preference(over)).collect();
    change(&mut placement.preferences, added, &removed);
    if args.force {
        spec.task_template.force_update += 1;
    }
    Ok(())
}

fn change_labels(labels: &mut BTreeMap<String, String>, add: &[String], remove: &[String]) {
    labels.retain(|name, _| !remove.contains(name));
    labels.extend(super::labels(add));
}

/// Removes, then adds what is not there.
fn change<T: PartialEq>(all: &mut Vec<T>, add: Vec<T>, remove: &[T]) {
    all.retain(|old| !remove.contains(old));
    for new in add {
        if !all.contains(&new) {
            all.push(new);
        }
    }
}

/// A port to remove is named by its target, and by its protocol if that was given.
fn change_ports(spec: &mut ServiceSpec, args: &UpdateArgs) {
    if args.publish_add.is_empty() && args.publish_rm.is_empty() {
        return;
    }
    let endpoint = spec.endpoint_spec.get_or_insert_default();
    let removed: Vec<_> = args.publish_rm.iter().flat_map(super::port::PortFlag::to_wire).collect();
    let added: Vec<_> = args.publish_add.iter().flat_map(super::port::PortFlag::to_wire).collect();
    let same = |a: &api::wire::network::PortConfig, b: &api::wire::network::PortConfig| {
        a.target_port == b.target_port && a.protocol == b.protocol
    };
    endpoint.ports.retain(|port| {
        let replaced = added.iter().any(|new| new == port);
        !replaced && !removed.iter().any(|old| same(old, port))
    });
    endpoint.ports.extend(added);
}
