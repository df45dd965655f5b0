//! What a server may be told, in one table, and every form in which it is told.
//!
//! A directive is one row of [`directives::TABLE`]: name, type, default, whether it may change while the
//! server runs, what we do with it, and a line of documentation. Files, command lines, environment
//! variables, `CONFIG GET`, `CONFIG SET` and `CONFIG REWRITE` are all derived from the rows, so a new
//! directive is one row (and one field of [`Settings`] where the engine reads it).
//!
//! Invariants: a [`Config`] holds a valid value for every row at any time; a change is made on a copy and
//! becomes visible as a whole or not at all; only [`load`] and [`machine::read`] touch the disk.

#![forbid(unsafe_code)]

mod args;
mod change;
mod choice;
mod conf;
pub mod directives;
mod error;
mod layers;
pub mod load;
pub mod machine;
mod rewrite;
mod settings;
mod value_type;
mod values;
mod words;

pub use args::{Invocation, read_args};
pub use change::Proposed;
pub use choice::{
    AclPubsub, AppendFsync, DebugAccess, Eviction, LogFormat, LogLevel, LogTimestamps, MaxmemoryPolicy,
    NotifyFlags, OomScoreAdj, ShutdownFlags, TlsAuthClients, TlsAuthClientsUser, TlsMode,
};
pub use directives::{Change, Directive, Disposition, is_secret};
pub use error::{LoadError, SetError};
pub use layers::{Files, Layers, Loaded, Sources};
pub use machine::default_maxmemory;
pub use rewrite::{included_users, rewrite};
pub use settings::Settings;
pub use value_type::{OutputLimit, SavePoint, Value, ValueType, parse_memory};
pub use values::{Config, Origin, Rename};
pub use words::{quote, split};
