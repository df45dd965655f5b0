//! The fuzzer's entry for `fuzz::glob`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::glob::run(data));
