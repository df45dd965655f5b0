//! How a command uses each of its keys: what ACL key permissions (`%R~`, `%W~`) are checked against, and what COMMAND GETKEYSANDFLAGS
//! tells.
//!
//! The key specifications in `docs` say it, once; they are read when the table is built. To read means to give the caller something of
//! the value. Whether a key exists, or how long its value is, is neither reading nor writing; a command that only adds or removes need
//! not be allowed to read.

use crate::docs::{self, positions};
use crate::spec::{Keys, Spec};
use positions::Begin;

/// What is done with the value of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyAccess {
    /// Read.
    Read,
    /// Replaced or removed without telling what was there.
    Write,
    /// Read and changed.
    Both,
    /// Neither: only asked whether it exists, or how long it is.
    Shallow,
}

/// How a key is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyUse {
    words: &'static str,
    /// What is done with its value.
    pub access: KeyAccess,
}

/// Flags that are about the specification, not about a key.
const NOT_OF_KEYS: [&str; 2] = ["variable_flags", "incomplete"];

impl KeyUse {
    fn of(words: &'static str) -> KeyUse {
        let has = |wanted: &[&str]| words.split(' ').any(|word| wanted.contains(&word));
        let access = match (has(&["access"]), has(&["insert", "update", "delete"])) {
            (true, true) => KeyAccess::Both,
            (true, false) => KeyAccess::Read,
            (false, true) => KeyAccess::Write,
            (false, false) => KeyAccess::Shallow,
        };
        KeyUse { words, access }
    }

    /// The flags that COMMAND GETKEYSANDFLAGS tells.
    pub fn flags(self) -> impl Iterator<Item = &'static str> {
        self.words.split(' ').filter(|word| !NOT_OF_KEYS.contains(word))
    }
}

/// Finds the keys of one command's requests.
#[derive(Debug)]
pub struct KeyFinder {
    spec: &'static Spec,
    /// How keys at or behind an argument are used, in the order of the arguments.
    places: Vec<(usize, KeyUse)>,
    /// How a key is used that stands behind a word (STORE, STREAMS), wherever that is.
    behind_word: KeyUse,
}

/// A key among the arguments, and whether it was found behind a word.
type KeyPosition = (usize, bool);

impl KeyFinder {
    /// For the command of this row.
    pub fn new(spec: &'static Spec) -> KeyFinder {
        let mut finder = KeyFinder { spec, places: Vec::new(), behind_word: KeyUse::of("RW access update") };
        let texts = docs::find(spec.name).map_or(&[][..], |(_, doc)| doc.keys);
        for text in texts {
            let Some(read) = positions::parse(text) else { continue };
            let used = KeyUse::of(text.split(" @ ").next().unwrap_or_default());
            match read.begin {
                Begin::Index(at) => finder.places.push((at as usize, used)),
                Begin::Keyword(..) | Begin::Unknown => finder.behind_word = used,
            }
        }
        finder
    }

    /// Whether what stands where it looks are keys: a channel stands where a key would, so that a cluster finds its place.
    pub fn finds_keys(&self) -> bool {
        !self.places.iter().any(|(_, used)| used.words.split(' ').any(|word| word == "not_key"))
    }

    /// Whether every place where keys begin is among the arguments.
    pub fn begins_within(&self, argv: &[&[u8]]) -> bool {
        self.places.iter().all(|(begin, _)| *begin < argv.len())
    }

    /// The keys of a request: their indices among the arguments and how they are used. `None` when the arguments do not fit.
    pub fn find(&self, argv: &[&[u8]]) -> Option<Vec<(usize, KeyUse)>> {
        let varying = self.spec.key_use.map(|of| KeyUse::of(of(argv)));
        let use_of = |(at, behind_word): KeyPosition| {
            let placed = self.places.iter().rev().find(|(begin, _)| !behind_word && *begin <= at);
            (at, varying.unwrap_or(placed.map_or(self.behind_word, |(_, used)| *used)))
        };
        Some(places(self.spec, argv)?.into_iter().map(use_of).collect())
    }
}

fn places(spec: &Spec, argv: &[&[u8]]) -> Option<Vec<KeyPosition>> {
    let at_index = |at| (at, false);
    match spec.keys {
        Keys::None => Some(Vec::new()),
        Keys::Range { first, last, step } => {
            let last = if last < 0 { argv.len().checked_add_signed(last)? } else { last as usize };
            (last < argv.len()).then(|| (first..=last).step_by(step).map(at_index).collect())
        }
        Keys::Counted { count_at, destination } => {
            let count = count(argv, count_at)?;
            if destination && count == 0 {
                // Such a request is refused before it stores anything.
                return None;
            }
            let end = (count_at + 1).checked_add(count)?;
            let sources = (count_at + 1..end).map(at_index);
            (end <= argv.len())
                .then(|| destination.then_some((1, false)).into_iter().chain(sources).collect())
        }
        Keys::CountedPairs { count_at } => {
            let end = count(argv, count_at)?.checked_mul(2)?.checked_add(count_at + 1)?;
            (end <= argv.len()).then(|| (count_at + 1..end).step_by(2).map(at_index).collect())
        }
        Keys::Streams => {
            let at = streams_at(argv)?;
            let half = (argv.len() - at) / 2;
            Some((at..at + half).map(|i| (i, true)).collect())
        }
        Keys::ThirdOrKeys => {
            if !argv.get(3)?.is_empty() {
                return Some(vec![(3, false)]);
            }
            match keys_of_migrate(argv) {
                Some(at) => Some((at..argv.len()).map(|i| (i, true)).collect()),
                None => Some(vec![(3, false)]),
            }
        }
        Keys::FirstAndStore => {
            let store = stored_at(spec, argv).map(|at| (at, true));
            Some([(1, false)].into_iter().chain(store).collect())
        }
    }
}

/// Where the keys of a MIGRATE begin, behind the word KEYS that is not itself a name or password.
fn keys_of_migrate(argv: &[&[u8]]) -> Option<usize> {
    let mut at = 6;
    loop {
        let word = argv.get(at)?;
        at += match () {
            () if word.eq_ignore_ascii_case(b"keys") => return Some(at + 1),
            () if word.eq_ignore_ascii_case(b"auth") => 2,
            () if word.eq_ignore_ascii_case(b"auth2") => 3,
            () => 1,
        };
    }
}

fn count(argv: &[&[u8]], at: usize) -> Option<usize> {
    usize::try_from(base::number::parse_i64(argv.get(at)?)?).ok()
}

/// The first key of XREAD or XREADGROUP: behind the word STREAMS that is not itself a value. It goes through the options as the commands
/// do, because what is not found here is not checked against a user's keys; the servers that look for the word alone take a group or a
/// consumer of that name for it.
fn streams_at(argv: &[&[u8]]) -> Option<usize> {
    let mut at = 1;
    loop {
        let option = *argv.get(at)?;
        let is = |word: &[u8]| option.eq_ignore_ascii_case(word);
        at += match () {
            () if is(b"streams") => return Some(at + 1),
            () if is(b"noack") => 1,
            () if is(b"count") || is(b"block") => 2,
            () if is(b"group") => 3,
            () => return None,
        };
    }
}

/// Where the key stands that SORT or GEORADIUS stores to: behind the last word STORE that is not itself a value. It goes
/// through the options as the commands do, because what is not found here is not checked against a user's keys.
fn stored_at(spec: &Spec, argv: &[&[u8]]) -> Option<usize> {
    let (mut at, sorts) = match spec.name {
        "georadius" => (6, false),
        "georadiusbymember" => (5, false),
        _ => (2, true),
    };
    let mut found = None;
    while at < argv.len() {
        let is = |word: &[u8]| argv[at].eq_ignore_ascii_case(word);
        if is(b"store") || (!sorts && is(b"storedist")) {
            found = Some(at + 1).filter(|key| *key < argv.len()).or(found);
            at += 1;
        } else if sorts && is(b"limit") {
            at += 2;
        } else if if sorts { is(b"by") || is(b"get") } else { is(b"count") } {
            at += 1;
        }
        at += 1;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(request: &str) -> Vec<(String, KeyUse)> {
        let argv: Vec<&[u8]> = request.split(' ').map(str::as_bytes).collect();
        let row = (crate::tables().iter().flat_map(|rows| rows.iter()))
            .find(|row| row.spec.name.as_bytes().eq_ignore_ascii_case(argv[0]))
            .expect("the tests name commands that are there");
        let found = KeyFinder::new(&row.spec).find(&argv).expect("the requests fit");
        found.into_iter().map(|(at, used)| (String::from_utf8_lossy(argv[at]).into_owned(), used)).collect()
    }

    fn used(request: &str) -> Vec<KeyAccess> {
        found(request).into_iter().map(|(_, used)| used.access).collect()
    }

    fn keys(request: &str) -> Vec<String> {
        found(request).into_iter().map(|(key, _)| key).collect()
    }

    #[test]
    fn options_and_places_decide_how_a_key_is_used() {
        use KeyAccess::{Both, Read, Shallow, Write};
        assert_eq!(used("set k v"), [Write]);
        assert_eq!(used("set get v"), [Write]);
        assert_eq!(used("set k get"), [Write]);
        assert_eq!(used("set k v GET"), [Both]);
        assert_eq!(used("bitfield k get u8 0"), [Read]);
        assert_eq!(used("bitfield k set u8 0 1"), [Both]);
        assert_eq!(used("bitfield k overflow sat get u8"), [Both]);
        assert_eq!(used("copy a b"), [Read, Write]);
        assert_eq!(used("bitop and d a b"), [Write, Read, Read]);
        assert_eq!(used("sunionstore d a b"), [Write, Read, Read]);
        assert_eq!(used("zunionstore d 2 a b"), [Write, Read, Read]);
        assert_eq!(used("pfmerge d a b"), [Both, Read, Read]);
        assert_eq!(used("rename a b"), [Both, Write]);
        assert_eq!(used("lmove a b left left"), [Both, Write]);
        assert_eq!(used("mset a 1 b 2"), [Write, Write]);
        assert_eq!(used("exists a"), [Shallow]);
        assert_eq!(used("incr a"), [Both]);
        assert_eq!(used("sort a by w_* store d"), [Read, Write]);
        assert_eq!(used("xreadgroup group g c streams a b > >"), [Read, Read]);
    }

    #[test]
    fn the_flags_are_those_of_the_documentation_without_its_own() {
        let flags = |request| found(request)[0].1.flags().collect::<Vec<_>>();
        assert_eq!(flags("set k v"), ["OW", "update"]);
        assert_eq!(flags("set k v get"), ["RW", "access", "update"]);
        assert_eq!(flags("strlen k"), ["RO"]);
    }

    #[test]
    fn every_command_with_keys_is_said_to_use_them_somehow() {
        for row in crate::tables().iter().flat_map(|rows| rows.iter()) {
            for spec in core::iter::once(&row.spec).chain(row.subcommands.iter().map(|sub| &sub.spec)) {
                let documented = docs::find(spec.name).is_some_and(|(_, doc)| !doc.keys.is_empty());
                assert_eq!(documented, spec.keys != Keys::None, "{}", spec.name);
            }
        }
    }

    #[test]
    fn a_destination_is_found_whatever_the_values_are_called() {
        assert_eq!(keys("SORT k STORE d BY store"), ["k", "d"]);
        assert_eq!(keys("SORT k BY store GET store STORE store"), ["k", "store"]);
        assert_eq!(keys("SORT k STORE a STORE b LIMIT 0 1"), ["k", "b"]);
        assert_eq!(keys("SORT k BY w_* ASC"), ["k"]);
        assert_eq!(keys("GEORADIUS k 1 2 3 km STORE store COUNT 3"), ["k", "store"]);
        assert_eq!(keys("GEORADIUSBYMEMBER k store 3 km STOREDIST d"), ["k", "d"]);
    }

    #[test]
    fn streams_are_found_whatever_groups_and_consumers_are_called() {
        assert_eq!(keys("XREADGROUP GROUP streams streams STREAMS streams >"), ["streams"]);
        assert_eq!(keys("XREADGROUP COUNT 1 GROUP streams c STREAMS k >"), ["k"]);
        assert_eq!(keys("XREADGROUP NOACK COUNT streams GROUP g streams STREAMS a b > >"), ["a", "b"]);
        assert_eq!(keys("XREAD BLOCK streams COUNT streams STREAMS k 0"), ["k"]);
    }
}
