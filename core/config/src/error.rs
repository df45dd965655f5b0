//! The two ways in which configuration fails, in Redis' words because people and scripts look for them.

use std::fmt;

/// Why a server cannot start with what it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadError {
    /// Where the words came from: a file, `command line`, a variable's name.
    pub origin: String,
    /// Line in that place, from 1; 0 when it has no lines.
    pub line: usize,
    /// The offending text, secrets left out.
    pub text: String,
    /// What is wrong with it.
    pub why: String,
}

impl LoadError {
    /// An error that is not about one line.
    pub fn about(origin: impl Into<String>, text: impl Into<String>, why: impl Into<String>) -> LoadError {
        LoadError { origin: origin.into(), line: 0, text: text.into(), why: why.into() }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "*** FATAL CONFIG FILE ERROR ***")?;
        if self.line > 0 {
            writeln!(out, "Reading the configuration file, at line {}", self.line)?;
        }
        if !self.origin.is_empty() {
            writeln!(out, "(from {})", self.origin)?;
        }
        if !self.text.is_empty() {
            writeln!(out, ">>> '{}'", self.text)?;
        }
        write!(out, "{}", self.why)
    }
}

impl std::error::Error for LoadError {}

/// Why `CONFIG SET` changed nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetError {
    /// No such directive.
    Unknown(String),
    /// A directive that cannot take the value.
    Failed {
        /// The name as the client wrote it.
        name: String,
        /// The reason.
        why: String,
    },
}

impl SetError {
    /// An error about one directive, for what only the server can find out (a port in use, a missing folder).
    pub fn failed(name: impl Into<String>, why: impl Into<String>) -> SetError {
        SetError::Failed { name: name.into(), why: why.into() }
    }
}

impl fmt::Display for SetError {
    /// The reply's text, beginning with `ERR`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SetError::Unknown(name) => {
                write!(out, "ERR Unknown option or number of arguments for CONFIG SET - '{name}'")
            }
            SetError::Failed { name, why } => {
                write!(out, "ERR CONFIG SET failed (possibly related to argument '{name}') - {why}")
            }
        }
    }
}

impl std::error::Error for SetError {}
