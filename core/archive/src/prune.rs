//! Removes what no moment that is to be kept needs.
//!
//! Kept is every moment since some time, and so the newest base that is older than that, all bases after it, and the segments that lead on from
//! there; at least so many bases in any case. A log that has ended, because its server was given another data set and began another one, goes
//! whole when all that is to be kept is in those that followed it. That another log says that it has taken its place is not enough for that:
//! the old directory may have been put back, or the other log may be that of a copy, and the server of this one may write it all the same.
//! So nothing of it may be newer than the base by which it was replaced, and it is not the one that is archived now. What tells of an object goes first, then the object: a crash between leaves one that nothing
//! tells of, which is removed here, too, once it is a day old: a younger one may be told of soon. An old one may be as well, if who
//! wrote it was stopped for so long, so it is looked once more before it goes. What a rolled segment has replaced goes as well, an hour later. What is not called as objects are is left alone.

use std::collections::HashSet;

use persist::aof::HistoryId;

use crate::describe::Description;
use crate::error::ArchiveError;
use crate::lineage::{Lineage, Orphan, lineages};
use crate::moment::Moment;
use crate::store::Store;

/// What an upload may take, seconds. What nothing tells of is removed when it is older.
pub(crate) const UPLOAD_S_MAX: u64 = 24 * 3600;

/// What is to stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Every moment since then can be restored.
    pub since: Moment,
    /// At least so many bases of each lineage, and what leads on from them; one at least.
    pub bases_min: usize,
}

/// What was removed, or would be.
#[derive(Debug, Default)]
pub struct Pruned {
    /// Names of the objects.
    pub objects: Vec<String>,
    /// Their size.
    pub bytes: u64,
    /// Objects that nothing tells of, left by what never ended.
    pub swept: Vec<String>,
    /// How many files of uploads that never got a name were removed; with `only_tell` nobody has looked.
    pub unnamed: usize,
    /// Objects that nothing tells of and that are the only copy of what they hold: they stay.
    pub spared: Vec<String>,
    /// The same as `objects`, to look one up.
    taken: HashSet<String>,
}

impl Pruned {
    fn take(&mut self, told: &Description, id: HistoryId) {
        let name = told.object_name(id);
        if self.taken.insert(name.clone()) {
            self.objects.push(name);
            self.bytes += told.bytes;
        }
    }
}

/// Removes what need not stay. With `only_tell` nothing is.
///
/// # Errors
/// There is nothing in the repository, or it failed; what has not been removed by then is as it was.
pub fn prune(store: &dyn Store, keep: Keep, only_tell: bool) -> Result<Pruned, ArchiveError> {
    let mut pruned = Pruned::default();
    let found = lineages(store)?;
    if found.is_empty() {
        return Err(ArchiveError::Empty);
    }
    let ended = ended(&found, keep);
    for lineage in in_order(found) {
        let is_over = ended.contains(&lineage.id);
        prune_one(store, lineage, is_over, keep, only_tell, &mut pruned)?;
    }
    if !only_tell {
        let swept = store.sweep(UPLOAD_S_MAX);
        pruned.unnamed = swept.map_err(|error| ArchiveError::Store("sweeping it".to_owned(), error))?;
    }
    Ok(pruned)
}

/// The same of one lineage, which is being written, and those whose place it has taken: others may be another server's, which keeps them as long as it wants.
///
/// # Errors
/// As [`prune`].
pub fn prune_lineage(store: &dyn Store, id: HistoryId, keep: Keep) -> Result<Pruned, ArchiveError> {
    let mut pruned = Pruned::default();
    let mut found = lineages(store)?;
    let mut own = vec![id];
    // Each step finds another one, or ends.
    while let Some(before) = replaced_by(&found, own[own.len() - 1]).filter(|before| !own.contains(before)) {
        own.push(before);
    }
    let mut ended = ended(&found, keep);
    // It is written, whatever others say of it.
    ended.retain(|over| *over != id);
    found.retain(|lineage| own.contains(&lineage.id));
    for lineage in in_order(found) {
        let is_over = ended.contains(&lineage.id);
        prune_one(store, lineage, is_over, keep, false, &mut pruned)?;
    }
    Ok(pruned)
}

/// The log whose place this one has taken.
fn replaced_by(found: &[Lineage], id: HistoryId) -> Option<HistoryId> {
    let lineage = found.iter().find(|lineage| lineage.id == id)?;
    lineage.replaces().map(|(_, before)| before)
}

/// Those that began first come first: what tells that one is over lies in the next.
fn in_order(mut found: Vec<Lineage>) -> Vec<Lineage> {
    found.sort_by_key(|lineage| lineage.span().times);
    found
}

/// The logs of which nothing is to be kept: what followed them reaches back far enough, and has as many bases as are to stay.
fn ended(found: &[Lineage], keep: Keep) -> Vec<HistoryId> {
    let is_over = |lineage: &&Lineage| {
        successors(found, lineage.id).any(|(next, base)| {
            let is_replaced = base.at() <= keep.since && lineage.ends_by(base.at());
            is_replaced && bases_since(found, lineage.id, next) >= keep.bases_min.max(1)
        })
    };
    found.iter().filter(is_over).map(|lineage| lineage.id).collect()
}

/// The logs that say that they have taken the place of this one, and the bases by which they did.
fn successors(found: &[Lineage], id: HistoryId) -> impl Iterator<Item = (&Lineage, &Description)> {
    found.iter().filter_map(move |next| match next.replaces() {
        Some((base, before)) if before == id && next.id != id => Some((next, base)),
        _ => None,
    })
}

/// How many bases there are of the log that followed this one, and of those behind it.
fn bases_since(found: &[Lineage], id: HistoryId, next: &Lineage) -> usize {
    let (mut line, mut bases) = (vec![id, next.id], next.bases().len());
    // Each step finds another one, or ends.
    while let Some((next, _)) =
        successors(found, line[line.len() - 1]).find(|(next, _)| !line.contains(&next.id))
    {
        bases += next.bases().len();
        line.push(next.id);
    }
    bases
}

fn prune_one(
    store: &dyn Store,
    mut lineage: Lineage,
    is_over: bool,
    keep: Keep,
    only_tell: bool,
    pruned: &mut Pruned,
) -> Result<(), ArchiveError> {
    // What cannot be read may be what something else needs: nothing is removed before somebody has looked.
    if let Some(error) = lineage.broken.pop() {
        return Err(error);
    }
    // The same where something is only told of by its name: what seems to be needless may lead on from it.
    let is_missed = lineage.orphans.iter().any(|orphan| lineage.is_only_copy(orphan));
    let needless = match is_over {
        _ if is_missed => Vec::new(),
        true => lineage.segments().iter().chain(&lineage.replaced).chain(lineage.bases()).collect(),
        false => needless(&lineage, keep),
    };
    for told in needless {
        if !only_tell {
            told.remove(store, lineage.id)?;
        }
        pruned.take(told, lineage.id);
    }
    if !is_missed {
        for told in lineage.drop_replaced(store, only_tell)? {
            pruned.take(told, lineage.id);
        }
    }
    sweep_orphans(store, &lineage, only_tell, pruned)
}

/// What nothing that is kept needs, segments first.
fn needless(lineage: &Lineage, keep: Keep) -> Vec<&Description> {
    let bases = lineage.bases();
    let by_age = bases.iter().rposition(|base| lineage.is_before(base, keep.since)).unwrap_or(0);
    let by_count = bases.len().saturating_sub(keep.bases_min.max(1));
    let oldest = by_age.min(by_count);
    let Some(covers) = bases.get(oldest).map(Description::last_batch) else { return Vec::new() };
    let all = lineage.segments().iter().chain(&lineage.replaced);
    let segments = all.filter(|segment| segment.last_batch() <= covers);
    segments.chain(&bases[..oldest]).collect()
}

/// Removes objects that nothing tells of.
fn sweep_orphans(
    store: &dyn Store,
    lineage: &Lineage,
    only_tell: bool,
    pruned: &mut Pruned,
) -> Result<(), ArchiveError> {
    let (only_copies, others): (Vec<&Orphan>, Vec<&Orphan>) =
        lineage.orphans.iter().partition(|orphan| lineage.is_only_copy(orphan));
    pruned.spared.extend(only_copies.iter().map(|orphan| orphan.name(lineage.id)));
    let mut old = Vec::new();
    for orphan in others {
        if is_old(store, &orphan.name(lineage.id))? {
            old.push(orphan);
        }
    }
    if old.is_empty() {
        return Ok(());
    }
    let mut now = Lineage::of(store, lineage.id)?;
    if let Some(error) = now.broken.pop() {
        return Err(error);
    }
    for orphan in old.into_iter().filter(|orphan| now.orphans.contains(orphan)) {
        let name = orphan.name(lineage.id);
        if !only_tell {
            store.remove(&name).map_err(|error| ArchiveError::Store(name.clone(), error))?;
        }
        pruned.swept.push(name);
    }
    Ok(())
}

/// Whether no upload is to tell of it any more.
fn is_old(store: &dyn Store, name: &str) -> Result<bool, ArchiveError> {
    let age_s = store.age_s(name).map_err(|error| ArchiveError::Store(name.to_owned(), error))?;
    Ok(age_s >= UPLOAD_S_MAX)
}
