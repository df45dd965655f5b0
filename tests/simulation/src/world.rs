//! The world of an engine in the simulation: a clock that moves when told to, and a journal that is asked about writes.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use base::Now;
use config::{AppendFsync, Config};
use engine::{Busy, BusyVerdict, ConfigRefusal, Engine, Outside};
use journal::{Journal, Need, Policy};

/// When a run begins, Unix milliseconds.
const BEGIN_UNIX_MS: i64 = 1_700_000_000_000;

/// How far each look at the cheap clock moves it, nanoseconds: what loops is soon told to end.
const LOOK_NS: u64 = 1_000;

/// Virtual time. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Clock(Rc<Cell<u64>>);

impl Clock {
    /// Microseconds since the run began.
    pub(crate) fn micros(&self) -> u64 {
        self.0.get() / 1_000
    }

    pub(crate) fn pass_us(&self, micros: u64) {
        self.0.set(self.0.get() + micros * 1_000);
    }

    pub(crate) fn now(&self) -> Now {
        let mut now = Now::at_ms(BEGIN_UNIX_MS + (self.0.get() / 1_000_000) as i64);
        now.mono_us = self.micros();
        now
    }
}

/// What an engine sees.
pub(crate) struct World {
    pub(crate) clock: Clock,
    /// None for an engine that only replays.
    pub(crate) journal: Option<Rc<RefCell<Journal>>>,
    pub(crate) is_saving: bool,
    pub(crate) is_rewriting: bool,
    /// The loosest bound of what is not synced that was in force since replies could leave the last time, none being the loosest: what
    /// it lets go may leave behind a CONFIG SET of a stricter one.
    pub(crate) lag_us_max: Option<u64>,
}

impl World {
    pub(crate) fn of_replay(clock: &Clock) -> World {
        World {
            clock: clock.clone(),
            journal: None,
            is_saving: false,
            is_rewriting: false,
            lag_us_max: Some(0),
        }
    }
}

/// What a configuration says of the log, as in the server.
pub(crate) fn policy(config: &Config) -> Policy {
    Policy {
        need: match config.appendfsync {
            AppendFsync::Always => Need::Synced,
            AppendFsync::Everysec | AppendFsync::No => Need::Written,
        },
        syncs: config.appendfsync != AppendFsync::No,
        lag_us_max: (config.appendfsync == AppendFsync::Everysec && config.appendfsync_lag_max_ms > 0)
            .then_some(config.appendfsync_lag_max_ms.saturating_mul(1000)),
        timestamps: config.aof_timestamp_enabled,
        keeps_history: config.aof_disable_auto_gc,
        ..Policy::default()
    }
}

/// The looser of two bounds.
pub(crate) fn looser(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    Some(one?.max(other?))
}

impl Outside for World {
    fn nanos(&self) -> u64 {
        self.clock.0.set(self.clock.0.get() + LOOK_NS);
        self.clock.0.get()
    }
    fn now(&self) -> Now {
        self.clock.now()
    }
    fn used_memory(&self) -> usize {
        1 << 20
    }
    fn busy(&mut self, _: &mut Engine, _: Busy) -> BusyVerdict {
        BusyVerdict::Continue
    }
    fn follow_config(
        &mut self,
        _from: &Config,
        to: &Config,
        _changed: &[&'static str],
    ) -> Result<(), ConfigRefusal> {
        if let Some(journal) = &self.journal {
            self.lag_us_max = looser(self.lag_us_max, journal.borrow().policy().lag_us_max);
            journal.borrow_mut().set_policy(policy(to), self.clock.micros());
        }
        Ok(())
    }
    fn write_refusal(&self, grows: bool, bytes: &dyn Fn() -> usize) -> Option<String> {
        let mut journal = self.journal.as_ref()?.borrow_mut();
        journal.looks_closer().then(|| journal.refusal(grows, bytes).map(|refusal| refusal.to_string()))?
    }
    fn is_saving(&self) -> bool {
        self.is_saving
    }
    fn is_rewriting(&self) -> bool {
        self.is_rewriting
    }
    fn save_begins(&mut self) {
        self.is_saving = true;
    }
    fn rewrite_begins(&mut self) {
        self.is_rewriting = true;
    }
    fn sleep_ns(&mut self, nanoseconds: u64) {
        self.clock.pass_us(nanoseconds / 1_000);
    }
}
