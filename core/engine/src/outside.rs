//! What the engine asks of the world around it, and what it leaves to be done there.

use crate::durability::Written;
use crate::session::{ClientBuffers, ClientInfo, SessionId};
use base::Now;
use config::Config;
use keyspace::Trash;
use std::sync::Arc;
use telemetry::Report;

/// The world as the engine sees it. Implemented by the server's threads, by replays and by tests. What is not said of one is that of a world
/// in which there is nothing: no log, no snapshot, nobody who allows or refuses, nothing to tell.
pub trait Outside {
    /// A cheap monotonic clock, nanoseconds; read once or twice a command.
    fn nanos(&self) -> u64;
    /// Both clocks.
    fn now(&self) -> Now;
    /// Bytes that the allocator has given out, all threads.
    fn used_memory(&self) -> usize;
    /// Bytes of the trash of [`Job::Free`] that has not been freed yet.
    fn freeing_bytes(&self) -> usize {
        0
    }
    /// Bytes of memory that what waits to be written to the log takes.
    fn log_buffer_bytes(&self) -> usize {
        0
    }
    /// Bytes of replies of this batch that leave when it is through.
    fn passing_bytes(&self) -> usize {
        0
    }
    /// A script runs past `busy-reply-threshold`: others may be served meanwhile, by [`crate::Engine::serve_others`]. Whether it may go on.
    fn busy(&mut self, engine: &mut crate::Engine, what: Busy) -> BusyVerdict;
    /// The absolute path of a folder without links; as it is where there is none.
    fn real_dir(&self, dir: &str) -> String {
        dir.to_owned()
    }

    /// Whether the profile allows this configuration.
    ///
    /// # Errors
    /// The reason why not.
    fn check_config(&self, _config: &Config) -> Result<(), ConfigRefusal> {
        Ok(())
    }
    /// Brings the world from one configuration to the next, before it is in force: sockets, certificates, limits. `changed` names the
    /// directives whose values differ.
    ///
    /// # Errors
    /// Why it does not; then nothing has changed.
    fn follow_config(
        &mut self,
        _from: &Config,
        _to: &Config,
        _changed: &[&'static str],
    ) -> Result<(), ConfigRefusal> {
        Ok(())
    }
    /// Why the file of the configuration cannot be rewritten, as far as is known without asking a disk, which may hang.
    fn rewrite_refusal(&self) -> Option<String> {
        None
    }
    /// The same of the ACL file.
    fn acl_save_refusal(&self) -> Option<String> {
        None
    }
    /// Adds the fields of INFO that only the server knows.
    fn report(&self, _report: &mut Report) {}
    /// The most input that one client has had in the last seconds, bytes: most of it has been executed since.
    fn recent_input_bytes(&self) -> usize {
        0
    }
    /// Whether a write must be refused because it could not be kept, and why (the error reply, `MISCONF …`). `grows` tells whether it may
    /// need room: what only takes goes on inside the disk's reserve. `bytes` is about how much it and what was executed before it will
    /// take in the log; it is asked for only where room is short.
    fn write_refusal(&self, _grows: bool, _bytes: &dyn Fn() -> usize) -> Option<String> {
        None
    }
    /// Why nothing may be saved by command here, where that is so.
    fn save_refusal(&self) -> Option<&'static str> {
        None
    }
    /// A command has just been refused because memory is full.
    fn memory_refused(&mut self, _engine: &crate::Engine) {}
    /// Whether data is still being loaded.
    fn is_loading(&self) -> bool {
        false
    }
    /// Whether an RDB is being written or about to be.
    fn is_saving(&self) -> bool {
        false
    }
    /// Whether the log is being rewritten or about to be.
    fn is_rewriting(&self) -> bool {
        false
    }
    /// Whether a rewrite of the log is about to be, and another task runs before it.
    fn rewrite_waits(&self) -> bool {
        false
    }
    /// [`Job::Save`] follows: from now on `is_saving`.
    fn save_begins(&mut self) {}
    /// BGSAVE CANCEL: gives up the save that is running or waits to begin, if one is.
    fn cancel_save(&mut self) -> Option<CancelledSave> {
        None
    }
    /// [`Job::RewriteLog`] follows: from now on `is_rewriting`.
    fn rewrite_begins(&mut self) {}
    /// SHUTDOWN ABORT: the server goes on if it is about to stop and still can; whether it was.
    fn abort_shutdown(&mut self) -> bool {
        false
    }
    /// When an RDB was last written, Unix seconds.
    fn last_save_unix_s(&self) -> i64 {
        0
    }
    /// A client's buffers, as far as they can be seen from here: those of another I/O thread's clients cannot.
    fn client_buffers(&self, _client: &ClientInfo) -> Option<ClientBuffers> {
        None
    }
    /// CONFIG RESETSTAT: what the world counts begins anew.
    fn reset_statistics(&mut self) {}
    /// How far the log has come. Where there is none it does not matter.
    fn log_tickets(&self) -> LogTickets {
        LogTickets::default()
    }
    /// What the link to the master tells of itself, on a replica.
    fn link_figures(&self) -> crate::LinkFigures {
        crate::LinkFigures::default()
    }
    /// Does nothing for so long (DEBUG SLEEP): the whole engine waits.
    fn sleep_ns(&mut self, _nanoseconds: u64) {}
}

/// Why the world does not follow a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigRefusal {
    /// The directive at fault.
    pub directive: &'static str,
    /// The reason.
    pub why: String,
}

/// How far the log has come, in batches of what the engine has handed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogTickets {
    /// The last batch handed over; what the engine still holds goes into the next one.
    pub last: u64,
    /// The last batch known to be on the disk.
    pub synced: u64,
    /// The log has its first base: before that a start would not find it.
    pub is_whole: bool,
}

/// What a save was that BGSAVE CANCEL has given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelledSave {
    /// It was being written.
    Running,
    /// It waited to begin.
    Scheduled,
}

/// A script that keeps the engine busy.
#[derive(Clone, Copy, Debug)]
pub struct Busy {
    /// Nanoseconds since it began.
    pub running_ns: u64,
    /// Whether it has written, so that it cannot be killed without leaving half of it behind.
    pub has_written: bool,
}

/// Whether it may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BusyVerdict {
    /// Go on.
    Continue,
    /// End it.
    Kill,
    /// End it, because the server ends.
    Shutdown,
}

/// Bytes for a client other than the one whose request runs (or for that one, after its reply).
#[derive(Debug, Default)]
pub struct Delivery {
    /// The I/O thread that owns the connection.
    pub thread: u16,
    /// The connection's token there.
    pub token: u64,
    /// What to write, but for what others get, too.
    pub bytes: Vec<u8>,
    /// That, where it is long.
    pub shared: Option<Box<SharedParts>>,
    /// Its reply is complete: requests that wait in its input may go on.
    pub resume: bool,
    /// Close the connection after the bytes.
    pub close: bool,
    /// Close it at once: what its socket takes leaves, the rest does not.
    pub drop: bool,
    /// It is the stream for a replica, or a copy: it waits for the log, and never for what replicas say of it.
    pub is_feed: bool,
    /// A part of it is the reply to a request that has written.
    pub written: Option<Box<Written>>,
}

/// What others get as well among the bytes of a [`Delivery`], in order: each with the place in those that it stands in front of.
#[derive(Debug, Default)]
pub struct SharedParts {
    parts: Vec<(usize, Arc<[u8]>)>,
    bytes: usize,
}

/// A piece of a [`Delivery`].
#[derive(Clone, Copy, Debug)]
pub enum Piece<'a> {
    /// For this client alone.
    Own(&'a [u8]),
    /// For others, too.
    Shared(&'a Arc<[u8]>),
}

/// Who waits for a password check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    /// The client's number.
    pub client: u64,
    /// Where it comes from; see [`crate::ClientInfo::source`].
    pub source: u64,
    /// A password of it was wrong before.
    pub has_failed: bool,
}

impl Delivery {
    /// All bytes that the client gets.
    pub fn len(&self) -> usize {
        self.bytes.len() + self.shared.as_ref().map_or(0, |shared| shared.bytes)
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.shared.is_none()
    }

    /// Puts a buffer behind the bytes so far that others get as well.
    pub fn push_shared(&mut self, buffer: Arc<[u8]>) {
        let shared = self.shared.get_or_insert_default();
        shared.bytes += buffer.len();
        shared.parts.push((self.bytes.len(), buffer));
    }

    /// What to write, in order.
    pub fn pieces(&self) -> impl Iterator<Item = Piece<'_>> {
        let mut written = 0;
        let shared =
            self.shared.iter().flat_map(|shared| &shared.parts).map(|(at, buffer)| (*at, Some(buffer)));
        shared.chain([(self.bytes.len(), None)]).flat_map(move |(at, buffer)| {
            let own = Some(&self.bytes[written..at]).filter(|own| !own.is_empty()).map(Piece::Own);
            written = at;
            own.into_iter().chain(buffer.map(Piece::Shared))
        })
    }

    /// The last buffer in it that others get as well.
    pub(crate) fn last_shared(&self) -> Option<&Arc<[u8]>> {
        self.shared.as_ref()?.parts.last().map(|(_, buffer)| buffer)
    }

    /// Takes over what bytes that come behind these are the reply to. A client waits for one reply at a time, so there is one at most.
    pub(crate) fn take_written(&mut self, written: Option<Box<Written>>) {
        if let Some(mut written) = written {
            debug_assert!(self.written.is_none(), "one reply at a time");
            written.reply = written.reply.start + self.len()..written.reply.end + self.len();
            self.written = Some(written);
        }
    }

    /// Puts a later one for the same client behind this one, which neither closes nor drops it.
    pub fn append(&mut self, mut later: Delivery) {
        debug_assert!(!self.close && !self.drop, "nothing follows the end of a connection");
        self.take_written(later.written.take());
        if let Some(later) = later.shared {
            let (before, shared) = (self.bytes.len(), self.shared.get_or_insert_default());
            shared.bytes += later.bytes;
            shared.parts.extend(later.parts.into_iter().map(|(at, buffer)| (before + at, buffer)));
        }
        self.bytes.append(&mut later.bytes);
        self.resume |= later.resume;
        self.close = later.close;
        self.drop = later.drop;
    }
}

/// Work for the control plane. Jobs with a `session` make it wait until [`crate::Engine`] is told the outcome.
pub enum Job {
    /// Whether `password` fits one of the argon2id `records`; tell `Engine::password_verified`.
    VerifyPassword {
        /// Who waits.
        session: SessionId,
        /// The same, for the order of the checks.
        asker: Asker,
        /// PHC strings.
        records: Vec<String>,
        /// The names of their pairs with the password, to be told with the answer.
        pairs: Vec<crate::acl::Proof>,
        /// What was offered.
        password: Vec<u8>,
    },
    /// Hash passwords with argon2id; tell `Engine::passwords_hashed`.
    HashPasswords {
        /// Who waits.
        session: SessionId,
        /// What to hash, in order.
        passwords: Vec<Vec<u8>>,
    },
    /// Find for each password the argon2id record that it fits, if any; tell `Engine::passwords_found`.
    FindPasswords {
        /// Who waits.
        session: SessionId,
        /// What was offered, in order.
        passwords: Vec<Vec<u8>>,
        /// PHC strings.
        records: Vec<String>,
    },
    /// Write an RDB; with a session it waits (SAVE), without it is BGSAVE.
    Save {
        /// Who waits.
        session: Option<SessionId>,
    },
    /// Send a client a snapshot; tell `Engine::end_copy`.
    Copy {
        /// Who waits.
        session: SessionId,
        /// What it gets.
        order: Box<crate::CopyOrder>,
    },
    /// Send the replicas that wait for one a snapshot; see [`crate::Engine::begin_replica_snapshot`].
    FeedReplicas,
    /// Look in the log for what a replica lacks; tell `Engine::replica_searched`.
    FeedFromLog {
        /// The replica.
        session: SessionId,
        /// The position in the stream behind which it lacks it.
        from: u64,
        /// That up to which it does.
        to: u64,
    },
    /// FLUSHALL has run: give up a snapshot that is being written, which would bring back what is gone.
    Flushed {
        /// Write another one.
        save: bool,
        /// Who waits for that and gets OK in any case.
        session: Option<SessionId>,
    },
    /// Rewrite the log.
    RewriteLog,
    /// End the process.
    Shutdown {
        /// Who asked (gets an error if it fails).
        session: SessionId,
        /// SAVE or NOSAVE; `None`: as configured.
        save: Option<bool>,
        /// Do not wait for anybody.
        now: bool,
        /// Also if saving fails.
        force: bool,
    },
    /// Another master is to be followed than before, or none: see `Engine::master_order`.
    Follow,
    /// The configuration has changed; these directives may concern the server.
    ConfigChanged {
        /// Their names.
        names: Vec<&'static str>,
    },
    /// Write the configuration into its file.
    RewriteConfig {
        /// Who waits; nobody does in a transaction.
        session: Option<SessionId>,
    },
    /// Write the users into the ACL file.
    SaveAcl {
        /// Who waits; nobody does in a transaction.
        session: Option<SessionId>,
    },
    /// Read the users from the ACL file.
    LoadAcl {
        /// Who waits.
        session: SessionId,
    },
    /// Free memory.
    Free {
        /// What is to be dropped.
        trash: Trash,
    },
    /// A line for the server's log.
    Log {
        /// 0 debug, 1 verbose, 2 notice, 3 warning.
        level: u8,
        /// The text.
        text: String,
    },
    /// Load the data set again (DEBUG RELOAD, DEBUG LOADAOF).
    Reload {
        /// Who waits.
        session: SessionId,
        /// In which way.
        how: Reload,
    },
    /// Wait so long before each write of the log (DEBUG AOF-FLUSH-SLEEP).
    SleepBeforeLogging {
        /// Who waits until that holds.
        session: SessionId,
        /// Microseconds; 0 for not at all.
        sleep_us: u64,
    },
    /// Send keys to another server; tell `Engine::migrated`.
    Migrate {
        /// Who waits.
        session: SessionId,
        /// What goes where.
        migration: Box<crate::Migration>,
    },
    /// End the process at once and without saving anything (DEBUG SEGFAULT and its like).
    Crash {
        /// For the server's log.
        why: String,
    },
}

/// How the data set is loaded again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reload {
    /// From the log, else from the snapshot.
    pub from_log: bool,
    /// Write the snapshot first.
    pub save: bool,
    /// Throw away what is there.
    pub flush: bool,
    /// What is loaded takes the place of what is there under the same key; without it that is an error.
    pub merge: bool,
}

impl core::fmt::Debug for Job {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Job::VerifyPassword { .. } => "VerifyPassword",
            Job::HashPasswords { .. } => "HashPasswords",
            Job::FindPasswords { .. } => "FindPasswords",
            Job::Save { .. } => "Save",
            Job::Copy { .. } => "Copy",
            Job::FeedReplicas => "FeedReplicas",
            Job::FeedFromLog { .. } => "FeedFromLog",
            Job::Flushed { .. } => "Flushed",
            Job::RewriteLog => "RewriteLog",
            Job::Shutdown { .. } => "Shutdown",
            Job::Follow => "Follow",
            Job::ConfigChanged { .. } => "ConfigChanged",
            Job::RewriteConfig { .. } => "RewriteConfig",
            Job::SaveAcl { .. } => "SaveAcl",
            Job::LoadAcl { .. } => "LoadAcl",
            Job::Free { .. } => "Free",
            Job::Log { .. } => "Log",
            Job::Reload { .. } => "Reload",
            Job::SleepBeforeLogging { .. } => "SleepBeforeLogging",
            Job::Migrate { .. } => "Migrate",
            Job::Crash { .. } => "Crash",
        })
    }
}
