//! The payload of DUMP and RESTORE: a type byte and value as in RDB, then version and checksum. That of FUNCTION
//! DUMP holds libraries in the same frame.
//!
//! ```text
//! type u8 | value | version u16 LE | crc-64 of all before, 8 bytes LE
//! (F5 | code)...  | version u16 LE | crc-64 of all before, 8 bytes LE
//! ```

use crate::rdb::{self, Reader, Value, Writer, opcode};

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
    framed(writer, rdb::version_of(kind))
}

fn framed(mut writer: Writer, version: u16) -> Vec<u8> {
    writer.raw(&version.to_le_bytes());
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
    let (version, body) = unframed(payload, verify)?;
    let (kind, body) = (*body.first().ok_or(Error::Frame)?, &body[1..]);
    let mut reader = Reader::bare(body, Some(body.len() as u64), false, version);
    let value = reader.value(kind).map_err(|_| Error::Value)?;
    let whole = reader.offset() == body.len() as u64;
    if whole && !value.is_empty() && value.is_unique() { Ok(value) } else { Err(Error::Value) }
}

/// What is wrong with the value in a payload that was not accepted, for the server's log.
pub fn complaint(payload: &[u8]) -> String {
    let Ok((version, body)) = unframed(payload, false) else { return "the frame is damaged".to_owned() };
    let Some((kind, body)) = body.split_first() else { return "there is no value".to_owned() };
    let form = rdb::kind::name(*kind);
    let mut reader = Reader::bare(body, Some(body.len() as u64), false, version);
    match reader.value(*kind) {
        Err(error) => format!("{form} integrity check failed ({error})"),
        Ok(value) if value.is_empty() => format!("{form} integrity check failed: it is empty"),
        Ok(Value::Stream(_)) if reader.offset() == body.len() as u64 => {
            "Duplicate stream consumer detected, or a group that is there twice".to_owned()
        }
        Ok(value) if !value.is_unique() => {
            format!("{form} integrity check failed: listpack with dup elements, or another form of them")
        }
        Ok(_) => format!("{form} integrity check failed: something follows it"),
    }
}

/// The payload of function libraries, given as their sources.
pub fn encode_libraries<'a>(compress: bool, codes: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut writer = Writer::new(compress, false);
    codes.for_each(|code| writer.function(code));
    framed(writer, rdb::VERSION)
}

/// The sources in a payload of function libraries. [`Error::Value`]: it holds something else.
pub fn decode_libraries(payload: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
    let (version, body) = unframed(payload, true)?;
    let mut reader = Reader::bare(body, Some(body.len() as u64), false, version);
    let mut codes = Vec::new();
    while reader.offset() < body.len() as u64 {
        if reader.byte().map_err(|_| Error::Value)? != opcode::FUNCTION {
            return Err(Error::Value);
        }
        codes.push(reader.string().map_err(|_| Error::Value)?);
    }
    Ok(codes)
}

/// Version and content of a payload whose checksum is right, or not to be verified.
fn unframed(payload: &[u8], verify: bool) -> Result<(u16, &[u8]), Error> {
    let split = payload.len().checked_sub(TRAILER_BYTES).ok_or(Error::Frame)?;
    let (body, trailer) = payload.split_at(split);
    let version = u16::from_le_bytes([trailer[0], trailer[1]]);
    let stored = u64::from_le_bytes(trailer[VERSION_BYTES..].try_into().map_err(|_| Error::Frame)?);
    let computed = base::crc64::update(0, &payload[..split + VERSION_BYTES]);
    if !rdb::version_is_read(version) || verify && stored != computed {
        return Err(Error::Frame);
    }
    Ok((version, body))
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

    #[test]
    fn libraries_come_back_in_order_and_nothing_else_passes_for_them() {
        let codes: [&[u8]; 2] =
            [b"#!lua name=a\n", b"#!lua name=b\nreturn 'bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb'"];
        let payload = encode_libraries(true, codes.iter().copied());
        assert_eq!(decode_libraries(&payload).unwrap(), codes);
        assert_eq!(encode_libraries(true, [].into_iter()), b"\x0a\x00\x5d\x9b\x5c\x40\x0f\x7f\xa2\xda");
        let value = encode(0, false, |writer| writer.string(b"value"));
        assert_eq!(decode_libraries(&value).unwrap_err(), Error::Value);
        assert_eq!(decode_libraries(&payload[1..]).unwrap_err(), Error::Frame);
    }
}
