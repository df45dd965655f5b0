//! What an element takes in a listpack, bytes. Ours are packed otherwise; where Redis' nodes would end is told by these.
//!
//! ```text
//! element: tag and value, then the size of both (7 bits a byte)
//! integers (also in text): 0 to 127 in 1 byte, 13 bits in 2, 16 in 3, 24 in 4, 32 in 5, else 9
//! texts: 1 byte before up to 63 bytes, 2 up to 4,095, 5 before longer ones
//! ```

use base::number::parse_i64;

/// The header of a listpack and its end.
pub(super) const FRAME_BYTES: usize = 6 + 1;
/// The element of an integer from 0 to 127.
pub(super) const SMALL_INTEGER_BYTES: usize = 2;

/// The longest text that is taken for an integer.
const INTEGER_TEXT_MAX: usize = 20;

/// The element of an integer.
pub(super) fn integer(value: i64) -> usize {
    let bytes = match value {
        0..=127 => 1,
        -4096..=4095 => 2,
        -0x8000..=0x7fff => 3,
        -0x80_0000..=0x7f_ffff => 4,
        -0x8000_0000..=0x7fff_ffff => 5,
        _ => 9,
    };
    bytes + 1
}

/// The element of a text, which is an integer's where it is the canonical text of one.
pub(super) fn element(text: &[u8]) -> usize {
    let number = if text.len() <= INTEGER_TEXT_MAX { parse_i64(text) } else { None };
    if let Some(number) = number {
        return integer(number);
    }
    let bytes = match text.len() {
        0..64 => 1,
        64..4096 => 2,
        _ => 5,
    } + text.len();
    bytes + size_bytes(bytes)
}

/// Bytes of the size behind an element of so many bytes.
fn size_bytes(bytes: usize) -> usize {
    match bytes {
        0..128 => 1,
        128..16_383 => 2,
        16_383..2_097_151 => 3,
        2_097_151..268_435_455 => 4,
        _ => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::{element, integer};

    #[test]
    fn elements_take_what_they_take_in_redis() {
        for (value, bytes) in
            [(0, 2), (127, 2), (128, 3), (-1, 3), (4095, 3), (4096, 4), (-4097, 4), (40_000, 5)]
        {
            assert_eq!(integer(value), bytes, "{value}");
            assert_eq!(element(value.to_string().as_bytes()), bytes, "{value}");
        }
        assert_eq!((integer(1 << 30), integer(1 << 40), integer(i64::MIN)), (6, 10, 10));
        // Not the canonical text of an integer, so kept as text.
        assert_eq!((element(b"007"), element(b""), element(b"+1")), (5, 2, 4));
        for (length, bytes) in [(63, 65), (64, 67), (125, 128), (126, 130), (4095, 4099), (4096, 4103)] {
            assert_eq!(element(&vec![b'x'; length]), bytes, "{length}");
        }
    }
}
