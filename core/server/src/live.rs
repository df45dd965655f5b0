//! What a change of the configuration does outside the engine while its client waits: sockets, certificates,
//! limits of the process.
//!
//! All of it may be refused by the system. The steps are tried in order; when one fails, those before it are
//! taken back by the same functions with the two configurations exchanged. What cannot be refused follows. All of it holds before the
//! client is told OK, and for the next request of the same send; only turning the log on and off goes on behind the reply, as in Redis.

use std::{fmt, io};

use config::{Config, OomScoreAdj, TlsAuthClients};
use engine::ConfigRefusal;

use crate::archiving::{Plan, PlanError};
use crate::shared::Shared;

/// Tries to bring the world from one configuration to another.
type Try = fn(&Shared, &Config, &Config) -> Result<(), ChangeError>;

/// Why the world cannot be as a configuration wants it, in the words that a client gets.
#[derive(Debug)]
pub(crate) enum ChangeError {
    /// `dir` was to move with the log's files in it.
    LogInDir,
    /// There is no such directory.
    NoDirectory,
    /// There is something else of that name.
    NotADirectory,
    /// The system grants descriptors for so many clients at most.
    Clients(u64),
    /// The kernel does not take the score; the log has the reason, as for the next three.
    OomScore,
    /// A log cannot be written where it would be; the log has the reason.
    LogPlace,
    /// Certificates cannot be used.
    Tls,
    /// A port cannot be listened on.
    Port,
    /// Addresses cannot be.
    Addresses,
    /// The log cannot be archived so.
    Archiving(PlanError),
    /// Whatever else the system says.
    Io(io::Error),
}

impl fmt::Display for ChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ChangeError::LogInDir => "the log is in dir: set appendonly to no before moving it",
            ChangeError::NoDirectory => "No such file or directory",
            ChangeError::NotADirectory => "Not a directory",
            ChangeError::Clients(possible) => {
                return write!(
                    f,
                    "The operating system is not able to handle the specified number of clients, try with {possible}"
                );
            }
            ChangeError::OomScore => "Failed to set current oom_score_adj. Check server logs.",
            ChangeError::LogPlace => "Unable to turn on AOF. Check server logs.",
            ChangeError::Tls => "Unable to update TLS configuration. Check server logs.",
            ChangeError::Port => "Unable to listen on this port. Check server logs.",
            ChangeError::Addresses => "Failed to bind to specified addresses.",
            ChangeError::Archiving(error) => return error.fmt(f),
            ChangeError::Io(error) => return error.fmt(f),
        })
    }
}

impl std::error::Error for ChangeError {}

/// The directives of a step, and the step.
const STEPS: &[(&[&str], Try)] = &[
    (&["dir"], change_dir),
    (&["appendonly"], look_at_log_place),
    (&["maxclients"], raise_maxclients),
    (&["oom-score-adj", "oom-score-adj-values"], adjust_oom_score),
    (TLS, renew_tls),
    (&["bind", "port", "tls-port"], move_sockets),
    (&["tcp-keepalive"], keep_alive),
    (&["jemalloc-bg-thread"], free_in_background),
    (crate::archiving::DIRECTIVES, look_at_archiving),
];

const AUTH_CLIENTS: &str = "tls-auth-clients";

const TLS: &[&str] = &[
    // A certificate of our own names what is listened on.
    "bind",
    "tls-names",
    "tls-port",
    "tls-cert-file",
    "tls-key-file",
    "tls-ca-cert-file",
    "tls-ca-cert-dir",
    AUTH_CLIENTS,
    "tls-protocols",
    "tls-prefer-server-ciphers",
    "tls-session-caching",
    "tls-session-cache-timeout",
];

/// Follows a change of the directives `changed`, or says which of them is at fault and why. Then nothing has
/// changed.
pub(crate) fn follow(
    shared: &Shared,
    from: &Config,
    to: &Config,
    changed: &[&'static str],
) -> Result<(), ConfigRefusal> {
    if lets_anybody_in(from, to) {
        shared
            .logger
            .warning("Clients must show a certificate (tls-auth-clients), which takes an authority.");
        let at_fault = changed.iter().find(|name| TLS.contains(name)).unwrap_or(&AUTH_CLIENTS);
        return Err(ConfigRefusal { directive: at_fault, why: ChangeError::Tls.to_string() });
    }
    // Who says what was only the default asks for more than that.
    let is_said = !from.is_said(AUTH_CLIENTS) && to.is_said(AUTH_CLIENTS);
    let said = Some(AUTH_CLIENTS).filter(|name| is_said && !changed.contains(name));
    let changed: Vec<&'static str> = changed.iter().copied().chain(said).collect();
    let named = |names: &[&str]| changed.iter().find(|name| names.contains(name));
    for (at, (names, step)) in STEPS.iter().enumerate() {
        let Some(name) = named(names) else { continue };
        let Err(why) = step(shared, from, to) else { continue };
        for (_, step) in STEPS[..at].iter().rev().filter(|(names, _)| named(names).is_some()) {
            if let Err(why) = step(shared, to, from) {
                shared.logger.warning(&format!("Failed to restore the previous settings: {why}"));
            }
        }
        return Err(ConfigRefusal { directive: name, why: why.to_string() });
    }
    shared.take_over(to);
    Ok(())
}

/// Whether clients would not be asked for certificates any more, though nobody has said that they need none: an authority is gone.
fn lets_anybody_in(from: &Config, to: &Config) -> bool {
    let has_authority =
        |config: &Config| !config.tls_ca_cert_file.is_empty() || !config.tls_ca_cert_dir.is_empty();
    let wants = |config: &Config| config.tls_auth_clients != TlsAuthClients::No;
    !from.tls_cert_file.is_empty() && wants(from) && has_authority(from) && wants(to) && !has_authority(to)
}

fn keep_alive(shared: &Shared, _: &Config, to: &Config) -> Result<(), ChangeError> {
    shared.entrance.set_keepalive(to.tcp_keepalive_seconds as u32).map_err(ChangeError::Io)
}

fn free_in_background(_: &Shared, _: &Config, to: &Config) -> Result<(), ChangeError> {
    crate::allocator::free_in_background(to.jemalloc_bg_thread);
    Ok(())
}

/// The plan that comes of it is followed with the rest.
fn look_at_archiving(_: &Shared, _: &Config, to: &Config) -> Result<(), ChangeError> {
    Plan::of(to).map(drop).map_err(ChangeError::Archiving)
}

/// The log's files are named relative to `dir` and must not be in two places.
fn change_dir(shared: &Shared, from: &Config, to: &Config) -> Result<(), ChangeError> {
    if from.appendonly || to.appendonly {
        return Err(ChangeError::LogInDir);
    }
    let metadata = std::fs::metadata(&to.dir).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => ChangeError::NoDirectory,
        _ => ChangeError::Io(error),
    })?;
    if !metadata.is_dir() {
        return Err(ChangeError::NotADirectory);
    }
    shared.files.move_to(&to.dir);
    Ok(())
}

/// A log is begun behind the reply. What is known to stand against it is told at once: who is told OK relies on it.
fn look_at_log_place(shared: &Shared, from: &Config, to: &Config) -> Result<(), ChangeError> {
    use rustix::fs::{Access, access};
    if from.appendonly || !to.appendonly {
        return Ok(());
    }
    let place = shared.files.log_place();
    let dir = place.dir.join(&place.dir_name);
    let dir = if dir.symlink_metadata().is_ok() { dir } else { place.dir };
    access(&dir, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| {
        let error = base::fault::text(&error.into());
        shared.logger.warning(&format!("Can't write an AOF in {}: {error}", dir.display()));
        ChangeError::LogPlace
    })
}

/// What is written from now on is written so.
fn raise_maxclients(shared: &Shared, _: &Config, to: &Config) -> Result<(), ChangeError> {
    crate::limits::raise_descriptors(to.maxclients as u64).map_err(|possible| {
        shared.logger.warning(&format!(
            "Unable to set the max number of files needed for maxclients {}.",
            to.maxclients
        ));
        ChangeError::Clients(possible)
    })
}

/// See `oom-score-adj`. The score is left alone until it is first wanted, and given back when it is not any more.
pub(crate) fn adjust_oom_score(shared: &Shared, _: &Config, to: &Config) -> Result<(), ChangeError> {
    let mut adjusted = shared.oom_base.lock();
    let base = match (*adjusted, to.oom_score_adj) {
        (None, OomScoreAdj::No) => return Ok(()),
        (base, _) => base.unwrap_or_else(crate::limits::oom_score),
    };
    let score = match to.oom_score_adj {
        OomScoreAdj::No => base,
        OomScoreAdj::Relative => base + to.oom_score,
        OomScoreAdj::Absolute => to.oom_score,
    };
    crate::limits::set_oom_score(score).map_err(|error| {
        let error = base::fault::text(&error);
        shared.logger.warning(&format!("Unable to write oom_score_adj: {error}"));
        ChangeError::OomScore
    })?;
    *adjusted = (to.oom_score_adj != OomScoreAdj::No).then_some(base);
    Ok(())
}

fn renew_tls(shared: &Shared, _: &Config, to: &Config) -> Result<(), ChangeError> {
    let Some(certificates) = shared.certificates.get() else { return Ok(()) };
    let renewed = crate::plane::tls(shared.profile, to)
        .and_then(|settings| certificates.replace(settings).map_err(anyhow::Error::from));
    match renewed {
        Ok(config) => {
            shared.tls.set(config);
            Ok(())
        }
        Err(error) => {
            shared.logger.warning(&format!("Failed to configure TLS: {error}"));
            Err(ChangeError::Tls)
        }
    }
}

fn move_sockets(shared: &Shared, from: &Config, to: &Config) -> Result<(), ChangeError> {
    shared.entrance.move_to(from, to).map_err(|error| {
        shared.logger.warning(&error.to_string());
        match (from.port, from.tls_port) != (to.port, to.tls_port) {
            true => ChangeError::Port,
            false => ChangeError::Addresses,
        }
    })?;
    shared.wake_all();
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use config::Origin;
    use persist::disk::Memory;

    use super::*;

    fn config(pairs: &[(&str, &str)]) -> Config {
        let mut config = Config::default();
        for (name, value) in [("tls-cert-file", "s.crt"), ("tls-key-file", "s.key")].iter().chain(pairs) {
            config.assign(name, value.as_bytes(), Origin::Set).unwrap();
        }
        config
    }

    #[test]
    fn an_authority_is_not_taken_away_from_under_those_who_must_show_certificates() {
        let shared = crate::shared::test::shared(Arc::new(Memory::new()), &[]);
        let (none, file) = (config(&[]), config(&[("tls-ca-cert-file", "ca.crt")]));
        let refusal = follow(shared, &file, &none, &["tls-ca-cert-file"]).unwrap_err();
        let (directive, why) = ("tls-ca-cert-file", ChangeError::Tls.to_string());
        assert_eq!(refusal, ConfigRefusal { directive, why });
        let dir = config(&[("tls-ca-cert-dir", "ca")]);
        assert!(lets_anybody_in(&dir, &none) && lets_anybody_in(&file, &none));
        let nobody = config(&[("tls-auth-clients", "no")]);
        assert!(!lets_anybody_in(&file, &nobody), "that was said");
        assert!(!lets_anybody_in(&file, &dir) && !lets_anybody_in(&none, &none));
        assert!(!lets_anybody_in(&Config::default(), &Config::default()));
    }
}
