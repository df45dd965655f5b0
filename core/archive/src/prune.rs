//! Removes what no moment that is to be kept needs.
//!
//! Kept is every moment since some time, and so the newest base that is older than that, all bases after it, and the segments that lead on from
//! there; at least so many bases in any case. What tells of an object goes first, then the object: a crash between leaves one that nothing
//! tells of, which is removed here, too, once it is a day old: a younger one may be told of soon. An old one may be as well, if who
//! wrote it was stopped for so long, so it is looked once more before it goes. What is not called as objects are is left alone.

use std::collections::HashSet;

use persist::aof::HistoryId;

use crate::describe::Description;
use crate::error::ArchiveError;
use crate::lineage::{Lineage, lineages};
use crate::moment::Moment;
use crate::store::Store;

/// What an upload may take, seconds.
const UPLOAD_S_MAX: u64 = 24 * 3600;

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
    /// Left by what never ended.
    pub swept: usize,
}

/// Removes what need not stay. With `only_tell` nothing is.
///
/// # Errors
/// The repository failed; what has not been removed by then is as it was.
pub fn prune(store: &dyn Store, keep: Keep, only_tell: bool) -> Result<Pruned, ArchiveError> {
    let mut pruned = Pruned::default();
    for mut lineage in lineages(store)? {
        // What cannot be read may be what something else needs: nothing is removed before somebody has looked.
        if let Some(error) = lineage.broken.pop() {
            return Err(error);
        }
        for told in needless(&lineage, keep) {
            if !only_tell {
                remove(store, lineage.id, told)?;
            }
            pruned.objects.push(told.object_name(lineage.id));
            pruned.bytes += told.bytes;
        }
        if !only_tell {
            pruned.swept += sweep_orphans(store, &lineage)?;
        }
    }
    if !only_tell {
        let swept = store.sweep(UPLOAD_S_MAX);
        pruned.swept += swept.map_err(|error| ArchiveError::Store("sweeping it".to_owned(), error))?;
    }
    Ok(pruned)
}

/// What nothing that is kept needs, segments first.
fn needless(lineage: &Lineage, keep: Keep) -> Vec<&Description> {
    let bases = lineage.bases();
    let by_age = bases.iter().rposition(|base| lineage.is_before(base, keep.since)).unwrap_or(0);
    let by_count = bases.len().saturating_sub(keep.bases_min.max(1));
    let oldest = by_age.min(by_count);
    let Some(covers) = bases.get(oldest).map(Description::last_batch) else { return Vec::new() };
    let segments = lineage.segments().iter().filter(|segment| segment.last_batch() <= covers);
    segments.chain(&bases[..oldest]).collect()
}

/// Removes objects that nothing tells of, and how many that were.
fn sweep_orphans(store: &dyn Store, lineage: &Lineage) -> Result<usize, ArchiveError> {
    let old = old_orphans(store, lineage)?;
    if old.is_empty() {
        return Ok(0);
    }
    let mut now = Lineage::of(store, lineage.id)?;
    if let Some(error) = now.broken.pop() {
        return Err(error);
    }
    let untold: HashSet<&String> = now.orphans.iter().collect();
    let mut removed = 0;
    for orphan in old.into_iter().filter(|orphan| untold.contains(orphan)) {
        let name = format!("{}/{orphan}", lineage.id);
        store.remove(&name).map_err(|error| ArchiveError::Store(name, error))?;
        removed += 1;
    }
    Ok(removed)
}

/// Those that no upload is to tell of any more.
fn old_orphans<'a>(store: &dyn Store, lineage: &'a Lineage) -> Result<Vec<&'a String>, ArchiveError> {
    let mut old = Vec::new();
    for orphan in &lineage.orphans {
        let name = format!("{}/{orphan}", lineage.id);
        let age_s = store.age_s(&name).map_err(|error| ArchiveError::Store(name, error))?;
        if age_s >= UPLOAD_S_MAX {
            old.push(orphan);
        }
    }
    Ok(old)
}

fn remove(store: &dyn Store, id: HistoryId, told: &Description) -> Result<(), ArchiveError> {
    for name in [told.json_name(id), told.object_name(id)] {
        store.remove(&name).map_err(|error| ArchiveError::Store(name, error))?;
    }
    Ok(())
}
