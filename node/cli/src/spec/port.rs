//! `--publish`: `[PUBLISHED:]TARGET[/PROTOCOL]` with ranges, or `target=80,published=8080,…`.

use std::ops::RangeInclusive;
use std::str::FromStr;

use api::wire::network::PortConfig;

/// One flag; a range is several ports.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct PortFlag(Vec<PortConfig>);

impl PortFlag {
    /// The ports.
    pub(crate) fn to_wire(&self) -> Vec<PortConfig> {
        self.0.clone()
    }
}

impl FromStr for PortFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains('=') { long(text) } else { short(text) }
    }
}

fn long(text: &str) -> Result<PortFlag, String> {
    let mut port = PortConfig {
        protocol: "tcp".to_owned(),
        publish_mode: "ingress".to_owned(),
        ..PortConfig::default()
    };
    for field in text.split(',') {
        let (key, value) = field.split_once('=').ok_or_else(|| {
            format!("invalid field: {field}; fields are target, published, protocol and mode")
        })?;
        match key.trim().to_ascii_lowercase().as_str() {
            "target" => port.target_port = number(value, 1)?.into(),
            "published" => port.published_port = number(value, 0)?.into(),
            "protocol" => port.protocol = protocol(value)?,
            "mode" if matches!(value, "ingress" | "host") => {
                value.clone_into(&mut port.publish_mode);
            }
            "mode" => {
                return Err(format!("invalid publish mode: {value}; ingress and host are"));
            }
            _ => return Err(format!("invalid field key {key}")),
        }
    }
    if port.target_port == 0 {
        return Err("missing mandatory field \"target\"".to_owned());
    }
    Ok(PortFlag(vec![port]))
}

fn short(text: &str) -> Result<PortFlag, String> {
    let (ports, protocol_text) = text.rsplit_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol(protocol_text)?;
    let (published, target) = match ports.rsplit_once(':') {
        Some((published, _)) if published.contains(':') => {
            return Err(format!("{text}: a host address cannot be given for a service"));
        }
        Some((published, target)) => (published, target),
        None => ("", ports),
    };
    let target = range(target)?;
    let n_targets = target.clone().count();
    let published: Vec<u16> =
        if published.is_empty() { vec![0; n_targets] } else { range(published)?.collect() };
    if published.len() != n_targets {
        return Err(format!("{text}: the two ranges differ in length"));
    }
    let ports = target.zip(published).map(|(target, published)| PortConfig {
        name: String::new(),
        protocol: protocol.clone(),
        target_port: target.into(),
        published_port: published.into(),
        publish_mode: "ingress".to_owned(),
    });
    Ok(PortFlag(ports.collect()))
}

fn protocol(text: &str) -> Result<String, String> {
    let lower = text.to_ascii_lowercase();
    if matches!(lower.as_str(), "tcp" | "udp" | "sctp") {
        Ok(lower)
    } else {
        Err(format!("invalid protocol: {text}; tcp, udp and sctp are"))
    }
}

fn range(text: &str) -> Result<RangeInclusive<u16>, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first, 1)?, number(last, 1)?);
    if last < first {
        return Err(format!("invalid range of ports: {text}"));
    }
    Ok(first..=last)
}

fn number(text: &str, least: u16) -> Result<u16, String> {
    let number = text.trim().parse().ok().filter(|number| least <= *number);
    number.ok_or_else(|| format!("invalid port: {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_in_both_forms() {
        for (text, ports) in [
            ("80", Some("0:80/tcp ingress")),
            ("8080:80", Some("8080:80/tcp ingress")),
            ("53:53/udp", Some("53:53/udp ingress")),
            ("8080-8081:80-81", Some("8080:80/tcp ingress, 8081:81/tcp ingress")),
            ("80-81", Some("0:80/tcp ingress, 0:81/tcp ingress")),
            ("target=80", Some("0:80/tcp ingress")),
            ("published=8082,target=82,protocol=udp,mode=host", Some("8082:82/udp host")),
            ("8080-8082:80-81", None),
            ("127.0.0.1:80:80", None),
            ("0", None),
            ("99999", None),
            ("80/icmp", None),
            ("published=80", None),
            ("target=80,mode=odd", None),
            ("target=80,nosuch=1", None),
            ("", None),
        ] {
            let read = text.parse::<PortFlag>().ok().map(|PortFlag(ports)| {
                let ports = ports.iter().map(|port| {
                    let PortConfig { published_port, target_port, protocol, publish_mode, .. } =
                        port;
                    format!("{published_port}:{target_port}/{protocol} {publish_mode}")
                });
                ports.collect::<Vec<_>>().join(", ")
            });
            assert_eq!(read.as_deref(), ports, "{text}");
        }
    }
}
