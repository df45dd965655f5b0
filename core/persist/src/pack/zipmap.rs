//! Zipmap, the packed hash of Redis before 2.6; read only.
//!
//! ```text
//! fields u8 (254 and more = not counted) | entry... | 0xFF
//! entry = length | field | length | unused bytes u8 | value | unused bytes
//! length = one byte below 254, or FE + u32 LE
//! ```

use super::{Cursor, Damaged};

/// A field and its value.
pub type Pair<'a> = (&'a [u8], &'a [u8]);

/// The fields and values in order.
pub fn iter(bytes: &[u8]) -> Result<Vec<Pair<'_>>, Damaged> {
    let mut cursor = Cursor { rest: bytes };
    let declared = cursor.byte()?;
    let mut pairs = Vec::new();
    while let Some(length) = length(&mut cursor)? {
        let field = cursor.take(length)?;
        let length = self::length(&mut cursor)?.ok_or(Damaged)?;
        let unused = cursor.byte()?;
        let value = cursor.take(length)?;
        cursor.take(usize::from(unused))?;
        pairs.push((field, value));
    }
    let counted = declared >= 254 || usize::from(declared) == pairs.len();
    if cursor.rest.is_empty() && counted { Ok(pairs) } else { Err(Damaged) }
}

/// A length, or `None` at the end mark.
fn length(cursor: &mut Cursor<'_>) -> Result<Option<usize>, Damaged> {
    Ok(match cursor.byte()? {
        0xff => None,
        0xfe => match cursor.u32_le()? as usize {
            // Whoever writes five bytes for it also counts on one: Redis' own reader did, and was led astray.
            0..254 => return Err(Damaged),
            long => Some(long),
        },
        short => Some(usize::from(short)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &[u8] = b"\x02\x03foo\x03\x00bar\x05hello\x05\x02world--\xff";

    #[test]
    fn fields_and_values_are_read_and_unused_bytes_skipped() {
        assert_eq!(iter(SAMPLE).unwrap(), [(&b"foo"[..], &b"bar"[..]), (b"hello", b"world")]);
    }

    #[test]
    fn damage_is_an_error_never_a_panic() {
        for cut in 0..SAMPLE.len() {
            assert_eq!(iter(&SAMPLE[..cut]), Err(Damaged));
        }
        assert_eq!(iter(b"\x03\x03foo\x03\x00bar\xff"), Err(Damaged));
        assert_eq!(
            iter(b"\x01\xfe\x03\0\0\0foo\x03\x00bar\xff"),
            Err(Damaged),
            "a short length in five bytes"
        );
        let long = [b"\x01\x03foo\xfe\xfe\0\0\0\0".as_slice(), &[b'x'; 254], b"\xff"].concat();
        assert_eq!(iter(&long).unwrap(), [(&b"foo"[..], &[b'x'; 254][..])]);
    }
}
