//! The payload of DUMP and RESTORE: a type byte and value as in RDB, then version and checksum.
//!
//! ```text
//! type u8 | value | version u16 LE | crc-64 of all before, 8 bytes LE
//! ```

use crate::rdb::{self, Reader, Value, Writer};

const VERSION_BYTES: usize = 2;
const TRAILER_BYTES: usize = VERSION_BYTES + 8;

/// Why a payload is not accepted; `Display` is Redis' error text without the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Too short, of a version not read, or with a wrong checksum.
    Frame,
    /// The frame is right, the value in it is not.
    Value,
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Error::Frame => "DUMP payload version or checksum are wrong",
            Error::Value => "Bad data format",
        })
    }
}

impl std::error::Error for Error {}

/// The payload of a value: `write` writes its pieces (type byte excluded). The version is the lowest that knows
/// the type.
pub fn encode(kind: u8, compress: bool, write: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = Writer::new(compress, false);
    writer.kind(kind);
    write(&mut writer);
    writer.raw(&rdb::version_of(kind).to_le_bytes());
    let mut payload = writer.take();
    let crc = base::crc64::update(0, &payload);
    payload.extend_from_slice(&crc.to_le_bytes());
    payload
}

/// The value in a payload, fully checked: no empty collection, no member twice, nothing left over.
/// The checksum must be there, unless `verify` is off: a zero does not stand for "not computed" as it does in files.
///
/// # Errors
/// Which part of the payload is wrong.
pub fn decode(payload: &[u8], verify: bool) -> Result<Value, Error> {
    let split = payload.len().checked_sub(TRAILER_BYTES).filter(|&n| n > 0).ok_or(Error::Frame)?;
    let (body, trailer) = payload.split_at(split);
    let version = u16::from_le_bytes([trailer[0], trailer[1]]);
    let stored = u64::from_le_bytes(trailer[VERSION_BYTES..].try_into().map_err(|_| Error::Frame)?);
    let computed = base::crc64::update(0, &payload[..split + VERSION_BYTES]);
    if !rdb::version_is_read(version) || verify && stored != computed {
        return Err(Error::Frame);
    }
    let (kind, body) = (body[0], &body[1..]);
    let mut reader = Reader::bare(body, Some(body.len() as u64), false, version);
    let value = reader.value(kind).map_err(|_| Error::Value)?;
    let whole = reader.offset() == body.len() as u64;
    if whole && !value.is_empty() && value.is_unique() { Ok(value) } else { Err(Error::Value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_needs_its_checksum() {
        let payload = encode(0, false, |writer| writer.string(b"value"));
        assert!(decode(&payload, true).is_ok());
        let mut unsigned = payload.clone();
        let trailer = unsigned.len() - 8;
        unsigned[trailer..].fill(0);
        assert_eq!(decode(&unsigned, true).unwrap_err(), Error::Frame);
        assert!(decode(&unsigned, false).is_ok());
        assert_eq!(decode(&payload[..9], false).unwrap_err(), Error::Frame);
    }
}
