//! `tandem import`: the command line of what `cli::import` does, and how that is told to people and to programs.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::anyhow;
use clap::Args;
use cli::{Import, Told};
use serde_json::{Value, json};

use crate::client;

/// Variables that hold the passwords, so that they are on no command line.
const FROM_PASSWORD: &str = "TANDEM_IMPORT_FROM_PASSWORD";
const INTO_PASSWORD: &str = "TANDEM_IMPORT_INTO_PASSWORD";

/// What stands below the options in the help.
const MORE_HELP: &str = "\
The running instance follows the old server, as by REPLICAOF; nothing of it need be stopped, and this program may end at any time and be
started again. Its data is given up when the copy is whole, and not before. With --cutover writes stand still at the old server (CLIENT PAUSE),
the instance is waited for, and then follows nobody: move the clients now. An old server that refuses to let its writes stand still,
or is a replica itself, whose master's go on, is not taken over from, unless --although-unpaused says that they do stand still or that what
is written meanwhile may be lost.

For the link masteruser, masterauth and tls-replication of the instance are set. The run that has set them puts them back at the cutover. A later
run does not know what they were: it leaves them and says so; set them then (CONFIG SET) if this instance is to follow another one.
A CONFIG REWRITE at the instance while it follows writes that down, so it follows again after a restart: do one after the cutover.

Passwords: --from-password-file or $TANDEM_IMPORT_FROM_PASSWORD for the old server, $TANDEM_IMPORT_INTO_PASSWORD for --into URL; those of --into
queue and cache are found on this machine. A user stands in the URI. With rediss:// the instance believes the authorities of its own
tls-ca-cert-file; --cacert is for this program, and --into-cacert for its connection to --into URL.

--by-keys copies by SCAN, DUMP and RESTORE where a service forbids replication: with times to live, and not as of one moment.

Exit codes: 0 done, 1 not done (standard error says why), 2 the options are wrong.

Examples:
  tandem import redis://old.example:6379 --into queue
  tandem import redis://old.example:6379 --into queue --cutover
  tandem import redis://old.example:6379 --into queue --dir /srv/app/tandem-data
  tandem import rediss://user@service.example:6380 --into queue --by-keys --state /var/tmp/import --from-password-file /run/secrets/old";

/// Options of `tandem import`.
#[derive(Debug, Args)]
#[command(after_help = MORE_HELP)]
pub(crate) struct Options {
    /// The server whose data it is: redis://[USER@]HOST[:PORT], rediss:// for TLS.
    #[arg(value_name = "URI")]
    from: String,
    /// Where it goes: this machine's queue or cache, or the URI of a running Tandem.
    #[arg(long, value_name = "queue|cache|URL")]
    into: String,
    /// The folder of the `tandem up` whose queue or cache that is, where it is neither systemd's nor below this folder.
    #[arg(long, value_name = "DIR")]
    dir: Option<String>,
    /// File that holds the password for the old server.
    #[arg(long, value_name = "FILE")]
    from_password_file: Option<PathBuf>,
    /// Authority of the old server's certificate, PEM.
    #[arg(long, value_name = "FILE")]
    cacert: Option<String>,
    /// Authority of the certificate of --into URL, PEM.
    #[arg(long, value_name = "FILE")]
    into_cacert: Option<String>,
    /// Have the instance take over as soon as everything is there.
    #[arg(long, conflicts_with = "by_keys")]
    cutover: bool,
    /// Take over although the old server does not let its writes stand still; what is written there meanwhile is lost.
    #[arg(long, requires = "cutover")]
    although_unpaused: bool,
    /// End as soon as everything is there; the instance goes on following.
    #[arg(long)]
    once: bool,
    /// What the instance holds already may be lost.
    #[arg(long)]
    replace: bool,
    /// Copy key by key, where a service forbids replication.
    #[arg(long)]
    by_keys: bool,
    /// Where a copy by keys notes how far it is, to go on there.
    #[arg(long, value_name = "FILE", requires = "by_keys")]
    state: Option<PathBuf>,
    /// Leave out keys that cannot be held.
    #[arg(long, requires = "by_keys")]
    skip_unsupported: bool,
    /// For how long writes stand still at the old server from the cutover on.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(2..=86_400))]
    pause: u64,
    /// How long it may take until there is a link between the two.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    patience: u64,
    /// Print JSON, an object a line.
    #[arg(long)]
    json: bool,
}

/// Does what `tandem import` is asked for.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let order = order(options)?;
    let mut lost = None;
    let told = client::with_surroundings(|surroundings| {
        cli::import(&order, surroundings, &mut |told| {
            // The import goes on when nobody reads any more.
            lost = lost.take().or(tell(&told, options.json).err());
        })
    });
    told.map_err(|why| anyhow!(why))?;
    Ok(ExitCode::SUCCESS)
}

fn order(options: &Options) -> anyhow::Result<Import> {
    let variable = |name| std::env::var_os(name).map(|text| text.into_encoded_bytes());
    let from_password = match &options.from_password_file {
        Some(path) => Some(control::secrets::read(path)?.secret.reveal().to_vec()),
        None => variable(FROM_PASSWORD),
    };
    Ok(Import {
        from: options.from.clone(),
        into: options.into.clone(),
        folder: options.dir.clone(),
        from_password,
        into_password: variable(INTO_PASSWORD),
        authority: options.cacert.clone(),
        into_authority: options.into_cacert.clone(),
        by_keys: options.by_keys,
        state: options.state.clone(),
        once: options.once,
        cutover: options.cutover,
        although_unpaused: options.although_unpaused,
        replace: options.replace,
        skip_unsupported: options.skip_unsupported,
        pause: Duration::from_secs(options.pause),
        patience: Duration::from_secs(options.patience),
    })
}

fn tell(told: &Told, is_json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if is_json { writeln!(out, "{}", as_json(told)) } else { writeln!(out, "{}", as_text(told)) }
}

fn as_json(told: &Told) -> Value {
    match told {
        Told::Unsupported { database, key, kind } => {
            json!({"event": "unsupported", "database": database, "key": String::from_utf8_lossy(key), "type": kind})
        }
        Told::Copying(bytes, total) => json!({"event": "copying", "bytes": bytes, "bytes_total": total}),
        Told::Keys(copied, total) => json!({"event": "keys", "copied": copied, "total": total}),
        Told::Lag(bytes) => json!({"event": "lag", "bytes": bytes}),
        Told::Paused(seconds) => json!({"event": "paused", "seconds": seconds}),
        Told::TakenOver => json!({"event": "taken-over"}),
        Told::Note(text) => json!({"event": "note", "text": text}),
    }
}

fn as_text(told: &Told) -> String {
    match told {
        Told::Unsupported { database, key, kind } => {
            format!("cannot be held here: {} (database {database}): {kind}", key.escape_ascii())
        }
        Told::Copying(bytes, Some(total)) => format!("copy: {} of {} MiB", bytes >> 20, total >> 20),
        Told::Copying(bytes, None) => format!("copy: {} MiB", bytes >> 20),
        Told::Keys(copied, total) => format!("copied {copied} keys of about {total}"),
        Told::Lag(bytes) => format!("behind by {bytes} bytes"),
        Told::Paused(seconds) => format!("writes stand still at the old server, for {seconds} s"),
        Told::TakenOver => "taken over: move the clients now".to_owned(),
        Told::Note(text) => text.clone(),
    }
}
