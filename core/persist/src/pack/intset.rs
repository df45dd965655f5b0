//! Intset: a small set of integers as a sorted array of the narrowest width that holds them all.
//!
//! ```text
//! width in bytes u32 LE (2, 4 or 8) | members u32 LE | member (width bytes LE, signed, ascending)...
//! ```

use super::{Cursor, Damaged};

/// The intset of `members`, which must be ascending and without repetition (at most 2^32 - 1 of them).
pub fn build(members: &[i64]) -> Vec<u8> {
    debug_assert!(members.is_sorted_by(|a, b| a < b), "an intset is ascending");
    let width = members.iter().map(|&m| width_of(m)).max().unwrap_or(2);
    let mut out = Vec::with_capacity(8 + members.len() * width);
    out.extend_from_slice(&(width as u32).to_le_bytes());
    out.extend_from_slice(&(members.len() as u32).to_le_bytes());
    for member in members {
        out.extend_from_slice(&member.to_le_bytes()[..width]);
    }
    out
}

fn width_of(member: i64) -> usize {
    if i16::try_from(member).is_ok() {
        2
    } else if i32::try_from(member).is_ok() {
        4
    } else {
        8
    }
}

/// The members, checked to be ascending, as many as declared and nothing after.
pub fn iter(bytes: &[u8]) -> Result<Vec<i64>, Damaged> {
    let mut cursor = Cursor { rest: bytes };
    let width = cursor.u32_le()? as usize;
    let count = cursor.u32_le()? as usize;
    if ![2, 4, 8].contains(&width) || cursor.rest.len() != count.checked_mul(width).ok_or(Damaged)? {
        return Err(Damaged);
    }
    let members: Vec<i64> = (0..count).map(|_| cursor.int_le(width)).collect::<Result<_, _>>()?;
    if members.is_sorted_by(|a, b| a < b) { Ok(members) } else { Err(Damaged) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_width_goes_round() {
        for members in
            [vec![], vec![-1, 0, 5], vec![i64::from(i16::MIN), 70_000], vec![i64::MIN, 0, i64::MAX]]
        {
            assert_eq!(iter(&build(&members)).unwrap(), members);
        }
        assert_eq!(build(&[1, 2]), b"\x02\0\0\0\x02\0\0\0\x01\0\x02\0");
    }

    #[test]
    fn disorder_and_wrong_sizes_are_refused() {
        assert_eq!(iter(b"\x02\0\0\0\x02\0\0\0\x02\0\x01\0"), Err(Damaged));
        assert_eq!(iter(b"\x02\0\0\0\x02\0\0\0\x01\0\x01\0"), Err(Damaged));
        assert_eq!(iter(b"\x03\0\0\0\0\0\0\0"), Err(Damaged));
        assert_eq!(iter(b"\x02\0\0\0\xff\xff\xff\xff\x01\0"), Err(Damaged));
        assert_eq!(iter(b"\x02\0\0"), Err(Damaged));
    }
}
