//! RDB, the snapshot format of Redis, written as Redis 7.0 does and read from any Redis or Valkey so far.
//!
//! # The file
//! ```text
//! "REDIS" four digits (version)                  Valkey 9: "VALKEY" three digits
//! FA key value                                   aux: free facts, as strings
//! F5 code                                        a function library
//! FE db                                          the keys that follow are in this database
//! FB keys expires                                how many follow (a hint)
//! F4 slot keys expires                           the same of one cluster slot (a hint; Redis 8, Valkey)
//! [FC ms 8 bytes LE | FD s 4 bytes LE] [F8 idle s | F9 freq u8] type u8, key, value
//! FF crc-64 8 bytes LE                           over all before it; zero when not computed
//! ```
//! # Pieces
//! ```text
//! length   00LLLLLL | 01LLLLLL LLLLLLLL | 80 u32 BE | 81 u64 BE
//! string   length bytes | C0 i8 | C1 i16 LE | C2 i32 LE | C3 packed-length length LZF-bytes
//! double   8 bytes LE                            ZSET_2
//! text dbl u8 length (FD nan, FE inf, FF -inf) text   ZSET, before Redis 4
//! ```
//! # Values by type byte
//! ```text
//!  0 STRING              string
//!  1 LIST, 2 SET         count, string...
//!  3 ZSET, 5 ZSET_2      count, (string, text double | double)...
//!  4 HASH                count, (field, value)...
//!  9 10 11 12 13         one string: zipmap hash, ziplist list, intset set, ziplist zset, ziplist hash
//! 14 LIST_QUICKLIST      count, ziplist string...
//! 15 19 21 STREAM        see `stream`
//! 16 17 20               one string: listpack hash, listpack zset, listpack set
//! 18 LIST_QUICKLIST_2    count, (1 and a plain string | 2 and a listpack string)...
//! 22 HASH_METADATA (7.4 release candidates)   count, (expiry ms or 0, field, value)...
//! 22 HASH_2 (Valkey 9)   count, (field, value, expiry ms i64 LE or -1)...
//! 23 HASH_LISTPACK_EX (candidates)            listpack of field, value, expiry ms or 0
//! 24 HASH_METADATA       least expiry ms i64 LE, count, (expiry - least + 1 or 0, field, value)...
//! 25 HASH_LISTPACK_EX    least expiry ms i64 LE, then as 23
//! ```
//! Modules' types (6, 7), their aux fields (F7) and the functions of unreleased 7.0 (F6) are refused by number:
//! what cannot be understood is never skipped, because a snapshot loaded in part would later be saved over the whole.
//!
//! # Versions
//! The lowest that can hold the data is written: 10 (Redis 7.0); 12 for hash fields that expire. Consumers' active times need
//! 11 and are left out, so that Redis 7.0 reads every queue: a consumer that is loaded was active when it was seen. Read: 1..=15, and 80
//! as Valkey 9 writes it. What 13 to 15 (Redis 8.6 to 8.10) add are types and an opcode, which are refused by number; all else in
//! them is as before. Between 15 and 80 lie numbers that Valkey reserved so that forks cannot take each other's files for their own;
//! they are refused.

mod identity;
mod list;
mod reader;
mod save;
mod stream;
mod value;
mod writer;

pub use identity::{Identity, identify};
pub use list::ListParts;
pub use reader::{Entry, Error, Item, Reader};
pub use save::SnapshotFile;
pub use stream::{
    Consumer, Encoder as StreamEncoder, Group, Node as StreamNode, Pending, StreamEntry, StreamId,
    StreamMeta, StreamParts,
};
pub use value::{Field, Value};
pub use writer::Writer;

/// The version written unless the data needs a newer one: that of Redis 7.0.
pub const VERSION: u16 = 10;
/// The first version with consumers' active times (Redis 7.2).
pub const VERSION_ACTIVE_TIME: u16 = 11;
/// The first version with hash fields that expire (Redis 7.4).
pub const VERSION_FIELD_EXPIRY: u16 = 12;
/// The newest version of Redis that is read, as far as its types are known (Redis 8.10).
pub const VERSION_READ_MAX: u16 = 15;
/// The version of Valkey 9, with its own numbers for what is newer than 11.
pub const VERSION_VALKEY: u16 = 80;

/// Whether files and payloads of this version are read.
pub fn version_is_read(version: u16) -> bool {
    (1..=VERSION_READ_MAX).contains(&version) || version == VERSION_VALKEY
}

/// The lowest version of the format that knows the type byte.
pub fn version_of(kind: u8) -> u16 {
    match kind {
        kind::SET_LISTPACK | kind::STREAM_LISTPACKS_3 => VERSION_ACTIVE_TIME,
        kind::HASH_METADATA_CANDIDATE..=kind::HASH_LISTPACK_EX => VERSION_FIELD_EXPIRY,
        _ => VERSION,
    }
}

/// The type bytes.
pub mod kind {
    /// What a value of this type byte is, for messages.
    pub fn name(kind: u8) -> &'static str {
        match kind {
            HASH_ZIPMAP => "Zipmap",
            LIST_ZIPLIST => "List ziplist",
            SET_INTSET => "Intset",
            ZSET_ZIPLIST => "Zset ziplist",
            HASH_ZIPLIST => "Hash ziplist",
            LIST_QUICKLIST => "Quicklist ziplist",
            LIST_QUICKLIST_2 => "Quicklist listpack",
            STREAM_LISTPACKS | STREAM_LISTPACKS_2 | STREAM_LISTPACKS_3 => "Stream listpack",
            HASH_LISTPACK | HASH_LISTPACK_EX | HASH_LISTPACK_EX_CANDIDATE => "Hash listpack",
            ZSET_LISTPACK => "Zset listpack",
            SET_LISTPACK => "Set listpack",
            _ => "Value",
        }
    }

    /// One string.
    pub const STRING: u8 = 0;
    /// Elements one by one.
    pub const LIST: u8 = 1;
    /// Members one by one.
    pub const SET: u8 = 2;
    /// Members with scores as text (before Redis 4).
    pub const ZSET: u8 = 3;
    /// Fields and values one by one.
    pub const HASH: u8 = 4;
    /// Members with binary scores.
    pub const ZSET_2: u8 = 5;
    /// A module's value of unreleased Redis 4; refused.
    pub const MODULE_CANDIDATE: u8 = 6;
    /// A module's value; refused.
    pub const MODULE: u8 = 7;
    /// Hash as one zipmap.
    pub const HASH_ZIPMAP: u8 = 9;
    /// List as one ziplist.
    pub const LIST_ZIPLIST: u8 = 10;
    /// Set as one intset.
    pub const SET_INTSET: u8 = 11;
    /// Sorted set as one ziplist.
    pub const ZSET_ZIPLIST: u8 = 12;
    /// Hash as one ziplist.
    pub const HASH_ZIPLIST: u8 = 13;
    /// List as ziplists.
    pub const LIST_QUICKLIST: u8 = 14;
    /// Stream of Redis 5.
    pub const STREAM_LISTPACKS: u8 = 15;
    /// Hash as one listpack.
    pub const HASH_LISTPACK: u8 = 16;
    /// Sorted set as one listpack.
    pub const ZSET_LISTPACK: u8 = 17;
    /// List as listpacks and plain strings.
    pub const LIST_QUICKLIST_2: u8 = 18;
    /// Stream of Redis 7.0.
    pub const STREAM_LISTPACKS_2: u8 = 19;
    /// Set as one listpack (Redis 7.2).
    pub const SET_LISTPACK: u8 = 20;
    /// Stream with consumers' active times (Redis 7.2).
    pub const STREAM_LISTPACKS_3: u8 = 21;
    /// Hash with field expiry of Redis 7.4 release candidates.
    pub const HASH_METADATA_CANDIDATE: u8 = 22;
    /// Hash with field expiry of Valkey 9 (the same number, told apart by the version).
    pub const HASH_2_VALKEY: u8 = 22;
    /// Packed hash with field expiry of Redis 7.4 release candidates.
    pub const HASH_LISTPACK_EX_CANDIDATE: u8 = 23;
    /// Hash with field expiry (Redis 7.4).
    pub const HASH_METADATA: u8 = 24;
    /// Packed hash with field expiry (Redis 7.4).
    pub const HASH_LISTPACK_EX: u8 = 25;
}

/// What a byte that is not a type byte announces.
pub(crate) mod opcode {
    pub(crate) const SLOT_IMPORT: u8 = 243;
    pub(crate) const SLOT_INFO: u8 = 244;
    pub(crate) const FUNCTION: u8 = 245;
    pub(crate) const FUNCTION_CANDIDATE: u8 = 246;
    pub(crate) const MODULE_AUX: u8 = 247;
    pub(crate) const IDLE: u8 = 248;
    pub(crate) const FREQ: u8 = 249;
    pub(crate) const AUX: u8 = 250;
    pub(crate) const RESIZE_DB: u8 = 251;
    pub(crate) const EXPIRY_MS: u8 = 252;
    pub(crate) const EXPIRY_S: u8 = 253;
    pub(crate) const SELECT_DB: u8 = 254;
    pub(crate) const EOF: u8 = 255;
}
