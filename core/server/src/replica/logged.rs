//! How far the history that is followed is in the log on the disk: places, each with the batch of the log behind which it is.

use std::collections::VecDeque;

use engine::LogTickets;

/// Places that are remembered; beyond that the last one stands for those that come.
const PLACES_MAX: usize = 1024;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Logged {
    /// Batches and offsets that are not known to be on the disk, oldest first.
    waiting: VecDeque<(u64, u64)>,
    offset: Option<u64>,
}

impl Logged {
    /// What leads to this offset was handed over in the batch `ticket`, or before.
    pub(super) fn handed_over(&mut self, ticket: u64, offset: u64) {
        if self.waiting.len() == PLACES_MAX || self.waiting.back().is_some_and(|last| last.0 == ticket) {
            self.waiting.pop_back();
        }
        self.waiting.push_back((ticket, offset));
    }

    /// Up to where a start would find it, now that the log is so far.
    pub(super) fn look(&mut self, tickets: LogTickets) -> Option<u64> {
        while let Some((_, offset)) =
            self.waiting.front().copied().filter(|(ticket, _)| tickets.is_whole && *ticket <= tickets.synced)
        {
            self.offset = Some(offset);
            self.waiting.pop_front();
        }
        self.offset
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tickets(synced: u64, is_whole: bool) -> LogTickets {
        LogTickets { last: 9000, synced, is_whole }
    }

    #[test]
    fn an_offset_is_logged_when_its_batch_is_and_the_log_would_be_found() {
        let mut logged = Logged::default();
        logged.handed_over(3, 30);
        logged.handed_over(4, 40);
        logged.handed_over(4, 41);
        for (tickets, offset) in [
            (tickets(2, true), None),
            (tickets(4, false), None),
            (tickets(3, true), Some(30)),
            (tickets(4, true), Some(41)),
        ] {
            assert_eq!(logged.look(tickets), offset);
        }
    }

    #[test]
    fn places_are_bounded_and_none_counts_too_early() {
        let mut logged = Logged::default();
        for batch in 1..=2000 {
            logged.handed_over(batch, 10 * batch);
        }
        assert_eq!(logged.waiting.len(), PLACES_MAX);
        assert_eq!(logged.look(tickets(1999, true)), Some(10 * (PLACES_MAX as u64 - 1)));
        assert_eq!(logged.look(tickets(2000, true)), Some(20_000));
    }
}
