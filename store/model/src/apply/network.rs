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

    /// The lowest subnet of the cluster's pools that no network overlaps.
    fn free_subnet(&self) -> Option<Subnet> {
        let spec = self.cluster.as_ref().map(|cluster| cluster.spec.clone()).unwrap_or_default();
        let subnets = self.networks.values().flat_map(|network| &network.subnets);
        let used: Vec<(u32, u32)> = subnets.filter_map(|used| range(&used.subnet)).collect();
        let pools = spec.address_pools.iter().filter_map(|pool| range(pool));
        let free = pools.filter_map(|pool| free_in(pool, spec.subnet_size, &used)).next()?;
        let subnet = format!("{}/{}", Ipv4Addr::from(free), spec.subnet_size);
        Some(with_gateway(&Subnet { subnet, ..Subnet::default() }))
    }

    /// After other pools were set: an ingress network that the old ones gave its subnet, in a
    /// cluster without other networks, gets a new one. That is the case of `swarm init`.
    pub(super) fn move_ingress(&mut self, at: At) {
        let mut networks = self.networks.values();
        let (Some(only), None) = (networks.next().cloned(), networks.next()) else { return };
        if !only.spec.ingress || !only.spec.subnets.is_empty() || !self.services.is_empty() {
            return;
        }
        self.drop_network(only.id);
        let subnets = self.free_subnet().into_iter().collect();
        self.put_network(Network { subnets, modified: at.index, ..Network::clone(&only) });
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

/// The lowest subnet of that prefix length in `pool` that none of `used` overlaps.
fn free_in((first, last): (u32, u32), prefix: u8, used: &[(u32, u32)]) -> Option<u32> {
    let size = 1_u32.checked_shl(32_u32.checked_sub(u32::from(prefix))?)?;
    let mut at = first;
    loop {
        let end = at.checked_add(size - 1).filter(|end| *end <= last)?;
        match used.iter().find(|(from, to)| *from <= end && at <= *to) {
            None => return Some(at),
            // Behind whoever is in the way, at the next address that a subnet may begin with.
            Some((_, to)) => at = to.checked_add(1)?.checked_next_multiple_of(size)?,
        }
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
    fn subnets_are_the_lowest_free_ones_and_end_with_their_pool() {
        let pool = range("10.200.0.0/22").unwrap();
        let used = |texts: &[&str]| texts.iter().filter_map(|text| range(text)).collect::<Vec<_>>();
        let free = |prefix, texts: &[&str]| {
            free_in(pool, prefix, &used(texts)).map(|at| Ipv4Addr::from(at).to_string())
        };
        assert_eq!(free(24, &[]).as_deref(), Some("10.200.0.0"));
        assert_eq!(free(24, &["10.200.0.0/24", "10.200.1.7/32"]).as_deref(), Some("10.200.2.0"));
        assert_eq!(free(25, &["10.200.0.0/26"]).as_deref(), Some("10.200.0.128"));
        assert_eq!(free(24, &["10.0.0.0/8"]), None);
        assert_eq!(free(21, &[]), None, "larger than the pool");
        assert_eq!(free_in((0, u32::MAX), 0, &[]), None, "a size that no number holds");
    }

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
