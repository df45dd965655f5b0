//! What the fuzzers feed: every place where bytes from outside are believed to mean something.
//!
//! Each module is one target with one function `run`, which takes any bytes and panics only if a promise is broken.
//! The programs in `bin/` hand it to libFuzzer; `tests/fuzz/run` builds them with coverage and runs them, with a
//! bound on time and on address space, so a hang and a huge allocation are findings too. The seeds lie in
//! `tests/fuzz/seeds/TARGET`; what broke something is kept as a test where it was mended.
//!
//! Invariant: a run depends on its bytes alone. Each makes its own engine, with a clock that only the run moves.
#![forbid(unsafe_code)]

pub mod acl;
pub mod aof;
pub mod bench;
pub mod canary;
pub mod commands;
pub mod conf;
pub mod glob;
pub mod lua;
pub mod rdb;
pub mod reply;
pub mod resp;
pub mod restore;
