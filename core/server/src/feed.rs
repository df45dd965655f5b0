//! What slices of a snapshot gave, on its way from the I/O thread that takes them to the saver thread.
//!
//! It holds at most [`FEED_BYTES_MAX`] and is then not filled any further, so a slow disk slows the snapshot and
//! nothing else.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use engine::Engine;
use keyspace::Piece;
use parking_lot::{Condvar, Mutex};

use crate::shared::Shared;

/// How long the engine is held for one slice, microseconds, about.
const SLICE_US: u64 = 100;

/// How long the writer waits before it looks whether it is to give up.
const PATIENCE: Duration = Duration::from_millis(50);

/// Bytes that wait to be written before no further slice is taken.
const FEED_BYTES_MAX: usize = 2 << 20;

/// Entries of the first slice, and the bounds of what it grows and shrinks to.
const SLICE_ENTRIES: usize = 64;
const SLICE_ENTRIES_MIN: usize = 4;
const SLICE_ENTRIES_MAX: usize = 4096;

/// See the module.
pub(crate) struct Feed {
    state: Mutex<FeedState>,
    filled: Condvar,
    /// A walk is under way, and there is room for what a slice gives.
    wanted: AtomicBool,
}

#[derive(Default)]
struct FeedState {
    pieces: Vec<Piece>,
    bytes: usize,
    through: bool,
    /// Keys of the snapshot, and how many of them the slices have given so far.
    keys_total: u64,
    keys: u64,
    /// Entries of the next slice, kept such that one takes about as long as it may.
    entries: usize,
}

impl Default for Feed {
    fn default() -> Feed {
        let state = FeedState { entries: SLICE_ENTRIES, ..FeedState::default() };
        Feed { state: Mutex::new(state), filled: Condvar::new(), wanted: AtomicBool::new(false) }
    }
}

impl Feed {
    /// Whether a slice is to be taken.
    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Acquire)
    }

    /// Takes one slice.
    pub(crate) fn take_slice(&self, engine: &mut Engine, clock: &crate::clock::Clock) {
        if engine.keyspace.snapshot_progress().is_none() {
            return;
        }
        let mut state = self.state.lock();
        let began_us = clock.micros();
        state.through = engine.keyspace.step_snapshot(state.entries);
        let progress = engine.keyspace.snapshot_progress().unwrap_or_default();
        (state.keys_total, state.keys) = (progress.keys_total, progress.keys_written);
        let pieces = engine.keyspace.take_snapshot_pieces();
        state.bytes += pieces.iter().map(Piece::bytes).sum::<usize>();
        state.pieces.extend(pieces);
        state.entries = match clock.micros() - began_us {
            spent_us if spent_us > SLICE_US => (state.entries / 2).max(SLICE_ENTRIES_MIN),
            spent_us if spent_us < SLICE_US / 2 => (state.entries * 2).min(SLICE_ENTRIES_MAX),
            _ => state.entries,
        };
        if state.through || state.bytes >= FEED_BYTES_MAX {
            self.wanted.store(false, Ordering::Release);
        }
        if state.through || !state.pieces.is_empty() {
            self.filled.notify_one();
        }
    }

    /// Ends a snapshot that nobody wants any more: what is left of the walk is only marked.
    pub(crate) fn give_up(&self, shared: &Shared) {
        shared.engine.lock().keyspace.cancel_snapshot();
        loop {
            let mut engine = shared.engine.lock();
            // At the end of the process nobody needs the marks.
            if !shared.life.has_ended() && !engine.keyspace.step_snapshot(SLICE_ENTRIES) {
                continue;
            }
            engine.keyspace.end_snapshot();
            // With the engine in hand, so that no slice comes after.
            self.wanted.store(false, Ordering::Release);
            let mut state = self.state.lock();
            *state = FeedState { entries: state.entries, ..FeedState::default() };
            return;
        }
    }

    /// Waits for what further slices give, or until the snapshot is to be given up.
    pub(crate) fn next(&self, shared: &Shared, pieces: &mut Vec<Piece>) -> Fed {
        let mut state = self.state.lock();
        while state.pieces.is_empty() && !state.through {
            if !self.wanted.swap(true, Ordering::AcqRel) {
                shared.wake_all();
            }
            self.filled.wait_for(&mut state, PATIENCE);
            if shared.saver.is_cancelled(shared) {
                break;
            }
        }
        pieces.append(&mut state.pieces);
        state.bytes = 0;
        if !state.through && !shared.saver.is_cancelled(shared) && !self.wanted.swap(true, Ordering::AcqRel) {
            shared.wake_all();
        }
        Fed { through: core::mem::take(&mut state.through), keys: state.keys, keys_total: state.keys_total }
    }
}

/// How far the walk was when pieces were handed over.
pub(crate) struct Fed {
    /// These were the last pieces.
    pub(crate) through: bool,
    /// Keys in all pieces so far.
    pub(crate) keys: u64,
    /// Keys of the whole snapshot.
    pub(crate) keys_total: u64,
}
