//! The tick of an I/O thread: its phases by name, each a short step over reusable queues.
//!
//! poll → accept → read → mailbox → timers → execute → log → write → close. The engine is locked once, from
//! timers to log, for all clients that have requests, and not at all when nobody has any.

use std::sync::atomic::Ordering;
use std::time::Duration;

use engine::Engine;
use journal::{Acked, Marks};
use net::{Id, Scratch};
use parking_lot::MutexGuard;

use crate::client::Bounds;
use crate::clients::Clients;
use crate::context::IoContext;
use crate::durable::Claim;
use crate::run::Window;
use crate::shared::{Commit, Shared};

/// Longest sleep of a thread, so that its clients' time-outs are noticed within a second.
const SLEEP_US_MAX: u64 = 1_000_000;

/// How long a thread waits for the engine before it looks whether a script is in the way.
const ENGINE_PATIENCE: Duration = Duration::from_millis(5);

/// How often the engine is told the size of buffers, microseconds.
const BUFFERS_PERIOD_US: u64 = 1_000_000;

/// How long clients wait for the next look at a busy engine, microseconds.
const BUSY_SLEEP_US: u64 = 10_000;

/// Bytes of replies after which the rest of a batch waits for the next: what there is leaves first, and clients that are closed for what
/// they hold give it back, so that many who ask for much at once do not fill the memory.
const OUTPUT_PER_BATCH: usize = 4 << 20;

/// Bytes of clients that were closed for what they held after which memory is given back to the system: whole batches of it.
const GIVEN_BACK_BYTES: usize = 4 << 20;

/// Deliveries to clients after which the rest of a batch waits for the next: what there is leaves first, so that a few publishers with
/// deep pipelines and many subscribers do not fill the memory, and other threads keep up.
const DELIVERIES_PER_BATCH: usize = 65_536;

/// One I/O thread.
pub(crate) struct Worker {
    shared: &'static Shared,
    thread: usize,
    clients: Clients,
    scratch: Scratch,
    window: Window,
    left: Commit,
    /// When the engine wants to be called without a request, monotonic microseconds.
    engine_due_us: u64,
    cron_due_us: u64,
    buffers_due_us: u64,
    /// When the pool was last trimmed, monotonic seconds.
    trimmed_s: u64,
    config_version: u64,
    /// Ticks so far, and the microseconds they took without the waiting.
    ticks: u64,
    busy_us: u64,
    /// When the waiting last ended.
    woke_us: u64,
    /// The engine was not to be had: a script runs.
    engine_busy: bool,
    /// What this batch's replies to writers and deliveries wait for.
    marks: Marks,
}

/// Why a thread does not serve clients any more.
pub(crate) enum End {
    /// The server stops.
    Stopped,
    /// Another thread goes on with them.
    Replaced,
}

impl Worker {
    pub(crate) fn new(shared: &'static Shared, thread: usize, clients: Clients) -> Worker {
        Worker {
            shared,
            thread,
            clients,
            scratch: Scratch::new(),
            window: Window::default(),
            left: Commit::default(),
            engine_due_us: 0,
            cron_due_us: 0,
            buffers_due_us: 0,
            trimmed_s: 0,
            config_version: 0,
            ticks: 0,
            busy_us: 0,
            woke_us: 0,
            engine_busy: false,
            marks: Marks::default(),
        }
    }

    /// Which of the I/O threads it makes of the thread that runs it.
    pub(crate) fn thread(&self) -> usize {
        self.thread
    }

    /// Ticks until the server stops, or another thread goes on with it.
    pub(crate) fn run(self: Box<Worker>) -> End {
        let (shared, mut worker) = (self.shared, self);
        if worker.thread == 0
            && let Ok(place) = std::fs::read_link("/proc/thread-self")
        {
            *shared.first_thread.lock() = place;
        }
        // What another thread has begun.
        worker.answer();
        while !shared.life.has_ended() {
            match worker.serve() {
                Ok(Some(claim)) => match shared.stand_in.write(shared, worker, claim) {
                    Some(back) => worker = back,
                    None => return End::Replaced,
                },
                Ok(None) => {}
                Err(error) => {
                    shared.logger.warning(&format!("An I/O thread cannot wait for events: {error}"));
                    std::thread::sleep(Duration::from_millis(10));
                    continue;
                }
            }
            worker.answer();
        }
        worker.say_goodbye();
        End::Stopped
    }

    /// The tick up to the log; what of it this thread is to write.
    fn serve(&mut self) -> std::io::Result<Option<Claim<'static>>> {
        self.poll()?;
        self.clients.accept(self.shared.clock.micros());
        self.clients.read(&mut self.scratch);
        self.clients.mailbox();
        if self.wants_engine() {
            match self.lock() {
                Some(mut engine) => {
                    self.begin(&mut engine);
                    self.timers(&mut engine);
                    self.execute(&mut engine);
                    return Ok(self.log(engine));
                }
                None => self.clients.lend(&self.scratch),
            }
        }
        Ok(None)
    }

    /// The tick behind the log.
    fn answer(&mut self) {
        self.park();
        self.clients.write();
        self.snapshot();
        self.clients.expire();
        self.clients.settle(&mut self.scratch);
        if self.clients.now_s > self.trimmed_s {
            self.trimmed_s = self.clients.now_s;
            self.clients.pool.trim();
            self.window.trim();
        }
        if self.clients.dropped_bytes >= GIVEN_BACK_BYTES {
            self.clients.dropped_bytes = 0;
            crate::allocator::give_back();
        }
        crate::allocator::publish();
        crate::allocator::keep(self.clients.pool.bytes());
        let pulse = &self.shared.pulses[self.thread];
        pulse.bytes_in.store(self.clients.bytes_in, Ordering::Relaxed);
        pulse.bytes_out.store(self.clients.bytes_out, Ordering::Relaxed);
        pulse.reads.store(self.clients.reads, Ordering::Relaxed);
        pulse.writes.store(self.clients.writes, Ordering::Relaxed);
        pulse.strangers_bytes.store(self.clients.strangers_bytes as u64, Ordering::Relaxed);
        pulse.ticks.store(self.ticks, Ordering::Relaxed);
        pulse.busy_us.store(self.busy_us, Ordering::Relaxed);
    }

    /// Takes a slice of a running snapshot, when the replies are on their way.
    fn snapshot(&mut self) {
        let shared = self.shared;
        if self.thread == 0
            && shared.saver.feed.is_wanted()
            && let Some(mut engine) = self.lock()
        {
            shared.saver.feed.take_slice(&mut engine, &shared.clock);
        }
    }

    /// Waits for something to do.
    fn poll(&mut self) -> std::io::Result<()> {
        let pulse = &self.shared.pulses[self.thread];
        let timeout = self.timeout();
        pulse.polling.store(timeout > Duration::ZERO, Ordering::Relaxed);
        let outcome = self.clients.poll(Some(timeout));
        let now_us = self.shared.clock.micros();
        pulse.ticked_us.store(now_us, Ordering::Relaxed);
        pulse.polling.store(false, Ordering::Relaxed);
        self.clients.now_s = now_us / 1_000_000;
        self.woke_us = now_us;
        self.ticks += 1;
        outcome
    }

    fn timeout(&mut self) -> Duration {
        let now_us = self.shared.clock.micros();
        if self.woke_us > 0 {
            self.busy_us += now_us.saturating_sub(self.woke_us);
        }
        if self.engine_busy {
            return Duration::from_micros(BUSY_SLEEP_US);
        }
        if self.clients.has_work() || !self.is_parking_in_order() || self.takes_slices() {
            return Duration::ZERO;
        }
        let mut due_us = (now_us + SLEEP_US_MAX).min(self.engine_due_us);
        if self.thread == 0 {
            due_us = due_us.min(self.cron_due_us);
        }
        if self.clients.untold {
            due_us = due_us.min(self.buffers_due_us);
        }
        let (unacked, unacked_due_us) = self.clients.unacked();
        self.shared.pulses[self.thread].unacked.store(unacked, Ordering::Relaxed);
        due_us = due_us.min(unacked_due_us.unwrap_or(u64::MAX));
        if let Some(pause_us) = self.clients.accept_pause_us(now_us) {
            due_us = due_us.min(now_us + pause_us);
        }
        Duration::from_micros(due_us.saturating_sub(now_us))
    }

    fn takes_slices(&self) -> bool {
        self.thread == 0 && self.shared.saver.feed.is_wanted()
    }

    /// Tells the log thread to wake us if output waits for it; false when some of it need not wait any more.
    fn is_parking_in_order(&mut self) -> bool {
        let waits = self.clients.has_parked();
        // Raised before looking, so that a sync that ends in between either is seen or wakes us.
        self.shared.pulses[self.thread].parked.store(waits, Ordering::SeqCst);
        !waits || !self.clients.parked_is_safe()
    }

    fn wants_engine(&self) -> bool {
        let clients = &self.clients;
        let waits = !clients.runnable.is_empty() || !clients.resized.is_empty();
        if waits || !clients.fresh.is_empty() || !clients.gone.is_empty() {
            return true;
        }
        let now_us = self.shared.clock.micros();
        // A thread whose clients are only written to has nothing else to take it for.
        let tells_buffers = clients.untold && now_us >= self.buffers_due_us;
        now_us >= self.engine_due_us
            || tells_buffers
            || (self.thread == 0 && (now_us >= self.cron_due_us || self.shared.completions.has_some()))
    }

    /// The engine, or nothing when a script that runs too long has it.
    fn lock(&mut self) -> Option<MutexGuard<'static, Engine>> {
        let shared = self.shared;
        self.engine_busy = false;
        loop {
            if let Some(engine) = shared.engine.try_lock_for(ENGINE_PATIENCE) {
                return Some(engine);
            }
            if shared.busy.is_on() {
                self.engine_busy = true;
                return None;
            }
        }
    }

    /// Takes in what the batches before this one have left for our clients, ahead of what this one will: those of other I/O threads, and of
    /// threads that serve no clients. Whoever sends it holds the journal, and nobody can execute a later batch while we have the engine.
    fn catch_up(&mut self) {
        drop(self.shared.durable.journal());
        self.clients.mailbox();
    }

    /// Tells the engine what time it is and who is there.
    fn begin(&mut self, engine: &mut Engine) {
        self.catch_up();
        engine.begin_batch(self.shared.clock.now());
        self.clients.batch_output = 0;
        if let Some(Acked { history, position }) = self.shared.durable.take_given_up() {
            engine.note_unacknowledged(history, position);
        }
        self.renew_bounds(engine);
        self.clients.introduce(engine);
        if !self.clients.resized.is_empty() {
            self.tell_resized(engine);
        }
    }

    /// Runs the requests of all runnable clients, within each one's budget.
    fn execute(&mut self, engine: &mut Engine) {
        // Taken one by one: while a script holds the engine, those behind it are served by `serve_others`.
        for _ in 0..self.clients.runnable.len() {
            let is_full = self.clients.batch_output >= OUTPUT_PER_BATCH;
            if is_full || engine.waiting_deliveries() >= DELIVERIES_PER_BATCH {
                break;
            }
            let Some(id) = self.clients.runnable.pop_front() else { break };
            self.clients.execute_one(engine, id, &self.scratch, &mut self.window);
            // Behind one client's requests, not before: whoever does not go holds up nobody.
            if engine.waits_for_evicted() {
                break;
            }
        }
        engine.evict_clients();
    }

    /// While the engine wants to know: tells it the buffers of those that have read or written since it last heard.
    fn tell_resized(&mut self, engine: &mut Engine) {
        self.clients.has_fed = false;
        for id in self.clients.resized.drain(..) {
            if let Some(Some(client)) = self.clients.slots.get_mut(id) {
                client.listed.resized = false;
                if let Some(session) = client.session {
                    engine.tell_buffers(session, client.buffers());
                }
            }
        }
        engine.evict_clients();
        engine.send_held();
    }

    fn renew_bounds(&mut self, engine: &Engine) {
        let version = self.shared.config_version.load(Ordering::Acquire);
        if version != self.config_version {
            self.config_version = version;
            self.clients.set_bounds(Bounds::of(&engine.config));
        }
        self.clients.bounds.asks_login = !engine.acl.default_is_open();
        self.clients.bounds.tells_buffers = engine.limits_clients() || engine.feeds_copies();
    }

    /// Lets the engine do what is due: time-outs of blocked clients, expiry, its regular work. Ahead of the requests, whose
    /// replies are then not yet there: data must not be evicted for what is gone before the next tick.
    fn timers(&mut self, engine: &mut Engine) {
        let shared = self.shared;
        let now = engine.keyspace.now;
        let mut context = IoContext::new(shared, &mut self.clients, &self.scratch);
        self.engine_due_us = engine.tick(now, &mut context).unwrap_or(u64::MAX);
        if self.thread == 0 && shared.completions.has_some() {
            shared.completions.take().into_iter().for_each(|tell| tell(engine, &mut context));
        }
        if self.thread == 0 && now.mono_us >= self.cron_due_us {
            let period_us = 1_000_000 / u64::from(engine.config.hz.max(1));
            self.cron_due_us = now.mono_us + period_us;
            engine.cron(now, &mut context);
            shared.saver.look_at_save_points(shared, engine);
            shared.meters.sample(shared, engine);
            shared.notices.look(shared, engine);
        }
        context.end_busy();
        if engine.has_deliveries() {
            self.deliver_early(engine);
        }
        if now.mono_us >= self.buffers_due_us {
            self.buffers_due_us = now.mono_us + BUFFERS_PERIOD_US;
            self.clients.tell_buffers(engine);
        }
    }

    /// Delivers what the regular work has for our clients ahead of the replies of this batch, held back by the log like them.
    #[cold]
    fn deliver_early(&mut self, engine: &mut Engine) {
        let mut deliveries = std::mem::take(&mut self.left.deliveries);
        engine.take_deliveries_of(self.thread as u16, &mut deliveries);
        let marks = match engine.sends_held() {
            true => Marks::agreed(self.shared.durable.journal().end()),
            false => Marks::default(),
        };
        for delivery in deliveries.drain(..) {
            self.clients.wrote.push(Id::from_bits(delivery.token));
            self.clients.deliver(delivery, marks);
        }
        self.left.deliveries = deliveries;
    }

    /// Logs what the batch has changed, before any of its replies leave, and sends what others get.
    fn log(&mut self, engine: MutexGuard<'static, Engine>) -> Option<Claim<'static>> {
        self.left.wants_sync = self.clients.take_wants_sync();
        let (marks, claim) = self.shared.hand_over(engine, &mut self.left, Some(self.thread));
        self.marks = marks;
        claim
    }

    /// Holds back the replies to those who have written, if they have to wait for the log.
    fn park(&mut self) {
        let marks = std::mem::take(&mut self.marks);
        let waits = !self.shared.durable.is_safe(marks.agreed);
        self.clients.note_logged(marks.agreed, waits);
        if !self.left.deliveries.is_empty() {
            self.deliver(marks);
        }
    }

    /// Delivers what the batch has left for our clients; it waits for `marks` with them.
    fn deliver(&mut self, marks: Marks) {
        let mut deliveries = std::mem::take(&mut self.left.deliveries);
        for delivery in deliveries.drain(..) {
            self.clients.deliver(delivery, marks);
        }
        self.left.deliveries = deliveries;
    }

    /// The last tick: what can still be written is written.
    fn say_goodbye(&mut self) {
        self.shared.entrance.close();
        self.clients.mailbox();
        self.clients.write();
    }
}
