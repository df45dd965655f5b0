//! Continuous archiving: one thread brings what is new in the log's files to a repository (`archive::Follower`), every `backup-interval`.
//!
//! ```text
//!   clients → engine → journal → log's files ─────────────→ archive thread → repository
//!                                   │ a rewrite replaces one      ↑
//!                                   └── backup-backlog/ ──────────┘   a second name, until it is archived
//! ```
//! It reads files that are written anyway, up to where they are durable, so nobody waits for it: no lock is held while the repository is
//! asked, and what it has in memory are a batch and the buffers of a compressor. A repository that is slow, full or away is tried again with a
//! growing pause. What a rewrite would take away meanwhile keeps a second name within `backup-backlog-max`, and as long as the disk has room;
//! then it is given up, which is told, and archiving goes on with the base that replaced it.
//!
//! The thread is waited for by nobody either: at the end of the server it gets a moment for what is not archived yet.

mod archiver;
mod paced;
mod plan;
mod status;

use std::sync::Arc;
use std::time::Duration;

use archive::Backlog;
use config::Config;
use parking_lot::{Condvar, Mutex};
use telemetry::Report;

use self::archiver::Archiver;
pub(crate) use self::plan::{DIRECTIVES, Plan, PlanError};
use self::status::Status;
use crate::shared::Shared;

/// The longest time the thread waits for an order, microseconds.
const WAIT_US_MAX: u64 = 3_600_000_000;
/// How long the end of the server waits for the last round.
const LAST_ROUND_PATIENCE: Duration = Duration::from_secs(5);
/// What is kept for the repository is given up when the disk of the log has less room than this: the log needs it.
const FREE_BYTES_MIN: u64 = 256 << 20;
/// Whoever asks for the server's health hears of an archive that is so far behind although nothing is wrong with it, milliseconds, and at
/// least three intervals: an object may take its time.
const LAG_TOLD_MS: u64 = 20_000;

/// What the thread is to do.
#[derive(Default)]
struct Orders {
    plan: Option<Arc<Plan>>,
    /// Rises with each plan.
    version: u64,
    /// The server ends, and a round at once is the last one.
    last_call: bool,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Archiving {
    orders: Mutex<Orders>,
    wake: Condvar,
    last_round: Condvar,
    status: Mutex<Status>,
}

/// What the thread does next.
enum Next {
    Changed(u64, Option<Arc<Plan>>),
    Round,
    End,
}

impl Archiving {
    /// Takes over what a configuration says, which was found good.
    pub(crate) fn follow(&self, config: &Config) {
        let plan = Plan::of(config).unwrap_or_default();
        let mut orders = self.orders.lock();
        if orders.plan.as_deref() != plan.as_ref() {
            (orders.plan, orders.version) = (plan.map(Arc::new), orders.version + 1);
            self.wake.notify_all();
        }
    }

    /// Whether a plan is still the one to be followed.
    fn is_current(&self, shared: &Shared, version: u64) -> bool {
        !shared.life.has_ended() && self.orders.lock().version == version
    }

    /// Waits, but not longer than to the end of a plan or of the server.
    fn wait(&self, shared: &Shared, version: u64, time_us: u64) {
        let mut orders = self.orders.lock();
        if orders.version == version && !shared.life.has_ended() {
            self.wake.wait_for(&mut orders, Duration::from_micros(time_us));
        }
    }

    /// The thread.
    pub(crate) fn keep(&self, shared: &Shared) {
        crate::limits::give_way();
        let (mut archiver, mut version, mut due_us): (Option<Archiver>, u64, u64) = (None, 0, u64::MAX);
        let is_off = self.orders.lock().plan.is_none();
        drop_backlog(shared, is_off);
        loop {
            match self.next(shared, version, due_us) {
                Next::End => return,
                Next::Changed(new, plan) => {
                    self.status.lock().begin(plan.as_deref(), shared.clock.now().unix_ms);
                    drop_backlog(shared, plan.is_none());
                    due_us = if plan.is_some() { 0 } else { u64::MAX };
                    archiver = plan.map(|plan| Archiver::new(plan, new, shared.files.log_place()));
                    for doubt in archiver.iter().flat_map(Archiver::doubts) {
                        shared.logger.warning(&doubt);
                    }
                    version = new;
                }
                Next::Round => {
                    let pause_us = archiver.as_mut().map(|archiver| archiver.round(shared));
                    due_us = pause_us.map_or(u64::MAX, |pause_us| shared.clock.micros() + pause_us);
                    self.end_last_call();
                }
            }
            crate::allocator::publish();
        }
    }

    fn next(&self, shared: &Shared, version: u64, due_us: u64) -> Next {
        let mut orders = self.orders.lock();
        loop {
            let now_us = shared.clock.micros();
            if shared.life.has_ended() {
                return Next::End;
            }
            if orders.version != version {
                return Next::Changed(orders.version, orders.plan.clone());
            }
            if now_us >= due_us || orders.last_call {
                return Next::Round;
            }
            self.wake.wait_for(&mut orders, Duration::from_micros((due_us - now_us).min(WAIT_US_MAX)));
        }
    }

    fn end_last_call(&self) {
        self.orders.lock().last_call = false;
        self.last_round.notify_all();
    }

    /// The server ends and the log is whole: what is new in it is archived, if that is quick. A repository that does not work is not waited for.
    pub(crate) fn finish(&self, shared: &Shared) {
        let works = self.status.lock().trouble.is_none();
        let mut orders = self.orders.lock();
        if orders.plan.is_none() || !works {
            return;
        }
        orders.last_call = true;
        self.wake.notify_all();
        let waited =
            self.last_round.wait_while_for(&mut orders, |orders| orders.last_call, LAST_ROUND_PATIENCE);
        if waited.timed_out() {
            shared.logger.warning("The end of the log is not archived: the repository takes too long. The next start goes on there.");
        }
    }

    /// The server has ended: the thread is to see that.
    pub(crate) fn ring(&self) {
        let _orders = self.orders.lock();
        self.wake.notify_all();
    }

    /// A rewrite is about to replace the files of the log: all of them, or those before the last one.
    pub(crate) fn keep_replaced(&self, shared: &Shared, all: bool) {
        if self.orders.lock().plan.is_none() {
            return;
        }
        let Some((place, mut names)) = shared.durable.log().as_ref().map(|log| {
            let names = log.manifest().incrementals.iter().map(|file| file.name.clone());
            (log.place().clone(), names.collect::<Vec<String>>())
        }) else {
            return;
        };
        if !all {
            names.pop();
        }
        if let Err(error) = Backlog::of(&place).keep(names.iter().map(String::as_str)) {
            shared.logger.warning(&format!(
                "What is not archived yet cannot be kept in {}: {error}. Moments in it may be lost to the archive.",
                Backlog::of(&place).dir().display()
            ));
        }
    }

    /// Once a second: what is kept for the repository stays within its bound.
    pub(crate) fn second(&self, shared: &Shared) {
        let Some(plan) = self.orders.lock().plan.clone() else { return };
        let place = shared.files.log_place();
        let backlog = Backlog::of(&place);
        // What cannot be seen is looked for again in a second.
        let bytes = backlog.bytes().unwrap_or_default();
        self.status.lock().backlog_bytes = bytes;
        let free = shared.durable.disk.free_bytes(&place.dir).unwrap_or(u64::MAX);
        let is_too_much = bytes > plan.backlog_bytes_max;
        if bytes == 0 || !is_too_much && free >= FREE_BYTES_MIN {
            return;
        }
        let why = match is_too_much {
            true => "more than backup-backlog-max",
            false => "and the disk is nearly full",
        };
        shared.logger.warning(&format!(
            "{bytes} bytes of the log wait for the repository, {why}. They are given up: what was written in them before the next \
             base can not be restored."
        ));
        self.give_up(&backlog, shared);
    }

    fn give_up(&self, backlog: &Backlog, shared: &Shared) {
        self.status.lock().gaps += 1;
        if let Err(error) = backlog.names().and_then(|names| backlog.drop_files(&names)) {
            shared.logger.warning(&format!("{}: {error}", backlog.dir().display()));
        }
    }

    /// Fills the section of INFO; `end`: where the journal's stream ends.
    pub(crate) fn fill(&self, end: u64, now_ms: i64, report: &mut Report) {
        self.status.lock().fill(end, now_ms, report);
    }

    /// What is wrong with the archive, in words: it cannot be reached, or is too far behind.
    pub(crate) fn complaint(&self, end: u64, now_ms: i64) -> Option<String> {
        let interval_ms = self.orders.lock().plan.as_ref()?.interval_us / 1000;
        self.status.lock().complaint(end, now_ms, LAG_TOLD_MS.max(interval_ms.saturating_mul(3)))
    }
}

/// Where nothing is archived nothing is kept for it.
fn drop_backlog(shared: &Shared, is_off: bool) {
    let backlog = Backlog::of(&shared.files.log_place());
    if is_off && let Err(error) = backlog.names().and_then(|names| backlog.drop_files(&names)) {
        shared.logger.warning(&format!("{}: {error}", backlog.dir().display()));
    }
}
