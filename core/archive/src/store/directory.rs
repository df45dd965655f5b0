//! A directory that is a repository.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::RenameFlags;

use super::{Store, TEMP, Upload, random_hex};

/// A directory of this machine, or one that is mounted.
#[derive(Clone, Debug)]
pub struct Directory {
    root: PathBuf,
}

impl Directory {
    /// One that is there.
    ///
    /// # Errors
    /// It is not there, or is no directory.
    pub fn open(root: &Path) -> io::Result<Directory> {
        if !fs::metadata(root)?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Directory { root: root.to_owned() })
    }

    /// One that is made if it is not there. Only its owner may enter it then.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn create(root: &Path) -> io::Result<Directory> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(root)?;
        Directory::open(root)
    }
}

impl Store for Directory {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for folder in fs::read_dir(&self.root)? {
            let folder = folder?;
            if !folder.file_type()?.is_dir() {
                continue;
            }
            let Ok(name) = folder.file_name().into_string() else { continue };
            for file in fs::read_dir(folder.path())? {
                let file = file?;
                if file.file_type()?.is_dir() {
                    continue;
                }
                // What has another name than text can have was not put here.
                if let Ok(file) = file.file_name().into_string() {
                    names.push(format!("{name}/{file}"));
                }
            }
        }
        names.sort();
        Ok(names)
    }

    fn upload(&self, name: &str) -> io::Result<Box<dyn Upload + '_>> {
        let temp = self.root.join(format!("{TEMP}{}", random_hex()?));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temp)?;
        let place = self.root.join(name);
        Ok(Box::new(FileUpload { root: &self.root, place, temp, file, is_named: false }))
    }

    fn read(&self, name: &str) -> io::Result<Box<dyn Read>> {
        Ok(Box::new(File::open(self.root.join(name))?))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.root.join(name))
    }

    fn age_s(&self, name: &str) -> io::Result<u64> {
        Ok(fs::metadata(self.root.join(name))?.modified()?.elapsed().unwrap_or_default().as_secs())
    }

    fn sweep(&self, age_s_min: u64) -> io::Result<usize> {
        let mut removed = 0;
        for file in fs::read_dir(&self.root)? {
            let file = file?;
            let Ok(name) = file.file_name().into_string() else { continue };
            let is_upload = name.starts_with(TEMP) && !file.file_type()?.is_dir();
            if is_upload && self.age_s(&name)? >= age_s_min {
                self.remove(&name)?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}

struct FileUpload<'a> {
    root: &'a Path,
    place: PathBuf,
    temp: PathBuf,
    file: File,
    is_named: bool,
}

impl Write for FileUpload<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Upload for FileUpload<'_> {
    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.file.sync_all()?;
        let folder = self.place.parent().unwrap_or(self.root);
        if fs::DirBuilder::new().mode(0o700).create(folder).is_ok() {
            sync_dir(self.root)?;
        }
        self.is_named = put_new(&self.temp, &self.place)?;
        sync_dir(folder)
    }
}

impl Drop for FileUpload<'_> {
    fn drop(&mut self) {
        if !self.is_named {
            // One that stays is swept later.
            fs::remove_file(&self.temp).unwrap_or_default();
        }
    }
}

/// Names a file where nothing has that name; whether the old name is gone. Not every file system can do that by a rename.
fn put_new(temp: &Path, place: &Path) -> io::Result<bool> {
    let here = rustix::fs::CWD;
    match rustix::fs::renameat_with(here, temp, here, place, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            fs::hard_link(temp, place).map(|()| false)
        }
        Err(error) => Err(error.into()),
    }
}

fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(store: &Directory, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut upload = store.upload(name)?;
        upload.write_all(bytes)?;
        upload.finish()
    }

    #[test]
    fn what_is_there_is_never_put_again() {
        let dir = tempfile::tempdir().unwrap();
        let store = Directory::create(&dir.path().join("a/b")).unwrap();
        put(&store, "one/x", b"first").unwrap();
        assert_eq!(put(&store, "one/x", b"second").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        let mut text = String::new();
        store.read("one/x").unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "first");
        assert_eq!(store.list().unwrap(), ["one/x"]);
        assert_eq!(fs::read_dir(dir.path().join("a/b")).unwrap().count(), 1, "no upload is left");
    }

    #[test]
    fn an_upload_that_is_given_up_never_was() {
        let dir = tempfile::tempdir().unwrap();
        let store = Directory::create(dir.path()).unwrap();
        store.upload("one/x").unwrap().write_all(b"half").unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        fs::write(dir.path().join("temp-left"), b"half").unwrap();
        assert_eq!(store.sweep(3600).unwrap(), 0, "it may be somebody's who is still writing");
        assert_eq!(store.sweep(0).unwrap(), 1);
    }
}
