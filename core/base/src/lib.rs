//! The ground floor: numbers, text patterns, checksums, time and chance as plain values.
//!
//! Nothing here reads a clock, a file or a source of randomness; what the outside world knows comes in
//! as a [`Now`] or a seed, so that everything built on top can be replayed.

#![forbid(unsafe_code)]

pub mod crc64;
pub mod fault;
pub mod glob;
mod grisu;
pub mod hash;
pub mod hex;
pub mod limits;
pub mod long_double;
pub mod number;
mod random;
pub mod room;
mod time;

pub use random::Random;
pub use time::Now;
