//! The room on the log's disk: what may still be let in, and the file that is there only to be removed.
//!
//! ```text
//!   Unknown --> Left(bytes) <--> Exhausted
//! ```
//! Between two looks at the disk what is let in is counted. *Exhausted* stays until there is twice the reserve: what would grow is
//! refused, what takes from the data goes on inside the reserve, so that consumers can make room. On a disk that is so small that the
//! reserve would leave little of it, it is a share of the disk.

/// Bytes that must stay free on the log's disk: room for what is in flight and for a manifest.
pub const RESERVE_BYTES: u64 = 16 << 20;

/// The reserve is no more than this part of the disk.
const RESERVE_SHARE: u64 = 8;

/// With less room than this above the reserve each write is measured before it is let in: more than what is executed between two
/// looks at whether it is to be.
pub const TIGHT_BYTES: u64 = 1 << 30;

/// Size of the file that a queue removes when its disk is full.
pub const BALLAST_BYTES: u64 = RESERVE_BYTES;

/// The least time between two reports of writes that were too large, microseconds.
const REPORT_PERIOD_US: u64 = 60_000_000;

/// What people are to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// Writes go through again.
    Solved,
    /// What would grow is refused from now on.
    NearlyFull,
    /// There is room again.
    Room,
    /// Writes were refused that were larger than so many bytes that are left.
    TooLarge(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    Unknown,
    Bytes(u64),
    Exhausted(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ballast {
    Unwanted,
    Wanted,
    There,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Room {
    left: Left,
    /// Bytes that were free at the last look.
    free: u64,
    /// Bytes that must stay free.
    reserve: u64,
    /// Writes were too large since the last look.
    turned_away: bool,
    /// Writes were too large since there was twice the reserve.
    is_short: bool,
    reported_us: Option<u64>,
    ballast: Ballast,
}

impl Room {
    pub(crate) fn new() -> Room {
        Room {
            left: Left::Unknown,
            free: 0,
            reserve: RESERVE_BYTES,
            turned_away: false,
            is_short: false,
            reported_us: None,
            ballast: Ballast::Unwanted,
        }
    }

    fn bytes(&self) -> u64 {
        match self.left {
            Left::Unknown => u64::MAX,
            Left::Bytes(bytes) | Left::Exhausted(bytes) => bytes,
        }
    }

    /// Whether each write is to be measured.
    pub(crate) fn is_tight(&self) -> bool {
        self.bytes() < TIGHT_BYTES
    }

    pub(crate) fn is_exhausted(&self) -> bool {
        matches!(self.left, Left::Exhausted(_))
    }

    /// Whether there is not room for all that is asked for: none, or something was too large for what is left.
    pub(crate) fn is_short(&self) -> bool {
        self.is_exhausted() || self.is_short
    }

    /// Whether a log of `log` bytes is to be written anew from `data` bytes because its disk runs short of room: that at least doubles what
    /// is free, and takes no more than half of it. So it happens a few times at most until the disk is full of something else.
    pub(crate) fn would_gain(&self, log: u64, data: u64) -> bool {
        self.is_tight() && data <= self.free / 2 && log >= data.saturating_add(self.free)
    }

    /// So many bytes were let in.
    pub(crate) fn take(&mut self, taken: u64) {
        if let Left::Bytes(bytes) | Left::Exhausted(bytes) = &mut self.left {
            *bytes = bytes.saturating_sub(taken);
        }
    }

    /// Whether so many bytes are more than there is room for; that is remembered, to be told.
    pub(crate) fn is_too_small(&mut self, bytes: u64) -> bool {
        let is_too_small = bytes > self.bytes();
        self.turned_away |= is_too_small;
        self.is_short |= is_too_small;
        is_too_small
    }

    /// The disk holds so many bytes in all.
    pub(crate) fn set_disk(&mut self, total: u64) {
        self.reserve = RESERVE_BYTES.min(total / RESERVE_SHARE);
    }

    /// A look at the disk has found so many bytes free, of which `waiting` will be taken by what is not written yet.
    pub(crate) fn looked(&mut self, free: u64, waiting: u64) -> Option<News> {
        self.free = free;
        let bytes = free.saturating_sub(self.reserve.saturating_add(waiting));
        let was_exhausted = self.is_exhausted();
        let has_room = free >= 2 * self.reserve;
        self.is_short &= !has_room;
        let is_exhausted = if was_exhausted { !has_room } else { bytes == 0 };
        self.left = if is_exhausted { Left::Exhausted(bytes) } else { Left::Bytes(bytes) };
        match (was_exhausted, is_exhausted) {
            (false, true) => Some(News::NearlyFull),
            (true, false) => Some(News::Room),
            _ => None,
        }
    }

    /// What is to be told of writes that were too large, once in a while.
    pub(crate) fn report(&mut self, now_us: u64) -> Option<News> {
        let is_due = self.reported_us.is_none_or(|reported_us| now_us >= reported_us + REPORT_PERIOD_US);
        let bytes = self.bytes();
        if !(std::mem::take(&mut self.turned_away) && bytes > 0 && is_due) {
            return None;
        }
        self.reported_us = Some(now_us);
        Some(News::TooLarge(bytes))
    }

    pub(crate) fn exhaust(&mut self) -> Option<News> {
        let news = (!self.is_exhausted()).then_some(News::NearlyFull);
        self.left = Left::Exhausted(0);
        news
    }

    pub(crate) fn want_ballast(&mut self) {
        self.ballast = Ballast::Wanted;
    }

    pub(crate) fn has_use_of_ballast(&self) -> bool {
        self.ballast != Ballast::Unwanted
    }

    /// The ballast was looked at. Whether it is to be made.
    pub(crate) fn ballast_is(&mut self, is_there: bool, free: u64) -> bool {
        self.ballast = if is_there { Ballast::There } else { Ballast::Wanted };
        !is_there && free >= 2 * RESERVE_BYTES + BALLAST_BYTES
    }

    pub(crate) fn give_up_ballast(&mut self) {
        self.ballast = Ballast::Unwanted;
    }

    /// Takes the ballast, to be removed now; false when there is none.
    pub(crate) fn take_ballast(&mut self) -> bool {
        let is_there = self.ballast == Ballast::There;
        if is_there {
            self.ballast = Ballast::Wanted;
        }
        is_there
    }
}
