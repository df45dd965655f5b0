//! A server's reply as a value, and the reader that makes values of bytes as they come.
//!
//! No I/O: bytes go in by [`Reader::feed`], values come out by [`Reader::next`], and "not enough bytes yet" is no error. What
//! lies open keeps its finished parts, so that a large reply that comes in pieces is read once and not once a piece.

use std::fmt;

/// The first bytes of the types.
const TYPES: &[u8] = b"+-:,(_#$!=*~%>|";

/// Deepest nesting of a reply; a server of ours stays far below.
pub(crate) const DEPTH_MAX: usize = 128;

/// Longest line of a reply's frame, an error's text included.
const LINE_BYTES_MAX: usize = 1 << 20;

/// Longest string of a reply; what a server may be set to hold.
const STRING_BYTES_MAX: u64 = 1 << 32;

/// Most elements of one aggregate.
const ELEMENTS_MAX: u64 = 1 << 32;

/// What is put aside for an aggregate before its elements have come, whatever its head promises.
const ELEMENTS_EXPECTED_MAX: u64 = 1024;

/// A reply of either protocol.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// `+OK`
    Status(Vec<u8>),
    /// `-ERR …`, or RESP3's long form of it.
    Error(Vec<u8>),
    /// `:7`
    Integer(i64),
    /// `$…`
    Text(Vec<u8>),
    /// RESP3's text for people: its format (`txt`, `mkd`) is dropped.
    Verbatim(Vec<u8>),
    /// Either protocol's nothing.
    Nil,
    /// RESP3's double, as the server wrote it.
    Double(Vec<u8>),
    /// RESP3's boolean.
    Bool(bool),
    /// RESP3's integer without bounds, as the server wrote it.
    BigNumber(Vec<u8>),
    /// `*…`
    Array(Vec<Value>),
    /// RESP3's set.
    Set(Vec<Value>),
    /// RESP3's map, in the server's order.
    Map(Vec<(Value, Value)>),
    /// What nobody asked for: RESP3's message out of band.
    Push(Vec<Value>),
}

impl Value {
    /// The bytes of what is text.
    pub(crate) fn text(&self) -> Option<&[u8]> {
        match self {
            Value::Status(text) | Value::Error(text) | Value::Text(text) | Value::Verbatim(text) => {
                Some(text)
            }
            _ => None,
        }
    }

    /// The elements of an array or set.
    pub(crate) fn elements(&self) -> Option<&[Value]> {
        match self {
            Value::Array(elements) | Value::Set(elements) | Value::Push(elements) => Some(elements),
            _ => None,
        }
    }

    /// Keys and values of a map, or of the flat array that RESP2 has in its place.
    pub(crate) fn pairs(&self) -> Vec<(&Value, &Value)> {
        match self {
            Value::Map(pairs) => pairs.iter().map(|(key, value)| (key, value)).collect(),
            Value::Array(flat) => flat.chunks_exact(2).map(|pair| (&pair[0], &pair[1])).collect(),
            _ => Vec::new(),
        }
    }

    /// What stands behind a key of a map.
    pub(crate) fn field(&self, name: &str) -> Option<&Value> {
        self.pairs().into_iter().find(|(key, _)| key.text() == Some(name.as_bytes())).map(|(_, value)| value)
    }

    /// The text of an error.
    pub(crate) fn error(&self) -> Option<&[u8]> {
        match self {
            Value::Error(text) => Some(text),
            _ => None,
        }
    }
}

/// What is no reply of Redis' protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotAReply {
    /// A first byte that no type has.
    Type(u8),
    /// A length or a number that is none, or out of bounds.
    Number,
    /// A string without its end, or a boolean that is neither.
    Frame,
    /// A line longer than any server writes.
    Line,
    /// Nesting deeper than any server writes.
    Depth,
}

impl fmt::Display for NotAReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotAReply::Type(byte) => {
                write!(f, "Protocol error, got \"{}\" as reply type byte", byte.escape_ascii())
            }
            NotAReply::Number => f.write_str("Protocol error, bad number in a reply"),
            NotAReply::Frame => f.write_str("Protocol error, a reply that does not end where it says"),
            NotAReply::Line => f.write_str("Protocol error, too long a line in a reply"),
            NotAReply::Depth => f.write_str("Protocol error, a reply nested too deeply"),
        }
    }
}

/// Which aggregate lies open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Array,
    Set,
    Map,
    Push,
    /// Attributes of the value behind them, which nobody here asks for.
    Attribute,
}

/// An aggregate some of whose elements are there.
#[derive(Debug)]
struct Open {
    kind: Kind,
    missing: u64,
    elements: Vec<Value>,
}

impl Open {
    fn close(self) -> Option<Value> {
        let mut elements = self.elements;
        match self.kind {
            Kind::Array => Some(Value::Array(elements)),
            Kind::Set => Some(Value::Set(elements)),
            Kind::Push => Some(Value::Push(elements)),
            Kind::Attribute => None,
            Kind::Map => {
                let mut rest = elements.drain(..);
                let mut pairs = Vec::new();
                while let (Some(key), Some(value)) = (rest.next(), rest.next()) {
                    pairs.push((key, value));
                }
                Some(Value::Map(pairs))
            }
        }
    }
}

/// What one frame is.
enum Frame {
    Whole(Value),
    Head(Kind, u64),
}

/// Bytes that have come and the reply that they are a part of.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    bytes: Vec<u8>,
    /// Up to here they have been read.
    at: usize,
    open: Vec<Open>,
}

impl Reader {
    /// Takes what has come.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.at);
        self.at = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// Bytes that have come and belong to no reply yet, for those who read another protocol behind one.
    pub(crate) fn take_bytes(&mut self) -> Vec<u8> {
        let rest = self.bytes.split_off(self.at);
        self.bytes.clear();
        self.at = 0;
        rest
    }

    /// The next reply, if all of it has come.
    pub(crate) fn next(&mut self) -> Result<Option<Value>, NotAReply> {
        while let Some((frame, used)) = frame(&self.bytes[self.at..])? {
            self.at += used;
            let mut done = match frame {
                Frame::Whole(value) => Some(value),
                Frame::Head(kind, count) => self.begin(kind, count)?,
            };
            while let Some(value) = done {
                let Some(outer) = self.open.last_mut() else { return Ok(Some(value)) };
                outer.elements.push(value);
                outer.missing -= 1;
                done = self.finished();
            }
        }
        Ok(None)
    }

    /// Opens an aggregate; one without elements is done at once.
    fn begin(&mut self, kind: Kind, count: u64) -> Result<Option<Value>, NotAReply> {
        if self.open.len() >= DEPTH_MAX {
            return Err(NotAReply::Depth);
        }
        let missing = if matches!(kind, Kind::Map | Kind::Attribute) { count * 2 } else { count };
        let expected = usize::try_from(missing.min(ELEMENTS_EXPECTED_MAX)).unwrap_or_default();
        self.open.push(Open { kind, missing, elements: Vec::with_capacity(expected) });
        Ok(self.finished())
    }

    /// The innermost open aggregate, if nothing of it is missing. Attributes are gone then, and nothing is done.
    fn finished(&mut self) -> Option<Value> {
        if self.open.last().is_some_and(|open| open.missing == 0) {
            return self.open.pop().and_then(Open::close);
        }
        None
    }
}

/// The frame that the bytes begin with and its length.
fn frame(bytes: &[u8]) -> Result<Option<(Frame, usize)>, NotAReply> {
    // A peer of another protocol is known by its first byte, though it never ends a line.
    if let Some(kind) = bytes.first().filter(|kind| !TYPES.contains(kind)) {
        return Err(NotAReply::Type(*kind));
    }
    let Some(line) = line(bytes)? else { return Ok(None) };
    let Some((kind, text)) = line.split_first() else { return Err(NotAReply::Frame) };
    let used = line.len() + 2;
    let whole = |value| Ok(Some((Frame::Whole(value), used)));
    let head = |kind| match length(text, ELEMENTS_MAX)? {
        Some(count) => Ok(Some((Frame::Head(kind, count), used))),
        None => Ok(Some((Frame::Whole(Value::Nil), used))),
    };
    match kind {
        b'+' => whole(Value::Status(text.to_vec())),
        b'-' => whole(Value::Error(text.to_vec())),
        b':' => whole(Value::Integer(number(text)?)),
        b',' => whole(Value::Double(text.to_vec())),
        b'(' => whole(Value::BigNumber(text.to_vec())),
        b'_' => whole(Value::Nil),
        b'#' => match text {
            b"t" => whole(Value::Bool(true)),
            b"f" => whole(Value::Bool(false)),
            _ => Err(NotAReply::Frame),
        },
        b'$' | b'!' | b'=' => string(*kind, text, &bytes[used..], used),
        b'*' => head(Kind::Array),
        b'~' => head(Kind::Set),
        b'%' => head(Kind::Map),
        b'>' => head(Kind::Push),
        b'|' => head(Kind::Attribute),
        other => Err(NotAReply::Type(*other)),
    }
}

/// A string whose length stands in `text` and whose bytes are in `rest`.
fn string(kind: u8, text: &[u8], rest: &[u8], used: usize) -> Result<Option<(Frame, usize)>, NotAReply> {
    let Some(length) = length(text, STRING_BYTES_MAX)? else {
        return Ok(Some((Frame::Whole(Value::Nil), used)));
    };
    let length = usize::try_from(length).map_err(|_| NotAReply::Number)?;
    if rest.len() < length + 2 {
        return Ok(None);
    }
    let (content, end) = rest.split_at(length);
    if !end.starts_with(b"\r\n") {
        return Err(NotAReply::Frame);
    }
    let value = match kind {
        b'!' => Value::Error(content.to_vec()),
        // `txt:` or `mkd:` stands before it.
        b'=' => Value::Verbatim(content.get(4..).ok_or(NotAReply::Frame)?.to_vec()),
        _ => Value::Text(content.to_vec()),
    };
    Ok(Some((Frame::Whole(value), used + length + 2)))
}

/// The first line without its end, if it is there.
fn line(bytes: &[u8]) -> Result<Option<&[u8]>, NotAReply> {
    let end = bytes.iter().take(LINE_BYTES_MAX).position(|byte| *byte == b'\n');
    match end {
        Some(end) => match bytes[..end].strip_suffix(b"\r") {
            Some(line) => Ok(Some(line)),
            None => Err(NotAReply::Frame),
        },
        None if bytes.len() >= LINE_BYTES_MAX => Err(NotAReply::Line),
        None => Ok(None),
    }
}

fn number(text: &[u8]) -> Result<i64, NotAReply> {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(NotAReply::Number)
}

/// A length; none for the nothing of RESP2, which is written as one.
fn length(text: &[u8], max: u64) -> Result<Option<u64>, NotAReply> {
    match number(text)? {
        -1 => Ok(None),
        length => match u64::try_from(length) {
            Ok(length) if length <= max => Ok(Some(length)),
            _ => Err(NotAReply::Number),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::Text(text.as_bytes().to_vec())
    }

    fn read(bytes: &[u8]) -> Result<Option<Value>, NotAReply> {
        let mut reader = Reader::default();
        reader.feed(bytes);
        reader.next()
    }

    /// One reply of each type in each other's company, with what it says.
    fn samples() -> Vec<(&'static [u8], Value)> {
        vec![
            (b"+OK\r\n", Value::Status(b"OK".to_vec())),
            (b"-ERR no\r\n", Value::Error(b"ERR no".to_vec())),
            (b"!6\r\nERR no\r\n", Value::Error(b"ERR no".to_vec())),
            (b":-7\r\n", Value::Integer(-7)),
            (b"$3\r\na\r\n\r\n", text("a\r\n")),
            (b"$0\r\n\r\n", text("")),
            (b"$-1\r\n", Value::Nil),
            (b"*-1\r\n", Value::Nil),
            (b"_\r\n", Value::Nil),
            (b"=5\r\ntxt:a\r\n", Value::Verbatim(b"a".to_vec())),
            (b",1.5\r\n", Value::Double(b"1.5".to_vec())),
            (b"#t\r\n", Value::Bool(true)),
            (b"(12345678901234567890\r\n", Value::BigNumber(b"12345678901234567890".to_vec())),
            (b"*0\r\n", Value::Array(vec![])),
            (
                b"*2\r\n$1\r\na\r\n*1\r\n:1\r\n",
                Value::Array(vec![text("a"), Value::Array(vec![Value::Integer(1)])]),
            ),
            (b"~1\r\n$1\r\na\r\n", Value::Set(vec![text("a")])),
            (b"%1\r\n$1\r\na\r\n*0\r\n", Value::Map(vec![(text("a"), Value::Array(vec![]))])),
            (b">1\r\n+x\r\n", Value::Push(vec![Value::Status(b"x".to_vec())])),
            (b"|1\r\n+ttl\r\n:3\r\n$1\r\na\r\n", text("a")),
            (b"*1\r\n|1\r\n+ttl\r\n*0\r\n$1\r\na\r\n", Value::Array(vec![text("a")])),
        ]
    }

    #[test]
    fn each_type_is_read() {
        for (bytes, value) in samples() {
            assert_eq!(read(bytes), Ok(Some(value)), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn pieces_make_the_same_replies_as_the_whole() {
        let bytes: Vec<u8> = samples().iter().flat_map(|(bytes, _)| bytes.to_vec()).collect();
        for piece in [1, 2, 3, 7, bytes.len()] {
            let (mut reader, mut values) = (Reader::default(), Vec::new());
            for part in bytes.chunks(piece) {
                reader.feed(part);
                while let Some(value) = reader.next().unwrap() {
                    values.push(value);
                }
            }
            assert!(reader.take_bytes().is_empty() && reader.open.is_empty());
            assert_eq!(values, samples().into_iter().map(|(_, value)| value).collect::<Vec<_>>(), "{piece}");
        }
    }

    #[test]
    fn what_is_no_reply_is_told() {
        for (bytes, reason) in [
            (&b"HTTP/1.1 400\r\n"[..], NotAReply::Type(b'H')),
            (b"\x15\x03", NotAReply::Type(0x15)),
            (b"$x\r\n", NotAReply::Number),
            (b"$-2\r\n", NotAReply::Number),
            (b"*99999999999999\r\n", NotAReply::Number),
            (b"$1\r\nabc", NotAReply::Frame),
            (b"+no\n", NotAReply::Frame),
            (b"#x\r\n", NotAReply::Frame),
            (b"=1\r\nx\r\n", NotAReply::Frame),
        ] {
            assert_eq!(read(bytes), Err(reason), "{}", bytes.escape_ascii());
        }
        assert_eq!(read(&b"*1\r\n".repeat(DEPTH_MAX + 1)), Err(NotAReply::Depth));
        assert_eq!(read(&[b'+'; LINE_BYTES_MAX]), Err(NotAReply::Line));
    }

    #[test]
    fn a_promise_of_elements_takes_no_memory() {
        let mut reader = Reader::default();
        reader.feed(&b"*4294967296\r\n".repeat(DEPTH_MAX));
        assert_eq!(reader.next(), Ok(None));
        assert!(reader.open.iter().all(|open| open.elements.capacity() as u64 <= ELEMENTS_EXPECTED_MAX));
    }

    #[test]
    fn a_map_of_either_protocol_has_fields() {
        let flat = Value::Array(vec![text("a"), Value::Integer(1), text("b"), Value::Nil]);
        let map = Value::Map(vec![(text("a"), Value::Integer(1)), (text("b"), Value::Nil)]);
        for value in [flat, map] {
            assert_eq!(value.field("a"), Some(&Value::Integer(1)));
            assert_eq!(value.field("c"), None);
        }
    }
}
