//! The prompt: lines with history, completion and hints, for a person at a terminal.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::termios::tcgetwinsize;
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::{Hint, Hinter};
use rustyline::history::MemHistory;
use rustyline::validate::Validator;
use rustyline::{CompletionType, Config, Context, Editor, Helper};

use crate::commands::{obey, prefer};
use crate::docs::Docs;
use crate::failure::Failure;
use crate::line::{Said, is_secret, understand};
use crate::place::Surroundings;
use crate::session::Session;
use crate::value::Value;

/// The variable that names the file of what was typed; empty or /dev/null is none.
const HISTORY_VARIABLE: &str = "REDISCLI_HISTFILE";

/// The variable that names the file of preferences.
const PREFERENCES_VARIABLE: &str = "REDISCLI_RCFILE";

/// The file of preferences in the user's folder.
const PREFERENCES_FILE: &str = ".redisclirc";

/// The width of a terminal that does not tell it.
const COLUMNS: usize = 80;

/// So many lines are remembered. The file is cut back at a start when it has twice as many.
const LINES_MAX: usize = 1000;

/// Largest file of preferences that is read, bytes.
const PREFERENCES_BYTES_MAX: u64 = 64 * 1024;

/// The variable that says that nothing may be coloured.
const COLOURLESS_VARIABLE: &str = "NO_COLOR";

/// Reads and does line after line until there are none.
pub(crate) fn converse(session: &mut Session<'_>, surroundings: &Surroundings<'_>) -> Result<(), Failure> {
    let history = history_file(surroundings);
    read_preferences(session);
    let mut editor = editor(session, history.as_deref()).map_err(unreadable)?;
    loop {
        learn(session, &mut editor);
        // That the connection has ended is met by the next command.
        let _ = session.show_pushes();
        session.screen.flush()?;
        let prompt = session.prompt();
        if let Some(assistant) = editor.helper() {
            assistant.prompt.set(prompt.chars().count());
        }
        match editor.readline(&prompt) {
            Ok(text) => {
                for line in text.lines() {
                    keep(&mut editor, history.as_deref(), line);
                    if !obey(session, line.as_bytes())? {
                        return Ok(());
                    }
                }
            }
            Err(ReadlineError::Eof | ReadlineError::Interrupted) => return Ok(()),
            Err(error) => return Err(unreadable(error)),
        }
    }
}

fn unreadable(error: ReadlineError) -> Failure {
    match error {
        ReadlineError::Io(error) => Failure::Input(error),
        other => Failure::Input(std::io::Error::other(other)),
    }
}

type Line = Editor<Assistant, MemHistory>;

fn editor(session: &Session<'_>, history: Option<&Path>) -> rustyline::Result<Line> {
    let config = Config::builder()
        .max_history_size(LINES_MAX)?
        .history_ignore_dups(true)?
        .completion_type(CompletionType::Circular)
        .build();
    let mut editor = Editor::with_history(config.clone(), MemHistory::with_config(&config))?;
    editor.set_helper(Some(Assistant {
        docs: RefCell::default(),
        hints: Rc::clone(&session.hints),
        prompt: Cell::new(0),
    }));
    for line in history.map(remembered).unwrap_or_default() {
        editor.add_history_entry(line)?;
    }
    Ok(editor)
}

/// Asks the server what its commands are, once it lets us.
fn learn(session: &mut Session<'_>, editor: &mut Line) {
    let Some(assistant) = editor.helper() else { return };
    if !assistant.docs.borrow().entries.is_empty() || !session.may_ask() {
        return;
    }
    // Without them there are no hints; whatever is wrong is told by the commands of the user.
    if let Ok(reply @ (Value::Map(_) | Value::Array(_))) = session.ask(&["COMMAND", "DOCS"]) {
        *assistant.docs.borrow_mut() = Docs::of(&reply);
    }
}

// Preferences ------------------------------------------------------------------------------------

/// Lines such as `:set nohints`; others are not for us.
fn read_preferences(session: &Session<'_>) {
    let named = std::env::var_os(PREFERENCES_VARIABLE).map(PathBuf::from);
    let file = named.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(PREFERENCES_FILE)));
    let is_small =
        |file: &PathBuf| fs::metadata(file).is_ok_and(|about| about.len() <= PREFERENCES_BYTES_MAX);
    if let Some(text) = file.filter(is_small).and_then(|file| fs::read_to_string(file).ok()) {
        for line in text.lines() {
            if let Said::Preference(words) = understand(line.as_bytes()) {
                prefer(session, &words);
            }
        }
    }
}

// History ----------------------------------------------------------------------------------------

fn history_file(surroundings: &Surroundings<'_>) -> Option<PathBuf> {
    match std::env::var_os(HISTORY_VARIABLE) {
        Some(file) => Some(PathBuf::from(file)).filter(|file| !file.as_os_str().is_empty()),
        None => surroundings.history.clone(),
    }
    .filter(|file| file != Path::new("/dev/null"))
}

/// The last lines of the file; a file that has grown too long is cut back to them.
fn remembered(file: &Path) -> Vec<String> {
    let text = fs::read(file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let last: Vec<String> =
        lines[lines.len().saturating_sub(LINES_MAX)..].iter().map(|line| (*line).to_owned()).collect();
    if lines.len() > 2 * LINES_MAX {
        // A file that cannot be cut back is still one that can be read.
        let _ = fs::write(file, last.join("\n") + "\n");
    }
    last
}

/// Remembers a line, here and in the file, unless it holds a password.
fn keep(editor: &mut Line, file: Option<&Path>, line: &str) {
    if line.trim().is_empty() || is_secret(line.as_bytes()) {
        return;
    }
    // A line that cannot be remembered is done all the same.
    if let (Ok(true), Some(file)) = (editor.add_history_entry(line), file) {
        let opened = OpenOptions::new().append(true).create(true).mode(0o600).open(file);
        let _ = opened.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
    }
}

// Completion and hints -----------------------------------------------------------------------------

/// Knows the server's commands.
struct Assistant {
    docs: RefCell<Docs>,
    hints: Rc<Cell<bool>>,
    /// How wide the prompt is.
    prompt: Cell<usize>,
}

/// The width of the terminal.
fn columns() -> Option<usize> {
    let size = tcgetwinsize(std::io::stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0).or(Some(COLUMNS))
}

/// What is still to be typed: it is shown and cannot be taken over.
struct Missing(String);

impl Hint for Missing {
    fn display(&self) -> &str {
        &self.0
    }

    fn completion(&self) -> Option<&str> {
        None
    }
}

impl Completer for Assistant {
    type Candidate = String;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        Ok((0, self.docs.borrow().completions(&line[..pos])))
    }
}

impl Hinter for Assistant {
    type Hint = Missing;

    fn hint(&self, line: &str, pos: usize, _: &Context<'_>) -> Option<Missing> {
        if pos < line.len() || !self.hints.get() {
            return None;
        }
        let mut hint = self.docs.borrow().hint(line)?;
        // What would need a line more is cut: a line that jumps is worse than a hint that ends early.
        let room = columns()?.checked_sub(self.prompt.get() + line.chars().count() + 1)?;
        if let Some((end, _)) = hint.char_indices().nth(room) {
            hint.truncate(end);
        }
        Some(Missing(hint))
    }
}

impl Highlighter for Assistant {
    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        match std::env::var_os(COLOURLESS_VARIABLE) {
            Some(_) => Cow::Borrowed(hint),
            None => Cow::Owned(format!("\x1b[90m{hint}\x1b[0m")),
        }
    }
}

impl Validator for Assistant {}

impl Helper for Assistant {}
