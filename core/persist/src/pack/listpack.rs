//! Listpack: the packed list of Redis 7, built and read byte for byte as Redis does.
//!
//! ```text
//! total bytes u32 LE | elements u16 LE (65535 = not counted) | element... | 0xFF
//! element = encoding and data | back length (its size, 1..=5 bytes, readable from the right)
//!   0xxxxxxx                    integer 0..=127
//!   10LLLLLL data               string up to 63 bytes
//!   110xxxxx xxxxxxxx           integer of 13 bits, signed
//!   1110LLLL LLLLLLLL data      string up to 4095 bytes
//!   F0 L L L L data             longer string, length u32 LE
//!   F1 F2 F3 F4                 integer of 16, 24, 32, 64 bits LE
//! ```
//! The back length has seven bits a byte, most significant first, and all but the first byte marked 0x80.

use super::{Cursor, Damaged, Piece};

const HEADER_BYTES: usize = 6;
const END: u8 = 0xff;
const UNCOUNTED: u16 = u16::MAX;

/// Builds one listpack by appending. Its bytes always end with the end mark; the header is filled in on view.
#[derive(Clone, Debug)]
pub struct Builder {
    bytes: Vec<u8>,
    elements: usize,
}

impl Default for Builder {
    fn default() -> Builder {
        Builder::new()
    }
}

impl Builder {
    /// An empty list.
    pub fn new() -> Builder {
        Builder { bytes: vec![0, 0, 0, 0, 0, 0, END], elements: 0 }
    }

    /// Empties the list but keeps its memory.
    pub fn clear(&mut self) {
        self.bytes.truncate(HEADER_BYTES);
        self.bytes.push(END);
        self.elements = 0;
    }

    /// How many elements were pushed.
    pub fn elements(&self) -> usize {
        self.elements
    }

    /// The size of the whole list in bytes. A list must stay below 4 GiB.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Appends `value`, as an integer when it is the canonical text of one.
    pub fn push(&mut self, value: &[u8]) {
        // Most of what is no number shows it by how it begins.
        let may_be_number = matches!(value, [b'-' | b'0'..=b'9', ..]) && value.len() <= 20;
        match may_be_number.then(|| base::number::parse_i64(value)).flatten() {
            Some(number) => self.push_int(number),
            None => self.push_bytes(value),
        }
    }

    /// Appends an integer.
    pub fn push_int(&mut self, value: i64) {
        let start = self.open_element();
        let out = &mut self.bytes;
        let le = value.to_le_bytes();
        match value {
            0..=127 => out.push(value as u8),
            -4096..=4095 => {
                let bits = (value & 0x1fff) as u16;
                out.extend_from_slice(&[0xc0 | (bits >> 8) as u8, bits as u8]);
            }
            -0x8000..=0x7fff => push_tagged(out, 0xf1, &le[..2]),
            -0x80_0000..=0x7f_ffff => push_tagged(out, 0xf2, &le[..3]),
            -0x8000_0000..=0x7fff_ffff => push_tagged(out, 0xf3, &le[..4]),
            _ => push_tagged(out, 0xf4, &le),
        }
        self.close_element(start);
    }

    /// Appends bytes as a string whatever they look like; at most 4 GiB.
    fn push_bytes(&mut self, value: &[u8]) {
        let start = self.open_element();
        let out = &mut self.bytes;
        match value.len() {
            length @ 0..64 => out.push(0x80 | length as u8),
            length @ 64..4096 => out.extend_from_slice(&[0xe0 | (length >> 8) as u8, length as u8]),
            length => push_tagged(out, 0xf0, &(length as u32).to_le_bytes()),
        }
        out.extend_from_slice(value);
        self.close_element(start);
    }

    fn open_element(&mut self) -> usize {
        self.bytes.pop();
        self.bytes.len()
    }

    fn close_element(&mut self, start: usize) {
        self.elements += 1;
        let length = self.bytes.len() - start;
        // Nearly all elements are so short.
        if length < 0x80 {
            return self.bytes.extend_from_slice(&[length as u8, END]);
        }
        let count = back_length_bytes(length);
        for at in (0..count).rev() {
            let mark = if at + 1 == count { 0 } else { 0x80 };
            self.bytes.push(((length >> (7 * at)) & 0x7f) as u8 | mark);
        }
        self.bytes.push(END);
    }

    /// Appends all elements of another list.
    pub fn append(&mut self, other: &Builder) {
        self.bytes.pop();
        self.bytes.extend_from_slice(&other.bytes[HEADER_BYTES..]);
        self.elements += other.elements;
    }

    /// The list as it stands; pushing may go on afterwards.
    pub fn as_bytes(&mut self) -> &[u8] {
        let total = self.bytes.len() as u32;
        let elements = u16::try_from(self.elements).unwrap_or(UNCOUNTED);
        self.bytes[..4].copy_from_slice(&total.to_le_bytes());
        self.bytes[4..HEADER_BYTES].copy_from_slice(&elements.to_le_bytes());
        &self.bytes
    }

    /// The finished list, taken out.
    pub fn into_bytes(mut self) -> Vec<u8> {
        self.as_bytes();
        self.bytes
    }
}

fn push_tagged(out: &mut Vec<u8>, tag: u8, data: &[u8]) {
    out.push(tag);
    out.extend_from_slice(data);
}

/// How many bytes the back length of an element takes; the odd limits are Redis' own.
fn back_length_bytes(element: usize) -> usize {
    match element {
        0..=127 => 1,
        128..16_383 => 2,
        16_383..2_097_151 => 3,
        2_097_151..268_435_455 => 4,
        _ => 5,
    }
}

/// Reads the elements of a listpack, each checked. After an `Err` it ends.
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    cursor: Cursor<'a>,
    declared: Option<u16>,
    seen: usize,
    ended: bool,
}

/// Opens a listpack: the header must agree with the number of bytes.
pub fn iter(bytes: &[u8]) -> Result<Iter<'_>, Damaged> {
    let mut cursor = Cursor { rest: bytes };
    let total = cursor.u32_le()?;
    let elements = cursor.u16_le()?;
    if total as usize != bytes.len() || bytes.len() <= HEADER_BYTES {
        return Err(Damaged);
    }
    Ok(Iter { cursor, declared: (elements != UNCOUNTED).then_some(elements), seen: 0, ended: false })
}

impl<'a> Iter<'a> {
    fn step(&mut self) -> Result<Option<Piece<'a>>, Damaged> {
        let before = self.cursor.rest.len();
        let tag = self.cursor.byte()?;
        let piece = match tag {
            0..=0x7f => Piece::Int(i64::from(tag)),
            0x80..=0xbf => Piece::Bytes(self.cursor.take(usize::from(tag & 0x3f))?),
            0xc0..=0xdf => {
                let bits = i64::from(tag & 0x1f) << 8 | i64::from(self.cursor.byte()?);
                Piece::Int((bits << 51) >> 51)
            }
            0xe0..=0xef => {
                let length = usize::from(tag & 0x0f) << 8 | usize::from(self.cursor.byte()?);
                Piece::Bytes(self.cursor.take(length)?)
            }
            0xf0 => {
                let length = self.cursor.u32_le()? as usize;
                Piece::Bytes(self.cursor.take(length)?)
            }
            0xf1 => Piece::Int(self.cursor.int_le(2)?),
            0xf2 => Piece::Int(self.cursor.int_le(3)?),
            0xf3 => Piece::Int(self.cursor.int_le(4)?),
            0xf4 => Piece::Int(self.cursor.int_le(8)?),
            END => return self.end(),
            _ => return Err(Damaged),
        };
        self.back_length(before - self.cursor.rest.len())?;
        self.seen += 1;
        Ok(Some(piece))
    }

    /// The end mark must be the last byte and the count must be right.
    fn end(&mut self) -> Result<Option<Piece<'a>>, Damaged> {
        let counted = self.declared.is_none_or(|n| usize::from(n) == self.seen);
        if self.cursor.rest.is_empty() && counted { Ok(None) } else { Err(Damaged) }
    }

    fn back_length(&mut self, element: usize) -> Result<(), Damaged> {
        let bytes = self.cursor.take(back_length_bytes(element))?;
        let first_unmarked = bytes[0] & 0x80 == 0;
        let rest_marked = bytes[1..].iter().all(|b| b & 0x80 != 0);
        let length = bytes.iter().fold(0usize, |sum, b| sum << 7 | usize::from(b & 0x7f));
        if first_unmarked && rest_marked && length == element { Ok(()) } else { Err(Damaged) }
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

    fn values() -> Vec<Vec<u8>> {
        let mut all: Vec<Vec<u8>> =
            [0, 1, 62, 63, 64, 100, 127, 128, 4090, 4095, 4096, 16_380, 16_383, 70_000]
                .map(|n| vec![b'x'; n])
                .into();
        for shift in 0..63 {
            for delta in [-1, 0, 1] {
                let n = (1i64 << shift) + delta;
                all.push(n.to_string().into_bytes());
                all.push((-n).to_string().into_bytes());
            }
        }
        all.extend(
            [&b"01"[..], b"+1", b"-0", b"9223372036854775808", b"-9223372036854775808"].map(<[u8]>::to_vec),
        );
        all
    }

    #[test]
    fn what_is_pushed_is_read() {
        let mut builder = Builder::new();
        values().iter().for_each(|v| builder.push(v));
        assert_eq!(read(builder.as_bytes()).unwrap(), values());
        builder.clear();
        assert_eq!(builder.as_bytes(), [7, 0, 0, 0, 0, 0, 255]);
    }

    #[test]
    fn the_bytes_are_those_of_redis() {
        let mut builder = Builder::new();
        [&b"1"[..], b"-1", b"abc", b"1000000"].iter().for_each(|v| builder.push(v));
        let expected = b"\x16\0\0\0\x04\0\x01\x01\xdf\xff\x02\x83abc\x04\xf2\x40\x42\x0f\x04\xff";
        assert_eq!(builder.as_bytes(), expected);
    }

    #[test]
    fn damage_is_an_error_never_a_panic() {
        let mut builder = Builder::new();
        values().iter().take(40).for_each(|v| builder.push(v));
        let good = builder.into_bytes();
        for cut in 0..200 {
            assert_eq!(read(&good[..cut]), Err(Damaged));
        }
        for seed in 0..3000 {
            let mut random = base::Random::new(seed);
            let mut bad = good.clone();
            for _ in 0..2 {
                let at = random.below(400) as usize;
                bad[at] = random.next_u64() as u8;
            }
            let _verdict_free = read(&bad);
        }
    }
}
