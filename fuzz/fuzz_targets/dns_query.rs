//! Octets of chance for `fuzzed::dns_query`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| fuzzed::dns_query(bytes));
