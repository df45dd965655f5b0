//! The whole keyspace: its databases and what they share.

use crate::effects::Effects;
use crate::evict::{EvictionPool, Ranking};
use crate::expire::OldWheel;
use crate::follow::Search;
use crate::snapshot::Snapshot;
use crate::trash::Trash;
use crate::wheel::Wheel;
use base::{Now, Random};
use persist::rdb;
use queues::Queues;
use std::sync::Arc;
use table::{Position, Table};
use types::{Entry, Limits};

/// The shortest string that can be one of [`Keyspace::given`], in bytes.
pub const GIVEN_BYTES_MIN: usize = 32 << 10;

/// Counters of the keyspace, for INFO and metrics.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    /// Reads that found a key.
    pub hits: u64,
    /// Reads that found none.
    pub misses: u64,
    /// Keys whose time was over.
    pub expired: u64,
    /// Fields of hashes whose time was over.
    pub expired_fields: u64,
    /// Keys that had to go because memory was full.
    pub evicted: u64,
    /// Bounded expiry passes that ended by their budget with keys still due.
    pub expire_budget_ends: u64,
    /// Payloads of RESTORE that were checked from end to end.
    pub payload_checks: u64,
}

/// Size figures of one database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DbStats {
    /// Keys.
    pub keys: usize,
    /// Keys with an expiry.
    pub expiring: usize,
    /// Hashes of which fields expire.
    pub field_expiring: usize,
    /// Estimated mean time to live, milliseconds; 0 when unknown.
    pub avg_ttl_ms: i64,
}

/// One numbered database.
#[derive(Debug)]
pub struct Database {
    pub(crate) table: Table<Entry>,
    pub(crate) expiring: usize,
    /// Hashes of which fields expire.
    pub(crate) field_expiring: usize,
    pub(crate) wheel: Wheel,
    /// The wheel before, while it is being replaced because most of it was stale.
    pub(crate) old_wheel: Option<Box<OldWheel>>,
    /// The number under which a running snapshot knows this database (SWAPDB moves databases, not their content).
    pub(crate) snapshot_number: usize,
    /// How far a running snapshot has walked; `None`: through.
    pub(crate) snapshot_cursor: Option<u64>,
    /// The sum of the times at which keys expire, Unix milliseconds.
    pub(crate) expiry_sum_ms: i128,
}

impl Database {
    pub(crate) fn new(seed: u64, number: usize) -> Database {
        Database {
            table: Table::new(seed),
            expiring: 0,
            field_expiring: 0,
            wheel: Wheel::new(),
            old_wheel: None,
            snapshot_number: number,
            snapshot_cursor: None,
            expiry_sum_ms: 0,
        }
    }

    /// Whether the time of the entry at `position` is over. Every look-up asks: fields are looked at only where some key has any
    /// that expire.
    #[inline]
    pub(crate) fn is_over(&self, position: Position, now_ms: i64) -> bool {
        let entry = self.table.at(position);
        match self.field_expiring {
            0 => entry.expiry().is_some_and(|at| at <= now_ms),
            _ => crate::fields::is_over(entry, now_ms),
        }
    }

    /// Size figures, and the mean time that keys have left at `unix_ms`.
    pub fn stats(&self, unix_ms: i64) -> DbStats {
        let mean = self.expiry_sum_ms.checked_div(self.expiring as i128);
        let avg_ttl_ms =
            mean.map_or(0, |at| (at - i128::from(unix_ms)).clamp(0, i128::from(i64::MAX)) as i64);
        DbStats {
            keys: self.table.len(),
            expiring: self.expiring,
            field_expiring: self.field_expiring,
            avg_ttl_ms,
        }
    }

    /// Heap bytes of the table itself, without its entries.
    pub fn table_bytes(&self) -> usize {
        self.table.bytes()
    }

    /// How many keys the table has room for as it is.
    pub fn slots(&self) -> usize {
        /// A bucket of the table is so many bytes and holds so many items.
        const BUCKET_BYTES: usize = 64;
        const BUCKET_ITEMS: usize = 7;
        self.table.bytes() / BUCKET_BYTES * BUCKET_ITEMS
    }
}

/// All databases and what they share. Plain state: one caller at a time.
#[derive(Debug)]
pub struct Keyspace {
    pub(crate) dbs: Vec<Database>,
    /// In the databases from this index on nothing has ever had an expiry.
    pub(crate) expiring_end: usize,
    /// What the running command did.
    pub effects: Effects,
    /// The queues among the keys.
    pub queues: Queues,
    pub(crate) queue_search: Option<Search>,
    /// Arguments of the running command that came in buffers of their own, all of at least [`GIVEN_BYTES_MIN`]: a string that is one
    /// of them takes over its buffer.
    pub given: Vec<Arc<Vec<u8>>>,
    /// The time of the running command.
    pub now: Now,
    /// The access clock of the running command, in the unit of `ranking`.
    pub(crate) access_clock: u32,
    pub(crate) ranking: Ranking,
    /// Whether snapshots tell when or how often each key was used: where the policy of eviction goes by it, as in Redis.
    pub tells_use: bool,
    /// Whether OBJECT REFCOUNT tells small integers as shared by all keys: where Redis keeps an access time with each value,
    /// it does not share them.
    pub tells_shared_integers: bool,
    /// Chance for random picks, sampling and LFU.
    pub random: Random,
    /// Thresholds of the packed encodings.
    pub limits: Limits,
    /// Counters.
    pub stats: Stats,
    /// Whether reads leave the access clock alone (CLIENT NO-TOUCH).
    pub no_touch: bool,
    /// Whether a script runs: what has no order of its own then comes in a fixed one.
    pub in_script: bool,
    /// Whether keys leave only when they are looked at (DEBUG SET-ACTIVE-EXPIRE 0).
    pub no_active_expire: bool,
    /// All databases were flushed, and what follows from that for snapshots is still to be done.
    pub flushed_all: bool,
    /// Whether keys are left alone although their time is over (loading, a paused server, a replica).
    pub keep_expired: bool,
    /// Keys whose time is over are not shown but stay where they are (CLIENT PAUSE).
    pub hold_expired: bool,
    /// Whether payloads are believed whose checksum is wrong (DEBUG SET-SKIP-CHECKSUM-VALIDATION).
    pub skip_checksums: bool,
    pub(crate) snapshot: Option<Snapshot>,
    /// The epoch bit of entries that the present or last snapshot has written (or need not write).
    pub(crate) epoch: bool,
    pub(crate) pool: EvictionPool,
    /// Values too large to free on the spot; the server takes them to another thread.
    pub(crate) trash: Vec<Entry>,
    pub(crate) trash_tables: Vec<Table<Entry>>,
    /// What both hold, about, in bytes.
    trash_bytes: usize,
}

impl Keyspace {
    /// `databases` empty databases whose hashing and random picks follow from `seed`.
    pub fn new(databases: usize, seed: u64) -> Keyspace {
        Keyspace {
            dbs: (0..databases).map(|n| Database::new(seed, n)).collect(),
            expiring_end: 0,
            effects: Effects::default(),
            queues: Queues::new(seed),
            queue_search: None,
            given: Vec::new(),
            tells_shared_integers: true,
            now: Now::default(),
            access_clock: 0,
            ranking: Ranking::default(),
            tells_use: false,
            random: Random::new(seed),
            limits: Limits { seed, ..Limits::default() },
            stats: Stats::default(),
            no_touch: false,
            in_script: false,
            no_active_expire: false,
            flushed_all: false,
            keep_expired: false,
            hold_expired: false,
            skip_checksums: false,
            snapshot: None,
            epoch: false,
            pool: EvictionPool::default(),
            trash: Vec::new(),
            trash_tables: Vec::new(),
            trash_bytes: 0,
        }
    }

    /// Sets the time under which the next commands run.
    #[inline]
    pub fn set_now(&mut self, now: Now) {
        self.now = now;
        self.access_clock = self.ranking.clock(now.unix_ms);
    }

    /// Number of databases.
    pub fn database_count(&self) -> usize {
        self.dbs.len()
    }

    /// The database `index`, for figures.
    ///
    /// # Panics
    /// When there is none.
    pub fn database(&self, index: usize) -> &Database {
        &self.dbs[index]
    }

    /// Heap bytes of all databases' tables, without their entries.
    pub fn table_bytes(&self) -> usize {
        self.dbs.iter().map(Database::table_bytes).sum()
    }

    /// The entry of `key` in database `db` without any trace, also one whose time is over.
    pub fn peek(&mut self, db: usize, key: &[u8]) -> Option<&Entry> {
        let kept = core::mem::replace(&mut self.keep_expired, true);
        let position = crate::db::Db::new(self, db).locate(key);
        self.keep_expired = kept;
        let position = position?;
        Some(self.dbs[db].table.at(position))
    }

    /// Whether `key` is in the database `index` and its time is not over. Leaves no trace and takes nothing out.
    pub fn lives(&self, index: usize, key: &[u8]) -> bool {
        let table = &self.dbs[index].table;
        table
            .find(table.hash_of(key), key)
            .is_some_and(|entry| !crate::fields::is_over(entry, self.now.unix_ms))
    }

    /// Keys in all databases.
    pub fn key_count(&self) -> usize {
        self.dbs.iter().map(|db| db.table.len()).sum()
    }

    /// The lowest RDB version that can hold what is there now.
    pub fn snapshot_version(&self) -> u16 {
        let timed = self.dbs.iter().any(|db| db.field_expiring > 0);
        if timed { rdb::VERSION_FIELD_EXPIRY } else { rdb::VERSION }
    }

    /// Starts loading the buckets and then the entries of `keys`, so that a batch of commands does not wait for memory one by one.
    pub fn prefetch(&self, db: usize, keys: &[&[u8]]) {
        /// A smaller table is in the processor's cache anyway.
        const WORTH_KEYS_MIN: usize = 4096;
        const BATCH_MAX: usize = 16;
        let table = &self.dbs[db].table;
        if table.len() < WORTH_KEYS_MIN {
            return;
        }
        let mut hashes = [0u64; BATCH_MAX];
        for (hash, key) in hashes.iter_mut().zip(keys) {
            *hash = table.hash_of(key);
            table.prefetch(*hash);
        }
        for (hash, _) in hashes.iter().zip(keys) {
            table.prefetch_item(*hash);
        }
    }

    /// What its tables hash with.
    pub fn seed(&self) -> u64 {
        self.limits.seed
    }

    /// Removes every key of database `index`; how many there were. The memory is freed elsewhere, a running snapshot keeps what it needs.
    pub fn flush(&mut self, index: usize) -> usize {
        let fresh = Database::new(self.seed(), self.dbs[index].snapshot_number);
        let old = core::mem::replace(&mut self.dbs[index], fresh);
        let removed = old.table.len();
        self.effects.dirty += removed as u64;
        self.effects.emptied = true;
        self.effects.touch_database(index);
        self.queues.flushed(index);
        match &mut self.snapshot {
            Some(snapshot) if old.snapshot_cursor.is_some() => snapshot.adopt(old),
            _ if removed > 0 => self.discard_table(old.table),
            _ => {}
        }
        removed
    }

    /// Exchanges the content of two databases.
    pub fn swap(&mut self, a: usize, b: usize) {
        self.dbs.swap(a, b);
        self.queues.swapped(a, b);
        self.mark_followed();
        self.queue_search = self.queue_search.map(|_| Search::default());
        self.expiring_end = self.expiring_end.max(a.max(b) + 1);
        self.effects.exchanged = true;
        self.effects.touch_database(a);
        self.effects.touch_database(b);
    }

    /// What waits to be freed on another thread.
    pub fn take_trash(&mut self) -> Option<Trash> {
        if self.trash.is_empty() && self.trash_tables.is_empty() {
            return None;
        }
        let (entries, tables) = (core::mem::take(&mut self.trash), core::mem::take(&mut self.trash_tables));
        let bytes = core::mem::take(&mut self.trash_bytes);
        Some(Trash::of(entries, tables, bytes))
    }

    /// About how many bytes will be free when what waits has been freed. To those who look for room they are free already.
    pub fn trash_bytes(&self) -> usize {
        self.trash_bytes
    }

    /// Frees an entry here when that is cheap, elsewhere when it is not.
    pub(crate) fn discard(&mut self, entry: Entry) {
        if crate::snapshot::is_large(&entry) {
            self.trash_bytes += entry.heap_bytes();
            self.trash.push(entry);
        }
    }

    /// Has a whole table freed elsewhere.
    pub(crate) fn discard_table(&mut self, table: Table<Entry>) {
        self.trash_bytes += self.bytes_below(&table);
        self.trash_tables.push(table);
    }

    /// The bytes of a table and its entries, told by a sample of them.
    fn bytes_below(&mut self, table: &Table<Entry>) -> usize {
        const SAMPLES: usize = 64;
        let (mut seen, mut bytes) = (0, 0);
        table.sample(&mut self.random, SAMPLES, &mut |entry| {
            seen += 1;
            bytes += entry.heap_bytes();
        });
        table.bytes() + (bytes / seen.max(1)).saturating_mul(table.len())
    }
}
