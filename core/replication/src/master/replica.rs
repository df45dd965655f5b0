//! A replica, as its master knows it.
//!
//! ```text
//!                    a snapshot begins            all of it is sent         an acknowledgement
//!   Waiting -----------------------> Receiving -------------------> Loading ------------------> Online
//!      |                                ^                                                        ^
//!      | for those who read no mark     | all of it is written, so its length is known           |
//!      +------------> Spooling ---------+------------------- all of it is sent ------------------+
//!                                                                                                |
//!   a partial resynchronisation -----------------------------------------------------------------+
//!                                                                                                |
//!   Searching --the log has what it lacks--> Fetching --all of that is sent-----------------------+
//!      +------ it has not ----> Waiting
//! ```
//! From the beginning of its snapshot, or of the search, on, what is executed is held for a replica until it is online, in the one copy of
//! the stream that there is (`backlog.rs`). One that reads a snapshot up to its mark may take what follows it for a part of it, so nothing is
//! sent before it acknowledges. Then it is sent what is held a part at a time, the next one when little of the last is left to send, until it
//! has all; who takes more slowly than data changes comes to that again. Who waits, is spooled for or searched for, is sent a newline each second.

use std::fmt;

use crate::replica::Point;

/// What a replica has said of itself (REPLCONF).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Announced {
    /// The port that it listens on; 0 where it told none.
    pub port: u16,
    /// The address at which it says it is to be found; empty for the one it comes from.
    pub address: String,
    /// It reads a snapshot that ends with a mark (`capa eof`).
    pub takes_mark: bool,
    /// It takes another history's name with a partial resynchronisation (`capa psync2`).
    pub takes_id: bool,
    /// It reads what Redis 7.4 and later write (`capa rdb12`, as Tandems say).
    pub reads_rdb12: bool,
    /// It gives what it has of the former history, and this server lacks (`capa tail`, as Tandems say).
    pub gives_tail: bool,
    /// What the history that it names was called before, and up to where (`former`, as Tandems say).
    pub former: Option<Point>,
    /// Its version, where it told one.
    pub version: Option<[u16; 3]>,
}

impl Announced {
    /// Whether it can read snapshots of this version of RDB. One that tells its own version and no more is a Valkey (8.0 and later),
    /// which reads Redis' formats up to 11; others tell nothing, and refuse by themselves what they cannot read.
    pub fn reads(&self, rdb_version: u16) -> bool {
        const VALKEY_READS_MAX: u16 = 11;
        self.version.is_none() || self.reads_rdb12 || rdb_version <= VALKEY_READS_MAX
    }
}

/// How far a replica is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It lacks more than the backlog has, which is looked for in the log.
    Searching,
    /// It is sent that from the log.
    Fetching,
    /// It waits for a snapshot to begin.
    Waiting,
    /// Its snapshot is written to a file first: it must be told the length.
    Spooling,
    /// It is sent one.
    Receiving,
    /// It has been sent all of it, and has not acknowledged anything.
    Loading,
    /// It is sent what is executed.
    Online,
}

impl fmt::Display for Stage {
    /// As INFO tells it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Waiting | Stage::Spooling | Stage::Searching => "wait_bgsave",
            Stage::Receiving | Stage::Loading | Stage::Fetching => "send_bulk",
            Stage::Online => "online",
        })
    }
}

/// See the module.
#[derive(Debug)]
pub struct Replica<I> {
    pub(crate) who: I,
    pub(crate) announced: Announced,
    pub(crate) stage: Stage,
    /// It came by SYNC: it is told no name of a history, and acknowledges nothing by itself.
    pub(crate) is_plain: bool,
    /// From this position on the stream is held for it: it may not be sent that yet, or not all of it at once.
    pub(crate) held_from: Option<u64>,
    /// Since when that is more than the soft limit, microseconds.
    pub(crate) over_soft_since_us: Option<u64>,
    /// Up to where it has applied the stream, as it says.
    pub(crate) acked: u64,
    /// Up to where its log is on its disk, as it says.
    pub(crate) logged: u64,
    /// When it was last heard of, microseconds.
    pub(crate) heard_us: u64,
    /// It was in the history before that got its name of now, and is so still: it was given no copy.
    pub(crate) has_gone_on: bool,
    /// When it came online, microseconds; nothing before it is.
    pub(crate) online_us: u64,
}

impl<I: Copy> Replica<I> {
    pub(super) fn new(who: I, announced: Announced, stage: Stage, is_plain: bool, now_us: u64) -> Replica<I> {
        let (held_from, over_soft_since_us) = (None, None);
        Replica {
            who,
            announced,
            stage,
            is_plain,
            held_from,
            over_soft_since_us,
            acked: 0,
            logged: 0,
            heard_us: now_us,
            has_gone_on: false,
            online_us: now_us,
        }
    }

    /// The client that it is.
    pub fn who(&self) -> I {
        self.who
    }

    /// What it has said of itself.
    pub fn announced(&self) -> &Announced {
        &self.announced
    }

    /// How far it is.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// Up to where it has applied the stream.
    pub fn acked(&self) -> u64 {
        self.acked
    }

    /// Seconds since it was last heard of; 0 until it is online.
    pub fn lag_s(&self, now_us: u64) -> u64 {
        if self.stage == Stage::Online { now_us.saturating_sub(self.heard_us) / 1_000_000 } else { 0 }
    }

    /// Bytes that are held for it, of a stream that ends at `offset`.
    pub fn held_bytes(&self, offset: u64) -> u64 {
        self.held_from.map_or(0, |from| offset.saturating_sub(from))
    }
}
