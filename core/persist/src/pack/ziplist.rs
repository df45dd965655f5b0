//! Ziplist, the packed list before listpack (RDB of Redis 6.2 and older); read only.
//!
//! ```text
//! total bytes u32 LE | offset of last u32 LE | elements u16 LE (65535 = not counted) | element... | 0xFF
//! element = size of the one before (1 byte below 254, else FE + u32 LE) | encoding | data
//!   00LLLLLL, 01LLLLLL LLLLLLLL, 80 L L L L (big endian)    string
//!   C0 D0 E0 F0 FE                                          integer of 16, 32, 64, 24, 8 bits LE
//!   F1..=FD                                                 the integers 0..=12
//! ```

use super::{Cursor, Damaged, Piece};

/// Reads the elements of a ziplist, each checked. After an `Err` it ends.
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    cursor: Cursor<'a>,
    declared: Option<u16>,
    seen: usize,
    previous: usize,
    /// Where the last element begins, says the header; and where the list ends.
    last: usize,
    total: usize,
    ended: bool,
}

/// Opens a ziplist: the header must agree with the number of bytes.
pub fn iter(bytes: &[u8]) -> Result<Iter<'_>, Damaged> {
    let mut cursor = Cursor { rest: bytes };
    let total = cursor.u32_le()?;
    let last = cursor.u32_le()?;
    let elements = cursor.u16_le()?;
    if total as usize != bytes.len() || last >= total {
        return Err(Damaged);
    }
    let declared = (elements != u16::MAX).then_some(elements);
    Ok(Iter { cursor, declared, seen: 0, previous: 0, last: last as usize, total: bytes.len(), ended: false })
}

impl<'a> Iter<'a> {
    fn step(&mut self) -> Result<Option<Piece<'a>>, Damaged> {
        let before = self.cursor.rest.len();
        let previous = match self.cursor.byte()? {
            0xff => return self.end(),
            0xfe => self.cursor.u32_le()? as usize,
            short => usize::from(short),
        };
        if previous != self.previous {
            return Err(Damaged);
        }
        let tag = self.cursor.byte()?;
        let piece = match tag {
            0..=0x3f => Piece::Bytes(self.cursor.take(usize::from(tag))?),
            0x40..=0x7f => {
                let length = usize::from(tag & 0x3f) << 8 | usize::from(self.cursor.byte()?);
                Piece::Bytes(self.cursor.take(length)?)
            }
            0x80 => {
                let length = self.cursor.u32_le()?.swap_bytes() as usize;
                Piece::Bytes(self.cursor.take(length)?)
            }
            0xc0 => Piece::Int(self.cursor.int_le(2)?),
            0xd0 => Piece::Int(self.cursor.int_le(4)?),
            0xe0 => Piece::Int(self.cursor.int_le(8)?),
            0xf0 => Piece::Int(self.cursor.int_le(3)?),
            0xfe => Piece::Int(self.cursor.int_le(1)?),
            0xf1..=0xfd => Piece::Int(i64::from(tag) - 0xf1),
            _ => return Err(Damaged),
        };
        self.previous = before - self.cursor.rest.len();
        self.seen += 1;
        Ok(Some(piece))
    }

    fn end(&mut self) -> Result<Option<Piece<'a>>, Damaged> {
        let counted = self.declared.is_none_or(|n| usize::from(n) == self.seen);
        // Without elements the end mark stands where the last one would.
        let ends_right = self.last + self.previous + 1 == self.total;
        if self.cursor.rest.is_empty() && counted && ends_right { Ok(None) } else { Err(Damaged) }
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = Result<Piece<'a>, Damaged>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let step = self.step();
        self.ended = !matches!(step, Ok(Some(_)));
        step.transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<Vec<u8>>, Damaged> {
        iter(bytes)?.map(|piece| piece.map(Piece::to_vec)).collect()
    }

    /// "2", "5" as Redis' documentation shows them, then "Hello World", -5 in 8 bits and 1000 in 16.
    const SAMPLE: &[u8] =
        b"\x23\0\0\0\x1e\0\0\0\x05\0\x00\xf3\x02\xf6\x02\x0bHello World\x0d\xfe\xfb\x03\xc0\xe8\x03\xff";

    fn sample() -> Vec<u8> {
        let mut bytes = SAMPLE.to_vec();
        bytes[0] = SAMPLE.len() as u8;
        bytes
    }

    #[test]
    fn every_element_is_read() {
        let expected: Vec<Vec<u8>> =
            [&b"2"[..], b"5", b"Hello World", b"-5", b"1000"].map(<[u8]>::to_vec).into();
        assert_eq!(read(&sample()).unwrap(), expected);
    }

    #[test]
    fn damage_is_an_error_never_a_panic() {
        for cut in 0..sample().len() {
            assert_eq!(read(&sample()[..cut]), Err(Damaged));
        }
        for at in 0..sample().len() {
            for value in 0..=255 {
                let mut bad = sample();
                bad[at] = value;
                let _verdict_free = read(&bad);
            }
        }
    }
}
