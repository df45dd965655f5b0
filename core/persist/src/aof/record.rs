//! Reads an incremental file record by record: commands, annotations, and where the first wrong byte is.

use std::io::{self, Read};

use super::line::{Annotation, Head, HistoryId, Line, MARK};

/// Room for a record's header lines, bytes; no line of the format is longer.
const LINE_BYTES_MAX: usize = 1024;
const BUFFER_BYTES: usize = 64 << 10;

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A command; at least one argument.
    Command(Vec<Vec<u8>>),
    /// The end of a batch, and the checksum that its bytes have.
    Annotation(Annotation, u64),
    /// The beginning of a file of a log that has an identity.
    Head(Head),
    /// Of an earlier version: the file before this one had so many bytes when this one was begun.
    Follows(u64),
    /// The end of a base of commands, and whether its checksum is right.
    BaseEnd(bool),
    /// Redis' own `#TS:` line, unix seconds.
    Timestamp(i64),
    /// Any other line that begins with `#`, without its end.
    Comment(Vec<u8>),
}

/// The first record that is not one.
#[derive(Debug)]
pub enum BadRecord {
    /// The file could not be read.
    Io(io::Error),
    /// It ends inside the record.
    Torn,
    /// A byte that cannot stand there.
    Format {
        /// Offset of the byte in the file.
        offset: u64,
        /// The byte.
        byte: u8,
    },
    /// A line of ours that is not as it was written: its own checksum is wrong.
    Line {
        /// Offset of the line in the file.
        offset: u64,
    },
}

/// Reads records one after the other.
#[derive(Debug)]
pub struct Scanner<R> {
    source: R,
    buffer: Vec<u8>,
    at: usize,
    summed: usize,
    buffer_offset: u64,
    source_ended: bool,
    /// Where the file is known to end.
    end: u64,
    crc: u64,
    /// That of the file's head, once that was read.
    history: Option<HistoryId>,
}

impl<R: Read> Scanner<R> {
    /// `source` stands at byte `offset` of the file, at the beginning of a record and of a batch.
    pub fn new(source: R, offset: u64) -> Scanner<R> {
        Scanner {
            source,
            buffer: Vec::new(),
            at: 0,
            summed: 0,
            buffer_offset: offset,
            source_ended: false,
            end: u64::MAX,
            crc: 0,
            history: None,
        }
    }

    /// The file is so many bytes long: a length that reaches beyond is not read towards its end.
    pub fn until(self, end: u64) -> Scanner<R> {
        Scanner { end, ..self }
    }

    /// It is a part of a file with a head of this history.
    pub(super) fn of(self, history: HistoryId) -> Scanner<R> {
        Scanner { history: Some(history), ..self }
    }

    /// What is read from.
    pub(super) fn source(&self) -> &R {
        &self.source
    }

    /// What is read from.
    pub(super) fn source_mut(&mut self) -> &mut R {
        &mut self.source
    }

    /// Offset in the file of the next byte to be read: between records, the end of the last.
    pub fn offset(&self) -> u64 {
        self.buffer_offset + self.at as u64
    }

    /// Checksum of the bytes since the last annotation; to be asked between records.
    pub fn batch_crc(&mut self) -> u64 {
        self.sum();
        self.crc
    }

    /// The next record; `None` at the end of the file. After an error do not go on, but for a line that is damaged: reading
    /// stands behind it.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator would suggest that reading can go on after an error"
    )]
    pub fn next(&mut self) -> Result<Option<Record>, BadRecord> {
        self.sum();
        match self.peek()? {
            None => Ok(None),
            Some(b'#') => self.note().map(Some),
            Some(b'*') => self.command().map(|args| Some(Record::Command(args))),
            Some(byte) => Err(BadRecord::Format { offset: self.offset(), byte }),
        }
    }

    fn note(&mut self) -> Result<Record, BadRecord> {
        let offset = self.offset();
        let line = self.line()?;
        if !line.starts_with(MARK) {
            let time = line.strip_prefix(b"#TS:").and_then(base::number::parse_i64);
            return Ok(time.map_or_else(|| Record::Comment(line), Record::Timestamp));
        }
        Ok(match Line::parse(&line, self.history).ok_or(BadRecord::Line { offset })? {
            Line::Batch(annotation) => {
                self.summed = self.at;
                Record::Annotation(annotation, std::mem::take(&mut self.crc))
            }
            Line::Head(head) => {
                self.history = Some(head.history);
                Record::Head(head)
            }
            Line::BaseEnd(crc) => Record::BaseEnd(crc == self.crc),
            Line::After(bytes) => Record::Follows(bytes),
            Line::Later => Record::Comment(line),
        })
    }

    fn command(&mut self) -> Result<Vec<Vec<u8>>, BadRecord> {
        let count = self.number(b'*', base::limits::REQUEST_ARGS_MAX as u64)?;
        if count == 0 {
            return Err(BadRecord::Format { offset: self.offset(), byte: b'0' });
        }
        let mut args = Vec::with_capacity(count.min(64) as usize);
        for _ in 0..count {
            let length = self.number(b'$', base::limits::BULK_BYTES_MAX as u64)?;
            args.push(self.take(length as usize)?);
            self.expect(b'\r')?;
            self.expect(b'\n')?;
        }
        Ok(args)
    }

    /// A header line: the mark and a number of at most `max`.
    fn number(&mut self, mark: u8, max: u64) -> Result<u64, BadRecord> {
        self.expect(mark)?;
        let at = self.offset();
        let first = self.peek()?;
        let line = self.line()?;
        let number = base::number::parse_u64(&line).filter(|&n| n <= max);
        number.ok_or(BadRecord::Format { offset: at, byte: first.unwrap_or_default() })
    }

    fn expect(&mut self, wanted: u8) -> Result<(), BadRecord> {
        match self.peek()? {
            Some(byte) if byte == wanted => {
                self.at += 1;
                Ok(())
            }
            Some(byte) => Err(BadRecord::Format { offset: self.offset(), byte }),
            None => Err(BadRecord::Torn),
        }
    }

    /// The rest of the line, without its end. A line holds no zero byte, so a zero-filled tail is found at once.
    fn line(&mut self) -> Result<Vec<u8>, BadRecord> {
        loop {
            let rest = &self.buffer[self.at..];
            if let Some(zero) = rest.iter().position(|&b| b == b'\n' || b == 0) {
                if rest[zero] == 0 || zero == 0 || rest[zero - 1] != b'\r' {
                    let (offset, byte) = (self.offset() + zero as u64, rest[zero]);
                    return Err(BadRecord::Format { offset, byte });
                }
                let line = rest[..zero - 1].to_vec();
                self.at += zero + 1;
                return Ok(line);
            }
            if rest.len() > LINE_BYTES_MAX {
                return Err(BadRecord::Format { offset: self.offset(), byte: rest[0] });
            }
            if !self.refill()? {
                return Err(BadRecord::Torn);
            }
        }
    }

    fn take(&mut self, length: usize) -> Result<Vec<u8>, BadRecord> {
        if length as u64 > self.end.saturating_sub(self.offset()) {
            return Err(BadRecord::Torn);
        }
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            if self.peek()?.is_none() {
                return Err(BadRecord::Torn);
            }
            let count = (length - bytes.len()).min(self.buffer.len() - self.at);
            bytes.extend_from_slice(&self.buffer[self.at..self.at + count]);
            self.at += count;
        }
        Ok(bytes)
    }

    fn peek(&mut self) -> Result<Option<u8>, BadRecord> {
        if self.at == self.buffer.len() && !self.refill()? {
            return Ok(None);
        }
        Ok(Some(self.buffer[self.at]))
    }

    fn sum(&mut self) {
        self.crc = base::crc64::update(self.crc, &self.buffer[self.summed..self.at]);
        self.summed = self.at;
    }

    /// Makes room by dropping what was read, and reads more behind the rest. False at the end of the file.
    fn refill(&mut self) -> Result<bool, BadRecord> {
        if self.source_ended {
            return Ok(false);
        }
        self.sum();
        self.buffer.drain(..self.at);
        self.buffer_offset += self.at as u64;
        (self.at, self.summed) = (0, 0);
        let kept = self.buffer.len();
        self.buffer.resize(kept + BUFFER_BYTES, 0);
        let read = loop {
            match self.source.read(&mut self.buffer[kept..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result,
            }
        };
        self.buffer.truncate(kept + read.as_ref().copied().unwrap_or(0));
        let count = read.map_err(BadRecord::Io)?;
        self.source_ended = count == 0;
        Ok(count > 0)
    }
}

/// Reads the commands of a file that [`super::recover`] has judged, notes left out.
#[derive(Debug)]
pub struct Commands<R> {
    scanner: Scanner<io::Take<R>>,
    began: u64,
    /// The last note since the last command.
    note: Option<Vec<u8>>,
    /// The same, once the end of its batch vouches for it.
    closed_note: Option<Vec<u8>>,
    /// There was one.
    has_notes: bool,
    /// The end of a batch was met.
    has_batches: bool,
}

impl<R: Read> Commands<R> {
    /// `source` stands at byte `offset` of the file, which is good up to byte `end`.
    pub fn new(source: R, offset: u64, end: u64) -> Commands<R> {
        let scanner = Scanner::new(source.take(end.saturating_sub(offset)), offset).until(end);
        Commands {
            scanner,
            began: offset,
            note: None,
            closed_note: None,
            has_notes: false,
            has_batches: false,
        }
    }

    /// It is a part of a file with a head of this history.
    pub fn of(self, history: HistoryId) -> Commands<R> {
        Commands { scanner: self.scanner.of(history), ..self }
    }

    /// Whether the file tells that the last command is one that this server has written: it began with a head, or the end of a batch
    /// stands before the command.
    pub fn is_own(&self) -> bool {
        self.has_batches || self.scanner.history.is_some()
    }

    /// Offset in the file at which the last command begins.
    pub fn began(&self) -> u64 {
        self.began
    }

    /// Offset in the file behind the last command.
    pub fn offset(&self) -> u64 {
        self.scanner.offset()
    }

    /// Whether lines of others were read.
    pub fn has_notes(&self) -> bool {
        self.has_notes
    }

    /// The last line of others in a batch that is whole, without its end, if no command follows it.
    pub fn last_note(&self) -> Option<&[u8]> {
        self.closed_note.as_deref()
    }

    /// The next command; `None` at the end.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator would suggest that reading can go on after an error"
    )]
    pub fn next(&mut self) -> Result<Option<Vec<Vec<u8>>>, BadRecord> {
        loop {
            self.began = self.scanner.offset();
            match self.scanner.next()? {
                Some(Record::Command(args)) => {
                    (self.note, self.closed_note) = (None, None);
                    return Ok(Some(args));
                }
                Some(Record::Comment(line)) => (self.note, self.has_notes) = (Some(line), true),
                Some(Record::Annotation(line, crc)) => {
                    self.has_batches = true;
                    if line.crc == crc {
                        self.closed_note = self.note.take().or_else(|| self.closed_note.take());
                    }
                }
                Some(_) => {}
                None => return Ok(None),
            }
        }
    }
}

impl std::fmt::Display for BadRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            BadRecord::Io(error) => f.write_str(&base::fault::text(error)),
            BadRecord::Torn => f.write_str("Unexpected end of file"),
            BadRecord::Format { offset, byte } => {
                write!(f, "Bad file format: byte 0x{byte:02x} at offset {offset}")
            }
            BadRecord::Line { offset } => write!(f, "Bad line at offset {offset}"),
        }
    }
}

impl std::error::Error for BadRecord {}
