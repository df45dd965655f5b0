//! What is in a repository of one log: bases, segments, and which of them belong together.

use std::collections::HashSet;
use std::fmt;

use persist::aof::HistoryId;

use crate::describe::{Description, Kind};
use crate::error::ArchiveError;
use crate::moment::Moment;
use crate::roll::REPLACED_S_MIN;
use crate::store::Store;

/// What tells of objects is read in portions of so many.
const READS_MAX: usize = 1024;
/// So many rolled segments that begin no later than a batch are looked at: of those that a longer one has replaced as many may be left.
const NESTED_MAX: usize = 256;

/// All that was archived of one log.
#[derive(Debug)]
pub struct Lineage {
    /// The log.
    pub id: HistoryId,
    bases: Vec<Description>,
    segments: Vec<Description>,
    /// Segments whose batches all lie in a rolled one.
    pub(crate) replaced: Vec<Description>,
    /// What tells of an object and cannot be understood.
    pub(crate) broken: Vec<ArchiveError>,
    /// Objects that nothing tells of.
    pub(crate) orphans: Vec<Orphan>,
}

/// What a lineage reaches from and to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The log.
    pub id: HistoryId,
    /// The last batch that anything holds.
    pub last_batch: Option<u64>,
    /// The times of the first and the last of what it holds, as far as they are known.
    pub times: Option<(Moment, Moment)>,
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.id)?;
        match (self.times, self.last_batch) {
            (Some((from, to)), Some(batch)) => write!(f, "  {from} to {to}, last batch {batch}"),
            _ => f.write_str("  nothing that can be read"),
        }
    }
}

/// An object that nothing tells of: an upload that was stopped, or what told of it is lost. What its name says is all that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Orphan {
    /// Its name in the folder of the lineage.
    pub(crate) file: String,
    /// The first batch that it claims to hold; of a base the last one.
    pub(crate) batch: Option<u64>,
    pub(crate) is_base: bool,
}

impl Orphan {
    fn new(file: &str) -> Orphan {
        let number = file.split(['-', '.']).nth(1).and_then(|number| number.parse().ok());
        Orphan { file: file.to_owned(), batch: number, is_base: file.starts_with("base-") }
    }

    /// Its name in the repository.
    pub(crate) fn name(&self, lineage: HistoryId) -> String {
        format!("{lineage}/{}", self.file)
    }
}

/// All lineages of a repository, in no order that means anything.
///
/// # Errors
/// It cannot be asked.
pub fn lineages(store: &dyn Store) -> Result<Vec<Lineage>, ArchiveError> {
    let names = store.list().map_err(|error| ArchiveError::Store("listing it".to_owned(), error))?;
    let (mut found, mut telling): (Vec<Lineage>, Vec<String>) = (Vec::new(), Vec::new());
    for name in names {
        let Some((id, file)) = split(&name) else { continue };
        if found.last().is_none_or(|last| last.id != id) {
            found.push(Lineage::empty(id));
        }
        match found.last_mut() {
            Some(lineage) if is_ours(file) && !file.ends_with(".json") => {
                lineage.orphans.push(Orphan::new(file))
            }
            _ if is_ours(file) => telling.push(name),
            _ => {}
        }
    }
    for names in telling.chunks(READS_MAX) {
        for (name, read) in names.iter().zip(Description::read_all(store, names)) {
            let id = split(name).map(|(id, _)| id);
            let Some(lineage) = found.iter_mut().find(|lineage| Some(lineage.id) == id) else { continue };
            lineage.take_in(read)?;
        }
    }
    found.iter_mut().for_each(Lineage::arrange);
    Ok(found)
}

/// Refuses a repository in which something is encrypted, for whoever is about to add what is not.
///
/// # Errors
/// [`ArchiveError::Unsealed`], or it cannot be asked.
pub fn refuse_sealed(store: &dyn Store) -> Result<(), ArchiveError> {
    let names = store.list().map_err(|error| ArchiveError::Store("listing it".to_owned(), error))?;
    let is_sealed =
        |name: &String| split(name).is_some_and(|(_, file)| is_ours(file) && file.ends_with(".age"));
    if names.iter().any(is_sealed) { Err(ArchiveError::Unsealed) } else { Ok(()) }
}

/// Whether nobody who has looked before it was there needs what it replaces.
fn is_settled(store: &dyn Store, id: HistoryId, rolled: &Description) -> Result<bool, ArchiveError> {
    let name = rolled.object_name(id);
    match store.age_s(&name) {
        Ok(age_s) => Ok(age_s >= REPLACED_S_MIN),
        // It is lost, and what it has replaced is not.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(ArchiveError::Store(name, error)),
    }
}

/// What the name of a JSON says of a segment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SegmentName {
    pub(crate) first: u64,
    /// Of a rolled one alone.
    pub(crate) last: Option<u64>,
    /// The name in the repository.
    pub(crate) full: String,
}

impl SegmentName {
    /// That of a name in the repository.
    pub(crate) fn of(full: &str) -> Option<SegmentName> {
        let (_, file) = split(full)?;
        SegmentName::parse(full, file)
    }

    fn parse(full: &str, file: &str) -> Option<SegmentName> {
        let numbers = file.strip_prefix("segment-")?.strip_suffix(".json")?;
        let (first, last) = match numbers.split_once('-') {
            Some((first, last)) => (first, Some(last.parse().ok()?)),
            None => (numbers, None),
        };
        Some(SegmentName { first: first.parse().ok()?, last, full: full.to_owned() })
    }

    /// Those of a log, in order.
    pub(crate) fn all(store: &dyn Store, id: HistoryId) -> Result<Vec<SegmentName>, ArchiveError> {
        let names = store.list().map_err(|error| ArchiveError::Store("listing it".to_owned(), error))?;
        let of_log = |name: &String| match split(name) {
            Some((lineage, file)) if lineage == id => SegmentName::parse(name, file),
            _ => None,
        };
        let mut found: Vec<SegmentName> = names.iter().filter_map(of_log).collect();
        found.sort();
        Ok(found)
    }

    /// Whether this is the name of a rolled one that holds what the other one does.
    pub(crate) fn holds(&self, other: &SegmentName) -> bool {
        self != other && self.first <= other.first && self.last >= Some(other.last.unwrap_or(other.first))
    }

    /// Whether one of these, which are in order, holds all of its batches, as far as names tell.
    pub(crate) fn is_replaced(&self, all: &[SegmentName]) -> bool {
        let begins_later = all.partition_point(|name| name.first <= self.first);
        // What replaces it begins with it or is the last rolled one before it: rolled ones lie in one another, or apart.
        let before = all[..begins_later].iter().rev().filter(|name| name.last.is_some());
        before.take(NESTED_MAX).any(|name| name.holds(self))
    }
}

/// A name in the repository as a lineage and a file in its folder.
fn split(name: &str) -> Option<(HistoryId, &str)> {
    let (id, file) = name.split_once('/')?;
    Some((parse_id(id)?, file))
}

/// Reads the identity of a log, as it is told.
pub fn parse_id(text: &str) -> Option<HistoryId> {
    let id = u128::from_str_radix(text, 16).ok().map(HistoryId)?;
    (id.to_string() == text).then_some(id)
}

/// Whether a file is called as those are that are put into the folder of a lineage. Anything else there is somebody's.
fn is_ours(file: &str) -> bool {
    let begins = ["base-", "segment-"].iter().any(|start| file.starts_with(start));
    begins && [".json", ".zst", ".zst.age"].iter().any(|end| file.ends_with(end))
}

impl Lineage {
    fn empty(id: HistoryId) -> Lineage {
        Lineage {
            id,
            bases: Vec::new(),
            segments: Vec::new(),
            replaced: Vec::new(),
            broken: Vec::new(),
            orphans: Vec::new(),
        }
    }

    /// That of one log; an empty one if nothing of it is there.
    pub(crate) fn of(store: &dyn Store, id: HistoryId) -> Result<Lineage, ArchiveError> {
        let found = lineages(store)?.into_iter().find(|lineage| lineage.id == id);
        Ok(found.unwrap_or_else(|| Lineage::empty(id)))
    }

    /// Takes in what tells of an object; that the repository does not answer is no word of it.
    fn take_in(&mut self, read: Result<Description, ArchiveError>) -> Result<(), ArchiveError> {
        match read {
            Ok(told) if matches!(told.kind, Kind::Base { .. }) => self.bases.push(told),
            Ok(told) => self.segments.push(told),
            Err(error) if error.is_away() => return Err(error),
            // It was rolled or pruned since it was listed.
            Err(error) if error.is_gone() => {}
            Err(error) => self.broken.push(error),
        }
        Ok(())
    }

    fn arrange(&mut self) {
        let told: HashSet<&str> =
            self.bases.iter().chain(&self.segments).map(|told| told.object.as_str()).collect();
        self.orphans.retain(|orphan| !told.contains(orphan.file.as_str()));
        self.bases.sort_by_key(|base| (base.last_batch(), base.at()));
        self.set_replaced_apart();
    }

    /// Of segments that begin with one batch the longest comes first, so whatever replaces one comes before it.
    fn set_replaced_apart(&mut self) {
        self.segments.sort_by_key(|told| (told.first_batch(), std::cmp::Reverse(told.last_batch())));
        let mut stay: Vec<Description> = Vec::with_capacity(self.segments.len());
        for told in self.segments.drain(..) {
            match stay.last().is_some_and(|before| before.replaces_segment(&told)) {
                true => self.replaced.push(told),
                false => stay.push(told),
            }
        }
        self.segments = stay;
    }

    /// What some names tell of.
    pub(crate) fn told_by(
        store: &dyn Store,
        id: HistoryId,
        names: &[String],
    ) -> Result<Lineage, ArchiveError> {
        let mut lineage = Lineage::empty(id);
        for names in names.chunks(READS_MAX) {
            for read in Description::read_all(store, names) {
                lineage.take_in(read)?;
            }
        }
        lineage.arrange();
        Ok(lineage)
    }

    /// Removes the segments that others have replaced some time ago, the oldest first, if those are there. With `only_tell` nothing is. Which
    /// those are.
    pub(crate) fn drop_replaced(
        &self,
        store: &dyn Store,
        only_tell: bool,
    ) -> Result<Vec<&Description>, ArchiveError> {
        let mut gone = Vec::new();
        for rolled in &self.segments {
            let members: Vec<&Description> =
                self.replaced.iter().filter(|told| rolled.replaces_segment(told)).collect();
            if members.is_empty() || !is_settled(store, self.id, rolled)? {
                continue;
            }
            for told in members {
                if !only_tell {
                    told.remove(store, self.id)?;
                }
                gone.push(told);
            }
        }
        Ok(gone)
    }

    /// How many segments are there that others have replaced.
    pub fn replaced_count(&self) -> usize {
        self.replaced.len()
    }

    /// Its bases, the oldest first.
    pub fn bases(&self) -> &[Description] {
        &self.bases
    }

    /// Its segments, the oldest first.
    pub fn segments(&self) -> &[Description] {
        &self.segments
    }

    /// All objects.
    pub fn objects(&self) -> impl Iterator<Item = &Description> {
        self.bases.iter().chain(&self.segments)
    }

    /// The base by which it has taken the place of another log, and that log.
    pub(crate) fn replaces(&self) -> Option<(&Description, HistoryId)> {
        self.bases.iter().find_map(|base| Some((base, parse_id(base.replaces.as_deref()?)?)))
    }

    /// The last batch that anything holds.
    pub fn last_batch(&self) -> Option<u64> {
        self.objects().map(Description::last_batch).max()
    }

    /// When the last batch was written, as far as that is known.
    pub fn last_moment(&self) -> Option<Moment> {
        let last = self.segments.iter().max_by_key(|segment| segment.last_batch());
        last.or(self.bases.last()).map(Description::at)
    }

    /// Whether nothing that was archived of it is newer than that. Of a log of which nothing can be told it is not known.
    pub(crate) fn ends_by(&self, moment: Moment) -> bool {
        // The newest object need not be the one with the last batch: a base is as old as its file.
        self.objects().map(Description::at).max().is_some_and(|newest| newest <= moment)
    }

    /// What it reaches from and to, as people are asked about it.
    pub fn span(&self) -> Span {
        let begins = self.objects().map(|told| told.from().unwrap_or_else(|| told.at())).min();
        Span { id: self.id, last_batch: self.last_batch(), times: begins.zip(self.last_moment()) }
    }

    /// The segments that lead on from a base, without a gap.
    pub(crate) fn chain(&self, base: &Description) -> Vec<&Description> {
        self.chain_behind(base.last_batch())
    }

    /// The segments that lead on from the state behind a batch, without a gap.
    pub(crate) fn chain_behind(&self, covers: u64) -> Vec<&Description> {
        let mut chain: Vec<&Description> = Vec::new();
        for segment in self.segments.iter().filter(|segment| segment.last_batch() > covers) {
            let fits = match chain.last() {
                None => segment.first_batch() <= covers + 1,
                Some(before) => segment.continues(before),
            };
            if !fits {
                break;
            }
            chain.push(segment);
        }
        chain
    }

    /// The last batch that a base leads to.
    pub(crate) fn reach(&self, base: &Description) -> u64 {
        self.chain(base).last().map_or(base.last_batch(), |segment| segment.last_batch())
    }

    /// Whether nothing that is told of holds what an object holds that nothing tells of: then it is all that is left of those batches.
    pub(crate) fn is_only_copy(&self, orphan: &Orphan) -> bool {
        let Some(batch) = orphan.batch else { return false };
        let oldest = self.bases.first().map(Description::last_batch);
        let is_told = |batch: u64| {
            self.segments
                .iter()
                .any(|segment| (segment.first_batch()..=segment.last_batch()).contains(&batch))
        };
        if orphan.is_base {
            let is_reached = |base: &Description| base.last_batch() <= batch && self.reach(base) >= batch;
            // Pruning removes what leads on from a base first, so where that is there the base is missed.
            let is_missed = oldest.is_none_or(|oldest| oldest < batch) || is_told(batch.saturating_add(1));
            return is_missed && !self.bases.iter().any(is_reached);
        }
        // It may reach beyond the oldest base.
        !is_told(batch.max(oldest.map_or(0, |oldest| oldest + 1)))
    }

    /// Whether what a base holds is certain to be no later than that.
    pub(crate) fn is_before(&self, base: &Description, moment: Moment) -> bool {
        let next = base.last_batch() + 1;
        base.at() <= moment
            || self.segments.iter().any(|segment| match segment.kind {
                Kind::Segment { first_batch, from, .. } => first_batch == next && from <= moment,
                Kind::Base { .. } => false,
            })
    }
}

impl Description {
    /// The first batch in it; of a base the last one that it holds.
    pub fn first_batch(&self) -> u64 {
        match self.kind {
            Kind::Base { covers, .. } => covers,
            Kind::Segment { first_batch, .. } => first_batch,
        }
    }

    /// The last batch in it.
    pub fn last_batch(&self) -> u64 {
        match self.kind {
            Kind::Base { covers, .. } => covers,
            Kind::Segment { last_batch, .. } => last_batch,
        }
    }

    /// When the first batch of a segment was written.
    pub fn from(&self) -> Option<Moment> {
        match self.kind {
            Kind::Base { .. } => None,
            Kind::Segment { from, .. } => Some(from),
        }
    }

    /// The time of the state behind it.
    pub fn at(&self) -> Moment {
        match self.kind {
            Kind::Base { at, .. } => at,
            Kind::Segment { to, .. } => to,
        }
    }

    /// Whether it is a rolled segment that holds all that this one does.
    pub(crate) fn replaces_segment(&self, other: &Description) -> bool {
        let (Kind::Segment { rolled, last_line, .. }, Kind::Segment { rolled: others, last_line: line, .. }) =
            (&self.kind, &other.kind)
        else {
            return false;
        };
        let holds = self.first_batch() <= other.first_batch() && other.last_batch() <= self.last_batch();
        rolled > others && holds && (self.last_batch() > other.last_batch() || last_line == line)
    }

    /// Removes what tells of it, and then the object.
    pub(crate) fn remove(&self, store: &dyn Store, id: HistoryId) -> Result<(), ArchiveError> {
        for name in [self.json_name(id), self.object_name(id)] {
            store.remove(&name).map_err(|error| ArchiveError::Store(name, error))?;
        }
        Ok(())
    }

    /// Whether it is a segment that was seen to follow the other one in the log.
    pub(crate) fn continues(&self, before: &Description) -> bool {
        match (&self.kind, &before.kind) {
            (
                Kind::Segment { first_batch, follows: Some(follows), .. },
                Kind::Segment { last_batch, last_line, .. },
            ) => *first_batch == last_batch + 1 && follows == last_line,
            _ => false,
        }
    }
}
