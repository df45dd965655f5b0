//! What clients send: reading it within a tick, and keeping what is no whole request.

use std::sync::atomic::Ordering;

use net::{Id, ReadOutcome, Scratch};

use super::accept::words_of_refusal;
use super::{Clients, find, mark, mark_dirty, mark_runnable};
use crate::notices::Topic;

impl Clients {
    /// Reads from all that are ready; those with input become runnable.
    pub(crate) fn read(&mut self, scratch: &mut Scratch) {
        let mut readable = std::mem::take(&mut self.readable);
        for id in readable.drain(..) {
            self.read_one(id, scratch);
        }
        self.readable = readable;
    }

    fn read_one(&mut self, id: Id, scratch: &mut Scratch) {
        let Some(client) = find(&mut self.slots, id) else { return };
        let held = client.conn.held();
        if held > 0 && client.listed.runnable && !client.waiting {
            // What it sent before is not executed yet; the rest waits in the kernel.
            mark(&mut client.listed.again, &mut self.again, id);
            return;
        }
        if held > 0 && (client.has_sent_enough(held) || client.is_held_back(self.shared.clock.micros())) {
            // The rest waits in the kernel, and holds the sender back.
            client.unread = true;
            return;
        }
        let limits = client.read_limits(&self.bounds);
        let outcome = client.conn.read(scratch, limits);
        self.reads += 1;
        let held_now = client.conn.held();
        let received = (held_now - held) as u64;
        self.shared.meters.input.note(self.now_s, held_now);
        self.bytes_in += received;
        client.net.0 += received;
        mark(&mut client.listed.touched, &mut self.touched, id);
        self.untold = true;
        if self.bounds.tells_buffers {
            mark(&mut client.listed.resized, &mut self.resized, id);
        }
        match outcome {
            ReadOutcome::Data { more } if client.conn.is_closing() => {
                // It is on its way out: nothing more of it is executed, or kept.
                client.conn.discard_input();
                if more {
                    mark(&mut client.listed.again, &mut self.again, id);
                }
                mark_dirty(&mut self.dirty, client, id);
            }
            ReadOutcome::Data { more } => {
                client.heard_s = self.now_s;
                if more {
                    mark(&mut client.listed.again, &mut self.again, id);
                }
                mark_runnable(&mut self.runnable, client, id);
            }
            ReadOutcome::WouldBlock => mark_dirty(&mut self.dirty, client, id),
            ReadOutcome::Full => self.close_full(id),
            ReadOutcome::Closed => self.end(id),
            ReadOutcome::Refused(refusal) => {
                mark_dirty(&mut self.dirty, client, id);
                let text = words_of_refusal(refusal, client.conn.peer());
                if !client.turned_away {
                    self.shared.notices.note(self.shared, Topic::Plaintext, text);
                }
            }
            ReadOutcome::Failed(error) => {
                if client.conn.is_handshaking() {
                    let text = format!("A TLS handshake with {} failed: {error}", client.conn.peer());
                    self.shared.notices.note(self.shared, Topic::Handshake, text);
                }
                self.close(id);
            }
        }
    }

    /// A request that does not fit, or a blocked client that sends on and on.
    fn close_full(&mut self, id: Id) {
        self.note_full();
        self.close(id);
    }

    /// Counts and tells of a client that is closed for what it sends.
    pub(crate) fn note_full(&mut self) {
        let text = "Closing client that reached max query buffer length".to_owned();
        self.shared.notices.note(self.shared, Topic::Query, text);
        self.shared.query_disconnections.fetch_add(1, Ordering::Relaxed);
    }

    /// Moves the input of all clients out of the scratch, so that it can be read from elsewhere. One whose requests run keeps its
    /// own until they have.
    pub(crate) fn put_input_aside(&mut self, scratch: &Scratch) {
        self.touched.retain(|id| {
            let client = match self.slots.get_mut(*id) {
                Some(Some(client)) => client,
                Some(None) => return true,
                None => return false,
            };
            client.listed.touched = false;
            client.conn.settle_input(scratch, &mut self.pool);
            if !client.trusted || client.counted > 0 {
                self.counted_anew.push(*id);
            }
            false
        });
        if !self.counted_anew.is_empty() {
            self.recount_touched();
        }
    }

    #[cold]
    fn recount_touched(&mut self) {
        while let Some(id) = self.counted_anew.pop() {
            self.recount(id);
        }
        self.shed_strangers();
    }
}
