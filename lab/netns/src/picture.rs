//! A picture of the LANs in text.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::Ipv4Addr;

use crate::plan::{HostPlan, Plan};

/// Draws each LAN with its hosts, and pods under their nodes.
pub fn picture(plan: &Plan, pods: &BTreeMap<String, Ipv4Addr>) -> String {
    let mut text = String::new();
    for lan in &plan.lans {
        let on_lan: Vec<&HostPlan> = plan
            .hosts
            .iter()
            .filter(|host| host.nics.iter().any(|nic| nic.lan == *lan))
            .collect();
        let subnet = on_lan
            .first()
            .and_then(|host| host.nics.iter().find(|nic| nic.lan == *lan))
            .map(|nic| nic.address.trunc());
        let subnet = subnet.map(|subnet| subnet.to_string()).unwrap_or_default();
        let _ = writeln!(text, "== {lan} {subnet} ==");
        for (number, host) in on_lan.iter().enumerate() {
            let last = number + 1 == on_lan.len();
            draw_host(&mut text, plan, lan, host, last, pods);
        }
    }
    text
}

fn draw_host(
    text: &mut String,
    plan: &Plan,
    lan: &str,
    host: &HostPlan,
    last: bool,
    pods: &BTreeMap<String, Ipv4Addr>,
) {
    let (branch, trunk) = if last {
        ("└──", "   ")
    } else {
        ("├──", "│  ")
    };
    for nic in host.nics.iter().filter(|nic| nic.lan == lan) {
        let others = host
            .nics
            .iter()
            .filter(|other| other.lan != lan)
            .map(|other| format!(" ── {}", other.lan));
        let _ = writeln!(
            text,
            "  {branch} {:15} {:12} {:10}{}",
            host.name,
            nic.address.addr().to_string(),
            host.role,
            others.collect::<String>()
        );
    }
    for pod in plan.pods.iter().filter(|pod| pod.node == host.name) {
        if let Some(address) = pods.get(&pod.name) {
            let _ = writeln!(text, "  {trunk}    └─ pod {address:13} {}", pod.name);
        }
    }
}
