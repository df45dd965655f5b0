//! What a configuration says about the control plane: metrics, health, certificates.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use config::{Config, TlsAuthClients, TlsMode};
use control::certs::Authority;
use control::secrets::Secret;
use control::tls::{ClientCerts, TlsFiles};
use control::{HttpSettings, Settings, TlsSettings};
use profiles::Profile;

/// The settings of the control plane.
///
/// # Errors
/// A metrics address that is none, or a token that cannot be read.
pub(crate) fn settings(profile: Profile, config: &Config, signals: bool) -> anyhow::Result<Settings> {
    let name = match profile {
        Profile::Cache => "tandem-cache",
        Profile::Queue => "tandem-queue",
        Profile::Plain => "tandem",
    };
    Ok(Settings {
        name: name.to_owned(),
        http: http(config)?,
        health_socket: (!config.health_socket.is_empty()).then(|| PathBuf::from(&config.health_socket)),
        tls: tls(profile, config, name),
        signals,
    })
}

fn http(config: &Config) -> anyhow::Result<Option<HttpSettings>> {
    if config.metrics_port == 0 {
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
    Ok(Some(HttpSettings { addresses, token, tls: config.metrics_tls }))
}

fn tls(profile: Profile, config: &Config, name: &str) -> Option<TlsSettings> {
    let clients = match config.tls_auth_clients {
        TlsAuthClients::No => ClientCerts::Ignored,
        TlsAuthClients::Optional => ClientCerts::Optional,
        TlsAuthClients::Yes => ClientCerts::Required,
    };
    if !config.tls_cert_file.is_empty() {
        let ca = &config.tls_ca_cert_file;
        return Some(TlsSettings::Files(TlsFiles {
            cert: (&config.tls_cert_file).into(),
            key: (&config.tls_key_file).into(),
            client_ca: (!ca.is_empty()).then(|| ca.into()),
            clients: if ca.is_empty() { ClientCerts::Ignored } else { clients },
        }));
    }
    // An authority of our own needs a place that outlives the process.
    let wanted = config.tls != TlsMode::Off || config.tls_port != 0 || config.metrics_tls;
    if profile == Profile::Plain || !wanted || config.dir.is_empty() {
        return None;
    }
    let directory = Path::new(&config.dir).join("tls");
    Some(TlsSettings::Own(Authority::new(&directory, name, &[]), ClientCerts::Ignored))
}
