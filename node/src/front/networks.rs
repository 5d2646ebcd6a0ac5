//! Networks of the cluster: looking them up, making and removing them.

use std::sync::Arc;

use api::cluster::{Caller, Networks, Problem};
use api::filters::Filters;
use api::lookup;
use api::wire::network::{
    Ipam, IpamConfig, Network as Shown, NetworkCreated, NetworksPruned, NewNetwork,
};
use api::wire::time;
use async_trait::async_trait;
use model::{Command, Network, NetworkId, State};

use super::Front;
use crate::convert;

#[async_trait]
impl Networks for Front {
    async fn networks(&self, caller: &Caller) -> Result<Vec<Shown>, Problem> {
        let state = self.state(caller).await?;
        Ok(state.networks().map(|network| convert::network(network)).collect())
    }

    async fn network(&self, caller: &Caller, reference: &str) -> Result<Shown, Problem> {
        let state = self.state(caller).await?;
        Ok(convert::network(find_network(&state, reference)?))
    }

    async fn create_network(
        &self,
        caller: &Caller,
        new: NewNetwork,
    ) -> Result<NetworkCreated, Problem> {
        let spec = convert::network_spec(new)?;
        // A repeated request must make the same network: its id comes from the request's.
        let id = NetworkId::from_bytes(caller.request.0);
        self.propose(caller, Command::CreateNetwork { id, spec }).await?;
        Ok(NetworkCreated { id: id.to_string(), warning: String::new() })
    }

    async fn remove_network(&self, caller: &Caller, reference: &str) -> Result<(), Problem> {
        let state = self.state(caller).await?;
        let id = find_network(&state, reference)?.id;
        self.propose(caller, Command::RemoveNetwork(id)).await.map(|_| ())
    }

    async fn prune_networks(
        &self,
        caller: &Caller,
        filters: &Filters,
    ) -> Result<NetworksPruned, Problem> {
        let state = self.state(caller).await?;
        let until = prune_until(filters)?;
        let mut networks_deleted = Vec::new();
        for network in state.networks().filter(|network| is_prunable(network, filters, until)) {
            // One command each: a request id stands for one write. Whoever uses the network by
            // now keeps it.
            let own = Caller { request: derived(caller, network.id), ..caller.clone() };
            if self.propose(&own, Command::RemoveNetwork(network.id)).await.is_ok() {
                networks_deleted.push(network.spec.name.clone());
            }
        }
        Ok(NetworksPruned { networks_deleted })
    }

    /// The bridge through which tasks reach the world, as Docker shows it.
    fn local_networks(&self) -> Vec<Shown> {
        let id = blake3::derive_key("skep 2026 gateway bridge id v1", self.me.as_bytes());
        let id = id.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        let options = [
            ("com.docker.network.bridge.enable_icc", "false"),
            ("com.docker.network.bridge.enable_ip_masquerade", "true"),
            ("com.docker.network.bridge.name", "docker_gwbridge"),
        ];
        let options = options.map(|(name, value)| (name.to_owned(), value.to_owned()));
        vec![Shown {
            name: "docker_gwbridge".to_owned(),
            id,
            created: time::format(self.started_at.0),
            scope: "local".to_owned(),
            driver: "bridge".to_owned(),
            enable_ipv4: true,
            ipam: Ipam {
                driver: "default".to_owned(),
                options: None,
                config: vec![IpamConfig {
                    subnet: "172.18.0.0/16".to_owned(),
                    gateway: "172.18.0.1".to_owned(),
                    ..IpamConfig::default()
                }],
            },
            containers: Some(std::collections::BTreeMap::new()),
            options: Some(options.into()),
            labels: Some(std::collections::BTreeMap::new()),
            ..Shown::default()
        }]
    }
}

/// A request id of its own for each network of one request, the same when it is repeated.
fn derived(caller: &Caller, network: NetworkId) -> api::request_id::RequestId {
    let mut hasher = blake3::Hasher::new_derive_key("skep 2026 pruned network v1");
    hasher.update(&caller.request.0).update(network.as_bytes());
    let mut id = [0; 16];
    id.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    api::request_id::RequestId(id)
}

/// Networks made after this are spared.
fn prune_until(filters: &Filters) -> Result<u64, Problem> {
    match filters.values("until") {
        [] => Ok(u64::MAX),
        [until] => until
            .parse::<u64>()
            .ok()
            .map(|seconds| seconds.saturating_mul(1_000_000_000))
            .or_else(|| time::parse(until))
            .ok_or_else(|| Problem::bad_request(format!("invalid filter 'until={until}'"))),
        [_, _, ..] => Err(Problem::bad_request("more than one until filter specified")),
    }
}

/// The state refuses those in use.
fn is_prunable(network: &Arc<Network>, filters: &Filters, until: u64) -> bool {
    let labels = &network.spec.labels;
    let barred = filters.values("label!").iter().any(|label| {
        Filters::default().and("label", label.clone()).accepts_labels("label", labels)
    });
    !network.spec.ingress
        && network.created_at.0 <= until
        && filters.accepts_labels("label", labels)
        && !barred
}

pub(super) fn find_network<'a>(
    state: &'a State,
    reference: &str,
) -> Result<&'a Arc<Network>, Problem> {
    // By far the commonest ways, and the cheapest.
    let id = reference.parse::<NetworkId>().ok().and_then(|id| state.network(id));
    if let Some(network) = id.or_else(|| state.network_by_name(reference)) {
        return Ok(network);
    }
    let named: Vec<_> = state.networks().map(|network| (network.id.to_string(), network)).collect();
    let all = named.iter().map(|(id, network)| (id.as_str(), network.spec.name.as_str(), *network));
    lookup::find("network", reference, all)
}
