//! Writes what is good to another directory, and reads it again.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use persist::aof::{Base, HistoryId, Log, Place};
use persist::disk::{Disk, Real};
use persist::rdb::SnapshotFile;

use crate::dataset::{Contents, DataSet};
use crate::finding::{CheckError, Report, SubjectKind, file_error};
use crate::subject::{Subject, subjects};
use crate::{Depth, Gauge, Progress};

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repaired {
    /// The file or directory.
    pub path: PathBuf,
    /// What it was made of.
    pub from: PathBuf,
    /// What it holds, as it was read again; nothing of users.
    pub contents: Option<Contents>,
}

/// Looks at all that is at a path, and writes what is good of it to a directory that is empty or not there yet. A log gets one base and an
/// identity of its own. Where there is a log, snapshots beside it are left: a server does not load them.
///
/// # Errors
/// Something cannot be read or written, or the directory is not empty.
pub fn repair(
    path: &Path,
    to: &Path,
    progress: Progress<'_>,
) -> Result<(Vec<Report>, Vec<Repaired>), CheckError> {
    let found = subjects(path)?;
    make_empty(to)?;
    let total = found.iter().map(Subject::bytes).sum::<u64>() * 3;
    let mut gauge = Gauge::new(progress, total.max(1));
    let has_log = found.iter().any(|subject| matches!(subject, Subject::Log(_)));
    let (mut reports, mut written) = (Vec::new(), Vec::new());
    for subject in &found {
        let (report, data) = subject.check(Depth::default(), &mut gauge)?;
        match data {
            Some(mut data) if !has_log || matches!(subject, Subject::Log(_)) => {
                written.push(write(subject, &report, &mut data, to)?);
            }
            None if report.kind == SubjectKind::Users && report.worst().is_none() => {
                written.push(copy_users(&report.path, to)?);
            }
            _ => {}
        }
        gauge.pass(report.bytes);
        reports.push(report);
    }
    if written.is_empty() {
        return Err(CheckError::Unrepairable("nothing of it can be written elsewhere".to_owned()));
    }
    Ok((reports, written))
}

fn make_empty(dir: &Path) -> Result<(), CheckError> {
    fs::create_dir_all(dir).map_err(file_error(dir))?;
    let mut files = fs::read_dir(dir).map_err(file_error(dir))?;
    if files.next().is_some() { Err(CheckError::NotEmpty(dir.to_owned())) } else { Ok(()) }
}

fn copy_users(from: &Path, to: &Path) -> Result<Repaired, CheckError> {
    let path = to.join(from.file_name().unwrap_or_default());
    // With the rights that it has: it holds hashes of passwords.
    fs::copy(from, &path).map_err(file_error(&path))?;
    Ok(Repaired { path, from: from.to_owned(), contents: None })
}

fn write(subject: &Subject, report: &Report, data: &mut DataSet, to: &Path) -> Result<Repaired, CheckError> {
    let failed = |error| CheckError::File(to.to_owned(), error);
    let wanted = data.contents();
    let is_log = !matches!(subject, Subject::Snapshot(_));
    let mut file = SnapshotFile::create(&Real, to, std::process::id(), random()? as u64).map_err(failed)?;
    data.write(is_log, &mut |bytes| file.write(bytes)).map_err(failed)?;
    let name =
        |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let path = match subject {
        Subject::Log(place) => put_log(file, report, &Place { dir: to.to_owned(), ..place.clone() })?,
        Subject::Commands(path) => put_log(file, report, &Place { file_name: name(path), ..Place::new(to) })?,
        Subject::Snapshot(path) | Subject::Users(path) => {
            let name = name(path);
            file.finish(&name).map_err(failed)?;
            to.join(name)
        }
    };
    let contents = read_again(&path, data.moment_ms())?;
    if contents != wanted {
        return Err(CheckError::Differs(path));
    }
    Ok(Repaired { path, from: report.path.clone(), contents: Some(contents) })
}

fn put_log(file: SnapshotFile<'_>, report: &Report, place: &Place) -> Result<PathBuf, CheckError> {
    let (dir, disk): (&Path, Arc<dyn Disk>) = (&place.dir, Arc::new(Real));
    let failed = |error| CheckError::File(dir.to_owned(), error);
    let temp = file.finish_in_place().map_err(failed)?;
    let covers = report.last_batch.map_or(0, |(batch, _)| batch);
    let history = HistoryId(random()?);
    Log::create_behind(disk, place.clone(), &temp, Base::Snapshot, history, covers).map_err(failed)?;
    Ok(place.log_dir())
}

fn random() -> Result<u128, CheckError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| CheckError::Engine(error.to_string()))?;
    Ok(u128::from_le_bytes(bytes))
}

/// What a start would find there, for whoever asks at that moment.
fn read_again(path: &Path, unix_ms: i64) -> Result<Contents, CheckError> {
    let differs = || CheckError::Differs(path.to_owned());
    let [subject] = &subjects(path)?[..] else { return Err(differs()) };
    let (report, data) = subject.check(Depth::default(), &mut Gauge::new(&mut |_, _| {}, 1))?;
    let is_sound = report.worst().is_none();
    data.filter(|_| is_sound).map(|mut data| data.contents_at(unix_ms)).ok_or_else(differs)
}
