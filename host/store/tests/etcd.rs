//! Access to a real etcd: TLS, client certificates, users, endpoints that are down.

use std::thread;
use std::time::{Duration, Instant};

use resource::{Change, Key, KeyPrefix, Kind, Store};
use store::testing::{Etcd, EtcdArgs, certificates, skipped};
use store::{Endpoint, EtcdOptions, EtcdStore, Pem, Secret, block_on};

mod symptoms;
use symptoms::explained;

const PATIENCE: Duration = Duration::from_secs(60);

fn node(name: impl Into<String>) -> Key {
    Key::cluster(Kind::Node, name)
}

/// The error of a store that cannot be used; docs/symptoms.md explains it.
fn refused(options: EtcdOptions) -> String {
    let store = match EtcdStore::open(options) {
        Ok(store) => store,
        Err(error) => return explained(&error.to_string()),
    };
    explained(&block_on(store.get(&node("a"))).unwrap_err().to_string())
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_string).collect()
}

#[test]
fn tls_with_and_without_client_certificates() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    if skipped() || !certificates(path) {
        return;
    }
    let file = |name: &str| Pem::File(path.join(name));
    let text = |name: &str| std::fs::read_to_string(path.join(name)).unwrap();
    let args = |more: &str| EtcdArgs {
        words: words(&format!(
            "--cert-file={0}/server.pem --key-file={0}/server.key{more}",
            path.display()
        )),
        tls: Some(path.to_path_buf()),
    };

    let server_only = Etcd::start_with(1, &args(""));
    let store = server_only.store();
    block_on(store.create(&node("a"), "{}")).unwrap();
    assert!(block_on(store.get(&node("a"))).unwrap().is_some());
    // Inline, as the configuration file may have it.
    let inline = EtcdOptions {
        ca: Some(Pem::Inline(Secret::from(text("ca.pem")))),
        ..server_only.options()
    };
    assert!(
        block_on(EtcdStore::open(inline).unwrap().get(&node("a")))
            .unwrap()
            .is_some()
    );
    let unknown = refused(EtcdOptions {
        ca: Some(file("other.pem")),
        ..server_only.options()
    });
    assert!(
        unknown.contains("UnknownIssuer; name the authority"),
        "{unknown}"
    );
    let plain = EtcdOptions {
        endpoints: vec![
            Endpoint::parse(&server_only.endpoint(0).replace("https", "http")).unwrap(),
        ],
        ..server_only.options()
    };
    let plain = refused(plain);
    assert!(plain.contains("write https://"), "{plain}");

    let both = Etcd::start_with(
        1,
        &args(&format!(
            " --client-cert-auth --trusted-ca-file={}/ca.pem",
            path.display()
        )),
    );
    let with = |certificate: &str, key: &str| EtcdOptions {
        certificate: Some(file(certificate)),
        key: Some(file(key)),
        ..both.options()
    };
    let store = EtcdStore::open(with("client.pem", "client.key")).unwrap();
    let entry = block_on(store.create(&node("a"), "{}")).unwrap();
    assert_eq!(block_on(store.get(&node("a"))), Ok(Some(entry)));
    for bad in [both.options(), with("stranger.pem", "stranger.key")] {
        let text = refused(bad);
        assert!(text.contains("ETCD_CERT_FILE"), "{text}");
    }
    for (bad, why) in [
        (with("absent.pem", "client.key"), "absent.pem: No such file"),
        (with("client.pem", "extensions"), "extensions: "),
        (
            with("client.pem", "server.key"),
            "it must belong to the certificate",
        ),
        (
            EtcdOptions {
                key: None,
                ..with("client.pem", "client.key")
            },
            "set both ETCD_CERT_FILE and ETCD_KEY_FILE",
        ),
        (
            EtcdOptions {
                ca: Some(file("client.key")),
                ..both.options()
            },
            "there is no PEM certificate in it",
        ),
    ] {
        let text = refused(bad);
        assert!(text.contains(why), "{text}");
    }

    let no_tls = Etcd::start();
    let other = EtcdOptions {
        endpoints: vec![Endpoint::parse(&no_tls.endpoint(0).replace("http", "https")).unwrap()],
        ..both.options()
    };
    let other = refused(other);
    assert!(other.contains("it does not speak TLS"), "{other}");
}

#[test]
fn users_and_their_roles() {
    if skipped() {
        return;
    }
    let etcd = Etcd::start();
    for line in [
        "user add root:top",
        "user grant-role root root",
        "role add calico",
        "role grant-permission calico readwrite --prefix=true /calico/",
        "user add calico:secret",
        "user grant-role calico calico",
    ] {
        etcd.ctl(&line.split(' ').collect::<Vec<_>>());
    }
    let login = |user: &str, password: &str| EtcdOptions {
        login: Some((user.to_string(), Secret::from(password.to_string()))),
        ..etcd.options()
    };
    // A login that nobody asks for does no harm.
    let early = EtcdStore::open(login("calico", "wrong")).unwrap();
    block_on(early.create(&node("early"), "{}")).unwrap();
    etcd.ctl(&["auth", "enable"]);

    let store = EtcdStore::open(login("calico", "secret")).unwrap();
    block_on(store.create(&node("a"), "{}")).unwrap();
    assert_eq!(
        block_on(store.list(&KeyPrefix::Kind(Kind::Node)))
            .unwrap()
            .entries
            .len(),
        2
    );
    for (options, why) in [
        (
            login("calico", "wrong"),
            "authentication failed, invalid user ID or password; mend ETCD_USERNAME and ETCD_PASSWORD",
        ),
        (login("nobody", "secret"), "authentication failed"),
        (etcd.options(), "user name is empty; it asks for a user"),
    ] {
        let text = refused(options);
        assert!(
            text.contains(why) && text.contains(&etcd.endpoint(0)),
            "{text}"
        );
    }
    // Everything of ours is in two places, and Calico's role has one of them.
    let text = explained(
        &block_on(store.list(&KeyPrefix::All))
            .unwrap_err()
            .to_string(),
    );
    assert!(
        text.contains("permission denied") && text.contains("/selvedge/"),
        "{text}"
    );
    let cursor = block_on(store.list(&KeyPrefix::Kind(Kind::Node)))
        .unwrap()
        .revision;
    let text = explained(&block_on(store.wait(cursor)).unwrap_err().to_string());
    assert!(text.contains("permission denied"), "{text}");
    let root = |words: &[&str]| {
        let all: Vec<&str> = ["--user", "root:top"]
            .iter()
            .chain(words)
            .copied()
            .collect();
        etcd.ctl(&all)
    };
    root(&[
        "role",
        "grant-permission",
        "calico",
        "readwrite",
        "--prefix=true",
        "/selvedge/",
    ]);
    let cursor = block_on(store.list(&KeyPrefix::All)).unwrap().revision;
    let entry = block_on(store.create(&node("b"), "{}")).unwrap();
    // The stream that was refused is opened again by itself.
    let until = Instant::now() + PATIENCE;
    let told = loop {
        match block_on(store.changes(cursor)) {
            Ok(told) => break told,
            Err(error) => assert!(Instant::now() < until, "{error}"),
        }
        thread::park_timeout(Duration::from_millis(20));
    };
    assert_eq!(told.changes, [Change::Put(entry)]);
}

/// A login lasts some minutes, or until the member that knows it starts anew: the store logs in again.
#[test]
fn a_login_that_is_forgotten_is_made_again() {
    if skipped() {
        return;
    }
    let args = EtcdArgs {
        words: words("--auth-token-ttl=1"),
        tls: None,
    };
    let etcd = Etcd::start_with(1, &args);
    for line in [
        "user add root:top",
        "user grant-role root root",
        "auth enable",
    ] {
        etcd.ctl(&line.split(' ').collect::<Vec<_>>());
    }
    let store = EtcdStore::open(EtcdOptions {
        login: Some(("root".to_string(), Secret::from("top".to_string()))),
        ..etcd.options()
    })
    .unwrap();
    block_on(store.create(&node("a"), "{}")).unwrap();
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(3) {
        thread::park_timeout(Duration::from_secs(3));
    }
    block_on(store.create(&node("b"), "{}")).unwrap();
}

#[test]
fn endpoints_that_are_down_are_passed_over_and_named() {
    if skipped() {
        return;
    }
    let mut etcd = Etcd::start();
    let closed = "http://127.0.0.1:1";
    let options = etcd.options();
    let with = |list: &[&str]| EtcdOptions {
        endpoints: list.iter().map(|e| Endpoint::parse(e).unwrap()).collect(),
        ..options.clone()
    };
    let there = etcd.endpoint(0);
    // Whichever of them is tried first.
    for _ in 0..8 {
        let store = EtcdStore::open(with(&[closed, &there])).unwrap();
        let start = Instant::now();
        block_on(store.list(&KeyPrefix::All)).unwrap();
        assert!(start.elapsed() < Duration::from_secs(5));
    }
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("http://{}", silent.local_addr().unwrap());
    let store = EtcdStore::open(with(&[&silent, &there])).unwrap();
    block_on(store.list(&KeyPrefix::All)).unwrap();

    let store = etcd.store();
    block_on(store.list(&KeyPrefix::All)).unwrap();
    etcd.kill(0);
    let text = refused(with(&[closed, &there]));
    for part in [
        "cannot reach etcd (the test): ",
        closed,
        &there,
        "Connection refused",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let text = refused(with(&["http://no.such.name.invalid:2379"]));
    assert!(text.contains("no.such.name.invalid"), "{text}");
    // A store that was connected notices, and mends itself when etcd is there again.
    block_on(store.get(&node("a"))).unwrap_err();
    block_on(store.wait(1)).unwrap_err();
    etcd.restart(0);
    block_on(store.create(&node("a"), "{}")).unwrap();
}
