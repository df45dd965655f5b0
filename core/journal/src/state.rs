//! The state of the log's writer.
//!
//! ```text
//!           open(first base awaited)           based
//!   Off ------------------------------> Starting ----> Running
//!    | open                                |              |  ^
//!    +-------------------------------------|--------------+  |  replaced
//!    ^                                     | end          |  |
//!    |   ended                             v              |  +--- Replacing <----> Running(Failed)
//!    +----------------------------------- Ending <--------+                 begin_replacement, given up
//! ```
//! Starting and Running say how the file is:
//!
//! ```text
//!             a write fails, nothing of it stayed        a sync fails, or a write that cannot be taken back,
//!   Ready ----------------------------------------->     or somebody has changed the files
//!     ^  <----------------------------------------- Retrying          Ready, Retrying  ------------->  Failed
//!             a write succeeds
//! ```
//! *Retrying*: what could not be written is kept and offered again. *Failed* is final for the file: nothing is offered, until a base
//! written from memory replaces the log.

/// What became of a write, when it failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing of it stayed in the file: it can be tried again.
    Retry(String),
    /// The file is not trusted any more.
    Final(String),
}

/// How the file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It takes what comes.
    Ready,
    /// The last write failed, and will be tried again.
    Retrying(String),
    /// It must be replaced.
    Failed(String),
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// There is no log.
    Off,
    /// Commits are logged; a start would not find them before the first base is published.
    Starting(Health),
    /// Commits are logged, and are what a start would find.
    Running(Health),
    /// A base is written that replaces the failed log: it holds all up to here.
    Replacing {
        /// The position of the moment that the base holds.
        covered: u64,
        /// What has gone wrong with the log.
        why: String,
    },
    /// Nothing more is logged; what was is still written.
    Ending,
}

impl State {
    /// Whether commits are logged.
    pub fn logs(&self) -> bool {
        !matches!(self, State::Off | State::Ending)
    }

    /// Whether what is logged is what a start would find.
    pub fn is_whole(&self) -> bool {
        matches!(self, State::Running(_) | State::Replacing { .. })
    }

    /// How the file is; none where there is none to write to.
    pub fn health(&self) -> Option<&Health> {
        match self {
            State::Starting(health) | State::Running(health) => Some(health),
            State::Off | State::Replacing { .. } | State::Ending => None,
        }
    }

    /// What has gone wrong with the log, if anything has.
    pub fn trouble(&self) -> Option<&str> {
        match self {
            State::Replacing { why, .. } => Some(why),
            _ => match self.health()? {
                Health::Ready => None,
                Health::Retrying(why) | Health::Failed(why) => Some(why),
            },
        }
    }

    /// Whether what waits may be written.
    pub(crate) fn takes_writes(&self) -> bool {
        match self {
            State::Ending => true,
            _ => self.health().is_some_and(|health| !matches!(health, Health::Failed(_))),
        }
    }

    /// The file is so from now on.
    pub(crate) fn set_health(&mut self, new: Health) {
        if let State::Starting(health) | State::Running(health) = self {
            *health = new;
        }
    }
}
