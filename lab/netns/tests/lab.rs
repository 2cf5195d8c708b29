//! The lab as a user meets it: through the binary, on this machine's kernel. A machine that refuses namespaces skips these tests, and says so.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

mod place;
use place::{Place, TWO_HOSTS, binary};

/// A sleep that can be told from all others.
fn unique_seconds() -> String {
    format!("{}{:03}", 86_400 + std::process::id(), line_number())
}

fn line_number() -> u32 {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    // A pipe whose reader has gone, and as a control a disk that is full.
    for (out, succeeds) in [("true", true), ("full", false)] {
        let script = match out {
            "full" => "exec \"$0\" lab ls >/dev/full",
            _ => "exec 3> >(:); wait $!; exec \"$0\" lab ls >&3",
        };
        let output = Command::new("bash")
            .args(["-c", script])
            .arg(binary())
            .output()
            .expect("bash runs");
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.success(), succeeds, "{error}");
        assert!(!error.contains("panicked"), "{error}");
        assert_eq!(
            error.contains("cannot write the answer"),
            !succeeds,
            "{error}"
        );
    }
}

#[test]
fn what_is_brought_up_goes_down_without_a_trace() {
    let Some(place) = Place::new() else { return };
    assert!(
        place
            .said(&["up", "./two.toml"])
            .contains("lab two is up: 2 hosts")
    );
    assert!(place.said(&["ls"]).contains("two "));
    assert!(place.said(&["status"]).contains("harbor"));
    let sleep = format!("sleep {}", unique_seconds());
    place.said(&[
        "exec",
        "vm",
        "--",
        "sh",
        "-c",
        &format!("{sleep} >/dev/null 2>&1 &"),
    ]);
    assert_eq!(
        place
            .processes(&sleep)
            .iter()
            .filter(|line| line.starts_with(&sleep))
            .count(),
        1,
        "control: it runs"
    );
    place.said(&["down"]);
    place.wait_until_nothing_is_left(&sleep);
}

#[test]
fn a_host_is_a_machine_of_its_own() {
    let Some(place) = Place::new() else { return };
    place.said(&["up", "./two.toml"]);
    let said = |host, script| place.said(&["exec", host, "--", "sh", "-c", script]);
    assert_eq!(
        said("harbor", "hostname; cat /etc/hostname").trim(),
        "harbor\nharbor"
    );
    assert_eq!(
        said("harbor", "ls /sys/class/net")
            .split_whitespace()
            .collect::<Vec<_>>(),
        ["ens192", "lo"]
    );
    assert!(
        said("harbor", "ping -c 1 -W 2 vm").contains(" 1 received"),
        "names of /etc/hosts, the LAN between"
    );
    assert_eq!(
        said("harbor", "command -v selvedge; command -v calicoctl")
            .lines()
            .count(),
        2
    );
    assert!(
        said("harbor", "tr '\\0' ' ' </proc/1/cmdline")
            .trim()
            .ends_with(" harbor"),
        "PID 1 of its own"
    );
    said(
        "harbor",
        "echo own >/tmp/file; echo own >/etc/calico/file; echo own >/var/lib/calico/file; ip netns add pod",
    );
    assert_eq!(
        said("harbor", "ip netns exec pod ls /sys/class/net").trim(),
        "lo"
    );
    let elsewhere = place.lab(&[
        "exec",
        "vm",
        "--",
        "sh",
        "-c",
        "cat /tmp/file /etc/calico/file /var/lib/calico/file",
    ]);
    assert!(
        !elsewhere.status.success() && elsewhere.stdout.is_empty(),
        "{elsewhere:?}"
    );
    place.said(&["down"]);
}

#[test]
fn exec_passes_input_output_status_and_signals() {
    let Some(place) = Place::new() else { return };
    place.said(&["up", "./two.toml"]);
    let mut cat = place.command(&["exec", "vm", "--", "sh", "-c", "cat; echo err >&2; exit 7"]);
    let mut cat = cat
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    std::io::Write::write_all(&mut cat.stdin.take().expect("piped"), b"through\n")
        .expect("written");
    let output = cat.wait_with_output().expect("ends");
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(
        (&*out, &*err, output.status.code()),
        ("through\n", "err\n", Some(7))
    );
    assert_eq!(
        place
            .lab(&["exec", "vm", "--", "no-such-program"])
            .status
            .code(),
        Some(127)
    );
    assert_eq!(
        place
            .lab(&["exec", "vm", "--", "sh", "-c", "kill -9 $$"])
            .status
            .code(),
        Some(137)
    );

    let mut trapping = place.command(&[
        "exec",
        "vm",
        "--",
        "sh",
        "-c",
        "trap 'exit 9' TERM; echo ready; while :; do sleep 0.02; done",
    ]);
    let mut trapping = trapping.stdout(Stdio::piped()).spawn().expect("starts");
    first_line(&mut trapping);
    signal(&trapping, "TERM");
    assert_eq!(
        trapping.wait().expect("ends").code(),
        Some(9),
        "TERM is passed on"
    );
    place.said(&["down"]);
}

fn first_line(child: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().expect("piped"))
        .read_line(&mut line)
        .expect("a line");
    line
}

fn signal(child: &Child, signal: &str) {
    let status = Command::new("kill")
        .args([&format!("-{signal}"), &child.id().to_string()])
        .status();
    assert!(status.expect("kill runs").success());
}

#[test]
fn a_runner_that_ends_in_whatever_way_takes_its_lab_along() {
    let Some(place) = Place::new() else { return };
    for how in ["INT", "TERM", "HUP", "KILL"] {
        let sleep = format!("sleep {}", unique_seconds());
        let scenario = format!(
            "{TWO_HOSTS}[[step]]\ntitle = \"stay\"\non = \"vm\"\nexec = \"{sleep}\"\ntimeout = 600\n"
        );
        fs::write(place.runtime.path().join("stay.toml"), scenario).expect("written");
        let mut run = place.command(&["run", "./stay.toml"]);
        let mut run = run
            .process_group(0)
            .stdout(Stdio::null())
            .spawn()
            .expect("starts");
        let began = Instant::now();
        while !place
            .processes(&sleep)
            .iter()
            .any(|line| line.starts_with(&sleep))
        {
            assert!(began.elapsed() < Duration::from_secs(20), "the step starts");
            std::thread::yield_now();
        }
        signal(&run, how);
        let began = Instant::now();
        let status = loop {
            if let Some(status) = run.try_wait().expect("a child of ours") {
                break status;
            }
            assert!(
                began.elapsed() < Duration::from_secs(20),
                "the runner ends when it gets {how}"
            );
            std::thread::yield_now();
        };
        assert!(!status.success());
        place.wait_until_nothing_is_left(&sleep);
    }
}

#[test]
fn what_a_killed_keeper_left_is_cleaned_by_the_next_call() {
    let Some(place) = Place::new() else { return };
    place.said(&["up", "./two.toml"]);
    let record =
        fs::read(place.runtime.path().join("selvedge-lab/two/lab.json")).expect("the record");
    let record: serde_json::Value = serde_json::from_slice(&record).expect("JSON");
    let keeper = record["keeper"].as_u64().expect("a pid").to_string();
    assert!(
        Command::new("kill")
            .args(["-KILL", &keeper])
            .status()
            .expect("kill runs")
            .success()
    );
    let began = Instant::now();
    while !place.processes("no such word").is_empty() {
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "the lab ends with its keeper"
        );
        std::thread::yield_now();
    }
    assert_eq!(
        place.folders(),
        ["two"],
        "control: nobody was there to remove the folder"
    );
    assert!(place.said(&["ls"]).contains("labs that are up: none"));
    place.wait_until_nothing_is_left("no such word");
}

#[test]
fn two_labs_live_side_by_side() {
    let Some(place) = Place::new() else { return };
    place.said(&["up", "./two.toml", "--name", "one"]);
    place.said(&["up", "./two.toml", "--name", "other"]);
    let twice = place.lab(&["up", "./two.toml", "--name", "one"]);
    assert!(
        String::from_utf8_lossy(&twice.stderr).contains("lab `one` is up already"),
        "{twice:?}"
    );
    place.said(&[
        "exec",
        "--lab",
        "one",
        "vm",
        "--",
        "sh",
        "-c",
        "echo one >/tmp/mark; ip link set ens192 down",
    ]);
    assert!(
        !place
            .lab(&[
                "exec",
                "--lab",
                "one",
                "harbor",
                "--",
                "ping",
                "-c",
                "1",
                "-W",
                "1",
                "192.0.2.2"
            ])
            .status
            .success()
    );
    place.said(&[
        "exec",
        "--lab",
        "other",
        "harbor",
        "--",
        "ping",
        "-c",
        "1",
        "-W",
        "2",
        "192.0.2.2",
    ]);
    assert!(
        !place
            .lab(&["exec", "--lab", "other", "vm", "--", "cat", "/tmp/mark"])
            .status
            .success()
    );
    let which = place.lab(&["exec", "vm", "--", "true"]);
    assert!(
        String::from_utf8_lossy(&which.stderr).contains("name one with --lab: one, other"),
        "{which:?}"
    );
    place.said(&["down", "one"]);
    place.said(&["exec", "harbor", "--", "true"]);
    place.said(&["down", "--all"]);
    place.wait_until_nothing_is_left("no such word");
}

#[test]
fn bad_input_is_said_clearly_and_leaves_nothing() {
    let Some(place) = Place::new() else { return };
    let check = |arguments: &[&str], expected: &str| {
        let output = place.lab(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !output.status.success() && said.contains(expected),
            "{arguments:?}: {said}"
        );
        place.wait_until_nothing_is_left("no such word");
    };
    fs::write(
        place.runtime.path().join("typo.toml"),
        TWO_HOSTS.replace("nics", "nisc"),
    )
    .expect("written");
    fs::write(
        place.runtime.path().join("route.toml"),
        TWO_HOSTS.replace("name = \"vm\"", "name = \"vm\"\nroutes = [\"nonsense\"]"),
    )
    .expect("written");
    check(
        &["up", "./typo.toml"],
        "./typo.toml:7:1: unknown field `nisc`",
    );
    check(&["up", "./typo.toml"], "did you mean `nics`?");
    check(&["up", "./absent.toml"], "cannot be read: No such file");
    check(&["up", "howot"], "did you mean `howto`?");
    check(&["up", "./route.toml"], "host vm: ip -batch:");
    check(
        &["up", "./two.toml", "--name", "../two"],
        "lab name `../two`",
    );
    check(&["down", "absent"], "no lab `absent` is up");
    place.said(&["up", "./two.toml"]);
    let typo = place.lab(&["exec", "harbro", "--", "true"]);
    assert!(
        String::from_utf8_lossy(&typo.stderr).contains("did you mean `harbor`?"),
        "{typo:?}"
    );
    place.said(&["down"]);
}

#[test]
fn a_machine_that_refuses_namespaces_is_named_in_one_line() {
    let Some(place) = Place::new() else { return };
    let inside = |limit: &str| {
        let lab = format!("{limit} exec \"$0\" lab up ./two.toml");
        let mut command = Command::new("unshare");
        command.args(["-Ur", "sh", "-c", &lab]).arg(binary());
        command
            .env("XDG_RUNTIME_DIR", place.runtime.path())
            .current_dir(place.runtime.path());
        command.output().expect("unshare runs")
    };
    let refused = inside("echo 0 >/proc/sys/user/max_pid_namespaces;");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(
        !refused.status.success()
            && said.contains("this machine refuses namespaces (No space left on device"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(place.folders().is_empty());
    let taken = inside("");
    assert!(
        taken.status.success(),
        "control: without the limit it comes up: {taken:?}"
    );
}

#[test]
fn a_step_that_is_not_as_expected_fails_the_run() {
    let Some(place) = Place::new() else { return };
    let step = |expect| {
        format!(
            "{TWO_HOSTS}[[step]]\ntitle = \"ping\"\non = \"harbor\"\nexec = \"ping -c 1 -W 2 vm\"\nexpect = ['{expect}']\n"
        )
    };
    for (expect, ok) in [(" 1 received", true), (" 2 received", false)] {
        fs::write(place.runtime.path().join("step.toml"), step(expect)).expect("written");
        let output = place.lab(&["run", "./step.toml", "-o", "json"]);
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(
            (output.status.success(), report["ok"].as_bool()),
            (ok, Some(ok)),
            "{report}"
        );
    }
    place.wait_until_nothing_is_left("no such word");
}
