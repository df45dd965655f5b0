//! A change of the log's files, or a snapshot, in the steps between which the server goes on.
//!
//! ```text
//! rewrite:      Planned > Ready > Cut > Walking ... > Walked > Publishing > Published
//! replacement, start of a log:        Walking ... > Walked > Publishing > Published
//! rewrite without a log, save:        Walking ... > Walked
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;

use journal::Journal;
use keyspace::Piece;
use persist::aof::{
    AppendError, Base, Log, Prepared, Publication, Published, RewritePlan, replace_files,
    snapshot_to_commands,
};
use persist::disk::{Disk, write_all};
use persist::rdb::{Reader, SnapshotFile, Writer};

use crate::server::{Server, history_id, place};

/// What the snapshot is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Rewrite,
    Replacement,
    Start,
    /// A rewrite while there is no log: a base in place of all its files.
    Alone,
    Save,
}

/// See the module.
pub(crate) enum Change {
    Planned(RewritePlan),
    Ready(Prepared),
    Cut(Prepared, View),
    Walking(View),
    Walked(View, Vec<u8>),
    Publishing(View, PathBuf, Publication),
    Published(View, Published),
}

/// A snapshot under way.
pub(crate) struct View {
    purpose: Purpose,
    form: Base,
    writer: Writer,
    /// The position of the stream that it holds.
    covered: u64,
    /// Records that it holds.
    units: usize,
    libraries: Vec<Vec<u8>>,
}

impl Change {
    pub(crate) fn rewrite(server: &mut Server<'_>) -> Option<Change> {
        let Some(log) = &server.log else {
            return View::begin(server, Purpose::Alone, |journal| Some(journal.end())).map(Change::Walking);
        };
        log.plan_rewrite().ok().map(Change::Planned)
    }

    /// A log where there is none.
    pub(crate) fn start(server: &mut Server<'_>) -> Option<Change> {
        let id = history_id(&mut server.random);
        server.log = Some(Log::start(Arc::clone(&server.disk), place(), id).ok()?);
        let view = View::begin(server, Purpose::Start, |journal| {
            journal.open(false);
            Some(journal.end())
        })?;
        server.engine.log_switched();
        Some(Change::Walking(view))
    }

    pub(crate) fn replacement(server: &mut Server<'_>) -> Option<Change> {
        let view = View::begin(server, Purpose::Replacement, |journal| journal.begin_replacement())?;
        server.engine.log_switched();
        Some(Change::Walking(view))
    }

    pub(crate) fn save(server: &mut Server<'_>) -> Option<Change> {
        View::begin(server, Purpose::Save, |journal| Some(journal.end())).map(Change::Walking)
    }

    /// How far it is, for people.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Change::Planned(_) => "planned",
            Change::Ready(_) => "ready",
            Change::Cut(..) => "cut",
            Change::Walking(_) => "walking",
            Change::Walked(..) => "walked",
            Change::Publishing(..) => "publishing",
            Change::Published(..) => "published",
        }
    }

    /// One step further; none when it has ended, well or not.
    pub(crate) fn step(self, server: &mut Server<'_>) -> Option<Change> {
        match self {
            Change::Planned(plan) => Some(Change::Ready(plan.run())),
            Change::Ready(prepared) => {
                let view = View::begin(server, Purpose::Rewrite, Journal::cut)?;
                server.engine.log_switched();
                Some(Change::Cut(prepared, view))
            }
            Change::Cut(prepared, view) => move_log(server, prepared, view),
            Change::Walking(view) => Some(walk(server, view)),
            Change::Walked(view, bytes) => write(server, view, &bytes),
            Change::Publishing(view, temp, publication) => match publication.run(&temp) {
                Ok(published) => Some(Change::Published(view, published)),
                Err(_) => view.fail(server),
            },
            Change::Published(view, published) => {
                view.install(server, published);
                None
            }
        }
    }
}

/// What is in front of the cut goes to the old file, then the log moves.
fn move_log(server: &mut Server<'_>, prepared: Prepared, view: View) -> Option<Change> {
    server.write_waiting();
    let is_at_cut = server.journal.borrow().is_at_cut();
    let keeps_history = server.keeps_history();
    let moved = match &mut server.log {
        Some(log) if is_at_cut => {
            log.set_keeps_history(keeps_history);
            log.begin_rewrite(prepared).map_err(Some)
        }
        _ => Err(None),
    };
    if let Err(Some(AppendError::Failed(why))) = &moved {
        server.journal.borrow_mut().fail(why.clone());
    }
    if moved.is_ok() && server.log.as_ref().is_some_and(|log| log.position_synced() == log.position()) {
        server.journal.borrow_mut().found_synced(server.clock.micros());
    }
    server.journal.borrow_mut().moved();
    server.write_waiting();
    match moved {
        Ok(()) => Some(Change::Walking(view)),
        Err(_) => {
            give_up(server);
            None
        }
    }
}

/// A slice of the snapshot.
fn walk(server: &mut Server<'_>, mut view: View) -> Change {
    let entries = 1 + server.random.below(8) as usize;
    let space = server.engine.keyspace_mut();
    let is_through = space.step_snapshot(entries);
    for piece in space.take_snapshot_pieces() {
        match piece {
            Piece::Bytes(bytes) => view.writer.raw(&bytes),
            Piece::Large { db, entry, used } => {
                keyspace::write_large(&mut view.writer, db, &entry, used, &mut |_| {});
            }
        }
    }
    if !is_through {
        return Change::Walking(view);
    }
    space.end_snapshot();
    view.libraries.iter().for_each(|code| view.writer.function(code));
    view.writer.end();
    let bytes = view.writer.take();
    Change::Walked(view, bytes)
}

/// Writes the file, and puts a snapshot in place.
fn write(server: &mut Server<'_>, view: View, bytes: &[u8]) -> Option<Change> {
    let disk = Arc::clone(&server.disk);
    if view.purpose == Purpose::Save {
        let saved = write_snapshot(&*disk, bytes).and_then(|file| file.finish("dump.rdb"));
        // After an error it is not known which one is there.
        server.saved = saved.is_ok().then_some(view.units);
        return None;
    }
    let Ok(temp) = write_base(&*disk, view.form, bytes) else { return view.fail(server) };
    let keeps_history = server.keeps_history();
    if view.purpose == Purpose::Alone {
        let id = history_id(&mut server.random);
        if replace_files(&disk, &place(), &temp, view.form, keeps_history, id).is_ok() {
            server.history.based(view.units);
        }
        return None;
    }
    let publication = server.log.as_mut().map(|log| {
        log.set_keeps_history(keeps_history);
        match view.purpose {
            Purpose::Replacement => log.plan_replacement(view.form),
            _ => log.plan_finish(view.form),
        }
    });
    match publication {
        Some(Ok(publication)) => Some(Change::Publishing(view, temp, publication)),
        Some(Err(_)) | None => view.fail(server),
    }
}

fn write_snapshot<'d>(disk: &'d dyn Disk, bytes: &[u8]) -> std::io::Result<SnapshotFile<'d>> {
    let mut file = SnapshotFile::create(disk, &place().dir, 1, 0)?;
    bytes.chunks(1000).try_for_each(|part| file.write(part))?;
    Ok(file)
}

fn write_base(disk: &dyn Disk, form: Base, bytes: &[u8]) -> std::io::Result<PathBuf> {
    let snapshot = write_snapshot(disk, bytes)?.finish_in_place()?;
    if form == Base::Snapshot {
        return Ok(snapshot);
    }
    let path: &Path = &place().dir.join("temp-rewriteaof-bg-1.aof");
    let mut file = disk.create(path)?;
    let reader = Reader::new(bytes, Some(bytes.len() as u64), true).map_err(std::io::Error::other)?;
    snapshot_to_commands(reader, None, &mut |part| write_all(&mut *file, part).map_err(|(_, error)| error))
        .map_err(std::io::Error::other)?;
    file.sync()?;
    disk.remove(&snapshot)?;
    Ok(path.to_owned())
}

fn give_up(server: &mut Server<'_>) {
    let space = server.engine.keyspace_mut();
    space.cancel_snapshot();
    while !space.step_snapshot(1 << 10) {}
    space.end_snapshot();
}

impl View {
    /// Begins a snapshot; `moment` fixes the position that it holds, if it is to be.
    fn begin(
        server: &mut Server<'_>,
        purpose: Purpose,
        moment: impl FnOnce(&mut Journal) -> Option<u64>,
    ) -> Option<View> {
        let covered = moment(&mut server.journal.borrow_mut())?;
        let form = if server.random.below(3) == 0 { Base::Commands } else { Base::Snapshot };
        let space = server.engine.keyspace_mut();
        assert!(space.begin_snapshot(false), "there is one snapshot at a time");
        let mut writer = Writer::new(false, true);
        writer.header(space.snapshot_version());
        let libraries = server.engine.library_codes();
        Some(View { purpose, form, writer, covered, units: server.history.len(), libraries })
    }

    /// The base cannot be published.
    fn fail(self, server: &mut Server<'_>) -> Option<Change> {
        match self.purpose {
            Purpose::Rewrite => server.log.iter_mut().for_each(Log::abort_rewrite),
            Purpose::Replacement => server.journal.borrow_mut().replacement_failed(),
            Purpose::Start => server.switch_off(),
            Purpose::Alone | Purpose::Save => {}
        }
        None
    }

    fn install(self, server: &mut Server<'_>, published: Published) {
        let Some(log) = &mut server.log else { return };
        drop(log.install(published));
        server.is_held_by_base(self.covered);
        {
            let (mut journal, now_us) = (server.journal.borrow_mut(), server.clock.micros());
            match self.purpose {
                Purpose::Replacement => journal.replaced(now_us),
                _ => journal.based(self.covered, now_us),
            }
        }
        server.is_based(self.units);
        server.write_waiting();
    }
}
