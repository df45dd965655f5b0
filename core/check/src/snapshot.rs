//! A snapshot: whether it can be read to its end, and where one changed byte explains that it cannot.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use persist::rdb::{self, Reader};

use crate::Gauge;
use crate::dataset::DataSet;
use crate::finding::{CheckError, Finding, Level, file_error};

/// Bytes of the checksum at the end.
const CRC_BYTES: u64 = 8;
/// The shortest file that has one.
const BYTES_MIN: u64 = 18;
const BUFFER_BYTES: usize = 256 << 10;
/// Keys that are told of one by one where they cannot be loaded.
const REFUSED_TOLD_MAX: u64 = 20;

/// A byte to be put right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Patch {
    pub(crate) offset: u64,
    pub(crate) change: u8,
}

/// A file as it is read: with one byte put right.
pub(crate) struct Patched<R> {
    source: R,
    at: u64,
    patch: Option<Patch>,
}

impl<R: Read> Patched<R> {
    pub(crate) fn new(source: R, patch: Option<Patch>) -> Patched<R> {
        Patched { source, at: 0, patch }
    }
}

impl<R: Read> Read for Patched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        if let Some(Patch { offset, change }) = self.patch
            && let Some(place) = offset.checked_sub(self.at).filter(|&place| place < count as u64)
        {
            buffer[place as usize] ^= change;
        }
        self.at += count as u64;
        Ok(count)
    }
}

/// What is known of a snapshot file.
#[derive(Debug, Default)]
pub(crate) struct Looked {
    pub(crate) patch: Option<Patch>,
    /// Where it ends, if it can be read to there.
    pub(crate) end: Option<u64>,
}

/// Reads a snapshot and tells what is wrong. `may_go_on`: commands may follow it.
pub(crate) fn look(
    path: &Path,
    may_go_on: bool,
    gauge: &mut Gauge<'_>,
    findings: &mut Vec<Finding>,
) -> Result<Looked, CheckError> {
    let bytes = std::fs::metadata(path).map_err(file_error(path))?.len();
    let (keys, read) = read(path, bytes, None, gauge)?;
    let error = match read {
        Ok(end) => {
            if end < bytes && !may_go_on {
                let what = "bytes follow the end of the snapshot, which nobody reads";
                findings.push(Finding::new(Level::Note, path, what).at(end, bytes));
            }
            return Ok(Looked { patch: None, end: Some(end) });
        }
        Err(error) => error,
    };
    if let Some((patch, is_checksum)) = mend(path, bytes, &error)?
        && let (_, Ok(end)) = self::read(path, bytes, Some(patch), gauge)?
    {
        let offset = patch.offset;
        let what = match is_checksum {
            true => format!("one byte of its checksum was changed, at offset {offset}; its data is whole"),
            false => format!(
                "one byte was changed, at offset {offset} by {:#04x}, as the checksum of the whole tells",
                patch.change
            ),
        };
        findings.push(Finding::new(Level::Mendable, path, what).at(offset, offset + 1));
        return Ok(Looked { patch: Some(patch), end: Some(end) });
    }
    findings.push(broken(path, bytes, keys, &error));
    Ok(Looked { patch: None, end: None })
}

fn broken(path: &Path, bytes: u64, keys: u64, error: &rdb::Error) -> Finding {
    let finding = Finding::new(Level::Damage, path, error.to_string());
    match error {
        rdb::Error::Checksum { .. } => finding.at(0, bytes).leaves_out(format!(
            "nothing, but any of the {keys} keys may be changed, and nobody can tell which"
        )),
        rdb::Error::Truncated { offset }
        | rdb::Error::Corrupt { offset, .. }
        | rdb::Error::UnknownType { offset, .. } => {
            finding.at((*offset).min(bytes), bytes).leaves_out(format!(
                "all behind it; {keys} keys before it can be read, and there is no checksum of these alone"
            ))
        }
        _ => finding.at(0, bytes).leaves_out("all of it"),
    }
}

/// Reads all items. How many keys that were, and where it ends or why not.
fn read(
    path: &Path,
    bytes: u64,
    patch: Option<Patch>,
    gauge: &mut Gauge<'_>,
) -> Result<(u64, Result<u64, rdb::Error>), CheckError> {
    let source = Patched::new(File::open(path).map_err(file_error(path))?, patch);
    let mut keys = 0;
    match count(source, bytes, &mut keys, gauge) {
        Err(rdb::Error::Io(error)) => Err(CheckError::File(path.to_owned(), error)),
        result => Ok((keys, result)),
    }
}

fn count<R: Read>(source: R, bytes: u64, keys: &mut u64, gauge: &mut Gauge<'_>) -> Result<u64, rdb::Error> {
    let mut reader = Reader::new(source, Some(bytes), true)?;
    while let Some(item) = reader.next()? {
        *keys += u64::from(matches!(item, rdb::Item::Entry(_)));
        gauge.hear(reader.offset());
    }
    Ok(reader.offset())
}

/// The byte whose change explains the checksum at the file's end, and whether that is one of the checksum itself.
fn mend(path: &Path, bytes: u64, error: &rdb::Error) -> Result<Option<(Patch, bool)>, CheckError> {
    if bytes < BYTES_MIN || matches!(error, rdb::Error::UnknownType { module: Some(_), .. }) {
        return Ok(None);
    }
    let summed = bytes - CRC_BYTES;
    let (computed, stored) = sums(path, summed).map_err(file_error(path))?;
    if stored == 0 {
        return Ok(None);
    }
    if matches!(error, rdb::Error::Checksum { .. }) {
        let changed: Vec<(u64, u8)> =
            (0..).zip((stored ^ computed).to_le_bytes()).filter(|(_, change)| *change != 0).collect();
        if let [(at, change)] = changed[..] {
            return Ok(Some((Patch { offset: summed + at, change }, true)));
        }
    }
    let found = base::crc64::changed_byte(summed, stored ^ computed);
    Ok(found.map(|(offset, change)| (Patch { offset, change }, false)))
}

/// The checksum of the first bytes, and that which the file tells behind them.
fn sums(path: &Path, bytes: u64) -> io::Result<(u64, u64)> {
    let mut file = File::open(path)?;
    let (mut crc, mut buffer, mut left) = (0, vec![0; BUFFER_BYTES], bytes);
    while left > 0 {
        let part = (&mut file).take(left).read(&mut buffer)?;
        if part == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        crc = base::crc64::update(crc, &buffer[..part]);
        left -= part as u64;
    }
    let mut stored = [0; CRC_BYTES as usize];
    file.read_exact(&mut stored)?;
    Ok((crc, u64::from_le_bytes(stored)))
}

/// Loads what can be read of a snapshot. What an engine refuses although it can be read is told.
pub(crate) fn load(
    path: &Path,
    looked: &Looked,
    data: &mut DataSet,
    gauge: &mut Gauge<'_>,
    findings: &mut Vec<Finding>,
) -> Result<(), CheckError> {
    let file = File::open(path).map_err(file_error(path))?;
    let bytes = file.metadata().map_err(file_error(path))?.len();
    let mut refused: u64 = 0;
    let mut refuses = |why: String| {
        refused += 1;
        if refused <= REFUSED_TOLD_MAX {
            let what = format!("it cannot be loaded: {why}");
            findings.push(Finding::new(Level::Damage, path, what).leaves_out("this alone"));
        }
    };
    let source = Patched::new(file, looked.patch);
    let taken = data.take_in(source, bytes, &mut |done| gauge.hear(done), &mut refuses);
    if let Some(more) = refused.checked_sub(REFUSED_TOLD_MAX).filter(|more| *more > 0) {
        let what = format!("{more} more keys or libraries cannot be loaded");
        findings.push(Finding::new(Level::Damage, path, what).leaves_out("these keys or libraries"));
    }
    match taken {
        Err(rdb::Error::Io(error)) => Err(CheckError::File(path.to_owned(), error)),
        // It was told when it was looked through.
        Ok(_) | Err(_) => Ok(()),
    }
}
