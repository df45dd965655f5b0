//! The commands on data: one module per type, each with its rows of the command table and their handlers.
//!
//! A row says everything about a command that is not behaviour: arity, keys, flags, categories, documentation. What the engine checks
//! before a call (arity, ACL, memory, loading) and what COMMAND answers are derived from it. A handler gets a [`Call`] and returns what it
//! did; it changes data only through the keyspace's guards and books nothing by hand.

#![forbid(unsafe_code)]

mod access;
pub mod bitmap;
mod call;
pub mod docs;
mod error;
pub mod generic;
pub mod geo;
pub mod hash;
pub mod hyperloglog;
pub mod list;
pub mod scan;
pub mod set;
mod spec;
pub mod stream;
pub mod string;
pub mod zset;

pub use access::{KeyAccess, KeyFinder, KeyUse};
pub use call::{
    Args, Call, Handled, Handler, OnTimeout, Outcome, Wait, bad_subcommand, done, read, unknown_subcommand,
    wait,
};
pub use error::Error;
pub use spec::{Channels, Flags, Group, KeyUseOf, Keys, Row, Spec, Subject};

/// The rows of every data type.
pub fn tables() -> Vec<&'static [Row]> {
    vec![
        string::COMMANDS,
        generic::COMMANDS,
        list::COMMANDS,
        hash::COMMANDS,
        set::COMMANDS,
        zset::COMMANDS,
        stream::COMMANDS,
        bitmap::COMMANDS,
        hyperloglog::COMMANDS,
        geo::COMMANDS,
    ]
}
