//! Nodes to text.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::parse::{Expr, Node};

struct Scope<'a> {
    root: &'a Value,
    as_number: u64,
    variables: Vec<(String, Value)>,
}

/// The text of the nodes for a value.
pub fn render(nodes: &[Node], root: &Value, as_number: u64) -> Result<String, String> {
    let mut scope = Scope {
        root,
        as_number,
        variables: Vec::new(),
    };
    let mut output = String::new();
    scope.block(nodes, root, &mut output)?;
    Ok(output)
}

impl Scope<'_> {
    fn block(&mut self, nodes: &[Node], dot: &Value, output: &mut String) -> Result<(), String> {
        let outside = self.variables.len();
        for node in nodes {
            self.node(node, dot, output)?;
        }
        self.variables.truncate(outside);
        Ok(())
    }

    fn node(&mut self, node: &Node, dot: &Value, output: &mut String) -> Result<(), String> {
        match node {
            Node::Text(text) => output.push_str(text),
            Node::Print(expr) => output.push_str(&shown(&self.value(expr, dot)?)),
            Node::Set(name, expr) => {
                let value = self.value(expr, dot)?;
                self.variables.push((name.clone(), value));
            }
            Node::If(condition, body, otherwise) => {
                let chosen = if truth(&self.value(condition, dot)?) {
                    body
                } else {
                    otherwise
                };
                self.block(chosen, dot, output)?;
            }
            Node::With(expr, body, otherwise) => {
                let value = self.value(expr, dot)?;
                if truth(&value) {
                    self.block(body, &value, output)?;
                } else {
                    self.block(otherwise, dot, output)?;
                }
            }
            Node::Range {
                index,
                item,
                over,
                body,
                otherwise,
            } => {
                let entries = entries(self.value(over, dot)?)?;
                if entries.is_empty() {
                    self.block(otherwise, dot, output)?;
                }
                for (key, value) in entries {
                    let outside = self.variables.len();
                    for (name, value) in [(index, &key), (item, &value)] {
                        if let Some(name) = name {
                            self.variables.push((name.clone(), value.clone()));
                        }
                    }
                    self.block(body, &value, output)?;
                    self.variables.truncate(outside);
                }
            }
        }
        Ok(())
    }

    fn value(&self, expr: &Expr, dot: &Value) -> Result<Value, String> {
        match expr {
            Expr::Dot => Ok(dot.clone()),
            Expr::Literal(value) => Ok(value.clone()),
            Expr::Variable(name) if name == "$" => Ok(self.root.clone()),
            Expr::Variable(name) => self
                .variables
                .iter()
                .rev()
                .find(|(known, _)| known == name)
                .map(|(_, value)| value.clone())
                .ok_or_else(|| format!("undefined variable {name:?}")),
            Expr::Fields(of, names) => names
                .iter()
                .try_fold(self.value(of, dot)?, |value, name| field(value, name)),
            Expr::Call(name, arguments) => {
                let values = arguments
                    .iter()
                    .map(|argument| self.value(argument, dot))
                    .collect::<Result<Vec<_>, _>>()?;
                self.call(name, &values)
            }
        }
    }

    fn call(&self, name: &str, arguments: &[Value]) -> Result<Value, String> {
        let wrong = || format!("wrong number of args for {name}: got {}", arguments.len());
        Ok(match (name, arguments) {
            ("and", [first, rest @ ..]) => {
                let last = rest.last().unwrap_or(first);
                arguments.iter().find(|v| !truth(v)).unwrap_or(last).clone()
            }
            ("or", [first, rest @ ..]) => {
                let last = rest.last().unwrap_or(first);
                arguments.iter().find(|v| truth(v)).unwrap_or(last).clone()
            }
            ("not", [value]) => Value::Bool(!truth(value)),
            ("eq", [first, rest @ ..]) if !rest.is_empty() => {
                Value::Bool(rest.iter().any(|v| shown(v) == shown(first)))
            }
            ("ne", [a, b]) => Value::Bool(shown(a) != shown(b)),
            ("lt", [a, b]) => Value::Bool(order(a, b)? == Ordering::Less),
            ("le", [a, b]) => Value::Bool(order(a, b)? != Ordering::Greater),
            ("gt", [a, b]) => Value::Bool(order(a, b)? == Ordering::Greater),
            ("ge", [a, b]) => Value::Bool(order(a, b)? != Ordering::Less),
            ("len", [value]) => Value::from(length(value)?),
            ("index", [value, path @ ..]) => path.iter().try_fold(value.clone(), at)?,
            ("print", values) => Value::String(printed(values)),
            ("println", values) => {
                let all: Vec<String> = values.iter().map(shown).collect();
                Value::String(all.join(" ") + "\n")
            }
            ("printf", [format, values @ ..]) => Value::String(formatted(&shown(format), values)?),
            ("join", [list, between]) => Value::String(joined(list, &shown(between))),
            ("joinAndTruncate", [list, between, width]) => {
                let text = joined(list, &shown(between));
                let width = usize::try_from(width.as_u64().unwrap_or(0)).unwrap_or(usize::MAX);
                Value::String(truncated(&text, width))
            }
            ("config", [what]) if shown(what).eq_ignore_ascii_case("asnumber") => {
                Value::from(self.as_number)
            }
            ("config", [what]) => return Err(format!("unhandled config value {:?}", shown(what))),
            _ => return Err(wrong()),
        })
    }
}

/// A field by its Go name: that of its JSON name but for the case, with metadata's own in the object.
fn field(value: Value, name: &str) -> Result<Value, String> {
    let Value::Object(fields) = value else {
        return match value {
            Value::Null => Ok(Value::Null),
            other => Err(format!(
                "executing \"get\": can't evaluate field {name} in {}",
                shown(&other)
            )),
        };
    };
    if name == "TypeMeta" {
        return Ok(Value::Object(fields));
    }
    let wanted = match name {
        "ObjectMeta" | "ListMeta" => "metadata",
        other => other,
    };
    let within = |fields: &Map<String, Value>| {
        fields.get(wanted).cloned().or_else(|| {
            let found = fields
                .iter()
                .find(|(key, _)| key.eq_ignore_ascii_case(wanted));
            found.map(|(_, value)| value.clone())
        })
    };
    let of_metadata = || {
        fields
            .get("metadata")
            .and_then(Value::as_object)
            .and_then(within)
    };
    Ok(within(&fields).or_else(of_metadata).unwrap_or(Value::Null))
}

fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(shown).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(fields) => {
            let mut fields: Vec<String> = fields
                .iter()
                .map(|(key, value)| format!("{key}:{}", shown(value)))
                .collect();
            fields.sort();
            format!("map[{}]", fields.join(" "))
        }
    }
}

fn entries(value: Value) -> Result<Vec<(Value, Value)>, String> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(items) => Ok((0u64..).map(Value::from).zip(items).collect()),
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.into_iter().collect();
            fields.sort_by(|(a, _), (b, _)| a.cmp(b));
            Ok(fields
                .into_iter()
                .map(|(key, value)| (Value::String(key), value))
                .collect())
        }
        other => Err(format!("range can't iterate over {}", shown(&other))),
    }
}

fn order(a: &Value, b: &Value) -> Result<Ordering, String> {
    match (a.as_f64(), b.as_f64(), a.as_str(), b.as_str()) {
        (Some(a), Some(b), _, _) => a
            .partial_cmp(&b)
            .ok_or("numbers without an order".to_string()),
        (_, _, Some(a), Some(b)) => Ok(a.cmp(b)),
        _ => Err("incompatible types for comparison".to_string()),
    }
}

fn length(value: &Value) -> Result<usize, String> {
    match value {
        Value::Null => Ok(0),
        Value::String(text) => Ok(text.len()),
        Value::Array(items) => Ok(items.len()),
        Value::Object(fields) => Ok(fields.len()),
        Value::Bool(_) | Value::Number(_) => Err(format!("len of {}", shown(value))),
    }
}

fn at(value: Value, index: &Value) -> Result<Value, String> {
    match (&value, index) {
        (Value::Array(items), Value::Number(number)) => number
            .as_u64()
            .and_then(|n| items.get(usize::try_from(n).ok()?))
            .cloned()
            .ok_or_else(|| format!("error calling index: index out of range: {number}")),
        (Value::Object(fields), Value::String(key)) => {
            Ok(fields.get(key).cloned().unwrap_or(Value::Null))
        }
        _ => Err(format!(
            "error calling index: can't index {} with {}",
            shown(&value),
            shown(index)
        )),
    }
}

/// Go's Sprint: a space between two values where neither is a text.
fn printed(values: &[Value]) -> String {
    let mut text = String::new();
    for (at, value) in values.iter().enumerate() {
        if at > 0 && !value.is_string() && !values[at - 1].is_string() {
            text.push(' ');
        }
        text += &shown(value);
    }
    text
}

fn formatted(format: &str, values: &[Value]) -> Result<String, String> {
    let mut text = String::new();
    let mut values = values.iter();
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            text.push(letter);
            continue;
        }
        let verb = letters.next().ok_or("%!(NOVERB)")?;
        match verb {
            '%' => text.push('%'),
            's' | 'd' | 'v' | 't' | 'q' => match values.next() {
                None => text += &format!("%!{verb}(MISSING)"),
                Some(value) if verb == 'q' => text += &format!("{:?}", shown(value)),
                Some(value) => text += &shown(value),
            },
            other => return Err(format!("printf's %{other} is not supported here")),
        }
    }
    Ok(text)
}

fn joined(list: &Value, between: &str) -> String {
    match list {
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(between),
        other => shown(other),
    }
}

fn truncated(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_string();
    }
    let kept: String = text.chars().take(width.saturating_sub(3)).collect();
    kept + "..."
}
