//! Numbers for published ports: 30000 to 32767 where the user asks for any.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use model::Decision;
use model::service::{PortConfig, Protocol, PublishMode};

use crate::draft::Draft;
use crate::group::Group;

/// Docker Swarm's range.
const AUTOMATIC: RangeInclusive<u16> = 30_000..=32_767;

/// Gives every service its ports; a number once given stays.
pub(crate) fn allocate(draft: &mut Draft<'_>, groups: &mut [Group]) {
    let mut taken = BTreeSet::new();
    let mut changed = Vec::new();
    for (place, group) in groups.iter().enumerate() {
        let Some(service) = &group.service else { continue };
        let wanted = service.spec.endpoint.as_ref().map_or(&[][..], |endpoint| &endpoint.ports);
        let ports = keep(wanted, &service.ports);
        // A number that a service gives up in this plan is free for others in the next one: the
        // decisions are checked one after the other. Host ports count, they would collide.
        let numbered = ports.iter().chain(&service.ports).filter(|port| port.published_port != 0);
        taken.extend(numbered.map(key));
        if ports != service.ports || ports.iter().any(is_open) {
            changed.push((place, ports));
        }
    }
    for (place, mut ports) in changed {
        if draft.is_full() {
            return;
        }
        for port in ports.iter_mut().filter(|port| is_open(port)) {
            // If none is free the port stays closed and its number 0, which users see.
            if let Some(number) =
                AUTOMATIC.into_iter().find(|n| !taken.contains(&(port.protocol, *n)))
            {
                port.published_port = number;
                taken.insert(key(port));
            }
        }
        let group = &mut groups[place];
        let Some(service) = &group.service else { continue };
        if ports != service.ports {
            draft.decide(Decision::Ports { service: service.id, ports: ports.clone() });
            group.ports = ports;
        }
    }
}

/// What the user wants, with the numbers that were given before.
fn keep(wanted: &[PortConfig], given: &[PortConfig]) -> Vec<PortConfig> {
    let fixed: BTreeSet<_> = wanted.iter().map(key).collect();
    let is_free = |port: &&PortConfig| {
        AUTOMATIC.contains(&port.published_port) && !fixed.contains(&key(port))
    };
    let mut given: Vec<&PortConfig> = given.iter().filter(is_free).collect();
    let mut kept = wanted.to_vec();
    for port in kept.iter_mut().filter(|port| is_open(port)) {
        let same =
            |other: &&PortConfig| PortConfig { published_port: 0, ..(*other).clone() } == *port;
        if let Some(place) = given.iter().position(same) {
            port.published_port = given.remove(place).published_port;
        }
    }
    kept
}

fn is_open(port: &PortConfig) -> bool {
    port.publish_mode == PublishMode::Ingress && port.published_port == 0
}

const fn key(port: &PortConfig) -> (Protocol, u16) {
    (port.protocol, port.published_port)
}
