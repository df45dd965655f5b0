//! The world of an engine that only loads: time goes on, and nobody asks for anything.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use base::Now;
use engine::{Busy, BusyVerdict, Engine, Outside};

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
    fn is_loading(&self) -> bool {
        true
    }
}
