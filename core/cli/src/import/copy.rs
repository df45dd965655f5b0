//! The copy by keys: SCAN and DUMP there, RESTORE here, with times to live.
//!
//! It is no picture of one moment: what is written meanwhile may be there or not, and what is deleted meanwhile may stay. So writers are to
//! stand still, or it is done again. At most some values are held at a time. How far it is can be noted in a file; SCAN goes on from there,
//! and gives every key at least once that was there all the time.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::peer::Peer;
use super::{Import, Listener, Told};
use crate::failure::Failure;
use crate::value::Value;

/// Keys that SCAN is asked for at a time.
const KEYS_PER_SCAN: &str = "100";

/// Values that are held at a time.
const VALUES_MAX: usize = 16;

/// How often it is told how far the copy is.
const TELL_PERIOD: Duration = Duration::from_secs(1);

/// How far a copy is.
#[derive(Debug, Default, PartialEq, Eq)]
struct State {
    /// Databases before this one are through.
    database: i64,
    /// Where SCAN goes on in it.
    cursor: String,
    /// Keys that were copied, and that were left out.
    copied: u64,
    skipped: u64,
}

impl State {
    /// What a file says; from the beginning where there is none.
    fn read(path: Option<&Path>) -> Result<State, Failure> {
        let start = State { cursor: "0".to_owned(), ..State::default() };
        let Some(path) = path.filter(|path| path.exists()) else { return Ok(start) };
        let text = fs::read_to_string(path)
            .map_err(|error| Failure::File("Error opening", path.to_owned(), error))?;
        State::parse(&text).ok_or(Failure::Sentence("The file of --state was not written by a copy."))
    }

    fn parse(text: &str) -> Option<State> {
        let mut words = text.split_ascii_whitespace();
        let state = State {
            database: words.next()?.parse().ok()?,
            cursor: words.next()?.parse::<u64>().ok()?.to_string(),
            copied: words.next()?.parse().ok()?,
            skipped: words.next()?.parse().ok()?,
        };
        words.next().is_none().then_some(state)
    }

    /// Notes it: the file is whole, whatever happens.
    fn write(&self, path: Option<&Path>) -> Result<(), Failure> {
        let Some(path) = path else { return Ok(()) };
        let State { database, cursor, copied, skipped } = self;
        let aside = path.with_extension("part");
        fs::write(&aside, format!("{database} {cursor} {copied} {skipped}\n"))
            .and_then(|()| fs::rename(&aside, path))
            .map_err(|error| Failure::File("Error writing", path.to_owned(), error))
    }
}

/// Copies all keys.
pub(super) fn all(
    order: &Import,
    from: &mut Peer,
    into: &mut Peer,
    listener: Listener<'_>,
) -> Result<(), Failure> {
    if order.cutover {
        return Err(Failure::Sentence(
            "--cutover is for what is followed; behind a copy by keys the clients are simply moved.",
        ));
    }
    let path = order.state.as_deref();
    let mut state = State::read(path)?;
    let is_fresh = state == State { cursor: "0".to_owned(), ..State::default() };
    if is_fresh && !order.replace && !into.databases()?.is_empty() {
        return Err(Failure::Sentence(
            "Nothing was changed: there are keys at the new one; with --replace those of the same names are lost.",
        ));
    }
    listener(Told::Note(
        "Key by key: what is written there meanwhile may be missing, and what is deleted may stay. Let writers stand still.".to_owned(),
    ));
    let databases = from.databases()?;
    let total = databases.iter().map(|(_, keys)| keys).sum();
    let mut told = Instant::now();
    for (database, _) in databases {
        if database < state.database {
            continue;
        }
        if database > state.database {
            (state.database, state.cursor) = (database, "0".to_owned());
        }
        let select = ["SELECT".to_owned(), database.to_string()];
        from.ask(&select)?;
        into.ask(&select)?;
        loop {
            let (next, keys) = from.scan(&state.cursor, KEYS_PER_SCAN)?;
            for some in keys.chunks(VALUES_MAX) {
                some_keys(order, from, into, some, &mut state, listener)?;
            }
            let is_end = next == "0";
            (state.cursor, state.database) = (next, state.database + i64::from(is_end));
            state.write(path)?;
            if told.elapsed() >= TELL_PERIOD {
                told = Instant::now();
                listener(Told::Keys(state.copied, total));
            }
            if is_end {
                break;
            }
        }
    }
    listener(Told::Keys(state.copied, total));
    if state.skipped > 0 {
        listener(Told::Note(format!("{} keys were left out.", state.skipped)));
    }
    Ok(())
}

fn some_keys(
    order: &Import,
    from: &mut Peer,
    into: &mut Peer,
    keys: &[Vec<u8>],
    state: &mut State,
    listener: Listener<'_>,
) -> Result<(), Failure> {
    let word = |text: &str| text.as_bytes().to_vec();
    let questions: Vec<_> = keys
        .iter()
        .flat_map(|key| [vec![word("PTTL"), key.clone()], vec![word("DUMP"), key.clone()]])
        .collect();
    let answers = from.ask_all(&questions)?;
    let mut requests = Vec::new();
    for (key, answer) in keys.iter().zip(answers.chunks_exact(2)) {
        match answer {
            [Value::Integer(ttl), Value::Text(payload)] if *ttl >= -1 => {
                let ttl = word(&restored_ttl_ms(*ttl).to_string());
                requests.push(vec![word("RESTORE"), key.clone(), ttl, payload.clone(), word("REPLACE")]);
            }
            // It has gone meanwhile.
            [_, Value::Nil] | [Value::Integer(_), Value::Text(_)] => {}
            [_, Value::Error(text)] | [Value::Error(text), _]
                if order.skip_unsupported && is_about_the_key(text) =>
            {
                leave_out(key, text, state, listener);
            }
            [_, Value::Error(text)] | [Value::Error(text), _] => {
                return Err(Failure::Refusal("DUMP", text.clone()));
            }
            _ => return Err(Failure::Unexpected("DUMP")),
        }
    }
    for (request, answer) in requests.iter().zip(into.ask_all(&requests)?) {
        match answer {
            Value::Error(text) if order.skip_unsupported && is_about_the_key(&text) => {
                leave_out(&request[1], &text, state, listener);
            }
            Value::Error(text) => return Err(Failure::Refusal("RESTORE", text)),
            _ => state.copied += 1,
        }
    }
    Ok(())
}

/// Whether an error may be one of this key alone. Rights, memory and disks, whose errors have words of their own, concern all of them.
fn is_about_the_key(error: &[u8]) -> bool {
    error.starts_with(b"ERR ")
}

/// The time to live that RESTORE takes, milliseconds, for one that PTTL has told: 0 is none at all for the former, and less than one for the latter.
fn restored_ttl_ms(told: i64) -> i64 {
    if told < 0 { 0 } else { told.max(1) }
}

fn leave_out(key: &[u8], why: &[u8], state: &mut State, listener: Listener<'_>) {
    state.skipped += 1;
    let why = String::from_utf8_lossy(why).into_owned();
    listener(Told::Unsupported { database: state.database, key: key.to_vec(), kind: why });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_concerns_all_keys_is_no_reason_to_leave_out_one() {
        assert!(is_about_the_key(b"ERR Bad data format"));
        for error in [
            &b"NOPERM No permissions"[..],
            b"OOM command not allowed",
            b"MISCONF disk",
            b"READONLY You can't",
        ] {
            assert!(!is_about_the_key(error));
        }
    }

    #[test]
    fn a_key_in_its_last_millisecond_is_not_kept_for_ever() {
        assert_eq!([-1, 0, 1, 5000].map(restored_ttl_ms), [0, 1, 1, 5000]);
    }

    #[test]
    fn how_far_a_copy_is_is_read_as_it_was_written_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        assert_eq!(State::read(Some(&path)).unwrap(), State { cursor: "0".to_owned(), ..State::default() });
        let state = State { database: 3, cursor: u64::MAX.to_string(), copied: 7, skipped: 2 };
        state.write(Some(&path)).unwrap();
        assert_eq!(State::read(Some(&path)).unwrap(), state);
        for other in ["", "3", "3 x 7 2", "3 0 7 2 1", "SELECT"] {
            assert_eq!(State::parse(other), None, "{other}");
        }
    }
}
