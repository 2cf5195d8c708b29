//! BMP: what a BIRD says reaches a station, also one that comes back.

use crate::Case;
use crate::bird;
use crate::lab::{Lab, wait};
use std::net::TcpListener;
use std::process::ExitCode;

pub const CASES: &[Case] = &[Case {
    peer: "bird",
    name: "bird_bmp",
    shows: "BMP: Peer Up with both OPENs, what BIRD announces and withdraws, Peer Down with its NOTIFICATION; a station that comes back gets all anew (RFC 7854)",
    run: told,
}];

/// Another process is a station: what the first speaker to come says goes to a file.
pub fn station(listen: &str, file: &str) -> ExitCode {
    let listener = TcpListener::bind(listen).expect("a free port");
    let (mut stream, _) = listener.accept().expect("somebody comes");
    let mut out = std::fs::File::create(file).expect("a file");
    std::io::copy(&mut stream, &mut out).expect("copied");
    ExitCode::SUCCESS
}

/// Type and body of each message; the last one may not be whole yet.
fn messages(lab: &Lab, file: &str) -> Vec<(u8, Vec<u8>)> {
    let octets = std::fs::read(lab.path(file)).unwrap_or_default();
    let mut rest = &octets[..];
    let mut out = Vec::new();
    while let [3, a, b, c, d, kind, ..] = rest {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        let Some(body) = rest.get(6..length) else {
            break;
        };
        out.push((*kind, body.to_vec()));
        rest = &rest[length..];
    }
    out
}

/// Whether an UPDATE of 10.9.0.2 ends with these octets.
fn has_update(messages: &[(u8, Vec<u8>)], end: &[u8]) -> bool {
    let from = |body: &[u8]| body[..2] == [0, 0] && body[22..26] == [10, 9, 0, 2];
    let mut updates = messages.iter().filter(|(kind, _)| *kind == 0);
    updates.any(|(_, body)| from(body) && body[60] == 2 && body.ends_with(end))
}

fn start_station(lab: &Lab, file: &str) {
    let own = std::env::current_exe().expect("this program has a path");
    let path = lab.path(file);
    let (own, path) = (own.to_str().expect("plain"), path.to_str().expect("plain"));
    lab.start("them", "station", &[own, "station", "10.9.0.4:1790", path]);
}

fn told(lab: &Lab) {
    start_station(lab, "first.bmp");
    bird::start_client(lab, 2, &["10.203.0.0/26", "fd00:203::/64"]);
    lab.ours(
        64512,
        "[[bmp]]\nstation = \"10.9.0.4:1790\"\n[[neighbor]]\naddress = \"10.9.0.2\"\nas = 64512\n\
         import = [{ action = \"reject\", prefix = \"10.203.0.0/26\" }, { action = \"accept\" }]\n",
    );
    let v4 = [26, 10, 203, 0, 0];
    let v6 = [64, 0xfd, 0, 0x02, 0x03, 0, 0, 0, 0];
    let both = |file: &str| {
        let said = messages(lab, file);
        let holds = |prefix: &[u8]| {
            let mut updates = said.iter().filter(|(kind, _)| *kind == 0);
            updates.any(|(_, body)| body.windows(prefix.len()).any(|w| w == prefix))
        };
        holds(&v4) && holds(&v6)
    };
    wait("the station has both, before import", 30, || {
        both("first.bmp")
    });
    let said = messages(lab, "first.bmp");
    assert_eq!(said[0].0, 4, "Initiation comes first");
    let (_, up) = said.iter().find(|(kind, _)| *kind == 3).expect("Peer Up");
    // Behind the header and both ends: our OPEN and BIRD's, each with its marker, AS and identifier.
    assert_eq!(up[22..30], [10, 9, 0, 2, 0, 0, 0xfc, 0]);
    assert_eq!(up[54..58], [10, 9, 0, 1]);
    let opens: Vec<&[u8]> = up[62..]
        .split(|octet| *octet == 0xff)
        .filter(|o| !o.is_empty())
        .collect();
    assert_eq!(opens.len(), 2, "{up:?}");
    assert_eq!((opens[0][2], &opens[0][8..12]), (1, &[10, 9, 0, 1][..]));
    assert_eq!((opens[1][2], &opens[1][8..12]), (1, &[10, 9, 0, 2][..]));
    let withdrawn = [&[0, 5], &v4[..], &[0, 0]].concat();
    assert!(!has_update(&said, &withdrawn), "the control");
    bird::birdc(lab, 2, "disable s4");
    wait("the withdrawal is told", 10, || {
        has_update(&messages(lab, "first.bmp"), &withdrawn)
    });
    bird::birdc(lab, 2, "enable s4");
    lab.signal("station", "TERM");
    start_station(lab, "second.bmp");
    wait("the one that came back has all", 30, || both("second.bmp"));
    bird::birdc(lab, 2, "disable ours");
    wait("Peer Down with a NOTIFICATION of the peer's", 10, || {
        let said = messages(lab, "second.bmp");
        let down = said.iter().find(|(kind, _)| *kind == 2);
        down.is_some_and(|(_, body)| body[42] == 3 && body[61] == 3 && body[62] == 6)
    });
}
