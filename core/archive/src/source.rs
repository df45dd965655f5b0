//! The log of a server as it is at one moment: its files, opened.
//!
//! The server may be writing and may rewrite its log meanwhile. What a manifest names is the whole log; a file that is gone when it is to be
//! opened has been replaced by a newer manifest, and then all begins anew. Files that are open stay readable, whatever becomes of their names.
//! Before them stand those that rewrites have replaced and the backlog keeps.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;

use persist::aof::{BadBatch, Base, LogIdentity, Manifest, Place};
use persist::disk::Real;
use persist::rdb::identify;

use crate::backlog::Backlog;
use crate::error::ArchiveError;
use crate::follow::End;

/// How often a log that is being replaced is tried again.
const ATTEMPTS_MAX: usize = 16;
/// The largest manifest that is read, bytes.
const MANIFEST_BYTES_MAX: u64 = 4 << 20;

/// A file of the log, open.
#[derive(Debug)]
pub(crate) struct OpenFile {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) file: File,
    /// What was in it when all were open.
    pub(crate) bytes: u64,
    /// When it was changed last, unix milliseconds.
    pub(crate) changed_ms: i64,
    /// Those bytes are known to be durable.
    is_durable: bool,
}

/// The files of a log.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) identity: LogIdentity,
    pub(crate) base: OpenFile,
    pub(crate) form: Base,
    /// Oldest first.
    pub(crate) incrementals: Vec<OpenFile>,
    /// Index of the first one that the manifest names; the others are of the backlog.
    pub(crate) own_from: usize,
}

impl Source {
    /// Opens them all, up to an end.
    pub(crate) fn open(
        place: &Place,
        backlog: &Backlog,
        end: Option<End<'_>>,
    ) -> Result<Source, ArchiveError> {
        for _ in 0..ATTEMPTS_MAX {
            let manifest = read_manifest(place)?;
            if let Some(mut source) = Source::of(place, &manifest, backlog)? {
                source.limit_to(end);
                return Ok(source);
            }
        }
        Err(ArchiveError::Restless)
    }

    /// Where its last file is not there any more, it has been replaced, and what is there now ends later.
    fn limit_to(&mut self, end: Option<End<'_>>) {
        let Some(end) = end else { return };
        let Some(at) = self.incrementals.iter().position(|file| file.name == end.file) else { return };
        for file in &mut self.incrementals[at + 1..] {
            file.bytes = 0;
        }
        let file = &mut self.incrementals[at];
        (file.bytes, file.is_durable) = (file.bytes.min(end.bytes), end.is_durable);
    }

    /// `None` when a file is gone or has been replaced.
    fn of(place: &Place, manifest: &Manifest, backlog: &Backlog) -> Result<Option<Source>, ArchiveError> {
        let (Some(identity), Some(base)) = (manifest.id, &manifest.base) else {
            return Err(ArchiveError::NoIdentity);
        };
        if manifest.incrementals.iter().any(|file| file.seq < identity.heads_from) {
            return Err(ArchiveError::NoIdentity);
        }
        let form = if base.name.ends_with(".rdb") { Base::Snapshot } else { Base::Commands };
        let open = |name: &str| OpenFile::open(place.log_dir().join(name), name);
        let Some(base) = open(&base.name)? else { return Ok(None) };
        let known = identify(&Real, &base.path).map_err(|e| ArchiveError::File(base.path.clone(), e))?;
        if known.is_some_and(|known| known != identity.base) {
            let what = "it is not the base that the log's manifest tells of".to_owned();
            return Err(ArchiveError::Damaged(base.path.display().to_string(), what));
        }
        // They are looked for when the manifest has been read, so what it does not name any more is there, if it was kept.
        let mut incrementals = kept_files(backlog, manifest)?;
        let own_from = incrementals.len();
        for file in &manifest.incrementals {
            match open(&file.name)? {
                Some(file) => incrementals.push(file),
                None => return Ok(None),
            }
        }
        // The last one first: a file gets nothing more as soon as the next one has something, so none ends before that.
        for file in incrementals.iter_mut().rev() {
            file.bytes = file.file.metadata().map_err(|error| file.failed(error))?.len();
        }
        Ok(Some(Source { identity, base, form, incrementals, own_from }))
    }
}

impl OpenFile {
    fn open(path: PathBuf, name: &str) -> Result<Option<OpenFile>, ArchiveError> {
        let opened = File::open(&path).and_then(|file| {
            let about = file.metadata()?;
            let changed = about.modified()?.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            Ok((file, about.len(), i64::try_from(changed.as_millis()).unwrap_or(i64::MAX)))
        });
        match opened {
            Ok((file, bytes, changed_ms)) => {
                Ok(Some(OpenFile { name: name.to_owned(), path, file, bytes, changed_ms, is_durable: false }))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(ArchiveError::File(path, error)),
        }
    }

    pub(crate) fn failed(&self, error: io::Error) -> ArchiveError {
        ArchiveError::File(self.path.clone(), error)
    }

    pub(crate) fn bad(&self, bad: BadBatch) -> ArchiveError {
        ArchiveError::BadLog(self.path.clone(), bad)
    }

    /// Has what it holds made durable: what the disk may still lose is not archived.
    pub(crate) fn make_durable(&self) -> Result<(), ArchiveError> {
        if self.is_durable { Ok(()) } else { self.file.sync_data().map_err(|error| self.failed(error)) }
    }

    /// Reads it from an offset to where it ended when it was opened.
    pub(crate) fn read_from(&self, offset: u64) -> Result<impl Read + '_, ArchiveError> {
        let mut file = &self.file;
        file.seek(SeekFrom::Start(offset)).map_err(|error| self.failed(error))?;
        Ok(file.take(self.bytes.saturating_sub(offset)))
    }

    /// Whether this line, with its end, stands before that offset.
    pub(crate) fn has_line_before(&self, line: &str, offset: u64) -> Result<bool, ArchiveError> {
        let wanted = format!("{line}\r\n");
        let Some(start) = offset.checked_sub(wanted.len() as u64) else { return Ok(false) };
        let mut there = Vec::new();
        self.read_from(start)?
            .take(wanted.len() as u64)
            .read_to_end(&mut there)
            .map_err(|error| self.failed(error))?;
        Ok(there == wanted.as_bytes())
    }
}

/// Those of the backlog that the manifest does not name.
fn kept_files(backlog: &Backlog, manifest: &Manifest) -> Result<Vec<OpenFile>, ArchiveError> {
    let names = backlog.names().map_err(|error| ArchiveError::File(backlog.dir().to_owned(), error))?;
    let is_own = |name: &String| manifest.incrementals.iter().any(|file| file.name == *name);
    let mut kept = Vec::new();
    for name in names.iter().filter(|name| !is_own(name)) {
        // One that is gone has been given up.
        kept.extend(OpenFile::open(backlog.path(name), name)?);
    }
    Ok(kept)
}

fn read_manifest(place: &Place) -> Result<Manifest, ArchiveError> {
    let path = place.log_dir().join(place.manifest_name());
    let mut text = Vec::new();
    match File::open(&path).and_then(|file| file.take(MANIFEST_BYTES_MAX).read_to_end(&mut text)) {
        Ok(_) => Manifest::parse(&text).map_err(|error| ArchiveError::Manifest(path, error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(no_log(place)),
        Err(error) => Err(ArchiveError::File(path, error)),
    }
}

/// Why there is no manifest.
fn no_log(place: &Place) -> ArchiveError {
    if !place.dir.is_dir() {
        return ArchiveError::NoDirectory(place.dir.clone());
    }
    if place.dir.join(place.manifest_name()).exists() {
        return ArchiveError::InsideLog(place.dir.clone());
    }
    ArchiveError::NoLog(place.log_dir())
}
