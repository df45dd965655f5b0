//! The archive: a repository of bases and log segments, from which a log can be made as it was at any batch.
//!
//! # The repository
//!
//! ```text
//! REPOSITORY/
//!   <lineage>/                                             the identity of a log, 32 hex digits
//!     base-<covers>-<crc>.json                             tells of a base: the file that a log begins with
//!     base-<covers>.<random>.rdb.zst.age                   the base itself
//!     segment-<first batch>.json                           tells of a segment: closed batches of the log, in a row
//!     segment-<first batch>.<random>.aof.zst.age
//!     segment-<first batch>-<last batch>.json              tells of one that replaces several, which go an hour later
//!   temp-<random>                                          being written, or left by a crash
//! ```
//! Numbers have 20 digits, so names sort as batches do; `<random>` is 16 hex digits. A base of commands ends with `.base.aof.zst`. Without
//! encryption `.age` is missing.
//!
//! Nothing is ever changed, only added and pruned. An object is there when the JSON that tells of it is, which is written last; JSON is put
//! only where there is nothing (by a rename, or a conditional put), so of two that archive the same batch one succeeds, and no two objects ever have one name,
//! which an object has before it is known what will be in it: it is a stream. The JSON tells size and SHA-256 of the object as it lies there, the batches, their times, and of a segment which line of the
//! log it follows (`follows`) and with which it ends (`last_line`): two segments belong together if these are the same line.
//!
//! What is inside an object are the log's own bytes, compressed by zstd and then encrypted by age to the recipients' public keys. So all
//! that is needed in ten years is `age -d -i KEY OBJECT | zstd -d > FILE`: a base is an RDB, and segments one behind the other, from the one
//! that begins behind a base's `covers`, are an append-only file, which `redis-check-aof` reads and any Redis loads. Each batch ends with its
//! number, time and checksum (`#TDM:`, see `persist::aof`).
//!
//! age proves that nobody reads or changes an object, not who wrote it: who may write into the repository may add to it. The JSON is not
//! encrypted: it tells sizes, times, the checksums of last batches and the recipients' public keys.
//!
//! # Archiving
//!
//! [`back_up`] reads the log's *files*, beside a server that runs or has died; no engine is asked and nothing is written there.
//! The files that a manifest names are opened first and stay readable when a rewrite removes them; they are made durable before they are
//! read, so nothing is archived that a power failure could take from the server; only whole batches are taken, by number and checksum. It goes
//! on where the repository ends, if the last line archived is found in the log; where a rewrite has removed it, a new base begins. A log that
//! is behind the repository, or has another batch of the same number, is refused: it is a copy that went its own way.
//!
//! [`restore`] draws a new identity for the log it makes, so what is archived of that is another lineage. A server whose log begins anew while
//! it archives (a replica's, with each whole copy) tells with the new log's first base which one has ended (`replaces`).
//!
//! *Absent:* the engine, threads, and clocks, but for the age of files that were left behind.

#![forbid(unsafe_code)]

mod backlog;
mod backup;
mod describe;
mod error;
mod follow;
mod lineage;
mod mark;
mod moment;
mod object;
mod prune;
mod restore;
mod roll;
mod seal;
mod source;
mod store;
mod tail;
mod verify;

#[cfg(test)]
mod tests;

pub use backlog::Backlog;
pub use backup::{BackedUp, back_up};
pub use describe::{Description, Kind};
pub use error::ArchiveError;
pub use follow::{End, Follower, Step, Terms};
pub use lineage::{Lineage, Span, lineages, parse_id, refuse_sealed};
pub use moment::{Moment, parse_age_ms};
pub use prune::{Keep, Pruned, prune, prune_lineage};
pub use restore::{Restored, Target, restore, restore_from_older_base};
pub use seal::{Identity, Recipient, identities};
pub use store::{
    CredentialsError, Directory, Provider, RepositoryUrl, Store, StoreError, StoreOptions, Upload, UrlError,
    open_store, refuse_inside,
};
pub use tail::Tail;
pub use verify::{Finding, Findings, verify};

/// Hears how many bytes were read, and of how many, as long as something lasts.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);
