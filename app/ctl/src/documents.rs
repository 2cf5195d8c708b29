//! The resources that `-f` names: a file, stdin, or the files of a directory.

use std::fs;
use std::path::{Path, PathBuf};

use resource::Kind;
use serde_json::{Map, Value};

use crate::command::Persona;
use crate::decode::{DecodeError, mismatch, unknown_field};
use crate::names;
use crate::world::World;
use crate::yaml;

/// One resource as a file has it: strictly a document of its kind, not yet of its type.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// Its kind.
    pub kind: Kind,
    /// All of it, `kind` and `apiVersion` too.
    pub value: Value,
}

/// All that `-f` names, in order.
#[derive(Debug)]
pub struct Documents {
    /// The resources; lists are taken apart.
    pub documents: Vec<Document>,
    /// Whether a directory was named.
    pub directory: bool,
}

/// Reads every resource that `-f` names. Nothing is returned when one of them cannot be read.
///
/// # Errors
/// calicoctl's text, without its prefix `failed to execute command: `, and for a directory the file that it is about.
pub fn load(
    world: &mut World<'_>,
    filename: &str,
    recursive: bool,
) -> Result<Documents, (String, Option<PathBuf>)> {
    let anywhere = |text: String| (text, None);
    if filename == "-" {
        let mut text = String::new();
        world
            .stdin
            .read_to_string(&mut text)
            .map_err(|error| anywhere(format!("read /dev/stdin: {error}")))?;
        return Ok(Documents {
            documents: read_all(&text, world.persona).map_err(anywhere)?,
            directory: false,
        });
    }
    let path = Path::new(filename);
    let metadata = fs::metadata(path).map_err(|error| anywhere(open_error(path, &error)))?;
    let mut files = Vec::new();
    if metadata.is_dir() {
        collect(path, recursive, &mut files).map_err(anywhere)?;
    } else {
        files.push(path.to_path_buf());
    }
    let mut documents = Vec::new();
    for file in files {
        let read = fs::read_to_string(&file)
            .map_err(|error| open_error(&file, &error))
            .and_then(|text| read_all(&text, world.persona));
        documents.extend(read.map_err(|text| (text, metadata.is_dir().then_some(file)))?);
    }
    Ok(Documents {
        documents,
        directory: metadata.is_dir(),
    })
}

/// Go's text.
pub fn open_error(path: &Path, error: &std::io::Error) -> String {
    let text = error.to_string();
    let words = text
        .split(" (os error")
        .next()
        .unwrap_or(&text)
        .to_lowercase();
    format!("open {}: {words}", path.display())
}

/// The resource files of a directory, by name.
fn collect(directory: &Path, recursive: bool, files: &mut Vec<PathBuf>) -> Result<(), String> {
    let failed = |error: std::io::Error| open_error(directory, &error);
    let mut entries = fs::read_dir(directory)
        .map_err(failed)?
        .collect::<Result<Vec<_>, _>>()
        .map_err(failed)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        if path.is_dir() {
            if recursive {
                collect(&path, recursive, files)?;
            }
            continue;
        }
        let extension = path.extension().and_then(|e| e.to_str());
        if matches!(extension, Some("yaml" | "yml" | "json")) {
            files.push(path);
        }
    }
    Ok(())
}

/// Reads the documents of a text.
///
/// # Errors
/// calicoctl's text.
pub fn read_all(text: &str, persona: Persona) -> Result<Vec<Document>, String> {
    let mut documents = Vec::new();
    for part in split(text) {
        documents.extend(read_one(part, persona)?);
    }
    Ok(documents)
}

/// Takes a text apart at lines that begin with `---`, except one at its very start.
fn split(text: &str) -> Vec<&str> {
    const SEPARATOR: &str = "\n---";
    let mut parts = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let Some(at) = rest.find(SEPARATOR) else {
            parts.push(rest);
            break;
        };
        parts.push(&rest[..at]);
        let after = &rest[at + SEPARATOR.len()..];
        // What follows on the separator's own line is passed over.
        rest = after.find('\n').map_or("", |end| &after[end + 1..]);
    }
    parts
}

fn read_one(text: &str, persona: Persona) -> Result<Vec<Document>, String> {
    let read = yaml::read(text).map_err(|e| format!("error converting YAML to JSON: {e}"))?;
    let documents = match read.value {
        Value::Object(ref fields) if !has_kind(fields) => {
            let error = mismatch(&read.value, "value", "[]unstructured.Unstructured");
            return Err(decoding(&error));
        }
        Value::Object(_) | Value::Null => single(read.value, persona)?,
        Value::Array(items) => items
            .into_iter()
            .map(|item| in_list(item, persona))
            .collect::<Result<Vec<_>, _>>()?
            .concat(),
        other => {
            let error = mismatch(&other, "value", "[]unstructured.Unstructured");
            return Err(decoding(&error));
        }
    };
    if read.duplicates.is_empty() {
        return Ok(documents);
    }
    Err(format!(
        "error converting YAML to JSON: yaml: unmarshal errors:\n  {}",
        read.duplicates.join("\n  ")
    ))
}

fn has_kind(fields: &Map<String, Value>) -> bool {
    let kind = fields.get("kind").and_then(Value::as_str);
    kind.is_some_and(|kind| !kind.is_empty())
}

/// One of a list that is no resource itself.
fn in_list(value: Value, persona: Persona) -> Result<Vec<Document>, String> {
    match &value {
        Value::Object(fields) if has_kind(fields) => single(value, persona),
        Value::Object(_) => Err(format!(
            "error unmarshaling JSON: while decoding JSON: Object 'Kind' is missing in '{value}'"
        )),
        other => {
            let error = mismatch(other, "value", "map[string]interface {}");
            Err(decoding(&error))
        }
    }
}

/// How Go's YAML reader says that a document is not of its type.
pub fn decoding(error: &DecodeError) -> String {
    format!("error unmarshaling JSON: while decoding JSON: {error}")
}

/// One resource, or the items of a list of them.
fn single(value: Value, persona: Persona) -> Result<Vec<Document>, String> {
    let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or("");
    let (kind, api_version) = (text("kind"), text("apiVersion"));
    let known = |kind: &str| {
        Kind::from_type(kind, api_version).filter(|kind| names::known(persona).any(|k| k == *kind))
    };
    if let Some(kind) = known(kind) {
        return Ok(vec![Document { kind, value }]);
    }
    let items_of = kind
        .strip_suffix("List")
        .filter(|item| item.is_empty() && api_version == "v1" || known(item).is_some());
    let Some(item) = items_of else {
        return Err(format!(
            "unknown resource type ({kind}) and/or version ({api_version})"
        ));
    };
    list(item, api_version, &value, persona)
}

fn list(
    item: &str,
    api_version: &str,
    value: &Value,
    persona: Persona,
) -> Result<Vec<Document>, String> {
    let fields = value.as_object().into_iter().flatten();
    for (name, _) in fields {
        if !["kind", "apiVersion", "metadata", "items"].contains(&name.as_str()) {
            return Err(decoding(&unknown_field(name)));
        }
    }
    let items = match value.get("items") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(items)) => items,
        Some(other) => {
            let at = format!("struct field {item}List.items");
            return Err(decoding(&mismatch(other, &at, &format!("[]v3.{item}"))));
        }
    };
    let mut documents = Vec::new();
    for value in items {
        let mut value = value.clone();
        if let (Value::Object(fields), false) = (&mut value, item.is_empty()) {
            // The items of a list of one kind need not say what they are.
            fields.entry("kind").or_insert_with(|| item.into());
            fields
                .entry("apiVersion")
                .or_insert_with(|| api_version.into());
        }
        documents.extend(single(value, persona)?);
    }
    Ok(documents)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_split(text: &str, expected: &[&str]) {
        assert_eq!(split(text), expected, "{text:?}");
    }

    #[test]
    fn texts_are_split_at_separators() {
        check_split("", &[]);
        check_split("a", &["a"]);
        check_split("---\n", &["---\n"]);
        check_split("a\n---\nb", &["a", "b"]);
        check_split("a\n--- # c\nb\n---\n", &["a", "b"]);
        check_split("a\n---", &["a"]);
        check_split("a\n---\n\n---\nb", &["a", "", "b"]);
        check_split("a\n---\n---\nb", &["a", "---\nb"]);
    }

    fn check(text: &str, expected: Result<&[&str], &str>) {
        let read = read_all(text, Persona::Calicoctl).map(|documents| {
            documents
                .iter()
                .map(|d| {
                    format!(
                        "{} {}",
                        d.kind,
                        d.value["metadata"]["name"].as_str().unwrap_or("")
                    )
                })
                .collect::<Vec<_>>()
        });
        let expected = expected
            .map(|e| e.iter().map(ToString::to_string).collect::<Vec<_>>())
            .map_err(ToString::to_string);
        assert_eq!(read, expected, "{text}");
    }

    #[test]
    fn documents_and_lists_of_them() {
        let pool = "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: p}\n";
        check(pool, Ok(&["IPPool p"]));
        check(
            &format!("---\n{pool}---\n{pool}"),
            Ok(&["IPPool p", "IPPool p"]),
        );
        check(
            "- {apiVersion: projectcalico.org/v3, kind: Node, metadata: {name: n1}}\n- {apiVersion: v1, kind: Service, metadata: {name: s}}\n",
            Ok(&["Node n1", "Service s"]),
        );
        check(
            "{apiVersion: projectcalico.org/v3, kind: NodeList, metadata: {resourceVersion: '3'}, items: [{metadata: {name: n1}}]}",
            Ok(&["Node n1"]),
        );
        check(
            "{apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: Service, metadata: {name: s}}]}",
            Ok(&["Service s"]),
        );
        check(
            "{apiVersion: projectcalico.org/v3, kind: NodeList, items: []}",
            Ok(&[]),
        );
    }

    #[test]
    fn what_is_no_resource() {
        check("---\n", Err("unknown resource type () and/or version ()"));
        check(
            "kind: IPool\napiVersion: projectcalico.org/v3\n",
            Err("unknown resource type (IPool) and/or version (projectcalico.org/v3)"),
        );
        check(
            "just text\n",
            Err(
                "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal string into Go value of type []unstructured.Unstructured",
            ),
        );
        check(
            "foo: [\n",
            Err("error converting YAML to JSON: yaml: line 1: did not find expected node content"),
        );
        check(
            "apiVersion: projectcalico.org/v3\nkind: IPPool\nkind: IPPool\n",
            Err(
                "error converting YAML to JSON: yaml: unmarshal errors:\n  line 3: key \"kind\" already set in map",
            ),
        );
        check(
            "{apiVersion: projectcalico.org/v3, kind: NodeList, item: []}",
            Err("error unmarshaling JSON: while decoding JSON: json: unknown field \"item\""),
        );
    }
}
