//! Tier (calico-compat §1.12).

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::forms::go_float;
use crate::validate::FieldError;
use crate::validate::checks::{Checks, LABEL, is_label};
use crate::{Key, Kind, Object, Spec};

/// A step in the order of policies.
pub type Tier = Object<TierSpec>;

/// Its place, and what becomes of what no policy in it decides.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TierSpec {
    /// Lower comes first; none comes last.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "go_float")]
    pub order: Option<f64>,
    /// `Deny` or `Pass`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_action: Option<String>,
}

/// What is said of it; written as `{}` when empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TierStatus {
    /// Kubernetes' conditions, as they came.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Value>,
}

/// The tiers that every cluster has, in the order in which they are made: name, order, default action.
pub const BUILT_IN_TIERS: [(&str, f64, &str); 3] = [
    ("default", 1_000_000.0, "Deny"),
    ("kube-admin", 1_000.0, "Pass"),
    ("kube-baseline", 10_000_000.0, "Pass"),
];

const NAME_MAX: usize = 63;

impl Spec for TierSpec {
    const KIND: Kind = Kind::Tier;
    type Status = TierStatus;

    fn set_defaults(tier: &mut Tier) {
        tier.spec
            .default_action
            .get_or_insert_with(|| "Deny".to_string());
    }

    /// Tiers of older versions say nothing of it.
    fn complete(tier: &mut Tier) {
        let name = tier.metadata.name.as_str();
        let built_in = BUILT_IN_TIERS
            .iter()
            .find(|(built_in, ..)| *built_in == name);
        let action = built_in.map_or("Deny", |(_, _, action)| *action);
        tier.spec
            .default_action
            .get_or_insert_with(|| action.to_string());
    }

    fn validate(tier: &Tier) -> Vec<FieldError> {
        let (name, spec) = (tier.metadata.name.as_str(), &tier.spec);
        let action = spec.default_action.as_deref();
        let mut checks = Checks::default();
        checks.tag("DefaultAction", action.unwrap_or_default(), "oneof", |v| {
            ["Deny", "Pass"].contains(&v)
        });
        if name.len() > NAME_MAX {
            let reason = format!("name is too long by {} bytes", name.len() - NAME_MAX);
            checks.rule(true, "Metadata.Name", name, &reason);
        }
        checks.rule(!is_label(name), "Metadata.Name", name, LABEL);
        let built_in = BUILT_IN_TIERS
            .iter()
            .find(|(built_in, ..)| *built_in == name);
        if let Some((_, order, default_action)) = built_in {
            if spec.order != Some(*order) {
                let value = spec.order.map_or("<nil>".to_string(), go_float_text);
                let reason = format!("{name} tier order must be {}", go_float_text(*order));
                checks.rule(true, "TierSpec.Order", value, &reason);
            }
            if action.unwrap_or("Deny") != *default_action {
                checks.fields.push(FieldError::without_value(
                    "Tier",
                    format!("The '{name}' tier must have default action '{default_action}'"),
                ));
            }
        }
        checks.supported("spec.defaultAction", action, &["Pass", "Deny"]);
        checks.fields
    }

    fn refuse_delete(key: &Key) -> Option<String> {
        let Key::Resource { name, .. } = key else {
            return None;
        };
        BUILT_IN_TIERS
            .iter()
            .any(|(built_in, ..)| built_in == name)
            .then(|| {
                format!("operation Delete is not supported on {name}: Cannot delete {name} tier")
            })
    }
}

/// A number as Go prints it: `1e+06`, `10.5`, `1000`.
pub fn go_float_text(number: f64) -> String {
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>() {
        Ok(exponent) if !(-4..6).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.abs())
        }
        _ => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_printed_as_by_go() {
        for (number, text) in [
            (1000.0, "1000"),
            (1_000_000.0, "1e+06"),
            (10_000_000.0, "1e+07"),
            (1_234_567.0, "1.234567e+06"),
            (100_000.0, "100000"),
            (10.5, "10.5"),
            (-2.0, "-2"),
            (0.0, "0"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
        ] {
            assert_eq!(go_float_text(number), text);
        }
    }
}
