//! Where a command's keys stand, in the form of COMMAND INFO's key specifications.
//!
//! ```text
//! RW access update @ 1 : 0 1 0          flags @ where the search begins : how it goes on
//!                    1                  at argument 1
//!                    STREAMS 1          behind the word, looked for from argument 1 on
//!                    ?                  it cannot be told
//!                        0 1 0          up to the begin + 0 (negative: from the end), each, limit
//!                        #0 1 1         argument begin + 0 holds the count, keys from begin + 1 on, each
//!                        ?              it cannot be told
//! ```

use resp::Reply;

/// Where the search for keys begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin<'a> {
    /// At an argument.
    Index(i64),
    /// Behind a word; the search for the word begins at an argument, or, negative, so far from the end.
    Keyword(&'a str, i64),
    /// It cannot be told without the command's own rules.
    Unknown,
}

/// How the keys are found from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Find {
    /// Up to `last` (relative; negative: from the end), every `step`th, in 1/`limit` of the arguments if that is above 1.
    Range {
        /// The last key.
        last: i64,
        /// Distance of keys.
        step: i64,
        /// The part of the arguments that are keys.
        limit: i64,
    },
    /// As many as an argument says.
    Count {
        /// Where the number stands, relative.
        at: i64,
        /// The first key, relative.
        first: i64,
        /// Distance of keys.
        step: i64,
    },
    /// It cannot be told without the command's own rules.
    Unknown,
}

/// One specification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Positions<'a> {
    /// How the keys are used.
    pub flags: Vec<&'a str>,
    /// Where the search begins.
    pub begin: Begin<'a>,
    /// How it goes on.
    pub find: Find,
}

/// Reads one specification; `None` when it is none.
pub fn parse(text: &str) -> Option<Positions<'_>> {
    let (flags, rest) = text.split_once(" @ ")?;
    let (begin, find) = rest.split_once(" : ")?;
    let begin = match begin.split_once(' ') {
        Some((word, from)) => Begin::Keyword(word, from.parse().ok()?),
        None if begin == "?" => Begin::Unknown,
        None => Begin::Index(begin.parse().ok()?),
    };
    let find = if find == "?" {
        Find::Unknown
    } else {
        let numbers: Option<Vec<i64>> =
            find.trim_start_matches('#').split(' ').map(|n| n.parse().ok()).collect();
        match (numbers?.as_slice(), find.starts_with('#')) {
            (&[at, first, step], true) => Find::Count { at, first, step },
            (&[last, step, limit], false) => Find::Range { last, step, limit },
            _ => return None,
        }
    };
    Some(Positions { flags: flags.split(' ').collect(), begin, find })
}

/// Writes the specifications of a command as COMMAND INFO has them.
pub fn write(specs: &[&str], reply: &mut Reply<'_>) {
    reply.set(specs.len());
    for spec in specs.iter().filter_map(|text| parse(text)) {
        reply.map(3);
        reply.bulk(b"flags");
        reply.set(spec.flags.len());
        spec.flags.iter().for_each(|flag| reply.status(flag));
        reply.bulk(b"begin_search");
        match spec.begin {
            Begin::Index(index) => part(reply, "index", &[("index", index)], None),
            Begin::Keyword(word, from) => part(reply, "keyword", &[("startfrom", from)], Some(word)),
            Begin::Unknown => part(reply, "unknown", &[], None),
        }
        reply.bulk(b"find_keys");
        match spec.find {
            Find::Range { last, step, limit } => {
                part(reply, "range", &[("lastkey", last), ("keystep", step), ("limit", limit)], None);
            }
            Find::Count { at, first, step } => {
                part(reply, "keynum", &[("keynumidx", at), ("firstkey", first), ("keystep", step)], None);
            }
            Find::Unknown => part(reply, "unknown", &[], None),
        }
    }
}

fn part(reply: &mut Reply<'_>, kind: &str, numbers: &[(&str, i64)], word: Option<&str>) {
    reply.map(2);
    reply.bulk(b"type");
    reply.bulk(kind.as_bytes());
    reply.bulk(b"spec");
    reply.map(numbers.len() + usize::from(word.is_some()));
    if let Some(word) = word {
        reply.bulk(b"keyword");
        reply.bulk(word.as_bytes());
    }
    for (name, number) in numbers {
        reply.bulk(name.as_bytes());
        reply.integer(*number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_are_told_apart() {
        let spec = parse("RO access @ STREAMS 1 : -1 1 2").expect("it is one");
        assert_eq!(spec.flags, ["RO", "access"]);
        assert_eq!(spec.begin, Begin::Keyword("STREAMS", 1));
        assert_eq!(spec.find, Find::Range { last: -1, step: 1, limit: 2 });
        let spec = parse("RW @ 2 : #0 1 1").expect("it is one");
        assert_eq!((spec.begin, spec.find), (Begin::Index(2), Find::Count { at: 0, first: 1, step: 1 }));
        assert_eq!(parse("RW @ ? : ?").expect("it is one").find, Find::Unknown);
        assert_eq!(parse("RW @ 1 : 0 1"), None);
        assert_eq!(parse("RW"), None);
    }
}
