//! Databases of keys: lookup with expiry, the write guard, effects, eviction and the snapshot view.
//!
//! A [`Keyspace`] is plain state. Commands reach it through a [`Db`], one database for the time of a call. Everything that
//! changes a key goes through a guard or one of the whole-key operations of [`Db`], and these book what settle needs later:
//! the touched key, the removal of an emptied one, and the snapshot's pre-image. No handler can forget them.

#![forbid(unsafe_code)]

mod beside;
mod codec;
mod db;
mod digest;
mod effects;
mod evict;
mod expire;
mod fields;
mod follow;
mod guard;
mod snapshot;
mod space;
mod trash;
mod wheel;

pub use codec::{
    LoadError, decode_dump, decode_libraries, dump_complaint, encode_dump, encode_libraries, entry_from_rdb,
    write_large,
};
pub use db::{Db, Text, Ttl};
pub use digest::{Digest, Inventory, digest_value};
pub use effects::{Cause, Effects, Event, EventClass, Offer, Touch};
pub use evict::{EvictionOrder, EvictionPolicy, Ranking, Use};
pub use guard::{Guard, Stored, StringGuard, WrongType};
pub use persist::dump::Error as DumpError;
pub use snapshot::{Piece, SnapshotProgress};
pub use space::{Database, DbStats, GIVEN_BYTES_MIN, Keyspace, Stats};
pub use trash::{Contents, Trash};
