//! What lies beside the log, or where a snapshot is to be put: it may be somebody else's.
//!
//! Where there is a log, a snapshot beside it is not loaded; it is a copy for other purposes that the next one replaces. But
//! a person who restores a backup may have put one there, before the start or while the server ran. So it is known which ones
//! were written or loaded here (see `persist::aof::Notes`): a queue does not start beside one that was not, and a server without
//! a profile says so, as Redis starts. No snapshot that is not known is ever replaced: it is kept under another name.

use std::path::{Path, PathBuf};
use std::{fmt, io};

use parking_lot::Mutex;
use persist::aof::{KnownSnapshot, Notes, Place, Source};
use persist::disk::Disk;
use persist::rdb::{Identity, identify};
use profiles::Profile;

use crate::saver::SaveError;
use crate::shared::Shared;

/// Last snapshots of servers that could not save that are kept, the newest and the largest among them.
const LASTS_MAX: usize = 4;

/// The snapshot that was loaded or written last.
#[derive(Default)]
pub(crate) struct Snapshots {
    known: Mutex<Option<(PathBuf, Identity)>>,
}

impl Snapshots {
    /// The snapshot at `path` is ours from now on.
    pub(crate) fn know(&self, path: &Path, identity: Identity) {
        *self.known.lock() = Some((path.to_owned(), identity));
    }

    /// Which one it is, if it is ours.
    pub(crate) fn identity_of(&self, path: &Path) -> Option<Identity> {
        self.known.lock().as_ref().filter(|(known, _)| known == path).map(|(_, which)| *which)
    }

    fn is_known(&self, path: &Path, identity: Identity) -> bool {
        self.known.lock().as_ref().is_some_and(|(known, which)| known == path && *which == identity)
    }
}

/// What lies beside a log, or is missing of it, so that a queue does not start.
#[derive(Debug)]
pub(crate) enum Objection {
    /// What had been durable was cut off; a sentence that tells what.
    CutInPlace(String),
    /// The log of an older version lies beside this one.
    OldLog { old: PathBuf, place: Place },
    /// Whatever there is in the place of a snapshot cannot be read.
    Unreadable { snapshot: PathBuf, error: io::Error },
    /// A snapshot that somebody else has put there.
    Stranger { snapshot: PathBuf, place: Place },
    /// There is no log, but one of another name, with that manifest.
    OtherLog { manifest: PathBuf, place: Place },
    /// The notes about snapshots cannot be read.
    Notes(PathBuf, io::Error),
    /// A directory cannot be listed, or the notes not be written.
    Io(io::Error),
}

impl fmt::Display for Objection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Objection::CutInPlace(what) => write!(f, "{what}."),
            Objection::OldLog { old, place } => write!(
                f,
                "{} lies beside the log of {}, which is what is loaded. If it was put there to be restored, move the \
                 directory {} away; else move the file away.",
                old.display(),
                place.manifest_name(),
                place.log_dir().display()
            ),
            Objection::Unreadable { snapshot, error } => {
                write!(f, "{} cannot be read: {error}.", snapshot.display())
            }
            Objection::Stranger { snapshot, place } => write!(
                f,
                "{} is not one that this server has written, and is not loaded: the log holds the data. If it was put \
                 there to be restored, move the directory {} away, and it is loaded; else move the file away.",
                snapshot.display(),
                place.log_dir().display()
            ),
            Objection::OtherLog { manifest, place } => write!(
                f,
                "there is no log {}/{} here, but {} lies there. Set appenddirname and appendfilename to the log that is to be \
                 loaded, or move it away",
                place.dir_name,
                place.manifest_name(),
                manifest.display()
            ),
            Objection::Notes(dir, error) => write!(f, "{}: {error}", dir.display()),
            Objection::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Objection {}

impl From<io::Error> for Objection {
    fn from(error: io::Error) -> Objection {
        Objection::Io(error)
    }
}

/// Gives a finished snapshot its name, and keeps what had it if that is none of ours.
pub(crate) fn put(shared: &Shared, dir: &Path, temp: &Path, name: &str) -> Result<(), SaveError> {
    let (disk, path) = (&*shared.durable.disk, dir.join(name));
    let new = identify(disk, temp)?.ok_or(SaveError::Vanished)?;
    if let Some(old) = identify(disk, &path)?
        && !shared.snapshots.is_known(&path, old)
    {
        let kept = dir.join(name_to_keep(shared, name));
        disk.rename(&path, &kept)?;
        shared.logger.warning(&format!(
            "{} was put there by somebody else and never loaded; it is kept as {}.",
            path.display(),
            kept.display()
        ));
    }
    let place = shared.durable.log_place().filter(|place| place.dir == dir);
    if let Some(place) = &place {
        // Before it has its name: a crash between the two must not make it a stranger's.
        note(shared, place, name, new)?;
    }
    disk.rename(temp, &path).and_then(|()| disk.sync_dir(dir))?;
    shared.snapshots.know(&path, new);
    Ok(())
}

/// Gives the last snapshot of a server whose snapshot's name another one has a name for such. What has that name is of a server that has
/// ended before, perhaps all that there is of its data: it is kept under another, and of those that become too many the largest stays.
pub(crate) fn put_last(shared: &Shared, dir: &Path, temp: &Path, name: &str) -> Result<(), SaveError> {
    let (disk, path) = (&*shared.durable.disk, dir.join(name));
    let earlier = earlier_lasts(disk.list(dir)?, name);
    if is_there(disk, &path)? {
        // Its number says that it came later, whatever has become of the clock.
        let number =
            earlier.last().map_or(0, |(newest, _)| newest.saturating_add(1)).max(shared.clock.now().unix_ms);
        let kept = dir.join(format!("{name}-{number}"));
        disk.rename(&path, &kept)?;
        shared.logger.warning(&format!(
            "{} was left by a server that has ended before; it is kept as {}.",
            path.display(),
            kept.display()
        ));
    }
    disk.rename(temp, &path).and_then(|()| disk.sync_dir(dir))?;
    remove_old_lasts(shared, dir, name);
    Ok(())
}

fn is_there(disk: &dyn Disk, path: &Path) -> io::Result<bool> {
    match disk.len(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn remove_old_lasts(shared: &Shared, dir: &Path, name: &str) {
    let disk = &*shared.durable.disk;
    let sized = |(_, file): (i64, String)| Some((disk.len(&dir.join(&file)).ok()?, file));
    let earlier = earlier_lasts(disk.list(dir).unwrap_or_default(), name);
    for old in too_many(earlier.into_iter().filter_map(sized).collect()) {
        let path = dir.join(old);
        let said = match disk.remove(&path) {
            Ok(()) => format!("Removed {}: newer ones and a larger one are there.", path.display()),
            Err(error) => format!("{} cannot be removed: {error}", path.display()),
        };
        shared.logger.warning(&said);
    }
}

/// Which of these files are earlier last snapshots, beside the one of this name, with their numbers; the oldest first.
fn earlier_lasts(names: Vec<String>, name: &str) -> Vec<(i64, String)> {
    let number = |file: &str| -> Option<i64> {
        let digits = file.strip_prefix(name)?.strip_prefix('-')?;
        if digits.bytes().all(|digit| digit.is_ascii_digit()) { digits.parse().ok() } else { None }
    };
    let mut lasts: Vec<(i64, String)> =
        names.into_iter().filter_map(|file| Some((number(&file)?, file))).collect();
    lasts.sort_unstable();
    lasts
}

/// Which of them, by their sizes in bytes and the oldest first, are one too many each. A server that is started again and again leaves many
/// small ones: the largest, perhaps what it once held, is not taken for them.
fn too_many(mut earlier: Vec<(u64, String)>) -> Vec<String> {
    let mut old = Vec::new();
    while earlier.len() > LASTS_MAX - 1 {
        let largest = earlier.iter().map(|(size, _)| *size).max();
        let at = usize::from(Some(earlier[0].0) == largest);
        old.push(earlier.remove(at).1);
    }
    old
}

/// What a snapshot that was put there by somebody else is called from now on.
fn name_to_keep(shared: &Shared, name: &str) -> String {
    format!("{name}.kept-{}", shared.clock.now().unix_ms)
}

/// What tells a temporary file from those of others, whose processes may have the same number.
pub(crate) fn chance() -> io::Result<u64> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(u64::from_le_bytes(bytes))
}

fn note(shared: &Shared, place: &Place, name: &str, identity: Identity) -> Result<(), SaveError> {
    let disk = &*shared.durable.disk;
    let mut notes = Notes::read(disk, place)?.unwrap_or_default();
    notes.remember(KnownSnapshot { name: name.to_owned(), identity, source: Source::Here });
    Ok(notes.write(disk, place)?)
}

/// A log begins whose data is in memory: has it know the snapshot that was loaded or written before, if there is one.
pub(crate) fn tell_log(shared: &Shared, place: &Place) -> Result<(), SaveError> {
    let known = shared.snapshots.known.lock().clone();
    match known
        .as_ref()
        .and_then(|(path, identity)| Some((path.parent()?, path.file_name()?.to_str()?, *identity)))
    {
        Some((dir, name, identity)) if dir == place.dir => note(shared, place, name, identity),
        _ => Ok(()),
    }
}

/// Looks at what lies beside a log that is about to be loaded, before anything is touched.
///
/// # Errors
/// A queue is not to start: somebody has put something there and may expect it to be loaded.
pub(crate) fn look_before_load(shared: &Shared) -> Result<(), Objection> {
    let place = shared.files.log_place();
    let disk = &*shared.durable.disk;
    if disk.len(&place.log_dir().join(place.manifest_name())).is_err() {
        return look_for_other_logs(shared, &place);
    }
    if shared.profile == Profile::Queue
        && let Some(why) = persist::aof::cut_in_place(disk, &place)
    {
        return Err(Objection::CutInPlace(why));
    }
    let old = place.dir.join(&place.file_name);
    let is_moved = disk.len(&place.log_dir().join(&place.file_name)).is_ok()
        || disk.list(&place.log_dir())?.iter().any(|name| name.ends_with(".incr.aof"));
    if is_moved && disk.len(&old).is_ok_and(|bytes| bytes > 0) {
        object(shared, Objection::OldLog { old, place: place.clone() })?;
    }
    look_at_snapshot(shared, &place)
}

/// A queue stops at it; a server without a profile goes on as Redis does, and tells.
fn object(shared: &Shared, what: Objection) -> Result<(), Objection> {
    if shared.profile == Profile::Queue {
        return Err(what);
    }
    shared.logger.warning(&what.to_string());
    Ok(())
}

fn look_at_snapshot(shared: &Shared, place: &Place) -> Result<(), Objection> {
    let (disk, name) = (&*shared.durable.disk, shared.engine.lock().config.dbfilename.clone());
    let path = place.dir.join(&name);
    let there = match identify(disk, &path) {
        Ok(there) => there,
        Err(error) => return object(shared, Objection::Unreadable { snapshot: path, error }),
    };
    let notes = Notes::read(disk, place).map_err(|error| Objection::Notes(place.log_dir(), error))?;
    let Some(mut notes) = notes else {
        let mut notes = Notes::default();
        if let Some(identity) = there {
            shared.logger.warning(&format!(
                "{} lies beside the log and is not loaded: the log holds the data. The first snapshot that is written will \
                 keep it under another name.",
                path.display()
            ));
            notes.remember(KnownSnapshot { name, identity, source: Source::Elsewhere });
        }
        return Ok(notes.write(disk, place)?);
    };
    let Some(identity) = there else { return Ok(()) };
    match notes.snapshot(&name, identity) {
        Some(Source::Here) => shared.snapshots.know(&path, identity),
        Some(Source::Elsewhere) => {}
        None => {
            object(shared, Objection::Stranger { snapshot: path, place: place.clone() })?;
            notes.remember(KnownSnapshot { name, identity, source: Source::Elsewhere });
            notes.write(disk, place)?;
        }
    }
    Ok(())
}

/// A queue that finds no log of its name must not begin empty beside one of another name.
fn look_for_other_logs(shared: &Shared, place: &Place) -> Result<(), Objection> {
    if shared.profile != Profile::Queue {
        return Ok(());
    }
    let disk = &*shared.durable.disk;
    for name in disk.list(&place.dir)? {
        let dir = place.dir.join(&name);
        // What is no directory cannot be listed, and holds no log.
        let manifests = disk.list(&dir).unwrap_or_default();
        if let Some(manifest) =
            manifests.iter().find(|name| name.ends_with(".aof.manifest") && !name.starts_with("temp-"))
        {
            return Err(Objection::OtherLog { manifest: dir.join(manifest), place: place.clone() });
        }
    }
    Ok(())
}

/// Removes the temporary files of a server that has died: not those of a process that lives (a redis-server, or one with files of other
/// names), nor what somebody is writing, whose process may not be seen from here.
pub(crate) fn remove_debris(shared: &Shared) {
    let (disk, dir) = (&*shared.durable.disk, shared.files.place());
    let mut removed = Vec::new();
    for name in disk.list(&dir).unwrap_or_default() {
        let path = dir.join(&name);
        let is_left = maker(&name).is_some_and(has_ended) && !persist::disk::is_being_written(&path);
        if is_left && disk.remove(&path).is_ok() {
            removed.push(name);
        }
    }
    if !removed.is_empty() {
        shared.logger.notice(&format!("Removed what a server that died has left: {}", removed.join(", ")));
    }
}

/// The process that made a temporary file of this name: a number, and of a file of ours what chance has added.
fn maker(name: &str) -> Option<u32> {
    let number = name.strip_prefix("temp-rewriteaof-bg-").and_then(|rest| rest.strip_suffix(".aof"));
    let number = number.or_else(|| name.strip_prefix("temp-rewriteaof-")?.strip_suffix(".aof"));
    let number = number.or_else(|| name.strip_prefix("temp-")?.strip_suffix(".rdb"));
    let (number, chance) = number.map(|number| number.split_once('-').unwrap_or((number, "0")))?;
    let is_made =
        number.bytes().all(|digit| digit.is_ascii_digit()) && u64::from_str_radix(chance, 16).is_ok();
    if is_made { number.parse().ok() } else { None }
}

/// In a container each process has the same number, so a file of ours by the number is of one before us or of one elsewhere.
fn has_ended(pid: u32) -> bool {
    pid == std::process::id() || !Path::new(&format!("/proc/{pid}")).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn earlier_last_snapshots_are_known_by_their_names_alone() {
        let name = "dump.rdb.kept-last";
        let there = ["100", "9", "1000", "", "1x"].map(|number| format!("{name}-{number}"));
        let there = there.into_iter().chain(["dump.rdb", name, "dump.rdb.kept-1"].map(str::to_owned));
        let numbers: Vec<i64> =
            earlier_lasts(there.collect(), name).into_iter().map(|(number, _)| number).collect();
        assert_eq!(numbers, [9, 100, 1000]);
    }

    #[test]
    fn of_earlier_last_snapshots_the_largest_stays_beside_the_newest() {
        let removed = |sizes: &[u64]| -> Vec<usize> {
            let named = sizes.iter().enumerate().map(|(at, size)| (*size, at.to_string())).collect();
            too_many(named).iter().map(|at| at.parse().unwrap()).collect()
        };
        assert!(removed(&[1, 2, 3]).is_empty());
        assert_eq!(removed(&[1, 2, 3, 4]), [0]);
        assert_eq!(removed(&[700, 1, 1, 1]), [1], "the one that holds more than a loop of restarts has left");
        assert_eq!(removed(&[700, 1, 900, 1, 1]), [0, 1]);
    }

    #[test]
    fn only_names_of_temporary_files_tell_a_maker() {
        assert_eq!(maker("temp-123.rdb"), Some(123));
        assert_eq!(maker("temp-rewriteaof-bg-7.aof"), Some(7));
        assert_eq!(maker("temp-rewriteaof-7.aof"), Some(7));
        assert_eq!(maker("temp-123-00ff00ff00ff00ff.rdb"), Some(123));
        assert_eq!(maker("temp-rewriteaof-bg-7-00ff00ff00ff00ff.aof"), Some(7));
        for name in [
            "temp-.rdb",
            "temp-1-x.rdb",
            "temp-1-.rdb",
            "temp--1.rdb",
            "temp-12a.rdb",
            "temp-12.rdb.gz",
            "dump.rdb",
            "temp-appendonly.aof",
            "12.rdb",
        ] {
            assert_eq!(maker(name), None, "{name}");
        }
        assert!(has_ended(std::process::id()) && !has_ended(1));
    }
}
