//! A repository to which no more is sent than it may get, until archiving is changed or the server ends.

use std::io::{self, Read, Write};

use archive::{Store, Upload};

/// What is sent between two looks at the clock, bytes.
const PART_BYTES: usize = 64 << 10;

/// Who has a say in what is sent.
pub(crate) trait Pace: Sync {
    /// So many bytes are to be sent: waits until they may be.
    ///
    /// # Errors
    /// Nothing is to be sent any more.
    fn before_sending(&self, bytes: usize) -> io::Result<()>;
}

/// See the module.
pub(crate) struct Paced<'a> {
    pub(crate) store: &'a dyn Store,
    pub(crate) pace: &'a dyn Pace,
}

impl Store for Paced<'_> {
    fn list(&self) -> io::Result<Vec<String>> {
        self.store.list()
    }

    fn upload(&self, name: &str) -> io::Result<Box<dyn Upload + '_>> {
        Ok(Box::new(PacedUpload { upload: self.store.upload(name)?, pace: self.pace }))
    }

    fn read(&self, name: &str) -> io::Result<Box<dyn Read>> {
        self.store.read(name)
    }

    fn read_all(&self, names: &[String], bytes_max: u64) -> Vec<io::Result<Vec<u8>>> {
        self.store.read_all(names, bytes_max)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.store.remove(name)
    }

    fn age_s(&self, name: &str) -> io::Result<u64> {
        self.store.age_s(name)
    }

    fn sweep(&self, age_s_min: u64) -> io::Result<usize> {
        self.store.sweep(age_s_min)
    }
}

struct PacedUpload<'a> {
    upload: Box<dyn Upload + 'a>,
    pace: &'a dyn Pace,
}

impl Write for PacedUpload<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let part = &bytes[..bytes.len().min(PART_BYTES)];
        self.pace.before_sending(part.len())?;
        self.upload.write(part)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.upload.flush()
    }
}

impl Upload for PacedUpload<'_> {
    fn finish(self: Box<Self>) -> io::Result<()> {
        self.upload.finish()
    }
}
