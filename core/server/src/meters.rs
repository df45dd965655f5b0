//! Counters and rates that only the server can keep, for INFO: network, event loop, memory freed elsewhere, slow disks.
//!
//! The I/O threads add up for themselves and publish once a tick (`Pulse`); CONFIG RESETSTAT cannot reach into them, so it
//! remembers where they stood.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use engine::Engine;
use parking_lot::Mutex;
use telemetry::Rate;

use crate::shared::{Pulse, Shared};

/// Slow calls of the disk that may wait to be told; they come at most a few times a second and leave ten times a second.
const SPIKES_MAX: usize = 64;

/// What the I/O threads have counted since they began.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) reads: u64,
    pub(crate) writes: u64,
    pub(crate) ticks: u64,
    /// Microseconds of their ticks, without the waiting for events.
    pub(crate) busy_us: u64,
}

impl Totals {
    fn of(pulses: &[Pulse]) -> Totals {
        let mut all = Totals::default();
        for pulse in pulses {
            let load = |n: &AtomicU64| n.load(Ordering::Relaxed);
            all.bytes_in += load(&pulse.bytes_in);
            all.bytes_out += load(&pulse.bytes_out);
            all.reads += load(&pulse.reads);
            all.writes += load(&pulse.writes);
            all.ticks += load(&pulse.ticks);
            all.busy_us += load(&pulse.busy_us);
        }
        all
    }

    fn since(self, base: Totals) -> Totals {
        Totals {
            bytes_in: self.bytes_in - base.bytes_in,
            bytes_out: self.bytes_out - base.bytes_out,
            reads: self.reads - base.reads,
            writes: self.writes - base.writes,
            ticks: self.ticks - base.ticks,
            busy_us: self.busy_us - base.busy_us,
        }
    }
}

/// Growth a second.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rates {
    pub(crate) bytes_in: Rate,
    pub(crate) bytes_out: Rate,
    pub(crate) ticks: Rate,
    pub(crate) busy_us: Rate,
}

/// The largest of some sizes that were noted in the last seconds. Each place holds a second, and below it the largest of that
/// second, so that the later second is the larger number.
#[derive(Debug, Default)]
pub(crate) struct RecentPeak([AtomicU64; RecentPeak::SECONDS]);

impl RecentPeak {
    const SECONDS: usize = 8;
    /// Bits of a size; what is larger is noted as the largest that they hold.
    const SIZE_BITS: u32 = 36;
    const SIZE_MAX: u64 = (1 << Self::SIZE_BITS) - 1;

    /// Notes a size in this second.
    #[inline]
    pub(crate) fn note(&self, now_s: u64, bytes: usize) {
        let noted = now_s << Self::SIZE_BITS | (bytes as u64).min(Self::SIZE_MAX);
        let place = &self.0[now_s as usize % Self::SECONDS];
        if place.load(Ordering::Relaxed) < noted {
            place.fetch_max(noted, Ordering::Relaxed);
        }
    }

    /// The largest size of the last seconds.
    pub(crate) fn largest(&self, now_s: u64) -> usize {
        let noted = self.0.iter().map(|place| place.load(Ordering::Relaxed));
        let recent = noted.filter(|noted| (noted >> Self::SIZE_BITS) + Self::SECONDS as u64 > now_s);
        recent.map(|noted| noted & Self::SIZE_MAX).max().unwrap_or(0) as usize
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Meters {
    /// Input that one client had at a time, bytes.
    pub(crate) input: RecentPeak,
    /// Where the totals stood at CONFIG RESETSTAT.
    base: Mutex<Totals>,
    pub(crate) rates: Mutex<Rates>,
    /// Objects on their way to be freed on another thread, and those that have been.
    pub(crate) free_pending: AtomicU64,
    pub(crate) freed: AtomicU64,
    /// About how many bytes the objects that are on their way take.
    pub(crate) free_pending_bytes: AtomicUsize,
    /// Calls of the disk that took a millisecond or more: event and milliseconds.
    spikes: Mutex<Vec<(&'static str, u64)>>,
}

impl Meters {
    /// What was counted since CONFIG RESETSTAT.
    pub(crate) fn totals(&self, pulses: &[Pulse]) -> Totals {
        Totals::of(pulses).since(*self.base.lock())
    }

    /// CONFIG RESETSTAT.
    pub(crate) fn reset(&self, pulses: &[Pulse]) {
        *self.base.lock() = Totals::of(pulses);
        self.freed.store(0, Ordering::Relaxed);
        *self.rates.lock() = Rates::default();
    }

    /// A call of the disk took so long.
    pub(crate) fn note_disk(&self, event: &'static str, spent_us: u64) {
        if spent_us >= 1000 {
            let mut spikes = self.spikes.lock();
            if spikes.len() < SPIKES_MAX {
                spikes.push((event, spent_us / 1000));
            }
        }
    }

    /// Ten times a second or so: takes samples, and tells the engine of slow disks.
    pub(crate) fn sample(&self, shared: &Shared, engine: &mut Engine) {
        for (event, ms) in std::mem::take(&mut *self.spikes.lock()) {
            engine.note_event(event, ms);
        }
        let totals = Totals::of(&shared.pulses);
        let now_ms = shared.clock.micros() / 1000;
        let mut rates = self.rates.lock();
        rates.bytes_in.sample(now_ms, totals.bytes_in);
        rates.bytes_out.sample(now_ms, totals.bytes_out);
        rates.ticks.sample(now_ms, totals.ticks);
        rates.busy_us.sample(now_ms, totals.busy_us);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_is_remembered_for_some_seconds() {
        let peak = RecentPeak::default();
        for (second, bytes, largest) in
            [(100, 5, 5), (100, 3, 5), (101, 2, 5), (107, 1, 5), (108, 1, 2), (109, 1, 1), (300, 0, 0)]
        {
            peak.note(second, bytes);
            assert_eq!(peak.largest(second), largest, "{second}");
        }
        peak.note(301, usize::MAX);
        assert_eq!(peak.largest(301), RecentPeak::SIZE_MAX as usize);
    }
}
