//! One process, owners that come and go. The sessions are with loopback addresses that nobody answers from.

use liveness::{Client, Launch, Options, PathEvent, Report, Wanted};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const PROCESS: &str = "LIVENESS_TEST_PATIENCE_MS";

/// In a process that is meant to be the liveness process, is it.
fn is_process() -> bool {
    let Ok(patience) = std::env::var(PROCESS) else {
        return false;
    };
    let socket = std::env::args_os().next_back().expect("a socket");
    let mut options = Options::new(socket.into());
    options.patience = Duration::from_millis(patience.parse().expect("a number"));
    liveness::run(&options).expect("it runs");
    true
}

/// Starts this test's own program as the process.
fn launch(socket: &Path, test: &str, patience_ms: u64) -> Launch {
    let own = std::env::current_exe().expect("a path");
    let variable = format!("{PROCESS}={patience_ms}");
    let words = [
        "env",
        &variable,
        own.to_str().expect("text"),
        "--exact",
        test,
    ];
    let mut launch = Launch::own(socket.to_path_buf());
    launch.command = words.map(Into::into).into();
    launch.command.push(socket.as_os_str().to_owned());
    launch
}

fn socket() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("liveness");
    (directory, socket)
}

fn wanted(last: u8) -> Wanted {
    Wanted::new([127, 0, 2, last].into())
}

fn await_report(socket: &Path, what: &str, holds: impl Fn(&Report) -> bool) -> Report {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let report = liveness::show(socket);
        if let Ok(report) = &report
            && holds(report)
        {
            return report.clone();
        }
        assert!(Instant::now() < end, "not {what}: {report:?}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

fn await_end(socket: &Path) {
    let end = Instant::now() + Duration::from_secs(30);
    while liveness::show(socket).is_ok() {
        assert!(Instant::now() < end, "it has not ended");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

fn neighbours(report: &Report) -> Vec<String> {
    report
        .sessions
        .iter()
        .map(|s| s.remote.to_string())
        .collect()
}

#[test]
fn the_next_owner_takes_the_process_over() {
    if is_process() {
        return;
    }
    let (_directory, socket) = socket();
    let launch = launch(&socket, "the_next_owner_takes_the_process_over", 30_000);
    let first = Client::start(launch.clone(), |_| {}).expect("a thread");
    first.want(vec![wanted(1), wanted(2)]);
    let before = await_report(&socket, "two sessions", |r| {
        r.sessions.len() == 2 && r.claimed
    });
    drop(first);
    let alone = await_report(&socket, "alone", |r| !r.claimed);
    assert_eq!(alone.sessions.len(), 2, "they go on");
    let (sender, told) = std::sync::mpsc::channel();
    let second = Client::start(launch, move |event| drop(sender.send(event))).expect("a thread");
    second.want(vec![wanted(2)]);
    let after = await_report(&socket, "one session", |r| {
        r.sessions.len() == 1 && r.claimed
    });
    assert_eq!(after.pid, before.pid);
    let discriminator = |report: &Report| report.sessions.last().expect("one").local_discriminator;
    assert_eq!(
        discriminator(&after),
        discriminator(&before),
        "the same session"
    );
    let remote = [127, 0, 2, 2].into();
    let event = told
        .recv_timeout(Duration::from_secs(10))
        .expect("its standing");
    assert_eq!(event, PathEvent::Unknown { remote, scope: 0 });
    liveness::end(&socket);
    // The owner wants it still, and starts another one.
    await_report(&socket, "another one", |r| {
        r.pid != before.pid && r.sessions.len() == 1
    });
    drop(second);
    liveness::end(&socket);
    await_end(&socket);
}

#[test]
fn nobody_wants_it_any_more() {
    if is_process() {
        return;
    }
    let (_directory, socket) = socket();
    let launch = launch(&socket, "nobody_wants_it_any_more", 200);
    let owner = Client::start(launch, |_| {}).expect("a thread");
    owner.want(vec![wanted(3)]);
    let claimed = await_report(&socket, "claimed", |r| r.claimed);
    // Longer than its patience: while it is claimed it stays.
    let end = Instant::now() + Duration::from_millis(600);
    while Instant::now() < end {
        assert_eq!(liveness::show(&socket).expect("it runs").pid, claimed.pid);
    }
    drop(owner);
    await_end(&socket);
}

#[test]
fn others_stay_for_an_owner_that_asks_for_it() {
    if is_process() {
        return;
    }
    let (_directory, socket) = socket();
    let mut launch = launch(&socket, "others_stay_for_an_owner_that_asks_for_it", 30_000);
    let first = Client::start(launch.clone(), |_| {}).expect("a thread");
    first.want(vec![wanted(4), wanted(5)]);
    await_report(&socket, "two sessions", |r| r.sessions.len() == 2);
    drop(first);
    launch.keep_others = Duration::from_secs(2);
    let second = Client::start(launch, |_| {}).expect("a thread");
    second.want(vec![wanted(5), wanted(6)]);
    let kept = await_report(&socket, "all three", |r| r.sessions.len() == 3);
    assert_eq!(neighbours(&kept), ["127.0.2.4", "127.0.2.5", "127.0.2.6"]);
    let left = await_report(&socket, "the wanted ones", |r| r.sessions.len() == 2);
    assert_eq!(neighbours(&left), ["127.0.2.5", "127.0.2.6"]);
    drop(second);
    liveness::end(&socket);
    await_end(&socket);
}
