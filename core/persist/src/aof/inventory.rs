//! What lies in the log's directory: the manifest, the files that it names, and those that it does not.
//!
//! A file of the log that no manifest names is what a crash in a change of files has left, and then removed when the
//! log is opened; or it can hold nothing that the named files lack, and is passed over; or it may be a part of the log whose line
//! was lost, and then the start is refused. A crash of ours explains an empty file, and what a manifest names that was about to
//! replace this very one. A Redis that was killed leaves a base that it had not named yet, or files that it had replaced: a base
//! repeats what the files of commands hold, and those older than all that a manifest with a base names are in that base. Commands that
//! are newer than what is named are the trace of a manifest that was lost, and nobody else has them. A file with another
//! appendfilename is somebody else's: two servers may share a directory.

use std::io;
use std::path::PathBuf;

use super::manifest::MANIFEST_BYTES_MAX;
use super::recover::{RefuseError, io_refuse, refuse};
use super::{FileKind, Manifest, ManifestFile, Place};
use crate::disk::{self, Disk, temp_name};

/// Files of the log that the manifest does not name, and that are no reason to refuse it.
#[derive(Debug, Default)]
pub(super) struct Unnamed {
    /// A crash of ours has left them: they go when the log is opened.
    pub(super) leftovers: Vec<PathBuf>,
    /// They hold nothing that the named ones lack. They stay, and their names are not used again.
    pub(super) passed_over: Vec<PathBuf>,
}

/// The manifest, or none when there is no log, and what lies beside its files. A single file of Redis before 7 is moved into the
/// directory.
pub(super) fn read(disk: &dyn Disk, place: &Place) -> Result<(Option<Manifest>, Unnamed), RefuseError> {
    let dir = place.log_dir();
    let path = dir.join(place.manifest_name());
    let old = place.dir.join(&place.file_name);
    let has_old = matches!(disk.len(&old), Ok(bytes) if bytes > 0);
    let text = match disk::read_whole(disk, &path, MANIFEST_BYTES_MAX) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let left = unnamed(disk, place, None)?;
            let manifest = if has_old { Some(upgrade(disk, place).map_err(io_refuse(&old))?) } else { None };
            return Ok((manifest, left));
        }
        Err(error) => return Err(io_refuse(&path)(error)),
    };
    let manifest = Manifest::parse(&text).or_else(|error| refuse(&path, None, error.to_string()))?;
    let left = unnamed(disk, place, Some(&manifest))?;
    let half_upgraded = manifest.base.as_ref().is_some_and(|base| base.name == place.file_name)
        && manifest.incrementals.is_empty()
        && disk.len(&dir.join(&place.file_name)).is_err();
    if half_upgraded && has_old {
        move_old(disk, place).map_err(io_refuse(&old))?;
    }
    Ok((Some(manifest), left))
}

/// The manifest as a start reads it, and nothing is moved or changed.
pub(super) fn look(disk: &dyn Disk, place: &Place) -> Result<Option<Manifest>, RefuseError> {
    let path = place.log_dir().join(place.manifest_name());
    let manifest = match disk::read_whole(disk, &path, MANIFEST_BYTES_MAX) {
        Ok(text) => Some(Manifest::parse(&text).or_else(|error| refuse(&path, None, error.to_string()))?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(io_refuse(&path)(error)),
    };
    unnamed(disk, place, manifest.as_ref()).map(|_| manifest)
}

/// The manifest of a log that is to be replaced as a whole; nothing of it is read, moved or changed. An empty one when
/// there is no log.
pub(super) fn manifest_to_replace(disk: &dyn Disk, place: &Place) -> io::Result<Manifest> {
    let path = place.log_dir().join(place.manifest_name());
    let manifest = match disk::read_whole(disk, &path, MANIFEST_BYTES_MAX) {
        Ok(text) => Some(
            Manifest::parse(&text)
                .map_err(|error| io::Error::other(format!("{}: {error}", path.display())))?,
        ),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    unnamed(disk, place, manifest.as_ref()).map_err(io::Error::other)?;
    Ok(manifest.unwrap_or_default())
}

/// The files of the log that are not named.
///
/// # Errors
/// One of them may hold what the named ones do not.
pub(super) fn unnamed(
    disk: &dyn Disk,
    place: &Place,
    manifest: Option<&Manifest>,
) -> Result<Unnamed, RefuseError> {
    let dir = place.log_dir();
    let prepared = prepared(disk, place);
    let temporary =
        [temp_name(&place.manifest_name()), temp_name(&place.notes_name()), place.starting_name()];
    let standing = manifest.map(|m| m.base.iter().chain(&m.incrementals)).into_iter().flatten();
    let explains = standing.clone().all(|file| prepared.names(&file.name));
    let is_unborn = |name: &str| explains && prepared.names(name);
    let mut found = Unnamed::default();
    for name in disk.list(&dir).map_err(io_refuse(&dir))? {
        let path = dir.join(&name);
        let is_unnamed = place.is_member(&name) && !manifest.is_some_and(|manifest| manifest.names(&name));
        let is_explained = is_unborn(&name) || matches!(disk.len(&path), Ok(0));
        if temporary.contains(&name) || is_unnamed && is_explained {
            found.leftovers.push(path);
        } else if is_unnamed && manifest.is_some_and(|manifest| is_held_by(manifest, place, &name)) {
            found.passed_over.push(path);
        } else if is_unnamed && manifest.is_none() {
            let what = format!("the manifest is missing but {name} is there; restore it from a backup");
            return refuse(&dir.join(place.manifest_name()), None, what);
        } else if is_unnamed {
            let what = format!(
                "it is a file of the log, but {} does not name it. If that was cut or is an old one, restore it from a \
                 backup; if the file is no part of this log, move it to another directory",
                place.manifest_name()
            );
            return refuse(&path, None, what);
        }
    }
    Ok(found)
}

/// Whether the files that a manifest names hold all that the unnamed member `name` of the log can hold.
fn is_held_by(manifest: &Manifest, place: &Place, name: &str) -> bool {
    let is_replaced = |seq| manifest.incrementals.first().is_some_and(|first| seq < first.seq);
    manifest.base.is_some() && place.incremental_seq(name).is_none_or(is_replaced)
}

/// The manifest that a crash kept from its place; an empty one when there is none.
pub(super) fn prepared(disk: &dyn Disk, place: &Place) -> Manifest {
    let path = place.log_dir().join(temp_name(&place.manifest_name()));
    let text = disk::read_whole(disk, &path, MANIFEST_BYTES_MAX).ok();
    text.and_then(|text| Manifest::parse(&text).ok()).unwrap_or_default()
}

/// First the manifest, then the move: a crash between them is recognised and the move done again.
fn upgrade(disk: &dyn Disk, place: &Place) -> io::Result<Manifest> {
    let dir = place.log_dir();
    disk.create_dir(&dir)?;
    disk.sync_dir(&place.dir)?;
    let base = ManifestFile::new(place.file_name.clone(), 1, FileKind::Base);
    let manifest = Manifest { base: Some(base), ..Manifest::default() };
    disk::prepare(disk, &dir, &place.manifest_name(), manifest.to_text().as_bytes())?;
    disk::put_in_place(disk, &dir, &place.manifest_name())?;
    move_old(disk, place)?;
    Ok(manifest)
}

fn move_old(disk: &dyn Disk, place: &Place) -> io::Result<()> {
    let dir = place.log_dir();
    disk.rename(&place.dir.join(&place.file_name), &dir.join(&place.file_name))?;
    disk.sync_dir(&dir)?;
    disk.sync_dir(&place.dir)
}
