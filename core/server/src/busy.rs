//! A script that runs too long, as the threads of the server know it.
//!
//! It keeps the engine, and the thread that runs it lends the engine to others each time that the script is interrupted
//! (`engine::Outside::busy`). That thread serves its own clients then. Other I/O threads cannot have the engine, so they lend *it* their
//! clients that want something: the whole client goes over ([`HandOver`]), its requests run there by the same path as ever
//! (`run::serve`), and it comes back with its replies. So there is one parser, one gate and one dispatch at all times.
//!
//! Newcomers who say nothing go over, too, since it is the engine that says whether there is room for them; and it is told of those who have
//! gone, whose room that is. How long one look may serve others is bounded, or a flood of requests would stretch the script.
//!
//! Invariants: a client that is lent has an empty slot on its thread, which neither reads nor closes it and keeps what comes for it; it
//! holds no input in its thread's scratch; it is not among those of whom the engine is to hear; whoever ends the busy time gives all back,
//! served or not.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use engine::{Busy, BusyVerdict, Delivery, Engine, Job, SessionId};
use journal::Marks;
use net::{Id, Poller, Scratch};
use parking_lot::Mutex;

use crate::client::{Bounds, Client};
use crate::clients::Clients;
use crate::context::{BackgroundContext, IoContext};
use crate::run::{Ran, Window};
use crate::shared::Shared;

/// Clients that may wait to be served by the thread that has the engine; more stay with their own thread until there is room.
const LENT_MAX: usize = 1024;

/// How long one look serves those who have sent requests, microseconds: a fifth of the time between two looks. It ends behind the client that
/// exceeds it; the others wait for the next look.
const LOOK_US_MAX: u64 = 1_000;

/// The number of no I/O thread: of whoever serves lent clients without having any.
const NO_THREAD: usize = usize::MAX;

/// What is known of a script that runs too long.
/// ```text
///         begin          it has written
/// None ---------> Runs -----------------> HasWritten
///                 |  ^                      ^
///            stop |  | go_on                |
///                 v  |    it has written    |
///               IsToEnd --------------------'           end: from any of them to None
/// ```
/// What has written is never cut off, so that the server ends does not concern it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Script {
    /// There is none.
    None,
    /// It has changed nothing yet.
    Runs,
    /// The server ends, and so it is to.
    IsToEnd,
    /// It has changed something.
    HasWritten,
}

const SCRIPTS: [Script; 4] = [Script::None, Script::Runs, Script::IsToEnd, Script::HasWritten];

/// See the module.
#[derive(Default)]
pub(crate) struct BusyState {
    script: AtomicU8,
    since_us: AtomicU64,
    pub(crate) hand_over: HandOver,
}

impl BusyState {
    /// Of a server with so many I/O threads.
    pub(crate) fn new(threads: usize) -> BusyState {
        let returned = (0..threads).map(|_| Returned::default()).collect();
        BusyState { hand_over: HandOver { waiting: Mutex::default(), returned }, ..BusyState::default() }
    }

    fn script(&self) -> Script {
        SCRIPTS[usize::from(self.script.load(Ordering::Acquire))]
    }

    /// Goes from one state to another; nothing happens in a third.
    fn change(&self, from: Script, to: Script) {
        let _ = self.script.compare_exchange(from as u8, to as u8, Ordering::AcqRel, Ordering::Acquire);
    }

    pub(crate) fn is_on(&self) -> bool {
        self.script() != Script::None
    }

    pub(crate) fn has_written(&self) -> bool {
        self.script() == Script::HasWritten
    }

    /// When the script began, monotonic microseconds.
    pub(crate) fn since_us(&self) -> u64 {
        self.since_us.load(Ordering::Acquire)
    }

    /// A script is known to run too long, for so long by now. Only the thread that has the engine tells so, and its end.
    pub(crate) fn begin(&self, now_us: u64, what: Busy) {
        self.since_us.store(now_us.saturating_sub(what.running_ns / 1000), Ordering::Release);
        if !self.is_on() {
            self.hand_over.waiting.lock().is_open = true;
            self.change(Script::None, Script::Runs);
        }
        if what.has_written {
            self.script.store(Script::HasWritten as u8, Ordering::Release);
        }
    }

    /// It is over.
    pub(crate) fn end(&self) {
        if self.is_on() {
            self.script.store(Script::None as u8, Ordering::Release);
            self.hand_over.close();
        }
    }

    /// Has the script end, because the server does; one that has written goes on.
    pub(crate) fn stop(&self) {
        self.change(Script::Runs, Script::IsToEnd);
    }

    /// The server goes on, and so may scripts.
    pub(crate) fn go_on(&self) {
        self.change(Script::IsToEnd, Script::Runs);
    }

    pub(crate) fn verdict(&self) -> BusyVerdict {
        match self.script() {
            Script::IsToEnd => BusyVerdict::Shutdown,
            Script::None | Script::Runs | Script::HasWritten => BusyVerdict::Continue,
        }
    }
}

/// A client that another thread serves.
pub(crate) struct Lent {
    shared: &'static Shared,
    thread: usize,
    id: Id,
    client: Box<Client>,
    /// What became of its requests; nothing if nobody has looked at them.
    ran: Option<Ran>,
    /// Why it is turned away.
    refusal: Option<&'static str>,
}

/// The way of lent clients to the thread that has the engine, and back.
#[derive(Default)]
pub(crate) struct HandOver {
    waiting: Mutex<Waiting>,
    /// By the threads that the clients belong to. At most as many as these have clients.
    returned: Vec<Returned>,
}

#[derive(Default)]
struct Waiting {
    /// Somebody will serve them, or give them back.
    is_open: bool,
    clients: VecDeque<Lent>,
    /// Who has gone. Their threads tell it again, when they have the engine.
    gone: Vec<SessionId>,
}

#[derive(Default)]
struct Returned {
    has_some: AtomicBool,
    clients: Mutex<Vec<Lent>>,
}

impl HandOver {
    /// Lends a client.
    ///
    /// # Errors
    /// The busy time is over, or too many wait: here it is again.
    fn lend(&self, lent: Lent) -> Result<(), Lent> {
        let mut waiting = self.waiting.lock();
        if !waiting.is_open || waiting.clients.len() >= LENT_MAX {
            return Err(lent);
        }
        waiting.clients.push_back(lent);
        Ok(())
    }

    /// The server whose clients wait, if some do.
    fn whose(&self) -> Option<&'static Shared> {
        self.waiting.lock().clients.front().map(|lent| lent.shared)
    }

    /// How many wait.
    fn len(&self) -> usize {
        self.waiting.lock().clients.len()
    }

    /// The one who has waited longest.
    fn next(&self) -> Option<Lent> {
        self.waiting.lock().clients.pop_front()
    }

    /// Has the engine told who has gone. False: the busy time is over, nobody will.
    fn tell_gone(&self, gone: &[SessionId]) -> bool {
        let mut waiting = self.waiting.lock();
        if waiting.is_open {
            waiting.gone.extend_from_slice(gone);
        }
        waiting.is_open
    }

    fn take_gone(&self) -> Vec<SessionId> {
        std::mem::take(&mut self.waiting.lock().gone)
    }

    fn give_back(&self, lent: Lent) {
        let (inbox, returned) = (&lent.shared.inboxes[lent.thread], &self.returned[lent.thread]);
        returned.clients.lock().push(lent);
        returned.has_some.store(true, Ordering::Release);
        inbox.wake();
    }

    /// Whether clients of this thread are back: one load, for every tick asks.
    #[inline]
    pub(crate) fn has_returned(&self, thread: usize) -> bool {
        self.returned[thread].has_some.load(Ordering::Acquire)
    }

    fn take_returned(&self, thread: usize) -> Vec<Lent> {
        let returned = &self.returned[thread];
        let mut clients = returned.clients.lock();
        returned.has_some.store(false, Ordering::Release);
        std::mem::take(&mut *clients)
    }

    /// Gives all back and takes no more.
    fn close(&self) {
        let mut waiting = self.waiting.lock();
        waiting.is_open = false;
        waiting.gone.clear();
        let left = std::mem::take(&mut waiting.clients);
        drop(waiting);
        left.into_iter().for_each(|lent| self.give_back(lent));
    }
}

/// What a thread needs to serve clients while its tick stands in the middle of a request.
#[derive(Default)]
pub(crate) struct Others {
    scratch: Scratch,
    window: Window,
    deliveries: Vec<Delivery>,
    jobs: Vec<Job>,
}

impl Clients {
    /// A small tick while a script holds the engine, which is lent for it: everybody who asks for something is served.
    pub(crate) fn serve_others(&mut self, engine: &mut Engine) {
        let mut own = self.others.take().unwrap_or_default();
        let Others { scratch, window, deliveries, jobs } = &mut *own;
        self.now_s = self.shared.clock.micros() / 1_000_000;
        // A broken poller is met again, and reported, by the tick itself.
        if self.thread != NO_THREAD && self.poll(Some(Duration::ZERO)).is_ok() {
            self.accept(self.shared.clock.micros());
            self.read(scratch);
            self.mailbox();
        }
        engine.serve_others(deliveries, jobs, |engine| {
            let gone = self.shared.busy.hand_over.take_gone();
            gone.into_iter().for_each(|session| engine.disconnect(session));
            self.introduce(engine);
            let mut context = IoContext::new(self.shared, self, scratch);
            context.shared.completions.take_checks().into_iter().for_each(|tell| tell(engine, &mut context));
            self.serve_in_turn(engine, scratch, window);
        });
        self.hand_out(engine, deliveries);
        self.shared.hand_on(jobs);
        self.write();
        if self.thread != NO_THREAD {
            self.expire();
        }
        self.settle(scratch);
        self.others = Some(own);
    }

    /// Serves those who have sent something, one of ours and one of the lent by turns, until time is up.
    fn serve_in_turn(&mut self, engine: &mut Engine, scratch: &Scratch, window: &mut Window) {
        let clock = &self.shared.clock;
        let until_us = clock.micros() + LOOK_US_MAX;
        let (mut own, mut lent) = (self.runnable.len(), self.shared.busy.hand_over.len());
        while own > 0 || lent > 0 {
            (own, lent) = (own.saturating_sub(1), lent.saturating_sub(1));
            if let Some(id) = self.runnable.pop_front() {
                self.execute_one(engine, id, scratch, window);
            }
            if let Some(lent) = self.shared.busy.hand_over.next() {
                self.serve_lent(engine, lent, scratch, window);
            }
            if clock.micros() >= until_us {
                return;
            }
        }
    }

    /// Serves a client of another thread and gives it back.
    fn serve_lent(&mut self, engine: &mut Engine, mut lent: Lent, scratch: &Scratch, window: &mut Window) {
        let (thread, id, client) = (lent.thread, lent.id, &mut lent.client);
        lent.refusal = crate::clients::introduce(self.shared, client, engine, thread, id);
        let mut context = IoContext::new(self.shared, self, scratch);
        lent.ran = Some(crate::run::serve(client, engine, &mut context, window));
        self.shared.busy.hand_over.give_back(lent);
    }

    /// Sends what came of requests beside the script. None of them has changed anything, so nothing of it waits for the log but what was held
    /// for replicas. The journal is held for the order: what batches before this one have left is sent by then.
    fn hand_out(&mut self, engine: &Engine, deliveries: &mut Vec<Delivery>) {
        if deliveries.is_empty() {
            return;
        }
        let journal = self.shared.durable.journal();
        let marks = if engine.sends_held() { Marks::agreed(journal.end()) } else { Marks::default() };
        crate::mail::send(&self.shared.inboxes, deliveries, Some(self.thread), marks);
        drop(journal);
        deliveries.drain(..).for_each(|delivery| self.deliver(delivery, marks));
    }

    /// Lends the clients that want something to the thread that has the engine, and newcomers.
    pub(crate) fn lend(&mut self, scratch: &Scratch) {
        self.put_input_aside(scratch);
        if self.shared.busy.hand_over.tell_gone(&self.gone[self.gone_told..]) {
            self.gone_told = self.gone.len();
        }
        let newcomers = std::mem::take(&mut self.fresh);
        let mut has_room = true;
        for _ in 0..self.runnable.len() {
            let Some(id) = self.runnable.pop_front() else { break };
            has_room = self.lend_one(id);
            if !has_room {
                break;
            }
        }
        // One that could not be lent is here again.
        let refused = self.fresh.pop();
        for id in newcomers {
            match self.find(id) {
                Some(client) if client.introduced => {}
                Some(_) if has_room => has_room = self.lend_one(id),
                Some(_) if refused != Some(id) => self.fresh.push(id),
                // It is lent, gone, or noted below.
                Some(_) | None => {}
            }
        }
        self.fresh.extend(refused);
    }

    /// False: nobody takes it, and it is here again.
    fn lend_one(&mut self, id: Id) -> bool {
        let Some(mut client) = self.take(id) else { return true };
        client.listed.runnable = false;
        let (shared, thread) = (self.shared, self.thread);
        match shared.busy.hand_over.lend(Lent { shared, thread, id, client, ran: None, refusal: None }) {
            Ok(()) => true,
            Err(lent) => {
                self.take_in(lent);
                false
            }
        }
    }

    /// Takes those in again that are back.
    pub(crate) fn take_back(&mut self) {
        let returned = self.shared.busy.hand_over.take_returned(self.thread);
        returned.into_iter().for_each(|lent| self.take_in(lent));
    }

    fn take_in(&mut self, lent: Lent) {
        let Lent { id, mut client, ran, refusal, .. } = lent;
        if !client.introduced {
            self.fresh.push(id);
        }
        let unread = ran.is_some() && std::mem::take(&mut client.unread);
        if self.is_over_hard_limit(&client) {
            return self.cut_off(id, client);
        }
        self.finish(id, client, ran.unwrap_or(Ran::All));
        if ran.is_none() {
            self.mark_runnable(id);
        }
        if let Some(refusal) = refusal {
            self.turn_away(id, refusal);
        }
        if unread {
            self.read_again(id);
        }
        self.mark_resized(id);
    }
}

/// A thread that has no clients runs a script that takes too long: it serves those that others lend.
pub(crate) fn serve_lent_alone(shared: &Shared, engine: &mut Engine) {
    tell_checks(shared, engine);
    let Some(own) = shared.busy.hand_over.whose() else { return };
    // With no sockets it waits for nothing and accepts nobody. Without a poller those who are lent wait.
    if let Ok(poller) = Poller::new(1) {
        Clients::new(own, NO_THREAD, poller, Bounds::of(&engine.config)).serve_others(engine);
    }
}

/// What checks of passwords have found is told also where nobody is lent: who has asked may be the one who will end the script.
fn tell_checks(shared: &Shared, engine: &mut Engine) {
    let checks = shared.completions.take_checks();
    if checks.is_empty() {
        return;
    }
    let (mut deliveries, mut jobs) = (Vec::new(), Vec::new());
    engine.serve_others(&mut deliveries, &mut jobs, |engine| {
        let mut context = BackgroundContext { shared };
        checks.into_iter().for_each(|tell| tell(engine, &mut context));
    });
    let journal = shared.durable.journal();
    crate::mail::send(&shared.inboxes, &mut deliveries, None, Marks::default());
    drop(journal);
    shared.hand_on(&mut jobs);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use engine::{ClientInfo, Next, Request};
    use persist::disk::Memory;

    use super::*;
    use crate::shared::test::shared;

    #[test]
    fn a_script_is_to_end_with_the_server_unless_it_has_written() {
        let busy = BusyState::new(1);
        let seen = |has_written| Busy { running_ns: 0, has_written };
        busy.stop();
        assert!(!busy.is_on() && busy.verdict() == BusyVerdict::Continue);
        busy.begin(5, seen(false));
        busy.stop();
        assert!(busy.is_on() && busy.verdict() == BusyVerdict::Shutdown);
        busy.begin(6, seen(false));
        assert_eq!(busy.verdict(), BusyVerdict::Shutdown);
        busy.go_on();
        assert_eq!(busy.verdict(), BusyVerdict::Continue);
        busy.stop();
        busy.begin(7, seen(true));
        busy.stop();
        assert!(busy.has_written() && busy.verdict() == BusyVerdict::Continue);
        busy.end();
        assert!(!busy.is_on() && !busy.has_written());
        assert_eq!(SCRIPTS.map(|script| script as u8), [0, 1, 2, 3]);
    }

    #[test]
    fn a_thread_without_clients_tells_what_checks_have_found_beside_its_script() {
        let shared = shared(Arc::new(Memory::new()), &["--busy-reply-threshold", "5"]);
        shared.loading.on.store(false, Ordering::Release);
        let is_told = Arc::new(AtomicBool::new(false));
        let tell = Arc::clone(&is_told);
        shared.completions.add_check(Box::new(move |_, _| {
            tell.store(true, Ordering::Release);
            shared.busy.stop();
        }));
        // It ends by itself if nobody ends it.
        let source =
            b"local n = redis.call('TIME')[1] + 20 while redis.call('TIME')[1] + 0 < n do end return 1";
        let mut out = Vec::new();
        shared.with_engine(|engine, outside| {
            let session = engine.connect(ClientInfo { id: 1, ..ClientInfo::default() }, engine.keyspace.now);
            let argv = [&b"EVAL"[..], source, b"0"];
            let request = Request { argv: &argv, raw: None };
            assert_eq!(engine.execute(session.unwrap(), request, &mut out, outside), Next::Continue);
        });
        assert!(is_told.load(Ordering::Acquire) && out.starts_with(b"-ERR "), "{}", out.escape_ascii());
    }
}
