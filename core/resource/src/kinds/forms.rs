//! Values that documents write in more than one form: protocols, ports, floating-point numbers.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// An IP protocol: a number, or a name (`TCP`).
pub type Protocol = NumberOrName;

/// A number of eight bits, or a name as it was written. A text of digits is a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NumberOrName {
    /// By number.
    Number(u8),
    /// By name.
    Name(String),
}

impl NumberOrName {
    /// Whether it is known to have ports: TCP, UDP or SCTP.
    pub fn supports_ports(&self) -> bool {
        match self {
            NumberOrName::Number(number) => [6, 17, 132].contains(number),
            NumberOrName::Name(name) => {
                ["TCP", "UDP", "SCTP", "tcp", "udp", "sctp"].contains(&name.as_str())
            }
        }
    }

    /// Whether it has this name.
    pub fn is(&self, name: &str) -> bool {
        matches!(self, NumberOrName::Name(own) if own == name)
    }
}

impl fmt::Display for NumberOrName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NumberOrName::Number(number) => number.fmt(f),
            NumberOrName::Name(name) => f.write_str(name),
        }
    }
}

impl Serialize for NumberOrName {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            NumberOrName::Number(number) => s.serialize_u8(*number),
            NumberOrName::Name(name) => s.serialize_str(name),
        }
    }
}

impl<'de> Deserialize<'de> for NumberOrName {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<NumberOrName, D::Error> {
        match Value::deserialize(d)? {
            Value::Number(number) => number
                .as_u64()
                .and_then(|n| u8::try_from(n).ok())
                .map(NumberOrName::Number)
                .ok_or_else(|| {
                    D::Error::custom(format!(
                        "json: cannot unmarshal number {number} into Go value of type uint8"
                    ))
                }),
            Value::String(text) => Ok(text
                .parse()
                .map_or(NumberOrName::Name(text), NumberOrName::Number)),
            other => Err(D::Error::custom(format!(
                "json: cannot unmarshal {} into Go value of type uint8",
                go_word(&other)
            ))),
        }
    }
}

/// One port, a range of them, or the name that endpoints give one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Port {
    /// From and to; one port is a range of itself.
    Range(u16, u16),
    /// A name.
    Named(String),
}

impl Port {
    /// Whether it is a name.
    pub fn is_named(&self) -> bool {
        matches!(self, Port::Named(_))
    }

    fn parse(text: &str) -> Result<Port, String> {
        let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
        if digits(text) {
            let port = text
                .parse()
                .map_err(|_| format!("invalid port format ({text})"))?;
            return Ok(Port::Range(port, port));
        }
        if let Some((from, to)) = text.split_once(':')
            && digits(from)
            && digits(to)
        {
            let end = |which: &str, end: &str| {
                end.parse::<u16>()
                    .map_err(|_| format!("invalid {which} port number in range ({text})"))
            };
            let (from, to) = (end("minimum", from)?, end("maximum", to)?);
            if from > to {
                return Err(format!(
                    "minimum port number ({from}) is greater than maximum port number ({to}) in port range"
                ));
            }
            return Ok(Port::Range(from, to));
        }
        let named = (1..=128).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
        if named {
            Ok(Port::Named(text.to_string()))
        } else {
            Err(format!("invalid name for named port ({text})"))
        }
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Port::Range(from, to) if from == to => from.fmt(f),
            Port::Range(from, to) => write!(f, "{from}:{to}"),
            Port::Named(name) => f.write_str(name),
        }
    }
}

impl Serialize for Port {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Port::Range(from, to) if from == to => s.serialize_u16(*from),
            Port::Range(..) | Port::Named(_) => s.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Port {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Port, D::Error> {
        match Value::deserialize(d)? {
            Value::Number(number) => number
                .as_u64()
                .and_then(|n| u16::try_from(n).ok())
                .map(|port| Port::Range(port, port))
                .ok_or_else(|| {
                    D::Error::custom(format!(
                        "json: cannot unmarshal number {number} into Go value of type uint16"
                    ))
                }),
            Value::String(text) => Port::parse(&text).map_err(D::Error::custom),
            other => Err(D::Error::custom(format!(
                "json: cannot unmarshal {} into Go value of type uint16",
                go_word(&other)
            ))),
        }
    }
}

/// What Go calls a JSON value.
pub(crate) fn go_word(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Floating-point numbers as Go's JSON writes them: a whole one without a point.
pub(crate) mod go_float {
    use serde::{Deserialize, Deserializer, Serializer};

    /// Whole numbers up to here are exact.
    const EXACT: f64 = 9_007_199_254_740_992.0;

    #[allow(clippy::cast_possible_truncation, reason = "whole and within bounds")]
    pub(crate) fn serialize<S: Serializer>(number: &Option<f64>, s: S) -> Result<S::Ok, S::Error> {
        match number {
            Some(n) if n.fract() == 0.0 && n.abs() <= EXACT => s.serialize_i64(*n as i64),
            Some(n) => s.serialize_f64(*n),
            None => s.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<f64>, D::Error> {
        Option::deserialize(d)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn protocols_and_ports_in_all_their_forms() {
        let protocol = |value: Value| {
            serde_json::from_value::<Protocol>(value)
                .map(|p| serde_json::to_value(p).expect("a value"))
                .map_err(|e| e.to_string())
        };
        assert_eq!(protocol(json!(47)), Ok(json!(47)));
        assert_eq!(protocol(json!("47")), Ok(json!(47)));
        assert_eq!(protocol(json!("TCP")), Ok(json!("TCP")));
        assert_eq!(
            protocol(json!(256)),
            Err("json: cannot unmarshal number 256 into Go value of type uint8".to_string())
        );
        let port = |value: Value| {
            serde_json::from_value::<Port>(value)
                .map(|p| serde_json::to_value(p).expect("a value"))
                .map_err(|e| e.to_string())
        };
        assert_eq!(port(json!(80)), Ok(json!(80)));
        assert_eq!(port(json!("80")), Ok(json!(80)));
        assert_eq!(port(json!("80:80")), Ok(json!(80)));
        assert_eq!(port(json!("8000:8010")), Ok(json!("8000:8010")));
        assert_eq!(port(json!("http")), Ok(json!("http")));
        let fails = |value: Value, expected: &str| {
            assert_eq!(port(value), Err(expected.to_string()));
        };
        fails(
            json!("2:1"),
            "minimum port number (2) is greater than maximum port number (1) in port range",
        );
        fails(json!("70000"), "invalid port format (70000)");
        fails(
            json!("1:70000"),
            "invalid maximum port number in range (1:70000)",
        );
        fails(json!("a b"), "invalid name for named port (a b)");
        fails(json!(""), "invalid name for named port ()");
    }
}
