//! A snapshot under way, and the file it is written into.
//!
//! The saver thread writes what the feed gives, at the pace that `rdb-key-save-delay` asks for (tests slow a
//! snapshot down with it), and can be told at any time to give up: then the view in the engine is ended, the
//! temporary file removed, and nothing has changed.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use engine::{Engine, REDIS_VERSION};
use keyspace::Piece;
use persist::aof::Base;
use persist::disk::write_all;
use persist::rdb::{Reader, SnapshotFile, Writer};
use replication::Place;

use crate::saver::{Progress, SaveError};
use crate::shared::Shared;

/// How long the writer sleeps at most before it looks whether to give up or to hurry.
const NAP_US: u64 = 10_000;

/// Bytes that are written at a time.
const PART_BYTES: usize = 256 << 10;

/// A snapshot under way in the engine.
pub(crate) struct View {
    compress: bool,
    checksum: bool,
    version: u16,
    /// The sources of all function libraries.
    libraries: Vec<Vec<u8>>,
    unix_ms: i64,
    /// The place in a history.
    place: Option<Place>,
    /// Write the time into a base of commands.
    timestamps: bool,
    /// The form of a base of the log.
    pub(crate) form: Base,
    /// Changes since the last save at the moment it began.
    pub(crate) changes: u64,
}

impl View {
    /// Begins a snapshot; `also` happens at the very same moment.
    pub(crate) fn begin(
        shared: &Shared,
        also: impl FnOnce(&mut Engine) -> Result<(), SaveError>,
    ) -> Result<View, SaveError> {
        let mut engine = shared.engine.lock();
        let config = &engine.config;
        let (compress, checksum, timestamps) =
            (config.rdbcompression, config.rdbchecksum, config.aof_timestamp_enabled);
        let form = if config.aof_use_rdb_preamble { Base::Snapshot } else { Base::Commands };
        also(&mut engine)?;
        if !engine.keyspace.begin_snapshot(compress) {
            return Err(SaveError::Engaged);
        }
        shared.durable.tell(shared, |journal| journal.set_snapshot_runs(true));
        Ok(View {
            compress,
            checksum,
            version: engine.keyspace.snapshot_version(),
            libraries: engine.library_codes(),
            timestamps,
            form,
            unix_ms: shared.clock.now().unix_ms,
            place: engine.place(),
            changes: engine.keyspace.effects.dirty,
        })
    }

    /// Writes the snapshot into a temporary file, and ends it in the engine whatever happens.
    pub(crate) fn write<'a>(
        &self,
        shared: &'a Shared,
        dir: &Path,
        is_base: bool,
    ) -> Result<SnapshotFile<'a>, SaveError> {
        let written = self.write_file(shared, dir, is_base);
        Self::end(shared, written.is_ok());
        written
    }

    /// Gives the bytes of the snapshot to `sink`, and ends it in the engine whatever happens.
    pub(crate) fn send(
        &self,
        shared: &Shared,
        sink: &mut dyn FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<(), SaveError> {
        let sent = self.stream(shared, false, sink);
        Self::end(shared, sent.is_ok());
        sent
    }

    /// The snapshot will have no libraries of functions.
    pub(crate) fn leave_out_libraries(&mut self) {
        self.libraries.clear();
    }

    /// Nobody wants the snapshot.
    pub(crate) fn give_up(&self, shared: &Shared) {
        Self::end(shared, false);
    }

    /// Ends the snapshot in the engine: `complete`, or given up.
    fn end(shared: &Shared, complete: bool) {
        if complete {
            shared.engine.lock().keyspace.end_snapshot();
        } else {
            shared.saver.feed.give_up(shared);
        }
        shared.durable.tell(shared, |journal| journal.set_snapshot_runs(false));
    }

    /// Writes the base of a log in its form; a synced file that waits for its name.
    pub(crate) fn write_base(&self, shared: &Shared, dir: &Path) -> Result<PathBuf, SaveError> {
        let snapshot = self.write(shared, dir, true)?.finish_in_place()?;
        match self.form {
            Base::Snapshot => Ok(snapshot),
            Base::Commands => {
                let chance = crate::beside::chance()?;
                let name = format!("temp-rewriteaof-bg-{}-{chance:016x}.aof", std::process::id());
                let commands = dir.join(name);
                let done = self.convert(shared, &snapshot, &commands);
                discard(shared, &snapshot);
                done.inspect_err(|_| discard(shared, &commands)).map(|()| commands)
            }
        }
    }

    /// Turns a snapshot into the commands that build it.
    fn convert(&self, shared: &Shared, snapshot: &Path, commands: &Path) -> Result<(), SaveError> {
        let disk = &*shared.durable.disk;
        let bytes = disk.len(snapshot)?;
        let reader = Reader::new(disk.read(snapshot, 0)?, Some(bytes), self.checksum)?;
        let mut file = disk.create(commands)?;
        let unix_s = self.timestamps.then_some(self.unix_ms.div_euclid(1000));
        persist::aof::snapshot_to_commands(reader, unix_s, &mut |part| {
            write_all(&mut *file, part).map_err(|(_, error)| error)
        })?;
        Ok(file.sync()?)
    }

    fn write_file<'a>(
        &self,
        shared: &'a Shared,
        dir: &Path,
        is_base: bool,
    ) -> Result<SnapshotFile<'a>, SaveError> {
        let disk = &*shared.durable.disk;
        let mut file = SnapshotFile::create(disk, dir, std::process::id(), crate::beside::chance()?)?;
        self.stream(shared, is_base, &mut |bytes| file.write(bytes))?;
        Ok(file)
    }

    /// Gives the bytes of the snapshot to `sink` as they come.
    fn stream(
        &self,
        shared: &Shared,
        is_base: bool,
        sink: &mut dyn FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<(), SaveError> {
        let mut writer = Writer::new(self.compress, self.checksum);
        writer.header(self.version);
        writer.standard_aux(REDIS_VERSION, self.unix_ms, crate::allocator::used() as u64, is_base);
        for (name, value) in self.place.iter().flat_map(Place::facts) {
            writer.aux(name.as_bytes(), value.as_bytes());
        }
        self.libraries.iter().for_each(|code| writer.function(code));
        let mut pieces = Vec::new();
        loop {
            let fed = shared.saver.feed.next(shared, &mut pieces);
            for piece in pieces.drain(..) {
                write_piece(shared, &mut writer, piece, sink)?;
            }
            crate::allocator::publish();
            pace(shared, fed.keys, fed.keys_total)?;
            if fed.through {
                break;
            }
        }
        writer.end();
        Ok(writer.drain(sink)?)
    }
}

/// Sleeps so long that as many keys count as written as are. An error when the snapshot is to be given up.
fn pace(shared: &Shared, keys: u64, keys_total: u64) -> Result<(), SaveError> {
    let saver = &shared.saver;
    let advance = |keys_written| saver.work().advance(Progress { keys_total, keys_written });
    let mut written = saver.work().run().map_or(0, |run| run.progress.keys_written);
    let mut slept_us = 0;
    loop {
        if saver.is_cancelled(shared) {
            return Err(SaveError::Cancelled);
        }
        let delay_us = saver.key_delay_us.load(Ordering::Relaxed);
        if written >= keys || delay_us == 0 {
            advance(keys);
            return Ok(());
        }
        let (nap_us, mut done) = nap(delay_us, keys - written);
        std::thread::sleep(Duration::from_micros(nap_us));
        slept_us += nap_us;
        // A key that takes longer than a nap counts when so many naps are over.
        if done == 0 && slept_us >= delay_us.unsigned_abs() {
            (done, slept_us) = (1, 0);
        }
        written += done;
        advance(written);
    }
}

/// One nap, microseconds, and for how many of `keys` keys it counts. A positive delay is microseconds for a key, a
/// negative one keys for a microsecond.
fn nap(delay_us: i64, keys: u64) -> (u64, u64) {
    let each = delay_us.unsigned_abs();
    match delay_us > 0 {
        true if each >= NAP_US => (NAP_US, 0),
        true => {
            let count = (NAP_US / each).min(keys);
            (count * each, count)
        }
        false => {
            let count = (NAP_US.saturating_mul(each)).min(keys);
            ((count / each).max(1), count)
        }
    }
}

/// Removes a temporary file that nobody needs any more. One that cannot be removed is overwritten by the next of its kind.
pub(crate) fn discard(shared: &Shared, temp: &Path) {
    shared.durable.disk.remove(temp).unwrap_or_default();
}

/// Gives a piece to `file`, as far as enough has come together; a large value part by part, as long as the snapshot is wanted.
fn write_piece(
    shared: &Shared,
    writer: &mut Writer,
    piece: Piece,
    file: &mut dyn FnMut(&[u8]) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let mut outcome = Ok(());
    match piece {
        Piece::Bytes(bytes) => writer.raw(&bytes),
        Piece::Large { db, entry, used } => keyspace::write_large(writer, db, &entry, used, &mut |writer| {
            if writer.pending() < PART_BYTES {
                return;
            }
            if outcome.is_err() || shared.saver.is_cancelled(shared) {
                // Nobody will have the file: the rest is only gone through.
                writer.take();
                return;
            }
            outcome = writer.drain(file);
        }),
    }
    outcome?;
    if writer.pending() < PART_BYTES { Ok(()) } else { writer.drain(file) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn naps_are_short_and_add_up_to_the_delay() {
        assert_eq!(nap(100, 1_000), (10_000, 100));
        assert_eq!(nap(100, 3), (300, 3));
        assert_eq!(nap(10_000_000, 5), (NAP_US, 0), "looks up again before the key is through");
        assert_eq!(nap(-200, 100_000), (500, 100_000));
        assert_eq!(nap(-200, 10_000_000), (NAP_US, 2_000_000));
    }
}
