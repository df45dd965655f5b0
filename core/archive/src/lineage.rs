//! What is in a repository of one log: bases, segments, and which of them belong together.

use std::collections::HashSet;
use std::fmt;

use persist::aof::HistoryId;

use crate::describe::{Description, Kind};
use crate::error::ArchiveError;
use crate::moment::Moment;
use crate::store::Store;

/// What tells of objects is read in portions of so many.
const READS_MAX: usize = 1024;

/// All that was archived of one log.
#[derive(Debug)]
pub struct Lineage {
    /// The log.
    pub id: HistoryId,
    bases: Vec<Description>,
    segments: Vec<Description>,
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
        Lineage { id, bases: Vec::new(), segments: Vec::new(), broken: Vec::new(), orphans: Vec::new() }
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
            Err(error) => self.broken.push(error),
        }
        Ok(())
    }

    fn arrange(&mut self) {
        let told: HashSet<&str> =
            self.bases.iter().chain(&self.segments).map(|told| told.object.as_str()).collect();
        self.orphans.retain(|orphan| !told.contains(orphan.file.as_str()));
        self.bases.sort_by_key(|base| (base.last_batch(), base.at()));
        self.segments.sort_by_key(Description::first_batch);
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
        let covers = base.last_batch();
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
