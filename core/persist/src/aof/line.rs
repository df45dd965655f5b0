//! The lines of ours in a log: they begin with `#TDM`, so other servers pass over them, and end with a checksum of
//! themselves.
//!
//! ```text
//! #TDM-HEAD:<history>:<first batch>:<bytes of the file before>:<check>     begins an incremental file
//! #TDM:<batch>:<crc>:<unix ms>:<synced>:<check>                            closes a batch
//! #TDM-BASE:<crc>:<check>                                                  ends a base of commands
//! #TDM-LOG:<history>:<base bytes>:<base crc>:<covers>:<heads from>:<crc of the other lines>:<check>     in a manifest
//! ```
//! `check` is the CRC-64 of all that stands before it, begun with the history: so a line of another log, or one that a
//! client has put into a value, is none of ours. Lines without it are those of earlier versions (`#TDM:` with four fields
//! and `#TDM-AFTER:<bytes>`): they are read where no head precedes them, which is to say, in files of that time. A line that
//! begins with `#TDM` and is none of all these is damaged; one with a right check and of a later kind is passed over.

use std::fmt;

use crate::rdb::Identity;

/// What all lines of ours begin with.
pub(super) const MARK: &[u8] = b"#TDM";
/// What the line that closes a batch begins with.
const BATCH: &[u8] = b"#TDM:";
/// The longest line of ours, with its end, bytes.
const LINE_BYTES_MAX: usize = 256;

/// Which log it is: drawn at random when it begins, and the same in all its files and for all its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryId(pub u128);

impl HistoryId {
    /// What checksums of its lines begin with.
    fn salt(self) -> u64 {
        (self.0 >> 64) as u64 ^ self.0 as u64
    }

    fn parse(hex: &str) -> Option<HistoryId> {
        (hex.len() == 32 && is_lower_hex(hex)).then(|| u128::from_str_radix(hex, 16).ok())?.map(HistoryId)
    }
}

impl fmt::Display for HistoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The line that closes a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Annotation {
    /// Number of the batch.
    pub seq: u64,
    /// Checksum of the bytes since the last such line.
    pub crc: u64,
    /// When it was written.
    pub unix_ms: i64,
    /// Bytes of this file that were durable then.
    pub synced: u64,
}

impl Annotation {
    /// Appends the line. `history`: that of the file's head; none in a file of an earlier version.
    pub fn push(&self, history: Option<HistoryId>, out: &mut Vec<u8>) {
        let Annotation { seq, crc, unix_ms, synced } = self;
        push_checked(out, history, format_args!("#TDM:{seq}:{crc:016x}:{unix_ms}:{synced}:"));
    }
}

/// The first line of an incremental file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The log that the file is of.
    pub history: HistoryId,
    /// Number of the first batch in it.
    pub first_batch: u64,
    /// How long the incremental file before it was when this one was begun; 0 when there was none.
    pub before_bytes: u64,
}

impl Head {
    pub(super) fn push(&self, out: &mut Vec<u8>) {
        let Head { history, first_batch, before_bytes } = self;
        push_checked(out, Some(*history), format_args!("#TDM-HEAD:{history}:{first_batch}:{before_bytes}:"));
    }

    /// What a file of this history begins with, as far as it does not depend on the file.
    pub(super) fn beginning(history: HistoryId) -> Vec<u8> {
        format!("#TDM-HEAD:{history}:").into_bytes()
    }
}

/// What a manifest says of the log as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogIdentity {
    /// Which log it is.
    pub history: HistoryId,
    /// The base, by which another one is told from it; without meaning where there is none.
    pub base: Identity,
    /// The base holds what the batches up to this number did.
    pub covers: u64,
    /// Incremental files from this sequence number on begin with a head.
    pub heads_from: u64,
}

impl LogIdentity {
    /// The line, which vouches for the others of the manifest, too.
    pub(super) fn to_line(self, others: &[u8]) -> String {
        let LogIdentity { history, base: Identity { bytes, crc }, covers, heads_from } = self;
        let others = base::crc64::update(0, others);
        let fields = format!("#TDM-LOG:{history}:{bytes}:{crc:016x}:{covers}:{heads_from}:{others:016x}:");
        let check = base::crc64::update(history.salt(), fields.as_bytes());
        format!("{fields}{check:016x}\n")
    }

    /// Reads the line, without its end, and the checksum of the others; `None` when it is damaged.
    pub(super) fn parse(line: &str) -> Option<(LogIdentity, u64)> {
        let fields: Vec<&str> = line.strip_prefix("#TDM-LOG:")?.split(':').collect();
        let [history, bytes, crc, covers, heads_from, others, _] = fields.as_slice() else { return None };
        let history = HistoryId::parse(history)?;
        is_checked(line.as_bytes(), Some(history)).then_some(())?;
        let base = Identity { bytes: number(bytes)?, crc: hex(crc)? };
        let id = LogIdentity { history, base, covers: number(covers)?, heads_from: number(heads_from)? };
        Some((id, hex(others)?))
    }
}

/// A line that begins with [`MARK`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    Batch(Annotation),
    Head(Head),
    /// The checksum that a base of commands has up to here.
    BaseEnd(u64),
    /// Of an earlier version: how long the file before was.
    After(u64),
    /// Of a later version, and whole.
    Later,
}

impl Line {
    /// Reads a line without its end, in a file with a head of `history`; `None` when it is damaged.
    pub(super) fn parse(line: &[u8], history: Option<HistoryId>) -> Option<Line> {
        let text = std::str::from_utf8(line).ok()?;
        let (kind, rest) = text.split_once(':')?;
        let fields: Vec<&str> = rest.split(':').collect();
        match (kind, fields.as_slice()) {
            ("#TDM-HEAD", [id, first_batch, before_bytes, _]) => {
                let history = HistoryId::parse(id)?;
                let head =
                    Head { history, first_batch: number(first_batch)?, before_bytes: number(before_bytes)? };
                is_checked(line, Some(history)).then_some(Line::Head(head))
            }
            ("#TDM", [seq, crc, unix_ms, synced]) if history.is_none() => batch(seq, crc, unix_ms, synced),
            ("#TDM-AFTER", [bytes]) if history.is_none() => number(bytes).map(Line::After),
            _ if !is_checked(line, history) => None,
            ("#TDM", [seq, crc, unix_ms, synced, _]) => batch(seq, crc, unix_ms, synced),
            ("#TDM-BASE", [crc, _]) => hex(crc).map(Line::BaseEnd),
            _ => Some(Line::Later),
        }
    }
}

fn batch(seq: &str, crc: &str, unix_ms: &str, synced: &str) -> Option<Line> {
    let unix_ms = base::number::parse_i64(unix_ms.as_bytes())?;
    Some(Line::Batch(Annotation { seq: number(seq)?, crc: hex(crc)?, unix_ms, synced: number(synced)? }))
}

fn number(text: &str) -> Option<u64> {
    base::number::parse_u64(text.as_bytes())
}

fn hex(text: &str) -> Option<u64> {
    (text.len() == 16 && is_lower_hex(text)).then(|| u64::from_str_radix(text, 16).ok())?
}

/// One way to write a number, so that no bit of it can change unnoticed.
fn is_lower_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether the checksum at the end of a line is that of what stands before it.
fn is_checked(line: &[u8], history: Option<HistoryId>) -> bool {
    let Some((fields, check)) = line.split_last_chunk::<16>() else { return false };
    let sum = base::crc64::update(history.map_or(0, HistoryId::salt), fields);
    std::str::from_utf8(check).ok().and_then(hex) == Some(sum)
}

/// Appends the line that ends a base of commands with that checksum.
pub(super) fn push_base_end(crc: u64, out: &mut Vec<u8>) {
    push_checked(out, None, format_args!("#TDM-BASE:{crc:016x}:"));
}

/// Appends Redis' own note of the time, unix seconds.
pub(super) fn push_timestamp(unix_s: i64, out: &mut Vec<u8>) {
    push(out, format_args!("#TS:{unix_s}\r\n"));
}

fn push_checked(out: &mut Vec<u8>, history: Option<HistoryId>, fields: fmt::Arguments<'_>) {
    let start = out.len();
    push(out, fields);
    let check = base::crc64::update(history.map_or(0, HistoryId::salt), &out[start..]);
    push(out, format_args!("{check:016x}\r\n"));
}

fn push(out: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    std::io::Write::write_fmt(out, text).expect("a write to a vector never fails");
}

/// A line found in the middle of bytes that are not read record by record.
pub(super) struct FoundBatch {
    /// Where the line begins, and where what is behind its end does.
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) line: Annotation,
    /// It has a checksum of itself: what it says can be believed whatever is around it.
    pub(super) is_checked: bool,
}

/// The closing lines in `bytes` that are whole, wherever they stand.
pub(super) fn batches_in(bytes: &[u8], history: Option<HistoryId>) -> Vec<FoundBatch> {
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(next) = find(&bytes[at..], BATCH) {
        let start = at + next;
        at = start + 1;
        let rest = &bytes[start..bytes.len().min(start + LINE_BYTES_MAX)];
        let Some(length) = find(rest, b"\r\n") else { continue };
        if let Some(Line::Batch(line)) = Line::parse(&rest[..length], history) {
            let is_checked = is_checked(&rest[..length], history);
            found.push(FoundBatch { start, end: start + length + 2, line, is_checked });
        }
    }
    found
}

pub(super) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: HistoryId = HistoryId(0x0123_4567_89ab_cdef_0011_2233_4455_6677);

    fn line(push: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        push(&mut out);
        out.strip_suffix(b"\r\n").unwrap().to_vec()
    }

    #[test]
    fn lines_come_back_and_with_any_bit_flipped_they_are_none() {
        let annotation = Annotation { seq: 7, crc: 0xfeed, unix_ms: 1_700_000_000_000, synced: 4711 };
        let head = Head { history: ID, first_batch: 8, before_bytes: 99 };
        let lines = [
            (line(|out| annotation.push(Some(ID), out)), Some(ID), Line::Batch(annotation)),
            (line(|out| annotation.push(None, out)), None, Line::Batch(annotation)),
            (line(|out| head.push(out)), None, Line::Head(head)),
            (line(|out| push_base_end(5, out)), None, Line::BaseEnd(5)),
        ];
        for (text, history, meant) in lines {
            assert_eq!(Line::parse(&text, history), Some(meant));
            for bit in 0..text.len() * 8 {
                let mut bad = text.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(Line::parse(&bad, history), None, "{}", bad.escape_ascii());
            }
        }
    }

    #[test]
    fn there_is_one_way_to_write_a_history() {
        let text = ID.to_string();
        assert_eq!(HistoryId::parse(&text), Some(ID));
        for other in
            [text.to_uppercase(), format!("+{}", &text[1..]), text[1..].to_owned(), format!("0{text}")]
        {
            assert_eq!(HistoryId::parse(&other), None, "{other}");
        }
    }

    #[test]
    fn a_line_of_another_log_is_none() {
        let annotation = Annotation { seq: 7, crc: 0xfeed, unix_ms: 5, synced: 0 };
        let text = line(|out| annotation.push(Some(ID), out));
        assert_eq!(Line::parse(&text, Some(HistoryId(1))), None);
        assert_eq!(Line::parse(&text, None), None);
    }

    #[test]
    fn lines_of_earlier_versions_count_in_their_files_only() {
        for old in [&b"#TDM:7:000000000000feed:5:0"[..], b"#TDM-AFTER:12"] {
            assert!(Line::parse(old, None).is_some());
            assert_eq!(Line::parse(old, Some(ID)), None);
        }
        let later = line(|out| push_checked(out, Some(ID), format_args!("#TDM-FUTURE:1:")));
        assert_eq!(Line::parse(&later, Some(ID)), Some(Line::Later));
    }

    #[test]
    fn the_line_of_a_manifest_comes_back_and_with_any_bit_flipped_it_is_none() {
        let base = Identity { bytes: 5, crc: 6 };
        let id = LogIdentity { history: ID, base, covers: 9, heads_from: 2 };
        let text = id.to_line(b"file x\n");
        let text = text.trim_end();
        assert_eq!(LogIdentity::parse(text), Some((id, base::crc64::update(0, b"file x\n"))));
        for bit in 0..text.len() * 8 {
            let mut bad = text.as_bytes().to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(std::str::from_utf8(&bad).ok().and_then(LogIdentity::parse).is_none());
        }
    }
}
