//! Tells one snapshot from another without reading all of it.

use std::io::{self, Read};
use std::path::Path;

use crate::disk::Disk;

/// Bytes at the beginning and at the end of a file that are looked at: in the beginning is when it was written, at the
/// end the checksum of all.
const LOOKED_AT_BYTES: u64 = 4096;

/// What a snapshot file is recognised by: two that differ in it differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its size.
    pub bytes: u64,
    /// CRC-64 of its first and its last bytes.
    pub crc: u64,
}

/// The identity of a file; `None` when it is not there.
///
/// # Errors
/// The file cannot be read.
pub fn identify(disk: &dyn Disk, path: &Path) -> io::Result<Option<Identity>> {
    let bytes = match disk.len(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut ends = Vec::new();
    disk.read(path, 0)?.take(LOOKED_AT_BYTES).read_to_end(&mut ends)?;
    disk.read(path, bytes.saturating_sub(LOOKED_AT_BYTES))?.take(LOOKED_AT_BYTES).read_to_end(&mut ends)?;
    Ok(Some(Identity { bytes, crc: base::crc64::update(0, &ends) }))
}
