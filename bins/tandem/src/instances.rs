//! The two instances of a machine: what they are called, and where those of `tandem up` have their files.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use profiles::Profile;

/// Where everything is kept unless `--dir` says otherwise.
pub(crate) const DIRECTORY: &str = "tandem-data";

/// Which instance of the pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Name {
    /// The evicting cache.
    Cache,
    /// The durable queue.
    Queue,
}

impl Name {
    pub(crate) const BOTH: [Name; 2] = [Name::Cache, Name::Queue];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Name::Cache => "cache",
            Name::Queue => "queue",
        }
    }

    pub(crate) fn profile(self) -> Profile {
        match self {
            Name::Cache => Profile::Cache,
            Name::Queue => Profile::Queue,
        }
    }

    /// The name of its program and of its certificate.
    pub(crate) fn program(self) -> &'static str {
        match self {
            Name::Cache => "tandem-cache",
            Name::Queue => "tandem-queue",
        }
    }
}

/// Where an instance under `root`, a directory of `tandem up`, has its health socket.
pub(crate) fn health_socket(root: &Path, name: Name) -> PathBuf {
    root.join(name.as_str()).join("health.sock")
}

/// Where the password of an instance under `root` is.
pub(crate) fn password_file(root: &Path, name: Name) -> PathBuf {
    root.join("secrets").join(format!("{}-password", name.as_str()))
}

/// Whether there may be a socket which this user may not look at.
pub(crate) fn is_closed(socket: &Path) -> bool {
    socket.try_exists().is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
}
