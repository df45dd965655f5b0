//! The log of data that is given up although its master may have been told that it is safe.
//!
//! ```text
//! DIR/appendonlydir.given-up-<unix ms>/    second names of the log's files, the manifest among them
//! ```
//! A master that was promoted asks for what this server has acknowledged to the former one; after a start the bytes of that stream are not
//! at hand any more, and the master's copy takes the place of the data. So the log gets a second name before the first one is given to that
//! copy. Who starts a server with that directory as `appenddirname` has the data. It costs the disk what the log takes, so no more than
//! [`KEPT_MAX`] are kept: the oldest makes room.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use persist::aof::{Log, Manifest, Place};

/// How many are kept.
const KEPT_MAX: usize = 3;

/// What stands between the name of the log's directory and the time.
const MARK: &str = ".given-up-";

/// What was kept, and what made room for it.
#[derive(Debug)]
pub(super) struct Kept {
    /// Where the log is.
    pub(super) dir: PathBuf,
    /// Earlier ones that are gone.
    pub(super) removed: Vec<PathBuf>,
}

/// Keeps the files of a log that nothing is appended to any more.
///
/// # Errors
/// They cannot be kept. Then none of them is.
pub(super) fn keep(log: &Log, unix_ms: i64) -> io::Result<Kept> {
    keep_files(log.place(), log.manifest(), unix_ms)
}

fn keep_files(place: &Place, manifest: &Manifest, unix_ms: i64) -> io::Result<Kept> {
    let log_dir = place.log_dir();
    let name = log_dir.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let beginning = format!("{name}{MARK}");
    let dir = place.dir.join(format!("{beginning}{unix_ms}"));
    DirBuilder::new().mode(0o700).create(&dir)?;
    link_all(&log_dir, &dir, place, manifest).inspect_err(|_| {
        // What was linked until then is in its place still.
        let _ = fs::remove_dir_all(&dir);
    })?;
    let mut earlier = others(&place.dir, &beginning, &dir)?;
    earlier.truncate(earlier.len().saturating_sub(KEPT_MAX - 1));
    for old in &earlier {
        fs::remove_dir_all(old)?;
    }
    File::open(&place.dir)?.sync_all()?;
    Ok(Kept { dir, removed: earlier })
}

fn link_all(from: &Path, to: &Path, place: &Place, manifest: &Manifest) -> io::Result<()> {
    let files = manifest.base.iter().chain(&manifest.incrementals).map(|file| file.name.as_str());
    for name in files.chain([place.manifest_name().as_str()]) {
        fs::hard_link(from.join(name), to.join(name))?;
    }
    File::open(to)?.sync_all()
}

/// The directories that were kept before `but`, the oldest first.
fn others(dir: &Path, beginning: &str, but: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if let Some(ms) = name.strip_prefix(beginning).and_then(|digits| digits.parse::<i64>().ok())
            && path != but
        {
            found.push((ms, path));
        }
    }
    found.sort_unstable();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use persist::aof::{FileKind, ManifestFile};

    /// A log of two files in a directory of its own.
    fn log(dir: &Path) -> (Place, Manifest) {
        let place = Place::new(dir);
        let file = |name: &str, kind| ManifestFile::new(name.to_owned(), 1, kind);
        let (base, incremental) = (file("base", FileKind::Base), file("incremental", FileKind::Incremental));
        let manifest = Manifest { base: Some(base), incrementals: vec![incremental], ..Manifest::default() };
        fs::create_dir(place.log_dir()).unwrap();
        for name in ["base", "incremental", &place.manifest_name()] {
            fs::write(place.log_dir().join(name), name).unwrap();
        }
        (place, manifest)
    }

    #[test]
    fn what_is_kept_outlives_the_log_and_the_oldest_makes_room() {
        let dir = tempfile::tempdir().unwrap();
        let (place, manifest) = log(dir.path());
        let keep = |ms| keep_files(&place, &manifest, ms).unwrap();
        let first = keep(9);
        let last: Vec<Kept> = [10, 100].into_iter().map(keep).collect();
        assert!(last.iter().all(|kept| kept.removed.is_empty()) && KEPT_MAX == 3);
        fs::create_dir(dir.path().join("appendonlydir.given-up-by hand")).unwrap();
        assert_eq!(keep(11).removed, [first.dir]);
        fs::remove_dir_all(place.log_dir()).unwrap();
        assert!(last[1].dir.ends_with("appendonlydir.given-up-100"), "{last:?}");
        for name in ["base", "incremental", &place.manifest_name()] {
            assert_eq!(fs::read_to_string(last[1].dir.join(name)).unwrap(), name);
        }
    }

    #[test]
    fn a_log_that_cannot_be_kept_whole_is_not_kept_in_part() {
        let dir = tempfile::tempdir().unwrap();
        let (place, manifest) = log(dir.path());
        fs::remove_file(place.log_dir().join("incremental")).unwrap();
        assert!(keep_files(&place, &manifest, 1).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "the log's own");
    }
}
