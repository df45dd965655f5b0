//! What comes for clients from elsewhere: from other threads, the engine, and the network's own threads.

use engine::Delivery;
use net::Id;

use super::Clients;
use crate::mail::Mail;

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
                Mail::Delivery(delivery, safe_at) => self.deliver(delivery, safe_at),
            }
        }
        self.mail = mail;
        // Nothing behind the gap has been written yet: the write phase is still to come.
        overrun.into_iter().for_each(|token| self.close_overrun(Id::from_bits(token)));
    }

    /// Gives a client what others have for it, to leave once the log is safe up to the ticket.
    pub(crate) fn deliver(&mut self, delivery: Delivery, safe_at: u64) {
        let id = Id::from_bits(delivery.token);
        let Clients { slots, pool, .. } = self;
        let Some(slot) = slots.get_mut(id) else { return };
        let Some(client) = slot else { return self.held_back.push((delivery, safe_at)) };
        if !delivery.bytes.is_empty() {
            client.conn.out(pool).extend_from_slice(&delivery.bytes);
        }
        client.parked_until = client.parked_until.max(safe_at);
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
        if !delivery.bytes.is_empty() && self.check_hard_limit(id) {
            return;
        }
        let Some(client) = self.find(id) else { return };
        // Who it is now is looked up with its next requests, also when there are none.
        let goes_on = delivery.resume && (client.conn.held() > 0 || logs_in);
        self.mark_dirty(id);
        self.mark_resized(id);
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
        let own: Vec<(Delivery, u64)> = own;
        own.into_iter().for_each(|(delivery, safe_at)| self.deliver(delivery, safe_at));
    }
}
