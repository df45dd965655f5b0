//! Replies of a server, in RESP2.

use std::fmt;

/// Deepest nesting of a reply that is read; what the console asks for has four levels.
const DEPTH_MAX: usize = 16;

/// Longest line of a reply that has no length of its own, bytes: an error that quotes what was sent.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A status line, such as `OK`.
    Status(Vec<u8>),
    /// A refusal, its code first.
    Error(Vec<u8>),
    /// A number.
    Integer(i64),
    /// A string.
    Bulk(Vec<u8>),
    /// No value.
    Null,
    /// Several.
    Array(Vec<Value>),
}

/// What was read is no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what the server has sent is no reply")
    }
}

impl std::error::Error for Broken {}

/// Looks for the end of a reply that comes in pieces, each byte once.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// Up to where the bytes were looked at.
    at: usize,
    /// Values that are still to come.
    missing: u64,
}

impl Default for Frame {
    fn default() -> Self {
        Frame { at: 0, missing: 1 }
    }
}

impl Frame {
    /// Goes on in `bytes`, which begin with the reply and have only grown since the last call: the length of the reply once all of it
    /// is there.
    ///
    /// # Errors
    /// What is there is no reply.
    pub fn end(&mut self, bytes: &[u8]) -> Result<Option<usize>, Broken> {
        while self.missing > 0 {
            let Some((head, next)) = head(bytes, self.at)? else { return Ok(None) };
            let next = match head {
                Head::Bulk(length) => next + length + 2,
                _ => next,
            };
            if next > bytes.len() {
                return Ok(None);
            }
            if let Head::Array(count) = head {
                self.missing = self.missing.checked_add(count as u64).ok_or(Broken)?;
            }
            (self.at, self.missing) = (next, self.missing - 1);
        }
        Ok(Some(self.at))
    }
}

/// The first line of a value.
enum Head {
    Bulk(usize),
    Array(usize),
    Whole(Value),
}

/// The head at a place and where it ends; `None` while it is not all there.
fn head(bytes: &[u8], at: usize) -> Result<Option<(Head, usize)>, Broken> {
    let rest = bytes.get(at..).unwrap_or_default();
    let Some(length) = rest.windows(2).take(LINE_BYTES_MAX).position(|pair| pair == b"\r\n") else {
        return if rest.len() > LINE_BYTES_MAX { Err(Broken) } else { Ok(None) };
    };
    let (kind, text) = rest[..length].split_first().ok_or(Broken)?;
    let head = match kind {
        b'+' => Head::Whole(Value::Status(text.to_vec())),
        b'-' => Head::Whole(Value::Error(text.to_vec())),
        b':' => Head::Whole(Value::Integer(number(text)?)),
        b'$' | b'*' if text == b"-1" => Head::Whole(Value::Null),
        b'$' => Head::Bulk(size(text)?),
        b'*' => Head::Array(size(text)?),
        _ => return Err(Broken),
    };
    Ok(Some((head, at + length + 2)))
}

fn number(text: &[u8]) -> Result<i64, Broken> {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(Broken)
}

/// A length or count: no more than a reply may have bytes, so that sums of them do not overflow.
fn size(text: &[u8]) -> Result<usize, Broken> {
    u32::try_from(number(text)?).map(|size| size as usize).map_err(|_| Broken)
}

impl Value {
    /// Reads a whole reply, as [`Frame`] has found it.
    ///
    /// # Errors
    /// It is none, it is not whole, or it is nested too deeply.
    pub fn read(bytes: &[u8]) -> Result<Value, Broken> {
        let (value, end) = read(bytes, 0, DEPTH_MAX)?;
        if end == bytes.len() { Ok(value) } else { Err(Broken) }
    }

    /// The members of an array.
    pub(crate) fn items(&self) -> &[Value] {
        match self {
            Value::Array(items) => items,
            _ => &[],
        }
    }

    /// The bytes of a string or a status.
    pub(crate) fn bytes(&self) -> Option<&[u8]> {
        match self {
            Value::Bulk(bytes) | Value::Status(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// A number.
    pub(crate) fn integer(&self) -> Option<i64> {
        match self {
            Value::Integer(number) => Some(*number),
            _ => None,
        }
    }
}

fn read(bytes: &[u8], at: usize, depth: usize) -> Result<(Value, usize), Broken> {
    let (head, next) = head(bytes, at)?.ok_or(Broken)?;
    match head {
        Head::Whole(value) => Ok((value, next)),
        Head::Bulk(length) => {
            let text = bytes.get(next..next + length).ok_or(Broken)?;
            Ok((Value::Bulk(text.to_vec()), next + length + 2))
        }
        Head::Array(_) if depth == 0 => Err(Broken),
        Head::Array(count) => {
            // No room is taken for what is only announced.
            let (mut items, mut at) = (Vec::new(), next);
            for _ in 0..count {
                let (item, end) = read(bytes, at, depth - 1)?;
                items.push(item);
                at = end;
            }
            Ok((Value::Array(items), at))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NESTED: &[u8] = b"*4\r\n$3\r\na\r\n\r\n:-7\r\n*2\r\n$-1\r\n+OK\r\n-ERR no\r\n";

    #[test]
    fn a_reply_is_found_however_it_is_cut() {
        let mut frame = Frame::default();
        for length in 0..NESTED.len() {
            assert_eq!(frame.end(&NESTED[..length]), Ok(None), "{length}");
        }
        let two = [NESTED, b"+OK\r\n"].concat();
        assert_eq!(frame.end(&two), Ok(Some(NESTED.len())));
        let read = Value::read(NESTED).unwrap();
        let inner = Value::Array(vec![Value::Null, Value::Status(b"OK".to_vec())]);
        let whole =
            vec![Value::Bulk(b"a\r\n".to_vec()), Value::Integer(-7), inner, Value::Error(b"ERR no".to_vec())];
        assert_eq!(read, Value::Array(whole));
    }

    #[test]
    fn what_is_no_reply_is_told() {
        for wrong in [&b"x\r\n"[..], b"\r\n", b":a\r\n", b"$-2\r\n", b"*99999999999\r\n"] {
            assert_eq!(Frame::default().end(wrong), Err(Broken), "{wrong:?}");
        }
        assert_eq!(Frame::default().end(&vec![b'+'; LINE_BYTES_MAX + 2]), Err(Broken));
        let deep = b"*1\r\n".repeat(DEPTH_MAX + 1);
        assert_eq!(Value::read(&[&deep[..], b":1\r\n"].concat()), Err(Broken));
        assert_eq!(Value::read(b"*2\r\n:1\r\n"), Err(Broken));
        assert_eq!(Value::read(b"+OK\r\n+OK\r\n"), Err(Broken));
    }
}
