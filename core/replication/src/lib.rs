//! Replication: a master's and a replica's side of the protocol that Redis calls PSYNC, as state machines.
//!
//! No file, socket, thread, clock, chance or lock: what has happened goes in (bytes, requests, acknowledgements, the time), and what is
//! wanted comes out (bytes to send, replicas to close, a snapshot to begin). Whoever drives it owns the connections.
//!
//! A *history* is a stream of commands in RESP, named by a [`ReplicationId`]; a position in it is an *offset*, the number of bytes in
//! front of it. Two servers with the same id and offset hold the same data.

#![forbid(unsafe_code)]

mod id;
pub mod master;
pub mod place;
pub mod replica;
pub mod stretch;

pub use id::ReplicationId;
pub use master::Master;
pub use place::Place;

/// What two servers tell each other of which each takes the other for its master.
pub const EACH_OTHER: &str =
    "each follows the other, say REPLICAOF NO ONE to the one that is to be the master";
