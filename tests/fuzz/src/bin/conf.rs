//! The fuzzer's entry for `fuzz::conf`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::conf::run(data));
