//! How long a replica waits before it connects to its master again.

/// Shortest wait, milliseconds: what Redis waits each time, and enough for links that were cheap for both.
const FIRST_MS: u64 = 1_000;

/// Longest wait after one that has cost the master a snapshot, milliseconds.
const COSTLY_MS_MAX: u64 = 60_000;

/// Waits grow while whole snapshots are in vain, since each costs the master dear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    /// Snapshots in vain, one after another.
    in_vain: u32,
}

impl Backoff {
    /// The data set is that of the master: what went wrong before is over.
    pub fn succeeded(&mut self) {
        self.in_vain = 0;
    }

    /// A link has ended; the milliseconds to wait. `is_costly`: the master has made a snapshot that could not be used.
    pub fn failed(&mut self, is_costly: bool) -> u64 {
        if !is_costly {
            return FIRST_MS;
        }
        let wait_ms = FIRST_MS << self.in_vain.min(10);
        self.in_vain += 1;
        wait_ms.min(COSTLY_MS_MAX)
    }
}
