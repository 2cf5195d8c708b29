//! Several processes on one file: the last write, one counter (killed.rs has kill -9). The children are this test program again.

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use resource::conformance::{Values, counter, increment};
use resource::{Key, KeyPrefix, Kind, Store};
use rusqlite::Connection;
use store::{SqliteOptions, SqliteStore, block_on};

const ROLE: &str = "STORE_TEST_CHILD";
const FILE: &str = "STORE_TEST_FILE";

/// A child in a role; it speaks on stderr, since the test harness has stdout.
struct Peer {
    child: Child,
    stdin: ChildStdin,
    stderr: Lines<BufReader<ChildStderr>>,
}

impl Peer {
    fn start(role: &str, file: &Path) -> Peer {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["child", "--exact", "--ignored", "--nocapture"])
            .env(ROLE, role)
            .env(FILE, file)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Peer {
            stdin: child.stdin.take().unwrap(),
            stderr: BufReader::new(child.stderr.take().unwrap()).lines(),
            child,
        }
    }

    fn say(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").unwrap();
    }

    fn end(mut self) {
        drop(self.stdin);
        let said: Vec<String> = self.stderr.map(Result::unwrap).collect();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}: {}", said.join("\n"));
    }
}

#[test]
#[ignore = "the other process of the tests here"]
fn child() {
    let (Ok(role), Ok(file)) = (std::env::var(ROLE), std::env::var(FILE)) else {
        return;
    };
    match role.as_str() {
        "write once a line" => write_once_a_line(&file),
        "write once a line, unannounced" => write_unannounced(&file),
        "count" => {
            let store = SqliteStore::open(&file).unwrap();
            for _ in 0..COUNT_EACH {
                block_on(increment(Values::Texts, &store, &counter(Values::Texts)));
            }
        }
        other => panic!("no role {other}"),
    }
}

fn write_once_a_line(file: &str) {
    let store = SqliteStore::open(file).unwrap();
    for line in std::io::stdin().lines() {
        block_on(increment(
            Values::Texts,
            &store,
            &Key::cluster(Kind::Node, line.unwrap()),
        ));
    }
}

/// A writer that does not touch the file after its commit, as one that is killed there, or another program.
fn write_unannounced(file: &str) {
    let connection = Connection::open(file).unwrap();
    connection.busy_timeout(Duration::from_secs(10)).unwrap();
    // A flush between the bytes and the commit, as SQLite has it by default.
    connection
        .pragma_update(None, "synchronous", "FULL")
        .unwrap();
    let path = Key::cluster(Kind::Node, "n").path();
    for _ in std::io::stdin().lines() {
        connection
            .execute("INSERT INTO log (path, value) VALUES (?1, '1')", [&path])
            .unwrap();
    }
}

/// The watch of a store that never looks by the clock (an hour is longer than the test): each write of another process is
/// the last one, followed by silence, and must be seen.
fn each_last_write_is_seen(role: &str, times: usize) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("selvedge.db");
    let options = SqliteOptions {
        quiet: Duration::from_secs(3600),
        ..SqliteOptions::default()
    };
    let store = SqliteStore::open_with(&file, options).unwrap();
    let mut peer = Peer::start(role, &file);
    // A thread waits, so that a miss is a failed test and not a hanging one.
    let (seen, seen_by_test) = mpsc::channel();
    thread::spawn(move || {
        let mut cursor = 0;
        loop {
            let changes = block_on(store.changes(cursor)).unwrap();
            if changes.revision > cursor {
                cursor = changes.revision;
                if seen.send(cursor).is_err() {
                    return;
                }
            } else {
                block_on(store.wait(cursor)).unwrap();
            }
        }
    });
    for i in 1..=times as u64 {
        peer.say("n");
        match seen_by_test.recv_timeout(Duration::from_secs(30)) {
            Ok(revision) => assert_eq!(revision, i),
            Err(_) => panic!("the write of revision {i} was missed"),
        }
    }
    peer.end();
}

#[test]
fn a_last_write_of_another_process_is_never_missed() {
    each_last_write_is_seen("write once a line", 10_000);
}

#[test]
fn a_last_write_that_nobody_announced_is_not_missed_either() {
    each_last_write_is_seen("write once a line, unannounced", 1_000);
}

/// The control: a watch that looks once for each event of the WAL file does miss a last write.
#[cfg(target_os = "linux")]
#[test]
fn a_look_at_each_event_of_the_wal_misses_a_last_write() {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("selvedge.db");
    let store = SqliteStore::open(&file).unwrap();
    let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).unwrap();
    inotify::add_watch(
        &fd,
        directory.path().join("selvedge.db-wal"),
        WatchFlags::MODIFY,
    )
    .unwrap();
    let mut peer = Peer::start("write once a line, unannounced", &file);
    let revision = || block_on(store.list(&KeyPrefix::All)).unwrap().revision;
    // Silence is a second without an event.
    let silence = Timespec {
        tv_sec: 1,
        tv_nsec: 0,
    };
    for i in 1..=10_000 {
        peer.say("n");
        while revision() < i {
            let mut fds = [PollFd::new(&fd, PollFlags::IN)];
            if poll(&mut fds, Some(&silence)).unwrap() == 0 {
                // Nothing more will come, and what came was too early.
                if revision() == i {
                    peer.end();
                    return;
                }
            }
            let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
            let mut events = Reader::new(&fd, &mut buffer);
            while events.next().is_ok() {}
        }
    }
    panic!("the naive watch missed nothing in 10,000 writes: this control shows nothing any more");
}

const COUNTERS: usize = 8;
const COUNT_EACH: usize = 250;

#[test]
fn eight_processes_count_together() {
    let directory = tempfile::tempdir().unwrap();
    // Nobody has made the file: they all do, at once.
    let file = directory.path().join("new/selvedge.db");
    let peers: Vec<Peer> = (0..COUNTERS).map(|_| Peer::start("count", &file)).collect();
    for peer in peers {
        peer.end();
    }
    let store = SqliteStore::open(&file).unwrap();
    let entry = block_on(store.get(&counter(Values::Texts)))
        .unwrap()
        .unwrap();
    assert_eq!(entry.value, (COUNTERS * COUNT_EACH).to_string());
    assert_eq!(entry.revision, (COUNTERS * COUNT_EACH) as u64);
}
