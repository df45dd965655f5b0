//! Strings set or deleted on a condition: DELIFEQ and MSETEX.
//!
//! The log gets plain SET and DEL, so that every server can read it.

use super::{Lifetime, SetOptions, put_expiring, set_options};
use crate::call::{Args, Call, Handled, done, read};
use crate::error::Error;
use keyspace::{Event, Ttl};

pub(super) fn delifeq(call: &mut Call<'_>) -> Handled {
    let (key, value) = (call.args.at(1), call.args.at(2));
    let equal = equals(call, key, value)? == Some(true);
    if equal {
        call.db.remove(key);
        call.propagate(&[b"DEL", key]);
    }
    call.reply.integer(i64::from(equal));
    done(Event::DEL)
}

/// Whether the string at `key` is `value`; `None` when there is no key.
pub(super) fn equals(call: &mut Call<'_>, key: &[u8], value: &[u8]) -> Result<Option<bool>, Error> {
    Ok(call.db.text(key)?.map(|text| match text {
        keyspace::Text::Bytes(bytes) => bytes == value,
        keyspace::Text::Int(_) => text.to_vec() == value,
    }))
}

type Pair<'a> = (&'a [u8], &'a [u8]);

/// Keys with their values, and where the options begin.
fn counted_pairs(args: Args<'_>) -> Result<(Vec<Pair<'_>>, usize), Error> {
    let count = args
        .int(1)
        .ok()
        .and_then(|n| usize::try_from(n).ok())
        .filter(|n| (1..=i32::MAX as usize).contains(n));
    let count = count.ok_or(Error::new("ERR invalid numkeys value or out of range"))?;
    let words = args.rest(2).get(..2 * count).ok_or(Error::SYNTAX)?;
    Ok((words.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect(), 2 + words.len()))
}

pub(super) fn msetex(call: &mut Call<'_>) -> Handled {
    let (pairs, first) = counted_pairs(call.args)?;
    let options = set_options(call.args, first, call.db.now_ms(), "msetex")?;
    if !all_allow(call, &pairs, &options) {
        call.reply.integer(0);
        return read();
    }
    for (key, value) in pairs {
        match options.lifetime {
            Lifetime::At(at) => put_expiring(call, key, value, at),
            Lifetime::Keep => {
                call.db.put_text(key, value, Ttl::Keep);
                call.propagate(&[b"SET", key, value, b"KEEPTTL"]);
            }
            Lifetime::Unsaid | Lifetime::Persist => {
                call.db.put_text(key, value, Ttl::Clear);
                call.propagate(&[b"SET", key, value]);
            }
        }
    }
    call.reply.integer(1);
    done(super::SET)
}

fn all_allow(call: &mut Call<'_>, pairs: &[Pair<'_>], options: &SetOptions<'_>) -> bool {
    let mut there = pairs.iter().map(|(key, _)| call.db.contains(key));
    match (options.only_if_absent, options.only_if_present) {
        (true, _) => !there.any(|there| there),
        (_, true) => there.all(|there| there),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::super::COMMANDS;
    use crate::hash::tests::dialogue;

    #[test]
    fn a_string_is_set_or_deleted_if_it_is_what_was_thought() {
        dialogue(
            COMMANDS,
            &[
                ("SET a hello", "+OK"),
                ("SET a 1 IFEQ other", "$-1"),
                ("SET a 1 IFEQ hello", "+OK"),
                ("SET a 2 IFEQ 1 GET", "$1 1"),
                ("SET a 3 IFEQ 1 GET", "$1 2"),
                ("SET none 3 IFEQ 1", "$-1"),
                ("SET a 3 NX IFEQ 2", "-ERR syntax error"),
                ("SET a 3 IFEQ 2 XX", "-ERR syntax error"),
                ("SET a 3 IFEQ", "-ERR syntax error"),
                ("DELIFEQ a 1", ":0"),
                ("DELIFEQ a 2", ":1"),
                ("DELIFEQ a 2", ":0"),
                ("GETEX a EX abc", "$-1"),
                ("APPEND a 10", ":2"),
                ("INCR a", ":11"),
            ],
        );
    }

    #[test]
    fn several_are_set_on_one_condition() {
        dialogue(
            COMMANDS,
            &[
                ("MSETEX 2 a 1 b 2 NX", ":1"),
                ("MSETEX 2 b 3 c 3 NX", ":0"),
                ("MSETEX 2 b 3 c 3 XX", ":0"),
                ("MSETEX 2 a 3 b 3 XX KEEPTTL", ":1"),
                ("MGET a b c", "*3 $1 3 $1 3 $-1"),
                ("MSETEX 0 a 1", "-ERR invalid numkeys value or out of range"),
                ("MSETEX 2 a 1", "-ERR syntax error"),
                ("MSETEX 1 a 1 NX XX", "-ERR syntax error"),
                ("MSETEX 1 a 1 GET", "-ERR syntax error"),
                ("MSETEX 1 a 1 EX 0", "-ERR invalid expire time in 'msetex' command"),
            ],
        );
    }
}
