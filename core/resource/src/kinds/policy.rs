//! What the four kinds of policies have in common (calico-compat §1.11).

use serde_json::{Value, json};

use super::rule::{self, GLOBAL, GLOBAL_ELSEWHERE, Rule};
use crate::spec::Need;
use crate::validate::FieldError;
use crate::validate::checks::{Checks, LABEL, go_list, is_label, is_name};
use crate::{Key, Kind, Metadata, Object, Spec};

/// The label that says in which tier a policy is.
pub const TIER_LABEL: &str = "projectcalico.org/tier";
/// The annotation in which a policy's own name is stored, and that nobody sees.
const METADATA_ANNOTATION: &str = "projectcalico.org/metadata";
const DEFAULT_TIER: &str = "default";
/// Before version 3.30 policies of the default tier were stored under their names with this before.
const OLD_PREFIX: &str = "default.";

/// The spec of a kind of policy: the fields that all have in Calico's order, and among them those of the kind.
macro_rules! policy_spec {
    (
        $(#[$about:meta])*
        pub struct $name:ident;
        first { $($first:tt)* }
        after types { $($after_types:tt)* }
        after service accounts { $($after_accounts:tt)* }
    ) => {
        $(#[$about])*
        #[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        pub struct $name {
            $($first)*
            /// Its tier, which must be there.
            #[serde(default, skip_serializing_if = "String::is_empty")]
            pub tier: String,
            /// Its place in the tier; lower comes first, none comes last.
            #[serde(
                default,
                skip_serializing_if = "Option::is_none",
                with = "super::forms::go_float"
            )]
            pub order: Option<f64>,
            /// Rules for what comes in, in order.
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            pub ingress: Vec<super::rule::Rule>,
            /// Rules for what goes out, in order.
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            pub egress: Vec<super::rule::Rule>,
            /// The endpoints that it is about; empty means all.
            #[serde(default, skip_serializing_if = "String::is_empty")]
            pub selector: String,
            /// `Ingress`, `Egress`.
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            pub types: Vec<String>,
            $($after_types)*
            /// The service accounts of its pods.
            #[serde(default, skip_serializing_if = "String::is_empty")]
            pub service_account_selector: String,
            $($after_accounts)*
            /// `AssumeNeededOnEveryNode`.
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            pub performance_hints: Vec<String>,
        }

        impl super::policy::Policy for $name {
            fn common(&self) -> super::policy::Common<'_> {
                super::policy::Common {
                    tier: &self.tier,
                    ingress: &self.ingress,
                    egress: &self.egress,
                    selector: &self.selector,
                    types: &self.types,
                    service_account_selector: &self.service_account_selector,
                    performance_hints: &self.performance_hints,
                }
            }

            fn tier_and_types(&mut self) -> (&mut String, &mut Vec<String>) {
                (&mut self.tier, &mut self.types)
            }
        }
    };
}
pub(super) use policy_spec;

/// The methods of Spec that are the same for all policies: how they come from the store and go there.
macro_rules! policy_storage {
    () => {
        fn complete(policy: &mut Object<Self>) {
            policy::show_name(&mut policy.metadata, &policy.spec.tier);
        }

        fn prepare(policy: &mut Object<Self>) {
            policy::hide_name(&mut policy.metadata);
        }

        fn old_key(key: &Key) -> Option<Key> {
            policy::old_key(key)
        }

        fn needs(policy: &Object<Self>, creates: bool) -> Vec<Need> {
            policy::needs(policy, creates)
        }
    };
}
pub(super) use policy_storage;

/// The fields that all policies have.
pub(super) struct Common<'a> {
    pub(super) tier: &'a str,
    pub(super) ingress: &'a [Rule],
    pub(super) egress: &'a [Rule],
    pub(super) selector: &'a str,
    pub(super) types: &'a [String],
    pub(super) service_account_selector: &'a str,
    pub(super) performance_hints: &'a [String],
}

/// A spec that is a policy's.
pub(super) trait Policy: Spec {
    /// The fields that all have.
    fn common(&self) -> Common<'_>;

    /// Those that have defaults.
    fn tier_and_types(&mut self) -> (&mut String, &mut Vec<String>);
}

/// The defaults of tier and types, and the tier's label. Without types a policy is about what it has rules for, and about ingress where
/// it has none.
pub(super) fn set_defaults<S: Policy>(policy: &mut Object<S>) {
    let common = policy.spec.common();
    let (ingress, egress) = (!common.ingress.is_empty(), !common.egress.is_empty());
    let (tier, types) = policy.spec.tier_and_types();
    if tier.is_empty() {
        *tier = DEFAULT_TIER.to_string();
    }
    if types.is_empty() {
        let derived: &[&str] = match (ingress, egress) {
            (_, false) => &["Ingress"],
            (false, true) => &["Egress"],
            (true, true) => &["Ingress", "Egress"],
        };
        *types = derived.iter().map(ToString::to_string).collect();
    }
    label(&mut policy.metadata, tier);
}

/// The same for a staged policy, whose action has a default too.
pub(super) fn set_staged_defaults<S: Policy>(
    policy: &mut Object<S>,
    action: fn(&mut S) -> &mut String,
) {
    let action = action(&mut policy.spec);
    if action.is_empty() {
        *action = "Set".to_string();
    }
    // What only says that a policy goes has nothing else to say.
    let deletes = action == "Delete" && policy.spec.common().types.is_empty();
    set_defaults(policy);
    if deletes {
        policy.spec.tier_and_types().1.clear();
    }
}

/// Labels a policy with its tier.
fn label(metadata: &mut Metadata, tier: &str) {
    metadata
        .labels
        .insert(TIER_LABEL.to_string(), tier.to_string());
}

/// Puts the name that people know into the annotation, as it goes to the store.
pub(super) fn hide_name(metadata: &mut Metadata) {
    let name = json!({"name": metadata.name}).to_string();
    metadata
        .annotations
        .insert(METADATA_ANNOTATION.to_string(), name);
}

/// Takes the name out of the annotation again; without one it is an older version's, whose names in the default tier
/// begin with `default.`. Labels the policy where it is not.
pub(super) fn show_name(metadata: &mut Metadata, tier: &str) {
    let hidden = metadata.annotations.remove(METADATA_ANNOTATION);
    let named = hidden.and_then(|text| serde_json::from_str::<Value>(&text).ok());
    let name = named
        .as_ref()
        .and_then(|v| v.get("name"))
        .and_then(Value::as_str);
    if let Some(name) = name {
        metadata.name = name.to_string();
    } else if ["", DEFAULT_TIER].contains(&tier)
        && let Some(name) = metadata.name.strip_prefix(OLD_PREFIX)
    {
        metadata.name = name.to_string();
    }
    metadata
        .labels
        .entry(TIER_LABEL.to_string())
        .or_insert_with(|| DEFAULT_TIER.to_string());
}

/// Where an older version stored what is at this key now.
pub(super) fn old_key(key: &Key) -> Option<Key> {
    let Key::Resource {
        kind,
        namespace,
        name,
    } = key
    else {
        return None;
    };
    Some(Key::Resource {
        kind: *kind,
        namespace: namespace.clone(),
        name: format!("{OLD_PREFIX}{name}"),
    })
}

/// A new policy's tier must be there.
pub(super) fn needs<S: Policy>(policy: &Object<S>, creates: bool) -> Vec<Need> {
    let tier = policy.spec.common().tier;
    let tier = if tier.is_empty() { DEFAULT_TIER } else { tier };
    if creates {
        vec![Need::Present(Key::cluster(Kind::Tier, tier))]
    } else {
        Vec::new()
    }
}

/// The checks on each field that all policies have, in the fields' order; `between` are those of the kind that come before the
/// hints.
pub(super) fn fields<S: Policy>(
    policy: &Object<S>,
    between: impl FnOnce(&mut Checks),
    checks: &mut Checks,
) {
    let common = policy.spec.common();
    checks.tag("Tier", common.tier, "name", is_name);
    rule::validate(common.ingress, checks);
    rule::validate(common.egress, checks);
    checks.selector_tag("Selector", common.selector);
    for (i, policy_type) in common.types.iter().enumerate() {
        checks.item("Types", i, policy_type, "policyType", |v| {
            ["Ingress", "Egress"].contains(&v)
        });
    }
    checks.selector_tag("ServiceAccountSelector", common.service_account_selector);
    between(checks);
    let hints = common.performance_hints;
    for (i, hint) in hints.iter().enumerate() {
        if hints[..i].contains(hint) {
            let all = go_list(hints);
            checks
                .fields
                .push(FieldError::tag("PerformanceHints", all, "unique"));
            break;
        }
    }
    for (i, hint) in hints.iter().enumerate() {
        checks.item("PerformanceHints", i, hint, "oneof", |v| {
            v == "AssumeNeededOnEveryNode"
        });
    }
}

/// The checks between fields that all policies have; `of` is the spec's name in messages.
pub(super) fn between_fields<S: Policy>(
    policy: &Object<S>,
    of: &str,
    global: bool,
    checks: &mut Checks,
) {
    let common = policy.spec.common();
    for (i, policy_type) in common.types.iter().enumerate() {
        if common.types[..i].contains(policy_type) {
            let all = go_list(common.types);
            let reason = format!("'{policy_type}' type specified more than once");
            checks.rule(true, &format!("{of}.Types"), all, &reason);
        }
    }
    for rule in common.egress {
        let source = rule.source.services.as_ref();
        checks.rule(
            source.is_some(),
            "Services",
            services(source),
            "not allowed in egress rule source",
        );
        if let Some(http) = &rule.http {
            let rules = if global { "rules" } else { "rule" };
            checks.rule(
                true,
                "HTTP",
                http.to_string(),
                &format!("not allowed in egress {rules}"),
            );
        }
    }
    for rule in common.ingress {
        let destination = rule.destination.services.as_ref();
        let reason = "not allowed in ingress rule destination";
        checks.rule(
            destination.is_some(),
            "Services",
            services(destination),
            reason,
        );
    }
    if global {
        let unplaced = |service: &Option<rule::ServiceMatch>| {
            service.as_ref().is_some_and(|s| s.namespace.is_empty())
        };
        for rule in common.egress {
            let wrong = unplaced(&rule.destination.services);
            checks.rule(wrong, "Namespace", "", "must specify a namespace");
        }
        for rule in common.ingress {
            let wrong = unplaced(&rule.source.services);
            checks.rule(wrong, "Namespace", "", "must specify a namespace");
        }
    }
    for (field, selector) in [
        ("Selector", common.selector),
        ("ServiceAccountSelector", common.service_account_selector),
    ] {
        // Of a global policy Calico shows the selector for both.
        let shown = if global { common.selector } else { selector };
        let wrong = selector.contains(GLOBAL);
        checks.rule(wrong, &format!("{of}.{field}"), shown, GLOBAL_ELSEWHERE);
    }
}

fn services(services: Option<&rule::ServiceMatch>) -> String {
    services.map_or(String::new(), |s| {
        format!("&{{{} {}}}", s.name, s.namespace)
    })
}

/// The rules of the CRD's schema that all policies have.
pub(super) fn schema<S: Policy>(policy: &Object<S>, checks: &mut Checks) {
    let common = policy.spec.common();
    rule::schema("spec.egress", common.egress, checks);
    rule::schema("spec.ingress", common.ingress, checks);
    for (i, hint) in common.performance_hints.iter().enumerate() {
        let path = format!("spec.performanceHints[{i}]");
        checks.supported(&path, Some(hint), &["AssumeNeededOnEveryNode"]);
    }
    checks.max_items("spec.types", common.types.len(), 2);
    for (i, policy_type) in common.types.iter().enumerate() {
        checks.supported(
            &format!("spec.types[{i}]"),
            Some(policy_type),
            &["Ingress", "Egress"],
        );
    }
}

/// A name of one label, or of two with a dot; in namespaces also `knp.default.` and a name.
pub(super) fn name(name: &str, namespaced: bool, checks: &mut Checks) {
    let reserved = ["knp.default.", "ossg.default."];
    let foreign = reserved.iter().find_map(|prefix| name.strip_prefix(prefix));
    let own = match name.split_once('.') {
        Some((tier, name)) => is_label(tier) && is_label(name),
        None => is_label(name),
    };
    let holds = own || namespaced && foreign.is_some_and(is_name);
    checks.rule(!holds, "Metadata.Name", name, LABEL);
}

/// What a staged policy does with the one it stands for.
pub(super) fn staged_action(action: &str, checks: &mut Checks) {
    checks.tag("StagedAction", action, "stagedAction", is_staged_action);
}

fn is_staged_action(action: &str) -> bool {
    STAGED_ACTIONS.contains(&action)
}

pub(super) const STAGED_ACTIONS: [&str; 4] = ["Set", "Delete", "Learn", "Ignore"];

/// The fields that only global policies have.
pub(super) struct Global<'a> {
    pub(super) do_not_track: bool,
    pub(super) pre_dnat: bool,
    pub(super) apply_on_forward: bool,
    pub(super) namespace_selector: &'a str,
}

/// The checks between the fields of a global policy.
pub(super) fn global_rules<S: Policy>(
    policy: &Object<S>,
    global: &Global<'_>,
    checks: &mut Checks,
) {
    let common = policy.spec.common();
    let Global {
        do_not_track,
        pre_dnat,
        apply_on_forward,
        namespace_selector,
    } = *global;
    checks.rule(
        pre_dnat && do_not_track,
        "PolicySpec.PreDNAT",
        "true",
        "PreDNAT and DoNotTrack cannot both be true, for a given PolicySpec",
    );
    checks.rule(
        pre_dnat && !common.egress.is_empty(),
        "PolicySpec.Egress",
        "[...]",
        "PreDNAT PolicySpec cannot have any Egress rules",
    );
    checks.rule(
        pre_dnat && common.types.iter().any(|t| t == "Egress"),
        "PolicySpec.Types",
        go_list(common.types),
        "PreDNAT PolicySpec cannot have 'egress' Type",
    );
    checks.rule(
        !apply_on_forward && (pre_dnat || do_not_track),
        "PolicySpec.ApplyOnForward",
        "false",
        "ApplyOnForward must be true if either PreDNAT or DoNotTrack is true, for a given PolicySpec",
    );
    between_fields(policy, "GlobalNetworkPolicySpec", true, checks);
    checks.rule(
        namespace_selector.contains(GLOBAL),
        "GlobalNetworkPolicySpec.NamespaceSelector",
        common.selector,
        GLOBAL_ELSEWHERE,
    );
}

/// The rules of the CRD's schema between the fields of a global policy.
pub(super) fn global_schema<S: Policy>(
    policy: &Object<S>,
    global: &Global<'_>,
    checks: &mut Checks,
) {
    let common = policy.spec.common();
    let Global {
        do_not_track,
        pre_dnat,
        apply_on_forward,
        ..
    } = *global;
    for (wrong, reason) in [
        (
            pre_dnat && do_not_track,
            "preDNAT and doNotTrack cannot both be true",
        ),
        (
            pre_dnat && !common.egress.is_empty(),
            "preDNAT policy cannot have any egress rules",
        ),
        (
            pre_dnat && common.types.iter().any(|t| t == "Egress"),
            "preDNAT policy cannot have 'Egress' type",
        ),
        (
            !apply_on_forward && (do_not_track || pre_dnat),
            "applyOnForward must be true if either preDNAT or doNotTrack is true",
        ),
    ] {
        checks.spec(wrong, reason);
    }
}
