//! The snapshot view: the exact state at one moment, written out while commands go on changing it.
//!
//! One epoch bit an entry tells whether the running snapshot has it. A walk in short slices writes the entries that it
//! has not; a command about to change or remove one writes its pre-image first. New entries are born written. Only what is small
//! is serialised here ([`Entry::small_bytes`]). All else is shared, and handed out as [`Piece::Large`] for another thread to encode, so neither
//! the walk nor a write ever waits for a value to be compressed. A slice counts bytes as well as entries.
//!
//! Invariant: between snapshots every entry's bit equals `Keyspace::epoch`; starting one flips `epoch`, so all are unwritten at once.

use crate::codec::write_entry;
use crate::evict::{Ranking, Use};
use crate::space::{Database, Keyspace};
use persist::rdb::Writer;
use table::Position;
use types::{Entry, View};

/// A part of the snapshot's byte stream, in order.
#[derive(Debug)]
pub enum Piece {
    /// RDB bytes, whole records.
    Bytes(Vec<u8>),
    /// A value of database `db` that is not small, to be encoded by [`crate::write_large`] on another thread.
    Large {
        /// Database number.
        db: usize,
        /// Key, expiry and a share of the value.
        entry: Entry,
        /// Its use, if snapshots tell that.
        used: Option<Use>,
    },
}

/// How far a snapshot is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnapshotProgress {
    /// Keys when it began.
    pub keys_total: u64,
    /// Keys written.
    pub keys_written: u64,
}

impl Piece {
    /// Bytes that it holds by itself, or comes to hold when the key changes: a string as a whole, of a collection no more
    /// than what one change copies.
    pub fn bytes(&self) -> usize {
        let shared_bytes = |entry: &Entry| match entry.view() {
            View::Str(bytes) => bytes.len(),
            _ => entry.heap_bytes().min(SHARED_BYTES_MAX),
        };
        match self {
            Piece::Bytes(bytes) => bytes.len(),
            Piece::Large { entry, .. } => size_of::<Piece>() + shared_bytes(entry),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Snapshot {
    writer: Writer,
    pieces: Vec<Piece>,
    /// What the pieces hold.
    pieces_bytes: usize,
    /// Database of the last record, as the RDB's SELECTDB told.
    db: Option<usize>,
    progress: SnapshotProgress,
    /// Databases that were flushed while they were being walked.
    adopted: Vec<Database>,
    /// A cancelled snapshot only marks what is left.
    cancelled: bool,
    /// How uses are recorded, if they are to be told.
    ranking: Option<Ranking>,
    /// The time of the slice, Unix milliseconds: what is told of uses counts from it.
    now_ms: i64,
}

/// From this many elements on a collection is worth freeing elsewhere.
const LARGE_ELEMENTS_MIN: usize = 256;
/// From this many bytes on a string is worth freeing elsewhere.
const LARGE_BYTES_MIN: usize = 64 << 10;
/// A piece is handed out when it has grown to this many bytes.
const PIECE_BYTES: usize = 64 << 10;
/// Room in the next piece for the entry that makes it so large, bytes: with what most of them take, it need not grow.
const PIECE_SLACK_BYTES: usize = 16 << 10;
/// Bytes that a collection counts in a piece, at most: the part of its structure that a change copies.
const SHARED_BYTES_MAX: usize = 64 << 10;
/// So many bytes written take as long as looking at one more entry.
const BYTES_AS_ENTRY: usize = 64;

/// Whether freeing the value takes long.
pub(crate) fn is_large(entry: &Entry) -> bool {
    match entry.view() {
        View::Int(_) => false,
        View::Str(bytes) => bytes.len() >= LARGE_BYTES_MIN,
        View::List(list) => list.len() >= LARGE_ELEMENTS_MIN,
        View::Set(set) => set.len() >= LARGE_ELEMENTS_MIN,
        View::ZSet(zset) => zset.len() >= LARGE_ELEMENTS_MIN,
        View::Hash(hash) => hash.len() >= LARGE_ELEMENTS_MIN,
        // Few entries may be pending with many.
        View::Stream(_) => entry.small_bytes().is_none(),
    }
}

impl Snapshot {
    pub(crate) fn adopt(&mut self, database: Database) {
        self.adopted.push(database);
    }

    /// Writes an entry, or shares it; how many entries that counts for beside this one.
    fn write(&mut self, db: usize, entry: &Entry) -> usize {
        self.progress.keys_written += 1;
        if self.cancelled {
            return 0;
        }
        let used = self.ranking.map(|ranking| ranking.told(entry.access(), self.now_ms));
        let Some(bytes) = entry.small_bytes() else {
            self.cut();
            self.db = None;
            self.push(Piece::Large { db, entry: entry.clone(), used });
            return 0;
        };
        if self.db != Some(db) {
            self.writer.select_db(db as u64);
            self.db = Some(db);
        }
        write_entry(&mut self.writer, entry, used);
        if self.writer.pending() >= PIECE_BYTES {
            self.cut();
        }
        bytes / BYTES_AS_ENTRY
    }

    /// Closes the piece in progress.
    fn cut(&mut self) {
        let pending = self.writer.pending();
        if pending > 0 {
            let mut bytes = self.writer.take();
            match pending < PIECE_BYTES {
                // It may wait for long, and is counted by what is in it.
                true => bytes.shrink_to_fit(),
                false => self.writer.reserve(PIECE_BYTES + PIECE_SLACK_BYTES),
            }
            self.push(Piece::Bytes(bytes));
        }
    }

    fn push(&mut self, piece: Piece) {
        self.pieces_bytes += piece.bytes();
        self.pieces.push(piece);
    }
}

impl Keyspace {
    /// Begins a snapshot of this moment; false when one is running. The pieces that follow hold the records of all keys; header, functions and
    /// end of the file are the caller's.
    pub fn begin_snapshot(&mut self, compress: bool) -> bool {
        if self.snapshot.is_some() {
            return false;
        }
        self.epoch = !self.epoch;
        for (number, database) in self.dbs.iter_mut().enumerate() {
            database.snapshot_number = number;
            database.snapshot_cursor = (!database.table.is_empty()).then_some(0);
        }
        let progress = SnapshotProgress { keys_total: self.key_count() as u64, keys_written: 0 };
        let writer = Writer::new(compress, false);
        self.snapshot = Some(Snapshot {
            writer,
            pieces: Vec::new(),
            pieces_bytes: 0,
            db: None,
            progress,
            adopted: Vec::new(),
            cancelled: false,
            ranking: self.tells_use.then_some(self.ranking),
            now_ms: self.now.unix_ms,
        });
        true
    }

    /// How far the running snapshot is; `None` when none runs.
    pub fn snapshot_progress(&self) -> Option<SnapshotProgress> {
        self.snapshot.as_ref().map(|s| s.progress)
    }

    /// Walks on until about `entries` entries were looked at, or fewer that are longer than most; true when the walk is through (the last pieces are then ready).
    pub fn step_snapshot(&mut self, entries: usize) -> bool {
        let mut left = entries;
        let Some(mut snapshot) = self.snapshot.take() else { return true };
        snapshot.now_ms = self.now.unix_ms;
        let epoch = self.epoch;
        for database in &mut self.dbs {
            walk(database, &mut snapshot, epoch, &mut left);
        }
        while left > 0
            && let Some(mut database) = snapshot.adopted.pop()
        {
            walk(&mut database, &mut snapshot, epoch, &mut left);
            if database.snapshot_cursor.is_some() {
                snapshot.adopted.push(database);
            } else {
                self.discard_table(database.table);
            }
        }
        let through = snapshot.adopted.is_empty() && self.dbs.iter().all(|db| db.snapshot_cursor.is_none());
        if through {
            snapshot.cut();
        }
        self.snapshot = Some(snapshot);
        through
    }

    /// Bytes that wait to be taken: besides what slices gave, what changed entries were before. See [`Piece::bytes`].
    pub fn snapshot_waiting_bytes(&self) -> usize {
        self.snapshot.as_ref().map_or(0, |s| s.pieces_bytes + s.writer.pending())
    }

    /// The pieces that are ready, in order.
    pub fn take_snapshot_pieces(&mut self) -> Vec<Piece> {
        let Some(snapshot) = &mut self.snapshot else { return Vec::new() };
        snapshot.pieces_bytes = 0;
        core::mem::take(&mut snapshot.pieces)
    }

    /// Ends a snapshot whose walk is through.
    pub fn end_snapshot(&mut self) {
        self.snapshot = None;
    }

    /// Gives a snapshot up: what is left is only marked, by the same steps.
    pub fn cancel_snapshot(&mut self) {
        if let Some(snapshot) = &mut self.snapshot {
            snapshot.cancelled = true;
            snapshot.pieces.clear();
            snapshot.pieces_bytes = 0;
            snapshot.writer.take();
        }
    }

    /// Writes the entry at `position` into a running snapshot that has it not yet, because it is about to change.
    #[inline]
    pub(crate) fn preimage(&mut self, db: usize, position: Position) {
        if self.snapshot.is_some() {
            self.write_preimage(db, position);
        }
    }

    #[cold]
    fn write_preimage(&mut self, db: usize, position: Position) {
        let Some(snapshot) = &mut self.snapshot else { return };
        let database = &mut self.dbs[db];
        if database.table.at(position).epoch() == self.epoch {
            return;
        }
        snapshot.now_ms = self.now.unix_ms;
        snapshot.write(database.snapshot_number, database.table.at(position));
        database.table.at_mut(position).set_epoch(self.epoch);
    }
}

/// Walks one database on; lowers `left` by the entries looked at.
fn walk(database: &mut Database, snapshot: &mut Snapshot, epoch: bool, left: &mut usize) {
    let number = database.snapshot_number;
    while *left > 0
        && let Some(cursor) = database.snapshot_cursor
    {
        let next = database.table.walk_mut(cursor, &mut |entry: &mut Entry| {
            *left = left.saturating_sub(1);
            if entry.epoch() != epoch {
                *left = left.saturating_sub(snapshot.write(number, entry));
                entry.set_epoch(epoch);
            }
        });
        *left = left.saturating_sub(1);
        database.snapshot_cursor = (next != 0).then_some(next);
    }
}

impl core::fmt::Display for SnapshotProgress {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} of {} keys", self.keys_written, self.keys_total)
    }
}
