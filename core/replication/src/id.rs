//! The name of a history.

use std::fmt;

/// Digits of an id.
const DIGITS: usize = 40;

/// The name of a history: 40 hexadecimal digits, drawn by chance. Those of either case are the same.
#[derive(Clone, Copy, Eq)]
pub struct ReplicationId([u8; DIGITS]);

impl ReplicationId {
    /// What stands where there is no id.
    pub const NONE: ReplicationId = ReplicationId([b'0'; DIGITS]);

    /// The id that 160 of so many bits make.
    pub fn drawn(chance: [u64; 3]) -> ReplicationId {
        let mut digits = [0; DIGITS];
        for (at, digit) in digits.iter_mut().enumerate() {
            let nibble = (chance[at / 16] >> (at % 16 * 4)) & 15;
            *digit = b"0123456789abcdef"[nibble as usize];
        }
        ReplicationId(digits)
    }

    /// The id that a peer has named; none where it is no such name.
    pub fn parse(text: &[u8]) -> Option<ReplicationId> {
        let digits: [u8; DIGITS] = text.try_into().ok()?;
        digits.iter().all(u8::is_ascii_hexdigit).then_some(ReplicationId(digits))
    }

    /// Its digits.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq for ReplicationId {
    fn eq(&self, other: &ReplicationId) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl fmt::Display for ReplicationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|&digit| write!(f, "{}", char::from(digit)))
    }
}

impl fmt::Debug for ReplicationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_forty_digits_and_comes_back_as_it_was_sent() {
        let id = ReplicationId::drawn([0x0123_4567_89ab_cdef, u64::MAX, 0x1_0000_0000]);
        assert_eq!(id.to_string(), "fedcba9876543210ffffffffffffffff00000000");
        assert_ne!(id, ReplicationId::drawn([0x0123_4567_89ab_cdef, u64::MAX, 1]));
        assert_eq!(ReplicationId::parse(id.as_bytes()), Some(id));
        assert_eq!(ReplicationId::parse(id.to_string().to_uppercase().as_bytes()), Some(id));
        assert_eq!(ReplicationId::parse(b"?"), None);
        assert_eq!(ReplicationId::parse(&[b'g'; 40]), None);
        assert_eq!(ReplicationId::NONE.to_string(), "0".repeat(40));
    }
}
