//! What the program around this crate knows: where this machine's instances are, and what it is called.

use std::fmt;
use std::path::PathBuf;

use crate::options::Role;

/// How to reach an instance without anything typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Name or address of the host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The default user's password, if it has one.
    pub password: Option<FoundPassword>,
    /// The authority of its certificate, where TLS must be spoken.
    pub authority: Option<PathBuf>,
}

/// A password that nobody typed.
#[derive(Clone, PartialEq, Eq)]
pub struct FoundPassword {
    /// The password itself.
    pub secret: Vec<u8>,
    /// Where it stands, for one whom it does not let in.
    pub source: String,
}

impl fmt::Debug for FoundPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FoundPassword").field("source", &self.source).finish_non_exhaustive()
    }
}

/// Why an instance was not found: a sentence that says where it was looked for and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FindError(pub String);

impl fmt::Display for FindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Finds this machine's instances.
pub trait Finder {
    /// The instance of this role; of the `tandem up` that has its files in `folder`, if one is named.
    ///
    /// # Errors
    /// There is none, or its password may not be read.
    fn find(&self, role: Role, folder: Option<&str>) -> Result<Place, FindError>;
}

/// What a run finds around it.
pub struct Surroundings<'a> {
    /// What the program was started as: `redis-cli`, or `tandem cli`.
    pub name: &'a str,
    /// The version behind that name.
    pub version: &'a str,
    /// Whom `--cache` and `--queue` ask.
    pub finder: &'a dyn Finder,
    /// Ports that are tried one after the other where none is named.
    pub ports: &'a [u16],
    /// Where the prompt keeps what was typed, unless a variable says otherwise.
    pub history: Option<PathBuf>,
}
