//! What `swarm init` and `swarm join` ask for, from Docker's words to ours. Pure, but for the
//! names of network interfaces, which come in.

use std::net::{IpAddr, SocketAddr};

use api::cluster::Problem;
use api::wire::swarm::{InitRequest, JoinRequest, SwarmSpec};
use crypto::Token;
use model::{Availability, ClusterSpec};
use serde_json::{Value, json};

use crate::config::{Addresses, PORT, with_port};
use crate::place::{Entrance, Terms};

/// What Docker's command line sends when it was told nothing.
const DOCKERS_LISTEN: &str = "0.0.0.0:2377";
/// Docker Swarm's port. Somebody who types it means ours.
pub(crate) const DOCKERS_PORT: u16 = 2377;
/// Seeds of one join; one is enough.
const SEEDS_MAX: usize = 16;
/// Docker's bounds for subnets of overlay networks.
const SUBNET_SIZES: std::ops::RangeInclusive<u32> = 1..=29;

/// A network interface and one of its addresses.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Interface {
    pub(crate) name: String,
    pub(crate) ip: IpAddr,
}

/// The interfaces of this machine; none if the system does not say.
pub(crate) fn interfaces() -> Vec<Interface> {
    let found = if_addrs::get_if_addrs().unwrap_or_default();
    found.into_iter().map(|it| Interface { ip: it.ip(), name: it.name }).collect()
}

/// Reads a request to found a cluster: the terms, and the spec that it begins with.
pub(crate) fn init(
    request: &InitRequest,
    given: Addresses,
    interfaces: &[Interface],
) -> Result<(Terms, ClusterSpec), Problem> {
    if request.force_new_cluster {
        return Err(Problem::not_implemented(
            "--force-new-cluster is not built yet: managers replace lost ones by themselves while \
             a majority lives",
        ));
    }
    let terms = terms(
        &[&request.listen_addr, &request.advertise_addr, &request.data_path_addr],
        &request.availability,
        given,
        interfaces,
    )?;
    let mut spec = cluster_spec(&ClusterSpec::default(), &request.spec)?;
    spec.autolock |= request.auto_lock_managers;
    spec.data_path_port = match request.data_path_port {
        0 => 0,
        port @ 1024..=49151 => u16::try_from(port).unwrap_or(0),
        port => {
            return Err(Problem::bad_request(format!(
                "invalid DataPathPort {port}: must be 0 or in the range of 1024 to 49151"
            )));
        }
    };
    if !request.default_addr_pool.is_empty() {
        spec.address_pools =
            request.default_addr_pool.iter().map(|pool| network(pool)).collect::<Result<_, _>>()?;
    }
    if request.subnet_size != 0 {
        let size = Some(request.subnet_size).filter(|size| SUBNET_SIZES.contains(size));
        spec.subnet_size = size.and_then(|size| u8::try_from(size).ok()).ok_or_else(|| {
            Problem::bad_request(format!(
                "invalid subnet size {}: give 1 to 29 bits",
                request.subnet_size
            ))
        })?;
    }
    Ok((terms, spec))
}

/// Reads a request to join a cluster.
pub(crate) fn join(
    request: &JoinRequest,
    given: Addresses,
    interfaces: &[Interface],
) -> Result<(Terms, Entrance), Problem> {
    let token = Token::from_text(&request.join_token)
        .map_err(|_| Problem::new(500, "invalid join token"))?;
    let mut seeds = Vec::new();
    for remote in request.remote_addrs.iter().map(|remote| remote.trim()) {
        if remote.is_empty() {
            continue;
        }
        let seed = with_port(&remote.to_lowercase());
        // Swarm's port is what people type; ours is tried beside it.
        let ours =
            seed.strip_suffix(&format!(":{DOCKERS_PORT}")).map(|host| format!("{host}:{PORT}"));
        seeds.push(seed);
        seeds.extend(ours);
    }
    seeds.dedup();
    if seeds.is_empty() || SEEDS_MAX < seeds.len() {
        return Err(Problem::bad_request("at least one RemoteAddr is required to join"));
    }
    let terms = terms(
        &[&request.listen_addr, &request.advertise_addr, &request.data_path_addr],
        &request.availability,
        given,
        interfaces,
    )?;
    Ok((terms, Entrance::Join { token, seeds }))
}

fn terms(
    [listen, advertise, data_path]: &[&String; 3],
    availability: &str,
    given: Addresses,
    interfaces: &[Interface],
) -> Result<Terms, Problem> {
    let listen = match listen.as_str() {
        "" | DOCKERS_LISTEN => given.listen,
        text => Some(address(text, PORT, interfaces).ok_or_else(|| {
            Problem::bad_request(
                "listen address must be an IP address or network interface (with optional port \
                 number)",
            )
        })?),
    };
    let port = listen.or(given.advertise).map_or(PORT, |address| address.port());
    let advertise = match advertise.as_str() {
        "" => given.advertise,
        text => {
            let address = address(text, port, interfaces);
            Some(address.filter(|address| !address.ip().is_unspecified()).ok_or_else(|| {
                Problem::bad_request(
                    "advertise address must be a non-zero IP address or network interface (with \
                     optional port number)",
                )
            })?)
        }
    };
    let data_path = match data_path.as_str() {
        "" => None,
        text => {
            Some(address(text, 0, interfaces).map(|address| address.ip()).ok_or_else(|| {
                Problem::bad_request(
                    "data path address must be a non-zero IP address or network interface",
                )
            })?)
        }
    };
    let addresses = Addresses { advertise, listen, publish: given.publish };
    Ok(Terms { addresses, availability: self::availability(availability)?, data_path })
}

/// `IP`, `IP:PORT`, `INTERFACE` or `INTERFACE:PORT`.
fn address(text: &str, port: u16, interfaces: &[Interface]) -> Option<SocketAddr> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(address);
    }
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(SocketAddr::new(ip, port));
    }
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) => (name, port.parse().ok()?),
        None => (text, port),
    };
    let of_it = || interfaces.iter().filter(|interface| interface.name == name);
    // As Docker: an interface's IPv4 address before its IPv6 one.
    let found = of_it().find(|interface| interface.ip.is_ipv4()).or_else(|| of_it().next());
    found.map(|interface| SocketAddr::new(interface.ip, port))
}

/// A range of IPv4 addresses in CIDR form.
fn network(text: &str) -> Result<String, Problem> {
    let parts = text.split_once('/').and_then(|(ip, bits)| {
        Some((ip.parse::<std::net::Ipv4Addr>().ok()?, bits.parse::<u32>().ok()?))
    });
    match parts {
        Some((ip, bits)) if bits <= 32 => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            let first = std::net::Ipv4Addr::from(u32::from(ip) & mask);
            Ok(format!("{first}/{bits}"))
        }
        _ => Err(Problem::bad_request(format!("invalid CIDR address: {text}"))),
    }
}

/// Docker's word for what becomes of tasks on a node; empty is active.
pub(crate) fn availability(text: &str) -> Result<Availability, Problem> {
    match text {
        "" | "active" => Ok(Availability::Active),
        "pause" => Ok(Availability::Pause),
        "drain" => Ok(Availability::Drain),
        other => Err(Problem::bad_request(format!("invalid Availability: \"{other}\""))),
    }
}

/// What a user wrote of a cluster, over what it has.
pub(crate) fn cluster_spec(now: &ClusterSpec, wanted: &SwarmSpec) -> Result<ClusterSpec, Problem> {
    if !matches!(wanted.name.as_str(), "" | "default") {
        return Err(Problem::bad_request("swarm spec must be named \"default\""));
    }
    let history = wanted.orchestration.task_history_retention_limit;
    let kept = json!({
        "Raft": wanted.raft, "Dispatcher": wanted.dispatcher, "CAConfig": wanted.ca_config,
        "TaskDefaults": wanted.task_defaults,
    });
    Ok(ClusterSpec {
        labels: wanted.labels.clone(),
        task_history_limit: history.unwrap_or(ClusterSpec::TASK_HISTORY_LIMIT),
        autolock: wanted.encryption_config.auto_lock_managers,
        kept: kept.to_string(),
        ..now.clone()
    })
}

/// The spec as Docker shows it: what was written, over Docker's defaults.
pub(crate) fn show_spec(spec: &ClusterSpec) -> Value {
    let kept: Value = serde_json::from_str(&spec.kept).unwrap_or_default();
    let with = |name: &str, defaults: Value| {
        let mut fields = defaults.as_object().cloned().unwrap_or_default();
        for (name, value) in kept[name].as_object().into_iter().flatten() {
            // Docker's command line sends 0 for what it was not told.
            if !value.is_null() && *value != json!(0) {
                fields.insert(name.clone(), value.clone());
            }
        }
        Value::Object(fields)
    };
    json!({
        "Name": spec.name,
        "Labels": spec.labels,
        "Orchestration": { "TaskHistoryRetentionLimit": spec.task_history_limit },
        "Raft": with("Raft", json!({
            "SnapshotInterval": 10_000, "KeepOldSnapshots": 0, "LogEntriesForSlowFollowers": 500,
            "ElectionTick": 10, "HeartbeatTick": 1,
        })),
        "Dispatcher": with("Dispatcher", json!({ "HeartbeatPeriod": 5_000_000_000_u64 })),
        "CAConfig": with("CAConfig", json!({ "NodeCertExpiry": 7_776_000_000_000_000_u64 })),
        "TaskDefaults": with("TaskDefaults", json!({})),
        "EncryptionConfig": { "AutoLockManagers": spec.autolock },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn eth0() -> Vec<Interface> {
        let interface = |ip: &str| Interface { name: "eth0".into(), ip: ip.parse().unwrap() };
        vec![interface("fd00::1"), interface("10.1.2.3")]
    }

    fn addresses(listen: &str, advertise: &str) -> Result<(String, String), String> {
        let request = InitRequest {
            listen_addr: listen.to_owned(),
            advertise_addr: advertise.to_owned(),
            ..InitRequest::default()
        };
        let shown = |address: Option<SocketAddr>| {
            address.map(|address| address.to_string()).unwrap_or_default()
        };
        init(&request, Addresses::default(), &eth0())
            .map(|(terms, _)| (shown(terms.addresses.listen), shown(terms.addresses.advertise)))
            .map_err(|problem| problem.message)
    }

    #[test]
    fn addresses_are_read_as_docker_reads_them() {
        for (listen, advertise, expected) in [
            ("", "", ("", "")),
            ("0.0.0.0:2377", "10.0.0.1", ("", "10.0.0.1:7964")),
            ("127.0.0.1:2377", "127.0.0.1", ("127.0.0.1:2377", "127.0.0.1:2377")),
            ("eth0:4000", "eth0", ("10.1.2.3:4000", "10.1.2.3:4000")),
            ("0.0.0.0:4000", "10.0.0.1:5000", ("0.0.0.0:4000", "10.0.0.1:5000")),
            ("", "[fd00::2]:9", ("", "[fd00::2]:9")),
        ] {
            let read = addresses(listen, advertise).unwrap();
            assert_eq!((read.0.as_str(), read.1.as_str()), expected, "{listen} {advertise}");
        }
        for wrong in ["300.1.1.1", "0.0.0.0", "eth9", "eth0:x", "::"] {
            let why = addresses("", wrong).unwrap_err();
            assert!(why.starts_with("advertise address must be a non-zero IP"), "{wrong}: {why}");
        }
        assert!(addresses("nowhere", "").unwrap_err().starts_with("listen address"));
    }

    #[test]
    fn swarms_port_is_tried_first_and_ours_beside_it() {
        let key = crypto::ClusterKey::generate().unwrap();
        let token = crypto::Authority::from_key(&key).grant(crypto::Role::Worker, [1; 16], 9, 0);
        let request = |remotes: &[&str]| JoinRequest {
            join_token: token.to_text().to_string(),
            remote_addrs: remotes.iter().map(|&remote| remote.to_owned()).collect(),
            ..JoinRequest::default()
        };
        let seeds = |remotes: &[&str]| match join(&request(remotes), Addresses::default(), &[])
            .map(|(_, entrance)| entrance)
        {
            Ok(Entrance::Join { seeds, .. }) => seeds,
            other => panic!("{other:?}"),
        };
        assert_eq!(seeds(&["10.0.0.1:2377"]), ["10.0.0.1:2377", "10.0.0.1:7964"]);
        assert_eq!(seeds(&["10.0.0.1"]), ["10.0.0.1:7964"]);
        assert_eq!(seeds(&["", "B:5"]), ["b:5"]);
        assert_eq!(join(&request(&[]), Addresses::default(), &[]).unwrap_err().status, 400);
        let bogus = JoinRequest { join_token: "bogus".into(), ..request(&["a"]) };
        let problem = join(&bogus, Addresses::default(), &[]).unwrap_err();
        assert_eq!((problem.status, problem.message.as_str()), (500, "invalid join token"));
    }

    #[test]
    fn what_a_user_wrote_is_shown_over_dockers_defaults() {
        let wanted = SwarmSpec {
            raft: json!({ "SnapshotInterval": 5_000, "ElectionTick": 0 }),
            ca_config: Value::Null,
            ..SwarmSpec::default()
        };
        let shown = show_spec(&cluster_spec(&ClusterSpec::default(), &wanted).unwrap());
        assert_eq!(shown["Raft"]["SnapshotInterval"], 5_000);
        assert_eq!(shown["Raft"]["ElectionTick"], 10);
        assert_eq!(shown["Dispatcher"]["HeartbeatPeriod"], 5_000_000_000_u64);
        assert_eq!(shown["Orchestration"]["TaskHistoryRetentionLimit"], 5);
        assert_eq!(shown["Name"], "default");
    }

    #[test]
    fn pools_and_sizes_are_checked() {
        let request = |pool: &str, size| InitRequest {
            default_addr_pool: vec![pool.to_owned()],
            subnet_size: size,
            ..InitRequest::default()
        };
        let (_, spec) = init(&request("10.200.1.0/16", 25), Addresses::default(), &[]).unwrap();
        assert_eq!((spec.address_pools, spec.subnet_size), (vec!["10.200.0.0/16".to_owned()], 25));
        for wrong in [request("10.0.0.0", 24), request("10.0.0.0/8", 33)] {
            assert_eq!(init(&wrong, Addresses::default(), &[]).unwrap_err().status, 400);
        }
    }
}
