//! Small steps through JSON documents.

use std::collections::BTreeMap;

use serde_json::Value;

/// A text field that is there and not empty.
pub(crate) fn text<'a>(value: &'a Value, field: &str) -> Option<&'a str> {
    value.get(field)?.as_str().filter(|t| !t.is_empty())
}

/// A map of texts; what is no text in it is left out, and no map is an empty one.
pub(crate) fn texts(value: &Value) -> BTreeMap<String, String> {
    let fields = value.as_object().into_iter().flatten();
    fields
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_string())))
        .collect()
}
