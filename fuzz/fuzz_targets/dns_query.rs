//! Any octets as a DNS query: an answer or none, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let config = dns::ZoneConfig { domain: "cluster.local".into(), ..dns::ZoneConfig::default() };
    let Ok(zone) = dns::Zone::build(&config, &service::Table::default()) else { return };
    let server = dns::Server::new(zone);
    let _ = server.answer(bytes, dns::Transport::Udp);
    let _ = server.answer(bytes, dns::Transport::Tcp);
});
