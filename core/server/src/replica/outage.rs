//! What the log and health tell of a link that is not up.
//!
//! The link is tried again each second or so, and a master may be away for a night: the log hears of the first failure, of each other reason,
//! once a minute of those that came since, and of the end.

use engine::MasterOrder;

/// Between two lines of the same reason, microseconds.
const QUIET_US: u64 = 60_000_000;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Outage {
    /// The number of the order that this is about.
    order: u64,
    /// Since when there is no link, monotonic microseconds; none while there is one.
    since_us: Option<u64>,
    /// Attempts that have failed since.
    failures: u64,
    /// Those that the log has not heard of.
    untold: u64,
    /// What the log has heard last, and when.
    told: Option<(String, u64)>,
}

impl Outage {
    /// A link is to be made.
    pub(super) fn seek(&mut self, order: &MasterOrder, now_us: u64) {
        if self.order != order.number {
            *self = Outage { order: order.number, ..Outage::default() };
        }
        self.since_us.get_or_insert(now_us);
    }

    /// Whether the log hears of the next attempt: of the first one, and not of what follows its failure.
    pub(super) fn is_new(&self) -> bool {
        self.failures == 0
    }

    /// A link has ended, or was not made; the line that tells it, if one is due.
    pub(super) fn failed(&mut self, why: &str, wait_s: u64, now_us: u64) -> Option<String> {
        self.since_us.get_or_insert(now_us);
        (self.failures, self.untold) = (self.failures + 1, self.untold + 1);
        let is_told =
            self.told.as_ref().is_some_and(|(told, at_us)| told == why && now_us < at_us + QUIET_US);
        if is_told {
            return None;
        }
        self.told = Some((why.to_owned(), now_us));
        let line = match std::mem::take(&mut self.untold) {
            1 => format!("{why}. Trying again in {wait_s} s"),
            untold => {
                format!("{why} ({untold} attempts since the last such line). Trying again in {wait_s} s")
            }
        };
        Some(line)
    }

    /// The link is up; the line that tells it, if it was away.
    pub(super) fn is_over(&mut self, now_us: u64) -> Option<String> {
        let gone = std::mem::replace(self, Outage { order: self.order, ..Outage::default() });
        let away_s = now_us.saturating_sub(gone.since_us?) / 1_000_000;
        (gone.failures > 0)
            .then(|| format!("The link is up again, after {away_s} s and {} failures", gone.failures))
    }

    /// Why the last attempt has failed, if there is no link and one has.
    pub(super) fn why(&self) -> Option<&str> {
        self.told.as_ref().map(|(why, _)| why.as_str())
    }

    /// What is wrong, in words.
    pub(super) fn complaint(&self, order: &MasterOrder, now_us: u64) -> Option<String> {
        let MasterOrder { host, port, .. } = order;
        let away_s = now_us.saturating_sub(self.since_us?) / 1_000_000;
        let why = self.told.as_ref().map_or(String::new(), |(why, _)| format!(": {why}"));
        Some(format!("no link to the master {host}:{port} for {away_s} s{why}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000;

    fn order(number: u64) -> MasterOrder {
        MasterOrder { number, host: "m".to_owned(), port: 1 }
    }

    #[test]
    fn a_night_without_a_master_is_a_line_a_minute() {
        let mut outage = Outage::default();
        outage.seek(&order(1), 0);
        assert!(outage.is_new());
        let lines: Vec<String> = (0..180).filter_map(|s| outage.failed("away", 1, s * S)).collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0], "away. Trying again in 1 s");
        assert_eq!(lines[1], "away (60 attempts since the last such line). Trying again in 1 s");
        assert!(!outage.is_new());
        assert!(outage.failed("another reason", 1, 180 * S).is_some());
        assert_eq!(
            outage.complaint(&order(1), 190 * S).unwrap(),
            "no link to the master m:1 for 190 s: another reason"
        );
        assert_eq!(outage.is_over(200 * S).unwrap(), "The link is up again, after 200 s and 181 failures");
        assert_eq!(outage.complaint(&order(1), 201 * S), None);
        assert_eq!(outage.is_over(201 * S), None);
    }

    #[test]
    fn another_master_is_another_story() {
        let mut outage = Outage::default();
        outage.seek(&order(1), 0);
        outage.failed("away", 1, S);
        outage.seek(&order(2), 5 * S);
        assert!(outage.is_new());
        assert_eq!(outage.complaint(&order(2), 7 * S).unwrap(), "no link to the master m:1 for 2 s");
        assert_eq!(outage.is_over(7 * S), None, "it came at once");
    }
}
