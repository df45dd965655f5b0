//! Where a repository is, as people write it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Who keeps a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// Amazon S3, and all that speak as it does.
    S3,
    /// Google Cloud Storage.
    Gcs,
    /// Azure Blob Storage, where a bucket is called a container.
    Azure,
}

impl Provider {
    const ALL: [Provider; 3] = [Provider::S3, Provider::Gcs, Provider::Azure];

    fn scheme(self) -> &'static str {
        match self {
            Provider::S3 => "s3",
            Provider::Gcs => "gs",
            Provider::Azure => "az",
        }
    }
}

/// A place for a repository: a plain path, `file:///path`, `s3://bucket/prefix`, `gs://bucket/prefix` or `az://container/prefix`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RepositoryUrl {
    /// A directory of this machine.
    Directory(PathBuf),
    /// What begins with a prefix in a bucket.
    Bucket {
        /// Who keeps it.
        provider: Provider,
        /// Its name.
        bucket: String,
        /// What all names in it begin with, without a slash at either end; may be empty.
        prefix: String,
    },
}

/// Why a text is no place for a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UrlError {
    /// Nothing is named.
    Empty,
    /// The scheme is none that is known.
    Scheme,
    /// `file://` is not followed by an absolute path.
    Path,
    /// No bucket is named.
    Bucket,
    /// A name in it has a character that it may not have.
    Character,
    /// It holds a user or a password.
    Secret,
}

impl FromStr for RepositoryUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<RepositoryUrl, UrlError> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return if text.is_empty() {
                Err(UrlError::Empty)
            } else {
                Ok(RepositoryUrl::Directory(text.into()))
            };
        };
        if scheme == "file" {
            return if rest.starts_with('/') {
                Ok(RepositoryUrl::Directory(rest.into()))
            } else {
                Err(UrlError::Path)
            };
        }
        let provider = Provider::ALL.into_iter().find(|provider| provider.scheme() == scheme);
        bucket(provider.ok_or(UrlError::Scheme)?, rest)
    }
}

fn bucket(provider: Provider, text: &str) -> Result<RepositoryUrl, UrlError> {
    let (bucket, prefix) = text.split_once('/').unwrap_or((text, ""));
    if bucket.contains('@') {
        return Err(UrlError::Secret);
    }
    if bucket.is_empty() {
        return Err(UrlError::Bucket);
    }
    let prefix = prefix.trim_matches('/');
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let has_place =
        |part: &str| !part.is_empty() && part != "." && part != ".." && part.bytes().all(is_plain);
    if !has_place(bucket) || !(prefix.is_empty() || prefix.split('/').all(has_place)) {
        return Err(UrlError::Character);
    }
    Ok(RepositoryUrl::Bucket { provider, bucket: bucket.to_owned(), prefix: prefix.to_owned() })
}

impl fmt::Display for RepositoryUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RepositoryUrl::Directory(path) => path.display().fmt(f),
            RepositoryUrl::Bucket { provider, bucket, prefix } => {
                let slash = if prefix.is_empty() { "" } else { "/" };
                write!(f, "{}://{bucket}{slash}{prefix}", provider.scheme())
            }
        }
    }
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            UrlError::Empty => "a repository is named by a path or a URL",
            UrlError::Scheme => {
                "a repository is a path, file:///path, s3://bucket, gs://bucket or az://container"
            }
            UrlError::Path => "file:// is followed by an absolute path: file:///srv/backup",
            UrlError::Bucket => "the URL names no bucket: s3://bucket/prefix",
            UrlError::Character => "names in the URL of a bucket are of letters, digits, '-', '_' and '.'",
            UrlError::Secret => "a URL holds no credentials: they come from a file or the environment",
        })
    }
}

impl std::error::Error for UrlError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<RepositoryUrl, UrlError> {
        text.parse()
    }

    #[test]
    fn a_path_and_file_are_directories() {
        for (text, path) in [("/srv/b", "/srv/b"), ("b", "b"), ("file:///srv/b", "/srv/b"), ("s3:b", "s3:b")]
        {
            assert_eq!(parsed(text), Ok(RepositoryUrl::Directory(path.into())), "{text}");
        }
        assert_eq!(parsed("file://srv/b"), Err(UrlError::Path));
        assert_eq!(parsed(""), Err(UrlError::Empty));
    }

    #[test]
    fn a_bucket_is_told_as_it_was_written() {
        for text in ["s3://b", "s3://b/one", "gs://b-1.x/one/two", "az://b/a_b"] {
            assert_eq!(parsed(text).unwrap().to_string(), text);
        }
        assert_eq!(parsed("s3://b//one/").unwrap().to_string(), "s3://b/one");
    }

    #[test]
    fn what_is_no_bucket_is_refused() {
        let wrong = [
            ("ftp://b", UrlError::Scheme),
            ("S3://b", UrlError::Scheme),
            ("s3://", UrlError::Bucket),
            ("s3:///one", UrlError::Bucket),
            ("s3://key:secret@b/one", UrlError::Secret),
            ("s3://b/one/../two", UrlError::Character),
            ("s3://b/one//two", UrlError::Character),
            ("s3://b/a b", UrlError::Character),
            ("s3://b?x=1", UrlError::Character),
        ];
        for (text, error) in wrong {
            assert_eq!(parsed(text), Err(error), "{text}");
        }
    }
}
