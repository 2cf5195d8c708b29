//! The plugin as a container runtime drives it, in network and mount namespaces of the test's own.
//!
//! The test program starts itself again: as `calico` and `calico-ipam` through links in a plugin directory, and once for
//! each test inside fresh namespaces in a user namespace, which any user may make. Started by root, each test also runs
//! without the user namespace.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ipam::{Ipam, ReleaseRequest};
use kubernetes::Group;
use resource::kinds::{Block, ClusterInformationSpec, IpPoolSpec, NodeSpec, ProfileSpec};
use resource::{Key, KeyPrefix, Kind, Metadata, Object, Spec, Store};
use serde_json::{Value, json};
use store::testing::{Etcd, Kubernetes, kubernetes_skipped, skipped};
use store::{AnyStore, block_on};

mod datastores;
use datastores::{namespaces_of_pools, on_etcd, on_kubernetes};

const BIN: &str = "/run/plugins";

type Test = fn(&Site);

const TESTS: &[(&str, Test)] = &[
    ("add_check_del", add_check_del),
    ("results_of_every_version", results_of_every_version),
    (
        "a_pod_s_new_sandbox_replaces_the_old_one",
        a_pod_s_new_sandbox_replaces_the_old_one,
    ),
    ("both_families", both_families),
    ("refusals", refusals),
    (
        "a_failure_after_the_address_gives_it_back",
        a_failure_after_the_address_gives_it_back,
    ),
    (
        "the_address_plugin_alone_and_run_as_a_program",
        the_address_plugin_alone_and_run_as_a_program,
    ),
    ("two_at_once_fifty_times", two_at_once_fifty_times),
    ("killed_in_the_middle", killed_in_the_middle),
    ("on_etcd", on_etcd),
    ("namespaces_of_pools", namespaces_of_pools),
    ("on_kubernetes", on_kubernetes),
];

/// What every test begins with: one node, one pool, the agent's nodename file.
struct Site {
    store: AnyStore,
    conf: Value,
}

/// One answer of the plugin.
struct Answer {
    text: String,
    log: String,
    code: i32,
}

impl Answer {
    fn of(output: &Output) -> Answer {
        Answer {
            text: String::from_utf8_lossy(&output.stdout).into_owned(),
            log: String::from_utf8_lossy(&output.stderr).into_owned(),
            code: output.status.code().unwrap_or(-1),
        }
    }

    fn ok(self) -> String {
        assert_eq!(self.code, 0, "{} {}", self.text, self.log);
        self.text
    }

    fn json(self) -> Value {
        let text = self.ok();
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{text:?}: {e}"))
    }

    fn error(self) -> (u64, String) {
        assert_eq!(self.code, 1, "{} {}", self.text, self.log);
        let value: Value = serde_json::from_str(&self.text).unwrap();
        (
            value["code"].as_u64().unwrap(),
            value["msg"].as_str().unwrap().to_string(),
        )
    }
}

fn sh(text: &str) -> String {
    let output = Command::new("sh").args(["-c", text]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}: {said}{error}");
    said
}

fn put<S: Spec>(store: &AnyStore, name: &str, spec: S) {
    let object = Object::new(Metadata::named(name), spec);
    block_on(store.create(&object.key(), &object.to_stored())).unwrap();
}

/// A cluster of two nodes with one pool.
fn fill(store: &AnyStore) {
    let ready = ClusterInformationSpec {
        datastore_ready: Some(true),
        ..ClusterInformationSpec::default()
    };
    put(store, "default", ready);
    put(store, "node-1", NodeSpec::default());
    put(store, "node-2", NodeSpec::default());
    let pool = IpPoolSpec {
        cidr: "10.244.0.0/16".to_string(),
        ..IpPoolSpec::default()
    };
    put(store, "my-pool", pool);
}

/// Pools of both families, of which one is used where nobody asks for another.
fn fill_pools(store: &AnyStore) {
    let ready = ClusterInformationSpec {
        datastore_ready: Some(true),
        ..ClusterInformationSpec::default()
    };
    put(store, "default", ready);
    for (name, cidr, nodes) in [
        ("my-pool", "10.244.0.0/16", "all()"),
        ("of-namespace", "10.88.0.0/16", "!all()"),
        ("of-pod", "10.99.0.0/16", "!all()"),
        ("six", "fd00:10::/112", "all()"),
    ] {
        let pool = IpPoolSpec {
            cidr: cidr.to_string(),
            node_selector: nodes.to_string(),
            ..IpPoolSpec::default()
        };
        put(store, name, pool);
    }
}

impl Site {
    fn new() -> Site {
        sh("mount -t tmpfs none /run && mount -t tmpfs none /var/lib && ip link set lo up");
        // The host's own addresses, as it has some in production; without any there is no source for a ping.
        sh("ip addr add 192.0.2.1/32 dev lo && ip addr add 2001:db8::1/128 dev lo nodad");
        // Where /var/run is a link to /run this is there already.
        fs::create_dir_all("/var/lib/calico").unwrap();
        fs::write("/var/lib/calico/nodename", "node-1\n").unwrap();
        fs::create_dir(BIN).unwrap();
        for name in ["calico", "calico-ipam"] {
            symlink(std::env::current_exe().unwrap(), Path::new(BIN).join(name)).unwrap();
        }
        let config = store::Config::from_variables(|_| None).unwrap();
        let store = store::open(&config).unwrap();
        fill(&store);
        let conf = json!({
            "cniVersion": "1.0.0", "name": "k8s-pod-network", "type": "calico", "mtu": 1440,
            "ipam": {"type": "calico-ipam"},
        });
        Site { store, conf }
    }

    fn with(&self, key: &str, value: Value) -> Value {
        let mut conf = self.conf.clone();
        conf[key] = value;
        conf
    }

    fn start(&self, plugin: &str, command: &str, id: &str, args: &str, conf: &Value) -> Child {
        let mut child = Command::new(Path::new(BIN).join(plugin))
            .env_clear()
            .env("CNI_COMMAND", command)
            .env("CNI_CONTAINERID", id)
            .env("CNI_NETNS", format!("/run/netns/{id}"))
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", BIN)
            .env("CNI_ARGS", args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(conf.to_string().as_bytes())
            .unwrap();
        child
    }

    fn call(&self, plugin: &str, command: &str, id: &str, args: &str, conf: &Value) -> Answer {
        Answer::of(
            &self
                .start(plugin, command, id, args, conf)
                .wait_with_output()
                .unwrap(),
        )
    }

    fn add(&self, id: &str) -> Answer {
        self.call("calico", "ADD", id, "", &self.conf)
    }

    fn del(&self, id: &str) -> Answer {
        self.call("calico", "DEL", id, "", &self.conf)
    }

    /// Keys of the store below a kind of key, by their paths.
    fn keys(&self, prefix: &KeyPrefix) -> Vec<String> {
        let listing = block_on(self.store.list(prefix)).unwrap();
        listing.entries.iter().map(|e| e.key.path()).collect()
    }

    /// Addresses that are given out.
    fn allocated(&self) -> usize {
        let listing = block_on(self.store.list(&KeyPrefix::Blocks)).unwrap();
        let blocks = listing
            .entries
            .iter()
            .map(|e| serde_json::from_str::<Block>(&e.value).unwrap());
        blocks.map(|b| b.allocations.iter().flatten().count()).sum()
    }

    /// What a container has left in the host and in the store, in words.
    fn left(&self) -> Vec<String> {
        let mut left = self.keys(&KeyPrefix::Handles);
        left.extend(self.keys(&KeyPrefix::Kind(Kind::WorkloadEndpoint)));
        let links = sh(
            "ip -o link show type veth; ip route; ip -6 route show dev lo 2>/dev/null | grep cali || true",
        );
        left.extend(links.lines().map(str::to_string));
        if self.allocated() > 0 {
            left.push(format!("{} addresses", self.allocated()));
        }
        left
    }
}

fn netns(name: &str) {
    sh(&format!("ip netns add {name}"));
}

fn pings(command: &str) {
    // The first packet may meet a link that is still coming up; one of three must pass.
    sh(&format!(
        "{command} -c 3 -i 0.2 -W 2 >/run/ping || {{ cat /run/ping; exit 1; }}"
    ));
}

fn add_check_del(site: &Site) {
    let id = "c0123456789ab";
    netns(id);
    let text = site.add(id).ok();
    let mac = sh(&format!(
        "ip netns exec {id} cat /sys/class/net/eth0/address 2>/dev/null || ip -n {id} -br link show eth0 | awk '{{print $3}}'"
    ));
    let golden = include_str!("golden/add.json")
        .replace("MAC", mac.trim())
        .replace("ID", id);
    assert_eq!(text, golden.trim_end());

    let host = "calic0123456789";
    let link = sh(&format!("ip link show {host}"));
    assert!(
        link.contains("ee:ee:ee:ee:ee:ee")
            && link.contains("mtu 1440")
            && link.contains("LOWER_UP"),
        "{link}"
    );
    assert_eq!(
        sh("ip route").trim_end(),
        format!("10.244.84.128 dev {host} scope link")
    );
    let inside = sh(&format!(
        "ip -n {id} -4 route; ip -n {id} -4 -o addr show eth0"
    ));
    assert!(
        inside.starts_with("default via 169.254.1.1 dev eth0 \n169.254.1.1 dev eth0 scope link"),
        "{inside}"
    );
    assert!(
        inside.contains("inet 10.244.84.128/32 scope global eth0"),
        "{inside}"
    );
    for (parameter, value) in [
        ("ipv4/conf/HOST/proxy_arp", "1"),
        ("ipv4/conf/HOST/forwarding", "1"),
        ("ipv4/conf/HOST/route_localnet", "1"),
        ("ipv4/neigh/HOST/proxy_delay", "0"),
        ("ipv6/conf/HOST/accept_ra", "0"),
    ] {
        let path = format!("/proc/sys/net/{}", parameter.replace("HOST", host));
        // A kernel may be without IPv6; without IPv4 it is none.
        if let Ok(text) = fs::read_to_string(&path) {
            assert_eq!(text.trim(), value, "{path}");
        } else {
            assert!(parameter.starts_with("ipv6"), "{path}");
        }
    }
    pings("ping 10.244.84.128");
    pings(&format!("ip netns exec {id} ping 192.0.2.1"));

    let check = || site.call("calico", "CHECK", id, "", &site.conf);
    assert_eq!(check().ok(), "OK\n");
    let conf = site.with("prevResult", serde_json::from_str(&text).unwrap());
    assert_eq!(site.call("calico", "CHECK", id, "", &conf).ok(), "OK\n");
    for (harm, cure, missing) in [
        (
            format!("ip route del 10.244.84.128 dev {host}"),
            format!("ip route add 10.244.84.128 dev {host}"),
            format!("the host's route 10.244.84.128 dev {host} scope link"),
        ),
        (
            format!("ip -n {id} route del default"),
            format!("ip -n {id} route add default via 169.254.1.1 dev eth0"),
            "the container's route default via 169.254.1.1 dev eth0".to_string(),
        ),
    ] {
        sh(&harm);
        assert_eq!(
            check().error(),
            (999, format!("CHECK failed, not there: {missing}"))
        );
        sh(&cure);
        assert_eq!(check().ok(), "OK\n", "after {cure}");
    }

    // A container's second ADD is answered with what it has.
    let again = site.add(id).json();
    assert_eq!(again["ips"][0]["address"], "10.244.84.128/32");
    assert_eq!(site.allocated(), 1);

    assert_eq!(site.del(id).ok(), "");
    assert_eq!(site.left(), Vec::<String>::new());
    assert!(
        sh(&format!("ip -n {id} -o link"))
            .lines()
            .all(|l| l.contains(" lo:") || !l.contains("eth0"))
    );
    assert_eq!(site.del(id).ok(), "", "twice");
    let (_, message) = check().error();
    assert!(message.contains("WorkloadEndpoint"), "{message}");

    site.add(id).ok();
    assert_ne!(site.left(), Vec::<String>::new());
    sh(&format!("ip netns del {id}"));
    assert_eq!(site.del(id).ok(), "", "without the namespace");
    assert_eq!(site.left(), Vec::<String>::new());
}

fn results_of_every_version(site: &Site) {
    for (n, version) in ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0"]
        .iter()
        .enumerate()
    {
        let id = format!("v{n}");
        netns(&id);
        let conf = site.with("cniVersion", json!(version));
        let reply = site.call("calico", "ADD", &id, "", &conf).json();
        assert_eq!(reply["cniVersion"], *version);
        let address = match *version {
            "0.1.0" | "0.2.0" => &reply["ip4"]["ip"],
            _ => &reply["ips"][0]["address"],
        };
        assert!(address.as_str().unwrap().ends_with("/32"), "{reply}");
        if n < 4 {
            let refused = site.call("calico", "CHECK", &id, "", &conf).error();
            assert_eq!(
                refused,
                (1, "config version does not allow CHECK".to_string())
            );
        }
        site.call("calico", "DEL", &id, "", &conf).ok();
    }
    let said = site.call("calico", "VERSION", "x", "", &json!({}));
    assert_eq!(
        said.ok(),
        "{\"cniVersion\":\"1.1.0\",\"supportedVersions\":[\"0.1.0\",\"0.2.0\",\"0.3.0\",\"0.3.1\",\"0.4.0\",\"1.0.0\"]}\n"
    );
    assert_eq!(site.left(), Vec::<String>::new());
}

const POD: &str =
    "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=nginx;K8S_POD_INFRA_CONTAINER_ID=x";

fn a_pod_s_new_sandbox_replaces_the_old_one(site: &Site) {
    netns("old");
    netns("new");
    let call = |command: &str, id: &str| site.call("calico", command, id, POD, &site.conf);
    let first = call("ADD", "old").json();
    assert_eq!(first["interfaces"][0]["name"], "calic440f455693");
    let key = Key::in_namespace(Kind::WorkloadEndpoint, "default", "node--1-k8s-nginx-eth0");
    let stored = || block_on(site.store.get(&key)).unwrap().map(|e| e.value);
    assert!(stored().unwrap().contains("\"containerID\":\"old\",\"pod\":\"nginx\",\"endpoint\":\"eth0\",\"ipNetworks\":[\"10.244.84.128/32\"]"));
    let block = block_on(
        site.store
            .get(&Key::Block("10.244.84.128/26".parse().unwrap())),
    )
    .unwrap()
    .unwrap()
    .value;
    assert!(block.contains("\"secondary\":{\"namespace\":\"default\",\"node\":\"node-1\",\"pod\":\"nginx\",\"timestamp\":\""), "{block}");

    let same = call("ADD", "old").json();
    assert_ne!(same["ips"], first["ips"]);
    assert_eq!(
        site.allocated(),
        1,
        "what the same sandbox had is given back"
    );

    let second = call("ADD", "new").json();
    assert_eq!(second["interfaces"][0]["name"], "calic440f455693");
    assert_eq!(site.allocated(), 2);
    assert_eq!(call("DEL", "old").ok(), "");
    assert!(
        stored().unwrap().contains("\"containerID\":\"new\""),
        "the old sandbox's DEL leaves the new one"
    );
    assert_eq!(site.allocated(), 1);
    assert_eq!(call("CHECK", "new").ok(), "OK\n");
    let (_, message) = call("CHECK", "old").error();
    assert!(message.contains("it is new's"), "{message}");
    let address = second["ips"][0]["address"]
        .as_str()
        .unwrap()
        .replace("/32", "");
    pings(&format!("ping {address}"));
    assert_eq!(call("DEL", "new").ok(), "");
    assert_eq!(site.left(), Vec::<String>::new());
}

fn both_families(site: &Site) {
    put(
        &site.store,
        "six",
        IpPoolSpec {
            cidr: "fd00:10::/112".to_string(),
            ..IpPoolSpec::default()
        },
    );
    netns("six");
    let conf = site.with(
        "ipam",
        json!({"type": "calico-ipam", "assign_ipv4": "true", "assign_ipv6": "true"}),
    );
    let reply = site.call("calico", "ADD", "six", "", &conf).json();
    let addresses: Vec<&str> = reply["ips"]
        .as_array()
        .unwrap()
        .iter()
        .map(|ip| ip["address"].as_str().unwrap())
        .collect();
    assert!(
        addresses[0].ends_with("/32")
            && addresses[1].starts_with("fd00:10::")
            && addresses[1].ends_with("/128"),
        "{reply}"
    );
    pings(&format!("ping -6 {}", addresses[1].replace("/128", "")));
    pings(&format!("ping {}", addresses[0].replace("/32", "")));
    assert_eq!(site.call("calico", "CHECK", "six", "", &conf).ok(), "OK\n");
    site.call("calico", "DEL", "six", "", &conf).ok();
    assert_eq!(site.left(), Vec::<String>::new());
}

fn refusals(site: &Site) {
    netns("r1");
    let add = |conf: &Value| site.call("calico", "ADD", "r1", "", conf);
    let newer = add(&site.with("cniVersion", json!("1.1.0")));
    assert_eq!(
        newer.text,
        include_str!("golden/incompatible.json").trim_end()
    );
    for command in ["STATUS", "GC"] {
        let refused = site.call("calico", command, "r1", "", &site.conf).error();
        assert_eq!(
            refused,
            (1, format!("config version does not allow {command}"))
        );
    }
    assert_eq!(
        site.call("calico", "PAUSE", "r1", "", &site.conf).error(),
        (4, "unknown CNI_COMMAND: PAUSE".to_string())
    );
    assert_eq!(
        add(&site.with("name", json!(""))).error(),
        (7, "missing network name".to_string())
    );
    let lost = site.with("ipam", json!({"type": "nobody"}));
    assert_eq!(
        add(&lost).error(),
        (
            999,
            format!("failed to find plugin \"nobody\" in path [{BIN}]")
        )
    );
    let etcd = add(&site.with("datastore_type", json!("etcdv3"))).error();
    let text = "no etcd endpoints specified (the CNI configuration, DATASTORE_TYPE): set ETCD_ENDPOINTS (etcdEndpoints), like http://10.0.0.1:2379";
    assert_eq!(etcd, (999, text.to_string()));

    fs::rename("/var/lib/calico/nodename", "/var/lib/calico/away").unwrap();
    let text = "stat /var/lib/calico/nodename: no such file or directory: check that the calico/node container is running and has mounted /var/lib/calico/";
    assert_eq!(add(&site.conf).error(), (999, text.to_string()));
    fs::rename("/var/lib/calico/away", "/var/lib/calico/nodename").unwrap();

    let key = Key::cluster(Kind::ClusterInformation, "default");
    let entry = block_on(site.store.get(&key)).unwrap().unwrap();
    block_on(
        site.store
            .update(&key, &entry.value.replace("true", "false"), entry.revision),
    )
    .unwrap();
    assert_eq!(
        add(&site.conf).error(),
        (
            999,
            "Calico is currently not ready to process requests".to_string()
        )
    );
    block_on(site.store.delete(&key, None)).unwrap();
    let text = "error getting ClusterInformation: resource does not exist: ClusterInformation(default) with error: <nil>";
    assert_eq!(add(&site.conf).error(), (999, text.to_string()));
    block_on(site.store.create(&key, &entry.value)).unwrap();

    let pool = Key::cluster(Kind::IpPool, "my-pool");
    let entry = block_on(site.store.get(&pool)).unwrap().unwrap();
    block_on(site.store.delete(&pool, None)).unwrap();
    let none = add(&site.conf);
    assert_eq!(
        none.text,
        "{\n    \"code\": 999,\n    \"msg\": \"cannot find a qualified ippool\"\n}"
    );
    assert!(
        none.log.contains("(no-pool)") && none.log.contains("hint: Create an IPPool."),
        "{}",
        none.log
    );
    block_on(
        site.store.create(
            &pool,
            &entry
                .value
                .replace("10.244.0.0/16", "10.9.0.0/32")
                .replace("\"spec\":{", "\"spec\":{\"blockSize\":32,"),
        ),
    )
    .unwrap();
    add(&site.conf).ok();
    netns("r2");
    let text = "failed to request IPv4 addresses: Assigned 0 out of 1 requested IPv4 addresses; No IPs available in pools: [10.9.0.0/32]";
    assert_eq!(site.add("r2").error(), (999, text.to_string()));
    let taken = site
        .call("calico", "ADD", "r2", "IP=10.9.0.0", &site.conf)
        .error();
    assert!(taken.1.contains("Address already assigned"), "{taken:?}");
    let outside = site
        .call("calico", "ADD", "r2", "IP=10.99.0.1", &site.conf)
        .error();
    assert_eq!(
        outside.1,
        "The provided IP address is not in a configured pool\n"
    );
    site.del("r1").ok();
    let wanted = site
        .call("calico", "ADD", "r2", "IP=10.9.0.0", &site.conf)
        .json();
    assert_eq!(wanted["ips"][0]["address"], "10.9.0.0/32");
    site.del("r2").ok();
    assert_eq!(site.left(), Vec::<String>::new());
}

fn a_failure_after_the_address_gives_it_back(site: &Site) {
    // No namespace, then one whose eth0 is taken.
    let (_, message) = site.add("nowhere").error();
    assert!(message.contains("/run/netns/nowhere"), "{message}");
    assert_eq!(site.left(), Vec::<String>::new());
    netns("busy");
    sh("ip -n busy link add eth0 type dummy || ip -n busy link add eth0 type veth peer name other");
    let (_, message) = site.add("busy").error();
    assert!(
        message.contains("container veth name provided (eth0) already exists"),
        "{message}"
    );
    assert_eq!(site.left(), Vec::<String>::new());
    // An address that another interface's route has: the pair is there already when this fails.
    netns("routed");
    sh("ip link add elsewhere type dummy 2>/dev/null || ip link add elsewhere type bridge");
    sh("ip link set elsewhere up && ip route add 10.244.84.150 dev elsewhere");
    site.add("routed").ok();
    site.del("routed").ok();
    netns("third");
    let (_, message) = site
        .call("calico", "ADD", "third", "IP=10.244.84.150", &site.conf)
        .error();
    assert!(message.contains("leads elsewhere"), "{message}");
    sh("ip link del elsewhere");
    assert_eq!(site.left(), Vec::<String>::new());
    site.call("calico", "ADD", "third", "IP=10.244.84.150", &site.conf)
        .ok();
    site.del("third").ok();
    assert_eq!(site.left(), Vec::<String>::new());
}

fn the_address_plugin_alone_and_run_as_a_program(site: &Site) {
    let ipam = |command: &str| site.call("calico-ipam", command, "a1", "", &site.conf);
    assert_eq!(
        ipam("ADD").text,
        include_str!("golden/ipam.json").trim_end()
    );
    assert_eq!(
        site.keys(&KeyPrefix::Handles),
        ["/calico/ipam/v2/handle/k8s-pod-network.a1"]
    );
    assert_eq!(ipam("DEL").ok(), "");
    assert_eq!(ipam("DEL").ok(), "");
    assert_eq!(site.left(), Vec::<String>::new());

    // The same through `calico`, with a program that is not this one.
    let program = PathBuf::from(BIN).join("my-ipam");
    fs::write(&program, format!("#!/bin/sh\nexec {BIN}/calico-ipam\n")).unwrap();
    sh(&format!("chmod +x {}", program.display()));
    netns("a2");
    let conf = site.with("ipam", json!({"type": "my-ipam"}));
    let reply = site.call("calico", "ADD", "a2", "", &conf).json();
    assert_eq!(reply["ips"][0]["address"], "10.244.84.129/32");
    site.call("calico", "DEL", "a2", "", &conf).ok();
    assert_eq!(site.left(), Vec::<String>::new());
    fs::write(
        &program,
        "#!/bin/sh\necho '{\"code\": 11, \"msg\": \"not now\"}'\nexit 1\n",
    )
    .unwrap();
    assert_eq!(
        site.call("calico", "ADD", "a2", "", &conf).error(),
        (11, "not now".to_string())
    );
}

fn two_at_once_fifty_times(site: &Site) {
    for round in 0..50 {
        let ids = [format!("a{round}"), format!("b{round}")];
        ids.iter().for_each(|id| netns(id));
        let started = ids
            .each_ref()
            .map(|id| site.start("calico", "ADD", id, "", &site.conf));
        let replies = started.map(|child| Answer::of(&child.wait_with_output().unwrap()).json());
        assert_ne!(replies[0]["ips"], replies[1]["ips"]);
        if round % 2 == 0 {
            let started = ids
                .each_ref()
                .map(|id| site.start("calico", "DEL", id, "", &site.conf));
            started
                .into_iter()
                .for_each(|child| drop(Answer::of(&child.wait_with_output().unwrap()).ok()));
        }
    }
    assert_eq!(site.allocated(), 50);
    for round in (1..50).step_by(2) {
        site.del(&format!("a{round}")).ok();
        site.del(&format!("b{round}")).ok();
    }
    assert_eq!(site.left(), Vec::<String>::new());
}

fn killed_in_the_middle(site: &Site) {
    netns("whole");
    let started = Instant::now();
    site.add("whole").ok();
    let whole = started.elapsed();
    site.del("whole").ok();
    let mut found: BTreeMap<&str, usize> = BTreeMap::new();
    let mut seen = Vec::new();
    for round in 0..60u32 {
        let id = format!("k{round}");
        netns(&id);
        // A pod every other time: its endpoint has another name and another guard.
        let args = if round % 2 == 0 { POD } else { "" };
        let mut child = site.start("calico", "ADD", &id, args, &site.conf);
        // The only way to meet every moment of another process is to let time pass.
        std::thread::sleep(
            whole
                .mul_f64(f64::from(round) / 50.0)
                .max(Duration::from_micros(200)),
        );
        child.kill().unwrap();
        child.wait().unwrap();
        let left = site.left().join("\n");
        *found
            .entry(if left.is_empty() {
                "nothing"
            } else {
                "something"
            })
            .or_default() += 1;
        seen.push(left);
        site.call("calico", "DEL", &id, args, &site.conf).ok();
        assert_eq!(site.left(), Vec::<String>::new(), "round {round}");
        let links = sh(&format!("ip -n {id} -o link"));
        assert!(!links.contains("eth0"), "round {round}: {links}");
    }
    // The control: kills did meet an ADD half done.
    let half = seen
        .iter()
        .filter(|left| !left.is_empty() && !left.contains("workloadendpoints"))
        .count();
    assert!(half > 0, "no kill met an ADD half done: {found:?}");
    println!("    {half} of 60 kills met an ADD half done");
    netns("after");
    site.add("after").ok();
    let address: IpAddr = "10.244.84.128".parse().unwrap();
    let _ = block_on(Ipam::new(&site.store).release_ips(&[ReleaseRequest::of(address)]));
}

/// How long one ADD and one DEL take, ours and the reference's `bridge` with `host-local`, in turn on the same machine.
/// Not a test: `cargo test -p cni --test runtime -- bench` prints it.
fn bench(site: &Site) {
    const ROUNDS: usize = 100;
    let reference = json!({
        "cniVersion": "1.0.0", "name": "reference", "type": "bridge", "bridge": "cni0", "isGateway": true,
        "ipam": {"type": "host-local", "subnet": "10.99.0.0/16"},
    });
    let timed = |program: &Path, path: &str, command: &str, id: &str, conf: &Value| {
        let started = Instant::now();
        let mut child = Command::new(program)
            .env_clear()
            .env("CNI_COMMAND", command)
            .env("CNI_CONTAINERID", id)
            .env("CNI_NETNS", format!("/run/netns/{id}"))
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", path)
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(conf.to_string().as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        let took = started.elapsed();
        assert!(
            output.status.success(),
            "{command} {}",
            String::from_utf8_lossy(&output.stdout)
        );
        took
    };
    let mut times: BTreeMap<String, Vec<Duration>> = BTreeMap::new();
    for round in 0..ROUNDS {
        let (ours, theirs) = (format!("o{round}"), format!("t{round}"));
        netns(&ours);
        netns(&theirs);
        for command in ["ADD", "DEL"] {
            let own = timed(
                &Path::new(BIN).join("calico"),
                BIN,
                command,
                &ours,
                &site.conf,
            );
            let other = timed(
                Path::new("/usr/lib/cni/bridge"),
                "/usr/lib/cni",
                command,
                &theirs,
                &reference,
            );
            times
                .entry(format!("{command} calico"))
                .or_default()
                .push(own);
            times
                .entry(format!("{command} bridge+host-local"))
                .or_default()
                .push(other);
        }
        sh(&format!("ip netns del {ours}; ip netns del {theirs}"));
    }
    for (what, mut times) in times {
        times.sort();
        let at = |percent: usize| times[times.len() * percent / 100].as_secs_f64() * 1e3;
        println!("{what}: median {:.2} ms, p90 {:.2} ms", at(50), at(90));
    }
}

/// Runs one test of this program in namespaces of its own.
fn inside(name: &str, user_namespace: bool) -> Result<String, String> {
    let mut command = Command::new("unshare");
    command.args(if user_namespace {
        ["--user", "--map-root-user"].as_slice()
    } else {
        &[]
    });
    command
        .args(["--net", "--mount", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["inside", name]);
    let output = command.output().map_err(|e| format!("unshare: {e}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        Ok(text)
    } else {
        Err(text)
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    if let Some(persona) = cni::Persona::from_program_name(&args[0]) {
        return ExitCode::from(u8::try_from(cni::run(persona)).unwrap());
    }
    if args.get(1).map(String::as_str) == Some("inside") {
        let (_, test) = TESTS
            .iter()
            .chain(&[("bench", bench as Test)])
            .find(|(name, _)| *name == args[2])
            .unwrap();
        test(&Site::new());
        return ExitCode::SUCCESS;
    }
    let wanted = args.iter().skip(1).find(|a| !a.starts_with('-'));
    let chosen = TESTS
        .iter()
        .filter(|(name, _)| wanted.is_none_or(|w| name.contains(w.as_str())));
    if args.iter().any(|a| a == "--list") {
        chosen.for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    if wanted.is_some_and(|w| w == "bench") {
        println!(
            "{}",
            inside("bench", sh("id -u").trim() != "0").unwrap_or_else(|text| text)
        );
        return ExitCode::SUCCESS;
    }
    let root = sh("id -u").trim() == "0";
    if Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "--mount", "true"])
        .status()
        .is_ok_and(|s| !s.success())
    {
        println!("skipped: this machine refuses user namespaces");
        return ExitCode::SUCCESS;
    }
    let ways = if root {
        [true, false].as_slice()
    } else {
        &[true]
    };
    let runs: Vec<(&str, bool)> = chosen
        .flat_map(|(name, _)| ways.iter().map(|way| (*name, *way)))
        .collect();
    let next = AtomicUsize::new(0);
    let failed = AtomicUsize::new(0);
    // Each is alone in its namespaces, so that two can run beside each other.
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some((name, user_namespace)) =
                    runs.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    let who = if *user_namespace { "user" } else { "root" };
                    let started = Instant::now();
                    let result = inside(name, *user_namespace);
                    let took = started.elapsed().as_secs_f64();
                    match result {
                        Ok(text) => println!("test {name} ({who}) ... ok ({took:.1} s)\n{text}"),
                        Err(text) => {
                            failed.fetch_add(1, Ordering::Relaxed);
                            println!("test {name} ({who}) ... FAILED\n{text}");
                        }
                    }
                }
            });
        }
    });
    match failed.into_inner() {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}
