//! `node inspect --pretty`, as Docker lays it out.

use std::collections::BTreeMap;
use std::fmt::Write;

use api::wire::node::Node;

use crate::format::value::title;
use crate::units::show_bytes;

/// Text for people.
pub(super) fn show(node: &Node) -> String {
    let mut text = String::new();
    match write_all(&mut text, node) {
        Ok(()) => text,
        // Writing to a string cannot fail.
        Err(std::fmt::Error) => text,
    }
}

fn write_all(text: &mut String, node: &Node) -> std::fmt::Result {
    let description = &node.description;
    writeln!(text, "ID:\t\t\t{}", node.id)?;
    if !node.spec.name.is_empty() {
        writeln!(text, "Name:\t\t\t{}", node.spec.name)?;
    }
    labels(text, "Labels", &node.spec.labels)?;
    writeln!(text, "Hostname:              \t{}", description.hostname)?;
    let joined = node.created_at.replace('T', " ").replace('Z', " +0000 utc");
    writeln!(text, "Joined at:             \t{joined}")?;
    writeln!(text, "Status:\n State:\t\t\t{}", title(&node.status.state))?;
    if !node.status.message.is_empty() {
        writeln!(text, " Message:\t\t{}", node.status.message)?;
    }
    writeln!(text, " Availability:         \t{}", title(&node.spec.availability))?;
    if !node.status.addr.is_empty() {
        writeln!(text, " Address:\t\t{}", node.status.addr)?;
    }
    if let Some(manager) = &node.manager_status {
        writeln!(text, "Manager Status:\n Address:\t\t{}", manager.addr)?;
        writeln!(text, " Raft Status:\t\t{}", title(&manager.reachability))?;
        writeln!(text, " Leader:\t\t{}", if manager.leader { "Yes" } else { "No" })?;
    }
    writeln!(text, "Platform:\n Operating System:\t{}", description.platform.os)?;
    writeln!(text, " Architecture:\t\t{}", description.platform.architecture)?;
    let cpus = crate::service::cpus(description.resources.nano_cpus);
    writeln!(text, "Resources:\n CPUs:\t\t\t{cpus}")?;
    writeln!(text, " Memory:\t\t{}", show_bytes(description.resources.memory_bytes))?;
    let mut plugins: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for plugin in &description.engine.plugins {
        plugins.entry(&plugin.kind).or_default().push(&plugin.name);
    }
    if !plugins.is_empty() {
        writeln!(text, "Plugins:")?;
    }
    for (kind, names) in plugins {
        writeln!(text, " {kind}:\t\t{}", names.join(", "))?;
    }
    writeln!(text, "Engine Version:\t\t{}", description.engine.engine_version)?;
    labels(text, "Engine Labels", &description.engine.labels)?;
    writeln!(text)
}

fn labels(text: &mut String, name: &str, labels: &BTreeMap<String, String>) -> std::fmt::Result {
    if labels.is_empty() {
        return Ok(());
    }
    writeln!(text, "{name}:")?;
    labels.iter().try_for_each(|(name, value)| writeln!(text, " - {name}={value}"))
}
