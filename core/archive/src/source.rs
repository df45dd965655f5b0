//! The log of a server as it is at one moment: its files, opened.
//!
//! The server may be writing and may rewrite its log meanwhile. What a manifest names is the whole log; a file that is gone when it is to be
//! opened has been replaced by a newer manifest, and then all begins anew. Files that are open stay readable, whatever becomes of their names.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;

use persist::aof::{Base, LogIdentity, Manifest, Place};
use persist::disk::Real;
use persist::rdb::identify;

use crate::error::ArchiveError;

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
}

/// The files of a log.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) identity: LogIdentity,
    pub(crate) base: OpenFile,
    pub(crate) form: Base,
    /// Oldest first.
    pub(crate) incrementals: Vec<OpenFile>,
}

impl Source {
    /// Opens them all.
    pub(crate) fn open(place: &Place) -> Result<Source, ArchiveError> {
        for _ in 0..ATTEMPTS_MAX {
            let manifest = read_manifest(place)?;
            if let Some(source) = Source::of(place, &manifest)? {
                return Ok(source);
            }
        }
        Err(ArchiveError::Restless)
    }

    /// `None` when a file is gone or has been replaced.
    fn of(place: &Place, manifest: &Manifest) -> Result<Option<Source>, ArchiveError> {
        let (Some(identity), Some(base)) = (manifest.id, &manifest.base) else {
            return Err(ArchiveError::NoIdentity);
        };
        if manifest.incrementals.iter().any(|file| file.seq < identity.heads_from) {
            return Err(ArchiveError::NoIdentity);
        }
        let form = if base.name.ends_with(".rdb") { Base::Snapshot } else { Base::Commands };
        let Some(base) = OpenFile::open(place, &base.name)? else { return Ok(None) };
        let known = identify(&Real, &base.path).map_err(|e| ArchiveError::File(base.path.clone(), e))?;
        if known.is_some_and(|known| known != identity.base) {
            let what = "it is not the base that the log's manifest tells of".to_owned();
            return Err(ArchiveError::Damaged(base.path.display().to_string(), what));
        }
        let mut incrementals = Vec::new();
        for file in &manifest.incrementals {
            match OpenFile::open(place, &file.name)? {
                Some(file) => incrementals.push(file),
                None => return Ok(None),
            }
        }
        // The last one first: a file gets nothing more as soon as the next one has something, so none ends before that.
        for file in incrementals.iter_mut().rev() {
            file.bytes = file.file.metadata().map_err(|error| file.failed(error))?.len();
        }
        Ok(Some(Source { identity, base, form, incrementals }))
    }
}

impl OpenFile {
    fn open(place: &Place, name: &str) -> Result<Option<OpenFile>, ArchiveError> {
        let path = place.log_dir().join(name);
        let opened = File::open(&path).and_then(|file| {
            let about = file.metadata()?;
            let changed = about.modified()?.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            Ok((file, about.len(), i64::try_from(changed.as_millis()).unwrap_or(i64::MAX)))
        });
        match opened {
            Ok((file, bytes, changed_ms)) => {
                Ok(Some(OpenFile { name: name.to_owned(), path, file, bytes, changed_ms }))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(ArchiveError::File(path, error)),
        }
    }

    pub(crate) fn failed(&self, error: io::Error) -> ArchiveError {
        ArchiveError::File(self.path.clone(), error)
    }

    /// Has what it holds made durable: what the disk may still lose is not archived.
    pub(crate) fn sync(&self) -> Result<(), ArchiveError> {
        self.file.sync_data().map_err(|error| self.failed(error))
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
