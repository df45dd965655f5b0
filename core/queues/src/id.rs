//! Which queue: the library, the database, and the name by which the library makes its keys.

use crate::libraries::{Library, arq, bullmq, celery, dramatiq, plain, resque, rq, sidekiq, stream};

/// The longest key of a queue, and the longest name of a stream's group, bytes. A job's number that is longer is not looked up.
pub const KEY_BYTES_MAX: usize = 512;

/// Whose queue it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QueueKind {
    /// arq: a sorted set by time.
    Arq,
    /// BullMQ: lists and sorted sets by state.
    BullMq,
    /// Celery over kombu: a list, and its brothers by priority.
    Celery,
    /// Dramatiq: a list of message numbers and a hash of messages.
    Dramatiq,
    /// A list that somebody waits on.
    List,
    /// Resque: a list named in a set.
    Resque,
    /// RQ: a list named in a set, and registries.
    Rq,
    /// Sidekiq: a list named in a set.
    Sidekiq,
    /// A group of a stream, or a stream that somebody waits on.
    Stream,
    /// A sorted set that somebody waits on.
    ZSet,
}

impl QueueKind {
    /// All of them.
    pub const ALL: [QueueKind; 10] = [
        QueueKind::Arq,
        QueueKind::BullMq,
        QueueKind::Celery,
        QueueKind::Dramatiq,
        QueueKind::List,
        QueueKind::Resque,
        QueueKind::Rq,
        QueueKind::Sidekiq,
        QueueKind::Stream,
        QueueKind::ZSet,
    ];

    /// The name by which commands and metrics tell it.
    pub fn name(self) -> &'static str {
        self.library().name
    }

    pub(crate) fn library(self) -> &'static Library {
        match self {
            QueueKind::Arq => &arq::LIBRARY,
            QueueKind::BullMq => &bullmq::LIBRARY,
            QueueKind::Celery => &celery::LIBRARY,
            QueueKind::Dramatiq => &dramatiq::LIBRARY,
            QueueKind::List => &plain::LIST,
            QueueKind::Resque => &resque::LIBRARY,
            QueueKind::Rq => &rq::LIBRARY,
            QueueKind::Sidekiq => &sidekiq::LIBRARY,
            QueueKind::Stream => &stream::LIBRARY,
            QueueKind::ZSet => &plain::ZSET,
        }
    }

    /// Whether no library makes such queues: nothing but a client that waits tells that there is one.
    pub(crate) fn is_plain(self) -> bool {
        matches!(self, QueueKind::List | QueueKind::ZSet)
    }
}

/// Which queue.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Id {
    pub(crate) db: usize,
    pub(crate) kind: QueueKind,
    /// What its keys are made from, as its library says.
    pub(crate) base: Box<[u8]>,
    /// A part of that: the group of a stream, the state that one key holds for all queues of a library, or what separates the parts
    /// of a library's keys, where that is not the usual.
    pub(crate) part: Box<[u8]>,
}

impl Id {
    pub(crate) fn new(db: usize, kind: QueueKind, base: &[u8]) -> Id {
        Id::part(db, kind, base, b"")
    }

    pub(crate) fn part(db: usize, kind: QueueKind, base: &[u8], part: &[u8]) -> Id {
        Id { db, kind, base: base.into(), part: part.into() }
    }

    /// Whether it is a queue only because somebody waits on the key, until the key turns out to belong to a library's.
    pub(crate) fn gives_way(&self) -> bool {
        self.kind.is_plain() || (self.kind == QueueKind::Stream && self.part.is_empty())
    }

    /// Whether it is what a library keeps in one key for all of its queues.
    pub(crate) fn is_of_all(&self) -> bool {
        match self.kind {
            QueueKind::Celery => *self.part == *celery::UNACKED,
            QueueKind::Sidekiq | QueueKind::Resque => !self.part.is_empty(),
            _ => false,
        }
    }

    /// The base and what is appended to it.
    pub(crate) fn key(&self, suffix: &[u8]) -> Vec<u8> {
        [&*self.base, suffix].concat()
    }

    /// The library's own name of the queue, with the number of its database in front where that is not the first. A name of the
    /// first that looks like that gets its own, too, so that no two queues of a kind share one.
    pub(crate) fn name(&self) -> String {
        let name = (self.kind.library().shown)(self);
        let name = match std::str::from_utf8(&name) {
            // What looks like an escape is escaped as well, for the same reason.
            Ok(name) if !name.contains("\\x") => name.to_owned(),
            _ => name.escape_ascii().to_string(),
        };
        let looks_numbered = || {
            let rest =
                name.strip_prefix("db").map(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()));
            rest.is_some_and(|rest| rest.starts_with('/') && rest.len() + 2 < name.len())
        };
        if self.db > 0 || looks_numbered() { format!("db{}/{name}", self.db) } else { name }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_librarys_and_tell_the_database() {
        let name = |db, kind, base: &[u8]| Id::new(db, kind, base).name();
        assert_eq!(name(0, QueueKind::BullMq, b"bull:mail"), "mail");
        assert_eq!(name(3, QueueKind::BullMq, b"bull:mail"), "db3/mail");
        assert_eq!(name(0, QueueKind::BullMq, b"app:mail"), "app:mail");
        assert_eq!(name(0, QueueKind::List, b"db3/mail"), "db0/db3/mail");
        assert_eq!(name(0, QueueKind::List, b"db/mail"), "db/mail");
        assert_eq!(name(0, QueueKind::List, b"db3"), "db3");
        assert_eq!(name(0, QueueKind::List, b"\xff"), "\\xff");
        assert_eq!(name(0, QueueKind::List, b"\\xff"), "\\\\xff");
        assert_eq!(name(0, QueueKind::List, b"a\\b"), "a\\b");
        assert_eq!(name(0, QueueKind::Sidekiq, b"queue:retry"), "queue:retry");
        assert_eq!(Id::part(0, QueueKind::Sidekiq, b"retry", b"retry").name(), "retry");
        assert_eq!(name(0, QueueKind::Resque, b"resque:queue:failed"), "resque:queue:failed");
    }
}
