//! A disk that fails at any call and forgets what was not synced, as one seed says.
//!
//! It keeps contents and names twice, as the process sees them and as the platter has them. What lies between reaches the platter by
//! `sync` and `sync_dir`, or, when power is lost, as the seed says: of what was appended to a file a part from the front, with sectors in
//! it that are zeros because they were never written; of the changes of names those before some moment, or any.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use base::Random;
use persist::disk::{Disk, File, Stat, Syncer};

/// What the disk writes as one, bytes.
const SECTOR_BYTES: usize = 512;

/// What goes wrong in a run, each with one chance in so many calls; 0 for never.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// A write writes a part only, without an error.
    pub(crate) short_write: u64,
    /// A write fails (EIO or ENOSPC), some of it done.
    pub(crate) write: u64,
    /// A sync fails, and what it should have written is forgotten.
    pub(crate) sync: u64,
    /// A change of names fails, done or not.
    pub(crate) name: u64,
    /// Others take room, and give it back.
    pub(crate) room: u64,
}

/// A fault of the program under test, to see that the simulation finds it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Canary {
    #[default]
    None,
    /// Syncs of the log's files do nothing.
    NoSync,
    /// A manifest is renamed and the directory never synced.
    NoDirectorySync,
    /// Replies leave when their commit is executed.
    EarlyReply,
    /// The log does not tell that a field's time is over.
    LostField,
}

impl Canary {
    /// Those that must be found.
    pub(crate) const ALL: [Canary; 4] =
        [Canary::NoSync, Canary::NoDirectorySync, Canary::EarlyReply, Canary::LostField];
}

/// The disk. Clones share it.
#[derive(Clone)]
pub(crate) struct SimDisk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    random: Option<Random>,
    faults: Faults,
    canary: Canary,
    calls: u64,
    dies_at: Option<u64>,
    /// This call fails, whatever it is.
    fails_at: Option<u64>,
    /// What others have left of the room there is, bytes; none for more than anybody needs.
    room: Option<u64>,
    seen: BTreeMap<PathBuf, u64>,
    platter: BTreeMap<PathBuf, u64>,
    /// Changes of names that the platter does not have, in order.
    changes: Vec<Change>,
    files: BTreeMap<u64, Contents>,
    inodes: u64,
}

/// A change of names: each path with the file that it stands for from then on.
#[derive(Clone)]
struct Change(Vec<(PathBuf, Option<u64>)>);

#[derive(Clone, Default)]
struct Contents {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    /// So many more, of which nobody wants to know what they are.
    filled: u64,
    /// A sync has failed: the kernel has forgotten what it could not write, and later syncs prove nothing.
    has_forgotten: bool,
}

impl SimDisk {
    pub(crate) fn new(seed: u64) -> SimDisk {
        SimDisk(Arc::new(Mutex::new(State { random: Some(Random::new(seed)), ..State::default() })))
    }

    /// Another disk, on which there is that file alone.
    pub(crate) fn with_only(&self, path: &Path, seed: u64) -> SimDisk {
        let kept = self.kill(seed);
        let mut state = kept.state();
        state.seen.retain(|name, _| name == path);
        state.platter = state.seen.clone();
        state.changes.clear();
        drop(state);
        kept
    }

    /// What goes wrong from now on.
    pub(crate) fn set_faults(&self, faults: Faults, canary: Canary) {
        let mut state = self.state();
        (state.faults, state.canary) = (faults, canary);
    }

    /// The process dies at the nth call from now on that changes something: that call and all after it fail.
    pub(crate) fn die_at(&self, calls: u64) {
        let mut state = self.state();
        state.dies_at = Some(state.calls + calls);
    }

    /// The nth call from now on that changes something fails.
    pub(crate) fn fail_at(&self, calls: u64) {
        let mut state = self.state();
        state.fails_at = Some(state.calls + calls);
    }

    /// Others take room, or give it back.
    pub(crate) fn set_room(&self, room: Option<u64>) {
        self.state().room = room;
    }

    /// Whether others do.
    pub(crate) fn is_shared(&self) -> bool {
        let mut state = self.state();
        let of = state.faults.room;
        of > 0 && state.random().below(of) == 0
    }

    /// Calls so far that changed something.
    pub(crate) fn calls(&self) -> u64 {
        self.state().calls
    }

    /// Whether the moment to die has come.
    pub(crate) fn is_dead(&self) -> bool {
        let state = self.state();
        state.dies_at.is_some_and(|at| state.calls >= at)
    }

    /// The process was killed: the kernel has all that was written.
    pub(crate) fn kill(&self, seed: u64) -> SimDisk {
        let state = self.state();
        let files = state.files.iter().map(|(inode, contents)| {
            // What was forgotten is dirty again: no other process can be told of it.
            (*inode, Contents { has_forgotten: false, ..contents.clone() })
        });
        SimDisk(Arc::new(Mutex::new(State {
            random: Some(Random::new(seed)),
            seen: state.seen.clone(),
            platter: state.platter.clone(),
            changes: state.changes.clone(),
            files: files.collect(),
            inodes: state.inodes,
            ..State::default()
        })))
    }

    /// Power was lost: what is left of all that was not synced, by the seed.
    pub(crate) fn lose_power(&self, seed: u64) -> SimDisk {
        let state = self.state();
        let mut random = Random::new(seed);
        let mut names = state.platter.clone();
        let kept = match random.below(4) {
            0 => 0,
            1 => state.changes.len(),
            _ => random.below(state.changes.len() as u64 + 1) as usize,
        };
        // Some file systems keep the order in which names were changed, others any of the changes.
        let is_ordered = random.below(2) == 0;
        let survives =
            with_causes(&state.changes, |at, _| if is_ordered { at < kept } else { random.below(2) == 0 });
        let survivors_of_names = state.changes.iter().zip(survives).filter(|(_, survives)| *survives);
        survivors_of_names.for_each(|(change, _)| change.apply(&mut names));
        let files = state.files.iter().map(|(inode, contents)| {
            let bytes = survivors(contents, &mut random);
            (*inode, Contents { durable: bytes.clone(), bytes, ..Contents::default() })
        });
        SimDisk(Arc::new(Mutex::new(State {
            files: files.collect(),
            seen: names.clone(),
            platter: names,
            inodes: state.inodes,
            random: Some(random),
            ..State::default()
        })))
    }

    /// What lies in a directory, with the text of manifests, for people.
    pub(crate) fn listing(&self, dir: &Path) -> String {
        let state = self.state();
        let here = state.seen.iter().filter(|(path, _)| path.parent() == Some(dir));
        let line = |(path, inode): (&PathBuf, &u64)| {
            let bytes = &state.files[inode].bytes;
            let is_text = path.to_string_lossy().ends_with("manifest");
            let text = if is_text { String::from_utf8_lossy(bytes) } else { "".into() };
            format!("{} {} bytes {text}", path.display(), bytes.len())
        };
        here.map(line).collect::<Vec<_>>().join("\n")
    }

    /// Flips one bit of a file of that directory, by the seed; what was done.
    pub(crate) fn flip_bit(&self, dir: &Path, seed: u64) -> Option<String> {
        let mut random = Random::new(seed);
        let mut state = self.state();
        let names: Vec<(PathBuf, u64)> = state
            .seen
            .iter()
            .filter(|(path, inode)| path.parent() == Some(dir) && !state.files[inode].bytes.is_empty())
            .map(|(path, inode)| (path.clone(), *inode))
            .collect();
        let (path, inode) = names.get(random.below(names.len().max(1) as u64) as usize)?.clone();
        let bytes = &mut state.files.get_mut(&inode)?.bytes;
        // The end is where recovery has to decide.
        let range = if random.below(2) == 0 { bytes.len() } else { bytes.len().min(200) };
        let at = bytes.len() - 1 - random.below(range as u64) as usize;
        let bit = random.below(8) as u8;
        bytes[at] ^= 1 << bit;
        Some(format!("bit {bit} of byte {at} of {}", path.display()))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// What lost power leaves of a file.
fn survivors(contents: &Contents, random: &mut Random) -> Vec<u8> {
    let Contents { bytes, durable, .. } = contents;
    if !bytes.starts_with(durable) {
        // Cut or written anew without a sync: either may be there.
        return if random.below(2) == 0 { durable.clone() } else { bytes.clone() };
    }
    let unsynced = bytes.len() - durable.len();
    let kept = match random.below(4) {
        0 => 0,
        1 => unsynced,
        _ => random.below(unsynced as u64 + 1) as usize,
    };
    let mut left = bytes[..durable.len() + kept].to_vec();
    if random.below(3) == 0 {
        lose_sectors(&mut left, durable.len(), random);
    }
    left
}

/// Some sectors behind `from` were never written.
fn lose_sectors(bytes: &mut [u8], from: usize, random: &mut Random) {
    let end = bytes.len();
    let first = from / SECTOR_BYTES;
    for sector in first..end.div_ceil(SECTOR_BYTES) {
        if random.below(3) == 0 {
            let start = (sector * SECTOR_BYTES).max(from);
            bytes[start..end.min((sector + 1) * SECTOR_BYTES)].fill(0);
        }
    }
}

/// Which of the changes reach the platter when those that are `chosen` do: a file gets no name there before it has lost the one that it had,
/// so with a change go all before it that concern the same names.
fn with_causes(changes: &[Change], mut chosen: impl FnMut(usize, &Change) -> bool) -> Vec<bool> {
    let (mut reach, mut paths) = (vec![false; changes.len()], BTreeSet::new());
    for (at, change) in changes.iter().enumerate().rev() {
        let is_cause = change.0.iter().any(|(path, _)| paths.contains(path));
        if chosen(at, change) || is_cause {
            reach[at] = true;
            paths.extend(change.0.iter().map(|(path, _)| path));
        }
    }
    reach
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<PathBuf, u64>) {
        for (path, inode) in &self.0 {
            match inode {
                Some(inode) => names.insert(path.clone(), *inode),
                None => names.remove(path),
            };
        }
    }

    fn concerns(&self, dir: &Path) -> bool {
        self.0.iter().any(|(path, _)| path.parent() == Some(dir))
    }
}

impl State {
    /// Every call that changes something passes here.
    fn step(&mut self) -> io::Result<()> {
        if self.dies_at.is_some_and(|at| self.calls >= at) {
            return Err(io::Error::other("the process is dead"));
        }
        self.calls += 1;
        Ok(())
    }

    fn random(&mut self) -> &mut Random {
        self.random.get_or_insert_with(|| Random::new(0))
    }

    /// Whether a fault happens now.
    fn happens(&mut self, fault: fn(&Faults) -> u64) -> bool {
        let of = fault(&self.faults);
        let is_chosen = self.fails_at.take_if(|at| *at < self.calls).is_some();
        is_chosen || of > 0 && self.random().below(of) == 0
    }

    /// So many bytes are wanted; how many there is room for.
    fn take_room(&mut self, bytes: usize) -> usize {
        let Some(room) = &mut self.room else { return bytes };
        let taken = bytes.min(usize::try_from(*room).unwrap_or(usize::MAX));
        *room -= taken as u64;
        taken
    }

    fn give_room(&mut self, bytes: u64) {
        self.room = self.room.map(|room| room + bytes);
    }

    fn inode(&self, path: &Path) -> io::Result<u64> {
        self.seen.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn stat(&self, inode: u64) -> Stat {
        Stat { id: (0, inode), bytes: self.files.get(&inode).map_or(0, Contents::len) }
    }

    /// Changes names, or fails, in which case it may be done all the same.
    fn change(&mut self, change: Change) -> io::Result<()> {
        self.step()?;
        let fails = self.happens(|faults| faults.name);
        if !fails || self.random().below(2) == 0 {
            change.apply(&mut self.seen);
            self.changes.push(change);
        }
        if fails { Err(eio()) } else { Ok(()) }
    }

    fn sync(&mut self, inode: u64) -> io::Result<()> {
        self.step()?;
        let fails = self.happens(|faults| faults.sync);
        let is_left_out = self.canary == Canary::NoSync && self.is_of_log(inode);
        let Some(file) = self.files.get_mut(&inode) else { return Ok(()) };
        file.has_forgotten |= fails;
        if !file.has_forgotten && !is_left_out {
            file.durable.clone_from(&file.bytes);
        }
        if fails { Err(eio()) } else { Ok(()) }
    }

    fn is_of_log(&self, inode: u64) -> bool {
        self.seen.iter().any(|(path, &of)| of == inode && path.to_string_lossy().ends_with(".incr.aof"))
    }
}

impl Contents {
    fn len(&self) -> u64 {
        self.bytes.len() as u64 + self.filled
    }
}

fn eio() -> io::Error {
    io::Error::from_raw_os_error(5)
}

fn no_room() -> io::Error {
    io::Error::from_raw_os_error(28)
}

impl Disk for SimDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let mut state = self.state();
        let inode = match state.seen.get(path) {
            Some(&inode) => {
                state.step()?;
                inode
            }
            None => {
                state.inodes += 1;
                let inode = state.inodes;
                state.files.insert(inode, Contents::default());
                state.change(Change(vec![(path.to_owned(), Some(inode))]))?;
                inode
            }
        };
        let file = state.files.entry(inode).or_default();
        let before = file.len();
        // What is written from now on is new to the kernel.
        (file.has_forgotten, file.filled, _) = (false, 0, file.bytes.clear());
        state.give_room(before);
        Ok(Box::new(Handle { disk: self.clone(), inode }))
    }

    fn create_new(&self, path: &Path) -> io::Result<Box<dyn File>> {
        if self.state().seen.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.create(path)
    }

    fn append(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let inode = self.state().inode(path)?;
        Ok(Box::new(Handle { disk: self.clone(), inode }))
    }

    fn read(&self, path: &Path, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        let state = self.state();
        let bytes = &state.files[&state.inode(path)?].bytes;
        let from = bytes.len().min(offset as usize);
        Ok(Box::new(io::Cursor::new(bytes[from..].to_vec())))
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        self.stat(path).map(|stat| stat.bytes)
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        let state = self.state();
        Ok(state.stat(state.inode(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        let inode = state.inode(from)?;
        state.change(Change(vec![(from.to_owned(), None), (to.to_owned(), Some(inode))]))
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        let inode = state.inode(from)?;
        state.sync(inode)?;
        state.change(Change(vec![(to.to_owned(), Some(inode))]))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        let inode = state.inode(path)?;
        let bytes = state.stat(inode).bytes;
        let removed = state.change(Change(vec![(path.to_owned(), None)]));
        if !state.seen.values().any(|&other| other == inode) {
            state.give_room(bytes);
        }
        removed
    }

    fn set_rights_like(&self, _path: &Path, _model: &Path) -> io::Result<()> {
        self.state().step()
    }

    fn create_dir(&self, _path: &Path) -> io::Result<()> {
        self.state().step()
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        if state.happens(|faults| faults.name) {
            return Err(eio());
        }
        if state.canary == Canary::NoDirectorySync && path.ends_with("appendonlydir") {
            return Ok(());
        }
        let State { platter, changes, .. } = &mut *state;
        let mut reaches = with_causes(changes, |_, change| change.concerns(path)).into_iter();
        let reached = changes.extract_if(.., |_| reaches.next() == Some(true));
        reached.for_each(|change| change.apply(platter));
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        let here = state.seen.keys().filter(|name| name.parent() == Some(path));
        Ok(here.filter_map(|name| Some(name.file_name()?.to_str()?.to_owned())).collect())
    }

    fn fill(&self, path: &Path, bytes: u64) -> io::Result<()> {
        drop(self.create(path)?);
        let mut state = self.state();
        let inode = state.inode(path)?;
        let filled = state.take_room(bytes as usize) as u64;
        state.files.entry(inode).or_default().filled = filled;
        if filled < bytes { Err(no_room()) } else { Ok(()) }
    }

    fn free_bytes(&self, _path: &Path) -> io::Result<u64> {
        Ok(self.state().room.unwrap_or(u64::MAX))
    }
}

struct Handle {
    disk: SimDisk,
    inode: u64,
}

impl File for Handle {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.disk.state();
        state.step()?;
        let fails = state.happens(|faults| faults.write);
        let is_short = fails || state.happens(|faults| faults.short_write);
        let count = match is_short {
            true => state.random().below(bytes.len() as u64 + 1) as usize,
            false => bytes.len(),
        };
        let count = if fails { count } else { count.max(1).min(bytes.len()) };
        let count = state.take_room(count);
        if count == 0 && !fails {
            return Err(no_room());
        }
        state.files.entry(self.inode).or_default().bytes.extend_from_slice(&bytes[..count]);
        match fails {
            false => Ok(count),
            true if state.random().below(2) == 0 => Err(eio()),
            true => Err(no_room()),
        }
    }

    fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.step()?;
        if state.happens(|faults| faults.name) {
            return Err(eio());
        }
        let before = state.stat(self.inode).bytes;
        state.files.entry(self.inode).or_default().bytes.truncate(bytes as usize);
        state.give_room(before.saturating_sub(bytes));
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.disk.state().sync(self.inode)
    }

    fn begin_sync(&mut self, _offset: u64, _bytes: u64) {}

    fn stat(&self) -> io::Result<Stat> {
        Ok(self.disk.state().stat(self.inode))
    }

    fn syncer(&self) -> io::Result<Box<dyn Syncer>> {
        Ok(Box::new(Handle { disk: self.disk.clone(), inode: self.inode }))
    }
}

impl Syncer for Handle {
    fn sync(&self) -> io::Result<()> {
        self.disk.state().sync(self.inode)
    }
}
