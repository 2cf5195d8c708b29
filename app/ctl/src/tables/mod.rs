//! Which columns a kind has, and what stands in them (calico-compat §5.5).

mod views;

use resource::Kind;
use serde_json::Value;

use crate::columns::align;
pub use views::view;

/// What a cell may need besides its object.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// The cluster's AS number, for nodes that have none of their own.
    pub as_number: u64,
    /// The time, for ages.
    pub now: jiff::Timestamp,
}

/// A column: its heading and what it shows of an object.
struct Column {
    heading: &'static str,
    cell: fn(&Value, &Context) -> String,
}

const fn column(heading: &'static str, cell: fn(&Value, &Context) -> String) -> Column {
    Column { heading, cell }
}

/// Which columns are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layout {
    /// The usual ones.
    Ps,
    /// More.
    Wide,
    /// These.
    Custom(Vec<String>),
}

/// Lays out objects of one kind. With `namespace` namespaced kinds show theirs.
///
/// # Errors
/// A heading that the kind does not have.
pub fn table(
    kind: Kind,
    objects: &[Value],
    layout: &Layout,
    namespace: bool,
    context: &Context,
) -> Result<String, String> {
    let view = view(kind);
    let mut headings: Vec<&str> = match layout {
        Layout::Ps => view.ps.to_vec(),
        Layout::Wide => view.wide.to_vec(),
        Layout::Custom(names) => names.iter().map(String::as_str).collect(),
    };
    if !namespace && !matches!(layout, Layout::Custom(_)) {
        headings.retain(|heading| *heading != "NAMESPACE");
    }
    let chosen: Option<Vec<&Column>> = headings
        .iter()
        .map(|heading| view.columns.iter().find(|c| c.heading == *heading))
        .collect();
    let Some(chosen) = chosen else {
        let valid: Vec<&str> = view.columns.iter().map(|c| c.heading).collect();
        return Err(format!(
            "unknown heading name, valid values are: {}",
            valid.join(", ")
        ));
    };
    let mut rows = vec![chosen.iter().map(|c| c.heading.to_string()).collect()];
    for object in objects {
        rows.push(chosen.iter().map(|c| (c.cell)(object, context)).collect());
    }
    Ok(align(&rows))
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn text(object: &Value, pointer: &str) -> String {
    object.pointer(pointer).map(shown).unwrap_or_default()
}

fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object
        .pointer(pointer)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn count(object: &Value, pointer: &str) -> String {
    list(object, pointer).len().to_string()
}

fn texts(object: &Value, pointer: &str, within: &str) -> String {
    let all: Vec<String> = list(object, pointer)
        .iter()
        .map(|v| text(v, within))
        .collect();
    all.join(",")
}

fn or(text: String, otherwise: &str) -> String {
    if text.is_empty() {
        otherwise.to_string()
    } else {
        text
    }
}

/// How long ago, as kubectl says it: `45s`, `12m`, `5h`, `3d`.
pub fn age(created: &str, now: jiff::Timestamp) -> String {
    let Ok(created) = created.parse::<jiff::Timestamp>() else {
        return "<unknown>".to_string();
    };
    let seconds = (now.as_second() - created.as_second()).max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(kind: Kind, objects: Value, layout: &Layout, namespace: bool, expected: &str) {
        let context = Context {
            as_number: 64512,
            now: "2026-11-22T23:00:00Z".parse().unwrap(),
        };
        let objects: Vec<Value> = objects.as_array().unwrap().clone();
        assert_eq!(
            table(kind, &objects, layout, namespace, &context).unwrap(),
            expected
        );
    }

    #[test]
    fn every_heading_of_a_layout_is_a_column() {
        for kind in Kind::ALL {
            let view = view(*kind);
            for heading in view.ps.iter().chain(view.wide) {
                assert!(
                    view.columns.iter().any(|c| c.heading == *heading),
                    "{kind} {heading}"
                );
            }
        }
    }

    #[test]
    fn tables_as_captured() {
        check(
            Kind::WorkloadEndpoint,
            json!([{"metadata": {"name": "node--1-cni-c0123456789ab-eth0", "namespace": "default"}, "spec": {"orchestrator": "cni", "node": "node-1", "ipNetworks": ["10.244.84.128/32"], "profiles": ["k8s-pod-network"], "interfaceName": "calic0123456789"}}]),
            &Layout::Wide,
            true,
            "\
NAMESPACE   NAME                             WORKLOAD   NODE     NETWORKS           INTERFACE         PROFILES          NATS   
default     node--1-cni-c0123456789ab-eth0              node-1   10.244.84.128/32   calic0123456789   k8s-pod-network          

",
        );
        check(
            Kind::BgpPeer,
            json!([{"metadata": {"name": "a"}, "spec": {"node": "n", "asNumber": 1, "peerIP": "::1"}}, {"metadata": {"name": "b"}, "spec": {}}]),
            &Layout::Ps,
            false,
            "\
NAME   PEERIP   NODE       ASN   
a      ::1      n          1     
b               (global)   0     

",
        );
    }

    #[test]
    fn services_look_as_with_kubectl() {
        check(
            Kind::Service,
            json!([{"metadata": {"name": "nginx", "namespace": "default", "creationTimestamp": "2026-11-22T22:50:00Z"}, "spec": {"clusterIP": "10.210.0.20", "ports": [{"port": 80}, {"port": 53, "protocol": "UDP"}], "selector": {"app": "nginx"}}}]),
            &Layout::Wide,
            false,
            "\
NAME    TYPE        CLUSTER-IP    EXTERNAL-IP   PORT(S)         AGE   SELECTOR    
nginx   ClusterIP   10.210.0.20   <none>        80/TCP,53/UDP   10m   app=nginx   

",
        );
        check(
            Kind::EndpointSlice,
            json!([{"metadata": {"name": "nginx-1"}, "addressType": "IPv4", "endpoints": [{"addresses": ["10.200.0.1"]}, {"addresses": ["10.200.0.2"]}], "ports": [{"port": 80}]}]),
            &Layout::Ps,
            false,
            "\
NAME      ADDRESSTYPE   PORTS   ENDPOINTS               AGE         
nginx-1   IPv4          80      10.200.0.1,10.200.0.2   <unknown>   

",
        );
    }

    #[test]
    fn headings_are_case_sensitive() {
        let context = Context {
            as_number: 64512,
            now: jiff::Timestamp::UNIX_EPOCH,
        };
        let custom = Layout::Custom(vec!["name".to_string()]);
        assert_eq!(
            table(Kind::IpPool, &[], &custom, false, &context).unwrap_err(),
            "unknown heading name, valid values are: NAME, CIDR, NAT, IPIPMODE, VXLANMODE, DISABLED, DISABLEBGPEXPORT, SELECTOR, ASSIGNMENTMODE"
        );
    }
}
