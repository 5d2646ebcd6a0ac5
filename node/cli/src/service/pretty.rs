//! `service inspect --pretty`, as Docker lays it out.

use std::fmt::Write;

use api::wire::container::{ContainerSpec, Limit, Mount, ResourceRequirements};
use api::wire::node::Resources;
use api::wire::service::{Service, ServiceSpec, UpdateConfig};

use crate::units::{show_bytes, show_nanos};
use crate::{ago, rows};

/// Text for people.
pub(super) fn show(service: &Service, now_unix_nanos: u64) -> String {
    let mut text = String::new();
    match write_all(&mut text, service, now_unix_nanos) {
        Ok(()) => text,
        // Writing to a string cannot fail.
        Err(std::fmt::Error) => text,
    }
}

fn write_all(text: &mut String, service: &Service, now: u64) -> std::fmt::Result {
    let spec = &service.spec;
    writeln!(text, "\nID:\t\t{}\nName:\t\t{}", service.id, spec.name)?;
    if !spec.labels.is_empty() {
        writeln!(text, "Labels:")?;
        for (name, value) in &spec.labels {
            writeln!(text, " {name}={value}")?;
        }
    }
    mode(text, spec)?;
    update_status(text, service, now)?;
    placement(text, spec)?;
    update_config(text, "Update", spec.update_config.as_ref())?;
    update_config(text, "Rollback", spec.rollback_config.as_ref())?;
    let container = spec.task_template.container_spec.as_ref();
    container.map_or(Ok(()), |container| self::container(text, container))?;
    let resources = spec.task_template.resources.as_ref();
    resources.map_or(Ok(()), |resources| self::resources(text, resources))?;
    let networks = &spec.task_template.networks;
    if !networks.is_empty() {
        write!(text, "Networks:")?;
        for network in networks {
            write!(text, " {}", network.target)?;
        }
        writeln!(text, " ")?;
    }
    let endpoint = &service.endpoint.spec;
    writeln!(
        text,
        "Endpoint Mode:\t{}",
        if endpoint.mode.is_empty() { "vip" } else { &endpoint.mode }
    )?;
    if !service.endpoint.ports.is_empty() {
        writeln!(text, "Ports:")?;
    }
    for port in &service.endpoint.ports {
        writeln!(text, " PublishedPort = {}", port.published_port)?;
        writeln!(text, "  Protocol = {}", port.protocol)?;
        writeln!(text, "  TargetPort = {}", port.target_port)?;
        writeln!(text, "  PublishMode = {} ", port.publish_mode)?;
    }
    writeln!(text)
}

fn mode(text: &mut String, spec: &ServiceSpec) -> std::fmt::Result {
    write!(text, "Service Mode:\t")?;
    if let Some(replicated) = &spec.mode.replicated {
        writeln!(text, "Replicated\n Replicas:\t{}", replicated.replicas.unwrap_or(1))
    } else if let Some(job) = &spec.mode.replicated_job {
        writeln!(text, "ReplicatedJob")?;
        writeln!(text, " Max Concurrent:\t{}", job.max_concurrent.unwrap_or(1))?;
        writeln!(text, " Total Completions:\t{}", job.total_completions.unwrap_or(1))
    } else if spec.mode.global_job.is_some() {
        writeln!(text, "GlobalJob")
    } else {
        writeln!(text, "Global")
    }
}

fn update_status(text: &mut String, service: &Service, now: u64) -> std::fmt::Result {
    let Some(status) = service.update_status.as_ref().filter(|status| !status.state.is_empty())
    else {
        return Ok(());
    };
    writeln!(text, "UpdateStatus:\n State:\t\t{}", status.state)?;
    let since = |time: &Option<String>| {
        time.as_deref().and_then(|time| ago::seconds_since(time, now)).map(ago::human)
    };
    if let Some(started) = since(&status.started_at) {
        writeln!(text, " Started:\t{started} ago")?;
    }
    if let Some(completed) = since(&status.completed_at).filter(|_| status.state == "completed") {
        writeln!(text, " Completed:\t{completed} ago")?;
    }
    writeln!(text, " Message:\t{}", status.message)
}

fn placement(text: &mut String, spec: &ServiceSpec) -> std::fmt::Result {
    writeln!(text, "Placement:")?;
    let Some(placement) = &spec.task_template.placement else { return Ok(()) };
    if !placement.constraints.is_empty() {
        writeln!(text, " Constraints:\t[{}]", placement.constraints.join(" "))?;
    }
    let preferences = placement.preferences.iter().filter_map(|one| one.spread.as_ref());
    let preferences: Vec<_> =
        preferences.map(|spread| format!("spread={}", spread.spread_descriptor)).collect();
    if !preferences.is_empty() {
        writeln!(text, " Preferences:\t[{}]", preferences.join(" "))?;
    }
    if 0 < placement.max_replicas {
        writeln!(text, " Max Replicas Per Node:   {}", placement.max_replicas)?;
    }
    Ok(())
}

fn update_config(text: &mut String, name: &str, config: Option<&UpdateConfig>) -> std::fmt::Result {
    let Some(config) = config else { return Ok(()) };
    writeln!(text, "{name}Config:\n Parallelism:\t{}", config.parallelism)?;
    if config.delay != 0 {
        writeln!(text, " Delay:\t\t{}", show_nanos(config.delay))?;
    }
    writeln!(text, " On failure:\t{}", config.failure_action)?;
    if config.monitor != 0 {
        writeln!(text, " Monitoring Period: {}", show_nanos(config.monitor))?;
    }
    writeln!(text, " Max failure ratio: {}", config.max_failure_ratio)?;
    let order = format!("{name} order:");
    writeln!(text, " {order:<18} {}", config.order)
}

fn container(text: &mut String, spec: &ContainerSpec) -> std::fmt::Result {
    writeln!(text, "ContainerSpec:\n Image:\t\t{}", rows::without_digest(&spec.image))?;
    for (name, words) in [("Command", &spec.command), ("Args", &spec.args), ("Env", &spec.env)] {
        if !words.is_empty() {
            writeln!(text, " {name}:\t\t{} ", words.join(" "))?;
        }
    }
    if !spec.dir.is_empty() {
        writeln!(text, " Dir:\t\t{}", spec.dir)?;
    }
    if !spec.user.is_empty() {
        writeln!(text, " User: {}", spec.user)?;
    }
    if let Some(init) = spec.init {
        writeln!(text, " Init:\t\t{init}")?;
    }
    if !spec.mounts.is_empty() {
        writeln!(text, "Mounts:")?;
        spec.mounts.iter().try_for_each(|mount| self::mount(text, mount))?;
    }
    let configs = spec.configs.iter().filter_map(|config| {
        Some((config.file.as_ref()?.name.as_str(), config.config_name.as_str()))
    });
    files(text, "Configs", configs)?;
    let secrets = spec.secrets.iter().filter_map(|secret| {
        Some((secret.file.as_ref()?.name.as_str(), secret.secret_name.as_str()))
    });
    files(text, "Secrets", secrets)?;
    Ok(())
}

/// Where files are and what they are made of.
fn files<'a>(
    text: &mut String,
    title: &str,
    files: impl Iterator<Item = (&'a str, &'a str)>,
) -> std::fmt::Result {
    for (number, (target, source)) in files.enumerate() {
        if number == 0 {
            writeln!(text, "{title}:")?;
        }
        writeln!(text, " Target:\t{target}\n  Source:\t{source}")?;
    }
    Ok(())
}

fn mount(text: &mut String, mount: &Mount) -> std::fmt::Result {
    writeln!(text, " Target:\t{}", mount.target)?;
    writeln!(text, "  Source:\t{}", mount.source)?;
    writeln!(text, "  ReadOnly:\t{}", mount.read_only)?;
    writeln!(text, "  Type:\t\t{}", mount.kind)
}

fn resources(text: &mut String, resources: &ResourceRequirements) -> std::fmt::Result {
    writeln!(text, "Resources:")?;
    let reserved = resources.reservations.clone().unwrap_or_default();
    let Resources { nano_cpus, memory_bytes, .. } = reserved;
    if nano_cpus != 0 || memory_bytes != 0 {
        writeln!(text, " Reservations:")?;
        amounts(text, nano_cpus, memory_bytes)?;
    }
    let limits = resources.limits.unwrap_or_default();
    let Limit { nano_cpus, memory_bytes, pids } = limits;
    if limits != Limit::default() {
        writeln!(text, " Limits:")?;
        amounts(text, nano_cpus, memory_bytes)?;
    }
    if pids != 0 {
        writeln!(text, "  PIDs:\t\t{pids}")?;
    }
    Ok(())
}

fn amounts(text: &mut String, nano_cpus: i64, memory_bytes: i64) -> std::fmt::Result {
    if nano_cpus != 0 {
        writeln!(text, "  CPU:\t\t{}", cpus(nano_cpus))?;
    }
    if memory_bytes != 0 {
        writeln!(text, "  Memory:\t{}", show_bytes(memory_bytes))?;
    }
    Ok(())
}

/// `0.5` of half a CPU.
#[expect(clippy::cast_precision_loss, reason = "far fewer CPUs than 2^52 billionths")]
pub(crate) fn cpus(nano_cpus: i64) -> f64 {
    nano_cpus as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn a_service_is_laid_out_as_docker_does() {
        let service: Service = serde_json::from_str(
            r#"{"ID":"bf4ucnm0t3upah5noitgm6gpo","Spec":{"Name":"web","TaskTemplate":{
            "ContainerSpec":{"Image":"bb:1","Args":["httpd","-f"],"Init":false},"Resources":{"Limits":{"NanoCPUs":500000000}},
            "Placement":{"Constraints":["node.role==manager"]}},"Mode":{"Replicated":{"Replicas":2}},
            "UpdateConfig":{"Parallelism":1,"FailureAction":"pause","Monitor":5000000000,"MaxFailureRatio":0,"Order":"stop-first"},
            "RollbackConfig":{"Parallelism":1,"FailureAction":"pause","Monitor":5000000000,"MaxFailureRatio":0.25,"Order":"stop-first"}},
            "Endpoint":{"Spec":{"Mode":"vip"},"Ports":[{"Protocol":"tcp","TargetPort":80,"PublishedPort":8080,"PublishMode":"ingress"}]},
            "UpdateStatus":{"State":"rollback_completed","StartedAt":"2026-11-23T07:26:28Z","Message":"rollback completed"}}"#,
        )
        .unwrap();
        let now = api::wire::time::parse("2026-11-23T07:27:01Z").unwrap();
        expect![[r#"

            ID:→→bf4ucnm0t3upah5noitgm6gpo
            Name:→→web
            Service Mode:→Replicated
             Replicas:→2
            UpdateStatus:
             State:→→rollback_completed
             Started:→33 seconds ago
             Message:→rollback completed
            Placement:
             Constraints:→[node.role==manager]
            UpdateConfig:
             Parallelism:→1
             On failure:→pause
             Monitoring Period: 5s
             Max failure ratio: 0
             Update order:      stop-first
            RollbackConfig:
             Parallelism:→1
             On failure:→pause
             Monitoring Period: 5s
             Max failure ratio: 0.25
             Rollback order:    stop-first
            ContainerSpec:
             Image:→→bb:1
             Args:→→httpd -f 
             Init:→→false
            Resources:
             Limits:
              CPU:→→0.5
            Endpoint Mode:→vip
            Ports:
             PublishedPort = 8080
              Protocol = tcp
              TargetPort = 80
              PublishMode = ingress 

        "#]]
        .assert_eq(&show(&service, now).replace('\t', "→"));
    }
}
