//! The same command line makes the same body as Docker's CLI does.

use api::wire::container::{ConfigReference, SecretReference};
use api::wire::service::ServiceSpec;
use clap::Parser;
use serde::Deserialize;
use serde_json::Value;

use super::{create, update};
use crate::args::service::ServiceCommand;
use crate::args::{Args, Command};

#[derive(Deserialize)]
struct Recorded {
    argv: Vec<String>,
    #[serde(default)]
    before: ServiceSpec,
    body: Value,
}

fn service(argv: &[String]) -> ServiceCommand {
    let arguments = std::iter::once("skep").chain(argv.iter().map(String::as_str));
    match Args::try_parse_from(arguments).map(|args| args.command) {
        Ok(Command::Service(command)) => *command,
        other => panic!("{argv:?}: {other:?}"),
    }
}

#[test]
fn creating_sends_what_docker_sends() {
    let all: Vec<Recorded> =
        serde_json::from_str(include_str!("../../testdata/service_create.json")).unwrap();
    assert!(!all.is_empty());
    for Recorded { argv, body, .. } in all {
        let ServiceCommand::Create(args) = service(&argv) else { panic!("{argv:?}") };
        let spec = create::spec(&args, |_| None).unwrap();
        assert_eq!(serde_json::to_value(spec).unwrap(), body, "{argv:?}");
    }
}

#[test]
fn updating_sends_what_docker_sends() {
    let all: Vec<Recorded> =
        serde_json::from_str(include_str!("../../testdata/service_update.json")).unwrap();
    assert!(!all.is_empty());
    for Recorded { argv, before, body } in all {
        let ServiceCommand::Update(args) = service(&argv) else { panic!("{argv:?}") };
        let mut spec = before;
        update::apply(&mut spec, &args, |_| None).unwrap();
        assert_eq!(serde_json::to_value(spec).unwrap(), body, "{argv:?}");
    }
}

/// What updates change.
fn base() -> ServiceSpec {
    let line = "service create -p 8080:80 -p 53:53/udp -e A=1 -e B=2 -l l=1 \
                --constraint node.role==worker web:1";
    let argv: Vec<_> = line.split(' ').map(str::to_owned).collect();
    let ServiceCommand::Create(args) = service(&argv) else { panic!("{line}") };
    let mut spec = create::spec(&args, |_| None).unwrap();
    let container = spec.task_template.container_spec.as_mut().unwrap();
    for id in ["1", "2"] {
        let (secret_id, config_id) = (id.to_owned(), id.to_owned());
        let (secret_name, config_name) = (format!("s{id}"), format!("c{id}"));
        container.secrets.push(SecretReference { file: None, secret_id, secret_name });
        let config = ConfigReference { config_id, config_name, ..ConfigReference::default() };
        container.configs.push(config);
    }
    spec
}

#[track_caller]
fn check(line: &str, pointer: &str, after: &str) {
    let argv: Vec<String> = line.split(' ').map(str::to_owned).collect();
    let command = service(&argv);
    let spec = if let ServiceCommand::Create(args) = &command {
        create::spec(args, |name| Some(format!("my{name}")))
    } else if let ServiceCommand::Update(args) = &command {
        let mut spec = base();
        update::apply(&mut spec, args, |_| None).map(|()| spec)
    } else {
        panic!("{line}")
    };
    let got = match spec {
        Ok(spec) => serde_json::to_value(spec).unwrap().pointer(pointer).unwrap().to_string(),
        Err(failure) => failure.to_string(),
    };
    assert_eq!(got, after, "{line}");
}

#[test]
fn flags_become_fields() {
    let container = "/TaskTemplate/ContainerSpec";
    check("service create -e X -e X=2 -e Y a", &format!("{container}/Env"), r#"["X=2","Y=myY"]"#);
    check("service create a -d --name b", &format!("{container}/Args"), r#"["-d","--name","b"]"#);
    check("service create --read-only a", &format!("{container}/ReadOnly"), "true");
    check(
        "service create --stop-grace-period 1m a",
        &format!("{container}/StopGracePeriod"),
        "60000000000",
    );
    check(
        "service create --limit-memory 64m a",
        "/TaskTemplate/Resources/Limits",
        r#"{"MemoryBytes":67108864}"#,
    );
    check(
        "service create --placement-pref spread=node.labels.zone a",
        "/TaskTemplate/Placement",
        r#"{"Preferences":[{"Spread":{"SpreadDescriptor":"node.labels.zone"}}]}"#,
    );
    check(
        "service create --replicas-max-per-node 2 a",
        "/TaskTemplate/Placement",
        r#"{"MaxReplicas":2}"#,
    );
    check(
        "service create --mode global --replicas 2 a",
        "",
        "replicas can only be used with replicated or replicated-job mode",
    );
    check(
        "service create --mode odd a",
        "",
        "odd: no such mode; replicated, global, replicated-job and global-job are",
    );
    check(
        "service update --publish-rm 80 web",
        "/EndpointSpec/Ports",
        r#"[{"Protocol":"udp","PublishMode":"ingress","PublishedPort":53,"TargetPort":53}]"#,
    );
    check(
        "service update --env-rm A --env-add C=3 web",
        &format!("{container}/Env"),
        r#"["B=2","C=3"]"#,
    );
    check("service update --label-add m=2 --label-rm l web", "/Labels", r#"{"m":"2"}"#);
    check(
        "service update --secret-rm s1 web",
        &format!("{container}/Secrets"),
        r#"[{"File":null,"SecretID":"2","SecretName":"s2"}]"#,
    );
    check(
        "service update --config-rm c2 web",
        &format!("{container}/Configs"),
        r#"[{"ConfigID":"1","ConfigName":"c1"}]"#,
    );
    check("service update --constraint-rm node.role==worker web", "/TaskTemplate/Placement", "{}");
}
