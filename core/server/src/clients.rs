//! The clients of one I/O thread: accepting, reading, writing and closing, everything but execution.
//!
//! Apart from the thread's tick, so that a script that runs too long can let the same steps run while it
//! holds the engine and its own client's input.
//!
//! Invariants: a client that is not out for its requests is in each list that its `listed` flags name; the client whose requests run is
//! taken out of its slot and found by nobody; input lies in the scratch only within a tick.

mod accept;
mod input;
mod mailbox;
mod output;

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use engine::{Delivery, Engine, SessionId};
use journal::Marks;
use net::{Accepted, Id, Poller, Pool, Ready, Scratch, Slots, Timers};

pub(crate) use self::accept::introduce;
use crate::busy::Others;
use crate::client::{Bounds, Class, Client};
use crate::context::IoContext;
use crate::logger::Level;
use crate::mail::Mail;
use crate::run::{Ran, Window};
use crate::shared::Shared;

/// Seconds for a TLS handshake.
const HANDSHAKE_S_MAX: u64 = 10;

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
    /// Bytes that clients held which were closed for what they held, or by somebody, since memory was given back for that.
    pub(crate) dropped_bytes: usize,
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
    /// A replica that is sent something part by part, or is to be, has more or less left: the engine is to hear of that at once.
    pub(crate) has_fed: bool,
    /// Some buffers have changed since the engine heard of all.
    pub(crate) untold: bool,
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
    /// How many clients are refused and wait for the answer.
    turned_away: usize,
    accepted: Vec<Accepted>,
    accept_due: bool,
    accept_not_before_us: u64,
    next_thread: usize,
    due: Vec<Id>,
    /// Whose requests have changed something in this batch.
    pub(crate) wrote: Vec<Id>,
    /// Some of these have chosen what to wait for.
    pub(crate) has_chosen: bool,
    /// One of them has chosen a sync.
    wants_sync: bool,
    /// Output of some of these is held until it is logged.
    holds_unlogged: bool,
    mail: Vec<Mail>,
    /// What came for clients whose requests are being executed, here or by another thread.
    held_back: Vec<(Delivery, Marks)>,
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
            dropped_bytes: 0,
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
            has_fed: false,
            untold: false,
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
            has_chosen: false,
            wants_sync: false,
            holds_unlogged: false,
            mail: Vec::new(),
            held_back: Vec::new(),
            others: None,
        }
    }

    /// Whether something is to be done without waiting for an event.
    pub(crate) fn has_work(&self) -> bool {
        let clients_wait = !self.again.is_empty() || !self.runnable.is_empty() || !self.dirty.is_empty();
        clients_wait || !self.gone.is_empty() || self.has_fed
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
        let now_us = self.shared.clock.micros();
        if client.conn.held() > 0 && (client.listed.runnable || client.is_held_back(now_us)) {
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

    /// A replica has much to read: what follows is sent to it as it takes that.
    fn mark_fed(&mut self, id: Id) {
        if let Some(client) = find(&mut self.slots, id) {
            mark(&mut client.listed.resized, &mut self.resized, id);
            self.has_fed = true;
        }
    }

    /// Its buffers have changed: the engine is told, at once while it wants to know, else with those of all.
    pub(crate) fn mark_resized(&mut self, id: Id) {
        self.untold = true;
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

    /// Handles deadlines: handshakes, idle clients, output that is not read.
    pub(crate) fn expire(&mut self) {
        self.timers.advance(self.now_s, TIMERS_PER_TICK_MAX, &mut self.due);
        while let Some(id) = self.due.pop() {
            self.expire_one(id);
        }
    }

    fn expire_one(&mut self, id: Id) {
        let (idle_s, now_s) = (self.bounds.idle_s, self.now_s);
        let Some(slot) = self.slots.get_mut(id) else { return };
        let Some(client) = slot else { return self.timers.arm(id, now_s + 1) };
        if now_s < client.look_s {
            return;
        }
        client.look_s = u64::MAX;
        if (client.conn.is_handshaking() || client.turned_away) && now_s >= client.heard_s + HANDSHAKE_S_MAX {
            return self.close(id);
        }
        // Whom a certificate logs in is so with its first request, whenever that comes.
        let by_certificate = self.bounds.certificate_user != config::TlsAuthClientsUser::Off
            && client.conn.certificate_name().is_some();
        let login_until_s = match self.bounds.login_s {
            0 => u64::MAX,
            _ if by_certificate || !self.bounds.asks_login => u64::MAX,
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
        let exempt = client.waiting || client.is_monitor || client.class != Class::Normal;
        if idle_s > 0 && !exempt && now_s > client.heard_s + idle_s {
            self.shared.logger.line(Level::Verbose, "Closing idle client");
            return self.close(id);
        }
        let idle_until_s = match idle_s {
            0 => u64::MAX,
            _ if exempt => now_s + idle_s,
            _ => client.heard_s + idle_s + 1,
        };
        let soft_s = self.bounds.output[client.class as usize].soft_seconds;
        let soft_until_s = client.over_soft_since_s.map_or(u64::MAX, |since_s| since_s + soft_s + 1);
        let login_until_s = if client.is_stranger() { login_until_s } else { u64::MAX };
        let handshake_until_s =
            if client.conn.is_handshaking() { client.heard_s + HANDSHAKE_S_MAX } else { u64::MAX };
        // What holds for it may change meanwhile: it is looked at again now and then.
        let next_s = idle_until_s.min(login_until_s).min(handshake_until_s).min(soft_until_s).min(now_s + 60);
        self.look_at(id, next_s.max(now_s + 1));
    }

    /// Has a client looked at, if it is not to be before that anyway.
    pub(crate) fn look_at(&mut self, id: Id, at_s: u64) {
        if let Some(client) = find(&mut self.slots, id) {
            client.look_at(&mut self.timers, id, at_s);
        }
    }

    /// Takes over what holds for clients from now on.
    pub(crate) fn set_bounds(&mut self, bounds: Bounds) {
        let times = |bounds: &Bounds| (bounds.idle_s, bounds.login_s);
        let is_sooner = times(&bounds) != times(&self.bounds);
        self.bounds = bounds;
        if is_sooner {
            // Whoever was to be looked at by the time-outs of before.
            let all: Vec<Id> = self.slots.iter().map(|(id, _)| id).collect();
            all.into_iter().for_each(|id| self.look_at(id, self.now_s + 1));
        }
    }

    /// Drops a client now.
    pub(crate) fn close(&mut self, id: Id) {
        let Some(Some(client)) = self.slots.remove(id) else { return };
        self.strangers_bytes -= client.counted;
        if client.dropped {
            let (input, output) = client.conn.buffer_bytes();
            self.dropped_bytes += input + output;
        }
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
        let goes_on = ran == Ran::Budget && client.conn.held() > 0;
        let ended = client.ended;
        self.put_back(id, client);
        if goes_on {
            self.mark_runnable(id);
        } else if ended && ran != Ran::HeldBack {
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

    /// Tells the engine how large the clients' buffers are, for CLIENT LIST.
    pub(crate) fn tell_buffers(&mut self, engine: &mut engine::Engine) {
        self.untold = false;
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
