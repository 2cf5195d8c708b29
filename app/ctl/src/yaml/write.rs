//! Values to text.

use std::cmp::Ordering;

use libyaml_safer::{Emitter, Encoding, Event, MappingStyle, ScalarStyle, SequenceStyle};
use serde_json::Value;

use super::plain::needs_quotes;

/// The text of a value: keys in go-yaml's order, strings quoted where plain they would mean something else.
pub fn write(value: &Value) -> String {
    let mut output = Vec::new();
    let mut emitter = Emitter::new();
    emitter.set_output_string(&mut output);
    emitter.set_unicode(true);
    let mut events = vec![
        Event::stream_start(Encoding::Utf8),
        Event::document_start(None, &[], true),
    ];
    node(value, &mut events);
    events.push(Event::document_end(true));
    events.push(Event::stream_end());
    for event in events {
        emitter
            .emit(event)
            .expect("a vector takes all that is written, and the events are well nested");
    }
    drop(emitter);
    String::from_utf8(output).expect("the emitter was told to write UTF-8")
}

fn node(value: &Value, events: &mut Vec<Event>) {
    match value {
        Value::Null => events.push(scalar("null", ScalarStyle::Plain)),
        Value::Bool(flag) => events.push(scalar(&flag.to_string(), ScalarStyle::Plain)),
        Value::Number(number) => events.push(scalar(&go_number(number), ScalarStyle::Plain)),
        Value::String(text) => events.push(string(text)),
        Value::Array(items) => {
            let style = if items.is_empty() {
                SequenceStyle::Flow
            } else {
                SequenceStyle::Block
            };
            events.push(Event::sequence_start(None, None, true, style));
            for item in items {
                node(item, events);
            }
            events.push(Event::sequence_end());
        }
        Value::Object(fields) => {
            let style = if fields.is_empty() {
                MappingStyle::Flow
            } else {
                MappingStyle::Block
            };
            events.push(Event::mapping_start(None, None, true, style));
            let mut sorted: Vec<_> = fields.iter().collect();
            sorted.sort_by(|(a, _), (b, _)| natural(a, b));
            for (key, value) in sorted {
                events.push(string(key));
                node(value, events);
            }
            events.push(Event::mapping_end());
        }
    }
}

fn string(text: &str) -> Event {
    let style = if text.contains('\n') {
        ScalarStyle::Literal
    } else if needs_quotes(text) {
        ScalarStyle::DoubleQuoted
    } else {
        ScalarStyle::Plain
    };
    scalar(text, style)
}

fn scalar(text: &str, style: ScalarStyle) -> Event {
    Event::scalar(None, None, text, true, true, style)
}

fn go_number(number: &serde_json::Number) -> String {
    match number.as_f64() {
        // A whole float comes out of JSON as an integer.
        Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < 1e21 => {
            format!("{float:.0}")
        }
        _ => number.to_string(),
    }
}

/// go-yaml's order of keys: numbers inside by their value, letters after everything else.
fn natural(a: &str, b: &str) -> Ordering {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let Some(at) = a.iter().zip(&b).position(|(x, y)| x != y) else {
        return a.len().cmp(&b.len());
    };
    let (x, y) = (a[at], b[at]);
    match (x.is_alphabetic(), y.is_alphabetic()) {
        (true, true) => return x.cmp(&y),
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    let digits = |text: &[char]| -> (u64, usize) {
        let run: Vec<u64> = text[at..]
            .iter()
            .map_while(|c| c.to_digit(10).map(u64::from))
            .collect();
        let value = run
            .iter()
            .fold(0u64, |n, d| n.saturating_mul(10).saturating_add(*d));
        (value, run.len())
    };
    // A zero inside a number does not lead it.
    let inside = (x == '0' || y == '0')
        && a[..at]
            .iter()
            .rev()
            .take_while(|c| c.is_ascii_digit())
            .any(|c| *c != '0');
    let ((x_value, x_length), (y_value, y_length)) = (digits(&a), digits(&b));
    if inside {
        return x_length
            .cmp(&y_length)
            .then(x_value.cmp(&y_value))
            .then(x.cmp(&y));
    }
    x_value
        .cmp(&y_value)
        .then(x_length.cmp(&y_length))
        .then(x.cmp(&y))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(value: &Value, expected: &str) {
        assert_eq!(write(value), expected);
    }

    #[test]
    fn written_as_captured() {
        check(
            &json!({
                "kind": "BGPPeerList",
                "apiVersion": "projectcalico.org/v3",
                "metadata": {"resourceVersion": "78"},
                "items": [{"kind": "BGPPeer", "spec": {"nodeSelector": "!has(route-reflector)", "peerSelector": "route-reflector == 'true'", "asNumber": 65001}, "status": {}}],
            }),
            "\
apiVersion: projectcalico.org/v3
items:
- kind: BGPPeer
  spec:
    asNumber: 65001
    nodeSelector: '!has(route-reflector)'
    peerSelector: route-reflector == 'true'
  status: {}
kind: BGPPeerList
metadata:
  resourceVersion: \"78\"
",
        );
        check(
            &json!({"items": [], "labels": {"route-reflector": "true"}, "at": "2026-11-22T22:23:05Z", "cidr": "fd00:1::4/64"}),
            "at: \"2026-11-22T22:23:05Z\"\ncidr: fd00:1::4/64\nitems: []\nlabels:\n  route-reflector: \"true\"\n",
        );
        check(
            &json!({"o": 1000000.0, "m": 10.5, "t": "a\nb\n"}),
            "m: 10.5\no: 1000000\nt: |\n  a\n  b\n",
        );
        check(
            &json!([{"a": 1}, {"a": [["x"]]}]),
            "- a: 1\n- a:\n  - - x\n",
        );
    }

    #[test]
    fn keys_are_sorted_naturally() {
        let mut keys = vec!["b", "a10", "a2", "a/b", "ab", "A", "a02", "a20", "a100"];
        keys.sort_by(|a, b| natural(a, b));
        assert_eq!(
            keys,
            ["A", "a/b", "a2", "a02", "a10", "a20", "a100", "ab", "b"]
        );
    }

    #[test]
    fn what_is_written_reads_back() {
        let value = json!({"s": ["y", "1", "a: b", "# c", " lead", "tab\t", "é", "", "-", "a\nb", "0x1"], "n": -3, "f": 0.25, "z": null});
        assert_eq!(super::super::read(&write(&value)).unwrap().value, value);
    }
}
