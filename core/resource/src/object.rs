//! An object: metadata, spec and status under one kind.

use serde::de::Error as _;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Entry, Key, Kind, Metadata, Spec, StoreError, lenient};

/// The status of a kind that has none: it is not written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoStatus {}

/// One resource. JSON field order is Calico's: kind, apiVersion, metadata, spec, status.
#[derive(Clone, Debug, PartialEq)]
pub struct Object<S: Spec> {
    /// Name, labels and so on.
    pub metadata: Metadata,
    /// What is wanted.
    pub spec: S,
    /// What is.
    pub status: S::Status,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a, S: Spec> {
    kind: &'static str,
    api_version: &'static str,
    metadata: &'a Metadata,
    #[serde(skip_serializing_if = "Option::is_none")]
    spec: Option<&'a S>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    inline: Option<&'a S>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'a S::Status>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Parsed<S, T> {
    kind: String,
    #[allow(dead_code, reason = "checked where a document is dispatched by kind")]
    api_version: String,
    #[serde(default)]
    metadata: Metadata,
    spec: Option<S>,
    status: Option<T>,
}

#[derive(Deserialize)]
struct ParsedInline<S> {
    kind: String,
    #[serde(default)]
    metadata: Metadata,
    #[serde(flatten)]
    spec: S,
}

impl<S: Spec> Object<S> {
    /// An object with this metadata and spec, and a default status.
    pub fn new(metadata: Metadata, spec: S) -> Object<S> {
        Object {
            metadata,
            spec,
            status: S::Status::default(),
        }
    }

    /// Where it lives.
    pub fn key(&self) -> Key {
        Key::Resource {
            kind: S::KIND,
            namespace: self.metadata.namespace.clone(),
            name: self.metadata.name.clone(),
        }
    }

    fn wire(&self) -> Wire<'_, S> {
        Wire {
            kind: S::KIND.as_str(),
            api_version: S::KIND.api_version(),
            metadata: &self.metadata,
            spec: (!S::INLINE).then_some(&self.spec),
            inline: S::INLINE.then_some(&self.spec),
            status: S::shows(&self.status).then_some(&self.status),
        }
    }

    /// The text that is stored: compact JSON in Calico's field order, without resourceVersion.
    pub fn to_stored(&self) -> String {
        let mut stored = self.clone();
        stored.metadata.resource_version = None;
        S::prepare(&mut stored);
        serde_json::to_string(&stored.wire())
            .expect("our own types have string keys and finite numbers")
    }

    /// The document that is shown: as stored, with the resourceVersion. Fields are in Calico's order.
    pub fn to_value(&self) -> Value {
        serde_json::to_value(self.wire())
            .expect("our own types have string keys and finite numbers")
    }

    /// Reads what [`Object::to_stored`] wrote (or Calico did), and fills in the resourceVersion from the entry's revision. Fields that
    /// are not known are passed over, as Calico does with what another version stored.
    ///
    /// # Errors
    /// [`StoreError::Malformed`] with the key when the text is not an object of this kind.
    pub fn from_entry(entry: &Entry) -> Result<Object<S>, StoreError> {
        let malformed = |error: serde_json::Error| StoreError::Malformed {
            key: entry.key.clone(),
            reason: error.to_string(),
        };
        let mut object: Object<S> = match Object::from_json(&entry.value) {
            Ok(object) => object,
            // Another version of Calico may have written fields that this one does not have.
            Err(_) => {
                let mut document = serde_json::from_str(&entry.value).map_err(malformed)?;
                without_nulls(&mut document);
                let parsed = lenient::from_value(document).map_err(malformed)?;
                Object::from_parsed(parsed).map_err(malformed)?
            }
        };
        // A profile that is read from something else says whose revision it has; the others' is never stored.
        let own = object.metadata.resource_version.take();
        let own = own.filter(|_| S::KIND == Kind::Profile);
        object.metadata.resource_version = own.or_else(|| Some(entry.revision.to_string()));
        S::complete(&mut object);
        Ok(object)
    }

    /// Reads a JSON document strictly: unknown fields are an error, except in Kubernetes' own kinds. A null is as if the
    /// field were not there.
    ///
    /// # Errors
    /// serde_json's, with the field and place.
    pub fn from_json(text: &str) -> Result<Object<S>, serde_json::Error> {
        if !S::INLINE
            && let Ok(parsed) = serde_json::from_str::<Parsed<S, S::Status>>(text)
        {
            return Object::from_parsed(parsed);
        }
        Object::from_value(serde_json::from_str(text)?)
    }

    /// [`Object::from_json`] of a document that is parsed already.
    ///
    /// # Errors
    /// As there, without the place in the text.
    pub fn from_value(mut document: Value) -> Result<Object<S>, serde_json::Error> {
        without_nulls(&mut document);
        if S::KIND.is_kubernetes()
            && let Some(Value::Object(metadata)) = document.get_mut("metadata")
        {
            known_metadata(metadata);
        }
        if S::INLINE {
            let parsed: ParsedInline<S> = serde_json::from_value(document)?;
            check_kind(S::KIND, &parsed.kind)?;
            return Ok(Object::new(parsed.metadata, parsed.spec));
        }
        Object::from_parsed(serde_json::from_value(document)?)
    }

    fn from_parsed(parsed: Parsed<S, S::Status>) -> Result<Object<S>, serde_json::Error> {
        check_kind(S::KIND, &parsed.kind)?;
        let spec = match parsed.spec {
            Some(spec) => spec,
            None => serde_json::from_str("{}")?,
        };
        Ok(Object {
            metadata: parsed.metadata,
            spec,
            status: parsed.status.unwrap_or_default(),
        })
    }
}

fn check_kind(expected: Kind, kind: &str) -> Result<(), serde_json::Error> {
    if kind == expected.as_str() {
        return Ok(());
    }
    Err(serde_json::Error::custom(format!(
        "expected kind {expected}, got {kind}"
    )))
}

/// Removes fields that are null: Go reads them as absent.
pub(crate) fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, v| !v.is_null());
            map.values_mut().for_each(without_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(without_nulls),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => (),
    }
}

/// Leaves the metadata that is known here: what else a newer Kubernetes writes is not ours to refuse.
fn known_metadata(metadata: &mut Map<String, Value>) {
    const KNOWN: [&str; 10] = [
        "name",
        "generateName",
        "namespace",
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "labels",
        "annotations",
        "ownerReferences",
        "finalizers",
    ];
    metadata.retain(|key, _| KNOWN.contains(&key.as_str()));
}
