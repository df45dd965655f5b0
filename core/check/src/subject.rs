//! What lies at a path: one file, a log, or the directory of a server.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use persist::aof::Place;

use crate::dataset::DataSet;
use crate::finding::{CheckError, Report, SubjectKind, file_error, refuse_no_file};
use crate::{Depth, Gauge, Progress, log, snapshot, users};

/// One thing that is looked at.
#[derive(Clone, Debug)]
pub(crate) enum Subject {
    Snapshot(PathBuf),
    Log(Place),
    Commands(PathBuf),
    Users(PathBuf),
}

/// Looks at all that is at a path.
///
/// # Errors
/// Something cannot be read, or there is nothing.
pub fn check(path: &Path, depth: Depth, progress: Progress<'_>) -> Result<Vec<Report>, CheckError> {
    let found = subjects(path)?;
    let total = found.iter().map(Subject::bytes).sum::<u64>() * if depth.checksums_only { 1 } else { 2 };
    let mut gauge = Gauge::new(progress, total.max(1));
    found.iter().map(|subject| subject.check(depth, &mut gauge).map(|(report, _)| report)).collect()
}

impl Subject {
    pub(crate) fn bytes(&self) -> u64 {
        let size = |path: &Path| fs::metadata(path).map_or(0, |about| about.len());
        match self {
            Subject::Snapshot(path) | Subject::Commands(path) | Subject::Users(path) => size(path),
            Subject::Log(place) => {
                let files = fs::read_dir(place.log_dir()).into_iter().flatten().flatten();
                files.map(|file| size(&file.path())).sum()
            }
        }
    }

    /// What is found, and what was loaded.
    pub(crate) fn check(
        &self,
        depth: Depth,
        gauge: &mut Gauge<'_>,
    ) -> Result<(Report, Option<DataSet>), CheckError> {
        match self {
            Subject::Users(path) => users::check(path).map(|report| (report, None)),
            Subject::Log(place) => log::check(place, depth, gauge),
            Subject::Commands(path) => log::check_file(path, depth, gauge),
            Subject::Snapshot(path) => check_snapshot(path, depth, gauge),
        }
    }
}

fn check_snapshot(
    path: &Path,
    depth: Depth,
    gauge: &mut Gauge<'_>,
) -> Result<(Report, Option<DataSet>), CheckError> {
    let mut report = Report::new(SubjectKind::Snapshot, path);
    report.bytes = fs::metadata(path).map_err(file_error(path))?.len();
    let looked = snapshot::look(path, false, gauge, &mut report.findings)?;
    gauge.pass(report.bytes);
    if depth.checksums_only {
        return Ok((report, None));
    }
    let mut data = DataSet::new()?;
    snapshot::load(path, &looked, &mut data, gauge, &mut report.findings)?;
    gauge.pass(report.bytes);
    report.contents = Some(data.contents());
    Ok((report, Some(data)))
}

/// What is at a path.
pub(crate) fn subjects(path: &Path) -> Result<Vec<Subject>, CheckError> {
    let about = fs::metadata(path).map_err(file_error(path))?;
    let found = if about.is_dir() { in_directory(path)? } else { of_file(path)?.into_iter().collect() };
    if found.is_empty() { Err(CheckError::Nothing(path.to_owned())) } else { Ok(found) }
}

/// A file, by its name and by what it begins with.
fn of_file(path: &Path) -> Result<Option<Subject>, CheckError> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if let Some(file_name) = name.strip_suffix(".manifest") {
        return Ok(log_of(path, file_name).map(Subject::Log));
    }
    refuse_no_file(path)?;
    let mut first = [0; 6];
    let mut file = fs::File::open(path).map_err(file_error(path))?;
    let count = file.read(&mut first).map_err(file_error(path))?;
    Ok(match &first[..count] {
        _ if name.ends_with(".acl") => Some(Subject::Users(path.to_owned())),
        _ if name.ends_with(".rdb") => Some(Subject::Snapshot(path.to_owned())),
        _ if name.ends_with(".aof") => Some(Subject::Commands(path.to_owned())),
        [b'R', b'E', b'D', b'I', b'S', ..] | b"VALKEY" => Some(Subject::Snapshot(path.to_owned())),
        [b'*', ..] => Some(Subject::Commands(path.to_owned())),
        // Anything else that begins so is a file of settings, or a script.
        [b'#', b'T', b'S' | b'D', ..] => Some(Subject::Commands(path.to_owned())),
        [b'u', b's', b'e', b'r', b' ', ..] => Some(Subject::Users(path.to_owned())),
        _ => None,
    })
}

/// The log whose manifest this is.
fn log_of(manifest: &Path, file_name: &str) -> Option<Place> {
    let dir = manifest.parent()?;
    // A name alone lies in the present directory.
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let dir_name = dir.file_name()?.to_string_lossy().into_owned();
    Some(Place { dir: dir.parent()?.to_owned(), dir_name, file_name: file_name.to_owned() })
}

fn in_directory(dir: &Path) -> Result<Vec<Subject>, CheckError> {
    let mut found: Vec<Subject> = logs_in(dir)?.into_iter().map(Subject::Log).collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).map_err(file_error(dir))? {
        paths.push(entry.map_err(file_error(dir))?.path());
    }
    paths.sort();
    for path in paths {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if path.is_dir() {
            found.extend(logs_in(&path)?.into_iter().map(Subject::Log));
        } else if !name.starts_with("temp-") && [".rdb", ".aof", ".acl"].iter().any(|end| name.ends_with(end))
        {
            found.extend(of_file(&path)?);
        }
    }
    Ok(found)
}

/// The logs whose files lie in a directory: by their manifests, and where that is lost by the names of their files.
fn logs_in(dir: &Path) -> Result<Vec<Place>, CheckError> {
    let mut names: Vec<String> = Vec::new();
    for entry in fs::read_dir(dir).map_err(file_error(dir))? {
        let name = entry.map_err(file_error(dir))?.file_name().to_string_lossy().into_owned();
        let of_log = name.strip_suffix(".manifest").map(str::to_owned);
        names.extend(of_log.or_else(|| log::member(&name).map(|(log, _, _)| log.to_owned())));
    }
    names.retain(|name| !name.starts_with("temp-"));
    names.sort();
    names.dedup();
    Ok(names.iter().filter_map(|name| log_of(&dir.join(name), name)).collect())
}
