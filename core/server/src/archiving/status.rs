//! What archiving tells of itself: INFO, metrics, health.
//!
//! How far the archive is behind is told by positions in the journal's stream, which are known without asking a disk: all is archived when the
//! stream ends where it did when the last round began.

use archive::{Moment, Tail};
use persist::aof::HistoryId;
use telemetry::Report;

use super::plan::Plan;

/// See the module. A leaf among the locks, held for a look.
#[derive(Clone, Debug, Default)]
pub(crate) struct Status {
    /// The repository, while something is archived.
    pub(crate) repository: Option<String>,
    interval_s: u64,
    pub(crate) lineage: Option<HistoryId>,
    pub(crate) last_batch: u64,
    pub(crate) last_base_ms: Option<i64>,
    /// The position in the stream up to which all is archived; none before the first round has succeeded.
    archived: Option<u64>,
    /// What was executed up to this time is archived, unix milliseconds.
    covered_ms: i64,
    pub(crate) last_success_ms: Option<i64>,
    pub(crate) bases: u64,
    pub(crate) segments: u64,
    pub(crate) bytes: u64,
    pub(crate) failures: u64,
    /// How often a part of the log was given up.
    pub(crate) gaps: u64,
    /// Bytes of replaced files that are kept.
    pub(crate) backlog_bytes: u64,
    /// Why it does not work at the moment.
    pub(crate) trouble: Option<String>,
}

impl Status {
    /// Archiving begins, or is over. What was counted stays counted.
    pub(crate) fn begin(&mut self, plan: Option<&Plan>, now_ms: i64) {
        let Status { bases, segments, bytes, failures, gaps, .. } = *self;
        *self = Status {
            repository: plan.map(|plan| plan.url.to_string()),
            interval_s: plan.map_or(0, |plan| plan.interval_us / 1_000_000),
            covered_ms: now_ms,
            bases,
            segments,
            bytes,
            failures,
            gaps,
            ..Status::default()
        };
    }

    /// An object was added, or nothing was new.
    pub(crate) fn take(&mut self, tail: &Tail) {
        self.lineage = Some(tail.id());
        self.last_batch = tail.last_batch().unwrap_or_default();
        self.last_base_ms = tail.base().map(|base| base.at().0);
        if self.archived.is_none()
            && let Some(Moment(at)) = tail.last_moment()
        {
            // What came later is not archived, however long the server was down.
            self.covered_ms = at;
        }
    }

    /// All is archived that was there at a time, when the stream ended there.
    pub(crate) fn succeed(&mut self, position: u64, covered_ms: i64, now_ms: i64) {
        self.archived = Some(position);
        self.covered_ms = self.covered_ms.max(covered_ms);
        self.last_success_ms = Some(now_ms);
        self.trouble = None;
    }

    /// How long ago the oldest write was made that is not archived, or some time longer, milliseconds; 0 only when all is.
    pub(crate) fn lag_ms(&self, end: u64, now_ms: i64) -> u64 {
        if self.archived.is_some_and(|archived| archived >= end) {
            return 0;
        }
        now_ms.saturating_sub(self.covered_ms).max(1).unsigned_abs()
    }

    /// What is wrong: the repository fails, or the archive is behind for longer than that, milliseconds.
    pub(crate) fn complaint(&self, end: u64, now_ms: i64, lag_ms_max: u64) -> Option<String> {
        let lag_ms = self.lag_ms(end, now_ms);
        let why = match self.trouble.as_deref() {
            Some(why) if lag_ms == 0 => return Some(format!("archiving fails: {why}")),
            Some(why) => why,
            None if lag_ms > lag_ms_max => "what is new has not arrived in the repository yet",
            None => return None,
        };
        Some(format!("the archive is {} s behind: {why}", lag_ms / 1000))
    }

    /// Bytes of the log that are not archived; of what was there at the start only what is kept from before a rewrite.
    fn unarchived_bytes(&self, end: u64) -> u64 {
        end.saturating_sub(self.archived.unwrap_or_default()).max(self.backlog_bytes)
    }

    pub(crate) fn fill(&self, end: u64, now_ms: i64, report: &mut Report) {
        let Some(repository) = &self.repository else { return report.set("backup_enabled", 0u64) };
        report.set("backup_enabled", 1u64);
        report.set("backup_repository", repository.as_str());
        report.set("backup_status", if self.trouble.is_some() { "err" } else { "ok" });
        report.set("backup_last_error", self.trouble.as_deref().unwrap_or(""));
        report.set("backup_lineage", self.lineage.map(|id| id.to_string()).unwrap_or_default().as_str());
        report.set("backup_last_batch", self.last_batch);
        report.set("backup_lag_seconds", self.lag_ms(end, now_ms).div_ceil(1000));
        report.set("backup_interval_seconds", self.interval_s);
        let seconds = |at: Option<i64>| at.map_or(0, |ms| ms / 1000);
        report.set("backup_last_success_time", seconds(self.last_success_ms));
        report.set("backup_last_base_time", seconds(self.last_base_ms));
        report.set("backup_bases", self.bases);
        report.set("backup_segments", self.segments);
        report.set("backup_bytes", self.bytes);
        report.set("backup_failures", self.failures);
        report.set("backup_gaps", self.gaps);
        report.set("backup_backlog_bytes", self.unarchived_bytes(end));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_archived_lags_by_nothing_however_long_ago_that_was() {
        let mut status = Status::default();
        status.begin(None, 1_000);
        assert_eq!(status.lag_ms(0, 5_000), 4_000, "nobody knows before the first round");
        status.succeed(70, 4_500, 5_000);
        assert_eq!(status.lag_ms(70, 900_000), 0);
        assert_eq!(status.lag_ms(71, 6_000), 1_500);
        assert_eq!(status.lag_ms(71, 4_000), 1, "a clock that was set back");
        status.begin(None, 7_000);
        assert_eq!(status.lag_ms(70, 7_000), 1, "0 would say that all is archived");
        assert_eq!(status.lag_ms(70, 7_500), 500);
    }

    #[test]
    fn what_fails_is_told_at_once_and_what_is_late_when_it_is() {
        let mut status = Status::default();
        status.begin(None, 0);
        status.succeed(70, 0, 0);
        assert_eq!(status.complaint(70, 900_000, 20_000), None);
        assert_eq!(status.complaint(71, 20_000, 20_000), None);
        assert!(status.complaint(71, 21_000, 20_000).unwrap().starts_with("the archive is 21 s behind: "));
        status.trouble = Some("away".to_owned());
        assert_eq!(status.complaint(70, 900_000, 20_000).unwrap(), "archiving fails: away");
        assert_eq!(status.complaint(71, 3_000, 20_000).unwrap(), "the archive is 3 s behind: away");
    }
}
