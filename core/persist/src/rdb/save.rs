//! Puts a snapshot in place of the last one such that a crash at any moment leaves one of the two, whole.

use std::io;
use std::path::{Path, PathBuf};

use crate::disk::{Disk, File, write_all};

/// Bytes after which the disk is told to begin writing them.
const BEGIN_SYNC_BYTES: u64 = 2 << 20;

/// A snapshot file under construction: `temp-<pid>-<chance>.rdb` beside its place. Dropped unfinished, the file is removed.
pub struct SnapshotFile<'a> {
    disk: &'a dyn Disk,
    dir: PathBuf,
    temp: PathBuf,
    file: Option<Box<dyn File>>,
    bytes: u64,
    /// What of it the disk has begun to write.
    begun_bytes: u64,
}

impl std::fmt::Debug for SnapshotFile<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotFile")
            .field("temp", &self.temp)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

impl<'a> SnapshotFile<'a> {
    /// Creates the temporary file in `dir`. `process` is who makes it, and `chance` tells it from those of processes elsewhere that have
    /// the same number, as in containers that share a directory.
    pub fn create(disk: &'a dyn Disk, dir: &Path, process: u32, chance: u64) -> io::Result<SnapshotFile<'a>> {
        let temp = dir.join(format!("temp-{process}-{chance:016x}.rdb"));
        let file = disk.create(&temp)?;
        Ok(SnapshotFile { disk, dir: dir.to_owned(), temp, file: Some(file), bytes: 0, begun_bytes: 0 })
    }

    /// Appends; made for [`super::Writer::drain`]. After an error drop it.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let file = self.file.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        self.bytes += bytes.len() as u64;
        write_all(&mut **file, bytes).map_err(|(_, error)| error)?;
        let waiting = self.bytes - self.begun_bytes;
        if waiting >= BEGIN_SYNC_BYTES {
            file.begin_sync(self.begun_bytes, waiting);
            self.begun_bytes = self.bytes;
        }
        Ok(())
    }

    /// Bytes written so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Makes the file durable and gives its path; it stays where it is until renamed (see the log's rewrite).
    pub fn finish_in_place(mut self) -> io::Result<PathBuf> {
        let mut file = self.file.take().ok_or(io::ErrorKind::BrokenPipe)?;
        if let Err(error) = file.sync() {
            self.file = Some(file);
            return Err(error);
        }
        Ok(self.temp.clone())
    }

    /// Makes the file durable and puts it in place under `name`.
    pub fn finish(self, name: &str) -> io::Result<()> {
        let (disk, dir) = (self.disk, self.dir.clone());
        let temp = self.finish_in_place()?;
        if let Err(error) = disk.rename(&temp, &dir.join(name)) {
            // Nothing can be done about a leftover but to overwrite it next time.
            disk.remove(&temp).unwrap_or_default();
            return Err(error);
        }
        disk.sync_dir(&dir)
    }
}

impl Drop for SnapshotFile<'_> {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            // Nothing can be done about a leftover but to overwrite it next time.
            self.disk.remove(&self.temp).unwrap_or_default();
        }
    }
}
