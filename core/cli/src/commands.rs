//! Commands from the command line, from standard input, or from a script's file.

use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use crate::failure::Failure;
use crate::form::Form;
use crate::help;
use crate::line::{Said, asks_help, understand};
use crate::options::{integer, unquoted};
use crate::place::Surroundings;
use crate::prompt;
use crate::screen::Screen;
use crate::session::Session;

/// A command that took longer is told to have.
const SLOW: Duration = Duration::from_millis(500);

/// What is said where a password that was found is not sent.
const WITHHELD: &str = "the password that --cache or --queue has found is not this server's and is not sent; say AUTH [USER] PASSWORD";

/// What empties a terminal.
const CLEARED: &str = "\x1b[H\x1b[2J";

/// The command that stands on the command line.
pub(crate) fn from_line(session: &mut Session<'_>) -> Result<(), Failure> {
    let words = whole(session)?;
    if let [first, rest @ ..] = words.as_slice()
        && asks_help(first)
    {
        let text = help::answer(session, rest)?;
        return Ok(session.screen.print(text)?);
    }
    session.connect()?;
    session.run(&words, session.options.repeat)
}

/// The words of the command, with what comes from standard input in its place.
fn whole(session: &mut Session<'_>) -> Result<Vec<Vec<u8>>, Failure> {
    let mut words = std::mem::take(&mut session.options.words);
    if session.options.are_words_quoted {
        let plain: Option<Vec<_>> = words.iter().map(|word| unquoted(word)).collect();
        let Some(plain) = plain else {
            session.screen.print("Invalid quoted string\n")?;
            return Err(Failure::Told);
        };
        words = plain;
    }
    if session.options.last_from_input {
        words.push(input()?);
    } else if let Some(tag) = &session.options.tag {
        let at = words.iter().position(|word| word == tag);
        let at = at.ok_or(Failure::Sentence("Using -X option but stdin tag not match."))?;
        words[at] = input()?;
    }
    Ok(words)
}

fn input() -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    io::stdin().lock().read_to_end(&mut bytes).map_err(Failure::Input)?;
    Ok(bytes)
}

/// The script in a file, with keys and, behind a comma that stands alone, arguments.
pub(crate) fn eval(session: &mut Session<'_>, file: &str) -> Result<(), Failure> {
    let script =
        std::fs::read(file).map_err(|error| Failure::File("Can't open file", PathBuf::from(file), error))?;
    let words = std::mem::take(&mut session.options.words);
    let keys = words.iter().position(|word| word == b",").unwrap_or(words.len());
    let mut command = vec![b"EVAL".to_vec(), script, keys.to_string().into_bytes()];
    command.extend_from_slice(&words[..keys]);
    command.extend(words.into_iter().skip(keys + 1));
    session.connect()?;
    session.run(&command, session.options.repeat)
}

/// Lines: typed at a prompt, or as they come.
pub(crate) fn from_input(session: &mut Session<'_>, surroundings: &Surroundings<'_>) -> Result<(), Failure> {
    session.is_dialogue = true;
    if let Err(error) = session.connect() {
        session.screen.tell(error.to_string());
    }
    if io::stdin().is_terminal() {
        session.has_keys = true;
        return prompt::converse(session, surroundings);
    }
    let mut lines = BufReader::new(io::stdin().lock());
    let mut line = Vec::new();
    loop {
        line.clear();
        if lines.read_until(b'\n', &mut line).map_err(Failure::Input)? == 0 {
            return Ok(());
        }
        if !obey(session, &line)? {
            return Ok(());
        }
    }
}

/// Does what a line says. Whether there may be another.
pub(crate) fn obey(session: &mut Session<'_>, line: &[u8]) -> Result<bool, Failure> {
    match understand(line) {
        Said::Quit => return Ok(false),
        Said::Nothing => {}
        Said::Command(times, words) => run_or_tell(session, &words, times)?,
        Said::Help(words) => match help::answer(session, &words) {
            Ok(text) => session.screen.print(text)?,
            Err(failure) => told(session, failure)?,
        },
        Said::Preference(words) => {
            let text = prefer(session, &words);
            session.screen.print(text)?;
        }
        Said::Connect(host, port) => {
            session.options.target.host = host;
            session.options.target.port = integer(&port);
            session.options.target.socket = None;
            session.options.further_ports.clear();
            if session.options.withholds_password() {
                let text = format!("{}: {WITHHELD}", session.options.target);
                session.screen.tell(text);
            }
            if let Err(error) = session.connect() {
                session.screen.tell(error.to_string());
            }
        }
        Said::Clear => session.screen.print(CLEARED)?,
        Said::Restart => session.screen.print("Use 'restart' only in Lua debugging mode.\n")?,
        Said::BadQuotes => session.screen.print("Invalid argument(s)\n")?,
        Said::BadCount => session.screen.print("Invalid redis-cli repeat command option value.\n")?,
    }
    session.screen.flush()?;
    Ok(true)
}

/// A command whose failure does not end the dialogue, unless nobody reads it any more.
fn run_or_tell(session: &mut Session<'_>, words: &[Vec<u8>], times: i64) -> Result<(), Failure> {
    let began = Instant::now();
    if let Err(failure) = session.run(words, times) {
        told(session, failure)?;
    }
    let took = began.elapsed();
    if took >= SLOW && session.style.form == Form::Standard {
        session.screen.print(format!("({:.2}s)\n", took.as_secs_f64()))?;
    }
    Ok(())
}

/// Tells what went wrong with the server; whatever else did ends the dialogue.
fn told(session: &mut Session<'_>, failure: Failure) -> Result<(), Failure> {
    match failure {
        Failure::Connect(_) | Failure::Link(_) => session.screen.tell(failure.to_string()),
        other => return Err(other),
    }
    Ok(())
}

/// Sets what the words behind a colon ask for; what is to be said about that.
pub(crate) fn prefer(session: &Session<'_>, words: &[Vec<u8>]) -> Vec<u8> {
    let words: Vec<String> = words.iter().map(|word| String::from_utf8_lossy(word).to_lowercase()).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["set", hints @ ("hints" | "nohints")] => {
            session.hints.set(*hints == "hints");
            Vec::new()
        }
        ["set", other, ..] => format!("unknown redis-cli preference '{other}'\n").into_bytes(),
        [other, ..] => format!("unknown redis-cli internal command ':{other}'\n").into_bytes(),
        [] => Vec::new(),
    }
}

/// A password from standard input: typed unseen, or a line of it.
pub(crate) fn asked_password(screen: &mut Screen) -> Result<Vec<u8>, Failure> {
    let input = io::stdin();
    let mut line = Vec::new();
    let hidden = input.is_terminal().then(|| tcgetattr(&input).ok()).flatten();
    if let Some(shown) = &hidden {
        let mut attributes = shown.clone();
        attributes.local_modes.remove(LocalModes::ECHO);
        // A terminal that goes on showing what is typed is still one that can be typed at.
        let _ = tcsetattr(&input, OptionalActions::Flush, &attributes);
        let _ = screen.err.write_all(b"Please input password: ");
    }
    let read = input.lock().read_until(b'\n', &mut line);
    if let Some(shown) = &hidden {
        let _ = tcsetattr(&input, OptionalActions::Flush, shown);
        screen.tell("");
    }
    read.map_err(Failure::Input)?;
    Ok(line.trim_ascii_end().to_vec())
}
