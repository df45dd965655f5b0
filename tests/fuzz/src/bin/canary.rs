//! The fuzzer's entry for `fuzz::canary`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::canary::run(data));
