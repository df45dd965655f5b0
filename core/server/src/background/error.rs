//! Why a file of settings could not be read or written. The texts are what clients get and the log has.

use std::path::PathBuf;
use std::{fmt, io};

use config::LoadError;
use control::password::PasswordError;
use control::secrets::SecretError;

/// Why a file could not be replaced.
#[derive(Debug)]
pub(crate) enum FileError {
    /// Its path ends in no name.
    NoName,
    /// The disk.
    Io(io::Error),
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileError::NoName => f.write_str("the file has no name"),
            FileError::Io(error) => f.write_str(&base::fault::text(error)),
        }
    }
}

impl std::error::Error for FileError {}

/// Why CONFIG REWRITE is refused, or has failed.
#[derive(Debug)]
pub(crate) enum RewriteError {
    /// The server was started without a file.
    NoFile,
    /// It was started with a file that is not rewritten.
    Toml,
    /// A file that it includes cannot be read.
    Included(LoadError),
    /// What is wrong with the users that an included file tells of.
    Users(String),
    /// An included file tells of this user, who is another one now.
    UserChanged(String),
    /// The file cannot be written.
    File(FileError),
    /// The ACL file of that path cannot be given the default user's password.
    Password(PathBuf, FileError),
}

impl fmt::Display for RewriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RewriteError::NoFile => f.write_str("The server is running without a config file"),
            RewriteError::Toml => {
                f.write_str("the server was started with a TOML file, and only a redis.conf can be rewritten")
            }
            RewriteError::Included(error) => error.fmt(f),
            RewriteError::Users(why) => f.write_str(why),
            RewriteError::UserChanged(name) => {
                write!(f, "user '{name}' has changed and is told in an included file: change it there")
            }
            RewriteError::File(error) => write!(f, "Rewriting config file: {error}"),
            RewriteError::Password(path, error) => {
                write!(f, "Keeping requirepass in the ACL file '{}': {error}", path.display())
            }
        }
    }
}

impl std::error::Error for RewriteError {}

/// Why an ACL file is not in force. The text is a whole error reply.
#[derive(Debug)]
pub(crate) enum AclFileError {
    /// It cannot be read.
    Unread(PathBuf, io::Error),
    /// What is wrong with its lines.
    Rules(String),
}

impl fmt::Display for AclFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AclFileError::Unread(path, error) => {
                let error = base::fault::text(error);
                write!(f, "ERR Error loading ACLs, opening file '{}': {error}", path.display())
            }
            AclFileError::Rules(why) => write!(f, "ERR {why}"),
        }
    }
}

impl std::error::Error for AclFileError {}

/// Why the password in a file is not the default user's.
#[derive(Debug)]
pub(crate) enum PasswordFileError {
    /// The file.
    Secret(SecretError),
    /// No record can be made of what it holds.
    Hash(PasswordError),
}

impl fmt::Display for PasswordFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PasswordFileError::Secret(error) => error.fmt(f),
            PasswordFileError::Hash(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for PasswordFileError {}
