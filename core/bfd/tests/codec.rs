//! Packets: round trip, captured bytes, and what does not count.

use bfd::{Diagnostic, Discard, Packet, State};
use proptest::prelude::*;
use std::time::Duration;

fn packet() -> Packet {
    Packet {
        diagnostic: Diagnostic::None,
        state: State::Up,
        poll: false,
        last: false,
        control_plane_independent: true,
        demand: false,
        detect_mult: 3,
        my_discriminator: 0x0102_0304,
        your_discriminator: 0x0506_0708,
        desired_min_tx: Duration::from_millis(50),
        required_min_rx: Duration::from_millis(50),
        required_min_echo_rx: Duration::ZERO,
    }
}

/// The layout of RFC 5880 §4.1, octet by octet.
#[test]
fn layout() {
    let bytes = [
        0x20, 0xc8, 3, 24, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0xc3, 0x50, 0, 0, 0xc3, 0x50, 0, 0, 0, 0,
    ];
    assert_eq!(packet().encode(), bytes);
    assert_eq!(Packet::decode(&bytes), Ok(packet()));
    // What follows the packet's own length is not ours.
    assert_eq!(
        Packet::decode(&[&bytes[..], &[9; 7]].concat()),
        Ok(packet())
    );
}

#[test]
fn what_does_not_count() {
    #[track_caller]
    fn check(at: usize, octet: u8, expected: Discard) {
        let mut bytes = packet().encode();
        bytes[at] = octet;
        assert_eq!(Packet::decode(&bytes), Err(expected), "{}", expected.name());
    }
    check(0, 0x00, Discard::Version);
    check(0, 0x40, Discard::Version);
    check(3, 23, Discard::Length);
    check(3, 25, Discard::Length);
    check(2, 0, Discard::DetectMult);
    check(1, 0xc9, Discard::Multipoint);
    check(1, 0xcc, Discard::Length);
    let mut bytes = packet().encode();
    bytes[4..8].fill(0);
    assert_eq!(Packet::decode(&bytes), Err(Discard::MyDiscriminator));
    let mut bytes = packet().encode();
    bytes[8..12].fill(0);
    assert_eq!(Packet::decode(&bytes), Err(Discard::NotHeard));
    // Control: with state Down it is the first packet of a neighbour.
    bytes[1] = 0x48;
    assert!(Packet::decode(&bytes).is_ok());
    let mut long = [&packet().encode()[..], &[1, 2, 3, 4]].concat();
    (long[1], long[3]) = (0xcc, 28);
    assert_eq!(Packet::decode(&long), Err(Discard::Authentication));
}

prop_compose! {
    fn any_packet()(
        diagnostic in 0u8..32, state in 0usize..4, flags in any::<[bool; 4]>(), detect_mult in 1u8..,
        mine in 1u32.., yours in 1u32.., times in any::<[u32; 3]>(),
    ) -> Packet {
        let mut header = packet().encode();
        header[0] = 0x20 | diagnostic;
        let known = Packet::decode(&header).expect("valid").diagnostic;
        let micros = |n: u32| Duration::from_micros(u64::from(n));
        Packet {
            diagnostic: known,
            state: State::ALL[state],
            poll: flags[0],
            last: flags[1],
            control_plane_independent: flags[2],
            demand: flags[3],
            detect_mult,
            my_discriminator: mine,
            your_discriminator: yours,
            desired_min_tx: micros(times[0]),
            required_min_rx: micros(times[1]),
            required_min_echo_rx: micros(times[2]),
        }
    }
}

proptest! {
    #[test]
    fn round_trip(packet in any_packet()) {
        prop_assert_eq!(Packet::decode(&packet.encode()), Ok(packet));
    }

    /// Whatever comes is decoded or refused, and what is decoded is encoded to the same octets, reserved ones apart.
    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        if let Ok(packet) = Packet::decode(&bytes) {
            let again = packet.encode();
            prop_assert_eq!(&again[..3], &bytes[..3]);
            prop_assert_eq!(&again[4..], &bytes[4..24]);
        }
    }
}
