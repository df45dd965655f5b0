//! `tandem cli`: commands to a server and their replies, at a prompt or from a script. Called as `redis-cli` it is one.
//!
//! [`run`] reads a command line and does what it says. What is a function of its arguments stands apart from what talks:
//! `options`, `uri`, `line`, `value`, `form` and `docs` do no I/O; `link` and `session` are the conversation; each of the other
//! files is one thing that can be done. Output, exit codes and texts are those of `redis-cli` 7.0, because scripts match on
//! them; its help is not, and is ours.
//!
//! It knows the protocol and nothing of the engine: any server that speaks it can be asked.

#![forbid(unsafe_code)]

mod biggest;
mod board;
mod commands;
mod docs;
mod failure;
mod form;
mod help;
mod hot;
mod import;
mod keys;
mod latency;
mod line;
mod link;
mod options;
mod pipe;
mod place;
mod progress;
mod prompt;
mod queues;
mod scan;
mod screen;
mod session;
mod snapshot;
mod stat;
mod tls;
mod uri;
mod value;

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::os::unix::ffi::OsStringExt;

pub use import::{Import, Listener, Told, import};
pub use options::Role;
pub use place::{FindError, Finder, FoundPassword, Place, Surroundings};
pub use screen::Screen;

use biggest::Measure;
use failure::Failure;
use form::{Form, Style};
use options::{Found, Misuse, Mode, Options};
use session::Session;
use value::Reader;

/// Variables that hold the password, so that it is on no command line.
const PASSWORD_VARIABLES: [&str; 2] = ["REDISCLI_AUTH", "VALKEYCLI_AUTH"];

/// The user whose password is found with an instance.
const DEFAULT_USER: &[u8] = b"default";

/// A variable that says that a person reads, whatever standard output is.
const TERMINAL_VARIABLE: &str = "FAKETTY";

/// What is said of a password that `ps` shows.
const SHOWN_PASSWORD: &str =
    "Warning: Using a password with '-a' or '-u' option on the command line interface may not be safe.";

/// Standard output and standard error of this process.
pub fn standard_screen() -> Screen {
    let (out, err) = (io::stdout(), io::stderr());
    let is_terminal = out.is_terminal() || std::env::var_os(TERMINAL_VARIABLE).is_some();
    let is_watched = err.is_terminal();
    Screen { is_terminal, is_watched, out: Box::new(io::BufWriter::new(out)), err: Box::new(err) }
}

/// Does what a command line says. The exit code: 0 if a reply was had, also one that is an error (unless `-e` is among the
/// options), 1 if none was.
pub fn run(words: Vec<OsString>, screen: &mut Screen, surroundings: &Surroundings<'_>) -> u8 {
    let outcome = read(words, options::read)
        .and_then(|options| act(prepare(options, screen, surroundings)?, screen, surroundings));
    finish(outcome, screen)
}

/// The exit code of a command of `tandem` whose options are wrong; redis-cli's, and so that of [`run`], is another.
const MISUSED: u8 = 2;

/// Tells the queues of a server, of the queue of this machine where no other is named: as a table, or in the form that an option names.
/// The exit code is as that of [`run`], but for wrong options.
pub fn queues(words: Vec<OsString>, screen: &mut Screen, surroundings: &Surroundings<'_>) -> u8 {
    let outcome = read(words, options::read_for_queues).and_then(|options| {
        if options.mode == Mode::Help {
            return Ok(screen.print(queues::usage(surroundings.name))?);
        }
        if let Some(word) = options.words.first() {
            return Err(Failure::Misuse(Misuse::Option(word.clone())));
        }
        let options = prepare(options, screen, surroundings)?;
        tell_queues(options, screen, surroundings)
    });
    let is_misuse = matches!(&outcome, Err(Failure::Misuse(_)));
    let code = finish(outcome, screen);
    if is_misuse { MISUSED } else { code }
}

fn tell_queues(
    mut options: Options,
    screen: &mut Screen,
    surroundings: &Surroundings<'_>,
) -> Result<(), Failure> {
    match (&options.mode, options.form) {
        (Mode::Watch, _) => return board::watch(&mut Session::new(options, screen)),
        (Mode::Commands, None | Some(Form::Csv | Form::Json)) => {
            return queues::tell(&mut Session::new(options, screen));
        }
        _ => {}
    }
    options.words = queues::QUESTION.map(|word| word.as_bytes().to_vec()).to_vec();
    options.protocol = Some(3);
    act(options, screen, surroundings)
}

/// How a command line is read.
type Reading = fn(Vec<Vec<u8>>) -> Result<Options, Misuse>;

fn read(words: Vec<OsString>, as_options: Reading) -> Result<Options, Failure> {
    Ok(as_options(words.into_iter().map(OsString::into_vec).collect())?)
}

fn finish(outcome: Result<(), Failure>, screen: &mut Screen) -> u8 {
    let outcome = outcome.and_then(|()| Ok(screen.flush()?));
    match outcome {
        Ok(()) => 0,
        Err(failure) => {
            if let Some(text) = failure.text() {
                screen.tell(text);
            }
            failure.code()
        }
    }
}

/// The command line with what the surroundings add to it.
fn prepare(
    mut options: Options,
    screen: &mut Screen,
    surroundings: &Surroundings<'_>,
) -> Result<Options, Failure> {
    for remark in &options.remarks {
        screen.tell(remark);
    }
    if options.is_password_shown && options.warns {
        screen.tell(SHOWN_PASSWORD);
    }
    if options.password.is_none() && !options.asks_password {
        let mut named = PASSWORD_VARIABLES.iter().filter_map(std::env::var_os);
        options.password = named.next().map(OsStringExt::into_vec);
    }
    if let Some(role) = options.role {
        let place = surroundings.finder.find(role, options.folder.as_deref())?;
        settle_at(&mut options, place);
    } else if !options.is_target_named {
        let mut ports = surroundings.ports.iter().map(|port| i64::from(*port));
        options.target.port = ports.next().unwrap_or(options::PORT);
        options.further_ports = ports.collect();
    }
    if options.asks_password {
        options.password = Some(commands::asked_password(screen)?);
    }
    match (&options.role, &options.user) {
        // Elsewhere it is redis-cli's way to ask without a name then, and to be refused.
        (Some(_), Some(user)) if options.password.is_none() && options.found.is_none() => {
            Err(Failure::WhosePassword(user.clone()))
        }
        _ => Ok(options),
    }
}

/// Takes an instance of this machine for the target. What the command line says about who asks stays.
fn settle_at(options: &mut Options, place: Place) {
    options.target.host = place.host;
    options.target.port = i64::from(place.port);
    let is_default = options.user.as_deref().is_none_or(|user| user == DEFAULT_USER);
    if is_default && options.password.is_none() && !options.asks_password {
        let target = options.target.clone();
        options.found = place.password.map(|password| Found { password, target });
    }
    if let Some(authority) = place.authority {
        options.tls.is_on = true;
        if options.tls.authority_file.is_none() {
            options.tls.authority_file = Some(authority.to_string_lossy().into_owned());
        }
    }
}

/// All replies of some bytes that come in pieces of this length, shown in each form, and why there are no more, if they are none:
/// what a fuzzer compares.
#[doc(hidden)]
pub fn shown(bytes: &[u8], piece: usize) -> (Vec<u8>, Option<String>) {
    let (mut reader, mut text) = (Reader::default(), Vec::new());
    for part in bytes.chunks(piece) {
        reader.feed(part);
        loop {
            match reader.next() {
                Ok(Some(value)) => {
                    text.extend(Form::ALL.iter().flat_map(|form| Style::new(*form).reply(&value)))
                }
                Ok(None) => break,
                Err(reason) => return (text, Some(reason.to_string())),
            }
        }
    }
    (text, None)
}

fn act(options: Options, screen: &mut Screen, surroundings: &Surroundings<'_>) -> Result<(), Failure> {
    match &options.mode {
        Mode::Help => return Ok(screen.print(help::usage(surroundings.name))?),
        Mode::Version => {
            return Ok(screen.print(format!("{} {}\n", surroundings.name, surroundings.version))?);
        }
        _ => {}
    }
    let mode = options.mode.clone();
    let mut session = Session::new(options, screen);
    match mode {
        Mode::Commands if session.options.words.is_empty() => {
            commands::from_input(&mut session, surroundings)
        }
        Mode::Commands => commands::from_line(&mut session),
        Mode::Eval(file) => commands::eval(&mut session, &file),
        Mode::Scan => scan::keys(&mut session),
        Mode::BigKeys => biggest::keys(&mut session, Measure::Elements),
        Mode::MemoryKeys => biggest::keys(&mut session, Measure::Memory),
        Mode::HotKeys => hot::keys(&mut session),
        Mode::Stat => stat::watch(&mut session),
        Mode::Latency => latency::sample(&mut session, false),
        Mode::LatencyHistory => latency::sample(&mut session, true),
        Mode::LatencyDistribution => latency::distribution(&mut session),
        Mode::IntrinsicLatency(seconds) => latency::intrinsic(&mut session, seconds),
        Mode::Pipe => pipe::load(&mut session),
        Mode::Snapshot { file, functions_only } => snapshot::take(&mut session, &file, functions_only),
        Mode::Replica => snapshot::follow(&mut session),
        // Said above.
        Mode::Help | Mode::Version | Mode::Watch => Ok(()),
    }
}
