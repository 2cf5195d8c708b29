//! Octets of chance for `fuzzed::bgp_notification`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| fuzzed::bgp_notification(bytes));
