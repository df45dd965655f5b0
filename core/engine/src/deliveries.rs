//! What clients get that is no reply to the request at hand: messages, and replies that come later.

use crate::durability::Written;
use crate::engine::Engine;
use crate::outside::Delivery;
use crate::session::{ReplyMode, SessionId};
use commands::Args;
use resp::Reply;

impl Engine {
    /// What other clients get, in order.
    pub fn take_deliveries(&mut self, into: &mut Vec<Delivery>) {
        if self.has_broadcast() {
            self.broadcast_changes();
        }
        into.append(&mut self.deliveries);
        self.own_from = 0;
    }

    /// Whether anything waits to be delivered.
    #[inline]
    pub fn has_deliveries(&self) -> bool {
        !self.deliveries.is_empty() || self.has_broadcast()
    }

    /// How much waits to be delivered, but for what is still to be told of changed keys.
    #[inline]
    pub fn waiting_deliveries(&self) -> usize {
        self.deliveries.len()
    }

    /// What clients of one I/O thread get so far, in order; what others get stays.
    pub fn take_deliveries_of(&mut self, thread: u16, into: &mut Vec<Delivery>) {
        if self.has_broadcast() {
            self.broadcast_changes();
        }
        into.extend(self.deliveries.extract_if(.., |delivery| delivery.thread == thread));
        self.own_from = 0;
    }

    /// Ends a deferred request with a reply of its own.
    pub fn complete(&mut self, id: SessionId, write: impl FnOnce(&mut Reply<'_>)) {
        let Some(session) = self.sessions.find_mut(id) else { return };
        let deferred = session.deferred.take();
        let mut out = Vec::new();
        write(&mut Reply::wire(&mut out, session.protocol));
        if let Some((command, argv)) = deferred.and_then(|deferred| Some((deferred.command?, deferred.argv)))
        {
            let argv: Vec<&[u8]> = argv.iter().map(Vec::as_slice).collect();
            self.count_late(id, command, Args::new(&argv), &out);
        }
        self.answer(id, out);
    }

    /// Leaves the reply of a request that has waited; the client's next ones may go on. CLIENT REPLY OFF and SKIP hold for it as for
    /// a reply that comes at once.
    pub(crate) fn answer(&mut self, id: SessionId, mut reply: Vec<u8>) {
        if self.spend_reply_mode(id) != ReplyMode::On {
            reply.clear();
        }
        let close = self.is_ended(id);
        let late = self.sessions.find_mut(id).and_then(|session| session.late.take());
        let written = late.map(|late| Box::new(Written { reply: 0..reply.len(), ..*late }));
        self.leave(id, Delivery { bytes: reply, resume: true, close, written, ..Delivery::default() });
    }

    /// The mode that holds for a late reply, and is used up by it if it was for one.
    pub(crate) fn spend_reply_mode(&mut self, id: SessionId) -> ReplyMode {
        let Some(session) = self.sessions.find_mut(id) else { return ReplyMode::Off };
        let mode = session.reply_mode;
        session.reply_mode = mode.spent();
        mode
    }

    /// Leaves bytes for a client.
    pub(crate) fn deliver(&mut self, id: SessionId, bytes: Vec<u8>, resume: bool, close: bool) {
        self.leave(id, Delivery { bytes, resume, close, ..Delivery::default() });
    }

    /// The same for what there is more to say of.
    pub(crate) fn leave(&mut self, id: SessionId, mut delivery: Delivery) {
        let Some(session) = self.sessions.find(id) else { return };
        (delivery.thread, delivery.token) = (session.info.thread, session.info.token);
        let from = self.own_from.min(self.deliveries.len());
        if let Some(last) = self.deliveries[from..].last_mut()
            && (last.thread, last.token) == (delivery.thread, delivery.token)
            && last.is_feed == delivery.is_feed
            && !(last.close || last.drop)
        {
            return last.append(delivery);
        }
        self.deliveries.push(delivery);
    }
}
