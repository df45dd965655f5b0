//! What the engine asks of the thread that drives it ([`Outside`]): clocks, memory, and what to do while a script takes too long.

use std::sync::atomic::Ordering;

use base::Now;
use config::Config;
use engine::{Busy, BusyVerdict, ClientBuffers, ClientInfo, Engine, Outside};
use net::{Id, Scratch};

use crate::clients::Clients;
use crate::shared::Shared;

/// The least time between two looks at other clients while a script runs, microseconds.
const LOOK_PERIOD_US: u64 = 5_000;

/// What every implementation of [`Outside`] over a `shared` field answers alike: all but what to do while a script
/// takes too long.
macro_rules! answered_by_shared {
    () => {
        #[inline]
        fn nanos(&self) -> u64 {
            self.shared.clock.nanos()
        }

        fn now(&self) -> Now {
            self.shared.clock.now()
        }

        #[inline]
        fn used_memory(&self) -> usize {
            crate::allocator::used()
        }

        fn freeing_bytes(&self) -> usize {
            self.shared.meters.free_pending_bytes.load(std::sync::atomic::Ordering::Relaxed)
        }

        fn log_buffer_bytes(&self) -> usize {
            self.shared.durable.buffer_bytes()
        }

        fn real_dir(&self, dir: &str) -> String {
            config::load::real_dir(dir)
        }

        fn rewrite_refusal(&self) -> Option<String> {
            crate::background::rewrite_refusal(self.shared)
        }

        fn acl_save_refusal(&self) -> Option<String> {
            crate::background::acl_save_refusal(self.shared)
        }

        fn check_config(&self, config: &Config) -> Result<(), engine::ConfigRefusal> {
            self.shared.check_config(config)
        }

        fn follow_config(
            &mut self,
            from: &Config,
            to: &Config,
            changed: &[&'static str],
        ) -> Result<(), engine::ConfigRefusal> {
            crate::live::follow(self.shared, from, to, changed)
        }

        fn report(&self, report: &mut engine::Report) {
            crate::report::fill(self.shared, report);
        }

        fn recent_input_bytes(&self) -> usize {
            self.shared.meters.input.largest(self.shared.clock.micros() / 1_000_000)
        }

        #[inline]
        fn write_refusal(&self, grows: bool, bytes: &dyn Fn() -> usize) -> Option<String> {
            self.shared.durable.write_refusal(grows, bytes)
        }

        fn memory_refused(&mut self, engine: &Engine) {
            self.shared.notices.memory_refused(self.shared, engine);
        }

        fn save_refusal(&self) -> Option<&'static str> {
            self.shared.profile.disk_refusal()
        }

        #[inline]
        fn is_loading(&self) -> bool {
            self.shared.is_loading()
        }

        fn is_saving(&self) -> bool {
            self.shared.saver.is_saving()
        }

        fn is_rewriting(&self) -> bool {
            self.shared.saver.is_rewriting()
        }

        fn rewrite_waits(&self) -> bool {
            self.shared.saver.rewrite_waits()
        }

        fn save_begins(&mut self) {
            self.shared.saver.save_begins();
        }

        fn cancel_save(&mut self) -> Option<engine::CancelledSave> {
            self.shared.saver.cancel_save(self.shared)
        }

        fn rewrite_begins(&mut self) {
            self.shared.saver.rewrite_begins();
        }

        fn abort_shutdown(&mut self) -> bool {
            self.shared.abort_stop()
        }

        fn last_save_unix_s(&self) -> i64 {
            self.shared.saver.work().last_save_unix_s
        }

        fn log_tickets(&self) -> engine::LogTickets {
            self.shared.durable.tickets()
        }

        fn link_figures(&self) -> engine::LinkFigures {
            self.shared.replica.figures(self.shared.clock.micros())
        }

        fn reset_statistics(&mut self) {
            self.shared.meters.reset(&self.shared.pulses);
            self.shared.durable.journal().forget_late_syncs();
        }

        fn sleep_ns(&mut self, nanoseconds: u64) {
            std::thread::sleep(std::time::Duration::from_nanos(nanoseconds));
        }
    };
}

/// What the engine asks of an I/O thread.
pub(crate) struct IoContext<'a> {
    pub(crate) shared: &'static Shared,
    pub(crate) net: &'a mut Clients,
    /// Input of this tick; that of the running client is borrowed from it.
    pub(crate) scratch: &'a Scratch,
    /// Bytes that the running client has sent and received before.
    pub(crate) running_net: (u64, u64),
    /// When others were last looked at during this request, monotonic microseconds.
    looked_us: Option<u64>,
}

impl<'a> IoContext<'a> {
    pub(crate) fn new(shared: &'static Shared, net: &'a mut Clients, scratch: &'a Scratch) -> IoContext<'a> {
        IoContext { shared, net, scratch, running_net: (0, 0), looked_us: None }
    }

    /// The request is over; if it was a long one, clients are served again.
    #[inline]
    pub(crate) fn end_busy(&mut self) {
        if self.looked_us.take().is_some() {
            self.shared.busy.end();
        }
    }
}

impl Outside for IoContext<'_> {
    answered_by_shared!();

    fn passing_bytes(&self) -> usize {
        // What strangers hold must not have anything evicted or refused.
        let strangers = self.shared.pulses.iter().map(|pulse| pulse.strangers_bytes.load(Ordering::Relaxed));
        self.net.batch_output + strangers.sum::<u64>() as usize
    }

    #[cold]
    fn busy(&mut self, engine: &mut Engine, what: Busy) -> BusyVerdict {
        let now_us = self.shared.clock.micros();
        if self.looked_us.is_none_or(|looked_us| now_us >= looked_us + LOOK_PERIOD_US) {
            self.shared.busy.begin(now_us, what);
            if self.looked_us.is_none() {
                self.shared.log_slow_script(what.running_ns);
                self.net.put_input_aside(self.scratch);
                self.net.hold_unlogged();
            }
            self.net.serve_others(engine);
            self.looked_us = Some(self.shared.clock.micros());
        }
        self.shared.busy.verdict()
    }

    fn client_buffers(&self, client: &ClientInfo) -> Option<ClientBuffers> {
        if usize::from(client.thread) != self.net.thread {
            return None;
        }
        let (net_in, net_out) = self.running_net;
        match self.net.slots.get(Id::from_bits(client.token))? {
            Some(client) => Some(client.buffers()),
            None => Some(ClientBuffers { net_in, net_out, ..ClientBuffers::default() }),
        }
    }
}

/// What the engine asks of a thread that is no I/O thread.
pub(crate) struct BackgroundContext<'a> {
    pub(crate) shared: &'a Shared,
}

impl Outside for BackgroundContext<'_> {
    answered_by_shared!();

    fn busy(&mut self, engine: &mut Engine, what: Busy) -> BusyVerdict {
        let busy = &self.shared.busy;
        if !busy.is_on() {
            self.shared.log_slow_script(what.running_ns);
        }
        busy.begin(self.shared.clock.micros(), what);
        crate::busy::serve_lent_alone(self.shared, engine);
        busy.verdict()
    }
}
