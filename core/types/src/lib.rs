//! The data types of the keyspace: each a plain data structure without clock, reply or knowledge of
//! other keys.
//!
//! Every type comes in a packed form (one buffer) and a form for many elements; the type changes its form
//! by itself. What a client sees of this (`OBJECT ENCODING`) follows Redis' thresholds, which come in as
//! [`Limits`], and is kept apart from the form that is really in use.

pub mod bits;
pub mod entry;
mod estimate;
pub mod geo;
pub mod hash;
pub mod hyperloglog;
pub mod list;
pub mod pack;
mod pick;
mod runs;
pub mod set;
pub mod stream;
pub mod zset;

pub use entry::{Entry, Value, View};

/// What type of value a key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A byte string or an integer.
    String = 0,
    /// A list.
    List = 1,
    /// A set.
    Set = 2,
    /// A sorted set.
    ZSet = 3,
    /// A hash.
    Hash = 4,
    /// A stream.
    Stream = 5,
}

impl Kind {
    /// The name that `TYPE` answers and `SCAN ... TYPE` takes.
    pub fn name(self) -> &'static str {
        match self {
            Kind::String => "string",
            Kind::List => "list",
            Kind::Set => "set",
            Kind::ZSet => "zset",
            Kind::Hash => "hash",
            Kind::Stream => "stream",
        }
    }
}

/// What the keyspace needs of a list, set, sorted set, hash or stream to keep it under a key.
///
/// Implementors live inside the key's [`Entry`], so they should be small (a few words) and keep their
/// elements behind pointers.
pub trait Collection: Sized {
    /// The kind that `TYPE` answers.
    const KIND: Kind;
    /// An empty collection.
    fn new() -> Self;
    /// Whether no element is left, so that the key has to go.
    fn is_empty(&self) -> bool;
    /// How many elements there are, in a time that does not grow with them. Fields of a hash whose time is over count as long as they lie
    /// there.
    fn elements(&self) -> usize;
    /// When something inside expires next, Unix milliseconds; only hashes have that.
    #[inline]
    fn next_expiry(&self) -> Option<i64> {
        None
    }
    /// A copy that shares structure with `self` where it is large: its cost is bounded by the number of
    /// chunks, not of elements, and later writes to either side leave the other as it was.
    fn share(&self) -> Self;
    /// The name for `OBJECT ENCODING`.
    fn encoding(&self) -> &'static str;
    /// Whether it lies in so few buffers that `heap_bytes` is exact and all of it is gone through when they are.
    fn is_packed(&self) -> bool;
    /// The heap bytes this owns beside its own size, estimated from some of its parts.
    fn heap_bytes(&self) -> usize;
}

/// Where the encodings that clients can see change: the `*-max-*` directives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `hash-max-listpack-entries`: fields.
    pub hash_entries: usize,
    /// `hash-max-listpack-value`: bytes of a field or value.
    pub hash_value: usize,
    /// `set-max-intset-entries`: members.
    pub set_intset: usize,
    /// `set-max-listpack-entries`: members.
    pub set_entries: usize,
    /// `set-max-listpack-value`: bytes of a member.
    pub set_value: usize,
    /// `zset-max-listpack-entries`: members.
    pub zset_entries: usize,
    /// `zset-max-listpack-value`: bytes of a member.
    pub zset_value: usize,
    /// `list-max-listpack-size`: elements of a node when positive, else -1 to -5 for 4 to 64 KiB.
    pub list_size: i64,
    /// `hll-sparse-max-bytes`: bytes up to which a HyperLogLog stays sparse.
    pub hll_sparse_bytes: usize,
    /// `stream-node-max-bytes`.
    pub stream_node_bytes: usize,
    /// `stream-node-max-entries`.
    pub stream_node_entries: usize,
    /// `proto-max-bulk-len`: bytes that commands may let a string grow to.
    pub string_bytes: usize,
    /// What the table hashes with that a small collection becomes when it has grown.
    pub seed: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            hash_entries: 128,
            hash_value: 64,
            set_intset: 512,
            set_entries: 128,
            set_value: 64,
            zset_entries: 128,
            zset_value: 64,
            list_size: -2,
            hll_sparse_bytes: hyperloglog::SPARSE_BYTES_MAX,
            stream_node_bytes: 4096,
            stream_node_entries: 100,
            string_bytes: base::limits::STRING_BYTES_MAX,
            seed: 0,
        }
    }
}
