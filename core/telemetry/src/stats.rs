//! Counters of calls by command and of errors by their first word.

use crate::histogram::Histogram;

/// Distinct errors counted by name; scripts can invent any number of them.
const ERRORS_MAX: usize = 128;

/// What further errors are counted as.
const ERRORS_REST: &str = "ERRORSTATS_OVERFLOW";

/// Longest name of an error, bytes.
const ERROR_BYTES_MAX: usize = 64;

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

    /// The call recorded last was the end of one that had been recorded when it began to wait.
    pub fn went_on(&mut self) {
        self.calls = self.calls.saturating_sub(1);
    }
}

/// Errors by their first word.
#[derive(Clone, Debug, Default)]
pub struct ErrorStats(Vec<(String, u64)>);

impl ErrorStats {
    /// Counts an error reply, given as its text without the leading `-`.
    pub fn record(&mut self, error: &str) {
        let name = error.split(' ').next().filter(|name| is_name(name)).unwrap_or("ERR");
        if let Some((_, count)) = self.0.iter_mut().find(|(known, _)| known == name) {
            *count += 1;
        } else if self.0.len() < ERRORS_MAX {
            self.0.push((name.into(), 1));
        } else if let Some((known, count)) = self.0.last_mut() {
            // The last place is for all that do not fit.
            ERRORS_REST.clone_into(known);
            *count += 1;
        }
    }

    /// Names and counts, in the order of their first appearance.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(name, count)| (name.as_str(), *count))
    }
}

/// INFO lines and labels must not be breakable by what a script returns.
fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= ERROR_BYTES_MAX
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_counted_by_first_word_and_bounded() {
        let mut errors = ErrorStats::default();
        for text in ["ERR x", "WRONGTYPE y", "ERR z", "a\nb:c d", ""] {
            errors.record(text);
        }
        assert_eq!(errors.iter().collect::<Vec<_>>(), [("ERR", 4), ("WRONGTYPE", 1)]);
        for number in 0..1000 {
            errors.record(&format!("E{number} x"));
        }
        assert_eq!(errors.iter().count(), ERRORS_MAX);
        assert_eq!(errors.iter().map(|(_, count)| count).sum::<u64>(), 1005);
        assert_eq!(errors.iter().last().map(|(name, _)| name), Some(ERRORS_REST));
    }
}
