//! How far things have come, and how far they must have come for a reply to leave.

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
    pub acked: u64,
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
            && wanted.acked <= self.acked
    }

    /// Whether there is something to wait for.
    #[inline]
    #[must_use]
    pub fn wait(&self) -> bool {
        *self != Marks::default()
    }

    /// Waits for what `other` waits for, too.
    pub fn join(&mut self, other: Marks) {
        self.agreed = self.agreed.max(other.agreed);
        self.written = self.written.max(other.written);
        self.synced = self.synced.max(other.synced);
        self.acked = self.acked.max(other.acked);
    }
}
