//! Octets of chance for `fuzzed::mrt_file`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| fuzzed::mrt_file(bytes));
