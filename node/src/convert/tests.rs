//! What goes in comes out.

use api::wire;
use serde_json::json;

use super::service_spec;
use super::show_spec::shown_service_spec;

fn read(value: serde_json::Value) -> Result<model::ServiceSpec, String> {
    let spec: wire::service::ServiceSpec = serde_json::from_value(value).unwrap();
    let find = |name: &str| match name {
        "ov1" => Ok(model::NetworkId::from_bytes([1; 16])),
        other => Err(api::cluster::Problem::not_found("network", other)),
    };
    service_spec(spec, &find).map_err(|problem| problem.message)
}

#[test]
fn a_spec_comes_out_as_it_went_in() {
    let id = model::SecretId::from_bytes([7; 16]).to_string();
    let given = json!({
        "Name": "web",
        "Labels": {"a": "b"},
        "TaskTemplate": {
            "ContainerSpec": {
                "Image": "nginx:latest", "Args": ["-x"], "Env": ["A=1"], "Init": false,
                "Mounts": [{"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": 4096, "Options": [["noexec"]]}}],
                "StopGracePeriod": 3_000_000_000_i64, "Isolation": "default",
                "Healthcheck": {"Test": ["CMD", "x"], "Interval": 2_000_000_000_i64},
                "Secrets": [{"File": {"Name": "pw", "UID": "1", "GID": "2", "Mode": 256},
                    "SecretID": id, "SecretName": "s1"}],
                "Configs": [{"File": {"Name": "/etc/c", "UID": "0", "GID": "0", "Mode": 292},
                    "ConfigID": id, "ConfigName": "c1"}],
                "CapabilityDrop": ["CAP_NET_RAW"],
                "Privileges": {"CredentialSpec": null, "SELinuxContext": null, "NoNewPrivileges": true}
            },
            "Resources": {"Limits": {"MemoryBytes": 64_000_000}, "Reservations": {"NanoCPUs": 500_000_000}},
            "RestartPolicy": {"Condition": "on-failure", "Delay": 1_000_000_000_i64, "MaxAttempts": 3},
            "Placement": {"Constraints": ["node.role==worker"],
                "Preferences": [{"Spread": {"SpreadDescriptor": "node.labels.zone"}}]},
            "ForceUpdate": 2, "Runtime": "container"
        },
        "Mode": {"Replicated": {"Replicas": 3}},
        "UpdateConfig": {"Parallelism": 2, "Delay": 5, "FailureAction": "rollback",
            "Monitor": 7, "MaxFailureRatio": 0.25, "Order": "start-first"},
        "EndpointSpec": {"Mode": "vip", "Ports": [{"Protocol": "tcp", "TargetPort": 80,
            "PublishedPort": 8080, "PublishMode": "ingress"}]}
    });
    let shown = shown_service_spec(&read(given.clone()).unwrap());
    assert_eq!(serde_json::to_value(shown).unwrap(), given);
}

#[test]
fn words_that_no_node_knows_are_refused_as_docker_does() {
    let read = |availability: &str, role: &str| {
        let spec = wire::node::NodeSpec {
            availability: availability.to_owned(),
            role: role.to_owned(),
            ..wire::node::NodeSpec::default()
        };
        super::node_spec(spec).map(|_| ()).map_err(|problem| problem.message)
    };
    assert_eq!(read("drain", "manager"), Ok(()));
    assert_eq!(read("bogus", ""), Err("invalid Availability: \"bogus\"".to_owned()));
    assert_eq!(read("", "bogus"), Err("invalid Role: \"bogus\"".to_owned()));
}

#[test]
fn what_has_no_place_is_refused_and_never_dropped() {
    let spec = |container: serde_json::Value, rest: serde_json::Value| {
        let mut spec = json!({"Name": "web", "TaskTemplate": {"ContainerSpec": container}});
        for (key, value) in rest.as_object().unwrap() {
            spec[key] = value.clone();
        }
        read(spec).map(|_| ()).unwrap_err()
    };
    let image = json!({"Image": "nginx"});
    let id = model::ConfigId::from_bytes([7; 16]).to_string();
    let with = |fields: serde_json::Value| {
        let mut container = json!({"Image": "nginx"});
        for (key, value) in fields.as_object().unwrap() {
            container[key] = value.clone();
        }
        container
    };
    for (error, expected) in [
        (spec(json!({}), json!({})), "image"),
        (spec(with(json!({"Secrets": [{"SecretName": "s1"}]})), json!({})), "malformed secret"),
        (
            spec(with(json!({"Secrets": [{"SecretID": "?", "SecretName": "s1"}]})), json!({})),
            "secret not found: s1",
        ),
        (
            spec(with(json!({"Configs": [{"ConfigID": &id, "ConfigName": "c"}]})), json!({})),
            "malformed config reference, no target provided",
        ),
        (
            spec(
                with(json!({"Configs": [{"ConfigID": &id, "ConfigName": "c", "Runtime": {}}]})),
                json!({}),
            ),
            "credential specs",
        ),
        (spec(image.clone(), json!({"Name": "we b"})), "DNS name"),
        (spec(image.clone(), json!({"Networks": [{"Target": "n"}]})), "network n not found"),
        (spec(image.clone(), json!({"Mode": {"Replicated": {}, "Global": {}}})), "only one"),
        (spec(image.clone(), json!({"UpdateConfig": {"FailureAction": "pray"}})), "pray"),
        (spec(image, json!({"EndpointSpec": {"Ports": [{"TargetPort": 70_000}]}})), "70000"),
    ] {
        assert!(error.contains(expected), "{error}");
    }
}
