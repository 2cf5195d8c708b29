//! JSON values to types with the manners of Go's `encoding/json` and `sigs.k8s.io/yaml`.
//!
//! Where a string is wanted, a number or a boolean is taken as its text (`zone: 1`, `ready: yes`); field names match in
//! any case; null is as if the field were absent; and errors have Go's words, with the struct and the path.

use std::fmt;

use serde::de::value::StringDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess,
    SeqAccess, VariantAccess, Visitor,
};
use serde_json::{Map, Value};

/// Go's text of what is wrong with a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError(String);

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for DecodeError {}

impl de::Error for DecodeError {
    fn custom<T: fmt::Display>(message: T) -> DecodeError {
        DecodeError(message.to_string())
    }

    fn unknown_field(field: &str, _expected: &'static [&'static str]) -> DecodeError {
        unknown_field(field)
    }
}

/// Go's error for a field that a type does not have.
pub fn unknown_field(field: &str) -> DecodeError {
    DecodeError(format!("json: unknown field {field:?}"))
}

/// Go's error for a value of the wrong type.
pub fn mismatch(value: &Value, at: &str, wanted: &str) -> DecodeError {
    let found = match value {
        Value::Null => "null".to_string(),
        Value::Bool(_) => "bool".to_string(),
        Value::Number(number) => match wanted.trim_end_matches(char::is_numeric) {
            "int" | "uint" => format!("number {number}"),
            _ => "number".to_string(),
        },
        Value::String(_) => "string".to_string(),
        Value::Array(_) => "array".to_string(),
        Value::Object(_) => "object".to_string(),
    };
    DecodeError(format!(
        "json: cannot unmarshal {found} into Go {at} of type {wanted}"
    ))
}

/// Reads a value found at `path` (`spec`) in an object of Go type `owner` (`IPPool`).
///
/// # Errors
/// Go's text.
pub fn decode<T: DeserializeOwned>(
    value: Value,
    owner: &str,
    path: &str,
) -> Result<T, DecodeError> {
    let place = Place {
        owner: owner.to_string(),
        path: path.to_string(),
    };
    T::deserialize(At { value, place })
}

/// Where a value stands: `IPPoolSpec` and `spec.cidr`.
#[derive(Clone)]
struct Place {
    owner: String,
    path: String,
}

impl Place {
    fn text(&self) -> String {
        format!("struct field {}.{}", self.owner, self.path)
    }

    fn field(&self, owner: &str, name: &str) -> Place {
        Place {
            owner: owner.to_string(),
            path: format!("{}.{name}", self.path),
        }
    }
}

struct At {
    value: Value,
    place: Place,
}

/// Calico's name of a type: it writes initialisms in capitals.
fn go_name(rust: &str) -> String {
    if ["Metadata", "Wire"].contains(&rust) {
        return "ObjectMeta".to_string();
    }
    rust.replace("Bgp", "BGP")
        .replace("Icmp", "ICMP")
        .replace("Http", "HTTP")
        .replace("Ip", "IP")
        .replace("Cidr", "CIDR")
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

macro_rules! whole_numbers {
    ($($method:ident, $visit:ident, $type:ty, $go:literal;)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
            let number = match &self.value {
                Value::Number(number) => number
                    .as_i64()
                    .map(i128::from)
                    .or_else(|| number.as_u64().map(i128::from)),
                _ => None,
            };
            match number.and_then(|n| <$type>::try_from(n).ok()) {
                Some(number) => visitor.$visit(number),
                None => Err(mismatch(&self.value, &self.place.text(), $go)),
            }
        })*
    };
}

impl<'de> Deserializer<'de> for At {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let (value, place) = (self.value, self.place);
        match value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(flag) => visitor.visit_bool(flag),
            Value::String(text) => visitor.visit_string(text),
            Value::Number(number) => {
                if let Some(n) = number.as_u64() {
                    visitor.visit_u64(n)
                } else if let Some(n) = number.as_i64() {
                    visitor.visit_i64(n)
                } else {
                    visitor.visit_f64(number.as_f64().unwrap_or(f64::NAN))
                }
            }
            Value::Array(items) => visitor.visit_seq(Items {
                items: items.into_iter(),
                place,
            }),
            Value::Object(fields) => visitor.visit_map(Fields::of_map(fields, place)),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.value {
            Value::Bool(flag) => visitor.visit_bool(flag),
            ref other => Err(mismatch(other, &self.place.text(), "bool")),
        }
    }

    whole_numbers! {
        deserialize_i8, visit_i8, i8, "int8";
        deserialize_i16, visit_i16, i16, "int16";
        deserialize_i32, visit_i32, i32, "int32";
        deserialize_i64, visit_i64, i64, "int";
        deserialize_u8, visit_u8, u8, "uint8";
        deserialize_u16, visit_u16, u16, "uint16";
        deserialize_u32, visit_u32, u32, "uint32";
        deserialize_u64, visit_u64, u64, "uint64";
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.value.as_f64() {
            Some(number) => visitor.visit_f64(number),
            None => Err(mismatch(&self.value, &self.place.text(), "float64")),
        }
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_string(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_string(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match text_of(&self.value) {
            Some(text) => visitor.visit_string(text),
            None => Err(mismatch(&self.value, &self.place.text(), "string")),
        }
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_any(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_any(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        if self.value.is_null() {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_any(visitor)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.deserialize_any(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.value {
            Value::Array(items) => visitor.visit_seq(Items {
                items: items.into_iter(),
                place: self.place,
            }),
            ref other => Err(mismatch(other, &self.place.text(), "[]string")),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _length: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _length: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.value {
            Value::Object(fields) => visitor.visit_map(Fields::of_map(fields, self.place)),
            ref other => Err(mismatch(other, &self.place.text(), "map[string]string")),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match self.value {
            Value::Object(fields) => {
                visitor.visit_map(Fields::of_struct(fields, self.place, &go_name(name), known))
            }
            ref other => {
                let wanted = format!("v3.{}", go_name(name));
                Err(mismatch(other, &self.place.text(), &wanted))
            }
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match text_of(&self.value) {
            Some(text) => visitor.visit_enum(Word(text)),
            None => Err(mismatch(
                &self.value,
                &self.place.text(),
                &format!("v3.{}", go_name(name)),
            )),
        }
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_string(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_unit()
    }
}

struct Items {
    items: std::vec::IntoIter<Value>,
    place: Place,
}

impl<'de> SeqAccess<'de> for Items {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, DecodeError> {
        let Some(value) = self.items.next() else {
            return Ok(None);
        };
        let place = self.place.clone();
        seed.deserialize(At { value, place }).map(Some)
    }
}

/// A name as it is told to the visitor, where its value stands, the value.
type Field = (String, Place, Value);

struct Fields {
    fields: std::vec::IntoIter<Field>,
    value: Option<(Place, Value)>,
}

impl Fields {
    fn of_map(fields: Map<String, Value>, place: Place) -> Fields {
        Fields::new(sorted(fields).map(|(name, value)| (name, place.clone(), value)))
    }

    fn of_struct(
        fields: Map<String, Value>,
        place: Place,
        owner: &str,
        known: &'static [&'static str],
    ) -> Fields {
        Fields::new(sorted(fields).filter_map(|(name, value)| {
            let exact = known.iter().find(|k| **k == name);
            let field = exact.or_else(|| known.iter().find(|k| k.eq_ignore_ascii_case(&name)));
            // A null for a field that is not known is still an unknown field.
            if value.is_null() && field.is_some() {
                return None;
            }
            let name = field.map_or(name, |field| (*field).to_string());
            let place = place.field(owner, &name);
            Some((name, place, value))
        }))
    }

    fn new(fields: impl Iterator<Item = Field>) -> Fields {
        Fields {
            fields: fields.collect::<Vec<_>>().into_iter(),
            value: None,
        }
    }
}

/// By name, which is the order in which Go sees them: its YAML becomes JSON with sorted keys first.
fn sorted(fields: Map<String, Value>) -> impl Iterator<Item = (String, Value)> {
    let mut fields: Vec<(String, Value)> = fields.into_iter().collect();
    fields.sort_by(|(a, _), (b, _)| a.cmp(b));
    fields.into_iter()
}

impl<'de> MapAccess<'de> for Fields {
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, DecodeError> {
        let Some((name, place, value)) = self.fields.next() else {
            return Ok(None);
        };
        self.value = Some((place, value));
        let name: StringDeserializer<DecodeError> = name.into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, DecodeError> {
        let (place, value) = self
            .value
            .take()
            .ok_or_else(|| de::Error::custom("a value was asked for before its key"))?;
        let scalar = (!value.is_array() && !value.is_object()).then(|| value.clone());
        let at = place.text();
        seed.deserialize(At { value, place }).map_err(|error| {
            // What may be a number or a text, and is neither, Go reports as no text.
            match scalar {
                Some(value) if error.0.starts_with("data did not match any variant") => {
                    mismatch(&value, &at, "string")
                }
                _ => error,
            }
        })
    }
}

/// A variant without content.
struct Word(String);

impl<'de> EnumAccess<'de> for Word {
    type Error = DecodeError;
    type Variant = Word;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Word), DecodeError> {
        let word: StringDeserializer<DecodeError> = self.0.clone().into_deserializer();
        Ok((seed.deserialize(word)?, self))
    }
}

impl<'de> VariantAccess<'de> for Word {
    type Error = DecodeError;

    fn unit_variant(self) -> Result<(), DecodeError> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(
        self,
        _seed: T,
    ) -> Result<T::Value, DecodeError> {
        Err(de::Error::custom(format!("{} takes a value", self.0)))
    }

    fn tuple_variant<V: Visitor<'de>>(
        self,
        _length: usize,
        _visitor: V,
    ) -> Result<V::Value, DecodeError> {
        Err(de::Error::custom(format!("{} takes values", self.0)))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, DecodeError> {
        Err(de::Error::custom(format!("{} takes fields", self.0)))
    }
}

#[cfg(test)]
mod tests {
    use resource::Metadata;
    use resource::kinds::{BgpConfigurationSpec, BgpPeerSpec, NodeSpec};
    use serde_json::json;

    use super::*;

    fn fails<T: DeserializeOwned + fmt::Debug>(value: Value, path: &str, expected: &str) {
        let error = decode::<T>(value, "X", path).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn strings_are_made_of_numbers_and_booleans() {
        let metadata: Metadata = decode(
            json!({"name": 1, "labels": {"a": true, "b": 2, "c": 1.5}, "Annotations": null, "resourceVersion": 3}),
            "IPPool",
            "metadata",
        )
        .unwrap();
        assert_eq!(metadata.name, "1");
        assert_eq!(metadata.resource_version.as_deref(), Some("3"));
        let labels: Vec<_> = metadata
            .labels
            .iter()
            .map(|(k, v)| format!("{k}={v}"))
            .collect();
        assert_eq!(labels, ["a=true", "b=2", "c=1.5"]);
    }

    #[test]
    fn names_match_in_any_case() {
        let spec: NodeSpec = decode(json!({"BGP": {"asnumber": "1.10"}}), "Node", "spec").unwrap();
        assert_eq!(spec.bgp.unwrap().as_number, Some(65546));
    }

    #[test]
    fn errors_have_the_words_of_go() {
        fails::<BgpPeerSpec>(json!({"bogus": 1}), "spec", "json: unknown field \"bogus\"");
        fails::<BgpPeerSpec>(
            json!({"zzz": 1, "asNumber": "abc"}),
            "spec",
            "invalid AS Number format (abc)",
        );
        fails::<BgpPeerSpec>(
            json!({"keepOriginalNextHop": "x"}),
            "spec",
            "json: cannot unmarshal string into Go struct field BGPPeerSpec.spec.keepOriginalNextHop of type bool",
        );
        fails::<BgpPeerSpec>(
            json!({"asNumber": 99_999_999_999u64}),
            "spec",
            "json: cannot unmarshal number into Go struct field BGPPeerSpec.spec.asNumber of type string",
        );
        fails::<BgpConfigurationSpec>(
            json!({"listenPort": 70000}),
            "spec",
            "json: cannot unmarshal number 70000 into Go struct field BGPConfigurationSpec.spec.listenPort of type uint16",
        );
        fails::<NodeSpec>(
            json!({"bgp": {"ipv4Address": ["10.0.0.1"]}}),
            "spec",
            "json: cannot unmarshal array into Go struct field NodeBGPSpec.spec.bgp.ipv4Address of type string",
        );
        fails::<Metadata>(
            json!({"labels": {"a": ["b"]}}),
            "metadata",
            "json: cannot unmarshal array into Go struct field ObjectMeta.metadata.labels of type string",
        );
        fails::<NodeSpec>(
            json!([]),
            "spec",
            "json: cannot unmarshal array into Go struct field X.spec of type v3.NodeSpec",
        );
    }
}
