//! Octets of chance for `fuzzed::bfd_machine`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| fuzzed::bfd_machine(bytes));
