//! `skep secret` and `skep config`.

mod pretty;

use std::collections::BTreeMap;
use std::io::Read;

use api::client::{Client, ClientError};
use api::wire::container::Driver;
use api::wire::file::{Config, ConfigSpec, Data, Secret, SecretSpec};
use serde::Serialize;
use serde_json::{Value, json};

use crate::args::files::{
    ConfigCommand, ConfigCreateArgs, InspectArgs, SecretCommand, SecretCreateArgs,
};
use crate::args::service::ListArgs;
use crate::exit::Failure;
use crate::format::{self, Listing};
use crate::out::Out;
use crate::service::{filters, first_of};
use crate::{ago, rows, spec};

/// More than any secret or config may hold: the daemon refuses it in Docker's words.
const READ_BYTES_MAX: u64 = 2 << 20;

const SECRETS: Listing = Listing {
    fields: &[
        ("ID", "ID"),
        ("Name", "NAME"),
        ("Driver", "DRIVER"),
        ("CreatedAt", "CREATED"),
        ("UpdatedAt", "UPDATED"),
        ("Labels", "LABELS"),
    ],
    table: "{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.CreatedAt}}\t{{.UpdatedAt}}",
    quiet: "{{.ID}}",
};

const CONFIGS: Listing = Listing {
    fields: &[
        ("ID", "ID"),
        ("Name", "NAME"),
        ("CreatedAt", "CREATED"),
        ("UpdatedAt", "UPDATED"),
        ("Labels", "LABELS"),
    ],
    table: "{{.ID}}\t{{.Name}}\t{{.CreatedAt}}\t{{.UpdatedAt}}",
    quiet: "{{.ID}}",
};

/// `skep secret`.
pub(crate) async fn secret(
    command: SecretCommand,
    client: &Client,
    out: &mut Out,
) -> Result<(), Failure> {
    match command {
        SecretCommand::Create(args) => {
            let created = client.create_secret(&secret_spec(&args)?).await?;
            out.line(created.id)
        }
        SecretCommand::Ls(args) => list_secrets(&args, client, out).await,
        SecretCommand::Inspect(args) => {
            let mut found = Vec::new();
            let mut missing = None;
            for name in &args.names {
                if !keep(client.secret(name).await, &mut found, &mut missing)? {
                    break;
                }
            }
            show(&found, missing, &args, (pretty::secret, out))
        }
        SecretCommand::Rm { secrets } => {
            let mut failures = Vec::new();
            for name in &secrets {
                removed(client.remove_secret(name).await, name, &mut failures, out)?;
            }
            first_of(failures)
        }
    }
}

/// `skep config`.
pub(crate) async fn config(
    command: ConfigCommand,
    client: &Client,
    out: &mut Out,
) -> Result<(), Failure> {
    match command {
        ConfigCommand::Create(args) => {
            let created = client.create_config(&config_spec(&args)?).await?;
            out.line(created.id)
        }
        ConfigCommand::Ls(args) => list_configs(&args, client, out).await,
        ConfigCommand::Inspect(args) => {
            let mut found = Vec::new();
            let mut missing = None;
            for name in &args.names {
                if !keep(client.config(name).await, &mut found, &mut missing)? {
                    break;
                }
            }
            show(&found, missing, &args, (pretty::config, out))
        }
        ConfigCommand::Rm { configs } => {
            let mut failures = Vec::new();
            for name in &configs {
                removed(client.remove_config(name).await, name, &mut failures, out)?;
            }
            first_of(failures)
        }
    }
}

fn driver(name: Option<&String>) -> Option<Driver> {
    name.map(|name| Driver { name: name.clone(), ..Driver::default() })
}

fn secret_spec(args: &SecretCreateArgs) -> Result<SecretSpec, Failure> {
    let data = match (&args.file, &args.driver) {
        (Some(_), Some(_)) => {
            return Err(Failure::usage("when using secret driver secret data must be empty"));
        }
        (None, Some(_)) => None,
        (Some(file), None) => Some(read(file)?),
        (None, None) => {
            let name = &args.name;
            return Err(Failure::usage(format!(
                "the secret comes from a file or from stdin: write `skep secret create {name} \
                 FILE`, or `-` instead of FILE"
            )));
        }
    };
    Ok(SecretSpec {
        name: args.name.clone(),
        labels: spec::labels(&args.labels),
        data,
        driver: driver(args.driver.as_ref()),
        templating: driver(args.template_driver.as_ref()),
    })
}

fn config_spec(args: &ConfigCreateArgs) -> Result<ConfigSpec, Failure> {
    Ok(ConfigSpec {
        name: args.name.clone(),
        labels: spec::labels(&args.labels),
        data: Some(read(&args.file)?),
        templating: driver(args.template_driver.as_ref()),
    })
}

/// A file, or stdin. It is read to its end before anything else is done.
fn read(file: &str) -> Result<Data, Failure> {
    let (from, mut input): (&str, Box<dyn Read>) = if file == "-" {
        ("STDIN", Box::new(std::io::stdin()))
    } else {
        let opened = std::fs::File::open(file);
        let opened = opened.map_err(|error| Failure::new(format!("open {file}: {error}")))?;
        (file, Box::new(opened))
    };
    let mut bytes = Vec::new();
    let read = input.by_ref().take(READ_BYTES_MAX).read_to_end(&mut bytes);
    read.map_err(|error| Failure::new(format!("error reading from {from}: {error}")))?;
    if bytes.is_empty() {
        return Err(Failure::new(format!("error reading from {from}: data is empty")));
    }
    Ok(bytes.into())
}

/// Keeps what was found, or takes note that it was not; other failures are failures.
fn keep<T>(
    asked: Result<T, ClientError>,
    found: &mut Vec<T>,
    missing: &mut Option<Failure>,
) -> Result<bool, Failure> {
    match asked {
        Ok(object) => {
            found.push(object);
            Ok(true)
        }
        Err(error @ ClientError::Refused(_)) => {
            *missing = Some(error.into());
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

fn show<T: Serialize>(
    found: &[T],
    missing: Option<Failure>,
    args: &InspectArgs,
    (pretty, out): (fn(&T) -> String, &mut Out),
) -> Result<(), Failure> {
    if args.pretty {
        for object in found {
            out.bytes(pretty(object).as_bytes())?;
        }
    } else {
        out.bytes(format::inspect(found, args.format.as_deref())?.as_bytes())?;
    }
    missing.map_or(Ok(()), Err)
}

fn removed(
    asked: Result<(), ClientError>,
    name: &str,
    failures: &mut Vec<Failure>,
    out: &mut Out,
) -> Result<(), Failure> {
    match asked {
        Ok(()) => out.line(name),
        Err(error @ ClientError::Refused(_)) => {
            failures.push(error.into());
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

async fn list_secrets(args: &ListArgs, client: &Client, out: &mut Out) -> Result<(), Failure> {
    let mut secrets = client.secrets(&filters(&args.filter)?).await?;
    secrets.sort_by(|a, b| rows::natural(&a.spec.name, &b.spec.name));
    let now = ago::now_unix_nanos();
    let rows: Vec<_> = secrets.iter().map(|secret| secret_row(secret, now)).collect();
    out.bytes(SECRETS.render(&rows, args.format.as_deref(), args.quiet)?.as_bytes())
}

async fn list_configs(args: &ListArgs, client: &Client, out: &mut Out) -> Result<(), Failure> {
    let mut configs = client.configs(&filters(&args.filter)?).await?;
    configs.sort_by(|a, b| rows::natural(&a.spec.name, &b.spec.name));
    let now = ago::now_unix_nanos();
    let rows: Vec<_> = configs.iter().map(|config| config_row(config, now)).collect();
    out.bytes(CONFIGS.render(&rows, args.format.as_deref(), args.quiet)?.as_bytes())
}

fn secret_row(secret: &Secret, now_unix_nanos: u64) -> Value {
    let driver = secret.spec.driver.as_ref().map_or("", |driver| &driver.name);
    json!({
        "ID": secret.id, "Name": secret.spec.name, "Driver": driver,
        "CreatedAt": since(&secret.created_at, now_unix_nanos),
        "UpdatedAt": since(&secret.updated_at, now_unix_nanos),
        "Labels": labels(&secret.spec.labels),
    })
}

fn config_row(config: &Config, now_unix_nanos: u64) -> Value {
    json!({
        "ID": config.id, "Name": config.spec.name,
        "CreatedAt": since(&config.created_at, now_unix_nanos),
        "UpdatedAt": since(&config.updated_at, now_unix_nanos),
        "Labels": labels(&config.spec.labels),
    })
}

fn since(time: &str, now_unix_nanos: u64) -> String {
    let seconds = ago::seconds_since(time, now_unix_nanos).unwrap_or(0);
    format!("{} ago", ago::human(seconds))
}

fn labels(labels: &BTreeMap<String, String>) -> String {
    let texts: Vec<_> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    texts.join(",")
}

#[cfg(test)]
mod tests {
    use api::wire::time;
    use expect_test::expect;

    use super::*;

    const NOW: u64 = 1_763_882_752_000_000_000;

    fn one() -> Secret {
        let labels = [("env", "prod"), ("x", "")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        Secret {
            id: "s8mkgfe73pk5ixuaq1071p25g".to_owned(),
            created_at: time::format(NOW - 16_000_000_000),
            updated_at: time::format(NOW - 16_000_000_000),
            spec: SecretSpec {
                name: "s2".to_owned(),
                labels: labels.into(),
                ..SecretSpec::default()
            },
            ..Secret::default()
        }
    }

    #[test]
    fn lists_are_dockers() {
        let rows = [secret_row(&one(), NOW)];
        expect![[r#"
            ID                          NAME      DRIVER    CREATED          UPDATED
            s8mkgfe73pk5ixuaq1071p25g   s2                  16 seconds ago   16 seconds ago
        "#]]
        .assert_eq(&SECRETS.render(&rows, None, false).unwrap());
        let config = Config {
            id: one().id,
            created_at: one().created_at,
            updated_at: one().updated_at,
            spec: ConfigSpec { name: "c1".to_owned(), ..ConfigSpec::default() },
            ..Config::default()
        };
        let rows = [config_row(&config, NOW)];
        expect![[r#"
            ID                          NAME      CREATED          UPDATED
            s8mkgfe73pk5ixuaq1071p25g   c1        16 seconds ago   16 seconds ago
        "#]]
        .assert_eq(&CONFIGS.render(&rows, None, false).unwrap());
        let json = CONFIGS.render(&rows, Some("{{.Name}} {{json .Labels}}"), false).unwrap();
        assert_eq!(json, "c1 \"\"\n");
    }

    #[test]
    fn people_read_what_docker_shows_them() {
        expect![[r#"
            ID:              s8mkgfe73pk5ixuaq1071p25g
            Name:              s2
            Labels:
             - env=prod
             - x
            Driver:            
            Created at:        2025-11-23 07:25:36 +0000 utc
            Updated at:        2025-11-23 07:25:36 +0000 utc
        "#]]
        .assert_eq(&pretty::secret(&one()));
    }

    #[test]
    fn an_empty_file_is_no_secret() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        let failure = read(path).unwrap_err().to_string();
        assert_eq!(failure, format!("error reading from {path}: data is empty"));
        std::fs::write(path, "hunter2\n").unwrap();
        assert_eq!(read(path).unwrap().as_bytes(), b"hunter2\n", "to the last byte");
    }
}
