//! Why a link to a master has ended.

use std::fmt;
use std::io;

use control::outgoing::OutgoingError;
use replication::replica::Fault;

use crate::loader::SnapshotFault;

/// See the module.
#[derive(Debug)]
pub(super) enum Ended {
    /// Another master is wanted, or none, or the server ends.
    Changed,
    /// The link is to be encrypted, and cannot be.
    NotEncrypted(OutgoingError),
    /// No connection can be made.
    Unreachable(io::Error),
    /// The connection is gone.
    Lost(io::Error),
    /// The master has closed it.
    Closed,
    /// What the protocol says.
    Fault(Fault),
    /// The master's data set cannot be held here, or not be read.
    Unusable(SnapshotFault),
    /// The master's data set cannot take the place of the own one now.
    Unadopted(String),
    /// A command of the stream did not fit: the data is not that of the master any more.
    Diverged(String),
}

impl Ended {
    /// By what a socket says. A connection over TLS that is cut says so, and what it adds to that is for programmers.
    pub(super) fn by(error: io::Error) -> Ended {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Ended::Closed,
            _ => Ended::Lost(error),
        }
    }

    /// Whether the master has made a snapshot in vain, or is to make one because of it.
    pub(super) fn is_costly(&self) -> bool {
        matches!(self, Ended::Unusable(_) | Ended::Unadopted(_) | Ended::Diverged(_))
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ended::Changed => f.write_str("it is not wanted any more"),
            Ended::NotEncrypted(error) => {
                write!(f, "No TLS connection to MASTER (tls-replication yes): {error}")
            }
            Ended::Unreachable(error) => write!(f, "Unable to connect to MASTER: {error}"),
            Ended::Lost(error) => write!(f, "Connection with master lost: {error}"),
            Ended::Closed => f.write_str("Connection with master lost: the master has closed it"),
            Ended::Fault(fault) => fault.fmt(f),
            Ended::Unusable(why) => write!(
                f,
                "Failed trying to load the MASTER synchronization DB: {why}. The data set that was here before is kept"
            ),
            Ended::Unadopted(why) => {
                write!(f, "The data set of the MASTER is here, but cannot be taken over now: {why}")
            }
            Ended::Diverged(why) => write!(
                f,
                "A command of the MASTER did not fit the data here, so a whole copy is asked for: {why}"
            ),
        }
    }
}

impl From<Fault> for Ended {
    fn from(fault: Fault) -> Ended {
        Ended::Fault(fault)
    }
}
