//! The packed byte forms that RDB values are made of: listpack, intset, and the older ziplist and zipmap.
//!
//! They are formats, not data structures: builders append, iterators go forwards once over bytes nobody
//! trusts and give `Err(Damaged)` at the first byte that cannot be right.

pub mod intset;
pub mod listpack;
pub mod ziplist;
pub mod zipmap;

/// One element of a packed list: such lists keep what looks like a number as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Any bytes.
    Bytes(&'a [u8]),
    /// An integer, standing for its decimal text.
    Int(i64),
}

impl Piece<'_> {
    /// The element as the text it stands for.
    pub fn to_vec(self) -> Vec<u8> {
        match self {
            Piece::Bytes(bytes) => bytes.to_vec(),
            Piece::Int(number) => {
                let mut text = Vec::new();
                base::number::push_i64(&mut text, number);
                text
            }
        }
    }

    /// The element as an integer, also when it is kept as text.
    pub fn to_i64(self) -> Option<i64> {
        match self {
            Piece::Bytes(bytes) => base::number::parse_i64(bytes),
            Piece::Int(number) => Some(number),
        }
    }

    /// The element as a double; NaN is refused.
    pub fn to_f64(self) -> Option<f64> {
        match self {
            Piece::Bytes(bytes) => base::number::parse_f64(bytes),
            Piece::Int(number) => Some(number as f64),
        }
    }
}

/// The bytes are not a well-formed packed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damaged;

impl std::fmt::Display for Damaged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("packed list is damaged")
    }
}

impl std::error::Error for Damaged {}

/// Forward reading with every length checked.
#[derive(Clone, Copy, Debug)]
struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Damaged> {
        let (head, tail) = self.rest.split_at_checked(count).ok_or(Damaged)?;
        self.rest = tail;
        Ok(head)
    }

    fn byte(&mut self) -> Result<u8, Damaged> {
        Ok(self.take(1)?[0])
    }

    fn u16_le(&mut self) -> Result<u16, Damaged> {
        Ok(u16::from_le_bytes(self.take(2)?.try_into().map_err(|_| Damaged)?))
    }

    fn u32_le(&mut self) -> Result<u32, Damaged> {
        Ok(u32::from_le_bytes(self.take(4)?.try_into().map_err(|_| Damaged)?))
    }

    /// A signed little-endian integer of 1, 2, 3, 4 or 8 bytes.
    fn int_le(&mut self, bytes: usize) -> Result<i64, Damaged> {
        let mut word = [0u8; 8];
        word[..bytes].copy_from_slice(self.take(bytes)?);
        let unused_bits = 64 - 8 * bytes as u32;
        Ok((i64::from_le_bytes(word) << unused_bits) >> unused_bits)
    }
}
