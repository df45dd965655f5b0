//! Where secrets come from: files, named directly, by a `*_FILE` variable or by systemd's credentials.
//!
//! Never from a command line or a plain variable, since both are shown by `ps` and `docker inspect`.
//! A secret is one line; a file may end with one line break, which is not part of it.

use std::ffi::OsString;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use subtle::ConstantTimeEq;

/// Longest secret file that is read, in bytes: far above any password, far below a mistaken path.
pub const SECRET_BYTES_MAX: u64 = 4096;

/// Random bytes in a secret made here: no search finds 256 bits.
pub const RANDOM_BYTES: usize = 32;

/// Only the owner may read or write.
const OWNER_ONLY: u32 = 0o600;

/// Where container runtimes mount secrets; the mode there is theirs, not the operator's.
const CONTAINER_SECRETS: &str = "/run/secrets";

/// Bytes that must not be shown. Its `Debug` form hides them and comparing takes constant time.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Takes bytes as a secret.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Secret(bytes.into())
    }

    /// A fresh one from the system's random source, as base64url text of [`RANDOM_BYTES`] bytes.
    ///
    /// # Errors
    /// The system's random source could not be read.
    pub fn random() -> io::Result<Self> {
        let mut bytes = [0; RANDOM_BYTES];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        Ok(Secret(as_word(bytes).into_bytes()))
    }

    /// The bytes themselves.
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }

    /// Whether `guess` is this secret; the time taken tells only the lengths apart.
    pub fn matches(&self, guess: &[u8]) -> bool {
        self.0.ct_eq(guess).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A secret that was read, and what the operator should hear about its file.
#[derive(Debug)]
pub struct Found {
    /// The secret.
    pub secret: Secret,
    /// The file it came from.
    pub path: PathBuf,
    /// A sentence for the log when others can read the file.
    pub warning: Option<String>,
}

/// Why a secret could not be had.
#[derive(Debug)]
pub enum SecretError {
    /// The file could not be read or written.
    Io(PathBuf, io::Error),
    /// The file holds nothing.
    Empty(PathBuf),
    /// The file is longer than [`SECRET_BYTES_MAX`].
    TooLong(PathBuf),
    /// The file holds a line break or a NUL inside.
    NotOneLine(PathBuf),
}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SecretError::Io(path, error) => write!(f, "secret file {}: {error}", path.display()),
            SecretError::Empty(path) => write!(f, "secret file {} is empty", path.display()),
            SecretError::TooLong(path) => {
                write!(f, "secret file {} is longer than {SECRET_BYTES_MAX} bytes", path.display())
            }
            SecretError::NotOneLine(path) => {
                write!(f, "secret file {} must hold one line of text", path.display())
            }
        }
    }
}

impl std::error::Error for SecretError {}

/// The places one secret may come from, best first: a file named in the configuration, the file named by
/// a variable, a credential that the service manager hands over.
#[derive(Clone, Debug)]
pub struct Sources<'a> {
    /// A file named in the configuration.
    pub file: Option<&'a Path>,
    /// Name of the variable that holds a file's path, such as `TANDEM_PASSWORD_FILE`.
    pub variable: &'a str,
    /// Name inside `$CREDENTIALS_DIRECTORY`, such as `password`.
    pub credential: &'a str,
}

impl Sources<'_> {
    /// Reads the first source that is named; `None` when none is. A source that is named but cannot be
    /// read is an error, never a reason to go on without a password.
    ///
    /// # Errors
    /// The named file is missing, unreadable, empty, too long or not one line.
    pub fn resolve(&self, env: &dyn Fn(&str) -> Option<OsString>) -> Result<Option<Found>, SecretError> {
        if let Some(path) = self.file {
            return read(path).map(Some);
        }
        if let Some(path) = env(self.variable).filter(|path| !path.is_empty()) {
            return read(Path::new(&path)).map(Some);
        }
        let Some(directory) = env("CREDENTIALS_DIRECTORY") else { return Ok(None) };
        let path = Path::new(&directory).join(self.credential);
        // Only this source is found by looking: a unit may load other credentials and not this one.
        if path.exists() { read(&path).map(Some) } else { Ok(None) }
    }
}

/// Reads a secret from a file.
///
/// # Errors
/// See [`SecretError`].
pub fn read(path: &Path) -> Result<Found, SecretError> {
    let io_error = |error| SecretError::Io(path.to_owned(), error);
    let file = File::open(path).map_err(io_error)?;
    let mode = file.metadata().map_err(io_error)?.permissions().mode();
    let mut bytes = Vec::new();
    file.take(SECRET_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(io_error)?;
    if bytes.len() as u64 > SECRET_BYTES_MAX {
        return Err(SecretError::TooLong(path.to_owned()));
    }
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    if bytes.is_empty() {
        return Err(SecretError::Empty(path.to_owned()));
    }
    if bytes.iter().any(|byte| matches!(byte, b'\n' | b'\r' | 0)) {
        return Err(SecretError::NotOneLine(path.to_owned()));
    }
    Ok(Found { secret: Secret(bytes), path: path.to_owned(), warning: too_open(path, mode) })
}

/// Reads the secret in `path`, or makes a random one there, readable by the owner only and durable
/// before it is returned. Of two processes that race, both return the same secret.
///
/// # Errors
/// See [`SecretError`].
pub fn read_or_create(path: &Path) -> Result<Found, SecretError> {
    match read(path) {
        Err(SecretError::Io(_, error)) if error.kind() == io::ErrorKind::NotFound => {}
        found => return found,
    }
    let io_error = |error| SecretError::Io(path.to_owned(), error);
    let mut line = Secret::random().map_err(io_error)?.0;
    line.push(b'\n');
    match write_private(path, &line, Existing::Keep) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(io_error(error)),
        _ => read(path),
    }
}

/// What to do with a file that is already there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existing {
    Keep,
    Replace,
}

/// Writes an owner-only file whole or not at all: a temporary neighbour, synced, then moved into place.
pub(crate) fn write_private(path: &Path, bytes: &[u8], existing: Existing) -> io::Result<()> {
    write_whole(path, bytes, existing, OWNER_ONLY)
}

/// As [`write_private`], with the mode given.
pub(crate) fn write_whole(path: &Path, bytes: &[u8], existing: Existing, mode: u32) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut mark = [0; 8];
    getrandom::fill(&mut mark).map_err(io::Error::other)?;
    let temporary = directory.join(format!(".new-{:016x}", u64::from_ne_bytes(mark)));
    let result = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        // The umask may have taken bits away; the mode asked for is the contract.
        file.set_permissions(std::fs::Permissions::from_mode(mode))?;
        file.write_all(bytes)?;
        file.sync_all()?;
        match existing {
            Existing::Replace => std::fs::rename(&temporary, path)?,
            Existing::Keep => std::fs::hard_link(&temporary, path)?,
        }
        File::open(directory)?.sync_all()
    })();
    if existing == Existing::Keep || result.is_err() {
        // After a link the temporary name is spare; after an error it is rubbish, and the error counts.
        let _ = std::fs::remove_file(&temporary);
    }
    result
}

/// A sentence about a file that more than its owner can read, `None` when it is private enough.
fn too_open(path: &Path, mode: u32) -> Option<String> {
    if mode & 0o077 == 0 || path.starts_with(CONTAINER_SECRETS) {
        return None;
    }
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY");
    if credentials.is_some_and(|directory| path.starts_with(directory)) {
        return None;
    }
    Some(format!(
        "secret file {} can be read by others (mode {:03o}); chmod 600 it",
        path.display(),
        mode & 0o777
    ))
}

/// A sentence about a file with secrets in it that everybody on the machine can read; `None` when that is not so, or no such file is
/// there.
pub fn exposure(path: &Path) -> Option<String> {
    let mode = std::fs::metadata(path).ok()?.permissions().mode();
    if mode & 0o007 == 0 { None } else { too_open(path, mode) }
}

/// Random bytes as text that no command line takes for an option: its first letter is none of the last 2 of 64, for the sake of
/// which the first 5 bits of the 256 are not all set.
fn as_word(mut bytes: [u8; RANDOM_BYTES]) -> String {
    const FIRST_BITS: u8 = 0b1111_1000;
    if bytes[0] & FIRST_BITS == FIRST_BITS {
        bytes[0] &= 0b0111_1111;
    }
    base64url(&bytes)
}

/// Base64 with the URL alphabet and no padding, so that it needs no quoting in a `redis://` URL.
fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut group = [0; 4];
        group[1..=chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes(group);
        for place in 0..=chunk.len() {
            text.push(char::from(ALPHABET[(bits >> (18 - 6 * place)) as usize & 63]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(directory: &Path, name: &str, bytes: &[u8], mode: u32) -> PathBuf {
        let path = directory.join(name);
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn base64url_matches_the_standard_vectors() {
        for (plain, text) in
            [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy"), ("??>", "Pz8-")]
        {
            assert_eq!(base64url(plain.as_bytes()), text);
        }
    }

    #[test]
    fn no_secret_looks_like_an_option() {
        for first in 0..=u8::MAX {
            let mut bytes = [255; RANDOM_BYTES];
            bytes[0] = first;
            let word = as_word(bytes);
            assert!(word.starts_with(|letter: char| letter.is_ascii_alphanumeric()), "{word}");
        }
    }

    #[test]
    fn a_created_secret_is_private_long_and_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("password");
        let first = read_or_create(&path).unwrap();
        assert_eq!(first.secret.reveal().len(), 43);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(first.warning.is_none());
        let second = read_or_create(&path).unwrap();
        assert!(second.secret.matches(first.secret.reveal()));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "no temporary file stays");
    }

    #[test]
    fn an_open_file_warns_and_odd_contents_are_errors() {
        let directory = tempfile::tempdir().unwrap();
        let path = file(directory.path(), "a", b"word\r\n", 0o644);
        let open = read(&path).unwrap();
        assert!(exposure(&path).unwrap().contains("mode 644"));
        assert_eq!(exposure(&file(directory.path(), "e", b"x", 0o640)), None);
        assert_eq!(exposure(Path::new("/nonexistent/x")), None);
        assert_eq!(open.secret.reveal(), b"word");
        assert!(open.warning.unwrap().contains("mode 644"));
        let empty = read(&file(directory.path(), "b", b"\n", 0o600)).unwrap_err();
        assert!(matches!(empty, SecretError::Empty(_)));
        let lines = read(&file(directory.path(), "c", b"one\ntwo\n", 0o600)).unwrap_err();
        assert!(matches!(lines, SecretError::NotOneLine(_)));
        let long = read(&file(directory.path(), "d", &[b'x'; 5000], 0o600)).unwrap_err();
        assert!(matches!(long, SecretError::TooLong(_)));
    }

    #[test]
    fn a_named_source_that_is_missing_is_an_error_and_no_source_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = file(directory.path(), "password", b"pw\n", 0o600);
        let sources = Sources { file: None, variable: "TANDEM_PASSWORD_FILE", credential: "password" };
        assert!(sources.resolve(&|_| None).unwrap().is_none());
        let by_variable =
            sources.resolve(&|name| (name == "TANDEM_PASSWORD_FILE").then(|| path.clone().into()));
        assert_eq!(by_variable.unwrap().unwrap().secret.reveal(), b"pw");
        let by_credential =
            sources.resolve(&|name| (name == "CREDENTIALS_DIRECTORY").then(|| directory.path().into()));
        assert_eq!(by_credential.unwrap().unwrap().secret.reveal(), b"pw");
        let gone = sources.resolve(&|name| (name == "TANDEM_PASSWORD_FILE").then(|| "/nonexistent/x".into()));
        assert!(gone.unwrap_err().to_string().contains("/nonexistent/x"));
    }

    #[test]
    fn a_secret_never_shows_itself() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "Secret(…)");
        assert!(!Secret::new("hunter2").matches(b"hunter3"));
        assert!(!Secret::new("hunter2").matches(b"hunter"));
    }
}
