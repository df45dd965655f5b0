//! Whether the disk is known to take writes at once.
//!
//! ```text
//!              so many quick writes in a row           somebody watches
//!   Tried(n) --------------------------------> Proven -----------------> Quick
//!      ^  ^          a write was slow             |                        |  |
//!      |  +---------------------------------------+------------------------+  |
//!      +--------- none for a while: the next quick one is proof enough -------+
//! ```
//! Only to a *quick* disk does a thread write that has clients to serve. Nobody can know that the next write will not stall, so
//! somebody watches meanwhile: a thread that has nothing else to do, and goes on with those clients if one does. Where nobody
//! watches, that thread writes itself, and the times of its writes are what is learnt from.

/// A write that took longer was not quick, microseconds. What it would have cost a client is what counts.
const QUICK_US: u64 = 1_000;

/// After a pause so long nobody watches any more, microseconds.
const FRESH_US: u64 = 100_000;

/// So many quick writes in a row make a quick disk.
const PROOFS: u32 = 8;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    Tried(u32),
    Proven { seen_us: u64 },
    Quick { seen_us: u64 },
}

impl Pace {
    /// Whether a write would not stall, as far as can be known, and somebody watches.
    pub(crate) fn is_quick(self) -> bool {
        matches!(self, Pace::Quick { .. })
    }

    /// A write has ended.
    pub(crate) fn note(&mut self, took_us: u64, now_us: u64) {
        *self = match *self {
            _ if took_us > QUICK_US => Pace::Tried(0),
            Pace::Tried(proofs) if proofs + 1 < PROOFS => Pace::Tried(proofs + 1),
            Pace::Tried(_) | Pace::Proven { .. } => Pace::Proven { seen_us: now_us },
            Pace::Quick { .. } => Pace::Quick { seen_us: now_us },
        };
    }

    /// Somebody would watch from now on. Whether that is wanted.
    pub(crate) fn watch(&mut self, now_us: u64) -> bool {
        *self = match *self {
            Pace::Proven { seen_us } | Pace::Quick { seen_us } if now_us < seen_us + FRESH_US => {
                Pace::Quick { seen_us }
            }
            Pace::Proven { .. } | Pace::Quick { .. } => Pace::Tried(PROOFS - 1),
            tried @ Pace::Tried(_) => tried,
        };
        self.is_quick()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_quick_after_some_quick_writes_while_somebody_watches() {
        let mut pace = Pace::Tried(0);
        for n in 1..PROOFS {
            pace.note(QUICK_US, u64::from(n));
            assert!(!pace.watch(u64::from(n)) && !pace.is_quick());
        }
        pace.note(QUICK_US, 10);
        assert!(!pace.is_quick(), "nobody watches yet");
        assert!(pace.watch(10) && pace.is_quick());
        pace.note(QUICK_US, 20);
        assert!(pace.watch(19 + FRESH_US) && pace.is_quick());
        assert!(
            !pace.watch(20 + FRESH_US) && !pace.is_quick(),
            "a first write after a pause is as risky as any"
        );
        pace.note(QUICK_US, 20 + FRESH_US);
        assert!(pace.watch(20 + FRESH_US), "and proof enough");
        pace.note(QUICK_US + 1, 30 + FRESH_US);
        assert!(!pace.watch(30 + FRESH_US) && !pace.is_quick(), "a slow one is not");
        pace.note(QUICK_US, 40 + FRESH_US);
        assert!(!pace.watch(40 + FRESH_US));
    }
}
