//! What SCAN, HSCAN, SSCAN and ZSCAN have in common: cursor and options.

use crate::call::Args;
use crate::error::Error;
use base::glob::Work;
use core::cell::Cell;
use resp::Reply;
use types::Kind;

/// The options of the SCAN family.
#[derive(Debug)]
pub(crate) struct ScanOptions<'a> {
    /// About how many elements to look at.
    pub(crate) count: usize,
    /// Only elements that match; `None`: all.
    pub(crate) pattern: Option<&'a [u8]>,
    /// Only keys of this type (`Some(None)`: a type that no key has).
    pub(crate) kind: Option<Option<Kind>>,
    /// HSCAN without values, ZSCAN without scores.
    pub(crate) names_only: bool,
    /// What is left to spend on the pattern.
    work: Cell<Work>,
}

/// What is walked through, which decides about its own options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Walked {
    /// Keys, of which TYPE may choose.
    Keys,
    /// Members of a set.
    Members,
    /// Fields, which NOVALUES gives alone.
    Fields,
    /// Members of a sorted set, which NOSCORES gives alone.
    Scored,
}

impl ScanOptions<'_> {
    /// Whether `text` matches the pattern.
    pub(crate) fn matches(&self, text: &[u8]) -> bool {
        let Some(pattern) = self.pattern else { return true };
        let mut work = self.work.get();
        let is_match = base::glob::matches_within(&mut work, pattern, text, false);
        self.work.set(work);
        is_match
    }
}

/// Bytes of keys after which a call of SCAN has done enough, whatever COUNT says: matching long keys with a long pattern takes long.
pub(crate) fn key_bytes_max(pattern: Option<&[u8]>) -> usize {
    /// Bytes of keys times pieces of 64 bytes of the pattern: some tens of milliseconds in the worst case.
    const WORK_MAX: usize = 16 << 20;
    pattern.map_or(usize::MAX, |pattern| WORK_MAX / pattern.len().div_ceil(64).max(1))
}

/// Reads a cursor as Redis does: any unsigned 64-bit number.
pub(crate) fn cursor(text: &[u8]) -> Result<u64, Error> {
    core::str::from_utf8(text).ok().and_then(|t| t.parse().ok()).ok_or(Error::new("ERR invalid cursor"))
}

/// Reads the options behind the cursor, from argument `first` on.
pub(crate) fn options(args: Args<'_>, first: usize, walked: Walked) -> Result<ScanOptions<'_>, Error> {
    let mut out =
        ScanOptions { count: 10, pattern: None, kind: None, names_only: false, work: Cell::default() };
    let mut i = first;
    while i < args.len() {
        let has_value = i + 1 < args.len();
        if args.is(i, "count") && has_value {
            let count = args.int(i + 1)?;
            if count < 1 {
                return Err(Error::SYNTAX);
            }
            out.count = count as usize;
            i += 2;
        } else if args.is(i, "match") && has_value {
            out.pattern = Some(args.at(i + 1)).filter(|p| *p != b"*");
            i += 2;
        } else if walked == Walked::Keys && args.is(i, "type") && has_value {
            out.kind = Some(kind_named(args.at(i + 1)));
            i += 2;
        } else if walked == Walked::Fields && args.is(i, "novalues")
            || walked == Walked::Scored && args.is(i, "noscores")
        {
            out.names_only = true;
            i += 1;
        } else {
            return Err(Error::SYNTAX);
        }
    }
    Ok(out)
}

/// The reply for a key that is not there; its options are not looked at.
pub(crate) fn reply_nothing(reply: &mut Reply<'_>) {
    reply.array(2);
    reply.bulk(b"0");
    reply.array(0);
}

fn kind_named(name: &[u8]) -> Option<Kind> {
    [Kind::String, Kind::List, Kind::Set, Kind::ZSet, Kind::Hash, Kind::Stream]
        .into_iter()
        .find(|k| name.eq_ignore_ascii_case(k.name().as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_long_patterns_on_many_bytes_of_keys_end_a_call_early() {
        assert_eq!(key_bytes_max(None), usize::MAX);
        assert_eq!(key_bytes_max(Some(b"user:*")), 16 << 20);
        assert!(key_bytes_max(Some(&[b'a'; 150_000])) < 10_000);
    }
}
