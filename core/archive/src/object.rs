//! The bytes of an object on their way: into the repository compressed, encrypted and summed up, and back.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::rc::Rc;

use persist::aof::HistoryId;
use ring::digest::{Context, SHA256};

use crate::describe::{Begin, Description, Kind, Said, Stored};
use crate::error::ArchiveError;
use crate::seal::{Identity, OpenError, Opener, Recipient, Sealer};
use crate::store::{Store, Upload};

/// What is worth its time: quick, and less than a third of a typical log is left.
const ZSTD_LEVEL: i32 = 3;

/// Writes an object.
pub(crate) struct ObjectWriter<'a> {
    lineage: HistoryId,
    name: String,
    recipients: Vec<String>,
    encoder: zstd::Encoder<'static, Sealing<Summed<Box<dyn Upload + 'a>>>>,
    plain_bytes: u64,
}

impl<'a> ObjectWriter<'a> {
    /// `recipients`: who can read it; everybody if there are none.
    pub(crate) fn begin(
        store: &'a dyn Store,
        lineage: HistoryId,
        begin: Begin,
        recipients: &[Recipient],
    ) -> io::Result<ObjectWriter<'a>> {
        let name = begin.new_name(!recipients.is_empty())?;
        let upload = store.upload(&format!("{lineage}/{name}"))?;
        let summed = Summed { inner: upload, sum: Sum::default() };
        let sealing = match recipients {
            [] => Sealing::Open(summed),
            _ => Sealing::Sealed(Box::new(Sealer::new(summed, recipients)?)),
        };
        let mut encoder = zstd::Encoder::new(sealing, ZSTD_LEVEL)?;
        encoder.include_checksum(true)?;
        let recipients = recipients.iter().map(Recipient::to_string).collect();
        Ok(ObjectWriter { lineage, name, recipients, encoder, plain_bytes: 0 })
    }

    pub(crate) fn plain_bytes(&self) -> u64 {
        self.plain_bytes
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.plain_bytes += bytes.len() as u64;
        self.encoder.write_all(bytes)
    }

    /// Puts the object into the repository, and then what tells of it.
    pub(crate) fn finish(
        self,
        store: &dyn Store,
        kind: Kind,
        said: Said,
    ) -> Result<Description, ArchiveError> {
        let ObjectWriter { lineage, name, recipients, encoder, plain_bytes } = self;
        let failed = |error| ArchiveError::Store(format!("{lineage}/{name}"), error);
        let sealing = encoder.finish().map_err(failed)?;
        let Summed { inner: upload, sum } = match sealing {
            Sealing::Open(summed) => summed,
            Sealing::Sealed(sealer) => sealer.finish().map_err(failed)?,
        };
        let (bytes, sha256) = sum.finish();
        upload.finish().map_err(failed)?;
        let stored = Stored { bytes, sha256, plain_bytes, recipients };
        let description = Description::new(kind, name, stored).with(said);
        description.put(store, lineage).inspect_err(|error| {
            if matches!(error, ArchiveError::Taken(_)) {
                // What nobody tells of is pruned later if it cannot be removed now.
                remove_unless_told(store, lineage, &description).unwrap_or_default();
            }
        })?;
        Ok(description)
    }
}

/// Removes an object unless what is told under its name tells of this very one.
fn remove_unless_told(store: &dyn Store, lineage: HistoryId, mine: &Description) -> io::Result<()> {
    match Description::read(store, &mine.json_name(lineage)) {
        Ok(theirs) if theirs.object != mine.object => store.remove(&mine.object_name(lineage)),
        _ => Ok(()),
    }
}

/// Encrypts, or does not.
enum Sealing<W> {
    Open(W),
    Sealed(Box<Sealer<W>>),
}

impl<W: Write> Write for Sealing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Sealing::Open(inner) => inner.write(bytes),
            Sealing::Sealed(sealer) => sealer.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Sealing::Open(inner) => inner.flush(),
            Sealing::Sealed(sealer) => sealer.flush(),
        }
    }
}

/// Size and SHA-256 of what goes by.
struct Sum {
    context: Context,
    bytes: u64,
}

impl Default for Sum {
    fn default() -> Sum {
        Sum { context: Context::new(&SHA256), bytes: 0 }
    }
}

impl Sum {
    fn take(&mut self, bytes: &[u8]) {
        self.context.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    fn finish(self) -> (u64, String) {
        let mut hex = String::new();
        for byte in self.context.finish().as_ref() {
            write!(hex, "{byte:02x}").expect("a write to a string never fails");
        }
        (self.bytes, hex)
    }
}

struct Summed<W> {
    inner: W,
    sum: Sum,
}

impl<W: Write> Write for Summed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.sum.take(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// What was read of an object as it lies there, and how the repository failed, if it did.
#[derive(Default)]
struct Seen {
    sum: Sum,
    failure: Option<io::Error>,
}

/// A source that sums up what is read from it, for somebody else to ask.
struct Watched {
    inner: Box<dyn Read>,
    seen: Rc<RefCell<Seen>>,
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut seen = self.seen.borrow_mut();
        match self.inner.read(buffer) {
            Ok(count) => {
                seen.sum.take(&buffer[..count]);
                Ok(count)
            }
            Err(error) => {
                let kind = error.kind();
                seen.failure = Some(error);
                Err(kind.into())
            }
        }
    }
}

/// Sums up an object as it lies there.
pub(crate) fn check_stored(
    store: &dyn Store,
    lineage: HistoryId,
    told: &Description,
    mut hears: impl FnMut(u64),
) -> Result<(), ArchiveError> {
    let name = told.object_name(lineage);
    let failed = |error| ArchiveError::Store(name.clone(), error);
    let mut source = store.read(&name).map_err(failed)?;
    let (mut sum, mut buffer) = (Sum::default(), vec![0; 256 << 10]);
    loop {
        let count = source.read(&mut buffer).map_err(failed)?;
        if count == 0 {
            return is_as_told(&name, told, sum);
        }
        sum.take(&buffer[..count]);
        hears(count as u64);
    }
}

fn is_as_told(name: &str, told: &Description, sum: Sum) -> Result<(), ArchiveError> {
    let (bytes, sha256) = sum.finish();
    let damaged = |what: String| Err(ArchiveError::Damaged(name.to_owned(), what));
    if bytes != told.bytes {
        return damaged(format!("it has {bytes} bytes, and had {} when it was written", told.bytes));
    }
    if sha256 != told.sha256 {
        return damaged("its SHA-256 is not that which it had when it was written".to_owned());
    }
    Ok(())
}

/// Reads what is in an object.
pub(crate) struct ObjectReader<'a> {
    name: String,
    told: &'a Description,
    plain: Option<io::Take<Box<dyn Read + 'a>>>,
    seen: Rc<RefCell<Seen>>,
}

impl<'a> ObjectReader<'a> {
    pub(crate) fn open(
        store: &dyn Store,
        lineage: HistoryId,
        told: &'a Description,
        identities: &'a [Identity],
    ) -> Result<ObjectReader<'a>, ArchiveError> {
        let name = told.object_name(lineage);
        let failed = |error| ArchiveError::Store(name.clone(), error);
        let seen = Rc::new(RefCell::new(Seen::default()));
        let source = Watched { inner: store.read(&name).map_err(failed)?, seen: Rc::clone(&seen) };
        let plain: Box<dyn Read + 'a> = if told.encrypted {
            if identities.is_empty() {
                return Err(ArchiveError::NeedsKey(name));
            }
            // The header is read byte by byte.
            let opener = Opener::new(io::BufReader::new(source), identities);
            let opener = opener.map_err(|error| match error {
                OpenError::WrongKey => ArchiveError::WrongKey(name.clone()),
                OpenError::Format => {
                    ArchiveError::Damaged(name.clone(), "it does not begin as age's files do".to_owned())
                }
                OpenError::Io(error) => damaged(&name, &seen, error),
            })?;
            Box::new(zstd::Decoder::new(opener).map_err(failed)?)
        } else {
            Box::new(zstd::Decoder::new(source).map_err(failed)?)
        };
        // One byte more than there should be shows that there is more.
        let plain = Some(plain.take(told.plain_bytes + 1));
        Ok(ObjectReader { name, told, plain, seen })
    }

    /// What an error in the middle means: damage, unless the repository has failed.
    pub(crate) fn damaged(&self, what: impl ToString) -> ArchiveError {
        damaged(&self.name, &self.seen, what)
    }

    /// All has been read: whether it was what it should be.
    pub(crate) fn finish(mut self) -> Result<(), ArchiveError> {
        let mut plain = self.plain.take().expect("it is taken here only");
        io::copy(&mut plain, &mut io::sink()).map_err(|error| self.damaged(error))?;
        let given = self.told.plain_bytes + 1 - plain.limit();
        drop(plain);
        if given != self.told.plain_bytes {
            let told = self.told.plain_bytes;
            return Err(self.damaged(format!("it holds {given} bytes, and should hold {told}")));
        }
        is_as_told(&self.name, self.told, self.seen.take().sum)
    }
}

fn damaged(name: &str, seen: &RefCell<Seen>, what: impl ToString) -> ArchiveError {
    let name = name.to_owned();
    match seen.borrow_mut().failure.take() {
        Some(error) => ArchiveError::Store(name, error),
        None => ArchiveError::Damaged(name, what.to_string()),
    }
}

impl Read for ObjectReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.plain.as_mut().map_or(Ok(0), |plain| plain.read(buffer))
    }
}
