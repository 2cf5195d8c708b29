//! A peer that connects and says anything: the speaker answers, closes, or waits, and never panics.
#![no_main]

use bgp::{Config, ConnId, Input, Now, PeerConfig, Speaker};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let now = Now::default();
    let mut config = Config::new(64512.into(), [192, 0, 2, 1].into());
    let mut peer = PeerConfig::new("peer", [192, 0, 2, 2].into(), 64512.into());
    peer.passive = true;
    config.peers.push(peer);
    let mut speaker = Speaker::new(config, 1, now);
    let conn = ConnId::Accepted(1);
    let address = |last| ([192, 0, 2, last], 179).into();
    speaker.handle(Input::Accepted { conn, remote: address(2), local: address(1) }, now);
    for part in bytes.chunks(64) {
        speaker.handle(Input::Received { conn, bytes: part }, now);
        while speaker.poll(now).is_some() {}
    }
});
