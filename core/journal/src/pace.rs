//! Whether the disk is known to take writes at once.
//!
//! ```text
//!            a write was slow, or none for a while
//!   Quick  ----------------------------------------->  Tried(n)   one more quick write: n + 1
//!          <-----------------------------------------
//!                  so many quick writes in a row
//! ```
//! While it is not known, a thread that has nothing else to do writes, and its times are what is learnt from.

/// A write that took longer was not quick, microseconds. What it would have cost a client is what counts.
const QUICK_US: u64 = 1_000;

/// After a pause so long nothing is known any more, microseconds.
const FRESH_US: u64 = 100_000;

/// So many quick writes in a row make a quick disk.
const PROOFS: u32 = 8;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    Tried(u32),
    Quick { seen_us: u64 },
}

impl Pace {
    /// Whether a write would not stall, as far as can be known.
    pub(crate) fn is_quick(self, now_us: u64) -> bool {
        matches!(self, Pace::Quick { seen_us } if now_us < seen_us + FRESH_US)
    }

    /// A write has ended.
    pub(crate) fn note(&mut self, took_us: u64, now_us: u64) {
        let proofs = match *self {
            _ if took_us > QUICK_US => 0,
            Pace::Quick { .. } if self.is_quick(now_us) => PROOFS,
            Pace::Quick { .. } => 1,
            Pace::Tried(proofs) => proofs + 1,
        };
        *self = if proofs >= PROOFS { Pace::Quick { seen_us: now_us } } else { Pace::Tried(proofs) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_quick_after_some_quick_writes_and_no_longer_after_a_slow_one_or_a_pause() {
        let mut pace = Pace::Tried(0);
        let mut now_us = 0;
        let mut write = |pace: &mut Pace, took_us| {
            now_us += 10;
            pace.note(took_us, now_us);
            now_us
        };
        for _ in 1..PROOFS {
            let now_us = write(&mut pace, 5);
            assert!(!pace.is_quick(now_us));
        }
        let now_us = write(&mut pace, QUICK_US);
        assert!(pace.is_quick(now_us) && !pace.is_quick(now_us + FRESH_US));
        let now_us = write(&mut pace, QUICK_US + 1);
        assert!(!pace.is_quick(now_us));
        for _ in 1..PROOFS {
            write(&mut pace, 5);
        }
        let now_us = write(&mut pace, 5);
        assert!(pace.is_quick(now_us));
        pace.note(5, now_us + FRESH_US);
        assert!(!pace.is_quick(now_us + FRESH_US), "what was known is not known any more");
    }
}
