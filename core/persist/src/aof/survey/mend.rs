//! Puts right what one changed byte explains.

use std::io;
use std::ops::RangeInclusive;

use super::super::line::{FoundBatch, HistoryId, Line};
use super::super::verdict::whole_commands;
use super::super::{Record, Scanner};
use super::{Damaged, LINE_BYTES_MAX, Part, REGION_BYTES_MAX, Walk, Wrong, in_multi};

/// In no more than this a damaged line is looked for, bytes: it costs its square.
const LINE_REGION_BYTES_MAX: usize = 4 << 20;
/// What the line begins with that ends a base of commands.
const BASE_END: &[u8] = b"#TDM-BASE:";

impl Walk<'_> {
    /// One changed byte explains the checksum of the batch.
    pub(super) fn mend_byte(&mut self, region: &[u8], body: usize, line: &FoundBatch) -> bool {
        let difference = base::crc64::update(0, &region[..body]) ^ line.line.crc;
        let Some((bytes, what)) = self.with_byte_put_right(region, body, difference) else { return false };
        if !is_whole_records(&bytes, self.line_history()) {
            return false;
        }
        if self.at == 0
            && let Ok(Some(Record::Head(head))) = Scanner::new(&bytes[..], 0).next()
        {
            if self.found.history.is_some_and(|history| history != head.history) {
                return false;
            }
            (self.found.has_head, self.found.history) = (true, Some(head.history));
        }
        let (seq, end) = (line.line.seq, line.end as u64);
        self.mended(what, Some(seq..=seq), end, Some(line.line.unix_ms), bytes);
        self.count(&line.line);
        true
    }

    /// What a region was before one of its first `summed` bytes was changed, if that makes the difference of the checksums.
    fn with_byte_put_right(&self, region: &[u8], summed: usize, difference: u64) -> Option<(Vec<u8>, Wrong)> {
        let (at, change) = base::crc64::changed_byte(summed as u64, difference)?;
        let mut bytes = region.to_vec();
        let byte = &mut bytes[at as usize];
        let is = *byte;
        *byte ^= change;
        let what = Wrong::ChangedByte { offset: self.at + at, is, was: *byte };
        Some((bytes, what))
    }

    /// A base of commands whose last line tells a checksum that one changed byte explains.
    pub(super) fn mend_base(&mut self) -> io::Result<bool> {
        let begin = self.start.offset;
        if self.is_ours || self.bytes - begin > REGION_BYTES_MAX {
            return Ok(false);
        }
        let all = self.region(begin, self.bytes)?;
        let line_at = all.windows(BASE_END.len()).rposition(|window| window == BASE_END);
        let Some(line_at) = line_at else { return Ok(false) };
        let Some(Line::BaseEnd(crc)) = Line::parse(all[line_at..].trim_ascii_end(), None) else {
            return Ok(false);
        };
        let was_at = std::mem::replace(&mut self.at, begin);
        let difference = base::crc64::update(0, &all[..line_at]) ^ crc;
        let mended = self.with_byte_put_right(&all, line_at, difference);
        match mended.filter(|(bytes, _)| is_whole_records(bytes, None)) {
            Some((bytes, what)) => {
                self.found.parts.clear();
                self.mended(what, None, self.bytes, None, bytes);
                Ok(true)
            }
            None => {
                self.at = was_at;
                Ok(false)
            }
        }
    }

    /// The line that closes the batch before is damaged: found is where it ends by the checksum of the batch behind it, and whether the
    /// batch that it closes is right by what can be read of the checksum in it.
    pub(super) fn mend_line(&mut self, region: &[u8], body: usize, line: &FoundBatch) -> bool {
        if region.len() > LINE_REGION_BYTES_MAX {
            return false;
        }
        let Some((line_at, line_end)) = damaged_line(region, body, line.line.crc) else { return false };
        let (seq, unix_ms) = (line.line.seq - 1, Some(line.line.unix_ms));
        let (what, to) = (Wrong::Line { offset: self.at + line_at as u64 }, self.at + line_end as u64);
        let sum = format!("{:016x}", base::crc64::update(0, &region[..line_at]));
        let is_right = resembles(&region[line_at..line_end], sum.as_bytes());
        if is_right && is_whole_records(&region[..line_at], self.line_history()) {
            self.mended(what, Some(seq..=seq), to, unix_ms, region[..line_at].to_vec());
            self.found.batches += 1;
        } else {
            // The batch behind it is good all the same.
            self.lose(to, what, Some(seq..=seq), unix_ms, whole_commands(&region[..line_end]));
        }
        self.next = Some(line.line.seq);
        self.close(&line.line, line.end as u64);
        true
    }

    fn mended(
        &mut self,
        what: Wrong,
        batches: Option<RangeInclusive<u64>>,
        to: u64,
        before_ms: Option<i64>,
        bytes: Vec<u8>,
    ) {
        let (from, after_ms) = (self.at, self.found.last_ms);
        let damage = Damaged { from, to, what, batches, after_ms, before_ms, commands: 0 };
        self.found.parts.push(Part::Mended { damage, bytes });
        self.at = to;
    }
}

/// Whether these bytes are whole records, transactions closed.
fn is_whole_records(bytes: &[u8], history: Option<HistoryId>) -> bool {
    let mut scanner = Scanner::new(bytes, 0).until(bytes.len() as u64);
    if let Some(history) = history {
        scanner = scanner.of(history);
    }
    let mut multi = None;
    loop {
        match scanner.next() {
            Ok(None) => return multi.is_none(),
            Ok(Some(Record::Command(args))) => multi = in_multi(&args, multi, 0),
            Ok(Some(_)) => {}
            Err(_) => return false,
        }
    }
}

/// Where a damaged line begins and ends, behind which `crc` is the checksum of the rest of `region[..body]`.
fn damaged_line(region: &[u8], body: usize, crc: u64) -> Option<(usize, usize)> {
    const MARK: &[u8] = b"#TDM:";
    /// A line has at least its mark, four fields and what is between them.
    const SHORTEST: usize = 38;
    let alike = |at: &usize| (0..MARK.len()).filter(|i| region[at + i] == MARK[*i]).count() + 1 >= MARK.len();
    // From the end, since the line that begins a file looks much the same.
    let starts = (0..body.saturating_sub(MARK.len())).rev().filter(alike);
    let ends = |start: usize| start + SHORTEST..=body.min(start + LINE_BYTES_MAX);
    starts.flat_map(|start| ends(start).map(move |end| (start, end))).find(|&(_, end)| {
        // A batch begins with a command or another line.
        matches!(region.get(end), Some(b'*' | b'#')) && base::crc64::update(0, &region[end..body]) == crc
    })
}

/// Whether a line holds this text, but for one byte at most.
fn resembles(line: &[u8], text: &[u8]) -> bool {
    line.windows(text.len()).any(|window| window.iter().zip(text).filter(|(a, b)| a != b).count() <= 1)
}
