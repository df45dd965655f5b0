//! A server that has been put together: its threads, from their start to their end.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::thread::JoinHandle;

use anyhow::{Context, anyhow};
use config::Config;
use control::Handle;
use net::Poller;
use profiles::Profile;

use crate::client::Bounds;
use crate::clients::Clients;
use crate::life::Phase;
use crate::saver::Task;
use crate::shared::{BackgroundJob, Shared};
use crate::stand_in::{self, Part};
use crate::stop::Wanted;
use crate::tick::Worker;

/// A server that serves.
pub struct Running {
    pub(super) shared: &'static Shared,
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) unix_path: Option<PathBuf>,
    /// The file of the process number, if it was written.
    pub(super) pidfile: Option<PathBuf>,
    pub(super) threads: Vec<JoinHandle<()>>,
    pub(super) plane: Option<Handle>,
}

impl Running {
    /// The TCP addresses that are listened on.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Asks the server to stop, as SIGTERM does.
    pub fn stop(&self) {
        self.shared.in_background(BackgroundJob::Stop(Wanted {
            signal: Some(control::Stop::Terminated),
            ..Wanted::default()
        }));
    }

    /// Reads the files of passwords again, as SIGHUP does.
    pub fn reread(&self) {
        self.shared.in_background(BackgroundJob::Reread);
    }

    /// Waits until the server has stopped.
    pub fn wait(mut self) -> ExitCode {
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                self.shared.logger.warning("A thread has panicked.");
                self.shared.life.fail();
            }
        }
        if let Some(path) = &self.unix_path {
            // It may have been replaced or removed by somebody else; then there is nothing to do.
            let _ = std::fs::remove_file(path);
        }
        if let Some(pidfile) = &self.pidfile {
            let _ = std::fs::remove_file(pidfile);
        }
        drop(self.plane.take());
        // The threads that write have ended.
        self.shared.locks.release();
        match self.shared.life.phase() {
            Phase::Failed => ExitCode::FAILURE,
            _ => ExitCode::SUCCESS,
        }
    }
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

impl Running {
    /// Starts all threads; those that serve clients wait a moment for the data that is loaded.
    pub(super) fn spawn_all(
        &mut self,
        pollers: Vec<Poller>,
        work: Receiver<BackgroundJob>,
        config: &Config,
    ) -> anyhow::Result<()> {
        let shared = self.shared;
        self.spawn("background", move || crate::background::keep(shared, &work))?;
        self.spawn("log", move || shared.durable.keep(shared))?;
        self.spawn("append", move || stand_in::play(shared, Part::Append))?;
        self.spawn("saver", move || shared.saver.keep(shared))?;
        for (thread, poller) in pollers.into_iter().enumerate() {
            let clients = Clients::new(shared, thread, poller, Bounds::of(config));
            self.spawn(&format!("io-{thread}"), move || {
                shared.loading.wait_to_serve();
                stand_in::play(shared, Part::Serve(Box::new(Worker::new(shared, thread, clients))));
            })?;
        }
        Ok(())
    }

    /// Starts the thread that archives, which is not waited for at the end: a repository may hold it up.
    pub(super) fn archive(&self, config: &Config) -> anyhow::Result<()> {
        let shared = self.shared;
        shared.archiving.follow(config);
        let thread = std::thread::Builder::new().name("archive".to_owned());
        let started = thread.spawn(move || shared.archiving.keep(shared));
        started.map(drop).context("Can't start a thread")
    }

    fn spawn(&mut self, name: &str, run: impl FnOnce() + Send + 'static) -> anyhow::Result<()> {
        let run = move || {
            run();
            crate::allocator::publish();
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run);
        self.threads.push(thread.context("Can't start a thread")?);
        Ok(())
    }

    /// Loads the data, and serves clients from then on.
    pub(super) fn load(&self, config: &Config) -> anyhow::Result<()> {
        let shared = self.shared;
        let loaded = crate::loader::load(shared);
        shared.loading.begin_to_serve();
        if shared.life.has_ended() {
            // Stopped by a signal meanwhile.
            return Ok(());
        }
        let loaded = match loaded {
            Ok(loaded) => loaded,
            Err(why) => {
                shared.life.fail();
                crate::stop::let_go(shared);
                shared.locks.release();
                return Err(anyhow!("{why}"));
            }
        };
        if shared.profile == Profile::Queue {
            shared.durable.want_ballast();
        }
        shared.durable.look_at_room(shared);
        shared.loading.on.store(false, Ordering::Release);
        crate::background::catch_up_log(shared);
        crate::replica::follow(shared);
        if loaded.has_lent_base {
            shared.saver.add(Task::Rewrite);
        }
        if config.port != 0 {
            shared.logger.notice("Ready to accept connections tcp");
        }
        if config.tls_port != 0 {
            shared.logger.notice("Ready to accept connections tls");
        }
        if !config.unixsocket.is_empty() {
            shared.logger.notice("Ready to accept connections unix");
        }
        if let Some(plane) = &self.plane {
            plane.ready();
        }
        Ok(())
    }
}
