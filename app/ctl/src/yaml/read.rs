//! Text to values.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use libyaml_safer::{ErrorKind, Event, EventData, Parser, ScalarStyle};
use serde_json::{Map, Value};

use super::plain::resolve;

/// Nesting beyond this is refused.
const MAX_DEPTH: usize = 1000;

/// More values by aliases than this are refused: a short text can stand for a very long one.
const MAX_ALIASED: usize = 100_000;

/// A document, read.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// What it says; mappings are sorted by key, and a key that was given twice has its last value.
    pub value: Value,
    /// A line for each key that was given twice: `line 4: key "a" already set in map`.
    pub duplicates: Vec<String>,
}

/// Reads the first document of a text.
///
/// # Errors
/// go-yaml's text, beginning with `yaml: `.
pub fn read(text: &str) -> Result<Document, String> {
    // The scanner panics at a few kinds of broken input, where libyaml reads on past the end.
    std::panic::catch_unwind(|| read_events(text))
        .unwrap_or_else(|_| Err("yaml: unexpected end of input, or a broken tag".to_string()))
}

fn read_events(text: &str) -> Result<Document, String> {
    // One of those kinds is a block scalar whose last line has no end.
    let open_end = (!text.ends_with('\n')).then(|| text.rsplit('\n').next().unwrap_or(text));
    let ended = format!("{text}\n");
    let mut input = match open_end {
        Some(_) => ended.as_bytes(),
        None => text.as_bytes(),
    };
    let mut parser = Parser::new();
    parser.set_input_string(&mut input);
    let mut reader = Reader {
        parser,
        open_end,
        anchors: BTreeMap::new(),
        aliased: 0,
        duplicates: Vec::new(),
    };
    let value = loop {
        let event = reader.next()?;
        match event.data {
            EventData::StreamStart { .. } | EventData::DocumentStart { .. } => {}
            EventData::StreamEnd => break Value::Null,
            _ => break reader.node(event, 0)?,
        }
    };
    Ok(Document {
        value,
        duplicates: reader.duplicates,
    })
}

struct Reader<'r, 'b> {
    parser: Parser<&'b mut &'r [u8]>,
    /// The last line of the text, where it has no end.
    open_end: Option<&'r str>,
    /// How many values came by aliases.
    aliased: usize,
    anchors: BTreeMap<String, Value>,
    duplicates: Vec<String>,
}

impl Reader<'_, '_> {
    fn next(&mut self) -> Result<Event, String> {
        self.parser.parse().map_err(|error| {
            // go-yaml counts lines from 0, and adds one only for the scanner's errors.
            let line = match error.problem_mark().map_or(0, |mark| mark.line) {
                0 => error.context_mark().map_or(0, |mark| mark.line),
                line if error.kind() == ErrorKind::Scanner => line + 1,
                line => line,
            };
            match line {
                0 => format!("yaml: {}", error.problem()),
                line => format!("yaml: line {line}: {}", error.problem()),
            }
        })
    }

    fn node(&mut self, event: Event, depth: usize) -> Result<Value, String> {
        if depth > MAX_DEPTH {
            return Err("yaml: exceeded max depth of 1000".to_string());
        }
        let (anchor, value) = match event.data {
            EventData::Scalar {
                anchor,
                tag,
                value,
                style,
                ..
            } => {
                let value = self.without_added_end(value, style);
                (anchor, scalar(tag.as_deref(), value, style))
            }
            EventData::SequenceStart { anchor, .. } => (anchor, self.sequence(depth)?),
            EventData::MappingStart { anchor, .. } => (anchor, self.mapping(depth)?),
            EventData::Alias { anchor } => return self.alias(&anchor),
            EventData::StreamStart { .. }
            | EventData::StreamEnd
            | EventData::DocumentStart { .. }
            | EventData::DocumentEnd { .. }
            | EventData::SequenceEnd
            | EventData::MappingEnd => return Ok(Value::Null),
        };
        if let Some(anchor) = anchor {
            self.anchors.insert(anchor, value.clone());
        }
        Ok(value)
    }

    fn alias(&mut self, anchor: &str) -> Result<Value, String> {
        let value = self
            .anchors
            .get(anchor)
            .ok_or_else(|| format!("yaml: unknown anchor '{anchor}' referenced"))?;
        self.aliased += count(value);
        if self.aliased > MAX_ALIASED {
            return Err("yaml: document contains excessive aliasing".to_string());
        }
        Ok(value.clone())
    }

    /// A block scalar without the line end that the text did not have.
    fn without_added_end(&self, mut value: String, style: ScalarStyle) -> String {
        let block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
        let last = self.open_end.map_or("", str::trim_start);
        if block && !last.is_empty() && value.strip_suffix('\n').is_some_and(|v| v.ends_with(last))
        {
            value.pop();
        }
        value
    }

    fn sequence(&mut self, depth: usize) -> Result<Value, String> {
        let mut items = Vec::new();
        loop {
            let event = self.next()?;
            if event.data == EventData::SequenceEnd {
                return Ok(Value::Array(items));
            }
            items.push(self.node(event, depth + 1)?);
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Value, String> {
        let mut fields: BTreeMap<String, Value> = BTreeMap::new();
        let mut merged = Vec::new();
        loop {
            let event = self.next()?;
            if event.data == EventData::MappingEnd {
                break;
            }
            let line = event.start_mark.line + 1;
            let merge = matches!(&event.data, EventData::Scalar { value, style: ScalarStyle::Plain, .. } if value == "<<");
            let key = key_text(self.node(event, depth + 1)?)?;
            let event = self.next()?;
            let value = self.node(event, depth + 1)?;
            if merge {
                merged.push(value);
                continue;
            }
            match fields.entry(key) {
                Entry::Vacant(place) => {
                    place.insert(value);
                }
                Entry::Occupied(mut place) => {
                    self.duplicates.push(format!(
                        "line {line}: key {:?} already set in map",
                        place.key()
                    ));
                    place.insert(value);
                }
            }
        }
        for value in merged {
            merge_into(&mut fields, value)?;
        }
        Ok(Value::Object(fields.into_iter().collect::<Map<_, _>>()))
    }
}

/// How many values there are in a value, itself too.
fn count(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(count).sum::<usize>(),
        Value::Object(fields) => 1 + fields.values().map(count).sum::<usize>(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 1,
    }
}

/// YAML 1.1's `<<`: what the mapping itself says wins.
fn merge_into(fields: &mut BTreeMap<String, Value>, value: Value) -> Result<(), String> {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                fields.entry(key).or_insert(value);
            }
            Ok(())
        }
        Value::Array(items) => items
            .into_iter()
            .try_for_each(|item| merge_into(fields, item)),
        _ => Err("yaml: map merge requires map or sequence of maps as the value".to_string()),
    }
}

fn scalar(tag: Option<&str>, value: String, style: ScalarStyle) -> Value {
    match tag {
        None if style == ScalarStyle::Plain => resolve(&value),
        None | Some("!" | libyaml_safer::STR_TAG) => Value::String(value),
        Some(_) => resolve(&value),
    }
}

fn key_text(key: Value) -> Result<String, String> {
    match key {
        Value::String(text) => Ok(text),
        Value::Bool(_) | Value::Number(_) => Ok(key.to_string()),
        Value::Null => Ok("null".to_string()),
        Value::Array(_) | Value::Object(_) => Err("yaml: invalid map key".to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(text: &str, expected: Result<Value, &str>) {
        assert_eq!(
            read(text).map(|d| d.value),
            expected.map_err(String::from),
            "{text}"
        );
    }

    #[test]
    fn documents_are_read() {
        check(
            "a: {b: y, c: 'y'}\nd: [1, two]\n",
            Ok(json!({"a": {"b": true, "c": "y"}, "d": [1, "two"]})),
        );
        check("# nothing\n", Ok(json!(null)));
        check("---\n", Ok(json!(null)));
        check(
            "x: &a {k: 1}\ny: *a\nz: {<<: *a, l: 2}\n",
            Ok(json!({"x": {"k": 1}, "true": {"k": 1}, "z": {"k": 1, "l": 2}})),
        );
        check("1: a\n", Ok(json!({"1": "a"})));
        check("{\"a\": \"1\", \"b\": 2}", Ok(json!({"a": "1", "b": 2})));
        check("t: |\n  one\n  two\n", Ok(json!({"t": "one\ntwo\n"})));
    }

    #[test]
    fn errors_are_worded_as_by_go() {
        check(
            "foo: [\n",
            Err("yaml: line 1: did not find expected node content"),
        );
        check(
            "a: b: c\n",
            Err("yaml: mapping values are not allowed in this context"),
        );
        check("a: *b\n", Err("yaml: unknown anchor 'b' referenced"));
        check(
            "a: 1\nb: @c\n",
            Err("yaml: line 2: found character that cannot start any token"),
        );
    }

    #[test]
    fn texts_without_a_last_line_end() {
        check("a: |\n  x", Ok(json!({"a": "x"})));
        check("a: |\n  x\n", Ok(json!({"a": "x\n"})));
        check("a: |\n  x\n# c", Ok(json!({"a": "x\n"})));
        check("a: >\n  x\n  y", Ok(json!({"a": "x y"})));
        check("a: |", Ok(json!({"a": ""})));
        check("a", Ok(json!("a")));
        check(
            "a: \"x\\",
            Err("yaml: line 2: found unexpected end of stream"),
        );
    }

    #[test]
    fn hostile_texts_are_refused() {
        let deep = "[".repeat(2000);
        check(&deep, Err("yaml: exceeded max depth of 1000"));
        let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_string();
        for n in 1..9 {
            let before = format!("*a{}, ", n - 1).repeat(9);
            laughs += &format!("a{n}: &a{n} [{before}]\n");
        }
        check(&laughs, Err("yaml: document contains excessive aliasing"));
    }

    #[test]
    fn keys_given_twice_are_told_of() {
        let document = read("a: 1\nb:\n  c: 1\n  c: 2\na: 3\n").unwrap();
        assert_eq!(
            document.duplicates,
            [
                "line 4: key \"c\" already set in map",
                "line 5: key \"a\" already set in map"
            ]
        );
        assert_eq!(document.value, json!({"a": 3, "b": {"c": 2}}));
        assert!(
            read("a: {c: 1}\nb: {c: 1}\n")
                .unwrap()
                .duplicates
                .is_empty()
        );
    }
}
