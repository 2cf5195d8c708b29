//! Sessions of calicoctl 3.32.1, run again on our own code: what it printed is what we print.
//!
//! The files in `golden/` are facts of an interface: commands, what came out of stdout and stderr, and the exit code. Only
//! what is random or counts the store's writes (uids, times, revisions, the cluster's GUID) is masked.

use std::cell::Cell;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, fs, thread};

use ctl::{OpenError, Persona, World, run_with};
use resource::kinds::{ClusterInformation, ClusterInformationSpec};
use resource::{
    Changes, Entry, Key, KeyPrefix, Listing, MemoryStore, Metadata, Store, StoreResult,
};
use store::block_on;

/// Commands of calicoctl's sessions that are answered in another way here: how they begin, what their answer has in it, and why;
/// docs/calicoctl.md has it for people. One that is answered as calicoctl does stands here in error, and fails the test.
const DIFFERENT: &[(&str, &str, &str)] = &[(
    "ipam show --show-configuration",
    "",
    "calicoctl prints a pointer for KubeVirtVMAddressPersistence",
)];

/// One command of a session.
#[derive(Debug)]
struct Step {
    /// What the shell does before it.
    before: String,
    persona: Persona,
    words: Vec<String>,
    stdin: String,
    /// As the file has it, from the command's line on.
    expected: String,
}

/// Words as a shell takes them apart: quotes of both kinds, and backslashes in double ones.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            ' ' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                word.extend(letters.by_ref().take_while(|c| *c != '\''));
            }
            '"' => {
                let word = word.get_or_insert_default();
                while let Some(inside) = letters.next() {
                    match inside {
                        '"' => break,
                        '\\' => match letters.next() {
                            Some(escaped @ ('"' | '\\')) => word.push(escaped),
                            other => word.extend(['\\'].into_iter().chain(other)),
                        },
                        _ => word.push(inside),
                    }
                }
            }
            _ => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}

fn steps(text: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    for part in format!("\n{text}").split("\n$ ").skip(1) {
        let (before, part) = match part.find("; calicoctl ") {
            Some(end) if !part[..end].contains('\n') => (&part[..end], &part[end + 2..]),
            _ => ("", part),
        };
        let (program, part) = part.split_at(part.find([' ', '\n']).expect("a program's name"));
        let persona = match program {
            "selvedge" => Persona::Selvedge,
            _ => Persona::Calicoctl,
        };
        let (line, rest) = part.split_once('\n').expect("a command ends its line");
        let (line, stdin, rest) = match line.strip_suffix(" <<EOF") {
            None => (line, String::new(), rest),
            Some(line) => {
                let (stdin, rest) = match rest.strip_prefix("EOF\n") {
                    Some(rest) => ("", rest),
                    None => rest.split_once("\nEOF\n").expect("the document ends"),
                };
                (line, format!("{stdin}\n"), rest)
            }
        };
        let stdin = if stdin == "\n" { String::new() } else { stdin };
        steps.push(Step {
            before: before.to_string(),
            persona,
            words: words(line),
            stdin,
            expected: rest.trim_end_matches('\n').to_string(),
        });
    }
    steps
}

/// Does what the shell does before a command: makes a directory, or writes a file.
fn prepare(before: &str) {
    match words(before).as_slice() {
        [] => (),
        [mkdir, _, directory] if mkdir == "mkdir" => fs::create_dir_all(directory).unwrap(),
        [printf, text, to, file] if printf == "printf" && to == ">" => {
            fs::write(file, text).unwrap()
        }
        other => panic!("{other:?}"),
    }
}

/// What a session's file says of a command's output.
fn transcript(stdout: &str, stderr: &str, code: i32) -> String {
    let mut text = stdout.to_string();
    if !text.is_empty() && !text.ends_with('\n') {
        text += "<no newline at end of stdout>\n";
    }
    for line in stderr.lines() {
        text += &format!("[stderr] {line}\n");
    }
    text + &format!("[exit {code}]")
}

/// Hides what differs from run to run.
fn masked(text: &str) -> String {
    let mut lines = Vec::new();
    for line in text.lines() {
        let field = line.trim_start().trim_start_matches('"');
        let hidden = ["uid", "resourceVersion", "creationTimestamp", "clusterGUID"]
            .iter()
            .find(|name| {
                field
                    .strip_prefix(**name)
                    .is_some_and(|rest| rest.starts_with([':', '"']))
            });
        // The names come in an order that changes from run to run.
        if let Some((text, names)) = line.split_once("valid values are: ") {
            let mut names: Vec<&str> = names.split(", ").collect();
            names.sort_unstable();
            lines.push(format!("{text}{}", names.join(", ")));
            continue;
        }
        lines.push(match hidden {
            Some(name) => format!("{}{name}: *", &line[..line.len() - field.len()]),
            None => without_guids(line),
        });
    }
    lines.join("\n")
}

fn without_guids(line: &str) -> String {
    line.split(' ')
        .map(|word| {
            let guid = word.len() == 32 && word.bytes().all(|b| b.is_ascii_hexdigit());
            if guid {
                "*".repeat(32)
            } else {
                word.to_string()
            }
        })
        .collect::<Vec<_>>()
        .join(" ")
}

/// A store where somebody else writes a resource just before it is updated, a few times.
#[derive(Clone)]
struct Racing {
    inner: MemoryStore,
    races: Arc<AtomicUsize>,
}

impl Store for Racing {
    async fn get(&self, key: &Key) -> StoreResult<Option<Entry>> {
        self.inner.get(key).await
    }

    async fn list(&self, prefix: &KeyPrefix) -> StoreResult<Listing> {
        self.inner.list(prefix).await
    }

    async fn create(&self, key: &Key, value: &str) -> StoreResult<Entry> {
        self.inner.create(key, value).await
    }

    async fn update(&self, key: &Key, value: &str, expected: u64) -> StoreResult<Entry> {
        let left = self.races.load(Ordering::Relaxed);
        if left > 0 {
            self.races.store(left - 1, Ordering::Relaxed);
            if let Some(entry) = self.inner.get(key).await? {
                self.inner.update(key, &entry.value, entry.revision).await?;
            }
        }
        self.inner.update(key, value, expected).await
    }

    async fn delete(&self, key: &Key, expected: Option<u64>) -> StoreResult<Entry> {
        self.inner.delete(key, expected).await
    }

    async fn changes(&self, cursor: u64) -> StoreResult<Changes> {
        self.inner.changes(cursor).await
    }

    async fn wait(&self, cursor: u64) -> StoreResult<()> {
        self.inner.wait(cursor).await
    }
}

struct Session {
    store: MemoryStore,
    races: Arc<AtomicUsize>,
    root: PathBuf,
    writes: Cell<u8>,
    /// Sessions of calicoctl were captured on etcd.
    etcd: Cell<bool>,
}

impl Session {
    fn new(root: &Path) -> Session {
        // The kernel of the machine on which the sessions were captured.
        let kernel = root.join("proc/sys/kernel");
        fs::create_dir_all(&kernel).unwrap();
        fs::write(kernel.join("osrelease"), "6.18.44-fc-v595\n").unwrap();
        Session {
            store: MemoryStore::new(),
            races: Arc::default(),
            root: root.to_path_buf(),
            writes: Cell::new(0),
            etcd: Cell::new(true),
        }
    }

    fn run(&self, persona: Persona, words: &[String], stdin: &str) -> (String, String, i32) {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let random = |buffer: &mut [u8]| {
            self.writes.set(self.writes.get().wrapping_add(1));
            buffer.fill(self.writes.get());
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
            root: self.root.clone(),
            // The variables of calicoctl's sessions.
            environment: &|name| {
                (name == "ETCD_ENDPOINTS").then(|| "http://127.0.0.1:24379".to_string())
            },
            etcd: &self.etcd,
        };
        let code = run_with(words, &mut world, |file, _| match file {
            Some(file) if !file.exists() => Err(OpenError::NoConfig(format!(
                "Error reading config file: {}",
                file.display()
            ))),
            _ => Ok(Racing {
                inner: self.store.clone(),
                races: Arc::clone(&self.races),
            }),
        });
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (text(stdout), text(stderr), code)
    }
}

/// Runs sessions one after the other on one store, and compares each command's output with its file.
fn check(files: &[&str]) {
    let root = tempfile::tempdir().unwrap();
    check_on(&Session::new(root.path()), files);
}

fn check_on(session: &Session, files: &[&str]) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut wrong = Vec::new();
    let mut count = 0;
    for file in files {
        let text = fs::read_to_string(golden.join(file)).unwrap();
        for step in steps(&text) {
            prepare(&step.before);
            let (stdout, stderr, code) = session.run(step.persona, &step.words, &step.stdin);
            let found = masked(&transcript(&stdout, &stderr, code));
            let expected = masked(&step.expected);
            count += 1;
            let line = step.words.join(" ");
            let differs = file.starts_with('0')
                && DIFFERENT.iter().any(|(words, answer, _)| {
                    line.starts_with(words) && step.expected.contains(answer)
                });
            if differs && found == expected {
                wrong.push(format!(
                    "{file}: {line} is as calicoctl has it: strike it from DIFFERENT"
                ));
            }
            if found != expected && !differs {
                wrong.push(format!(
                    "{file}: {:?} {}\n{}--- expected\n{expected}\n--- found\n{found}\n",
                    step.persona,
                    step.words.join(" "),
                    step.stdin
                ));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {count} differ:\n\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(count > 0, "no command was found");
}

#[test]
fn as_calicoctl() {
    // The only test of this file that looks at relative paths.
    let place = tempfile::tempdir().unwrap();
    env::set_current_dir(place.path()).unwrap();
    check(&["01-basic.txt", "02-errors.txt", "03-more-kinds.txt"]);
}

/// What these commands leave in etcd: the same keys, the same bytes. The dump is of a later calicoctl, which knows two kinds more and
/// writes one field more.
#[test]
fn what_is_stored_is_what_calico_stores() {
    let place = tempfile::tempdir().unwrap();
    let session = Session::new(place.path());
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let read = |file: &str| fs::read_to_string(golden.join(file)).unwrap();
    for file in ["01-basic.txt", "02-errors.txt"] {
        for step in steps(&read(file)) {
            if step.before.is_empty() {
                session.run(step.persona, &step.words, &step.stdin);
            }
        }
    }
    let more = steps(&read("03-more-kinds.txt"));
    let (stdout, _, code) = session.run(Persona::Selvedge, &more[0].words, &more[0].stdin);
    assert_eq!(
        (stdout.as_str(), code),
        ("Successfully applied 15 resource(s)\n", 0)
    );
    let bad = more
        .iter()
        .find(|s| s.stdin.contains("FelixConfiguration") && s.stdin.contains("name: bad"));
    let bad = bad.expect("the other configuration");
    session.run(Persona::Calicoctl, &bad.words, &bad.stdin);
    let hidden = |value: &str| {
        let mut value: serde_json::Value = serde_json::from_str(value).unwrap();
        for field in ["uid", "creationTimestamp"] {
            assert!(value["metadata"][field].is_string(), "{value}");
            value["metadata"][field] = "*".into();
        }
        if value["kind"] == "ClusterInformation" {
            value["spec"]["clusterGUID"] = "*".into();
        }
        value.to_string()
    };
    let listing = block_on(session.store.list(&KeyPrefix::All)).unwrap();
    let found: Vec<(String, String)> = listing
        .entries
        .iter()
        // The later calicoctl refused the IPReservation, in which an address has no length.
        .filter(|entry| !entry.key.path().contains("/ipreservations/"))
        .filter(|entry| matches!(entry.key, Key::Resource { .. }))
        .map(|entry| (entry.key.path(), hidden(&entry.value)))
        .collect();
    let dump = read("04-etcd-dump.txt").replace("\"nftablesFlowTableOffload\":\"Disabled\",", "");
    let lines: Vec<&str> = dump.lines().collect();
    let expected: Vec<(String, String)> = lines
        .chunks(2)
        .filter(|pair| pair[0].starts_with("/calico/resources/"))
        .map(|pair| (pair[0].to_string(), hidden(pair[1])))
        .collect();
    assert_eq!(expected.len(), 31, "all of the dump is looked at");
    for (expected, found) in expected.iter().zip(&found) {
        assert_eq!(found, expected);
    }
    assert_eq!(found.len(), expected.len());
}

#[test]
fn what_bad_input_is_answered_with() {
    check(&["28-captured.txt"]);
}

#[test]
#[should_panic(expected = "differ")]
fn a_difference_is_found() {
    // The control: without the first session the second one's resources are not there.
    check(&["02-errors.txt"]);
}

#[test]
fn as_selvedge_with_hints() {
    check(&["20-hints.txt"]);
}

#[test]
fn documents_of_every_form() {
    check(&["21-documents.txt"]);
}

#[test]
fn services_and_their_endpoints() {
    check(&["22-services.txt"]);
}

#[test]
fn bgp_filters() {
    check(&["24-bgpfilters.txt"]);
}

#[test]
fn datastore_migrate() {
    check(&["27-migrate.txt"]);
}

#[test]
fn the_export_is_calicoctls() {
    let root = tempfile::tempdir().unwrap();
    let session = Session::new(root.path());
    put_captured(&session, "29-export-store.txt");
    let words = ["datastore", "migrate", "export"].map(String::from);
    let (stdout, stderr, code) = session.run(Persona::Calicoctl, &words, "");
    assert_eq!((stderr.as_str(), code), ("", 0));
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let expected = fs::read_to_string(golden.join("29-export.yaml")).unwrap();
    assert_eq!(masked(&stdout), masked(&expected));
    // A node that has another name in Kubernetes, and its tunnel's handle.
    for renamed in ["name: node.k1", "\"host:k1\"", "ipip-tunnel-addr-k1"] {
        assert!(stdout.contains(renamed), "{renamed}");
    }
}

/// Puts into the store what Calico wrote: a file of paths and values, each on its line.
fn put_captured(session: &Session, file: &str) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let text = fs::read_to_string(golden.join(file)).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    for pair in lines.chunks(2) {
        let key = Key::from_path(pair[0]).expect("a path of Calico's");
        block_on(session.store.create(&key, pair[1])).unwrap();
    }
}

#[test]
fn addresses() {
    let root = tempfile::tempdir().unwrap();
    let session = Session::new(root.path());
    put_captured(&session, "ipam-store-1.txt");
    check_on(&session, &["25-ipam.txt"]);
    put_captured(&session, "ipam-store-2.txt");
    check_on(&session, &["26-ipam-two.txt"]);
}

#[test]
fn policies_and_what_belongs_to_them() {
    check(&["25-policies.txt"]);
}

/// What the page on BGPFilters shows is accepted as it says.
#[test]
fn the_page_on_bgp_filters() {
    let place = tempfile::tempdir().unwrap();
    let session = Session::new(place.path());
    let page = include_str!("../../../docs/howto/bgpfilter.md");
    let (_, rest) = page.split_once("```yaml\n").expect("an example");
    let (text, _) = rest.split_once("```").expect("its end");
    let apply = words_of("apply -f -");
    let (stdout, stderr, code) = session.run(Persona::Calicoctl, &apply, text);
    assert_eq!(
        (stdout.as_str(), code),
        ("Successfully applied 2 resource(s)\n", 0),
        "{stderr}"
    );
}

/// A control socket that greets and answers every line the same.
fn answer_at(path: &Path, greeting: &'static str, rows: &'static str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let listener = UnixListener::bind(path).unwrap();
    // It lives as long as the test's process; nobody waits for it.
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut line = String::new();
            stream.write_all(greeting.as_bytes()).unwrap();
            BufReader::new(stream.try_clone().unwrap())
                .read_line(&mut line)
                .unwrap();
            // Whoever only wanted to be greeted is gone by now.
            let _ = stream.write_all(
                if line == "show protocols\n" {
                    rows
                } else {
                    "9001 \n"
                }
                .as_bytes(),
            );
        }
    });
}

fn process(root: &Path, id: u32, argv: &[&str]) {
    let directory = root.join(format!("proc/{id}"));
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("cmdline"), argv.join("\0") + "\0").unwrap();
}

const BIRD: &str = "0001 BIRD v0.3.3+birdv1.6.8 ready.\n";
const ROWS: &str = "\
2002-name     proto    table    state  since       info
1002-static1  Static   master   up     22:10:05    
 kernel1  Kernel   master   up     22:10:05    
 Mesh_10_0_0_2 BGP      master   up     22:10:05    Established   
 Global_192_0_2_1 BGP      master   start  22:10:05    Active        Socket: Connection refused
 Node_10_0_0_3 BGP      master   up     2026-11-20  Established   
 Node_10_0_0_9_port_1790 BGP      master   start  22:10:05    Connect       
 Local_Workload_10_0_0_8 BGP      master   up     22:10:05    Established   
0000 
";
const ROWS6: &str = "\
2002-name     proto    table    state  since       info
1002-Mesh_fd00_1__4 BGP      master   start  22:10:05    Idle          Received: Cease
0000 
";

#[test]
fn node_status_of_calico() {
    let root = tempfile::tempdir().unwrap();
    process(root.path(), 10, &["calico-node", "-felix"]);
    process(
        root.path(),
        11,
        &["bird", "-R", "-s", "/var/run/calico/bird.ctl"],
    );
    answer_at(&root.path().join("var/run/calico/bird.ctl"), BIRD, ROWS);
    check_on(
        &Session::new(root.path()),
        &["05-node-status-without-bird6.txt"],
    );
    process(root.path(), 12, &["bird6"]);
    answer_at(&root.path().join("var/run/calico/bird6.ctl"), BIRD, ROWS6);
    check_on(&Session::new(root.path()), &["05-node-status.txt"]);
}

#[test]
fn node_status_of_our_agent() {
    let root = tempfile::tempdir().unwrap();
    let rows = "2002-name     proto    table    state  since       info\n1002-Node_10_20_1_81 BGP master up 12:00:00 Established\n0000 \n";
    let greeting = "0001 BIRD 1.6.8 ready, as selvedge speaks it.\n";
    // Another host's BIRD in the same process table is not this node's.
    process(root.path(), 11, &["bird"]);
    answer_at(&root.path().join("var/run/calico/bird.ctl"), greeting, rows);
    check_on(&Session::new(root.path()), &["23-node-status.txt"]);
}

fn words_of(line: &str) -> Vec<String> {
    line.split(' ').map(String::from).collect()
}

#[test]
fn the_files_of_a_directory() {
    let place = tempfile::tempdir().unwrap();
    let pool = |name: &str, cidr: &str| {
        format!(
            "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {{name: {name}}}\nspec: {{cidr: {cidr}}}\n"
        )
    };
    let file = |name: &str, text: &str| {
        let path = place.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    file("b.yaml", &pool("b", "10.1.0.0/16"));
    file("a.json", &pool("a", "10.0.0.0/16"));
    file("notes.txt", "no resource");
    file("below/c.yml", &pool("c", "10.2.0.0/16"));
    let session = Session::new(place.path());
    let directory = place.path().to_str().unwrap().to_string();
    let run = |line: &str| {
        session.run(
            Persona::Selvedge,
            &words_of(&line.replace("DIR", &directory)),
            "",
        )
    };
    let (stdout, _, _) = run("apply -f DIR");
    assert_eq!(stdout, "Successfully applied 2 'IPPool' resource(s)\n");
    let (stdout, _, _) = run("apply -R -f DIR");
    assert_eq!(stdout, "Successfully applied 3 'IPPool' resource(s)\n");
    file("below/d.yml", "kind: [\n");
    let (stdout, stderr, code) = run("delete -R -f DIR");
    let expected = format!(
        "failed to execute command: error converting YAML to JSON: yaml: line 1: did not find expected node content\nhint: this is about {directory}/below/d.yml\n"
    );
    assert_eq!(
        (stdout.as_str(), stderr.as_str(), code),
        ("", expected.as_str(), 1)
    );
    let (stdout, _, _) = run("get ippool");
    assert_eq!(stdout.lines().count(), 5, "nothing was deleted: {stdout}");
}

#[test]
fn a_cluster_of_another_version_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let session = Session::new(place.path());
    for (version, refused) in [
        ("v3.32.1", false),
        ("v3.32.1-7-gabc", false),
        ("v3.31.0", true),
    ] {
        let mut information = ClusterInformation::new(
            Metadata::named("default"),
            ClusterInformationSpec::default(),
        );
        information.spec.calico_version = version.to_string();
        let key = information.key();
        let revision = block_on(session.store.get(&key))
            .unwrap()
            .map_or(0, |e| e.revision);
        let text = information.to_stored();
        if revision == 0 {
            block_on(session.store.create(&key, &text)).unwrap();
        } else {
            block_on(session.store.update(&key, &text, revision)).unwrap();
        }
        let (_, stderr, code) = session.run(Persona::Calicoctl, &words_of("get nodes"), "");
        let expected = "version mismatch.\nClient Version:   3.32.1\nCluster Version:  3.31.0\nUse --allow-version-mismatch to override\n";
        assert_eq!(
            (stderr.as_str(), code),
            if refused { (expected, 1) } else { ("", 0) }
        );
    }
    for line in [
        "get nodes --allow-version-mismatch",
        "--allow-version-mismatch get nodes",
    ] {
        assert_eq!(
            session.run(Persona::Calicoctl, &words_of(line), "").2,
            0,
            "{line}"
        );
    }
}

#[test]
fn a_node_takes_what_hangs_on_it() {
    let place = tempfile::tempdir().unwrap();
    let session = Session::new(place.path());
    let documents = "\
apiVersion: projectcalico.org/v3
kind: Node
metadata: {name: node-1}
spec: {bgp: {ipv4Address: 10.0.0.1/24}}
---
apiVersion: projectcalico.org/v3
kind: BGPPeer
metadata: {name: of-node-1}
spec: {node: node-1, peerIP: 192.0.2.1, asNumber: 65001}
---
apiVersion: projectcalico.org/v3
kind: BGPPeer
metadata: {name: of-all}
spec: {peerIP: 192.0.2.1, asNumber: 65001}
---
apiVersion: projectcalico.org/v3
kind: WorkloadEndpoint
metadata: {name: node--1-k8s-p-eth0}
spec: {node: node-1, orchestrator: k8s, endpoint: eth0, pod: p, interfaceName: cali1, ipNetworks: [10.9.0.1/32]}
";
    let run = |line: &str, stdin: &str| session.run(Persona::Calicoctl, &words_of(line), stdin).0;
    assert_eq!(
        run("apply -f -", documents),
        "Successfully applied 4 resource(s)\n"
    );
    assert_eq!(
        run("get wep", ""),
        "WORKLOAD   NODE     NETWORKS      INTERFACE   \np          node-1   10.9.0.1/32   cali1       \n\n"
    );
    assert_eq!(
        run("delete node node-1", ""),
        "Successfully deleted 1 'Node' resource(s)\n"
    );
    assert_eq!(
        run("get wep", ""),
        "WORKLOAD   NODE   NETWORKS   INTERFACE   \n\n"
    );
    assert_eq!(
        run("get bgppeer -o custom-columns=NAME", ""),
        "NAME     \nof-all   \n\n"
    );
}

#[test]
fn a_lost_race_is_run_again() {
    let place = tempfile::tempdir().unwrap();
    let session = Session::new(place.path());
    let run = |races: usize, line: &str, stdin: &str| {
        session.races.store(races, Ordering::Relaxed);
        let (stdout, stderr, _) = session.run(Persona::Calicoctl, &words_of(line), stdin);
        stdout + &stderr
    };
    let node = "apiVersion: projectcalico.org/v3\nkind: Node\nmetadata: {name: a}\n";
    run(0, "create -f -", node);
    let patch = r#"patch node a -p {"metadata":{"labels":{"x":"y"}}}"#;
    assert_eq!(
        run(4, patch, ""),
        "Successfully patched 1 'Node' resource\n"
    );
    assert_eq!(
        run(4, "label node a z=1", ""),
        "Successfully set label z on node a\n"
    );
    assert_eq!(
        run(4, "replace -f -", node),
        "Successfully replaced 1 'Node' resource(s)\n"
    );
    // The control: races that never end.
    assert_eq!(
        run(99, patch, ""),
        "hit error: updating existing resource: update conflict: Node(a)\n"
    );
    assert_eq!(
        run(99, "label node a z=2 --overwrite", ""),
        "failed to update node a, label not changed\n"
    );
}

#[test]
fn what_get_prints_can_be_given_back() {
    let place = tempfile::tempdir().unwrap();
    let session = Session::new(place.path());
    // The first sessions leave resources of every kind but the node's own endpoints.
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for file in ["01-basic.txt", "22-services.txt"] {
        for step in steps(&fs::read_to_string(golden.join(file)).unwrap()) {
            if step.words[0] != "delete" {
                session.run(step.persona, &step.words, &step.stdin);
            }
        }
    }
    for kind in [
        "bgpconfiguration",
        "bgppeer",
        "ippool",
        "node",
        "service",
        "endpointslice",
    ] {
        for format in ["yaml", "json"] {
            let get = words_of(&format!("get {kind} -o {format}"));
            let (before, _, _) = session.run(Persona::Calicoctl, &get, "");
            let replace = words_of("replace -f -");
            let (stdout, stderr, code) = session.run(Persona::Calicoctl, &replace, &before);
            assert!(
                stdout.starts_with("Successfully replaced"),
                "{kind}: {stdout}{stderr}"
            );
            assert_eq!(code, 0, "{kind}");
            let (after, _, _) = session.run(Persona::Calicoctl, &get, "");
            assert_eq!(masked(&after), masked(&before), "{kind}");
            // The control: what was read before that is stale now.
            let (_, stderr, _) = session.run(Persona::Calicoctl, &replace, &before);
            assert!(
                stderr.starts_with("hit error: update conflict"),
                "{kind}: {stderr}"
            );
        }
    }
}
