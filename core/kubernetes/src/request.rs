//! What a pod asks of the plugin that connects it (calico-compat §3.4).
//!
//! All of it is annotations, of the pod or of its namespace. Here a value that is not valid is refused: a pod that asks for what it
//! cannot have must not come up with something else.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use resource::validate::is_mac;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::metadata::metadata;

const POOLS_V4: &str = "cni.projectcalico.org/ipv4pools";
const POOLS_V6: &str = "cni.projectcalico.org/ipv6pools";
const FAMILIES: &str = "cni.projectcalico.org/ipFamilies";
const ADDRESSES: &str = "cni.projectcalico.org/ipAddrs";
const ADDRESSES_WITHOUT_IPAM: &str = "cni.projectcalico.org/ipAddrsNoIpam";
const MAC: &str = "cni.projectcalico.org/hwAddr";
pub(crate) const FLOATING_IPS: &str = "cni.projectcalico.org/floatingIPs";

/// A pod's wishes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Pools of IPv4 addresses by name or CIDR, the pod's over the namespace's; none leaves them to the configuration.
    pub ipv4_pools: Vec<String>,
    /// The same for IPv6.
    pub ipv6_pools: Vec<String>,
    /// The families that it is to have addresses of; absent leaves them to the configuration.
    pub families: Option<BTreeSet<Family>>,
    /// Where its addresses come from.
    pub addresses: Addresses,
    /// Addresses outside that stand for its own.
    pub floating: Vec<IpAddr>,
    /// The MAC inside; absent leaves it to the kernel.
    pub mac: Option<String>,
}

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Where a pod's addresses come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Addresses {
    /// Any of its pools.
    #[default]
    Any,
    /// These, which must be in a pool and free; at most one of each family.
    These(Vec<IpAddr>),
    /// These, whatever the pools say; at most one of each family.
    WithoutIpam(Vec<IpAddr>),
}

/// What a pod asks for.
///
/// # Errors
/// The annotation that is not valid, what it says and what it should be; or what is wrong with an object.
pub fn read(pod: &Value, namespace: &Value) -> Result<Request, String> {
    let pod = metadata(pod)?.annotations;
    let namespace = metadata(namespace)?.annotations;
    let pools = |annotation| {
        let annotations = match text(&pod, annotation) {
            Some(_) => &pod,
            None => &namespace,
        };
        let what = "a JSON list of pools' names and CIDRs";
        Ok::<Vec<String>, String>(json(annotations, annotation, what)?.unwrap_or_default())
    };
    Ok(Request {
        ipv4_pools: pools(POOLS_V4)?,
        ipv6_pools: pools(POOLS_V6)?,
        families: families(&pod)?,
        addresses: addresses(&pod)?,
        floating: list_of_addresses(&pod, FLOATING_IPS)?,
        mac: mac(&pod)?,
    })
}

type Annotations = BTreeMap<String, String>;

fn text<'a>(annotations: &'a Annotations, annotation: &str) -> Option<&'a str> {
    let text = annotations.get(annotation)?;
    Some(text.as_str()).filter(|t| !t.is_empty())
}

fn unfit(annotation: &str, text: &str, why: &str) -> String {
    format!("annotation {annotation}: {text:?} {why}")
}

fn json<T: DeserializeOwned>(
    annotations: &Annotations,
    annotation: &str,
    what: &str,
) -> Result<Option<T>, String> {
    let Some(text) = text(annotations, annotation) else {
        return Ok(None);
    };
    let value = serde_json::from_str(text);
    value.map_err(|_| unfit(annotation, text, &format!("is not {what}")))
}

fn list_of_addresses(annotations: &Annotations, annotation: &str) -> Result<Vec<IpAddr>, String> {
    let list = json(annotations, annotation, "a JSON list of addresses")?;
    Ok(list.unwrap_or_default())
}

fn families(pod: &Annotations) -> Result<Option<BTreeSet<Family>>, String> {
    let what = r#"a JSON list of "IPv4" and "IPv6""#;
    let Some(names) = json::<Vec<String>>(pod, FAMILIES, what)? else {
        return Ok(None);
    };
    let families = names.iter().map(|name| match name.as_str() {
        "IPv4" => Some(Family::V4),
        "IPv6" => Some(Family::V6),
        _ => None,
    });
    let families: Option<BTreeSet<Family>> = families.collect();
    match families {
        Some(families) if !families.is_empty() => Ok(Some(families)),
        Some(_) | None => {
            let text = text(pod, FAMILIES).unwrap_or_default();
            Err(unfit(FAMILIES, text, &format!("is not {what}")))
        }
    }
}

fn addresses(pod: &Annotations) -> Result<Addresses, String> {
    let given = one_of_each(pod, ADDRESSES)?;
    let without = one_of_each(pod, ADDRESSES_WITHOUT_IPAM)?;
    match (given.is_empty(), without.is_empty()) {
        (true, true) => Ok(Addresses::Any),
        (false, true) => Ok(Addresses::These(given)),
        (true, false) => Ok(Addresses::WithoutIpam(without)),
        (false, false) => Err(format!(
            "annotations {ADDRESSES} and {ADDRESSES_WITHOUT_IPAM} cannot be in use at the same time: remove one"
        )),
    }
}

/// A list of at most one address of each family.
fn one_of_each(pod: &Annotations, annotation: &str) -> Result<Vec<IpAddr>, String> {
    let list = list_of_addresses(pod, annotation)?;
    let fours = list.iter().filter(|address| address.is_ipv4()).count();
    if fours > 1 || list.len() - fours > 1 {
        let text = text(pod, annotation).unwrap_or_default();
        return Err(unfit(
            annotation,
            text,
            "has more than one address of a family",
        ));
    }
    Ok(list)
}

fn mac(pod: &Annotations) -> Result<Option<String>, String> {
    match text(pod, MAC) {
        Some(text) if !is_mac(text) => Err(unfit(MAC, text, "is not a MAC address")),
        mac => Ok(mac.map(String::from)),
    }
}
