//! What the archive thread does for one plan: rounds, and what comes of their errors.

use std::io;
use std::sync::Arc;

use archive::{ArchiveError, Description, End, Follower, Keep, Moment, Step, Store, Tail, Terms};
use parking_lot::Mutex;
use persist::aof::Place;

use super::paced::{Pace, Paced};
use super::plan::Plan;
use crate::saver::Task;
use crate::shared::Shared;

/// The pause after a failure, microseconds; it doubles up to the most.
const PAUSE_US: u64 = 1_000_000;
const PAUSE_US_MAX: u64 = 300_000_000;
/// How often the log is told of failures at most, microseconds, and how often a rewrite is asked for.
const SILENCE_US: u64 = 60_000_000;
/// A base is not due for segments that are shorter than this, bytes.
const SEGMENTS_BYTES_MIN: u64 = 64 << 20;

/// See the module.
pub(super) struct Archiver {
    plan: Arc<Plan>,
    version: u64,
    follower: Follower,
    store: Option<Box<dyn Store>>,
    /// Failures since the last success.
    failures: u32,
    told_us: Option<u64>,
    rewrite_asked_us: Option<u64>,
    wants_prune: bool,
}

/// How far the log is to be followed in a round.
struct Goal {
    /// In the journal's stream, and when all up to there had been executed.
    position: u64,
    covered_ms: i64,
    file: String,
    bytes: u64,
    is_durable: bool,
}

impl Goal {
    /// What the log has now; `None` while there is none to be archived.
    fn of(shared: &Shared) -> Option<Goal> {
        let (position, syncs, lag_us) = {
            let journal = shared.durable.journal();
            let is_whole = journal.state().is_whole();
            let syncs = journal.policy().syncs;
            let position = if syncs { journal.synced_to() } else { journal.written() };
            let lag_us = if syncs { journal.lag_us(shared.clock.micros()) } else { 0 };
            is_whole.then_some((position, syncs, lag_us))?
        };
        let covered_ms = shared.clock.now().unix_ms.saturating_sub_unsigned(lag_us.div_ceil(1000));
        // Behind the position: what is durable only becomes more.
        let (file, written, synced) = shared.durable.log().as_ref()?.end()?;
        let bytes = if syncs { synced } else { written };
        Some(Goal { position, covered_ms, file, bytes, is_durable: syncs })
    }
}

impl Archiver {
    pub(super) fn new(plan: Arc<Plan>, version: u64, place: Place) -> Archiver {
        Archiver {
            plan,
            version,
            follower: Follower::remembering(place),
            store: None,
            failures: 0,
            told_us: None,
            rewrite_asked_us: None,
            wants_prune: false,
        }
    }

    /// What is to be told before it begins, in words.
    pub(super) fn doubts(&self) -> impl Iterator<Item = String> {
        self.plan.doubt().into_iter().chain(self.follower.doubt())
    }

    /// Archives what is new; how long to wait before the next time, microseconds.
    pub(super) fn round(&mut self, shared: &Shared) -> u64 {
        if shared.is_loading() {
            return PAUSE_US;
        }
        let Some(goal) = Goal::of(shared) else { return PAUSE_US };
        match self.reach(&goal, shared) {
            Ok(()) => {
                self.succeed(&goal, shared);
                self.plan.interval_us
            }
            Err(_) if !shared.archiving.is_current(shared, self.version) => PAUSE_US,
            Err(error) => self.fail(&error, shared),
        }
    }

    /// A store that has failed is opened anew.
    fn reach(&mut self, goal: &Goal, shared: &Shared) -> Result<(), ArchiveError> {
        let plan = Arc::clone(&self.plan);
        let store = match self.store.take() {
            Some(store) => store,
            None => archive::open_store(&plan.url, &plan.options)?,
        };
        let pace = Bandwidth::of(self, shared);
        self.follow(&Paced { store: &*store, pace: &pace }, goal, shared)?;
        self.store = Some(store);
        Ok(())
    }

    fn follow(&mut self, store: &dyn Store, goal: &Goal, shared: &Shared) -> Result<(), ArchiveError> {
        let plan = Arc::clone(&self.plan);
        let end = End { file: &goal.file, bytes: goal.bytes, is_durable: goal.is_durable };
        let recipients = &plan.recipients[..];
        let terms = Terms { recipients, wants_base: false, end: Some(end), continuous: true };
        let mut is_asked = self.follower.tail().is_none();
        loop {
            let now_ms = shared.clock.now().unix_ms;
            let wants_base = self.follower.tail().is_some_and(|tail| is_base_due(&plan, tail, now_ms));
            let step = self.follower.step(store, &Terms { wants_base, ..terms }, &mut |_, _| {})?;
            is_asked |= !matches!(step, Step::Nothing);
            crate::allocator::publish();
            if let Some(tail) = self.follower.tail() {
                shared.archiving.status.lock().take(tail);
            }
            match step {
                // That nothing is new says nothing of the repository.
                Step::Nothing if !is_asked => return self.follower.probe(store),
                Step::Nothing => break,
                Step::Base(told) => {
                    self.wants_prune = true;
                    tell_base(&told, shared);
                }
                Step::Segment(_) => shared.archiving.status.lock().segments += 1,
                Step::Gap(why) => {
                    shared.logger.warning(&format!(
                        "A part of the log is lost to the archive, which goes on with the next base: {why}"
                    ));
                    shared.archiving.give_up(self.follower.backlog(), shared);
                }
            }
        }
        // Before the files of the log go in which it all stands.
        while self.follower.roll(store, &terms)?.is_some() {
            crate::allocator::publish();
        }
        let tidied = self.follower.tidy();
        tidied.map_err(|error| ArchiveError::File(self.follower.backlog().dir().to_owned(), error))?;
        self.prune(store, shared);
        Ok(())
    }

    /// Removes what need not be kept any more, where a new base may have made it needless. What cannot be removed is no reason not to archive.
    fn prune(&mut self, store: &dyn Store, shared: &Shared) {
        let (Some(keep_ms), Some(tail)) = (self.plan.keep_ms, self.follower.tail()) else { return };
        if !std::mem::take(&mut self.wants_prune) {
            return;
        }
        let since = Moment(shared.clock.now().unix_ms.saturating_sub(keep_ms));
        let keep = Keep { since, bases_min: self.plan.bases_min };
        match archive::prune_lineage(store, tail.id(), keep) {
            Ok(pruned) if pruned.objects.is_empty() => {}
            Ok(pruned) => shared.logger.notice(&format!(
                "{} objects of {} bytes were removed from the archive: they are older than backup-keep.",
                pruned.objects.len(),
                pruned.bytes
            )),
            Err(error) => shared.logger.warning(&format!(
                "What is older than backup-keep stays in the archive until the next base: {error}"
            )),
        }
    }

    fn succeed(&mut self, goal: &Goal, shared: &Shared) {
        let now_ms = shared.clock.now().unix_ms;
        let mut status = shared.archiving.status.lock();
        let is_first = status.last_success_ms.is_none();
        status.succeed(goal.position, goal.covered_ms, now_ms);
        drop(status);
        let failures = std::mem::take(&mut self.failures);
        if failures > 0 {
            shared.logger.notice(&format!("Archiving works again, after {failures} failures."));
        }
        self.told_us = None;
        let Some(tail) = self.follower.tail() else { return };
        if is_first {
            let (url, id, last) = (&self.plan.url, tail.id(), tail.last_batch().unwrap_or_default());
            shared.logger.notice(&format!("The log {id} is archived in {url}, up to batch {last} by now."));
            if let Some(before) = self.follower.recipients_before() {
                let before = if before.is_empty() {
                    "nobody: it is not encrypted".to_owned()
                } else {
                    before.join(", ")
                };
                shared.logger.warning(&format!(
                    "backup-recipients has changed: what was archived before is encrypted to {before}. A restore needs a key \
                     for both until a new base is there."
                ));
            }
        }
        // A newer one that the log has was taken.
        if is_base_due(&self.plan, tail, now_ms) {
            self.ask_for_rewrite(shared);
        }
    }

    fn fail(&mut self, error: &ArchiveError, shared: &Shared) -> u64 {
        let pause_us = PAUSE_US.saturating_mul(1 << self.failures.min(20)).min(PAUSE_US_MAX);
        self.failures = self.failures.saturating_add(1);
        let why = error.to_string();
        {
            let mut status = shared.archiving.status.lock();
            status.failures += 1;
            status.trouble = Some(why.clone());
        }
        let now_us = shared.clock.micros();
        if self.told_us.is_none_or(|told_us| now_us - told_us >= SILENCE_US) {
            self.told_us = Some(now_us);
            let (url, pause_s) = (&self.plan.url, pause_us / 1_000_000);
            shared
                .logger
                .warning(&format!("Archiving to {url} fails: {why}. It is tried again in {pause_s} s."));
        }
        // Only a new base leads on.
        if matches!(error, ArchiveError::NoIdentity | ArchiveError::Unnumbered(_) | ArchiveError::BadLog(..))
        {
            self.ask_for_rewrite(shared);
        }
        pause_us
    }

    fn ask_for_rewrite(&mut self, shared: &Shared) {
        let now_us = shared.clock.micros();
        let is_patient = self.rewrite_asked_us.is_some_and(|asked_us| now_us - asked_us < SILENCE_US);
        if is_patient || shared.saver.is_rewriting() || shared.life.is_stopping() {
            return;
        }
        self.rewrite_asked_us = Some(now_us);
        shared.logger.notice("The log is rewritten, so that the archive gets a new base.");
        shared.saver.add(Task::Rewrite);
    }
}

/// Whether a new base is worth its size: the last one is old, or what follows it is longer, and something does follow.
fn is_base_due(plan: &Plan, tail: &Tail, now_ms: i64) -> bool {
    let Some(base) = tail.base() else { return false };
    let is_followed = tail.last_batch() > Some(base.last_batch());
    let is_old = now_ms.saturating_sub(base.at().0) >= plan.base_every_ms;
    is_followed && (is_old || tail.since_base_bytes() > base.plain_bytes.max(SEGMENTS_BYTES_MIN))
}

fn tell_base(told: &Description, shared: &Shared) {
    shared.archiving.status.lock().bases += 1;
    let (covers, bytes) = (told.last_batch(), told.bytes);
    shared.logger.notice(&format!("A base that covers batch {covers} is archived: {bytes} bytes."));
}

/// See [`Pace`]: so many bytes a second, as long as the plan holds.
struct Bandwidth<'a> {
    shared: &'a Shared,
    version: u64,
    bytes_per_s: u64,
    /// When the next byte may be sent, microseconds.
    free_us: Mutex<u64>,
}

impl<'a> Bandwidth<'a> {
    fn of(archiver: &Archiver, shared: &'a Shared) -> Bandwidth<'a> {
        let (version, bytes_per_s) = (archiver.version, archiver.plan.bandwidth);
        Bandwidth { shared, version, bytes_per_s, free_us: Mutex::new(shared.clock.micros()) }
    }
}

impl Pace for Bandwidth<'_> {
    fn before_sending(&self, bytes: usize) -> io::Result<()> {
        let archiving = &self.shared.archiving;
        let mut now_us = self.shared.clock.micros();
        let free_us = match self.bytes_per_s {
            0 => now_us,
            rate => {
                let mut free_us = self.free_us.lock();
                let begins_us = (*free_us).max(now_us);
                *free_us = begins_us + (bytes as u64).saturating_mul(1_000_000) / rate;
                begins_us
            }
        };
        while now_us < free_us && archiving.is_current(self.shared, self.version) {
            archiving.wait(self.shared, self.version, free_us - now_us);
            now_us = self.shared.clock.micros();
        }
        if !archiving.is_current(self.shared, self.version) {
            return Err(io::Error::other("archiving was changed or has ended"));
        }
        Ok(())
    }

    fn arrived(&self, bytes: u64) {
        self.shared.archiving.status.lock().bytes += bytes;
    }
}
