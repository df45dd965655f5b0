//! The identity of a stream entry: milliseconds and a sequence number within them.

use base::number::parse_c_u64;

/// An entry's identity; later entries have greater ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    /// Milliseconds, by custom of the Unix clock.
    pub ms: u64,
    /// Number within the millisecond.
    pub seq: u64,
}

impl Id {
    /// The lowest, `0-0`, which no entry has.
    pub const MIN: Id = Id { ms: 0, seq: 0 };
    /// The highest.
    pub const MAX: Id = Id { ms: u64::MAX, seq: u64::MAX };

    /// `ms-seq`.
    pub const fn new(ms: u64, seq: u64) -> Id {
        Id { ms, seq }
    }

    /// The one right behind; none behind the highest.
    pub fn next(self) -> Option<Id> {
        match self.seq.checked_add(1) {
            Some(seq) => Some(Id { ms: self.ms, seq }),
            None => Some(Id { ms: self.ms.checked_add(1)?, seq: 0 }),
        }
    }

    /// The one right before; none before the lowest.
    pub fn previous(self) -> Option<Id> {
        match self.seq.checked_sub(1) {
            Some(seq) => Some(Id { ms: self.ms, seq }),
            None => Some(Id { ms: self.ms.checked_sub(1)?, seq: u64::MAX }),
        }
    }

    /// Both numbers, high bytes first, so that the order of the bytes is that of the identities.
    pub fn to_bytes(self) -> [u8; 16] {
        ((u128::from(self.ms) << 64) | u128::from(self.seq)).to_be_bytes()
    }

    /// Longest text that may be an identity, bytes: Redis' own limit.
    const TEXT_BYTES_MAX: usize = 127;

    /// Reads `ms-seq`, or `ms` alone with `missing_seq` as the rest; the numbers as C reads them (`01-`).
    pub fn parse(text: &[u8], missing_seq: u64) -> Option<Id> {
        if text.len() > Self::TEXT_BYTES_MAX {
            return None;
        }
        match text.iter().position(|byte| *byte == b'-') {
            None => Some(Id { ms: parse_c_u64(text)?, seq: missing_seq }),
            Some(dash) => Some(Id { ms: parse_c_u64(&text[..dash])?, seq: parse_c_u64(&text[dash + 1..])? }),
        }
    }

    /// The identity as clients see it, without an allocation.
    pub fn text(self) -> IdText {
        let mut text = IdText { bytes: [0; IdText::BYTES_MAX], start: IdText::BYTES_MAX };
        text.prepend(self.seq);
        text.start -= 1;
        text.bytes[text.start] = b'-';
        text.prepend(self.ms);
        text
    }
}

/// `ms-seq`; dereferences to its bytes.
#[derive(Clone, Copy, Debug)]
pub struct IdText {
    bytes: [u8; IdText::BYTES_MAX],
    start: usize,
}

impl IdText {
    /// Two numbers of up to 20 digits and the dash.
    const BYTES_MAX: usize = 41;

    fn prepend(&mut self, mut number: u64) {
        loop {
            self.start -= 1;
            self.bytes[self.start] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                break;
            }
        }
    }
}

impl std::ops::Deref for IdText {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

/// The identity that an addition asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewId {
    /// `*`: from the clock, but behind the last.
    Auto,
    /// `ms-*`: the next free number within this millisecond.
    AutoSeq(u64),
    /// Exactly this one.
    Exact(Id),
}

/// Why an entry cannot be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendError {
    /// `0-0` is not an entry's identity.
    Zero,
    /// Not greater than the last identity of the stream.
    NotGreater,
    /// The last possible identity has been used.
    Exhausted,
}

impl NewId {
    /// The identity for the next entry of a stream whose last one was `last`.
    pub fn resolve(self, last: Id, now_ms: u64) -> Result<Id, AppendError> {
        if last == Id::MAX {
            return Err(AppendError::Exhausted);
        }
        match self {
            NewId::Auto if now_ms > last.ms => Ok(Id::new(now_ms, 0)),
            NewId::Auto => last.next().ok_or(AppendError::Exhausted),
            NewId::AutoSeq(ms) if ms > last.ms => Ok(Id::new(ms, 0)),
            NewId::AutoSeq(ms) if ms == last.ms => {
                last.seq.checked_add(1).map(|seq| Id::new(ms, seq)).ok_or(AppendError::NotGreater)
            }
            NewId::AutoSeq(_) => Err(AppendError::NotGreater),
            NewId::Exact(Id::MIN) => Err(AppendError::Zero),
            NewId::Exact(id) if id > last => Ok(id),
            NewId::Exact(_) => Err(AppendError::NotGreater),
        }
    }
}
