//! Messages: what is copied, what is refused, what is cut, and queries captured from real clients.

use dns::{Dropped, Malformed, Outcome, Refused, Server, Transport, Zone};
use service::Table;

use crate::cluster::{config, service, slice, zone};
use crate::decode;
use crate::zone::query;

/// A query's parts, to be spoilt one at a time.
fn nginx() -> Vec<u8> {
    query("nginx.default.svc.datateam.local", "A")
}

/// An OPT record: owner, payload, version, flags, data.
fn opt(payload: u16, version: u8, flags: u8, data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 41];
    bytes.extend_from_slice(&payload.to_be_bytes());
    bytes.extend_from_slice(&[0, version, flags, 0]);
    bytes.extend_from_slice(&u16::try_from(data.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(data);
    bytes
}

/// The query with these records added as additional ones.
fn with_additional(mut query: Vec<u8>, records: &[Vec<u8>]) -> Vec<u8> {
    query[11] = u8::try_from(records.len()).unwrap();
    query.extend(records.concat());
    query
}

/// Hands over bytes and compares outcome, flags with code, and the records; none expected means no answer.
fn check(server: &Server, query: &[u8], outcome: Outcome, expected: Option<(u16, &[&str])>) {
    let reply = server.handle(query, Transport::Udp);
    assert_eq!(reply.outcome, outcome, "{query:02x?}");
    let answered = reply.bytes.map(|bytes| {
        let message = decode::message(&bytes).unwrap();
        assert_eq!(message.id.to_be_bytes(), query[..2], "the id is copied");
        (message.flags, message.rcode, message.records)
    });
    match (answered, expected) {
        (None, None) => {}
        (Some((flags, rcode, records)), Some((expected_flags, expected_records))) => {
            assert_eq!(flags, expected_flags, "{outcome:?}: {flags:04x}");
            assert_eq!(records, expected_records);
            let extended = matches!(outcome, Outcome::BadVers);
            assert_eq!(rcode, if extended { 16 } else { flags & 0xf });
        }
        (answered, _) => panic!("{outcome:?}: {answered:?}"),
    }
}

#[test]
fn what_is_no_query_gets_no_answer() {
    let server = Server::new(zone());
    let good = nginx();
    for length in 0..12 {
        check(
            &server,
            &good[..length],
            Outcome::Dropped(Dropped::Short),
            None,
        );
    }
    let mut response = nginx();
    response[2] |= 0x80;
    check(
        &server,
        &response,
        Outcome::Dropped(Dropped::Response),
        None,
    );
}

#[test]
fn a_spoilt_query_is_a_format_error_with_its_id() {
    let server = Server::new(zone());
    let form_err =
        |query: &[u8], why| check(&server, query, Outcome::FormErr(why), Some((0x8101, &[])));
    let good = nginx();
    for length in 12..good.len() {
        form_err(&good[..length], Malformed::Question);
    }
    let mut none = nginx();
    none[5] = 0;
    form_err(&none, Malformed::QuestionCount);
    let mut two = nginx();
    two[5] = 2;
    form_err(&two, Malformed::QuestionCount);
    let mut pointer = nginx();
    pointer[12] = 0xc0;
    form_err(&pointer, Malformed::Question);
    let mut endless = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    endless.extend([[1, b'a']; 200].concat());
    endless.extend([0, 0, 1, 0, 1]);
    form_err(&endless, Malformed::Question);

    form_err(&[nginx(), vec![0]].concat(), Malformed::Trailing);
    let whole = with_additional(nginx(), &[opt(1232, 0, 0, &[0, 3, 0, 0])]);
    for length in good.len()..whole.len() {
        form_err(&whole[..length], Malformed::Record);
    }
    form_err(
        &with_additional(nginx(), &[opt(1232, 0, 0, &[]), opt(1232, 0, 0, &[])]),
        Malformed::Opt,
    );
    form_err(
        &with_additional(nginx(), &[opt(1232, 0, 0, &[0, 3, 0, 9])]),
        Malformed::Opt,
    );
    let named = [vec![1, b'a'], opt(1232, 0, 0, &[])].concat();
    form_err(&with_additional(nginx(), &[named]), Malformed::Opt);
    let mut in_answer = with_additional(nginx(), &[opt(1232, 0, 0, &[])]);
    (in_answer[7], in_answer[11]) = (1, 0);
    form_err(&in_answer, Malformed::Opt);

    let control = whole;
    assert_eq!(
        server.handle(&control, Transport::Udp).outcome,
        Outcome::Answered
    );
}

#[test]
fn opcode_class_and_edns_version() {
    let server = Server::new(zone());
    let mut notify = nginx();
    notify[2] |= 4 << 3;
    check(&server, &notify, Outcome::NotImp, Some((0xa104, &[])));
    for class in [3, 4, 255] {
        let mut chaos = nginx();
        *chaos.last_mut().unwrap() = class;
        let outcome = Outcome::Refused(Refused::Class);
        let reply = server.handle(&chaos, Transport::Udp);
        assert_eq!(reply.outcome, outcome);
        assert_eq!(reply.bytes.unwrap()[3] & 0xf, 5);
    }
    let newer = with_additional(nginx(), &[opt(1232, 1, 0x80, &[])]);
    check(
        &server,
        &newer,
        Outcome::BadVers,
        Some((0x8100, &["opt 1232 version 0 do"])),
    );
    let edns = with_additional(nginx(), &[opt(4096, 0, 0x80, &[])]);
    let a = "answer nginx.default.svc.datateam.local. A 10.210.0.80";
    check(
        &server,
        &edns,
        Outcome::Answered,
        Some((0x8500, &[a, "opt 1232 version 0 do"])),
    );
    let mut checking_disabled = nginx();
    (checking_disabled[2], checking_disabled[3]) = (0, 0x30);
    check(
        &server,
        &checking_disabled,
        Outcome::Answered,
        Some((0x8410, &[a])),
    );
}

/// A zone with one headless service of this many endpoints.
fn many(count: usize) -> Server {
    let addresses: Vec<String> = (0..count)
        .map(|i| format!("10.200.{}.{}", i / 250, i % 250 + 1))
        .collect();
    let endpoints: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let table = Table::build(
        &[service("many", &["None"], &[])],
        &[slice("a", "many", &endpoints)],
    );
    Server::new(Zone::build(&config(), &table).unwrap())
}

/// Asks for all addresses, and says how many came, how long the answer was, and whether it was cut.
fn count(server: &Server, asked: &[u8], transport: Transport) -> (usize, usize, bool) {
    let reply = server.handle(asked, transport);
    let bytes = reply.bytes.unwrap();
    let message = decode::message(&bytes).unwrap();
    assert_eq!(
        message.flags & 0x0200 != 0,
        reply.truncated,
        "TC says what was cut"
    );
    let answers = message.records.iter().filter(|r| r.starts_with("answer"));
    (answers.count(), bytes.len(), reply.truncated)
}

#[test]
fn an_answer_fits_what_the_client_can_take() {
    let server = many(5000);
    let asked = query("many.default.svc.datateam.local", "A");
    let edns = |payload| with_additional(asked.clone(), &[opt(payload, 0, 0, &[])]);
    // 49 octets of header and question, 16 a record, 11 for OPT.
    assert_eq!(count(&server, &asked, Transport::Udp), (28, 497, true));
    assert_eq!(count(&server, &edns(0), Transport::Udp), (28, 508, true));
    assert_eq!(count(&server, &edns(600), Transport::Udp), (33, 588, true));
    assert_eq!(
        count(&server, &edns(1232), Transport::Udp),
        (73, 1228, true)
    );
    assert_eq!(
        count(&server, &edns(65_535), Transport::Udp),
        (73, 1228, true)
    );
    assert_eq!(count(&server, &asked, Transport::Tcp), (4092, 65_521, true));
    assert_eq!(count(&many(28), &asked, Transport::Udp), (28, 497, false));
    assert_eq!(
        count(&many(4092), &asked, Transport::Tcp),
        (4092, 65_521, false)
    );
}

#[test]
fn additional_records_are_left_out_without_a_word() {
    // 7 SRV records fit into 512 octets, their 7 addresses do not.
    let server = many(7);
    let asked = query("_sql._tcp.many.default.svc.datateam.local", "SRV");
    let bytes = server.answer(&asked, Transport::Udp).unwrap();
    let message = decode::message(&bytes).unwrap();
    let answers = message
        .records
        .iter()
        .filter(|r| r.starts_with("answer"))
        .count();
    assert_eq!(
        (answers, message.records.len(), message.flags & 0x0200),
        (7, 7, 0)
    );
    let over_tcp = server.answer(&asked, Transport::Tcp).unwrap();
    assert_eq!(decode::message(&over_tcp).unwrap().records.len(), 14);
}

#[test]
fn the_id_decides_which_address_is_first() {
    let server = many(3);
    let first = |id: u8| {
        let mut asked = query("many.default.svc.datateam.local", "A");
        asked[1] = id;
        let bytes = server.answer(&asked, Transport::Udp).unwrap();
        let records = decode::message(&bytes).unwrap().records;
        assert_eq!(records.len(), 3);
        records[0].rsplit('.').next().unwrap().to_owned()
    };
    assert_eq!([0, 1, 2, 3].map(first), ["1", "2", "3", "1"]);
}

/// Queries as dig 9.18, glibc's resolver, dnsmasq 2.90 and unbound 1.17 (with random case) sent them.
#[test]
fn queries_of_real_clients_are_answered() {
    let server = Server::new(zone());
    for (who, hex, question, flags, records) in [
        (
            "dig",
            "070701200001000000000001056e67696e780764656661756c740373766308646174617465616d056c6f63616c000001000100002904d000000000000c000a000851ffb048cf9a2524",
            "nginx.default.svc.datateam.local. A",
            0x8500,
            &[
                "answer nginx.default.svc.datateam.local. A 10.210.0.80",
                "opt 1232 version 0",
            ][..],
        ),
        (
            "dig +noedns",
            "d04b01200001000000000000056e67696e780764656661756c740373766308646174617465616d056c6f63616c00001c0001",
            "nginx.default.svc.datateam.local. AAAA",
            0x8500,
            &["answer nginx.default.svc.datateam.local. AAAA fd00:210::50"],
        ),
        (
            "glibc",
            "138501000001000000000001056e67696e780764656661756c740373766308646174617465616d056c6f63616c000001000100002904b0000000000000",
            "nginx.default.svc.datateam.local. A",
            0x8500,
            &[
                "answer nginx.default.svc.datateam.local. A 10.210.0.80",
                "opt 1232 version 0",
            ],
        ),
        (
            "dnsmasq",
            "e408012000010000000000010264620764656661756c740373766308646174617465616d056c6f63616c000001000100002904d000000000000c000a00088f5822c69c126ffa",
            "db.default.svc.datateam.local. A",
            0x8500,
            &[
                "answer db.default.svc.datateam.local. A 10.200.0.7",
                "answer db.default.svc.datateam.local. A 10.200.0.8",
                "opt 1232 version 0",
            ],
        ),
        (
            "unbound",
            "eb2101000001000000000001056e67694e580744656661756c740353566308446154617465614d056c4f43614c000001000100002904d0000080000000",
            "ngiNX.Default.SVc.DaTateaM.lOCaL. A",
            0x8500,
            &[
                "answer ngiNX.Default.SVc.DaTateaM.lOCaL. A 10.210.0.80",
                "opt 1232 version 0 do",
            ],
        ),
        (
            "unbound, no such name",
            "878401000001000000000001046e4f50650744654661554c540353764308646174617445614d054c4f43614c000001000100002904d0000080000000",
            "nOPe.DeFaULT.SvC.datatEaM.LOCaL. A",
            0x8503,
            &[
                "authority datatEaM.LOCaL. SOA ns.dns.datatEaM.LOCaL. hostmaster.datatEaM.LOCaL. [7, 7200, 1800, 86400, 5]",
                "opt 1232 version 0 do",
            ],
        ),
    ] {
        let asked: Vec<u8> = (0..hex.len())
            .step_by(2)
            .map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap())
            .collect();
        let bytes = server.answer(&asked, Transport::Udp).unwrap();
        let message = decode::message(&bytes).unwrap();
        assert_eq!(message.question.as_deref(), Some(question), "{who}");
        assert_eq!(
            (message.flags, message.records),
            (flags, records.iter().map(ToString::to_string).collect()),
            "{who}"
        );
    }
}
