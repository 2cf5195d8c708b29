//! Resources in the store, as documents and by calicoctl's rules.

use std::time::Duration;

use ipam::Ipam;
use resource::validate::{ValidationError, take_unfit, validate};
use resource::{
    AnyObject, ClientError, ClientResult, Key, Kind, KindVisitor, Metadata, Object, Spec, Stamp,
    Store, StoreError,
};
use serde_json::{Map, Value};
use store::block_on;

use crate::decode::{DecodeError, decode, mismatch, unknown_field};
use crate::documents::{Document, decoding};
use crate::target::Target;
use crate::world::{Failure, World};

/// The AS number of a cluster that names none.
const DEFAULT_AS: u64 = 64512;

/// How long a pool stays disabled before it is deleted, so that allocations under way end (Calico).
const DISABLED_BEFORE_DELETED: Duration = Duration::from_millis(500);

/// A document that was read, or what its values are refused for: that is the resource's failure, not the file's.
pub type Decoded = Result<AnyObject, String>;

/// Everything that commands do with the store. Errors are calicoctl's texts.
pub struct Client<'a, S: Store> {
    store: &'a S,
    resources: resource::Client<'a, S, Ipam<'a, S>>,
    /// Address management, for `ipam show`.
    pub ipam: Ipam<'a, S>,
}

impl<'a, S: Store + Sync> Client<'a, S> {
    /// A client of a store.
    pub fn new(store: &'a S) -> Client<'a, S> {
        let ipam = Ipam::new(store);
        Client {
            store,
            resources: resource::Client::with_allocations(store, Ipam::new(store)),
            ipam,
        }
    }

    /// One resource, as it is shown.
    ///
    /// # Errors
    /// It is not there, or cannot be read.
    pub fn get(&self, kind: Kind, namespace: Option<&str>, name: &str) -> Result<Value, String> {
        let object =
            block_on(self.resources.get(&key(kind, namespace, name))).map_err(|e| self.said(&e))?;
        Ok(object.to_value())
    }

    /// All resources of a kind, in a namespace or everywhere, and the revision at which that was so.
    ///
    /// # Errors
    /// One that cannot be read.
    pub fn list(&self, kind: Kind, namespace: Option<&str>) -> Result<(Vec<Value>, u64), String> {
        let list = block_on(self.resources.list(kind, namespace)).map_err(|e| self.said(&e))?;
        Ok((
            list.items.iter().map(AnyObject::to_value).collect(),
            list.revision,
        ))
    }

    /// Whether the datastore is the Kubernetes API.
    pub fn is_kubernetes(&self) -> bool {
        self.store.is_kubernetes()
    }

    /// calicoctl's text for an error.
    fn said(&self, error: &ClientError) -> String {
        let cause = match error {
            ClientError::Store(error) => self.store.cause(error),
            _ => None,
        };
        error.text(cause)
    }

    fn done(&self, outcome: ClientResult<AnyObject>) -> Result<(), String> {
        outcome.map(|_| ()).map_err(|e| self.said(&e))
    }

    /// The AS number of nodes that have none of their own.
    ///
    /// # Errors
    /// BGPConfiguration `default` cannot be read.
    pub fn as_number(&self) -> Result<u64, Failure> {
        let key = Key::cluster(Kind::BgpConfiguration, "default");
        match block_on(self.resources.get(&key)) {
            Ok(AnyObject::BgpConfiguration(object)) => {
                Ok(object.spec.as_number.map_or(DEFAULT_AS, u64::from))
            }
            Ok(_) | Err(ClientError::Store(StoreError::NotFound(_))) => Ok(DEFAULT_AS),
            Err(error) => Err(Failure::message(error)),
        }
    }

    /// Makes what every cluster has, before anything is written.
    ///
    /// # Errors
    /// The store's.
    pub fn initialise(&self, world: &World<'_>) -> Result<(), Failure> {
        let guid = hex(&world.random_bytes()?);
        let mut stamps = Vec::new();
        for _ in 0..4 {
            stamps.push(stamp(world).map_err(Failure::message)?);
        }
        let stamps = stamps.try_into().expect("there are four");
        block_on(self.resources.ensure_initialised(&stamps, &guid)).map_err(Failure::message)
    }

    /// Creates a resource; one that is there already is no error with `skip_exists`.
    ///
    /// # Errors
    /// calicoctl's text.
    pub fn create(
        &self,
        object: AnyObject,
        skip_exists: bool,
        world: &World<'_>,
    ) -> Result<(), String> {
        match block_on(self.resources.create(stripped(object), &stamp(world)?)) {
            Err(ClientError::Store(StoreError::Exists(_))) if skip_exists => Ok(()),
            other => self.done(other),
        }
    }

    /// Creates a resource, or replaces it where it is there.
    ///
    /// # Errors
    /// calicoctl's text.
    pub fn apply(&self, object: AnyObject, world: &World<'_>) -> Result<(), String> {
        self.done(block_on(
            self.resources.apply(stripped(object), &stamp(world)?),
        ))
    }

    /// Replaces a resource that is there.
    ///
    /// # Errors
    /// calicoctl's text.
    pub fn update(&self, object: AnyObject) -> Result<(), String> {
        self.done(block_on(self.resources.update(object)))
    }

    /// Replaces a resource if it still is what was read; `Ok(false)` when somebody else wrote it since.
    ///
    /// # Errors
    /// calicoctl's text.
    pub fn update_unless_changed(&self, object: AnyObject) -> Result<bool, String> {
        match block_on(self.resources.update(object)) {
            Ok(_) => Ok(true),
            Err(ClientError::Store(StoreError::Conflict(_))) => Ok(false),
            Err(error) => Err(self.said(&error)),
        }
    }

    /// Deletes a resource; one that is not there is no error with `skip_not_exists`.
    ///
    /// # Errors
    /// calicoctl's text.
    pub fn delete(
        &self,
        target: &Target,
        namespace: Option<&str>,
        skip_not_exists: bool,
        world: &World<'_>,
    ) -> Result<(), String> {
        if target.kind == Kind::Node && target.name.is_empty() {
            return Err("error with field node (field should be assigned)".to_string());
        }
        let key = key(target.kind, namespace, &target.name);
        match self.deleted(&key, target.resource_version.as_deref(), world) {
            Err(ClientError::Store(StoreError::NotFound(_))) if skip_not_exists => Ok(()),
            other => self.done(other),
        }
    }

    fn deleted(
        &self,
        key: &Key,
        expected: Option<&str>,
        world: &World<'_>,
    ) -> ClientResult<AnyObject> {
        let pool = match key {
            Key::Resource {
                kind: Kind::IpPool,
                name,
                ..
            } if expected.is_none() => name,
            _ => return block_on(self.resources.delete(key, expected)),
        };
        block_on(async {
            if self.resources.disable_pool(pool).await?.is_some() {
                (world.pause)(DISABLED_BEFORE_DELETED);
            }
            self.resources.delete(key, None).await
        })
    }
}

/// Of what a file says of an object itself, calicoctl keeps its name, its namespace, labels and annotations, and the version that it
/// must still have.
fn stripped(mut object: AnyObject) -> AnyObject {
    let metadata = object.metadata_mut();
    let given = std::mem::take(metadata);
    *metadata = Metadata {
        name: given.name,
        namespace: given.namespace,
        resource_version: given.resource_version,
        labels: given.labels,
        annotations: given.annotations,
        ..Metadata::default()
    };
    object
}

/// Where a resource lives.
pub fn key(kind: Kind, namespace: Option<&str>, name: &str) -> Key {
    Key::Resource {
        kind,
        namespace: namespace.map(String::from),
        name: name.to_string(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A random UUIDv4 and the time.
pub fn stamp(world: &World<'_>) -> Result<Stamp, String> {
    let mut bytes = world
        .random_bytes()
        .map_err(|failure| failure.to_string())?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = hex(&bytes);
    let parts = [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ];
    Ok(Stamp {
        uid: parts.join("-"),
        now_rfc3339: world.now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    })
}

struct Typed {
    value: Value,
}

impl KindVisitor for Typed {
    type Output = Result<AnyObject, DecodeError>;

    fn visit<S: Spec>(self) -> Self::Output
    where
        AnyObject: From<Object<S>>,
    {
        typed::<S>(S::KIND, self.value)
    }
}

/// Reads a document into the type of its kind, strictly.
///
/// # Errors
/// Go's text for what is no document of the kind; in [`Decoded`] the text for values that are refused.
pub fn object(document: &Document) -> Result<Decoded, String> {
    let mut value = document.value.clone();
    let mut fields = take_unfit(document.kind, &mut value);
    let object = document
        .kind
        .visit(Typed { value })
        .map_err(|e| decoding(&e))?;
    if fields.is_empty() {
        return Ok(Ok(object));
    }
    if let Err(error) = validate(&object) {
        fields.extend(error.fields);
    }
    Ok(Err(ValidationError { fields }.to_string()))
}

fn typed<S: Spec>(kind: Kind, value: Value) -> Result<AnyObject, DecodeError>
where
    AnyObject: From<Object<S>>,
{
    let owner = kind.as_str();
    let Value::Object(mut fields) = value else {
        return Err(mismatch(&value, "value", &format!("v3.{owner}")));
    };
    let part = |field: Option<Value>| match field {
        None | Some(Value::Null) => Value::Object(Map::new()),
        Some(value) => value,
    };
    for known in ["kind", "apiVersion"] {
        fields.shift_remove(known);
    }
    let mut metadata = part(fields.shift_remove("metadata"));
    if kind.is_kubernetes() {
        keep_known(&mut metadata);
    }
    let metadata: Metadata = decode(metadata, owner, "metadata")?;
    if S::INLINE {
        let spec = decode(Value::Object(fields), owner, "")?;
        return Ok(Object::<S>::new(metadata, spec).into());
    }
    let spec = decode(part(fields.shift_remove("spec")), owner, "spec")?;
    let mut object = Object::<S>::new(metadata, spec);
    let status = fields
        .shift_remove("status")
        .filter(|status| !status.is_null());
    if let Some(status) = status {
        object.status = decode(status, owner, "status")?;
    }
    match fields.keys().min() {
        Some(field) if !kind.is_kubernetes() => Err(unknown_field(field)),
        _ => Ok(object.into()),
    }
}

/// Kubernetes' metadata may have fields that are not known here; those that are stay.
fn keep_known(metadata: &mut Value) {
    if let Value::Object(fields) = metadata {
        let known = [
            "name",
            "namespace",
            "labels",
            "annotations",
            "resourceVersion",
            "uid",
            "creationTimestamp",
        ];
        fields.retain(|field, _| known.contains(&field.as_str()));
    }
}
