//! `--mount`: `type=bind,src=/a,dst=/b,readonly`.

use std::str::FromStr;

use api::wire::container::{Mount, TmpfsOptions};
use serde_json::{Value, json};

use super::pair;
use crate::units;

/// One flag.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct MountFlag(Mount);

impl MountFlag {
    /// The mount.
    pub(crate) fn to_wire(&self) -> Mount {
        self.0.clone()
    }
}

impl FromStr for MountFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut mount = Mount { kind: "volume".to_owned(), ..Mount::default() };
        for field in text.split(',') {
            let (key, value) = pair(field);
            set(&mut mount, &key.trim().to_ascii_lowercase(), value)?;
        }
        if mount.target.is_empty() {
            return Err("target is required".to_owned());
        }
        let (kind, wrong) = (mount.kind.as_str(), |options: &str, of: &str| {
            Err(format!("cannot mix '{options}-*' options with mount type '{of}'"))
        });
        if mount.bind_options.is_some() && kind != "bind" {
            return wrong("bind", kind);
        }
        if mount.volume_options.is_some() && kind != "volume" {
            return wrong("volume", kind);
        }
        if mount.tmpfs_options.is_some() && kind != "tmpfs" {
            return wrong("tmpfs", kind);
        }
        Ok(Self(mount))
    }
}

fn set(mount: &mut Mount, key: &str, value: &str) -> Result<(), String> {
    match key {
        "type" => mount.kind = kind(value)?,
        "source" | "src" => value.clone_into(&mut mount.source),
        "target" | "dst" | "destination" => value.clone_into(&mut mount.target),
        "readonly" | "ro" => {
            mount.read_only = match value {
                "" | "true" | "1" => true,
                "false" | "0" => false,
                _ => return Err(format!("invalid value for {key}: {value}")),
            };
        }
        "consistency" => value.clone_into(&mut mount.consistency),
        "bind-propagation" => insert(&mut mount.bind_options, "Propagation", json!(value)),
        "bind-nonrecursive" => insert(&mut mount.bind_options, "NonRecursive", json!(true)),
        "volume-nocopy" => insert(&mut mount.volume_options, "NoCopy", json!(true)),
        "volume-subpath" => insert(&mut mount.volume_options, "Subpath", json!(value)),
        "volume-label" => nest(&mut mount.volume_options, &["Labels"], value),
        "volume-opt" => nest(&mut mount.volume_options, &["DriverConfig", "Options"], value),
        "volume-driver" => {
            let options = mount.volume_options.get_or_insert_with(|| json!({}));
            options["DriverConfig"]["Name"] = json!(value);
        }
        "tmpfs-size" => tmpfs(mount).size_bytes = units::bytes(value)?,
        "tmpfs-mode" => {
            let mode = u32::from_str_radix(value, 8);
            tmpfs(mount).mode = mode.map_err(|_| format!("invalid value for {key}: {value}"))?;
        }
        _ => return Err(format!("unexpected key '{key}'")),
    }
    Ok(())
}

fn kind(text: &str) -> Result<String, String> {
    let lower = text.to_ascii_lowercase();
    if matches!(lower.as_str(), "bind" | "volume" | "tmpfs") {
        Ok(lower)
    } else {
        Err(format!("invalid mount type: {text}; bind, volume and tmpfs are"))
    }
}

fn tmpfs(mount: &mut Mount) -> &mut TmpfsOptions {
    mount.tmpfs_options.get_or_insert_default()
}

fn insert(options: &mut Option<Value>, name: &str, value: Value) {
    options.get_or_insert_with(|| json!({}))[name] = value;
}

/// Puts `K=V` into an object within the options.
fn nest(options: &mut Option<Value>, path: &[&str], text: &str) {
    let (name, value) = pair(text);
    let mut fields = options.get_or_insert_with(|| json!({}));
    for step in path {
        fields = &mut fields[*step];
    }
    fields[name] = json!(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_read_as_docker_reads_them() {
        for (text, mount) in [
            (
                "type=volume,src=vol1,dst=/data,volume-label=a=b,volume-opt=type=tmpfs",
                Some(json!({"Type": "volume", "Source": "vol1", "Target": "/data",
                    "VolumeOptions": {"Labels": {"a": "b"},
                        "DriverConfig": {"Options": {"type": "tmpfs"}}}})),
            ),
            (
                "type=bind,src=/tmp,dst=/hosttmp,readonly,bind-propagation=rslave",
                Some(json!({"Type": "bind", "Source": "/tmp", "Target": "/hosttmp",
                    "ReadOnly": true, "BindOptions": {"Propagation": "rslave"}})),
            ),
            (
                "type=tmpfs,dst=/scratch,tmpfs-size=1000000,tmpfs-mode=1770",
                Some(json!({"Type": "tmpfs", "Target": "/scratch",
                    "TmpfsOptions": {"SizeBytes": 1_000_000, "Mode": 1016}})),
            ),
            ("src=v,dst=/v", Some(json!({"Type": "volume", "Source": "v", "Target": "/v"}))),
            ("type=bind,src=/a", None),
            ("type=odd,dst=/a", None),
            ("type=bind,dst=/a,tmpfs-size=1m", None),
            ("dst=/a,nosuch=1", None),
        ] {
            let read = text.parse::<MountFlag>().ok();
            let read = read.map(|flag| serde_json::to_value(flag.to_wire()).unwrap());
            assert_eq!(read, mount, "{text}");
        }
    }
}
