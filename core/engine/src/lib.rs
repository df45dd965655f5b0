//! The engine: sessions, the gate, the call, settle, blocking, transactions, pub/sub, scripts and ACLs as one state machine.
//!
//! `(state, request, now, random) → (reply, effects)`: one caller at a time has `&mut Engine`, and that is what makes a command, a
//! transaction and a script atomic. It knows neither disk nor sockets nor clocks: what it wants from the world it asks of
//! [`Outside`], what it wants done there it leaves as a [`Job`], and what other clients get it leaves as a [`Delivery`].

#![forbid(unsafe_code)]

mod acl;
mod admin;
mod blocking;
mod busy;
mod call;
mod client;
mod clients;
mod cluster;
mod command;
mod commandlog;
mod connection;
mod copy;
mod debug;
mod deliveries;
mod durability;
mod engine;
mod eval;
mod functions;
mod gate;
mod info;
mod latency;
mod log;
mod memory;
mod message;
mod migrate;
mod module;
mod monitor;
mod outside;
mod pubsub;
mod queue;
mod refusals;
mod replay;
mod replica;
mod replication;
mod running;
mod saving;
mod session;
mod settle;
mod share;
mod table;
mod tracking;
mod transaction;

pub use self::replication::{Lag, SnapshotTakers};
pub use acl::{Acl, Proof, Secret, check_record, digest_of};
pub use call::{Next, Request};
pub use copy::CopyOrder;
pub use copy::wish::CopyParts;
pub use durability::{Durability, Written};
pub use engine::{Counters, Engine, Facts, TOO_MANY_CLIENTS};
pub use keyspace::Trash;
pub use migrate::{Dump, Migrated, Migration};
pub use outside::{
    Asker, Busy, BusyVerdict, CancelledSave, ConfigRefusal, Delivery, Job, LogTickets, Outside, Piece,
    Reload, SharedParts,
};
pub use queue::QueueWalk;
pub use refusals::{Full, Refusals};
pub use replay::ReplayError;
pub use replica::incoming::Incoming;
pub use replica::{LinkFigures, LinkState, MasterOrder};
pub use session::{ClientBuffers, ClientInfo, ReplyMode, SessionId};
pub use table::RenameError;
pub use telemetry::Report;

use commands::Row;

/// Which Redis we are to clients: the version that switches on what the common ones have (see the product's contract).
pub const REDIS_VERSION: &str = "7.4.2";

/// The allocator that the server is built with, as INFO names it.
pub const ALLOCATOR: &str = "jemalloc-5.3.0";

/// The rows of the engine's own commands.
fn tables() -> Vec<&'static [Row<call::EngineHandler>]> {
    vec![
        acl::COMMANDS,
        admin::COMMANDS,
        client::COMMANDS,
        cluster::COMMANDS,
        command::COMMANDS,
        connection::COMMANDS,
        debug::COMMANDS,
        eval::COMMANDS,
        functions::COMMANDS,
        info::COMMANDS,
        latency::COMMANDS,
        memory::COMMANDS,
        migrate::COMMANDS,
        module::COMMANDS,
        monitor::COMMANDS,
        pubsub::COMMANDS,
        queue::COMMANDS,
        replica::COMMANDS,
        replication::COMMANDS,
        saving::COMMANDS,
        commandlog::COMMANDS,
        transaction::COMMANDS,
    ]
}
