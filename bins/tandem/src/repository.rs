//! How a repository of backups is reached, as command lines say it.

use std::path::PathBuf;

use archive::{ArchiveError, RepositoryUrl, Store, StoreOptions};
use clap::Args;

/// What a command line says of a repository beside its URL.
#[derive(Debug, Args)]
pub(crate) struct Reach {
    /// The address of a service that speaks S3, http://HOST:PORT, where it is not Amazon's; AWS_ENDPOINT_URL says it too.
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// The file with the credentials of the service, which its owner alone may read: lines as AWS_ACCESS_KEY_ID=..., or Google's JSON.
    /// Without it $CREDENTIALS_DIRECTORY/backup-credentials, then the environment.
    #[arg(long, value_name = "FILE")]
    credentials: Option<PathBuf>,
}

impl Reach {
    /// Opens a repository that is there.
    pub(crate) fn open(&self, url: &RepositoryUrl) -> Result<Box<dyn Store>, ArchiveError> {
        archive::open_store(url, &self.options(false))
    }

    /// Opens a repository; a directory is made if it is not there.
    pub(crate) fn create(&self, url: &RepositoryUrl) -> Result<Box<dyn Store>, ArchiveError> {
        archive::open_store(url, &self.options(true))
    }

    fn options(&self, create: bool) -> StoreOptions {
        StoreOptions { create, endpoint: self.endpoint.clone(), credentials: self.credentials.clone() }
    }
}
