//! `--secret` and `--config`: `s1`, or `source=s1,target=pw,uid=0,gid=0,mode=0400`.

use std::str::FromStr;

use api::client::{Client, ClientError};
use api::filters::Filters;
use api::wire::container::{ConfigReference, FileTarget, SecretReference};

use super::pair;
use crate::exit::Failure;

/// Docker's default: everybody in the container may read it.
const MODE: u32 = 0o444;

/// One flag.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct FileFlag {
    source: String,
    file: FileTarget,
}

impl FromStr for FileFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let zero = || "0".to_owned();
        let mut file = FileTarget { name: String::new(), uid: zero(), gid: zero(), mode: MODE };
        let mut source = String::new();
        if text.contains('=') {
            for (key, value) in text.split(',').map(pair) {
                match key.trim().to_ascii_lowercase().as_str() {
                    "source" | "src" => value.clone_into(&mut source),
                    "target" => value.clone_into(&mut file.name),
                    "uid" => value.clone_into(&mut file.uid),
                    "gid" => value.clone_into(&mut file.gid),
                    "mode" => file.mode = mode(value)?,
                    key => return Err(format!("invalid field '{key}'")),
                }
            }
        } else {
            text.clone_into(&mut source);
        }
        if source.is_empty() {
            return Err("source is required".to_owned());
        }
        if file.name.is_empty() {
            file.name.clone_from(&source);
        }
        Ok(Self { source, file })
    }
}

/// A number as Go reads it: `0400` and `0o400` are octal, `256` is not.
fn mode(text: &str) -> Result<u32, String> {
    let number = if let Some(hex) = text.strip_prefix("0x") {
        u32::from_str_radix(hex, 16)
    } else if let Some(octal) = text.strip_prefix("0o").or_else(|| text.strip_prefix('0')) {
        if octal.is_empty() { Ok(0) } else { u32::from_str_radix(octal, 8) }
    } else {
        text.parse()
    };
    number.map_err(|_| format!("invalid mode specified: {text}"))
}

/// Two files at one place: Docker refuses it before it asks the daemon.
fn check_targets(kind: &str, flags: &[FileFlag]) -> Result<(), Failure> {
    for (number, flag) in flags.iter().enumerate() {
        if flags.iter().take(number).any(|other| other.file.name == flag.file.name) {
            let source = &flag.source;
            let text = format!("duplicate {kind} target for {source} not allowed");
            return Err(Failure::new(text));
        }
    }
    Ok(())
}

/// Asks for the secrets that flags name.
pub(crate) async fn secrets(
    flags: &[FileFlag],
    client: &Client,
) -> Result<Vec<SecretReference>, Failure> {
    check_targets("secret", flags)?;
    if flags.is_empty() {
        return Ok(Vec::new());
    }
    let known = client.secrets(&named(flags)).await?;
    let known: Vec<_> = known.into_iter().map(|secret| (secret.spec.name, secret.id)).collect();
    resolve("secret", flags, &known, |flag, id| SecretReference {
        file: Some(flag.file.clone()),
        secret_id: id.to_owned(),
        secret_name: flag.source.clone(),
    })
}

/// Asks for the configs that flags name.
pub(crate) async fn configs(
    flags: &[FileFlag],
    client: &Client,
) -> Result<Vec<ConfigReference>, Failure> {
    check_targets("config", flags)?;
    if flags.is_empty() {
        return Ok(Vec::new());
    }
    let known: Result<_, ClientError> = client.configs(&named(flags)).await;
    let known: Vec<_> = known?.into_iter().map(|config| (config.spec.name, config.id)).collect();
    resolve("config", flags, &known, |flag, id| ConfigReference {
        file: Some(flag.file.clone()),
        runtime: None,
        config_id: id.to_owned(),
        config_name: flag.source.clone(),
    })
}

fn named(flags: &[FileFlag]) -> Filters {
    flags.iter().fold(Filters::default(), |all, flag| all.and("name", flag.source.as_str()))
}

fn resolve<T>(
    kind: &str,
    flags: &[FileFlag],
    known: &[(String, String)],
    reference: impl Fn(&FileFlag, &str) -> T,
) -> Result<Vec<T>, Failure> {
    let one = |flag: &FileFlag| {
        // The daemon also knows those whose names only begin so.
        let found = known.iter().find(|(name, _)| *name == flag.source);
        let (_, id) =
            found.ok_or_else(|| Failure::new(format!("{kind} not found: {}", flag.source)))?;
        Ok(reference(flag, id))
    };
    flags.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_as_docker_reads_them() {
        let flag = |source: &str, name: &str, uid: &str, gid: &str, mode| {
            let [source, name, uid, gid] = [source, name, uid, gid].map(str::to_owned);
            Ok(FileFlag { source, file: FileTarget { name, uid, gid, mode } })
        };
        for (text, read) in [
            ("s1", flag("s1", "s1", "0", "0", 292)),
            (
                "source=s2,target=sek2,uid=1000,gid=1001,mode=0400",
                flag("s2", "sek2", "1000", "1001", 256),
            ),
            ("source=c1,target=/etc/c1.conf,mode=0440", flag("c1", "/etc/c1.conf", "0", "0", 288)),
            ("src=s,mode=256", flag("s", "s", "0", "0", 256)),
            ("src=s,mode=0o777", flag("s", "s", "0", "0", 511)),
            ("src=s,mode=0", flag("s", "s", "0", "0", 0)),
            ("target=s", Err("source is required".to_owned())),
            ("", Err("source is required".to_owned())),
            ("src=s,mode=rw", Err("invalid mode specified: rw".to_owned())),
            ("src=s,size=1", Err("invalid field 'size'".to_owned())),
        ] {
            assert_eq!(text.parse::<FileFlag>(), read, "{text}");
        }
    }

    #[test]
    fn names_become_ids_and_only_whole_names_count() {
        let flags: Vec<FileFlag> = vec!["s1".parse().unwrap()];
        let known = [("s10".to_owned(), "a".to_owned()), ("s1".to_owned(), "b".to_owned())];
        let ids = resolve("secret", &flags, &known, |_, id| id.to_owned());
        assert_eq!(ids, Ok(vec!["b".to_owned()]));
        let missing = resolve("secret", &flags, &known[..1], |_, id| id.to_owned());
        assert_eq!(missing.unwrap_err().to_string(), "secret not found: s1");
        let twice: Vec<FileFlag> = vec!["s1".parse().unwrap(), "src=s2,target=s1".parse().unwrap()];
        let refused = check_targets("secret", &twice).unwrap_err().to_string();
        assert_eq!(refused, "duplicate secret target for s2 not allowed");
    }
}
