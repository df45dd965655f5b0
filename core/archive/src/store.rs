//! Where objects lie: what is needed of any repository, and who has it.
//!
//! What an object store must have is one thing beyond the ordinary: to put an object only where there is none. Objects are written and read
//! as streams, since a base may be larger than memory; so an object has its name before it is known what is in it.

mod bucket;
mod credentials;
mod directory;
mod url;

use std::fmt;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

pub use credentials::CredentialsError;
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
    /// Reads small objects, in this order, each up to so many bytes. Where each takes a journey, many travel at once.
    fn read_all(&self, names: &[String], bytes_max: u64) -> Vec<io::Result<Vec<u8>>> {
        let read = |name: &String| {
            let mut bytes = Vec::new();
            self.read(name)?.take(bytes_max).read_to_end(&mut bytes).map(|_| bytes)
        };
        names.iter().map(read).collect()
    }
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

/// Why a repository is not opened.
#[derive(Debug)]
pub enum StoreError {
    /// It is not there, or may not be used.
    Io(io::Error),
    /// The credentials cannot be used.
    Credentials(CredentialsError),
    /// What is said of the service is incomplete or wrong.
    Settings(String),
    /// The address is none.
    Endpoint(&'static str),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Io(error) => error.fmt(f),
            StoreError::Credentials(error) => error.fmt(f),
            StoreError::Settings(what) => f.write_str(what),
            StoreError::Endpoint(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for StoreError {}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> StoreError {
        StoreError::Io(error)
    }
}

impl From<CredentialsError> for StoreError {
    fn from(error: CredentialsError) -> StoreError {
        StoreError::Credentials(error)
    }
}

/// Whether the repository could not be asked, so that the answer says nothing of the object.
pub(crate) fn is_away(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, NotConnected, ResourceBusy, TimedOut};
    matches!(error.kind(), ConnectionAborted | NotConnected | ResourceBusy | TimedOut)
}

/// Opens the repository at a URL, and looks whether it answers. What it gives blocks the thread that calls it, which must not be one of an
/// asynchronous runtime.
///
/// # Errors
/// It is not there, may not be used, or the options do not fit.
pub fn open_store(url: &RepositoryUrl, options: &StoreOptions) -> Result<Box<dyn Store>, ArchiveError> {
    let opened = match url {
        RepositoryUrl::Directory(path) => open_directory(path, options),
        RepositoryUrl::Bucket { provider, bucket, prefix } => {
            let place = bucket::Place { provider: *provider, bucket, prefix };
            bucket::open(&place, options).map(|bucket| Box::new(bucket) as Box<dyn Store>)
        }
    };
    opened.map_err(|error| ArchiveError::Open(url.to_string(), error))
}

fn open_directory(path: &Path, options: &StoreOptions) -> Result<Box<dyn Store>, StoreError> {
    if options.endpoint.is_some() {
        return Err(StoreError::Endpoint("a directory has no endpoint: is a URL meant, s3://bucket?"));
    }
    let opened = if options.create { Directory::create(path) } else { Directory::open(path) };
    Ok(Box::new(opened?))
}

/// Refuses a repository that lies in a server's directory, by whatever name. In `/`, where a server is that was told no directory, lies
/// everything.
///
/// # Errors
/// [`ArchiveError::Inside`].
pub fn refuse_inside(url: &RepositoryUrl, dir: &Path) -> Result<(), ArchiveError> {
    let RepositoryUrl::Directory(repository) = url else { return Ok(()) };
    let dir_is_root = real(dir).parent().is_none();
    match !dir_is_root && real(repository).starts_with(real(dir)) {
        true => Err(ArchiveError::Inside { repository: repository.clone(), dir: dir.to_owned() }),
        false => Ok(()),
    }
}

/// A path without links, as far as it is there. An empty one is that of the present directory, and not the beginning of every other.
fn real(path: &Path) -> PathBuf {
    let path = &Path::new(".").join(path);
    let there = path.ancestors().find_map(|part| Some((part, part.canonicalize().ok()?)));
    match there.and_then(|(part, real)| Some(real.join(path.strip_prefix(part).ok()?))) {
        Some(real) => real,
        None => path.to_owned(),
    }
}

/// So much chance that two never have the same, as text.
pub(crate) fn random_hex() -> io::Result<String> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    Ok(format!("{:016x}", u64::from_le_bytes(random)))
}
