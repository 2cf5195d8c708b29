//! Objects in a store by Calico's rules: defaults, validation, revisions, and what goes with what is deleted.

mod error;
mod release;

use std::future::Future;
use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

pub use error::ClientError;

use crate::kinds::{
    BUILT_IN_TIERS, BlockAffinitySpec, ClusterInformation, ClusterInformationSpec, IpPool, Tier,
    TierSpec,
};
use crate::spec::{Need, Others, Verb};
use crate::validate;
use crate::{
    AnyObject, Entry, Key, KeyPrefix, Kind, KindVisitor, Metadata, Object, Spec, Store, StoreError,
};

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

    /// Writes what every cluster has and this one lacks: ClusterInformation `default`, with a random GUID of 32 hexadecimal digits, and
    /// ready; and the three tiers. Calico does so before it creates, applies or replaces anything. The stamps are for each of them,
    /// in this order.
    ///
    /// # Errors
    /// The store's.
    pub async fn ensure_initialised(&self, stamps: &[Stamp; 4], guid: &str) -> ClientResult<()> {
        let stamped = |name: &str, stamp: &Stamp| Metadata {
            uid: Some(stamp.uid.clone()),
            creation_timestamp: Some(stamp.now_rfc3339.clone()),
            ..Metadata::named(name)
        };
        let [cluster, tiers @ ..] = stamps;
        let spec = ClusterInformationSpec {
            cluster_guid: guid.to_string(),
            datastore_ready: Some(true),
            cluster_type: self.cluster_type(),
            ..ClusterInformationSpec::default()
        };
        self.ensure(ClusterInformation::new(stamped("default", cluster), spec))
            .await?;
        for ((name, order, default_action), stamp) in BUILT_IN_TIERS.iter().zip(tiers) {
            let spec = TierSpec {
                order: Some(*order),
                default_action: Some((*default_action).to_string()),
            };
            self.ensure(Tier::new(stamped(name, stamp), spec)).await?;
        }
        Ok(())
    }

    fn cluster_type(&self) -> String {
        let kubernetes = self.store.is_kubernetes().then(|| "kdd".to_string());
        kubernetes.unwrap_or_default()
    }

    async fn ensure<T: Spec>(&self, object: Object<T>) -> ClientResult<()> {
        let key = object.key();
        if self.store.get(&key).await?.is_some() {
            return Ok(());
        }
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
        if let Some(built_in) = built_in(key) {
            return Ok(built_in);
        }
        if let Key::Resource {
            kind: Kind::BlockAffinity,
            ..
        } = key
        {
            let all = self.affinities().await?;
            let found = all.items.into_iter().find(|object| object.key() == *key);
            return found.ok_or_else(|| StoreError::NotFound(key.clone()).into());
        }
        match self.find(key).await? {
            Some(entry) => Ok(AnyObject::from_entry(&entry)?),
            None => Err(StoreError::NotFound(key.clone()).into()),
        }
    }

    /// The entry of the object at a key, which may be stored where an older version put it.
    async fn find(&self, key: &Key) -> ClientResult<Option<Entry>> {
        if let Some(entry) = self.store.get(key).await? {
            return Ok(Some(entry));
        }
        let Some(old) = old_key(key) else {
            return Ok(None);
        };
        match self.store.get(&old).await? {
            Some(entry) if AnyObject::from_entry(&entry)?.key() == *key => Ok(Some(entry)),
            Some(_) | None => Ok(None),
        }
    }

    /// All objects of a kind, or those of a namespace.
    ///
    /// # Errors
    /// The store's, and a value that is no object of the kind.
    pub async fn list(&self, kind: Kind, namespace: Option<&str>) -> ClientResult<ObjectList> {
        if kind == Kind::BlockAffinity {
            return self.affinities().await;
        }
        let prefix = match namespace {
            Some(namespace) => KeyPrefix::Namespace(kind, namespace.to_string()),
            None => KeyPrefix::Kind(kind),
        };
        let listing = self.store.list(&prefix).await?;
        let stored = listing.entries.iter().map(AnyObject::from_entry);
        let mut items = stored.collect::<Result<Vec<_>, _>>()?;
        // Calico's order, which is another for each of its datastores.
        match self.store.is_kubernetes() {
            true => items.splice(0..0, all_built_in(kind)).for_each(drop),
            false => items.extend(all_built_in(kind)),
        }
        Ok(ObjectList {
            items,
            revision: listing.revision,
        })
    }

    /// The nodes' claims on blocks, as resources.
    async fn affinities(&self) -> ClientResult<ObjectList> {
        let listing = self.store.list(&KeyPrefix::BlockAffinities).await?;
        let resource = |entry: &Entry| {
            let Key::BlockAffinity { host, cidr, .. } = &entry.key else {
                return None;
            };
            // An empty value is a confirmed affinity of old.
            let affinity = serde_json::from_str(&entry.value).unwrap_or_default();
            let object = BlockAffinitySpec::of(host, cidr, &affinity, entry.revision);
            Some(AnyObject::from(object))
        };
        Ok(ObjectList {
            items: listing.entries.iter().filter_map(resource).collect(),
            revision: listing.revision,
        })
    }

    async fn list_of<T: Spec>(&self) -> ClientResult<Vec<Object<T>>> {
        let listing = self.store.list(&KeyPrefix::Kind(T::KIND)).await?;
        let objects = listing.entries.iter().map(Object::from_entry);
        Ok(objects.collect::<Result<_, _>>()?)
    }

    /// Writes an object that must not be there. Its uid and time are the stamp's, whatever it says.
    ///
    /// # Errors
    /// [`StoreError::Exists`]; what is wrong with it; the store's.
    pub async fn create(&self, mut object: AnyObject, stamp: &Stamp) -> ClientResult<AnyObject> {
        allowed(&object, Verb::Create)?;
        let metadata = object.metadata_mut();
        metadata.resource_version = None;
        metadata.uid = Some(stamp.uid.clone());
        metadata.creation_timestamp = Some(stamp.now_rfc3339.clone());
        validate::set_defaults(&mut object);
        self.check(&object, None).await?;
        let key = object.key();
        if let Some(old) = old_key(&key)
            && let Some(entry) = self.store.get(&old).await?
            && AnyObject::from_entry(&entry)?.key() == key
        {
            return Err(StoreError::Exists(key).into());
        }
        let entry = self.store.create(&key, &object.to_stored()).await?;
        Ok(revised(object, &entry))
    }

    /// Writes an object that must be there. Its metadata is the stored one but for labels and annotations, which are the
    /// given ones. Where a resourceVersion is given it must be the stored one; else a lost race is tried again.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Conflict`]; what is wrong with it; the store's.
    pub async fn update(&self, mut object: AnyObject) -> ClientResult<AnyObject> {
        allowed(&object, Verb::Replace)?;
        let given = object.metadata().resource_version.clone();
        // Labels that Calico adds are added first, so that they are not taken for the user's.
        validate::set_defaults(&mut object);
        let key = object.key();
        let mut tries = 0;
        loop {
            tries += 1;
            let Some(entry) = self.find(&key).await? else {
                return Err(StoreError::NotFound(key).into());
            };
            if given
                .as_ref()
                .is_some_and(|g| *g != entry.revision.to_string())
            {
                return Err(StoreError::Conflict(key).into());
            }
            let stored = AnyObject::from_entry(&entry)?;
            let mut next = object.clone();
            *next.metadata_mut() = Metadata {
                labels: object.metadata().labels.clone(),
                annotations: object.metadata().annotations.clone(),
                ..stored.metadata().clone()
            };
            self.check(&next, Some(&stored)).await?;
            let text = stored_at(&entry.key, &next);
            match self.store.update(&entry.key, &text, entry.revision).await {
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
        allowed(&object, Verb::Apply)?;
        let mut named = object.clone();
        validate::set_defaults(&mut named);
        if self.find(&named.key()).await?.is_some() {
            match self.update(object.clone()).await {
                // Deleted in between.
                Err(ClientError::Store(StoreError::NotFound(_))) => (),
                result => return result,
            }
        }
        match self.create(object.clone(), stamp).await {
            // Created in between.
            Err(ClientError::Store(StoreError::Exists(_))) => self.update(object).await,
            // What is somebody else's to create is updated, and they have not.
            Err(ClientError::Store(StoreError::Unsupported { .. })) => self.update(object).await,
            // What may not be created is updated, and that is not there.
            Err(ClientError::Refused(_)) if old_key(&named.key()).is_some() => {
                Err(StoreError::NotFound(named.key()).into())
            }
            result => result,
        }
    }

    /// Deletes an object, whose resourceVersion must be `expected` where that is given, with what hangs on it: a node takes its workload
    /// endpoints, addresses, blocks, BGPPeers, HostEndpoints and `node.NAME` configurations with it, a pool its blocks. A tier must be
    /// without policies.
    ///
    /// Before a pool is deleted it is disabled. Calico waits half a second in between, so that allocations under way end; a caller
    /// with a clock calls [`Client::disable_pool`] and waits.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Conflict`]; the store's. What was deleted before stays deleted, and the call may be repeated.
    pub async fn delete(&self, key: &Key, expected: Option<&str>) -> ClientResult<AnyObject> {
        deletable(key)?;
        self.not_a_kubelets(key)?;
        let Some(entry) = self.find(key).await? else {
            return Err(StoreError::NotFound(key.clone()).into());
        };
        let object = AnyObject::from_entry(&entry)?;
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
            AnyObject::Tier(tier) => self.must_be_empty(&tier.metadata.name).await?,
            // Nothing hangs on the others.
            _ => (),
        }
        self.store.delete(&entry.key, revision).await?;
        Ok(object)
    }

    /// Refuses to delete a node of Kubernetes' before anything of it is released. The words are those that calicoctl happens to say: it
    /// trips over the list of the node's endpoints.
    fn not_a_kubelets(&self, key: &Key) -> ClientResult<()> {
        match key {
            Key::Resource {
                kind: Kind::Node,
                name,
                ..
            } if self.store.is_kubernetes() => Err(ClientError::Refused(format!(
                "resource does not exist: WorkloadEndpoint({}-*) with error: malformed WorkloadEndpoint name - unable to determine Pod name",
                name.replace('-', "--")
            ))),
            _ => Ok(()),
        }
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
        let (mut pools, mut blocks, mut filters) = (Vec::new(), Vec::new(), Vec::new());
        for need in object.needs(stored.is_none()) {
            match need {
                Need::Pools => pools = self.list_of().await?,
                Need::Blocks => blocks = self.blocks().await?,
                Need::Filters => filters = self.filters().await?,
                Need::Present(key) => drop(self.get(&key).await?),
            }
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
            _ => None,
        };
        Ok(listing.entries.into_iter().filter_map(name).collect())
    }

    async fn blocks(&self) -> ClientResult<Vec<IpNet>> {
        let listing = self.store.list(&KeyPrefix::Blocks).await?;
        let cidr = |entry: Entry| match entry.key {
            Key::Block(cidr) => Some(cidr),
            _ => None,
        };
        Ok(listing.entries.into_iter().filter_map(cidr).collect())
    }
}

/// Whether people may write the object.
fn allowed(object: &AnyObject, verb: Verb) -> ClientResult<()> {
    match object.refuse(verb) {
        Some(text) => Err(ClientError::Refused(text)),
        None => Ok(()),
    }
}

/// Whether people may delete what is at a key.
fn deletable(key: &Key) -> ClientResult<()> {
    struct Refuse<'a>(&'a Key);

    impl KindVisitor for Refuse<'_> {
        type Output = Option<String>;

        fn visit<S: Spec>(self) -> Option<String>
        where
            AnyObject: From<Object<S>>,
        {
            S::refuse_delete(self.0)
        }
    }

    let Key::Resource { kind, .. } = key else {
        return Ok(());
    };
    match kind.visit(Refuse(key)) {
        Some(text) => Err(ClientError::Refused(text)),
        None => Ok(()),
    }
}

/// See [`Spec::old_key`].
fn old_key(key: &Key) -> Option<Key> {
    struct Old<'a>(&'a Key);

    impl KindVisitor for Old<'_> {
        type Output = Option<Key>;

        fn visit<S: Spec>(self) -> Option<Key>
        where
            AnyObject: From<Object<S>>,
        {
            S::old_key(self.0)
        }
    }

    match key {
        Key::Resource { kind, .. } => kind.visit(Old(key)),
        _ => None,
    }
}

/// See [`Spec::built_in`].
fn all_built_in(kind: Kind) -> Vec<AnyObject> {
    struct BuiltIn;

    impl KindVisitor for BuiltIn {
        type Output = Vec<AnyObject>;

        fn visit<S: Spec>(self) -> Vec<AnyObject>
        where
            AnyObject: From<Object<S>>,
        {
            S::built_in().into_iter().map(AnyObject::from).collect()
        }
    }

    kind.visit(BuiltIn)
}

fn built_in(key: &Key) -> Option<AnyObject> {
    let Key::Resource { kind, .. } = key else {
        return None;
    };
    all_built_in(*kind)
        .into_iter()
        .find(|object| object.key() == *key)
}

/// The text of an object for a place where an older version stored it: with that place's name.
fn stored_at(key: &Key, object: &AnyObject) -> String {
    let text = object.to_stored();
    if *key == object.key() {
        return text;
    }
    let (Key::Resource { name, .. }, Ok(mut value)) = (key, serde_json::from_str::<Value>(&text))
    else {
        return text;
    };
    value["metadata"]["name"] = Value::from(name.as_str());
    value.to_string()
}

fn revised(mut object: AnyObject, entry: &Entry) -> AnyObject {
    object.metadata_mut().resource_version = Some(entry.revision.to_string());
    object
}
