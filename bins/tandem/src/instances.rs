//! The two instances of a machine: what they are called, and where those of `tandem up` have their files.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::bail;
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

/// Refuses the folder of `tandem up` where the directory of a server is wanted.
///
/// # Errors
/// It is such a folder; and which directories are in it.
pub(crate) fn refuse_home(dir: &Path) -> anyhow::Result<()> {
    if password_file(dir, Name::Queue).exists() {
        let of = |name: Name| dir.join(name.as_str()).display().to_string();
        bail!(
            "{} is the folder of a `tandem up`: name the directory of one server in it, {} or {}",
            dir.display(),
            of(Name::Queue),
            of(Name::Cache)
        );
    }
    Ok(())
}

/// Whether there may be a socket which this user may not look at.
pub(crate) fn is_closed(socket: &Path) -> bool {
    socket.try_exists().is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_a_pair_is_no_directory_of_a_server() {
        let home = tempfile::tempdir().unwrap();
        assert!(refuse_home(home.path()).is_ok());
        std::fs::create_dir(home.path().join("secrets")).unwrap();
        std::fs::write(password_file(home.path(), Name::Queue), "word").unwrap();
        let why = refuse_home(home.path()).unwrap_err().to_string();
        assert!(why.contains(&home.path().join("queue").display().to_string()), "{why}");
        assert!(refuse_home(&home.path().join("queue")).is_ok());
    }
}
