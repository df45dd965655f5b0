//! The journal: what was executed, as one stream of bytes, and the moment at which a reply to a writer may leave.
//!
//! ```text
//!              commit            begin_write … wrote          begin_sync … synced
//!   engine  ------------>  waiting  ------------>  written  ------------>  synced
//!                          (end)                   everysec, no: safe      always: safe
//! ```
//! A pure state machine: no file, no thread, no clock and no lock. What has happened goes in (commits, writes and syncs that
//! have ended, and how; what replicas have acknowledged; room on the disk; snapshots that failed; the time), and what is wanted comes out:
//! the bytes to write and who may write them ([`Hand`]), whether a sync is wanted, whether writes are refused and why ([`Refusal`]), and
//! up to where replies may leave ([`Journal::safe`], and [`Journal::marks`] where a client has chosen otherwise or waits for replicas).
//! Whoever drives it owns the files and carries out what it asks for.
//!
//! Positions are offsets in bytes of the stream since the process began; they never go back. The ticket of a commit is the
//! position behind it. What the files hold beside the commits (lines that close a batch) is not part of the stream.
//!
//! *Invariants:* `synced <= written <= end`, and where there is a log `safe <= written`; what waits and the write under way are exactly
//! what lies between `written` and `end`; replies leave in the order of tickets.

#![forbid(unsafe_code)]

mod journal;
mod marks;
mod pace;
mod refusal;
mod room;
mod sizes;
mod state;
mod waiting;

pub use journal::{Batch, Hand, Journal, LATE_SYNC_US, Need, Outcome, Policy, QUEUE_BYTES_MAX};
pub use marks::{Acked, Marks};
pub use refusal::Refusal;
pub use room::{BALLAST_BYTES, News, RESERVE_BYTES, TIGHT_BYTES};
pub use sizes::Sizes;
pub use state::{Fault, Health, State};
