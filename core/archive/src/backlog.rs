//! Files of the log that a rewrite has replaced and that are not archived yet.
//!
//! ```text
//! DIR/backup-backlog/appendonly.aof.7.incr.aof     a second name of a file whose first one the log has removed
//! ```
//! A file gets its second name before the log gives up the first one, so it outlives a crash of the server as well; where the file system has no
//! second names nothing is kept. What is given up is emptied before it loses its name: whoever reads it just now would keep its blocks.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use persist::aof::Place;

/// The directory's name in that of the server.
const DIR_NAME: &str = "backup-backlog";

/// The files that are kept of one log.
#[derive(Clone, Debug)]
pub struct Backlog {
    dir: PathBuf,
    log_dir: PathBuf,
    /// What the names of the log's files begin with.
    prefix: String,
}

impl Backlog {
    /// That of the log at `place`.
    pub fn of(place: &Place) -> Backlog {
        Backlog {
            dir: place.dir.join(DIR_NAME),
            log_dir: place.log_dir(),
            prefix: format!("{}.", place.file_name),
        }
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Keeps files of the log, whatever becomes of their names there.
    ///
    /// # Errors
    /// One cannot be kept; those before it are.
    pub fn keep<'a>(&self, names: impl Iterator<Item = &'a str>) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        for name in names {
            match fs::hard_link(self.log_dir.join(name), self.dir.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        File::open(&self.dir)?.sync_all()
    }

    /// The names of the files, the oldest first.
    ///
    /// # Errors
    /// The directory cannot be read. One that is not there is empty.
    pub fn names(&self) -> io::Result<Vec<String>> {
        let files = match fs::read_dir(&self.dir) {
            Ok(files) => files,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut numbered = Vec::new();
        for file in files {
            let Ok(name) = file?.file_name().into_string() else { continue };
            if let Some(number) = self.number(&name) {
                numbered.push((number, name));
            }
        }
        numbered.sort();
        Ok(numbered.into_iter().map(|(_, name)| name).collect())
    }

    /// The sequence number in the name of an incremental file; what is called otherwise is not the backlog's.
    fn number(&self, name: &str) -> Option<u64> {
        name.strip_prefix(&self.prefix)?.strip_suffix(".incr.aof")?.parse().ok()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Bytes that the files take which nothing but this keeps.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn bytes(&self) -> io::Result<u64> {
        let mut bytes = 0;
        for name in self.names()? {
            // One that is gone by now takes nothing.
            let about = fs::metadata(self.path(&name)).ok().filter(|about| about.nlink() == 1);
            bytes += about.map_or(0, |about| about.len());
        }
        Ok(bytes)
    }

    /// Those that come before a file of the log.
    pub(crate) fn names_before(&self, name: &str) -> io::Result<Vec<String>> {
        let number = self.number(name);
        let mut names = self.names()?;
        names.retain(|name| self.number(name) < number);
        Ok(names)
    }

    /// Gives files up.
    ///
    /// # Errors
    /// One cannot be removed.
    pub fn drop_files(&self, names: &[String]) -> io::Result<()> {
        for name in names {
            let path = self.path(name);
            let about = match fs::metadata(&path) {
                Ok(about) => about,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            // The log's own file as well, where it has not given it up.
            if about.nlink() == 1 {
                OpenOptions::new().write(true).open(&path)?.set_len(0)?;
            }
            fs::remove_file(&path)?;
        }
        Ok(())
    }
}
