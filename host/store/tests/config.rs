//! Which store a configuration names, and what is said when there is none.

use std::fs;

use resource::{Key, Kind, Store, StoreError};
use store::{
    Config, DEFAULT_SQLITE_PATH, Datastore, EtcdOptions, Pem, Secret, SqliteStore, block_on,
};

mod symptoms;
use symptoms::explained;

fn from_env(variables: &[(&str, &str)]) -> Result<String, String> {
    let found = Config::from_variables(|name| {
        let (_, value) = variables.iter().find(|(n, _)| *n == name)?;
        Some((*value).to_string())
    });
    shown(found)
}

fn from_file(text: &str) -> Result<String, String> {
    shown(Config::parse(text, "calicoctl.cfg"))
}

fn shown(config: Result<Config, store::ConfigError>) -> Result<String, String> {
    let config = config.map_err(|e| e.to_string());
    if let Err(message) = &config
        && !message.starts_with("field in document")
    {
        explained(message);
    }
    match config?.datastore {
        Datastore::Sqlite { path } => Ok(path.display().to_string()),
        other => Ok(other.name().to_string()),
    }
}

#[test]
fn the_environment_names_the_store() {
    let check = |variables: &[(&str, &str)], expected: &str| {
        assert_eq!(
            from_env(variables).as_deref(),
            Ok(expected),
            "{variables:?}"
        );
    };
    check(&[], DEFAULT_SQLITE_PATH);
    check(&[("DATASTORE_TYPE", "sqlite")], DEFAULT_SQLITE_PATH);
    check(&[("SELVEDGE_SQLITE_PATH", "/x/y.db")], "/x/y.db");
    check(
        &[
            ("CALICO_DATASTORE_TYPE", "sqlite"),
            ("DATASTORE_TYPE", "etcdv3"),
        ],
        DEFAULT_SQLITE_PATH,
    );
    check(
        &[
            ("DATASTORE_TYPE", "kubernetes"),
            ("K8S_API_ENDPOINT", "https://a:6443"),
        ],
        "kubernetes",
    );
    check(&[("ETCD_ENDPOINTS", "http://127.0.0.1:2379")], "etcdv3");
    check(
        &[
            ("DATASTORE_TYPE", "sqlite"),
            ("ETCD_ENDPOINTS", "http://127.0.0.1:2379"),
        ],
        DEFAULT_SQLITE_PATH,
    );
    assert_eq!(
        from_env(&[("DATASTORE_TYPE", "etcdv2")]),
        Err("unknown datastore type 'etcdv2' (environment, DATASTORE_TYPE): expected sqlite, etcdv3 or kubernetes".to_string())
    );
}

#[test]
fn the_config_file_is_read_strictly() {
    let head = "apiVersion: projectcalico.org/v3\nkind: CalicoAPIConfig\nmetadata:\n";
    let check = |spec: &str, expected: Result<&str, &str>| {
        let got = from_file(&format!("{head}{spec}"));
        assert_eq!(got.as_deref().map_err(String::as_str), expected, "{spec}");
    };
    check("", Ok(DEFAULT_SQLITE_PATH));
    check(
        "spec:\n  datastoreType: sqlite\n  sqlitePath: /a.db\n",
        Ok("/a.db"),
    );
    check(
        "spec:\n  datastoreType: etcdv3\n  etcdEndpoints: http://a:2379\n  etcdCACertFile: /ca\n",
        Ok("etcdv3"),
    );
    check(
        "spec:\n  k8sAPIEndpoint: https://a:6443\n",
        Ok("kubernetes"),
    );
    check(
        "spec:\n  datastoretype: sqlite\n",
        Err("field in document is not recognized or is in the wrong location: datastoretype"),
    );
    check(
        "sepc: {}\n",
        Err("field in document is not recognized or is in the wrong location: sepc"),
    );
    assert_eq!(
        from_file("apiVersion: v1\nkind: CalicoAPIConfig\n"),
        Err("invalid config file: unknown APIVersion 'v1'".to_string())
    );
    assert_eq!(
        from_file("apiVersion: projectcalico.org/v3\nkind: Node\n"),
        Err("invalid config file: expected kind 'CalicoAPIConfig', got 'Node'".to_string())
    );
    assert!(from_file("apiVersion: [\n").is_err());
}

#[test]
fn a_named_file_must_be_there() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("absent.cfg");
    assert_eq!(
        Config::load(Some(&path)).unwrap_err().to_string(),
        format!("Error reading config file: {}", path.display())
    );
    fs::write(
        &path,
        "apiVersion: projectcalico.org/v3\nkind: CalicoAPIConfig\n",
    )
    .unwrap();
    assert_eq!(
        Config::load(Some(&path)).unwrap().origin,
        path.display().to_string()
    );
}

fn etcd_of(config: Result<Config, store::ConfigError>) -> Result<EtcdOptions, String> {
    match config.map_err(|e| explained(&e.to_string()))?.datastore {
        Datastore::EtcdV3(options) => Ok(options),
        other => panic!("{other:?}"),
    }
}

#[test]
fn etcd_in_the_environment() {
    let read = |variables: &[(&str, &str)]| {
        etcd_of(Config::from_variables(|name| {
            let (_, value) = variables.iter().find(|(n, _)| *n == name)?;
            Some((*value).to_string())
        }))
    };
    let options = read(&[
        ("ETCD_ENDPOINTS", "https://a:2379, http://10.0.0.1:4001,"),
        ("CALICO_ETCD_CA_CERT_FILE", "/wins"),
        ("ETCD_CA_CERT_FILE", "/ca"),
        ("ETCD_CERT_FILE", "/cert"),
        ("ETCD_KEY_FILE", "/key"),
        ("ETCD_USERNAME", "u"),
        ("ETCD_PASSWORD", "p"),
    ])
    .unwrap();
    let shown: Vec<String> = options.endpoints.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["https://a:2379", "http://10.0.0.1:4001"]);
    assert_eq!(options.ca, Some(Pem::File("/wins".into())));
    assert_eq!(options.certificate, Some(Pem::File("/cert".into())));
    assert_eq!(options.key, Some(Pem::File("/key".into())));
    let login = options.login.unwrap();
    assert_eq!((login.0.as_str(), login.1.reveal()), ("u", "p"));
    // A user without a password is passed over, as Calico does.
    let options = read(&[("ETCD_ENDPOINTS", "http://a:1"), ("ETCD_USERNAME", "u")]).unwrap();
    assert_eq!(options.login, None);
    // The members are asked for when the store is opened (tests/discovery.rs).
    let options = read(&[
        ("DATASTORE_TYPE", "etcdv3"),
        ("ETCD_DISCOVERY_SRV", "example.com"),
    ])
    .unwrap();
    assert_eq!(options.discovery_srv, "example.com");
    assert!(options.endpoints.is_empty());
    for (variables, expected) in [
        (
            &[("DATASTORE_TYPE", "etcdv3")][..],
            "no etcd endpoints specified (environment, DATASTORE_TYPE): set ETCD_ENDPOINTS (etcdEndpoints), like http://10.0.0.1:2379",
        ),
        (
            &[
                ("ETCD_ENDPOINTS", "http://a:1"),
                ("ETCD_DISCOVERY_SRV", "example.com"),
            ],
            "multiple discovery or bootstrap options specified, use either \"etcdEndpoints\" or \"etcdDiscoverySrv\"",
        ),
        (
            &[("ETCD_ENDPOINTS", "ftp://a:1")],
            "etcd endpoint 'ftp://a:1': the scheme 'ftp' is not known here; write it like http://10.0.0.1:2379 or https://etcd-1:2379",
        ),
    ] {
        assert_eq!(read(variables).unwrap_err(), expected);
    }
}

#[test]
fn etcd_in_the_config_file() {
    let read = |spec: &str| {
        let head = "apiVersion: projectcalico.org/v3\nkind: CalicoAPIConfig\nspec:\n  etcdEndpoints: https://a:1\n";
        etcd_of(Config::parse(&format!("{head}{spec}"), "calicoctl.cfg"))
    };
    let options = read("  etcdCACert: ca\n  etcdCert: cert\n  etcdKey: key\n  etcdUsername: u\n  etcdPassword: p\n").unwrap();
    let inline = |text: &str| Some(Pem::Inline(Secret::from(text.to_string())));
    assert_eq!(
        (options.ca, options.certificate, options.key),
        (inline("ca"), inline("cert"), inline("key"))
    );
    assert!(options.login.is_some());
    let options = read("  etcdCACertFile: /ca\n").unwrap();
    assert_eq!(options.ca, Some(Pem::File("/ca".into())));
    assert_eq!(options.origin, "calicoctl.cfg");
    assert_eq!(
        read("  etcdCACertFile: /ca\n  etcdKey: key\n").unwrap_err(),
        "Cannot mix inline certificate-key and certificate / key files"
    );
    let shown = format!(
        "{:?}",
        read("  etcdUsername: u\n  etcdPassword: hunter2\n").unwrap()
    );
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn a_file_that_is_no_datastore_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let refused = |path: &std::path::Path| match SqliteStore::open(path) {
        Err(StoreError::Backend(text)) => {
            assert!(text.contains(&path.display().to_string()), "{text}");
            explained(&text);
            text
        }
        other => panic!("{other:?}"),
    };

    let text = directory.path().join("text");
    fs::write(
        &text,
        "a text that is longer than the header of a database file would be, so that it is read.",
    )
    .unwrap();
    let before = fs::read(&text).unwrap();
    assert!(refused(&text).contains("file is not a database; the file is something else"));
    assert_eq!(fs::read(&text).unwrap(), before);

    let foreign = directory.path().join("foreign.db");
    rusqlite::Connection::open(&foreign)
        .unwrap()
        .execute_batch("CREATE TABLE music (title TEXT)")
        .unwrap();
    let before = fs::read(&foreign).unwrap();
    assert!(refused(&foreign).contains("it is the SQLite database of another program"));
    assert_eq!(fs::read(&foreign).unwrap(), before);

    let newer = directory.path().join("newer.db");
    drop(SqliteStore::open(&newer).unwrap());
    rusqlite::Connection::open(&newer)
        .unwrap()
        .pragma_update(None, "user_version", 2)
        .unwrap();
    assert!(refused(&newer).contains("it has layout 2, and this version knows layout 1"));

    // A directory where the file should be, and a file where the directory should be.
    assert!(refused(directory.path()).contains("cannot open datastore"));
    assert!(refused(&text.join("selvedge.db")).contains("cannot create datastore"));
}

#[cfg(unix)]
#[test]
fn only_its_owner_reads_the_file() {
    use std::os::unix::fs::PermissionsExt;

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("new/selvedge.db");
    let store = SqliteStore::open(&file).unwrap();
    block_on(store.create(&Key::cluster(Kind::Node, "n"), "{}")).unwrap();
    for entry in fs::read_dir(file.parent().unwrap()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{:?}", entry.path());
    }
}
