//! Tiers and policies.

use super::*;

const ORDER: Column = column("ORDER", |o, _| {
    let order = o.pointer("/spec/order").and_then(Value::as_f64);
    order.map_or("<nil>".to_string(), go_float_text)
});

/// Where a tier stands: without an order at the end.
fn order(tier: &Value) -> f64 {
    let order = tier.pointer("/spec/order").and_then(Value::as_f64);
    order.unwrap_or(f64::INFINITY)
}

pub(super) const TIER: View = View {
    words: &[],
    rank: Some(order),
    in_calicoctl: true,
    columns: &[NAME, ORDER],
    ps: &["NAME", "ORDER"],
    wide: &["NAME", "ORDER"],
};

pub(super) const GLOBAL_NETWORK_POLICY: View = View {
    words: &["gnp", "gnps"],
    rank: None,
    in_calicoctl: true,
    columns: &[
        NAME,
        column("TIER", |o, _| text(o, "/spec/tier")),
        ORDER,
        column("SELECTOR", |o, _| text(o, "/spec/selector")),
    ],
    ps: &["NAME", "TIER"],
    wide: &["NAME", "TIER", "ORDER", "SELECTOR"],
};

pub(super) const NETWORK_POLICY: View = View {
    words: &["policy", "policies", "np", "pol", "pols"],
    rank: None,
    in_calicoctl: true,
    columns: &[
        NAMESPACE,
        NAME,
        column("TIER", |o, _| text(o, "/spec/tier")),
        ORDER,
        column("SELECTOR", |o, _| text(o, "/spec/selector")),
    ],
    ps: &["NAMESPACE", "NAME", "TIER"],
    wide: &["NAMESPACE", "NAME", "TIER", "ORDER", "SELECTOR"],
};

pub(super) const STAGED_GLOBAL_NETWORK_POLICY: View = View {
    words: &["sgnp", "sgnps"],
    rank: None,
    in_calicoctl: true,
    columns: &[
        NAME,
        column("TIER", |o, _| text(o, "/spec/tier")),
        ORDER,
        column("SELECTOR", |o, _| text(o, "/spec/selector")),
    ],
    ps: &["NAME", "TIER"],
    wide: &["NAME", "TIER", "ORDER", "SELECTOR"],
};

pub(super) const STAGED_NETWORK_POLICY: View = View {
    words: &[
        "stagedpolicy",
        "stagedpolicies",
        "snp",
        "snps",
        "spol",
        "spols",
    ],
    rank: None,
    in_calicoctl: true,
    columns: &[
        NAMESPACE,
        NAME,
        column("TIER", |o, _| text(o, "/spec/tier")),
        ORDER,
        column("SELECTOR", |o, _| text(o, "/spec/selector")),
    ],
    ps: &["NAMESPACE", "NAME", "TIER"],
    wide: &["NAMESPACE", "NAME", "TIER", "ORDER", "SELECTOR"],
};

pub(super) const STAGED_KUBERNETES_NETWORK_POLICY: View = View {
    words: &[
        "stagedkubernetespolicy",
        "stagedkubernetespolicies",
        "sknp",
        "sknps",
        "skpol",
        "skpols",
    ],
    rank: None,
    in_calicoctl: true,
    columns: &[
        NAMESPACE,
        NAME,
        column("PODSELECTOR", |o, _| pod_selector(o)),
    ],
    ps: &["NAMESPACE", "NAME"],
    wide: &["NAMESPACE", "NAME", "PODSELECTOR"],
};
