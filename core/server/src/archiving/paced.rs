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

    /// An object of so many bytes is there.
    fn arrived(&self, bytes: u64);
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
        Ok(Box::new(PacedUpload { upload: self.store.upload(name)?, pace: self.pace, bytes: 0 }))
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
    bytes: u64,
}

impl Write for PacedUpload<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let part = &bytes[..bytes.len().min(PART_BYTES)];
        self.pace.before_sending(part.len())?;
        self.upload.write(part).inspect(|count| self.bytes += *count as u64)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.upload.flush()
    }
}

impl Upload for PacedUpload<'_> {
    fn finish(self: Box<Self>) -> io::Result<()> {
        self.upload.finish().inspect(|()| self.pace.arrived(self.bytes))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// An upload that may fail at its end.
    struct Ending {
        fails: bool,
    }

    impl Write for Ending {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len().min(10))
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Upload for Ending {
        fn finish(self: Box<Self>) -> io::Result<()> {
            if self.fails { Err(io::ErrorKind::NotConnected.into()) } else { Ok(()) }
        }
    }

    #[derive(Default)]
    struct Counted(std::sync::Mutex<Cell<u64>>);

    impl Pace for Counted {
        fn before_sending(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn arrived(&self, bytes: u64) {
            self.0.lock().unwrap().set(bytes);
        }
    }

    #[test]
    fn only_what_arrives_is_counted() {
        for (fails, arrived) in [(true, 0), (false, 25)] {
            let counted = Counted::default();
            let upload = Box::new(Ending { fails });
            let mut paced = Box::new(PacedUpload { upload, pace: &counted, bytes: 0 });
            paced.write_all(&[0; 25]).unwrap();
            assert_eq!(paced.finish().is_err(), fails);
            assert_eq!(counted.0.lock().unwrap().get(), arrived);
        }
    }
}
