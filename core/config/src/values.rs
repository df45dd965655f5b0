//! The configuration in force: a valid value for each row, where it came from, and the typed fields that the
//! engine reads.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, LazyLock};

use crate::directives::{self, Directive, Disposition, TABLE};
use crate::settings::Settings;
use crate::value_type::Value;

/// Where a value came from, for error messages and for what a rewrite may write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The table.
    Default,
    /// The profile compiled into the program.
    Profile,
    /// A line of a file.
    File(Arc<str>, usize),
    /// An environment variable.
    Variable(Arc<str>),
    /// A secret read from this file.
    Secret(Arc<str>),
    /// The command line.
    CommandLine,
    /// `CONFIG SET`.
    Set,
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => out.write_str("default"),
            Origin::Profile => out.write_str("profile"),
            Origin::File(path, line) if *line > 0 => write!(out, "{path}, line {line}"),
            Origin::File(path, _) => out.write_str(path),
            Origin::Variable(name) => write!(out, "variable {name}"),
            Origin::Secret(path) => write!(out, "secret {path}"),
            Origin::CommandLine => out.write_str("command line"),
            Origin::Set => out.write_str("CONFIG SET"),
        }
    }
}

/// A `rename-command` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rename {
    /// The command's own name.
    pub from: Vec<u8>,
    /// Its new name; empty to remove the command.
    pub to: Vec<u8>,
}

/// All values. Reads of typed fields go through [`Settings`], to which this dereferences.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    values: Vec<Value>,
    origins: Vec<Origin>,
    settings: Settings,
    /// `rename-command` lines in their order; that the commands exist is for the engine to check.
    pub renames: Vec<Rename>,
    /// The words after `user` of each such line, in order; the rules are for the engine to check.
    pub users: Vec<Vec<Vec<u8>>>,
}

impl Deref for Config {
    type Target = Settings;

    fn deref(&self) -> &Settings {
        &self.settings
    }
}

/// What [`Config::default`] copies.
static DEFAULT: LazyLock<Config> = LazyLock::new(Config::of_defaults);

impl Default for Config {
    fn default() -> Config {
        DEFAULT.clone()
    }
}

impl Config {
    /// Every directive as its row says.
    fn of_defaults() -> Config {
        let value = |row: &Directive| {
            let words = row.kind.words_of(row.default.as_bytes());
            row.kind.parse(row.name, &words, None).expect("a test parses every row's default")
        };
        let values: Vec<Value> = TABLE.iter().map(value).collect();
        let settings = Settings::from_values(&Values(&values));
        let origins = vec![Origin::Default; values.len()];
        Config { values, origins, settings, renames: Vec::new(), users: Vec::new() }
    }

    /// The value of a directive by name or alias.
    pub fn value(&self, name: &str) -> Option<&Value> {
        directives::index_of(name.as_bytes()).map(|at| &self.values[at])
    }

    /// The value as `CONFIG GET` shows it.
    pub fn text(&self, name: &str) -> Option<Vec<u8>> {
        directives::index_of(name.as_bytes()).map(|at| self.text_at(at))
    }

    /// Where the value of a directive came from.
    pub fn origin(&self, name: &str) -> Option<&Origin> {
        directives::index_of(name.as_bytes()).map(|at| &self.origins[at])
    }

    /// Whether anybody has said the value of a directive, be it the profile.
    pub fn is_said(&self, name: &str) -> bool {
        self.origin(name).is_some_and(|origin| *origin != Origin::Default)
    }

    /// Sets one directive by name from text, as `CONFIG SET` would but without regard to `boot`: for what
    /// the server itself decides (REPLICAOF, a chosen port).
    ///
    /// # Errors
    /// What is wrong with the name or value.
    pub fn assign(&mut self, name: &str, text: &[u8], origin: Origin) -> Result<(), String> {
        let at = directives::index_of(name.as_bytes()).ok_or_else(|| format!("no directive '{name}'"))?;
        self.assign_at(at, &TABLE[at].kind.words_of(text), origin)?;
        self.refresh();
        Ok(())
    }

    pub(crate) fn text_at(&self, at: usize) -> Vec<u8> {
        TABLE[at].kind.show(&self.values[at])
    }

    pub(crate) fn value_at(&self, at: usize) -> &Value {
        &self.values[at]
    }

    pub(crate) fn origin_at(&self, at: usize) -> &Origin {
        &self.origins[at]
    }

    /// Parses and stores; the caller ends with [`Config::refresh`].
    pub(crate) fn assign_at(&mut self, at: usize, words: &[Vec<u8>], origin: Origin) -> Result<(), String> {
        let row = &TABLE[at];
        let value = row.kind.parse(row.name, words, Some(&self.values[at]))?;
        if let Disposition::Refused(why) = row.does
            && row.kind.show(&value) != row.default.as_bytes()
        {
            return Err(why.into());
        }
        self.store(at, value, origin);
        Ok(())
    }

    pub(crate) fn store(&mut self, at: usize, value: Value, origin: Origin) {
        self.values[at] = value;
        self.origins[at] = origin;
    }

    /// Brings the typed fields up to date.
    pub(crate) fn refresh(&mut self) {
        self.settings = Settings::from_values(&Values(&self.values));
    }
}

/// Values by name, for filling [`Settings`]; every name used there is in the table, which a test proves by
/// building one.
pub(crate) struct Values<'a>(&'a [Value]);

impl Values<'_> {
    fn at(&self, name: &str) -> &Value {
        &self.0[directives::index_of(name.as_bytes()).expect("settings are named as rows of the table")]
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        matches!(self.at(name), Value::Bool(true))
    }

    pub(crate) fn int(&self, name: &str) -> i64 {
        match self.at(name) {
            Value::Int(value) => *value,
            _ => 0,
        }
    }

    /// A number whose row's lower bound is not negative.
    pub(crate) fn count(&self, name: &str) -> u64 {
        self.int(name).unsigned_abs()
    }

    pub(crate) fn size(&self, name: &str) -> usize {
        usize::try_from(self.count(name)).unwrap_or(usize::MAX)
    }

    pub(crate) fn port(&self, name: &str) -> u16 {
        u16::try_from(self.count(name)).unwrap_or(0)
    }

    pub(crate) fn choice(&self, name: &str) -> usize {
        match self.at(name) {
            Value::Choice(index) => *index,
            _ => 0,
        }
    }

    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        match self.at(name) {
            Value::Text(text) => text.clone(),
            _ => Vec::new(),
        }
    }

    pub(crate) fn text(&self, name: &str) -> String {
        String::from_utf8_lossy(&self.bytes(name)).into_owned()
    }

    pub(crate) fn words(&self, name: &str) -> Vec<String> {
        match self.at(name) {
            Value::Words(words) => words.iter().map(|w| String::from_utf8_lossy(w).into_owned()).collect(),
            _ => Vec::new(),
        }
    }

    pub(crate) fn value(&self, name: &str) -> &Value {
        self.at(name)
    }
}
