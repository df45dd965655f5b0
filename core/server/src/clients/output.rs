//! What clients are sent: writing it, holding it back until it is logged, and its limits.

use std::ops::Range;
use std::sync::atomic::Ordering;

use engine::{Delivery, Durability};
use journal::{Acked, Marks};
use net::{Flush, Id};

use super::{Clients, find, mark, mark_dirty};
use crate::client::{Bounds, Class, Client};
use crate::logger::Level;
use crate::notices::Topic;
use crate::shared::Shared;
use crate::unacked;

impl Clients {
    /// Writes what can be written.
    pub(crate) fn write(&mut self) {
        if self.has_parked() {
            self.unpark();
        }
        let mut dirty = std::mem::take(&mut self.dirty);
        for id in dirty.drain(..) {
            self.write_one(id);
        }
        // What a nested call has marked meanwhile stays for the next tick.
        dirty.append(&mut self.dirty);
        self.dirty = dirty;
    }

    fn write_one(&mut self, id: Id) {
        let Some(client) = find(&mut self.slots, id) else { return };
        client.listed.dirty = false;
        if client.unlogged {
            return;
        }
        let (may_leave, client) = match client.parked.is_empty() {
            true => {
                client.parked.is_at_hand(client.output_end());
                (usize::MAX, client)
            }
            false => {
                let may_leave = self.release(id);
                let Some(client) = find(&mut self.slots, id) else { return };
                (may_leave, client)
            }
        };
        if !client.conn.wants_flush() || (may_leave == 0 && !client.conn.has_records()) {
            return;
        }
        let pending = client.conn.pending();
        let outcome = client.conn.flush_first(may_leave, &self.poller, &mut self.pool);
        self.writes += 1;
        let sent = (pending - client.conn.pending()) as u64;
        self.bytes_out += sent;
        client.net.1 += sent;
        self.untold = true;
        if self.bounds.tells_buffers {
            mark(&mut client.listed.resized, &mut self.resized, id);
            self.has_fed |= client.class == Class::Replica;
        }
        match outcome {
            Flush::Held => {}
            _ if client.dropped => self.close(id),
            Flush::Drained if client.has_got_enough() => {
                self.close_stranger(id, "has been refused too often")
            }
            Flush::Drained => client.over_soft_since_s = None,
            Flush::More => {
                mark_dirty(&mut self.dirty, client, id);
                self.check_output(id);
            }
            Flush::Pending if client.is_stranger() && !client.conn.is_handshaking() => {
                self.close_stranger(id, "does not read its replies");
            }
            Flush::Pending => self.check_output(id),
            Flush::Finished | Flush::Failed(_) => self.close(id),
        }
    }

    /// Closes a client for its replies.
    fn close_stranger(&mut self, id: Id, why: &str) {
        self.shared
            .logger
            .line(Level::Verbose, &format!("Closing a client that has not logged in and {why}"));
        self.shared.output_disconnections.fetch_add(1, Ordering::Relaxed);
        self.close(id);
    }

    /// Lets go what of a client's output need not wait any more, or has waited for too long. How many bytes may leave.
    fn release(&mut self, id: Id) -> usize {
        let Clients { slots, shared, bounds, parked, .. } = self;
        let Some(client) = find(slots, id) else { return 0 };
        let (is_safe, awaited) =
            (|wanted: &Marks| shared.durable.covers(wanted), client.parked.awaits_replicas());
        let mut has_moved = client.parked.release(is_safe);
        if client.parked.awaits_replicas() && give_up(client, bounds, shared) {
            client.parked.release(is_safe);
            has_moved = true;
        }
        if !client.parked.is_empty() {
            mark(&mut client.listed.parked, parked, id);
        }
        let may_leave = client.parked.may_leave(client.net.1);
        if has_moved && awaited {
            self.go_on(id);
        }
        may_leave
    }

    /// What a client has sent meanwhile is read and run.
    fn go_on(&mut self, id: Id) {
        let Some(client) = find(&mut self.slots, id) else { return };
        if client.waiting {
            return;
        }
        let (held, ended) = (client.conn.held(), client.ended);
        if std::mem::take(&mut client.unread) {
            self.read_again(id);
        }
        match held {
            0 if ended => self.end(id),
            0 => {}
            _ => self.mark_runnable(id),
        }
    }

    /// How many clients' replies wait for replicas, and when the first of them has waited for too long.
    pub(crate) fn unacked(&mut self) -> (u64, Option<u64>) {
        let Clients { slots, parked, bounds, .. } = self;
        let due = parked.iter().filter_map(|id| find(slots, *id)?.parked.due_us(bounds.acked_timeout_us));
        due.fold((0, None), |(count, first), due_us| {
            (count + 1, Some(first.map_or(due_us, |first: u64| first.min(due_us))))
        })
    }

    /// Whether somebody who has written in this batch has chosen a sync.
    pub(crate) fn take_wants_sync(&mut self) -> bool {
        std::mem::take(&mut self.wants_sync)
    }

    /// A client has written in this batch, and has chosen what its replies wait for.
    pub(crate) fn note_chosen(&mut self, durability: Durability) {
        self.has_chosen = true;
        self.wants_sync |= durability == Durability::Always;
    }

    /// Tries those again whose output waits for the log.
    fn unpark(&mut self) {
        for id in self.parked.drain(..) {
            if let Some(client) = find(&mut self.slots, id) {
                client.listed.parked = false;
                mark_dirty(&mut self.dirty, client, id);
            }
        }
    }

    /// Whether output waits for the log.
    pub(crate) fn has_parked(&self) -> bool {
        !self.parked.is_empty()
    }

    /// Whether a parked client may go on.
    pub(crate) fn parked_is_safe(&mut self) -> bool {
        let Clients { slots, parked, shared, .. } = self;
        parked.iter().any(|id| {
            find(slots, *id).is_none_or(|client| {
                let is_past = |wanted| shared.durable.is_past(wanted);
                client.parked.may_go_on(|wanted| shared.durable.covers(wanted), is_past)
            })
        })
    }

    /// Closes a client whose unread output is over its limits.
    pub(crate) fn check_output(&mut self, id: Id) {
        let (bounds, now_s) = (self.bounds, self.now_s);
        let Some(client) = find(&mut self.slots, id) else { return };
        let limit = bounds.output[client.class as usize];
        let pending = client.counted_output();
        if limit.soft_bytes > 0 && pending > limit.soft_bytes {
            if client.over_soft_since_s.is_none() {
                client.look_at(&mut self.timers, id, now_s + limit.soft_seconds + 1);
            }
            let since_s = *client.over_soft_since_s.get_or_insert(now_s);
            if now_s <= since_s + limit.soft_seconds && !is_over(limit.hard_bytes, pending) {
                return;
            }
        } else {
            client.over_soft_since_s = None;
            if !is_over(limit.hard_bytes, pending) {
                return;
            }
        }
        let what = if client.class == Class::Replica { "Replica" } else { "Client" };
        let who = client.conn.peer().to_string();
        let text =
            format!("{what} {who} scheduled to be closed ASAP for overcoming of output buffer limits.");
        self.shared.notices.note(self.shared, Topic::Output, text);
        self.shared.output_disconnections.fetch_add(1, Ordering::Relaxed);
        self.close(id);
    }

    /// Closes a client that has missed something, because more was sent to it than may wait for its thread.
    pub(crate) fn close_overrun(&mut self, id: Id) {
        let Some(slot) = self.slots.get_mut(id) else { return };
        let Some(client) = slot else {
            let (thread, token) = (self.thread as u16, id.to_bits());
            let dropped = Delivery { thread, token, drop: true, ..Delivery::default() };
            return self.held_back.push((dropped, Marks::default()));
        };
        let who = client.conn.peer().to_string();
        self.shared
            .logger
            .warning(&format!("Client {who} closed: more messages waited for its thread than may wait."));
        self.shared.output_disconnections.fetch_add(1, Ordering::Relaxed);
        self.close(id);
    }

    /// Whether its output is over the limit that holds at once.
    pub(crate) fn is_over_hard_limit(&self, client: &Client) -> bool {
        is_over(self.bounds.output[client.class as usize].hard_bytes, client.counted_output())
    }

    /// Closes a client whose output has just grown beyond the limit that holds at once. True when it is gone.
    pub(crate) fn check_hard_limit(&mut self, id: Id) -> bool {
        let over = (self.slots.get(id))
            .is_some_and(|slot| slot.as_deref().is_some_and(|c| self.is_over_hard_limit(c)));
        if over {
            self.check_output(id);
        }
        over
    }

    /// The same for one whose requests have run: nothing of its output is sent.
    pub(crate) fn cut_off(&mut self, id: Id, client: Box<Client>) {
        self.put_back(id, client);
        self.check_output(id);
        self.deliver_held_back(id);
    }

    /// A script takes long: what those have been told whose requests ran before it in this batch stays here until it is logged.
    pub(crate) fn hold_unlogged(&mut self) {
        for id in &self.wrote {
            if let Some(client) = find(&mut self.slots, *id) {
                (client.unlogged, self.holds_unlogged) = (true, true);
            }
        }
    }

    /// The batch is logged as `ticket`, and not safe yet if it is to be waited for: those who have written hold their replies for it.
    pub(crate) fn note_logged(&mut self, ticket: u64, waits: bool) {
        let waits = waits | std::mem::take(&mut self.has_chosen);
        let holds_unlogged = std::mem::take(&mut self.holds_unlogged);
        if !waits && !holds_unlogged {
            return self.wrote.clear();
        }
        for id in self.wrote.drain(..) {
            if let Some(client) = find(&mut self.slots, id) {
                client.unlogged = false;
                if waits {
                    let marks = std::mem::take(&mut client.chosen).marks(ticket);
                    client.parked.add(client.output_end(), marks, 0);
                }
                mark_dirty(&mut self.dirty, client, id);
            }
        }
    }
}

/// Where replicas have not acknowledged in time what a client waits for, or cannot any more, it is told so for each reply that waits for
/// that. Who only waits because of others' writes is told what there is, and of its own replicas nothing is known by that. Whether
/// anything was given up.
fn give_up(client: &mut Client, bounds: &Bounds, shared: &Shared) -> bool {
    let (durable, now_us) = (&shared.durable, shared.clock.micros());
    let is_over = |since_us: u64, wanted| {
        now_us >= since_us.saturating_add(bounds.acked_timeout_us) || durable.is_past(wanted)
    };
    let given_up = client.parked.give_up(|wanted| durable.has_acked(wanted), is_over);
    let Some(given_up) = given_up else { return false };
    if let Some(own) = given_up.own {
        tell_unacked(client, &given_up.replies, own, bounds, shared);
    }
    true
}

#[cold]
fn tell_unacked(client: &mut Client, replies: &[Range<u64>], own: Acked, bounds: &Bounds, shared: &Shared) {
    let (sent, text) =
        (client.net.1, unacked::unacknowledged(bounds.replicas_awaited, bounds.acked_timeout_us));
    let pending = |reply: &Range<u64>| (reply.start - sent) as usize..(reply.end - sent) as usize;
    let parts: Vec<_> = replies.iter().map(pending).collect();
    client.conn.replace_pending(&parts, &text);
    client.parked.replaced(replies, text.len() as u64);
    shared.durable.give_up(parts.len(), own);
    let text = format!("{} was told that replicas have not acknowledged what it wrote", client.conn.peer());
    shared.notices.note(shared, Topic::Unacked, text);
}

fn is_over(limit: u64, bytes: u64) -> bool {
    limit > 0 && bytes > limit
}
