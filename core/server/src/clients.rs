//! The clients of one I/O thread: accepting, reading, writing and closing, everything but execution.
//!
//! Apart from the thread's tick, so that a script that runs too long can let the same steps run while it
//! holds the engine and its own client's input.
//!
//! Invariants: a client that is not out for its requests is in each list that its `listed` flags name; the client whose requests run is
//! taken out of its slot and found by nobody; input lies in the scratch only within a tick.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use engine::{ClientInfo, Delivery, Engine, SessionId};
use net::{
    Accepted, Accepting, Connection, Flush, Id, Peer, Poller, Pool, ReadOutcome, Ready, Refusal, Scratch,
    Slots, Timers,
};

use crate::busy::Others;
use crate::client::{Bounds, Client};
use crate::context::IoContext;
use crate::listen::Role;
use crate::logger::Level;
use crate::mail::Mail;
use crate::notices::Topic;
use crate::run::{Ran, Window};
use crate::shared::Shared;

/// Rest after the kernel refused to accept (no descriptors), microseconds.
const ACCEPT_PAUSE_US: u64 = 100_000;

/// Seconds for a TLS handshake.
const HANDSHAKE_S_MAX: u64 = 10;

/// Refused clients that may wait for their answer. It cannot be said before their first byte shows whether they speak TLS;
/// more than these are closed without one, so that they do not use up the descriptors.
const TURNED_AWAY_MAX: usize = 32;

/// Deadlines looked at in one tick.
const TIMERS_PER_TICK_MAX: usize = 1024;

/// See the module.
pub(crate) struct Clients {
    pub(crate) shared: &'static Shared,
    /// The number of this thread.
    pub(crate) thread: usize,
    pub(crate) poller: Poller,
    pub(crate) slots: Slots<Option<Box<Client>>>,
    pub(crate) pool: Pool,
    /// Bytes of the replies that this tick has made so far.
    pub(crate) batch_output: usize,
    pub(crate) timers: Timers,
    pub(crate) bounds: Bounds,
    /// Bytes that those hold who have not logged in.
    pub(crate) strangers_bytes: usize,
    /// Monotonic seconds, of this tick.
    pub(crate) now_s: u64,
    ready: Vec<Ready>,
    /// To be read in this tick.
    readable: Vec<Id>,
    /// To be read in the next tick although no event will tell.
    again: Vec<Id>,
    /// With requests to execute.
    pub(crate) runnable: VecDeque<Id>,
    /// With output to write.
    dirty: Vec<Id>,
    /// Whose output waits for the log.
    parked: Vec<Id>,
    /// Read from in this tick: their input must be let go at its end.
    touched: Vec<Id>,
    /// Of these, strangers and those who were.
    counted_anew: Vec<Id>,
    /// Whose buffers have changed since the engine was told, while clients have a limit.
    pub(crate) resized: Vec<Id>,
    /// Whom the engine does not know yet.
    pub(crate) fresh: Vec<Id>,
    /// Whom the engine must forget.
    pub(crate) gone: Vec<SessionId>,
    /// How many of them it has heard of beside a script.
    pub(crate) gone_told: usize,
    /// Bytes read from and written to clients since the start.
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) reads: u64,
    pub(crate) writes: u64,
    /// How many clients are refused and wait for the answer; see [`TURNED_AWAY_MAX`].
    turned_away: usize,
    accepted: Vec<Accepted>,
    accept_due: bool,
    accept_not_before_us: u64,
    next_thread: usize,
    due: Vec<Id>,
    /// Whose requests have changed something in this batch.
    pub(crate) wrote: Vec<Id>,
    /// Output of some of these is held until it is logged.
    holds_unlogged: bool,
    mail: Vec<Mail>,
    /// What came for clients whose requests are being executed, here or by another thread.
    held_back: Vec<(Delivery, u64)>,
    /// For serving others while a script runs, when the tick's own things are in use.
    pub(crate) others: Option<Box<Others>>,
}

impl Clients {
    pub(crate) fn new(shared: &'static Shared, thread: usize, poller: Poller, bounds: Bounds) -> Clients {
        Clients {
            shared,
            thread,
            poller,
            slots: Slots::new(),
            pool: Pool::new(),
            batch_output: 0,
            timers: Timers::new(0),
            bounds,
            strangers_bytes: 0,
            now_s: 0,
            ready: Vec::new(),
            readable: Vec::new(),
            again: Vec::new(),
            runnable: VecDeque::new(),
            dirty: Vec::new(),
            parked: Vec::new(),
            touched: Vec::new(),
            counted_anew: Vec::new(),
            resized: Vec::new(),
            fresh: Vec::new(),
            gone: Vec::new(),
            gone_told: 0,
            bytes_in: 0,
            bytes_out: 0,
            reads: 0,
            writes: 0,
            turned_away: 0,
            accepted: Vec::new(),
            accept_due: thread == 0,
            accept_not_before_us: 0,
            next_thread: 0,
            due: Vec::new(),
            wrote: Vec::new(),
            holds_unlogged: false,
            mail: Vec::new(),
            held_back: Vec::new(),
            others: None,
        }
    }

    /// Whether something is to be done without waiting for an event.
    pub(crate) fn has_work(&self) -> bool {
        !self.again.is_empty() || !self.runnable.is_empty() || !self.dirty.is_empty() || !self.gone.is_empty()
    }

    /// Whether new connections are to be accepted without an event, and how long that must wait.
    pub(crate) fn accept_pause_us(&self, now_us: u64) -> Option<u64> {
        self.accept_due.then(|| self.accept_not_before_us.saturating_sub(now_us))
    }

    /// Phase one: what has become ready. Fills the list of clients to read.
    pub(crate) fn poll(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.poller.wait(timeout, &mut self.ready)?;
        let Clients { again, slots, readable, .. } = self;
        again.retain(|id| match slots.get_mut(*id) {
            Some(Some(client)) => {
                client.listed.again = false;
                readable.push(*id);
                false
            }
            // Its requests are still being executed, and no event will tell again.
            slot => slot.is_some(),
        });
        for at in 0..self.ready.len() {
            match self.ready[at] {
                Ready::Accept => self.accept_due = true,
                Ready::Woken => {}
                Ready::Connection { id, readable, writable, hangup } => {
                    self.note_ready(id, readable || hangup, writable, hangup);
                }
            }
        }
        Ok(())
    }

    fn note_ready(&mut self, id: Id, readable: bool, writable: bool, hangup: bool) {
        let Some(slot) = self.slots.get_mut(id) else { return };
        let Some(client) = slot else {
            // Its requests are being executed: come back to it when they are through.
            if !self.again.contains(&id) {
                self.again.push(id);
            }
            return;
        };
        if hangup {
            client.conn.note_hangup();
        }
        if readable {
            self.readable.push(id);
        }
        if writable {
            mark_dirty(&mut self.dirty, client, id);
        }
    }

    /// Accepts connections and gives each to a thread. Only the first one does.
    pub(crate) fn accept(&mut self, now_us: u64) {
        if self.thread != 0 {
            return;
        }
        if self.shared.entrance.has_changed() {
            self.accept_due = true;
        }
        if !self.accept_due || now_us < self.accept_not_before_us {
            return;
        }
        self.accept_due = false;
        let shared = self.shared;
        let mut doors = match shared.entrance.doors(&self.poller) {
            Ok(doors) => doors,
            Err(error) => return self.rest_from_accepting(now_us, &error),
        };
        let mut accepted = std::mem::take(&mut self.accepted);
        for door in doors.iter_mut() {
            let tls_only = door.role == Role::Tls;
            match door.listeners.accept(self.bounds.accepts_max[usize::from(tls_only)], &mut accepted) {
                Accepting::Drained => {}
                Accepting::More => self.accept_due = true,
                Accepting::Failed(error) => self.rest_from_accepting(now_us, &error),
            }
            accepted.drain(..).for_each(|socket| self.place(socket, tls_only));
        }
        self.accepted = accepted;
    }

    /// No event will tell when the kernel can accept again.
    fn rest_from_accepting(&mut self, now_us: u64, error: &io::Error) {
        self.shared.notices.note(self.shared, Topic::Accept, format!("Accepting client connection: {error}"));
        self.accept_due = true;
        self.accept_not_before_us = now_us + ACCEPT_PAUSE_US;
    }

    fn place(&mut self, accepted: Accepted, tls_only: bool) {
        let threads = self.shared.inboxes.len();
        let thread = self.next_thread % threads;
        self.next_thread = (thread + 1) % threads;
        if thread == self.thread {
            self.adopt(accepted, tls_only);
        } else if self.shared.inboxes[thread].send_connection(accepted, tls_only).is_err() {
            let text = "A connection was refused: its thread has too much to do".to_owned();
            self.shared.notices.note(self.shared, Topic::Crowd, text);
        }
    }

    /// Takes a connection over.
    pub(crate) fn adopt(&mut self, accepted: Accepted, tls_only: bool) {
        let mode = match tls_only {
            true => net::TlsMode::Required,
            false => self.shared.tls_mode(&accepted.peer),
        };
        let mut conn = Connection::new(accepted, &self.shared.tls, mode);
        let id = self.slots.insert_with(|_| None);
        if self.poller.add(&mut conn, id).is_err() {
            self.slots.remove(id);
            return;
        }
        if let Some(slot) = self.slots.get_mut(id) {
            let number = self.shared.clients_seen.fetch_add(1, Ordering::Relaxed) + 1;
            *slot = Some(Box::new(Client::new(number, conn, self.now_s)));
            self.fresh.push(id);
            let first_look_s = match self.bounds.login_s {
                0 => HANDSHAKE_S_MAX,
                seconds => seconds.clamp(1, HANDSHAKE_S_MAX),
            };
            self.timers.arm(id, self.now_s + first_look_s);
        }
    }

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
        if client.listed.runnable && client.conn.held() > 0 && !client.waiting {
            // What it sent before is not executed yet; the rest waits in the kernel.
            mark(&mut client.listed.again, &mut self.again, id);
            return;
        }
        if client.has_sent_enough() {
            // The rest waits in the kernel, and holds the sender back.
            client.unread = true;
            return;
        }
        let limits = client.read_limits(&self.bounds);
        let held = client.conn.held();
        let outcome = client.conn.read(scratch, limits);
        self.reads += 1;
        let received = (client.conn.held() - held) as u64;
        self.bytes_in += received;
        client.net.0 += received;
        mark(&mut client.listed.touched, &mut self.touched, id);
        if self.bounds.tells_buffers {
            mark(&mut client.listed.resized, &mut self.resized, id);
        }
        match outcome {
            ReadOutcome::Data { more } if client.conn.is_closing() => {
                // It is on its way out: nothing more of it is executed, or kept.
                client.conn.consume(client.conn.held());
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

    /// The peer will send no more: what it has sent is executed, what waits for it is written, then it goes.
    pub(crate) fn end(&mut self, id: Id) {
        let Some(client) = find(&mut self.slots, id) else { return };
        client.ended = true;
        if client.is_asking && client.waiting {
            // What it has sent behind its log-in is executed when that is through.
            return;
        }
        if client.waiting || client.conn.is_closing() {
            return self.close(id);
        }
        if client.listed.runnable && client.conn.held() > 0 {
            return;
        }
        match client.conn.pending() {
            0 => self.close(id),
            _ => {
                client.conn.close_after_flush();
                mark_dirty(&mut self.dirty, client, id);
            }
        }
    }

    /// Takes a client out for the time its requests run.
    pub(crate) fn take(&mut self, id: Id) -> Option<Box<Client>> {
        self.slots.get_mut(id)?.take()
    }

    /// Puts it back. What it has to send is sent in this tick, and its input is let go at the end of it.
    pub(crate) fn put_back(&mut self, id: Id, mut client: Box<Client>) {
        // These lists may have been gone through while it was out; that it may be in them twice does no harm.
        (client.listed.dirty, client.listed.parked, client.listed.resized) = (false, false, false);
        mark(&mut client.listed.touched, &mut self.touched, id);
        mark_dirty(&mut self.dirty, &mut client, id);
        if let Some(slot) = self.slots.get_mut(id) {
            *slot = Some(client);
        }
    }

    /// The client, unless its requests run.
    pub(crate) fn find(&mut self, id: Id) -> Option<&mut Client> {
        find(&mut self.slots, id)
    }

    /// Its buffers have changed: the engine is told, while it wants to know.
    pub(crate) fn mark_resized(&mut self, id: Id) {
        if self.bounds.tells_buffers
            && let Some(client) = find(&mut self.slots, id)
        {
            mark(&mut client.listed.resized, &mut self.resized, id);
        }
    }

    /// It has something to write.
    pub(crate) fn mark_dirty(&mut self, id: Id) {
        if let Some(client) = find(&mut self.slots, id) {
            mark_dirty(&mut self.dirty, client, id);
        }
    }

    /// It is to be read in the next tick although no event will tell.
    pub(crate) fn read_again(&mut self, id: Id) {
        if let Some(client) = find(&mut self.slots, id) {
            mark(&mut client.listed.again, &mut self.again, id);
        }
    }

    /// It has requests that can be executed.
    pub(crate) fn mark_runnable(&mut self, id: Id) {
        if let Some(client) = find(&mut self.slots, id) {
            mark_runnable(&mut self.runnable, client, id);
        }
    }

    /// Writes what can be written.
    pub(crate) fn write(&mut self) {
        self.unpark();
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
        if client.parked_until > 0 {
            if !self.shared.durable.is_safe(client.parked_until) {
                mark(&mut client.listed.parked, &mut self.parked, id);
                return;
            }
            client.parked_until = 0;
        }
        if !client.conn.wants_flush() {
            return;
        }
        let pending = client.conn.pending();
        let outcome = client.conn.flush(&self.poller, &mut self.pool);
        self.writes += 1;
        let sent = (pending - client.conn.pending()) as u64;
        self.bytes_out += sent;
        client.net.1 += sent;
        if self.bounds.tells_buffers {
            mark(&mut client.listed.resized, &mut self.resized, id);
        }
        match outcome {
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

    /// Tries those again whose output waits for the log.
    fn unpark(&mut self) {
        for id in std::mem::take(&mut self.parked) {
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
        parked
            .iter()
            .any(|id| find(slots, *id).is_none_or(|client| shared.durable.is_safe(client.parked_until)))
    }

    /// Closes a client whose unread output is over its limits.
    pub(crate) fn check_output(&mut self, id: Id) {
        let (bounds, now_s) = (self.bounds, self.now_s);
        let Some(client) = find(&mut self.slots, id) else { return };
        let limit = bounds.output[usize::from(client.subscriber)];
        let pending = client.counted_output();
        if limit.soft_bytes > 0 && pending > limit.soft_bytes {
            if client.over_soft_since_s.is_none() {
                self.timers.arm(id, now_s + limit.soft_seconds + 1);
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
        let who = client.conn.peer().to_string();
        let text =
            format!("Client {who} scheduled to be closed ASAP for overcoming of output buffer limits.");
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
            return self.held_back.push((dropped, 0));
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
        is_over(self.bounds.output[usize::from(client.subscriber)].hard_bytes, client.counted_output())
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

    /// Handles deadlines: handshakes, idle clients, output that is not read.
    pub(crate) fn expire(&mut self) {
        let mut due = std::mem::take(&mut self.due);
        self.timers.advance(self.now_s, TIMERS_PER_TICK_MAX, &mut due);
        for id in due.drain(..) {
            self.expire_one(id);
        }
        self.due = due;
    }

    fn expire_one(&mut self, id: Id) {
        let (idle_s, now_s) = (self.bounds.idle_s, self.now_s);
        let Some(slot) = self.slots.get_mut(id) else { return };
        let Some(client) = slot else { return self.timers.arm(id, now_s + 1) };
        if (client.conn.is_handshaking() || client.turned_away) && now_s >= client.heard_s + HANDSHAKE_S_MAX {
            return self.close(id);
        }
        // Whom a certificate logs in is so with its first request, whenever that comes.
        let by_certificate = self.bounds.certificate_user != config::TlsAuthClientsUser::Off
            && client.conn.certificate_name().is_some();
        let login_until_s = match self.bounds.login_s {
            0 => u64::MAX,
            _ if by_certificate => u64::MAX,
            seconds => client.stranger_since_s + seconds,
        };
        if client.is_stranger() && now_s >= login_until_s {
            self.shared.logger.line(Level::Verbose, "Closing a client that has not logged in in time");
            return self.close(id);
        }
        if client.over_soft_since_s.is_some() {
            self.check_output(id);
        }
        let Some(client) = find(&mut self.slots, id) else { return };
        let exempt = client.waiting || client.subscriber;
        if idle_s > 0 && !exempt && now_s >= client.heard_s + idle_s {
            self.shared.logger.line(Level::Verbose, "Closing idle client");
            return self.close(id);
        }
        let next_s = match (idle_s, client.conn.is_handshaking()) {
            (_, true) => client.heard_s + HANDSHAKE_S_MAX,
            _ if client.is_stranger() => login_until_s.min(now_s + 60),
            // `timeout` may be set later: look again now and then.
            (0, false) => now_s + 60,
            (idle_s, false) => (client.heard_s + idle_s).max(now_s + 1).min(now_s + 60),
        };
        self.timers.arm(id, next_s);
    }

    /// Drops a client now.
    pub(crate) fn close(&mut self, id: Id) {
        let Some(Some(client)) = self.slots.remove(id) else { return };
        self.strangers_bytes -= client.counted;
        self.turned_away -= usize::from(client.turned_away);
        if !client.trusted {
            self.shared.jobs.forget_client(client.id);
        }
        self.gone.extend(client.session);
    }

    /// Closes a client at once, but for what its socket takes of the replies to what was executed: it may have taken elements from a
    /// queue in the same tick.
    pub(crate) fn drop_client(&mut self, id: Id) {
        let Some(client) = find(&mut self.slots, id) else { return };
        client.dropped = true;
        client.conn.close_after_flush();
        self.mark_dirty(id);
    }

    /// Refuses a client that has just come, with these words.
    pub(crate) fn turn_away(&mut self, id: Id, refusal: &str) {
        let is_last = self.turned_away >= TURNED_AWAY_MAX;
        let Clients { slots, pool, .. } = self;
        let Some(client) = find(slots, id) else { return };
        if client.conn.awaits_tls() {
            if is_last {
                return self.close(id);
            }
            client.turned_away = true;
            self.turned_away += 1;
        }
        client.conn.out(pool).extend_from_slice(refusal.as_bytes());
        client.conn.close_after_flush();
        self.mark_dirty(id);
    }

    /// Runs what a client has sent.
    pub(crate) fn execute_one(
        &mut self,
        engine: &mut Engine,
        id: Id,
        scratch: &Scratch,
        window: &mut Window,
    ) {
        let Some(mut client) = self.take(id) else { return };
        client.listed.runnable = false;
        let logged = engine.log_len();
        let mut context = IoContext::new(self.shared, self, scratch);
        let ran = crate::run::serve(&mut client, engine, &mut context, window);
        if engine.log_len() > logged {
            self.wrote.push(id);
        }
        if self.is_over_hard_limit(&client) {
            return self.cut_off(id, client);
        }
        if engine.limits_clients() {
            self.tell(engine, &client);
        }
        self.finish(id, client, ran);
    }

    /// Puts a client back whose requests were executed, as far as `ran` tells.
    pub(crate) fn finish(&mut self, id: Id, client: Box<Client>, ran: Ran) {
        let (ended, held) = (client.ended, client.conn.held());
        self.put_back(id, client);
        if ran == Ran::Budget && held > 0 {
            self.mark_runnable(id);
        } else if ended {
            self.end(id);
        }
        if !self.held_back.is_empty() {
            self.deliver_held_back(id);
        }
    }

    /// Tells the engine a client's buffers.
    fn tell(&self, engine: &mut Engine, client: &Client) {
        if let Some(session) = client.session
            && !engine.is_ended(session)
        {
            engine.tell_buffers(session, client.buffers());
            engine.evict_clients();
        }
    }

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
    fn deliver_held_back(&mut self, id: Id) {
        let token = id.to_bits();
        let (own, others) = std::mem::take(&mut self.held_back)
            .into_iter()
            .partition(|(delivery, _)| delivery.token == token);
        self.held_back = others;
        let own: Vec<(Delivery, u64)> = own;
        own.into_iter().for_each(|(delivery, safe_at)| self.deliver(delivery, safe_at));
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
        let wrote = std::mem::take(&mut self.wrote);
        if waits || self.holds_unlogged {
            for id in &wrote {
                if let Some(client) = find(&mut self.slots, *id) {
                    client.unlogged = false;
                    if waits {
                        client.parked_until = client.parked_until.max(ticket);
                    }
                    mark_dirty(&mut self.dirty, client, *id);
                }
            }
            self.holds_unlogged = false;
        }
        self.wrote = wrote;
        self.wrote.clear();
    }

    /// Tells the engine who has come and who has gone. Gone first: a blocked client whose socket has closed
    /// must not be served any more.
    pub(crate) fn introduce(&mut self, engine: &mut Engine) {
        self.gone_told = 0;
        for session in self.gone.drain(..) {
            engine.disconnect(session);
        }
        let mut fresh = std::mem::take(&mut self.fresh);
        for id in fresh.drain(..) {
            let (shared, thread) = (self.shared, self.thread);
            let Some(client) = self.find(id) else { continue };
            let refusal = introduce(shared, client, engine, thread, id);
            let unread = std::mem::take(&mut client.unread);
            if let Some(refusal) = refusal {
                self.turn_away(id, refusal);
            }
            if unread {
                self.read_again(id);
            }
        }
        self.fresh = fresh;
    }

    /// Tells the engine how large the clients' buffers are, for CLIENT LIST.
    pub(crate) fn tell_buffers(&mut self, engine: &mut engine::Engine) {
        for (_, slot) in self.slots.iter() {
            if let Some(client) = slot
                && let Some(session) = client.session
            {
                engine.tell_buffers(session, client.buffers());
            }
        }
    }

    /// Ends the tick: unfinished requests are kept in buffers of their own, the scratch is free again.
    pub(crate) fn settle(&mut self, scratch: &mut Scratch) {
        self.put_input_aside(scratch);
        scratch.reset();
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

/// Tells the engine of a client that it has not heard of. Why it refuses it, if it does.
pub(crate) fn introduce(
    shared: &Shared,
    client: &mut Client,
    engine: &mut Engine,
    thread: usize,
    id: Id,
) -> Option<&'static str> {
    if std::mem::replace(&mut client.introduced, true) {
        return None;
    }
    let info = client_info(client, thread as u16, id);
    let refusal = match engine.protected_mode_refusal(&info) {
        Some(refusal) => {
            let text = format!(
                "A connection from {} was refused: there is no password, and without one only this machine is let in \
                 (protected-mode). Give one by requirepass-file",
                info.address
            );
            shared.notices.note(shared, Topic::Protected, text);
            Some(refusal)
        }
        None => {
            client.session = engine.connect(info, engine.keyspace.now);
            client.session.is_none().then_some(engine::TOO_MANY_CLIENTS)
        }
    };
    client.trusted = client.session.is_some_and(|session| engine.is_trusted(session));
    client.begin_as_stranger(shared.clock.micros() / 1_000_000);
    refusal
}

fn client_info(client: &Client, thread: u16, id: Id) -> ClientInfo {
    let peer = client.conn.peer();
    ClientInfo {
        id: client.id,
        thread,
        token: id.to_bits(),
        address: peer.to_string(),
        local_address: client.conn.local().to_string(),
        unix: matches!(peer, net::Peer::Unix(_)),
        tls: client.conn.is_tls(),
        local: peer.is_local(),
        source: client.source,
        fd: 8 + id.index() as i32,
    }
}

fn is_over(limit: u64, bytes: u64) -> bool {
    limit > 0 && bytes > limit
}

/// Who spoke the wrong one of TLS and plaintext, and what would be right.
#[cold]
fn words_of_refusal(refusal: Refusal, peer: &Peer) -> String {
    match refusal {
        Refusal::Plaintext => format!(
            "A connection without TLS from {peer} was refused: only TLS is spoken with it. Use rediss://, or change the directive tls"
        ),
        Refusal::Tls => format!(
            "A connection with TLS from {peer} was refused: TLS is off or there is no certificate. Use redis://, or see the directives tls and tls-cert-file"
        ),
    }
}

fn find(slots: &mut Slots<Option<Box<Client>>>, id: Id) -> Option<&mut Client> {
    slots.get_mut(id)?.as_deref_mut()
}

fn mark(flag: &mut bool, list: &mut Vec<Id>, id: Id) {
    if !*flag {
        *flag = true;
        list.push(id);
    }
}

fn mark_dirty(dirty: &mut Vec<Id>, client: &mut Client, id: Id) {
    mark(&mut client.listed.dirty, dirty, id);
}

fn mark_runnable(runnable: &mut VecDeque<Id>, client: &mut Client, id: Id) {
    if !client.listed.runnable {
        client.listed.runnable = true;
        runnable.push_back(id);
    }
}
