//! The fuzzer's entry for `fuzz::restore`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::restore::run(data));
