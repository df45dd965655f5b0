//! Makes a directory from which a server starts with exactly what was there at one batch.
//!
//! ```text
//! DIR/temp-restore-<random>/appendonlydir/   base, then batch by batch, each checked
//! DIR/appendonlydir/                         the same, renamed when all of it is there and durable
//! ```
//! The log that is made gets an identity of its own: what is done from then on is another history, and is archived as such. Its batches keep
//! their numbers and times. Keys whose time has come since then expire at the start, as ever.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use persist::aof::{Batches, HistoryId, Log, Place};
use persist::disk::{Disk, Real};
use persist::rdb::SnapshotFile;

use crate::Progress;
use crate::describe::{Description, Kind};
use crate::error::ArchiveError;
use crate::lineage::{Lineage, Orphan, lineages};
use crate::moment::Moment;
use crate::object::ObjectReader;
use crate::seal::Identity;
use crate::store::Store;

/// How often a restore is begun, if the base that it needs goes away while it lasts.
const ATTEMPTS_MAX: usize = 3;
/// Bytes of a base that are written at a time.
const PART_BYTES: usize = 256 << 10;

/// What is to be restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// All that was archived.
    Latest,
    /// The state behind this batch.
    Batch(u64),
    /// The state at this time: the batches before the first one that was written later.
    At(Moment),
}

/// What was restored.
#[derive(Debug)]
pub struct Restored {
    /// The log it was made from.
    pub lineage: HistoryId,
    /// The identity of the log that was made.
    pub history: HistoryId,
    /// The batches up to this one are in the base.
    pub base_covers: u64,
    /// The last batch.
    pub last_batch: u64,
    /// When that was written; of a base alone when it was done.
    pub last_moment: Moment,
    /// The last batch that is in the repository of this log.
    pub archived_batch: u64,
    /// Batches of this log from the next one up to this one were never archived, or are missing, and something later is there.
    pub gap_to: Option<u64>,
    /// Size of what was written.
    pub bytes: u64,
}

/// Writes the log to `place`.
///
/// # Errors
/// See [`ArchiveError`]; `place` holds no log then.
pub fn restore(
    store: &dyn Store,
    lineage: Option<HistoryId>,
    target: Target,
    identities: &[Identity],
    place: &Place,
    progress: Progress<'_>,
) -> Result<Restored, ArchiveError> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        // What it began with has been pruned meanwhile, if nothing tells of it any more.
        match restore_once(store, lineage, target, identities, place, progress) {
            Err(error) if error.is_gone() && attempts < ATTEMPTS_MAX => {}
            restored => return restored,
        }
    }
}

fn restore_once(
    store: &dyn Store,
    lineage: Option<HistoryId>,
    target: Target,
    identities: &[Identity],
    place: &Place,
    progress: Progress<'_>,
) -> Result<Restored, ArchiveError> {
    let lineage = choose(store, lineage, target)?;
    let plan = Plan::make(&lineage, target)?;
    plan.refuse_gap(&lineage)?;
    write(store, &lineage, &plan, identities, place, progress)
}

/// The state behind a batch by another way than the base that covers it: from an older one, with the segments between. `None` where no
/// older one leads there.
///
/// # Errors
/// As [`restore`].
pub fn restore_from_older_base(
    store: &dyn Store,
    lineage: HistoryId,
    covers: u64,
    identities: &[Identity],
    place: &Place,
    progress: Progress<'_>,
) -> Result<Option<Restored>, ArchiveError> {
    let lineage = choose(store, Some(lineage), Target::Batch(covers))?;
    let leads = |base: &&Description| base.last_batch() < covers && lineage.reach(base) >= covers;
    let Some(base) = lineage.bases().iter().rev().find(leads) else { return Ok(None) };
    let plan = Plan { base, chain: lineage.chain(base), target: Target::Batch(covers) };
    write(store, &lineage, &plan, identities, place, progress).map(Some)
}

fn write(
    store: &dyn Store,
    lineage: &Lineage,
    plan: &Plan<'_>,
    identities: &[Identity],
    place: &Place,
    progress: Progress<'_>,
) -> Result<Restored, ArchiveError> {
    refuse_data(place)?;
    let staging = Staging::make(place)?;
    let restored = plan.carry_out(store, lineage, identities, &staging.place, progress)?;
    staging.publish(place)?;
    Ok(restored)
}

fn choose(store: &dyn Store, wanted: Option<HistoryId>, target: Target) -> Result<Lineage, ArchiveError> {
    let mut found = lineages(store)?;
    if let Some(id) = wanted {
        found.retain(|lineage| lineage.id == id);
        return found.pop().ok_or(ArchiveError::NoLineage(id));
    }
    match found.len() {
        0 => Err(ArchiveError::Empty),
        1 => Ok(found.remove(0)),
        _ => match only_at(&found, target) {
            Some(index) => Ok(found.swap_remove(index)),
            None => Err(ArchiveError::Ambiguous(found.iter().map(Lineage::span).collect())),
        },
    }
}

/// The one lineage in which a time lies. Where another one overlaps it, two servers have archived at once, and nobody knows which is meant.
fn only_at(found: &[Lineage], target: Target) -> Option<usize> {
    let Target::At(moment) = target else { return None };
    let times: Vec<Option<(Moment, Moment)>> = found.iter().map(|lineage| lineage.span().times).collect();
    let covers =
        |times: &Option<(Moment, Moment)>| times.is_some_and(|(from, to)| (from..=to).contains(&moment));
    let index = times.iter().position(covers)?;
    let (from, to) = times[index]?;
    let is_apart = |(other, times): (usize, &Option<(Moment, Moment)>)| {
        other == index || times.is_some_and(|(begin, end)| end < from || to < begin)
    };
    times.iter().enumerate().all(is_apart).then_some(index)
}

/// What is there already may be somebody's.
fn refuse_data(place: &Place) -> Result<(), ArchiveError> {
    let (dir, log) = (&place.dir, place.log_dir());
    let failed = |error| ArchiveError::File(dir.to_owned(), error);
    let files = match fs::read_dir(dir) {
        Ok(files) => files.collect::<Result<Vec<_>, _>>().map_err(failed)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    let holds = files.iter().any(|file| {
        let (path, name) = (file.path(), file.file_name());
        let is_snapshot = path.extension().is_some_and(|ending| ending == "rdb" || ending == "aof");
        let is_file = name == *place.file_name || is_snapshot && !name.to_string_lossy().starts_with("temp-");
        let is_log = path == log && fs::read_dir(&log).is_ok_and(|mut files| files.next().is_some());
        is_file || is_log || holds_manifest(&path)
    });
    if holds { Err(ArchiveError::HoldsData(dir.to_owned())) } else { Ok(()) }
}

/// Whether this is the directory of a log, whatever it is called.
fn holds_manifest(path: &Path) -> bool {
    let is_manifest = |file: fs::DirEntry| file.path().extension().is_some_and(|ending| ending == "manifest");
    fs::read_dir(path).is_ok_and(|files| files.flatten().any(is_manifest))
}

/// Where the log is made before it gets its place. Dropped it is gone.
struct Staging {
    place: Place,
}

impl Staging {
    fn make(place: &Place) -> Result<Staging, ArchiveError> {
        let dir = place.dir.join(format!("temp-restore-{:016x}", random()? as u64));
        fs::create_dir_all(&dir).map_err(|error| ArchiveError::File(dir.clone(), error))?;
        Ok(Staging { place: Place { dir, ..place.clone() } })
    }

    fn publish(self, place: &Place) -> Result<(), ArchiveError> {
        let log = place.log_dir();
        let moved = fs::rename(self.place.log_dir(), &log).and_then(|()| Real.sync_dir(&place.dir));
        moved.map_err(|error| ArchiveError::File(log, error))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // What stays is in nobody's way.
        fs::remove_dir_all(&self.place.dir).unwrap_or_default();
    }
}

fn random() -> Result<u128, ArchiveError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| ArchiveError::File("/dev/urandom".into(), io::Error::other(error)))?;
    Ok(u128::from_le_bytes(bytes))
}

/// What leads to the target.
struct Plan<'a> {
    base: &'a Description,
    chain: Vec<&'a Description>,
    target: Target,
}

impl<'a> Plan<'a> {
    /// The newest base that is not too new, if it leads there; else the next older one that does.
    fn make(lineage: &'a Lineage, target: Target) -> Result<Plan<'a>, ArchiveError> {
        let is_batch = matches!(target, Target::Batch(_));
        if !is_batch && !lineage.broken.is_empty() {
            // It may be the newest of all, or what leads to the wanted time.
            return Err(unreadable(lineage));
        }
        let untold = untold(lineage, target);
        if !untold.is_empty() {
            return Err(ArchiveError::Untold { names: untold, known: known(lineage) });
        }
        let leads = |base: &&Description| match target {
            Target::Latest => true,
            Target::Batch(wanted) => base.last_batch() <= wanted && lineage.reach(base) >= wanted,
            Target::At(moment) => lineage.is_before(base, moment),
        };
        let base = lineage.bases().iter().rev().find(leads);
        let base = base.ok_or(match target {
            Target::Latest => ArchiveError::Empty,
            Target::Batch(_) if !lineage.broken.is_empty() => unreadable(lineage),
            Target::Batch(wanted) => ArchiveError::NoSuchBatch(wanted),
            Target::At(moment) => ArchiveError::NothingSoOld(moment),
        })?;
        Ok(Plan { base, chain: lineage.chain(base), target })
    }

    /// What was there at a time may be known by nothing that was archived.
    fn refuse_gap(&self, lineage: &Lineage) -> Result<(), ArchiveError> {
        let Target::At(wanted) = self.target else { return Ok(()) };
        let end = self.chain.last().copied().unwrap_or(self.base);
        let is_behind = end.at() < wanted && end.last_batch() < lineage.last_batch().unwrap_or_default();
        match next_base(lineage, end.last_batch()) {
            Some(to) if is_behind => {
                Err(ArchiveError::Gap { wanted, last: end.last_batch(), at: end.at(), to })
            }
            _ => Ok(()),
        }
    }

    fn is_wanted(&self, batch: u64, unix_ms: i64) -> bool {
        match self.target {
            Target::Latest => true,
            Target::Batch(wanted) => batch <= wanted,
            Target::At(moment) => unix_ms <= moment.0,
        }
    }

    /// Appends what leads on from the base. Of a segment that has been rolled since it was listed, what follows is looked up anew, and what
    /// was appended stays: a restore may take longer than what is replaced is kept. What was seen last of the lineage, if that is
    /// something else, and the last batch to which that leads.
    fn append_all(
        &self,
        store: &dyn Store,
        id: HistoryId,
        identities: &[Identity],
        making: &mut Making,
        hears: &mut dyn FnMut(u64),
    ) -> Result<(Option<Lineage>, u64), ArchiveError> {
        let mut reach = self.chain.last().map_or(making.last, |segment| segment.last_batch());
        let chain = self.chain.iter().copied();
        let Err(mut gone) = self.append_chain(store, id, chain, identities, making, hears)? else {
            return Ok((None, reach));
        };
        let mut looked_behind = None;
        // Each look brings it on by a batch at least, or is the last.
        while looked_behind != Some(making.last) {
            looked_behind = Some(making.last);
            let now = Lineage::of(store, id)?;
            let chain = now.chain_behind(making.last);
            let reaches = chain.last().map_or(making.last, |segment| segment.last_batch());
            if reaches < reach {
                // It was pruned: there is a newer base.
                return Err(gone);
            }
            reach = reaches;
            match self.append_chain(store, id, chain.into_iter(), identities, making, hears)? {
                Ok(()) => return Ok((Some(now), reach)),
                Err(error) => gone = error,
            }
        }
        Err(gone)
    }

    /// Appends what is wanted of these segments. The inner error is that one of them is gone.
    fn append_chain<'s>(
        &self,
        store: &dyn Store,
        id: HistoryId,
        chain: impl Iterator<Item = &'s Description>,
        identities: &[Identity],
        making: &mut Making,
        hears: &mut dyn FnMut(u64),
    ) -> Result<Result<(), ArchiveError>, ArchiveError> {
        for segment in chain.filter(|told| self.is_needed(told)) {
            match self.append(store, id, segment, identities, making, hears) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) if error.is_gone() => return Ok(Err(error)),
                Err(error) => return Err(error),
            }
        }
        Ok(Ok(()))
    }

    fn is_needed(&self, segment: &Description) -> bool {
        match segment.kind {
            Kind::Segment { first_batch, .. } => match self.target {
                Target::Batch(wanted) => first_batch <= wanted,
                Target::Latest | Target::At(_) => true,
            },
            Kind::Base { .. } => false,
        }
    }

    fn carry_out(
        &self,
        store: &dyn Store,
        lineage: &Lineage,
        identities: &[Identity],
        staging: &Place,
        progress: Progress<'_>,
    ) -> Result<Restored, ArchiveError> {
        let needed = self.chain.iter().copied().filter(|told| self.is_needed(told));
        let total: u64 = needed.chain([self.base]).map(|told| told.plain_bytes).sum();
        let mut done = 0;
        let mut hears = |bytes: u64| {
            done += bytes;
            // What was looked up anew may be read once more.
            progress(done.min(total), total);
        };
        let failed = |error| ArchiveError::File(staging.dir.clone(), error);
        let history = HistoryId(random()?);
        let temp = write_base(store, lineage.id, self.base, identities, &staging.dir, &mut hears)?;
        let (disk, covers): (Arc<dyn Disk>, u64) = (Arc::new(Real), self.base.last_batch());
        let form = self.base.form();
        let log = Log::create_behind(disk, staging.clone(), &temp, form, history, covers);
        let mut making = Making {
            log: log.map_err(failed)?,
            last: covers,
            moment: self.base.at(),
            bytes: self.base.plain_bytes,
        };
        let (newer, reach) = self.append_all(store, lineage.id, identities, &mut making, &mut hears)?;
        let lineage = newer.as_ref().unwrap_or(lineage);
        making.log.sync().map_err(|error| failed(io::Error::other(error)))?;
        let archived_batch = lineage.last_batch().unwrap_or(making.last);
        let is_at_end = making.last == reach && reach < archived_batch;
        Ok(Restored {
            lineage: lineage.id,
            history,
            base_covers: covers,
            last_batch: making.last,
            last_moment: making.moment,
            archived_batch,
            gap_to: is_at_end.then(|| next_base(lineage, reach)).flatten(),
            bytes: making.bytes,
        })
    }

    /// Appends what is wanted of a segment; false when all that follows is not.
    fn append(
        &self,
        store: &dyn Store,
        id: HistoryId,
        segment: &Description,
        identities: &[Identity],
        making: &mut Making,
        hears: &mut dyn FnMut(u64),
    ) -> Result<bool, ArchiveError> {
        let mut reader = ObjectReader::open(store, id, segment, identities)?;
        let before = segment.first_batch() - 1;
        let mut batches = Batches::new(&mut reader, 0, id, Some(before));
        let mut bad = None;
        loop {
            let batch = match batches.next() {
                Ok(Some(batch)) => batch,
                Ok(None) => break,
                Err(error) => {
                    bad = Some(error);
                    break;
                }
            };
            hears(batch.bytes.len() as u64);
            if batch.line.seq <= making.last {
                continue;
            }
            if !self.is_wanted(batch.line.seq, batch.line.unix_ms) {
                return Ok(false);
            }
            making.take(batch.line.seq, batch.line.unix_ms, &batch.bytes[batch.body])?;
        }
        if let Some(bad) = bad {
            return Err(reader.damaged(bad));
        }
        reader.finish()?;
        if making.last != segment.last_batch() {
            let (has, told) = (making.last, segment.last_batch());
            let what = format!("it ends with batch {has}, and should with {told}");
            return Err(ArchiveError::Damaged(segment.object_name(id), what));
        }
        Ok(true)
    }
}

fn unreadable(lineage: &Lineage) -> ArchiveError {
    ArchiveError::Unreadable {
        names: lineage.unreadable().into_iter().map(|finding| finding.name).collect(),
        known: known(lineage),
    }
}

/// The last batch that something which is told of leads to.
fn known(lineage: &Lineage) -> Option<u64> {
    lineage.bases().iter().map(|base| lineage.reach(base)).max()
}

/// Objects that may hold what leads to the target, and of which nothing tells.
fn untold(lineage: &Lineage, target: Target) -> Vec<String> {
    let end = known(lineage);
    let is_wanted = match target {
        Target::Latest => true,
        Target::At(moment) => lineage.last_moment().is_none_or(|last| last < moment),
        Target::Batch(_) => false,
    };
    let leads_on = |orphan: &&Orphan| {
        let is_later = orphan.batch.is_some_and(|batch| end.is_none_or(|end| batch > end));
        is_wanted && is_later && lineage.is_only_copy(orphan)
    };
    lineage.orphans.iter().filter(leads_on).map(|orphan| orphan.name(lineage.id)).collect()
}

/// The first batch after a gap, less one: what the next base holds.
fn next_base(lineage: &Lineage, reach: u64) -> Option<u64> {
    lineage.bases().iter().map(Description::last_batch).find(|&covers| covers > reach)
}

/// A log that is being made.
struct Making {
    log: Log,
    last: u64,
    moment: Moment,
    bytes: u64,
}

impl Making {
    fn take(&mut self, seq: u64, unix_ms: i64, body: &[u8]) -> Result<(), ArchiveError> {
        let mut body = body.to_vec();
        if let Err(error) = self.log.append(&mut body, unix_ms) {
            return Err(ArchiveError::File(self.log.place().log_dir(), io::Error::other(error)));
        }
        (self.last, self.moment) = (seq, Moment(unix_ms));
        self.bytes += body.len() as u64;
        Ok(())
    }
}

/// Writes a base beside its place.
fn write_base(
    store: &dyn Store,
    id: HistoryId,
    base: &Description,
    identities: &[Identity],
    staging: &Path,
    hears: &mut dyn FnMut(u64),
) -> Result<PathBuf, ArchiveError> {
    let mut reader = ObjectReader::open(store, id, base, identities)?;
    let failed = |error| ArchiveError::File(staging.to_owned(), error);
    let mut file =
        SnapshotFile::create(&Real, staging, std::process::id(), random()? as u64).map_err(failed)?;
    let mut part = vec![0; PART_BYTES];
    loop {
        let count = reader.read(&mut part).map_err(|error| reader.damaged(error))?;
        if count == 0 {
            break;
        }
        file.write(&part[..count]).map_err(failed)?;
        hears(count as u64);
    }
    reader.finish()?;
    file.finish_in_place().map_err(failed)
}
