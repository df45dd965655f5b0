//! Why a run ends early, and with which code.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::link::{ConnectError, LinkError, plain};
use crate::options::Misuse;
use crate::place::FindError;

/// The exit code of a run that has not done what it was asked.
const FAILED: u8 = 1;

/// The exit code of a program whose reader has gone: what a shell makes of SIGPIPE.
const NOBODY_READS: u8 = 141;

/// Why a run ends early.
#[derive(Debug)]
pub(crate) enum Failure {
    Misuse(Misuse),
    Find(FindError),
    /// A user was named at an instance that was found, and no password of his.
    WhosePassword(Vec<u8>),
    Connect(ConnectError),
    Link(LinkError),
    /// A server's error that ends the run, as it is.
    Refused(Vec<u8>),
    /// The same, behind what was asked.
    Refusal(&'static str, Vec<u8>),
    /// A reply of another shape than the question has.
    Unexpected(&'static str),
    /// A sentence of our own.
    Sentence(&'static str),
    /// A file and what was wanted of it.
    File(&'static str, PathBuf, io::Error),
    /// Standard input cannot be read.
    Input(io::Error),
    /// Standard output cannot be written.
    Output(io::Error),
    /// All has been said.
    Told,
}

impl Failure {
    /// The exit code.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => NOBODY_READS,
            _ => FAILED,
        }
    }

    /// What standard error is told, if anything.
    pub(crate) fn text(&self) -> Option<Vec<u8>> {
        match self {
            Failure::Told => None,
            Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => None,
            Failure::Refused(text) => Some(text.clone()),
            Failure::Refusal(what, text) => Some([what.as_bytes(), b": ", text].concat()),
            other => Some(other.to_string().into_bytes()),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Misuse(misuse) => misuse.fmt(f),
            Failure::Find(error) => error.fmt(f),
            Failure::WhosePassword(user) => write!(
                f,
                "--user {}: no password was given, and what --cache and --queue find is the default user's; type it with \
                 --askpass, or give it in $REDISCLI_AUTH",
                String::from_utf8_lossy(user)
            ),
            Failure::Connect(error) => error.fmt(f),
            Failure::Link(error) => write!(f, "Error: {error}"),
            Failure::Refused(text) => f.write_str(&String::from_utf8_lossy(text)),
            Failure::Refusal(what, text) => write!(f, "{what}: {}", String::from_utf8_lossy(text)),
            Failure::Unexpected(what) => write!(f, "Error: the reply to {what} is not what it should be"),
            Failure::Sentence(text) => f.write_str(text),
            Failure::File(what, path, error) => write!(f, "{what} '{}': {}", path.display(), plain(error)),
            Failure::Input(error) => write!(f, "Error: standard input: {}", plain(error)),
            Failure::Output(error) => write!(f, "Error: standard output: {}", plain(error)),
            Failure::Told => Ok(()),
        }
    }
}

impl From<Misuse> for Failure {
    fn from(misuse: Misuse) -> Failure {
        Failure::Misuse(misuse)
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Failure {
        Failure::Connect(error)
    }
}

impl From<LinkError> for Failure {
    fn from(error: LinkError) -> Failure {
        Failure::Link(error)
    }
}

impl From<FindError> for Failure {
    fn from(error: FindError) -> Failure {
        Failure::Find(error)
    }
}

/// Errors of standard output are the only ones that are passed on as they are.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Output(error)
    }
}
