//! Where the server's files are.

use std::path::PathBuf;

use persist::aof::Place;

/// Where the server's files are.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    dir: PathBuf,
    appenddirname: String,
    appendfilename: String,
    pub(crate) config: Option<PathBuf>,
}

impl Files {
    pub(crate) fn new(config: &config::Settings, file: Option<PathBuf>) -> Files {
        let dir = match config.dir.as_str() {
            "" => PathBuf::from("."),
            dir => PathBuf::from(dir),
        };
        Files {
            dir,
            appenddirname: config.appenddirname.clone(),
            appendfilename: config.appendfilename.clone(),
            config: file,
        }
    }

    /// The directory of the snapshot.
    pub(crate) fn place(&self) -> PathBuf {
        self.dir.clone()
    }

    /// The log.
    pub(crate) fn log_place(&self) -> Place {
        Place {
            dir: self.dir.clone(),
            dir_name: self.appenddirname.clone(),
            file_name: self.appendfilename.clone(),
        }
    }
}
