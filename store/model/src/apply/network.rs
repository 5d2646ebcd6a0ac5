//! Networks: made, given addresses and a number, removed.

use std::net::Ipv4Addr;

use crate::change::ObjectKey;
use crate::command::{Applied, Refused};
use crate::id::{ClusterId, NetworkId};
use crate::object::{Network, NetworkSpec, Subnet};
use crate::service::ServiceSpec;
use crate::state::State;

use super::object::check_name;
use super::{At, not_found, taken};

/// Docker Swarm's pool: networks without a subnet of their own get a /24 of 10.0.0.0/8.
const POOL: u32 = 10 << 24;
/// Networks that the pool has room for.
const POOL_SUBNETS: u32 = 1 << 16;
/// Docker Swarm's first VXLAN number; those below are left to others on the same wire.
const FIRST_VNI: u32 = 4_096;

impl State {
    /// The network of published ports, which every cluster begins with.
    pub(super) fn create_ingress(&mut self, at: At, cluster: ClusterId) {
        let mut hasher = blake3::Hasher::new_derive_key("skep 2026 ingress network id v1");
        hasher.update(cluster.as_bytes());
        let mut id = [0; 16];
        id.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        let spec = NetworkSpec {
            name: "ingress".to_owned(),
            driver: "overlay".to_owned(),
            ingress: true,
            ..NetworkSpec::default()
        };
        self.put_new_network(at, NetworkId::from_bytes(id), spec);
    }

    pub(super) fn create_network(
        &mut self,
        at: At,
        id: NetworkId,
        spec: &NetworkSpec,
    ) -> Result<Applied, Refused> {
        check_name(&spec.name)?;
        if self.networks.contains_key(&id) || self.network_by_name(&spec.name).is_some() {
            return Err(taken("network", &spec.name));
        }
        let ingress = self.networks.values().find(|network| network.spec.ingress);
        if let Some(other) = ingress.filter(|_| spec.ingress) {
            return Err(Refused::IngressTaken(other.id.to_string()));
        }
        self.put_new_network(at, id, spec.clone());
        self.revise();
        Ok(at.created(ObjectKey::Network(id)))
    }

    fn put_new_network(&mut self, at: At, id: NetworkId, spec: NetworkSpec) {
        let subnets = if spec.subnets.is_empty() {
            self.free_subnet().into_iter().collect()
        } else {
            spec.subnets.iter().map(with_gateway).collect()
        };
        self.put_network(Network {
            id,
            vni: self.free_vni(),
            subnets,
            spec,
            spec_version: at.index,
            modified: at.index,
            created_at: at.now,
        });
    }

    /// The lowest /24 of the pool that no network overlaps.
    fn free_subnet(&self) -> Option<Subnet> {
        let subnets = self.networks.values().flat_map(|network| &network.subnets);
        let used: Vec<(u32, u32)> = subnets.filter_map(|used| range(&used.subnet)).collect();
        let free = (0..POOL_SUBNETS).map(|number| POOL | (number << 8)).find(|first| {
            let last = first | 0xff;
            !used.iter().any(|(from, to)| *from <= last && *first <= *to)
        })?;
        let subnet = format!("{}/24", Ipv4Addr::from(free));
        Some(with_gateway(&Subnet { subnet, ..Subnet::default() }))
    }

    /// The lowest VXLAN number that no network has.
    fn free_vni(&self) -> u32 {
        let used: std::collections::BTreeSet<u32> =
            self.networks.values().map(|network| network.vni).collect();
        // There are fewer networks than numbers: each takes up memory.
        (FIRST_VNI..).find(|vni| !used.contains(vni)).unwrap_or(FIRST_VNI)
    }

    pub(super) fn remove_network(&mut self, at: At, id: NetworkId) -> Result<Applied, Refused> {
        if !self.networks.contains_key(&id) {
            return Err(not_found("network", id));
        }
        let attached = |spec: &ServiceSpec| spec.task.networks.iter().any(|n| n.network == id);
        if let Some(service) = self.services.values().find(|service| attached(&service.spec)) {
            let text = format!("network {id} is in use by service {}", service.id);
            return Err(Refused::Precondition(text));
        }
        // Tasks of a removed service are on their way out; a stack removes its networks at once.
        let using = self.tasks.values().find(|task| {
            !task.status.state.is_terminal()
                && self.services.contains_key(&task.service)
                && task.spec.networks.iter().any(|n| n.network == id)
        });
        if let Some(task) = using {
            let text = format!("network {id} is in use by task {}", task.id);
            return Err(Refused::Precondition(text));
        }
        self.drop_network(id);
        self.revise();
        Ok(at.applied())
    }
}

/// First and last address of `10.0.1.0/24`; nothing for IPv6.
fn range(cidr: &str) -> Option<(u32, u32)> {
    let (address, length) = cidr.split_once('/')?;
    let (address, length) = (address.parse::<Ipv4Addr>().ok()?, length.parse::<u32>().ok()?);
    let host = u32::MAX.checked_shr(length).unwrap_or(0);
    let first = u32::from(address) & !host;
    Some((first, first | host))
}

/// As Docker does: without a gateway of its own, a subnet has it at its first address.
fn with_gateway(subnet: &Subnet) -> Subnet {
    let mut subnet = subnet.clone();
    if subnet.gateway.is_empty()
        && let Some((first, last)) = range(&subnet.subnet)
        && first < last
    {
        subnet.gateway = Ipv4Addr::from(first + 1).to_string();
    }
    subnet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_is_the_first_address_of_a_subnet() {
        for (subnet, gateway) in [
            ("10.0.3.0/24", "10.0.3.1"),
            ("10.55.0.7/16", "10.55.0.1"),
            ("10.0.0.1/32", ""),
            ("fd00::/64", ""),
            ("nonsense", ""),
        ] {
            let given = Subnet { subnet: subnet.to_owned(), ..Subnet::default() };
            assert_eq!(with_gateway(&given).gateway, gateway, "{subnet}");
        }
    }
}
