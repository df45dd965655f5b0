//! What a configuration says about the control plane: metrics, health, certificates.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow};
use config::{Config, Origin, TlsAuthClients, TlsMode};
use control::certs::Authority;
use control::secrets::Secret;
use control::tls::{ClientCerts, TlsFiles, TlsOptions};
use control::{ControlPlane, Handle, HttpSettings, Instance, Settings, StartError, TlsSettings};
use profiles::Profile;

use crate::logger::Logger;

/// Starts the control plane. What only helps does not stop it: a health socket that cannot be made, and certificates of our own
/// where nobody has asked for TLS, are told and done without.
///
/// # Errors
/// As [`settings`] and [`ControlPlane::start`].
pub(crate) fn start<I: Instance + 'static>(
    profile: Profile,
    config: &Config,
    signals: bool,
    instance: &Arc<I>,
    logger: &Logger,
) -> anyhow::Result<Handle> {
    let mut wanted = settings(profile, config, signals)?;
    loop {
        let error = match ControlPlane::start(wanted.clone(), Arc::clone(instance) as Arc<dyn Instance>) {
            Ok(handle) => return Ok(handle),
            Err(error) => error,
        };
        // Each round does without one thing more, so there are three at most.
        match error {
            StartError::HealthSocket(..) if wanted.health_socket.take().is_some() => {
                logger.warning(&format!("{error}. `tandem health` has no socket to ask."));
            }
            StartError::Certificates(_) | StartError::Tls(_) if is_uncalled_for(config, &wanted) => {
                logger.warning(&format!("{error}. Nobody has asked for TLS, so it is not spoken."));
                wanted.tls = None;
            }
            _ => return Err(error.into()),
        }
    }
}

/// Whether the certificates are our own and TLS is only the profile's offer.
fn is_uncalled_for(config: &Config, wanted: &Settings) -> bool {
    let by_default = |name| matches!(config.origin(name), None | Some(Origin::Default | Origin::Profile));
    matches!(wanted.tls, Some(TlsSettings::Own(..)))
        && config.tls_port == 0
        && !config.metrics_tls
        && by_default("tls")
}

/// The settings of the control plane.
///
/// # Errors
/// A metrics address that is none, a token that cannot be read, TLS without certificates, a console without a port.
pub(crate) fn settings(profile: Profile, config: &Config, signals: bool) -> anyhow::Result<Settings> {
    Ok(Settings {
        name: program(profile).to_owned(),
        http: http(config)?,
        health_socket: (!config.health_socket.is_empty()).then(|| PathBuf::from(&config.health_socket)),
        tls: tls(profile, config)?,
        signals,
    })
}

fn http(config: &Config) -> anyhow::Result<Option<HttpSettings>> {
    if config.metrics_port == 0 {
        if config.console {
            return Err(anyhow!("console: it is served on metrics-port, which is 0"));
        }
        return Ok(None);
    }
    let mut addresses = Vec::new();
    for name in &config.metrics_bind {
        let ip: IpAddr = match name.trim_start_matches('-') {
            "*" => IpAddr::from([0, 0, 0, 0]),
            "::*" => IpAddr::from([0u16; 8]),
            other => other.parse().map_err(|_| anyhow!("metrics-bind: '{other}' is not an address"))?,
        };
        addresses.push(SocketAddr::new(ip, config.metrics_port));
    }
    let token: Option<Secret> = match config.metrics_token_file.as_str() {
        "" => None,
        path => Some(control::secrets::read(Path::new(path)).context("metrics-token-file")?.secret),
    };
    Ok(Some(HttpSettings { addresses, token, tls: config.metrics_tls, console: config.console }))
}

/// Where the certificates come from, if TLS is spoken anywhere.
///
/// # Errors
/// TLS is asked for without certificates, or client certificates without an authority.
pub(crate) fn tls(profile: Profile, config: &Config) -> anyhow::Result<Option<TlsSettings>> {
    if config.tls == TlsMode::Off && config.tls_port == 0 && !config.metrics_tls {
        return Ok(None);
    }
    let options = options(config);
    if let Some(name) = config.tls_names.iter().find(|name| !control::certs::is_name(name)) {
        return Err(anyhow!("tls-names: '{name}' is neither a host name nor an address"));
    }
    if !config.tls_cert_file.is_empty() {
        let path = |text: &String| (!text.is_empty()).then(|| config.in_dir(text));
        let (client_ca, client_ca_dir) = (path(&config.tls_ca_cert_file), path(&config.tls_ca_cert_dir));
        let clients = client_certificates(config, client_ca.is_some() || client_ca_dir.is_some())?;
        let (cert, key) = (config.in_dir(&config.tls_cert_file), config.in_dir(&config.tls_key_file));
        return Ok(Some(TlsSettings::Files(TlsFiles {
            cert,
            key,
            client_ca,
            client_ca_dir,
            clients,
            options,
        })));
    }
    if profile == Profile::Plain {
        return Err(anyhow!("No tls-cert-file configured!"));
    }
    // An authority of our own needs a place that outlives the process.
    if !config.is_said("dir") {
        return Ok(None);
    }
    let directory = Path::new(&config.dir).join("tls");
    let authority = Authority::new(&directory, program(profile), &names(config));
    Ok(Some(TlsSettings::Own(authority, ClientCerts::Ignored, options)))
}

/// The names beyond those of this machine that the certificate of our own is for: what is listened on, and what `tls-names` says.
fn names(config: &Config) -> Vec<String> {
    let addresses = control::addresses::listened_on(&config.bind);
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let names = config.tls_names.iter().cloned();
    names.chain(addresses.iter().map(ToString::to_string)).chain([host]).collect()
}

/// What is asked of clients. Nothing, if nobody said that certificates are wanted and there is no authority.
fn client_certificates(config: &Config, has_authority: bool) -> anyhow::Result<ClientCerts> {
    let is_default = config.origin("tls-auth-clients").is_none_or(|origin| *origin == Origin::Default);
    match config.tls_auth_clients {
        TlsAuthClients::No => Ok(ClientCerts::Ignored),
        _ if !has_authority && is_default => Ok(ClientCerts::Ignored),
        _ if !has_authority => Err(anyhow!(
            "Either tls-ca-cert-file or tls-ca-cert-dir must be specified when tls-auth-clients is on!"
        )),
        TlsAuthClients::Optional => Ok(ClientCerts::Optional),
        TlsAuthClients::Yes => Ok(ClientCerts::Required),
    }
}

pub(crate) fn options(config: &Config) -> TlsOptions {
    let offers = |version: &str| {
        let mut named = config.tls_protocols.split(' ').filter(|name| !name.is_empty()).peekable();
        named.peek().is_none() || named.any(|name| name.eq_ignore_ascii_case(version))
    };
    TlsOptions {
        tls12: offers("TLSv1.2"),
        tls13: offers("TLSv1.3"),
        session_seconds: match config.tls_session_caching {
            true => u32::try_from(config.tls_session_cache_timeout_seconds).unwrap_or(u32::MAX),
            false => 0,
        },
        server_order: config.tls_prefer_server_ciphers,
    }
}

/// The name of the program and of its certificate.
pub(crate) fn program(profile: Profile) -> &'static str {
    match profile {
        Profile::Cache => "tandem-cache",
        Profile::Queue => "tandem-queue",
        Profile::Plain => "tandem",
    }
}
