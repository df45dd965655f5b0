//! Strings set or deleted on a condition: the comparisons of SET, DELEX, DELIFEQ and MSETEX.
//!
//! The log gets plain SET and DEL, so that every server can read it.
//!
//! DELIFEQ and SET with IFEQ are Valkey's; the rest came with Redis 8.4 and is built after its documentation
//! (<https://redis.io/commands/delex>, <https://redis.io/commands/digest>, <https://redis.io/commands/set>).

use super::{Lifetime, SetOptions, put_expiring, set_options};
use crate::call::{Args, Call, Handled, done, read};
use crate::error::Error;
use keyspace::{Event, Text, Ttl};
use types::Kind;

/// What a string is compared with.
#[derive(Clone, Copy, Debug)]
pub(super) enum Condition<'a> {
    /// IFEQ: it is this value.
    Equal(&'a [u8]),
    /// IFNE: it is another one.
    Unequal(&'a [u8]),
    /// IFDEQ: its digest is this one.
    DigestEqual(&'a [u8]),
    /// IFDNE: its digest is another one.
    DigestUnequal(&'a [u8]),
}

/// Hexadecimal digits of a digest.
const DIGEST_DIGITS: usize = 16;

impl<'a> Condition<'a> {
    /// The condition whose word stands at `i`, if one does and a value follows it.
    pub(super) fn at(args: Args<'a>, i: usize) -> Option<Condition<'a>> {
        let value = args.find(i + 1)?;
        match () {
            () if args.is(i, "ifeq") => Some(Condition::Equal(value)),
            () if args.is(i, "ifne") => Some(Condition::Unequal(value)),
            () if args.is(i, "ifdeq") => Some(Condition::DigestEqual(value)),
            () if args.is(i, "ifdne") => Some(Condition::DigestUnequal(value)),
            () => None,
        }
    }

    /// Whether `word` names a condition.
    pub(super) fn is_word(word: &[u8]) -> bool {
        ["ifeq", "ifne", "ifdeq", "ifdne"].iter().any(|known| word.eq_ignore_ascii_case(known.as_bytes()))
    }

    /// Whether the string `text` fits.
    fn fits(self, text: Text<'_>) -> Result<bool, Error> {
        let is = |value: &[u8]| match text {
            Text::Bytes(bytes) => bytes == value,
            Text::Int(_) => text.to_vec() == value,
        };
        let digests = |given: &[u8]| match given.len() {
            DIGEST_DIGITS => Ok(digest_of(text).eq_ignore_ascii_case(given)),
            _ => Err(Error::new("ERR The digest must be exactly 16 hexadecimal characters")),
        };
        Ok(match self {
            Condition::Equal(value) => is(value),
            Condition::Unequal(value) => !is(value),
            Condition::DigestEqual(given) => digests(given)?,
            Condition::DigestUnequal(given) => !digests(given)?,
        })
    }

    /// Whether SET may put its value at `key`. What is not there is unequal to everything.
    pub(super) fn allows_setting(self, call: &mut Call<'_>, key: &[u8]) -> Result<bool, Error> {
        match call.db.text_to_write(key)? {
            Some(text) => self.fits(text),
            None => Ok(matches!(self, Condition::Unequal(_) | Condition::DigestUnequal(_))),
        }
    }
}

/// The digest of a string: XXH3 with 64 bits and without a seed, as hexadecimal digits.
fn digest_of(text: Text<'_>) -> [u8; DIGEST_DIGITS] {
    let hash = match text {
        Text::Bytes(bytes) => twox_hash::XxHash3_64::oneshot(bytes),
        Text::Int(_) => twox_hash::XxHash3_64::oneshot(&text.to_vec()),
    };
    let mut digits = [0; DIGEST_DIGITS];
    for (i, digit) in digits.iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[(hash >> (60 - 4 * i)) as usize & 15];
    }
    digits
}

pub(super) fn digest(call: &mut Call<'_>) -> Handled {
    match call.db.text(call.args.at(1))?.map(digest_of) {
        Some(digits) => call.reply.bulk(&digits),
        None => call.reply.null(),
    }
    read()
}

/// DELEX reads what it removes when it compares it.
pub(super) fn use_of_delex(argv: &[&[u8]]) -> &'static str {
    if argv.len() > 2 { "RW access delete" } else { "RM delete" }
}

pub(super) fn delex(call: &mut Call<'_>) -> Handled {
    let (key, args) = (call.args.at(1), call.args);
    if !matches!(args.len(), 2 | 4) {
        return Err(Error::arity("delex"));
    }
    let Some(kind) = call.db.entry_to_write(key).map(|entry| entry.kind()) else {
        call.reply.integer(0);
        return read();
    };
    if args.len() == 4 {
        if kind != Kind::String {
            return Err(Error::new("ERR Key should be of string type if conditions are specified"));
        }
        let bad = Error::new("ERR Invalid condition. Use IFEQ, IFNE, IFDEQ, or IFDNE");
        let condition = Condition::at(args, 2).ok_or(bad)?;
        let fits = call.db.text_to_write(key)?.map_or(Ok(false), |text| condition.fits(text))?;
        if !fits {
            call.reply.integer(0);
            return read();
        }
    }
    call.db.remove(key);
    call.propagate(&[b"DEL", key]);
    call.reply.integer(1);
    done(Event::DEL)
}

pub(super) fn delifeq(call: &mut Call<'_>) -> Handled {
    let (key, value) = (call.args.at(1), call.args.at(2));
    let fits = call.db.text_to_write(key)?.map_or(Ok(false), |text| Condition::Equal(value).fits(text))?;
    if fits {
        call.db.remove(key);
        call.propagate(&[b"DEL", key]);
    }
    call.reply.integer(i64::from(fits));
    done(Event::DEL)
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
    let mut there = pairs.iter().map(|(key, _)| call.db.entry_to_write(key).is_some());
    match (options.only_if_absent, options.only_if_present) {
        (true, _) => !there.any(|there| there),
        (_, true) => there.all(|there| there),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::super::COMMANDS;
    use crate::hash::tests::{ask, dialogue};
    use resp::Protocol;

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
    fn a_string_is_set_by_comparison_with_a_value_or_a_digest() {
        dialogue(
            COMMANDS,
            &[
                ("SET a v1 IFEQ x", "$-1"),
                ("SET a v1 IFDEQ 0000000000000000", "$-1"),
                ("SET a v1 IFNE x", "+OK"),
                ("SET a v2 IFNE v1", "$-1"),
                ("SET a v2 IFNE v1 GET", "$2 v1"),
                ("SET b v1 IFDNE 0000000000000000", "+OK"),
                ("DIGEST none", "$-1"),
                ("SET a hello", "+OK"),
                ("DIGEST a", "$16 9555e8555c62dcfd"),
                ("SET a x IFDNE 9555E8555C62DCFD", "$-1"),
                (
                    "SET a x IFDEQ 9555e8555c62dcf",
                    "-ERR The digest must be exactly 16 hexadecimal characters",
                ),
                ("SET a x IFDEQ zzzzzzzzzzzzzzzz", "$-1"),
                ("SET a x IFDEQ 9555E8555c62dcfd KEEPTTL", "+OK"),
                ("SET a y IFNE v IFEQ x", "-ERR syntax error"),
                ("SET a y IFDNE", "-ERR syntax error"),
                ("SET a 10 IFNE 10", "+OK"),
                ("SET a 11 IFEQ 10", "+OK"),
                ("SET a 123", "+OK"),
                ("DIGEST a", "$16 404a763b3f4c8c9a"),
                ("SET a v8", "+OK"),
                ("DIGEST a", "$16 0cc76dbb41381419"),
            ],
        );
    }

    #[test]
    fn a_key_is_deleted_if_it_is_what_was_thought() {
        let missing = ["IFEQ", "IFNE", "IFDEQ", "IFDNE", "FOO"].map(|word| format!("DELEX none {word} bar"));
        let lines: Vec<(&str, &str)> = missing.iter().map(|line| (line.as_str(), ":0")).collect();
        dialogue(COMMANDS, &lines);
        dialogue(
            COMMANDS,
            &[
                ("DELEX a", ":0"),
                ("SET a hello", "+OK"),
                ("DELEX a IFEQ other", ":0"),
                ("DELEX a IFNE hello", ":0"),
                ("DELEX a IFDEQ 0000000000000000", ":0"),
                ("DELEX a IFDNE 9555e8555c62dcfd", ":0"),
                ("DELEX a IFDEQ 123", "-ERR The digest must be exactly 16 hexadecimal characters"),
                ("DELEX a FOO hello", "-ERR Invalid condition. Use IFEQ, IFNE, IFDEQ, or IFDNE"),
                ("DELEX a IFEQ", "-ERR wrong number of arguments for 'delex' command"),
                ("DELEX none IFEQ a b", "-ERR wrong number of arguments for 'delex' command"),
                ("DELEX a ifeq hello", ":1"),
                ("GET a", "$-1"),
                ("SET a 0123", "+OK"),
                ("DELEX a IFEQ 123", ":0"),
                ("DELEX a IFNE 123", ":1"),
                ("SET a hello", "+OK"),
                ("DELEX a IFDEQ 9555E8555C62DCFD", ":1"),
                ("SET a hello", "+OK"),
                ("DELEX a IFDNE zzzzzzzzzzzzzzzz", ":1"),
            ],
        );
        let mut space = dialogue(crate::hash::COMMANDS, &[("HSET h f v", ":1")]);
        let mut asked = |line| ask(COMMANDS, &mut space, Protocol::Resp2, line);
        let complaint = "-ERR Key should be of string type if conditions are specified";
        assert_eq!((asked("DELEX h IFEQ v"), asked("DELEX h FOO v")), (complaint.into(), complaint.into()));
        let wrong = "-WRONGTYPE Operation against a key holding the wrong kind of value";
        for line in ["SET h x IFEQ v", "SET h x IFDNE 0", "DIGEST h"] {
            assert_eq!(asked(line), wrong);
        }
        assert_eq!(asked("DELEX h"), ":1");
    }

    #[test]
    fn who_compares_reads() {
        assert_eq!(super::use_of_delex(&[b"DELEX", b"k"]), "RM delete");
        assert_eq!(super::use_of_delex(&[b"DELEX", b"k", b"IFEQ", b"v"]), "RW access delete");
        for (word, used) in
            [(b"IFNE", "RW access update"), (b"ifeq", "RW access update"), (b"EXAT", "OW update")]
        {
            assert_eq!(super::super::use_of_set(&[b"SET", b"k", b"v", word, b"1"]), used);
        }
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
