//! `get`.

use resource::{Kind, Store};
use serde_json::{Value, json};

use crate::args::Args;
use crate::client::Client;
use crate::documents;
use crate::tables::{self, Context, Layout, view};
use crate::target::{self, Target, named_kind};
use crate::template::Template;
use crate::world::{Failure, World};
use crate::yaml;

/// What `-o` asks for.
#[derive(Debug)]
enum Format {
    Yaml,
    Json,
    Table(Layout),
    Template(Template),
}

/// What one request brought.
struct Found {
    kind: Kind,
    /// The object, or the list as one object.
    value: Value,
}

impl Found {
    /// The objects, where this is a list.
    fn objects(&self) -> &[Value] {
        match self.value.get("items").and_then(Value::as_array) {
            Some(items) if self.is_list() => items,
            _ => std::slice::from_ref(&self.value),
        }
    }

    fn is_list(&self) -> bool {
        let kind = self.value.get("kind").and_then(Value::as_str);
        kind != Some(self.kind.as_str())
    }
}

/// Prints resources.
///
/// # Errors
/// A line for each resource that is not there, after those that are have been printed.
pub fn run<S: Store + Sync>(
    args: &Args,
    client: &Client<'_, S>,
    world: &mut World<'_>,
) -> Result<(), Failure> {
    let format = format(args.get("output").unwrap_or("ps"))?;
    let targets = targets(args, world)?;
    let mut found = Vec::new();
    let mut errors = Vec::new();
    for target in &targets {
        match fetch(args, client, target) {
            Ok(one) => found.push(one),
            Err(error) => errors.push(error),
        }
    }
    print(&format, &found, args, client, world)?;
    if errors.is_empty() {
        Ok(())
    } else {
        Err(Failure::message(errors.join("\n")))
    }
}

/// Refuses an `-o` that is not understood, before the store is asked.
///
/// # Errors
/// What is wrong with it.
pub fn check_output(args: &Args) -> Result<(), Failure> {
    format(args.get("output").unwrap_or("ps")).map(|_| ())
}

fn format(output: &str) -> Result<Format, Failure> {
    let (key, value) = match output.split_once('=') {
        Some((key, value)) => (key, Some(value)),
        None => (output, None),
    };
    let given = value.filter(|v| !v.is_empty());
    Ok(match (key, value) {
        ("yaml" | "yml", None) => Format::Yaml,
        ("json", None) => Format::Json,
        ("ps", None) => Format::Table(Layout::Ps),
        ("wide", None) => Format::Table(Layout::Wide),
        ("custom-columns", _) => {
            let columns =
                given.ok_or_else(|| Failure::message("need to specify at least one column"))?;
            Format::Table(Layout::Custom(
                columns.split(',').map(String::from).collect(),
            ))
        }
        ("go-template", _) => {
            let text = given.ok_or_else(|| Failure::message("need to specify a template"))?;
            Format::Template(Template::parse(text).map_err(Failure::message)?)
        }
        ("go-template-file", _) => {
            let path = given.ok_or_else(|| Failure::message("need to specify a template file"))?;
            let text = std::fs::read_to_string(path)
                .map_err(|e| Failure::message(documents::open_error(path.as_ref(), &e)))?;
            Format::Template(Template::parse(&text).map_err(Failure::message)?)
        }
        _ => {
            return Err(Failure::message(format!(
                "unrecognized output format '{output}'"
            )));
        }
    })
}

fn targets(args: &Args, world: &mut World<'_>) -> Result<Vec<Target>, Failure> {
    if let Some(filename) = args.get("filename") {
        return target::load_targets(args, filename, world);
    }
    let kind = named_kind(&args.positionals[0], world.persona)
        .map_err(|error| error.prefixed("failed to get resources: "))?;
    let names = &args.positionals[1..];
    Ok(if names.is_empty() {
        vec![Target::new(kind, "")]
    } else {
        names.iter().map(|name| Target::new(kind, name)).collect()
    })
}

fn fetch<S: Store + Sync>(
    args: &Args,
    client: &Client<'_, S>,
    target: &Target,
) -> Result<Found, String> {
    let everywhere = args.has("all-namespaces");
    let namespace = target.namespace(args)?;
    let kind = target.kind;
    if target.name.is_empty() {
        let within = namespace.as_deref().filter(|_| !everywhere);
        let (mut items, revision) = client.list(kind, within)?;
        if let Some(rank) = view(kind).rank {
            items.sort_by(|a, b| rank(a).total_cmp(&rank(b)));
        }
        let value = json!({
            "kind": format!("{kind}List"),
            "apiVersion": kind.api_version(),
            "metadata": {"resourceVersion": revision.to_string()},
            "items": items,
        });
        return Ok(Found { kind, value });
    }
    if everywhere {
        return Err("cannot use --all-namespace flag for getting a single resource".to_string());
    }
    let mut value = client.get(kind, namespace.as_deref(), &target.name)?;
    if args.has("export") {
        export(&mut value);
    }
    Ok(Found { kind, value })
}

/// Takes away what belongs to this cluster.
fn export(value: &mut Value) {
    if let Some(Value::Object(metadata)) = value.get_mut("metadata") {
        for field in ["namespace", "uid", "resourceVersion", "creationTimestamp"] {
            metadata.shift_remove(field);
        }
    }
}

fn print<S: Store + Sync>(
    format: &Format,
    found: &[Found],
    args: &Args,
    client: &Client<'_, S>,
    world: &mut World<'_>,
) -> Result<(), Failure> {
    match format {
        Format::Yaml => world.print(yaml::write(&together(found))),
        Format::Json => {
            let text =
                serde_json::to_string_pretty(&together(found)).expect("a JSON value has a text");
            world.print(go_escaped(&text))
        }
        Format::Template(template) => {
            let values: Vec<&Value> = found.iter().map(|f| &f.value).collect();
            let text = template
                .render(&values, client.as_number()?)
                .map_err(Failure::message)?;
            world.print(text)
        }
        Format::Table(layout) => {
            let namespace = args.has("namespace") || args.has("all-namespaces");
            for one in found {
                let context = Context {
                    as_number: client.as_number()?,
                    now: world.now,
                };
                let table = tables::table(one.kind, one.objects(), layout, namespace, &context)
                    .map_err(Failure::message)?;
                world.print(table)?;
            }
            Ok(())
        }
    }
}

/// One object as itself, several as a list; Go writes a list that was never made as null.
fn together(found: &[Found]) -> Value {
    match found {
        [] => Value::Null,
        [one] => one.value.clone(),
        several => Value::Array(several.iter().map(|f| f.value.clone()).collect()),
    }
}

/// Go's JSON writes these as escapes, so that the text can stand in HTML.
fn go_escaped(text: &str) -> String {
    text.replace('&', "\\u0026")
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}
