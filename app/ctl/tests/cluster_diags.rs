//! `cluster diags`, with a kubectl that answers and without one.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use ctl::{OpenError, Persona, World, run_with};
use resource::kinds::NodeSpec;
use resource::{MemoryStore, Metadata, Object, Store};
use store::block_on;

fn run(root: &Path, store: &MemoryStore, words: &[&str]) -> (String, String, i32) {
    let argv: Vec<String> = words.iter().map(|word| (*word).to_string()).collect();
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let random = |buffer: &mut [u8]| File::open("/dev/urandom")?.read_exact(buffer);
    let mut world = World {
        persona: Persona::Calicoctl,
        stdin: &mut std::io::empty(),
        stdout: &mut stdout,
        stderr: &mut stderr,
        now: jiff::Timestamp::from_second(1_795_000_000).unwrap(),
        random: &random,
        pause: &|_| (),
        root: root.to_path_buf(),
        environment: &|_| None,
        etcd: &Cell::new(false),
    };
    let open =
        |_: Option<&Path>, _: Option<&str>| -> Result<MemoryStore, OpenError> { Ok(store.clone()) };
    let code = run_with(&argv, &mut world, open);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (text(stdout), text(stderr), code)
}

fn unpacked(folder: &Path, file: &str) -> String {
    let output = Command::new("tar")
        .args(["-xzOf"])
        .arg(folder.join("calico-diagnostics.tar.gz"))
        .arg(format!("calico-diagnostics/{file}"))
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// A program in the tree that the command looks for programs in.
fn program(root: &Path, path: &str, script: &str) {
    let file = root.join(path.trim_start_matches('/'));
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, script).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn an_archive_with_and_without_kubernetes() {
    let root = tempfile::tempdir().unwrap();
    let here = tempfile::tempdir().unwrap();
    // The only test of this program: nobody else minds.
    std::env::set_current_dir(here.path()).unwrap();
    let store = MemoryStore::new();
    let node = Object::new(Metadata::named("n1"), NodeSpec::default());
    block_on(store.create(&node.key(), &node.to_stored())).unwrap();
    program(root.path(), "/usr/sbin/tar", "#!/bin/sh\nexec tar \"$@\"\n");

    let (stdout, stderr, code) = run(root.path(), &store, &["cluster", "diags"]);
    assert_eq!((stderr.as_str(), code), ("", 0), "{stdout}");
    assert!(stdout.contains("kubectl is not on the PATH"), "{stdout}");
    assert!(
        stdout.ends_with("calico-diagnostics.tar.gz. ====\n"),
        "{stdout}"
    );
    let file = |name: &str| unpacked(here.path(), name);
    assert!(file("datastore/nodes.yaml").contains("name: n1"));
    assert!(file("datastore/node-status").contains("n1     never"));
    assert!(file("datastore/ipam-blocks").contains("GROUPING"));
    let status = file("this-machine/node_status");
    assert!(
        status.contains("Calico process is not running."),
        "{status}"
    );
    assert_eq!(file("kubernetes/pods.txt"), "");

    // Two pods, one of them on a node in focus; no logs of others are wanted.
    let script = "#!/bin/sh\ncase \"$*\" in\n*jsonpath*calico-system*) ;;\n*\"-n kube-system\"*jsonpath*) echo 'a n1'; echo 'b n2' ;;\n\
                  *\"get tigerastatus\"*) echo 'no such resource' >&2; exit 1 ;;\n*) echo \"asked: $*\" ;;\nesac\n";
    program(root.path(), "/usr/sbin/kubectl", script);
    let words = [
        "cluster",
        "diags",
        "--since=30m",
        "--max-logs=0",
        "--focus-nodes=n2",
    ];
    let (stdout, stderr, code) = run(root.path(), &store, &words);
    assert_eq!((stderr.as_str(), code), ("", 0), "{stdout}");
    assert!(
        stdout.contains("kubectl get tigerastatus -o yaml: no such resource\n"),
        "{stdout}"
    );
    assert!(file("kubernetes/pods.txt").contains("get pods -A -o wide"));
    assert!(file("kubernetes/kube-system_b.log").contains("logs -n kube-system b"));
    assert!(file("kubernetes/kube-system_b.log").contains("--since=30m"));
    assert_eq!(file("kubernetes/kube-system_a.log"), "");

    // One that reaches no API is asked once.
    let script = "#!/bin/sh\necho 'The connection was refused' >&2; exit 1\n";
    program(root.path(), "/usr/sbin/kubectl", script);
    let (stdout, _, code) = run(root.path(), &store, &["cluster", "diags"]);
    assert_eq!(code, 0);
    assert_eq!(stdout.matches("was refused").count(), 1, "{stdout}");
    assert!(file("kubernetes/version.yaml").contains("was refused"));
    assert!(file("datastore/nodes.yaml").contains("name: n1"));

    let (_, stderr, code) = run(root.path(), &store, &["cluster", "diags", "--since=soon"]);
    assert_eq!(code, 1);
    assert!(stderr.starts_with("--since: "), "{stderr}");
}
