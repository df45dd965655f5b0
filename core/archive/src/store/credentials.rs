//! The file with the credentials of a service.
//!
//! It holds lines `name = value` with the names that the environment has for them (`AWS_ACCESS_KEY_ID`, in any case), so a file for
//! `EnvironmentFile=` and one of the AWS tools with one profile are both read, or it is the JSON that Google gives for a service account.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// The name of the file in `$CREDENTIALS_DIRECTORY`.
const CREDENTIAL: &str = "backup-credentials";
/// Where containers get their secrets, which belong to somebody else there.
const CONTAINER_SECRETS: &str = "/run/secrets";
/// The longest file that is read, bytes.
const BYTES_MAX: u64 = 64 << 10;

/// What a file of credentials holds.
pub(super) enum Credentials {
    /// Names in small letters, and values.
    Pairs(Vec<(String, Zeroizing<String>)>),
    /// The key of a service account.
    Json(Zeroizing<String>),
}

/// Why a file of credentials is not used.
#[derive(Debug)]
pub enum CredentialsError {
    /// It cannot be read.
    File(PathBuf, io::Error),
    /// Others than its owner may read it; its mode.
    Exposed(PathBuf, u32),
    /// It is too long.
    Long(PathBuf),
    /// A line is neither `name = value` nor a comment; its number.
    Line(PathBuf, usize),
    /// It holds several profiles.
    Profiles(PathBuf),
    /// The service has no such setting.
    Name(String),
    /// There are none.
    Missing,
}

impl fmt::Display for CredentialsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CredentialsError::File(path, error) => write!(f, "reading the credentials in {}: {error}", path.display()),
            CredentialsError::Exposed(path, mode) => write!(
                f,
                "others than its owner may read the credentials in {} (mode {mode:03o}): chmod 600 it",
                path.display()
            ),
            CredentialsError::Long(path) => write!(f, "{} is too long for a file of credentials", path.display()),
            CredentialsError::Line(path, at) => {
                write!(f, "line {at} of {} is not `name = value`", path.display())
            }
            CredentialsError::Profiles(path) => {
                write!(f, "{} holds several profiles: make a file with the one that is meant", path.display())
            }
            CredentialsError::Name(name) => write!(f, "the service has no setting {name}"),
            CredentialsError::Missing => f.write_str(
                "there are no credentials: name a file (--credentials FILE), or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            ),
        }
    }
}

impl std::error::Error for CredentialsError {}

/// The file that is named, or that which the service manager hands over; `None` where there is neither.
pub(super) fn find(
    named: Option<&Path>,
    environment: impl Fn(&str) -> Option<OsString>,
) -> Result<Option<Credentials>, CredentialsError> {
    let directory = environment("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    if let Some(path) = named {
        return read(path, directory.as_deref()).map(Some);
    }
    let Some(path) = directory.as_ref().map(|directory| directory.join(CREDENTIAL)) else { return Ok(None) };
    // A unit may load other credentials and not this one.
    if path.exists() { read(&path, directory.as_deref()).map(Some) } else { Ok(None) }
}

/// Reads a file; what lies in `handed_over` belongs to the service manager, which sees to its mode.
fn read(path: &Path, handed_over: Option<&Path>) -> Result<Credentials, CredentialsError> {
    let failed = |error| CredentialsError::File(path.to_owned(), error);
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    let is_kept = path.starts_with(CONTAINER_SECRETS)
        || handed_over.is_some_and(|directory| path.starts_with(directory));
    if mode & 0o077 != 0 && !is_kept {
        return Err(CredentialsError::Exposed(path.to_owned(), mode));
    }
    let mut text = Zeroizing::new(String::new());
    file.take(BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > BYTES_MAX {
        return Err(CredentialsError::Long(path.to_owned()));
    }
    if text.trim_start().starts_with('{') {
        return Ok(Credentials::Json(text));
    }
    parse(&text, path).map(Credentials::Pairs)
}

fn parse(text: &str, path: &Path) -> Result<Vec<(String, Zeroizing<String>)>, CredentialsError> {
    let (mut pairs, mut profiles) = (Vec::new(), 0);
    for (at, line) in text.lines().map(str::trim).enumerate() {
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if line.starts_with('[') && line.ends_with(']') {
            profiles += 1;
            continue;
        }
        let (name, value) =
            line.split_once('=').ok_or_else(|| CredentialsError::Line(path.to_owned(), at + 1))?;
        let name = name.trim().trim_start_matches("export ").trim().to_ascii_lowercase();
        pairs.push((name, Zeroizing::new(unquoted(value.trim()).to_owned())));
    }
    if profiles > 1 { Err(CredentialsError::Profiles(path.to_owned())) } else { Ok(pairs) }
}

fn unquoted(value: &str) -> &str {
    let between = |quote: char| value.strip_prefix(quote)?.strip_suffix(quote);
    between('"').or_else(|| between('\'')).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A file of that mode, what is found in it, and what holds it.
    fn found(text: &str, mode: u32) -> Result<Option<Credentials>, CredentialsError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        find(Some(&path), |_| None)
    }

    fn pairs(text: &str) -> Vec<(String, String)> {
        let Ok(Some(Credentials::Pairs(pairs))) = found(text, 0o600) else { panic!("{text}") };
        pairs.into_iter().map(|(name, value)| (name, value.to_string())).collect()
    }

    #[test]
    fn a_file_for_the_environment_and_one_of_the_tools_say_the_same() {
        let expected = [("aws_access_key_id", "A"), ("aws_secret_access_key", "b=/+c")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(pairs("# keys\nAWS_ACCESS_KEY_ID=A\nexport AWS_SECRET_ACCESS_KEY=\"b=/+c\"\n"), expected);
        assert_eq!(pairs("[default]\naws_access_key_id = A\n\naws_secret_access_key = b=/+c"), expected);
    }

    #[test]
    fn what_others_may_read_is_refused() {
        for mode in [0o640, 0o604, 0o644, 0o620] {
            assert!(matches!(found("a=b", mode), Err(CredentialsError::Exposed(_, told)) if told == mode));
        }
        assert!(found("a=b", 0o400).is_ok());
    }

    #[test]
    fn what_is_no_file_of_credentials_is_told_without_its_content() {
        let wrong = [("a=b\nsecret", "line 2"), ("[one]\na=b\n[two]\na=c", "several profiles")];
        for (text, told) in wrong {
            let error = found(text, 0o600).err().unwrap().to_string();
            assert!(error.contains(told) && !error.contains("secret"), "{error}");
        }
        assert!(matches!(found(&"a".repeat(70_000), 0o600), Err(CredentialsError::Long(_))));
        assert!(matches!(found(" {\"type\": 1}", 0o600), Ok(Some(Credentials::Json(_)))));
        assert!(matches!(find(Some(Path::new("/nowhere/x")), |_| None), Err(CredentialsError::File(..))));
    }

    #[test]
    fn the_service_manager_hands_over_the_file_by_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let environment = |name: &str| (name == "CREDENTIALS_DIRECTORY").then(|| dir.path().into());
        assert!(matches!(find(None, environment), Ok(None)), "a unit may have none of these");
        let path = dir.path().join("backup-credentials");
        fs::write(&path, "a=b").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o440)).unwrap();
        assert!(matches!(find(None, environment), Ok(Some(_))), "its group is how the service may read it");
        assert!(matches!(find(None, |_| None), Ok(None)));
    }
}
