//! An engine that takes in what files hold, tells what that is, and writes it as a snapshot.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use config::{Config, Origin};
use engine::{Acl, Engine, Outside, ReplayError};
use keyspace::{Inventory, Piece};
use persist::rdb::{self, Entry, Item, Reader, Writer};

use crate::finding::{CheckError, file_error};
use crate::world::World;

/// Keys that one step of a snapshot writes.
const STEP_KEYS: usize = 1024;
/// Bytes of a large value that are written at a time.
const PART_BYTES: usize = 256 << 10;
/// The version that a snapshot says it was written by.
const REDIS_VERSION: &str = "7.4.2";

/// What a data set holds; two that hold the same are equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// How many keys there are of each type, those that there are.
    pub keys: Vec<(&'static str, u64)>,
    /// Keys whose time is over: the next start removes them.
    pub expired: u64,
    /// Libraries of functions.
    pub libraries: usize,
    /// DEBUG DIGEST, without the keys whose time is over; hexadecimal.
    pub digest: String,
}

impl Contents {
    /// How many keys there are.
    pub fn key_count(&self) -> u64 {
        self.keys.iter().map(|(_, count)| count).sum()
    }
}

impl fmt::Display for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} keys", self.key_count())?;
        for (at, (name, count)) in self.keys.iter().enumerate() {
            write!(f, "{}{name} {count}", if at == 0 { ": " } else { ", " })?;
        }
        if self.expired > 0 {
            write!(f, "; {} more have expired", self.expired)?;
        }
        match self.libraries {
            0 => Ok(()),
            libraries => write!(f, "; {libraries} libraries of functions"),
        }
    }
}

/// See the module.
pub struct DataSet {
    engine: Engine,
    world: World,
}

impl fmt::Debug for DataSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataSet").finish_non_exhaustive()
    }
}

impl DataSet {
    /// One without data.
    ///
    /// # Errors
    /// The system has no chance to give.
    pub fn new() -> Result<DataSet, CheckError> {
        let mut config = Config::default();
        for (name, value) in [("databases", DATABASES), ("appendonly", "no"), ("save", "")] {
            config.assign(name, value.as_bytes(), Origin::Profile).map_err(CheckError::Engine)?;
        }
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| CheckError::Engine(error.to_string()))?;
        let world = World::new();
        let engine = Engine::new(config, Acl::new(Vec::new()), seed, world.now());
        let mut engine = engine.map_err(|error| CheckError::Engine(error.to_string()))?;
        engine.keyspace_mut().keep_expired = true;
        engine.set_logging(false);
        Ok(DataSet { engine, world })
    }

    /// One with all that a snapshot holds.
    ///
    /// # Errors
    /// It cannot be read to its end.
    pub fn of_snapshot(path: &Path) -> Result<DataSet, CheckError> {
        let mut data = DataSet::new()?;
        let file = File::open(path).map_err(file_error(path))?;
        let bytes = file.metadata().map_err(file_error(path))?.len();
        let mut refusal = None;
        let read = data.take_in(file, bytes, &mut |_| {}, &mut |why| {
            refusal.get_or_insert(why);
        });
        match read.map_err(|error| error.to_string()).err().or(refusal) {
            None => Ok(data),
            Some(why) => Err(CheckError::File(path.to_owned(), io::Error::other(why))),
        }
    }

    /// Takes in a snapshot; the offset behind it. What was read before an error stays. What can be read and is refused is left out and told
    /// to `refuses`.
    pub(crate) fn take_in<R: Read>(
        &mut self,
        source: R,
        bytes: u64,
        hears: &mut dyn FnMut(u64),
        refuses: &mut dyn FnMut(String),
    ) -> Result<u64, rdb::Error> {
        let mut reader = Reader::new(source, Some(bytes), true)?;
        self.engine.begin_batch(self.world.now());
        while let Some(item) = reader.next()? {
            let taken = match item {
                Item::Entry(entry) => self.take_in_entry(entry),
                Item::Function(code) => self.engine.take_in_library(&code, false, &self.world).map(drop),
                Item::Aux { .. } | Item::SelectDb(_) | Item::Resize { .. } | Item::EmptyKey(_) => Ok(()),
            };
            taken.unwrap_or_else(&mut *refuses);
            self.forget();
            hears(reader.offset());
        }
        Ok(reader.offset())
    }

    fn take_in_entry(&mut self, entry: Entry) -> Result<(), String> {
        let (db, space) = (entry.db as usize, self.engine.keyspace_mut());
        let key = String::from_utf8_lossy(&entry.key).into_owned();
        if db >= space.database_count() {
            return Err(format!("the key '{key}' needs database {db}"));
        }
        let entry = keyspace::entry_from_rdb(space, entry)
            .map_err(|why| format!("the key '{key}' in DB {db} is refused: {why}"))?;
        space.load(db, entry).map_err(|_| format!("RDB has duplicated key '{key}' in DB {db}"))
    }

    /// Runs a command of a log.
    pub(crate) fn run(&mut self, argv: &[Vec<u8>]) -> Result<(), ReplayError> {
        let argv: Vec<&[u8]> = argv.iter().map(Vec::as_slice).collect();
        self.engine.begin_batch(self.world.now());
        let done = self.engine.replay(&argv, &mut self.world);
        self.forget();
        done
    }

    /// Whether there is a command of this name.
    pub(crate) fn knows(&self, name: &[u8]) -> bool {
        self.engine.knows(name)
    }

    /// The log ends: a transaction that did not is dropped.
    pub(crate) fn end(&mut self) {
        self.engine.replay_end();
    }

    /// Nothing that loading does is for anybody.
    fn forget(&mut self) {
        self.engine.keyspace_mut().effects.clear();
        self.engine.take_log(&mut Vec::new());
        self.engine.take_deliveries(&mut Vec::new());
        self.engine.take_jobs(&mut Vec::new());
        drop(self.engine.keyspace_mut().take_trash());
    }

    /// When it was begun, Unix milliseconds: for it time stands still.
    pub fn moment_ms(&self) -> i64 {
        self.world.now().unix_ms
    }

    /// What it holds.
    pub fn contents(&mut self) -> Contents {
        self.contents_at(self.moment_ms())
    }

    /// What it holds for whoever asks at that moment, Unix milliseconds.
    pub fn contents_at(&mut self, unix_ms: i64) -> Contents {
        let found = self.engine.keyspace_mut().inventory(unix_ms);
        let keys = Inventory::TYPES.into_iter().zip(found.keys).filter(|(_, count)| *count > 0);
        Contents {
            keys: keys.collect(),
            expired: found.expired,
            libraries: self.engine.library_codes().len(),
            digest: base::hex::encode(&found.digest.0),
        }
    }

    /// Gives the bytes of a snapshot of it to `sink`.
    ///
    /// # Errors
    /// That of `sink`.
    pub fn write(&mut self, is_base: bool, sink: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let unix_ms = self.moment_ms();
        let codes = self.engine.library_codes();
        let space = self.engine.keyspace_mut();
        if !space.begin_snapshot(true) {
            return Err(io::Error::other("a snapshot is under way"));
        }
        let mut writer = Writer::new(true, true);
        writer.header(space.snapshot_version());
        writer.standard_aux(REDIS_VERSION, unix_ms, 0, is_base);
        codes.iter().for_each(|code| writer.function(code));
        let written = write_keys(space, &mut writer, sink);
        space.end_snapshot();
        written?;
        writer.end();
        writer.drain(sink)
    }

    /// Whether an ACL file can be loaded.
    pub(crate) fn try_users(&mut self, file: &str, text: &[u8]) -> Result<bool, String> {
        self.engine.load_acl_file(file, text, None)
    }
}

/// As many as there can be: how many the server has is not known here.
const DATABASES: &str = "16384";

fn write_keys(
    space: &mut keyspace::Keyspace,
    writer: &mut Writer,
    sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    loop {
        let is_through = space.step_snapshot(STEP_KEYS);
        for piece in space.take_snapshot_pieces() {
            match piece {
                Piece::Bytes(bytes) => writer.raw(&bytes),
                Piece::Large { db, entry, used } => {
                    let mut outcome = Ok(());
                    keyspace::write_large(writer, db, &entry, used, &mut |writer| {
                        if writer.pending() >= PART_BYTES && outcome.is_ok() {
                            outcome = writer.drain(sink);
                        }
                    });
                    outcome?;
                }
            }
            writer.drain(sink)?;
        }
        if is_through {
            return Ok(());
        }
    }
}
