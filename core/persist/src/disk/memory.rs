//! A file system in memory that remembers what was synced, can be crashed, and fails on demand.
//!
//! It keeps names and contents twice: as the process sees them and as the platter has them. `sync` copies
//! contents down, `sync_dir` copies names down. A crash gives back the platter, plus, as a real kernel may,
//! any part of what was not synced yet: the seed decides how much of each unsynced tail survives and whether a
//! piece of it is zeros.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use super::{Disk, File, Stat, Syncer};

/// What goes wrong, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// From the nth call on that changes something (0 = the next), every call fails: the process is dead. Then `crash`.
    DieAt(u64),
    /// The nth call from now on that changes something (0 = the next) fails with EIO and changes nothing; what a sync should have
    /// written is lost to the platter. There may be several.
    FailAt(u64),
    /// The same, but a rename among them has been done although it fails.
    UnclearAt(u64),
    /// No more than so many bytes can be written; then ENOSPC, after a short write.
    Space(u64),
    /// The next sync of a file fails with EIO, and what it should have written is lost to the platter.
    SyncError,
    /// The next write writes half of what it should.
    ShortWrite,
    /// The next truncate fails with EIO.
    TruncateError,
}

/// The disk. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Memory(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    seen: BTreeMap<PathBuf, u64>,
    platter: BTreeMap<PathBuf, u64>,
    contents: HashMap<u64, Contents>,
    inodes: u64,
    calls: u64,
    die_at: Option<u64>,
    fail_at: BTreeSet<u64>,
    unclear_at: BTreeSet<u64>,
    space: Option<u64>,
    sync_error: bool,
    short_write: bool,
    truncate_error: bool,
}

#[derive(Clone, Debug, Default)]
struct Contents {
    bytes: Vec<u8>,
    synced: Vec<u8>,
    dropped: bool,
}

impl Memory {
    /// An empty disk that works.
    pub fn new() -> Memory {
        Memory::default()
    }

    /// Arranges a fault.
    pub fn inject(&self, fault: Fault) {
        let mut state = self.state();
        match fault {
            Fault::DieAt(calls) => state.die_at = Some(state.calls + calls),
            Fault::FailAt(calls) => {
                let call = state.calls + calls;
                state.fail_at.insert(call);
            }
            Fault::UnclearAt(calls) => {
                let call = state.calls + calls;
                state.unclear_at.insert(call);
            }
            Fault::Space(bytes) => state.space = Some(bytes),
            Fault::SyncError => state.sync_error = true,
            Fault::ShortWrite => state.short_write = true,
            Fault::TruncateError => state.truncate_error = true,
        }
    }

    /// Takes back every fault that is still to come.
    pub fn heal(&self) {
        let mut state = self.state();
        (state.die_at, state.space) = (None, None);
        state.fail_at.clear();
        state.unclear_at.clear();
        (state.sync_error, state.short_write, state.truncate_error) = (false, false, false);
    }

    /// Calls so far that changed something: the range for `DieAt`.
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// The disk as the next start finds it after power was lost now. Names changed and not synced may have
    /// reached the platter or not (all or none of them, by the seed); unsynced tails survive in part.
    pub fn crash(&self, seed: u64) -> Memory {
        let state = self.state();
        let mut random = base::Random::new(seed);
        let names = if random.below(2) == 0 { &state.platter } else { &state.seen };
        let mut after = State { inodes: state.inodes, ..State::default() };
        for (path, inode) in names {
            let bytes = state.contents.get(inode).map(|c| survivors(c, &mut random)).unwrap_or_default();
            after.contents.insert(*inode, Contents { synced: bytes.clone(), bytes, dropped: false });
            after.seen.insert(path.clone(), *inode);
        }
        after.platter = after.seen.clone();
        Memory(Arc::new(Mutex::new(after)))
    }

    /// The disk as the next start finds it after the process was killed now: all that it has done is there.
    pub fn kill(&self) -> Memory {
        let state = self.state();
        let whole = |contents: &Contents| Contents {
            bytes: contents.bytes.clone(),
            synced: contents.bytes.clone(),
            dropped: false,
        };
        let contents = state.contents.iter().map(|(inode, contents)| (*inode, whole(contents))).collect();
        let (seen, platter) = (state.seen.clone(), state.seen.clone());
        Memory(Arc::new(Mutex::new(State {
            seen,
            platter,
            contents,
            inodes: state.inodes,
            ..State::default()
        })))
    }

    /// A file as the process sees it.
    pub fn bytes(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state();
        state.seen.get(path).map(|inode| state.contents[inode].bytes.clone())
    }

    /// Puts a file there, synced.
    pub fn put(&self, path: &Path, bytes: &[u8]) {
        let mut state = self.state();
        let inode = state.new_inode();
        state
            .contents
            .insert(inode, Contents { bytes: bytes.to_vec(), synced: bytes.to_vec(), dropped: false });
        state.seen.insert(path.to_owned(), inode);
        state.platter.insert(path.to_owned(), inode);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// What a crash leaves of a file: all that was synced, and some of what was appended since.
fn survivors(contents: &Contents, random: &mut base::Random) -> Vec<u8> {
    let Some(tail) = contents.bytes.strip_prefix(&contents.synced[..]) else {
        // Truncated or rewritten without a sync: either may be there.
        return if random.below(2) == 0 { contents.synced.clone() } else { contents.bytes.clone() };
    };
    let kept = random.below(tail.len() as u64 + 1) as usize;
    let mut bytes = contents.bytes[..contents.synced.len() + kept].to_vec();
    if kept > 0 && random.below(3) == 0 {
        let from = contents.synced.len() + random.below(kept as u64) as usize;
        bytes[from..].fill(0);
    }
    bytes
}

impl State {
    fn new_inode(&mut self) -> u64 {
        self.inodes += 1;
        self.inodes
    }

    /// Every call that changes something passes here.
    fn step(&mut self) -> io::Result<()> {
        if self.die_at.is_some_and(|at| self.calls >= at) {
            return Err(io::Error::other("the process is dead"));
        }
        self.calls += 1;
        let call = self.calls - 1;
        match self.fail_at.remove(&call) || self.unclear_at.remove(&call) {
            true => Err(io::Error::from_raw_os_error(5)),
            false => Ok(()),
        }
    }

    fn inode(&self, path: &Path) -> io::Result<u64> {
        self.seen.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn stat(&self, inode: u64) -> Stat {
        Stat {
            id: (0, inode),
            bytes: self.contents.get(&inode).map_or(0, |contents| contents.bytes.len() as u64),
        }
    }

    fn sync(&mut self, inode: u64) -> io::Result<()> {
        let has_failed = match self.step() {
            Err(error) if error.raw_os_error().is_none() => return Err(error),
            step => step.is_err(),
        };
        let failed = std::mem::take(&mut self.sync_error) || has_failed;
        let contents = self.contents.entry(inode).or_default();
        contents.dropped |= failed;
        if failed {
            return Err(io::Error::from_raw_os_error(5));
        }
        // Once the kernel has dropped pages it could not write, later syncs succeed and prove nothing.
        if !contents.dropped {
            contents.synced = contents.bytes.clone();
        }
        Ok(())
    }
}

impl Disk for Memory {
    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let mut state = self.state();
        state.step()?;
        let inode = match state.seen.get(path) {
            Some(&inode) => inode,
            None => state.new_inode(),
        };
        let contents = state.contents.entry(inode).or_default();
        contents.bytes.clear();
        // What the kernel has dropped of it is cut off.
        contents.dropped = false;
        state.seen.insert(path.to_owned(), inode);
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
        let bytes = &state.contents[&state.inode(path)?].bytes;
        let from = bytes.len().min(usize::try_from(offset).unwrap_or(usize::MAX));
        Ok(Box::new(io::Cursor::new(bytes[from..].to_vec())))
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        let state = self.state();
        Ok(state.contents[&state.inode(path)?].bytes.len() as u64)
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        let state = self.state();
        Ok(state.stat(state.inode(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        let calls = state.calls;
        let is_unclear = state.unclear_at.contains(&calls);
        let step = state.step();
        if !is_unclear {
            step?;
        }
        let inode = state.inode(from)?;
        state.seen.remove(from);
        state.seen.insert(to.to_owned(), inode);
        if is_unclear { Err(io::Error::from_raw_os_error(5)) } else { Ok(()) }
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        let inode = state.inode(from)?;
        if state.seen.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.sync(inode)?;
        state.step()?;
        state.seen.insert(to.to_owned(), inode);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        let inode = state.inode(path)?;
        state.seen.remove(path);
        let bytes = state.stat(inode).bytes;
        state.space = state.space.map(|space| space + bytes);
        Ok(())
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
        let State { seen, platter, .. } = &mut *state;
        platter.retain(|name, _| name.parent() != Some(path));
        let here = seen.iter().filter(|(name, _)| name.parent() == Some(path));
        platter.extend(here.map(|(name, inode)| (name.clone(), *inode)));
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        let here = state.seen.keys().filter(|name| name.parent() == Some(path));
        Ok(here.filter_map(|name| Some(name.file_name()?.to_str()?.to_owned())).collect())
    }

    fn fill(&self, path: &Path, bytes: u64) -> io::Result<()> {
        let zeros = vec![0; usize::try_from(bytes).unwrap_or(usize::MAX)];
        super::write_all(&mut *self.create(path)?, &zeros).map_err(|(_, error)| error)
    }

    fn free_bytes(&self, _path: &Path) -> io::Result<u64> {
        Ok(self.state().space.unwrap_or(u64::MAX))
    }
}

#[derive(Debug)]
struct Handle {
    disk: Memory,
    inode: u64,
}

impl File for Handle {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.disk.state();
        state.step()?;
        let mut count = bytes.len();
        if std::mem::take(&mut state.short_write) {
            count = count.div_ceil(2);
        }
        if let Some(space) = state.space {
            count = count.min(usize::try_from(space).unwrap_or(usize::MAX));
            if count == 0 {
                return Err(io::Error::from_raw_os_error(28));
            }
            state.space = Some(space - count as u64);
        }
        state.contents.entry(self.inode).or_default().bytes.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.step()?;
        if std::mem::take(&mut state.truncate_error) {
            return Err(io::Error::from_raw_os_error(5));
        }
        let before = state.stat(self.inode).bytes;
        let contents = state.contents.entry(self.inode).or_default();
        contents.bytes.truncate(usize::try_from(bytes).unwrap_or(usize::MAX));
        state.space = state.space.map(|space| space + before.saturating_sub(bytes));
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
