//! The store on a real kube-apiserver: logins, restarts, compaction, what is deleted in two steps, many objects.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use kubernetes::Group;
use resource::conformance::{self, Values};
use resource::{Change, Entry, Key, KeyPrefix, Kind, Store, StoreError, StoreResult};
use serde_json::{Value, json};
use store::testing::{Kubernetes, kubernetes_skipped};
use store::{Exec, KubernetesOptions, KubernetesStore, Login, Pem, Token, block_on};

mod symptoms;
use symptoms::explained;

fn pool(name: &str) -> (Key, String) {
    let document = format!(
        r#"{{"kind":"IPPool","apiVersion":"projectcalico.org/v3","metadata":{{"name":"{name}"}},"spec":{{"cidr":"10.0.0.0/16"}}}}"#
    );
    (Key::cluster(Kind::IpPool, name), document)
}

fn create(store: &KubernetesStore, name: &str) -> StoreResult<Entry> {
    let (key, document) = pool(name);
    block_on(store.create(&key, &document))
}

#[test]
fn each_way_to_say_who_one_is() {
    if kubernetes_skipped() {
        return;
    }
    let kubernetes = Kubernetes::shared();
    let _alone = kubernetes.emptied();
    let options = kubernetes.options(Group::Crd);
    let Some(Token::Inline(secret)) = options.login.token.clone() else {
        panic!("a token")
    };
    let login = |token| Login {
        token: Some(token),
        ..Login::default()
    };
    let file = kubernetes.file("token");
    fs::write(&file, format!("{}\n", secret.reveal())).unwrap();
    let program = kubernetes.file("say-token");
    let printed = json!({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": secret.reveal()}});
    fs::write(
        &program,
        format!("#!/bin/sh\n[ \"$WORD\" = open ] || exit 7\ncat <<E\n{printed}\nE\n"),
    )
    .unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let exec = |word: &str| {
        Token::Exec(Exec {
            command: "./say-token".to_string(),
            args: Vec::new(),
            env: vec![("WORD".to_string(), word.to_string())],
            api_version: "client.authentication.k8s.io/v1".to_string(),
            directory: program.parent().unwrap().to_path_buf(),
        })
    };
    let ask = |options: KubernetesOptions| {
        let store = KubernetesStore::open(options)?;
        block_on(store.list(&KeyPrefix::Kind(Kind::IpPool))).map(|l| l.entries.len())
    };
    for login in [
        login(Token::Inline(secret.clone())),
        login(Token::File(file)),
        login(exec("open")),
    ] {
        assert_eq!(
            ask(KubernetesOptions {
                login,
                ..options.clone()
            }),
            Ok(0)
        );
    }
    let refused = |options: KubernetesOptions| explained(&ask(options).unwrap_err().to_string());
    // The authority is the server's, but the name in the certificate is nobody whom RBAC knows.
    let certificate = Login {
        certificate: Some(Pem::File(kubernetes.file("client.pem"))),
        key: Some(Pem::File(kubernetes.file("client.key"))),
        token: None,
    };
    let said = refused(KubernetesOptions {
        login: certificate,
        ..options.clone()
    });
    assert!(
        said.contains(r#"User "client" cannot list resource "ippools""#),
        "{said}"
    );
    assert!(
        said.ends_with("; its RBAC must let us get, list, watch, create, update and delete this"),
        "{said}"
    );
    let said = refused(KubernetesOptions {
        login: login(Token::Inline("wrong".to_string().into())),
        ..options.clone()
    });
    assert!(said.contains("Unauthorized; it does not know us"), "{said}");
    let said = refused(KubernetesOptions {
        login: login(exec("closed")),
        ..options.clone()
    });
    assert!(
        said.contains("credential program ./say-token: exit status: 7"),
        "{said}"
    );
    let said = refused(KubernetesOptions {
        ca: Some(Pem::File(kubernetes.file("other.pem"))),
        ..options.clone()
    });
    assert!(said.contains("UnknownIssuer; name the authority"), "{said}");
    let anyone = KubernetesOptions {
        ca: None,
        insecure: true,
        ..options.clone()
    };
    assert_eq!(ask(anyone), Ok(0));
    let said = refused(KubernetesOptions {
        server: "https://127.0.0.1:1".to_string(),
        ..options
    });
    assert!(
        said.contains("Connection refused") && said.contains("; start it"),
        "{said}"
    );
}

#[test]
fn an_object_on_its_way_out_is_not_there() {
    if kubernetes_skipped() {
        return;
    }
    let kubernetes = Kubernetes::shared();
    let _alone = kubernetes.emptied();
    let store = kubernetes.store(Group::Crd);
    let key = Key::Handle("Half-Gone".to_string());
    let value = r#"{"block":{"10.0.0.0/26":1},"deleted":false}"#;
    let written = block_on(store.create(&key, value)).unwrap();
    assert_eq!(written.value, value);
    let path = "/apis/crd.projectcalico.org/v1/ipamhandles/half-gone";
    let half = |there: &str| {
        let mut object = kubernetes.request("GET", path, None);
        assert_eq!(object["spec"]["handleID"], there);
        object["spec"]["deleted"] = json!(true);
        kubernetes.request("PUT", path, Some(&object));
    };
    // Somebody died between the two steps.
    half("Half-Gone");
    assert_eq!(
        block_on(store.list(&KeyPrefix::Handles)).unwrap().entries,
        []
    );
    assert_eq!(block_on(store.get(&key)), Ok(None));
    let text = kubernetes.try_request("GET", path, None).unwrap();
    assert!(
        text.contains("NotFound"),
        "whoever reads it ends it: {text}"
    );
    // Nor is it in anybody's way.
    block_on(store.create(&key, value)).unwrap();
    half("Half-Gone");
    let again = block_on(store.create(&key, value)).unwrap();
    assert_eq!(
        block_on(store.delete(&key, Some(again.revision))),
        Ok(again.clone())
    );
    assert_eq!(
        block_on(store.delete(&key, None)),
        Err(StoreError::NotFound(key))
    );
}

/// Follows until a pool of this name is there; how often the follower had to list anew.
fn follow_until(store: KubernetesStore, name: &str) -> mpsc::Receiver<usize> {
    let (sender, receiver) = mpsc::channel();
    let (key, _) = pool(name);
    let mut cursor = block_on(store.list(&KeyPrefix::All)).unwrap().revision;
    // The watches run before anything happens.
    cursor = block_on(store.changes(cursor)).unwrap().revision;
    thread::spawn(move || {
        let mut lists = 0;
        loop {
            let read = match block_on(store.wait(cursor)) {
                Ok(()) => block_on(store.changes(cursor)),
                Err(error) => Err(error),
            };
            match read {
                Ok(read) => {
                    let found = |c: &Change| matches!(c, Change::Put(e) if e.key == key);
                    if read.changes.iter().any(found) {
                        break;
                    }
                    cursor = read.revision;
                }
                Err(StoreError::Compacted { .. }) => {
                    lists += 1;
                    let listing = block_on(store.list(&KeyPrefix::All)).unwrap();
                    if listing.entries.iter().any(|e| e.key == key) {
                        break;
                    }
                    cursor = listing.revision;
                }
                // The server is being started.
                Err(_) => thread::park_timeout(Duration::from_millis(100)),
            }
        }
        sender.send(lists).unwrap();
    });
    receiver
}

#[test]
fn a_server_that_was_killed_is_followed_again() {
    if kubernetes_skipped() {
        return;
    }
    let mut kubernetes = Kubernetes::start();
    let store = kubernetes.store(Group::Crd);
    let first = create(&store, "before").unwrap();
    let followed = follow_until(store.clone(), "after");
    kubernetes.kill();
    let said = create(&store, "meanwhile").unwrap_err().to_string();
    assert!(explained(&said).contains("Connection refused"), "{said}");
    kubernetes.start_again();
    assert_eq!(block_on(store.get(&first.key)), Ok(Some(first)));
    create(&store, "after").unwrap();
    followed
        .recv_timeout(Duration::from_secs(60))
        .expect("the follower sees what came after");
}

#[test]
fn a_cursor_that_was_compacted_lists_again() {
    if kubernetes_skipped() {
        return;
    }
    let mut kubernetes = Kubernetes::start();
    let store = kubernetes.store(Group::Crd);
    let old = block_on(store.list(&KeyPrefix::All)).unwrap().revision;
    for n in 0..5 {
        create(&store, &format!("p{n}")).unwrap();
    }
    // Compaction in etcd, and a server that has no memory of what was before.
    let now = block_on(store.list(&KeyPrefix::All)).unwrap().revision;
    kubernetes.etcd().ctl(&["compaction", &now.to_string()]);
    kubernetes.restart();
    let fresh = kubernetes.store(Group::Crd);
    // That the cursor is too old is told by the first watch that finds out.
    let compacted = (0..50).any(|_| {
        thread::park_timeout(Duration::from_millis(100));
        matches!(
            block_on(fresh.changes(old)),
            Err(StoreError::Compacted { .. })
        )
    });
    assert!(compacted);
    let followed = follow_until(fresh.clone(), "after");
    create(&fresh, "after").unwrap();
    assert_eq!(
        followed.recv_timeout(Duration::from_secs(60)),
        Ok(0),
        "a new list has a cursor that holds"
    );
}

#[test]
fn many_objects() {
    if kubernetes_skipped() {
        return;
    }
    let count: usize =
        std::env::var("KUBERNETES_OBJECTS").map_or(10_000, |n| n.parse().expect("a number"));
    let kubernetes = Kubernetes::shared();
    let _alone = kubernetes.emptied();
    let store = kubernetes.store(Group::Crd);
    let start = block_on(store.list(&KeyPrefix::All)).unwrap().revision;
    let mut cursor = block_on(store.changes(start)).unwrap().revision;
    let mut told = 0;
    // The log keeps 10,000 changes for who reads late.
    for half in [0..count / 2, count / 2..count] {
        thread::scope(|scope| {
            for writer in 0..8 {
                let (store, half) = (store.clone(), half.clone());
                scope.spawn(move || {
                    for n in half.skip(writer).step_by(8) {
                        create(&store, &format!("p{n:05}")).unwrap();
                    }
                });
            }
        });
        let changes = block_on(store.changes(cursor)).unwrap();
        told += changes.changes.len();
        cursor = changes.revision;
    }
    let listing = block_on(store.list(&KeyPrefix::Kind(Kind::IpPool))).unwrap();
    assert_eq!(listing.entries.len(), count);
    assert!(told >= count, "{told} changes were told");
    // In one request, since the next test deletes one after the other.
    kubernetes.request("DELETE", "/apis/crd.projectcalico.org/v1/ippools", None);
}

#[test]
fn what_kubernetes_owns_is_not_made_here() {
    if kubernetes_skipped() {
        return;
    }
    let kubernetes = Kubernetes::shared();
    let _alone = kubernetes.emptied();
    let store = kubernetes.store(Group::Native);
    let said = |result: StoreResult<Entry>| result.unwrap_err().to_string();
    let node = r#"{"kind":"Node","apiVersion":"projectcalico.org/v3","metadata":{"name":"node-9"},"spec":{}}"#;
    assert_eq!(
        said(block_on(
            store.create(&Key::cluster(Kind::Node, "node-9"), node)
        )),
        "operation Create is not supported on Node(node-9)"
    );
    let profile = Key::cluster(Kind::Profile, "kns.default");
    let found = block_on(store.get(&profile))
        .unwrap()
        .expect("a namespace is a profile");
    assert_eq!(
        said(block_on(store.update(
            &profile,
            &found.value,
            found.revision
        ))),
        "operation Update is not supported on Profile(kns.default)"
    );
    assert_eq!(
        said(block_on(store.delete(&profile, None))),
        "operation Delete is not supported on Profile(kns.default)"
    );
    let entry = Entry {
        key: Key::cluster(Kind::Node, "n"),
        value: node.to_string(),
        revision: 0,
    };
    assert_eq!(
        store.cannot_hold(&entry).as_deref(),
        Some("a node of Kubernetes' is made by its kubelet")
    );
}

#[test]
fn a_status_is_written_beside_its_object() {
    if kubernetes_skipped() {
        return;
    }
    let kubernetes = Kubernetes::shared();
    let _alone = kubernetes.emptied();
    for group in [Group::Crd, Group::Native] {
        let store = kubernetes.store(group);
        let key = Key::cluster(Kind::CalicoNodeStatus, "n");
        let document = |status: &Value| {
            json!({"kind": "CalicoNodeStatus", "apiVersion": "projectcalico.org/v3", "metadata": {"name": "n"},
                "spec": {"node": "n", "classes": ["BGP"], "updatePeriodSeconds": 10}, "status": status})
            .to_string()
        };
        let written = block_on(store.create(&key, &document(&json!({})))).unwrap();
        let status = json!({"bgp": {"numberEstablishedV4": 1, "numberNotEstablishedV4": 0, "numberEstablishedV6": 0, "numberNotEstablishedV6": 0}});
        let updated = block_on(store.update(&key, &document(&status), written.revision)).unwrap();
        let shown: Value = serde_json::from_str(&updated.value).unwrap();
        assert_eq!(shown["status"], status, "{group}");
        assert_eq!(block_on(store.get(&key)), Ok(Some(updated)), "{group}");
        let stale = block_on(store.update(&key, &document(&status), written.revision));
        assert_eq!(stale, Err(StoreError::Conflict(key)), "{group}");
    }
}

#[test]
fn each_number_comes_once_while_the_server_is_restarted() {
    if kubernetes_skipped() {
        return;
    }
    let mut kubernetes = Kubernetes::start();
    let store = kubernetes.store(Group::Crd);
    let counter = conformance::counter(Values::Objects);
    block_on(conformance::increment(Values::Objects, &store, &counter));
    kubernetes.restart();
    let number = block_on(conformance::increment(Values::Objects, &store, &counter));
    assert_eq!(number, 2, "what was acknowledged is there");
}
