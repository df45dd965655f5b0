//! What comes for clients from elsewhere: from other threads, the engine, and the network's own threads.

use std::sync::Arc;

use engine::{Delivery, Durability, Piece};
use journal::{Acked, Marks};
use net::Id;

use super::Clients;
use crate::client::{Class, Client};
use crate::copy::PENDING_BYTES_MAX;
use crate::mail::Mail;
use crate::unacked;

impl Clients {
    /// Takes in what other threads have for our clients, and those that come back from them.
    #[inline]
    pub(crate) fn mailbox(&mut self) {
        if self.shared.busy.hand_over.has_returned(self.thread) {
            self.take_back();
        }
        if !self.shared.inboxes[self.thread].is_empty() {
            self.take_mail();
        }
    }

    fn take_mail(&mut self) {
        let mut mail = std::mem::take(&mut self.mail);
        let overrun = self.shared.inboxes[self.thread].take(&mut mail);
        for item in mail.drain(..) {
            match item {
                Mail::Connection(accepted, tls_only) => self.adopt(accepted, tls_only),
                Mail::Delivery(delivery, marks) => self.deliver(delivery, marks),
            }
        }
        self.mail = mail;
        // Nothing behind the gap has been written yet: the write phase is still to come.
        overrun.into_iter().for_each(|token| self.close_overrun(Id::from_bits(token)));
    }

    /// Gives a client what others have for it, and what that waits for.
    pub(crate) fn deliver(&mut self, delivery: Delivery, marks: Marks) {
        let id = Id::from_bits(delivery.token);
        let Clients { slots, pool, shared, .. } = self;
        let Some(slot) = slots.get_mut(id) else { return };
        let Some(client) = slot else { return self.held_back.push((delivery, marks)) };
        for piece in delivery.pieces() {
            match piece {
                Piece::Own(bytes) => client.conn.append(bytes, pool),
                Piece::Shared(buffer) => client.conn.append_shared(Arc::clone(buffer)),
            }
        }
        client.park_delivery(&delivery, marks, shared.clock.micros());
        let logs_in = delivery.resume && client.is_asking;
        if delivery.resume {
            client.waiting = false;
            if std::mem::take(&mut client.unread) {
                self.read_again(id);
            }
        }
        let Some(client) = self.find(id) else { return };
        if delivery.close {
            client.conn.close_after_flush();
        }
        if delivery.drop {
            return self.drop_client(id);
        }
        if !delivery.is_empty() && self.check_hard_limit(id) {
            return;
        }
        let Some(client) = self.find(id) else { return };
        // Who it is now is looked up with its next requests, also when there are none.
        let goes_on = delivery.resume && (client.conn.held() > 0 || logs_in);
        let is_crowded = client.class == Class::Replica && client.buffers().unread() > PENDING_BYTES_MAX;
        self.mark_dirty(id);
        self.mark_resized(id);
        if is_crowded {
            self.mark_fed(id);
        }
        if goes_on {
            self.mark_runnable(id);
        }
    }

    #[cold]
    pub(super) fn deliver_held_back(&mut self, id: Id) {
        let token = id.to_bits();
        let (own, others) = std::mem::take(&mut self.held_back)
            .into_iter()
            .partition(|(delivery, _)| delivery.token == token);
        self.held_back = others;
        let own: Vec<(Delivery, Marks)> = own;
        own.into_iter().for_each(|(delivery, marks)| self.deliver(delivery, marks));
    }
}

impl Client {
    /// Has its output wait for what a delivery waits for that was just put behind it; `batch` is empty where the batch has no ticket yet.
    fn park_delivery(&mut self, delivery: &Delivery, batch: Marks, now_us: u64) {
        let marks = match &delivery.written {
            _ if delivery.is_feed => Marks { acked: Acked::default(), ..batch },
            // What its own request has written waits as it has chosen.
            Some(written) => {
                if written.durability == Durability::Replicated {
                    let wanted = unacked::awaited(written);
                    self.note_unacked(written.reply.clone(), delivery.len(), wanted, now_us);
                }
                unacked::marks(written.durability, batch.agreed)
            }
            // What it is told because of others' writes waits with theirs, and is no less true when that is given up.
            None => batch,
        };
        if batch.wait() {
            self.parked.add(self.output_end(), marks, now_us);
        }
    }
}
