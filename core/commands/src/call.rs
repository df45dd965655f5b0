//! One call of a command: what a handler sees, and what it returns.

use crate::error::Error;
use base::long_double::LongDouble;
use base::number::parse_c_f64;
use keyspace::{Db, Event};
use resp::Reply;

/// The arguments of a request. Index 0 is the command's name as it was sent.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a>(&'a [&'a [u8]]);

impl<'a> Args<'a> {
    /// The arguments `argv`, name first.
    pub fn new(argv: &'a [&'a [u8]]) -> Args<'a> {
        Args(argv)
    }

    /// All of them.
    pub fn all(self) -> &'a [&'a [u8]] {
        self.0
    }

    /// How many, with the name.
    #[expect(clippy::len_without_is_empty, reason = "a request always has its name")]
    pub fn len(self) -> usize {
        self.0.len()
    }

    /// Argument `i`. The row's arity guarantees those that a command always has.
    ///
    /// # Panics
    /// When there is none.
    #[inline]
    pub fn at(self, i: usize) -> &'a [u8] {
        self.0[i]
    }

    /// Argument `i`, if there is one.
    pub fn find(self, i: usize) -> Option<&'a [u8]> {
        self.0.get(i).copied()
    }

    /// The arguments from `i` on.
    pub fn rest(self, i: usize) -> &'a [&'a [u8]] {
        self.0.get(i..).unwrap_or(&[])
    }

    /// Whether argument `i` is the option `word`, in any case.
    pub fn is(self, i: usize, word: &str) -> bool {
        self.find(i).is_some_and(|a| a.eq_ignore_ascii_case(word.as_bytes()))
    }

    /// Argument `i` as an integer.
    ///
    /// # Errors
    /// When it is none.
    pub fn int(self, i: usize) -> Result<i64, Error> {
        base::number::parse_i64(self.at(i)).ok_or(Error::NOT_AN_INTEGER)
    }

    /// Argument `i` as an integer of 32 bits: the number of a database.
    ///
    /// # Errors
    /// When it is none.
    pub fn int32(self, i: usize) -> Result<i32, Error> {
        i32::try_from(self.int(i)?).map_err(|_| {
            Error::new("ERR value is out of range, value must between -2147483648 and 2147483647")
        })
    }

    /// Argument `i` as a double.
    ///
    /// # Errors
    /// When it is none.
    pub fn float(self, i: usize) -> Result<f64, Error> {
        base::number::parse_f64(self.at(i)).ok_or(Error::NOT_A_FLOAT)
    }

    /// Argument `i` as a blocking time-out in seconds: milliseconds, rounded up so that a short wait never becomes none
    /// (`None`: for ever, when it is 0).
    ///
    /// # Errors
    /// When it is no number, negative, or too far away.
    pub fn timeout_ms(self, i: usize, now_ms: i64) -> Result<Option<u64>, Error> {
        // Redis reads it in 80 bits: what is too large for a double is a number all the same.
        let text = self.at(i);
        let seconds =
            LongDouble::parse(text).and_then(|_| parse_c_f64(text)).ok_or(Error::TIMEOUT_NOT_A_FLOAT)?;
        if seconds < 0.0 {
            return Err(Error::TIMEOUT_NEGATIVE);
        }
        let ms = (seconds * 1000.0).ceil();
        if ms >= i64::MAX as f64 || (ms as i64).checked_add(now_ms).is_none() {
            return Err(Error::new("ERR timeout is out of range"));
        }
        Ok((ms > 0.0).then_some(ms as u64))
    }
}

/// Elements in one command that goes to the log: what has millions must not become one giant record.
pub(crate) const LOGGED_ELEMENTS_MAX: usize = 1024;

/// What a handler sees. The parts are separate fields, so a guard on `db` does not lock `reply`.
#[derive(Debug)]
pub struct Call<'a> {
    /// The request.
    pub args: Args<'a>,
    /// The selected database.
    pub db: Db<'a>,
    /// Where the reply goes.
    pub reply: Reply<'a>,
    /// Whether the command may wait (not inside MULTI or a script: there it answers as if its time were over).
    pub may_block: bool,
}

impl Call<'_> {
    /// Gives the log `argv` in place of the request (once or several times): absolute expiries, random picks, blocking forms.
    pub fn propagate(&mut self, argv: &[&[u8]]) {
        self.db.space().effects.rewrite(argv);
    }
}

/// What a handler did.
#[derive(Debug)]
pub enum Outcome {
    /// It ran; the event applies to the keys it touched.
    Done(Option<Event>),
    /// Nothing to take yet: the client waits.
    Block(Box<Wait>),
}

/// What a client waits for.
#[derive(Debug)]
pub struct Wait {
    /// The keys, any of which may become ready.
    pub keys: Vec<Vec<u8>>,
    /// How long, milliseconds; `None`: for ever.
    pub timeout_ms: Option<u64>,
    /// The reply when the time is over.
    pub on_timeout: OnTimeout,
    /// The request to run again when a key is ready, where it is not the request as received (XREAD's `$`).
    pub again: Option<Vec<Vec<u8>>>,
    /// Whether the command is to be run again also when a key went away (XREADGROUP).
    pub on_removal: bool,
    /// In how many milliseconds it is to be run again although no key was touched, because time alone may have made
    /// something ready.
    pub look_again_ms: Option<u64>,
    /// The consumer group that it waits in for what is new (XREADGROUP): when there is nothing for one who waits so for a key, there
    /// is nothing for the others.
    pub group: Option<Vec<u8>>,
}

impl Wait {
    /// For any of `keys`, and nothing beside that.
    pub fn new(keys: Vec<Vec<u8>>, timeout_ms: Option<u64>, on_timeout: OnTimeout) -> Wait {
        let (again, group) = (None, None);
        Wait { keys, timeout_ms, on_timeout, again, on_removal: false, look_again_ms: None, group }
    }
}

/// The reply to a client whose time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnTimeout {
    /// The null of an array.
    NullArray,
    /// The null of a value.
    Null,
    /// How many replicas have it: the engine knows (WAIT).
    Acked,
    /// How many logs have it, and how many replicas' logs: the engine knows (WAITAOF).
    Synced,
}

/// A handler's result: what it did, or the error reply.
pub type Handled = Result<Outcome, Error>;

/// What runs a row of this crate.
pub type Handler = fn(&mut Call<'_>) -> Handled;

/// The command changed data (or tried to): `event` applies to the keys it touched.
pub const fn done(event: Event) -> Handled {
    Ok(Outcome::Done(Some(event)))
}

/// The command only read.
pub const fn read() -> Handled {
    Ok(Outcome::Done(None))
}

impl Call<'_> {
    /// Waits for one of `keys`, or answers at once as if the time were over where waiting is not allowed.
    pub fn wait_for(&mut self, keys: &[&[u8]], timeout_ms: Option<u64>, on_timeout: OnTimeout) -> Handled {
        if !self.may_block {
            match on_timeout {
                OnTimeout::Null => self.reply.null(),
                _ => self.reply.null_array(),
            }
            return read();
        }
        wait(Wait::new(keys.iter().map(|k| k.to_vec()).collect(), timeout_ms, on_timeout))
    }
}

/// The client waits.
pub fn wait(wait: Wait) -> Handled {
    Ok(Outcome::Block(Box::new(wait)))
}

/// HELP of `container` (lower case).
pub(crate) fn help(call: &mut Call<'_>, container: &str) -> Handled {
    crate::docs::help::write(container, &mut call.reply);
    read()
}

/// The error for options that a subcommand has not.
pub fn bad_subcommand(args: Args<'_>, container: &str) -> Error {
    let template = "ERR unknown subcommand or wrong number of arguments for '{}'. Try {} HELP.";
    Error::quoting(template, &[args.at(1), container.as_bytes()])
}

/// The error for a subcommand that `container` (upper case) has not.
pub fn unknown_subcommand(args: Args<'_>, container: &str) -> Error {
    const SHOWN_BYTES_MAX: usize = 128;
    let name = args.find(1).unwrap_or(b"");
    let shown = &name[..name.len().min(SHOWN_BYTES_MAX)];
    Error::quoting("ERR unknown subcommand '{}'. Try {} HELP.", &[shown, container.as_bytes()])
}
