//! Networks, both ways.

use std::collections::BTreeMap;
use std::net::IpAddr;

use api::cluster::Problem;
use api::wire::network::{ConfigFrom, Ipam, IpamConfig, Network as Shown, NewNetwork};
use api::wire::time::format;
use model::{Network, NetworkSpec, Subnet};

/// What Docker shows an overlay network's number as.
const VNI_OPTION: &str = "com.docker.network.driver.overlay.vxlanid_list";

/// A network as `/networks` shows it.
pub(crate) fn network(network: &Network) -> Shown {
    let spec = &network.spec;
    let mut options = spec.driver_opts.clone();
    options.insert(VNI_OPTION.to_owned(), network.vni.to_string());
    let config = network.subnets.iter().map(|subnet| IpamConfig {
        subnet: subnet.subnet.clone(),
        ip_range: subnet.range.clone(),
        gateway: subnet.gateway.clone(),
        auxiliary_addresses: BTreeMap::new(),
    });
    Shown {
        name: spec.name.clone(),
        id: network.id.to_string(),
        created: format(network.created_at.0),
        scope: "swarm".to_owned(),
        driver: spec.driver.clone(),
        // As Docker: this says what is so on this node, where no task of ours has it yet.
        enable_ipv4: false,
        enable_ipv6: spec.ipv6,
        ipam: Ipam { driver: "default".to_owned(), options: None, config: config.collect() },
        internal: spec.internal,
        attachable: spec.attachable,
        ingress: spec.ingress,
        config_from: ConfigFrom::default(),
        config_only: false,
        containers: None,
        options: Some(options),
        labels: Some(spec.labels.clone()).filter(|labels| !labels.is_empty()),
        peers: Vec::new(),
        services: BTreeMap::new(),
    }
}

/// Reads what a user wants of a network.
pub(crate) fn network_spec(new: NewNetwork) -> Result<NetworkSpec, Problem> {
    let driver = if new.driver.is_empty() { "overlay".to_owned() } else { new.driver };
    if driver != "overlay" {
        return Err(Problem::not_implemented(format!(
            "networks of the cluster are overlay networks: driver '{driver}' is not supported"
        )));
    }
    if new.config_only || new.config_from.is_some_and(|from| !from.network.is_empty()) {
        return Err(Problem::not_implemented(
            "overlay networks have their own configuration: --config-only and --config-from are \
             not supported",
        ));
    }
    if new.ingress && new.attachable {
        return Err(Problem::bad_request("ingress network cannot be attachable"));
    }
    let ipam = new.ipam.unwrap_or_default();
    if !matches!(ipam.driver.as_str(), "" | "default") {
        return Err(Problem::not_implemented(format!(
            "addresses are given by skep: IPAM driver '{}' is not supported",
            ipam.driver
        )));
    }
    Ok(NetworkSpec {
        name: new.name,
        labels: new.labels,
        driver,
        driver_opts: new.options,
        ipv6: new.enable_ipv6.unwrap_or(false),
        internal: new.internal,
        attachable: new.attachable,
        ingress: new.ingress,
        subnets: ipam.config.into_iter().map(subnet).collect::<Result<_, _>>()?,
    })
}

fn subnet(config: IpamConfig) -> Result<Subnet, Problem> {
    if !config.auxiliary_addresses.is_empty() {
        return Err(Problem::not_implemented("--aux-address is not supported"));
    }
    let invalid = |what: &str, text: &str| {
        Problem::bad_request(format!("invalid network config:\ninvalid {what} {text}"))
    };
    let (address, length) =
        cidr(&config.subnet).ok_or_else(|| invalid("subnet", &config.subnet))?;
    let within = |other: IpAddr| prefix(other, length) == prefix(address, length);
    if prefix(address, length) != Some(address) {
        return Err(invalid("subnet", &config.subnet));
    }
    let range = cidr(&config.ip_range).is_some_and(|(address, _)| within(address));
    if !config.ip_range.is_empty() && !range {
        return Err(invalid("ip-range", &config.ip_range));
    }
    let gateway = config.gateway.parse().is_ok_and(within);
    if !config.gateway.is_empty() && !gateway {
        return Err(invalid("gateway address", &config.gateway));
    }
    Ok(Subnet { subnet: config.subnet, range: config.ip_range, gateway: config.gateway })
}

fn cidr(text: &str) -> Option<(IpAddr, u32)> {
    let (address, length) = text.split_once('/')?;
    let (address, length) = (address.parse::<IpAddr>().ok()?, length.parse::<u32>().ok()?);
    prefix(address, length).map(|_| (address, length))
}

/// The first `length` bits of an address; `None` if it has fewer.
fn prefix(address: IpAddr, length: u32) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => {
            let host = 32_u32.checked_sub(length)?;
            let mask = u32::MAX.checked_shl(host).unwrap_or(0);
            Some(IpAddr::V4((u32::from(address) & mask).into()))
        }
        IpAddr::V6(address) => {
            let host = 128_u32.checked_sub(length)?;
            let mask = u128::MAX.checked_shl(host).unwrap_or(0);
            Some(IpAddr::V6((u128::from(address) & mask).into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(json: serde_json::Value, after: Result<&str, (u16, &str)>) {
        let new: NewNetwork = serde_json::from_value(json).unwrap();
        let got = network_spec(new)
            .map(|spec| spec.subnets.first().map_or(String::new(), |subnet| subnet.subnet.clone()));
        match (got, after) {
            (Ok(got), Ok(after)) => assert_eq!(got, after),
            (Err(problem), Err((status, text))) => {
                assert_eq!(problem.status, status);
                assert!(problem.message.contains(text), "{problem}");
            }
            (got, after) => panic!("{got:?}, expected {after:?}"),
        }
    }

    #[test]
    fn a_network_is_read_as_docker_sends_it() {
        check(json!({"Name": "a", "Driver": "overlay"}), Ok(""));
        let with = |config| json!({"Name": "a", "Driver": "overlay", "IPAM": {"Config": [config]}});
        check(
            with(json!({"Subnet": "10.5.0.0/24", "IPRange": "10.5.0.128/25"})),
            Ok("10.5.0.0/24"),
        );
        check(with(json!({"Subnet": "fd00::/64", "Gateway": "fd00::1"})), Ok("fd00::/64"));
        check(with(json!({"Subnet": "10.5.0.1/24"})), Err((400, "invalid subnet 10.5.0.1/24")));
        check(with(json!({"Subnet": "10.5.0.0/33"})), Err((400, "invalid subnet")));
        let outside = json!({"Subnet": "10.5.0.0/24", "Gateway": "10.6.0.1"});
        check(with(outside), Err((400, "gateway address 10.6.0.1")));
        check(json!({"Name": "a", "Driver": "macvlan"}), Err((501, "driver 'macvlan'")));
    }
}
