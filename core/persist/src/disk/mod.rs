//! The few things a server asks of a file system, as a trait: the real one, and one in memory that can fail.
//!
//! Nothing else in this crate touches a file, so every step of a switch of files can be tried with a crash
//! after it. Paths are plain; no call follows a link on purpose.

mod memory;
mod real;

use std::io::{self, Read};
use std::path::Path;

pub use memory::{Fault, Memory};
pub use real::{Real, is_being_written};

/// Which file it is, and how long it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// The file system and the number of the file in it: the same for as long as the file is there, whatever its name.
    pub id: (u64, u64),
    /// Its size.
    pub bytes: u64,
}

/// A file system.
pub trait Disk: Send + Sync {
    /// Creates a file, or empties the one that is there, for appending.
    fn create(&self, path: &Path) -> io::Result<Box<dyn File>>;
    /// Creates a file for appending; `AlreadyExists` when there is one of that name.
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn File>>;
    /// Opens a file that is there for appending.
    fn append(&self, path: &Path) -> io::Result<Box<dyn File>>;
    /// Opens a file for reading from byte `offset`.
    fn read(&self, path: &Path, offset: u64) -> io::Result<Box<dyn Read + Send>>;
    /// Size in bytes; `NotFound` when there is no such file.
    fn len(&self, path: &Path) -> io::Result<u64>;
    /// Which file a name stands for, and its size; `NotFound` when there is none.
    fn stat(&self, path: &Path) -> io::Result<Stat>;
    /// Renames, replacing what is there. Durable after `sync_dir`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes a file's contents durable and gives it a second name; `AlreadyExists` when there is a file of that name. The name is durable
    /// after `sync_dir`. Not every file system can.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file; a large one takes a while. Durable after `sync_dir`.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Gives a file the rights and, where that is allowed, the owner of another one; only its own owner may read it where there is no
    /// such file.
    fn set_rights_like(&self, path: &Path, model: &Path) -> io::Result<()>;
    /// Creates a directory (its parent exists); fine when it is there.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// The names of the files in a directory, sorted; empty when there is no such directory.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;
    /// Has a file of this name take up so many bytes of the file system; fine when one of that size is there.
    fn fill(&self, path: &Path, bytes: u64) -> io::Result<()>;
    /// Bytes that may still be written to the file system that holds `path`.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;

    /// Bytes that the file system of `path` holds in all; a disk that does not say is a large one.
    ///
    /// # Errors
    /// It cannot be asked.
    fn total_bytes(&self, _path: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}

/// A file open for appending.
pub trait File: Send {
    /// Writes at the end; may write less than asked, like write(2).
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;
    /// Cuts the file.
    fn truncate(&mut self, bytes: u64) -> io::Result<()>;
    /// Makes contents and size durable.
    fn sync(&mut self) -> io::Result<()>;
    /// Has the disk begin to write the `bytes` from `offset` on, without waiting for it and without any promise: a
    /// long file synced only at its end makes the disk busy for long, and everyone else's writes wait for that.
    fn begin_sync(&mut self, offset: u64, bytes: u64);
    /// Which file it is, whether it has a name or not, and its size.
    fn stat(&self) -> io::Result<Stat>;
    /// The same file for another thread to sync.
    fn syncer(&self) -> io::Result<Box<dyn Syncer>>;
}

/// Makes a file durable from another thread than the one that writes it.
pub trait Syncer: Send + Sync {
    /// Returns when all that was written before the call is durable. An error is final: what the kernel could
    /// not write it may have dropped, so a later success proves nothing about earlier bytes.
    fn sync(&self) -> io::Result<()>;
}

/// Writes all of `bytes`; how many of them were written before an error is told with it.
pub fn write_all(file: &mut dyn File, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
    let mut done = 0;
    while done < bytes.len() {
        match file.write(&bytes[done..]) {
            Ok(0) => return Err((done, io::ErrorKind::WriteZero.into())),
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err((done, error)),
        }
    }
    Ok(())
}

/// Reads a whole file of at most `bytes_max` bytes.
pub fn read_whole(disk: &dyn Disk, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    disk.read(path, 0)?.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("{} is too large", path.display())));
    }
    Ok(bytes)
}

/// Writes a small file under a temporary name and makes it durable; `put_in_place` follows.
pub fn prepare(disk: &dyn Disk, dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let mut file = disk.create(&dir.join(temp_name(name)))?;
    write_all(&mut *file, bytes).map_err(|(_, error)| error)?;
    file.sync()
}

/// As [`prepare`], with the rights of the file that is to be replaced: it may hold secrets.
fn prepare_like(disk: &dyn Disk, dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = dir.join(temp_name(name));
    // Ahead of the first byte, so that nobody reads it meanwhile.
    drop(disk.create(&temporary)?);
    disk.set_rights_like(&temporary, &dir.join(name))?;
    prepare(disk, dir, name, bytes)
}

/// Gives a prepared file its name: after a crash either the old or the new one is there, whole. After an error
/// it is not known which.
pub fn put_in_place(disk: &dyn Disk, dir: &Path, name: &str) -> io::Result<()> {
    disk.rename(&dir.join(temp_name(name)), &dir.join(name))?;
    disk.sync_dir(dir)
}

/// Puts a small file in place of another, with that one's rights. After an error nothing of it is left under the temporary name: it
/// may hold secrets, and nobody would look for it.
pub fn replace_like(disk: &dyn Disk, dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let replaced = prepare_like(disk, dir, name, bytes).and_then(|()| put_in_place(disk, dir, name));
    if replaced.is_err() {
        // It is not there when only the directory could not be synced; the error that counts is the first.
        disk.remove(&dir.join(temp_name(name))).unwrap_or_default();
    }
    replaced
}

/// What a small file is called until it is put in place.
pub(crate) fn temp_name(name: &str) -> String {
    format!("temp-{name}")
}
