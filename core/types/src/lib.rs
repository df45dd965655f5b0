//! The data types of the keyspace: each a plain data structure without clock, reply or key.

pub mod entry;
pub mod hash;
pub mod list;
pub mod pack;
pub mod set;
pub mod stream;
pub mod zset;
