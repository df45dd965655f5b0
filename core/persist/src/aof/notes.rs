//! What is known of files that the log does not describe itself, kept beside it for the next start.
//!
//! ```text
//! appendonlydir/appendonly.aof.notes          written whole, by rename, at each snapshot
//!     base appendonly.aof.3.base.aof bytes 4711           of earlier versions: how long a base was when it got its name
//!     snapshot dump.rdb bytes 815 crc 00f1… from here     a snapshot that this server wrote or read
//!     end 9a0b…                                           CRC-64 of the lines before
//! appendonlydir/appendonly.aof.synced         one line, overwritten about once a second, never waited for
//!     file appendonly.aof.7.incr.aof synced 123456 inode 789 00f1…
//! ```
//! Loaders of Redis and Valkey look at neither file. A snapshot beside a log is not loaded; one that is none of ours was put there by somebody who
//! expects it to be. The line in the log that tells how much of it is durable lies in the log itself, and may go with what
//! it speaks of; this one is a lower bound from outside.

use std::io;
use std::path::{Path, PathBuf};

use super::Place;
use super::manifest::{quoted, split};
use crate::disk::{self, Disk, write_all};
use crate::rdb::Identity;

/// Largest file of either kind that is read, bytes.
const BYTES_MAX: u64 = 64 << 10;
/// Snapshots that are remembered.
const SNAPSHOTS_MAX: usize = 8;

/// Where a snapshot beside the log comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Written or loaded here: its data is in the log, too.
    Here,
    /// It lay there when the log was first opened by a server that takes notes.
    Elsewhere,
}

/// A snapshot that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownSnapshot {
    /// Its name in the server's directory.
    pub name: String,
    /// Which one of that name.
    pub identity: Identity,
    /// Where it comes from.
    pub source: Source,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    bases: Vec<(String, u64)>,
    snapshots: Vec<KnownSnapshot>,
}

impl Notes {
    /// Reads the notes; `None` when there are none, or none that can be understood: then nothing is known.
    ///
    /// # Errors
    /// They are there and cannot be read.
    pub fn read(disk: &dyn Disk, place: &Place) -> io::Result<Option<Notes>> {
        match disk::read_whole(disk, &place.log_dir().join(place.notes_name()), BYTES_MAX) {
            Ok(text) => Ok(Notes::parse(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Puts the notes in place of those that are there.
    ///
    /// # Errors
    /// The disk has failed; the old ones or the new ones are there.
    pub fn write(&self, disk: &dyn Disk, place: &Place) -> io::Result<()> {
        let (dir, name) = (place.log_dir(), place.notes_name());
        disk::prepare(disk, &dir, &name, self.to_text().as_bytes())?;
        disk::put_in_place(disk, &dir, &name)
    }

    /// Remembers a snapshot, and forgets the oldest when they are many.
    pub fn remember(&mut self, snapshot: KnownSnapshot) {
        self.snapshots.retain(|known| known.name != snapshot.name || known.identity != snapshot.identity);
        self.snapshots.insert(0, snapshot);
        self.snapshots.truncate(SNAPSHOTS_MAX);
    }

    /// What is known of a snapshot.
    pub fn snapshot(&self, name: &str, identity: Identity) -> Option<Source> {
        let is_same = |known: &Identity| {
            *known == identity || known.is_of_all_this_short() && known.bytes == identity.bytes
        };
        let known = self.snapshots.iter().find(|known| known.name == name && is_same(&known.identity));
        known.map(|known| known.source)
    }

    /// How long a base was when it got its name, if that is known.
    pub(super) fn base_bytes(&self, name: &str) -> Option<u64> {
        self.bases.iter().find(|(known, _)| known == name).map(|(_, bytes)| *bytes)
    }

    fn parse(text: &[u8]) -> Option<Notes> {
        let text = std::str::from_utf8(text).ok()?;
        let (body, end) = text.split_at(text.rfind("end ")?);
        if end != end_line(body) {
            return None;
        }
        let mut notes = Notes::default();
        for line in body.lines() {
            let words = split(line)?;
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            match words.as_slice() {
                ["base", name, "bytes", bytes] => notes.bases.push(((*name).to_owned(), bytes.parse().ok()?)),
                ["snapshot", name, "bytes", bytes, "crc", crc, "from", source] => {
                    let identity =
                        Identity { bytes: bytes.parse().ok()?, crc: u64::from_str_radix(crc, 16).ok()? };
                    let source = if *source == "here" { Source::Here } else { Source::Elsewhere };
                    notes.snapshots.push(KnownSnapshot { name: (*name).to_owned(), identity, source });
                }
                _ => {} // Of a later version.
            }
        }
        Some(notes)
    }

    fn to_text(&self) -> String {
        let mut text = String::new();
        for (name, bytes) in &self.bases {
            text += &format!("base {} bytes {bytes}\n", quoted(name));
        }
        for KnownSnapshot { name, identity, source } in &self.snapshots {
            let source = if *source == Source::Here { "here" } else { "elsewhere" };
            let Identity { bytes, crc } = identity;
            text += &format!("snapshot {} bytes {bytes} crc {crc:016x} from {source}\n", quoted(name));
        }
        let end = end_line(&text);
        text + &end
    }
}

fn end_line(body: &str) -> String {
    format!("end {:016x}\n", base::crc64::update(0, body.as_bytes()))
}

/// How much of which file was known to be durable: a lower bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncedMark {
    /// A file of the log.
    pub(super) file: String,
    /// Bytes of it.
    pub(super) synced: u64,
    /// Its number in the file system: a copy has another one.
    pub(super) inode: u64,
}

impl SyncedMark {
    /// Overwrites the mark. It is not made durable by itself: an older one, or none, is what a crash may leave.
    ///
    /// # Errors
    /// The disk has failed; the log is as good as without a mark.
    pub fn write(&self, disk: &dyn Disk, place: &Place) -> io::Result<()> {
        let mut file = disk.create(&place.log_dir().join(place.synced_name()))?;
        write_all(&mut *file, self.to_text().as_bytes()).map_err(|(_, error)| error)
    }

    /// The mark; `None` when there is none that can be understood.
    pub(super) fn read(disk: &dyn Disk, place: &Place) -> Option<SyncedMark> {
        let path: PathBuf = place.log_dir().join(place.synced_name());
        let text = String::from_utf8(disk::read_whole(disk, &path, BYTES_MAX).ok()?).ok()?;
        let words = split(text.lines().next()?)?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let ["file", file, "synced", synced, "inode", inode, _] = words.as_slice() else { return None };
        let (synced, inode) = (synced.parse().ok()?, inode.parse().ok()?);
        let mark = SyncedMark { file: (*file).to_owned(), synced, inode };
        (mark.to_text() == text).then_some(mark)
    }

    /// The file of the mark, and in words why nothing is known by it; `None` where it can be understood.
    pub fn trouble(disk: &dyn Disk, place: &Place) -> Option<(PathBuf, &'static str)> {
        if SyncedMark::read(disk, place).is_some() {
            return None;
        }
        let path = place.log_dir().join(place.synced_name());
        let what = match disk.stat(&path) {
            Ok(_) => "it cannot be understood, as a crash may leave it",
            Err(_) => {
                "it is not there, as where another server has written the log, or a part of it was copied"
            }
        };
        Some((path, what))
    }

    fn to_text(&self) -> String {
        let SyncedMark { file, synced, inode } = self;
        let line = format!("file {} synced {synced} inode {inode}", quoted(file));
        let crc = base::crc64::update(0, line.as_bytes());
        format!("{line} {crc:016x}\n")
    }
}

/// A log's file that is shorter than what had been durable of it.
struct Shortfall {
    path: PathBuf,
    bytes: u64,
    synced: u64,
    /// It is the very file that was marked, and no copy of it.
    is_original: bool,
}

fn shortfall(disk: &dyn Disk, place: &Place) -> Option<Shortfall> {
    let mark = SyncedMark::read(disk, place)?;
    let path = place.log_dir().join(&mark.file);
    let there = disk.stat(&path).ok()?;
    let is_original = there.id.1 == mark.inode;
    let found = Shortfall { path, bytes: there.bytes, synced: mark.synced, is_original };
    (found.bytes < found.synced).then_some(found)
}

/// Whether the end of a log was cut off where it lies: the very file that was marked is shorter than what had been durable
/// of it. A sentence that tells it. No crash does that; a copy of a running server may look so, and is another file.
pub fn cut_in_place(disk: &dyn Disk, place: &Place) -> Option<String> {
    let Shortfall { path, bytes, synced, .. } = shortfall(disk, place).filter(|found| found.is_original)?;
    Some(format!(
        "{} has {bytes} bytes, but {synced} had been made durable: its end was cut off. Restore it from a backup; or remove {} to go \
         on without what is missing",
        path.display(),
        place.log_dir().join(place.synced_name()).display()
    ))
}

/// The file of a copied log that is shorter than what had been durable of its original, and a sentence that tells it: cut off
/// since, or copied while a server was writing to it.
pub fn short_copy(disk: &dyn Disk, place: &Place) -> Option<(PathBuf, String)> {
    let found = shortfall(disk, place).filter(|found| !found.is_original)?;
    let text = short_text(&found.path, found.bytes, found.synced);
    Some((found.path, text))
}

/// That a file may lack its end, and when that is no fault.
pub(super) fn short_text(path: &Path, bytes: u64, synced: u64) -> String {
    format!(
        "{} has {bytes} bytes, but {synced} had been made durable. Its end is missing, unless this is a copy of files that a \
         server was writing to.",
        path.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Memory;

    fn notes() -> Notes {
        let mut notes = Notes::default();
        notes.bases.push(("appendonly.aof.3.base.aof".to_owned(), 4711));
        for (bytes, source) in [(1, Source::Here), (2, Source::Elsewhere)] {
            let identity = Identity { bytes, crc: bytes << 40 };
            notes.remember(KnownSnapshot { name: "my \"dump\".rdb".to_owned(), identity, source });
        }
        notes
    }

    #[test]
    fn notes_come_back_as_they_were_and_damaged_ones_not_at_all() {
        let (disk, place) = (Memory::new(), Place::new(Path::new("/data")));
        assert_eq!(Notes::read(&disk, &place).unwrap(), None);
        notes().write(&disk, &place).unwrap();
        let path = place.log_dir().join("appendonly.aof.notes");
        let text = disk.bytes(&path).unwrap();
        assert_eq!(Notes::read(&disk, &place).unwrap(), Some(notes()));
        let identity = Identity { bytes: 2, crc: 2 << 40 };
        assert_eq!(notes().snapshot("my \"dump\".rdb", identity), Some(Source::Elsewhere));
        assert_eq!(notes().snapshot("dump.rdb", identity), None);
        let mut noted_before = Notes::default();
        let old = Identity { bytes: 2, crc: 0 };
        noted_before.remember(KnownSnapshot { name: "a".to_owned(), identity: old, source: Source::Here });
        assert_eq!(noted_before.snapshot("a", identity), Some(Source::Here));
        assert_eq!(noted_before.snapshot("a", Identity { bytes: 3, crc: 9 }), None);
        for cut in 0..text.len() {
            disk.put(&path, &text[..cut]);
            assert_eq!(Notes::read(&disk, &place).unwrap(), None, "{cut} bytes");
        }
    }

    #[test]
    fn the_mark_comes_back_and_damage_is_no_mark() {
        let (disk, place) = (Memory::new(), Place::new(Path::new("/data")));
        let mark = SyncedMark { file: "a b.1.incr.aof".to_owned(), synced: 12, inode: 3 };
        mark.write(&disk, &place).unwrap();
        assert_eq!(SyncedMark::read(&disk, &place), Some(mark));
        let path = place.log_dir().join("appendonly.aof.synced");
        let text = disk.bytes(&path).unwrap();
        for cut in 0..text.len() {
            disk.put(&path, &text[..cut]);
            assert_eq!(SyncedMark::read(&disk, &place), None, "{cut} bytes");
        }
    }
}
