//! Clients that wait for keys, and how a ready key is served; who waits for what is in `waiters`.
//!
//! A waiting client is served by running its own command again when one of its keys was touched, oldest first, after the outermost
//! command. There is no second path that delivers values. A waiter that finds nothing keeps its place.

use crate::call::{Called, Turn};
use crate::durability::{Durability, Written};
use crate::engine::Engine;
use crate::gate::{Asked, Caller, Verdict};
use crate::outside::{Delivery, Outside};
use crate::queue::Workers;
use crate::session::{ReplyMode, SessionId, Waiting};
use commands::{Args, Flags, Group, OnTimeout, Wait};
use core::cmp::Reverse;
use keyspace::Keyspace;
use resp::Reply;
use types::Kind;

mod waiters;

use waiters::DbKey;
pub(crate) use waiters::Waiters;

/// The type that a blocking command of this family waits for.
fn awaited(group: Group) -> Option<Kind> {
    match group {
        Group::List => Some(Kind::List),
        Group::SortedSet => Some(Kind::ZSet),
        Group::Stream => Some(Kind::Stream),
        _ => None,
    }
}

/// The type of value that a key holds, also one whose time is over: the command that is run again takes that out, and tells the log.
fn held(keyspace: &mut Keyspace, (db, key): &DbKey) -> Option<Kind> {
    keyspace.peek(*db, key).map(|entry| entry.kind())
}

impl Engine {
    /// Makes a client wait.
    pub(crate) fn block(&mut self, id: SessionId, group: Group, mut wait: Wait, argv: &[&[u8]]) {
        let now = self.keyspace.now.mono_us;
        let argv = wait.again.take().unwrap_or_else(|| argv.iter().map(|a| a.to_vec()).collect());
        let deadline_us = wait.timeout_ms.map(|ms| now.saturating_add(ms.saturating_mul(1000)));
        let look_at_us = self.look_at_us(&wait);
        let db = self.sessions.at(id).db;
        let kind = awaited(group);
        if let Some(kind) = kind {
            let clients = Workers::waiting(&self.waiters);
            wait.keys.iter().for_each(|key| self.keyspace.note_awaited(db, key, kind, &clients));
        }
        let session = self.sessions.at_mut(id);
        let mut waiting = Waiting { wait, kind, db, argv, deadline_us, look_at_us: None, arrival: 0 };
        self.waiters.add(id, &mut waiting);
        self.waiters.look_again(id, &mut waiting, look_at_us);
        session.waiting = Some(Box::new(waiting));
        self.keyspace.effects.observed = true;
    }

    /// Tells the queues again who waits in these databases: they have exchanged what they hold.
    pub(crate) fn note_awaited_in(&mut self, databases: &[usize]) {
        for ((db, key), id) in self.waiters.keys_in(databases) {
            let Some(waiting) = self.sessions.find(id).and_then(|session| session.waiting.as_ref()) else {
                continue;
            };
            if let Some(kind) = waiting.kind {
                self.keyspace.note_awaited(db, &key, kind, &Workers::waiting(&self.waiters));
            }
        }
    }

    /// When the command that waits is to be run again in any case, monotonic microseconds.
    fn look_at_us(&self, wait: &Wait) -> Option<u64> {
        let now_us = self.keyspace.now.mono_us;
        wait.look_again_ms.map(|ms| now_us.saturating_add(ms.saturating_mul(1000)))
    }

    /// Runs the commands again whose time to be looked at has come.
    fn look_at_waiters(&mut self, outside: &mut dyn Outside) {
        let now_us = self.keyspace.now.mono_us;
        while let Some(id) = self.waiters.next_look(now_us) {
            self.serve(id, outside);
        }
    }

    /// Ends a client's waiting without a reply.
    pub(crate) fn unblock(&mut self, id: SessionId) -> Option<Box<Waiting>> {
        let waiting = self.sessions.find_mut(id)?.waiting.take()?;
        self.waiters.remove(id, &waiting);
        self.observe();
        Some(waiting)
    }

    /// Serves the clients whose keys became ready, until no key is.
    #[inline(always)]
    pub(crate) fn serve_ready(&mut self, outside: &mut dyn Outside) {
        if self.waiters.has_ready() && self.depth == 0 {
            self.serve_waiters(outside);
        }
    }

    #[inline(never)]
    fn serve_waiters(&mut self, outside: &mut dyn Outside) {
        while let Some((key, mut turns, last)) = self.waiters.next_ready(|key| held(&mut self.keyspace, key))
        {
            while let Some(Reverse((arrival, line))) = turns.pop() {
                // What one in a line can take nothing of, none behind it can, however many wait.
                if !line.takes(held(&mut self.keyspace, &key)) {
                    continue;
                }
                // Whose turn it was may have left meanwhile.
                let Some((at, id)) = self.waiters.first_in(&key, &line, arrival..=last) else { continue };
                if at == arrival {
                    self.serve(id, outside);
                    let waits_on = self.sessions.find(id).is_some_and(|session| session.waiting.is_some());
                    if waits_on && line.is_shared() {
                        continue;
                    }
                }
                let next = if at == arrival { arrival + 1 } else { at };
                if let Some((next, _)) = self.waiters.first_in(&key, &line, next..=last) {
                    turns.push(Reverse((next, line)));
                }
            }
        }
    }

    /// Runs the command of a waiting client again, if its user may still run it.
    fn serve(&mut self, id: SessionId, outside: &mut dyn Outside) {
        let Some(session) = self.sessions.find_mut(id) else { return };
        let protocol = session.protocol;
        let Some(waiting) = session.waiting.take() else { return };
        let argv: Vec<&[u8]> = waiting.argv.iter().map(Vec::as_slice).collect();
        let Some(command) = self.table.find(&argv) else { return };
        let mut out = Vec::new();
        if self.would_be_in_vain(id, command) {
            let (mut waiting, now_us) = (waiting, self.keyspace.now.mono_us);
            let again_us = now_us + crate::durability::REPLICAS_LOOK_US;
            self.waiters.look_again(id, &mut waiting, Some(again_us));
            self.sessions.at_mut(id).waiting = Some(waiting);
            return;
        }
        let asked = Asked { id, command, argv: &argv };
        if let Verdict::Refuse(error) = self.admit(asked, Caller::Ready, outside) {
            // Commands or keys were withdrawn while it waited: what it waits for stays.
            self.command_stats[command].rejected += 1;
            self.sessions.at_mut(id).spent_ns = 0;
            self.refuse(&error, &mut Reply::wire(&mut out, protocol));
            return self.end_serving(id, &waiting, out);
        }
        let turn = Turn {
            session: id,
            args: Args::new(&argv),
            reply: Reply::wire(&mut out, protocol),
            outside: &mut *outside,
            caller: Caller::Ready,
        };
        // What this leaves for the client itself stands behind its reply.
        let outer = core::mem::replace(&mut self.own_from, self.deliveries.len());
        let logged = self.log.len();
        let called = self.call(command, turn, None);
        if let Called::Block(wait) = called {
            self.own_from = outer;
            let (mut waiting, look_at_us) = (waiting, self.look_at_us(&wait));
            self.waiters.look_again(id, &mut waiting, look_at_us);
            self.sessions.at_mut(id).waiting = Some(waiting);
            return;
        }
        let others = self.acks.written.take();
        if self.log.len() > logged {
            self.note_write(id, command, 0..out.len());
        }
        let written = core::mem::replace(&mut self.acks.written, others);
        self.note_bytes(command, id, Args::new(&argv), out.len());
        if self.spend_reply_mode(id) != ReplyMode::On {
            out.clear();
        }
        // Pushes that stand behind the reply are no part of it, nor where there is none.
        let reply = 0..out.len();
        if self.deliveries.len() > self.own_from {
            self.take_own(id, out.len(), &mut out);
        }
        self.own_from = outer;
        self.waiters.remove(id, &waiting);
        let written = written.map(|written| Box::new(Written { reply, ..written }));
        self.leave(id, Delivery { bytes: out, resume: true, written, ..Delivery::default() });
        self.observe();
    }

    /// Whether what a client waits to do is a write that no replica would acknowledge, while it waits for that, or that others' may have
    /// to go before: what it would take stays, and it waits on.
    fn would_be_in_vain(&self, id: SessionId, command: usize) -> bool {
        self.table.commands[command].spec.flags.has(Flags::WRITE)
            && (self.durability(id) == Durability::Replicated && !self.is_acknowledged_here()
                || self.holds_all_for_tail())
    }

    /// Ends a client's waiting, of which its session knows no more, with a reply.
    fn end_serving(&mut self, id: SessionId, waiting: &Waiting, reply: Vec<u8>) {
        self.waiters.remove(id, waiting);
        self.answer(id, reply);
        self.observe();
    }

    /// Answers the clients whose time is over.
    pub(crate) fn time_out_waiters(&mut self) {
        let now = self.keyspace.now.mono_us;
        while let Some(&(at, id)) = self.waiters.deadlines.first() {
            if at > now {
                break;
            }
            let Some(waiting) = self.unblock(id) else {
                self.waiters.deadlines.remove(&(at, id));
                continue;
            };
            self.end_waiting(id, &waiting);
        }
    }

    /// Ends a client's waiting as if its time were over.
    pub(crate) fn end_waiting(&mut self, id: SessionId, waiting: &Waiting) {
        let (synced, acked) = self.end_ack_waiting(id);
        let how = waiting.wait.on_timeout;
        self.end_waiting_by(id, waiting, |reply| match how {
            OnTimeout::NullArray => reply.null_array(),
            OnTimeout::Null => reply.null(),
            OnTimeout::Acked => reply.integer(acked),
            OnTimeout::Synced => {
                reply.array(2);
                reply.integer(synced);
                reply.integer(acked);
            }
        });
    }

    /// Ends a client's waiting with an error.
    pub(crate) fn end_waiting_with(&mut self, id: SessionId, waiting: &Waiting, error: &[u8]) {
        self.end_ack_waiting(id);
        self.end_waiting_by(id, waiting, |reply| reply.error(error));
    }

    fn end_waiting_by(&mut self, id: SessionId, waiting: &Waiting, write: impl FnOnce(&mut Reply<'_>)) {
        let Some(session) = self.sessions.find(id) else { return };
        let mut out = Vec::new();
        write(&mut Reply::wire(&mut out, session.protocol));
        if let Some(command) = session.last_command {
            let argv: Vec<&[u8]> = waiting.argv.iter().map(Vec::as_slice).collect();
            self.count_late(id, command, Args::new(&argv), &out);
        }
        self.answer(id, out);
    }

    /// Background work of a tick: time-outs, keys whose time is over, room for what clients have not read yet. The next time this is needed, monotonic microseconds.
    pub fn tick(&mut self, now: base::Now, outside: &mut dyn Outside) -> Option<u64> {
        /// Items of the expiry index looked at in one tick, for each step of `active-expire-effort`.
        const EXPIRE_BUDGET: usize = 512;
        self.keyspace.set_now(now);
        self.serve_acked(outside);
        let may_evict = !outside.is_loading() && !self.pause.is_pending;
        if may_evict {
            self.make_room(outside);
        }
        let evicts_on = may_evict && self.is_evicting;
        self.time_out_waiters();
        self.look_at_waiters(outside);
        if self.pause.is_pending {
            self.release_held(outside);
        }
        let more = !self.switches.cron_paused
            && self.timed("expire-cycle", outside, |engine| {
                engine.keyspace.expire_due(EXPIRE_BUDGET * engine.config.active_expire_effort as usize)
            });
        self.settle_background();
        self.serve_ready(outside);
        let pause_end = (self.pause.until_us != 0).then_some(self.pause.until_us);
        let look_at_log = self.waits_for_log().then_some(now.mono_us + crate::replication::SYNC_LOOK_US);
        if more || evicts_on {
            return Some(now.mono_us);
        }
        self.waiters.next_deadline().into_iter().chain(pause_end).chain(look_at_log).min()
    }

    /// Slow background work, ten times a second or so.
    pub fn cron(&mut self, now: base::Now, outside: &mut dyn Outside) {
        if self.switches.cron_paused {
            return;
        }
        self.keyspace.set_now(now);
        self.keyspace.trim_wheels();
        self.bound_tracking_in_time();
        self.forget_gone_readers();
        self.rate.sample(now.mono_us / 1000, self.counters.commands);
        self.tick_queues();
        self.tick_replicas(outside);
        self.expire_own();
        self.counters.memory_peak = self.counters.memory_peak.max(outside.used_memory());
    }
}
