//! What a repository of one log ends with: all that is needed to go on, found by names, so that what is long past is not read.

use persist::aof::HistoryId;

use crate::describe::{Description, Kind};
use crate::error::ArchiveError;
use crate::lineage::{SegmentName, parse_id};
use crate::moment::Moment;
use crate::seal::Recipient;
use crate::store::Store;

/// The end of a lineage.
#[derive(Debug)]
pub struct Tail {
    id: HistoryId,
    base: Option<Description>,
    segment: Option<Description>,
    last_batch: Option<u64>,
    since_base_bytes: u64,
    /// What comes next does not follow what is there, whatever the files say.
    is_behind_gap: bool,
}

impl Tail {
    /// Reads it. The segments that lie behind the last base are not counted.
    pub(crate) fn of(store: &dyn Store, id: HistoryId) -> Result<Tail, ArchiveError> {
        let names = store.list().map_err(|error| ArchiveError::Store("listing it".to_owned(), error))?;
        let ours =
            |name: &&String| name.split_once('/').is_some_and(|(lineage, _)| parse_id(lineage) == Some(id));
        let told: Vec<&String> = names.iter().filter(ours).filter(|name| name.ends_with(".json")).collect();
        let mut tail = Tail {
            id,
            base: None,
            segment: None,
            last_batch: None,
            since_base_bytes: 0,
            is_behind_gap: false,
        };
        for name in last_bases(&told) {
            let base = Description::read(store, name)?;
            if tail.base.as_ref().is_none_or(|known| known.at() <= base.at()) {
                tail.base = Some(base);
            }
        }
        for name in last_segments(&told) {
            let segment = Description::read(store, &name)?;
            if tail.segment.as_ref().is_none_or(|known| known.last_batch() <= segment.last_batch()) {
                tail.segment = Some(segment);
            }
        }
        let last = [&tail.base, &tail.segment].into_iter().flatten().map(Description::last_batch).max();
        tail.last_batch = last;
        Ok(tail)
    }

    /// The log.
    pub fn id(&self) -> HistoryId {
        self.id
    }

    /// The newest base.
    pub fn base(&self) -> Option<&Description> {
        self.base.as_ref()
    }

    /// The last batch that anything holds.
    pub fn last_batch(&self) -> Option<u64> {
        self.last_batch
    }

    /// When that was written, as far as it is known.
    pub fn last_moment(&self) -> Option<Moment> {
        self.segment().or(self.base()).map(Description::at)
    }

    /// What tells of the newest object: no pruning of ours removes it.
    pub(crate) fn newest_name(&self) -> Option<String> {
        let newest =
            [&self.segment, &self.base].into_iter().flatten().max_by_key(|told| told.last_batch())?;
        Some(newest.json_name(self.id))
    }

    /// Bytes of the log in the segments that this follower has archived since the newest base.
    pub fn since_base_bytes(&self) -> u64 {
        self.since_base_bytes
    }

    /// Whom the newest object is encrypted to, if not to these. Before that was told, objects did not know.
    pub(crate) fn other_recipients(&self, now: &[Recipient]) -> Option<Vec<String>> {
        let newest =
            [&self.base, &self.segment].into_iter().flatten().max_by_key(|told| told.last_batch())?;
        let is_known = newest.encrypted != newest.recipients.is_empty();
        let mut now: Vec<String> = now.iter().map(Recipient::to_string).collect();
        let mut before = newest.recipients.clone();
        now.sort();
        before.sort();
        (is_known && now != before).then_some(before)
    }

    /// The last segment, unless a gap follows it.
    pub(crate) fn segment(&self) -> Option<&Description> {
        self.segment.as_ref()
    }

    /// The file of the log that the last segment was read from.
    pub(crate) fn log_file(&self) -> Option<&str> {
        match &self.segment()?.kind {
            Kind::Segment { log_file, .. } => Some(log_file),
            Kind::Base { .. } => None,
        }
    }

    /// What was kept does not lead on.
    pub(crate) fn begin_gap(&mut self) {
        (self.segment, self.is_behind_gap) = (None, true);
    }

    pub(crate) fn is_behind_gap(&self) -> bool {
        self.is_behind_gap
    }

    /// A base was added; `is_anew`: what comes next follows it, and no segment.
    pub(crate) fn take_base(&mut self, base: &Description, is_anew: bool) {
        if is_anew {
            self.segment = None;
        }
        self.last_batch = self.last_batch.max(Some(base.last_batch()));
        (self.since_base_bytes, self.is_behind_gap) = (0, false);
        self.base = Some(base.clone());
    }

    /// What holds the last segment and some before it takes its place.
    pub(crate) fn roll_into(&mut self, rolled: &Description) {
        if self.segment.as_ref().is_some_and(|last| rolled.replaces_segment(last)) {
            self.segment = Some(rolled.clone());
        }
    }

    pub(crate) fn take_segment(&mut self, segment: &Description) {
        self.last_batch = self.last_batch.max(Some(segment.last_batch()));
        self.since_base_bytes += segment.plain_bytes;
        self.segment = Some(segment.clone());
    }
}

/// Of the segments the one that begins last and the rolled one that ends last: one of them is the newest.
fn last_segments(names: &[&String]) -> Vec<String> {
    let segments: Vec<SegmentName> = names.iter().filter_map(|name| SegmentName::of(name)).collect();
    let last = segments.iter().max_by_key(|name| (name.first, name.last));
    let rolled =
        segments.iter().filter(|name| name.last.is_some()).max_by_key(|name| (name.last, name.first));
    [last, rolled.filter(|rolled| Some(*rolled) != last)]
        .into_iter()
        .flatten()
        .map(|name| name.full.clone())
        .collect()
}

/// Of the names of bases, which are in order, those with the highest number.
fn last_bases<'a>(names: &[&'a String]) -> Vec<&'a String> {
    const DIGITS: usize = 20;
    let number = |name: &str| {
        let (_, file) = name.split_once('/')?;
        file.strip_prefix("base-")?.get(..DIGITS).map(str::to_owned)
    };
    let highest = names.iter().filter_map(|name| number(name)).max();
    let is_highest = |name: &&&String| highest.is_some() && number(name) == highest;
    names.iter().filter(is_highest).copied().collect()
}
