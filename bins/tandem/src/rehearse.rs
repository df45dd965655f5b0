//! Restores a copy from a repository and loads it, so that a backup is known to be good before it is needed.
//!
//! The state at the end is restored and loaded: it is counted. Then two ways to one state are compared, by digest and by keys of each type:
//! the newest base alone, and the base before it with all that the log says between. Where there is one base only, what was loaded is
//! written as a snapshot and loaded again. Expiry is looked at as of one moment, so that time that passes makes no difference.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, bail};
use archive::{Identity, Lineage, Restored, Store, Target};
use check::{Contents, DataSet};
use persist::aof::{HistoryId, Place};

use crate::backup::with_bar;

/// What was seen.
#[derive(Debug)]
pub(crate) struct Rehearsal {
    pub(crate) lineage: HistoryId,
    /// The last batch that was restored.
    pub(crate) last_batch: u64,
    /// What a server has that starts from it.
    pub(crate) contents: Contents,
    /// What it was compared with.
    pub(crate) compared: Compared,
}

/// Two ways to the same state.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Compared {
    /// The base that covers this batch, and an older one with what follows it.
    Bases(u64),
    /// What was loaded, and a snapshot of that.
    Snapshot,
}

/// Restores to a directory of its own below `scratch`.
///
/// # Errors
/// It cannot be restored or loaded, or the two ways lead to different states.
pub(crate) fn rehearse(
    store: &dyn Store,
    lineage: &Lineage,
    keys: &[Identity],
    scratch: &Path,
) -> anyhow::Result<Rehearsal> {
    let restore = |dir: &Path, target: Target| {
        with_bar(|bar| archive::restore(store, Some(lineage.id), target, keys, &Place::new(dir), bar))
    };
    let (restored, mut data) = in_scratch(scratch, |dir| Ok(Some(restore(dir, Target::Latest)?)))?
        .context("nothing was restored")?;
    let contents = data.contents();
    let compared = match compare_bases(store, lineage, keys, scratch, &restore)? {
        Some(covers) => Compared::Bases(covers),
        None => {
            compare_snapshot(&mut data, scratch)?;
            Compared::Snapshot
        }
    };
    Ok(Rehearsal { lineage: lineage.id, last_batch: restored.last_batch, contents, compared })
}

/// Restores to a new directory, loads what is there, and removes it.
fn in_scratch(
    scratch: &Path,
    restore: impl FnOnce(&Path) -> anyhow::Result<Option<Restored>>,
) -> anyhow::Result<Option<(Restored, DataSet)>> {
    let dir = tempfile::Builder::new().prefix("tandem-verify-").tempdir_in(scratch);
    let dir = dir.with_context(|| format!("making a directory in {}", scratch.display()))?;
    let Some(restored) = restore(dir.path())? else { return Ok(None) };
    Ok(Some((restored, load_log(&Place::new(dir.path()))?)))
}

/// Loads a log, which is to be whole.
pub(crate) fn load_log(place: &Place) -> anyhow::Result<DataSet> {
    match with_bar(|bar| check::load_log(place, bar))? {
        Ok(data) => Ok(data),
        Err(report) => {
            let first = report.findings.iter().max_by_key(|finding| finding.level);
            let what = first.map_or_else(
                || "it is damaged".to_owned(),
                |finding| format!("{}: {}", finding.path.display(), finding.what),
            );
            bail!("what was restored cannot be loaded: {what}")
        }
    }
}

/// The batch at which both ways were compared, if there are two.
fn compare_bases(
    store: &dyn Store,
    lineage: &Lineage,
    keys: &[Identity],
    scratch: &Path,
    restore: &dyn Fn(&Path, Target) -> Result<Restored, archive::ArchiveError>,
) -> anyhow::Result<Option<u64>> {
    let Some(covers) = lineage.bases().last().map(archive::Description::last_batch) else { return Ok(None) };
    let older = in_scratch(scratch, |dir| {
        let place = Place::new(dir);
        let done =
            with_bar(|bar| archive::restore_from_older_base(store, lineage.id, covers, keys, &place, bar))?;
        Ok(done)
    })?;
    let Some((_, mut older)) = older else { return Ok(None) };
    let unix_ms = older.moment_ms();
    let by_log = older.contents_at(unix_ms);
    drop(older);
    let base = in_scratch(scratch, |dir| Ok(Some(restore(dir, Target::Batch(covers))?)))?;
    let by_base = base.map(|(_, mut base)| base.contents_at(unix_ms));
    if by_base.as_ref() != Some(&by_log) {
        let by_base = by_base.map_or_else(|| "nothing".to_owned(), |contents| contents.to_string());
        bail!(
            "the base that covers batch {covers} holds {by_base}, and the log up to there {by_log}: one of them is wrong"
        );
    }
    Ok(Some(covers))
}

fn compare_snapshot(data: &mut DataSet, scratch: &Path) -> anyhow::Result<()> {
    let dir = tempfile::Builder::new().prefix("tandem-verify-").tempdir_in(scratch)?;
    let path = dir.path().join("dump.rdb");
    let mut file = File::create(&path)?;
    data.write(false, &mut |bytes| file.write_all(bytes))?;
    let unix_ms = data.moment_ms();
    let (written, read) = (data.contents_at(unix_ms), DataSet::of_snapshot(&path)?.contents_at(unix_ms));
    if written != read {
        bail!("what was loaded holds {written}, and a snapshot of it {read}");
    }
    Ok(())
}
