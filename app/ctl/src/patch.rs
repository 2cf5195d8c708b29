//! Merging a patch into a document.

use serde_json::{Map, Value};

/// Merges as Kubernetes' strategic merge does for types without merge keys, which all of Calico's are: objects field by
/// field, null removes, lists and the rest replace; `$patch: replace` and `$patch: delete` in an object do as they say.
pub fn merge(document: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *document = patch;
        return;
    };
    match patch.get("$patch").and_then(Value::as_str) {
        Some("replace") => {
            *document = Value::Object(without_directives(patch));
            return;
        }
        Some("delete") => {
            *document = Value::Object(Map::new());
            return;
        }
        _ => {}
    }
    if !document.is_object() {
        *document = Value::Object(Map::new());
    }
    if let Value::Object(fields) = document {
        for (name, value) in without_directives(patch) {
            if value.is_null() {
                fields.shift_remove(&name);
            } else {
                merge(fields.entry(name).or_insert(Value::Null), value);
            }
        }
    }
}

fn without_directives(fields: Map<String, Value>) -> Map<String, Value> {
    fields
        .into_iter()
        .filter(|(name, _)| !name.starts_with('$'))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(document: Value, patch: Value, expected: Value) {
        let mut merged = document;
        merge(&mut merged, patch);
        assert_eq!(merged, expected);
    }

    #[test]
    fn patches_are_merged() {
        let node = json!({"spec": {"bgp": {"ipv4Address": "10.0.0.1/24"}}, "status": {}});
        check(
            node.clone(),
            json!({"spec": {"bgp": {"routeReflectorClusterID": "244.0.0.1"}}}),
            json!({"spec": {"bgp": {"ipv4Address": "10.0.0.1/24", "routeReflectorClusterID": "244.0.0.1"}}, "status": {}}),
        );
        check(
            node.clone(),
            json!({"spec": {"bgp": null}}),
            json!({"spec": {}, "status": {}}),
        );
        check(
            node.clone(),
            json!({"spec": {"bgp": {"$patch": "replace", "asNumber": 1}}}),
            json!({"spec": {"bgp": {"asNumber": 1}}, "status": {}}),
        );
        check(json!({"a": [1, 2]}), json!({"a": [3]}), json!({"a": [3]}));
        check(
            json!({}),
            json!({"a": {"b": {"c": null, "d": 1}}}),
            json!({"a": {"b": {"d": 1}}}),
        );
        check(node.clone(), json!({}), node);
    }
}
