//! Makes one segment of many, so that a log that is archived every few seconds for weeks does not become a hundred thousand objects.
//!
//! ```text
//!   class 0   ││││││││││││││││  as they were archived, one a round
//!   class 1   ├────────┤│││     64 of them, or 64 MiB
//!   class 2   ├──────────────┤  64 of those, or what is left of a file of the log that is at its end
//! ```
//! Nothing that was archived is read for that, which the server cannot do: the batches are taken from the file of the log once more, which is
//! there until a rewrite has replaced it and all of it is archived. So a byte is sent three times at most, and nothing in the repository is
//! changed: what tells of a rolled segment has the last batch in its name too, and what it replaces stays for an hour, for a restore that has
//! begun with that; then it is removed, the oldest first, so that what is newest is never what holds less than there is. A rolled segment whose
//! last line is not that of what it replaces replaces nothing.

use std::collections::VecDeque;
use std::io::Read;
use std::ops::Range;

use persist::aof::{Batches, HistoryId, WholeBatch};

use crate::describe::{Begin, Description, Kind, Said};
use crate::error::ArchiveError;
use crate::lineage::{Lineage, SegmentName};
use crate::moment::Moment;
use crate::object::ObjectWriter;
use crate::seal::Recipient;
use crate::source::{OpenFile, Source};
use crate::store::Store;
use crate::tail::Tail;

/// So many segments of a class become one of the next.
const ROLLED_COUNT: usize = 64;
/// Segments become one when they hold so much, bytes; one that holds half of it is left as it is.
const ROLLED_BYTES: u64 = 64 << 20;
/// The class of what is not rolled again.
const CLASS_MAX: u8 = 2;
/// How many segments are looked at when archiving begins, those that were archived last.
const KNOWN_MAX: usize = 1024;
/// What was replaced stays for so long, seconds.
pub(crate) const REPLACED_S_MIN: u64 = 3600;

/// What matters of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Size {
    class: u8,
    bytes: u64,
}

impl Size {
    fn of(told: &Description) -> Size {
        let class = match told.kind {
            Kind::Segment { rolled, .. } => rolled,
            Kind::Base { .. } => CLASS_MAX,
        };
        Size { class, bytes: told.plain_bytes }
    }

    fn is_final(self) -> bool {
        self.class >= CLASS_MAX || self.bytes >= ROLLED_BYTES / 2
    }
}

/// Which segments of a file of the log are to be one next, and of what class. `is_over`: nothing comes to that file any more.
fn due(sizes: &[Size], is_over: bool) -> Option<(Range<usize>, u8)> {
    let mut begin = 0;
    while begin < sizes.len() {
        let length = sizes[begin..].iter().take_while(|size| !size.is_final()).count();
        let (stretch, is_last) = (&sizes[begin..begin + length], begin + length == sizes.len());
        let found = if is_last && !is_over { full_class(stretch) } else { first_portion(stretch) };
        if let Some((range, class)) = found {
            return Some((begin + range.start..begin + range.end, class));
        }
        begin += length + 1;
    }
    None
}

/// As many of one class as become one of the next.
fn full_class(stretch: &[Size]) -> Option<(Range<usize>, u8)> {
    let (mut from, mut bytes) = (0, 0);
    for at in 0..stretch.len() {
        if stretch[at].class != stretch[from].class {
            (from, bytes) = (at, 0);
        }
        bytes += stretch[at].bytes;
        let count = at + 1 - from;
        if count == ROLLED_COUNT || count > 1 && bytes >= ROLLED_BYTES {
            return Some((from..at + 1, stretch[from].class + 1));
        }
    }
    None
}

/// What nothing is added to any more becomes as few as its bytes allow.
fn first_portion(stretch: &[Size]) -> Option<(Range<usize>, u8)> {
    let mut bytes = 0;
    let is_enough = |size: &Size| {
        bytes += size.bytes;
        bytes >= ROLLED_BYTES
    };
    let end = stretch.iter().position(is_enough).map_or(stretch.len(), |at| at + 1);
    (end > 1).then_some((0..end, CLASS_MAX))
}

/// The segments that may still be rolled, the oldest first.
#[derive(Debug)]
pub(crate) struct Roller {
    run: VecDeque<Description>,
}

impl Roller {
    /// Those of a repository.
    pub(crate) fn of(store: &dyn Store, id: HistoryId) -> Result<Roller, ArchiveError> {
        let names = SegmentName::all(store, id)?;
        let newest = names.iter().filter(|name| !name.is_replaced(&names)).rev().take(KNOWN_MAX);
        let mut newest: Vec<String> = newest.map(|name| name.full.clone()).collect();
        newest.reverse();
        let mut run = VecDeque::new();
        for read in Description::read_all(store, &newest) {
            match read {
                Ok(told) => run.push_back(told),
                Err(error) if error.is_away() => return Err(error),
                // What cannot be read is not rolled, nor is what lies before it.
                Err(_) => run.clear(),
            }
        }
        Ok(Roller { run })
    }

    pub(crate) fn take(&mut self, segment: &Description) {
        self.run.push_back(segment.clone());
    }

    /// The next that are to be one: their indexes and the class of what they become.
    fn next(&self, tail: &Tail) -> Option<(Range<usize>, u8)> {
        let mut begin = 0;
        while begin < self.run.len() {
            let end = self.end_of_chain(begin);
            let is_over = end < self.run.len() || tail.log_file() != log_file(&self.run[begin]);
            let sizes: Vec<Size> = self.run.range(begin..end).map(Size::of).collect();
            if let Some((range, class)) = due(&sizes, is_over) {
                return Some((begin + range.start..begin + range.end, class));
            }
            begin = end;
        }
        None
    }

    /// Up to where segments follow one another in one file of the log.
    fn end_of_chain(&self, begin: usize) -> usize {
        let follows = |at: &usize| {
            let (before, told) = (&self.run[at - 1], &self.run[*at]);
            told.continues(before) && log_file(told) == log_file(before)
        };
        (begin + 1..self.run.len()).find(|at| !follows(at)).unwrap_or(self.run.len())
    }

    /// What is of another file than the last one has been looked at, and so has what lies before something final. That itself stays: it tells
    /// where in the file the next one begins.
    fn forget_done(&mut self) {
        let last = (1..self.run.len()).rev().find(|&at| {
            let (before, told) = (&self.run[at - 1], &self.run[at]);
            log_file(told) != log_file(before) || !told.continues(before)
        });
        let last_final = self.run.iter().rposition(|told| Size::of(told).is_final());
        self.run.drain(..last.max(last_final).unwrap_or(0));
    }
}

fn log_file(told: &Description) -> Option<&str> {
    match &told.kind {
        Kind::Segment { log_file, .. } => Some(log_file),
        Kind::Base { .. } => None,
    }
}

/// What is needed to roll.
pub(crate) struct Work<'a> {
    pub(crate) store: &'a dyn Store,
    pub(crate) recipients: &'a [Recipient],
    pub(crate) said: Said,
    pub(crate) id: HistoryId,
}

impl Work<'_> {
    /// Makes one of the next that are to be one, and removes what was replaced some time ago. `None` where there are none; what the log does
    /// not have any more stays as it is.
    pub(crate) fn roll(
        &self,
        roller: &mut Roller,
        tail: &Tail,
        open: impl FnOnce() -> Result<Source, ArchiveError>,
    ) -> Result<Option<Description>, ArchiveError> {
        let Some((range, class)) = roller.next(tail) else {
            roller.forget_done();
            return Ok(None);
        };
        let (source, members) = (open()?, roller.run.make_contiguous());
        let before = range.start.checked_sub(1).map(|at| &members[at]);
        let Some(rolled) = self.make(&source, before, &members[range.clone()], class)? else {
            roller.run.drain(..range.end);
            return Ok(None);
        };
        roller.run.drain(range.clone());
        roller.run.insert(range.start, rolled.clone());
        match remove_replaced(self.store, self.id) {
            Err(error) if error.is_away() => Err(error),
            // What may not be removed from here, or is gone already, is no reason not to archive: whoever prunes removes it.
            _ => Ok(Some(rolled)),
        }
    }

    /// One of several, from the log. `None` where that is not there any more, or not as it was.
    fn make(
        &self,
        source: &Source,
        before: Option<&Description>,
        members: &[Description],
        class: u8,
    ) -> Result<Option<Description>, ArchiveError> {
        let [first, .., last] = members else { return Ok(None) };
        let Some(file) = source.incrementals.iter().find(|file| Some(file.name.as_str()) == log_file(first))
        else {
            return Ok(None);
        };
        let offset = before.filter(|before| first.continues(before)).map_or(0, |before| end_in(before, file));
        let known = (offset > 0).then(|| first.first_batch() - 1);
        let mut batches = Batches::new(file.read_from(offset)?, offset, self.id, known);
        let Some(batch) = find(&mut batches, first.first_batch()) else { return Ok(None) };
        let Some((kind, writer)) = self.copy(batch, &mut batches, first, last, class)? else {
            return Ok(None);
        };
        let json = kind.json_name();
        // Whoever archived them has said whether something may be missing beside them, not who rolls.
        let continuous = members.iter().all(|member| member.continuous);
        match writer.finish(self.store, kind, Said { continuous, ..self.said }) {
            // A crash has kept somebody from telling that it is done.
            Err(ArchiveError::Taken(_)) => {
                Description::read(self.store, &format!("{}/{json}", self.id)).map(Some)
            }
            finished => finished.map(Some),
        }
    }

    /// The batches from the first one of a segment to the last one of another; `None` where they are not those.
    fn copy<R: Read>(
        &self,
        mut batch: WholeBatch,
        batches: &mut Batches<R>,
        first: &Description,
        last: &Description,
        class: u8,
    ) -> Result<Option<(Kind, ObjectWriter<'_>)>, ArchiveError> {
        let failed = |error| ArchiveError::Store(self.id.to_string(), error);
        let begin = Begin::Segment { first_batch: first.first_batch() };
        let mut writer = ObjectWriter::begin(self.store, self.id, begin, self.recipients).map_err(failed)?;
        loop {
            writer.write(&batch.bytes).map_err(failed)?;
            if batch.line.seq >= last.last_batch() {
                break;
            }
            let Ok(Some(next)) = batches.next() else { return Ok(None) };
            batch = next;
        }
        let kind = rolled_kind(first, last, class);
        let is_same =
            matches!(&last.kind, Kind::Segment { last_line, .. } if *last_line == batch.closing_line());
        Ok(kind.filter(|_| is_same).map(|kind| (kind, writer)))
    }
}

/// What is told of one that holds what these and all between them hold.
fn rolled_kind(first: &Description, last: &Description, class: u8) -> Option<Kind> {
    let (
        Kind::Segment { first_batch, from, follows, .. },
        Kind::Segment { last_batch, to, last_line, log_file, log_end, .. },
    ) = (&first.kind, &last.kind)
    else {
        return None;
    };
    Some(Kind::Segment {
        first_batch: *first_batch,
        last_batch: *last_batch,
        from: *from,
        to: Moment(to.0),
        follows: follows.clone(),
        last_line: last_line.clone(),
        log_file: log_file.clone(),
        log_end: *log_end,
        rolled: class,
    })
}

/// Where a segment ends in this file; 0 if it is of another.
fn end_in(told: &Description, file: &OpenFile) -> u64 {
    match &told.kind {
        Kind::Segment { log_file, log_end, .. } if *log_file == file.name => *log_end,
        _ => 0,
    }
}

/// Goes on to a batch. What is damaged before it is told by whoever archives it.
fn find<R: Read>(batches: &mut Batches<R>, seq: u64) -> Option<WholeBatch> {
    while let Ok(Some(batch)) = batches.next() {
        if batch.line.seq >= seq {
            return Some(batch).filter(|batch| batch.line.seq == seq);
        }
    }
    None
}

/// Removes the segments of a log that others have replaced an hour ago. Names tell which those are, so that no more is read than goes.
fn remove_replaced(store: &dyn Store, id: HistoryId) -> Result<(), ArchiveError> {
    let names = SegmentName::all(store, id)?;
    for rolled in names.iter().filter(|name| name.last.is_some()) {
        let mut wanted: Vec<String> =
            names.iter().filter(|name| rolled.holds(name)).map(|name| name.full.clone()).collect();
        if wanted.is_empty() {
            continue;
        }
        // What comes later was rolled later.
        if store.age_s(&rolled.full).is_ok_and(|age_s| age_s < REPLACED_S_MIN) {
            break;
        }
        wanted.push(rolled.full.clone());
        Lineage::told_by(store, id, &wanted)?.drop_replaced(store, false)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a file of the log becomes in the repository when a segment of so many bytes is archived in each round: what there is at its end,
    /// the most that there was, and the bytes that were sent.
    fn live(rounds: usize, bytes: u64) -> (Vec<Size>, usize, u64) {
        let (mut done, mut sizes, mut most, mut sent) = (Vec::new(), Vec::new(), 0, 0);
        for round in 0..rounds {
            sizes.push(Size { class: 0, bytes });
            sent += bytes;
            while let Some((range, class)) = due(&sizes, round + 1 == rounds) {
                assert!(range.len() > 1 && range.len() <= rounds);
                let bytes = sizes[range.clone()].iter().map(|size| size.bytes).sum();
                sizes.splice(range, [Size { class, bytes }]);
                sent += bytes;
            }
            let last_final = sizes.iter().rposition(|size: &Size| size.is_final());
            done.extend(sizes.drain(..last_final.unwrap_or(0)));
            most = most.max(done.len() + sizes.len());
        }
        done.extend(sizes);
        (done, most, sent)
    }

    #[test]
    fn a_day_of_any_traffic_becomes_few_segments_and_is_sent_three_times_at_most() {
        for (interval_s, bytes) in
            [(10, 100), (10, 10_000), (10, 1 << 20), (1, 100), (1, 10_000), (1, 1 << 20), (1, 40 << 20)]
        {
            let rounds = 86_400 / interval_s;
            let (left, most, sent) = live(rounds, bytes);
            let total = rounds as u64 * bytes;
            let by_bytes = (total / (ROLLED_BYTES / 2)) as usize;
            assert!(left.len() <= 24 + by_bytes, "{interval_s} s, {bytes} bytes: {}", left.len());
            assert!(most <= 2 * ROLLED_COUNT + 24 + by_bytes, "{interval_s} s, {bytes} bytes: {most}");
            assert!(sent <= 3 * total, "{interval_s} s, {bytes} bytes: {} times", sent as f64 / total as f64);
            assert_eq!(left.iter().map(|size| size.bytes).sum::<u64>(), total);
        }
    }

    #[test]
    fn what_is_large_is_left_as_it_is() {
        let (large, small) = (Size { class: 0, bytes: ROLLED_BYTES }, Size { class: 0, bytes: 1 });
        assert_eq!(due(&[large; 200], true), None);
        assert_eq!(due(&[small, large, small], true), None, "one is one already");
        assert_eq!(due(&[small, small, large], false), Some((0..2, CLASS_MAX)), "nothing comes between them");
        assert_eq!(due(&[large, small, small], false), None);
        assert_eq!(due(&[large, small, small], true), Some((1..3, CLASS_MAX)));
    }
}
