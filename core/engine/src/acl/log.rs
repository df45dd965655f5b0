//! The log of denials behind ACL LOG.
//!
//! Bounded twice: alike denials within a minute are counted instead of repeated, and the oldest entries leave. Newest first.

use super::Denial;
use std::collections::VecDeque;

/// For how long alike denials are one entry, milliseconds.
const SAME_MS: i64 = 60_000;

/// Newest entries among which an alike one is looked for.
const SEARCHED_MAX: usize = 10;

/// What is kept of a key, channel or user name, bytes: the log must not be a place to fill memory with.
const TEXT_BYTES_MAX: usize = 256;

/// One entry of ACL LOG.
#[derive(Debug)]
pub(super) struct LogEntry {
    pub(super) id: u64,
    pub(super) count: u64,
    pub(super) reason: &'static str,
    pub(super) context: &'static str,
    pub(super) object: Vec<u8>,
    pub(super) username: Vec<u8>,
    pub(super) client: Vec<u8>,
    pub(super) created_ms: i64,
    pub(super) updated_ms: i64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct DenialLog {
    entries: VecDeque<LogEntry>,
    max: usize,
    next_id: u64,
}

impl Default for DenialLog {
    fn default() -> DenialLog {
        DenialLog { entries: VecDeque::new(), max: 128, next_id: 0 }
    }
}

impl DenialLog {
    /// Keeps at most so many entries from the next denial on: those that are there can still be read.
    pub(crate) fn set_max(&mut self, entries: usize) {
        self.max = entries;
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }

    pub(super) fn newest(&self, count: usize) -> impl ExactSizeIterator<Item = &LogEntry> {
        self.entries.iter().take(count)
    }

    /// The user name and the client of the latest login that was refused.
    pub(crate) fn latest_login(&self) -> Option<(&[u8], &[u8])> {
        let entry = self.entries.iter().find(|entry| entry.reason == "auth")?;
        Some((&entry.username, &entry.client))
    }

    /// Notes a denial.
    pub(crate) fn note(
        &mut self,
        denial: &Denial,
        context: &'static str,
        username: &[u8],
        client: Vec<u8>,
        now_ms: i64,
    ) {
        let (reason, mut object) = (denial.reason(), denial.object());
        object.truncate(TEXT_BYTES_MAX);
        let username = &username[..username.len().min(TEXT_BYTES_MAX)];
        let same = |e: &LogEntry| {
            e.reason == reason
                && e.context == context
                && e.object == object
                && e.username == username
                && now_ms - e.updated_ms <= SAME_MS
        };
        let known = self.entries.iter().take(SEARCHED_MAX).position(same);
        if let Some(mut entry) = known.and_then(|at| self.entries.remove(at)) {
            entry.count += 1;
            entry.updated_ms = now_ms;
            entry.client = client;
            self.entries.push_front(entry);
            return;
        }
        let (id, username) = (self.next_id, username.to_vec());
        self.next_id += 1;
        self.entries.push_front(LogEntry {
            id,
            count: 1,
            reason,
            context,
            object,
            username,
            client,
            created_ms: now_ms,
            updated_ms: now_ms,
        });
        self.entries.truncate(self.max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alike_denials_are_one_entry_and_come_first() {
        let mut log = DenialLog::default();
        let mut note = |name: &'static str, at| {
            log.note(&Denial::Command(name), "toplevel", b"bob", Vec::new(), at);
        };
        note("get", 0);
        note("set", 1);
        note("get", SAME_MS);
        note("set", SAME_MS + 2);
        let seen: Vec<_> = log.newest(9).map(|e| (e.id, e.count, e.object.clone())).collect();
        assert_eq!(
            seen,
            [(2, 1, b"set".to_vec()), (0, 2, b"get".to_vec()), (1, 1, b"set".to_vec())],
            "the second SET is more than a minute after the first"
        );
        for (max, left) in [(1, 1), (0, 0)] {
            let before = log.newest(9).len();
            log.set_max(max);
            assert_eq!(log.newest(9).len(), before, "what was noted stays until something is noted");
            log.note(
                &Denial::Command("del"),
                "toplevel",
                b"bob",
                Vec::new(),
                10 * SAME_MS * (2 - max as i64),
            );
            assert_eq!(log.newest(9).len(), left);
        }
    }
}
