//! Results in the form that the configuration's version has.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// What ADD has made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    pub interfaces: Vec<Interface>,
    pub addresses: Vec<IpNet>,
    pub routes: Vec<IpNet>,
}

/// An interface in the host (without a sandbox) or in the workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    pub name: String,
    pub mac: Option<String>,
    pub mtu: Option<u32>,
    pub sandbox: Option<String>,
}

/// Four spaces and no newline at the end, as the reference library prints.
pub fn pretty(value: &Value) -> String {
    let mut text = Vec::new();
    let indent = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, indent);
    value
        .serialize(&mut serializer)
        .expect("a value has string keys");
    String::from_utf8(text).expect("JSON is UTF-8")
}

impl Reply {
    /// The text for a version; the keys stand in the order of their names.
    pub fn to_json(&self, version: &str) -> String {
        let value = match version {
            "0.1.0" | "0.2.0" => self.oldest(version),
            _ => self.current(version),
        };
        pretty(&value)
    }

    fn current(&self, version: &str) -> Value {
        let newest = version == "1.0.0";
        let mut object = Map::new();
        object.insert("cniVersion".to_string(), json!(version));
        if !self.interfaces.is_empty() {
            let interfaces: Vec<Value> =
                self.interfaces.iter().map(|i| i.to_value(newest)).collect();
            object.insert("interfaces".to_string(), Value::Array(interfaces));
        }
        let inside = self.interfaces.iter().position(|i| i.sandbox.is_some());
        let ips = self.addresses.iter().map(|address| {
            let mut ip = Map::new();
            ip.insert("address".to_string(), json!(address.to_string()));
            if let Some(index) = inside {
                ip.insert("interface".to_string(), json!(index));
            }
            if !newest {
                let family = if address.addr().is_ipv4() { "4" } else { "6" };
                ip.insert("version".to_string(), json!(family));
            }
            Value::Object(ip)
        });
        object.insert("ips".to_string(), ips.collect());
        if !self.routes.is_empty() {
            object.insert("routes".to_string(), routes(&self.routes));
        }
        Value::Object(object)
    }

    /// One address of each family, and no interfaces.
    fn oldest(&self, version: &str) -> Value {
        let mut object = Map::new();
        object.insert("cniVersion".to_string(), json!(version));
        for (key, is_ipv4) in [("ip4", true), ("ip6", false)] {
            let of_family = |net: &&IpNet| net.addr().is_ipv4() == is_ipv4;
            if let Some(address) = self.addresses.iter().find(of_family) {
                let own: Vec<IpNet> = self.routes.iter().filter(of_family).copied().collect();
                let mut part = Map::new();
                part.insert("ip".to_string(), json!(address.to_string()));
                if !own.is_empty() {
                    part.insert("routes".to_string(), routes(&own));
                }
                object.insert(key.to_string(), Value::Object(part));
            }
        }
        Value::Object(object)
    }
}

fn routes(routes: &[IpNet]) -> Value {
    routes
        .iter()
        .map(|dst| json!({"dst": dst.to_string()}))
        .collect()
}

impl Interface {
    fn to_value(&self, newest: bool) -> Value {
        let mut object = Map::new();
        if let Some(mac) = &self.mac {
            object.insert("mac".to_string(), json!(mac));
        }
        if let (Some(mtu), true) = (self.mtu, newest) {
            object.insert("mtu".to_string(), json!(mtu));
        }
        object.insert("name".to_string(), json!(self.name));
        if let Some(sandbox) = &self.sandbox {
            object.insert("sandbox".to_string(), json!(sandbox));
        }
        Value::Object(object)
    }
}

/// The addresses of a result of any version, with their prefix lengths.
pub fn addresses_of(result: &Value) -> Option<Vec<IpNet>> {
    let parse = |text: &Value| text.as_str()?.parse::<IpNet>().ok();
    if let Some(ips) = result.get("ips") {
        return ips
            .as_array()?
            .iter()
            .map(|ip| parse(ip.get("address")?))
            .collect();
    }
    let old = ["ip4", "ip6"]
        .iter()
        .filter_map(|key| result.get(key)?.get("ip"));
    old.map(parse).collect()
}

/// The address alone in its subnet.
pub fn alone(address: IpAddr) -> IpNet {
    IpNet::from(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply() -> Reply {
        Reply {
            interfaces: vec![
                Interface {
                    name: "calic0123456789".to_string(),
                    mac: None,
                    mtu: None,
                    sandbox: None,
                },
                Interface {
                    name: "eth0".to_string(),
                    mac: Some("06:26:04:e8:63:50".to_string()),
                    mtu: Some(1440),
                    sandbox: Some("/run/netns/c0123456789ab".to_string()),
                },
            ],
            addresses: vec!["10.244.84.128/32".parse().unwrap()],
            routes: vec!["10.244.84.128/26".parse().unwrap()],
        }
    }

    #[test]
    fn the_captured_result() {
        let captured = r#"{
    "cniVersion": "1.0.0",
    "interfaces": [
        {
            "name": "calic0123456789"
        },
        {
            "mac": "06:26:04:e8:63:50",
            "mtu": 1440,
            "name": "eth0",
            "sandbox": "/run/netns/c0123456789ab"
        }
    ],
    "ips": [
        {
            "address": "10.244.84.128/32",
            "interface": 1
        }
    ],
    "routes": [
        {
            "dst": "10.244.84.128/26"
        }
    ]
}"#;
        assert_eq!(reply().to_json("1.0.0"), captured);
    }

    #[test]
    fn older_forms_and_their_reading() {
        let compact = |version: &str| {
            serde_json::from_str::<Value>(&reply().to_json(version))
                .unwrap()
                .to_string()
        };
        assert_eq!(
            compact("0.4.0"),
            r#"{"cniVersion":"0.4.0","interfaces":[{"name":"calic0123456789"},{"mac":"06:26:04:e8:63:50","name":"eth0","sandbox":"/run/netns/c0123456789ab"}],"ips":[{"address":"10.244.84.128/32","interface":1,"version":"4"}],"routes":[{"dst":"10.244.84.128/26"}]}"#
        );
        let oldest = r#"{"cniVersion":"0.2.0","ip4":{"ip":"10.244.84.128/32","routes":[{"dst":"10.244.84.128/26"}]}}"#;
        assert_eq!(compact("0.2.0"), oldest);
        for version in crate::conf::SUPPORTED {
            let value: Value = serde_json::from_str(&reply().to_json(version)).unwrap();
            assert_eq!(addresses_of(&value), Some(reply().addresses), "{version}");
        }
        assert_eq!(
            addresses_of(&json!({"ips": [{"address": "nonsense"}]})),
            None
        );
    }
}
