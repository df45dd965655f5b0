//! Counters of calls by command and of errors by their first word.

use crate::histogram::Histogram;
use std::borrow::Cow;

/// Distinct errors counted by name; scripts can invent any number of them.
const ERRORS_MAX: usize = 128;

/// What stands in place of all when there are more, as in Redis: then nothing is counted any more until a reset.
const DISABLED: &str = "ERRORSTATS_DISABLED";

/// Longest name of an error, bytes. Redis looks no further for its end.
const ERROR_BYTES_MAX: usize = 30;

/// What would make more than one field of an INFO line, and is `_` there, as in Redis.
const BREAKS_LINES: [char; 4] = ['#', ':', '\n', '\r'];

/// Calls of one command.
#[derive(Clone, Debug, Default)]
pub struct CommandStats {
    /// Calls that ran.
    pub calls: u64,
    /// Time in them, nanoseconds.
    pub nanos: u64,
    /// Calls that ran and answered with an error.
    pub failed: u64,
    /// Calls that were refused before they ran.
    pub rejected: u64,
    /// How long calls took.
    pub histogram: Histogram,
}

impl CommandStats {
    /// Counts a call; `tracked`: also in the histogram.
    #[inline]
    pub fn record(&mut self, nanos: u64, tracked: bool) {
        self.calls += 1;
        self.nanos += nanos;
        if tracked {
            self.histogram.record(nanos);
        }
    }
}

/// Errors by their first word.
#[derive(Clone, Debug, Default)]
pub struct ErrorStats {
    counts: Vec<(String, u64)>,
    is_disabled: bool,
}

impl ErrorStats {
    /// Counts an error reply, given as its text without the leading `-`. When this one was too many, the names known so far,
    /// for the server's log.
    pub fn record(&mut self, error: &[u8]) -> Option<String> {
        if self.is_disabled {
            return None;
        }
        let name = name_of(error);
        if let Some((_, count)) = self.counts.iter_mut().find(|(known, _)| *known == name) {
            *count += 1;
            return None;
        }
        if self.counts.len() < ERRORS_MAX {
            self.counts.push((name.into_owned(), 1));
            return None;
        }
        let names: Vec<&str> = self.counts.iter().map(|(known, _)| known.as_str()).collect();
        let names = names.join(", ");
        self.counts = vec![(DISABLED.to_owned(), 1)];
        self.is_disabled = true;
        Some(names)
    }

    /// Names and counts, in the order of their first appearance.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.counts.iter().map(|(name, count)| (name.as_str(), *count))
    }
}

/// What is counted of an error: what stands before the first space, whatever a script has put there. Text without one, or with a
/// longer first word, is an `ERR`.
fn name_of(error: &[u8]) -> Cow<'_, str> {
    let Some(end) = error.iter().take(ERROR_BYTES_MAX + 1).position(|byte| *byte == b' ') else {
        return "ERR".into();
    };
    let name = String::from_utf8_lossy(&error[..end]);
    if name.contains(BREAKS_LINES) { name.replace(BREAKS_LINES, "_").into() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_counted_by_first_word_and_bounded() {
        let mut errors = ErrorStats::default();
        let (long, too_long) = ([b'b'; 30], [b'c'; 31]);
        let (long, too_long) = ([&long, b" x".as_slice()].concat(), [&too_long, b" x".as_slice()].concat());
        let odd = [b"one-word".as_slice(), b"", b"a\nb:c\r#d, x", b"\xff\"\\= x", &long, &too_long];
        for text in [b"ERR x".as_slice(), b"WRONGTYPE y", b"ERR z"].into_iter().chain(odd) {
            assert_eq!(errors.record(text), None);
        }
        assert_eq!(
            errors.iter().collect::<Vec<_>>(),
            [
                ("ERR", 5),
                ("WRONGTYPE", 1),
                ("a_b_c__d,", 1),
                ("\u{fffd}\"\\=", 1),
                ("bbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", 1)
            ]
        );
        let told: Vec<String> =
            (0..1000).filter_map(|number| errors.record(format!("E{number} x").as_bytes())).collect();
        assert_eq!(told.len(), 1);
        assert!(told[0].starts_with("ERR, WRONGTYPE, a_b_c__d,, "));
        assert_eq!(errors.iter().collect::<Vec<_>>(), [(DISABLED, 1)]);
    }
}
