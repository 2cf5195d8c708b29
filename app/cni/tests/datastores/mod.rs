//! The plugin on the datastores that are elsewhere, and what pods ask of it on Kubernetes.

use super::*;

pub fn on_etcd(site: &Site) {
    if skipped() {
        return;
    }
    let mut etcd = Etcd::start();
    let mut conf = site.with("datastore_type", json!("etcdv3"));
    conf["etcd_endpoints"] = json!(etcd.endpoint(0));
    let site = Site {
        store: AnyStore::Etcd(etcd.store()),
        conf,
    };
    fill(&site.store);
    add_check_del(&site);
    assert!(!site.keys(&KeyPrefix::Blocks).is_empty());
    etcd.kill(0);
    netns("lost");
    let (code, text) = site.add("lost").error();
    assert_eq!(code, 999);
    assert!(
        text.contains("cannot reach etcd (the CNI configuration, DATASTORE_TYPE)")
            && text.contains("Connection refused"),
        "{text}"
    );
}

/// A pool whose selector is about namespaces is for pods of those alone; a namespace's labels are in its profile.
pub fn namespaces_of_pools(site: &Site) {
    let team = IpPoolSpec {
        cidr: "10.77.0.0/16".to_string(),
        namespace_selector: "team == 'a'".to_string(),
        ..IpPoolSpec::default()
    };
    put(&site.store, "a-pool", team);
    let profile = |labels: &[(&str, &str)]| ProfileSpec {
        labels_to_apply: labels
            .iter()
            .map(|(k, v)| (format!("pcns.{k}"), v.to_string()))
            .collect(),
        ..ProfileSpec::default()
    };
    put(&site.store, "kns.of-a", profile(&[("team", "a")]));
    put(&site.store, "kns.of-b", profile(&[("team", "b")]));
    for (namespace, begins) in [
        ("of-a", "10.77."),
        ("of-b", "10.244."),
        ("unknown", "10.244."),
    ] {
        netns(namespace);
        let args = format!("K8S_POD_NAMESPACE={namespace};K8S_POD_NAME=web");
        let reply = site.call("calico", "ADD", namespace, &args, &site.conf);
        let address = reply.json()["ips"][0]["address"].to_string();
        assert!(address.contains(begins), "{namespace}: {address}");
        site.call("calico", "DEL", namespace, &args, &site.conf)
            .ok();
    }
    assert_eq!(site.left(), Vec::<String>::new());
}

/// A pod of the API server's as the kubelet has it made, in the namespace `a`.
fn pod(kubernetes: &Kubernetes, name: &str, annotations: &Value) {
    let pod = json!({
        "metadata": {"name": name, "annotations": annotations},
        "spec": {"nodeName": "node-1", "containers": [{"name": "c", "image": "x"}]},
    });
    kubernetes.post("/api/v1/namespaces/a/pods", &pod);
}

pub fn on_kubernetes(site: &Site) {
    if kubernetes_skipped() {
        return;
    }
    // The server wants an address to tell others of.
    sh("ip route add default dev lo");
    let kubernetes = Kubernetes::start();
    sh("ip route del default dev lo");
    let mut conf = site.with("datastore_type", json!("kubernetes"));
    conf["kubernetes"] = json!({"kubeconfig": kubernetes.kubeconfig()});
    conf["policy"] = json!({"type": "k8s"});
    let store = AnyStore::Kubernetes(kubernetes.store(Group::Crd));
    let site = Site { store, conf };
    for node in ["node-1", "node-2"] {
        kubernetes.post("/api/v1/nodes", &json!({"metadata": {"name": node}}));
    }
    fill_pools(&site.store);
    let call = |command: &str, id: &str, pod: &str| {
        let args = format!("IgnoreUnknown=1;K8S_POD_NAMESPACE=a;K8S_POD_NAME={pod}");
        site.call("calico", command, id, &args, &site.conf)
    };
    let annotations = |name: &str| {
        let pod = kubernetes.request("GET", &format!("/api/v1/namespaces/a/pods/{name}"), None);
        pod["metadata"]["annotations"].clone()
    };

    // A pod that asks for nothing; its endpoint is what the plugin wrote to it.
    pod(&kubernetes, "web-0", &json!({}));
    netns("first");
    let first = call("ADD", "first", "web-0").json();
    let address = first["ips"][0]["address"].as_str().unwrap().to_string();
    assert!(address.starts_with("10.244."), "{address}");
    assert_eq!(
        annotations("web-0"),
        json!({
            "cni.projectcalico.org/containerID": "first",
            "cni.projectcalico.org/podIP": address,
            "cni.projectcalico.org/podIPs": address,
        })
    );
    pings(&format!("ping {}", address.replace("/32", "")));
    let host = first["interfaces"][0]["name"].as_str().unwrap();
    let key = Key::in_namespace(Kind::WorkloadEndpoint, "a", "node--1-k8s-web--0-eth0");
    let stored = block_on(site.store.get(&key)).unwrap().unwrap().value;
    assert!(
        stored.contains(&format!(r#""interfaceName":"{host}""#)),
        "{stored}"
    );
    assert_eq!(call("CHECK", "first", "web-0").ok(), "OK\n");

    // A newer sandbox; the older one's DEL leaves it.
    netns("second");
    let second = call("ADD", "second", "web-0").json();
    assert_eq!(call("DEL", "first", "web-0").ok(), "");
    assert_eq!(
        annotations("web-0")["cni.projectcalico.org/containerID"],
        "second"
    );
    assert_eq!(site.allocated(), 1);
    let address = second["ips"][0]["address"].as_str().unwrap();
    pings(&format!("ping {}", address.replace("/32", "")));
    assert_eq!(call("DEL", "second", "web-0").ok(), "");
    assert_eq!(annotations("web-0")["cni.projectcalico.org/podIPs"], "");
    assert_eq!(call("DEL", "second", "web-0").ok(), "", "twice");
    assert_eq!(site.left(), Vec::<String>::new());
    // The kubelet writes to a pod all the time, also while it comes and goes.
    pod(&kubernetes, "busy", &json!({}));
    netns("busy");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writes = scope.spawn(|| {
            let mut writes = 0;
            while !done.load(Ordering::Relaxed) {
                let change = json!({"metadata": {"annotations": {"writes": writes.to_string()}}});
                kubernetes.request("PATCH", "/api/v1/namespaces/a/pods/busy", Some(&change));
                writes += 1;
            }
            writes
        });
        let mut rounds = 0;
        let both = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..10 {
                call("ADD", "busy", "busy").ok();
                assert_eq!(
                    annotations("busy")["cni.projectcalico.org/containerID"],
                    "busy"
                );
                call("DEL", "busy", "busy").ok();
                assert_eq!(annotations("busy")["cni.projectcalico.org/podIPs"], "");
                rounds += 1;
            }
        }));
        done.store(true, Ordering::Relaxed);
        let writes = writes.join().unwrap();
        println!("    {writes} writes of others in {rounds} rounds");
        if let Err(panic) = both {
            std::panic::resume_unwind(panic);
        }
    });
    assert_eq!(site.left(), Vec::<String>::new());

    // In the other group nobody has set the cluster up.
    let native = site.with("calico_api_group", json!("projectcalico.org/v3"));
    let (_, text) = site.call("calico", "ADD", "first", "", &native).error();
    assert!(
        text.starts_with("error getting ClusterInformation: resource does not exist"),
        "{text}"
    );
    wishes(&site, &kubernetes);
    let missing = call("ADD", "first", "nobody").error().1;
    assert_eq!(missing, "the Kubernetes API has no pod nobody");
}

/// What pods and namespaces ask for.
fn wishes(site: &Site, kubernetes: &Kubernetes) {
    let asked = |names: &[(&str, Value)]| -> Value {
        let named = names.iter().map(|(name, value)| {
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_string);
            (format!("cni.projectcalico.org/{name}"), json!(text))
        });
        Value::Object(named.collect())
    };
    let namespace =
        json!({"metadata": {"annotations": asked(&[("ipv4pools", json!(["of-namespace"]))])}});
    kubernetes.request("PATCH", "/api/v1/namespaces/a", Some(&namespace));
    let mut n = 0;
    let mut add = |annotations: Value, conf: Option<&Value>| {
        n += 1;
        let name = format!("asks-{n}");
        pod(kubernetes, &name, &annotations);
        netns(&name);
        let args = format!("K8S_POD_NAMESPACE=a;K8S_POD_NAME={name}");
        let conf = conf.unwrap_or(&site.conf);
        let call = |command: &str| site.call("calico", command, &name, &args, conf);
        let answer = call("ADD");
        if answer.code == 0 {
            assert_eq!(call("CHECK").ok(), "OK\n");
        }
        assert_eq!(call("DEL").ok(), "");
        assert_eq!(site.left(), Vec::<String>::new());
        answer
    };
    let first = |answer: Answer| {
        answer.json()["ips"][0]["address"]
            .as_str()
            .unwrap()
            .to_string()
    };
    assert!(first(add(json!({}), None)).starts_with("10.88."));
    let own = asked(&[
        ("ipv4pools", json!(["10.99.0.0/16"])),
        ("hwAddr", json!("02:00:00:00:00:07")),
    ]);
    let reply = add(own, None).json();
    assert!(
        reply["ips"][0]["address"]
            .as_str()
            .unwrap()
            .starts_with("10.99."),
        "{reply}"
    );
    assert_eq!(reply["interfaces"][1]["mac"], "02:00:00:00:00:07");
    let six = asked(&[("ipFamilies", json!(["IPv6"]))]);
    assert!(first(add(six, None)).starts_with("fd00:10::"));
    let these = asked(&[("ipAddrs", json!(["10.99.1.2", "fd00:10::7"]))]);
    let reply = add(these, None).json();
    assert_eq!(reply["ips"][0]["address"], "10.99.1.2/32");
    assert_eq!(reply["ips"][1]["address"], "fd00:10::7/128");

    // The second is in no pool: the first goes back.
    let outside = asked(&[("ipAddrs", json!(["10.99.1.2", "2001:db8::7"]))]);
    assert_ne!(add(outside, None).code, 0);
    let (_, text) = add(asked(&[("ipv4pools", json!("x"))]), None).error();
    assert!(text.ends_with("annotation cni.projectcalico.org/ipv4pools: \"x\" is not a JSON list of pools' names and CIDRs"), "{text}");
    for (annotation, feature) in [
        ("ipAddrsNoIpam", "ip_addrs_no_ipam"),
        ("floatingIPs", "floating_ips"),
    ] {
        let asks = asked(&[(annotation, json!(["192.0.2.77"]))]);
        let (_, text) = add(asks.clone(), None).error();
        assert!(
            text.starts_with(&format!("requested feature is not enabled: {feature}")),
            "{text}"
        );
        let conf = site.with("feature_control", json!({feature: true}));
        let address = first(add(asks, Some(&conf)));
        assert_eq!(
            address == "192.0.2.77/32",
            feature == "ip_addrs_no_ipam",
            "{address}"
        );
    }
}
