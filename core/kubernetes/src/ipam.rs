//! Blocks, affinities, handles and IPAM's configuration as custom resources (calico-compat §3.2).

use ipnet::IpNet;
use resource::Key;
use serde_json::{Map, Value, json};
use sha3::{Digest, Sha3_256};

use crate::group::Group;
use crate::json::text;
use crate::object::is_deleted;
use crate::place::{Place, Source};

const METADATA: &str = "projectcalico.org/metadata";

/// Fields of a block whose names differ: as stored in etcd, and as in a custom resource.
const CLAIM_TIME: (&str, &str) = ("affinity_claim_time", "affinityClaimTime");

/// Fields of the configuration: as stored in etcd, and as in a custom resource.
const CONFIG: [(&str, &str); 4] = [
    ("strict_affinity", "strictAffinity"),
    ("auto_allocate_blocks", "autoAllocateBlocks"),
    ("maxBlocksPerHost", "maxBlocksPerHost"),
    (
        "kubeVirtVMAddressPersistence",
        "kubeVirtVMAddressPersistence",
    ),
];

/// What an object stands for: its key and the text that etcd would have there. `None` for one that is on its way out.
///
/// # Errors
/// What is wrong with the object.
pub fn read(source: Source, object: &Value) -> Result<Option<(Key, String)>, String> {
    let spec = &object["spec"];
    if is_deleted(object) {
        return Ok(None);
    }
    let found = match source {
        Source::Block => (Key::Block(cidr(spec)?), block_text(spec)),
        Source::Affinity => {
            let value = json!({"state": spec.get("state").unwrap_or(&json!("")), "deleted": false});
            let owner = text(spec, "node").ok_or("spec.node is empty")?.to_string();
            let cidr = cidr(spec)?;
            let key = match text(spec, "type") {
                Some("virtual") => Key::VirtualAffinity { name: owner, cidr },
                Some(_) | None => Key::BlockAffinity { host: owner, cidr },
            };
            (key, value)
        }
        Source::Handle => {
            let id = text(spec, "handleID").ok_or("spec.handleID is empty")?;
            let blocks = spec.get("block").filter(|b| !b.is_null());
            let value = json!({"block": blocks.unwrap_or(&json!({})), "deleted": false});
            (Key::Handle(id.to_string()), value)
        }
        _ => return Err("it is none of IPAM's".to_string()),
    };
    Ok(Some((found.0, found.1.to_string())))
}

fn cidr(spec: &Value) -> Result<IpNet, String> {
    let cidr = text(spec, "cidr").ok_or("spec.cidr is empty")?;
    cidr.parse()
        .map_err(|_| format!("spec.cidr '{cidr}' is no network"))
}

/// A block in the order in which etcd has it.
fn block_text(spec: &Value) -> Value {
    let mut block = Map::new();
    let mut put = |to: &str, value: Value| drop(block.insert(to.to_string(), value));
    put("cidr", spec["cidr"].clone());
    put("affinity", spec["affinity"].clone());
    if let Some(time) = spec.get(CLAIM_TIME.1) {
        put(CLAIM_TIME.0, time.clone());
    }
    for field in [
        "allocations",
        "unallocated",
        "attributes",
        "sequenceNumber",
        "sequenceNumberForAllocation",
    ] {
        if let Some(value) = spec.get(field) {
            put(field, value.clone());
        }
    }
    put("deleted", json!(false));
    Value::Object(block)
}

/// IPAM's configuration, which is one object for both of the keys that etcd has: the text of the one that IPAM obeys.
pub fn read_config(object: &Value) -> String {
    let spec = &object["spec"];
    let mut config = Map::new();
    for (stored, custom) in CONFIG {
        // Calico leaves out what is false or nothing.
        if let Some(value) = spec.get(custom)
            && *value != json!(false)
            && *value != json!(0)
        {
            config.insert(stored.to_string(), value.clone());
        }
    }
    Value::Object(config).to_string()
}

/// The object for what etcd has at a key of IPAM's, `None` for other keys. `deleted` says that it is on its way out.
///
/// # Errors
/// That the text is no JSON.
pub fn write(key: &Key, group: Group, value: &str, deleted: bool) -> Result<Option<Value>, String> {
    let Some(place) = Place::of(key) else {
        return Ok(None);
    };
    let mut value: Value = match value {
        "" => json!({}),
        text => serde_json::from_str(text).map_err(|e| format!("it is no JSON: {e}"))?,
    };
    let mut labels = Value::Null;
    let spec = match key {
        Key::Block(_) => block_spec(value, deleted),
        Key::BlockAffinity { host, cidr } => {
            labels = affinity_labels(host, "host", cidr);
            affinity_spec(&value, host, "host", cidr, group, deleted)
        }
        Key::VirtualAffinity { name, cidr } => {
            labels = affinity_labels(name, "virtual", cidr);
            affinity_spec(&value, name, "virtual", cidr, group, deleted)
        }
        Key::Handle(id) => {
            json!({"handleID": id, "block": value["block"].take(), "deleted": deleted})
        }
        Key::IpamConfig => {
            let mut spec = json!({"strictAffinity": false, "autoAllocateBlocks": false});
            for (stored, custom) in CONFIG {
                if let Some(value) = value.get(stored) {
                    spec[custom] = value.clone();
                }
            }
            spec
        }
        Key::Resource { .. } | Key::Lease(_) => return Ok(None),
    };
    let mut metadata = json!({"name": place.name});
    // Calico repeats the labels in its annotation.
    let mut stuffed = json!({});
    if !labels.is_null() {
        stuffed["labels"] = labels.clone();
        metadata["labels"] = labels;
    }
    if group == Group::Crd {
        metadata["annotations"] = json!({ METADATA: stuffed.to_string() });
    }
    Ok(Some(json!({
        "apiVersion": group.api_version(),
        "kind": place.source.kind(group),
        "metadata": metadata,
        "spec": spec,
    })))
}

fn block_spec(mut block: Value, deleted: bool) -> Value {
    if let Value::Object(fields) = &mut block {
        if let Some(time) = fields.remove(CLAIM_TIME.0) {
            fields.insert(CLAIM_TIME.1.to_string(), time);
        }
        // No one is nobody, there.
        fields.retain(|name, value| name != "affinity" || !value.is_null());
        let attributes = fields.get_mut("attributes").and_then(Value::as_array_mut);
        for attribute in attributes.into_iter().flatten() {
            if let Value::Object(fields) = attribute {
                fields.retain(|_, value| !value.is_null());
            }
        }
        fields.insert("deleted".to_string(), json!(deleted));
        // Not used any more, but the schema asks for it.
        fields.insert("strictAffinity".to_string(), json!(false));
    }
    block
}

fn affinity_spec(
    value: &Value,
    owner: &str,
    kind: &str,
    cidr: &IpNet,
    group: Group,
    deleted: bool,
) -> Value {
    let deleted = match group {
        Group::Crd => json!(deleted.to_string()),
        Group::Native => json!(deleted),
    };
    json!({
        "state": text(value, "state").unwrap_or_default(),
        "node": owner,
        "type": kind,
        "cidr": cidr.to_string(),
        "deleted": deleted,
    })
}

fn affinity_labels(owner: &str, kind: &str, cidr: &IpNet) -> Value {
    let version = match cidr {
        IpNet::V4(_) => "4",
        IpNet::V6(_) => "6",
    };
    json!({
        "projectcalico.org/affinity-type": kind,
        "projectcalico.org/hostname-hash": hostname_hash(owner),
        "projectcalico.org/ip-version": version,
    })
}

/// A host's name as the value of a label, which may not be as long as a name: SHA3-256 in base 32 without padding.
fn hostname_hash(host: &str) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let hash = Sha3_256::digest(host);
    let bit = |n: usize| {
        hash.get(n / 8)
            .is_some_and(|octet| octet >> (7 - n % 8) & 1 == 1)
    };
    let digits = (hash.len() * 8).div_ceil(5);
    let digit = |i: usize| (0..5).fold(0, |value, n| value << 1 | usize::from(bit(5 * i + n)));
    (0..digits)
        .map(|i| char::from(ALPHABET[digit(i)]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: &str = r#"{"cidr":"10.244.84.128/30","affinity":"host:node-1","affinity_claim_time":"2026-11-22T22:50:27Z","allocations":[0,null,null,null],"unallocated":[1,2,3],"attributes":[{"handle_id":"k8s-pod-network.abcdef0123456789","secondary":{"namespace":"default","node":"node-1","pod":"web-0","timestamp":"2026-11-22 22:50:27.117699579 +0000 UTC"}}],"sequenceNumber":1795387827150657896,"sequenceNumberForAllocation":{"0":1795387827150657895},"deleted":false}"#;

    fn cidr(text: &str) -> IpNet {
        text.parse().expect("a network")
    }

    #[test]
    fn the_captured_affinity() {
        let key = Key::BlockAffinity {
            host: "node-1".to_string(),
            cidr: cidr("10.244.84.128/26"),
        };
        let value = r#"{"state":"confirmed","deleted":false}"#;
        let object = write(&key, Group::Crd, value, false)
            .expect("JSON")
            .expect("of IPAM");
        let labels = json!({
            "projectcalico.org/affinity-type": "host",
            "projectcalico.org/hostname-hash": "A3XPYDATRKB7Q4SM2O5FN4RXIHBFIL2PITFX26BAIP5XAB2X74CA",
            "projectcalico.org/ip-version": "4",
        });
        assert_eq!(
            object,
            json!({
                "apiVersion": "crd.projectcalico.org/v1",
                "kind": "BlockAffinity",
                "metadata": {
                    "name": "node-1-10-244-84-128-26",
                    "labels": labels,
                    "annotations": {METADATA: json!({"labels": labels}).to_string()},
                },
                "spec": {"cidr": "10.244.84.128/26", "deleted": "false", "node": "node-1", "state": "confirmed", "type": "host"},
            })
        );
        assert_eq!(
            read(Source::Affinity, &object),
            Ok(Some((key.clone(), value.to_string())))
        );
        let gone = write(&key, Group::Crd, value, true)
            .expect("JSON")
            .expect("of IPAM");
        assert_eq!(gone["spec"]["deleted"], "true");
        assert_eq!(read(Source::Affinity, &gone), Ok(None));
        let native = write(&key, Group::Native, value, true)
            .expect("JSON")
            .expect("of IPAM");
        assert_eq!(native["spec"]["deleted"], true);
        assert_eq!(native["metadata"].get("annotations"), None);
    }

    #[test]
    fn a_block_comes_back_as_it_was() {
        let key = Key::Block(cidr("10.244.84.128/30"));
        let object = write(&key, Group::Crd, BLOCK, false)
            .expect("JSON")
            .expect("of IPAM");
        assert_eq!(object["spec"]["affinityClaimTime"], "2026-11-22T22:50:27Z");
        assert_eq!(object["spec"]["strictAffinity"], false);
        assert_eq!(
            read(Source::Block, &object),
            Ok(Some((key.clone(), BLOCK.to_string())))
        );
        let nobodys = BLOCK.replace(
            r#""host:node-1","affinity_claim_time":"2026-11-22T22:50:27Z""#,
            "null",
        );
        let object = write(&key, Group::Crd, &nobodys, false)
            .expect("JSON")
            .expect("of IPAM");
        assert_eq!(object["spec"].get("affinity"), None);
        assert_eq!(read(Source::Block, &object), Ok(Some((key, nobodys))));
    }

    #[test]
    fn a_handle_keeps_its_capitals() {
        let key = Key::Handle("lb-AbC".to_string());
        let value = r#"{"block":{"10.244.84.128/26":1},"deleted":false}"#;
        let object = write(&key, Group::Crd, value, false)
            .expect("JSON")
            .expect("of IPAM");
        assert_eq!(object["metadata"]["name"], "lb-abc");
        assert_eq!(
            read(Source::Handle, &object),
            Ok(Some((key, value.to_string())))
        );
    }

    #[test]
    fn the_configuration_has_other_names() {
        let value = r#"{"strict_affinity":true,"maxBlocksPerHost":4,"kubeVirtVMAddressPersistence":"Enabled"}"#;
        let object = write(&Key::IpamConfig, Group::Crd, value, false)
            .expect("JSON")
            .expect("of IPAM");
        assert_eq!(
            object["spec"],
            json!({"strictAffinity": true, "autoAllocateBlocks": false, "maxBlocksPerHost": 4, "kubeVirtVMAddressPersistence": "Enabled"})
        );
        assert_eq!(read_config(&object), value);
    }
}
