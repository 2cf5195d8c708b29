//! Objects in a store by Calico's rules: defaults, validation, revisions, and what goes with what is deleted.

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::kinds::{ClusterInformation, ClusterInformationSpec, IpPool, Node, WorkloadEndpoint};
use crate::validate::{self, Others, ValidationError};
use crate::{AnyObject, Entry, Key, KeyPrefix, Kind, Metadata, Object, Spec, Store, StoreError};

/// How often an update is tried again when somebody else wrote in between.
const TRIES: usize = 5;

/// What a new object gets; the core has neither a clock nor a random source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// A random UUIDv4.
    pub uid: String,
    /// The time, RFC 3339, whole seconds, UTC.
    pub now_rfc3339: String,
}

/// The addresses that go when a node or a pool goes. `ipam` has them; `()` is a store without any.
pub trait Allocations {
    /// Frees these addresses, and gives up the node's blocks.
    fn release_node(
        &self,
        node: &str,
        addresses: &[IpAddr],
    ) -> impl Future<Output = Result<(), String>> + Send;
    /// Gives up all blocks of a pool; blocks that hold addresses lose their node.
    fn release_pool(&self, cidr: IpNet) -> impl Future<Output = Result<(), String>> + Send;
}

impl Allocations for () {
    async fn release_node(&self, _: &str, _: &[IpAddr]) -> Result<(), String> {
        Ok(())
    }

    async fn release_pool(&self, _: IpNet) -> Result<(), String> {
        Ok(())
    }
}

/// Why a call did not do what was asked; the text is calicoctl's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientError {
    /// The store refused or failed.
    Store(StoreError),
    /// The object is not what it must be.
    Invalid(ValidationError),
    /// The kind is written by the programs, not by people.
    ReadOnly {
        /// What was asked: `apply`, `create`, `replace`, `delete`.
        operation: &'static str,
        /// The kind.
        kind: Kind,
    },
    /// The addresses could not be released.
    Allocations(String),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientError::Store(error @ (StoreError::Exists(_) | StoreError::NotFound(_))) => {
                write!(f, "{error} with error: <nil>")
            }
            ClientError::Store(error) => error.fmt(f),
            ClientError::Invalid(error) => error.fmt(f),
            ClientError::ReadOnly {
                operation: operation @ "delete",
                kind,
            } => write!(f, "operation {operation} is not supported on {kind}"),
            ClientError::ReadOnly { operation, kind } => write!(
                f,
                "operation {operation} is not supported on {kind}: resource is readonly"
            ),
            ClientError::Allocations(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for ClientError {}

impl From<StoreError> for ClientError {
    fn from(error: StoreError) -> ClientError {
        ClientError::Store(error)
    }
}

impl From<ValidationError> for ClientError {
    fn from(error: ValidationError) -> ClientError {
        ClientError::Invalid(error)
    }
}

/// The result of a client's call.
pub type ClientResult<T> = Result<T, ClientError>;

/// Objects of a kind, and the revision at which the list was true.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectList {
    /// In order of path.
    pub items: Vec<AnyObject>,
    /// The store's revision.
    pub revision: u64,
}

/// A typed client of a store. Each call writes its object whole or not at all.
#[derive(Clone, Copy, Debug)]
pub struct Client<'a, S, A = ()> {
    store: &'a S,
    allocations: A,
}

impl<'a, S: Store> Client<'a, S> {
    /// A client that has no addresses to release.
    pub fn new(store: &'a S) -> Client<'a, S> {
        Client {
            store,
            allocations: (),
        }
    }
}

impl<'a, S: Store, A: Allocations> Client<'a, S, A> {
    /// A client that releases addresses with what it deletes.
    pub fn with_allocations(store: &'a S, allocations: A) -> Client<'a, S, A> {
        Client { store, allocations }
    }

    /// Writes ClusterInformation `default` where there is none: with a random GUID of 32 hexadecimal digits, and ready. Calico does
    /// so before it creates, applies or replaces anything.
    ///
    /// # Errors
    /// The store's.
    pub async fn ensure_initialised(&self, stamp: &Stamp, guid: &str) -> ClientResult<()> {
        let key = Key::cluster(Kind::ClusterInformation, "default");
        if self.store.get(&key).await?.is_some() {
            return Ok(());
        }
        let spec = ClusterInformationSpec {
            cluster_guid: guid.to_string(),
            datastore_ready: Some(true),
            ..ClusterInformationSpec::default()
        };
        let metadata = Metadata {
            uid: Some(stamp.uid.clone()),
            creation_timestamp: Some(stamp.now_rfc3339.clone()),
            ..Metadata::named("default")
        };
        let object = ClusterInformation::new(metadata, spec);
        match self.store.create(&key, &object.to_stored()).await {
            Ok(_) | Err(StoreError::Exists(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The object at a key.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; the store's.
    pub async fn get(&self, key: &Key) -> ClientResult<AnyObject> {
        match self.store.get(key).await? {
            Some(entry) => read(&entry),
            None => Err(StoreError::NotFound(key.clone()).into()),
        }
    }

    /// All objects of a kind, or those of a namespace.
    ///
    /// # Errors
    /// The store's, and a value that is no object of the kind.
    pub async fn list(&self, kind: Kind, namespace: Option<&str>) -> ClientResult<ObjectList> {
        let prefix = match namespace {
            Some(namespace) => KeyPrefix::Namespace(kind, namespace.to_string()),
            None => KeyPrefix::Kind(kind),
        };
        let listing = self.store.list(&prefix).await?;
        Ok(ObjectList {
            items: listing.entries.iter().map(read).collect::<Result<_, _>>()?,
            revision: listing.revision,
        })
    }

    async fn list_of<T: Spec>(&self) -> ClientResult<Vec<Object<T>>> {
        let listing = self.store.list(&KeyPrefix::Kind(T::KIND)).await?;
        let objects = listing.entries.iter().map(Object::from_entry);
        Ok(objects.collect::<Result<_, _>>()?)
    }

    /// Writes an object that must not be there. Of its metadata it keeps name, namespace, labels and annotations (Calico).
    ///
    /// # Errors
    /// [`StoreError::Exists`]; what is wrong with it; the store's.
    pub async fn create(&self, mut object: AnyObject, stamp: &Stamp) -> ClientResult<AnyObject> {
        writable(&object, "create")?;
        let given = std::mem::take(object.metadata_mut());
        *object.metadata_mut() = Metadata {
            name: given.name,
            namespace: given.namespace,
            labels: given.labels,
            annotations: given.annotations,
            uid: Some(stamp.uid.clone()),
            creation_timestamp: Some(stamp.now_rfc3339.clone()),
            ..Metadata::default()
        };
        validate::set_defaults(&mut object);
        self.check(&object, None).await?;
        let entry = self
            .store
            .create(&object.key(), &object.to_stored())
            .await?;
        Ok(revised(object, &entry))
    }

    /// Writes an object that must be there. Its metadata is the stored one but for labels and annotations, which are the
    /// given ones. Where a resourceVersion is given it must be the stored one; else a lost race is tried again.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Conflict`]; what is wrong with it; the store's.
    pub async fn update(&self, mut object: AnyObject) -> ClientResult<AnyObject> {
        writable(&object, "replace")?;
        let given = object.metadata().resource_version.clone();
        // Labels that Calico adds are added first, so that they are not taken for the user's.
        validate::set_defaults(&mut object);
        let key = object.key();
        let mut tries = 0;
        loop {
            tries += 1;
            let Some(entry) = self.store.get(&key).await? else {
                return Err(StoreError::NotFound(key).into());
            };
            if given
                .as_ref()
                .is_some_and(|g| *g != entry.revision.to_string())
            {
                return Err(StoreError::Conflict(key).into());
            }
            let stored = read(&entry)?;
            let mut next = object.clone();
            *next.metadata_mut() = Metadata {
                labels: object.metadata().labels.clone(),
                annotations: object.metadata().annotations.clone(),
                ..stored.metadata().clone()
            };
            self.check(&next, Some(&stored)).await?;
            let text = next.to_stored();
            match self.store.update(&key, &text, entry.revision).await {
                Ok(entry) => return Ok(revised(next, &entry)),
                Err(StoreError::Conflict(_)) if given.is_none() && tries < TRIES => (),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Creates an object, or updates it where it is there.
    ///
    /// # Errors
    /// As [`Client::create`] and [`Client::update`].
    pub async fn apply(&self, object: AnyObject, stamp: &Stamp) -> ClientResult<AnyObject> {
        writable(&object, "apply")?;
        let mut named = object.clone();
        validate::set_defaults(&mut named);
        if self.store.get(&named.key()).await?.is_some() {
            match self.update(object.clone()).await {
                // Deleted in between.
                Err(ClientError::Store(StoreError::NotFound(_))) => (),
                result => return result,
            }
        }
        match self.create(object.clone(), stamp).await {
            // Created in between.
            Err(ClientError::Store(StoreError::Exists(_))) => self.update(object).await,
            result => result,
        }
    }

    /// Deletes an object, whose resourceVersion must be `expected` where that is given, with what hangs on it: a node takes its workload
    /// endpoints, addresses, blocks, BGPPeers and `node.NAME` configuration with it, a pool its blocks.
    ///
    /// Before a pool is deleted it is disabled. Calico waits half a second in between, so that allocations under way end; a caller
    /// with a clock calls [`Client::disable_pool`] and waits.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Conflict`]; the store's. What was deleted before stays deleted, and the call may be repeated.
    pub async fn delete(&self, key: &Key, expected: Option<&str>) -> ClientResult<AnyObject> {
        let object = self.get(key).await?;
        if let AnyObject::ClusterInformation(_) = object {
            return Err(ClientError::ReadOnly {
                operation: "delete",
                kind: Kind::ClusterInformation,
            });
        }
        if expected.is_some_and(|e| object.metadata().resource_version.as_deref() != Some(e)) {
            return Err(StoreError::Conflict(key.clone()).into());
        }
        let mut revision = expected.and_then(|e| e.parse().ok());
        match &object {
            AnyObject::Node(node) => self.release_node(node).await?,
            AnyObject::IpPool(pool) => {
                if let Some(disabled) = self.disable_pool(&pool.metadata.name).await? {
                    revision = revision.and(Some(disabled));
                }
                if let Ok(cidr) = pool.spec.cidr.parse() {
                    self.allocations
                        .release_pool(cidr)
                        .await
                        .map_err(ClientError::Allocations)?;
                }
            }
            AnyObject::BgpConfiguration(_)
            | AnyObject::BgpPeer(_)
            | AnyObject::BgpFilter(_)
            | AnyObject::WorkloadEndpoint(_)
            | AnyObject::ClusterInformation(_)
            | AnyObject::PeerPolicy(_)
            | AnyObject::Service(_)
            | AnyObject::EndpointSlice(_) => (),
        }
        self.store.delete(key, revision).await?;
        Ok(object)
    }

    /// Has a pool give out no more addresses; the new revision, or none where it was so already.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; the store's.
    pub async fn disable_pool(&self, name: &str) -> ClientResult<Option<u64>> {
        let key = Key::cluster(Kind::IpPool, name);
        loop {
            let Some(entry) = self.store.get(&key).await? else {
                return Err(StoreError::NotFound(key).into());
            };
            let mut pool = IpPool::from_entry(&entry)?;
            if pool.spec.disabled {
                return Ok(None);
            }
            pool.spec.disabled = true;
            let text = pool.to_stored();
            match self.store.update(&key, &text, entry.revision).await {
                Ok(entry) => return Ok(Some(entry.revision)),
                Err(StoreError::Conflict(_)) => (),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Checks an object before it is written.
    async fn check(&self, object: &AnyObject, stored: Option<&AnyObject>) -> ClientResult<()> {
        let creates_pool = stored.is_none() && object.kind() == Kind::IpPool;
        let (pools, blocks) = if creates_pool {
            (self.list_of().await?, self.blocks().await?)
        } else {
            Default::default()
        };
        let mut filters = Vec::new();
        if let AnyObject::BgpPeer(peer) = object
            && !peer.spec.filters.is_empty()
        {
            filters = self.filters().await?;
        }
        let context = Others {
            pools: &pools,
            blocks: &blocks,
            filters: &filters,
        };
        // A name that is not one could not be looked up; and what the library refuses, the validator is not asked about.
        validate::check(object, stored, &context)?;
        validate::validate(object)?;
        Ok(())
    }

    async fn filters(&self) -> ClientResult<Vec<String>> {
        let listing = self.store.list(&KeyPrefix::Kind(Kind::BgpFilter)).await?;
        let name = |entry: Entry| match entry.key {
            Key::Resource { name, .. } => Some(name),
            Key::Block(_) | Key::BlockAffinity { .. } | Key::Handle(_) | Key::IpamConfig => None,
        };
        Ok(listing.entries.into_iter().filter_map(name).collect())
    }

    async fn blocks(&self) -> ClientResult<Vec<IpNet>> {
        let listing = self.store.list(&KeyPrefix::Blocks).await?;
        let cidr = |entry: Entry| match entry.key {
            Key::Block(cidr) => Some(cidr),
            Key::Resource { .. } | Key::BlockAffinity { .. } | Key::Handle(_) | Key::IpamConfig => {
                None
            }
        };
        Ok(listing.entries.into_iter().filter_map(cidr).collect())
    }

    /// Deletes what a node leaves behind (calico-compat §1.4), the node itself last.
    async fn release_node(&self, node: &Node) -> ClientResult<()> {
        let name = node.metadata.name.as_str();
        let endpoints: Vec<WorkloadEndpoint> = self.list_of().await?;
        let endpoints: Vec<_> = endpoints.iter().filter(|e| e.spec.node == name).collect();
        let mut addresses: BTreeSet<IpAddr> = tunnel_addresses(node).collect();
        for network in endpoints.iter().flat_map(|e| &e.spec.ip_networks) {
            let net = network.parse::<IpNet>().map(|n| n.addr());
            addresses.extend(net.or_else(|_| network.parse()));
        }
        let addresses: Vec<IpAddr> = addresses.into_iter().collect();
        self.allocations
            .release_node(name, &addresses)
            .await
            .map_err(ClientError::Allocations)?;
        let peers: Vec<crate::kinds::BgpPeer> = self.list_of().await?;
        let peers = peers.iter().filter(|p| p.spec.node == name);
        let configuration = Key::cluster(Kind::BgpConfiguration, format!("node.{name}"));
        let keys = endpoints
            .iter()
            .map(|e| e.key())
            .chain(peers.map(Object::key))
            .chain([configuration]);
        for key in keys {
            match self.store.delete(&key, None).await {
                Ok(_) | Err(StoreError::NotFound(_)) => (),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// The addresses of a node's tunnels.
fn tunnel_addresses(node: &Node) -> impl Iterator<Item = IpAddr> {
    let spec = &node.spec;
    let bgp = spec.bgp.as_ref().map(|b| b.ipv4_ipip_tunnel_addr.as_str());
    let wireguard = spec.wireguard.as_ref();
    [
        bgp,
        Some(spec.ipv4_vxlan_tunnel_addr.as_str()),
        Some(spec.ipv6_vxlan_tunnel_addr.as_str()),
        wireguard.map(|w| w.interface_ipv4_address.as_str()),
        wireguard.map(|w| w.interface_ipv6_address.as_str()),
    ]
    .into_iter()
    .flatten()
    .filter_map(|address| address.parse().ok())
}

fn writable(object: &AnyObject, operation: &'static str) -> ClientResult<()> {
    match object.kind() {
        kind @ Kind::ClusterInformation => Err(ClientError::ReadOnly { operation, kind }),
        Kind::BgpConfiguration
        | Kind::BgpPeer
        | Kind::BgpFilter
        | Kind::Node
        | Kind::IpPool
        | Kind::WorkloadEndpoint
        | Kind::PeerPolicy
        | Kind::Service
        | Kind::EndpointSlice => Ok(()),
    }
}

fn read(entry: &Entry) -> ClientResult<AnyObject> {
    let mut object = AnyObject::from_entry(entry)?;
    // Pools that were written before a field was there read as if it had its default (Calico).
    if let AnyObject::IpPool(pool) = &mut object {
        validate::set_pool_defaults(pool);
    }
    Ok(object)
}

fn revised(mut object: AnyObject, entry: &Entry) -> AnyObject {
    object.metadata_mut().resource_version = Some(entry.revision.to_string());
    object
}
