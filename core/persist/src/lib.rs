//! What outlives the process: snapshots (RDB) and the log of commands (AOF), in Redis' own formats.
//!
//! This crate knows bytes and files, not data types: the codecs of the types lie above and write pieces with
//! [`rdb::Writer`]; what is read comes back as plain vectors. All input is taken for hostile, all output
//! for the only copy: files change places by rename after fsync, and an error of either is never forgotten.

#![forbid(unsafe_code)]

pub mod aof;
pub mod disk;
pub mod dump;
pub mod lzf;
pub mod pack;
pub mod rdb;
