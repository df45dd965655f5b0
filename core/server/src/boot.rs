//! From a command line to a server that serves: configuration, sockets, threads, data.

mod access;
mod running;
mod surroundings;

use std::io::IsTerminal;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;

use anyhow::{Context, anyhow, bail};
use config::{Config, Layers, Loaded, Origin, Sources};
use engine::{Acl, Engine, REDIS_VERSION, Secret};
use net::Poller;
use parking_lot::Mutex;
use profiles::Profile;

pub use self::running::Running;
pub use self::surroundings::{OnDisk, Surroundings};

use self::access::{Password, exposed_files, hide_password, load_users, look_for_open_access};
use crate::clock::Clock;
use crate::durable::Durable;
use crate::files::{Files, place_of};
use crate::instance::Front;
use crate::listen::Entrance;
use crate::locks::{LockError, Locks};
use crate::logger::Logger;
use crate::shared::{Parts, Shared};

/// Events that one wait reports; more come with the next.
const EVENTS_MAX: usize = 1024;

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
    let mut layers = Layers {
        profile: profile.base_in(&surroundings.defaults),
        maxmemory,
        makes_dir: profile != Profile::Plain,
        file,
        stdin,
        invocation,
    };
    // No name of ours has other bytes.
    let variables: Vec<(String, Vec<u8>)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_vec())))
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
    if signals {
        control::hold_early().context("Can't take over signals")?;
    }
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
    crate::keepsakes::make(profile, &mut config, &mut file, logger)?;
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
    crate::background::look_at_files(shared);
    take_limits(shared, &config);
    load_users(shared, &config)?;
    look_for_open_access(shared, &config, surroundings.needs_password)?;
    let pidfile = write_pidfile(&config, logger);
    let front = Arc::new(Front { shared, last: Mutex::default(), visits: Default::default() });
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

/// Opens the log and says who starts.
fn open_logger(profile: Profile, config: &Config, notes: &[String]) -> anyhow::Result<Logger> {
    if profile != Profile::Plain && !config.logfile.is_empty() && Path::new(&config.logfile).is_relative() {
        // A profile's folder is made with the first file in it.
        std::fs::create_dir_all(&config.dir)
            .with_context(|| format!("Can't make the directory '{}'", config.dir))?;
    }
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
    let path = (!config.pidfile.is_empty()).then(|| config.in_dir(&config.pidfile))?;
    match std::fs::write(&path, format!("{}\n", std::process::id())) {
        Ok(()) => Some(path),
        Err(error) => {
            logger.warning(&format!("Failed to write PID file '{}': {error}", path.display()));
            None
        }
    }
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
