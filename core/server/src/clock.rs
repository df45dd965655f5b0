//! The clocks: a counter of the processor for measuring commands, the system's clock once a tick.
//!
//! Every command is timed, so reading the clock must cost a few nanoseconds; a system call, even the cheap
//! kind, would be a tenth of a GET.

use std::time::{SystemTime, UNIX_EPOCH};

use base::Now;

/// One time line for all threads: clones share their zero.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    counter: quanta::Clock,
    zero: u64,
}

impl Clock {
    /// A clock that begins near zero now. Calibrates the counter, about 10 ms once a process.
    pub(crate) fn new() -> Clock {
        let counter = quanta::Clock::new();
        let zero = counter.raw();
        Clock { counter, zero }
    }

    /// Nanoseconds since the clock began; never jumps.
    #[inline]
    pub(crate) fn nanos(&self) -> u64 {
        self.counter.delta_as_nanos(self.zero, self.counter.raw())
    }

    /// Microseconds since the clock began.
    pub(crate) fn micros(&self) -> u64 {
        self.nanos() / 1000
    }

    /// Both clocks.
    pub(crate) fn now(&self) -> Now {
        // Before 1970 there is no server.
        let unix_us =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64);
        Now { unix_ms: unix_us / 1000, unix_us, mono_us: self.micros() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn both_clocks_run_at_the_speed_of_the_systems() {
        let clock = Clock::new();
        let (before, began) = (clock.clone().now(), Instant::now());
        std::thread::sleep(Duration::from_millis(50));
        let (after, spent) = (clock.now(), began.elapsed().as_micros() as i64);
        let mono = (after.mono_us - before.mono_us) as i64;
        assert!((mono - spent).abs() < 10_000, "{mono} against {spent}");
        assert!((after.unix_us - before.unix_us - spent).abs() < 10_000);
    }
}
