//! `tandem up`: both instances on this machine, with nothing prepared.
//!
//! It lays out one directory, makes passwords, an authority and certificates at first start, runs the two
//! instances as children and forwards what they log. An instance that ends by itself takes the other
//! with it: half a pair that looks like a whole one would be found out much later.
//!
//! ```text
//! tandem-data/             0700
//!   secrets/NAME-password  0600, made once
//!   secrets/metrics-token  0600, made once if the metrics can be reached from other machines
//!   tls/                   the authority and both certificates
//!   tls-names              what `--tls-name` said last, for the starts that do not say it
//!   NAME/                  the instance's data and its health socket
//!   NAME/users.acl         0600, made once, empty: ACL SAVE writes it
//!   NAME.conf              0600, made once: directives of yours; CONFIG REWRITE writes it
//! ```

use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::io::{self, BufRead, BufReader, ErrorKind, IsTerminal, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, bail};
use clap::Args;
use control::addresses::listened_on;
use control::certs::{Authority, is_name};
use control::health::{Answer, ask};
use control::probe::logs_in;
use control::{Wish, secrets};
use rustix::process::{Pid, Signal, getppid, kill_process, set_parent_process_death_signal};

use crate::health::Name;
use crate::say;

/// Where everything is kept unless `--dir` says otherwise.
pub(crate) const DIRECTORY: &str = "tandem-data";

/// Most lines of an instance's log that are shown again when it ends early: those that tell why.
const REASON_LINES_MAX: usize = 8;

/// What stands in a line of the log before a warning, by `log-format`.
const WARNING_MARKS: [&str; 3] = [" # ", "level=warning", "\"level\":\"warning\""];

/// How often one who waits is told what for.
const TELL_PERIOD: Duration = Duration::from_secs(3);

/// Longest log line that is forwarded whole, in bytes; longer ones are split.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// How often the children and the clock are looked at.
const ROUND: Duration = Duration::from_millis(100);

/// How long a child may take to stop before it is killed; a last save of a small machine fits.
const STOP_PATIENCE: Duration = Duration::from_secs(120);

/// How often certificates are checked for renewal.
const RENEWAL_PERIOD: Duration = Duration::from_secs(3600);

/// How long each step of trying a password may take: a hash, and a busy machine.
const LOGIN_PATIENCE: Duration = Duration::from_secs(10);

/// What a new file of directives says.
const SETTINGS_HEAD: &str = "\
# Directives of this instance, in the language of redis.conf. CONFIG REWRITE writes them here.
# Variables (TANDEM_…) win over this file, and so does what `tandem up` says on the command line:
# addresses, ports, folders, certificates.
";

/// How long a health question may take.
const ASK_PATIENCE: Duration = Duration::from_secs(1);

/// What stands below the options in the help.
const MORE_HELP: &str = "\
Ctrl-C and SIGTERM stop both in order, a second Ctrl-C kills; SIGHUP has passwords and certificates read again. Directives for
both come from the environment (TANDEM_MAXMEMORY=500mb), for one of them from DIR/cache.conf and DIR/queue.conf.

Exit codes:
  0  both were stopped as asked
  1  one of them did not start, ended by itself or did not stop in time; standard error tells which, and why
  2  the options are wrong

Examples:
  tandem up
  tandem up --dir /srv/tandem --bind 10.0.0.5 --tls-name redis.example.com
  TANDEM_MAXMEMORY=500mb tandem up --cache-port 7000 --cache-metrics-port 0";

/// Options of `tandem up`.
#[derive(Debug, Args)]
#[command(after_help = MORE_HELP)]
pub(crate) struct Options {
    /// Where passwords, certificates and data are kept.
    #[arg(long, default_value = DIRECTORY)]
    dir: PathBuf,
    /// The address to listen on.
    #[arg(long, default_value = "127.0.0.1")]
    bind: IpAddr,
    /// Port of the cache.
    #[arg(long, default_value_t = 6379, value_parser = clap::value_parser!(u16).range(1..))]
    cache_port: u16,
    /// Port of the queue.
    #[arg(long, default_value_t = 6380, value_parser = clap::value_parser!(u16).range(1..))]
    queue_port: u16,
    /// A further name or address that the certificates are for; may be given several times. Kept for further starts, until
    /// others are given.
    #[arg(long = "tls-name", value_name = "NAME", value_parser = certificate_name)]
    tls_names: Vec<String>,
    /// Port of the cache's metrics; 0 for none.
    #[arg(long, default_value_t = 9121)]
    cache_metrics_port: u16,
    /// Port of the queue's metrics; 0 for none.
    #[arg(long, default_value_t = 9122)]
    queue_metrics_port: u16,
}

impl Options {
    fn port(&self, name: Name) -> u16 {
        match name {
            Name::Cache => self.cache_port,
            Name::Queue => self.queue_port,
        }
    }

    fn metrics_port(&self, name: Name) -> u16 {
        match name {
            Name::Cache => self.cache_metrics_port,
            Name::Queue => self.queue_metrics_port,
        }
    }
}

/// The address that other machines would use for a bound one: itself, or, when all are bound, that of the
/// default route. Asking for the route sends nothing.
fn outer_address(bind: IpAddr) -> Option<IpAddr> {
    if !bind.is_unspecified() {
        return Some(bind);
    }
    let (own, elsewhere) = match bind {
        IpAddr::V4(_) => ("0.0.0.0:0", "192.0.2.1:9"),
        IpAddr::V6(_) => ("[::]:0", "[2001:db8::1]:9"),
    };
    let socket = UdpSocket::bind(own).ok()?;
    socket.connect(elsewhere).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// Has this instance end in order when the `up` that started it ends in whatever way, also by `kill -9`.
///
/// # Errors
/// When it has ended already.
pub(crate) fn end_with(parent: Option<i32>) -> anyhow::Result<()> {
    let Some(parent) = parent else { return Ok(()) };
    set_parent_process_death_signal(Some(Signal::TERM)).context("asking to be told of the parent's end")?;
    // It may have ended before the kernel was asked.
    if getppid() != Pid::from_raw(parent) {
        bail!("the process that started this one has ended");
    }
    Ok(())
}

/// Where an instance under `root` has its health socket.
pub(crate) fn health_socket(root: &Path, name: Name) -> PathBuf {
    root.join(name.as_str()).join("health.sock")
}

/// Prepares, starts, watches and stops the pair.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let wishes = control::wishes().context("taking over the signals")?;
    check_folder(&options.dir)?;
    check_ports(options)?;
    let house = House::prepare(options)?;
    let mut pair = Vec::new();
    for name in Name::BOTH {
        match Instance::start(&house, options, name) {
            Ok(instance) => pair.push(instance),
            Err(error) => {
                stop(&mut pair, &wishes);
                return Err(error);
            }
        }
    }
    watch(&house, options, pair, &wishes)
}

/// A folder that a running pair uses is told before anything is started: its servers would answer for ours.
fn check_folder(root: &Path) -> anyhow::Result<()> {
    for name in Name::BOTH {
        if ask(&health_socket(root, name), ASK_PATIENCE).is_ok() {
            bail!(
                "a {} is running from {} already; stop it, or choose another folder with --dir",
                name.as_str(),
                root.display()
            );
        }
    }
    Ok(())
}

/// A port that is named twice or taken is told before anything is started, with what to do about it.
fn check_ports(options: &Options) -> anyhow::Result<()> {
    let mut named: Vec<(String, u16)> = Vec::new();
    for name in Name::BOTH {
        let ports = [("port", options.port(name)), ("metrics-port", options.metrics_port(name))];
        for (what, port) in ports.into_iter().filter(|(_, port)| *port != 0) {
            let option = format!("--{}-{what}", name.as_str());
            if let Some((other, _)) = named.iter().find(|(_, taken)| *taken == port) {
                bail!("{other} and {option} are both {port}; choose another port for one of them");
            }
            named.push((option, port));
        }
    }
    for (option, port) in named {
        let address = SocketAddr::new(options.bind, port);
        match TcpListener::bind(address) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                bail!("{address} is in use by another program; stop it, or choose another port with {option}")
            }
            Err(error) => return Err(error).with_context(|| format!("cannot listen on {address}")),
        }
    }
    Ok(())
}

/// The directory with all that must be there before a start.
struct House {
    root: PathBuf,
    /// The address that clients connect to.
    outer: IpAddr,
    /// What the certificates are for beyond the names of every machine.
    names: Vec<String>,
}

/// What the environment says of `tls` to both instances.
fn tls_variable() -> String {
    std::env::var("TANDEM_TLS").unwrap_or_default()
}

/// What clients may speak where the variable of `tls` says `tls`; without it the profile's `auto` decides.
fn schemes(tls: &str, is_public: bool) -> &'static [&'static str] {
    match (tls, is_public) {
        ("off", _) => &["redis"],
        ("required", _) => &["rediss"],
        ("optional", _) | (_, false) => &["redis", "rediss"],
        (_, true) => &["rediss"],
    }
}

/// A word of the command line that a certificate can name.
fn certificate_name(word: &str) -> Result<String, String> {
    match is_name(word) {
        true => Ok(word.to_owned()),
        false => Err("neither a host name nor an address".to_owned()),
    }
}

impl House {
    fn prepare(options: &Options) -> anyhow::Result<House> {
        let (directory, bind) = (&options.dir, options.bind);
        make_private(directory)?;
        let root = directory.canonicalize().with_context(|| directory.display().to_string())?;
        make_private(&root.join("secrets"))?;
        let outer = outer_address(bind).unwrap_or(bind);
        let named = kept_names(&root.join("tls-names"), &options.tls_names)?
            .into_iter()
            .chain(names_from_variable()?);
        let addresses = std::iter::once(outer).chain(listened_on(&[bind.to_string()]));
        let mut names: Vec<String> = named.chain(addresses.map(|address| address.to_string())).collect();
        names.dedup();
        let house = House { root, outer, names };
        for name in Name::BOTH {
            make_private(&house.root.join(name.as_str()))?;
            make_kept(&house.users(name), "")?;
            make_kept(&house.settings(name), SETTINGS_HEAD)?;
            let found = secrets::read_or_create(&house.password_file(name))?;
            if let Some(warning) = found.warning {
                say(&format!("warning: {warning}"));
            }
        }
        if house.is_public() {
            secrets::read_or_create(&house.metrics_token())?;
        }
        house.renew_certificates()?;
        Ok(house)
    }

    fn password_file(&self, name: Name) -> PathBuf {
        self.root.join("secrets").join(format!("{}-password", name.as_str()))
    }

    /// The ACL file: users made with ACL SETUSER stay when ACL SAVE has been said.
    fn users(&self, name: Name) -> PathBuf {
        self.root.join(name.as_str()).join("users.acl")
    }

    /// The file of an instance's directives: it is read at each start, and CONFIG REWRITE writes it.
    fn settings(&self, name: Name) -> PathBuf {
        self.root.join(format!("{}.conf", name.as_str()))
    }

    /// Whether the password in the instance's file lets the default user in, asked of the running instance as a client would.
    fn password_fits(&self, options: &Options, name: Name) -> anyhow::Result<bool> {
        if tls_variable() == "off" {
            // It is tried over TLS only, so that it never leaves this process in the clear.
            return Ok(true);
        }
        let password = secrets::read(&self.password_file(name))?.secret;
        let ip = match options.bind {
            all if all.is_unspecified() && all.is_ipv4() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            all if all.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            bound => bound,
        };
        let address = SocketAddr::new(ip, options.port(name));
        let authority = self.tls().join("ca.crt");
        logs_in(address, &authority, "default", password.reveal(), LOGIN_PATIENCE)
            .with_context(|| format!("trying the password of the {} at {address}", name.as_str()))
    }

    /// Other machines can reach the pair: then metrics ask for a token and are encrypted for its sake, and
    /// only TLS is offered (`tls auto`).
    fn is_public(&self) -> bool {
        !self.outer.is_loopback()
    }

    fn metrics_token(&self) -> PathBuf {
        self.root.join("secrets").join("metrics-token")
    }

    fn tls(&self) -> PathBuf {
        self.root.join("tls")
    }

    /// Makes what is missing or due; the instances watch the files and take new ones up.
    fn renew_certificates(&self) -> anyhow::Result<()> {
        for name in Name::BOTH {
            let issued = Authority::new(&self.tls(), name.program(), &self.names).ensure(SystemTime::now())?;
            for made in issued.made {
                say(&format!("made {made}"));
            }
        }
        Ok(())
    }

    /// What a user pastes into an application. The instances in `foreign` have another password than the one in their file, so
    /// it is not shown. Nor is any where nobody watches: it would stay in a log.
    fn connection_strings(
        &self,
        options: &Options,
        foreign: &[Name],
        is_watched: bool,
    ) -> anyhow::Result<String> {
        let mut text = String::from("tandem is up\n");
        for name in Name::BOTH {
            let found = secrets::read(&self.password_file(name))?;
            let password = match foreign.contains(&name) || !is_watched {
                true => "<password>".to_owned(),
                false => url_encoded(found.secret.reveal()),
            };
            let address = SocketAddr::new(self.outer, options.port(name));
            for (at, scheme) in schemes(&tls_variable(), self.is_public()).iter().enumerate() {
                let label = if at == 0 { name.as_str() } else { "" };
                text += &format!("  {label:<8} {scheme}://default:{password}@{address}\n");
            }
            if options.metrics_port(name) != 0 {
                let metrics = SocketAddr::new(self.outer, options.metrics_port(name));
                let scheme = if self.is_public() { "https" } else { "http" };
                text += &format!("           {scheme}://{metrics}/metrics\n");
            }
        }
        if !is_watched {
            let place = self.root.join("secrets").display().to_string();
            text += &format!("  passwords, which are shown on terminals only: {place}/*-password\n");
        }
        if self.is_public() {
            text += &format!("  bearer token of the metrics: {}\n", self.metrics_token().display());
        }
        text += &format!("  authority of the certificates: {}\n", self.tls().join("ca.crt").display());
        let folder = match options.dir == Path::new(DIRECTORY) {
            true => String::new(),
            false => format!(" --dir {}", self.root.display()),
        };
        Ok(text + &format!("  to ask them: tandem cli --cache{folder}, tandem cli --queue{folder}"))
    }
}

fn make_private(directory: &Path) -> anyhow::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .with_context(|| format!("making {}", directory.display()))
}

/// Bytes as they may stand in the user part of a URL (RFC 3986): all but the unreserved ones by their numbers.
fn url_encoded(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(char::from(*byte))
            }
            _ => text += &format!("%{byte:02X}"),
        }
    }
    text
}

/// A file with this text if there is none. An ACL file without users leaves the default user the instance's password.
fn make_kept(file: &Path, text: &str) -> anyhow::Result<()> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    let outcome = match made {
        Ok(mut made) => made.write_all(text.as_bytes()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    };
    outcome.with_context(|| format!("making {}", file.display()))
}

/// The names that were given, which are kept in `file`; where none are given, those that were kept. A certificate that lost a name
/// with a start would lock out whoever uses it.
fn kept_names(file: &Path, given: &[String]) -> anyhow::Result<Vec<String>> {
    if !given.is_empty() {
        let new = file.with_extension("new");
        std::fs::write(&new, given.join("\n") + "\n")
            .and_then(|()| std::fs::rename(&new, file))
            // What is left then is told by its name.
            .inspect_err(|_| std::fs::remove_file(&new).unwrap_or_default())
            .with_context(|| format!("writing {}", file.display()))?;
        return Ok(given.to_vec());
    }
    let text = match std::fs::read_to_string(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        text => text.with_context(|| format!("reading {}", file.display()))?,
    };
    let names: Vec<String> = text.split_ascii_whitespace().map(str::to_owned).collect();
    match names.iter().find(|name| !is_name(name)) {
        Some(name) => bail!("{}: '{name}' is neither a host name nor an address", file.display()),
        None => Ok(names),
    }
}

/// The names in `$TANDEM_TLS_NAMES`, which the servers would take for themselves if they made their certificates.
fn names_from_variable() -> anyhow::Result<Vec<String>> {
    let names: Vec<String> = std::env::var("TANDEM_TLS_NAMES")
        .map_or(Vec::new(), |names| names.split_ascii_whitespace().map(str::to_owned).collect());
    match names.iter().find(|name| !is_name(name)) {
        Some(name) => bail!("TANDEM_TLS_NAMES: '{name}' is neither a host name nor an address"),
        None => Ok(names),
    }
}

/// One running child.
struct Instance {
    name: Name,
    child: Child,
    log: Arc<Mutex<VecDeque<String>>>,
    forwarders: Vec<JoinHandle<()>>,
    socket: PathBuf,
    ended: Option<ExitStatus>,
}

impl Instance {
    fn start(house: &House, options: &Options, name: Name) -> anyhow::Result<Instance> {
        let mut command = program(name)?;
        command
            .args(arguments(house, options, name))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A group of its own: Ctrl-C reaches this process only, which then stops both in order.
            .process_group(0);
        let mut child = command.spawn().with_context(|| format!("starting {}", name.program()))?;
        let log = Arc::new(Mutex::new(VecDeque::new()));
        let mut forwarders = Vec::new();
        if let Some(stream) = child.stdout.take() {
            forwarders.push(forward(name, stream, Arc::clone(&log)));
        }
        if let Some(stream) = child.stderr.take() {
            forwarders.push(forward(name, stream, Arc::clone(&log)));
        }
        let socket = health_socket(&house.root, name);
        Ok(Instance { name, child, log, forwarders, socket, ended: None })
    }

    fn has_ended(&mut self) -> bool {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
        }
        self.ended.is_some()
    }

    /// Whether it serves; if not, what it says of that, unless nobody answers yet.
    fn readiness(&self) -> Result<(), Option<String>> {
        match ask(&self.socket, ASK_PATIENCE) {
            Ok(Answer::Ready(_)) => Ok(()),
            Ok(Answer::NotReady(why) | Answer::NotAlive(why)) => Err(Some(why)),
            Err(_) => Err(None),
        }
    }

    fn signal(&self, signal: Signal) {
        // A child that has just ended needs no signal; it has not been waited for, so its number is its own.
        if self.ended.is_none()
            && let Some(pid) = Pid::from_raw(self.child.id().cast_signed())
        {
            let _ = kill_process(pid, signal);
        }
    }

    /// Has all be forwarded that it logged before it ended.
    fn drain(&mut self) {
        for forwarder in self.forwarders.drain(..) {
            // A forwarder only reads and prints; were it to panic, its lines are missing and no more.
            let _ = forwarder.join();
        }
    }

    /// Why it has ended, as its log has it: the last warning and what stands below it. All of the log was shown as it came.
    fn reason(&mut self) -> String {
        self.drain();
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let is_warning = |line: &String| WARNING_MARKS.iter().any(|mark| line.contains(mark));
        let begin = log.iter().rposition(is_warning).unwrap_or(0);
        log.iter().skip(begin).map(|line| format!("  {line}\n")).collect()
    }
}

/// This very program in the instance's role: what is started is never older than who starts it.
fn program(name: Name) -> anyhow::Result<Command> {
    let own = std::env::current_exe().context("finding this program's own file")?;
    let mut command = Command::new(own);
    command.args(["instance", "--parent", &std::process::id().to_string(), name.as_str()]);
    Ok(command)
}

/// Directives for one instance. The password goes by file, never by value. What the profile says anyway is not said: it could
/// not be changed by variables or the settings' file then.
fn arguments(house: &House, options: &Options, name: Name) -> Vec<String> {
    let path = |path: PathBuf| path.to_string_lossy().into_owned();
    let certificate = |extension: &str| path(house.tls().join(format!("{}.{extension}", name.program())));
    let bind = options.bind.to_string();
    let (token, tls) = match house.is_public() {
        true => (path(house.metrics_token()), "yes"),
        false => (String::new(), "no"),
    };
    let directives = [
        ("bind", bind.clone()),
        ("port", options.port(name).to_string()),
        ("dir", path(house.root.join(name.as_str()))),
        ("requirepass-file", path(house.password_file(name))),
        ("aclfile", path(house.users(name))),
        ("tls-cert-file", certificate("crt")),
        ("tls-key-file", certificate("key")),
        ("metrics-bind", bind),
        ("metrics-port", options.metrics_port(name).to_string()),
        ("health-socket", path(health_socket(&house.root, name))),
        // Said in both cases: CONFIG REWRITE may have kept what was so at another start.
        ("metrics-token-file", token),
        ("metrics-tls", tls.to_owned()),
    ];
    let options = directives.into_iter().flat_map(|(name, value)| [format!("--{name}"), value]);
    std::iter::once(path(house.settings(name))).chain(options).collect()
}

/// Copies a child's lines to our output under its name, and keeps the last ones.
fn forward(
    name: Name,
    stream: impl Read + Send + 'static,
    log: Arc<Mutex<VecDeque<String>>>,
) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        loop {
            line.clear();
            match stream.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            say(&format!("{} | {text}", name.as_str()));
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            if log.len() == REASON_LINES_MAX {
                log.pop_front();
            }
            log.push_back(text);
        }
    })
}

/// Until somebody asks for the end or an instance ends by itself.
fn watch(
    house: &House,
    options: &Options,
    mut pair: Vec<Instance>,
    wishes: &Receiver<Wish>,
) -> anyhow::Result<ExitCode> {
    let had_terminal = io::stdout().is_terminal();
    let (mut announced, mut rereads) = (false, false);
    let (mut renewed, mut told) = (Instant::now(), Instant::now());
    loop {
        match wishes.recv_timeout(ROUND) {
            Err(RecvTimeoutError::Timeout) => {}
            // A terminal that has gone is none any more.
            Ok(Wish::HangUp) if !had_terminal || io::stdout().is_terminal() => rereads = true,
            Ok(_) | Err(RecvTimeoutError::Disconnected) => {
                say("stopping both instances");
                return Ok(if stop(&mut pair, wishes) { ExitCode::SUCCESS } else { ExitCode::FAILURE });
            }
        }
        if let Some(index) = pair.iter_mut().position(Instance::has_ended) {
            let mut early = pair.remove(index);
            stop(&mut pair, wishes);
            bail!("{}", last_words(&mut early));
        }
        if !announced {
            let waits = unready(&pair);
            if waits.is_empty() {
                announced = true;
                announce(house, options)?;
            } else {
                tell_each_period(&mut told, || waits.join("; "));
            }
        }
        // One that has not started up yet would be ended by the signal.
        if rereads && announced {
            rereads = false;
            reread(house, &pair);
        }
        if renewed.elapsed() > RENEWAL_PERIOD {
            renewed = Instant::now();
            renew(house);
        }
    }
}

/// SIGHUP: what is read again goes for both.
fn reread(house: &House, pair: &[Instance]) {
    say("reading passwords and certificates again");
    renew(house);
    pair.iter().for_each(|instance| instance.signal(Signal::HUP));
}

fn renew(house: &House) {
    if let Err(error) = house.renew_certificates() {
        say(&format!("warning: {error:#}"));
    }
}

/// Who does not serve yet, in words.
fn unready(pair: &[Instance]) -> Vec<String> {
    let words = |instance: &Instance| {
        let why = instance.readiness().err()?.unwrap_or_else(|| "starting".to_owned());
        Some(format!("waiting for the {}: {why}", instance.name.as_str()))
    };
    pair.iter().filter_map(words).collect()
}

/// Says what is waited for, when nothing was said of it for a while.
fn tell_each_period(told: &mut Instant, text: impl FnOnce() -> String) {
    if told.elapsed() >= TELL_PERIOD {
        *told = Instant::now();
        say(&text());
    }
}

/// Tells how applications connect, once it is known that they can.
fn announce(house: &House, options: &Options) -> anyhow::Result<()> {
    let mut foreign = Vec::new();
    for name in Name::BOTH {
        match house.password_fits(options, name) {
            Ok(true) => {}
            Ok(false) => foreign.push(name),
            Err(error) => say(&format!("warning: {error:#}")),
        }
    }
    say(&house.connection_strings(options, &foreign, std::io::stdout().is_terminal())?);
    for name in foreign {
        say(&format!(
            "warning: the password in {} does not log in to the {}: another one was kept by ACL SAVE in {} or by CONFIG REWRITE \
             in {}. To go back to it, take the line of the default user, or requirepass, out of them",
            house.password_file(name).display(),
            name.as_str(),
            house.users(name).display(),
            house.settings(name).display()
        ));
    }
    Ok(())
}

fn last_words(instance: &mut Instance) -> String {
    let how = instance.ended.map_or("without a status".to_owned(), |status| status.to_string());
    let reason = instance.reason();
    format!(
        "the {} ended by itself ({how}), so both have stopped. The end of its log:\n{reason}",
        instance.name.as_str()
    )
}

/// Asks all to stop and waits; a second signal, or too long a wait, kills. True when all ended well.
fn stop(pair: &mut [Instance], wishes: &Receiver<Wish>) -> bool {
    pair.iter().for_each(|instance| instance.signal(Signal::TERM));
    let begin = Instant::now();
    let (mut killed, mut told) = (false, begin);
    while pair.iter_mut().any(|instance| !instance.has_ended()) {
        let again = match wishes.recv_timeout(ROUND) {
            Ok(Wish::End(_)) => true,
            Ok(Wish::HangUp) | Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => {
                thread::sleep(ROUND);
                false
            }
        };
        if !killed && (again || begin.elapsed() > STOP_PATIENCE) {
            killed = true;
            say("killing what has not stopped");
            pair.iter().for_each(|instance| instance.signal(Signal::KILL));
        }
        tell_each_period(&mut told, || {
            let left: Vec<&str> =
                pair.iter().filter(|i| i.ended.is_none()).map(|i| i.name.as_str()).collect();
            format!("waiting for the {} to stop; Ctrl-C again kills", left.join(" and the "))
        });
    }
    pair.iter_mut().for_each(Instance::drain);
    pair.iter().all(|instance| instance.ended.is_some_and(|status| status.success()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use std::os::unix::fs::PermissionsExt;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn options(words: &[&str]) -> Options {
        Line::try_parse_from([&["up"], words].concat()).unwrap().options
    }

    #[test]
    fn the_house_is_private_and_stays_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("data");
        let root_text = root.to_str().unwrap();
        let options = options(&["--dir", root_text, "--tls-name", "redis.example.com"]);
        let house = House::prepare(&options).unwrap();
        let names = std::fs::read_to_string(house.tls().join("tandem-queue.names")).unwrap();
        assert!(names.lines().any(|name| name == "redis.example.com"), "{names}");
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&root), 0o700);
        assert_eq!(mode(&house.password_file(Name::Cache)), 0o600);
        assert_eq!(mode(&house.tls().join("ca.key")), 0o600);
        assert_eq!(mode(&house.users(Name::Queue)), 0o600);
        assert_eq!(mode(&house.settings(Name::Cache)), 0o600);
        std::fs::write(house.users(Name::Queue), "user worker on").unwrap();
        std::fs::write(house.settings(Name::Queue), "hz 20\n").unwrap();
        let first = house.connection_strings(&options, &[], true).unwrap();
        let again = House::prepare(&options).unwrap().connection_strings(&options, &[], true).unwrap();
        assert_eq!(std::fs::read_to_string(house.settings(Name::Queue)).unwrap(), "hz 20\n");
        assert_eq!(first, again);
        assert_eq!(std::fs::read_to_string(house.users(Name::Queue)).unwrap(), "user worker on");
        assert!(first.contains("@127.0.0.1:6380\n") && first.contains("http://127.0.0.1:9121/metrics"));
    }

    #[test]
    fn strings_are_of_what_is_spoken() {
        assert_eq!(schemes("", false), ["redis", "rediss"]);
        assert_eq!(schemes("", true), ["rediss"]);
        assert_eq!(schemes("auto", true), ["rediss"]);
        assert_eq!(schemes("required", false), ["rediss"]);
        assert_eq!(schemes("optional", true), ["redis", "rediss"]);
        assert_eq!(schemes("off", false), ["redis"]);
    }

    #[test]
    fn a_password_of_any_bytes_stands_in_a_url() {
        assert_eq!(url_encoded("p@ss/w:rd#1% -._~é".as_bytes()), "p%40ss%2Fw%3Ard%231%25%20-._~%C3%A9");
    }

    #[test]
    fn no_password_is_on_a_childs_command_line() {
        let directory = tempfile::tempdir().unwrap();
        let options = options(&["--dir", directory.path().to_str().unwrap(), "--queue-port", "7000"]);
        let house = House::prepare(&options).unwrap();
        let words = arguments(&house, &options, Name::Queue).join(" ");
        assert!(words.starts_with(house.settings(Name::Queue).to_str().unwrap()), "{words}");
        let secret = secrets::read(&house.password_file(Name::Queue)).unwrap().secret;
        assert!(!words.contains(std::str::from_utf8(secret.reveal()).unwrap()));
        for free in ["--tls ", "--tls-auth-clients ", "--maxmemory ", "--appendfsync "] {
            assert!(!words.contains(free), "{free} is the operator's");
        }
        assert!(words.contains("--port 7000 ") && words.contains("--requirepass-file /"));
    }

    #[test]
    fn a_public_pair_offers_only_tls_for_its_address_and_guards_its_metrics() {
        let directory = tempfile::tempdir().unwrap();
        let options = options(&["--dir", directory.path().to_str().unwrap(), "--bind", "192.0.2.7"]);
        let house = House::prepare(&options).unwrap();
        let names = std::fs::read_to_string(house.tls().join("tandem-cache.names")).unwrap();
        assert!(names.lines().any(|name| name == "192.0.2.7"));
        let words = arguments(&house, &options, Name::Cache).join(" ");
        assert!(words.contains("--metrics-tls yes") && words.contains("secrets/metrics-token"), "{words}");
        let text = house.connection_strings(&options, &[], true).unwrap();
        assert!(text.contains("@192.0.2.7:6379\n") && text.contains("https://192.0.2.7:9121/metrics"));
        assert!(!text.contains("redis://") && !text.contains("http://"), "{text}");
        let secret = secrets::read(&house.password_file(Name::Queue)).unwrap().secret;
        let secret = std::str::from_utf8(secret.reveal()).unwrap();
        assert!(
            text.contains(secret)
                && !house.connection_strings(&options, &[Name::Queue], true).unwrap().contains(secret)
                && !house.connection_strings(&options, &[], false).unwrap().contains(secret)
        );
    }

    #[test]
    fn an_instance_whose_parent_has_gone_does_not_start() {
        assert!(end_with(Some(i32::MAX)).is_err() && end_with(None).is_ok());
        set_parent_process_death_signal(None).unwrap();
    }

    #[test]
    fn a_taken_port_is_told_with_the_option_that_helps() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port().to_string();
        let none = ["--cache-metrics-port", "0", "--queue-metrics-port", "0"];
        let words = [&none[..], &["--queue-port", &port]].concat();
        // Whoever has the usual port of a cache is of no interest.
        let asked = Options { cache_port: 0, ..options(&words) };
        let error = check_ports(&asked).unwrap_err().to_string();
        assert!(error.contains(&format!("127.0.0.1:{port}")) && error.contains("--queue-port"), "{error}");
        drop(taken);
    }

    #[test]
    fn a_pair_without_a_port_is_refused_before_anything_is_made() {
        for option in ["--cache-port", "--queue-port"] {
            assert!(Line::try_parse_from(["up", option, "0"]).is_err(), "{option}");
        }
        assert_eq!(options(&["--cache-metrics-port", "0"]).cache_metrics_port, 0);
    }

    #[test]
    fn one_port_for_two_is_told_with_both_options() {
        let words = ["--cache-port", "7000", "--queue-metrics-port", "7000"];
        let error = check_ports(&options(&words)).unwrap_err().to_string();
        assert!(error.contains("--cache-port and --queue-metrics-port are both 7000"), "{error}");
    }

    #[test]
    fn names_of_certificates_are_kept_until_others_are_given() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().to_str().unwrap();
        let names = |words: &[&str]| {
            let house = House::prepare(&options(&[&["--dir", root], words].concat())).unwrap();
            let text = std::fs::read_to_string(house.tls().join("tandem-queue.names")).unwrap();
            text.lines().filter(|name| name.ends_with(".example.com")).map(str::to_owned).collect::<Vec<_>>()
        };
        let both = ["a.example.com", "b.example.com"];
        assert_eq!(names(&["--tls-name", both[0], "--tls-name", both[1]]), both);
        assert_eq!(names(&[]), both);
        assert_eq!(names(&["--tls-name", "c.example.com"]), ["c.example.com"]);
        assert_eq!(names(&[]), ["c.example.com"]);
        std::fs::write(directory.path().join("tls-names"), "not/a/name\n").unwrap();
        let error = House::prepare(&options(&["--dir", root])).map(drop).unwrap_err().to_string();
        assert!(error.contains("tls-names") && error.contains("not/a/name"), "{error}");
    }

    #[test]
    fn an_instance_that_ends_early_is_told_with_the_reason_alone() {
        let lines: String = (0..30)
            .map(|line| match line {
                20 => "1:M 30 Nov # an older warning\n".to_owned(),
                27 => "1:M 30 Nov # Could not listen\n".to_owned(),
                line => format!("line {line}\n"),
            })
            .collect();
        let mut child = Command::new("true").spawn().unwrap();
        let status = child.wait().unwrap();
        let log = Arc::new(Mutex::new(VecDeque::new()));
        let forwarders = vec![forward(Name::Cache, std::io::Cursor::new(lines), Arc::clone(&log))];
        let socket = PathBuf::new();
        let mut instance =
            Instance { name: Name::Cache, child, log, forwarders, socket, ended: Some(status) };
        let words = last_words(&mut instance);
        assert!(words.ends_with(":\n  1:M 30 Nov # Could not listen\n  line 28\n  line 29\n"), "{words}");
    }
}
