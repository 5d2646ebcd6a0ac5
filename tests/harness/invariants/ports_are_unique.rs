//! A published port leads to one service, and a port of a node to one task.

use std::collections::BTreeSet;

use model::State;
use model::service::PublishMode;

pub(super) fn check(state: &State) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let mut wrong = Vec::new();
    for service in state.services() {
        for port in service
            .ports
            .iter()
            .filter(|port| port.publish_mode == PublishMode::Ingress && port.published_port != 0)
        {
            if !seen.insert((port.protocol, port.published_port)) {
                wrong.push(format!("port {} leads to two services", port.published_port));
            }
        }
    }
    let mut held = BTreeSet::new();
    for task in state.tasks().filter(|task| !task.status.state.is_terminal()) {
        let Some(node) = task.node else { continue };
        for port in task
            .ports
            .iter()
            .filter(|port| port.publish_mode == PublishMode::Host && port.published_port != 0)
        {
            if !held.insert((node, port.protocol, port.published_port)) {
                wrong.push(format!("port {} of {node} is held twice", port.published_port));
            }
        }
    }
    wrong
}
