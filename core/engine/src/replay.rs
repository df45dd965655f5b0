//! Running the log's commands again at start: one internal session with every right, under no limit.
//!
//! What was acknowledged is replayed whatever the users and their rights are today. A record that meets an error does not fit what is
//! in memory: whoever went on would lose it without a word, so the caller is told which command it was, and whether what follows can
//! be run without it.

use crate::call::Turn;
use crate::engine::Engine;
use crate::gate::{Asked, Caller, Verdict};
use crate::outside::Outside;
use crate::session::{ClientInfo, SessionId};
use commands::{Args, Flags};
use resp::{Protocol, Reply, Sink};

/// Why a record cannot be replayed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplayError {
    /// There is no command of this name here.
    Unknown(String),
    /// It is no request to a command of here, or failed as it cannot have where it was logged: something is missing here, or is not as
    /// it is there, and what follows would run otherwise than it did.
    Refused {
        /// Its name; where it stands in a transaction, with its place there.
        command: String,
        /// The error reply, without the leading `-`.
        why: String,
    },
    /// The command ran and failed as it can have where it was logged.
    Failed {
        /// Its name; where it stands in a transaction, with its place there.
        command: String,
        /// The error reply, without the leading `-`.
        why: String,
    },
}

/// A command that was executed once already.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'a> {
    /// The session that runs it.
    pub(crate) id: SessionId,
    /// The command.
    pub(crate) argv: &'a [&'a [u8]],
    /// Its bytes, where there is a log for them.
    pub(crate) raw: Option<&'a [u8]>,
    /// Who wants it to run.
    pub(crate) caller: Caller,
}

impl Engine {
    /// Runs one command of the log. It is not logged again, meets no limit and no question of rights, and knows SELECT, MULTI and EXEC;
    /// expiry is the keyspace's `keep_expired`.
    ///
    /// # Errors
    /// The log does not fit this server.
    pub fn replay(&mut self, argv: &[&[u8]], outside: &mut dyn Outside) -> Result<(), ReplayError> {
        let id = self.replay_session();
        self.run_trusted(Record { id, argv, raw: None, caller: Caller::Replay }, outside)
    }

    /// Whether a command of a log has the name of one that there is.
    pub fn knows(&self, name: &[u8]) -> bool {
        self.table.find_logged(&[name]).is_some()
    }

    /// Runs what was executed once already, by the log or on a master.
    pub(crate) fn run_trusted(
        &mut self,
        record: Record<'_>,
        outside: &mut dyn Outside,
    ) -> Result<(), ReplayError> {
        let Record { id, argv, caller, .. } = record;
        let command = self.table.find_logged(argv).ok_or_else(|| ReplayError::Unknown(name_of(argv)))?;
        let asked = Asked { id, command, argv };
        match self.admit(asked, caller, outside) {
            Verdict::Run => self.run_record(asked, record, outside),
            Verdict::Queue | Verdict::Hold => {
                let mut outcome = Outcome::default();
                self.queue(asked, &mut Reply::sink(&mut outcome));
                let refused = |why| ReplayError::Refused { command: name_of(argv), why };
                outcome.errors.pop().map_or(Ok(()), |(_, why)| Err(refused(why)))
            }
            Verdict::Refuse(error) => {
                Err(ReplayError::Refused { command: name_of(argv), why: error.shown().into_owned() })
            }
        }
    }

    /// Runs a record that does not belong to a transaction, or ends one.
    fn run_record(
        &mut self,
        asked: Asked<'_>,
        record: Record<'_>,
        outside: &mut dyn Outside,
    ) -> Result<(), ReplayError> {
        let Asked { id, command, argv } = asked;
        let is_transaction = self.table.commands[command].spec.flags.has(Flags::RUNS_QUEUE);
        let mut outcome = Outcome { is_transaction, ..Outcome::default() };
        let multi = &self.sessions.at(id).multi;
        let queued: Vec<usize> = multi.iter().flat_map(|multi| &multi.queue).map(|q| q.command).collect();
        let reply = Reply::sink(&mut outcome);
        let turn = Turn { session: id, args: Args::new(argv), reply, outside, caller: record.caller };
        // What was let in once is taken again, however low the limit is now.
        self.keyspace.limits.string_bytes = base::limits::STRING_BYTES_MAX;
        self.call(command, turn, record.raw);
        self.keyspace.limits.string_bytes =
            crate::admin::limits(&self.config, self.keyspace.seed()).string_bytes;
        let name = |at: usize| match queued.get(at) {
            Some(inner) => self.table.commands[*inner].spec.name,
            None => self.table.commands[command].spec.name,
        };
        let errors = &mut outcome.errors;
        let is_ours = |(at, why): &(usize, String)| !may_have_failed_there(name(*at), why);
        let ours = errors.iter().position(is_ours);
        let (at, why) = match ours.or((!errors.is_empty()).then_some(0)) {
            Some(told) => errors.swap_remove(told),
            None => return Ok(()),
        };
        let command = match at < queued.len() {
            true => format!("{}, of which command {} ({})", name_of(argv), at + 1, name(at)),
            false => name_of(argv),
        };
        Err(match ours {
            Some(_) => ReplayError::Refused { command, why },
            None => ReplayError::Failed { command, why },
        })
    }

    /// Ends the replay; a transaction that was not finished is dropped.
    pub fn replay_end(&mut self) {
        self.keyspace.flushed_all = false;
        self.keyspace.begin_queues();
        if let Some(id) = self.replay_session.take() {
            self.disconnect(id);
        }
    }

    fn replay_session(&mut self) -> SessionId {
        if let Some(id) = self.replay_session {
            return id;
        }
        let (info, user) = (ClientInfo::default(), crate::acl::SERVER_USER);
        let id = self.sessions.insert(info, user, true, self.keyspace.now);
        self.replay_session = Some(id);
        id
    }
}

/// What a record is called.
fn name_of(argv: &[&[u8]]) -> String {
    String::from_utf8_lossy(argv.first().copied().unwrap_or_default()).into_owned()
}

/// Whether the server that logged a command can have met its error as well: that of a script, which older versions log whole, or one that
/// rests on the value that the command met. All else that fails here (a payload or an option of a newer version, a database that there
/// is not) was done there, since what changes nothing is not logged.
fn may_have_failed_there(name: &str, why: &str) -> bool {
    let is_script = matches!(name, "eval" | "evalsha" | "fcall");
    let is_missing = MISSING.iter().any(|text| why.starts_with(text));
    is_script && !is_missing || OF_VALUES.iter().any(|text| why.starts_with(text))
}

/// What a script or function that is not here is answered.
const MISSING: [&str; 2] = ["NOSCRIPT ", "ERR Function not found"];

/// How errors begin that rest on the value that a command met.
const OF_VALUES: [&str; 9] = [
    "WRONGTYPE ",
    "ERR value is not an integer or out of range",
    "ERR value is not a valid float",
    "ERR increment or decrement would overflow",
    "ERR decrement would overflow",
    "ERR increment would produce NaN or Infinity",
    "ERR hash value is not an integer",
    "ERR hash value is not a float",
    "ERR resulting score is not a number (NaN)",
];

/// A reply of which only the errors are kept: the reply itself, or elements of what EXEC gives. Errors further inside are values that a
/// script has made.
#[derive(Debug, Default)]
struct Outcome {
    is_transaction: bool,
    /// How many parts are still to come of each aggregate that is open, outermost first.
    open: Vec<usize>,
    /// Elements of the outermost aggregate that are complete.
    elements: usize,
    /// The errors, and which elements they were; beyond all of them when it was the reply itself.
    errors: Vec<(usize, String)>,
}

impl Outcome {
    fn begin(&mut self, parts: usize) {
        match parts {
            0 => self.end_part(),
            parts => self.open.push(parts),
        }
    }

    fn end_part(&mut self) {
        while let Some(left) = self.open.last_mut() {
            *left -= 1;
            let is_open = *left > 0;
            if self.open.len() == 1 {
                self.elements += 1;
            }
            if is_open {
                return;
            }
            self.open.pop();
        }
    }
}

impl Sink for Outcome {
    fn status(&mut self, _: &str) {
        self.end_part();
    }
    fn error(&mut self, text: &[u8]) {
        if self.open.len() <= usize::from(self.is_transaction) {
            let at = if self.open.is_empty() { usize::MAX } else { self.elements };
            self.errors.push((at, String::from_utf8_lossy(text).into_owned()));
        }
        self.end_part();
    }
    fn integer(&mut self, _: i64) {
        self.end_part();
    }
    fn bulk(&mut self, _: &[u8]) {
        self.end_part();
    }
    fn null(&mut self) {
        self.end_part();
    }
    fn null_array(&mut self) {
        self.end_part();
    }
    fn array(&mut self, len: usize) {
        self.begin(len);
    }
    fn map(&mut self, pairs: usize) {
        self.begin(2 * pairs);
    }
    fn set(&mut self, len: usize) {
        self.begin(len);
    }
    fn push(&mut self, len: usize) {
        self.begin(len);
    }
    fn double(&mut self, _: f64) {
        self.end_part();
    }
    fn boolean(&mut self, _: bool) {
        self.end_part();
    }
    fn big_number(&mut self, _: &[u8]) {
        self.end_part();
    }
    fn verbatim(&mut self, _: &[u8; 3], _: &[u8]) {
        self.end_part();
    }
    fn attribute(&mut self, pairs: usize) {
        // With the reply that it belongs to it is one part.
        self.begin(2 * pairs + 1);
    }
    fn protocol(&self) -> Protocol {
        Protocol::Resp2
    }
}
