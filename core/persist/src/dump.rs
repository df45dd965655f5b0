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
    let holds = !value.is_empty() && value.is_unique() && times_hold(kind, version, &value);
    if whole && holds { Ok(value) } else { Err(Error::Value) }
}

/// The latest time at which a field may expire in Redis, Unix milliseconds.
const FIELD_EXPIRY_MS_MAX: i64 = (1 << 46) - 1;

/// Whether the times at which fields expire are such as a server can have given them, and come in the order in which a
/// packed hash has them: ascending, those that stay last. A file may say anything, and is put right; a payload is made by
/// who sends it.
fn times_hold(kind: u8, version: u16, value: &Value) -> bool {
    let Value::Hash(fields) = value else { return true };
    let latest = if version == rdb::VERSION_VALKEY { i64::MAX } else { FIELD_EXPIRY_MS_MAX };
    let packed = matches!(kind, rdb::kind::HASH_LISTPACK_EX | rdb::kind::HASH_LISTPACK_EX_CANDIDATE);
    let possible = fields.iter().filter_map(|(_, _, at)| *at).all(|at| (1..=latest).contains(&at));
    possible && (!packed || fields.iter().is_sorted_by_key(|(_, _, at)| at.unwrap_or(i64::MAX)))
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
        Ok(value) if !times_hold(*kind, version, &value) => {
            format!("{form} integrity check failed: a field expires at an impossible time, or out of order")
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
    fn a_newer_version_is_read_as_far_as_its_types_are_known() {
        let with = |kind: u8, version| {
            let mut writer = Writer::new(false, false);
            writer.kind(kind);
            writer.string(b"value");
            framed(writer, version)
        };
        for version in 13..=15 {
            assert_eq!(decode(&with(0, version), true).unwrap(), Value::String(b"value".to_vec()));
            assert_eq!(decode(&with(26, version), true).unwrap_err(), Error::Value);
        }
        assert_eq!(decode(&with(0, 16), true).unwrap_err(), Error::Frame);
    }

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
    fn fields_expire_at_possible_times_and_in_order() {
        use crate::pack::listpack;
        const NOW: i64 = 1_795_000_000_000;
        let packed = |times: [i64; 2]| {
            encode(rdb::kind::HASH_LISTPACK_EX, false, |writer| {
                let mut list = listpack::Builder::new();
                for (field, at) in [b"a", b"b"].into_iter().zip(times) {
                    list.push(field);
                    list.push(b"v");
                    list.push_int(at);
                }
                writer.milliseconds(NOW);
                writer.listpack(&mut list);
            })
        };
        for (times, holds) in [
            ([NOW, NOW + 5], true),
            ([NOW, NOW], true),
            ([NOW, 0], true),
            ([1, FIELD_EXPIRY_MS_MAX], true),
            ([NOW + 5, NOW], false),
            ([0, NOW], false),
            ([-5, NOW], false),
            ([NOW, FIELD_EXPIRY_MS_MAX + 1], false),
        ] {
            assert_eq!(decode(&packed(times), true).is_ok(), holds, "{times:?}");
        }
        let table = |least: i64, behind: [u64; 2]| {
            encode(rdb::kind::HASH_METADATA, false, |writer| {
                writer.milliseconds(least);
                writer.length(2);
                for (field, at) in [b"a", b"b"].into_iter().zip(behind) {
                    writer.length(at);
                    writer.string(field);
                    writer.string(b"v");
                }
            })
        };
        let last = (FIELD_EXPIRY_MS_MAX - NOW + 1) as u64;
        for (least, behind, holds) in [
            (NOW, [0, 1], true),
            (NOW, [9, 1], true),
            (NOW, [1, last], true),
            (NOW, [1, last + 1], false),
            (NOW, [1, u64::MAX], false),
            (i64::MAX, [1, 2], false),
            (-1, [1, 9], false),
            (0, [1, 9], false),
        ] {
            assert_eq!(decode(&table(least, behind), true).is_ok(), holds, "{least} {behind:?}");
        }
        assert!(complaint(&packed([5, 4])).contains("out of order"));
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
