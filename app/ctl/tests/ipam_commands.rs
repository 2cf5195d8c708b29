//! The `ipam` commands that take or make files, or need a locked datastore.

use std::cell::Cell;
use std::fs;
use std::path::Path;

use ctl::{OpenError, Persona, World, run_with};
use ipam::{Claimant, Ipam, Owner, ReleaseRequest};
use resource::kinds::{ClusterInformation, IpPool};
use resource::{Key, KeyPrefix, Kind, MemoryStore, Store};
use serde_json::{Value, json};
use store::block_on;

struct Cluster {
    store: MemoryStore,
    etcd: Cell<bool>,
    kubeconfig: Option<&'static str>,
    randoms: Cell<u8>,
}

const NOW: u64 = 1_795_386_347_988_257_369;

impl Cluster {
    /// Nodes a and b, a pool of /26 with blocks of /28.
    fn new() -> Cluster {
        let cluster = Cluster {
            store: MemoryStore::new(),
            etcd: Cell::new(false),
            kubeconfig: None,
            randoms: Cell::new(0),
        };
        let documents = "\
apiVersion: projectcalico.org/v3
kind: Node
metadata: {name: a}
---
apiVersion: projectcalico.org/v3
kind: Node
metadata: {name: b}
---
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: p, labels: {of: us}}
spec: {cidr: 10.0.0.0/26, blockSize: 28, natOutgoing: true}
";
        let (_, stderr, code) = cluster.run_on("calicoctl apply -f -", documents);
        assert_eq!((stderr.as_str(), code), ("", 0));
        cluster
    }

    fn run(&self, line: &str) -> (String, String, i32) {
        self.run_on(line, "")
    }

    fn run_on(&self, line: &str, stdin: &str) -> (String, String, i32) {
        let mut words = line.split(' ').map(String::from);
        let persona = match words.next().as_deref() {
            Some("selvedge") => Persona::Selvedge,
            _ => Persona::Calicoctl,
        };
        let words: Vec<String> = words.collect();
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let random = |buffer: &mut [u8]| {
            self.randoms.set(self.randoms.get().wrapping_add(1));
            buffer.fill(self.randoms.get());
            Ok(())
        };
        let mut world = World {
            persona,
            stdin: &mut stdin.as_bytes(),
            stdout: &mut stdout,
            stderr: &mut stderr,
            now: "2026-11-22T22:23:05Z".parse().unwrap(),
            random: &random,
            pause: &|_| (),
            root: Path::new("/nonexistent").to_path_buf(),
            environment: &|name| {
                let value = self.kubeconfig.filter(|_| name == "KUBECONFIG");
                value.map(String::from)
            },
            etcd: &self.etcd,
        };
        let code = run_with(&words, &mut world, |_, _| {
            Ok::<_, OpenError>(self.store.clone())
        });
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (text(stdout), text(stderr), code)
    }

    /// What `datastore migrate lock` and `unlock` write.
    fn set_ready(&self, ready: bool) {
        let key = Key::cluster(Kind::ClusterInformation, "default");
        let entry = block_on(self.store.get(&key)).unwrap().unwrap();
        let mut information = ClusterInformation::from_entry(&entry).unwrap();
        information.spec.datastore_ready = Some(ready);
        block_on(
            self.store
                .update(&key, &information.to_stored(), entry.revision),
        )
        .unwrap();
    }

    fn give(&self, address: &str, container: &str, node: &str) {
        let owner = Owner {
            handle: Some(format!("net.{container}")),
            attributes: [("node".to_string(), node.to_string())].into(),
        };
        let ipam = Ipam::new(&self.store);
        let claimant = Claimant::Host(node);
        block_on(ipam.assign_ip(address.parse().unwrap(), &owner, claimant, NOW)).unwrap();
    }

    fn attach(&self, address: &str, container: &str, node: &str) {
        let document = format!(
            "apiVersion: projectcalico.org/v3\nkind: WorkloadEndpoint\n\
             metadata: {{name: {node}-cni-{container}-eth0}}\n\
             spec: {{node: {node}, orchestrator: cni, containerID: {container}, endpoint: eth0, interfaceName: cali{container}, ipNetworks: [{address}/32]}}\n"
        );
        let (_, stderr, code) = self.run_on("calicoctl apply -f -", &document);
        assert_eq!((stderr.as_str(), code), ("", 0));
    }

    fn is_given(&self, address: &str) -> bool {
        let ipam = Ipam::new(&self.store);
        block_on(ipam.owner_of(address.parse().unwrap()))
            .unwrap()
            .is_some()
    }

    fn paths(&self, prefix: &KeyPrefix) -> Vec<String> {
        let listing = block_on(self.store.list(prefix)).unwrap();
        listing.entries.iter().map(|e| e.key.path()).collect()
    }
}

/// A cluster with one used address, one leaked, one borrowed and leaked, and a handle without addresses.
fn leaky() -> Cluster {
    let cluster = Cluster::new();
    cluster.give("10.0.0.1", "used", "a");
    cluster.attach("10.0.0.1", "used", "a");
    cluster.give("10.0.0.2", "leaked", "a");
    cluster.give("10.0.0.3", "borrowed", "b");
    let handle = Key::Handle("net.idle".to_string());
    block_on(
        cluster
            .store
            .create(&handle, r#"{"block":{},"deleted":false}"#),
    )
    .unwrap();
    cluster
}

fn report_of(cluster: &Cluster, path: &Path) -> Value {
    let line = format!("calicoctl ipam check -o {}", path.display());
    let (stdout, stderr, code) = cluster.run(&line);
    assert_eq!((stderr.as_str(), code), ("", 0));
    assert!(
        stdout.ends_with("Check complete; found 3 problems.\n"),
        "{stdout}"
    );
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn a_report_has_calico_s_fields() {
    let place = tempfile::tempdir().unwrap();
    let cluster = leaky();
    cluster.set_ready(false);
    let path = place.path().join("report.json");
    let report = report_of(&cluster, &path);
    let key = Key::cluster(Kind::ClusterInformation, "default");
    let entry = block_on(cluster.store.get(&key)).unwrap().unwrap();
    let handle = Key::Handle("net.idle".to_string());
    let idle = block_on(cluster.store.get(&handle)).unwrap().unwrap();
    let expected = json!({
        "version": "v3.32.1",
        "clusterGUID": "01".repeat(16),
        "datastoreLocked": true,
        "clusterInformationRevision": entry.revision.to_string(),
        "clusterType": "",
        "allocations": {
            "10.0.0.1": [{
                "ip": "10.0.0.1", "handle": "net.used", "sequenceNumber": NOW, "node": "a",
                "inUse": true, "owners": ["Workload(default/a-cni-used-eth0)"]
            }],
            "10.0.0.2": [{
                "ip": "10.0.0.2", "handle": "net.leaked", "sequenceNumber": NOW + 1, "node": "a",
                "inUse": false, "owners": null
            }],
            "10.0.0.3": [{
                "ip": "10.0.0.3", "handle": "net.borrowed", "sequenceNumber": NOW + 2, "node": "b",
                "inUse": false, "borrowed": true, "owners": null
            }]
        },
        "leakedHandles": [{ "id": "net.idle", "revision": idle.revision.to_string() }]
    });
    assert_eq!(report, expected);
    let (_, stderr, code) = cluster.run("calicoctl ipam check -o /nonexistent/report");
    assert_eq!(code, 1);
    assert!(
        stderr.starts_with("cannot write the report /nonexistent/report: "),
        "{stderr}"
    );
}

#[test]
fn on_etcd_calicoctl_wants_a_kubeconfig() {
    let mut cluster = Cluster::new();
    cluster.etcd.set(true);
    let refused = "KUBECONFIG environment variable or --kubeconfig parameter not set\n";
    assert_eq!(cluster.run("calicoctl ipam check").1, refused);
    assert_eq!(cluster.run("selvedge ipam check").2, 0);
    assert_eq!(cluster.run("calicoctl ipam check --kubeconfig=x").2, 0);
    cluster.kubeconfig = Some("x");
    assert_eq!(cluster.run("calicoctl ipam check").2, 0);
    cluster.kubeconfig = None;
    cluster.etcd.set(false);
    assert_eq!(cluster.run("calicoctl ipam check").2, 0);
}

#[test]
fn leaks_are_released_from_a_fresh_report_of_a_locked_store() {
    let place = tempfile::tempdir().unwrap();
    let cluster = leaky();
    let path = place.path().join("report.json");
    let release = format!("calicoctl ipam release --from-report={}", path.display());
    report_of(&cluster, &path);
    let refused = |line: &str, says: &str| {
        let (stdout, stderr, code) = cluster.run(line);
        assert_eq!(code, 1, "{line}: {stdout}");
        assert!(stderr.contains(says), "{line}: {stderr}");
        assert!(cluster.is_given("10.0.0.2"), "nothing was released");
    };
    refused(&release, "Datastore is not locked. Refusing to release.");
    cluster.set_ready(false);
    refused(&release, "The provided report is stale");
    let mut report = report_of(&cluster, &path);
    let write = |report: &Value| fs::write(&path, report.to_string()).unwrap();
    report["clusterGUID"] = json!("other");
    write(&report);
    refused(
        &format!("{release} --force"),
        "mismatched cluster GUID. Refusing to release.",
    );
    report["clusterGUID"] = json!("01".repeat(16));
    report["version"] = json!("v3.31.0");
    write(&report);
    refused(
        &release,
        "was produced using a different version (v3.31.0) of calicoctl. Refusing to release.",
    );
    fs::write(&path, "{}").unwrap();
    refused(&release, "is no report of ipam check");
    refused(
        "calicoctl ipam release --from-report=/nonexistent",
        "open /nonexistent: no such file or directory",
    );

    write(&report);
    let (stdout, stderr, code) = cluster.run(&format!("{release} --force"));
    let expected = "\
WARNING: Report was produced using a different version of calicoctl. Ignoring due to --force option
Releasing 2 old IPs...
Successfully released 2 old IPs
Releasing 1 old handles...
Successfully released 1 old handles
You may now unlock the data store.
";
    assert_eq!((stdout.as_str(), stderr.as_str(), code), (expected, "", 0));
    assert!(cluster.is_given("10.0.0.1"), "in use");
    assert!(!cluster.is_given("10.0.0.2") && !cluster.is_given("10.0.0.3"));
    assert_eq!(
        cluster.paths(&KeyPrefix::Handles),
        ["/calico/ipam/v2/handle/net.used"]
    );
}

#[test]
fn of_several_reports_what_all_have_is_released_and_what_was_given_anew_stays() {
    let place = tempfile::tempdir().unwrap();
    let cluster = leaky();
    let (first, second) = (place.path().join("1.json"), place.path().join("2.json"));
    report_of(&cluster, &first);
    // In the second, the borrowed address is in use; and then the other is given anew.
    cluster.attach("10.0.0.3", "borrowed", "b");
    let line = format!("calicoctl ipam check -o {}", second.display());
    assert_eq!(cluster.run(&line).2, 0);
    let ipam = Ipam::new(&cluster.store);
    let leaked = ReleaseRequest::of("10.0.0.2".parse().unwrap());
    block_on(ipam.release_ips(&[leaked])).unwrap();
    cluster.give("10.0.0.2", "leaked", "a");
    let line = format!(
        "calicoctl ipam release --from-report={} --from-report {} --force",
        first.display(),
        second.display()
    );
    let (stdout, stderr, code) = cluster.run(&line);
    let expected = "\
WARNING: Datastore is not locked. Ignoring due to --force option
Releasing 1 old IPs...
  10.0.0.2 has been allocated anew; it stays
Successfully released 0 old IPs
Releasing 1 old handles...
Successfully released 1 old handles
You may now unlock the data store.
";
    assert_eq!((stdout.as_str(), stderr.as_str(), code), (expected, "", 0));
    assert!(cluster.is_given("10.0.0.2") && cluster.is_given("10.0.0.3"));
}

#[test]
fn a_pool_is_split_and_its_blocks_stay() {
    let cluster = leaky();
    let before = cluster.paths(&KeyPrefix::Blocks);
    let refused = |line: &str, says: &str| {
        let (stdout, stderr, code) = cluster.run(line);
        assert_eq!((stdout.as_str(), code), ("", 1), "{line}");
        assert!(stderr.starts_with(says), "{line}: {stderr}");
        assert_eq!(cluster.paths(&KeyPrefix::Kind(Kind::IpPool)).len(), 1);
    };
    let locked = "datastore is not locked. Run the `calicoctl datastore migrate lock` command in order split the IP pools\n";
    refused("calicoctl ipam split 2 --name=p", locked);
    cluster.set_ready(false);
    for number in ["0", "1", "3"] {
        let line = format!("calicoctl ipam split --name=p -- {number}");
        let says = format!(
            "error splitting the CIDR 10.0.0.0/26 into {number} CIDRs: number to split CIDR into is not a valid power of 2: {number}"
        );
        refused(&line, &says);
    }
    for number in ["two", "-2"] {
        let line = format!("calicoctl ipam split --name=p -- {number}");
        let says =
            format!("error reading number to split IP pools into. {number} is not a valid number");
        refused(&line, &says);
    }
    refused(
        "calicoctl ipam split 2",
        "no name or CIDR provided. Provide a name or CIDR to denote the IP pool to split",
    );
    refused(
        "calicoctl ipam split 2 --cidr=10.0.0.0/27 --name=p",
        "unable to find IP pool p covering the specified CIDR 10.0.0.0/27",
    );
    refused(
        "calicoctl ipam split 2 --name=q",
        "unable to find IP pool with name q: resource does not exist: IPPool(q) with error: <nil>",
    );
    refused(
        "calicoctl ipam split 2 --cidr=10.0.0.0/27",
        "unable to find IP pool  covering the specified CIDR 10.0.0.0/27",
    );
    refused(
        "calicoctl ipam split 2 --cidr=ten",
        "unable to find IP pool  covering the specified CIDR ten",
    );
    refused(
        "calicoctl ipam split 8 --name=p",
        "error using unsafe create to make split pool with cidr 10.0.0.0/29: error with field IPPool.Spec.CIDR = '10.0.0.0/29' (IP pool size is too small for use with Calico IPAM. It must be equal to or greater than the block size.)",
    );

    // A split that was killed after its first child is finished.
    let key = Key::cluster(Kind::IpPool, "p");
    let entry = block_on(cluster.store.get(&key)).unwrap().unwrap();
    let mut child = IpPool::from_entry(&entry).unwrap();
    child.metadata.name = "split-p-0".to_string();
    child.spec.cidr = "10.0.0.0/28".to_string();
    block_on(cluster.store.create(&child.key(), &child.to_stored())).unwrap();
    let (stdout, stderr, code) = cluster.run("calicoctl ipam split 4 --cidr=10.0.0.0/26");
    let expected = "\
IP Pool p was successfully split into 4 smaller pools.Created split-p-0 with CIDR 10.0.0.0/28.
Created split-p-1 with CIDR 10.0.0.16/28.
Created split-p-2 with CIDR 10.0.0.32/28.
Created split-p-3 with CIDR 10.0.0.48/28.
Please refer to the documentation for final steps.";
    assert_eq!((stdout.as_str(), stderr.as_str(), code), (expected, "", 0));
    assert_eq!(cluster.paths(&KeyPrefix::Blocks), before);
    assert!(cluster.is_given("10.0.0.1"));
    let (table, _, _) = cluster.run("calicoctl get ippool -o custom-columns=NAME,CIDR,NAT");
    let expected = "\
NAME        CIDR           NAT    
split-p-0   10.0.0.0/28    true   
split-p-1   10.0.0.16/28   true   
split-p-2   10.0.0.32/28   true   
split-p-3   10.0.0.48/28   true   

";
    assert_eq!(table, expected);
}

#[test]
fn borrowed_addresses_are_shown_with_who_has_them() {
    let cluster = leaky();
    let ipam = Ipam::new(&cluster.store);
    let owner = Owner {
        handle: Some("net.pod".to_string()),
        attributes: [("node", "b"), ("namespace", "default"), ("pod", "web-0")]
            .map(|(k, v)| (k.to_string(), v.to_string()))
            .into(),
    };
    block_on(ipam.assign_ip("10.0.0.4".parse().unwrap(), &owner, "b", NOW)).unwrap();
    let nobody = Owner::default();
    block_on(ipam.assign_ip("10.0.0.5".parse().unwrap(), &nobody, "b", NOW)).unwrap();
    let (stdout, _, _) = cluster.run("calicoctl ipam show --show-borrowed");
    let expected = "\
+----------+----------------+-------------+-------------+------+---------------+
|    IP    | BORROWING-NODE |    BLOCK    | BLOCK OWNER | TYPE | ALLOCATED-TO  |
+----------+----------------+-------------+-------------+------+---------------+
| 10.0.0.3 | b              | 10.0.0.0/28 | a           |      |               |
| 10.0.0.4 | b              | 10.0.0.0/28 | a           | pod  | default/web-0 |
+----------+----------------+-------------+-------------+------+---------------+

Note: found 1 IP allocations without an explicit node association. Unable to determine if they are borrowed.
";
    assert_eq!(stdout, expected);
}

#[test]
fn strict_affinity_and_new_blocks_are_not_both_turned_off() {
    let cluster = Cluster::new();
    let none = r#"{"strict_affinity":true}"#;
    block_on(cluster.store.create(&Key::IpamConfig, none)).unwrap();
    let (stdout, stderr, code) = cluster.run("calicoctl ipam configure --strictaffinity=false");
    let expected =
        "error: Cannot disable 'StrictAffinity' and 'AutoAllocateBlocks' at the same time\n";
    assert_eq!((stdout.as_str(), stderr.as_str(), code), ("", expected, 1));
    let entry = block_on(cluster.store.get(&Key::IpamConfig))
        .unwrap()
        .unwrap();
    assert_eq!(entry.value, none, "nothing was written");
    assert_eq!(
        cluster
            .run("calicoctl ipam configure --max-blocks-per-host=4")
            .2,
        0
    );
    let entry = block_on(cluster.store.get(&Key::IpamConfig))
        .unwrap()
        .unwrap();
    assert_eq!(
        entry.value,
        r#"{"strict_affinity":true,"maxBlocksPerHost":4,"kubeVirtVMAddressPersistence":"Enabled"}"#
    );
}
