//! The fuzzer's entry for `fuzz::lua`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::lua::run(data));
