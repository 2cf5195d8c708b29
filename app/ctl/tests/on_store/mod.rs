//! Commands, and addresses given out, on a store that a test has opened.

use std::cell::Cell;
use std::path::PathBuf;

use ctl::{OpenError, Persona, World, run_with};
use ipam::{Family, Ipam, Owner, PoolChoice, Request, Use};
use store::{AnyStore, block_on};

/// Gives a pod on a node an address.
pub fn assign(store: &AnyStore, node: &str, handle: &str) -> String {
    let owner = Owner {
        handle: Some(handle.to_string()),
        ..Owner::default()
    };
    let request = Request {
        count: 1,
        family: Family::V4,
        owner: &owner,
        host: node,
        pools: PoolChoice::Automatic {
            namespace_labels: None,
        },
        intended: Use::Workload,
        max_blocks: None,
        windows: false,
    };
    let given =
        block_on(Ipam::new(store).auto_assign(&request, 1_795_386_348_000_222_492)).unwrap();
    given.addresses[0].address.to_string()
}

/// One command on a store: stdout, stderr, exit code.
pub fn run(store: &AnyStore, persona: Persona, line: &str, stdin: &str) -> (String, String, i32) {
    let words: Vec<String> = line.split(' ').map(str::to_string).collect();
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let random = |buffer: &mut [u8]| {
        buffer.fill(7);
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
        root: PathBuf::from("/nowhere"),
        environment: &|_| None,
        etcd: &Cell::new(false),
    };
    let code = run_with(&words, &mut world, |_, _| Ok::<_, OpenError>(store.clone()));
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(stdout), text(stderr), code)
}

/// What a command prints that succeeds.
pub fn ok(store: &AnyStore, line: &str, stdin: &str) -> String {
    let (stdout, stderr, code) = run(store, Persona::Selvedge, line, stdin);
    assert_eq!(code, 0, "{line}: {stdout}{stderr}");
    stdout
}
