//! Reads an RDB from any source item by item, believing no length and holding one value at a time.
//!
//! The input may be a stranger's (RESTORE, a primary, an upload), hence: a long string is allocated as its
//! bytes arrive, never on the word of its length; an unknown type or opcode ends the reading with its number;
//! every count is bounded by the bytes that are left. Nothing is skipped but hints (resize, slot info).

use std::io::{self, Read};

use super::{Value, kind, opcode, version_is_read};
use crate::{lzf, pack::Damaged};

/// The buffer between source and reader, bytes.
const BUFFER_BYTES: usize = 64 << 10;

/// Bytes of a string for which room is made before they have come, where the size of the source is known: of a copy on the wire it is
/// known only from who sends it.
const TRUSTED_BYTES_MAX: usize = 64 << 20;

/// Why a snapshot or payload is not accepted.
#[derive(Debug)]
pub enum Error {
    /// The source failed.
    Io(io::Error),
    /// The bytes end before the snapshot does.
    Truncated {
        /// Where the missing bytes should be.
        offset: u64,
    },
    /// It does not begin like an RDB.
    NotRdb,
    /// A version that is not read.
    Version(u16),
    /// A type byte or opcode that is not known, or is a module's.
    UnknownType {
        /// The byte.
        byte: u8,
        /// Where it stands.
        offset: u64,
        /// The key whose value it announces, where one does.
        key: Option<Vec<u8>>,
        /// The module whose value it is, where the bytes tell.
        module: Option<String>,
    },
    /// Something contradicts the format.
    Corrupt {
        /// What.
        what: &'static str,
        /// The end of what was read when it was noticed.
        offset: u64,
    },
    /// The checksum at the end is not that of the bytes.
    Checksum {
        /// As the file says.
        stored: u64,
        /// As the bytes give.
        computed: u64,
    },
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::Io(error) => write!(f, "reading the RDB failed: {error}"),
            Error::Truncated { offset } => write!(f, "the RDB ends early, at byte {offset}"),
            Error::NotRdb => f.write_str("Wrong signature: this is not an RDB file"),
            Error::Version(version) => write!(f, "Can't handle RDB format version {version}"),
            Error::UnknownType { byte, offset, key, module } => {
                write_unknown(f, *byte, *offset, key.as_deref(), module.as_deref())
            }
            Error::Corrupt { what, offset } => write!(f, "the RDB is corrupt before byte {offset}: {what}"),
            Error::Checksum { stored, computed } => {
                write!(f, "RDB CRC error: the file says {stored:016x}, its bytes give {computed:016x}")
            }
        }
    }
}

/// Bytes of a key that a message shows.
const KEY_SHOWN_BYTES: usize = 128;

fn write_unknown(
    f: &mut std::fmt::Formatter<'_>,
    byte: u8,
    offset: u64,
    key: Option<&[u8]>,
    module: Option<&str>,
) -> std::fmt::Result {
    write!(f, "Unknown RDB encoding type {byte} at byte {offset}")?;
    let is_module = matches!(byte, kind::MODULE | kind::MODULE_CANDIDATE | opcode::MODULE_AUX);
    let of = match (is_module, module) {
        (true, Some(name)) => format!("data of the module type {name}"),
        (true, None) => "data of a module".to_owned(),
        (false, _) => "a type that only a newer server knows".to_owned(),
    };
    match key {
        Some(key) => {
            let shown = &key[..key.len().min(KEY_SHOWN_BYTES)];
            write!(f, ": the key \"{}\" holds {of}. ", shown.escape_ascii())?;
        }
        None => write!(f, ": {of}. ")?,
    }
    f.write_str(match is_module {
        true => {
            "There are no modules here, and nothing is left out of a data set: delete such keys on the server that wrote \
             the file (or turn them into plain types), unload the module there, save again, and load that file"
        }
        false => {
            "Nothing is left out of a data set: delete such keys on the server that wrote the file, save again, and load \
             that file"
        }
    })
}

/// The name of a module's type: nine letters of six bits each, above ten bits of version.
fn module_name(id: u64) -> Option<String> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let letter = |place: u32| char::from(LETTERS[(id >> (10 + 6 * place)) as usize & 63]);
    (id >> 10 != 0).then(|| (0..9).rev().map(letter).collect())
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io(error) => Some(error),
            _ => None,
        }
    }
}

/// A contradiction, before the place is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Corrupt(pub(crate) &'static str);

impl From<Damaged> for Corrupt {
    fn from(_: Damaged) -> Corrupt {
        Corrupt("integrity check failed: a packed list is damaged")
    }
}

/// A key with all that belongs to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its database.
    pub db: u64,
    /// Its name.
    pub key: Vec<u8>,
    /// When it expires, unix ms. May lie in the past.
    pub expiry_ms: Option<i64>,
    /// Seconds since it was last used, when the writer kept that.
    pub idle: Option<u64>,
    /// Its logarithmic use counter, when the writer kept that.
    pub freq: Option<u8>,
    /// Its value.
    pub value: Value,
}

/// What stands in a snapshot, in the order of the file.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// A fact about the file.
    Aux {
        /// Its name.
        key: Vec<u8>,
        /// Its value.
        value: Vec<u8>,
    },
    /// The database of the entries that follow (they carry it as well).
    SelectDb(u64),
    /// A hint of how many keys follow, not to be trusted with memory.
    Resize {
        /// Keys in this database.
        keys: u64,
        /// How many of them expire.
        expires: u64,
    },
    /// The source text of a function library.
    Function(Vec<u8>),
    /// A key.
    Entry(Entry),
    /// The name of a key whose collection is empty; it holds nothing and is to be passed over.
    EmptyKey(Vec<u8>),
}

/// Reads items until `None`, which is given only after the end mark and a right checksum.
#[derive(Debug)]
pub struct Reader<R> {
    source: R,
    buffer: Vec<u8>,
    at: usize,
    summed: usize,
    buffer_offset: u64,
    bytes_total: Option<u64>,
    crc: u64,
    verify: bool,
    pub(super) version: u16,
    db: u64,
    empty_keys: u64,
    /// What was said of the next key: KeyDB puts a field of its own between that and the key.
    prefix: Prefix,
    ended: bool,
}

impl<R: Read> Reader<R> {
    /// Opens a snapshot: reads its first nine bytes. `bytes_total` is the size of the source if known, `verify`
    /// is `rdbchecksum`.
    pub fn new(source: R, bytes_total: Option<u64>, verify: bool) -> Result<Reader<R>, Error> {
        let mut reader = Reader::bare(source, bytes_total, verify, 0);
        let mut magic = [0u8; 9];
        reader.fill(&mut magic)?;
        let (family, digits) = match &magic {
            [b'R', b'E', b'D', b'I', b'S', digits @ ..] => (b'R', &digits[..]),
            [b'V', b'A', b'L', b'K', b'E', b'Y', digits @ ..] => (b'V', &digits[..]),
            _ => return Err(Error::NotRdb),
        };
        if !digits.iter().all(u8::is_ascii_digit) {
            return Err(Error::NotRdb);
        }
        reader.version = digits.iter().fold(0, |n, d| n * 10 + u16::from(d - b'0'));
        let of_valkey = reader.version == super::VERSION_VALKEY;
        if !version_is_read(reader.version) || of_valkey != (family == b'V') {
            return Err(Error::Version(reader.version));
        }
        Ok(reader)
    }

    /// A reader without a header, for the value inside a DUMP payload.
    pub(crate) fn bare(source: R, bytes_total: Option<u64>, verify: bool, version: u16) -> Reader<R> {
        Reader {
            source,
            buffer: Vec::new(),
            at: 0,
            summed: 0,
            buffer_offset: 0,
            bytes_total,
            crc: 0,
            verify,
            version,
            db: 0,
            empty_keys: 0,
            prefix: Prefix::default(),
            ended: false,
        }
    }

    /// The version the file declares.
    pub fn version(&self) -> u16 {
        self.version
    }

    /// How many bytes were consumed; after the end, where the snapshot ends in the source (a log of Redis 4 to 6
    /// goes on there with commands).
    pub fn offset(&self) -> u64 {
        self.buffer_offset + self.at as u64
    }

    /// Keys whose collection was empty: they hold nothing and are passed over, as in Redis.
    pub fn empty_keys(&self) -> u64 {
        self.empty_keys
    }

    /// The next item; `None` at the end. After an error, or the end, do not go on.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator would suggest that reading can go on after an error"
    )]
    pub fn next(&mut self) -> Result<Option<Item>, Error> {
        while !self.ended {
            let at = self.offset();
            match self.byte()? {
                // Redis takes this one time for none.
                opcode::EXPIRY_MS => {
                    self.prefix.expiry_ms = Some(self.milliseconds()?).filter(|ms| *ms != -1)
                }
                opcode::EXPIRY_S => self.prefix.expiry_ms = Some(self.seconds_as_ms()?),
                opcode::IDLE => self.prefix.idle = Some(self.length()?),
                opcode::FREQ => self.prefix.freq = Some(self.byte()?),
                opcode::SLOT_INFO => self.slot_info()?,
                byte @ (opcode::SLOT_IMPORT | opcode::FUNCTION_CANDIDATE | opcode::MODULE_AUX) => {
                    let module = if byte == opcode::MODULE_AUX { self.module() } else { None };
                    return Err(Error::UnknownType { byte, offset: at, key: None, module });
                }
                opcode::FUNCTION => return Ok(Some(Item::Function(self.string()?))),
                opcode::AUX => {
                    return Ok(Some(Item::Aux { key: self.string()?, value: self.string()? }));
                }
                opcode::RESIZE_DB => {
                    return Ok(Some(Item::Resize { keys: self.length()?, expires: self.length()? }));
                }
                opcode::SELECT_DB => {
                    self.db = self.length()?;
                    return Ok(Some(Item::SelectDb(self.db)));
                }
                opcode::EOF => self.end()?,
                kind => {
                    let prefix = std::mem::take(&mut self.prefix);
                    let entry = self.entry(kind, prefix, at)?;
                    if !entry.value.is_empty() {
                        return Ok(Some(Item::Entry(entry)));
                    }
                    self.empty_keys += 1;
                    return Ok(Some(Item::EmptyKey(entry.key)));
                }
            }
        }
        Ok(None)
    }

    fn entry(&mut self, kind: u8, prefix: Prefix, at: u64) -> Result<Entry, Error> {
        if !Value::is_known(kind) {
            // Of any type the name comes first; what cannot be read of it is left out of the message.
            let key = self.string().ok();
            let module = if kind == kind::MODULE && key.is_some() { self.module() } else { None };
            return Err(Error::UnknownType { byte: kind, offset: at, key, module });
        }
        let key = self.string()?;
        let value = self.value(kind)?;
        let Prefix { expiry_ms, idle, freq } = prefix;
        Ok(Entry { db: self.db, key, expiry_ms, idle, freq, value })
    }

    fn module(&mut self) -> Option<String> {
        self.length().ok().and_then(module_name)
    }

    fn slot_info(&mut self) -> Result<(), Error> {
        for _ in 0..3 {
            self.length()?;
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), Error> {
        self.ended = true;
        if self.version < 5 {
            return Ok(()); // Checksums came with version 5.
        }
        self.sum();
        let computed = self.crc;
        let mut stored = [0u8; 8];
        self.fill(&mut stored)?;
        let stored = u64::from_le_bytes(stored);
        if self.verify && stored != 0 && stored != computed {
            return Err(Error::Checksum { stored, computed });
        }
        Ok(())
    }

    pub(super) fn corrupt(&self, what: &'static str) -> Error {
        Error::Corrupt { what, offset: self.offset() }
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Error> {
        let mut byte = [0u8];
        self.fill(&mut byte)?;
        Ok(byte[0])
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut bytes = [0u8; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn milliseconds(&mut self) -> Result<i64, Error> {
        // Until version 8 the writer's own byte order was used; all files in the wild come from little-endian machines.
        Ok(i64::from_le_bytes(self.array()?))
    }

    fn seconds_as_ms(&mut self) -> Result<i64, Error> {
        Ok(i64::from(i32::from_le_bytes(self.array()?)) * 1000)
    }

    /// A plain length.
    pub(super) fn length(&mut self) -> Result<u64, Error> {
        match self.length_or_encoding()? {
            Length::Plain(length) => Ok(length),
            Length::Encoded(_) => Err(self.corrupt("an encoded string where a length belongs")),
        }
    }

    /// A count of things that take at least `bytes_each` bytes; more than can be left is refused.
    pub(super) fn count(&mut self, bytes_each: u64) -> Result<u64, Error> {
        let count = self.length()?;
        match self.left() {
            Some(left) if count > left / bytes_each => {
                Err(self.corrupt("a count exceeds the bytes that are left"))
            }
            _ => Ok(count),
        }
    }

    fn left(&self) -> Option<u64> {
        self.bytes_total.map(|total| total.saturating_sub(self.offset()))
    }

    fn length_or_encoding(&mut self) -> Result<Length, Error> {
        let first = self.byte()?;
        Ok(match first {
            0..=0x3f => Length::Plain(u64::from(first)),
            0x40..=0x7f => Length::Plain(u64::from(first & 0x3f) << 8 | u64::from(self.byte()?)),
            0x80 => Length::Plain(u64::from(u32::from_be_bytes(self.array()?))),
            0x81 => Length::Plain(u64::from_be_bytes(self.array()?)),
            0xc0..=0xff => Length::Encoded(first & 0x3f),
            _ => return Err(self.corrupt("unknown form of a length")),
        })
    }

    /// A string in any of its forms.
    pub(crate) fn string(&mut self) -> Result<Vec<u8>, Error> {
        let number = match self.length_or_encoding()? {
            Length::Plain(length) => return self.take(length),
            Length::Encoded(0) => i64::from(i8::from_le_bytes(self.array()?)),
            Length::Encoded(1) => i64::from(i16::from_le_bytes(self.array()?)),
            Length::Encoded(2) => i64::from(i32::from_le_bytes(self.array()?)),
            Length::Encoded(3) => return self.compressed(),
            Length::Encoded(_) => return Err(self.corrupt("unknown form of a string")),
        };
        let mut text = Vec::with_capacity(11);
        base::number::push_i64(&mut text, number);
        Ok(text)
    }

    fn compressed(&mut self) -> Result<Vec<u8>, Error> {
        let packed = self.length()?;
        let length = self.length()?;
        let packed = self.take(packed)?;
        let length = usize::try_from(length).map_err(|_| self.corrupt("a string is too long"))?;
        lzf::decompress(&packed, length).ok_or_else(|| self.corrupt("Invalid LZF compressed string"))
    }

    /// So many bytes as they are.
    pub(super) fn take(&mut self, length: u64) -> Result<Vec<u8>, Error> {
        let offset = self.offset();
        if self.left().is_some_and(|left| length > left) {
            return Err(Error::Truncated { offset });
        }
        let whole = usize::try_from(length).map_err(|_| self.corrupt("a string is too long"))?;
        let mut bytes = match self.left() {
            Some(_) => Vec::with_capacity(whole.min(TRUSTED_BYTES_MAX)),
            None => Vec::new(),
        };
        while bytes.len() < whole {
            self.refill_if_empty()?;
            let count = (whole - bytes.len()).min(self.buffer.len() - self.at);
            base::room::reserve_towards(&mut bytes, count, whole);
            bytes.extend_from_slice(&self.buffer[self.at..self.at + count]);
            self.at += count;
        }
        Ok(bytes)
    }

    fn fill(&mut self, out: &mut [u8]) -> Result<(), Error> {
        let mut done = 0;
        while done < out.len() {
            self.refill_if_empty()?;
            let count = (out.len() - done).min(self.buffer.len() - self.at);
            out[done..done + count].copy_from_slice(&self.buffer[self.at..self.at + count]);
            self.at += count;
            done += count;
        }
        Ok(())
    }

    fn sum(&mut self) {
        if self.verify {
            self.crc = base::crc64::update(self.crc, &self.buffer[self.summed..self.at]);
            self.summed = self.at;
        }
    }

    fn refill_if_empty(&mut self) -> Result<(), Error> {
        if self.at < self.buffer.len() {
            return Ok(());
        }
        self.sum();
        self.buffer_offset += self.buffer.len() as u64;
        (self.at, self.summed) = (0, 0);
        self.buffer.resize(BUFFER_BYTES, 0);
        let read = loop {
            match self.source.read(&mut self.buffer) {
                Ok(count) => break Ok(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(Error::Io(error)),
            }
        };
        self.buffer.truncate(*read.as_ref().unwrap_or(&0));
        match read? {
            0 => Err(Error::Truncated { offset: self.buffer_offset }),
            _ => Ok(()),
        }
    }
}

/// What may stand before a key.
#[derive(Debug, Default)]
struct Prefix {
    expiry_ms: Option<i64>,
    idle: Option<u64>,
    freq: Option<u8>,
}

enum Length {
    Plain(u64),
    Encoded(u8),
}
