//! The incremental request parser: multibulk and inline requests out of a growing byte buffer.
//!
//! "Need more bytes" is not an error. What was read of an unfinished request is remembered, so a large
//! request that arrives in many pieces is scanned once. Invariant: `input[0]` is the first byte of the request
//! in progress; the caller drops bytes only after a whole request.

use crate::request::split_inline;
use base::number::parse_i64;
use core::fmt;

/// One argument: a range of the input buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Offset of the first byte.
    pub start: u32,
    /// Length in bytes.
    pub len: u32,
}

impl Span {
    /// The bytes of this argument in the buffer that it was parsed from.
    pub fn of(self, input: &[u8]) -> &[u8] {
        &input[self.start as usize..self.start as usize + self.len as usize]
    }
}

/// What a client may send at most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most arguments of a request.
    pub args_max: usize,
    /// Longest bulk argument, bytes.
    pub bulk_bytes_max: usize,
    /// Whether the client has authenticated: strangers get their own error texts.
    pub authenticated: bool,
}

impl Limits {
    /// The limits of a client that has authenticated; `bulk_bytes_max` is the directive `proto-max-bulk-len`.
    pub fn trusted(bulk_bytes_max: usize) -> Limits {
        Limits { args_max: base::limits::REQUEST_ARGS_MAX, bulk_bytes_max, authenticated: true }
    }

    /// The limits of a client that has not authenticated yet.
    pub fn stranger() -> Limits {
        Limits {
            args_max: base::limits::REQUEST_ARGS_MAX_UNAUTHENTICATED,
            bulk_bytes_max: base::limits::BULK_BYTES_MAX_UNAUTHENTICATED,
            authenticated: false,
        }
    }
}

/// What [`Parser::next`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed {
    /// The request is not whole yet; at least `missing` more bytes are needed (1 when unknown).
    Incomplete {
        /// Bytes still missing, at least.
        missing: usize,
    },
    /// A whole request of `len` bytes, its arguments in the caller's spans. No arguments: `*0`, ignore it.
    Request {
        /// Bytes of the request from the start of the input.
        len: usize,
    },
    /// A whole line of `len` bytes, typed as text; its arguments may be quoted, so they come as values.
    Inline {
        /// Bytes of the line from the start of the input.
        len: usize,
        /// The arguments, quotes resolved. None: an empty line, ignore it.
        args: Vec<Vec<u8>>,
    },
}

/// Bytes that are no request. The connection gets the text as an error and is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    /// The argument count is no number or out of range.
    InvalidMultibulkLength,
    /// More arguments than a stranger may send.
    UnauthenticatedMultibulkLength,
    /// A bulk length is no number or out of range.
    InvalidBulkLength,
    /// A longer bulk than a stranger may send.
    UnauthenticatedBulkLength,
    /// Something other than `$` where a bulk must begin.
    ExpectedDollar(u8),
    /// An inline request longer than the limit.
    TooBigInline,
    /// A count line longer than the limit.
    TooBigCount,
    /// A bulk length line longer than the limit.
    TooBigBulkCount,
    /// An inline request whose quotes do not match.
    UnbalancedQuotes,
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ERR Protocol error: ")?;
        match self {
            Self::InvalidMultibulkLength => f.write_str("invalid multibulk length"),
            Self::UnauthenticatedMultibulkLength => f.write_str("unauthenticated multibulk length"),
            Self::InvalidBulkLength => f.write_str("invalid bulk length"),
            Self::UnauthenticatedBulkLength => f.write_str("unauthenticated bulk length"),
            Self::ExpectedDollar(got) => {
                let got = if matches!(got, b'\r' | b'\n') { b' ' } else { *got };
                write!(f, "expected '$', got '{}'", char::from(got))
            }
            Self::TooBigInline => f.write_str("too big inline request"),
            Self::TooBigCount => f.write_str("too big mbulk count string"),
            Self::TooBigBulkCount => f.write_str("too big bulk count string"),
            Self::UnbalancedQuotes => f.write_str("unbalanced quotes in request"),
        }
    }
}

/// An argument that has not come whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BulkAtHand {
    /// Its number among the request's arguments; the name is 0.
    pub index: usize,
    /// Where its bytes begin, from the start of the request.
    pub start: usize,
    /// How many bytes it will have.
    pub len: usize,
}

/// The state of one connection's unfinished request. Empty (and without heap memory) between requests.
#[derive(Debug, Default)]
pub struct Parser {
    position: usize,
    args_left: usize,
    bulk_len: Option<usize>,
    saved: Vec<Span>,
}

impl Parser {
    /// Parses the request at the start of `input` and appends its arguments to `spans` when it is whole.
    ///
    /// # Errors
    /// When the bytes are no request; nothing more may be parsed from this connection.
    pub fn next(
        &mut self,
        input: &[u8],
        spans: &mut Vec<Span>,
        limits: &Limits,
    ) -> Result<Parsed, ProtocolError> {
        let first = spans.len();
        if self.position == 0 {
            match input.first() {
                None => return Ok(Parsed::Incomplete { missing: 1 }),
                Some(b'*') => {
                    if let Some(early) = self.count(input, limits)? {
                        return Ok(early);
                    }
                }
                Some(_) => return inline(input),
            }
        } else {
            spans.append(&mut core::mem::take(&mut self.saved));
        }
        match self.bulks(input, spans, limits)? {
            0 => {
                let len = core::mem::take(&mut self.position);
                Ok(Parsed::Request { len })
            }
            missing => {
                self.saved = spans.drain(first..).collect();
                Ok(Parsed::Incomplete { missing })
            }
        }
    }

    /// Bytes of the unfinished request that are read already: everything before the argument at hand.
    pub fn parsed_bytes(&self) -> usize {
        self.position
    }

    /// The argument in the midst of which the input ends; behind [`Parsed::Incomplete`].
    pub fn bulk_at_hand(&self) -> Option<BulkAtHand> {
        let len = self.bulk_len?;
        Some(BulkAtHand { index: self.saved.len(), start: self.position, len })
    }

    /// The argument at hand has been taken out of the input and is kept elsewhere: its line end follows where it began, and its span
    /// will be empty.
    pub fn leave_out(&mut self) {
        self.bulk_len = self.bulk_len.map(|_| 0);
    }

    /// Whether a request has begun and is not whole.
    pub fn is_mid_request(&self) -> bool {
        self.position != 0
    }

    /// Reads `*N\r\n`. Something to return early: more bytes needed, or a request without arguments.
    fn count(&mut self, input: &[u8], limits: &Limits) -> Result<Option<Parsed>, ProtocolError> {
        let Some((line, next)) = line(input, 1) else {
            if input.len() > base::limits::LINE_BYTES_MAX {
                return Err(ProtocolError::TooBigCount);
            }
            return Ok(Some(Parsed::Incomplete { missing: 1 }));
        };
        let count = number(line).ok_or(ProtocolError::InvalidMultibulkLength)?;
        if count > base::limits::REQUEST_ARGS_MAX as i64 {
            return Err(ProtocolError::InvalidMultibulkLength);
        }
        if count > limits.args_max as i64 {
            return Err(if limits.authenticated {
                ProtocolError::InvalidMultibulkLength
            } else {
                ProtocolError::UnauthenticatedMultibulkLength
            });
        }
        if count <= 0 {
            return Ok(Some(Parsed::Request { len: next }));
        }
        self.position = next;
        self.args_left = count as usize;
        Ok(None)
    }

    /// Reads the bulks that are left. The bytes missing, or 0 when the request is whole.
    #[inline]
    fn bulks(
        &mut self,
        input: &[u8],
        spans: &mut Vec<Span>,
        limits: &Limits,
    ) -> Result<usize, ProtocolError> {
        while self.args_left > 0 {
            let len = match self.bulk_len {
                Some(len) => len,
                None => match self.bulk_header(input, limits)? {
                    Some(len) => len,
                    None => return Ok(1),
                },
            };
            let end = self.position + len + 2;
            if input.len() < end {
                self.bulk_len = Some(len);
                return Ok(end - input.len());
            }
            spans.push(Span { start: self.position as u32, len: len as u32 });
            self.position = end;
            self.bulk_len = None;
            self.args_left -= 1;
        }
        Ok(0)
    }

    /// Reads `$N\r\n` at the position; `None` when it is not whole.
    #[inline]
    fn bulk_header(&mut self, input: &[u8], limits: &Limits) -> Result<Option<usize>, ProtocolError> {
        let Some(&mark) = input.get(self.position) else { return Ok(None) };
        if mark != b'$' {
            return Err(ProtocolError::ExpectedDollar(mark));
        }
        // Nearly every bulk is shorter than 100 bytes: read one or two digits without a search.
        let (len, next) = match &input[self.position + 1..] {
            [a @ b'0'..=b'9', b'\r', b'\n', ..] => (i64::from(a - b'0'), self.position + 4),
            [a @ b'1'..=b'9', b @ b'0'..=b'9', b'\r', b'\n', ..] => {
                (i64::from((a - b'0') * 10 + (b - b'0')), self.position + 5)
            }
            _ => match line(input, self.position + 1) {
                Some((digits, next)) => (number(digits).ok_or(ProtocolError::InvalidBulkLength)?, next),
                None if input.len() - self.position > base::limits::LINE_BYTES_MAX => {
                    return Err(ProtocolError::TooBigBulkCount);
                }
                None => return Ok(None),
            },
        };
        if len < 0
            || len > base::limits::BULK_BYTES_MAX as i64
            || len > base::limits::STRING_BYTES_MAX.max(limits.bulk_bytes_max) as i64
            || (limits.authenticated && len > limits.bulk_bytes_max as i64)
        {
            return Err(ProtocolError::InvalidBulkLength);
        }
        if len > limits.bulk_bytes_max as i64 {
            return Err(ProtocolError::UnauthenticatedBulkLength);
        }
        self.position = next;
        Ok(Some(len as usize))
    }
}

/// The line that begins at `from`, without its `\r\n`, and the offset behind it. A lone `\r` ends it as well, as in Redis.
fn line(input: &[u8], from: usize) -> Option<(&[u8], usize)> {
    let end = from + memchr::memchr(b'\r', input.get(from..)?)?;
    (end + 1 < input.len()).then(|| (&input[from..end], end + 2))
}

/// A length as Redis reads it.
fn number(text: &[u8]) -> Option<i64> {
    parse_i64(text)
}

/// A request of one line, as a person types it into `nc`.
fn inline(input: &[u8]) -> Result<Parsed, ProtocolError> {
    let Some(end) = memchr::memchr(b'\n', input) else {
        if input.len() > base::limits::LINE_BYTES_MAX {
            return Err(ProtocolError::TooBigInline);
        }
        return Ok(Parsed::Incomplete { missing: 1 });
    };
    let line = &input[..end];
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let args = split_inline(line).ok_or(ProtocolError::UnbalancedQuotes)?;
    Ok(Parsed::Inline { len: end + 1, args })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(input: &[u8]) -> Result<Vec<Vec<Vec<u8>>>, ProtocolError> {
        let (mut parser, mut at, mut out) = (Parser::default(), 0, Vec::new());
        loop {
            let mut spans = Vec::new();
            match parser.next(&input[at..], &mut spans, &Limits::trusted(1 << 20))? {
                Parsed::Incomplete { .. } => return Ok(out),
                Parsed::Request { len } => {
                    out.push(spans.iter().map(|s| s.of(&input[at..]).to_vec()).collect());
                    at += len;
                }
                Parsed::Inline { len, args } => {
                    out.push(args);
                    at += len;
                }
            }
        }
    }

    #[test]
    fn requests_of_both_kinds() {
        let got = all(b"*2\r\n$4\r\nECHO\r\n$2\r\nhi\r\nPING\r\n*0\r\n\r\nset a 'b c'\r\n*1\r\n$0\r\n\r\n")
            .unwrap();
        let want: Vec<Vec<Vec<u8>>> = vec![
            vec![b"ECHO".to_vec(), b"hi".to_vec()],
            vec![b"PING".to_vec()],
            vec![],
            vec![],
            vec![b"set".to_vec(), b"a".to_vec(), b"b c".to_vec()],
            vec![b"".to_vec()],
        ];
        assert_eq!(got, want);
    }

    #[test]
    fn any_split_gives_the_same_request() {
        let input = b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$120\r\n"
            .iter()
            .copied()
            .chain([b'x'; 120])
            .chain(*b"\r\n")
            .collect::<Vec<u8>>();
        let mut parser = Parser::default();
        let mut spans = Vec::new();
        for end in 1..input.len() {
            assert!(matches!(
                parser.next(&input[..end], &mut spans, &Limits::trusted(1000)),
                Ok(Parsed::Incomplete { .. })
            ));
            assert!(spans.is_empty());
        }
        assert_eq!(
            parser.next(&input, &mut spans, &Limits::trusted(1000)),
            Ok(Parsed::Request { len: input.len() })
        );
        assert_eq!(spans.iter().map(|s| s.len).collect::<Vec<_>>(), [3, 3, 120]);
        assert!(!parser.is_mid_request());
    }

    #[test]
    fn bad_bytes_are_told_in_redis_words() {
        for (input, want) in [
            (&b"*x\r\n"[..], "invalid multibulk length"),
            (b"*99999999999\r\n", "invalid multibulk length"),
            (b"*1\r\n:1\r\n", "expected '$', got ':'"),
            (b"*1\r\n$-1\r\n", "invalid bulk length"),
            (b"*1\r\n$2000000\r\n", "invalid bulk length"),
            (b"set \"a\r\n", "unbalanced quotes in request"),
        ] {
            assert_eq!(all(input).unwrap_err().to_string(), format!("ERR Protocol error: {want}"));
        }
    }

    #[test]
    fn strangers_get_less() {
        let mut parser = Parser::default();
        let refused = parser.next(b"*11\r\n", &mut Vec::new(), &Limits::stranger());
        assert_eq!(refused, Err(ProtocolError::UnauthenticatedMultibulkLength));
        let mut parser = Parser::default();
        let refused = parser.next(b"*1\r\n$16385\r\n", &mut Vec::new(), &Limits::stranger());
        assert_eq!(refused, Err(ProtocolError::UnauthenticatedBulkLength));
    }

    #[test]
    fn what_is_kept_elsewhere_is_left_out() {
        let (mut parser, mut spans, limits) = (Parser::default(), Vec::new(), Limits::trusted(1 << 20));
        let input = b"*4\r\n$4\r\nMSET\r\n$1\r\na\r\n$1000\r\nbegin";
        let missing = Parsed::Incomplete { missing: 1002 - 5 };
        assert_eq!(parser.next(input, &mut spans, &limits), Ok(missing));
        let at_hand = BulkAtHand { index: 2, start: input.len() - 5, len: 1000 };
        assert_eq!(parser.bulk_at_hand(), Some(at_hand));
        parser.leave_out();
        let input = &input[..input.len() - 5];
        assert_eq!(parser.next(input, &mut spans, &limits), Ok(Parsed::Incomplete { missing: 2 }));
        let whole = [input, b"\r\n$1\r\nb\r\n*1\r\n"].concat();
        let parsed = parser.next(&whole, &mut spans, &limits);
        assert_eq!(parsed, Ok(Parsed::Request { len: whole.len() - 4 }));
        let words: Vec<&[u8]> = spans.iter().map(|span| span.of(&whole)).collect();
        assert_eq!(words, [&b"MSET"[..], b"a", b"", b"b"]);
        assert_eq!(parser.bulk_at_hand(), None);
    }
}
