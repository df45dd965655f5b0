//! A log: its manifest, base and files, each looked through, and what of them is good loaded in order.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use persist::aof::{
    FileKind, Manifest, ManifestFile, Part, Place, Survey, SurveyStart, SyncedMark, Wrong, cut_in_place,
    preview, short_copy, survey,
};
use persist::disk::Real;
use persist::rdb::identify;

use crate::dataset::DataSet;
use crate::finding::{CheckError, Finding, Level, Report, SubjectKind, file_error, refuse_no_file};
use crate::play::Play;
use crate::snapshot::{self, Looked};
use crate::{Depth, Gauge};

/// What of a file can be loaded.
struct Examined {
    path: PathBuf,
    /// The snapshot that it is or begins with.
    snapshot: Option<Looked>,
    /// Its commands.
    survey: Survey,
}

/// A log that is being looked at.
struct Look<'a, 'g> {
    place: &'a Place,
    report: Report,
    gauge: &'a mut Gauge<'g>,
    examined: Vec<Examined>,
    /// What comes before the next file.
    start: SurveyStart,
}

/// Looks at a log, and loads what is good of it.
pub(crate) fn check(
    place: &Place,
    depth: Depth,
    gauge: &mut Gauge<'_>,
) -> Result<(Report, Option<DataSet>), CheckError> {
    refuse_special(&place.log_dir())?;
    let report = Report::new(SubjectKind::Log, &place.log_dir());
    let mut look = Look { place, report, gauge, examined: Vec::new(), start: SurveyStart::default() };
    let manifest = look.manifest()?;
    look.unnamed(&manifest)?;
    look.base(&manifest)?;
    for (at, file) in manifest.incrementals.iter().enumerate() {
        look.incremental(&manifest, at, file)?;
    }
    look.judge();
    look.length();
    look.mark(&manifest);
    look.load(depth)
}

/// Refuses a directory in which something has a name and is neither file nor directory.
fn refuse_special(dir: &Path) -> Result<(), CheckError> {
    for entry in fs::read_dir(dir).map_err(file_error(dir))? {
        let path = entry.map_err(file_error(dir))?.path();
        // A link that leads nowhere is a file that is missing.
        if path.exists() && !path.is_dir() {
            refuse_no_file(&path)?;
        }
    }
    Ok(())
}

/// Looks at a single file of commands.
pub(crate) fn check_file(
    path: &Path,
    depth: Depth,
    gauge: &mut Gauge<'_>,
) -> Result<(Report, Option<DataSet>), CheckError> {
    let place = Place::new(path.parent().unwrap_or(Path::new(".")));
    let report = Report::new(SubjectKind::Commands, path);
    let mut look = Look { place: &place, report, gauge, examined: Vec::new(), start: SurveyStart::default() };
    look.commands(path, look.start)?;
    let is_torn = |finding: &Finding| finding.what == torn_text();
    look.report
        .findings
        .iter_mut()
        .filter(|finding| is_torn(finding))
        .for_each(|finding| finding.level = Level::Note);
    look.load(depth)
}

/// Loads a log that is whole, and gives what it holds; `None` if it is not. For whoever has just made one.
///
/// # Errors
/// It cannot be read.
pub fn load_log(
    place: &Place,
    progress: crate::Progress<'_>,
) -> Result<Result<DataSet, Box<Report>>, CheckError> {
    let total = crate::subject::Subject::Log(place.clone()).bytes() * 2;
    let (report, data) = check(place, Depth::default(), &mut Gauge::new(progress, total.max(1)))?;
    Ok(match data {
        Some(data) if report.worst().is_none() => Ok(data),
        _ => Err(Box::new(report)),
    })
}

fn torn_text() -> &'static str {
    "the file ends in the middle of a batch or command"
}

/// The log that a file of this name belongs to, its number and what it is.
pub(crate) fn member(name: &str) -> Option<(&str, u64, FileKind)> {
    let (rest, kind) =
        [(".base.rdb", FileKind::Base), (".base.aof", FileKind::Base), (".incr.aof", FileKind::Incremental)]
            .into_iter()
            .find_map(|(ending, kind)| Some((name.strip_suffix(ending)?, kind)))?;
    let (log, number) = rest.rsplit_once('.')?;
    Some((log, number.parse().ok()?, kind))
}

impl Look<'_, '_> {
    fn find(&mut self, finding: Finding) {
        self.report.findings.push(finding);
    }

    /// The manifest; where it is damaged as it was, or as the names of the files tell it.
    fn manifest(&mut self) -> Result<Manifest, CheckError> {
        let path = self.place.log_dir().join(self.place.manifest_name());
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                self.find(Finding::new(Level::Damage, &path, "the manifest is missing"));
                return self.rebuilt(&path);
            }
            Err(error) => return Err(CheckError::File(path, error)),
        };
        self.report.bytes += text.len() as u64;
        let error = match Manifest::parse(&text) {
            Ok(manifest) => {
                if manifest.id.is_none() {
                    let what = "it does not tell which log it is of: an earlier version or another server has written it";
                    self.find(Finding::new(Level::Note, &path, what));
                }
                return Ok(manifest);
            }
            Err(error) => error,
        };
        if let Some((manifest, at)) = Manifest::mend(&text) {
            let what = format!("one byte was changed, at offset {at}, as its checksums tell ({error})");
            self.find(Finding::new(Level::Mendable, &path, what).at(at as u64, at as u64 + 1));
            return Ok(manifest);
        }
        self.find(Finding::new(Level::Damage, &path, error.to_string()));
        self.rebuilt(&path)
    }

    /// What the names of the files tell.
    fn rebuilt(&mut self, path: &Path) -> Result<Manifest, CheckError> {
        let mut manifest = Manifest::default();
        let mut files = self.members()?;
        files.sort_by_key(|file| file.seq);
        let bases = files.iter().filter(|file| file.kind == FileKind::Base).count();
        for file in files {
            match file.kind {
                FileKind::Incremental => manifest.incrementals.push(file),
                _ => manifest.base = Some(file),
            }
        }
        let what = match (bases, &manifest.base) {
            (0, _) => "no base is there, so what the log begins with is not known".to_owned(),
            (1, Some(base)) => format!("{} is taken for the base, since there is no other", base.name),
            (_, base) => format!(
                "{bases} bases are there, and nobody can tell which of them is the right one; the last one is taken: {}",
                base.as_ref().map(|base| base.name.as_str()).unwrap_or_default()
            ),
        };
        self.find(
            Finding::new(Level::Damage, path, what)
                .leaves_out("nothing that is in the files, taken in the order of their numbers"),
        );
        Ok(manifest)
    }

    /// The files that are called as those of this log.
    fn members(&self) -> Result<Vec<ManifestFile>, CheckError> {
        let dir = self.place.log_dir();
        let mut found = Vec::new();
        for entry in fs::read_dir(&dir).map_err(file_error(&dir))? {
            let name = entry.map_err(file_error(&dir))?.file_name().to_string_lossy().into_owned();
            if let Some((log, seq, kind)) = member(&name)
                && log == self.place.file_name
            {
                found.push(ManifestFile::new(name.clone(), seq, kind));
            }
        }
        Ok(found)
    }

    fn unnamed(&mut self, manifest: &Manifest) -> Result<(), CheckError> {
        let is_named = |name: &str| {
            manifest
                .base
                .iter()
                .chain(&manifest.incrementals)
                .chain(&manifest.history)
                .any(|file| file.name == name)
        };
        for file in self.members()? {
            let path = self.place.log_dir().join(&file.name);
            let bytes = fs::metadata(&path).map_or(0, |about| about.len());
            if !is_named(&file.name) && bytes > 0 {
                let what = format!("{} does not name it", self.place.manifest_name());
                self.find(Finding::new(Level::Note, &path, what).at(0, bytes).leaves_out("this file"));
            }
        }
        Ok(())
    }

    fn base(&mut self, manifest: &Manifest) -> Result<(), CheckError> {
        if let Some(id) = manifest.id {
            self.start.history = Some(id.history);
            self.start.first_batch = Some(id.covers.saturating_add(1));
            self.report.last_batch = Some((id.covers, 0)).filter(|_| id.covers > 0);
        }
        let Some(base) = &manifest.base else { return Ok(()) };
        let path = self.place.log_dir().join(&base.name);
        let Some(there) = identify(&Real, &path).map_err(file_error(&path))? else {
            let what = "the base is missing: it holds all that was written before the files that follow";
            self.find(Finding::new(Level::Damage, &path, what).leaves_out("all of it"));
            return Ok(());
        };
        let before = self.report.findings.len();
        self.commands(&path, SurveyStart::default())?;
        let is_told = self.report.findings.len() > before;
        if let Some(id) = manifest.id.filter(|id| id.base != there)
            && !is_told
        {
            let what = format!(
                "it is whole, and not the base that the manifest tells of, which has {} bytes: it is of another log or of \
                 another time of this one",
                id.base.bytes
            );
            self.find(
                Finding::new(Level::Damage, &path, what).leaves_out("nothing: it is taken, and may not fit"),
            );
        }
        Ok(())
    }

    fn incremental(&mut self, manifest: &Manifest, at: usize, file: &ManifestFile) -> Result<(), CheckError> {
        let path = self.place.log_dir().join(&file.name);
        let Ok(about) = fs::metadata(&path) else {
            let what = "the file is missing; what follows it tells which batches that are";
            self.find(Finding::new(Level::Damage, &path, what).leaves_out("all of it"));
            let lost = Survey { parts: vec![Part::Lost(lost())], ..Survey::default() };
            self.examined.push(Examined { path, snapshot: None, survey: lost });
            self.start.before_bytes = None;
            return Ok(());
        };
        let needs_head = manifest.id.is_some_and(|id| file.seq >= id.heads_from) && about.len() > 0;
        let start = SurveyStart {
            needs_head,
            before_bytes: self.start.before_bytes.filter(|_| at > 0),
            ..self.start
        };
        self.commands(&path, start)?;
        self.start.before_bytes = Some(about.len());
        let found = self.examined.last().map(|examined| &examined.survey);
        if let Some(found) = found {
            self.start.history = self.start.history.or(found.history);
            self.start.first_batch =
                found.last_batch.map(|last| last.saturating_add(1)).or(self.start.first_batch);
            if let Some((last, unix_ms)) = found.last_batch.zip(found.last_ms) {
                self.report.last_batch = Some((last, unix_ms));
            }
        }
        Ok(())
    }

    /// A file of commands, behind a snapshot or not, or a snapshot.
    fn commands(&mut self, path: &Path, start: SurveyStart) -> Result<(), CheckError> {
        let bytes = fs::metadata(path).map_err(file_error(path))?.len();
        self.report.bytes += bytes;
        let is_rdb = path.extension().is_some_and(|ending| ending == "rdb");
        let mut examined = Examined { path: path.to_owned(), snapshot: None, survey: Survey::default() };
        let mut start = start;
        if is_rdb || begins_as_snapshot(path)? {
            let looked = snapshot::look(path, !is_rdb, self.gauge, &mut self.report.findings)?;
            start.offset = looked.end.unwrap_or(bytes);
            examined.snapshot = Some(looked);
        }
        if start.offset < bytes && !is_rdb {
            let gauge = &mut *self.gauge;
            examined.survey =
                survey(&Real, path, start, &mut |done| gauge.hear(done)).map_err(file_error(path))?;
            self.tell(path, &examined.survey);
        }
        self.gauge.pass(bytes);
        self.examined.push(examined);
        Ok(())
    }

    fn tell(&mut self, path: &Path, found: &Survey) {
        for part in &found.parts {
            match part {
                Part::Good { .. } => {}
                Part::Mended { damage, .. } => self.find(Finding::of_damage(path, damage, true)),
                Part::Lost(damage) => self.find(Finding::of_damage(path, damage, false)),
            }
        }
        if found.has_head && found.open_bytes > 0 {
            let what = format!(
                "the last {} bytes are whole commands that no line closes, as a crash leaves them",
                found.open_bytes
            );
            self.find(Finding::new(Level::Note, path, what));
        }
    }

    /// What stands beside the log of how much of it was durable. Without it the log is whole, and a start knows less.
    fn mark(&mut self, manifest: &Manifest) {
        let trouble = SyncedMark::trouble(&Real, self.place).filter(|_| manifest.id.is_some());
        if let Some((path, what)) = trouble {
            let what = format!("{what}: that the end of the log was not cut off is told by the log alone");
            self.find(Finding::new(Level::Note, &path, what));
        }
    }

    /// Whether what had been durable of the log is there, as the mark beside it tells.
    fn length(&mut self) {
        if let Some((path, what)) = short_copy(&Real, self.place) {
            self.find(Finding::new(Level::Note, &path, what));
        }
        let Some(what) = cut_in_place(&Real, self.place) else { return };
        let path = self.place.log_dir();
        self.find(Finding::new(Level::Damage, &path, what.clone()).leaves_out("what is missing there"));
        self.report.refusal.get_or_insert(what);
    }

    /// Whether a start would go on, and what it would cut.
    fn judge(&mut self) {
        let refusal = match preview(&Real, self.place, true) {
            Ok(tails) => {
                let ends = |finding: &&mut Finding| {
                    finding.what == torn_text() || tails.iter().any(|tail| tail.path == finding.path)
                };
                for finding in self.report.findings.iter_mut().filter(ends) {
                    finding.level = Level::Note;
                    finding.left_out = "what a start cuts off, too, and keeps beside the file".to_owned();
                }
                return;
            }
            Err(refusal) => refusal,
        };
        if self.report.worst().is_none() {
            let finding = Finding::new(Level::Damage, &refusal.path, refusal.what.clone());
            self.find(finding);
        }
        self.report.refusal = Some(refusal.to_string());
    }

    fn load(mut self, depth: Depth) -> Result<(Report, Option<DataSet>), CheckError> {
        if depth.checksums_only {
            return Ok((self.report, None));
        }
        let databases: BTreeSet<u64> =
            self.examined.iter().flat_map(|one| one.survey.databases.iter().copied()).collect();
        let mut data = DataSet::new()?;
        for Examined { path, snapshot, .. } in &self.examined {
            if let Some(looked) = snapshot {
                snapshot::load(path, looked, &mut data, self.gauge, &mut self.report.findings)?;
            }
        }
        let mut play = Play::new(&mut data, &databases);
        for Examined { path, survey, .. } in &self.examined {
            if !survey.parts.is_empty() && path.exists() {
                play.file(path, survey, self.gauge, &mut self.report.findings)?;
            } else if !path.exists() {
                play.lose_file();
            }
            self.gauge.pass(fs::metadata(path).map_or(0, |about| about.len()));
        }
        let path = self.report.path.clone();
        play.end(&path, &mut self.report.findings);
        self.report.contents = Some(data.contents());
        Ok((self.report, Some(data)))
    }
}

/// A whole file that is not there.
fn lost() -> persist::aof::Damaged {
    let what = Wrong::Missing;
    persist::aof::Damaged {
        from: 0,
        to: 0,
        what,
        batches: None,
        after_ms: None,
        before_ms: None,
        commands: 0,
    }
}

fn begins_as_snapshot(path: &Path) -> Result<bool, CheckError> {
    let mut first = Vec::new();
    let file = File::open(path).map_err(file_error(path))?;
    std::io::Read::read_to_end(&mut std::io::Read::take(file, 6), &mut first).map_err(file_error(path))?;
    Ok(first.starts_with(b"REDIS") || first == b"VALKEY")
}
