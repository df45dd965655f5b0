//! What a client's replies wait for by its own choice, and what it is told when replicas do not acknowledge in time.
//!
//! The replies to its writes become errors then, one each. An error, and not the end of the
//! connection: clients like ioredis send again by themselves what was under way when a connection ends, so a job that is here, and may be
//! on a replica, too, would be added twice, or taken twice; an error is handed to who has asked, and only there it is known whether the
//! request may be made again. Its code is its own, since there are clients that repeat what NOREPLICAS or TRYAGAIN refuses.

use engine::{Durability, Written};
use journal::{Acked, Marks};

/// What is told instead of the reply to a write that replicas have not acknowledged in time.
pub(crate) fn unacknowledged(replicas: usize, timeout_us: u64) -> Vec<u8> {
    let ms = timeout_us / 1000;
    format!(
        "-UNACKED This was done here, but not acknowledged by as many replicas as min-replicas-acked wants ({replicas}) within \
         min-replicas-acked-timeout ({ms} ms).\r\n"
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
