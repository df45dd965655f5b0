//! What is a queue, and what is told of it: its states, depths, rates and ages.
//!
//! A queue is what clients wait on, and what the known libraries keep beside it. [`Queues`] is told by the keyspace which
//! keys are created, which of the followed ones grew or shrank, and on which somebody waits; it never searches. Depths are
//! not counted: a queue knows the keys of its states, and their lengths are read when somebody asks, through [`Look`].
//! Counted are only the jobs that came and were taken, for rates, and for ages where a library stores no time.
//!
//! One library is one module of `libraries`: how its queues are recognised, which keys they are made of, and what is read
//! from them. *Absent:* clocks, replies, any way to change a value.
//!
//! Bounds: `queues-max` queues, of which no key and no group's name is longer than [`KEY_BYTES_MAX`]; a library's set of names is read up to as
//! many members; each queue remembers at most [`history::MARKS_MAX`] moments.

#![forbid(unsafe_code)]

mod figures;
mod filter;
mod history;
mod id;
mod libraries;
mod queue;
mod queues;
mod recent;
mod text;

pub use figures::Figures;
pub use history::MARKS_MAX;
pub use id::{KEY_BYTES_MAX, QueueKind};
pub use libraries::{Clients, Context, Look, MayRead, NoClients, WORKER, len};
pub use queues::{Cursor, Mark, Queues};
