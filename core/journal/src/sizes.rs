//! How large the log's files are, and when that is reason to write them anew.

/// Sizes in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// The file that is appended to.
    pub file: u64,
    /// All others, at the last look. They grow no more.
    pub others: u64,
    /// All files, when the last base was published.
    pub base: u64,
}

impl Sizes {
    /// All files.
    pub fn all(&self) -> u64 {
        self.others.saturating_add(self.file)
    }

    /// By how many hundredths the log has grown since the last base, if that is reason for a new one: at least `percent`, and a
    /// size of at least `least`.
    pub fn growth_due(&self, percent: u64, least: u64) -> Option<u64> {
        let base = self.base.max(1);
        let growth = self.all().saturating_sub(base).saturating_mul(100) / base;
        (percent > 0 && self.all() >= least && growth >= percent).then_some(growth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_written_anew_when_it_has_grown_and_is_large_enough() {
        let sizes = Sizes { file: 250, others: 50, base: 100 };
        assert_eq!(sizes.growth_due(200, 300), Some(200));
        assert_eq!(sizes.growth_due(201, 300), None);
        assert_eq!(sizes.growth_due(200, 301), None);
        assert_eq!(sizes.growth_due(0, 0), None, "it was switched off");
        assert_eq!(Sizes { others: 500, ..Sizes::default() }.growth_due(100, 1), Some(49_900));
    }
}
