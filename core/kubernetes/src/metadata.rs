//! What an object of the API says of itself.

use resource::Metadata;
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
