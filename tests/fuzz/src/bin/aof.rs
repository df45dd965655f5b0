//! The fuzzer's entry for `fuzz::aof`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::aof::run(data));
