//! What the threads of a server share: the engine under its lock, mailboxes, and flags.
//!
//! It lives as long as the process, so threads hold a plain reference to it. Locks are taken in one order:
//! log, engine, journal; everything else is a leaf.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use config::{Config, Origin};
use control::password::Record;
use engine::{ConfigRefusal, Delivery, Durability, Engine, Job, Trash};
use journal::{Acked, Marks};
use net::TlsHandle;
use parking_lot::{Condvar, Mutex, MutexGuard};
use profiles::{Profile, Violation};

use crate::archiving::Archiving;
use crate::background::FileRefusals;
use crate::beside::Snapshots;
use crate::busy::BusyState;
use crate::clock::Clock;
use crate::completions::Completions;
use crate::context::BackgroundContext;
use crate::durable::{Claim, Durable};
use crate::files::Files;
use crate::life::Life;
use crate::listen::Entrance;
use crate::locks::Locks;
use crate::logger::{Level, Logger};
use crate::mail::{self, Inbox};
use crate::saver::Saver;
use crate::stand_in::StandIn;
use crate::stop::Wanted;

/// How an I/O thread is doing, for the watchdog.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    /// When its last tick ended, monotonic microseconds.
    pub(crate) ticked_us: AtomicU64,
    /// It waits for events.
    pub(crate) polling: AtomicBool,
    /// Bytes read from its clients, and written to them.
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    /// How often it has read from one, and written to one.
    pub(crate) reads: AtomicU64,
    pub(crate) writes: AtomicU64,
    /// Its ticks, and the microseconds they took without the waiting.
    pub(crate) ticks: AtomicU64,
    pub(crate) busy_us: AtomicU64,
    /// Bytes that those of its clients hold who have not logged in.
    pub(crate) strangers_bytes: AtomicU64,
    /// Output of its clients waits for the log.
    pub(crate) parked: AtomicBool,
    /// Clients whose replies wait for replicas.
    pub(crate) unacked: AtomicU64,
}

impl Pulse {
    /// Whether the thread waits for events, or has done so within this time, microseconds.
    pub(crate) fn has_ticked(&self, now_us: u64, within_us: u64) -> bool {
        self.polling.load(Ordering::Relaxed) || now_us < self.ticked_us.load(Ordering::Relaxed) + within_us
    }
}

/// `tls auto` in `Shared::tls_mode`.
const AUTO: u8 = 3;

/// Progress of reading the data set.
#[derive(Debug, Default)]
pub(crate) struct Loading {
    pub(crate) on: AtomicBool,
    pub(crate) began_unix_s: AtomicU64,
    /// When the log was told last how far it is.
    pub(crate) told_unix_s: AtomicU64,
    pub(crate) bytes_total: AtomicU64,
    pub(crate) bytes_done: AtomicU64,
    /// Of the last snapshot that was loaded.
    pub(crate) keys_loaded: AtomicU64,
    pub(crate) keys_expired: AtomicU64,
    /// Clients are served, told LOADING at least.
    served: Mutex<bool>,
    serving: Condvar,
}

/// How long clients wait for a start before they are told LOADING: most data sets are there by then, and whoever
/// connects at once need not try again.
const LOADING_PATIENCE: Duration = Duration::from_millis(300);

impl Loading {
    /// Waits until the data is there, or has taken long enough.
    pub(crate) fn wait_to_serve(&self) {
        let mut served = self.served.lock();
        if !*served {
            self.serving.wait_for(&mut served, LOADING_PATIENCE);
        }
    }

    /// Lets clients in.
    pub(crate) fn begin_to_serve(&self) {
        *self.served.lock() = true;
        self.serving.notify_all();
    }
}

/// Shared by all threads.
pub(crate) struct Shared {
    pub(crate) engine: Mutex<Engine>,
    pub(crate) inboxes: Vec<Inbox>,
    pub(crate) pulses: Vec<Pulse>,
    pub(crate) clock: Clock,
    pub(crate) logger: Arc<Logger>,
    pub(crate) durable: Durable,
    pub(crate) stand_in: StandIn,
    pub(crate) saver: Saver,
    pub(crate) archiving: Archiving,
    /// Where `/proc` tells of the first I/O thread, which also does the engine's regular work.
    pub(crate) first_thread: Mutex<PathBuf>,
    /// Clients that have come since the start.
    pub(crate) clients_seen: AtomicU64,
    /// Connections to other servers that wait for the next MIGRATE.
    pub(crate) links: crate::migrate::Links,
    /// The link to the master, on a replica.
    pub(crate) replica: crate::replica::Replica,
    pub(crate) busy: BusyState,
    pub(crate) completions: Arc<Completions>,
    /// Clients closed because of `client-query-buffer-limit`.
    pub(crate) query_disconnections: AtomicU64,
    /// Clients closed because of `client-output-buffer-limit`.
    pub(crate) output_disconnections: AtomicU64,
    pub(crate) loading: Loading,
    pub(crate) meters: Arc<crate::meters::Meters>,
    pub(crate) notices: crate::notices::Notices,
    pub(crate) jobs: control::Jobs,
    pub(crate) tls: Arc<TlsHandle>,
    /// The way to other certificates, once the control plane runs.
    pub(crate) certificates: OnceLock<control::Certificates>,
    pub(crate) entrance: Entrance,
    /// The kernel's score of the process from before we set it; none while we do not.
    pub(crate) oom_base: Mutex<Option<i64>>,
    tls_mode: AtomicU8,
    pub(crate) profile: Profile,
    /// Rises when the configuration has changed, so that copies of it are renewed.
    pub(crate) config_version: AtomicU64,
    pub(crate) life: Life,
    /// Those who ask for a stop while there is one.
    pub(crate) joined_stop: crate::stop::Joined,
    /// Work that the engine has left, for the background thread.
    pub(crate) background: std::sync::mpsc::Sender<BackgroundJob>,
    /// How much of it waits.
    pub(crate) background_waiting: AtomicUsize,
    /// Figures of the allocator, as of the last second.
    pub(crate) allocator: Mutex<crate::allocator::Figures>,
    pub(crate) files: Files,
    /// What stands against replacing them.
    pub(crate) file_refusals: Mutex<FileRefusals>,
    /// What of them is this process' alone to write.
    pub(crate) locks: Locks,
    /// The snapshot that is ours.
    pub(crate) snapshots: Snapshots,
    /// What holds without any file, for CONFIG REWRITE.
    pub(crate) base_config: Config,
    /// Directives that variables and the command line name, with which of them: they win over a rewritten file.
    pub(crate) insisted: Vec<(&'static str, String)>,
    /// The file that the default user's password came from, if it was one.
    pub(crate) password_file: Mutex<Option<PasswordFile>>,
}

/// The file of a password, and the record of what it held when it was last read.
#[derive(Clone)]
pub(crate) struct PasswordFile {
    pub(crate) path: PathBuf,
    pub(crate) record: Record,
}

/// Work for the thread that does what must not hold up an I/O thread.
pub(crate) enum BackgroundJob {
    /// What the engine asked for.
    Engine(Job),
    /// The files of passwords may have changed.
    Reread,
    /// A stop asked for from outside.
    Stop(Wanted),
    /// Once a second.
    Second,
    /// Somebody has asked whether files could be replaced.
    LookAtFiles,
}

/// Jobs that may wait there. Counted beside the channel: one with this bound of its own takes 6 MB from the start.
pub(crate) const BACKGROUND_JOBS_MAX: usize = 65_536;

/// What an execution of requests leaves to be carried out.
#[derive(Default)]
pub(crate) struct Commit {
    pub(crate) log: Vec<u8>,
    pub(crate) deliveries: Vec<Delivery>,
    pub(crate) jobs: Vec<Job>,
    /// Who has written wants a sync, whatever is configured.
    pub(crate) wants_sync: bool,
}

/// What a server is made of at its start.
pub(crate) struct Parts {
    pub(crate) engine: Engine,
    pub(crate) wakers: Vec<Arc<net::Waker>>,
    pub(crate) clock: Clock,
    pub(crate) logger: Arc<Logger>,
    pub(crate) durable: Durable,
    pub(crate) jobs: control::Jobs,
    pub(crate) profile: Profile,
    pub(crate) background: std::sync::mpsc::Sender<BackgroundJob>,
    pub(crate) files: Files,
    pub(crate) locks: Locks,
    pub(crate) base_config: Config,
    pub(crate) entrance: Entrance,
}

/// Whether one of those who are answered late, and have written, wants a sync for that.
fn wants_sync(deliveries: &[Delivery]) -> bool {
    let chosen = deliveries.iter().filter_map(|delivery| delivery.written.as_ref());
    chosen.into_iter().any(|written| written.durability == Durability::Always)
}

impl Shared {
    /// A server that is loading.
    pub(crate) fn new(parts: Parts) -> Shared {
        let Parts {
            engine,
            wakers,
            clock,
            logger,
            durable,
            jobs,
            profile,
            background,
            files,
            locks,
            base_config,
            entrance,
        } = parts;
        let config = engine.config.clone();
        let shared = Shared {
            engine: Mutex::new(engine),
            completions: Arc::new(Completions::new(wakers.first().map(Arc::clone))),
            busy: BusyState::new(wakers.len()),
            pulses: wakers.iter().map(|_| Pulse::default()).collect(),
            inboxes: wakers.into_iter().map(Inbox::new).collect(),
            clock,
            logger,
            durable,
            saver: Saver::default(),
            archiving: Archiving::default(),
            stand_in: StandIn::default(),
            first_thread: Mutex::default(),
            clients_seen: AtomicU64::new(0),
            links: crate::migrate::Links::default(),
            replica: crate::replica::Replica::default(),
            query_disconnections: AtomicU64::new(0),
            output_disconnections: AtomicU64::new(0),
            loading: Loading::default(),
            meters: Arc::default(),
            notices: crate::notices::Notices::default(),
            jobs,
            tls: Arc::new(TlsHandle::new(None)),
            certificates: OnceLock::new(),
            entrance,
            oom_base: Mutex::default(),
            tls_mode: AtomicU8::new(0),
            profile,
            config_version: AtomicU64::new(0),
            life: Life::default(),
            joined_stop: crate::stop::Joined::default(),
            background,
            background_waiting: AtomicUsize::new(0),
            allocator: Mutex::default(),
            files,
            locks,
            snapshots: Snapshots::default(),
            file_refusals: Mutex::default(),
            base_config,
            insisted: insisted(&config),
            password_file: Mutex::default(),
        };
        shared.loading.on.store(true, Ordering::Relaxed);
        shared.take_over(&config);
        shared
    }

    /// Ends a use of the engine: what is to be logged is logged in the order of execution, what others get is
    /// sent, work is handed on. Deliveries to thread `own` stay in `left`. What replies to writers and deliveries
    /// wait for, and what the caller is to write.
    pub(crate) fn hand_over(
        &self,
        mut engine: MutexGuard<'_, Engine>,
        left: &mut Commit,
        own: Option<usize>,
    ) -> (Marks, Option<Claim<'_>>) {
        if engine.has_log() {
            engine.take_log(&mut left.log);
        }
        if engine.has_deliveries() {
            engine.take_deliveries(&mut left.deliveries);
        }
        engine.take_jobs(&mut left.jobs);
        let (sends_held, history) = (engine.take_sends_held(), engine.history_number());
        let at = |position| Acked { history, position };
        let (awaited, acked) = (at(engine.take_awaited()), at(engine.acknowledged()));
        let is_acked_news = self.durable.is_acked_news(acked);
        // Most batches are of those who only ask.
        if left.log.is_empty() && left.deliveries.is_empty() && !is_acked_news {
            drop(engine);
            self.hand_on(&mut left.jobs);
            return (Marks::default(), None);
        }
        let mut journal = self.durable.journal();
        let carried = engine.carried();
        drop(engine);
        if is_acked_news {
            if let Some((history, position)) = carried {
                self.durable.carry(Acked { history, position });
            }
            self.durable.acknowledge(&mut journal, acked, self);
        }
        let ticket = self.durable.commit(&mut journal, &mut left.log);
        // A replica has nothing that the log has not.
        let agreed = if sends_held { journal.end() } else { ticket };
        let marks = Marks { acked: awaited, ..Marks::agreed(agreed) };
        if std::mem::take(&mut left.wants_sync) | wants_sync(&left.deliveries) {
            self.durable.ask_for_sync(&mut journal, ticket);
        }
        if left.deliveries.iter().any(|delivery| Some(usize::from(delivery.thread)) != own) {
            mail::send(&self.inboxes, &mut left.deliveries, own, marks);
        }
        let claim = match ticket {
            0 => {
                drop(journal);
                None
            }
            _ => self.durable.claim(journal),
        };
        self.hand_on(&mut left.jobs);
        (marks, claim)
    }

    /// Hands on what is to be done.
    pub(crate) fn hand_on(&self, jobs: &mut Vec<Job>) {
        if jobs.is_empty() {
            return;
        }
        for job in jobs.drain(..) {
            match job {
                Job::Free { trash } => self.free(trash),
                // At once: who reads the log after the reply must find it.
                Job::Log { level, text } => self.logger.line(Level::from_number(level), &text),
                // They only join a line; whoever waits must not wait for a disk, too.
                job
                @ (Job::VerifyPassword { .. } | Job::HashPasswords { .. } | Job::FindPasswords { .. }) => {
                    crate::passwords::begin(&self.jobs, &self.completions, job);
                }
                // The background thread is about the stop under way.
                Job::Shutdown { session, now, .. } if self.joined_stop.add(&self.life, session, now) => {}
                job => self.in_background(BackgroundJob::Engine(job)),
            }
        }
    }

    /// Frees memory on another thread. What is free already is told all the time, and no more counted as still to come.
    pub(crate) fn free(&self, trash: Trash) {
        let meters = Arc::clone(&self.meters);
        let Trash { contents, objects, bytes } = trash;
        meters.free_pending.fetch_add(objects as u64, Ordering::Relaxed);
        meters.free_pending_bytes.fetch_add(bytes, Ordering::Relaxed);
        let release = Box::new(move || {
            crate::freeing::free_in_steps(contents, bytes, |freed| {
                crate::allocator::publish();
                meters.free_pending_bytes.fetch_sub(freed, Ordering::Relaxed);
            });
            meters.free_pending.fetch_sub(objects as u64, Ordering::Relaxed);
            meters.freed.fetch_add(objects as u64, Ordering::Relaxed);
        });
        if let Err(release) = self.jobs.free(release) {
            release();
        }
    }

    /// Leaves work for the background thread.
    pub(crate) fn in_background(&self, job: BackgroundJob) {
        // Full means tens of thousands of waiting administrative commands; gone means that the process ends.
        let fits = self.background_waiting.fetch_add(1, Ordering::Relaxed) < BACKGROUND_JOBS_MAX;
        if fits && self.background.send(job).is_ok() {
            return;
        }
        self.background_waiting.fetch_sub(1, Ordering::Relaxed);
        if !self.life.is_stopping() {
            self.logger.warning("Too many administrative jobs are waiting; one was dropped.");
        }
    }

    /// Uses the engine from a thread that serves no clients.
    pub(crate) fn with_engine<T>(&self, run: impl FnOnce(&mut Engine, &mut BackgroundContext<'_>) -> T) -> T {
        let mut engine = self.engine.lock();
        engine.begin_batch(self.clock.now());
        let result = run(&mut engine, &mut BackgroundContext { shared: self });
        self.busy.end();
        let mut left = Commit::default();
        let (_, claim) = self.hand_over(engine, &mut left, None);
        if let Some(mut claim) = claim {
            claim.write(self);
        }
        crate::allocator::publish();
        result
    }

    /// No I/O thread has been at one tick for a second or more.
    pub(crate) fn is_in_step(&self) -> bool {
        let now_us = self.clock.micros();
        self.pulses.iter().all(|pulse| pulse.has_ticked(now_us, 1_000_000))
    }

    /// Makes all I/O threads look at their flags.
    pub(crate) fn wake_all(&self) {
        self.inboxes.iter().for_each(Inbox::wake);
    }

    /// Makes those threads look again whose output waits for the log.
    pub(crate) fn wake_parked(&self) {
        for (pulse, inbox) in self.pulses.iter().zip(&self.inboxes) {
            if pulse.parked.load(Ordering::SeqCst) {
                inbox.wake();
            }
        }
    }

    /// What a client from there must speak.
    pub(crate) fn tls_mode(&self, peer: &net::Peer) -> net::TlsMode {
        const MODES: [net::TlsMode; 3] = [net::TlsMode::Off, net::TlsMode::Optional, net::TlsMode::Required];
        let of = self.tls_mode.load(Ordering::Relaxed);
        match of {
            AUTO if peer.is_local() => net::TlsMode::Optional,
            AUTO => net::TlsMode::Required,
            // TLS over a Unix socket protects nothing.
            _ if matches!(peer, net::Peer::Unix(_)) => net::TlsMode::Off,
            fixed => MODES[usize::from(fixed.min(2))],
        }
    }

    /// Takes over what a configuration says about the server itself.
    pub(crate) fn take_over(&self, config: &Config) {
        self.tls_mode.store(
            match config.tls {
                config::TlsMode::Off => 0,
                config::TlsMode::Optional => 1,
                config::TlsMode::Required => 2,
                config::TlsMode::Auto => AUTO,
            },
            Ordering::Relaxed,
        );
        self.logger.follow(config);
        self.saver.follow(config);
        self.durable.follow(config, self);
        self.archiving.follow(config);
        self.config_version.fetch_add(1, Ordering::AcqRel);
        self.wake_all();
    }

    // What both implementations of `Outside` answer.

    pub(crate) fn check_config(&self, config: &Config) -> Result<(), ConfigRefusal> {
        let refusal = |Violation { directive, why }| ConfigRefusal { directive, why: why.to_owned() };
        self.profile.check(config).map_err(refusal)
    }

    pub(crate) fn abort_stop(&self) -> bool {
        let is_called_off = self.life.call_off();
        if is_called_off {
            self.logger.warning("Shutdown manually aborted.");
        }
        is_called_off
    }

    /// A script has begun to run for too long.
    pub(crate) fn log_slow_script(&self, running_ns: u64) {
        self.logger.warning(&format!(
            "Slow script detected: still in execution after {} milliseconds. SCRIPT KILL ends it unless it has written.",
            running_ns / 1_000_000
        ));
    }

    pub(crate) fn is_loading(&self) -> bool {
        self.loading.on.load(Ordering::Relaxed)
    }
}

/// What is said where no file reaches; see `Shared::insisted`.
fn insisted(config: &Config) -> Vec<(&'static str, String)> {
    let by = |row: &config::Directive| match config.origin(row.name)? {
        origin @ (Origin::Variable(_) | Origin::CommandLine) => Some((row.name, origin.to_string())),
        // Only what the two directives name gives way to a password that a file of settings says.
        origin @ Origin::Secret(path)
            if **path != *config.requirepass_file && **path != *config.masterauth_file =>
        {
            Some((row.name, origin.to_string()))
        }
        _ => None,
    };
    config::directives::TABLE.iter().filter_map(by).collect()
}

#[cfg(test)]
pub(crate) mod test {
    //! A server without threads and sockets, for tests of what its threads share.

    use super::*;
    use persist::disk::Disk;

    /// What a server with these words has, on this disk.
    pub(crate) fn shared(disk: Arc<dyn Disk>, words: &[&str]) -> &'static Shared {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let (loaded, file) =
            crate::boot::configure(&crate::boot::Surroundings::default(), Profile::Plain, &words).unwrap();
        let (mut config, clock) = (loaded.config, Clock::new());
        config.assign("logfile", b"/dev/null", config::Origin::Set).unwrap();
        let shared = Shared::new(Parts {
            engine: crate::boot::new_engine(&config, None, &clock).unwrap(),
            wakers: Vec::new(),
            clock,
            logger: Arc::new(Logger::open(&config).unwrap()),
            durable: Durable::new(disk, &config),
            jobs: control::Jobs::start(|| {}, || {}).unwrap(),
            profile: Profile::Plain,
            background: std::sync::mpsc::channel().0,
            files: Files::new(&config, file),
            locks: Locks::default(),
            base_config: loaded.base,
            entrance: Entrance::default(),
        });
        Box::leak(Box::new(shared))
    }
}
