//! A command line as what it asks for: recorded here, done elsewhere. No I/O.
//!
//! The options are `redis-cli`'s. Their numbers are read as C's `atoi` does, because scripts rely on a word that is no number
//! being none. What only `redis-cli` could do, or what a cluster would be needed for, is refused with a sentence and never
//! silently left out.

use std::fmt;
use std::time::Duration;

use crate::form::{Form, Style};
use crate::place::FoundPassword;
use crate::uri::{self, Uri};

/// The port of a server.
pub(crate) const PORT: i64 = 6379;

/// Longest pause that can be asked for.
const INTERVAL_MAX: Duration = Duration::from_secs(86_400 * 365);

/// How long `--pipe` waits for the last reply.
const PIPE_PATIENCE_SECONDS: i64 = 30;

/// Which of this machine's instances is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The evicting cache.
    Cache,
    /// The durable queue.
    Queue,
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) host: String,
    pub(crate) port: i64,
    /// A Unix socket, which is taken instead.
    pub(crate) socket: Option<String>,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.socket {
            Some(path) => f.write_str(path),
            None => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// A password that was found, and the only server that is told it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) password: FoundPassword,
    pub(crate) target: Target,
}

/// What is asked of TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tls {
    pub(crate) is_on: bool,
    pub(crate) sni: Option<String>,
    pub(crate) authority_file: Option<String>,
    pub(crate) authority_folder: Option<String>,
    pub(crate) is_unchecked: bool,
    pub(crate) certificate: Option<String>,
    pub(crate) key: Option<String>,
    /// OpenSSL's names of the suites that may be used.
    pub(crate) suites: Option<String>,
}

/// What is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// One command, or those that are typed.
    Commands,
    Scan,
    BigKeys,
    MemoryKeys,
    HotKeys,
    Stat,
    Latency,
    LatencyHistory,
    LatencyDistribution,
    IntrinsicLatency(i64),
    Pipe,
    /// A snapshot into a file, or only the functions in it.
    Snapshot {
        file: String,
        functions_only: bool,
    },
    Replica,
    Eval(String),
    /// The queues, again and again.
    Watch,
    Help,
    Version,
}

/// All that a command line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) target: Target,
    /// Ports that are tried behind the target's own, where none was named.
    pub(crate) further_ports: Vec<i64>,
    /// Whether host, port or socket were named.
    pub(crate) is_target_named: bool,
    pub(crate) database: i64,
    pub(crate) user: Option<Vec<u8>>,
    pub(crate) password: Option<Vec<u8>>,
    /// The password that `--cache` or `--queue` found, where none was given.
    pub(crate) found: Option<Found>,
    /// The password stands on the command line, where `ps` shows it.
    pub(crate) is_password_shown: bool,
    pub(crate) asks_password: bool,
    pub(crate) warns: bool,
    pub(crate) protocol: Option<u8>,
    /// How often; negative is for ever.
    pub(crate) repeat: i64,
    pub(crate) interval: Duration,
    pub(crate) form: Option<Form>,
    /// JSON was among the forms that were named, of which the last one counts.
    has_named_json: bool,
    pub(crate) element_end: Vec<u8>,
    pub(crate) reply_end: Vec<u8>,
    pub(crate) last_from_input: bool,
    pub(crate) tag: Option<Vec<u8>>,
    pub(crate) are_words_quoted: bool,
    pub(crate) fails_by_errors: bool,
    pub(crate) tls: Tls,
    pub(crate) pattern: Option<Vec<u8>>,
    pub(crate) samples: Option<i64>,
    pub(crate) count: Option<i64>,
    pub(crate) pipe_patience: i64,
    pub(crate) shows_pushes: Option<bool>,
    pub(crate) is_verbose: bool,
    pub(crate) connect_patience: Option<Duration>,
    pub(crate) role: Option<Role>,
    pub(crate) folder: Option<String>,
    pub(crate) mode: Mode,
    /// What stands behind the options.
    pub(crate) words: Vec<Vec<u8>>,
    /// What is told and does not stop anything.
    pub(crate) remarks: Vec<String>,
}

impl Options {
    /// The password for the server that is asked now, and where it was found, if nobody gave it. What was found for one server is
    /// sent to no other.
    pub(crate) fn password_here(&self) -> Option<(&[u8], Option<&str>)> {
        if let Some(given) = &self.password {
            return Some((given, None));
        }
        let Found { password, .. } = self.found.as_ref().filter(|found| found.target == self.target)?;
        Some((&password.secret, Some(&password.source)))
    }

    /// A password was found, and is kept from the server that is asked now.
    pub(crate) fn withholds_password(&self) -> bool {
        self.found.is_some() && self.password_here().is_none()
    }

    /// How replies are written, to a terminal or not.
    pub(crate) fn style(&self, is_terminal: bool) -> Style {
        let usual = if is_terminal { Form::Standard } else { Form::Raw };
        Style {
            form: self.form.unwrap_or(usual),
            element_end: self.element_end.clone(),
            reply_end: self.reply_end.clone(),
        }
    }
}

impl Default for Options {
    fn default() -> Options {
        Options {
            target: Target { host: "127.0.0.1".to_owned(), port: PORT, socket: None },
            further_ports: Vec::new(),
            is_target_named: false,
            database: 0,
            user: None,
            password: None,
            found: None,
            is_password_shown: false,
            asks_password: false,
            warns: true,
            protocol: None,
            repeat: 1,
            interval: Duration::ZERO,
            form: None,
            has_named_json: false,
            element_end: b"\n".to_vec(),
            reply_end: b"\n".to_vec(),
            last_from_input: false,
            tag: None,
            are_words_quoted: false,
            fails_by_errors: false,
            tls: Tls::default(),
            pattern: None,
            samples: None,
            count: None,
            pipe_patience: PIPE_PATIENCE_SECONDS,
            shows_pushes: None,
            is_verbose: false,
            connect_patience: None,
            role: None,
            folder: None,
            mode: Mode::Commands,
            words: Vec::new(),
            remarks: Vec::new(),
        }
    }
}

/// Why a command line cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Misuse {
    /// An option that is none, or without its value.
    Option(Vec<u8>),
    Scheme,
    BothInputs,
    BothProtocols,
    /// `--ldb` and its kin.
    Debugger,
    Cluster,
    /// `--lru-test`
    Simulation,
    QuotedPattern,
    /// An option and what its value must be.
    Value(&'static str, &'static str),
    /// `--cache` or `--queue` beside an address.
    RoleAndTarget,
    /// `--cache` beside `--queue`.
    BothRoles,
    /// `--dir` without one of them.
    FolderAlone,
    /// Of an answer for programs there is one, and no board.
    WatchAndForm,
    /// `-i` where nothing is done again.
    IntervalAlone,
    /// Queues are told in one form.
    BothForms,
}

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Misuse::Option(word) => {
                let word = String::from_utf8_lossy(word);
                write!(f, "Unrecognized option or bad number of args for: '{word}'")
            }
            Misuse::Scheme => f.write_str("Invalid URI scheme"),
            Misuse::BothInputs => f.write_str("Options -x and -X are mutually exclusive."),
            Misuse::BothProtocols => f.write_str("Options -2 and -3 are mutually exclusive."),
            Misuse::Debugger => f.write_str("--ldb: the server has no Lua debugger; run the script with --eval alone"),
            Misuse::Cluster => f.write_str("--cluster: the server has no cluster mode, so there is nothing to manage"),
            Misuse::Simulation => {
                f.write_str("--lru-test is not here: it fills a server with keys that nobody wants; redis-benchmark does that")
            }
            Misuse::QuotedPattern => f.write_str("Invalid quoted string specified for --quoted-pattern."),
            Misuse::Value(option, wanted) => write!(f, "{option} needs {wanted}"),
            Misuse::RoleAndTarget => {
                f.write_str("--cache and --queue find the instance by themselves; say them without -h, -p, -s and -u, or those without them")
            }
            Misuse::BothRoles => f.write_str("--cache and --queue are two servers; say which one to ask, and ask the other then"),
            Misuse::WatchAndForm => f.write_str("--watch draws a board for people; say --json or --csv without it, as often as you want"),
            Misuse::IntervalAlone => f.write_str("-i says how often --watch draws; say --watch, too"),
            Misuse::BothForms => f.write_str("--json, --csv and their kin are one form each; say the one that is wanted"),
            Misuse::FolderAlone => {
                f.write_str("--dir names the folder of a `tandem up`; say --cache or --queue with it, for the instance to ask")
            }
        }
    }
}

/// What a command line says.
pub(crate) fn read(words: Vec<Vec<u8>>) -> Result<Options, Misuse> {
    checked(read_unchecked(words, false)?)
}

/// The same of one that asks for queues: those of the queue of this machine, where no other server is named.
pub(crate) fn read_for_queues(words: Vec<Vec<u8>>) -> Result<Options, Misuse> {
    let mut options = read_unchecked(words, true)?;
    if options.role.is_none() && !options.is_target_named {
        options.role = Some(Role::Queue);
    }
    let is_watch = options.mode == Mode::Watch;
    if is_watch && options.form.is_some() {
        return Err(Misuse::WatchAndForm);
    }
    if options.mode == Mode::Commands && !options.interval.is_zero() {
        return Err(Misuse::IntervalAlone);
    }
    checked(options)
}

fn read_unchecked(words: Vec<Vec<u8>>, asks_for_queues: bool) -> Result<Options, Misuse> {
    let mut options = Options::default();
    let mut rest = Rest { words: words.into_iter().collect(), word: Vec::new(), asks_for_queues };
    while let Some(word) = rest.words.front() {
        // What does not look like an option begins the command.
        if word.first() != Some(&b'-') {
            break;
        }
        rest.word = rest.words.pop_front().unwrap_or_default();
        take(&mut options, &mut rest)?;
    }
    options.words = rest.words.into();
    Ok(options)
}

fn checked(mut options: Options) -> Result<Options, Misuse> {
    if options.last_from_input && options.tag.is_some() {
        return Err(Misuse::BothInputs);
    }
    if options.role.is_some() && options.is_target_named {
        return Err(Misuse::RoleAndTarget);
    }
    if options.folder.is_some() && options.role.is_none() {
        return Err(Misuse::FolderAlone);
    }
    // JSON's maps are RESP3's.
    if options.has_named_json && options.protocol.is_none() {
        options.protocol = Some(3);
    }
    Ok(options)
}

/// The words that have not been read, and the option that was last.
struct Rest {
    words: std::collections::VecDeque<Vec<u8>>,
    word: Vec<u8>,
    asks_for_queues: bool,
}

impl Rest {
    fn value(&mut self) -> Result<Vec<u8>, Misuse> {
        self.words.pop_front().ok_or_else(|| Misuse::Option(self.word.clone()))
    }

    fn text(&mut self) -> Result<String, Misuse> {
        self.value().map(|value| String::from_utf8_lossy(&value).into_owned())
    }

    fn number(&mut self) -> Result<i64, Misuse> {
        self.value().map(|value| integer(&value))
    }
}

/// One option with its values. Connection first, then what is sent, how it is shown, and the other things that can be done.
fn take(options: &mut Options, rest: &mut Rest) -> Result<(), Misuse> {
    let is_known = reaches(options, rest)?
        || encrypts(options, rest)?
        || shows(options, rest)?
        || match rest.asks_for_queues {
            true => watches(options, rest)?,
            false => commands(options, rest)? || inspects(options, rest)?,
        };
    if is_known { Ok(()) } else { Err(Misuse::Option(rest.word.clone())) }
}

/// Where the server is and who asks.
fn reaches(options: &mut Options, rest: &mut Rest) -> Result<bool, Misuse> {
    match rest.word.as_slice() {
        // Without a host it is the question that other programs understand.
        b"-h" if rest.words.is_empty() => options.mode = Mode::Help,
        b"-h" => (options.target.host, options.is_target_named) = (rest.text()?, true),
        b"-p" => (options.target.port, options.is_target_named) = (rest.number()?, true),
        b"-s" => (options.target.socket, options.is_target_named) = (Some(rest.text()?), true),
        b"-t" => options.connect_patience = seconds(&rest.value()?).filter(|patience| !patience.is_zero()),
        b"-a" | b"--pass" => (options.password, options.is_password_shown) = (Some(rest.value()?), true),
        b"--user" => options.user = Some(rest.value()?),
        b"--askpass" => options.asks_password = true,
        b"--no-auth-warning" => options.warns = false,
        b"-u" => {
            let uri = uri::read(&rest.value()?).ok_or(Misuse::Scheme)?;
            go_to(options, uri);
        }
        b"-n" => options.database = rest.number()?,
        b"-2" | b"-3" => {
            let protocol = rest.word[1] - b'0';
            if options.protocol.is_some_and(|other| other != protocol) {
                return Err(Misuse::BothProtocols);
            }
            options.protocol = Some(protocol);
        }
        b"--cache" => take_role(options, Role::Cache)?,
        b"--queue" => take_role(options, Role::Queue)?,
        b"--dir" => options.folder = Some(rest.text()?),
        b"-c" => {}
        _ => return Ok(false),
    }
    Ok(true)
}

fn take_role(options: &mut Options, role: Role) -> Result<(), Misuse> {
    match options.role.replace(role) {
        Some(other) if other != role => Err(Misuse::BothRoles),
        _ => Ok(()),
    }
}

fn go_to(options: &mut Options, uri: Uri) {
    options.is_target_named = true;
    options.tls.is_on |= uri.is_encrypted;
    options.target.socket = uri.socket.or(options.target.socket.take());
    options.target.host = uri.host.unwrap_or_else(|| std::mem::take(&mut options.target.host));
    options.target.port = uri.port.unwrap_or(options.target.port);
    options.database = uri.database.unwrap_or(options.database);
    options.user = uri.user.or(options.user.take());
    options.is_password_shown |= uri.password.is_some();
    options.password = uri.password.or(options.password.take());
}

fn encrypts(options: &mut Options, rest: &mut Rest) -> Result<bool, Misuse> {
    let tls = &mut options.tls;
    match rest.word.as_slice() {
        b"--tls" => tls.is_on = true,
        b"--sni" => tls.sni = Some(rest.text()?),
        b"--cacert" => tls.authority_file = Some(rest.text()?),
        b"--cacertdir" => tls.authority_folder = Some(rest.text()?),
        b"--insecure" => tls.is_unchecked = true,
        b"--cert" => tls.certificate = Some(rest.text()?),
        b"--key" => tls.key = Some(rest.text()?),
        b"--tls-ciphers" | b"--tls-ciphersuites" => {
            let named = rest.text()?;
            tls.suites = Some(match tls.suites.take() {
                Some(others) => format!("{others}:{named}"),
                None => named,
            });
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// What is sent, and how often.
fn commands(options: &mut Options, rest: &mut Rest) -> Result<bool, Misuse> {
    match rest.word.as_slice() {
        b"-r" => options.repeat = rest.number()?,
        b"-i" => options.interval = seconds(&rest.value()?).unwrap_or_default(),
        b"-x" => options.last_from_input = true,
        b"-X" => options.tag = Some(rest.value()?),
        b"-e" => options.fails_by_errors = true,
        b"--quoted-input" => options.are_words_quoted = true,
        b"--eval" => options.mode = Mode::Eval(rest.text()?),
        b"--ldb" | b"--ldb-sync-mode" => return Err(Misuse::Debugger),
        b"--cluster" => return Err(Misuse::Cluster),
        _ => return Ok(false),
    }
    Ok(true)
}

fn shows(options: &mut Options, rest: &mut Rest) -> Result<bool, Misuse> {
    match rest.word.as_slice() {
        b"--raw" => take_form(options, rest, Form::Raw)?,
        b"--no-raw" => take_form(options, rest, Form::Standard)?,
        b"--csv" => take_form(options, rest, Form::Csv)?,
        b"--json" => take_form(options, rest, Form::Json)?,
        b"--quoted-json" => take_form(options, rest, Form::QuotedJson)?,
        b"-d" => options.element_end = rest.value()?,
        b"-D" => options.reply_end = rest.value()?,
        b"--show-pushes" => shows_pushes(options, &rest.text()?),
        b"--verbose" => options.is_verbose = true,
        b"--help" => options.mode = Mode::Help,
        b"-v" | b"--version" => options.mode = Mode::Version,
        _ => return Ok(false),
    }
    Ok(true)
}

/// Of several forms the last one counts, as in `redis-cli`; where queues are told that would be an oversight.
fn take_form(options: &mut Options, rest: &Rest, form: Form) -> Result<(), Misuse> {
    let is_other = options.form.replace(form).is_some_and(|other| other != form);
    options.has_named_json |= matches!(form, Form::Json | Form::QuotedJson);
    if is_other && rest.asks_for_queues { Err(Misuse::BothForms) } else { Ok(()) }
}

fn shows_pushes(options: &mut Options, value: &str) {
    match value.as_bytes().first().map(u8::to_ascii_lowercase) {
        Some(b'y') => options.shows_pushes = Some(true),
        Some(b'n') => options.shows_pushes = Some(false),
        _ => options.remarks.push(format!("Unknown --show-pushes value '{value}' (valid: '[y]es', '[n]o')")),
    }
}

/// What is said of queues alone.
fn watches(options: &mut Options, rest: &mut Rest) -> Result<bool, Misuse> {
    match rest.word.as_slice() {
        b"--watch" => options.mode = Mode::Watch,
        b"-i" => {
            let given = seconds(&rest.value()?).filter(|interval| !interval.is_zero());
            options.interval = given.ok_or(Misuse::Value("-i", "seconds, more than none"))?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// The other things that can be done.
fn inspects(options: &mut Options, rest: &mut Rest) -> Result<bool, Misuse> {
    let mode = match rest.word.as_slice() {
        b"--scan" => Mode::Scan,
        b"--bigkeys" => Mode::BigKeys,
        b"--memkeys" => Mode::MemoryKeys,
        b"--memkeys-samples" => {
            options.samples = Some(rest.number()?);
            Mode::MemoryKeys
        }
        b"--hotkeys" => Mode::HotKeys,
        b"--stat" => Mode::Stat,
        b"--latency" => Mode::Latency,
        b"--latency-history" => Mode::LatencyHistory,
        b"--latency-dist" => Mode::LatencyDistribution,
        b"--intrinsic-latency" => Mode::IntrinsicLatency(rest.number()?),
        b"--lru-test" => return Err(Misuse::Simulation),
        b"--pipe" => Mode::Pipe,
        b"--rdb" => Mode::Snapshot { file: rest.text()?, functions_only: false },
        b"--functions-rdb" => Mode::Snapshot { file: rest.text()?, functions_only: true },
        b"--replica" | b"--slave" => Mode::Replica,
        _ => return bounds(options, rest),
    };
    options.mode = mode;
    Ok(true)
}

/// What the other things are bounded by.
fn bounds(options: &mut Options, rest: &mut Rest) -> Result<bool, Misuse> {
    match rest.word.as_slice() {
        b"--pattern" => options.pattern = Some(rest.value()?),
        b"--quoted-pattern" => {
            options.pattern = Some(unquoted(&rest.value()?).ok_or(Misuse::QuotedPattern)?);
        }
        b"--count" => match rest.number()? {
            count @ 1.. => options.count = Some(count),
            _ => return Err(Misuse::Value("--count", "a number above zero")),
        },
        b"--pipe-timeout" => options.pipe_patience = rest.number()?,
        _ => return Ok(false),
    }
    Ok(true)
}

/// What a word says that is written as at the prompt, where it must be exactly one.
pub(crate) fn unquoted(word: &[u8]) -> Option<Vec<u8>> {
    let mut words = resp::split_inline(word)?;
    (words.len() == 1).then(|| words.pop()).flatten()
}

/// The number that a word begins with, as C's `atoi` reads it: none is zero.
pub(crate) fn integer(word: &[u8]) -> i64 {
    let text = word.trim_ascii_start();
    let (is_negative, digits) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, text),
    };
    let magnitude = digits
        .iter()
        .take_while(|digit| digit.is_ascii_digit())
        .fold(0_i64, |sum, digit| sum.saturating_mul(10).saturating_add(i64::from(digit - b'0')));
    if is_negative { -magnitude } else { magnitude }
}

/// Seconds with a fraction; none where there is no number, or one below zero.
fn seconds(word: &[u8]) -> Option<Duration> {
    let text = std::str::from_utf8(word).ok()?;
    let seconds: f64 = text.trim().parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok().map(|interval| interval.min(INTERVAL_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<Vec<u8>> {
        text.split_whitespace().map(|word| word.as_bytes().to_vec()).collect()
    }

    fn read_text(text: &str) -> Result<Options, Misuse> {
        read(words(text))
    }

    #[test]
    fn options_stand_before_the_command() {
        let options = read_text("-h x -p 7 -a pw --user u -n 3 --raw -r -1 -i 0.25 incr ping -n").unwrap();
        assert_eq!(options.target, Target { host: "x".to_owned(), port: 7, socket: None });
        assert_eq!((options.password, options.user), (Some(b"pw".to_vec()), Some(b"u".to_vec())));
        assert_eq!((options.database, options.repeat, options.form), (3, -1, Some(Form::Raw)));
        assert_eq!(options.interval, Duration::from_millis(250));
        assert_eq!(options.words, words("incr ping -n"));
        assert!(options.is_password_shown && options.is_target_named);
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for line in ["--frobnicate", "-p", "-x -a", "--eval", "-"] {
            let word = line.split(' ').next_back().unwrap();
            assert_eq!(read_text(line), Err(Misuse::Option(word.as_bytes().to_vec())), "{line}");
        }
        assert_eq!(read_text("-u http://x"), Err(Misuse::Scheme));
        assert_eq!(read_text("-x -X tag set k tag"), Err(Misuse::BothInputs));
        assert_eq!(read_text("--ldb --eval x"), Err(Misuse::Debugger));
        assert_eq!(read_text("--cluster info"), Err(Misuse::Cluster));
        assert_eq!(read_text("--lru-test 5"), Err(Misuse::Simulation));
        assert_eq!(read_text("--queue -p 1"), Err(Misuse::RoleAndTarget));
        assert_eq!(read_text("--queue --cache ping"), Err(Misuse::BothRoles));
        assert_eq!(read_text("--dir x ping"), Err(Misuse::FolderAlone));
        assert_eq!(read_text("--dir x --queue --queue ping").unwrap().role, Some(Role::Queue));
        assert!(matches!(read_text("--scan --count 0"), Err(Misuse::Value("--count", _))));
        assert_eq!(read_text("--watch"), Err(Misuse::Option(b"--watch".to_vec())));
    }

    #[test]
    fn queues_are_those_of_this_machines_queue_where_no_other_server_is_named() {
        let read = |text| read_for_queues(words(text));
        let options = read("--dir /srv/x --watch -i 0.5").unwrap();
        assert_eq!((options.role, options.folder.as_deref()), (Some(Role::Queue), Some("/srv/x")));
        assert_eq!((options.mode, options.interval), (Mode::Watch, Duration::from_millis(500)));
        assert_eq!(read("--dir x --cache").unwrap().role, Some(Role::Cache));
        assert_eq!(read("-p 7").unwrap().role, None);
        assert_eq!(read("--dir x -p 7"), Err(Misuse::FolderAlone));
    }

    #[test]
    fn what_does_not_go_with_telling_queues_is_refused() {
        let read = |text: &str| read_for_queues(words(text));
        for form in ["--json", "--csv", "--quoted-json", "--raw"] {
            assert_eq!(read(&format!("--watch {form}")), Err(Misuse::WatchAndForm), "{form}");
            assert_eq!(read(&format!("{form} --watch")), Err(Misuse::WatchAndForm), "{form}");
        }
        assert_eq!(read("--json --csv"), Err(Misuse::BothForms));
        assert_eq!(read("-i 2"), Err(Misuse::IntervalAlone));
        for none in ["0", "-1", "often"] {
            assert!(matches!(read(&format!("--watch -i {none}")), Err(Misuse::Value("-i", _))), "{none}");
        }
        for other in ["--scan", "--stat", "--pipe", "-r", "-x", "--eval", "--count"] {
            assert_eq!(read(&format!("{other} 1")), Err(Misuse::Option(other.as_bytes().to_vec())));
        }
        assert_eq!(read_text("--json --csv ping").unwrap().form, Some(Form::Csv));
    }

    #[test]
    fn a_found_password_is_for_one_server() {
        let mut options = read_text("--queue ping").unwrap();
        let password = FoundPassword { secret: b"pw".to_vec(), source: "a file".to_owned() };
        options.found = Some(Found { password, target: options.target.clone() });
        let found = Some((&b"pw"[..], Some("a file")));
        assert_eq!(options.password_here(), found);
        assert!(!options.withholds_password());
        let own = options.target.clone();
        let elsewhere = [
            Target { host: "10.0.0.1".to_owned(), ..own.clone() },
            Target { port: own.port + 1, ..own.clone() },
            Target { socket: Some("/x".to_owned()), ..own.clone() },
        ];
        for other in elsewhere {
            options.target = other;
            assert_eq!(options.password_here(), None, "{}", options.target);
            assert!(options.withholds_password());
        }
        options.password = Some(b"typed".to_vec());
        assert_eq!(options.password_here(), Some((&b"typed"[..], None)));
        (options.password, options.target) = (None, own);
        assert_eq!(options.password_here(), found);
    }

    #[test]
    fn what_comes_later_wins() {
        let options = read_text("-n 1 -u rediss://u:p@h:9/2 -p 8").unwrap();
        assert_eq!(options.target, Target { host: "h".to_owned(), port: 8, socket: None });
        assert_eq!((options.database, options.tls.is_on), (2, true));
        assert_eq!(read_text("-u redis://h -n 5").unwrap().database, 5);
    }

    #[test]
    fn json_speaks_resp3_unless_told_otherwise() {
        assert_eq!(read_text("--json get x").unwrap().protocol, Some(3));
        assert_eq!(read_text("-2 --json get x").unwrap().protocol, Some(2));
        assert_eq!(read_text("--json --no-raw get x").unwrap().protocol, Some(3));
        assert_eq!(read_text("-2 -3 get x"), Err(Misuse::BothProtocols));
        assert_eq!(read_text("--csv get x").unwrap().protocol, None);
    }

    #[test]
    fn a_lone_h_asks_for_help() {
        assert_eq!(read_text("-h").unwrap().mode, Mode::Help);
        assert_eq!(read_text("-h x").unwrap().mode, Mode::Commands);
    }

    #[test]
    fn numbers_are_read_as_c_does() {
        for (word, number) in
            [("12", 12), ("-3", -3), (" 4x", 4), ("x", 0), ("", 0), ("99999999999999999999", i64::MAX)]
        {
            assert_eq!(integer(word.as_bytes()), number, "{word}");
        }
        assert_eq!(seconds(b"0.5"), Some(Duration::from_millis(500)));
        for none in ["-1", "x", "inf", "NaN"] {
            assert_eq!(seconds(none.as_bytes()), None, "{none}");
        }
    }

    #[test]
    fn one_word_in_quotes_is_one_word() {
        assert_eq!(unquoted(br#""a\x00 b""#), Some(b"a\0 b".to_vec()));
        assert_eq!(unquoted(b"a\\x41"), Some(b"a\\x41".to_vec()));
        for other in [&b"\"a"[..], b"\"a\" \"b\"", b"a b", b"a\"b", b""] {
            assert_eq!(unquoted(other), None, "{}", other.escape_ascii());
        }
    }
}
