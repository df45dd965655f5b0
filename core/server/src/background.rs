//! What the engine leaves to be done, and what is done once a second: on a thread that may wait for disks.

mod error;

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use config::{Config, Origin};
use control::password::Record;
use control::secrets::Secret;
use engine::{Job, SessionId};
use replication::stretch::Search;

use error::{AclFileError, FileError, PasswordFileError, RewriteError};

use crate::logger::Level;
use crate::saver::{Listener, Task};
use crate::shared::{BackgroundJob, PasswordFile, Shared};
use crate::stop::Wanted;

/// The signal that a DEBUG SEGFAULT stands for.
const SIGSEGV: i32 = 11;

/// Works until the server ends.
pub(crate) fn keep(shared: &'static Shared, jobs: &Receiver<BackgroundJob>) {
    while let Ok(job) = jobs.recv() {
        take(shared, jobs, job);
        if shared.life.has_ended() {
            return;
        }
    }
}

fn take(shared: &'static Shared, jobs: &Receiver<BackgroundJob>, job: BackgroundJob) {
    shared.background_waiting.fetch_sub(1, Ordering::Relaxed);
    match job {
        BackgroundJob::Engine(job) => run(shared, jobs, job),
        BackgroundJob::Reread => {
            reread_password(shared);
            reread_masters_password(shared);
        }
        BackgroundJob::Stop(wanted) => stop(shared, jobs, wanted),
        BackgroundJob::LookAtFiles => look_at_files(shared),
        BackgroundJob::Second => {
            let now_s = shared.clock.now().unix_ms.unsigned_abs() / 1000;
            shared.loading.progress(now_s).into_iter().for_each(|line| shared.logger.notice(&line));
            shared.saver.second(shared);
            shared.archiving.second(shared);
            shared.links.close_idle(shared.clock.micros());
        }
    }
    crate::allocator::publish();
}

/// Stops the server. While that waits for replicas it goes on with what else comes, one job at a time: clients wait for some of them,
/// and the stop may be called off.
fn stop(shared: &'static Shared, jobs: &Receiver<BackgroundJob>, wanted: Wanted) {
    crate::stop::stop(shared, wanted, &mut |patience: Duration| match jobs.recv_timeout(patience) {
        Ok(job) => take(shared, jobs, job),
        Err(RecvTimeoutError::Timeout) => {}
        Err(RecvTimeoutError::Disconnected) => std::thread::sleep(patience),
    });
}

fn run(shared: &'static Shared, jobs: &Receiver<BackgroundJob>, job: Job) {
    match job {
        Job::VerifyPassword { .. } | Job::HashPasswords { .. } | Job::FindPasswords { .. } => {
            crate::passwords::begin(&shared.jobs, &shared.completions, job);
        }
        Job::Save { session } => {
            let listener = session.map_or(Listener::Nobody, Listener::Session);
            shared.saver.add(Task::Save(listener));
        }
        Job::Copy { session, order } => shared.saver.add(Task::Copy(session, order)),
        Job::FeedReplicas => shared.saver.add(Task::FeedReplicas),
        Job::FeedFromLog { session, from, to } => crate::older::start(shared, session, Search::new(from, to)),
        Job::Flushed { save, session } => shared.saver.flushed(shared, save, session),
        Job::RewriteLog => shared.saver.add(Task::Rewrite),
        Job::Shutdown { session, save, now, force } => {
            stop(shared, jobs, Wanted { save, force, now, session: Some(session), signal: None });
        }
        Job::Follow => {
            crate::replica::follow(shared);
            tell_what_holds(shared);
        }
        Job::ConfigChanged { names } => config_changed(shared, &names),
        Job::RewriteConfig { session: Some(session) } => {
            finish(shared, session, rewrite_config(shared), "ERR ");
        }
        Job::RewriteConfig { session: None } => {
            if let Err(why) = rewrite_config(shared) {
                shared.logger.warning(&format!("CONFIG REWRITE in a transaction has failed: {why}."));
            }
        }
        Job::SaveAcl { session: None } => {
            if let Err(why) = save_acl(shared) {
                shared.logger.warning(&format!("ACL SAVE in a transaction has failed: {why}."));
            }
        }
        Job::SaveAcl { session: Some(session) } => {
            finish(shared, session, save_acl(shared), "ERR There was an error trying to save the ACLs: ")
        }
        Job::LoadAcl { session } => finish(shared, session, load_acl(shared, Some(session)), ""),
        Job::Free { trash } => drop(trash),
        Job::Log { level, text } => shared.logger.line(Level::from_number(level), &text),
        Job::Reload { session, how } => shared.saver.add(Task::Reload { session, how }),
        Job::SleepBeforeLogging { session, sleep_us } => {
            shared.durable.sleep_before_us.store(sleep_us, Ordering::Relaxed);
            accept(shared, session);
        }
        Job::Migrate { session, migration } => crate::migrate::start(shared, session, *migration),
        Job::Crash { why } => {
            shared.logger.warning(&format!("Crashing as asked for by {why}."));
            crate::instance::crash(shared, SIGSEGV);
        }
    }
}

/// Answers a client that waits: OK or the error.
pub(crate) fn finish<T>(
    shared: &Shared,
    session: SessionId,
    result: Result<T, impl std::fmt::Display>,
    prefix: &str,
) {
    match result {
        Ok(_) => accept(shared, session),
        Err(why) => refuse(shared, session, &format!("{prefix}{why}")),
    }
}

/// Answers a client that waits: OK.
pub(crate) fn accept(shared: &Shared, session: SessionId) {
    shared.with_engine(|engine, _| engine.complete(session, |reply| reply.status("OK")));
}

/// Answers a client that waits with an error, its code included.
pub(crate) fn refuse(shared: &Shared, session: SessionId, why: &str) {
    shared.with_engine(|engine, _| engine.complete(session, |reply| reply.error(why.as_bytes())));
}

/// What a change of the configuration asks of the disk: the rest has followed already, see `live.rs`.
fn config_changed(shared: &Shared, names: &[&'static str]) {
    let config = shared.engine.lock().config.clone();
    for name in names {
        match *name {
            "appendonly" => switch_log(shared, config.appendonly),
            "aof-disable-auto-gc" if !config.aof_disable_auto_gc => shared.durable.clean(shared),
            _ => {}
        }
    }
}

/// After a load: does what a change of `appendonly` meanwhile asks for.
pub(crate) fn catch_up_log(shared: &Shared) {
    let on = shared.engine.lock().config.appendonly;
    let is_on = shared.durable.log().is_some();
    if is_on != on {
        switch_log(shared, on);
    }
}

/// Has the log be on or off. While data is loaded it is left alone; see [`catch_up_log`].
fn switch_log(shared: &Shared, on: bool) {
    if shared.is_loading() {
        return shared.saver.begins_nothing();
    }
    let is_on = shared.durable.log().is_some();
    if on {
        return match is_on {
            true => shared.saver.begins_nothing(),
            false => shared.saver.add(Task::StartLog(Listener::Nobody)),
        };
    }
    if shared.saver.drop_rewrites() {
        shared
            .logger
            .notice("Killing AOF child: there is none, but the rewrite that runs or waits is given up");
    }
    if is_on {
        crate::rewrite::switch_off(shared);
    }
}

/// SIGHUP: a password that came from a file is the one that the file holds now, unless the default user has been given another
/// one meanwhile.
fn reread_password(shared: &Shared) {
    let mut known = shared.password_file.lock();
    let Some(PasswordFile { path, record }) = &mut *known else { return };
    let outcome = new_password(path, record).map(|new| {
        let (new, plain) = new?;
        let taken = shared.with_engine(|engine, _| {
            let taken = engine.exchange_password(record.as_str(), new.as_str());
            if taken {
                engine.learn_password(new.as_str(), plain.reveal());
            }
            taken
        });
        Some((taken, new))
    });
    let path = path.display().to_string();
    match outcome {
        Ok(None) => {}
        Ok(Some((true, new))) => {
            shared.logger.notice(&format!("The default user's password is the new one in {path}."));
            *record = new;
        }
        Ok(Some((false, _))) => shared.logger.warning(&format!(
            "The password in {path} has changed, but the default user was given another one by ACL SETUSER, CONFIG SET or the ACL \
             file. That one stays."
        )),
        Err(why) => shared.logger.warning(&format!("{why}. The default user's password stays as it was.")),
    }
}

/// SIGHUP: the same of the password for a master, unless CONFIG SET has given another one. The next link uses it.
fn reread_masters_password(shared: &Shared) {
    let origin = shared.engine.lock().config.origin("masterauth").cloned();
    let Some(Origin::Secret(path)) = origin else { return };
    let found = match control::secrets::read(Path::new(&*path)) {
        Ok(found) => found.secret,
        Err(why) => {
            return shared.logger.warning(&format!("{why}. The password for the master stays as it was."));
        }
    };
    let is_new = shared.with_engine(|engine, _| {
        let is_new = engine.config.masterauth != found.reveal();
        is_new && engine.config.assign("masterauth", found.reveal(), Origin::Secret(path.clone())).is_ok()
    });
    if is_new {
        shared.logger.notice(&format!("The password for the master is the new one in {path}."));
    }
}

/// What the file holds and a record of it, if that is another password.
fn new_password(path: &Path, known: &Record) -> Result<Option<(Record, Secret)>, PasswordFileError> {
    let found = control::secrets::read(path).map_err(PasswordFileError::Secret)?;
    if known.verify(found.secret.reveal()) {
        return Ok(None);
    }
    let record = control::password::hash(found.secret.reveal()).map_err(PasswordFileError::Hash)?;
    Ok(Some((record, found.secret)))
}

/// Tells whoever has promoted a server, or had it follow another one, what the next start will do.
fn tell_what_holds(shared: &Shared) {
    let insisted = shared.insisted.iter().find(|(name, _)| *name == "replicaof");
    let follows = shared.engine.lock().is_replica();
    match (insisted, &shared.files.config) {
        (Some((_, by)), _) if follows => shared.logger.warning(&format!(
            "The {by} names replicaof, too, and will win at the next start: this master holds until then."
        )),
        (Some((_, by)), _) => shared.logger.warning(&format!(
            "The {by} names replicaof: the next start will follow that master again and give up the data that is written here. Take it \
             away there before."
        )),
        (None, Some(_)) => shared.logger.notice("That holds until the server ends, unless CONFIG REWRITE keeps it."),
        (None, None) => shared.logger.notice("That holds until the server ends: there is no file that could keep it."),
    }
}

/// Tells of what a rewritten file says and something else than files will say at the next start.
fn warn_of_what_insists(shared: &Shared, config: &Config) {
    for (name, by) in &shared.insisted {
        if config.origin(name) == Some(&Origin::Set) {
            shared.logger.warning(&format!(
                "CONFIG REWRITE has kept {name}, but the {by} names it, too, and will win at the next start."
            ));
        }
    }
    if !config.masterauth_file.is_empty() && config.origin("masterauth") == Some(&Origin::Set) {
        shared.logger.warning(
            "CONFIG REWRITE has written masterauth, which CONFIG SET has given, as it is. From then on masterauth-file is not read.",
        );
    }
}

/// The file that CONFIG REWRITE writes.
pub(crate) fn settings_file(shared: &Shared) -> Result<PathBuf, RewriteError> {
    let path = shared.files.config.clone().ok_or(RewriteError::NoFile)?;
    match path.extension() {
        Some(extension) if extension == "toml" => Err(RewriteError::Toml),
        _ => Ok(path),
    }
}

/// What stood against replacing files when they were last looked at: at the start, when one was to be replaced, or behind an answer that
/// it cannot be. Who asks may have the engine in hand, and a disk may hang.
#[derive(Debug, Default)]
pub(crate) struct FileRefusals {
    /// Against that of the configuration.
    settings: Option<String>,
    /// Against that of the users.
    users: Option<String>,
}

/// Why CONFIG REWRITE is certain to fail, as far as is known.
pub(crate) fn rewrite_refusal(shared: &Shared) -> Option<String> {
    if let Err(why) = settings_file(shared) {
        return Some(why.to_string());
    }
    let known = shared.file_refusals.lock().settings.clone();
    known.inspect(|_| shared.in_background(BackgroundJob::LookAtFiles))
}

/// Why ACL SAVE is certain to fail, as far as is known.
pub(crate) fn acl_save_refusal(shared: &Shared) -> Option<String> {
    let known = shared.file_refusals.lock().users.clone();
    known.inspect(|_| shared.in_background(BackgroundJob::LookAtFiles))
}

/// Looks what stands against replacing files. Not with the engine in hand.
pub(crate) fn look_at_files(shared: &Shared) {
    let settings = settings_file(shared).ok().and_then(|path| file_refusal(&path));
    let users = file_refusal(&acl_path(shared));
    *shared.file_refusals.lock() = FileRefusals {
        settings: settings.map(|why| RewriteError::File(why).to_string()),
        users: users.map(|why| why.to_string()),
    };
}

/// Why a file cannot be replaced, as far as that is seen without writing.
fn file_refusal(path: &Path) -> Option<FileError> {
    use rustix::fs::{Access, access};
    let refused = access(folder_of(path), Access::WRITE_OK | Access::EXEC_OK).err()?;
    Some(FileError::Io(refused.into()))
}

/// Where a file is.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn rewrite_config(shared: &Shared) -> Result<(), RewriteError> {
    look_at_files(shared);
    let path = settings_file(shared)?;
    let old = std::fs::read(&path).unwrap_or_default();
    let (config, users) = {
        let engine = shared.engine.lock();
        let told = engine.config.aclfile.is_empty() && engine.acl.is_more_than_a_password();
        (engine.config.clone(), told.then(|| engine.acl.lines()))
    };
    let without_word = |line: Vec<u8>| line.strip_prefix(b"user ").map(<[u8]>::to_vec);
    let mut users = users.map(|lines| lines.into_iter().filter_map(without_word).collect::<Vec<_>>());
    if let Some(users) = &mut users {
        leave_included(shared, &old, users)?;
    }
    keep_default_users_password(shared, &config)?;
    let base = base_of(shared, &config, &path);
    let text = config::rewrite(&config, &base, &old, users.as_deref());
    replace_file(shared, &path, &text).map_err(RewriteError::File)?;
    warn_of_what_insists(shared, &config);
    Ok(())
}

/// A password that CONFIG SET has given goes into an ACL file that names the default user, too: else that file, which wins over
/// `requirepass`, would bring the old one back at the next start.
fn keep_default_users_password(shared: &Shared, config: &Config) -> Result<(), RewriteError> {
    if config.aclfile.is_empty() || config.origin("requirepass") != Some(&Origin::Set) {
        return Ok(());
    }
    let path = acl_path(shared);
    let about = |why| RewriteError::Password(path.clone(), why);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        // It names nobody.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(about(FileError::Io(error))),
    };
    let new = shared.with_engine(|engine, _| {
        engine.requirepass_counts().then(|| engine.with_default_secrets(&text)).flatten()
    });
    let Some(new) = new else { return Ok(()) };
    replace_file(shared, &path, &new).map_err(about)?;
    shared.logger.notice(
        "CONFIG REWRITE has kept requirepass in the ACL file as well, since it names the default user.",
    );
    Ok(())
}

/// Takes those users out of what is to be written that an included file tells: told twice, the next start would refuse them.
fn leave_included(shared: &Shared, old: &[u8], users: &mut Vec<Vec<u8>>) -> Result<(), RewriteError> {
    let included = config::included_users(&shared.base_config, old, &mut config::load::Disk)
        .map_err(RewriteError::Included)?;
    let changed = shared.engine.lock().changed_users(&included).map_err(RewriteError::Users)?;
    if let Some(name) = changed.first() {
        return Err(RewriteError::UserChanged(String::from_utf8_lossy(name).into_owned()));
    }
    let name = |line: &[u8]| line.split(|byte| *byte == b' ').next().unwrap_or_default().to_vec();
    users.retain(|line| !included.iter().any(|words| words.first() == Some(&name(line))));
    Ok(())
}

/// What need not be written into this file. A profile's own lies in the folder that it would name, and may move with it.
fn base_of(shared: &Shared, config: &Config, path: &Path) -> Config {
    let mut base = shared.base_config.clone();
    let is_inside = shared.files.place().canonicalize().is_ok_and(|place| path.parent() == Some(&place));
    if is_inside && shared.profile != profiles::Profile::Plain {
        let taken = base.assign("dir", config.dir.as_bytes(), Origin::Profile);
        debug_assert!(taken.is_ok(), "it is the value of the same directive");
    }
    base
}

fn acl_path(shared: &Shared) -> PathBuf {
    let path = PathBuf::from(&shared.engine.lock().config.aclfile);
    if path.is_absolute() { path } else { shared.files.place().join(path) }
}

fn save_acl(shared: &Shared) -> Result<(), FileError> {
    look_at_files(shared);
    let mut text = shared.engine.lock().acl.lines().join(&b'\n');
    text.push(b'\n');
    replace_file(shared, &acl_path(shared), &text)
}

/// Puts a file in place of another such that a crash leaves one of the two. Who could read the old one can read the new one, and
/// nobody else.
fn replace_file(shared: &Shared, path: &Path, text: &[u8]) -> Result<(), FileError> {
    let dir = folder_of(path);
    let name = path.file_name().and_then(|name| name.to_str()).ok_or(FileError::NoName)?;
    let disk = &*shared.durable.disk;
    persist::disk::replace_like(disk, dir, name, text)
        .inspect_err(|error| warn_of_mount(shared, path, error))
        .map_err(FileError::Io)
}

/// A file that is bound into a container by itself can be read, but not replaced: the operator is told what to do.
fn warn_of_mount(shared: &Shared, path: &Path, error: &std::io::Error) {
    if error.kind() == std::io::ErrorKind::ResourceBusy {
        shared.logger.warning(&format!(
            "{} cannot be replaced, since it is mounted by itself: mount its directory instead, then it can be rewritten.",
            path.display()
        ));
    }
}

/// Reads the ACL file into the engine, for the client that waits for that; whether it names the default user. The error is a whole error reply.
pub(crate) fn load_acl(shared: &Shared, by: Option<SessionId>) -> Result<bool, AclFileError> {
    let path = acl_path(shared);
    let text = std::fs::read(&path).map_err(|error| AclFileError::Unread(path.clone(), error))?;
    let file = path.display().to_string();
    shared.with_engine(|engine, _| engine.load_acl_file(&file, &text, by)).map_err(AclFileError::Rules)
}
