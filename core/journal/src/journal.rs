//! The stream and what is known of it.

use std::collections::VecDeque;

use crate::marks::{Acked, Marks};
use crate::pace::Pace;
use crate::room::{News, Room};
use crate::waiting::Waiting;
use crate::{Fault, Health, Refusal, Sizes, State};

/// Bytes that may wait to be written before further writes are refused.
pub const QUEUE_BYTES_MAX: usize = 256 << 20;

/// A buffer of more than this is given back when it was written.
const SPARE_BYTES_MAX: usize = 4 << 20;

/// A sync that took longer came late, microseconds.
pub const LATE_SYNC_US: u64 = 1_000_000;

/// What must have happened to a commit before replies to its writers leave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Need {
    /// The kernel has it: it outlives the process.
    #[default]
    Written,
    /// The disk has it: it outlives the machine.
    Synced,
}

/// What the configuration says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// What replies wait for.
    pub need: Need,
    /// Replies wait for a sync while what has been acknowledged without one is older than this, microseconds; none for no bound.
    pub lag_us_max: Option<u64>,
    /// The log is synced regularly, whether somebody waits for that or not.
    pub syncs: bool,
    /// While a snapshot is written nothing is synced, and nobody waits for that.
    pub yields_to_snapshots: bool,
    /// Writes are refused where no log keeps them and the last snapshot has failed.
    pub needs_snapshots: bool,
    /// The log tells the time of its batches.
    pub timestamps: bool,
    /// Replaced files of the log stay.
    pub keeps_history: bool,
}

/// Who is to write what waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hand {
    /// Whoever has committed, at once: that does not stall, as far as can be known, and somebody watches.
    Caller,
    /// A thread that has nothing else to do.
    Appender,
    /// The thread that syncs, which writes before that.
    Syncer,
}

/// Bytes to be written, in one piece.
#[derive(Debug, PartialEq, Eq)]
pub struct Batch {
    /// The commits; come back with [`Journal::wrote`] as they were if they could not be written.
    pub bytes: Vec<u8>,
    /// The position behind them.
    pub to: u64,
    /// The time is to be told with it.
    pub timestamps: bool,
    /// It is the oldest commit alone, so it says nothing of the others.
    is_alone: bool,
    /// Nothing that may be written was left when it was taken.
    is_last: bool,
}

/// What has come of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is written; what people are to be told.
    Written(Option<News>),
    /// It waits; whether the one before it was written.
    Kept {
        /// People are to be told.
        is_new: bool,
    },
}

/// A sync under way.
#[derive(Clone, Copy, Debug)]
struct Syncing {
    to: u64,
    since_us: u64,
    /// When the first byte was written that it need not cover.
    behind_us: Option<u64>,
}

/// Replies to these commits wait for their sync, and those behind them for their turn.
#[derive(Clone, Copy, Debug, Default)]
struct Hold {
    from: u64,
    to: u64,
}

/// See the crate.
#[derive(Debug)]
pub struct Journal {
    policy: Policy,
    state: State,
    /// The bytes between what is written, or being written, and `end`.
    waiting: Waiting,
    /// An empty buffer for whoever commits next.
    spare: Vec<u8>,
    /// The positions behind the commits that are not written yet.
    ends: VecDeque<u64>,
    end: u64,
    written: u64,
    synced: u64,
    safe: u64,
    /// Up to where the kernel has it, and no sync is too far behind: what a reply waits for that is to wait for no more.
    at_hand: u64,
    /// A sync is wanted up to here, whatever the policy says.
    sync_asked: u64,
    /// Up to here nobody waits for a sync: it was put off for a snapshot.
    sync_excused: u64,
    /// Up to where enough replicas have the stream that they are sent.
    acked: Acked,
    hold: Hold,
    /// Nothing behind it may be written before the log has moved to another file.
    cut: Option<u64>,
    /// The position behind the batch that is being written.
    writing: Option<u64>,
    /// What that batch takes in memory.
    writing_bytes: usize,
    syncing: Option<Syncing>,
    /// When the oldest byte was written that is not known to be synced, microseconds; while a sync is under way, of those that it covers.
    unsynced_since_us: Option<u64>,
    /// A snapshot is being written.
    snapshot_runs: bool,
    late_syncs: u64,
    pace: Pace,
    room: Room,
    has_snapshot: bool,
    sizes: Sizes,
}

impl Journal {
    /// One without a log.
    pub fn new(policy: Policy) -> Journal {
        Journal {
            policy,
            state: State::Off,
            waiting: Waiting::default(),
            spare: Vec::new(),
            ends: VecDeque::new(),
            end: 0,
            written: 0,
            synced: 0,
            safe: 0,
            at_hand: 0,
            sync_asked: 0,
            sync_excused: 0,
            acked: Acked::default(),
            hold: Hold::default(),
            cut: None,
            writing: None,
            writing_bytes: 0,
            syncing: None,
            unsynced_since_us: None,
            snapshot_runs: false,
            late_syncs: 0,
            pace: Pace::Tried(0),
            room: Room::new(),
            has_snapshot: true,
            sizes: Sizes::default(),
        }
    }

    // Commits.

    /// Takes in what a batch of requests has left; its ticket, 0 where nothing is to be waited for.
    pub fn commit(&mut self, bytes: &mut Vec<u8>) -> u64 {
        if bytes.is_empty() || !self.state.logs() {
            bytes.clear();
            return 0;
        }
        let from = self.end;
        self.end += bytes.len() as u64;
        self.ends.push_back(self.end);
        self.room.take(bytes.len() as u64);
        if self.policy.need == Need::Synced {
            self.hold_from(from);
        }
        self.waiting.push(bytes, &mut self.spare);
        self.end
    }

    fn hold_from(&mut self, from: u64) {
        if self.synced >= self.hold.to {
            self.hold.from = from;
        }
        self.hold.to = self.end;
    }

    /// Who is to write what waits.
    pub fn hand(&self) -> Hand {
        if self.policy.need == Need::Synced {
            return Hand::Syncer;
        }
        let is_taken = self.writing.is_some() || self.syncing.is_some() || self.cut.is_some();
        if is_taken || !self.pace.is_quick() { Hand::Appender } else { Hand::Caller }
    }

    /// Somebody would watch over those who write and have clients to serve. Whether that is wanted: without it none of them
    /// begins to.
    pub fn watch(&mut self, now_us: u64) -> bool {
        self.pace.watch(now_us) || self.writing.is_some()
    }

    // Writes.

    /// The oldest commits that may be written now, in one batch: some hundred KiB, or one that is longer. Nothing where nothing waits in
    /// front of `until`, or the file takes nothing.
    ///
    /// # Panics
    /// A batch is being written.
    pub fn begin_write(&mut self, until: u64) -> Option<Batch> {
        assert_eq!(self.writing, None, "one writer at a time");
        if self.written >= until.min(self.may_write_to()) || !self.state.takes_writes() {
            return None;
        }
        let bytes = self.waiting.take_first()?;
        Some(self.begin(bytes, false))
    }

    /// The oldest commit alone, while it could not be written with those behind it: there may be room for it.
    ///
    /// # Panics
    /// A batch is being written.
    pub fn begin_first(&mut self) -> Option<Batch> {
        assert_eq!(self.writing, None, "one writer at a time");
        let is_retrying = matches!(self.state.health(), Some(Health::Retrying(_)));
        let first = self.ends.front().filter(|&&first| is_retrying && first <= self.may_write_to())?;
        let bytes = self.waiting.take_part(first - self.written)?;
        Some(self.begin(bytes, true))
    }

    /// Up to where the file may hold what is committed.
    fn may_write_to(&self) -> u64 {
        self.cut.unwrap_or(self.end)
    }

    fn begin(&mut self, bytes: Vec<u8>, is_alone: bool) -> Batch {
        let to = self.written + bytes.len() as u64;
        (self.writing, self.writing_bytes) = (Some(to), bytes.capacity());
        self.check();
        let is_last = to == self.may_write_to();
        Batch { bytes, to, timestamps: self.policy.timestamps, is_alone, is_last }
    }

    /// A batch was written, or not, which took so long.
    ///
    /// # Panics
    /// It is not the batch that was being written.
    pub fn wrote(&mut self, batch: Batch, result: Result<(), Fault>, took_us: u64, now_us: u64) -> Outcome {
        assert_eq!(self.writing.take(), Some(batch.to), "what is written was to be written");
        self.writing_bytes = 0;
        self.pace.note(took_us, now_us);
        let outcome = match result {
            Ok(()) => self.was_written(batch, now_us),
            Err(fault) => self.was_kept(batch, fault),
        };
        self.advance(now_us);
        outcome
    }

    fn was_written(&mut self, batch: Batch, now_us: u64) -> Outcome {
        self.written = batch.to;
        while self.ends.front().is_some_and(|&end| end <= batch.to) {
            self.ends.pop_front();
        }
        let is_solved =
            batch.is_last && !batch.is_alone && matches!(self.state.health(), Some(Health::Retrying(_)));
        if is_solved {
            self.state.set_health(Health::Ready);
        }
        if batch.bytes.capacity() <= SPARE_BYTES_MAX {
            self.spare = batch.bytes;
            self.spare.clear();
        }
        match &mut self.syncing {
            Some(syncing) => syncing.behind_us.get_or_insert(now_us),
            None => self.unsynced_since_us.get_or_insert(now_us),
        };
        Outcome::Written(is_solved.then_some(News::Solved))
    }

    fn was_kept(&mut self, batch: Batch, fault: Fault) -> Outcome {
        self.waiting.put_back(batch.bytes);
        match fault {
            Fault::Final(why) => Outcome::Kept { is_new: self.fail(why) },
            Fault::Retry(why) => {
                let is_new = self.state.trouble().is_none();
                self.state.set_health(Health::Retrying(why));
                Outcome::Kept { is_new }
            }
        }
    }

    /// The file is not to be trusted any more. Whether nothing had been wrong with it.
    pub fn fail(&mut self, why: String) -> bool {
        let was_well = self.state.trouble().is_none();
        self.state.set_health(Health::Failed(why));
        was_well
    }

    // Syncs.

    /// Somebody waits for a sync up to `ticket`, whatever the policy says.
    pub fn ask_for_sync(&mut self, ticket: u64) {
        self.sync_asked = self.sync_asked.max(ticket.min(self.end));
    }

    /// Whether somebody waits for a sync that has asked for it.
    fn is_asked_for_sync(&self) -> bool {
        self.sync_asked > self.synced.max(self.sync_excused)
    }

    /// Whether what waits is to be written by whoever syncs, so that the sync covers it.
    pub fn writes_before_sync(&self) -> bool {
        self.policy.need == Need::Synced || self.is_asked_for_sync()
    }

    /// Whether somebody waits for a sync, or is about to.
    pub fn wants_sync(&self, now_us: u64) -> bool {
        let is_waited_for = match self.policy.need {
            Need::Synced => self.end > self.synced,
            Need::Written => self.hold.to > self.synced || self.is_lagging(now_us),
        };
        (is_waited_for || self.is_asked_for_sync()) && self.state.takes_writes()
    }

    /// When a sync should begin although nobody waits for it, so that nobody has to.
    pub fn sync_due_us(&self) -> Option<u64> {
        Some(self.oldest_us()? + self.policy.lag_us_max? / 2)
    }

    /// Begins a sync of all that is written; false when that is not to be: the file does not take it, or a snapshot is written that has
    /// the right of way.
    ///
    /// # Panics
    /// One is under way.
    pub fn begin_sync(&mut self, now_us: u64) -> bool {
        assert!(self.syncing.is_none(), "one sync at a time");
        if self.state == State::Ending || !self.state.takes_writes() {
            return false;
        }
        if self.is_yielding() {
            // As asked for: what is written while a snapshot is may be lost with the machine.
            self.hold.from = self.hold.from.max(self.written);
            self.sync_excused = self.written;
            self.advance(now_us);
            return false;
        }
        self.syncing = Some(Syncing { to: self.written, since_us: now_us, behind_us: None });
        true
    }

    /// The sync has ended. A log that was ended or replaced meanwhile is not concerned.
    pub fn synced(&mut self, now_us: u64) {
        let Some(syncing) = self.syncing.take() else { return };
        self.synced = self.synced.max(syncing.to);
        self.unsynced_since_us = syncing.behind_us;
        self.late_syncs += u64::from(now_us.saturating_sub(syncing.since_us) > LATE_SYNC_US);
        self.advance(now_us);
    }

    /// All that is written is found to be durable.
    pub fn found_synced(&mut self, now_us: u64) {
        if !self.state.takes_writes() {
            return;
        }
        self.synced = self.written;
        self.nothing_is_unsynced();
        self.advance(now_us);
    }

    fn nothing_is_unsynced(&mut self) {
        self.unsynced_since_us = None;
        if let Some(syncing) = &mut self.syncing {
            syncing.behind_us = None;
        }
    }

    /// The sync has failed, which is final for the file. Whether nothing had been wrong with it.
    pub fn sync_failed(&mut self, why: String) -> bool {
        if let Some(Syncing { behind_us, .. }) = self.syncing.take() {
            self.unsynced_since_us = self.unsynced_since_us.or(behind_us);
        }
        self.fail(why)
    }

    /// For how long the oldest byte has been acknowledged without a sync, microseconds.
    pub fn lag_us(&self, now_us: u64) -> u64 {
        self.oldest_us().map_or(0, |since_us| now_us.saturating_sub(since_us))
    }

    /// When the oldest byte was written that is not known to be synced. The sync under way may cover none that the journal has: lines of
    /// the log's own are synced too, and meanwhile a base may have made the rest durable.
    fn oldest_us(&self) -> Option<u64> {
        self.unsynced_since_us.or_else(|| self.syncing?.behind_us)
    }

    fn is_yielding(&self) -> bool {
        self.policy.yields_to_snapshots && self.snapshot_runs
    }

    fn is_lagging(&self, now_us: u64) -> bool {
        !self.is_yielding() && self.policy.lag_us_max.is_some_and(|max| self.lag_us(now_us) > max)
    }

    // Changes of files.

    /// What is executed from now on goes to another file: nothing of it is written before [`Journal::moved`]. The position; none
    /// where nothing is logged.
    ///
    /// # Panics
    /// The one before has not been made or given up.
    pub fn cut(&mut self) -> Option<u64> {
        assert_eq!(self.cut, None, "one change of files at a time");
        self.cut = self.state.logs().then_some(self.end);
        self.waiting.close();
        self.cut
    }

    /// Whether all in front of the cut is written, and the log may move.
    pub fn is_at_cut(&self) -> bool {
        self.cut == Some(self.written)
    }

    /// The log has moved to its next file, or stays in the one it has.
    pub fn moved(&mut self) {
        self.cut = None;
    }

    /// A base is published that holds all up to `position`, which is durable with it.
    ///
    /// # Panics
    /// It holds what is not in the log.
    pub fn based(&mut self, position: u64, now_us: u64) {
        assert!(position <= self.written, "a base holds what was written");
        if let State::Starting(health) = &self.state {
            self.state = State::Running(health.clone());
        }
        self.synced = self.synced.max(position);
        if self.synced == self.written {
            self.nothing_is_unsynced();
        }
        self.advance(now_us);
    }

    /// A log is in use from now on; without a base it is not yet what a start would find.
    ///
    /// # Panics
    /// There is one.
    pub fn open(&mut self, has_base: bool) {
        assert_eq!(self.state, State::Off, "there is one log at a time");
        self.state = if has_base { State::Running(Health::Ready) } else { State::Starting(Health::Ready) };
        if has_base {
            self.synced = self.end;
        }
        self.check();
    }

    /// Nothing more is logged; what was is still written.
    pub fn close(&mut self) {
        if self.state.logs() {
            (self.state, self.cut) = (State::Ending, None);
        }
    }

    /// The log is out of use: nobody waits for it.
    ///
    /// # Panics
    /// A batch is being written.
    pub fn ended(&mut self) {
        assert_eq!(self.writing, None, "nobody writes to a log that there is not");
        self.state = State::Off;
        self.forget_until(self.end);
        (self.safe, self.at_hand, self.synced, self.cut) = (self.end, self.end, self.end, None);
    }

    /// Whether the log has failed, and nothing is done about it yet.
    pub fn wants_replacement(&self) -> bool {
        matches!(self.state.health(), Some(Health::Failed(_)))
    }

    /// A base that is to replace the failed log holds all that was executed until now; none where none has failed.
    pub fn begin_replacement(&mut self) -> Option<u64> {
        let Some(Health::Failed(why)) = self.state.health() else { return None };
        self.state = State::Replacing { covered: self.end, why: why.clone() };
        Some(self.end)
    }

    /// The replacement was not published.
    pub fn replacement_failed(&mut self) {
        if let State::Replacing { why, .. } = &self.state {
            self.state = State::Running(Health::Failed(why.clone()));
        }
    }

    /// A durable base and an empty file have taken the place of the failed log; what was executed since is still to be written.
    pub fn replaced(&mut self, now_us: u64) {
        let State::Replacing { covered, .. } = self.state else { return };
        self.state = State::Running(Health::Ready);
        self.forget_until(covered);
        self.synced = self.synced.max(covered);
        self.advance(now_us);
    }

    /// What waits in front of `position` need not be written any more.
    fn forget_until(&mut self, position: u64) {
        assert_eq!(self.writing, None, "what is being written is not forgotten");
        self.waiting.forget(position.saturating_sub(self.written));
        self.ends.retain(|&end| end > position);
        self.written = self.written.max(position);
        (self.syncing, self.unsynced_since_us) = (None, None);
    }

    // What is to be known.

    /// Replies whose ticket is not behind this may leave.
    pub fn safe(&self) -> u64 {
        self.safe
    }

    /// Up to where each promise is kept.
    pub fn marks(&self) -> Marks {
        let synced = self.synced.max(self.sync_excused);
        Marks { agreed: self.safe, written: self.at_hand, synced, acked: self.acked }
    }

    /// Enough replicas have acknowledged the stream that they are sent up to there. The position goes back only where another history of the
    /// stream begins: what was acknowledged in the old one says nothing of the new.
    pub fn acknowledged(&mut self, acked: Acked) {
        debug_assert!(acked.position < Marks::NEVER, "an offset of bytes");
        self.acked = acked;
    }

    /// The position behind the last commit.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Up to where the file has everything.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Up to where the disk has everything.
    pub fn synced_to(&self) -> u64 {
        self.synced
    }

    /// Bytes that are not written.
    pub fn unwritten(&self) -> u64 {
        self.end - self.written
    }

    /// What those bytes take in memory.
    pub fn buffer_bytes(&self) -> usize {
        self.waiting.memory_bytes() + self.writing_bytes
    }

    /// The writer's state.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// What the configuration says.
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// The configuration says this from now on.
    pub fn set_policy(&mut self, policy: Policy, now_us: u64) {
        if policy.need == Need::Synced && self.policy.need != Need::Synced {
            // What waits because the disk lags has its bound no longer: it leaves with its sync, like all that comes.
            self.hold_from(self.safe);
        }
        self.policy = policy;
        self.advance(now_us);
    }

    /// The last snapshot has succeeded, or failed.
    pub fn set_snapshot(&mut self, is_good: bool) {
        self.has_snapshot = is_good;
    }

    /// A snapshot is being written, or is through.
    pub fn set_snapshot_runs(&mut self, runs: bool) {
        self.snapshot_runs = runs;
    }

    /// Syncs that came late since the last time somebody has asked for that to be forgotten.
    pub fn late_syncs(&self) -> u64 {
        self.late_syncs
    }

    /// Counts late syncs from now on.
    pub fn forget_late_syncs(&mut self) {
        self.late_syncs = 0;
    }

    /// Sizes of the log's files.
    pub fn sizes(&self) -> Sizes {
        self.sizes
    }

    /// The same, to be told.
    pub fn sizes_mut(&mut self) -> &mut Sizes {
        &mut self.sizes
    }

    // Room and refusals.

    /// The log's disk holds so many bytes in all.
    pub fn set_disk(&mut self, total: u64) {
        self.room.set_disk(total);
    }

    /// A look at the disk has found so many bytes free, when all up to `written` was written.
    pub fn found_room(&mut self, free: u64, written: u64) -> Option<News> {
        self.room.looked(free, self.end - written)
    }

    /// What is to be told of writes that were too large for the room, once in a while.
    pub fn report_refused(&mut self, now_us: u64) -> Option<News> {
        self.room.report(now_us)
    }

    /// Whether the log is to be written anew because its disk runs short of room, which a new base of `data` bytes would give back.
    pub fn has_room_to_gain(&self, data: u64) -> bool {
        self.room.would_gain(self.sizes.all(), data)
    }

    /// A ballast is to be kept beside the log.
    pub fn want_ballast(&mut self) {
        self.room.want_ballast();
    }

    /// Whether a ballast is kept.
    pub fn keeps_ballast(&self) -> bool {
        self.room.has_use_of_ballast()
    }

    /// Whether the ballast is to be made: it is not there, and there is room enough.
    pub fn ballast_is(&mut self, is_there: bool, free: u64) -> bool {
        self.room.ballast_is(is_there, free)
    }

    /// The ballast cannot be made: it is but a help.
    pub fn give_up_ballast(&mut self) {
        self.room.give_up_ballast();
    }

    /// The disk is full; whether there is a ballast to be removed now.
    pub fn take_ballast(&mut self) -> bool {
        self.room.take_ballast()
    }

    /// What would grow is refused from now on.
    pub fn exhaust_room(&mut self) -> Option<News> {
        self.room.exhaust()
    }

    /// Whether some writes are refused, or must be measured first.
    pub fn looks_closer(&self) -> bool {
        self.refuses_for_snapshots() || (self.state.logs() && self.has_to_refuse())
    }

    /// Whether the log takes what is written, as far as is known: its last write succeeded, and there is room for all
    /// that is asked for.
    pub fn is_well(&self) -> bool {
        self.state.trouble().is_none() && !(self.state.logs() && self.room.is_short())
    }

    fn refuses_for_snapshots(&self) -> bool {
        self.policy.needs_snapshots && !self.has_snapshot && !self.state.logs()
    }

    fn is_slow(&self) -> bool {
        self.unwritten() > QUEUE_BYTES_MAX as u64
    }

    fn has_to_refuse(&self) -> bool {
        self.room.is_tight() || self.is_slow() || self.state.trouble().is_some()
    }

    /// Why a write is refused, if it is; whether it `grows`, and by how many `bytes` of the log. What takes from the data goes on inside
    /// the reserve, so that consumers can make room.
    pub fn refusal(&mut self, grows: bool, bytes: &dyn Fn() -> usize) -> Option<Refusal<'_>> {
        if self.refuses_for_snapshots() {
            return Some(Refusal::Saves);
        }
        if !self.state.logs() {
            return None;
        }
        if grows && self.room.is_tight() && self.room.is_too_small(bytes() as u64) {
            return Some(Refusal::Full);
        }
        if let Some(why) = self.state.trouble() {
            return Some(Refusal::Failing(why));
        }
        if self.is_slow() {
            return Some(Refusal::Slow);
        }
        (grows && self.room.is_exhausted()).then_some(Refusal::Full)
    }

    // Replies.

    fn advance(&mut self, now_us: u64) {
        let reached = if self.is_lagging(now_us) { self.synced } else { self.written };
        self.at_hand = self.at_hand.max(reached);
        self.safe = self.safe.max(self.releasable(reached));
        self.check();
    }

    /// Up to where the need of every commit is met, if that of those who wait for no sync is up to `reached`.
    fn releasable(&self, reached: u64) -> u64 {
        match self.synced >= self.hold.to {
            true => reached,
            false => reached.min(self.hold.from.max(self.synced)),
        }
    }

    fn check(&self) {
        assert!(self.synced <= self.written && self.written <= self.end, "what is synced is written");
        assert!(self.safe <= self.written, "no reply leaves before its commit is written");
        assert!(self.at_hand <= self.written, "whatever its client has chosen");
        let begun = self.writing.unwrap_or(self.written);
        assert_eq!(self.end - begun, self.waiting.len(), "what is not begun waits");
        debug_assert!(
            self.ends.back().is_none_or(|&last| last == self.end),
            "the last commit ends the stream"
        );
        debug_assert!(
            self.ends.front().is_none_or(|&first| first > self.written),
            "commits wait to be written"
        );
        debug_assert!(self.ends.iter().zip(self.ends.iter().skip(1)).all(|(a, b)| a < b), "tickets in order");
    }
}

#[cfg(test)]
mod tests;
