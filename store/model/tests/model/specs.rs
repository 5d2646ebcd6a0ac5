//! Specs that are refused whatever the cluster looks like.

use model::ServiceSpec;
use model::service::{
    EndpointMode, FileTarget, HealthCheck, Limits, Mount, PublishMode, Resources, SecretReference,
    ServiceMode, UpdateConfig,
};

use crate::fixtures::{port, published, spec};

fn with(change: impl FnOnce(&mut ServiceSpec)) -> ServiceSpec {
    let mut spec = published("web", vec![port(8080, PublishMode::Ingress)]);
    change(&mut spec);
    spec
}

#[test]
fn good_specs_pass() {
    for spec in [
        spec("web"),
        with(|_| {}),
        with(|spec| spec.task.container.image = "registry:5000/a/b:1@sha256:00ff".to_owned()),
        with(|spec| spec.task.container.image = "dir:/srv/my image".to_owned()),
        with(|spec| spec.task.placement.constraints.push("node.role!=manager".to_owned())),
        with(|spec| spec.endpoint.as_mut().unwrap().ports.push(port(0, PublishMode::Ingress))),
    ] {
        assert_eq!(spec.validate(), Ok(()), "{spec:?}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn bad_specs_are_refused_in_dockers_words() {
    let reservation = |nano_cpus, memory_bytes| {
        with(move |spec| {
            let amount = Resources { nano_cpus, memory_bytes, ..Default::default() };
            spec.task.resources.reservations = Some(amount);
        })
    };
    let mount = || Mount { target: "/data".to_owned(), ..Default::default() };
    let secret = |name: &str| SecretReference {
        id: model::SecretId::from_bytes([0; 16]),
        name: name.to_owned(),
        file: Some(FileTarget { name: "pw".to_owned(), ..Default::default() }),
    };
    for (spec, text) in [
        (
            with(|spec| spec.task.container.image.clear()),
            "ContainerSpec: image reference must be provided",
        ),
        (
            with(|spec| spec.task.container.image = "a b".to_owned()),
            "ContainerSpec: \"a b\" is not a valid repository/tag",
        ),
        (reservation(500_000, 0), "invalid cpu value 0.0005: Must be at least 0.001"),
        (reservation(-2_000_000_000, 0), "invalid cpu value -2: Must be at least 0.001"),
        (reservation(0, 1024), "invalid memory value 1024: Must be at least 4MiB"),
        (
            with(|spec| {
                let limits = Limits { memory_bytes: 1, ..Default::default() };
                spec.task.resources.limits = Some(limits);
            }),
            "invalid memory value 1: Must be at least 4MiB",
        ),
        (
            with(|spec| spec.task.container.mounts = vec![mount(), mount()]),
            "ContainerSpec: duplicate mount point: /data",
        ),
        (
            with(|spec| spec.task.placement.constraints.push("node.role".to_owned())),
            "constraint expected one operator from ==, !=",
        ),
        (
            with(|spec| spec.endpoint.as_mut().unwrap().mode = EndpointMode::Dnsrr),
            "EndpointSpec: port published with ingress mode can't be used with dnsrr mode",
        ),
        (
            with(|spec| {
                spec.endpoint.as_mut().unwrap().ports.push(port(8080, PublishMode::Host));
            }),
            "EndpointSpec: duplicate published ports provided",
        ),
        (
            with(|spec| {
                let config =
                    UpdateConfig { max_failure_ratio_ppm: 1_000_001, ..UpdateConfig::DEFAULT };
                spec.rollback = Some(config);
            }),
            "TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1",
        ),
        (
            with(|spec| {
                let check = HealthCheck { timeout_nanos: 10, ..Default::default() };
                spec.task.container.health_check = Some(check);
            }),
            "ContainerSpec: Timeout in HealthConfig cannot be less than 1ms",
        ),
        (
            with(|spec| spec.task.container.secrets = vec![secret("a"), secret("b")]),
            "secret references 'a' and 'b' have a conflicting target: 'pw'",
        ),
        (
            with(|spec| {
                spec.task.container.secrets = vec![SecretReference { file: None, ..secret("a") }];
            }),
            "malformed secret reference, no target provided",
        ),
        (
            with(|spec| {
                let file = Some(FileTarget::default());
                spec.task.container.secrets = vec![SecretReference { file, ..secret("a") }];
            }),
            "malformed file secret reference, invalid target file name provided",
        ),
        (
            with(|spec| {
                spec.mode = ServiceMode::GlobalJob;
                spec.update = Some(UpdateConfig::DEFAULT);
            }),
            "job-mode services cannot have an update or a rollback policy",
        ),
        (
            with(|spec| spec.task.container.oom_score_adj = 1001),
            "ContainerSpec: oom score adjustment must be from -1000 to 1000",
        ),
    ] {
        assert_eq!(spec.validate().map_err(|refused| refused.to_string()), Err(text.to_owned()));
    }
    let long = with(|spec| spec.task.container.env.push("x".repeat(200_000)));
    assert!(long.validate().unwrap_err().to_string().starts_with("service spec has 2000"));
}
