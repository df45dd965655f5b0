//! Decides whether damage at the end of a file is the trace of a crash, and so may be cut.
//!
//! A crash leaves a file that ends too early, or blocks of zeros that never reached the disk; and a file that lost its end
//! although the one behind it was begun. Nothing else: a changed byte, a line of ours that is not as it was written, a
//! batch that does not follow, is damage since then, and what it concerns may have been acknowledged, whether the log had
//! told it to be durable or not. That stops the start.

use std::path::Path;

use super::line::{HistoryId, batches_in, find};
use super::recover::{Cut, RefuseError, Tail, kept_as, refuse};
use super::scan::{Damage, Kind, Scan, has_zero_run, read_from};
use super::{BadRecord, Record, Scanner};
use crate::disk::Disk;

/// The longest tail that is examined and cut, bytes; more than that is not the trace of a crash.
pub(super) const TAIL_BYTES_MAX: u64 = 4 << 30;

/// What a disk writes as one, bytes.
const SECTOR_BYTES: u64 = 512;

/// A damaged file as it is judged.
pub(super) struct Seen<'a> {
    pub(super) scan: &'a Scan,
    pub(super) damage: &'a Damage,
    /// Bytes of it that are known from elsewhere to have been durable.
    pub(super) promised: u64,
    /// The file behind it tells that it is as long as it was.
    pub(super) is_full_length: bool,
    pub(super) remedy: String,
}

/// Decides whether the damage is the trace of a crash; gives the tail to be cut with its bytes.
pub(super) fn judge(
    disk: &dyn Disk,
    path: &Path,
    file_bytes: u64,
    seen: &Seen<'_>,
    unix_ms: i64,
) -> Result<Cut, RefuseError> {
    let Seen { scan, damage, promised, remedy, .. } = seen;
    let offset = scan.good_end;
    if file_bytes - offset > TAIL_BYTES_MAX {
        return refuse(path, Some(damage.bad_offset), "the damaged part is too long to be a torn tail");
    }
    let tail = read_from(disk, path, offset, TAIL_BYTES_MAX)?;
    let bad_at = (damage.bad_offset.saturating_sub(offset) as usize).min(tail.len());
    let zero_filled = bad_at < tail.len() && tail[bad_at..].iter().all(|&b| b == 0);
    let history = scan.history.filter(|_| scan.has_head);
    // Another server may have put a file of that name there since, but none that is zeros, and none with our lines.
    let is_marked = scan.annotated || zero_filled || offset == 0;
    let promised = scan.synced.max(promised_in(&tail, history)).max(if is_marked { *promised } else { 0 });
    if offset < promised {
        let what = format!(
            "{damage}. The first {promised} bytes of the file had been made durable, and from offset {offset} on they are not \
             what was written: the disk lost or changed them. {}. {remedy}",
            what_is_behind(&tail, history)
        );
        return refuse(path, Some(damage.bad_offset), what);
    }
    let flipped = flipped_in_batch(scan, &tail, history);
    let is_ours = scan.annotated
        || scan.is_ours()
        || matches!(damage.kind, Kind::Before { .. })
        || find(&tail, b"\n#TDM:").is_some();
    if !is_ours {
        judge_foreign(path, seen, &tail, bad_at, zero_filled)?;
    } else if flipped.is_some() || !is_trace(seen, &tail, zero_filled, history) {
        let which = flipped.map_or_else(String::new, |(at, bit)| {
            format!("; one bit was changed: bit {bit} of the byte at offset {at}")
        });
        let what = format!(
            "{damage}{which}. No crash leaves that: it was changed since it was written. {}. {remedy}",
            what_is_behind(&tail, history)
        );
        return refuse(path, Some(damage.bad_offset), what);
    }
    let tail_report = Tail {
        path: path.to_owned(),
        kept_as: kept_as(path, unix_ms),
        offset,
        bytes: tail.len() as u64,
        bad_offset: damage.bad_offset,
        bad_byte: damage.bad_byte.or_else(|| tail.get(bad_at).copied()),
        zero_filled,
        whole_commands: whole_commands(&tail),
    };
    Ok((tail_report, tail))
}

/// The one bit whose change explains all that is wrong with a batch that cannot be read up to its line: its byte's offset, and which of
/// the byte's it is. A block that was lost takes more from what tells how long things are than a bit.
fn flipped_in_batch(scan: &Scan, tail: &[u8], history: Option<HistoryId>) -> Option<(u64, u8)> {
    if !matches!(scan.damage, Some(Damage { kind: Kind::Byte, .. })) {
        return None;
    }
    let batch = batches_in(tail, history).into_iter().find(|batch| batch.is_checked)?;
    let crc = base::crc64::update(scan.good_crc, &tail[..batch.start]);
    let (at, bit) = base::crc64::flipped_bit(batch.start, crc ^ batch.line.crc)?;
    Some((scan.good_end + at as u64, bit))
}

/// Whether a crash leaves such damage in a file of ours.
fn is_trace(seen: &Seen<'_>, tail: &[u8], zero_filled: bool, history: Option<HistoryId>) -> bool {
    let Seen { scan, damage, is_full_length, .. } = seen;
    let offset = scan.good_end;
    match damage.kind {
        // A batch is one write: where its last line is, the file does not end too early.
        Kind::Torn { from } => {
            let behind = &tail[tail.len().min(from.saturating_sub(offset) as usize)..];
            !is_full_length && !batches_in(behind, history).iter().any(|batch| batch.is_checked)
        }
        Kind::OpenTransaction => !is_full_length,
        Kind::Byte => {
            let is_lost = zero_filled || has_zero_run(tail) || loses_rest_of_sector(scan, damage, tail);
            damage.bad_byte == Some(0) && is_lost
        }
        Kind::Batch { end, .. } => {
            has_zero_run(&tail[..end.saturating_sub(offset) as usize]) && damage.flipped_bit().is_none()
        }
        Kind::Before { had, has } => has < had,
        Kind::Line | Kind::Order { .. } | Kind::Base => false,
    }
}

/// Whether the tail begins with zeros up to the end of a sector: what was synced last ends in it, and it was not written again.
fn loses_rest_of_sector(scan: &Scan, damage: &Damage, tail: &[u8]) -> bool {
    let rest = (SECTOR_BYTES - scan.good_end % SECTOR_BYTES) as usize;
    damage.bad_offset == scan.good_end && tail.len() >= rest && tail[..rest].iter().all(|&byte| byte == 0)
}

/// The same for a file of another server, which says nothing of itself: only what ends too early, or in zeros.
fn judge_foreign(
    path: &Path,
    seen: &Seen<'_>,
    tail: &[u8],
    bad_at: usize,
    zero_filled: bool,
) -> Result<(), RefuseError> {
    let Seen { damage, remedy, .. } = seen;
    let offset = seen.scan.good_end;
    // What a length claims that reaches beyond the end of the file may be all the rest of a log, with one digit wrong.
    let torn = match damage.kind {
        Kind::Torn { from } => tail.len().min(from.saturating_sub(offset) as usize),
        _ => bad_at,
    };
    let behind = whole_commands(&tail[torn..]);
    if !zero_filled && (damage.bad_byte.is_some() || behind > 0) {
        let what = format!("{damage}, and {behind} whole commands follow. {remedy}");
        return refuse(path, Some(damage.bad_offset), what);
    }
    Ok(())
}

/// The greatest durable offset that lines in the bytes promise. One without a checksum of itself is believed only if its
/// batch, from the line before it, has the right one.
pub(super) fn promised_in(bytes: &[u8], history: Option<HistoryId>) -> u64 {
    let (mut promised, mut last_end) = (0, None);
    for batch in batches_in(bytes, history) {
        let is_right = |start: usize| base::crc64::update(0, &bytes[start..batch.start]) == batch.line.crc;
        if batch.is_checked || last_end.is_some_and(is_right) {
            promised = promised.max(batch.line.synced);
        }
        last_end = Some(batch.end);
    }
    promised
}

/// What would be lost if the damaged part and all behind it were given up.
fn what_is_behind(tail: &[u8], history: Option<HistoryId>) -> String {
    let lines = batches_in(tail, history);
    let is_whole = |pair: &[super::line::FoundBatch]| {
        base::crc64::update(0, &tail[pair[0].end..pair[1].start]) == pair[1].line.crc
    };
    let batches = lines.windows(2).filter(|pair| is_whole(pair)).count();
    format!(
        "Whole commands from there on in this file: {}, and whole batches behind the damage: {batches}",
        whole_commands(tail)
    )
}

/// Counts commands that are whole, taking up again behind each damage.
pub(super) fn whole_commands(tail: &[u8]) -> u64 {
    let (mut count, mut at) = (0, 0);
    while at < tail.len() {
        let mut scanner = Scanner::new(&tail[at..], 0).until((tail.len() - at) as u64);
        loop {
            match scanner.next() {
                Ok(Some(Record::Command(_))) => count += 1,
                Ok(Some(_)) | Err(BadRecord::Line { .. }) => {}
                Ok(None) => return count,
                Err(_) => break,
            }
        }
        let reached = at + scanner.offset() as usize;
        match find(&tail[reached.max(at + 1).min(tail.len())..], b"\n*") {
            Some(next) => at = reached.max(at + 1) + next + 1,
            None => return count,
        }
    }
    count
}
