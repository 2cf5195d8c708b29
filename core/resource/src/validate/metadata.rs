//! Names, labels and annotations.

use std::collections::BTreeMap;

use super::FieldError;
use super::checks::is_name;
use crate::{Kind, Metadata};

const NAME_MAX: usize = 253;
const ANNOTATIONS_MAX: usize = 256 << 10;
const NAME: &str = "name must consist of lower case alphanumeric characters, '-' or '.' (regex: [a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*)";
const NAME_PART: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

pub(super) fn validate(kind: Kind, metadata: &Metadata) -> Vec<FieldError> {
    let mut fields = Vec::new();
    if metadata.name.len() > NAME_MAX {
        fields.push(FieldError::new(
            "Metadata.Name",
            &metadata.name,
            format!(
                "name is too long by {} bytes",
                metadata.name.len() - NAME_MAX
            ),
        ));
    } else if !is_name(&metadata.name) {
        fields.push(FieldError::new("Metadata.Name", &metadata.name, NAME));
    }
    match metadata.namespace.as_deref() {
        Some(namespace) if kind.namespaced() && !is_name(namespace) => {
            fields.push(FieldError::new("Metadata.Namespace", namespace, NAME));
        }
        Some(namespace) if !kind.namespaced() => fields.push(FieldError::new(
            "Metadata.Namespace",
            namespace,
            "namespace should not be specified for a non-namespaced resource",
        )),
        Some(_) => (),
        None if kind.namespaced() => fields.push(FieldError::without_value(
            "Metadata.Namespace",
            "namespace is not specified on namespaced resource",
        )),
        None => (),
    }
    fields.extend(labels(&metadata.labels));
    let mut size = 0;
    for (key, value) in &metadata.annotations {
        size += key.len() + value.len();
        if let Some(reason) = qualified_name(&key.to_ascii_lowercase()) {
            fields.push(FieldError::new("Metadata.Annotations (key)", key, reason));
        }
    }
    if size > ANNOTATIONS_MAX {
        let above = size - ANNOTATIONS_MAX;
        fields.push(FieldError::new(
            "Metadata.Annotations (key)",
            "map[...]",
            format!("total size of annotations is too large by {above} bytes"),
        ));
    }
    fields
}

/// What is wrong with labels.
pub(crate) fn labels(labels: &BTreeMap<String, String>) -> Vec<FieldError> {
    let mut fields = Vec::new();
    for (key, value) in labels {
        if let Some(reason) = qualified_name(key) {
            fields.push(FieldError::new("Metadata.Labels (label)", key, reason));
        }
        if value.len() > 63 {
            let reason = "must be no more than 63 characters";
            fields.push(FieldError::new("Metadata.Labels (value)", value, reason));
        } else if !value.is_empty() && !is_word(value) {
            fields.push(FieldError::new("Metadata.Labels (value)", value, VALUE));
        }
    }
    fields
}

/// Why a key is not `[subdomain/]name` as Kubernetes wants it.
fn qualified_name(key: &str) -> Option<String> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    if name.contains('/') {
        return Some(format!(
            "a qualified name {}",
            &NAME_PART["name part ".len()..]
        ));
    }
    if prefix.is_some_and(|p| p.len() > NAME_MAX || !is_name(p)) {
        return Some("prefix part a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character".to_string());
    }
    match name.len() {
        0 => Some("name part must be non-empty".to_string()),
        1..=63 => (!is_word(name)).then(|| NAME_PART.to_string()),
        _ => Some("name part must be no more than 63 characters".to_string()),
    }
}

fn is_word(text: &str) -> bool {
    let ends = |c: char| c.is_ascii_alphanumeric();
    text.starts_with(ends)
        && text.ends_with(ends)
        && text
            .chars()
            .all(|c| ends(c) || matches!(c, '-' | '_' | '.'))
}
