//! TCP-AO (RFC 5925), where the kernel has it: who has which keys, and keys that roll over.

use crate::Case;
use crate::bird;
use crate::lab::{Lab, stays, wait};
use std::process::Command;

pub const CASES: &[Case] = &[
    Case {
        peer: "selvedge",
        name: "selvedge_ao",
        shows: "TCP-AO over IPv4 and IPv6, whoever dials, by address and by range, each algorithm; another secret and none give no session (RFC 5925, 5926)",
        run: signed,
    },
    Case {
        peer: "selvedge",
        name: "selvedge_ao_rollover",
        shows: "a TCP-AO key is added, asked for and taken away on one side, then on the other, and the session stays; the old one goes when both sign with the new one (RFC 5925 §3.1, §6.1)",
        run: rollover,
    },
    Case {
        peer: "bird",
        name: "bird_ao",
        shows: "TCP-AO over IPv4 and IPv6, whoever dials; another secret gives no session; keys roll over without a flap (RFC 5925)",
        run: with_bird,
    },
];

/// Why a case cannot run here.
pub fn lacks(case: &Case) -> Option<String> {
    if !CASES.iter().any(|ours| ours.name == case.name) {
        return None;
    }
    if linux::tcp_ao::probe(linux::tcp_ao::Algorithm::HmacSha1).is_err() {
        return Some("no TCP-AO in this kernel".to_owned());
    }
    if case.peer == "bird" {
        let output = Command::new("bird").arg("--version").output().ok()?;
        let said =
            String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
        let version = said.trim().rsplit(' ').next().unwrap_or_default();
        let mut numbers = version.split('.').map(|part| part.parse().unwrap_or(0));
        let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        if version < (2, 16) {
            return Some("BIRD before 2.16 has no TCP-AO".to_owned());
        }
    }
    None
}

/// SendID, RecvID, secret.
type Key = (u8, u8, &'static str);

const PATHS: [(&str, &str); 2] = [("10.9.0.1", "10.9.0.2"), ("fd09::1", "fd09::2")];

fn list(algorithm: &str, keys: &[Key]) -> String {
    let key = |(send, recv, secret): &Key| {
        format!(
            "{{ send_id = {send}, recv_id = {recv}, algorithm = \"{algorithm}\", secret = \"{secret}\" }}"
        )
    };
    let keys: Vec<String> = keys.iter().map(key).collect();
    format!("tcp_ao = [{}]\n", keys.join(", "))
}

/// An entry for who is at `remote`, an address or a range.
fn neighbor(remote: &str, settings: &str) -> String {
    let what = if remote.contains('/') {
        "range"
    } else {
        "address"
    };
    format!(
        "[[neighbor]]\n{what} = \"{remote}\"\nas = 64512\nhold_time = 9\nconnect_retry = 1\n\
         error_wait = [1, 1]\n{settings}\n"
    )
}

fn at(address: &str) -> String {
    let ip = address.parse().expect("an address");
    std::net::SocketAddr::new(ip, 179).to_string()
}

fn up(lab: &Lab, what: &str) {
    wait(what, 30, || bird::established(lab));
}

fn stays_down(lab: &Lab, what: &str) {
    wait("we answer", 20, || {
        lab.neighbors().contains("10.9.0") || lab.neighbors().contains("fd09")
    });
    stays(what, 4, || !bird::established(lab));
}

fn signed(lab: &Lab) {
    const CMAC: &str = "aes-128-cmac-96";
    let right = list(CMAC, &[(1, 2, "word")]);
    for (ours, theirs) in PATHS {
        let run = |settings: &str| lab.ours_at(&at(ours), 64512, &neighbor(theirs, settings));
        let other = |settings: &str| {
            lab.speaker(
                "them",
                "other",
                &at(theirs),
                64512,
                &neighbor(ours, &format!("source = \"{theirs}\"\n{settings}")),
            );
        };
        let their_keys = list(CMAC, &[(2, 1, "word")]);
        other(&their_keys);
        run(&right);
        up(lab, "equal keys");
        for (settings, why) in [
            (list(CMAC, &[(1, 2, "another")]), "another secret"),
            (list(CMAC, &[(1, 3, "word")]), "another RecvID"),
            (
                list("hmac-sha-1-96", &[(1, 2, "word")]),
                "another algorithm",
            ),
        ] {
            lab.signal("ours", "TERM");
            run(&settings);
            wait("the state has a name", 20, || {
                lab.neighbors().contains("tcp-ao-unanswered")
            });
            stays_down(lab, why);
        }
        lab.signal("ours", "TERM");
        run("");
        stays_down(lab, "no key");
        // The control, and they dial.
        lab.signal("ours", "TERM");
        run(&format!("passive = true\n{right}"));
        up(lab, "they dial");
        // We do.
        lab.signal("other", "TERM");
        lab.signal("ours", "TERM");
        other(&format!("passive = true\n{their_keys}"));
        run(&right);
        up(lab, "we dial");
        for algorithm in ["hmac-sha-1-96", "hmac-sha-256-96"] {
            lab.signal("other", "TERM");
            lab.signal("ours", "TERM");
            other(&list(algorithm, &[(2, 1, "word")]));
            run(&list(algorithm, &[(1, 2, "word")]));
            up(lab, algorithm);
        }
        // By range: who is in it has the key or no session.
        let range = if ours.contains(':') {
            "fd09::/64"
        } else {
            "10.9.0.0/24"
        };
        let in_range = |keys: &[Key]| {
            lab.signal("other", "TERM");
            lab.signal("ours", "TERM");
            other(&their_keys);
            lab.ours_at(&at(ours), 64512, &neighbor(range, &list(CMAC, keys)));
        };
        in_range(&[(1, 2, "another")]);
        wait("we run", 10, || lab.path("ours.ctl").exists());
        stays("another secret in the range", 4, || !bird::established(lab));
        in_range(&[(1, 2, "word")]);
        up(lab, "in the range");
        lab.signal("other", "TERM");
        lab.signal("ours", "TERM");
    }
}

/// Writes a side's configuration anew and lets it be read.
fn reread(lab: &Lab, name: &str, keys: &[Key]) {
    let (own, remote) = if name == "ours" {
        PATHS[0]
    } else {
        (PATHS[0].1, PATHS[0].0)
    };
    let text = format!(
        "router_id = \"{own}\"\nlocal_as = 64512\nlisten = [\"{}\"]\ncontrol = \"{}\"\n{}",
        at(own),
        lab.path(&format!("{name}.ctl")).display(),
        neighbor(remote, &list("hmac-sha-1-96", keys))
    );
    lab.write(&format!("{name}.toml"), &text);
    lab.signal(name, "HUP");
}

/// The ends of the connection of a process of ours, and the SendID and RecvID of each of its keys.
fn connection(lab: &Lab, name: &str) -> (Vec<String>, Vec<(u8, u8)>) {
    let pid = lab.pid(name);
    let process = rustix::process::Pid::from_raw(pid.cast_signed()).expect("not 0");
    let process = rustix::process::pidfd_open(process, rustix::process::PidfdFlags::empty());
    let process = process.expect("it runs");
    let (mut ends, mut keys) = (Vec::new(), Vec::new());
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs");
    for file in files.flatten() {
        let number = file
            .file_name()
            .to_string_lossy()
            .parse()
            .expect("a number");
        let flags = rustix::process::PidfdGetfdFlags::empty();
        // It may have been closed since.
        let Ok(socket) = rustix::process::pidfd_getfd(&process, number, flags) else {
            continue;
        };
        let socket = socket2::Socket::from(socket);
        let peer = socket.peer_addr().ok().and_then(|peer| peer.as_socket());
        let local = socket.local_addr().ok().and_then(|local| local.as_socket());
        if let Some((local, peer)) = local.zip(peer) {
            ends.push(format!("{local} {peer}"));
            let held = linux::tcp_ao::keys(&socket).expect("the kernel has it");
            keys.extend(held.iter().map(|held| (held.send_id, held.recv_id)));
        }
    }
    keys.sort_unstable();
    (ends, keys)
}

fn rollover(lab: &Lab) {
    let with = |keys: &[Key]| list("hmac-sha-1-96", keys);
    let (one, two, three): (Key, Key, Key) = ((1, 2, "one"), (3, 4, "two"), (5, 6, "three"));
    let turned = |key: Key| -> Key { (key.1, key.0, key.2) };
    let (ours, theirs) = PATHS[0];
    lab.speaker(
        "them",
        "other",
        &at(theirs),
        64512,
        &neighbor(ours, &with(&[turned(one)])),
    );
    lab.ours_at(&at(ours), 64512, &neighbor(theirs, &with(&[one])));
    up(lab, "equal keys");
    let (ends, keys) = connection(lab, "ours");
    assert_eq!((ends.len(), keys), (1, vec![(1, 2)]));
    let holds = |what: &str, name: &str, keys: &[Key]| {
        reread(lab, name, keys);
        stays(what, 4, || bird::established(lab));
    };
    let has = |name: &str| connection(lab, name).1;
    let only = |name: &str, key: (u8, u8)| {
        wait("the old one is gone when neither uses it", 15, || {
            has(name) == [key]
        });
    };
    holds("asked for what they have not", "ours", &[two, one]);
    holds("they have it", "other", &[turned(one), turned(two)]);
    holds("the old one is not for new connections", "ours", &[two]);
    assert_eq!(has("ours"), [(1, 2), (3, 4)], "they still ask for it");
    reread(lab, "other", &[turned(two)]);
    only("ours", (3, 4));
    only("other", (4, 3));
    // In one step on each side.
    holds("with another key on one side", "ours", &[three]);
    stays("for longer than the hold time", 10, || {
        bird::established(lab)
    });
    assert_eq!(has("ours"), [(3, 4), (5, 6)], "they have no other");
    reread(lab, "other", &[turned(three)]);
    only("ours", (5, 6));
    only("other", (6, 5));
    assert_eq!(connection(lab, "ours").0, ends, "all this time");
    // The control: another secret under the same IDs is another session, which the other side has no key for.
    reread(lab, "ours", &[(5, 6, "four")]);
    wait("it was no accident", 20, || !bird::established(lab));
    stays_down(lab, "with another secret");
    reread(lab, "other", &[(6, 5, "four")]);
    up(lab, "up again, with new connections");
}

/// BIRD's keys, with its own words for which one it asks for.
fn bird_session(ours: &str, theirs: &str, keys: &[(Key, &str)]) -> String {
    let key = |((send, recv, secret), words): &(Key, &str)| {
        format!(
            "key {{ send id {send}; recv id {recv}; secret \"{secret}\"; algorithm cmac aes128; {words} }};"
        )
    };
    let keys: String = keys.iter().map(key).collect();
    format!(
        "neighbor {ours} as 64512; local {theirs} as 64512; hold time 9; connect retry time 1;\n\
         authentication ao; keys {{ {keys} }};"
    )
}

fn with_bird(lab: &Lab) {
    let keys = |keys: &[Key]| list("aes-128-cmac-96", keys);
    let (one, two): (Key, Key) = ((1, 2, "one"), (3, 4, "two"));
    let turned = |key: Key| -> Key { (key.1, key.0, key.2) };
    for (ours, theirs) in PATHS {
        let run = |settings: &str| lab.ours_at(&at(ours), 64512, &neighbor(theirs, settings));
        let bird = |keys: &[(Key, &str)]| bird_session(ours, theirs, keys);
        bird::start(lab, 2, 64512, "", &bird(&[(turned(one), "")]));
        run(&keys(&[one]));
        up(lab, "equal keys");
        lab.signal("ours", "TERM");
        run(&format!("passive = true\n{}", keys(&[one])));
        up(lab, "BIRD dials");
        lab.signal("ours", "TERM");
        run(&keys(&[(1, 2, "another")]));
        wait("the state has a name", 20, || {
            lab.neighbors().contains("tcp-ao-unanswered")
        });
        stays_down(lab, "another secret");
        lab.signal("ours", "TERM");
        run(&keys(&[one]));
        up(lab, "the control");
        lab.signal("ours", "TERM");
        lab.signal("bird2", "TERM");
    }
    // Another key, first with us, then with BIRD.
    let (ours, theirs) = PATHS[0];
    bird::start(
        lab,
        2,
        64512,
        "",
        &bird_session(ours, theirs, &[(turned(one), "")]),
    );
    lab.ours_at(&at(ours), 64512, &neighbor(theirs, &keys(&[one])));
    up(lab, "equal keys");
    let (ends, _) = connection(lab, "ours");
    let reread_ours = |keys_of_us: &[Key]| {
        let path = lab.path("ours.toml");
        let text = std::fs::read_to_string(&path).expect("ours");
        let (head, _) = text.split_once("[[neighbor]]").expect("one is there");
        lab.write(
            "ours.toml",
            &format!("{head}{}", neighbor(theirs, &keys(keys_of_us))),
        );
        lab.signal("ours", "HUP");
        stays("our keys change", 5, || bird::established(lab));
    };
    let reread_bird = |session: &[(Key, &str)]| {
        let path = lab.path("bird2.conf");
        let text = std::fs::read_to_string(&path).expect("BIRD's");
        let (head, rest) = text.split_once("authentication ao;").expect("it has it");
        let (_, tail) = rest.split_once("};\n").expect("the keys end");
        let keys = bird_session(ours, theirs, session);
        let (_, keys) = keys.split_once("authentication ao;").expect("it has it");
        lab.write(
            "bird2.conf",
            &format!("{head}authentication ao;{keys}\n{tail}"),
        );
        let answer = bird::birdc(lab, 2, "configure");
        assert!(answer.contains("Reconfigured"), "{answer}");
        stays("BIRD's keys change", 5, || bird::established(lab));
    };
    reread_ours(&[two, one]);
    reread_bird(&[(turned(one), ""), (turned(two), "preferred;")]);
    reread_ours(&[two]);
    wait("the old one is gone with us", 15, || {
        connection(lab, "ours").1 == [(3, 4)]
    });
    reread_bird(&[(turned(two), "")]);
    stays("for longer than the hold time", 10, || {
        bird::established(lab)
    });
    assert_eq!(connection(lab, "ours").0, ends, "all this time");
}
