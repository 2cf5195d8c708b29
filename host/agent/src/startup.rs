//! What a start writes into the store: the node itself, and the cluster's defaults where there are none.
//!
//! Several nodes may start at once on one store: what must exist once is created, and whoever comes second takes what is
//! there; what is the node's own is changed by compare-and-swap.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use dataplane::Actual;
use ipnet::IpNet;
use resource::kinds::{
    BgpConfiguration, BgpConfigurationSpec, ClusterInformation, ClusterInformationSpec, IpPool,
    IpPoolSpec, Node, NodeBgpSpec, NodeSpec, OrchRef,
};
use resource::{Entry, Key, KeyPrefix, Kind, Metadata, Object, Spec, Store, StoreError};

use crate::autodetect::{Method, detect, on_interface};
use crate::config::{AddressChoice, AgentConfig, DefaultPool};
use crate::identity::{new_guid, new_uid, timestamp};

/// A compare-and-swap that loses this often has found a store that is not one.
const RETRIES: usize = 100;
/// Between looks for a Node that is not there yet.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// What Calico calls a cluster whose datastore is the Kubernetes API.
const KUBERNETES: &str = "kdd";
/// The pool that a Calico start creates.
const DEFAULT_POOL: &str = "default-ipv4-ippool";
/// The Calico release whose behaviour this node has; calicoctl compares it with its own.
pub const CALICO_VERSION: &str = "v3.32.1";

/// What a start found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// What is worth a line in the log.
    pub steps: Vec<String>,
    /// What is worth a warning.
    pub warnings: Vec<String>,
}

/// Writes what a start writes.
///
/// # Errors
/// The store's; no address found; another node has the address.
pub async fn start<S: Store>(store: &S, config: &AgentConfig, actual: &Actual) -> Result<Started> {
    let mut started = Started {
        steps: Vec::new(),
        warnings: Vec::new(),
    };
    cluster_information(store, config)
        .await
        .context("writing ClusterInformation(default)")?;
    bgp_configuration(store)
        .await
        .context("writing BGPConfiguration(default)")?;
    node(store, config, actual, &mut started)
        .await
        .with_context(|| format!("writing Node({})", config.name))?;
    if let Some(pool) = &config.default_pool {
        default_pool(store, pool, &mut started)
            .await
            .context("writing the default IPPool")?;
    }
    Ok(started)
}

async fn cluster_information<S: Store>(store: &S, config: &AgentConfig) -> Result<()> {
    let kubernetes = store.is_kubernetes().then_some(KUBERNETES);
    let fill = |spec: &mut ClusterInformationSpec| {
        if spec.cluster_guid.is_empty() {
            spec.cluster_guid = new_guid()?;
        }
        if spec.datastore_ready.is_none() {
            spec.datastore_ready = Some(true);
        }
        let mut words: Vec<&str> = spec
            .cluster_type
            .split(',')
            .filter(|w| !w.is_empty())
            .collect();
        for word in config
            .cluster_type
            .split(',')
            .map(str::trim)
            .filter(|w| !w.is_empty())
            .chain(kubernetes)
        {
            if !words.contains(&word) {
                words.push(word);
            }
        }
        spec.cluster_type = words.join(",");
        spec.calico_version = CALICO_VERSION.to_string();
        Ok(())
    };
    let name = Metadata::named("default");
    change(
        store,
        ClusterInformation::new(name, ClusterInformationSpec::default()),
        |object| fill(&mut object.spec),
    )
    .await
}

async fn bgp_configuration<S: Store>(store: &S) -> Result<()> {
    let spec = BgpConfigurationSpec {
        log_severity_screen: "Info".to_string(),
        node_to_node_mesh_enabled: Some(true),
        as_number: Some(intent::DEFAULT_AS),
        service_load_balancer_aggregation: Some("Enabled".to_string()),
        ..BgpConfigurationSpec::default()
    };
    create_once(
        store,
        BgpConfiguration::new(Metadata::named("default"), spec),
    )
    .await?;
    Ok(())
}

async fn default_pool<S: Store>(
    store: &S,
    pool: &DefaultPool,
    started: &mut Started,
) -> Result<()> {
    let listing = store.list(&KeyPrefix::Kind(Kind::IpPool)).await?;
    for entry in &listing.entries {
        let there = IpPool::from_entry(entry)?;
        if there
            .spec
            .cidr
            .parse::<IpNet>()
            .is_ok_and(|cidr| cidr.addr().is_ipv4())
        {
            return Ok(());
        }
    }
    let spec = IpPoolSpec {
        cidr: pool.cidr.to_string(),
        vxlan_mode: Some(pool.vxlan),
        ipip_mode: Some(pool.ipip),
        nat_outgoing: pool.nat_outgoing,
        disable_bgp_export: pool.disable_bgp_export,
        block_size: Some(pool.block_size),
        node_selector: pool.node_selector.clone(),
        allowed_uses: vec!["Workload".to_string(), "Tunnel".to_string()],
        assignment_mode: Some("Automatic".to_string()),
        ..IpPoolSpec::default()
    };
    if create_once(store, IpPool::new(Metadata::named(DEFAULT_POOL), spec)).await? {
        started
            .steps
            .push(format!("created IPPool({DEFAULT_POOL}) {}", pool.cidr));
    }
    Ok(())
}

async fn node<S: Store>(
    store: &S,
    config: &AgentConfig,
    actual: &Actual,
    started: &mut Started,
) -> Result<()> {
    if store.is_kubernetes() {
        registered(store, &config.name).await?;
    }
    let mut warnings = Vec::new();
    let mut address = String::new();
    change(
        store,
        Node::new(Metadata::named(&config.name), NodeSpec::default()),
        |node| {
            warnings.clear();
            if let Some(name) = &config.k8s_node {
                let ours = |r: &&mut OrchRef| r.orchestrator == "k8s";
                match node.spec.orch_refs.iter_mut().find(ours) {
                    Some(there) => there.node_name.clone_from(name),
                    None => node.spec.orch_refs.push(OrchRef {
                        node_name: name.clone(),
                        orchestrator: "k8s".to_string(),
                    }),
                }
            }
            if config.bgp {
                let bgp = node.spec.bgp.get_or_insert_with(NodeBgpSpec::default);
                addresses(bgp, config, actual, &mut warnings)?;
                if let Some(asn) = config.asn {
                    bgp.as_number = Some(asn);
                }
                address = [bgp.ipv4_address.as_str(), bgp.ipv6_address.as_str()].join(" ");
            }
            Ok(())
        },
    )
    .await?;
    unique(store, config).await?;
    started
        .steps
        .push(format!("Node({}) {}", config.name, address.trim()));
    started.warnings.append(&mut warnings);
    Ok(())
}

/// On Kubernetes a Node is its kubelet's to make, and ours to write on: waits until it is there.
async fn registered<S: Store>(store: &S, name: &str) -> Result<()> {
    let key = Key::cluster(Kind::Node, name);
    let mut told = false;
    while store.get(&key).await?.is_none() {
        if !told {
            tracing::warn!(
                "node-not-registered: Kubernetes has no Node({name}) yet. Its kubelet makes it: start that, or give the name it registers with NODENAME. It is looked for each second."
            );
            told = true;
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    Ok(())
}

fn addresses(
    bgp: &mut NodeBgpSpec,
    config: &AgentConfig,
    actual: &Actual,
    warnings: &mut Vec<String>,
) -> Result<()> {
    let v4 = config
        .ip
        .given()
        .map(|(net, length)| (IpNet::from(net), length));
    let v6 = config
        .ip6
        .given()
        .map(|(net, length)| (IpNet::from(net), length));
    let wanted = Wanted {
        given: v4,
        choice: choice(&config.ip),
        method: &config.method,
        v6: false,
    };
    wanted.apply(&mut bgp.ipv4_address, actual, warnings)?;
    let wanted = Wanted {
        given: v6,
        choice: choice(&config.ip6),
        method: &config.method6,
        v6: true,
    };
    wanted.apply(&mut bgp.ipv6_address, actual, warnings)?;
    if bgp.ipv4_address.is_empty() && bgp.ipv6_address.is_empty() {
        bail!("the node has no address: give one with --ip or --ip6");
    }
    Ok(())
}

/// [`AddressChoice`] without the address.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Choice {
    Unset,
    Autodetect,
    None,
    Given,
}

fn choice<N>(choice: &AddressChoice<N>) -> Choice {
    match choice {
        AddressChoice::Unset => Choice::Unset,
        AddressChoice::Autodetect => Choice::Autodetect,
        AddressChoice::None => Choice::None,
        AddressChoice::Given(..) => Choice::Given,
    }
}

struct Wanted<'a> {
    given: Option<(IpNet, bool)>,
    choice: Choice,
    method: &'a Method,
    v6: bool,
}

impl Wanted<'_> {
    fn apply(self, field: &mut String, actual: &Actual, warnings: &mut Vec<String>) -> Result<()> {
        match (self.choice, self.given) {
            (Choice::Given, Some((net, with_length))) => {
                let there = on_interface(net.addr(), actual);
                if there.is_none() {
                    warnings.push(format!(
                        "address-not-on-host: no interface has {}; BGP sessions cannot start from it. Add it to an interface, or give another with --ip",
                        net.addr()
                    ));
                }
                *field = if with_length {
                    net
                } else {
                    there.unwrap_or(net)
                }
                .to_string();
            }
            (Choice::None, _) => field.clear(),
            (Choice::Autodetect, _) => *field = detect(self.method, actual, self.v6)?.to_string(),
            (Choice::Unset, _) if self.v6 || !field.is_empty() => {}
            (Choice::Unset | Choice::Given, _) => {
                *field = detect(self.method, actual, self.v6)?.to_string();
            }
        }
        Ok(())
    }
}

/// No two nodes may have one address: each would take the other's sessions.
async fn unique<S: Store>(store: &S, config: &AgentConfig) -> Result<()> {
    let listing = store.list(&KeyPrefix::Kind(Kind::Node)).await?;
    let mut own: Vec<IpAddr> = Vec::new();
    let mut others: Vec<(String, IpAddr)> = Vec::new();
    for entry in &listing.entries {
        // A Node that cannot be read is not this node's to judge.
        let Ok(node) = Node::from_entry(entry) else {
            continue;
        };
        let Some(bgp) = &node.spec.bgp else { continue };
        for text in [&bgp.ipv4_address, &bgp.ipv6_address] {
            let Some(net) = intent::parse_address(text) else {
                continue;
            };
            if node.metadata.name == config.name {
                own.push(net.addr());
            } else {
                others.push((node.metadata.name.clone(), net.addr()));
            }
        }
    }
    match others.iter().find(|(_, address)| own.contains(address)) {
        None => Ok(()),
        Some((other, address)) => bail!(
            "Node({other}) already has {address}; give this node another with --ip, or delete that Node if it is gone"
        ),
    }
}

/// Creates an object; false when it is there already.
async fn create_once<S: Store, T: Spec>(store: &S, mut object: Object<T>) -> Result<bool> {
    born(&mut object.metadata)?;
    match store.create(&object.key(), &object.to_stored()).await {
        Ok(_) => Ok(true),
        Err(StoreError::Exists(_)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn born(metadata: &mut Metadata) -> Result<()> {
    metadata.uid = Some(new_uid()?);
    metadata.creation_timestamp = Some(timestamp());
    Ok(())
}

/// Creates an object, or changes the one that is there; nothing is written when nothing changes.
pub(crate) async fn change<S: Store, T: Spec>(
    store: &S,
    absent: Object<T>,
    mut set: impl FnMut(&mut Object<T>) -> Result<()>,
) -> Result<()> {
    let key: Key = absent.key();
    for _ in 0..RETRIES {
        let there: Option<Entry> = store.get(&key).await?;
        let result = match &there {
            None => {
                let mut object = absent.clone();
                born(&mut object.metadata)?;
                set(&mut object)?;
                store.create(&key, &object.to_stored()).await
            }
            Some(entry) => {
                let old: Object<T> = Object::from_entry(entry)?;
                let mut object = old.clone();
                set(&mut object)?;
                if object == old {
                    return Ok(());
                }
                store
                    .update(&key, &object.to_stored(), entry.revision)
                    .await
            }
        };
        match result {
            Ok(_) => return Ok(()),
            Err(StoreError::Exists(_) | StoreError::Conflict(_) | StoreError::NotFound(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    bail!("{key} was changed by others {RETRIES} times in a row; see who writes it")
}
