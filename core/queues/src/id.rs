//! Which queue: the library, the database, and the name by which the library makes its keys.

use crate::libraries::{Library, arq, bullmq, celery, dramatiq, plain, resque, rq, sidekiq, stream};

/// The longest key of a queue, and the longest name of a stream's group, bytes. A job's number that is longer is not looked up.
pub const KEY_BYTES_MAX: usize = 512;

/// The longest name of a queue, bytes: a key and a group, of which each byte may need four, and the number of a database.
pub(crate) const NAME_BYTES_MAX: usize = 4 * 2 * (KEY_BYTES_MAX + 1) + 32;

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

    /// The one of this name, in capitals or not.
    pub fn named(name: &[u8]) -> Option<QueueKind> {
        QueueKind::ALL.into_iter().find(|kind| kind.name().as_bytes().eq_ignore_ascii_case(name))
    }

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
    /// A part of that: the group of a stream behind a slash, the state that one key holds for all queues of a library, or what separates the parts
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
        let looks_numbered = || {
            let rest =
                name.strip_prefix("db").map(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()));
            rest.is_some_and(|rest| rest.starts_with('/') && rest.len() + 2 < name.len())
        };
        if self.db > 0 || looks_numbered() { format!("db{}/{name}", self.db) } else { name }
    }
}

/// A text as a name shows it: as it is, or with escapes where it is no UTF-8, would move a terminal's cursor, or looks as if it had
/// escapes already. No two texts are shown alike.
pub(crate) fn shown_text(text: &[u8]) -> String {
    shown_without(text, None)
}

/// The same, and this character is not in it.
pub(crate) fn shown_without(text: &[u8], mark: Option<u8>) -> String {
    let is_plain = |text: &&str| {
        !text.contains("\\x")
            && !text.chars().any(|c| c.is_control() || mark.is_some_and(|mark| c == mark.into()))
    };
    if let Some(plain) = std::str::from_utf8(text).ok().filter(is_plain) {
        return plain.to_owned();
    }
    let mut shown = String::with_capacity(text.len());
    for byte in text {
        match byte {
            b'\\' => shown.push_str("\\\\"),
            b' '..=b'~' if Some(*byte) != mark => shown.push((*byte).into()),
            other => shown.push_str(&format!("\\x{other:02x}")),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

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
        assert_eq!(name(0, QueueKind::List, b"a\nb\x1b"), "a\\x0ab\\x1b");
        assert_eq!(name(0, QueueKind::List, "gr\u{fc}n".as_bytes()), "gr\u{fc}n");
        assert_eq!(name(0, QueueKind::Sidekiq, b"queue:low"), "low");
        assert_eq!(name(0, QueueKind::Sidekiq, b"app:queue:low"), "app:low");
        assert_eq!(name(0, QueueKind::Sidekiq, b"queue:retry"), "queue:retry");
        assert_eq!(Id::part(0, QueueKind::Sidekiq, b"retry", b"retry").name(), "retry");
        assert_eq!(name(0, QueueKind::Resque, b"resque:queue:failed"), "resque:queue:failed");
        assert_eq!(Id::part(0, QueueKind::Stream, b"s", b"/g").name(), "s/g");
        assert_eq!(Id::part(0, QueueKind::Stream, b"a/b", b"/c/d").name(), "a\\x2fb/c/d");
    }

    /// Any text of a few pieces that mean something to some library.
    fn texts() -> Vec<Vec<u8>> {
        let pieces: [&[u8]; 16] = [
            b"a",
            b":",
            b"/",
            b"\\",
            b"\\x2f",
            b"x2f",
            b"\xff",
            b"\n",
            b"db3/",
            b"queue:",
            b"retry",
            b"failed",
            b"bull:",
            b"dramatiq:",
            b"resque:queue:",
            b"app:",
        ];
        let longer = |texts: &[Vec<u8>]| -> Vec<Vec<u8>> {
            texts.iter().flat_map(|text| pieces.map(|piece| [text, piece].concat())).collect()
        };
        let one = longer(&[Vec::new()]);
        let two = longer(&one);
        let three = longer(&two);
        [one, two, three].concat()
    }

    /// The queues that there may be of a key, as their libraries find them.
    fn ids(db: usize, key: &[u8]) -> Vec<Id> {
        let id = |kind, key: &[u8]| Id::new(db, kind, key);
        let of = |prefix: &[u8]| [prefix, key].concat();
        let mut ids = vec![
            id(QueueKind::List, key),
            id(QueueKind::ZSet, key),
            id(QueueKind::Celery, key),
            id(QueueKind::Arq, key),
            id(QueueKind::Rq, &of(b"rq:queue:")),
            id(QueueKind::Resque, &of(b"resque:queue:")),
            id(QueueKind::Sidekiq, &of(b"queue:")),
            id(QueueKind::Stream, key),
            Id::part(db, QueueKind::Stream, key, b"/"),
            Id::part(db, QueueKind::Stream, key, b"/b"),
            Id::part(db, QueueKind::Stream, b"a", &of(b"/")),
        ];
        if key.contains(&b':') {
            ids.extend([id(QueueKind::BullMq, key), id(QueueKind::Dramatiq, key)]);
        }
        if key.ends_with(b":") {
            ids.push(id(
                QueueKind::Sidekiq,
                &of(b"").iter().chain(b"queue:low").copied().collect::<Vec<_>>(),
            ));
            ids.push(Id::part(db, QueueKind::Sidekiq, &[key, b"retry"].concat(), b"retry"));
        }
        ids
    }

    #[test]
    fn no_two_queues_of_a_kind_share_a_name() {
        let mut known: HashMap<(String, QueueKind), Id> = HashMap::new();
        let mut ids_of_texts: Vec<Id> =
            texts().iter().flat_map(|key| [ids(0, key), ids(3, key)].concat()).collect();
        for set in ["retry", "schedule", "dead"] {
            ids_of_texts.push(Id::part(0, QueueKind::Sidekiq, set.as_bytes(), set.as_bytes()));
        }
        ids_of_texts.push(Id::part(0, QueueKind::Resque, b"resque:failed", b"failed"));
        for id in ids_of_texts {
            let name = id.name();
            assert!(!name.chars().any(char::is_control));
            // One key holds one value: a set of all queues and a queue cannot both be there.
            let is_same = |other: &Id| {
                (other.db, &other.base) == (id.db, &id.base)
                    && (id == *other || id.kind == QueueKind::Sidekiq)
            };
            if let Some(other) = known.insert((name.clone(), id.kind), id.clone()) {
                assert!(is_same(&other), "{name}: {id:?} {other:?}");
            }
        }
        assert!(known.len() > 50_000);
    }
}
