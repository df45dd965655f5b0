//! Replies, written piece by piece: to wire bytes in RESP2 or RESP3, or into a [`Sink`].
//!
//! The wire path is inlined for the hot commands; every other receiver is reached through one virtual
//! call a piece. Types that RESP2 has not are written as Redis writes them there (a map as a flat array, a double as a bulk).

use base::number::{push_f64, push_i64};

/// The protocol a connection speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// RESP2, the default of a new connection.
    #[default]
    Resp2,
    /// RESP3, after `HELLO 3`.
    Resp3,
}

/// A receiver of one reply, piece by piece. `array(n)` announces that `n` replies follow as its elements, nested as in RESP.
pub trait Sink {
    /// A simple string such as `OK`.
    fn status(&mut self, text: &str);
    /// An error: its code and text, without the leading `-`. Line breaks become blanks.
    fn error(&mut self, text: &[u8]);
    /// An integer.
    fn integer(&mut self, value: i64);
    /// A binary-safe string.
    fn bulk(&mut self, bytes: &[u8]);
    /// Nothing, where a value was asked for.
    fn null(&mut self);
    /// Nothing, where an array was asked for. The same as `null` in RESP3.
    fn null_array(&mut self);
    /// An array of `len` replies, which follow.
    fn array(&mut self, len: usize);
    /// A map of `pairs` keys, each followed by its value.
    fn map(&mut self, pairs: usize);
    /// A set of `len` replies, which follow.
    fn set(&mut self, len: usize);
    /// An out-of-band message of `len` parts, which follow.
    fn push(&mut self, len: usize);
    /// A floating point number.
    fn double(&mut self, value: f64);
    /// A truth value.
    fn boolean(&mut self, value: bool);
    /// An integer of any length, as decimal text.
    fn big_number(&mut self, digits: &[u8]);
    /// A text with a three-letter format such as `txt`.
    fn verbatim(&mut self, format: &[u8; 3], text: &[u8]);
    /// `pairs` of side information about the reply that follows them.
    fn attribute(&mut self, pairs: usize);
    /// The protocol in which the receiver wants to be spoken to.
    fn protocol(&self) -> Protocol;
    /// Whether nothing more is taken, because the reply has become too large.
    fn is_full(&self) -> bool {
        false
    }
    /// Where the reply has come to, for `rewind`; receivers that cannot go back say 0.
    fn position(&self) -> usize {
        0
    }
    /// Takes back what has come since `position`.
    fn rewind(&mut self, _position: usize) {}
}

/// What stands at the end of a reply of which something was left out: no reply ends like that.
pub const CUT: &[u8] = b"\0cut";

/// Wire bytes: appends RESP to a buffer.
#[derive(Debug)]
pub struct Wire<'a> {
    /// Where the bytes go.
    pub out: &'a mut Vec<u8>,
    /// In which protocol.
    pub protocol: Protocol,
    /// A reply that has made the buffer longer than this takes nothing more, and ends with [`CUT`] when there was more.
    /// So a reply is too long by one value at most, and a value by itself is never too long.
    pub limit: usize,
}

impl Wire<'_> {
    #[inline]
    fn header(&mut self, mark: u8, value: i64) {
        if self.out.len() > self.limit {
            return self.cut();
        }
        self.numbered(mark, value);
    }

    #[inline(always)]
    fn numbered(&mut self, mark: u8, value: i64) {
        if (0..10).contains(&value) {
            self.out.extend_from_slice(&[mark, b'0' + value as u8, b'\r', b'\n']);
        } else {
            self.out.push(mark);
            push_i64(self.out, value);
            self.out.extend_from_slice(b"\r\n");
        }
    }

    fn line(&mut self, mark: u8, text: &[u8]) {
        if self.out.len() > self.limit {
            return self.cut();
        }
        self.out.reserve(text.len() + 3);
        self.out.push(mark);
        self.out.extend_from_slice(text);
        self.out.extend_from_slice(b"\r\n");
    }

    fn is_resp3(&self) -> bool {
        self.protocol == Protocol::Resp3
    }

    /// Leaves something out.
    #[cold]
    fn cut(&mut self) {
        if !self.out.ends_with(CUT) {
            self.out.extend_from_slice(CUT);
        }
    }
}

impl Sink for Wire<'_> {
    #[inline]
    fn status(&mut self, text: &str) {
        self.line(b'+', text.as_bytes());
    }

    fn error(&mut self, text: &[u8]) {
        if self.out.len() > self.limit {
            return self.cut();
        }
        self.out.push(b'-');
        let text = text.strip_suffix(b"\r\n").unwrap_or(text);
        self.out.extend(text.iter().map(|&c| if matches!(c, b'\r' | b'\n') { b' ' } else { c }));
        self.out.extend_from_slice(b"\r\n");
    }

    #[inline]
    fn integer(&mut self, value: i64) {
        self.header(b':', value);
    }

    #[inline]
    fn bulk(&mut self, bytes: &[u8]) {
        if self.out.len() > self.limit {
            return self.cut();
        }
        self.out.reserve(bytes.len() + 16);
        self.numbered(b'$', bytes.len() as i64);
        self.out.extend_from_slice(bytes);
        self.out.extend_from_slice(b"\r\n");
    }

    #[inline]
    fn null(&mut self) {
        if self.out.len() > self.limit {
            return self.cut();
        }
        self.out.extend_from_slice(if self.is_resp3() { b"_\r\n" } else { b"$-1\r\n" });
    }

    fn null_array(&mut self) {
        if self.out.len() > self.limit {
            return self.cut();
        }
        self.out.extend_from_slice(if self.is_resp3() { b"_\r\n" } else { b"*-1\r\n" });
    }

    #[inline]
    fn array(&mut self, len: usize) {
        self.header(b'*', len as i64);
    }

    fn map(&mut self, pairs: usize) {
        if self.is_resp3() { self.header(b'%', pairs as i64) } else { self.header(b'*', pairs as i64 * 2) }
    }

    fn set(&mut self, len: usize) {
        let mark = if self.is_resp3() { b'~' } else { b'*' };
        self.header(mark, len as i64);
    }

    fn push(&mut self, len: usize) {
        let mark = if self.is_resp3() { b'>' } else { b'*' };
        self.header(mark, len as i64);
    }

    fn double(&mut self, value: f64) {
        if self.is_full() {
            self.cut();
        } else if self.is_resp3() {
            self.out.push(b',');
            push_f64(self.out, value);
            self.out.extend_from_slice(b"\r\n");
        } else {
            let mut text = Vec::with_capacity(24);
            push_f64(&mut text, value);
            self.bulk(&text);
        }
    }

    fn boolean(&mut self, value: bool) {
        if self.is_full() {
            self.cut();
        } else if self.is_resp3() {
            self.out.extend_from_slice(if value { b"#t\r\n" } else { b"#f\r\n" });
        } else {
            self.integer(i64::from(value));
        }
    }

    fn big_number(&mut self, digits: &[u8]) {
        if self.is_resp3() { self.line(b'(', digits) } else { self.bulk(digits) }
    }

    fn verbatim(&mut self, format: &[u8; 3], text: &[u8]) {
        if self.is_full() {
            self.cut();
        } else if self.is_resp3() {
            self.header(b'=', text.len() as i64 + 4);
            self.out.extend_from_slice(format);
            self.out.push(b':');
            self.out.extend_from_slice(text);
            self.out.extend_from_slice(b"\r\n");
        } else {
            self.bulk(text);
        }
    }

    fn attribute(&mut self, pairs: usize) {
        if self.is_resp3() {
            self.header(b'|', pairs as i64);
        }
    }

    fn protocol(&self) -> Protocol {
        self.protocol
    }

    fn is_full(&self) -> bool {
        self.out.len() > self.limit
    }

    fn position(&self) -> usize {
        self.out.len()
    }

    fn rewind(&mut self, position: usize) {
        self.out.truncate(position);
    }
}

enum To<'a> {
    Wire(Wire<'a>),
    Sink(&'a mut dyn Sink),
}

/// Where a command writes its reply.
pub struct Reply<'a>(To<'a>);

impl core::fmt::Debug for Reply<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Reply").field("protocol", &self.protocol()).finish()
    }
}

/// One method a piece, sent to whichever receiver this reply has.
macro_rules! forward {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $type:ty),*);)*) => {$(
        $(#[$doc])*
        #[inline]
        pub fn $name(&mut self, $($arg: $type),*) {
            match &mut self.0 {
                To::Wire(wire) => wire.$name($($arg),*),
                To::Sink(sink) => sink.$name($($arg),*),
            }
        }
    )*};
}

impl<'a> Reply<'a> {
    /// A reply that is appended to `out` in `protocol`.
    #[inline]
    pub fn wire(out: &'a mut Vec<u8>, protocol: Protocol) -> Reply<'a> {
        Reply::within(out, protocol, usize::MAX)
    }

    /// A reply that is appended to `out` in `protocol` until that is longer than `limit`; see [`Wire::limit`].
    #[inline]
    pub fn within(out: &'a mut Vec<u8>, protocol: Protocol, limit: usize) -> Reply<'a> {
        Reply(To::Wire(Wire { out, protocol, limit }))
    }

    /// A reply that goes into `sink`.
    pub fn sink(sink: &'a mut dyn Sink) -> Reply<'a> {
        Reply(To::Sink(sink))
    }

    forward! {
        /// A simple string such as `OK`.
        status(text: &str);
        /// An error: code and text, without the leading `-`.
        error(text: &[u8]);
        /// An integer.
        integer(value: i64);
        /// A binary-safe string.
        bulk(bytes: &[u8]);
        /// Nothing, where a value was asked for.
        null();
        /// Nothing, where an array was asked for.
        null_array();
        /// An array of `len` replies, which follow.
        array(len: usize);
        /// A map of `pairs` keys, each followed by its value.
        map(pairs: usize);
        /// A set of `len` replies, which follow.
        set(len: usize);
        /// An out-of-band message of `len` parts, which follow.
        push(len: usize);
        /// A floating point number.
        double(value: f64);
        /// A truth value.
        boolean(value: bool);
        /// An integer of any length, as decimal text.
        big_number(digits: &[u8]);
        /// A text with a three-letter format such as `txt`.
        verbatim(format: &[u8; 3], text: &[u8]);
        /// `pairs` of side information about the reply that follows them.
        attribute(pairs: usize);
    }

    /// `+OK`.
    #[inline]
    pub fn ok(&mut self) {
        match &mut self.0 {
            To::Wire(wire) if wire.is_full() => wire.cut(),
            To::Wire(wire) => wire.out.extend_from_slice(b"+OK\r\n"),
            To::Sink(sink) => sink.status("OK"),
        }
    }

    /// A length or count.
    #[inline]
    pub fn count(&mut self, value: usize) {
        self.integer(value as i64);
    }

    /// An integer as a bulk string, as GET gives a counter.
    pub fn bulk_integer(&mut self, value: i64) {
        self.bulk(itoa::Buffer::new().format(value).as_bytes());
    }

    /// A double as a bulk string in both protocols, as INCRBYFLOAT and ZINCRBY-like scripts expect.
    pub fn bulk_double(&mut self, value: f64) {
        let mut text = Vec::with_capacity(24);
        push_f64(&mut text, value);
        self.bulk(&text);
    }

    /// An array of bulk strings.
    pub fn bulks<B: AsRef<[u8]>>(&mut self, items: &[B]) {
        self.array(items.len());
        for item in items {
            self.bulk(item.as_ref());
        }
    }

    /// The protocol of the receiver.
    #[inline]
    pub fn protocol(&self) -> Protocol {
        match &self.0 {
            To::Wire(wire) => wire.protocol,
            To::Sink(sink) => sink.protocol(),
        }
    }

    /// Whether the receiver speaks RESP3.
    #[inline]
    pub fn is_resp3(&self) -> bool {
        self.protocol() == Protocol::Resp3
    }

    /// Goes on in another protocol (HELLO). A sink keeps its own.
    pub fn set_protocol(&mut self, protocol: Protocol) {
        if let To::Wire(wire) = &mut self.0 {
            wire.protocol = protocol;
        }
    }

    /// The same receiver for a shorter time.
    pub fn reborrow(&mut self) -> Reply<'_> {
        match &mut self.0 {
            To::Wire(wire) => Reply::within(wire.out, wire.protocol, wire.limit),
            To::Sink(sink) => Reply(To::Sink(&mut **sink)),
        }
    }

    /// The receiver as a sink.
    pub fn as_sink(&mut self) -> &mut dyn Sink {
        match &mut self.0 {
            To::Wire(wire) => wire,
            To::Sink(sink) => *sink,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(protocol: Protocol, write: impl Fn(&mut Reply<'_>)) -> String {
        let mut out = Vec::new();
        write(&mut Reply::wire(&mut out, protocol));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_reply_is_too_long_by_one_value_at_most_and_says_what_was_left_out() {
        let mut out = b"+before\r\n".to_vec();
        let limit = out.len() + 20;
        let mut reply = Reply::within(&mut out, Protocol::Resp2, limit);
        reply.bulk(&[b'a'; 100]);
        assert!(!out.ends_with(CUT), "a value by itself is whole");
        let whole = out.len();
        let mut reply = Reply::within(&mut out, Protocol::Resp2, limit);
        for _ in 0..1000 {
            let mut reply = reply.reborrow();
            reply.bulk(&[b'b'; 100]);
            reply.integer(7);
            reply.error(b"ERR no");
            reply.null();
        }
        assert_eq!(out.len(), whole + CUT.len());
        assert!(out.ends_with(CUT));
    }

    #[test]
    fn every_piece_in_both_protocols() {
        type Case = (fn(&mut Reply<'_>), &'static str, &'static str);
        let cases: &[Case] = &[
            (|r| r.ok(), "+OK\r\n", "+OK\r\n"),
            (|r| r.error(b"ERR a\r\nb"), "-ERR a  b\r\n", "-ERR a  b\r\n"),
            (|r| r.integer(-12), ":-12\r\n", ":-12\r\n"),
            (|r| r.bulk(b""), "$0\r\n\r\n", "$0\r\n\r\n"),
            (|r| r.null(), "$-1\r\n", "_\r\n"),
            (|r| r.null_array(), "*-1\r\n", "_\r\n"),
            (|r| r.map(2), "*4\r\n", "%2\r\n"),
            (|r| r.set(12), "*12\r\n", "~12\r\n"),
            (|r| r.push(3), "*3\r\n", ">3\r\n"),
            (|r| r.double(1.5), "$3\r\n1.5\r\n", ",1.5\r\n"),
            (|r| r.double(f64::INFINITY), "$3\r\ninf\r\n", ",inf\r\n"),
            (|r| r.boolean(true), ":1\r\n", "#t\r\n"),
            (|r| r.big_number(b"12"), "$2\r\n12\r\n", "(12\r\n"),
            (|r| r.verbatim(b"txt", b"hi"), "$2\r\nhi\r\n", "=6\r\ntxt:hi\r\n"),
            (|r| r.bulk_integer(7), "$1\r\n7\r\n", "$1\r\n7\r\n"),
            (|r| r.bulks(&["a", "b"]), "*2\r\n$1\r\na\r\n$1\r\nb\r\n", "*2\r\n$1\r\na\r\n$1\r\nb\r\n"),
        ];
        for (write, resp2, resp3) in cases {
            assert_eq!(written(Protocol::Resp2, write), *resp2);
            assert_eq!(written(Protocol::Resp3, write), *resp3);
        }
    }
}
