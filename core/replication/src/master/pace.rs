//! When a snapshot for replicas may begin: at once, unless nobody has read the last ones. A replica that cannot read what it is sent asks
//! again as soon as it has failed, without end.

/// How long the next one waits for the first that nobody has read, microseconds; it doubles up to the most.
pub(super) const PAUSE_US: u64 = 500_000;
pub(super) const PAUSE_US_MAX: u64 = 2_000_000;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Snapshots that have begun since a replica has read one.
    unread: u32,
    /// None begins before, microseconds.
    free_us: u64,
    is_wanted: bool,
}

impl Pace {
    pub(super) fn want(&mut self) {
        self.is_wanted = true;
    }

    /// Whether one is wanted and may begin now; then it does.
    pub(super) fn begins(&mut self, now_us: u64) -> bool {
        if !self.is_wanted || now_us < self.free_us {
            return false;
        }
        let pause_us = PAUSE_US.saturating_mul(1 << self.unread.min(10)).min(PAUSE_US_MAX);
        *self = Pace {
            unread: self.unread.saturating_add(1),
            free_us: now_us.saturating_add(pause_us),
            is_wanted: false,
        };
        true
    }

    /// A replica has read its snapshot.
    pub(super) fn read(&mut self) {
        (self.unread, self.free_us) = (0, 0);
    }
}
