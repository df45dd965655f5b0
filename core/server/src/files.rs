//! Where the server's files are.

use std::path::PathBuf;

use parking_lot::Mutex;
use persist::aof::Place;

/// Where the server's files are.
#[derive(Debug)]
pub(crate) struct Files {
    dir: Mutex<PathBuf>,
    appenddirname: String,
    appendfilename: String,
    pub(crate) config: Option<PathBuf>,
}

/// The directory that is configured.
pub(crate) fn place_of(config: &config::Settings) -> PathBuf {
    match config.dir.as_str() {
        "" => PathBuf::from("."),
        dir => PathBuf::from(dir),
    }
}

impl Files {
    pub(crate) fn new(config: &config::Settings, file: Option<PathBuf>) -> Files {
        Files {
            dir: Mutex::new(place_of(config)),
            appenddirname: config.appenddirname.clone(),
            appendfilename: config.appendfilename.clone(),
            config: file,
        }
    }

    /// The directory of the snapshot.
    pub(crate) fn place(&self) -> PathBuf {
        self.dir.lock().clone()
    }

    /// Snapshots and the ACL file are in another directory from now on.
    pub(crate) fn move_to(&self, dir: &str) {
        *self.dir.lock() = PathBuf::from(dir);
    }

    /// The log.
    pub(crate) fn log_place(&self) -> Place {
        Place {
            dir: self.place(),
            dir_name: self.appenddirname.clone(),
            file_name: self.appendfilename.clone(),
        }
    }
}
