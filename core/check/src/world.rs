//! The world of an engine that only loads: time goes on, and nobody asks for anything.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use base::Now;
use config::Config;
use engine::{Busy, BusyVerdict, Engine, Outside, Report};

/// What such an engine sees.
pub(crate) struct World {
    began: Instant,
    /// The moment of loading: one for all that is compared.
    now: Now,
}

impl World {
    pub(crate) fn new() -> World {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        World { began: Instant::now(), now: Now::at_ms(i64::try_from(since.as_millis()).unwrap_or(i64::MAX)) }
    }
}

impl Outside for World {
    fn nanos(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
    fn now(&self) -> Now {
        self.now
    }
    fn used_memory(&self) -> usize {
        0
    }
    fn busy(&mut self, _: &mut Engine, _: Busy) -> BusyVerdict {
        BusyVerdict::Continue
    }
    fn check_config(&self, _: &Config) -> Result<(), String> {
        Ok(())
    }
    fn report(&self, _: &mut Report) {}
    fn write_refusal(&self, _: bool, _: &dyn Fn() -> usize) -> Option<String> {
        None
    }
    fn is_loading(&self) -> bool {
        true
    }
    fn is_saving(&self) -> bool {
        false
    }
    fn is_rewriting(&self) -> bool {
        false
    }
    fn save_begins(&mut self) {}
    fn rewrite_begins(&mut self) {}
    fn last_save_unix_s(&self) -> i64 {
        0
    }
    fn sleep_ns(&mut self, _: u64) {}
}
