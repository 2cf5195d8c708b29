//! What every object of the API has: metadata, and parts of known shape.

use resource::Metadata;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::json::{text, texts};

/// The metadata that Calico's objects have too, but for what the API server alone writes.
///
/// # Errors
/// That there is no name.
pub(crate) fn metadata(object: &Value) -> Result<Metadata, String> {
    let own = object.get("metadata").unwrap_or(&Value::Null);
    let field = |field| text(own, field).map(String::from);
    Ok(Metadata {
        name: field("name").ok_or("it has no name")?,
        generate_name: field("generateName"),
        namespace: field("namespace"),
        uid: field("uid"),
        creation_timestamp: field("creationTimestamp"),
        labels: texts(own.get("labels").unwrap_or(&Value::Null)),
        annotations: texts(own.get("annotations").unwrap_or(&Value::Null)),
        ..Metadata::default()
    })
}

/// A part of an object, `spec` or `status`; one that is not there is empty.
///
/// # Errors
/// That it has another shape.
pub(crate) fn part<T: DeserializeOwned + Default>(object: &Value, name: &str) -> Result<T, String> {
    let part = object.get(name).unwrap_or(&Value::Null);
    let part = Option::deserialize(part).map_err(|e| format!("its {name} is not valid: {e}"))?;
    Ok(part.unwrap_or_default())
}
