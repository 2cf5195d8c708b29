//! ADD, DEL and CHECK of `calico` (calico-compat §8.2 to §8.4).

use std::net::IpAddr;

use ipnet::IpNet;
use kubernetes::request::{Addresses, Request};
use linux::veth::{self, Attached, Mac, Veth};
use resource::kinds::WorkloadEndpoint;
use store::{AnyStore, block_on};

use crate::address;
use crate::call::Call;
use crate::conf::NetConf;
use crate::delegate::AddressPlugin;
use crate::endpoint::{self, Identity, Made};
use crate::failure::Failure;
use crate::reply::{self, Interface, Reply};
use crate::request;
use crate::world;

/// One call's surroundings.
struct Site {
    call: Call,
    conf: NetConf,
    store: AnyStore,
    identity: Identity,
    request: Request,
    plugin: AddressPlugin,
}

/// Gives the container an interface and addresses. After a failure nothing of it is left.
pub fn add(call: &Call, conf: &NetConf) -> Result<String, Failure> {
    world::check_nodename_file(conf)?;
    let store = world::open_store(conf)?;
    world::check_ready(&store)?;
    let identity = Identity::of(call, world::node_name(conf));
    let plugin = AddressPlugin::find(call, conf)?;
    let request = request::read(&store, conf, &identity)?;
    let (call, conf) = request::applied(&request, call, conf)?;
    let site = Site {
        call,
        conf,
        store,
        identity,
        request,
        plugin,
    };
    site.add()
}

fn parsed(networks: &[String]) -> Vec<IpNet> {
    networks.iter().filter_map(|n| n.parse().ok()).collect()
}

impl Site {
    fn add(&self) -> Result<String, Failure> {
        let Site {
            call,
            conf,
            store,
            identity,
            ..
        } = self;
        let existing = endpoint::read(store, &identity.key()?)?;
        if let Some((existing, _)) = existing {
            if existing.spec.orchestrator == "cni"
                && let Some(reply) = self.unchanged(&existing)?
            {
                return Ok(reply.to_json(&conf.version));
            }
            if existing.spec.container_id == call.container_id {
                // The runtime asks again: what it had is replaced.
                let had = parsed(&existing.spec.ip_networks);
                address::release_only(conf, store, identity, &had)?;
            }
        }
        let given = self.assign()?;
        self.connect(&given)
            .map(|reply| reply.to_json(&conf.version))
            .inspect_err(|_| self.give_back(&given))
    }

    /// The addresses that the container is to have, each with its block's or subnet's length.
    fn assign(&self) -> Result<Vec<IpNet>, Failure> {
        let assign = |call: &Call| {
            self.plugin
                .assign(call, &self.conf, &self.store, &self.identity)
        };
        let these = match &self.request.addresses {
            Addresses::Any => return assign(&self.call),
            Addresses::WithoutIpam(these) => {
                return Ok(these.iter().copied().map(IpNet::from).collect());
            }
            Addresses::These(these) => these,
        };
        let mut given = Vec::new();
        for address in these {
            let more = assign(&self.call.wanting(*address));
            given.extend(more.inspect_err(|_| self.give_back(&given))?);
        }
        Ok(given)
    }

    /// Gives back what was just given. The failure that is told is the first one; a DEL, which a runtime sends next, tries again.
    fn give_back(&self, given: &[IpNet]) {
        if let Addresses::Any | Addresses::These(_) = self.request.addresses {
            let _ =
                self.plugin
                    .give_back(&self.call, &self.conf, &self.store, &self.identity, given);
        }
    }

    /// The MAC that the container is to have, where it is to have a certain one.
    fn mac(&self) -> Result<Option<Mac>, Failure> {
        let text = self.request.mac.as_ref().map(|mac| mac.replace('-', ":"));
        let mac = text.map(|text| text.parse()).transpose();
        mac.map_err(Failure::internal)
    }

    /// The result of an earlier ADD of this container, when the interface is still there.
    fn unchanged(&self, existing: &WorkloadEndpoint) -> Result<Option<Reply>, Failure> {
        let Some(link) = veth::workload_link(&self.call.netns, &self.call.interface)? else {
            return Ok(None);
        };
        let addresses = parsed(&existing.spec.ip_networks);
        let mac = link.mac.map(|mac| mac.to_string()).unwrap_or_default();
        if mac != existing.spec.mac {
            return Ok(None);
        }
        let mtu = world::mtu(&self.conf)?;
        Ok(Some(self.reply(addresses, Vec::new(), &mac, mtu)))
    }

    fn connect(&self, given: &[IpNet]) -> Result<Reply, Failure> {
        let addresses: Vec<IpAddr> = given.iter().map(IpNet::addr).collect();
        let host = self.identity.host_interface();
        let veth = Veth {
            host: &host,
            workload: &self.call.interface,
            mtu: world::mtu(&self.conf)?,
            mac: self.mac()?,
            addresses: &addresses,
            forwarding: self.conf.container_settings.allow_ip_forwarding,
        };
        let Attached { mac, .. } = veth::attach(&self.call.netns, &veth)?;
        let alone: Vec<IpNet> = addresses.iter().map(|a| reply::alone(*a)).collect();
        let texts: Vec<String> = alone.iter().map(IpNet::to_string).collect();
        let mac = mac.to_string();
        let made = Made {
            addresses: &texts,
            interface: &host,
            mac: &mac,
        };
        endpoint::write(&self.store, &self.conf, &self.identity, &made).inspect_err(|_| {
            let _ = veth::delete(&host);
        })?;
        // A quirk that readers of Calico's results may know: the routes are the blocks, not what the container has.
        let blocks = given.iter().map(IpNet::trunc).collect();
        // As Calico, it tells the MTU that it was told itself.
        Ok(self.reply(alone, blocks, &mac, veth.mtu))
    }

    fn reply(
        &self,
        addresses: Vec<IpNet>,
        routes: Vec<IpNet>,
        mac: &str,
        mtu: Option<u32>,
    ) -> Reply {
        let host = Interface {
            name: self.identity.host_interface(),
            mac: None,
            mtu: None,
            sandbox: None,
        };
        let inside = Interface {
            name: self.call.interface.clone(),
            mac: Some(mac.to_string()),
            mtu,
            sandbox: Some(self.call.netns.display().to_string()),
        };
        Reply {
            interfaces: vec![host, inside],
            addresses,
            routes,
        }
    }
}

/// Takes everything away again; content with whatever is gone already.
pub fn del(call: &Call, conf: &NetConf) -> Result<(), Failure> {
    let store = world::open_store(conf)?;
    let identity = Identity::of(call, world::node_name(conf));
    let plugin = AddressPlugin::find(call, conf)?;
    let found = endpoint::read(&store, &identity.key()?)?;
    let stale = found
        .as_ref()
        .is_some_and(|(e, _)| e.spec.container_id != call.container_id);
    if let Some((_, entry)) = found.as_ref().filter(|_| !stale) {
        endpoint::remove(&store, entry, &call.container_id)?;
    }
    plugin.release(call, conf, &store, &identity)?;
    if let (true, Some((newer, _))) = (stale, &found) {
        // The pod has a newer sandbox. Only what is in the old one's namespace goes, unless that is the newer one's, or nobody knows
        // (Kubernetes does not keep the MAC).
        let link = veth::workload_link(&call.netns, &call.interface)?;
        let mac = link.and_then(|l| l.mac).map(|mac| mac.to_string());
        if newer.spec.mac.is_empty() || mac.is_none_or(|mac| mac == newer.spec.mac) {
            return Ok(());
        }
    }
    veth::detach(&call.netns, &call.interface)?;
    // The namespace may be gone by name and yet be held by somebody; the host's end is then still here.
    let ours = match &identity.pod {
        Some(_) => found.is_some() && !stale,
        None => true,
    };
    if ours {
        veth::delete(&identity.host_interface())?;
    }
    Ok(())
}

/// Whether everything that ADD made is there; the failure names what is missing.
pub fn check(call: &Call, conf: &NetConf) -> Result<(), Failure> {
    let store = world::open_store(conf)?;
    world::check_ready(&store)?;
    let identity = Identity::of(call, world::node_name(conf));
    let key = identity.key()?;
    let mut missing = Vec::new();
    match endpoint::read(&store, &key)? {
        None => missing.push(format!("the datastore's {key}")),
        Some((endpoint, _)) if endpoint.spec.container_id != call.container_id => {
            missing.push(format!(
                "the datastore's {key} of this container: it is {}'s",
                endpoint.spec.container_id
            ));
        }
        Some((endpoint, _)) => {
            check_endpoint(call, conf, &endpoint, &mut missing)?;
            let request = request::read(&store, conf, &identity)?;
            let without = matches!(request.addresses, Addresses::WithoutIpam(_));
            if conf.ipam.kind == "calico-ipam" && !without {
                check_allocations(&store, &endpoint, &mut missing)?;
            }
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(Failure::internal(format!(
        "CHECK failed, not there: {}",
        missing.join("; ")
    )))
}

fn check_endpoint(
    call: &Call,
    conf: &NetConf,
    endpoint: &WorkloadEndpoint,
    missing: &mut Vec<String>,
) -> Result<(), Failure> {
    let networks = parsed(&endpoint.spec.ip_networks);
    let addresses: Vec<IpAddr> = networks.iter().map(IpNet::addr).collect();
    let veth = Veth {
        host: &endpoint.spec.interface_name,
        workload: &call.interface,
        mtu: None,
        mac: None,
        addresses: &addresses,
        forwarding: false,
    };
    missing.extend(veth::verify(&call.netns, &veth)?);
    let previous = conf
        .previous
        .as_ref()
        .and_then(reply::addresses_of)
        .unwrap_or_default();
    for wanted in previous.iter().filter(|p| !addresses.contains(&p.addr())) {
        missing.push(format!("the previous result's address {wanted}"));
    }
    Ok(())
}

fn check_allocations(
    store: &AnyStore,
    endpoint: &WorkloadEndpoint,
    missing: &mut Vec<String>,
) -> Result<(), Failure> {
    let ipam = ipam::Ipam::new(store);
    for network in parsed(&endpoint.spec.ip_networks) {
        let address = network.addr();
        if block_on(ipam.owner_of(address))?.is_none() {
            missing.push(format!("the allocation of {address}"));
        }
    }
    Ok(())
}
