//! From a command line to a server that serves: configuration, sockets, threads, data.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;

use anyhow::{Context, anyhow, bail};
use config::{Config, Layers, Loaded, Origin, Sources};
use control::Handle;
use control::password::Record;
use engine::{Acl, Engine, REDIS_VERSION, Secret};
use net::Poller;
use parking_lot::Mutex;
use persist::disk::{Disk, Real};
use profiles::Profile;

use crate::client::Bounds;
use crate::clients::Clients;
use crate::clock::Clock;
use crate::durable::Durable;
use crate::files::{Files, place_of};
use crate::instance::Front;
use crate::life::Phase;
use crate::listen::Entrance;
use crate::locks::{LockError, Locks};
use crate::logger::Logger;
use crate::saver::Task;
use crate::shared::{BackgroundJob, Parts, PasswordFile, Shared};
use crate::stand_in::{self, Part};
use crate::stop::Wanted;
use crate::tick::Worker;

/// Events that one wait reports; more come with the next.
const EVENTS_MAX: usize = 1024;

/// What stands before a record in place of a plain password.
const RECORD_PREFIX: &str = "argon2id:";

/// A server that serves.
pub struct Running {
    shared: &'static Shared,
    addresses: Vec<SocketAddr>,
    unix_path: Option<PathBuf>,
    /// The file of the process number, if it was written.
    pidfile: Option<PathBuf>,
    threads: Vec<JoinHandle<()>>,
    plane: Option<Handle>,
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

/// What a start is told by its surroundings, such as a container's image, beside the command line and the environment.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Directives with their words: over the profile's defaults, under all other layers.
    pub defaults: Vec<(&'static str, Vec<String>)>,
    /// What the log says first; a line each.
    pub notes: Vec<String>,
    /// A start that would let in whoever comes without a password is refused.
    pub needs_password: bool,
    /// Where the log and the snapshots are.
    pub disk: OnDisk,
}

/// A disk to keep files on; the machine's own, unless a test brings one that stalls.
#[derive(Clone)]
pub struct OnDisk(pub Arc<dyn Disk>);

impl Default for OnDisk {
    fn default() -> OnDisk {
        OnDisk(Arc::new(Real))
    }
}

impl std::fmt::Debug for OnDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("OnDisk").finish_non_exhaustive()
    }
}

/// Loads the configuration of `profile` under the words of a command line.
///
/// # Errors
/// The first mistake and its place, or the profile's rule that is broken.
pub(crate) fn configure(
    surroundings: &Surroundings,
    profile: Profile,
    args: &[String],
) -> anyhow::Result<(Loaded, Option<PathBuf>)> {
    let invocation = config::read_args(args);
    let file = match &invocation.file {
        None => None,
        Some(path) => Some((path.clone(), config::load::load_file(path)?)),
    };
    let stdin = match invocation.stdin {
        true => {
            let mut text = Vec::new();
            std::io::Read::read_to_end(&mut std::io::stdin().lock(), &mut text).context("standard input")?;
            Some(text)
        }
        false => None,
    };
    let maxmemory = profile.memory_share().map_or(0, |share| {
        let measured = config::machine::read(&config::machine::Places::default());
        config::default_maxmemory(measured.group_limit, measured.machine, share)
    });
    let path = invocation.file.clone().map(PathBuf::from).map(|path| path.canonicalize().unwrap_or(path));
    let names_none = file.is_none() && stdin.is_none();
    let mut layers =
        Layers { profile: profile.base_in(&surroundings.defaults), maxmemory, file, stdin, invocation };
    let variables: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let load =
        |layers: Layers| layers.load(&mut Sources { variables: &variables, files: &mut config::load::Disk });
    let mut loaded = load(layers.clone())?;
    // Where the profile keeps its own file is known only from the other layers.
    let own = if names_none { crate::keepsakes::settings_path(profile, &loaded.config) } else { None };
    if let Some(own) = own.as_ref().filter(|own| own.exists()) {
        let name = own.to_string_lossy().into_owned();
        layers.file = Some((name.clone(), config::load::load_file(&name)?));
        loaded = load(layers)?;
    }
    crate::keepsakes::keep_users(profile, &mut loaded);
    profile
        .check(&loaded.config)
        .map_err(|violation| anyhow!("*** FATAL CONFIG FILE ERROR ***\n{violation}"))?;
    Ok((loaded, path.or(own)))
}

/// Has the working directory be there. A server without a profile does not make it, as Redis does not: a mistyped folder
/// must not look like an empty data set.
fn prepare_place(profile: Profile, place: &Path, logger: &Logger) -> anyhow::Result<()> {
    if !place.is_dir() {
        if profile == Profile::Plain {
            bail!("Can't chdir to '{}': No such file or directory", place.display());
        }
        std::fs::create_dir_all(place)
            .with_context(|| format!("Can't make the directory '{}'", place.display()))?;
        logger.notice(&format!("The directory '{}' is new: the server begins empty.", place.display()));
    }
    Ok(())
}

/// Takes what this server is going to write: a queue its directory, another one its log and its snapshot. One that keeps
/// nothing takes nothing.
fn take_locks(profile: Profile, config: &Config, files: &Files, logger: &Logger) -> anyhow::Result<Locks> {
    let (locks, place) = (Locks::default(), files.place());
    if profile == Profile::Queue {
        locks.take_directory(&place).map_err(|why| anyhow!("{why}"))?;
    } else if profile.disk_refusal().is_none() {
        if config.appendonly {
            locks.take_log(&files.log_place()).map_err(|why| anyhow!("{why}"))?;
        }
        if !config.save.is_empty() {
            match locks.take_snapshot(&place, &config.dbfilename) {
                Err(LockError::Used(why)) => bail!("{why}"),
                // As in Redis; the first save says so again, and fails.
                Err(LockError::Taken(why)) => logger.warning(&format!("Nothing can be saved: {why}.")),
                // What cannot be locked cannot be written either, which a save tells.
                Ok(()) | Err(LockError::Unusable(_)) => {}
            }
        }
    }
    Ok(locks)
}

/// Why a server did not start.
#[derive(Debug)]
pub struct StartError {
    /// The reason.
    pub error: anyhow::Error,
    /// Its log on standard output has told it.
    pub is_told: bool,
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#}", self.error)
    }
}

impl From<anyhow::Error> for StartError {
    fn from(error: anyhow::Error) -> StartError {
        StartError { error, is_told: false }
    }
}

/// Starts a server and returns once its data is loaded. `signals`: whether the process' signals are its own.
///
/// # Errors
/// Whatever keeps it from serving.
pub fn start(profile: Profile, args: &[String], signals: bool) -> Result<Running, StartError> {
    start_in(&Surroundings::default(), profile, args, signals)
}

/// The same where the surroundings have a say.
///
/// # Errors
/// As [`start`].
pub fn start_in(
    surroundings: &Surroundings,
    profile: Profile,
    args: &[String],
    signals: bool,
) -> Result<Running, StartError> {
    let (mut loaded, file) = configure(surroundings, profile, args)?;
    loaded.notes.extend(surroundings.notes.iter().cloned());
    let logger = Arc::new(open_logger(profile, &loaded.config, &loaded.notes)?);
    exposed_files(profile, &loaded.config, file.as_deref()).iter().for_each(|text| logger.warning(text));
    let is_told = loaded.config.logfile.is_empty();
    start_logged(profile, loaded, file, signals, surroundings, &logger).map_err(|error| {
        logger.warning(&format!("{error:#}"));
        StartError { error, is_told }
    })
}

/// The start from where there is a log that tells of its failure.
fn start_logged(
    profile: Profile,
    loaded: Loaded,
    file: Option<PathBuf>,
    signals: bool,
    surroundings: &Surroundings,
    logger: &Arc<Logger>,
) -> anyhow::Result<Running> {
    let (mut config, mut file) = (loaded.config, file);
    let password = hide_password(&mut config)?;
    let password_file = password.as_ref().and_then(|password| password.file.clone());
    crate::archiving::Plan::of(&config).map_err(|why| anyhow!("*** FATAL CONFIG FILE ERROR ***\n{why}"))?;
    prepare_place(profile, &place_of(&config), logger)?;
    let locks = take_locks(profile, &config, &Files::new(&config, None), logger)?;
    crate::keepsakes::make(profile, &mut config, &mut file, logger);
    let files = Files::new(&config, file);
    fit_descriptors(&mut config, logger)?;
    let entrance = Entrance::open(&config)?;
    greet(&config, logger);
    let pollers = (0..thread_count(&config))
        .map(|_| Poller::new(EVENTS_MAX))
        .collect::<Result<Vec<_>, _>>()
        .context("Can't make an event queue")?;

    let clock = Clock::new();
    let (background, work) = channel();
    let engine = new_engine(&config, password, &clock)?;
    let durable = Durable::new(Arc::clone(&surroundings.disk.0), &config);
    let shared: &'static Shared = Box::leak(Box::new(Shared::new(Parts {
        engine,
        wakers: pollers.iter().map(Poller::waker).collect(),
        clock,
        logger: Arc::clone(logger),
        durable,
        jobs: control::Jobs::start(crate::limits::give_way, crate::allocator::publish)
            .context("Can't start a thread")?,
        profile,
        background,
        files,
        locks,
        base_config: loaded.base,
        entrance,
    })));
    *shared.password_file.lock() = password_file;
    let refusal = crate::background::settings_file(shared).err();
    shared.engine.lock().rewrite_refusal = refusal.map(|why| why.to_string());
    take_limits(shared, &config);
    load_users(shared, &config)?;
    look_for_open_access(shared, &config, surroundings.needs_password)?;
    let pidfile = write_pidfile(&config, logger);
    let front = Arc::new(Front { shared, last: Mutex::default() });
    let plane = crate::plane::start(profile, &config, signals, &front, logger)?;
    shared.tls.set(plane.tls_config());
    // Nobody else sets it.
    let _ = shared.certificates.set(plane.certificates());

    let mut running = Running {
        shared,
        addresses: shared.entrance.addresses(),
        unix_path: shared.entrance.unix_path(),
        pidfile,
        threads: Vec::new(),
        plane: Some(plane),
    };
    running.spawn_all(pollers, work, &config)?;
    running.archive(&config)?;
    *shared.allocator.lock() = crate::allocator::begin();
    shared.engine.lock().startup_bytes = crate::allocator::used();
    shared.logger.notice("Server initialized");
    running.load(&config)?;
    Ok(running)
}

impl Running {
    /// Starts all threads; those that serve clients wait a moment for the data that is loaded.
    fn spawn_all(
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
    fn archive(&self, config: &Config) -> anyhow::Result<()> {
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

    fn load(&self, config: &Config) -> anyhow::Result<()> {
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

/// A sentence about each file with secrets in it that everybody on the machine can read.
fn exposed_files(profile: Profile, config: &Config, file: Option<&Path>) -> Vec<String> {
    let dir = Path::new(&config.dir);
    let named = [
        &config.requirepass_file,
        &config.masterauth_file,
        &config.metrics_token_file,
        &config.tls_key_file,
        &config.aclfile,
    ];
    let mut paths: Vec<PathBuf> =
        named.iter().filter(|name| !name.is_empty()).map(|name| dir.join(name)).collect();
    // The authority's key may lie beside the one that is used.
    paths.extend(Path::new(&config.tls_key_file).parent().map(|place| dir.join(place).join("ca.key")));
    if config.tls_cert_file.is_empty() && !config.dir.is_empty() {
        // Those of our own authority.
        let leaf = format!("{}.key", crate::plane::program(profile));
        paths.extend(["ca.key", &leaf].map(|name| dir.join("tls").join(name)));
    }
    if !config.requirepass.is_empty() && config.requirepass_file.is_empty() || !config.users.is_empty() {
        paths.extend(file.map(Path::to_owned));
    }
    paths.iter().filter_map(|path| control::secrets::exposure(path)).collect()
}

/// Opens the log and says who starts.
fn open_logger(profile: Profile, config: &Config, notes: &[String]) -> anyhow::Result<Logger> {
    let logger =
        Logger::open(config).with_context(|| format!("Can't open the log file {}", config.logfile))?;
    logger.notice(&format!(
        "Tandem {} ({} profile), pid={}, just started",
        env!("CARGO_PKG_VERSION"),
        profile.name(),
        std::process::id()
    ));
    crate::introduction::lines(profile, config).iter().for_each(|line| logger.notice(line));
    notes.iter().for_each(|note| logger.warning(note));
    Ok(logger)
}

/// Lets in no more clients than there are descriptors for: those that are let in must be served, and what they write kept.
fn fit_descriptors(config: &mut Config, logger: &Logger) -> anyhow::Result<()> {
    let Err(possible) = crate::limits::raise_descriptors(config.maxclients as u64) else { return Ok(()) };
    if possible == 0 {
        bail!(
            "Your current limit of open files ('ulimit -n') is not enough for the server to start. Please increase it to at \
             least {}. Exiting.",
            crate::limits::SPARE_DESCRIPTORS + 1
        );
    }
    logger.warning(&format!(
        "You requested maxclients of {}, but the limit of open files ('ulimit -n') is enough for {possible} only: maxclients is \
         {possible} now.",
        config.maxclients
    ));
    let origin = config.origin("maxclients").cloned().unwrap_or(Origin::Default);
    config.assign("maxclients", possible.to_string().as_bytes(), origin).map_err(|why| anyhow!(why))
}

/// The default user's password.
pub(crate) struct Password {
    record: String,
    /// What the record was made of, if it was made here.
    plain: Option<Vec<u8>>,
    /// The file that it came from, if it was one.
    file: Option<PasswordFile>,
}

/// Replaces the plain password of the configuration by a record of it.
fn hide_password(config: &mut Config) -> anyhow::Result<Option<Password>> {
    if config.requirepass.is_empty() {
        return Ok(None);
    }
    let given = String::from_utf8_lossy(&config.requirepass).into_owned();
    let (record, plain) = match given.strip_prefix(RECORD_PREFIX) {
        Some(record) => (Record::parse(record)?, None),
        None => (control::password::hash(&config.requirepass)?, Some(config.requirepass.clone())),
    };
    let origin = config.origin("requirepass").cloned().unwrap_or(Origin::Default);
    let text = format!("{RECORD_PREFIX}{}", record.as_str());
    let file = match &origin {
        Origin::Secret(path) => Some(PasswordFile { path: PathBuf::from(&**path), record: record.clone() }),
        _ => None,
    };
    config.assign("requirepass", text.as_bytes(), origin).map_err(|why| anyhow!(why))?;
    Ok(Some(Password { record: record.as_str().to_owned(), plain, file }))
}

pub(crate) fn new_engine(
    config: &Config,
    password: Option<Password>,
    clock: &Clock,
) -> anyhow::Result<Engine> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| anyhow!("the system's random source: {error}"))?;
    let secrets = password.iter().map(|known| Secret::Argon2id(known.record.clone())).collect();
    let mut engine = Engine::new(config.clone(), Acl::new(secrets), seed, clock.now())?;
    if let Some(Password { record, plain: Some(plain), .. }) = &password {
        // Whoever logs in after a start need not wait for a check.
        engine.learn_password(record, plain);
    }
    engine.set_memory_there(memory_there());
    Ok(engine)
}

/// What the machine or its control group has, bytes; 0 when nobody knows.
fn memory_there() -> usize {
    let measured = config::machine::read(&config::machine::Places::default());
    let there = match measured.group_limit {
        Some(limit) if limit < measured.machine || measured.machine == 0 => limit,
        _ => measured.machine,
    };
    usize::try_from(there).unwrap_or(usize::MAX)
}

/// Writes the process number where it is wanted. That nobody finds it there is no reason not to serve: the folder that a
/// distribution's file names is made by its own service only.
fn write_pidfile(config: &Config, logger: &Logger) -> Option<PathBuf> {
    let path = (!config.pidfile.is_empty()).then(|| PathBuf::from(&config.pidfile))?;
    match std::fs::write(&path, format!("{}\n", std::process::id())) {
        Ok(()) => Some(path),
        Err(error) => {
            logger.warning(&format!("Failed to write PID file '{}': {error}", path.display()));
            None
        }
    }
}

/// Users of the configuration file or of the ACL file.
fn load_users(shared: &Shared, config: &Config) -> anyhow::Result<()> {
    if !config.users.is_empty() && !config.aclfile.is_empty() {
        return Err(anyhow!(
            "Configuring Redis with users defined in redis.conf and at the same setting an ACL file path is \
             invalid. This setup is very likely to lead to configuration errors and security holes, please \
             define either an ACL file or declare users directly in your redis.conf, but not both."
        ));
    }
    if !config.aclfile.is_empty() {
        let names_default = crate::background::load_acl(shared, None)
            .map_err(|why| {
                anyhow!(
                    "The start is given up because of ACL errors: {why}\n`tandem check {}` tells whether the file is right, and starts \
                     nothing.",
                    shared.files.place().join(&config.aclfile).display()
                )
            })?;
        let (counts, open) =
            shared.with_engine(|engine, _| (engine.requirepass_counts(), engine.acl.default_is_open()));
        if names_default && !config.requirepass.is_empty() && !counts {
            let what = if open { "and it needs NO password" } else { "so its passwords count" };
            shared.logger.warning(&format!(
                "The ACL file names the default user, {what}: requirepass does not count. To change that: ACL SETUSER default \
                 resetpass ><password>, and ACL SAVE, in one session; or CONFIG SET requirepass, and CONFIG REWRITE"
            ));
        }
    } else if !config.users.is_empty() {
        shared.with_engine(|engine, _| engine.load_users(&config.users)).map_err(|why| anyhow!(why))?;
    }
    Ok(())
}

/// Tells that whoever reaches the server may do everything, where that is so and nobody needs to come from this machine.
///
/// # Errors
/// That it is so, where a password was demanded.
fn look_for_open_access(shared: &Shared, config: &Config, needs_password: bool) -> anyhow::Result<()> {
    let is_open = shared.engine.lock().acl.default_is_open();
    if is_open && needs_password {
        bail!("no password is set, and ALLOW_EMPTY_PASSWORD says that one is needed: give REDIS_PASSWORD");
    }
    let is_local = |address: &String| {
        let address = address.trim_start_matches('-');
        address.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
    };
    if is_open && !config.protected_mode && !config.bind.iter().all(is_local) {
        shared.logger.warning(
            "No password is set and protected-mode is off: whoever reaches this server may read and change everything. \
             Set one: requirepass, or the variable REDIS_PASSWORD.",
        );
    }
    Ok(())
}

/// How many I/O threads: as configured, else one on small machines.
fn thread_count(config: &Config) -> usize {
    const THREADS_MAX: usize = 4;
    if config.origin("io-threads") != Some(&Origin::Default) {
        return config.io_threads.max(1);
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if cores <= 2 { 1 } else { (cores / 2).min(THREADS_MAX) }
}

/// What the configuration says about the process; what the system refuses is told and done without.
fn take_limits(shared: &Shared, config: &Config) {
    if config.disable_thp
        && let Err(error) = crate::limits::disable_huge_pages()
    {
        shared.logger.notice(&format!("Huge pages cannot be switched off for this process: {error}"));
    }
    if config.oom_score_adj != config::OomScoreAdj::No
        && let Err(why) = crate::live::adjust_oom_score(shared, config, config)
    {
        shared.logger.warning(&why.to_string());
    }
    crate::allocator::free_in_background(config.jemalloc_bg_thread);
}

/// Says what runs here: with a banner where a person may be watching, or always if so configured.
fn greet(config: &Config, logger: &Logger) {
    let is_watched = config.logfile.is_empty() && std::io::stdout().is_terminal();
    if logger.is_plain() && (config.always_show_logo || is_watched) {
        logger.write(&banner(config));
    } else {
        logger.notice(&format!("Running mode=standalone, port={}.", config.port));
    }
}

/// The lines that tools which start servers look for.
fn banner(config: &Config) -> String {
    format!(
        "\n  tandem {} (Redis {REDIS_VERSION} protocol) 64 bit\n  Running in standalone mode\n  Port: {}\n  PID: {}\n\n",
        env!("CARGO_PKG_VERSION"),
        config.port,
        std::process::id()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn files_with_secrets_that_all_can_read_are_told_of() {
        let place = tempfile::tempdir().unwrap();
        let file = |name: &str, mode: u32| {
            let path = place.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "x").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let mut config = Config::default();
        let mut set = |name: &str, value: &str| config.assign(name, value.as_bytes(), Origin::Set).unwrap();
        set("dir", place.path().to_str().unwrap());
        set("requirepass-file", &file("password", 0o604));
        set("metrics-token-file", &file("token", 0o600));
        set("aclfile", "users.acl");
        file("users.acl", 0o644);
        file("tls/ca.key", 0o644);
        file("tls/tandem-queue.key", 0o640);
        let told = |config: &Config, file: Option<&Path>| -> Vec<String> {
            let name = |text: &String| text.split(' ').nth(2).unwrap().rsplit('/').next().unwrap().to_owned();
            exposed_files(Profile::Queue, config, file).iter().map(name).collect()
        };
        assert_eq!(told(&config, None), ["password", "users.acl", "ca.key"]);
        for (name, value) in [("requirepass-file", ""), ("aclfile", ""), ("requirepass", "pw")] {
            config.assign(name, value.as_bytes(), Origin::Set).unwrap();
        }
        config.assign("tls-cert-file", b"tls/c", Origin::Set).unwrap();
        config.assign("tls-key-file", b"tls/k", Origin::Set).unwrap();
        let conf = PathBuf::from(file("queue.conf", 0o644));
        assert_eq!(told(&config, Some(&conf)), ["ca.key", "queue.conf"]);
    }
}
