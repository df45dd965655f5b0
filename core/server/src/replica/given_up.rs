//! The log of data that is given up although its master may have been told that it is safe.
//!
//! ```text
//! DIR/appendonlydir.given-up-<unix ms>/    second names of the log's files, the manifest among them
//! ```
//! A master that was promoted asks for what this server has acknowledged to the former one; after a start the bytes of that stream are not
//! at hand any more, and the master's copy takes the place of the data. So the log gets a second name before the first one is given to that
//! copy. Who starts a server with that directory as `appenddirname` has the data. It costs the disk what the log takes, so no more than
//! [`KEPT_MAX`] are kept, and none is ever removed: that is for whoever has looked at it.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use persist::aof::{Log, Manifest, Place};

/// How many are kept.
const KEPT_MAX: usize = 3;

/// What stands between the name of the log's directory and the time.
const MARK: &str = ".given-up-";

/// Keeps the files of a log that nothing is appended to any more; where they are.
///
/// # Errors
/// They cannot be kept, or so many are already. Then none of them is.
pub(super) fn keep(log: &Log, unix_ms: i64) -> io::Result<PathBuf> {
    keep_files(log.place(), log.manifest(), unix_ms)
}

fn keep_files(place: &Place, manifest: &Manifest, unix_ms: i64) -> io::Result<PathBuf> {
    let log_dir = place.log_dir();
    let name = log_dir.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let beginning = format!("{name}{MARK}");
    if count(&place.dir, &beginning)? >= KEPT_MAX {
        return Err(io::Error::other(format!(
            "there are {KEPT_MAX} already: remove those that nobody needs"
        )));
    }
    let kept = place.dir.join(format!("{beginning}{unix_ms}"));
    DirBuilder::new().mode(0o700).create(&kept)?;
    link_all(&log_dir, &kept, place, manifest).inspect_err(|_| {
        // What was linked until then is in its place still.
        let _ = fs::remove_dir_all(&kept);
    })?;
    File::open(&place.dir)?.sync_all()?;
    Ok(kept)
}

fn link_all(from: &Path, to: &Path, place: &Place, manifest: &Manifest) -> io::Result<()> {
    let files = manifest.base.iter().chain(&manifest.incrementals).map(|file| file.name.as_str());
    for name in files.chain([place.manifest_name().as_str()]) {
        fs::hard_link(from.join(name), to.join(name))?;
    }
    File::open(to)?.sync_all()
}

fn count(dir: &Path, beginning: &str) -> io::Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(dir)? {
        count += usize::from(entry?.file_name().to_string_lossy().starts_with(beginning));
    }
    Ok(count)
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
    fn what_is_kept_outlives_the_log_and_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let (place, manifest) = log(dir.path());
        let kept: Vec<PathBuf> =
            (0..KEPT_MAX as i64).map(|ms| keep_files(&place, &manifest, ms).unwrap()).collect();
        let refusal = keep_files(&place, &manifest, 9).unwrap_err().to_string();
        assert!(refusal.contains("there are 3 already"), "{refusal}");
        fs::remove_dir_all(place.log_dir()).unwrap();
        assert!(kept[0].ends_with("appendonlydir.given-up-0"), "{kept:?}");
        for name in ["base", "incremental", &place.manifest_name()] {
            assert_eq!(fs::read_to_string(kept[2].join(name)).unwrap(), name);
        }
    }

    #[test]
    fn a_log_that_cannot_be_kept_whole_is_not_kept_in_part() {
        let dir = tempfile::tempdir().unwrap();
        let (place, manifest) = log(dir.path());
        fs::remove_file(place.log_dir().join("incremental")).unwrap();
        assert!(keep_files(&place, &manifest, 1).is_err());
        assert_eq!(count(dir.path(), "appendonlydir").unwrap(), 1, "the log's own");
    }
}
