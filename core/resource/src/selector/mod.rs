//! The selector language (calico-compat §4).
//!
//! ```text
//! selector := "" | or            "" is all()
//! or       := and ("||" and)*
//! and      := op ("&&" op)*
//! op       := "!"* primary
//! primary  := "(" or ")" | "all()" | "global()" | "has(" label ")"
//!           | label ("==" | "!=" | "contains" | "starts with" | "ends with") string
//!           | label ("in" | "not in") "{" [string ("," string)* [","]] "}"
//! ```

mod parse;
mod token;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha224};

pub use token::SelectorError;

/// A parsed selector. Two that have the same normal form are equal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector {
    expression: Expression,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Expression {
    All,
    Global,
    Has(String),
    Compare(String, Comparison, String),
    In(String, BTreeSet<String>),
    NotIn(String, BTreeSet<String>),
    Not(Box<Expression>),
    And(Vec<Expression>),
    Or(Vec<Expression>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Comparison {
    Equal,
    NotEqual,
    Contains,
    StartsWith,
    EndsWith,
}

impl Selector {
    /// Reads a selector; the empty text selects everything.
    ///
    /// # Errors
    /// In the words of Calico's parser.
    pub fn parse(text: &str) -> Result<Selector, SelectorError> {
        parse::parse(text).map(|expression| Selector { expression })
    }

    /// The selector that selects everything.
    pub fn all() -> Selector {
        Selector {
            expression: Expression::All,
        }
    }

    /// Whether something with these labels is selected. An absent label fails every test but `!=` and `not in`.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.expression.matches(labels)
    }

    /// The name under which equal selectors share a set: `s:` and a hash of the normal form (Calico: UniqueID).
    pub fn unique_id(&self) -> String {
        let hash = Sha224::digest(format!("s:{self}"));
        format!("s:{}", URL_SAFE_NO_PAD.encode(hash))
    }
}

impl Default for Selector {
    fn default() -> Selector {
        Selector::all()
    }
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Selector, SelectorError> {
        Selector::parse(text)
    }
}

/// The normal form: one space between words, double quotes, sets in order, parentheses around each `&&` and `||`.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.expression.fmt(f)
    }
}

impl Expression {
    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        match self {
            Expression::All | Expression::Global => true,
            Expression::Has(label) => labels.contains_key(label),
            Expression::Compare(label, comparison, value) => match labels.get(label) {
                Some(actual) => comparison.holds(actual, value),
                None => *comparison == Comparison::NotEqual,
            },
            Expression::In(label, set) => labels.get(label).is_some_and(|v| set.contains(v)),
            Expression::NotIn(label, set) => labels.get(label).is_none_or(|v| !set.contains(v)),
            Expression::Not(inner) => !inner.matches(labels),
            Expression::And(all) => all.iter().all(|e| e.matches(labels)),
            Expression::Or(any) => any.iter().any(|e| e.matches(labels)),
        }
    }
}

impl Comparison {
    fn holds(self, actual: &str, value: &str) -> bool {
        match self {
            Comparison::Equal => actual == value,
            Comparison::NotEqual => actual != value,
            Comparison::Contains => actual.contains(value),
            Comparison::StartsWith => actual.starts_with(value),
            Comparison::EndsWith => actual.ends_with(value),
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Comparison::Equal => "==",
            Comparison::NotEqual => "!=",
            Comparison::Contains => "contains",
            Comparison::StartsWith => "starts with",
            Comparison::EndsWith => "ends with",
        }
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joined = |f: &mut fmt::Formatter<'_>, operands: &[Expression], operator: &str| {
            let texts: Vec<String> = operands.iter().map(ToString::to_string).collect();
            write!(f, "({})", texts.join(operator))
        };
        let set =
            |f: &mut fmt::Formatter<'_>, label: &str, operator: &str, set: &BTreeSet<String>| {
                let values: Vec<String> = set.iter().map(|v| quoted(v)).collect();
                write!(f, "{label} {operator} {{{}}}", values.join(", "))
            };
        match self {
            Expression::All => f.write_str("all()"),
            Expression::Global => f.write_str("global()"),
            Expression::Has(label) => write!(f, "has({label})"),
            Expression::Compare(label, comparison, value) => {
                write!(f, "{label} {} {}", comparison.as_str(), quoted(value))
            }
            Expression::In(label, values) => set(f, label, "in", values),
            Expression::NotIn(label, values) => set(f, label, "not in", values),
            Expression::Not(inner) => write!(f, "!{inner}"),
            Expression::And(all) => joined(f, all, " && "),
            Expression::Or(any) => joined(f, any, " || "),
        }
    }
}

/// A text has at most one kind of quotes in it, since the language has no escapes.
fn quoted(value: &str) -> String {
    let quote = if value.contains('"') { '\'' } else { '"' };
    format!("{quote}{value}{quote}")
}
