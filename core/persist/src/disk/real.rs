//! The file system of the machine.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::{Disk, File, Stat, Syncer};

/// Bytes cut from the end of a removed file at a time: giving back gigabytes in one call stalls the journal of
/// common file systems, and with it the log's fsync.
const CUT_BYTES: u64 = 64 << 20;

/// Rest between two cuts.
const CUT_PAUSE: Duration = Duration::from_millis(5);

/// The file system of the machine. Files are made readable for their owner and group only.
#[derive(Clone, Copy, Debug, Default)]
pub struct Real;

impl Disk for Real {
    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        // Truncated after opening, not by it, so that append mode holds and a later cut cannot leave a hole.
        let file = OpenOptions::new().append(true).create(true).mode(0o640).open(path)?;
        // Until it is closed others can see that somebody writes it (see `is_being_written`). A file system may not tell, and then none can.
        let _told = flock(&file, FlockOperation::NonBlockingLockExclusive);
        file.set_len(0)?;
        Ok(Box::new(RealFile(file)))
    }

    fn create_new(&self, path: &Path) -> io::Result<Box<dyn File>> {
        Ok(Box::new(RealFile(OpenOptions::new().append(true).create_new(true).mode(0o640).open(path)?)))
    }

    fn append(&self, path: &Path) -> io::Result<Box<dyn File>> {
        Ok(Box::new(RealFile(OpenOptions::new().append(true).open(path)?)))
    }

    fn read(&self, path: &Path, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        let mut file = fs::File::open(path)?;
        if offset > 0 {
            file.seek(SeekFrom::Start(offset))?;
        }
        Ok(Box::new(file))
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        Ok(fs::metadata(path)?.len())
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        Ok(stat(&fs::metadata(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        // Whoever has put it there need not have waited for the disk.
        fs::File::open(from)?.sync_all()?;
        fs::hard_link(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        // One that may not be opened goes in one piece.
        let flags = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
        let file = OpenOptions::new().write(true).custom_flags(flags).open(path);
        fs::remove_file(path)?;
        file.map_or(Ok(()), |file| shrink(&file))
    }

    fn set_rights_like(&self, path: &Path, model: &Path) -> io::Result<()> {
        use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
        let (mode, owner) = match fs::metadata(model) {
            Ok(known) => (known.permissions().mode() & 0o777 | 0o600, Some((known.uid(), known.gid()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (0o600, None),
            Err(error) => return Err(error),
        };
        if let Some((user, group)) = owner {
            let ours = fs::metadata(path)?;
            if (ours.uid(), ours.gid()) != (user, group) {
                // Only root may give files away; the mode is what counts.
                let _given = chown(path, Some(user), Some(group));
            }
        }
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        // Whatever the umask is: what lies in it is nobody else's.
        match fs::DirBuilder::new().mode(0o750).create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            result => result,
        }
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        fs::File::open(path)?.sync_all()
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut names = Vec::new();
        for entry in entries {
            // A name that is not text is none of ours.
            names.extend(entry?.file_name().into_string());
        }
        names.sort();
        Ok(names)
    }

    fn fill(&self, path: &Path, bytes: u64) -> io::Result<()> {
        static BLOCK: [u8; 64 << 10] = [0; 64 << 10];
        if self.len(path).is_ok_and(|there| there == bytes) {
            return Ok(());
        }
        let mut file = self.create(path)?;
        let opened = OpenOptions::new().write(true).open(path)?;
        match rustix::fs::fallocate(&opened, rustix::fs::FallocateFlags::empty(), 0, bytes) {
            Ok(()) => return Ok(()),
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {}
            Err(error) => return Err(error.into()),
        }
        let mut left = bytes;
        while left > 0 {
            let count = left.min(BLOCK.len() as u64);
            super::write_all(&mut *file, &BLOCK[..count as usize]).map_err(|(_, error)| error)?;
            left -= count;
        }
        file.sync()
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(path)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn total_bytes(&self, path: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(path)?;
        // Some file systems, as those over a network, say nothing.
        let total = stat.f_blocks.saturating_mul(stat.f_frsize);
        Ok(if total == 0 { u64::MAX } else { total })
    }
}

/// Whether a process, on this machine or in another container, is writing a file that it has made by [`Disk::create`].
pub fn is_being_written(path: &Path) -> bool {
    let locked = |file| flock(&file, FlockOperation::NonBlockingLockShared);
    fs::File::open(path).is_ok_and(|file| matches!(locked(file), Err(Errno::WOULDBLOCK)))
}

fn stat(metadata: &fs::Metadata) -> Stat {
    use std::os::unix::fs::MetadataExt;
    Stat { id: (metadata.dev(), metadata.ino()), bytes: metadata.len() }
}

struct RealFile(fs::File);

impl File for RealFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn begin_sync(&mut self, offset: u64, bytes: u64) {
        // The kernel begins to write what it is told will not be needed. It is but advice, so an error says nothing.
        let bytes = std::num::NonZeroU64::new(bytes);
        let _advised = rustix::fs::fadvise(&self.0, offset, bytes, rustix::fs::Advice::DontNeed);
    }

    fn stat(&self) -> io::Result<Stat> {
        Ok(stat(&self.0.metadata()?))
    }

    fn syncer(&self) -> io::Result<Box<dyn Syncer>> {
        Ok(Box::new(RealSyncer(self.0.try_clone()?)))
    }
}

struct RealSyncer(fs::File);

impl Syncer for RealSyncer {
    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

/// Cuts a file down whose name is gone. One that has another name is left alone: its bytes are still wanted.
fn shrink(file: &fs::File) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    let metadata = file.metadata()?;
    let mut length = if metadata.nlink() == 0 && metadata.is_file() { metadata.len() } else { 0 };
    while length > CUT_BYTES {
        length -= CUT_BYTES;
        file.set_len(length)?;
        std::thread::sleep(CUT_PAUSE);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_is_made_is_nobody_elses_and_what_is_replaced_keeps_its_rights() {
        let place = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let dir = place.path().join("dir");
        Real.create_dir(&dir).unwrap();
        assert_eq!(mode(&dir) & 0o007, 0, "{:o}", mode(&dir));
        Real.create_dir(&dir).unwrap();
        for (given, kept) in [(Some(0o600), 0o600), (Some(0o640), 0o640), (Some(0o444), 0o644), (None, 0o600)]
        {
            let name = format!("{given:?}");
            if let Some(given) = given {
                fs::write(dir.join(&name), "old").unwrap();
                fs::set_permissions(dir.join(&name), fs::Permissions::from_mode(given)).unwrap();
            }
            crate::disk::replace_like(&Real, &dir, &name, b"new").unwrap();
            assert_eq!(mode(&dir.join(&name)), kept, "{name}");
            assert_eq!(fs::read(dir.join(&name)).unwrap(), b"new");
        }
    }

    #[test]
    fn what_cannot_be_put_in_place_is_not_left_beside_it() {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join("users.acl")).unwrap();
        crate::disk::replace_like(&Real, place.path(), "users.acl", b"secret").unwrap_err();
        let mut snapshot = crate::rdb::SnapshotFile::create(&Real, place.path(), 1, 2).unwrap();
        snapshot.write(b"data").unwrap();
        snapshot.finish("users.acl").unwrap_err();
        let names: Vec<_> =
            fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["users.acl"]);
    }

    #[test]
    fn snapshots_of_processes_of_the_same_number_do_not_mix() {
        let place = tempfile::tempdir().unwrap();
        let create = |chance| crate::rdb::SnapshotFile::create(&Real, place.path(), 1, chance).unwrap();
        let (mut one, mut two) = (create(1), create(2));
        for [first, second] in [["one", "two"], [" more"; 2]] {
            one.write(first.as_bytes()).unwrap();
            two.write(second.as_bytes()).unwrap();
        }
        let path = place.path().join("temp-1-0000000000000001.rdb");
        assert!(is_being_written(&path));
        one.finish("one.rdb").unwrap();
        two.finish("two.rdb").unwrap();
        for name in ["one", "two"] {
            let path = place.path().join(format!("{name}.rdb"));
            assert_eq!(fs::read_to_string(&path).unwrap(), format!("{name} more"));
            assert!(!is_being_written(&path));
        }
        assert!(!path.exists() && !is_being_written(&path));
    }

    #[test]
    fn a_removed_file_gives_its_blocks_back_bit_by_bit_unless_it_has_a_second_name() {
        let place = tempfile::tempdir().unwrap();
        let (path, twin) = (place.path().join("old.aof"), place.path().join("copy"));
        let file = fs::File::create(&path).unwrap();
        file.set_len(3 * CUT_BYTES).unwrap();
        fs::hard_link(&path, &twin).unwrap();
        Real.remove(&path).unwrap();
        assert_eq!(fs::metadata(&twin).unwrap().len(), 3 * CUT_BYTES, "a copy that somebody keeps");
        Real.remove(&twin).unwrap();
        assert!(!twin.exists() && file.metadata().unwrap().len() <= CUT_BYTES);
        assert_eq!(Real.remove(&twin).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
