//! How far things have come, and how far they must have come for a reply to leave.

/// A position in one history of the stream for replicas. A position of one says nothing of another, in which what was written may not be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Acked {
    /// Which history it is of, by the order in which they came.
    pub history: u64,
    /// Bytes from its beginning; 0 for nothing.
    pub position: u64,
}

impl Acked {
    /// Whether who waits for `wanted` need not wait any more.
    #[inline]
    #[must_use]
    pub fn cover(self, wanted: Acked) -> bool {
        !wanted.waits() || (wanted.history == self.history && wanted.position <= self.position)
    }

    /// Whether there is something to wait for.
    #[inline]
    #[must_use]
    pub fn waits(self) -> bool {
        self.position > 0
    }

    /// Whether what is waited for can never be told, since this is of a later history.
    #[inline]
    #[must_use]
    pub fn is_past(self, wanted: Acked) -> bool {
        wanted.waits() && wanted.history < self.history
    }

    /// Waits for `other`, too. Of two histories nobody acknowledges both: that is given up soon, as of the earlier one, and each reply judged
    /// by itself.
    pub fn join(&mut self, other: Acked) {
        *self = match (self.waits(), other.waits()) {
            (true, true) if self.history == other.history => (*self).max(other),
            (true, true) => Acked { history: self.history.min(other.history), position: Marks::NEVER },
            (true, false) => *self,
            (false, _) => other,
        };
    }
}

/// Four positions. Of a journal: up to where each promise is kept. Of a reply: what it waits for; 0 for nothing.
///
/// The first three are positions of the log, tickets. `acked` is one of the stream for replicas, which has commands that the log has not
/// and is there without a log, so the two are never compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// What the configuration had promised when the commit was taken in.
    pub agreed: u64,
    /// The kernel has it, whatever the configuration promises.
    pub written: u64,
    /// The disk has it, whatever the configuration promises.
    pub synced: u64,
    /// Enough replicas have said that they have it.
    pub acked: Acked,
}

impl Marks {
    /// A wait for what no replica can say: the stream had no reader when the write was executed.
    pub const NEVER: u64 = u64::MAX;

    /// A wait for a ticket by what the configuration promises.
    pub fn agreed(ticket: u64) -> Marks {
        Marks { agreed: ticket, ..Marks::default() }
    }

    /// Whether a reply that waits for `wanted` may leave once so much has happened.
    #[inline]
    #[must_use]
    pub fn cover(&self, wanted: &Marks) -> bool {
        wanted.agreed <= self.agreed
            && wanted.written <= self.written
            && wanted.synced <= self.synced
            && self.acked.cover(wanted.acked)
    }

    /// Whether there is something to wait for.
    #[inline]
    #[must_use]
    pub fn wait(&self) -> bool {
        self.agreed.max(self.written).max(self.synced) > 0 || self.acked.waits()
    }

    /// Waits for what `other` waits for, too.
    pub fn join(&mut self, other: Marks) {
        self.agreed = self.agreed.max(other.agreed);
        self.written = self.written.max(other.written);
        self.synced = self.synced.max(other.synced);
        self.acked.join(other.acked);
    }
}
