//! Reads the batches of an incremental file, or of a part of one, as they stand there: their bytes and the line that closes them.
//!
//! For whoever copies a log without loading it. A batch is given when it is whole: its checksum is right and its number is
//! the next one. What lies behind the last of them (a batch that is being written just now) is not an error, but the end.

use std::fmt;
use std::io::{self, Read};
use std::ops::Range;

use super::line::{Annotation, Head, HistoryId};
use super::{BadRecord, Record, Scanner};

/// The longest batch that is given, bytes: so much of what is not closed yet is held in memory at most.
pub const BATCH_BYTES_MAX: usize = 1 << 30;

/// A batch, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WholeBatch {
    /// The line that closes it.
    pub line: Annotation,
    /// All its bytes, from the file's head if it is the first one to its closing line.
    pub bytes: Vec<u8>,
    /// Where in `bytes` what was committed is: without head and closing line.
    pub body: Range<usize>,
    /// Offset in the file behind it.
    pub end: u64,
}

impl WholeBatch {
    /// The closing line as it stands in the file, without its end.
    pub fn closing_line(&self) -> String {
        String::from_utf8_lossy(self.bytes[self.body.end..].trim_ascii_end()).into_owned()
    }
}

/// Why a batch cannot be given.
#[derive(Debug)]
pub enum BadBatch {
    /// What is there is no record.
    Record {
        /// Where the record begins.
        offset: u64,
        /// What is wrong with it.
        error: BadRecord,
    },
    /// Its bytes do not have the checksum that its line tells.
    Checksum {
        /// Its number.
        seq: u64,
        /// Where it begins.
        offset: u64,
    },
    /// It does not follow the one before it.
    Order {
        /// The number that should be there.
        expected: u64,
        /// The one that is.
        found: u64,
    },
    /// It is longer than is held in memory.
    TooLong {
        /// Its number.
        seq: u64,
        /// Its size.
        bytes: u64,
    },
    /// The head is that of another log.
    Foreign(HistoryId),
    /// A head stands in the middle of a batch.
    Head {
        /// Where.
        offset: u64,
    },
}

impl fmt::Display for BadBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadBatch::Record { error: error @ (BadRecord::Io(_) | BadRecord::Format { .. }), .. } => {
                write!(f, "{error}")
            }
            BadBatch::Record { offset, error } => write!(f, "{error} (the record begins at offset {offset})"),
            BadBatch::Checksum { seq, offset } => {
                write!(f, "the checksum of batch {seq}, which begins at offset {offset}, is wrong")
            }
            BadBatch::Order { expected, found } => {
                write!(f, "a batch is missing: number {expected} should be there, {found} is")
            }
            BadBatch::TooLong { seq, bytes } => {
                write!(
                    f,
                    "batch {seq} has {bytes} bytes, and at most {BATCH_BYTES_MAX} are taken: BGREWRITEAOF puts it into a base"
                )
            }
            BadBatch::Foreign(history) => write!(f, "it is of another log, {history}"),
            BadBatch::Head { offset } => {
                write!(f, "the line that begins a file stands in the middle, at offset {offset}")
            }
        }
    }
}

impl std::error::Error for BadBatch {}

/// Reads batches one after the other.
#[derive(Debug)]
pub struct Batches<R> {
    scanner: Scanner<Seen<R>>,
    history: HistoryId,
    /// Number of the batch before, if it is known.
    last: Option<u64>,
    /// End of the batch before.
    start: u64,
    /// No whole batch follows; what was read of the next one is not to be read as something else.
    is_over: bool,
}

impl<R: Read> Batches<R> {
    /// `source` stands at byte `offset` of a file of this history, at the beginning of a batch; `last` is the number of the one before.
    pub fn new(source: R, offset: u64, history: HistoryId, last: Option<u64>) -> Batches<R> {
        Batches::bounded(source, offset, history, last, BATCH_BYTES_MAX)
    }

    fn bounded(
        source: R,
        offset: u64,
        history: HistoryId,
        last: Option<u64>,
        bytes_max: usize,
    ) -> Batches<R> {
        let seen = Seen { source, bytes: Vec::new(), bytes_max, passed: 0 };
        let scanner = Scanner::new(seen, offset).of(history);
        Batches { scanner, history, last, start: offset, is_over: false }
    }

    /// Offset in the file behind the last batch that was given.
    pub fn offset(&self) -> u64 {
        self.start
    }

    /// Bytes read behind that: at the end, those that are in no whole batch.
    pub fn unclosed_bytes(&self) -> u64 {
        self.scanner.source().bytes.len() as u64 + self.scanner.source().passed
    }

    /// The next batch; `None` where no whole one follows. After an error do not go on.
    ///
    /// # Errors
    /// What follows is none; see [`BadBatch`].
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator would suggest that reading can go on after an error"
    )]
    pub fn next(&mut self) -> Result<Option<WholeBatch>, BadBatch> {
        let mut body_start = 0;
        while !self.is_over {
            let offset = self.scanner.offset();
            match self.scanner.next() {
                Ok(None) | Err(BadRecord::Torn) => self.is_over = true,
                Ok(Some(Record::Annotation(line, crc))) => {
                    return self.close(line, crc, body_start, offset).map(Some);
                }
                Ok(Some(Record::Head(head))) => {
                    self.begin(head, offset)?;
                    body_start = (self.scanner.offset() - self.start) as usize;
                }
                Ok(Some(_)) => {}
                Err(error) => return Err(BadBatch::Record { offset, error }),
            }
        }
        Ok(None)
    }

    fn begin(&mut self, head: Head, offset: u64) -> Result<(), BadBatch> {
        if head.history != self.history {
            return Err(BadBatch::Foreign(head.history));
        }
        if offset != self.start {
            return Err(BadBatch::Head { offset });
        }
        self.is_next(head.first_batch)
    }

    fn is_next(&self, found: u64) -> Result<(), BadBatch> {
        match self.last.map(|last| last + 1) {
            Some(expected) if expected != found => Err(BadBatch::Order { expected, found }),
            _ => Ok(()),
        }
    }

    /// The batch whose closing line begins at `line_offset`.
    fn close(
        &mut self,
        line: Annotation,
        crc: u64,
        body_start: usize,
        line_offset: u64,
    ) -> Result<WholeBatch, BadBatch> {
        let (offset, end) = (self.start, self.scanner.offset());
        self.is_next(line.seq)?;
        if line.crc != crc {
            return Err(BadBatch::Checksum { seq: line.seq, offset });
        }
        if self.scanner.source().passed > 0 {
            return Err(BadBatch::TooLong { seq: line.seq, bytes: end - offset });
        }
        let bytes = self.scanner.source_mut().take_first((end - offset) as usize);
        let body = body_start..(line_offset - offset) as usize;
        (self.last, self.start) = (Some(line.seq), end);
        Ok(WholeBatch { line, bytes, body, end })
    }
}

/// A source that keeps what was read from it and not taken yet, up to a bound; beyond that it only counts.
#[derive(Debug)]
struct Seen<R> {
    source: R,
    bytes: Vec<u8>,
    bytes_max: usize,
    /// What was read and not kept.
    passed: u64,
}

impl<R> Seen<R> {
    fn take_first(&mut self, count: usize) -> Vec<u8> {
        let behind = self.bytes.split_off(count);
        std::mem::replace(&mut self.bytes, behind)
    }
}

impl<R: Read> Read for Seen<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        if self.passed == 0 && self.bytes.len() + count <= self.bytes_max {
            self.bytes.extend_from_slice(&buffer[..count]);
        } else {
            // Nothing of a batch that is not kept whole is wanted.
            self.passed += self.bytes.len() as u64 + count as u64;
            self.bytes = Vec::new();
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HISTORY: HistoryId = HistoryId(77);

    /// A file with a head and batches of one command each, numbered from 5.
    fn file(batches: u64) -> Vec<u8> {
        let mut file = Vec::new();
        for seq in 5..5 + batches {
            let mut batch = Vec::new();
            if seq == 5 {
                Head { history: HISTORY, first_batch: 5, before_bytes: 0 }.push(&mut batch);
            }
            batch.extend_from_slice(format!("*2\r\n$4\r\nINCR\r\n$1\r\n{}\r\n", seq % 10).as_bytes());
            let crc = base::crc64::update(0, &batch);
            Annotation { seq, crc, unix_ms: seq as i64, synced: 0 }.push(Some(HISTORY), &mut batch);
            file.extend_from_slice(&batch);
        }
        file
    }

    fn all(bytes: &[u8], offset: u64, last: Option<u64>) -> Result<Vec<WholeBatch>, BadBatch> {
        let mut batches = Batches::new(&bytes[offset as usize..], offset, HISTORY, last);
        let mut found = Vec::new();
        while let Some(batch) = batches.next()? {
            found.push(batch);
        }
        Ok(found)
    }

    #[test]
    fn batches_come_as_they_stand_in_the_file() {
        let file = file(3);
        let found = all(&file, 0, Some(4)).unwrap();
        let bytes: Vec<u8> = found.iter().flat_map(|batch| batch.bytes.clone()).collect();
        assert_eq!(bytes, file);
        for (batch, seq) in found.iter().zip(5..) {
            assert_eq!(batch.line.seq, seq);
            assert_eq!(
                batch.bytes[batch.body.clone()],
                *format!("*2\r\n$4\r\nINCR\r\n$1\r\n{seq}\r\n").as_bytes()
            );
            assert!(batch.closing_line().starts_with(&format!("#TDM:{seq}:")));
        }
        assert_eq!(all(&file, found[0].end, Some(5)).unwrap(), found[1..]);
    }

    #[test]
    fn what_is_not_closed_is_the_end_and_no_error() {
        let file = file(2);
        let first = all(&file, 0, None).unwrap()[0].end as usize;
        for cut in first..file.len() {
            let mut batches = Batches::new(&file[..cut], 0, HISTORY, None);
            assert!(batches.next().unwrap().is_some());
            for _ in 0..3 {
                assert_eq!(batches.next().unwrap(), None, "cut at {cut}");
            }
        }
    }

    #[test]
    fn no_flipped_bit_passes() {
        let file = file(2);
        let good = all(&file, 0, Some(4)).unwrap();
        for at in 0..file.len() * 8 {
            let mut file = file.clone();
            file[at / 8] ^= 1 << (at % 8);
            // A bit of a length may make the end look torn; what is given is right all the same.
            if let Ok(found) = all(&file, 0, Some(4)) {
                assert!(found.len() < 2 && good.starts_with(&found), "bit {at}");
            }
        }
    }

    #[test]
    fn a_missing_batch_is_told() {
        let file = file(3);
        let ends: Vec<usize> = all(&file, 0, None).unwrap().iter().map(|batch| batch.end as usize).collect();
        let without = [&file[..ends[0]], &file[ends[1]..]].concat();
        assert!(matches!(all(&without, 0, None), Err(BadBatch::Order { expected: 6, found: 7 })));
        assert!(matches!(all(&file, 0, Some(9)), Err(BadBatch::Order { expected: 10, found: 5 })));
    }

    /// Gives a few bytes at a time, so that little is read ahead.
    struct Drops<'a>(&'a [u8]);

    impl Read for Drops<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = buffer.len().min(8);
            self.0.read(&mut buffer[..count])
        }
    }

    #[test]
    fn what_is_held_of_a_batch_is_bounded() {
        let file = file(3);
        let longest = file.len() * 2 / 3;
        let give = |bytes: &[u8], max: usize| {
            let mut batches = Batches::bounded(Drops(bytes), 0, HISTORY, None, max);
            let (mut found, mut held) = (0, 0);
            loop {
                let next = batches.next();
                held = held.max(batches.scanner.source().bytes.len());
                assert!(held <= max, "{held} bytes are held");
                match next {
                    Ok(Some(_)) => found += 1,
                    Ok(None) => return Ok((found, batches.unclosed_bytes())),
                    Err(error) => return Err(error),
                }
            }
        };
        assert_eq!(give(&file, longest).unwrap(), (3, 0));
        assert!(matches!(give(&file, 40), Err(BadBatch::TooLong { seq: 5, .. })));
        let open = b"*2\r\n$4\r\nINCR\r\n$1\r\nx\r\n".repeat(100);
        let unclosed = [&file[..], &open].concat();
        assert_eq!(give(&unclosed, longest).unwrap(), (3, open.len() as u64), "what is not kept is counted");
    }
}
