//! Why a command was refused, in Redis' words: clients match on them.

use keyspace::{DumpError, WrongType};
use std::borrow::Cow;

/// An error reply: code and text, without the leading `-`. Bytes rather than characters, because it may quote what a client has sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(Cause);

/// What the server knows of an error besides its text.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Cause {
    /// Nothing.
    Text(Cow<'static, [u8]>),
    /// A payload of DUMP whose value is damaged.
    BadPayload,
}

// A handler's result is not made larger by what it hardly ever is.
const _: () = assert!(size_of::<Error>() == size_of::<Cow<'static, [u8]>>());

impl Error {
    /// The key holds another type than the command works on.
    pub const WRONG_TYPE: Error =
        Error::new("WRONGTYPE Operation against a key holding the wrong kind of value");
    /// Options that make no sense together or at all.
    pub const SYNTAX: Error = Error::new("ERR syntax error");
    /// An argument that must be an integer is none, or does not fit.
    pub const NOT_AN_INTEGER: Error = Error::new("ERR value is not an integer or out of range");
    /// An argument that must be a double is none.
    pub const NOT_A_FLOAT: Error = Error::new("ERR value is not a valid float");
    /// A sum that does not fit.
    pub const OVERFLOW: Error = Error::new("ERR increment or decrement would overflow");
    /// The key must exist.
    pub const NO_SUCH_KEY: Error = Error::new("ERR no such key");
    /// An index beyond the ends.
    pub const INDEX_OUT_OF_RANGE: Error = Error::new("ERR index out of range");
    /// A value that must be positive is not.
    pub const OUT_OF_RANGE_POSITIVE: Error = Error::new("ERR value is out of range, must be positive");
    /// A string would become longer than allowed.
    pub const TOO_LONG: Error = Error::new("ERR string exceeds maximum allowed size (proto-max-bulk-len)");
    /// A blocking time-out that is no number.
    pub const TIMEOUT_NOT_A_FLOAT: Error = Error::new("ERR timeout is not a float or out of range");
    /// A negative blocking time-out.
    pub const TIMEOUT_NEGATIVE: Error = Error::new("ERR timeout is negative");

    /// The value in a payload of DUMP is damaged. The server's log tells what is wrong with it.
    pub const BAD_PAYLOAD: Error = Error(Cause::BadPayload);

    /// An error with a fixed text.
    pub const fn new(text: &'static str) -> Error {
        Error(Cause::Text(Cow::Borrowed(text.as_bytes())))
    }

    /// An error with a text of its own.
    pub fn text(text: impl Into<Vec<u8>>) -> Error {
        Error(Cause::Text(Cow::Owned(text.into())))
    }

    /// `template` with each `{}` in it replaced by the next of `words`, byte by byte.
    pub fn quoting(template: &str, words: &[&[u8]]) -> Error {
        let mut parts = template.split("{}");
        let mut text = parts.next().unwrap_or_default().as_bytes().to_vec();
        for (word, part) in words.iter().zip(parts) {
            text.extend_from_slice(word);
            text.extend_from_slice(part.as_bytes());
        }
        Error(Cause::Text(Cow::Owned(text)))
    }

    /// The wrong number of arguments for `command` (lower case, `config|get` for subcommands).
    pub fn arity(command: &str) -> Error {
        Error::text(format!("ERR wrong number of arguments for '{command}' command"))
    }

    /// The reply text.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Cause::Text(text) => text,
            Cause::BadPayload => b"ERR Bad data format",
        }
    }

    /// The text for a reader; what is no UTF-8 in it is replaced.
    pub fn shown(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.as_bytes())
    }
}

impl From<DumpError> for Error {
    fn from(error: DumpError) -> Error {
        match error {
            DumpError::Frame => Error::new("ERR DUMP payload version or checksum are wrong"),
            DumpError::Value => Error::BAD_PAYLOAD,
        }
    }
}

impl From<WrongType> for Error {
    fn from(_: WrongType) -> Error {
        Error::WRONG_TYPE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quoted_keeps_its_bytes() {
        let error = Error::quoting("ERR no '{}' in '{}'.", &[b"\xff{}", b""]);
        assert_eq!(error.as_bytes(), b"ERR no '\xff{}' in ''.");
        assert_eq!(error.shown(), "ERR no '\u{fffd}{}' in ''.");
    }
}
