//! Why a link to a master ends.

use std::fmt;

/// Bytes of a master's words that are told to people.
const SHOWN_BYTES: usize = 256;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The master says that it cannot serve a replica now, and may later.
    NotYet(String),
    /// The master does not take user or password.
    LogIn(String),
    /// The master answers with an error.
    Refused(String),
    /// The master, one of ours, speaks only TLS where it was asked.
    NeedsTls,
    /// The master says what makes no sense.
    Strange(String),
    /// A line of an answer does not end.
    LongLine,
    /// What follows the snapshot is no stream of requests.
    Stream(String),
    /// A request of the stream does not end.
    LongRequest,
    /// The master has said nothing for too long.
    Silent,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::NotYet(why) => {
                write!(f, "Master is currently unable to PSYNC but should be in the future: {why}")
            }
            Fault::LogIn(why) => write!(f, "Unable to AUTH to MASTER: {why}"),
            Fault::Refused(why) => write!(f, "MASTER aborted replication with an error: {why}"),
            Fault::NeedsTls => f.write_str("MASTER speaks only TLS on this port: set tls-replication yes"),
            Fault::Strange(what) => write!(f, "Unexpected reply from the MASTER: {what}"),
            Fault::LongLine => f.write_str("A reply of the MASTER has no end"),
            Fault::Stream(why) => write!(f, "The stream of the MASTER cannot be read: {why}"),
            Fault::LongRequest => f.write_str("A command in the stream of the MASTER is too long"),
            Fault::Silent => f.write_str("MASTER timeout: no data nor PING received..."),
        }
    }
}

impl std::error::Error for Fault {}

/// What a master said, for people: without its mark, its line ends and what is not text.
pub(super) fn text(line: &[u8]) -> String {
    let line = line.strip_prefix(b"-").unwrap_or(line);
    let shown = &line[..line.len().min(SHOWN_BYTES)];
    String::from_utf8_lossy(shown)
        .chars()
        .map(|letter| if letter.is_control() { '?' } else { letter })
        .collect()
}

/// An error of a master, or what is not even that.
pub(super) fn refused(line: &[u8]) -> Fault {
    match line {
        [b'-', error @ ..] if is_passing(error) => Fault::NotYet(text(line)),
        // What it says of it is for clients, who are told by the scheme of an address.
        [b'-', error @ ..] if error.starts_with(b"ERR this port requires TLS") => Fault::NeedsTls,
        [b'-', ..] => Fault::Refused(text(line)),
        _ => strange(line),
    }
}

/// What makes no sense where it stands.
pub(super) fn strange(line: &[u8]) -> Fault {
    Fault::Strange(text(line))
}

/// Whether the state of the master that the error tells of will pass.
fn is_passing(error: &[u8]) -> bool {
    [&b"NOMASTERLINK"[..], b"LOADING", b"MASTERDOWN", b"BUSY"].iter().any(|code| error.starts_with(code))
}
