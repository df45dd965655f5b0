//! A master's side: the stream, its last bytes, and how far each replica is.
//!
//! The stream is what the log holds, in the order of execution, with two kinds of commands more that only replicas get: pings, and
//! requests to acknowledge. They wait in `due` until what was executed before them is fed, so that a position that was told once holds.
//! A master that never had a replica has no backlog, counts nothing, and costs nothing.
//!
//! A replica has a `Master` too: it *relays* the stream that it follows, byte for byte and under the name that its own master gives it, to
//! replicas of its own and into its backlog. So whoever of a family of replicas is promoted can go on with the others: it gives the
//! history another name ([`Master::lead`]) and remembers the former one, up to the offset of that moment.
//!
//! *Invariants:* the backlog ends at `offset`; a replica that is online has been sent all up to `offset`, or what it lacks is held for it in
//! the backlog, as all behind its snapshot is for one that receives or loads; what is held is bounded, by the limit of a replica's output.

mod backlog;
mod former;
mod pace;
mod replica;

use std::fmt;

pub use backlog::Backlog;
pub use replica::{Announced, Replica, Stage};

use crate::ReplicationId;
use crate::replica::Point;
use former::Former;
use pace::Pace;

const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";
const GETACK: &[u8] = b"*3\r\n$8\r\nREPLCONF\r\n$6\r\nGETACK\r\n$1\r\n*\r\n";

/// How often a replica that waits for a snapshot is shown that its master is alive, microseconds.
const SIGN_PERIOD_US: u64 = 1_000_000;

/// Bytes of what is held for a replica that it is sent at a time.
const PART_BYTES: usize = 256 << 10;

/// Bytes that may be left to send to it when it is sent the next part.
const PENDING_BYTES_MAX: usize = 1 << 20;

/// Replicas for which the log is read at a time; who comes beyond that gets a snapshot.
const OLDER_MAX: usize = 4;

/// What the configuration says of replicas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Bytes of the backlog.
    pub backlog_bytes: usize,
    /// How long the backlog outlives the last replica, microseconds; none for ever.
    pub backlog_ttl_us: Option<u64>,
    /// Time between two pings, microseconds.
    pub ping_period_us: u64,
    /// Silence after which a replica is given up, microseconds.
    pub timeout_us: u64,
    /// Bytes that may be held for a replica; 0 for no limit.
    pub held_bytes_max: u64,
    /// Bytes that may be held for a replica for some time only; 0 for no limit.
    pub held_bytes_soft: u64,
    /// That time, microseconds.
    pub soft_us: u64,
}

/// What a replica asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked<'a> {
    /// A snapshot, and what follows it (SYNC).
    Snapshot,
    /// The stream of this history from this byte on, the first being 1; a snapshot where that is not to be had (PSYNC).
    From(&'a [u8], i64),
}

impl Asked<'_> {
    /// The position behind which the stream is asked for, and of which history, if these can be.
    fn place(self) -> Option<(u64, ReplicationId)> {
        let Asked::From(id, first) = self else { return None };
        let position = u64::try_from(first).ok()?.checked_sub(1)?;
        Some((position, ReplicationId::parse(id)?))
    }
}

/// Why a replica is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// It was silent for too long.
    Silent,
    /// More was held for it than may be.
    Overrun,
    /// It cannot read this version of RDB.
    Version(u16),
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Closed::Silent => f.write_str("it was silent for longer than repl-timeout"),
            Closed::Overrun => f.write_str("more waited for it than its output buffer limit allows"),
            Closed::Version(version) => {
                write!(f, "the data set needs RDB version {version}, which it cannot read")
            }
        }
    }
}

/// What is wanted of whoever owns the connections, in this order.
#[derive(Debug, PartialEq, Eq)]
pub enum Wish<I> {
    /// A replica is to be sent this.
    Send(I, Vec<u8>),
    /// A replica is to be closed, behind what it was sent. It is known here no more.
    Close(I, Closed),
    /// A snapshot is to begin; see [`Master::begin_snapshot`].
    Snapshot,
    /// The log is to be looked at for the stream between these two positions; see [`Master::searched`].
    Older(I, u64, u64),
}

/// What a replica has of the former history that its master lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Behind {
    /// That history, and up to where it is that of the master.
    pub former: Point,
    /// What the replica calls it.
    pub name: ReplicationId,
    /// What the replica's history was called before, and up to where, as far as it told.
    pub renamed: Option<Point>,
    /// Bytes that the replica has behind that.
    pub lacked: u64,
    /// The master has executed nothing since, so that it can go on there first.
    pub can_catch_up: bool,
}

/// How replicas were resynchronised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// By a snapshot.
    pub full: u64,
    /// By the backlog.
    pub partial_ok: u64,
    /// By a snapshot although they had asked for a part of the stream.
    pub partial_err: u64,
}

/// See the module. `I` names the clients that replicas are.
#[derive(Debug)]
pub struct Master<I> {
    settings: Settings,
    id: ReplicationId,
    /// Which of its histories `id` names.
    history: u64,
    offset: u64,
    /// The position behind what was executed last: nothing behind it changes data.
    settled: u64,
    /// The names that the history had before, and up to where it is the same.
    former: Former,
    /// Others know `id`: replicas were told, or the master has told it.
    is_told: bool,
    /// The stream is that of a master, and nothing of its own is put into it.
    relays: bool,
    /// Nothing but what is executed is put into the stream; see [`Master::be_silent`].
    is_silent: bool,
    /// There is a log that may have what the backlog has no more.
    has_log: bool,
    /// Somebody was closed because more waited for it than may while the log was read for it: who comes next gets a snapshot.
    log_was_slow: bool,
    backlog: Option<Backlog>,
    replicas: Vec<Replica<I>>,
    wishes: Vec<Wish<I>>,
    /// Among what was wished to be sent is some of what was held.
    sends_held: bool,
    /// What replicas are to be sent behind what was executed.
    due: Vec<u8>,
    /// A request to acknowledge is among that.
    asks: bool,
    pinged_us: u64,
    shown_us: u64,
    /// Since when there has been no replica, microseconds.
    alone_since_us: u64,
    pace: Pace,
    counts: Counts,
}

impl<I: Copy + Eq> Master<I> {
    /// One without replicas, of a data set that is named by `id`.
    pub fn new(id: ReplicationId) -> Master<I> {
        Master {
            settings: Settings::default(),
            id,
            history: 1,
            offset: 0,
            settled: 0,
            former: Former::default(),
            is_told: false,
            relays: false,
            is_silent: false,
            has_log: false,
            log_was_slow: false,
            backlog: None,
            replicas: Vec::new(),
            wishes: Vec::new(),
            sends_held: false,
            due: Vec::new(),
            asks: false,
            pinged_us: 0,
            shown_us: 0,
            alone_since_us: 0,
            pace: Pace::default(),
            counts: Counts::default(),
        }
    }

    /// Takes over what the configuration says.
    pub fn configure(&mut self, settings: Settings) {
        if let Some(backlog) =
            self.backlog.as_mut().filter(|_| settings.backlog_bytes != self.settings.backlog_bytes)
        {
            backlog.resize(settings.backlog_bytes);
        }
        self.settings = settings;
    }

    /// Whether there is a log that may have what the backlog has no more.
    pub fn set_has_log(&mut self, has_log: bool) {
        self.has_log = has_log;
    }

    // What is told.

    /// The name of the history.
    pub fn id(&self) -> ReplicationId {
        self.id
    }

    /// The number of the history among those that this stream was of, from 1 on: it rises with each other name, and who asks at every
    /// request compares it instead of names. Positions of two histories are not to be compared: what is behind a place in one may never
    /// have been in the other.
    #[inline]
    pub fn history(&self) -> u64 {
        self.history
    }

    /// The former name of the history, the last one, and the offset up to which it holds.
    pub fn former(&self) -> Option<Point> {
        self.former.last()
    }

    /// The place of the data set in a history, by the name that others are most likely to know; none while nothing is counted.
    pub fn place(&self) -> Option<Point> {
        let own = Point { id: self.id, offset: self.offset };
        let former = self.former().filter(|former| former.offset == self.offset && !self.is_told);
        self.is_fed().then_some(former.unwrap_or(own))
    }

    /// The first place in a history at which the data set is as it is now. What a master has put behind it by itself, pings, its replicas
    /// may never have seen: one that was promoted can let it go on from here.
    pub fn settled(&self) -> Option<Point> {
        self.place().map(|place| Point { offset: self.settled, ..place })
    }

    /// Bytes of the stream so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The last bytes of the stream; none before the first replica.
    pub fn backlog(&self) -> Option<&Backlog> {
        self.backlog.as_ref()
    }

    /// Whether what is executed is to be fed.
    pub fn is_fed(&self) -> bool {
        self.backlog.is_some()
    }

    /// Whether something waits to be fed beside what is executed.
    pub fn has_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// How replicas were resynchronised.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Begins to count anew.
    pub fn reset_counts(&mut self) {
        self.counts = Counts::default();
    }

    /// The replicas, in the order of their coming.
    pub fn replicas(&self) -> &[Replica<I>] {
        &self.replicas
    }

    /// A client, if it is a replica.
    pub fn find(&self, who: I) -> Option<&Replica<I>> {
        self.replicas.iter().find(|replica| replica.who == who)
    }

    fn find_mut(&mut self, who: I) -> Option<&mut Replica<I>> {
        self.replicas.iter_mut().find(|replica| replica.who == who)
    }

    fn online(&self) -> impl Iterator<Item = &Replica<I>> {
        self.replicas.iter().filter(|replica| replica.stage == Stage::Online)
    }

    /// How many replicas have applied the stream up to `offset`.
    pub fn acked(&self, offset: u64) -> usize {
        self.online().filter(|replica| replica.acked >= offset).count()
    }

    /// Up to where `count` replicas have applied the stream; 0 where there are not so many.
    pub fn acked_by(&self, count: usize) -> u64 {
        let mut acked: Vec<u64> = self.online().map(|replica| replica.acked).collect();
        acked.sort_unstable_by(|a, b| b.cmp(a));
        count.checked_sub(1).and_then(|at| acked.get(at).copied()).unwrap_or(0)
    }

    /// How many replicas have the stream up to `offset` in a log on their disks.
    pub fn logged(&self, offset: u64) -> usize {
        self.online().filter(|replica| replica.logged >= offset && replica.logged > 0).count()
    }

    /// How many replicas are online and were heard of in the last `lag_us_max` microseconds.
    pub fn good(&self, now_us: u64, lag_us_max: u64) -> usize {
        self.good_ones(now_us, lag_us_max).count()
    }

    /// How many of them were in this history before it got its name of now, and have gone on in it since: they have, or have brought, all
    /// that they have acknowledged of it. What others had acknowledged who were given a copy, nobody knows.
    pub fn good_that_have_gone_on(&self, now_us: u64, lag_us_max: u64) -> usize {
        self.good_ones(now_us, lag_us_max).filter(|replica| replica.has_gone_on).count()
    }

    fn good_ones(&self, now_us: u64, lag_us_max: u64) -> impl Iterator<Item = &Replica<I>> {
        self.online().filter(move |replica| now_us.saturating_sub(replica.heard_us) <= lag_us_max)
    }

    /// For how long that one has been online that has been so for the longest, microseconds; none where none is.
    pub fn longest_online_us(&self, now_us: u64) -> Option<u64> {
        self.online().map(|replica| now_us.saturating_sub(replica.online_us)).max()
    }

    /// Bytes that are held for replicas, however many they are, beside what the backlog has anyway.
    pub fn held_bytes(&self) -> usize {
        self.backlog.as_ref().map_or(0, Backlog::held_bytes)
    }

    /// Whether a replica is being sent a snapshot, a part of the log, or what was held for it.
    pub fn is_sending(&self) -> bool {
        self.replicas.iter().any(|replica| match replica.stage {
            Stage::Receiving | Stage::Fetching => true,
            Stage::Online => replica.held_from.is_some(),
            _ => false,
        })
    }

    /// What is wanted since the last call.
    pub fn take_wishes(&mut self) -> Vec<Wish<I>> {
        std::mem::take(&mut self.wishes)
    }

    /// Whether some of what was held for replicas is to be sent: all of the stream until now has to be in the log before.
    #[inline]
    pub fn sends_held(&self) -> bool {
        self.sends_held
    }

    /// The same, of what was wished since the last call.
    #[inline]
    pub fn take_sends_held(&mut self) -> bool {
        std::mem::take(&mut self.sends_held)
    }

    // The stream.

    /// Takes what was executed since the last call, and sends it on with what was due behind it.
    pub fn feed(&mut self, executed: &[u8]) {
        let due = std::mem::take(&mut self.due);
        self.asks = false;
        self.add(executed);
        if !executed.is_empty() {
            self.settled = self.offset;
        }
        self.add(&due);
    }

    fn add(&mut self, bytes: &[u8]) {
        let Some(backlog) = self.backlog.as_mut().filter(|_| !bytes.is_empty()) else { return };
        self.offset += bytes.len() as u64;
        backlog.push(bytes);
        for replica in &mut self.replicas {
            if replica.stage == Stage::Online && replica.held_from.is_none() {
                self.wishes.push(Wish::Send(replica.who, bytes.to_vec()));
            }
        }
        let (max, end) = (self.held_bytes_max(), self.offset);
        self.close_overrun(|replica| replica.held_bytes(end) > max);
    }

    /// As Redis has it, a limit that is smaller than the backlog is as large as that.
    fn held_bytes_max(&self) -> u64 {
        match self.settings.held_bytes_max {
            0 => u64::MAX,
            max => max.max(self.settings.backlog_bytes as u64),
        }
    }

    fn close_those(&mut self, why: impl Fn(&Replica<I>) -> Option<Closed>) {
        let wishes = &mut self.wishes;
        self.replicas.retain(|replica| {
            let closed = why(replica);
            wishes.extend(closed.map(|why| Wish::Close(replica.who, why)));
            closed.is_none()
        });
        self.hold();
    }

    /// Has the backlog keep what replicas lack.
    fn hold(&mut self) {
        let from = self.replicas.iter().filter_map(|replica| replica.held_from).min();
        if let Some(backlog) = &mut self.backlog {
            backlog.hold(from);
        }
    }

    /// Closes those for whom too much waits.
    fn close_overrun(&mut self, is_over: impl Fn(&Replica<I>) -> bool) {
        let is_from_log = |replica: &Replica<I>| matches!(replica.stage, Stage::Searching | Stage::Fetching);
        self.log_was_slow |= self.replicas.iter().any(|replica| is_from_log(replica) && is_over(replica));
        self.close_those(|replica| is_over(replica).then_some(Closed::Overrun));
    }

    /// Has all replicas acknowledge what they have applied, as soon as they have been sent what was executed until now.
    pub fn ask(&mut self) {
        if self.is_fed() && !self.relays && !self.is_silent && !std::mem::replace(&mut self.asks, true) {
            self.due.extend_from_slice(GETACK);
        }
    }

    /// Puts nothing into the stream by itself from now on, or does so again: another history may have to be caught up with first.
    pub fn be_silent(&mut self, is_silent: bool) {
        self.is_silent = is_silent;
    }

    // What the history is.

    /// The data set is at this place of a master's history, and what follows is relayed ([`Master::relay`]). Where nothing was known of
    /// that history, the backlog begins here; where it only has another name, the one it had is remembered.
    pub fn follow(&mut self, point: Point) {
        self.relays = true;
        self.due.clear();
        self.asks = false;
        if self.backlog.is_none() || self.offset != point.offset {
            self.backlog = Some(Backlog::new(self.settings.backlog_bytes, point.offset));
            self.set_id(point.id);
            (self.offset, self.former) = (point.offset, Former::default());
        } else if self.id != point.id {
            self.rename_to(point.id);
        }
        (self.is_told, self.settled) = (true, self.offset);
    }

    /// Puts nothing into the stream by itself from now on: it is, or is to be, that of a master.
    pub fn stop_leading(&mut self) {
        self.relays = true;
        self.due.clear();
        self.asks = false;
    }

    /// The stream is its own as before: what it was to be given up for does not happen.
    pub fn go_on_leading(&mut self) {
        self.relays = false;
    }

    /// The history that is followed had its former name up to there, which may be further than the data here is.
    pub fn renamed_at(&mut self, offset: u64) {
        self.former.reaches(offset);
    }

    /// What was applied of a master's stream.
    pub fn relay(&mut self, bytes: &[u8]) {
        self.add(bytes);
        self.settled = self.offset;
    }

    /// The stream is its own from now on, under another name. The former one holds up to here.
    pub fn lead(&mut self, fresh: ReplicationId, now_us: u64) {
        (self.relays, self.alone_since_us) = (false, now_us);
        self.rename_to(fresh);
    }

    fn rename_to(&mut self, id: ReplicationId) {
        if let Some(place) = self.place() {
            self.former = Former::of(Some(place));
        }
        self.set_id(id);
        self.is_told = false;
    }

    fn set_id(&mut self, id: ReplicationId) {
        self.history += u64::from(self.id != id);
        self.id = id;
    }

    /// The data set was read from a disk, and is at this place of a history. `fresh` names what follows, if it is not relayed.
    pub fn restore(&mut self, point: Point, fresh: ReplicationId, now_us: u64) {
        let relays = self.relays;
        self.backlog = None;
        self.follow(point);
        if !relays {
            self.lead(fresh, now_us);
        }
    }

    /// How far this history had come in the former one, and how much more of that somebody has who asks to go on there; none where nobody
    /// does. The former master may have started again and given that another name, behind the place at which this one left it: `renamed` is
    /// what the history that is asked for was called before.
    pub fn behind(&self, asked: Asked<'_>, renamed: Option<Point>) -> Option<Behind> {
        let (position, name) = asked.place()?;
        let former = self.former.shared(name, renamed).filter(|_| name != self.id)?;
        let lacked = position.checked_sub(former.offset).filter(|lacked| *lacked > 0)?;
        let can_catch_up = self.offset == former.offset;
        Some(Behind { former, name, renamed, lacked, can_catch_up })
    }

    /// These bytes of the former history, of which a replica has told, were executed here, behind the place at which this one left it and
    /// before anything else: up to their end both are the same. Where there are none, nothing is known that was not before.
    pub fn catch_up(&mut self, behind: Behind, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.add(bytes);
        self.settled = self.offset;
        self.former.goes_on(behind.name, behind.renamed, self.offset);
    }

    // Replicas.

    /// A client wants to be a replica. `fresh` names the history if there is none that anybody could know.
    pub fn resync(
        &mut self,
        who: I,
        announced: Announced,
        asked: Asked<'_>,
        fresh: ReplicationId,
        now_us: u64,
    ) {
        if self.find(who).is_some() {
            return;
        }
        if self.backlog.is_none() {
            self.set_id(fresh);
            self.backlog = Some(Backlog::new(self.settings.backlog_bytes, self.offset));
            self.settled = self.offset;
        }
        let is_plain = asked == Asked::Snapshot;
        let position = self.position(asked, announced.former);
        let has_gone_on = self.has_gone_on(asked, announced.former);
        let replica = |stage| Replica::new(who, announced.clone(), stage, is_plain, now_us);
        if let Some(position) = position.filter(|position| self.has(*position)) {
            self.counts.partial_ok += 1;
            self.is_told |= announced.takes_id;
            self.wishes.push(Wish::Send(who, going_on(&announced, self.id, self.former)));
            let held_from = Some(position);
            let replica = replica(Stage::Online);
            self.replicas.push(Replica { acked: position, held_from, has_gone_on, ..replica });
            return self.send_first(who);
        }
        if let Some(position) = position.filter(|position| self.may_search(*position))
            && !std::mem::take(&mut self.log_was_slow)
        {
            self.wishes.push(Wish::Older(who, position, self.offset));
            let held_from = Some(self.offset);
            let replica = replica(Stage::Searching);
            self.replicas.push(Replica { acked: position, held_from, has_gone_on, ..replica });
            return self.hold();
        }
        self.counts.partial_err += u64::from(matches!(asked, Asked::From(id, _) if id != b"?"));
        self.want_snapshot();
        self.replicas.push(replica(Stage::Waiting));
        self.begin_wanted(now_us);
    }

    /// Whether the backlog has all that follows this position.
    fn has(&self, position: u64) -> bool {
        let backlog = self.backlog.as_ref();
        position <= self.offset && backlog.is_some_and(|backlog| backlog.first() <= position)
    }

    /// Whether the log may have what follows `position`, and is to be looked at.
    fn may_search(&self, position: u64) -> bool {
        let is_older = |replica: &&Replica<I>| matches!(replica.stage, Stage::Searching | Stage::Fetching);
        // The log of who relays a stream holds what that did, and not the stream.
        self.has_log
            && !self.relays
            && position < self.offset
            && self.replicas.iter().filter(is_older).count() < OLDER_MAX
    }

    fn want_snapshot(&mut self) {
        self.counts.full += 1;
        if !self.waits() {
            self.pace.want();
        }
    }

    /// The log was looked at for what a replica lacks, and has it, or not.
    pub fn searched(&mut self, who: I, is_there: bool, now_us: u64) {
        let (id, former, wishes) = (self.id, self.former, &mut self.wishes);
        let replica = self.replicas.iter_mut().find(|replica| replica.who == who);
        let Some(replica) = replica.filter(|replica| replica.stage == Stage::Searching) else { return };
        replica.heard_us = now_us;
        if is_there {
            replica.stage = Stage::Fetching;
            self.is_told |= replica.announced.takes_id;
            wishes.push(Wish::Send(who, going_on(&replica.announced, id, former)));
            self.counts.partial_ok += 1;
            return;
        }
        (replica.acked, replica.held_from, replica.has_gone_on) = (0, None, false);
        self.counts.partial_err += 1;
        self.want_snapshot();
        if let Some(replica) = self.find_mut(who) {
            replica.stage = Stage::Waiting;
        }
        self.hold();
        self.begin_wanted(now_us);
    }

    /// A replica was sent all that it lacked when it came.
    pub fn fetched(&mut self, who: I, now_us: u64) {
        if let Some(replica) = self.find_mut(who).filter(|replica| replica.stage == Stage::Fetching) {
            (replica.stage, replica.heard_us) = (Stage::Loading, now_us);
            self.bring_online(who, now_us);
        }
    }

    fn waits(&self) -> bool {
        self.replicas.iter().any(|replica| replica.stage == Stage::Waiting)
    }

    fn begin_wanted(&mut self, now_us: u64) {
        if self.waits() && self.pace.begins(now_us) {
            self.wishes.push(Wish::Snapshot);
        }
    }

    /// The position behind which a replica asks for the stream, if it is one of this history; `renamed` as for [`Master::behind`].
    fn position(&self, asked: Asked<'_>, renamed: Option<Point>) -> Option<u64> {
        let (position, name) = asked.place()?;
        let is_shared = || self.former.shared(name, renamed).is_some_and(|former| position <= former.offset);
        (name == self.id || is_shared()).then_some(position)
    }

    /// Whether who asks so was in this history when it had its former name. Who asks under the name of now has to tell the former one.
    fn has_gone_on(&self, asked: Asked<'_>, renamed: Option<Point>) -> bool {
        asked.place().is_some_and(|(_, name)| self.former.shared(name, renamed).is_some())
    }

    /// A snapshot of this moment begins, of this version of RDB, which ends with `mark`; what was executed before was fed. Those who
    /// get it as it is made, and those for whom it is to be spooled; all have been told where it is in the stream. What is executed from
    /// now on must tell its database first.
    pub fn begin_snapshot(&mut self, rdb_version: u16, mark: &[u8]) -> (Vec<I>, Vec<I>) {
        let is_waiting = |replica: &Replica<I>| replica.stage == Stage::Waiting;
        for replica in self.replicas.iter().filter(|r| is_waiting(r) && !r.announced.reads(rdb_version)) {
            let why = format!("-ERR {}\r\n", Closed::Version(rdb_version));
            self.wishes.push(Wish::Send(replica.who, why.into_bytes()));
        }
        self.close_those(|replica| {
            let is_refused = is_waiting(replica) && !replica.announced.reads(rdb_version);
            is_refused.then_some(Closed::Version(rdb_version))
        });
        let (mut live, mut spooled) = (Vec::new(), Vec::new());
        self.is_told = true;
        for replica in self.replicas.iter_mut().filter(|replica| is_waiting(replica)) {
            replica.held_from = Some(self.offset);
            let mut head = match replica.is_plain {
                true => Vec::new(),
                false => format!("+FULLRESYNC {} {}\r\n", self.id, self.offset).into_bytes(),
            };
            if replica.announced.takes_mark {
                replica.stage = Stage::Receiving;
                head.extend_from_slice(&[b"$EOF:", mark, b"\r\n"].concat());
                live.push(replica.who);
            } else {
                replica.stage = Stage::Spooling;
                spooled.push(replica.who);
            }
            self.wishes.push(Wish::Send(replica.who, head));
        }
        self.hold();
        (live, spooled)
    }

    /// The snapshot of a replica is spooled, and has so many bytes, which follow.
    pub fn snapshot_spooled(&mut self, who: I, bytes: u64) {
        if let Some(replica) = self.find_mut(who).filter(|replica| replica.stage == Stage::Spooling) {
            replica.stage = Stage::Receiving;
            self.wishes.push(Wish::Send(who, format!("${bytes}\r\n").into_bytes()));
        }
    }

    /// A replica was sent all of its snapshot.
    pub fn snapshot_sent(&mut self, who: I, now_us: u64) {
        let Some(replica) = self.find_mut(who).filter(|replica| replica.stage == Stage::Receiving) else {
            return;
        };
        (replica.stage, replica.heard_us) = (Stage::Loading, now_us);
        if !replica.announced.takes_mark {
            self.bring_online(who, now_us);
        }
    }

    /// Begins to send a replica that has its snapshot what was held for it.
    fn bring_online(&mut self, who: I, now_us: u64) {
        let Some(replica) = self.find_mut(who).filter(|replica| replica.stage == Stage::Loading) else {
            return;
        };
        (replica.stage, replica.online_us) = (Stage::Online, now_us);
        self.pace.read();
        self.send_first(who);
    }

    /// Sends a replica, of whom nothing is known to be left to send, the first parts of what is held for it.
    fn send_first(&mut self, who: I) {
        self.send_held(|other| if other == who { 0 } else { usize::MAX });
    }

    /// So many bytes are left to send to a replica. Where these are enough, what follows is held for it.
    pub fn has_left(&mut self, who: I, pending: usize) {
        let end = self.offset;
        let is_sent_all =
            |replica: &&mut Replica<I>| replica.stage == Stage::Online && replica.held_from.is_none();
        if pending > PENDING_BYTES_MAX
            && let Some(replica) = self.find_mut(who).filter(is_sent_all)
        {
            replica.held_from = Some(end);
            self.hold();
        }
    }

    /// Sends replicas that are online the next parts of what is held for them. `pending` tells how many bytes are left to send to one: who
    /// has enough of them is sent nothing.
    pub fn send_held(&mut self, pending: impl Fn(I) -> usize) {
        let Some(backlog) = &self.backlog else { return };
        let is_sent = |replica: &&mut Replica<I>| replica.stage == Stage::Online;
        for replica in self.replicas.iter_mut().filter(is_sent) {
            let Some(mut from) = replica.held_from else { continue };
            let mut left = pending(replica.who);
            while from < self.offset
                && left <= PENDING_BYTES_MAX
                && let Some(part) = backlog.part(from, PART_BYTES)
            {
                debug_assert!(!part.is_empty(), "what is not sent is held");
                from += part.len() as u64;
                left += part.len();
                self.wishes.push(Wish::Send(replica.who, part));
                self.sends_held = true;
            }
            // Who has enough left goes on being held back, though nothing has come yet.
            replica.held_from = (from < self.offset || left > PENDING_BYTES_MAX).then_some(from);
        }
        self.hold();
    }

    /// A replica says up to where it has applied the stream and, maybe, up to where its log is on its disk. Whether it is one.
    pub fn ack(&mut self, who: I, applied: u64, logged: Option<u64>, now_us: u64) -> bool {
        let end = self.offset;
        let Some(replica) = self.find_mut(who) else { return false };
        // None can have more than there is.
        replica.acked = replica.acked.max(applied.min(end));
        replica.logged = replica.logged.max(logged.unwrap_or(0).min(end));
        replica.heard_us = now_us;
        self.bring_online(who, now_us);
        true
    }

    /// A replica has shown that it is alive.
    pub fn heard(&mut self, who: I, now_us: u64) {
        if let Some(replica) = self.find_mut(who) {
            replica.heard_us = now_us;
        }
    }

    /// A client has gone.
    pub fn remove(&mut self, who: I, now_us: u64) {
        let before = self.replicas.len();
        self.replicas.retain(|replica| replica.who != who);
        self.hold();
        if self.replicas.len() < before && self.replicas.is_empty() {
            self.alone_since_us = now_us;
        }
    }

    /// The regular work, some times a second. `fresh` names the history from now on if nobody may go on in this one.
    pub fn tick(&mut self, now_us: u64, fresh: impl FnOnce() -> ReplicationId) {
        if self.backlog.is_none() {
            return;
        }
        if self.replicas.is_empty() {
            let alone_us = now_us.saturating_sub(self.alone_since_us);
            // A replica may be promoted, and is to be of use to the others then; who was, may be brought what it lacks of the former history.
            let ends = self.settings.backlog_ttl_us.is_some_and(|ttl_us| alone_us > ttl_us);
            if ends && !self.relays && !self.is_silent {
                self.forget(fresh());
            }
            return;
        }
        if !self.relays && !self.is_silent && now_us >= self.pinged_us + self.settings.ping_period_us {
            self.pinged_us = now_us;
            self.due.extend_from_slice(PING);
        }
        self.begin_wanted(now_us);
        self.show_signs(now_us);
        self.close_silent(now_us);
        if self.replicas.is_empty() {
            self.alone_since_us = now_us;
        }
    }

    /// What was executed is of no history any more that a replica could go on in: there is no backlog, and another name.
    pub fn forget(&mut self, fresh: ReplicationId) {
        self.backlog = None;
        self.rename(fresh);
        self.due.clear();
        self.asks = false;
    }

    /// The history has another name from now on, under which replicas cannot go on.
    pub fn rename(&mut self, fresh: ReplicationId) {
        self.set_id(fresh);
        (self.former, self.is_told) = (Former::default(), false);
    }

    fn show_signs(&mut self, now_us: u64) {
        if now_us < self.shown_us + SIGN_PERIOD_US {
            return;
        }
        self.shown_us = now_us;
        let waits = |replica: &&Replica<I>| {
            matches!(replica.stage, Stage::Waiting | Stage::Spooling | Stage::Searching)
        };
        let waiting = self.replicas.iter().filter(waits);
        self.wishes.extend(waiting.map(|replica| Wish::Send(replica.who, b"\n".to_vec())));
    }

    fn close_silent(&mut self, now_us: u64) {
        let Settings { timeout_us, held_bytes_soft, soft_us, .. } = self.settings;
        let soft = if held_bytes_soft == 0 { u64::MAX } else { held_bytes_soft };
        let soft = soft.max(self.settings.backlog_bytes as u64);
        for replica in &mut self.replicas {
            let is_over = replica.held_bytes(self.offset) > soft;
            replica.over_soft_since_us = is_over.then(|| replica.over_soft_since_us.unwrap_or(now_us));
        }
        self.close_those(|replica| {
            // Who came by SYNC says nothing; who is sent a snapshot is watched by whoever sends it.
            let speaks = matches!(replica.stage, Stage::Online | Stage::Loading) && !replica.is_plain;
            let is_silent = now_us.saturating_sub(replica.heard_us) > timeout_us;
            (speaks && is_silent).then_some(Closed::Silent)
        });
        self.close_overrun(|replica| {
            replica.over_soft_since_us.is_some_and(|since_us| now_us - since_us > soft_us)
        });
    }
}

/// What is said to a replica that goes on where it was. Tandems are told up to where the history had its former name, too: they may be
/// behind that.
fn going_on(announced: &Announced, id: ReplicationId, former: Former) -> Vec<u8> {
    let name = if announced.takes_id { format!(" {id}") } else { String::new() };
    let until = former.told(announced.former).filter(|_| announced.takes_id && announced.gives_tail);
    let until = until.map_or(String::new(), |offset| format!(" {offset}"));
    format!("+CONTINUE{name}{until}\r\n").into_bytes()
}

#[cfg(test)]
mod tests;
