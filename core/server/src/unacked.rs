//! What a client has been answered and is not told yet, because it waits for replicas or has chosen what to wait for.
//!
//! Replies stand in the client's output in their order, and all of it waits for its last write. When replicas do not acknowledge in time,
//! the replies to writes among it become errors, one each, and everything else is told as it is. An error, and not the end of the
//! connection: clients like ioredis send again by themselves what was under way when a connection ends, so a job that is here, and may be
//! on a replica, too, would be added twice, or taken twice; an error is handed to who has asked, and only there it is known whether the
//! request may be made again. Its code is its own, since there are clients that repeat what NOREPLICAS or TRYAGAIN refuses.
//!
//! Who goes on sending while he waits is not read on for long, so that replies leave at some time, and what is kept is bounded.

use std::ops::Range;

use engine::{Durability, Written};
use journal::{Acked, Marks};

/// Replies to writes that may wait for replicas before their client's next requests do.
const REPLIES_MAX: usize = 4096;

/// For how long a client's requests are run while an earlier reply waits for replicas, microseconds: about as long as they take
/// to acknowledge where all is well.
const GO_ON_US: u64 = 2_000;

/// What is told instead of the reply to a write that replicas have not acknowledged in time.
pub(crate) fn unacknowledged(replicas: usize, timeout_us: u64) -> Vec<u8> {
    let ms = timeout_us / 1000;
    format!(
        "-UNACKED this was done here, but {replicas} replicas have not acknowledged it within {ms} ms\r\n"
    )
    .into_bytes()
}

/// What a reply with this promise waits for, whose write has this ticket. What waits for replicas waits for the log as configured, too.
pub(crate) fn marks(durability: Durability, ticket: u64) -> Marks {
    match durability {
        Durability::Configured | Durability::Replicated => Marks::agreed(ticket),
        Durability::Everysec => Marks { written: ticket, ..Marks::default() },
        Durability::Always => Marks { synced: ticket, ..Marks::default() },
    }
}

/// The position that replicas must acknowledge, if the reply waits for that.
pub(crate) fn awaited(written: &Written) -> Acked {
    match written.durability {
        Durability::Replicated => {
            Acked { history: written.history, position: written.position.unwrap_or(Marks::NEVER) }
        }
        _ => Acked::default(),
    }
}

/// What a client has chosen for what it wrote in a batch that has no ticket yet.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Chosen {
    everysec: bool,
    always: bool,
    other: bool,
}

impl Chosen {
    /// It has written with this promise.
    pub(crate) fn note(&mut self, durability: Durability) {
        match durability {
            Durability::Everysec => self.everysec = true,
            Durability::Always => self.always = true,
            Durability::Configured | Durability::Replicated => self.other = true,
        }
    }

    /// What that waits for, now that the batch has its ticket.
    pub(crate) fn marks(self, ticket: u64) -> Marks {
        let is_chosen = self.everysec || self.always;
        let of = |is_wanted: bool| if is_wanted { ticket } else { 0 };
        Marks {
            agreed: of(self.other || !is_chosen),
            written: of(self.everysec),
            synced: of(self.always),
            acked: Acked::default(),
        }
    }
}

/// The replies of a client that wait for replicas.
#[derive(Debug, Default)]
pub(crate) struct Unacked {
    /// Where they stand among all that the client was ever sent and is to be, in order, and what each waits for.
    replies: Vec<(Range<u64>, Acked)>,
    /// What its own writes wait for, those without a reply among them.
    own: Acked,
    /// Since when the first of them waits, microseconds.
    since_us: Option<u64>,
}

impl Unacked {
    /// A reply waits for that, which stands there.
    pub(crate) fn add(&mut self, reply: Range<u64>, wanted: Acked, now_us: u64) {
        self.own.join(wanted);
        self.add_others(now_us);
        if !reply.is_empty() {
            self.replies.push((reply, wanted));
        }
    }

    /// Something waits that it is told because of others' writes.
    pub(crate) fn add_others(&mut self, now_us: u64) {
        self.since_us.get_or_insert(now_us);
    }

    /// Whether one waits.
    pub(crate) fn is_some(&self) -> bool {
        self.since_us.is_some()
    }

    /// When the first of them has waited for so long.
    pub(crate) fn due_us(&self, timeout_us: u64) -> Option<u64> {
        Some(self.since_us?.saturating_add(timeout_us))
    }

    /// Whether the client's next requests wait, too.
    pub(crate) fn holds_back(&self, now_us: u64) -> bool {
        self.replies.len() >= REPLIES_MAX
            || self.since_us.is_some_and(|since_us| now_us.saturating_sub(since_us) > GO_ON_US)
    }

    /// Nothing waits any more. What did.
    pub(crate) fn take(&mut self) -> Unacked {
        std::mem::take(self)
    }

    /// The replies that are late where replicas have acknowledged so much, and up to where its own writes were waited for, if in vain.
    pub(crate) fn late(self, reached: Acked) -> (Vec<Range<u64>>, Option<Acked>) {
        let late = self.replies.into_iter().filter(|(_, wanted)| !reached.cover(*wanted));
        (late.map(|(reply, _)| reply).collect(), (!reached.cover(self.own)).then_some(self.own))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_waits_for_what_it_chose_and_for_what_is_configured_where_it_chose_nothing() {
        assert_eq!(Chosen::default().marks(7), Marks::agreed(7));
        let mut chosen = Chosen::default();
        chosen.note(Durability::Everysec);
        assert_eq!(chosen.marks(7), Marks { written: 7, ..Marks::default() });
        chosen.note(Durability::Always);
        chosen.note(Durability::Replicated);
        assert_eq!(chosen.marks(7), Marks { agreed: 7, written: 7, synced: 7, acked: Acked::default() });
    }

    #[test]
    fn who_goes_on_sending_is_held_back_by_time_and_by_number() {
        let mut unacked = Unacked::default();
        assert!(!unacked.holds_back(u64::MAX) && !unacked.is_some() && unacked.due_us(1).is_none());
        let at = |position| Acked { history: 1, position };
        unacked.add(0..5, at(10), 1_000);
        unacked.add(5..5, at(20), 9_000);
        assert_eq!(unacked.due_us(5_000_000), Some(5_001_000), "by the first");
        assert!(!unacked.holds_back(1_000 + GO_ON_US) && unacked.holds_back(1_001 + GO_ON_US));
        let late = unacked.take().late(at(9)).0;
        assert_eq!((late.len(), late[0].end), (1, 5), "of what has no reply nothing is told");
        (0..REPLIES_MAX as u64).for_each(|n| unacked.add(n..n + 1, at(1), 0));
        assert!(unacked.holds_back(0));
    }

    #[test]
    fn only_what_replicas_have_not_acknowledged_is_late() {
        let at = |history, position| Acked { history, position };
        let both = || {
            let mut unacked = Unacked::default();
            unacked.add(0..5, at(2, 10), 0);
            unacked.add(5..9, at(2, 20), 0);
            unacked.add_others(0);
            unacked
        };
        assert_eq!(both().late(at(2, 9)), (vec![0..5, 5..9], Some(at(2, 20))));
        let (second, own) = both().late(at(2, 10));
        assert_eq!((second.len(), second[0].start, own), (1, 5, Some(at(2, 20))));
        assert_eq!(both().late(at(2, 20)), (vec![], None), "what it lacks is others'");
        assert_eq!(both().late(at(3, 99)), (vec![0..5, 5..9], Some(at(2, 20))), "another history");
        let mut listener = Unacked::default();
        listener.add_others(7);
        assert!(listener.is_some() && listener.late(at(2, 1)) == (vec![], None), "it has written nothing");
    }

    #[test]
    fn only_who_waits_for_replicas_waits_for_their_position() {
        let mut written =
            Written { durability: Durability::Replicated, position: Some(9), history: 2, reply: 0..5 };
        let at = |position| Acked { history: 2, position };
        assert_eq!(awaited(&written), at(9));
        written.position = None;
        assert_eq!(awaited(&written), at(Marks::NEVER), "nobody can acknowledge it");
        written.durability = Durability::Always;
        assert_eq!(awaited(&written), Acked::default());
    }
}
