//! A scenario made concrete: profiles merged, words filled in, cables numbered.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use ipnet::Ipv4Net;
use scenario::{Host, Profile, Scenario};
use serde::{Deserialize, Serialize};

/// Everything that the processes inside a lab need to know; kept as plan.json in the state directory.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    /// The lab's name.
    pub lab: String,
    /// The scenario's name or path, as it was given.
    pub scenario: String,
    /// Our own program, which every host has on its PATH.
    pub binary: PathBuf,
    /// Bridges.
    pub lans: Vec<String>,
    /// Machines, in the scenario's order.
    pub hosts: Vec<HostPlan>,
    /// Pods by name, for `exec`.
    pub pods: Vec<PodPlan>,
}

/// A machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HostPlan {
    /// Hostname.
    pub name: String,
    /// The first interface's address.
    pub ip: Option<Ipv4Addr>,
    /// Interfaces.
    pub nics: Vec<NicPlan>,
    /// Routes in `ip route add` words.
    pub routes: Vec<String>,
    /// For /etc/resolv.conf.
    pub nameservers: Vec<Ipv4Addr>,
    /// Kernel settings, dotted.
    pub sysctl: BTreeMap<String, String>,
    /// Directories shared with the hosts that name them too.
    pub shared: Vec<String>,
    /// Files by absolute path.
    pub files: BTreeMap<String, String>,
    /// Environment of every program.
    pub env: BTreeMap<String, String>,
    /// Shell text run once the network is there.
    pub setup: String,
    /// A word for the picture.
    pub role: String,
}

/// An interface, and the bridge port at the other end of its cable.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NicPlan {
    /// On the host.
    pub name: String,
    /// The bridge.
    pub lan: String,
    /// Address with prefix length.
    pub address: Ipv4Net,
    /// The bridge port, in the switch's namespace.
    pub port: String,
}

/// A pod, as far as `exec` needs it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PodPlan {
    /// Pod name.
    pub name: String,
    /// Its node.
    pub node: String,
    /// Its network namespace under /var/run/netns of the node.
    pub netns: String,
}

/// What a freshly booted host has; a new namespace would otherwise copy whatever the machine around it has.
const BOOT_SYSCTL: &[(&str, &str)] = &[
    ("net.ipv4.ip_forward", "0"),
    ("net.ipv4.conf.all.rp_filter", "0"),
    ("net.ipv4.conf.default.rp_filter", "0"),
    ("net.ipv4.conf.all.accept_redirects", "1"),
    ("net.ipv4.conf.default.accept_redirects", "1"),
    ("net.ipv4.conf.all.send_redirects", "1"),
    ("net.ipv4.conf.default.send_redirects", "1"),
    ("net.ipv4.ping_group_range", "0 0"),
];

impl Plan {
    /// Makes `scenario` concrete.
    pub fn new(lab: &str, name: &str, binary: PathBuf, scenario: &Scenario) -> Self {
        let mut ports = (0..).map(|number| format!("port{number}"));
        let hosts = scenario
            .hosts
            .iter()
            .map(|host| HostPlan::new(host, scenario, &mut ports))
            .collect();
        let pods = scenario.pods.iter().map(|pod| PodPlan {
            name: pod.name.get_ref().clone(),
            node: pod.node.get_ref().clone(),
            netns: format!("{}.{}", pod.namespace, pod.name.get_ref()),
        });
        Self {
            lab: lab.to_owned(),
            scenario: name.to_owned(),
            binary,
            lans: scenario
                .lans
                .iter()
                .map(|lan| lan.name.get_ref().clone())
                .collect(),
            hosts,
            pods: pods.collect(),
        }
    }

    /// The host of this name.
    pub fn host(&self, name: &str) -> Option<&HostPlan> {
        self.hosts.iter().find(|host| host.name == name)
    }

    /// /etc/hosts: every machine by its first address.
    pub fn hosts_file(&self) -> String {
        let lines = self
            .hosts
            .iter()
            .filter_map(|host| host.ip.map(|ip| format!("{ip}\t{}\n", host.name)));
        std::iter::once("127.0.0.1\tlocalhost\n".to_owned())
            .chain(lines)
            .collect()
    }
}

impl HostPlan {
    fn new(host: &Host, scenario: &Scenario, ports: &mut impl Iterator<Item = String>) -> Self {
        let profiles: Vec<&Profile> = host
            .profile
            .iter()
            .filter_map(|name| scenario.profiles.get(name.get_ref()))
            .collect();
        let name = host.name.get_ref().clone();
        let ip = host.nics.first().map(|nic| nic.address.addr());
        let mut words: Vec<(String, String)> = vec![("host".to_owned(), name.clone())];
        words.extend(ip.map(|ip| ("ip".to_owned(), ip.to_string())));
        words.extend(
            host.words
                .iter()
                .map(|(word, value)| (word.clone(), value.clone())),
        );

        let merged = |pick: fn(&Profile) -> &BTreeMap<String, String>,
                      own: &BTreeMap<String, String>| {
            let all = profiles.iter().flat_map(|profile| pick(profile)).chain(own);
            all.map(|(key, value)| (key.clone(), fill(value, &words)))
                .collect::<BTreeMap<_, _>>()
        };
        let mut sysctl: BTreeMap<String, String> = BOOT_SYSCTL
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        sysctl.extend(merged(|profile| &profile.sysctl, &host.sysctl));
        let setups = profiles.iter().map(|profile| fill(&profile.setup, &words));
        let role = profiles
            .iter()
            .map(|profile| &profile.role)
            .chain([&host.role])
            .rfind(|role| !role.is_empty());
        let nics = host.nics.iter().map(|nic| NicPlan {
            name: nic.name.get_ref().clone(),
            lan: nic.lan.get_ref().clone(),
            address: nic.address,
            port: ports.next().expect("the numbers do not end"),
        });
        Self {
            ip,
            nics: nics.collect(),
            routes: host.routes.clone(),
            nameservers: host.nameservers.clone(),
            sysctl,
            shared: profiles
                .iter()
                .flat_map(|profile| profile.shared.clone())
                .collect(),
            files: merged(|profile| &profile.files, &host.files),
            env: merged(|profile| &profile.env, &BTreeMap::new()),
            setup: setups
                .filter(|setup| !setup.is_empty())
                .collect::<Vec<_>>()
                .join("\n"),
            role: role.cloned().unwrap_or_default(),
            name,
        }
    }

    /// Fills `{host}` and `{ip}` in a daemon's command; the host's other words were for its files.
    pub fn fill(&self, text: &str) -> String {
        let ip = self.ip.map(|ip| ip.to_string()).unwrap_or_default();
        fill(
            text,
            &[
                ("host".to_owned(), self.name.clone()),
                ("ip".to_owned(), ip),
            ],
        )
    }
}

/// Replaces `{word}` by its value; other braces stay, as shell and daemons' files are full of them.
fn fill(text: &str, words: &[(String, String)]) -> String {
    words.iter().fold(text.to_owned(), |text, (word, value)| {
        text.replace(&format!("{{{word}}}"), value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_merge_in_order_and_words_are_filled() {
        let text = r#"
title = "t"
[[lan]]
name = "lan"
[profile.base]
sysctl = { "net.ipv4.ip_forward" = "1", "net.ipv4.conf.all.rp_filter" = "1" }
files = { "/etc/who" = "{host} {ip} {block} {kept}" }
role = "node"
[profile.loose]
sysctl = { "net.ipv4.conf.all.rp_filter" = "2" }
[[host]]
name = "a"
profile = ["base", "loose"]
words = { block = "10.200.0.0/26" }
nics = [{ name = "eth0", lan = "lan", address = "192.0.2.1/24" }]
"#;
        let scenario = Scenario::parse("t", text).expect("good");
        let plan = Plan::new("t", "t", PathBuf::new(), &scenario);
        let host = plan.host("a").expect("there");
        assert_eq!(host.files["/etc/who"], "a 192.0.2.1 10.200.0.0/26 {kept}");
        assert_eq!(
            (
                host.sysctl["net.ipv4.ip_forward"].as_str(),
                host.sysctl["net.ipv4.conf.all.rp_filter"].as_str()
            ),
            ("1", "2")
        );
        assert_eq!(host.role, "node");
        assert_eq!(plan.hosts_file(), "127.0.0.1\tlocalhost\n192.0.2.1\ta\n");
    }
}
