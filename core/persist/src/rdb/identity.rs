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

impl Identity {
    /// The identity of a file that holds these bytes.
    pub fn of(bytes: &[u8]) -> Identity {
        let looked_at = bytes.len().min(LOOKED_AT_BYTES as usize);
        Identity::from_ends(bytes.len() as u64, &bytes[..looked_at], &bytes[bytes.len() - looked_at..])
    }

    /// Of a file that is seen whole the bytes count in reverse: it ends with its own checksum, and what does so has the same
    /// checksum as any other.
    fn from_ends(bytes: u64, first: &[u8], last: &[u8]) -> Identity {
        let crc = if bytes <= LOOKED_AT_BYTES {
            let reversed: Vec<u8> = first.iter().rev().copied().collect();
            base::crc64::update(0, &reversed)
        } else {
            base::crc64::update(base::crc64::update(0, first), last)
        };
        Identity { bytes, crc }
    }

    /// Whether it was noted by an earlier version, to which all short snapshots of one size were the same.
    pub(crate) fn is_of_all_this_short(&self) -> bool {
        self.bytes <= LOOKED_AT_BYTES && self.crc == 0
    }
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
    let read = |offset| {
        let mut part = Vec::new();
        disk.read(path, offset)?.take(LOOKED_AT_BYTES).read_to_end(&mut part)?;
        Ok::<_, io::Error>(part)
    };
    Ok(Some(Identity::from_ends(bytes, &read(0)?, &read(bytes.saturating_sub(LOOKED_AT_BYTES))?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Memory;

    #[test]
    fn snapshots_of_one_size_differ_and_all_ways_to_look_agree() {
        for length in [100, 5000, 9000] {
            let identities = [1u8, 2].map(|byte| {
                let mut bytes = vec![byte; length];
                let crc = base::crc64::update(0, &bytes);
                bytes.extend_from_slice(&crc.to_le_bytes());
                let (disk, path) = (Memory::new(), Path::new("/dump.rdb"));
                disk.put(path, &bytes);
                let identity = identify(&disk, path).unwrap().unwrap();
                assert_eq!(identity, Identity::of(&bytes));
                identity
            });
            assert_ne!(identities[0], identities[1], "{length}");
        }
    }
}
