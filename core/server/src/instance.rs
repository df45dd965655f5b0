//! The server as its control plane sees it.

use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use control::{Health, Instance, Level, Place, ServerConfig, Stop};
use engine::QueueWalk;
use net::Accepted;
use parking_lot::{Mutex, MutexGuard};
use telemetry::Report;

use crate::context::BackgroundContext;
use crate::shared::{BackgroundJob, Shared};
use crate::stop::Wanted;

/// An I/O thread that is not waiting for events and has not ended a tick for so long hangs.
const TICK_US_MAX: u64 = 10_000_000;

/// How long a scrape waits for the engine before it gets the figures of last time.
const ENGINE_PATIENCE: Duration = Duration::from_millis(500);

/// How long a scrape may take to look at all queues, others having the engine in between, before it gives the figures of last time.
const WALK_PATIENCE: Duration = Duration::from_secs(1);

/// See [`Instance`].
pub(crate) struct Front {
    pub(crate) shared: &'static Shared,
    /// What was told last, for when the engine is busy, and how often it was asked for.
    pub(crate) last: Mutex<(Option<Report>, u64)>,
    /// Connections that were made for visits of the console.
    pub(crate) visits: AtomicUsize,
}

impl Front {
    fn is_ticking(&self) -> bool {
        let now_us = self.shared.clock.micros();
        // A busy script is known to be busy, and told apart.
        self.shared.busy.is_on()
            || self.shared.pulses.iter().all(|pulse| pulse.has_ticked(now_us, TICK_US_MAX))
    }

    /// What there is to tell, unless the engine is busy all the time. Between its steps others have it.
    fn report(&self) -> Option<Report> {
        let mut engine = self.shared.engine.try_lock_for(ENGINE_PATIENCE)?;
        let end = Instant::now() + WALK_PATIENCE;
        let mut report = engine.report(&BackgroundContext { shared: self.shared });
        let mut walk = QueueWalk::default();
        while engine.walk_queues(&mut walk) {
            MutexGuard::unlock_fair(engine);
            engine = self.shared.engine.try_lock_until(end)?;
        }
        drop(engine);
        walk.report(&mut report);
        Some(report)
    }

    fn status(&self) -> String {
        match self.shared.engine.try_lock() {
            Some(engine) => format!("{} keys, serving", engine.keyspace.key_count()),
            None => "serving".to_owned(),
        }
    }
}

/// Ends the process at once, with a report in the log and a core file if the system keeps them. Signals that the
/// processor raises (a bad memory access) end it without a report: nothing safe can be done in their handlers.
pub(crate) fn crash(shared: &Shared, signal: i32) -> ! {
    let uptime_s = shared.clock.micros() / 1_000_000;
    shared.logger.warning("=== BUG REPORT START ===");
    shared.logger.warning(&format!(
        "Tandem {} ({} profile) crashed by signal: {signal}, after {uptime_s} seconds",
        env!("CARGO_PKG_VERSION"),
        shared.profile.name()
    ));
    shared.logger.warning("=== BUG REPORT END ===");
    std::process::abort();
}

impl Instance for Front {
    fn metrics(&self) -> String {
        let began_us = self.shared.clock.micros();
        let mut last = self.last.lock();
        last.1 += 1;
        let scrapes = last.1;
        let report = self.report();
        let is_stale = report.is_none();
        last.0 = report.or_else(|| last.0.take());
        let Some(report) = &mut last.0 else { return String::new() };
        report.set("scrape_errors", u64::from(is_stale));
        report.set("scrapes", scrapes);
        let took_us = self.shared.clock.micros().saturating_sub(began_us);
        report.set("scrape_seconds", took_us as f64 / 1e6);
        telemetry::prometheus(report)
    }

    fn health(&self) -> Health {
        let shared = self.shared;
        let busy = shared.busy.is_on().then(|| {
            let seconds = shared.clock.micros().saturating_sub(shared.busy.since_us()) / 1_000_000;
            format!("a script has been running for {seconds} s")
        });
        Health {
            busy,
            full: shared.notices.full.lock().clone(),
            archive: shared.archiving.complaint(shared.durable.journal().end(), shared.clock.now().unix_ms),
            replicas: shared.notices.replicas.lock().clone(),
            link: shared.replica.complaint(shared.clock.micros()),
            circular: shared.replica.trouble().is_some_and(|why| why.contains(replication::EACH_OTHER)),
            loading: shared.is_loading().then(|| shared.loading.percent()),
            persistence_fault: shared.durable.write_refusal(true, &|| 0),
            status: self.status(),
            stopping: shared.life.is_stopping(),
            ticking: self.is_ticking(),
        }
    }

    fn place(&self) -> Option<Place> {
        let engine = self.shared.engine.try_lock_for(ENGINE_PATIENCE)?;
        let config = &engine.config;
        let ip = control::addresses::nearest(&config.bind)?;
        let mode = self.shared.tls_mode(&net::Peer::Tcp(SocketAddr::new(ip, 0)));
        let (port, needs_tls) = match (config.port, config.tls_port) {
            (0, 0) => return None,
            (0, encrypted) => (encrypted, true),
            (port, _) => (port, mode == net::TlsMode::Required),
        };
        Some(Place { address: SocketAddr::new(ip, port), needs_tls })
    }

    fn connect(&self, peer: SocketAddr) -> Option<UnixStream> {
        let (theirs, ours) = UnixStream::pair().ok()?;
        let accepted = Accepted::within(ours, peer).ok()?;
        // Threads take turns, so that a busy one does not keep every console from being told.
        let inboxes = &self.shared.inboxes;
        let thread = self.visits.fetch_add(1, Ordering::Relaxed) % inboxes.len();
        inboxes[thread].send_connection(accepted, false).ok()?;
        Some(theirs)
    }

    fn shutdown(&self, reason: Stop) {
        let is_second = self.shared.joined_stop.by_signal();
        let text = match reason {
            Stop::Interrupted if is_second => "You insist... exiting now.",
            Stop::Interrupted => "Received SIGINT scheduling shutdown...",
            Stop::Terminated => "Received SIGTERM scheduling shutdown...",
        };
        self.shared.logger.warning(text);
        if reason == Stop::Interrupted && is_second {
            self.shared.life.end_now();
            crate::stop::let_go(self.shared);
            return;
        }
        self.shared.in_background(BackgroundJob::Stop(Wanted { signal: Some(reason), ..Wanted::default() }));
    }

    fn crash(&self, signal: i32) {
        crash(self.shared, signal);
    }

    fn reread(&self) {
        self.shared.in_background(BackgroundJob::Reread);
    }

    fn reload_tls(&self, config: Arc<ServerConfig>) {
        self.shared.tls.set(Some(config));
    }

    fn log(&self, level: Level, message: &str) {
        match level {
            Level::Notice => self.shared.logger.notice(message),
            Level::Warning => self.shared.logger.warning(message),
        }
    }
}
