//! Where objects lie: what is needed of any repository, and who has it.
//!
//! What an object store must have is one thing beyond the ordinary: to put an object only where there is none. Objects are written and read
//! as streams, since a base may be larger than memory; so an object has its name before it is known what is in it.

mod directory;
mod url;

use std::io::{self, Read, Write};
use std::path::PathBuf;

pub use directory::Directory;
pub use url::{Provider, RepositoryUrl, UrlError};

use crate::error::ArchiveError;

/// What a name begins with while the object is being written.
const TEMP: &str = "temp-";

/// A repository. One may be used by several threads.
pub trait Store: Send + Sync {
    /// The names of all objects, `folder/name`, in order.
    ///
    /// # Errors
    /// It cannot be asked.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Begins an object, which is there when it is finished.
    ///
    /// # Errors
    /// It cannot be written.
    fn upload(&self, name: &str) -> io::Result<Box<dyn Upload + '_>>;
    /// Reads an object from its beginning.
    ///
    /// # Errors
    /// It is not there, or cannot be read.
    fn read(&self, name: &str) -> io::Result<Box<dyn Read>>;
    /// Removes an object for good.
    ///
    /// # Errors
    /// It is not there, or may not be removed.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// How long ago an object was put there, seconds.
    ///
    /// # Errors
    /// It is not there, or cannot be asked.
    fn age_s(&self, name: &str) -> io::Result<u64>;
    /// Removes what uploads that were never finished have left, if they are older than so many seconds; how many that were.
    ///
    /// # Errors
    /// It cannot be asked.
    fn sweep(&self, age_s_min: u64) -> io::Result<usize>;
}

/// An object that is being written. Dropped unfinished it never was.
pub trait Upload: Write {
    /// Puts it there, durably.
    ///
    /// # Errors
    /// `AlreadyExists` where there is one of that name, which stays as it is.
    fn finish(self: Box<Self>) -> io::Result<()>;
}

/// How a repository is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreOptions {
    /// Makes a directory that is not there. A bucket is never made.
    pub create: bool,
    /// The address of a service that speaks S3, `http://host:port`; the provider's own if there is none.
    pub endpoint: Option<String>,
    /// The file with the credentials; those of the environment if there is none.
    pub credentials: Option<PathBuf>,
}

/// Opens the repository at a URL. What it gives blocks the thread that calls it.
///
/// # Errors
/// It is not there, may not be used, or the options do not fit.
pub fn open_store(url: &RepositoryUrl, options: &StoreOptions) -> Result<Box<dyn Store>, ArchiveError> {
    let opened = match url {
        RepositoryUrl::Directory(path) if options.create => Directory::create(path),
        RepositoryUrl::Directory(path) => Directory::open(path),
        RepositoryUrl::Bucket { .. } => {
            Err(io::Error::new(io::ErrorKind::Unsupported, "only directories can be repositories"))
        }
    };
    Ok(Box::new(opened.map_err(|error| ArchiveError::Open(url.to_string(), error))?))
}

/// So much chance that two never have the same, as text.
pub(crate) fn random_hex() -> io::Result<String> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    Ok(format!("{:016x}", u64::from_le_bytes(random)))
}
