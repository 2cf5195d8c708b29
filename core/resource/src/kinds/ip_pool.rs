//! IPPool (calico-compat §1.5).

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::spec::{Need, Others};
use crate::validate::FieldError;
use crate::validate::checks::{Checks, go_list, is_net, unsupported};
use crate::{Kind, Object, Spec};

/// A pool of addresses for workloads and tunnels.
pub type IpPool = Object<IpPoolSpec>;

/// When to encapsulate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum EncapMode {
    /// Never.
    #[default]
    Never,
    /// Always.
    Always,
    /// Only to nodes outside the own subnet.
    CrossSubnet,
}

/// What a pool is and for whom. Defaults are written when it is created.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IpPoolSpec {
    /// The range, strictly masked; it never changes.
    #[serde(default)]
    pub cidr: String,
    /// VXLAN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vxlan_mode: Option<EncapMode>,
    /// IP-in-IP; IPv4 only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipip_mode: Option<EncapMode>,
    /// Masquerade what leaves for addresses outside all pools.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub nat_outgoing: bool,
    /// No new allocations.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
    /// Not told to BGP peers.
    #[serde(
        default,
        skip_serializing_if = "std::ops::Not::not",
        rename = "disableBGPExport"
    )]
    pub disable_bgp_export: bool,
    /// Prefix length of its blocks: 20 to 32, 116 to 128 for IPv6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block_size: Option<u8>,
    /// The nodes that may take blocks.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub node_selector: String,
    /// The namespaces whose pods may use it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace_selector: String,
    /// `Workload`, `Tunnel`, `LoadBalancer`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_uses: Vec<String>,
    /// `Automatic` or `Manual`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assignment_mode: Option<String>,
}

/// What the cluster says of a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IpPoolStatus {
    /// Kubernetes' conditions, as they came.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Value>,
}

impl Spec for IpPoolSpec {
    const KIND: Kind = Kind::IpPool;
    type Status = IpPoolStatus;

    /// Only Kubernetes' API says something of pools.
    fn shows(status: &IpPoolStatus) -> bool {
        *status != IpPoolStatus::default()
    }

    fn set_defaults(pool: &mut IpPool) {
        set_defaults(&mut pool.spec);
    }

    /// Pools that were written before a field was there read as if it had its default.
    fn complete(pool: &mut IpPool) {
        set_defaults(&mut pool.spec);
    }

    fn validate(pool: &IpPool) -> Vec<FieldError> {
        rules(&pool.spec)
    }

    fn needs(_pool: &IpPool, creates: bool) -> Vec<Need> {
        if creates {
            vec![Need::Pools, Need::Blocks]
        } else {
            Vec::new()
        }
    }

    fn check(pool: &IpPool, stored: Option<&IpPool>, others: &Others<'_>) -> Vec<FieldError> {
        check(pool, stored, others)
    }

    fn take_unfit(document: &mut Value) -> Vec<FieldError> {
        take_unknown_modes(document)
    }
}

const LOAD_BALANCER: &str = "LoadBalancer";
const MODES: [&str; 3] = ["Never", "Always", "CrossSubnet"];
const TOO_SMALL: &str = "IP pool size is too small for use with Calico IPAM. It must be equal to or greater than the block size.";

/// Takes modes out of a pool's document that there are not, with calicoctl's words for them: the type of a mode has no
/// place for them, and calicoctl refuses the one pool, not the file.
fn take_unknown_modes(document: &mut Value) -> Vec<FieldError> {
    let Some(Value::Object(spec)) = document.get_mut("spec") else {
        return Vec::new();
    };
    let mut tags = Vec::new();
    let mut schema = Vec::new();
    for (key, field, tag) in [
        ("vxlanMode", "VXLANMode", "vxlanMode"),
        ("ipipMode", "IPIPMode", "ipIpMode"),
    ] {
        let Some(mode) = spec.get(key).and_then(Value::as_str) else {
            continue;
        };
        if mode.is_empty() {
            spec.shift_remove(key);
        } else if !MODES.contains(&mode) {
            tags.push(FieldError::tag(field, mode, tag));
            schema.push(unsupported(&format!("spec.{key}"), &MODES));
            spec.shift_remove(key);
        }
    }
    tags.extend(schema);
    tags
}

fn set_defaults(spec: &mut IpPoolSpec) {
    let Ok(cidr) = spec.cidr.parse::<IpNet>() else {
        return;
    };
    spec.vxlan_mode.get_or_insert(EncapMode::Never);
    spec.ipip_mode.get_or_insert(EncapMode::Never);
    if spec.block_size.is_none_or(|size| size == 0) {
        spec.block_size = Some(if is_v4(&cidr) { 26 } else { 122 });
    }
    if spec.node_selector.is_empty() {
        spec.node_selector = "all()".to_string();
    }
    if spec.allowed_uses.is_empty() {
        spec.allowed_uses = vec!["Workload".to_string(), "Tunnel".to_string()];
    }
    spec.assignment_mode
        .get_or_insert_with(|| "Automatic".to_string());
    // Only a masked CIDR is normalised here; another is refused, and shown as it is.
    if cidr == cidr.trunc() {
        spec.cidr = cidr.to_string();
    }
}

fn has_use(spec: &IpPoolSpec, name: &str) -> bool {
    spec.allowed_uses.iter().any(|allowed| allowed == name)
}

fn is_v4(cidr: &IpNet) -> bool {
    matches!(cidr, IpNet::V4(_))
}

fn mode(mode: Option<EncapMode>) -> &'static str {
    match mode.unwrap_or_default() {
        EncapMode::Never => "Never",
        EncapMode::Always => "Always",
        EncapMode::CrossSubnet => "CrossSubnet",
    }
}

/// The library's checks; `stored` is `None` on create. The pool has its defaults.
fn check(pool: &IpPool, stored: Option<&IpPool>, context: &Others<'_>) -> Vec<FieldError> {
    const CIDR: &str = "IPPool.Spec.CIDR";
    const BLOCK_SIZE: &str = "IPPool.Spec.BlockSize";
    let spec = &pool.spec;
    if spec.cidr.is_empty() {
        return vec![FieldError::without_value(
            CIDR,
            "IPPool CIDR must be specified",
        )];
    }
    let Ok(cidr) = spec.cidr.parse::<IpNet>() else {
        return vec![FieldError::new(
            CIDR,
            &spec.cidr,
            "IPPool CIDR must be a valid subnet",
        )];
    };
    let masked = cidr.trunc();
    let mut fields = Vec::new();
    match stored {
        None => fields.extend(overlap(pool, &masked, context.pools)),
        Some(stored)
            if stored.spec.cidr.parse::<IpNet>().ok().map(|c| c.trunc()) != Some(masked) =>
        {
            fields.push(FieldError::new(
                CIDR,
                masked.to_string(),
                "IPPool CIDR cannot be modified",
            ));
        }
        Some(_) => (),
    }
    fields.extend(shape(
        spec,
        &cidr,
        [
            "IPPool.Spec.VXLANMode",
            "IPPool.Spec.IPIPMode",
            BLOCK_SIZE,
            CIDR,
        ],
        "IPPool CIDR",
    ));
    // Services have its addresses: it stays theirs.
    if stored.is_some_and(|stored| has_use(&stored.spec, LOAD_BALANCER))
        && !has_use(spec, LOAD_BALANCER)
    {
        fields.push(FieldError::new(
            "IPPool.Spec.AllowedUses",
            go_list(&spec.allowed_uses),
            "IPPool AllowedUses cannot be changed away from LoadBalancer",
        ));
    }
    let size = spec.block_size.unwrap_or_default();
    match stored {
        Some(stored) if stored.spec.block_size.is_some_and(|s| s != size) => {
            fields.push(FieldError::new(
                BLOCK_SIZE,
                size.to_string(),
                "IPPool BlockSize cannot be modified",
            ));
        }
        Some(_) => (),
        None => {
            let other = |block: &&IpNet| masked.contains(*block) && block.prefix_len() != size;
            if context.blocks.iter().any(|block| other(&block)) {
                fields.push(FieldError::new(
                    BLOCK_SIZE,
                    size.to_string(),
                    "IPPool blocksSize conflicts with existing allocations that use a different blockSize",
                ));
            }
        }
    }
    fields
}

fn overlap(pool: &IpPool, cidr: &IpNet, pools: &[IpPool]) -> Option<FieldError> {
    let (other, other_cidr) = pools
        .iter()
        .filter(|other| other.metadata.name != pool.metadata.name)
        .filter_map(|other| Some((other, other.spec.cidr.parse::<IpNet>().ok()?)))
        .find(|(_, other)| other.contains(cidr) || cidr.contains(other))?;
    Some(FieldError::new(
        "IPPool.Spec.CIDR",
        cidr.to_string(),
        format!(
            "IPPool({}) CIDR overlaps with IPPool({}) CIDR {other_cidr}",
            pool.metadata.name, other.metadata.name
        ),
    ))
}

/// The rules that library and validator share. They name fields and the pool in their own ways.
fn shape(spec: &IpPoolSpec, cidr: &IpNet, names: [&str; 4], what: &str) -> Vec<FieldError> {
    let [vxlan_field, ipip_field, size_field, cidr_field] = names;
    let mut fields = Vec::new();
    let on = |m: Option<EncapMode>| m.unwrap_or_default() != EncapMode::Never;
    let (vxlan, ipip) = (on(spec.vxlan_mode), on(spec.ipip_mode));
    if vxlan && ipip {
        fields.push(FieldError::new(
            vxlan_field,
            mode(spec.vxlan_mode),
            "Cannot enable both VXLAN and IPIP on the same IPPool",
        ));
    }
    let (family, range, link_local) = if is_v4(cidr) {
        ("IPv4", 20..=32, "169.254.0.0/16")
    } else {
        ("IPv6", 116..=128, "fe80::/10")
    };
    if ipip && family == "IPv6" {
        fields.push(FieldError::new(
            ipip_field,
            mode(spec.ipip_mode),
            "IPIP is not supported on an IPv6 IP pool",
        ));
    }
    let size = spec
        .block_size
        .filter(|s| *s != 0)
        .unwrap_or(if family == "IPv4" { 26 } else { 122 });
    if !range.contains(&size) {
        fields.push(FieldError::new(
            size_field,
            size.to_string(),
            format!(
                "{family} block size must be between {} and {}",
                range.start(),
                range.end()
            ),
        ));
    } else if !spec.disabled && cidr.prefix_len() > size {
        fields.push(FieldError::new(
            cidr_field,
            cidr.trunc().to_string(),
            TOO_SMALL,
        ));
    }
    if *cidr != cidr.trunc() {
        fields.push(FieldError::new(
            cidr_field,
            cidr.trunc().to_string(),
            format!("{what} is not strictly masked"),
        ));
    }
    // The validator has another word here.
    let what = what.replace("IP pool CIDR", "IP pool range");
    let local: IpNet = link_local.parse().expect("a constant network");
    if local.contains(cidr) || cidr.contains(&local) {
        fields.push(FieldError::new(
            cidr_field,
            cidr.trunc().to_string(),
            format!("{what} overlaps with {family} Link Local range {link_local}"),
        ));
    }
    fields
}

/// The validator's checks.
fn rules(spec: &IpPoolSpec) -> Vec<FieldError> {
    let mut checks = Checks::default();
    if !is_net(&spec.cidr) {
        checks
            .fields
            .push(FieldError::tag("CIDR", &spec.cidr, "net"));
    }
    checks.selector("NodeSelector", "spec.nodeSelector", &spec.node_selector);
    checks.selector(
        "NamespaceSelector",
        "spec.namespaceSelector",
        &spec.namespace_selector,
    );
    let assignment = spec.assignment_mode.as_deref();
    checks.tag(
        "AssignmentMode",
        assignment.unwrap_or_default(),
        "assignmentMode",
        |v| ["Automatic", "Manual"].contains(&v),
    );
    if let Ok(cidr) = spec.cidr.parse::<IpNet>() {
        checks.fields.extend(shape(
            spec,
            &cidr,
            [
                "IPpool.VXLANMode",
                "IPpool.IPIPMode",
                "IPpool.BlockSize",
                "IPpool.CIDR",
            ],
            "IP pool CIDR",
        ));
    }
    uses(spec, &mut checks);
    checks.supported("spec.assignmentMode", assignment, &["Automatic", "Manual"]);
    checks.fields
}

fn uses(spec: &IpPoolSpec, checks: &mut Checks) {
    let has = |name: &str| has_use(spec, name);
    const USES: [&str; 3] = ["Workload", "Tunnel", LOAD_BALANCER];
    for (i, allowed) in spec.allowed_uses.iter().enumerate() {
        checks.rule(
            !USES.contains(&allowed.as_str()),
            "IPpool.AllowedUses",
            go_list(&spec.allowed_uses),
            &format!("unknown use: {allowed}"),
        );
        checks.supported(&format!("spec.allowedUses[{i}]"), Some(allowed), &USES);
    }
    let on = |m: Option<EncapMode>| m.unwrap_or_default() != EncapMode::Never;
    let balancer = has(LOAD_BALANCER);
    let others = ["Workload", "Tunnel"].into_iter().filter(|name| has(name));
    let others: Vec<String> = others.map(String::from).collect();
    let (mixed, encapsulated) = (
        balancer && !others.is_empty(),
        balancer && (on(spec.ipip_mode) || on(spec.vxlan_mode)),
    );
    for (wrong, field, value, reason) in [
        (
            mixed,
            "AllowedUses",
            go_list(&spec.allowed_uses),
            format!("LoadBalancer cannot be used at the same time as: {}", others.join(", ")),
        ),
        (
            encapsulated,
            "IPIPMode",
            mode(spec.ipip_mode).to_string(),
            "Neither IPIPMode nor VXLANMode can be enabled on AllowedUses LoadBalancer IP pool".to_string(),
        ),
        (
            balancer && spec.disable_bgp_export,
            "DisableBGPExport",
            spec.cidr.clone(),
            // It means false.
            "IP Pool with AllowedUse LoadBalancer must have DisableBGPExport set to true".to_string(),
        ),
        (
            balancer && !["", "all()"].contains(&spec.node_selector.as_str()),
            "NodeSelector",
            spec.cidr.clone(),
            "IP Pool with AllowedUse LoadBalancer must have node selector set to all()".to_string(),
        ),
        (
            has("Tunnel") && !spec.namespace_selector.is_empty() && !has("Workload"),
            "NamespaceSelector",
            spec.namespace_selector.clone(),
            "IP Pool with AllowedUse Tunnel cannot have namespaceSelector specified - tunnel IPs are not namespaced resources".to_string(),
        ),
    ] {
        checks.rule(wrong, &format!("IPpool.{field}"), value, &reason);
    }
    checks.spec(
        mixed,
        "LoadBalancer cannot be combined with Workload or Tunnel allowed uses",
    );
    checks.spec(
        encapsulated,
        "LoadBalancer IP pool cannot have IPIP or VXLAN enabled",
    );
    if spec.node_selector.contains("global(") {
        let reason = "global() cannot be used in an IPPool nodeSelector";
        checks
            .fields
            .push(FieldError::new("NodeSelector", &spec.node_selector, reason));
    }
}
