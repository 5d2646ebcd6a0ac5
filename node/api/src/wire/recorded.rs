//! What Docker Engine sent is read and written again without a difference.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::file::{Config, ConfigSpec, FileCreated, Secret, SecretSpec};
use super::node::{Node, NodeSpec};
use super::service::{Service, ServiceSpec};
use super::system::{Info, Version};
use super::task::Task;
use super::{Created, from_slice};

#[track_caller]
fn check<T: DeserializeOwned + Serialize>(recorded: &str) {
    let bodies: Vec<Value> = serde_json::from_str(recorded).unwrap();
    assert!(!bodies.is_empty());
    for body in bodies {
        let read: T = serde_json::from_value(body.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), body);
    }
}

#[test]
fn services_survive() {
    check::<Service>(include_str!("../../testdata/service.json"));
    check::<ServiceSpec>(include_str!("../../testdata/service_spec.json"));
    check::<Created>(r#"[{"ID":"bf4ucnm0t3upah5noitgm6gpo","Warnings":null}]"#);
}

#[test]
fn tasks_survive() {
    check::<Task>(include_str!("../../testdata/task.json"));
}

#[test]
fn nodes_survive() {
    check::<Node>(include_str!("../../testdata/node.json"));
    check::<NodeSpec>(include_str!("../../testdata/node_spec.json"));
}

#[test]
fn files_survive() {
    check::<Secret>(include_str!("../../testdata/secret.json"));
    check::<SecretSpec>(include_str!("../../testdata/secret_spec.json"));
    check::<Config>(include_str!("../../testdata/config.json"));
    check::<ConfigSpec>(include_str!("../../testdata/config_spec.json"));
    check::<FileCreated>(r#"[{"ID":"my41ipewuw8xl4s8ncuauuw4y"}]"#);
}

#[test]
fn system_survives() {
    check::<Info>(include_str!("../../testdata/info.json"));
    check::<Version>(include_str!("../../testdata/version.json"));
}

#[test]
fn nulls_are_absent_and_the_schemas_spelling_is_read() {
    let spec: ServiceSpec = from_slice(
        br#"{"Name":"web","Labels":null,"Mode":null,"TaskTemplate":{"Networks":null,
            "ContainerSpec":{"Image":"a","Env":null,"HealthCheck":{"Retries":3}}}}"#,
    )
    .unwrap();
    let health = spec.task_template.container_spec.unwrap().healthcheck.unwrap();
    assert_eq!(health.retries, 3);
}
