//! Which sockets a configuration asks for.

use anyhow::Context;
use config::Settings;
use net::{ListenOptions, Listeners, UnixOptions};

/// Opens them: the ordinary set, and the one that speaks only TLS.
///
/// # Errors
/// The first that cannot be opened, in Redis' words.
pub(crate) fn bind(settings: &Settings) -> anyhow::Result<Vec<(Listeners, bool)>> {
    let mut sets = Vec::new();
    let unix = (!settings.unixsocket.is_empty()).then(|| UnixOptions {
        path: (&settings.unixsocket).into(),
        mode: (settings.unixsocketperm != 0).then_some(settings.unixsocketperm),
    });
    if settings.port != 0 || unix.is_some() {
        let options = options(settings, (settings.port != 0).then_some(settings.port), unix);
        sets.push((Listeners::bind(&options)?, false));
    }
    if settings.tls_port != 0 {
        sets.push((Listeners::bind(&options(settings, Some(settings.tls_port), None))?, true));
    }
    if sets.is_empty() {
        return Err(anyhow::anyhow!("Configured to not listen anywhere, exiting."));
    }
    Ok(sets)
}

fn options(settings: &Settings, port: Option<u16>, unix: Option<UnixOptions>) -> ListenOptions {
    // Redis' own default means all addresses.
    let bind = match settings.bind.is_empty() {
        true => vec!["*".to_owned(), "-::*".to_owned()],
        false => settings.bind.clone(),
    };
    ListenOptions {
        bind,
        port,
        backlog: settings.tcp_backlog as u32,
        keepalive_s: settings.tcp_keepalive_seconds as u32,
        reuse_port: false,
        unix,
    }
}

/// Writes the process number into a file.
pub(crate) fn write_pidfile(path: &str) -> anyhow::Result<()> {
    std::fs::write(path, format!("{}\n", std::process::id())).with_context(|| format!("pidfile {path}"))
}
