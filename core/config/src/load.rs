//! The disk side of loading: real files and patterns behind [`Files`].
//!
//! Thin on purpose: all decisions are in the layers, which are tested without a disk.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::error::LoadError;
pub use crate::layers::Files;

/// Most bytes of a configuration file: more is a wrong file.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Most files that one pattern may name.
const PATTERN_FILES_MAX: usize = 4096;

/// Files of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl Files for Disk {
    fn read(&mut self, path: &str) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        std::fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut content)?;
        if content.len() as u64 > FILE_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the file is too large"));
        }
        Ok(content)
    }

    fn expand(&mut self, pattern: &str) -> io::Result<Vec<String>> {
        if !is_pattern(pattern) {
            return Ok(vec![pattern.into()]);
        }
        let root = if pattern.starts_with('/') { PathBuf::from("/") } else { PathBuf::new() };
        let mut found = vec![root];
        for part in pattern.split('/').filter(|part| !part.is_empty()) {
            found = step(&found, part)?;
        }
        let mut names: Vec<_> = found.iter().map(|path| path.to_string_lossy().into_owned()).collect();
        names.sort();
        Ok(names)
    }

    fn enter(&mut self, from: &str, dir: &str, is_made: bool) -> io::Result<String> {
        let path = Path::new(from).join(dir);
        let entered = match path.canonicalize() {
            Err(error) if is_made && error.kind() == io::ErrorKind::NotFound => std::path::absolute(&path)?,
            Ok(found) if !found.is_dir() => return Err(io::ErrorKind::NotADirectory.into()),
            entered => entered?,
        };
        let text = entered.into_os_string().into_string();
        text.map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "the path is not UTF-8"))
    }
}

fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// All paths that continue one of `folders` with a name that matches `part`.
fn step(folders: &[PathBuf], part: &str) -> io::Result<Vec<PathBuf>> {
    if !is_pattern(part) {
        return Ok(folders.iter().map(|folder| folder.join(part)).filter(|path| path.exists()).collect());
    }
    let mut found = Vec::new();
    for folder in folders {
        let place = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        // A folder that is missing or is a file has nothing to offer, as with a shell's pattern.
        let Ok(entries) = std::fs::read_dir(place) else { continue };
        for entry in entries {
            let name = entry?.file_name();
            let hidden = name.as_encoded_bytes().starts_with(b".") && !part.starts_with('.');
            if !hidden && base::glob::matches(part.as_bytes(), name.as_encoded_bytes(), false) {
                found.push(folder.join(name));
            }
            if found.len() > PATTERN_FILES_MAX {
                return Err(io::Error::other("the pattern names too many files"));
            }
        }
    }
    Ok(found)
}

/// Reads the configuration file that a command line names.
///
/// # Errors
/// That it cannot be opened, in Redis' words.
pub fn load_file(path: &str) -> Result<Vec<u8>, LoadError> {
    Disk.read(path).map_err(|error| {
        let error = base::fault::text(&error);
        LoadError::about(path, "", format!("Fatal error, can't open config file '{path}': {error}"))
    })
}

/// The absolute path of a folder that CONFIG SET names, without links; as it is where there is none.
pub fn real_dir(dir: &str) -> String {
    Disk.enter("", dir, false).unwrap_or_else(|_| dir.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_entered_one_from_another_without_links() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::os::unix::fs::symlink(root.join("a/b"), root.join("link")).unwrap();
        std::fs::write(root.join("file"), "").unwrap();
        let enter = |dir: &str, is_made: bool| Disk.enter(root.to_str().unwrap(), dir, is_made);
        let path = |tail: &str| root.join(tail).to_str().unwrap().to_owned();
        assert_eq!(enter("a/./b/", false).unwrap(), path("a/b"));
        assert_eq!(enter("link/..", false).unwrap(), path("a"), "the parent of what the link leads to");
        assert_eq!(enter("/", false).unwrap(), "/");
        assert_eq!(enter("file", false).unwrap_err().kind(), io::ErrorKind::NotADirectory);
        assert_eq!(enter("none", false).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(enter("none", true).unwrap(), path("none"));
        assert_eq!(Disk.enter("", ".", false).unwrap(), std::env::current_dir().unwrap().to_str().unwrap());
        assert_eq!(real_dir(&path("link")), path("a/b"));
        assert_eq!(real_dir(""), "");
    }

    #[test]
    fn patterns_name_files_in_order_and_missing_folders_none() {
        let root = tempfile::tempdir().unwrap();
        for name in ["b/2.conf", "a/1.conf", "a/.x.conf", "a/1.txt"] {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, name).unwrap();
        }
        let pattern = |tail: &str| Disk.expand(&format!("{}/{tail}", root.path().display())).unwrap();
        let names = |tail: &str| -> Vec<String> {
            pattern(tail).iter().map(|path| path.rsplit('/').next().unwrap().to_string()).collect()
        };
        assert_eq!(names("*/*.conf"), ["1.conf", "2.conf"]);
        assert_eq!(names("none/*.conf"), Vec::<String>::new());
        assert_eq!(names("plain"), ["plain"]);
        assert!(
            load_file("/nonexistent").unwrap_err().why.starts_with("Fatal error, can't open config file")
        );
    }
}
