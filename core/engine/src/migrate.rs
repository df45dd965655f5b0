//! MIGRATE: keys that move to another server.
//!
//! The engine packs the keys, the world sends them, and what the other server has taken is removed here. Other clients go on
//! meanwhile, unlike in Redis; so a key that was changed on its way stays, and so do all if by then a client's write would be refused
//! or held back. The caller is told. Nothing is lost either way.

use crate::call::{EngineHandler, Step, Turn};
use crate::engine::Engine;
use crate::gate::Caller;
use crate::outside::{Job, Outside};
use crate::session::{ClientInfo, SessionId};
use base::number::parse_i64;
use commands::{Args, Error, Flags, Group, Keys, Row};
use keyspace::{Db, encode_dump};
use resp::{Protocol, Reply};

/// The rows of this family.
#[rustfmt::skip]
pub(crate) static COMMANDS: &[Row<EngineHandler>] = &[
    Row::new("migrate", -6, Group::Generic, migrate as EngineHandler).movable_keys(Keys::ThirdOrKeys).write().flags(Flags::DANGEROUS),
];

/// Time for each step when none is given, milliseconds.
const TIMEOUT_MS_DEFAULT: u64 = 1_000;

/// Most bytes of one MIGRATE: all of them are in memory at once.
const DUMPS_BYTES_MAX: usize = 1 << 30;

/// The answer where keys have moved and may not be removed: Redis says IOERR when a key may be on both servers.
const KEPT: &str = "IOERR the keys may not be removed here now: they are on both servers";

/// What is to be sent where.
#[derive(Debug)]
pub struct Migration {
    /// Name or address of the other server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The database there.
    pub database: i64,
    /// Time for each step, milliseconds.
    pub timeout_ms: u64,
    /// What follows AUTH: nothing, a password, or a name and a password.
    pub auth: Vec<Vec<u8>>,
    /// Replace what is there under the same keys.
    pub replace: bool,
    /// The keys stay here too.
    copy: bool,
    /// The database here.
    from: usize,
    /// The keys with their values.
    pub dumps: Vec<Dump>,
}

/// A key with its value.
#[derive(Debug)]
pub struct Dump {
    /// The key.
    pub key: Vec<u8>,
    /// Its value as DUMP gives it.
    pub payload: Vec<u8>,
    /// How long it has to live, milliseconds; 0: for ever.
    pub ttl_ms: i64,
}

/// What came of a migration.
#[derive(Debug, Default)]
pub struct Migrated {
    /// Which dumps the other server has taken, by index.
    pub taken: Vec<usize>,
    /// The first error, as an error reply without the `-`.
    pub error: Option<String>,
}

fn migrate(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let from = engine.sessions.at(turn.session).db;
    let (mut migration, keys) = read(turn.args, from)?;
    if !turn.caller.may_wait() {
        return Err(Error::new(
            "ERR MIGRATE waits for another server: it cannot run in a transaction or script",
        ));
    }
    migration.dumps = pack(engine, from, keys)?;
    if migration.dumps.is_empty() {
        turn.reply.status("NOKEY");
        return Ok(Step::Done(None));
    }
    engine.jobs.push(Job::Migrate { session: turn.session, migration: Box::new(migration) });
    Ok(Step::Later)
}

/// Reads `host port key|"" database timeout [COPY] [REPLACE] [AUTH p | AUTH2 u p] [KEYS key ...]`.
fn read<'a>(args: Args<'a>, from: usize) -> Result<(Migration, &'a [&'a [u8]]), Error> {
    let (mut copy, mut replace, mut auth) = (false, false, Vec::new());
    let mut keys = args.all().get(3..4).unwrap_or_default();
    let mut i = 6;
    while i < args.len() {
        let left = args.len() - i - 1;
        let mut take = |count: usize| {
            auth = args.all()[i + 1..=i + count].iter().map(|word| word.to_vec()).collect();
            count
        };
        i += match () {
            () if args.is(i, "copy") => {
                copy = true;
                0
            }
            () if args.is(i, "replace") => {
                replace = true;
                0
            }
            () if args.is(i, "auth") && left >= 1 => take(1),
            () if args.is(i, "auth2") && left >= 2 => take(2),
            () if args.is(i, "keys") => {
                if !args.at(3).is_empty() {
                    let text = "ERR When using MIGRATE KEYS option, the key argument must be set to the empty string";
                    return Err(Error::new(text));
                }
                keys = args.rest(i + 1);
                left
            }
            () => return Err(Error::SYNTAX),
        } + 1;
    }
    let timeout_ms = u64::try_from(args.int(5)?).ok().filter(|ms| *ms > 0);
    let database = args.int(4)?;
    let port = parse_i64(args.at(2)).and_then(|port| u16::try_from(port).ok());
    let migration = Migration {
        host: String::from_utf8_lossy(args.at(1)).into_owned(),
        // Nobody listens on port 0: connecting fails as it does for any number that is no port.
        port: port.unwrap_or(0),
        database,
        timeout_ms: timeout_ms.unwrap_or(TIMEOUT_MS_DEFAULT),
        auth,
        replace,
        copy,
        from,
        dumps: Vec::new(),
    };
    Ok((migration, keys))
}

/// Those of the keys that exist, ready to be sent.
fn pack(engine: &mut Engine, from: usize, keys: &[&[u8]]) -> Result<Vec<Dump>, Error> {
    let mut db = Db::new(&mut engine.keyspace, from);
    let now = db.now_ms();
    let (mut dumps, mut bytes) = (Vec::new(), 0usize);
    for key in keys {
        let Some(entry) = db.entry(key) else { continue };
        // One that is about to go may not become one that stays for ever.
        let ttl_ms = entry.expiry().map_or(0, |at| (at - now).max(1));
        let dump = Dump { key: key.to_vec(), payload: encode_dump(entry), ttl_ms };
        bytes += dump.key.len() + dump.payload.len();
        if bytes > DUMPS_BYTES_MAX {
            return Err(Error::new("ERR too much to be moved at once, move fewer keys"));
        }
        dumps.push(dump);
    }
    Ok(dumps)
}

impl Engine {
    /// A migration is over: removes what the other server has taken, and answers.
    pub fn migrated(
        &mut self,
        id: SessionId,
        migration: &Migration,
        outcome: Migrated,
        outside: &mut dyn Outside,
    ) {
        let mut error = outcome.error;
        if !migration.copy && !outcome.taken.is_empty() {
            let removed = match self.is_removal_allowed() {
                true => self.remove_taken(migration, &outcome.taken, outside),
                false => Err(KEPT),
            };
            error = error.or(removed.err().map(str::to_owned));
        }
        self.complete(id, |reply| match error {
            None => reply.ok(),
            Some(error) => reply.error(error.as_bytes()),
        });
    }

    /// Whether keys may be removed: the server may have become a replica since they were sent, or its data may have to stand still for
    /// one that takes over. What is removed then is missing in the stream, and here only.
    fn is_removal_allowed(&self) -> bool {
        self.check_read_only(Flags::WRITE).is_ok() && !self.pause.stands_still()
    }

    /// Removes the dumps with these indexes where they are as they were sent, or says that one is not.
    fn remove_taken(
        &mut self,
        migration: &Migration,
        taken: &[usize],
        outside: &mut dyn Outside,
    ) -> Result<(), &'static str> {
        let taken = taken.iter().filter_map(|i| migration.dumps.get(*i));
        let mut db = Db::new(&mut self.keyspace, migration.from);
        let (same, changed): (Vec<&Dump>, Vec<&Dump>) =
            taken.partition(|dump| db.peek(&dump.key).is_none_or(|e| encode_dump(e) == dump.payload));
        let keys = same.iter().map(|dump| dump.key.as_slice());
        let argv: Vec<&[u8]> = std::iter::once(&b"DEL"[..]).chain(keys).collect();
        if argv.len() > 1 {
            self.run_as_server(migration.from, &argv, outside);
        }
        match changed.is_empty() {
            true => Ok(()),
            false => Err("ERR a key was changed while it moved: it is on both servers now"),
        }
    }

    /// Runs a command on the server's own behalf: with every right, logged and told to observers like a client's.
    fn run_as_server(&mut self, db: usize, argv: &[&[u8]], outside: &mut dyn Outside) {
        let Some(command) = self.table.find_logged(argv) else { return };
        let user = crate::acl::SERVER_USER;
        let id = self.sessions.insert(ClientInfo::default(), user, true, self.keyspace.now);
        self.sessions.at_mut(id).db = db;
        let mut out = Vec::new();
        let turn = Turn {
            session: id,
            args: Args::new(argv),
            reply: Reply::wire(&mut out, Protocol::Resp2),
            outside: &mut *outside,
            caller: Caller::Client,
        };
        self.call(command, turn, None);
        self.serve_ready(outside);
        self.disconnect(id);
    }
}
