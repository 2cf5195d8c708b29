//! Octets of chance for `fuzzed::bfd_packet`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| fuzzed::bfd_packet(bytes));
