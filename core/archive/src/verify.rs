//! Looks through a repository and names what is wrong, without restoring anything.
//!
//! Each object is read as it lies there, for size and SHA-256; where that needs no key, or one is given, it is opened too, and each batch's
//! own checksum and number is looked at. Then: is anything missing between what is there? Where archiving itself began anew with a base,
//! because a rewrite had removed what was not archived yet, nothing is damaged and moments are lost for good: that is a gap where a server had archived
//! them all the time, and else what lies between two runs of `backup now`.

use std::io::{self, Read};

use persist::aof::{Batches, HistoryId};

use crate::Progress;
use crate::describe::{Description, Kind};
use crate::error::ArchiveError;
use crate::lineage::{Lineage, lineages};
use crate::object::{ObjectReader, check_stored};
use crate::seal::Identity;
use crate::store::Store;

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The object, or the lineage.
    pub name: String,
    /// What is wrong with it.
    pub what: String,
}

/// What a look through a repository has found.
#[derive(Debug, Default)]
pub struct Findings {
    /// Objects that were read.
    pub objects: u64,
    /// Objects that were opened, too.
    pub opened: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// What is wrong.
    pub wrong: Vec<Finding>,
    /// Moments that were lost to an archive that goes on all the time, though all that is there is whole.
    pub gaps: Vec<Finding>,
    /// Moments that lie between two runs, and that nobody has promised to archive.
    pub between: Vec<Finding>,
    /// What is worth knowing.
    pub remarks: Vec<Finding>,
}

/// Looks through all lineages, or one.
///
/// # Errors
/// The repository cannot be asked at all, or is empty. What is wrong with an object is found, and no error.
pub fn verify(
    store: &dyn Store,
    lineage: Option<HistoryId>,
    identities: &[Identity],
    progress: Progress<'_>,
) -> Result<Findings, ArchiveError> {
    let mut chosen = lineages(store)?;
    if let Some(id) = lineage {
        chosen.retain(|found| found.id == id);
    }
    if chosen.is_empty() {
        return Err(lineage.map_or(ArchiveError::Empty, ArchiveError::NoLineage));
    }
    let total: u64 = chosen.iter().flat_map(Lineage::objects).map(|told| told.bytes).sum();
    let mut findings = Findings::default();
    for lineage in &chosen {
        let mut is_missed = false;
        for told in lineage.objects() {
            let mut hears = |bytes| {
                findings.bytes += bytes;
                progress(findings.bytes, total);
            };
            let sound = check_stored(store, lineage.id, told, &mut hears);
            findings.objects += 1;
            let opened = match sound {
                Ok(()) if !told.encrypted || !identities.is_empty() => {
                    open(store, lineage.id, told, identities).inspect(|()| findings.opened += 1)
                }
                result => result,
            };
            if let Err(error) = opened {
                if error.is_away() {
                    return Err(error);
                }
                if error.is_gone() && !is_told(store, &told.json_name(lineage.id)) {
                    // It was rolled or pruned since it was listed.
                    is_missed = true;
                    continue;
                }
                findings.wrong.push(Finding { name: told.object_name(lineage.id), what: bare(&error) });
            }
        }
        if is_missed && !lineages(store)?.iter().any(|now| now.id == lineage.id) {
            let what = "all of it went away while it was looked at".to_owned();
            findings.wrong.push(Finding { name: lineage.id.to_string(), what });
        }
        findings.judge(lineage);
    }
    Ok(findings)
}

/// Whether something tells of an object still.
fn is_told(store: &dyn Store, json_name: &str) -> bool {
    !matches!(store.age_s(json_name), Err(error) if error.kind() == io::ErrorKind::NotFound)
}

/// What is wrong, without the name that stands beside it.
fn bare(error: &ArchiveError) -> String {
    match error {
        ArchiveError::Damaged(_, what) => what.clone(),
        ArchiveError::Store(_, error) if error.kind() == io::ErrorKind::NotFound => {
            "it is missing".to_owned()
        }
        ArchiveError::Store(_, error) => error.to_string(),
        ArchiveError::WrongKey(_) => "none of the keys opens it".to_owned(),
        error => error.to_string(),
    }
}

/// Reads what is in an object.
fn open(
    store: &dyn Store,
    id: HistoryId,
    told: &Description,
    identities: &[Identity],
) -> Result<(), ArchiveError> {
    let mut reader = ObjectReader::open(store, id, told, identities)?;
    let read = match &told.kind {
        Kind::Base { .. } => read_base(&mut reader),
        Kind::Segment { first_batch, last_batch, last_line, .. } => {
            read_segment(&mut reader, id, *first_batch, *last_batch, last_line)
        }
    };
    read.map_err(|what| reader.damaged(what))?;
    reader.finish()
}

fn read_base(reader: &mut impl Read) -> Result<(), String> {
    io::copy(reader, &mut io::sink()).map(drop).map_err(|error| error.to_string())
}

fn read_segment(
    reader: &mut impl Read,
    id: HistoryId,
    first: u64,
    last: u64,
    last_line: &str,
) -> Result<(), String> {
    let mut batches = Batches::new(reader, 0, id, Some(first - 1));
    let (mut at, mut line) = (first - 1, String::new());
    while let Some(batch) = batches.next().map_err(|bad| bad.to_string())? {
        at = batch.line.seq;
        if at == last {
            line = batch.closing_line();
        }
    }
    if at != last || line != last_line || batches.unclosed_bytes() > 0 {
        return Err(format!("it does not end with batch {last} as it should"));
    }
    Ok(())
}

impl Lineage {
    /// What should tell of an object and cannot be read.
    pub fn unreadable(&self) -> Vec<Finding> {
        let named = |error: &ArchiveError| match error {
            ArchiveError::Damaged(name, _) | ArchiveError::Store(name, _) => name.clone(),
            _ => self.id.to_string(),
        };
        self.broken.iter().map(|error| Finding { name: named(error), what: bare(error) }).collect()
    }
}

impl Findings {
    fn judge(&mut self, lineage: &Lineage) {
        let id = lineage.id;
        self.wrong.extend(lineage.unreadable());
        for orphan in &lineage.orphans {
            let name = orphan.name(id);
            match orphan.batch.filter(|_| lineage.is_only_copy(orphan)) {
                Some(batch) => {
                    let holds = if orphan.is_base { "the state behind" } else { "what begins with" };
                    let what = format!(
                        "nothing tells of it, and it is the only copy of {holds} batch {batch}: what told of it is lost, or \
                         archiving was stopped just then, and archives it again when it goes on"
                    );
                    self.wrong.push(Finding { name, what });
                }
                None => {
                    let what = "nothing tells of it, and all that it holds is there besides: an archiving that was stopped has left it";
                    self.remarks.push(Finding { name, what: what.to_owned() });
                }
            }
        }
        self.judge_order(lineage);
    }

    fn judge_order(&mut self, lineage: &Lineage) {
        let name = lineage.id.to_string();
        let Some(oldest) = lineage.bases().first().map(Description::last_batch) else {
            let what = "it has no base, so nothing can be restored".to_owned();
            self.wrong.push(Finding { name, what });
            return;
        };
        let mut before: Option<&Description> = None;
        for segment in lineage.segments() {
            // What the oldest base holds is not needed.
            let reached = before.map_or(oldest, |before| before.last_batch().max(oldest));
            let (first, is_base) = (segment.first_batch(), has_base(lineage, segment.first_batch() - 1));
            let finding = |what: String| Finding { name: segment.object_name(lineage.id), what };
            match before {
                Some(before) if first <= before.last_batch() => {
                    let what = format!("batch {first} is in {} too: two servers have archived one log", before.object);
                    self.wrong.push(finding(what));
                }
                Some(before) if segment.continues(before) => {}
                _ if first <= reached + 1 && (is_base || first <= oldest) => {}
                _ if follows(segment) || !is_base => {
                    let what = format!("the batches from {} to {} before it are missing", reached + 1, first - 1);
                    self.wrong.push(finding(what));
                }
                // The base is the state behind the only batch that is missing.
                _ if first == reached + 2 => {}
                _ => self.gaps_for(before.or(lineage.bases().first()), segment).push(finding(format!(
                    "the states behind batches {} to {} were never archived: the log had been rewritten; a base goes on behind them",
                    reached + 1,
                    first - 2
                ))),
            }
            before = Some(segment);
        }
    }
}

impl Findings {
    /// Where it is told that something is not there between two objects: whoever archives all the time has lost it.
    fn gaps_for(&mut self, before: Option<&Description>, behind: &Description) -> &mut Vec<Finding> {
        match before.is_some_and(|before| before.continuous) && behind.continuous {
            true => &mut self.gaps,
            false => &mut self.between,
        }
    }
}

fn has_base(lineage: &Lineage, covers: u64) -> bool {
    lineage.bases().iter().any(|base| base.last_batch() == covers)
}

fn follows(segment: &Description) -> bool {
    matches!(segment.kind, Kind::Segment { follows: Some(_), .. })
}
