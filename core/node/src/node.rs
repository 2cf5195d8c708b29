//! The machine.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use intent::{Intent, Part, Reason, Refusal, Resources};
use serde::{Deserialize, Serialize};
use service::Table;

use crate::export_filter::tunnel_devices;
use crate::import_filter::{Brought, Claim, is_unguarded, warnings};
use crate::kernel::KernelView;
use crate::kernel_input::{NextHops, adopt, dataplane_input, has_ours, pod_mtu};
use crate::learned::learned_origins;
use crate::speaker_config::{SpeakerConfig, asks_interface, speaker_config, watch_nodes};
use crate::{Input, LearntRoute, Names, Notice, Now, Output, StoredChange};

/// The port on which the agent answers DNS for the cluster's service; the service's own port is 53.
pub const DNS_PORT: u16 = 10053;

/// What a node is told at its start and keeps for its life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// The Node's name.
    pub name: String,
    /// BGP Identifier, where it shall not be the node's IPv4 address (Calico: `CALICO_ROUTER_ID`).
    pub router_id: Option<Ipv4Addr>,
    /// Whether BGP is spoken at all (Calico: `CALICO_NETWORKING_BACKEND` is not `none`).
    pub bgp: bool,
    /// In place of `serviceClusterIPs` (Calico: CALICO_ADVERTISE_CLUSTER_IPS).
    #[serde(default)]
    pub advertise_cluster_ips: Option<Vec<ipnet::IpNet>>,
    /// BFD watches the paths to all nodes that there are sessions with.
    #[serde(default)]
    pub bfd: Option<Bfd>,
}

/// How BFD watches the paths to other nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bfd {
    /// Both of our intervals, in milliseconds.
    pub interval_ms: u32,
    /// Detect Mult.
    pub multiplier: u8,
}

impl Options {
    /// A node of this name that speaks BGP.
    pub fn named(name: impl Into<String>) -> Options {
        Options {
            name: name.into(),
            router_id: None,
            bgp: true,
            advertise_cluster_ips: None,
            bfd: None,
        }
    }
}

/// How far a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// The store has said all it has, and a first plan was made of it.
    pub store_in_sync: bool,
    /// Peers have said all they have, or were waited for long enough.
    pub bgp_in_sync: bool,
    /// Routes found at the start that no peer has confirmed yet.
    pub adopted: usize,
    /// The kernel is as wanted, as far as is known.
    pub kernel_in_sync: bool,
    /// What is refused now, one sentence each.
    pub refused: Vec<String>,
}

impl Health {
    /// The kernel is as the store and peers want it, and nothing is kept that nobody confirmed. A peer that is away makes
    /// a node wait only where there is something to keep, and refusals do not make it unhealthy.
    pub fn ready(&self) -> bool {
        self.store_in_sync && self.kernel_in_sync && (self.bgp_in_sync || self.adopted == 0)
    }
}

/// One node: joins what the store says, what peers say and what the kernel has.
pub struct Node {
    options: Options,
    resources: Resources,
    stale: BTreeSet<Part>,
    listed: bool,
    intent: Option<Intent>,
    table: Arc<Table>,
    kernel: KernelView,
    loc_rib: NextHops,
    unguarded: BTreeSet<String>,
    brought: Brought,
    adopted: NextHops,
    restarting: Option<bool>,
    bgp_in_sync: bool,
    plan_stale: bool,
    refusals_stale: bool,
    unprogrammed: Vec<String>,
    refused: BTreeMap<String, Notice>,
    told: Told,
    outputs: VecDeque<Output>,
}

/// What the driver was told last.
#[derive(Default)]
struct Told {
    speaker: Option<SpeakerConfig>,
    learned: BTreeMap<ipnet::IpNet, bgp::Origin>,
    names: Option<Names>,
    tunnel: Option<(Vec<String>, Option<Ipv4Addr>)>,
    pod_mtu: Option<u32>,
    log_severity: intent::LogSeverity,
    locked: bool,
    programmed: bool,
    in_sync: bool,
}

impl Node {
    /// A node that knows nothing yet; its first output is to read the kernel.
    pub fn new(options: Options) -> Node {
        Node {
            bgp_in_sync: !options.bgp,
            options,
            resources: Resources::default(),
            stale: BTreeSet::new(),
            listed: false,
            intent: None,
            table: Arc::new(Table::default()),
            kernel: KernelView::default(),
            loc_rib: NextHops::new(),
            unguarded: BTreeSet::new(),
            brought: Brought::new(),
            adopted: NextHops::new(),
            restarting: None,
            plan_stale: false,
            refusals_stale: false,
            unprogrammed: Vec::new(),
            refused: BTreeMap::new(),
            told: Told::default(),
            outputs: VecDeque::new(),
        }
    }

    /// Takes one input. What follows from it comes from [`Node::poll`].
    pub fn handle(&mut self, input: Input, now: Now) {
        match input {
            Input::Listing(changes) => {
                self.resources = Resources::default();
                self.listed = true;
                self.take(&changes);
                self.stale = [Part::Cluster, Part::Workloads, Part::Services].into();
            }
            Input::Changes(changes) => self.take(&changes),
            Input::Kernel {
                actual,
                ipip_possible,
            } => {
                self.kernel.ipip_possible = ipip_possible;
                self.kernel.read(*actual, now.mono);
                self.plan_stale = true;
                if self.learned_otherwise() {
                    self.tell_speaker();
                }
            }
            Input::KernelUnreadable(why) => {
                self.kernel.unreadable(why, now.mono);
                self.refusals_stale = true;
            }
            Input::KernelChanged => self.kernel.changed(now.mono),
            Input::Applied { id, failures } => {
                self.kernel.applied(id, &failures, now.mono);
                // What failed is tried again with the next reading, not at once.
                self.refusals_stale = true;
            }
            Input::Routes(routes) => self.learn(routes),
            Input::BgpInSync => {
                self.bgp_in_sync = true;
                self.adopted.clear();
                self.plan_stale = true;
            }
            Input::Timer => {}
        }
    }

    /// The next thing to do, until `None`.
    pub fn poll(&mut self, now: Now) -> Option<Output> {
        if self.outputs.is_empty() {
            self.settle(now);
        }
        self.outputs.pop_front()
    }

    /// When to come back at the latest, on [`Now::mono`].
    pub fn next_deadline(&self) -> Option<Duration> {
        self.kernel.next_deadline()
    }

    /// How far it is, and what is refused.
    pub fn health(&self) -> Health {
        Health {
            store_in_sync: self.listed && self.told.programmed,
            bgp_in_sync: self.bgp_in_sync,
            adopted: self.adopted.len(),
            kernel_in_sync: self.kernel.settled() && !self.plan_stale,
            refused: self.refused.keys().cloned().collect(),
        }
    }

    /// The intent in force, once the store has spoken.
    pub fn intent(&self) -> Option<&Intent> {
        self.intent.as_ref()
    }

    /// What the store says.
    pub fn resources(&self) -> &Resources {
        &self.resources
    }

    /// The services.
    pub fn services(&self) -> &Arc<Table> {
        &self.table
    }

    fn take(&mut self, changes: &[StoredChange]) {
        for change in changes.iter().filter_map(StoredChange::to_change) {
            self.stale.extend(self.resources.apply(&change));
        }
    }

    fn learn(&mut self, routes: Vec<LearntRoute>) {
        for route in routes {
            // What peers say of a prefix counts more than what was found of it.
            self.adopted.remove(&route.prefix);
            // What no policy is about yet is looked at anew when it is told again.
            match route
                .session
                .filter(|name| self.is_unguarded(name, &route.prefix))
            {
                Some(name) => drop(self.brought.insert(route.prefix, Arc::from(name))),
                None => drop(self.brought.remove(&route.prefix)),
            }
            match route.next_hops {
                Some(hops) if !hops.is_empty() => drop(self.loc_rib.insert(route.prefix, hops)),
                Some(_) | None => drop(self.loc_rib.remove(&route.prefix)),
            }
        }
        self.plan_stale = true;
    }

    fn is_unguarded(&self, session: &str, prefix: &ipnet::IpNet) -> bool {
        let claims = |intent| Claim::of(intent, prefix).is_some();
        self.unguarded.contains(session) && self.intent.as_ref().is_some_and(claims)
    }

    fn settle(&mut self, now: Now) {
        if self.kernel.start_read(now.mono) {
            self.outputs.push_back(Output::ReadKernel);
        }
        if !self.listed || self.kernel.actual().is_none() {
            return;
        }
        self.recompute();
        if self.plan_stale && self.intent.is_some() {
            self.plan_stale = false;
            self.replan();
        }
        if self.refusals_stale && !self.told.locked {
            self.refresh_refusals(None);
        }
        self.outputs.extend(self.kernel.dispatch());
        self.tell_in_sync();
    }

    fn recompute(&mut self) {
        let stale = std::mem::take(&mut self.stale);
        if stale.is_empty() {
            return;
        }
        if stale.contains(&Part::Services) {
            let (services, slices) = (&self.resources.services, &self.resources.endpoint_slices);
            let table = Table::build(services.values(), slices.values());
            if table != *self.table {
                self.table = Arc::new(table);
                self.plan_stale = true;
            }
        }
        let environment = intent::Environment {
            advertise_cluster_ips: self.options.advertise_cluster_ips.clone(),
        };
        let intent = intent::compute_in(&self.resources, &self.options.name, &environment);
        if intent.locked {
            // A locked datastore is about to be moved: what is in force stays, and nothing new begins.
            if !std::mem::replace(&mut self.told.locked, true) {
                self.refresh_refusals(Some(&intent));
            }
            return;
        }
        self.told.locked = false;
        if self.intent.as_ref() == Some(&intent) {
            self.tell_names();
            return;
        }
        self.begin(&intent);
        let unguarded = intent.bgp.sessions.iter().filter(|one| is_unguarded(one));
        self.unguarded = unguarded.map(|one| one.name.clone()).collect();
        self.intent = Some(intent);
        self.plan_stale = true;
        self.tell_speaker();
        self.tell_names();
        self.tell_tunnel();
        self.tell_log_severity();
    }

    /// At the first intent: was this node forwarding a moment ago, and which routes does it keep until peers have spoken?
    fn begin(&mut self, intent: &Intent) {
        let Some(actual) = self.kernel.actual().filter(|_| self.restarting.is_none()) else {
            return;
        };
        self.restarting = Some(has_ours(actual, intent));
        if !self.bgp_in_sync {
            let mut adopted = adopt(actual);
            adopted.retain(|prefix, _| {
                intent.pool_of(prefix).is_some() && !self.loc_rib.contains_key(prefix)
            });
            if !adopted.is_empty() {
                let text = format!(
                    "adopted {} routes that were there; they stay until peers have sent theirs",
                    adopted.len()
                );
                self.outputs.push_back(Output::Notice(Notice::Step(text)));
            }
            self.adopted = adopted;
        }
    }

    /// Whether the kernel says something else than before that peers are told of, or that filters ask for.
    fn learned_otherwise(&mut self) -> bool {
        let (Some(intent), Some(actual)) = (&self.intent, self.kernel.actual()) else {
            return false;
        };
        let learned = learned_origins(intent, actual);
        let asked = asks_interface(intent) || !tunnel_devices(actual).is_empty();
        std::mem::replace(&mut self.told.learned, learned.clone()) != learned || asked
    }

    fn tell_speaker(&mut self) {
        let Some(intent) = self.intent.as_ref().filter(|_| self.options.bgp) else {
            return;
        };
        let restarting = self.restarting.unwrap_or(false);
        let mut config = speaker_config(
            intent,
            self.options.router_id,
            restarting,
            self.kernel.actual(),
        );
        if let Some(bfd) = self.options.bfd {
            watch_nodes(&mut config.config, intent, bfd);
        }
        if self.told.speaker.as_ref() != Some(&config) {
            self.told.speaker = Some(config.clone());
            self.outputs.push_back(Output::Speaker(Box::new(config)));
        }
    }

    fn tell_names(&mut self) {
        let Some(intent) = &self.intent else { return };
        let mut names = Names {
            listen: BTreeSet::new(),
            addresses: BTreeSet::new(),
            domain: intent.names.domain.clone(),
            reverse: intent.pools.values().map(|pool| pool.cidr).collect(),
            table: Arc::clone(&self.table),
        };
        names.reverse.extend(&intent.service_ranges);
        for service in &intent.names.dns_services {
            for address in &service.addresses {
                let own = intent
                    .node
                    .as_ref()
                    .and_then(|node| node.address_like(*address));
                if let Some(own) = own {
                    names.listen.insert(SocketAddr::new(own, DNS_PORT));
                    names.addresses.insert(*address);
                }
            }
        }
        if self.told.names.as_ref() != Some(&names) {
            self.told.names = Some(names.clone());
            self.outputs.push_back(Output::Names(names));
        }
    }

    fn tell_tunnel(&mut self) {
        let Some(intent) = &self.intent else { return };
        let tunnel = intent.ipip.as_ref();
        let wanted = tunnel.map_or_else(Default::default, |t| (t.pools.clone(), t.address));
        if self.told.tunnel.as_ref() != Some(&wanted) {
            self.told.tunnel = Some(wanted.clone());
            let (pools, present) = wanted;
            self.outputs
                .push_back(Output::TunnelAddress { pools, present });
        }
    }

    fn tell_log_severity(&mut self) {
        let wanted = self.intent.as_ref().map(|intent| intent.log_severity);
        let wanted = wanted.unwrap_or_default();
        if std::mem::replace(&mut self.told.log_severity, wanted) != wanted {
            self.outputs.push_back(Output::LogSeverity(wanted));
        }
    }

    fn tell_pod_mtu(&mut self) {
        let (Some(intent), Some(actual)) = (&self.intent, self.kernel.actual()) else {
            return;
        };
        let Some(mtu) = pod_mtu(intent, actual, self.kernel.ipip_possible) else {
            return;
        };
        if self.told.pod_mtu != Some(mtu) {
            self.told.pod_mtu = Some(mtu);
            self.outputs.push_back(Output::PodMtu(mtu));
        }
    }

    fn replan(&mut self) {
        let (Some(intent), Some(actual)) = (&self.intent, self.kernel.actual()) else {
            return;
        };
        let mut loc_rib = self.adopted.clone();
        loc_rib.extend(
            self.loc_rib
                .iter()
                .map(|(prefix, hops)| (*prefix, hops.clone())),
        );
        let input = dataplane_input(
            intent,
            &self.table,
            loc_rib,
            actual,
            self.kernel.ipip_possible,
            DNS_PORT,
        );
        let desired = dataplane::desired(&input);
        let unmet = dataplane::unmet(&desired, actual);
        let refusals = desired
            .refusals
            .iter()
            .chain(&unmet)
            .map(ToString::to_string);
        self.unprogrammed = refusals.collect();
        self.kernel.plan(&desired);
        self.told.programmed = true;
        self.tell_pod_mtu();
        self.refusals_stale = true;
    }

    /// Says what is newly refused and what no longer is. `other`: the refusals of an intent that is not in force.
    fn refresh_refusals(&mut self, other: Option<&Intent>) {
        self.refusals_stale = false;
        let mut refused = BTreeMap::new();
        for refusal in other
            .or(self.intent.as_ref())
            .iter()
            .flat_map(|intent| &intent.refusals)
        {
            let text = refusal.to_string();
            let notice = if refusal.reason.passing() {
                Notice::Passing(text.clone())
            } else {
                Notice::Refused(text.clone())
            };
            refused.insert(text, notice);
        }
        if let Some(refusal) = self.without_router_id() {
            refused.insert(refusal.to_string(), Notice::Refused(refusal.to_string()));
        }
        let services = self.table.refusals().iter().map(ToString::to_string);
        let kernel = self.kernel.failures.iter();
        let kernel = kernel.map(|(what, why)| {
            format!("kernel-refused: {what}: {why}. It is tried again each second.")
        });
        let dataplane = self.unprogrammed.iter().cloned();
        let brought = self
            .intent
            .iter()
            .flat_map(|intent| warnings(intent, &self.brought));
        for text in dataplane.chain(services).chain(kernel).chain(brought) {
            refused.insert(text.clone(), Notice::Refused(text));
        }
        for (text, notice) in &refused {
            if !self.refused.contains_key(text) {
                self.outputs.push_back(Output::Notice(notice.clone()));
            }
        }
        for (text, notice) in &self.refused {
            if !refused.contains_key(text) && matches!(notice, Notice::Refused(_)) {
                self.outputs
                    .push_back(Output::Notice(Notice::Mended(text.clone())));
            }
        }
        self.refused = refused;
    }

    fn without_router_id(&self) -> Option<Refusal> {
        let node = self.intent.as_ref()?.node.as_ref()?;
        let missing = self.options.bgp && self.options.router_id.is_none() && node.ipv4.is_none();
        let what = "the node has no IPv4 address, so BGP does not start";
        missing.then(|| {
            Refusal::new(
                Reason::RouterIdMissing,
                format!("Node({})", node.name),
                what,
            )
        })
    }

    fn tell_in_sync(&mut self) {
        if !self.told.in_sync
            && self.intent.is_some()
            && self.told.programmed
            && self.health().ready()
        {
            self.told.in_sync = true;
            let text = "ready: the kernel is as the store and peers want it".to_string();
            self.outputs.push_back(Output::Notice(Notice::Step(text)));
        }
    }
}
