//! The commands on real datastores: what Calico wrote to etcd is read, what is written has the same bytes, and a whole store
//! is moved from SQLite to etcd and back.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

use ctl::Persona;
use resource::{Key, KeyPrefix, Store};
use store::testing::{Etcd, skipped};
use store::{AnyStore, SqliteStore, block_on};

mod on_store;
use on_store::{assign, ok, run};

/// The bytes of an etcd, as etcdctl gives them.
fn bytes(etcd: &Etcd) -> BTreeMap<String, String> {
    let text = etcd.ctl(&["get", "/calico/", "--prefix"]);
    let mut lines = text.lines();
    let mut all = BTreeMap::new();
    while let (Some(key), Some(value)) = (lines.next(), lines.next()) {
        all.insert(key.to_string(), value.to_string());
    }
    all
}

fn put(etcd: &Etcd, key: &str, value: &str) {
    let mut child = Command::new("etcdctl")
        .env("ETCDCTL_API", "3")
        .args(["--endpoints", &etcd.endpoint(0), "put", key])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(value.as_bytes())
        .unwrap();
    assert!(child.wait().unwrap().success());
}

/// What the version that wrote the values had, and 3.32 has not.
const NEWER: &str = "\"nftablesFlowTableOffload\":\"Disabled\",";

/// Without what is random or counts.
fn masked(value: &str) -> String {
    let mut value: serde_json::Value = serde_json::from_str(value).unwrap();
    if let Some(metadata) = value.get_mut("metadata") {
        metadata["uid"] = "*".into();
        metadata["creationTimestamp"] = "*".into();
    }
    value.to_string()
}

/// The values that Calico itself has left in an etcd, key and value a line each.
fn captured() -> Vec<(&'static str, &'static str)> {
    let text = include_str!("golden/04-etcd-dump.txt");
    let lines: Vec<&str> = text.lines().collect();
    lines
        .chunks_exact(2)
        .map(|pair| (pair[0], pair[1]))
        .collect()
}

#[test]
fn what_calico_wrote_is_read_and_what_we_write_is_the_same() {
    if skipped() {
        return;
    }
    let etcd = Etcd::start();
    for (key, value) in captured() {
        put(&etcd, key, &value.replace(NEWER, ""));
    }
    let before = bytes(&etcd);
    assert_eq!(before.len(), captured().len());
    let store = AnyStore::Etcd(etcd.store());

    let pools = ok(&store, "get ippool -o wide", "");
    assert!(
        pools.contains("my-pool   10.244.0.0/16   true   CrossSubnet"),
        "{pools}"
    );
    let nodes = ok(&store, "get nodes -o wide", "");
    assert!(
        nodes.contains("node-4   (64512)   10.0.1.4/24   fd00:1::4/64"),
        "{nodes}"
    );
    let endpoints = ok(&store, "get wep -n prod", "");
    assert!(
        endpoints.contains("my-pod-a   node-1   10.244.0.7/32   cali0ef24ba"),
        "{endpoints}"
    );
    let shown = ok(&store, "ipam show --show-configuration", "");
    assert!(
        shown.contains("AutoAllocateBlocks") && shown.contains("true"),
        "{shown}"
    );
    assert_eq!(bytes(&etcd), before, "reading writes nothing");

    // IPAM goes on with Calico's pool, configuration and nodes, and takes the block that Calico would.
    assert_eq!(assign(&store, "node-1", "net.c1"), "10.244.84.128");
    assert!(bytes(&etcd).contains_key("/calico/ipam/v2/assignment/ipv4/block/10.244.84.128-26"));

    // Each object, shown and applied to another etcd, is there with the same key and the same bytes but for uid and time.
    let other = Etcd::start();
    let second = AnyStore::Etcd(other.store());
    let mut compared = 0;
    let mut all = captured();
    // A policy needs its tier.
    all.sort_by_key(|(key, _)| !key.contains("/tiers/"));
    for (key, value) in all {
        let Some(Key::Resource {
            kind,
            namespace,
            name,
        }) = Key::from_path(key)
        else {
            continue;
        };
        // calicoctl 3.32 writes neither of these; the last one is of a newer version's.
        if [
            "ClusterInformation",
            "CalicoNodeStatus",
            "IPAMConfiguration",
        ]
        .contains(&kind.as_str())
        {
            continue;
        }
        let value = value.replace(NEWER, "");
        let flag = namespace.map(|n| format!(" -n {n}")).unwrap_or_default();
        let kind = kind.as_str().to_lowercase();
        let line = format!("get {kind} {name} -o yaml --export{flag}");
        let text = ok(&store, &line, "");
        ok(&second, &format!("apply -f -{flag}"), &text);
        let written = bytes(&other);
        let written = written
            .get(key)
            .unwrap_or_else(|| panic!("{key} is not there"));
        assert_eq!(masked(written), masked(&value), "{key}");
        let order = |text: &str| text.split("\"spec\"").nth(1).map(str::to_string);
        assert_eq!(order(written), order(&value), "{key}");
        compared += 1;
    }
    assert!(compared >= 12, "{compared}");
}

fn fill(store: &AnyStore) {
    ok(
        store,
        "apply -f -",
        "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: p, annotations: {a: 'é \"\\n'}}\nspec: {cidr: 10.244.0.0/16}\n---\n\
         apiVersion: projectcalico.org/v3\nkind: Node\nmetadata: {name: n1, labels: {a: b}}\nspec: {bgp: {ipv4Address: 10.0.0.1/24}}\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: ns}\nspec: {clusterIP: 10.96.0.1, ports: [{port: 80}]}\n",
    );
    for i in 0..3 {
        assign(store, "n1", &format!("net.c{i}"));
    }
}

fn content(store: &AnyStore) -> BTreeMap<String, String> {
    let listing = block_on(store.list(&KeyPrefix::All)).unwrap();
    listing
        .entries
        .into_iter()
        .map(|e| (e.key.path(), e.value))
        .collect()
}

#[test]
fn a_store_is_moved_from_sqlite_to_etcd_and_back() {
    if skipped() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let open =
        |name: &str| AnyStore::Sqlite(SqliteStore::open(directory.path().join(name)).unwrap());
    let first = open("first.db");
    fill(&first);
    ok(&first, "datastore migrate lock", "");
    let file = ok(&first, "datastore migrate export", "");
    let there = content(&first);
    assert!(there.len() >= 8, "{there:?}");

    let etcd = Etcd::start();
    let second = AnyStore::Etcd(etcd.store());
    let said = ok(&second, "datastore migrate import -f -", &file);
    let resources = there.keys().filter(|key| !key.starts_with("/calico/ipam/"));
    let count = format!("Successfully applied {} resource(s)\n", resources.count());
    assert!(said.starts_with(&count), "{said}");
    assert!(
        said.ends_with("Please refer to the datastore migration documentation for next steps.\n")
    );
    assert_eq!(content(&second), there);
    let of_etcd = bytes(&etcd);
    for (key, value) in there.iter().filter(|(key, _)| key.starts_with("/calico/")) {
        assert_eq!(of_etcd.get(key), Some(value));
    }
    // Again is no harm, and goes on where an interrupted one stopped.
    etcd.ctl(&["del", "/calico/ipam/", "--prefix"]);
    ok(&second, "datastore migrate import -f -", &file);
    assert_eq!(content(&second), there);

    let back = ok(&second, "datastore migrate export", "");
    let third = open("third.db");
    let path = directory.path().join("export");
    std::fs::write(&path, &back).unwrap();
    ok(
        &third,
        &format!("datastore migrate import -f {}", path.display()),
        "",
    );
    assert_eq!(content(&third), there);
    let again = ok(&third, "datastore migrate export", "");
    let body = |text: &str| text.split_once('\n').unwrap().1.to_string();
    assert_eq!(body(&again), body(&file));

    ok(&second, "datastore migrate unlock", "");
    let (_, refused, code) = run(&second, Persona::Selvedge, "datastore migrate export", "");
    assert!(
        code == 1 && refused.contains("datastore is not locked"),
        "{refused}"
    );
}

#[test]
fn an_import_is_refused_before_anything_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let open =
        |name: &str| AnyStore::Sqlite(SqliteStore::open(directory.path().join(name)).unwrap());
    let source = open("source.db");
    fill(&source);
    ok(&source, "datastore migrate lock", "");
    let file = ok(&source, "datastore migrate export", "");
    let refused = |store: &AnyStore, file: &str, why: &str| {
        let before = content(store);
        let line = "datastore migrate import -f -";
        let (stdout, stderr, code) = run(store, Persona::Selvedge, line, file);
        assert!(
            code == 1 && stdout.is_empty() && stderr.contains(why),
            "{why}: {stdout}{stderr}"
        );
        assert_eq!(content(store), before, "{why}");
    };
    let empty = open("empty.db");
    let lines: Vec<&str> = file.lines().collect();
    let without = |i: usize| {
        let mut lines = lines.clone();
        lines.remove(i);
        lines.join("\n")
    };
    refused(&empty, "", "it is empty");
    refused(
        &empty,
        &without(0),
        "its first line does not say what it is",
    );
    refused(&empty, &without(2), "values, and has");
    refused(&empty, &without(lines.len() - 1), "it was cut off");
    refused(&empty, &file[..file.len() / 2], "line ");
    refused(&empty, &format!("{file}{{}}\n"), "more after its end");
    refused(
        &empty,
        &file.replace("\"version\":1", "\"version\":2"),
        "version 2",
    );
    refused(
        &empty,
        &file.replace("/ippools/", "/puddles/"),
        "does not know what",
    );
    refused(
        &empty,
        &file.replace(
            "\\\"datastoreReady\\\":false",
            "\\\"datastoreReady\\\":true",
        ),
        "locked",
    );
    refused(
        &empty,
        "apiVersion: projectcalico.org/v3\n",
        "three belong between lines of ===",
    );

    let full = open("full.db");
    ok(
        &full,
        "apply -f -",
        "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: other}\nspec: {cidr: 10.1.0.0/16}\n",
    );
    refused(
        &full,
        &file,
        "is not empty. It has, and the file has not, or has otherwise:\n  IPPool(other)",
    );
    let line = "datastore migrate import -f /no/such/file";
    let (_, stderr, code) = run(&empty, Persona::Selvedge, line, "");
    assert!(
        code == 1 && stderr.contains("open /no/such/file: No such file"),
        "{stderr}"
    );
    // The control: unharmed, it is imported; the ClusterInformation of the first command here is no hindrance.
    ok(&full, "delete ippool other", "");
    ok(&full, "datastore migrate import -f -", &file);
    assert_eq!(content(&full), content(&source));
}

#[test]
fn what_a_store_cannot_hold_is_listed_first() {
    if skipped() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let source = AnyStore::Sqlite(SqliteStore::open(directory.path().join("s.db")).unwrap());
    fill(&source);
    let large = Key::Handle("large".to_string());
    block_on(source.create(&large, &format!("\"{}\"", "x".repeat(2 << 20)))).unwrap();
    ok(&source, "datastore migrate lock", "");
    let file = ok(&source, "datastore migrate export", "");
    let etcd = Etcd::start();
    let target = AnyStore::Etcd(etcd.store());
    let line = "datastore migrate import -f -";
    let (stdout, stderr, code) = run(&target, Persona::Selvedge, line, &file);
    assert!(code == 1 && stdout.is_empty(), "{stdout}");
    for part in [
        "cannot hold:\n  /calico/ipam/v2/handle/large: its 2097154 octets",
        "nothing was written",
        "hint: --leave-out",
    ] {
        assert!(stderr.contains(part), "{stderr}");
    }
    assert!(content(&target).is_empty());
    ok(&target, "datastore migrate import -f - --leave-out", &file);
    let mut expected = content(&source);
    expected.remove(&large.path());
    assert_eq!(content(&target), expected);
}

/// A store has keys that this version does not know; the export names them.
#[test]
fn what_is_not_known_is_named() {
    if skipped() {
        return;
    }
    let etcd = Etcd::start();
    let store = AnyStore::Etcd(etcd.store());
    fill(&store);
    etcd.ctl(&["put", "/calico/felix/v2/no-region/host/n1/status", "{}"]);
    ok(&store, "datastore migrate lock", "");
    let (_, stderr, code) = run(&store, Persona::Selvedge, "datastore migrate export", "");
    assert_eq!(code, 0);
    assert_eq!(
        stderr,
        "not exported, since this version does not know what it is:\n  /calico/felix/v2/no-region/host/n1/status\n"
    );
}

/// Of a cluster whose nodes are Kubernetes', in calicoctl's form: what was there is there again, but for uids, times and what the form leaves out.
#[test]
fn calicoctl_s_export_goes_round() {
    if skipped() {
        return;
    }
    let etcd = Etcd::start();
    let source = AnyStore::Etcd(etcd.store());
    fill(&source);
    let more = "apiVersion: projectcalico.org/v3\nkind: BGPFilter\nmetadata: {name: f}\nspec: {importV4: [{action: Reject}]}\n---\n\
         apiVersion: projectcalico.org/v3\nkind: IPReservation\nmetadata: {name: r}\nspec: {reservedCIDRs: [10.244.9.0/24]}\n---\n\
         apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: g}\nspec: {selector: has(a), types: [Ingress]}\n---\n\
         apiVersion: projectcalico.org/v3\nkind: BGPConfiguration\nmetadata: {name: node.n1}\nspec: {logSeverityScreen: Debug}\n";
    ok(&source, "apply -f -", more);
    let export = |store: &AnyStore| run(store, Persona::Calicoctl, "datastore migrate export", "");
    let (_, stderr, code) = export(&source);
    assert!(
        code == 1 && stderr.starts_with("datastore is not locked"),
        "{stderr}"
    );
    ok(&source, "datastore migrate lock", "");
    let (_, stderr, code) = export(&source);
    assert!(
        code == 1 && stderr.contains("node n1 missing a 'k8s' orchestrator reference"),
        "{stderr}"
    );
    let reference = |name: &str| {
        format!(r#"{{"spec":{{"orchRefs":[{{"orchestrator":"k8s","nodeName":"{name}"}}]}}}}"#)
    };
    ok(
        &source,
        &format!("patch node n1 -p {}", reference("other")),
        "",
    );
    let (file, stderr, code) = export(&source);
    assert_eq!(code, 0, "{stderr}");
    // The node and its configuration are renamed.
    for name in ["    name: other\n", "    name: node.other\n"] {
        assert_eq!(file.matches(name).count(), 1, "{file}");
    }
    assert!(!file.contains("    name: n1\n"), "{file}");
    ok(
        &source,
        &format!("patch node n1 -p {}", reference("n1")),
        "",
    );
    let (file, stderr, code) = export(&source);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(
        stderr,
        "not exported, since calicoctl's form has no place for it: 1 Service\n"
    );
    assert_eq!(file.matches("\n===\n").count(), 2, "{file}");

    let plain = |store: &AnyStore| {
        let mut all = content(store);
        all.retain(|key, _| !key.starts_with("/selvedge/"));
        for value in all.values_mut() {
            let mut object: serde_json::Value = serde_json::from_str(value).unwrap();
            if let Some(metadata) = object.get_mut("metadata").and_then(|m| m.as_object_mut()) {
                metadata.remove("uid");
                metadata.remove("creationTimestamp");
            }
            *value = object.to_string();
        }
        all
    };
    let before = plain(&source);
    assert!(before.len() >= 14, "{before:#?}");
    let directory = tempfile::tempdir().unwrap();
    let sqlite = AnyStore::Sqlite(SqliteStore::open(directory.path().join("s.db")).unwrap());
    let other = Etcd::start();
    for target in [sqlite, AnyStore::Etcd(other.store())] {
        // One that was cut off writes nothing.
        let cut = &file[..file.len() - 20];
        let (_, stderr, code) = run(
            &target,
            Persona::Selvedge,
            "datastore migrate import -f -",
            cut,
        );
        assert!(
            code == 1 && stderr.contains("improperly formatted"),
            "{stderr}"
        );
        assert!(content(&target).is_empty());
        let said = ok(&target, "datastore migrate import -f -", &file);
        assert!(
            said.ends_with(
                "Please refer to the datastore migration documentation for next steps.\n"
            ),
            "{said}"
        );
        assert_eq!(plain(&target), before);
        // Not into one that has something of its own.
        let changed = file.replace("selector: has(a)", "selector: has(b)");
        let (_, stderr, code) = run(
            &target,
            Persona::Selvedge,
            "datastore migrate import -f -",
            &changed,
        );
        assert!(code == 1 && stderr.contains("is not empty"), "{stderr}");
    }
}
