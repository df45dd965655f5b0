//! Who may come in while a script holds the engine: a copy of the users, so that an operator with a password
//! can still open a connection and end the script.
//!
//! The copy is made once a second from the lines of an ACL file, the one form that holds everything. A
//! connection that came in this way is closed once the engine is free: the engine has never heard of it.

use std::sync::atomic::{AtomicU64, Ordering};

use control::password::Record;
use engine::digest_of;
use parking_lot::Mutex;

/// The least time between two checks, microseconds: each takes tens of milliseconds of an I/O thread.
const CHECK_PERIOD_US: u64 = 200_000;

/// One user, as far as it matters here.
#[derive(Debug, Default, PartialEq, Eq)]
struct Door {
    name: String,
    open: bool,
    digests: Vec<String>,
    records: Vec<String>,
    may_kill: bool,
}

impl Door {
    fn of(line: &str) -> Option<Door> {
        let mut words = line.strip_prefix("user ")?.split(' ');
        let mut door = Door { name: words.next()?.to_owned(), ..Door::default() };
        let mut enabled = false;
        for word in words {
            match word {
                "on" => enabled = true,
                "nopass" => door.open = true,
                "+@all" | "+@slow" | "+@scripting" | "+script" | "+script|kill" => door.may_kill = true,
                "-@all" | "-@slow" | "-@scripting" | "-script" | "-script|kill" => door.may_kill = false,
                _ => {}
            }
            if let Some(digest) = word.strip_prefix('#') {
                door.digests.push(digest.to_owned());
            } else if let Some(record) = word.strip_prefix("argon2id:") {
                door.records.push(record.to_owned());
            }
        }
        enabled.then_some(door)
    }

    fn opens_with(&self, password: &[u8]) -> bool {
        let digest = digest_of(password);
        self.open
            || self.digests.contains(&digest)
            || self
                .records
                .iter()
                .filter_map(|text| Record::parse(text).ok())
                .any(|record| record.verify(password))
    }
}

/// The answer to a name and a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// Come in; whether scripts may be stopped.
    Welcome {
        may_kill: bool,
    },
    Refused,
    /// Another check was made just now; ask again.
    Later,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Doors {
    doors: Mutex<Vec<Door>>,
    not_before_us: AtomicU64,
}

impl Doors {
    /// Copies the users.
    pub(crate) fn copy(&self, lines: &[String]) {
        *self.doors.lock() = lines.iter().filter_map(|line| Door::of(line)).collect();
    }

    /// Whether somebody may come in. Takes tens of milliseconds.
    pub(crate) fn ask(&self, name: &[u8], password: &[u8], now_us: u64) -> Entry {
        if now_us < self.not_before_us.load(Ordering::Relaxed) {
            return Entry::Later;
        }
        self.not_before_us.store(now_us + CHECK_PERIOD_US, Ordering::Relaxed);
        let doors = self.doors.lock();
        match doors.iter().find(|door| door.name.as_bytes() == name) {
            Some(door) if door.opens_with(password) => Entry::Welcome { may_kill: door.may_kill },
            _ => Entry::Refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_password_of_an_enabled_user_opens() {
        let doors = Doors::default();
        let record = control::password::hash(b"pw").unwrap();
        doors.copy(&[
            format!("user default on argon2id:{} ~* &* +@all", record.as_str()),
            format!("user reader on #{} ~* -@all +get", digest_of(b"r")),
            "user gone off nopass +@all".to_owned(),
        ]);
        let ask = |name: &str, password: &str, at| {
            doors.ask(name.as_bytes(), password.as_bytes(), at * CHECK_PERIOD_US)
        };
        assert_eq!(ask("default", "pw", 1), Entry::Welcome { may_kill: true });
        assert_eq!(ask("default", "pw", 1), Entry::Later);
        assert_eq!(ask("default", "no", 2), Entry::Refused);
        assert_eq!(ask("reader", "r", 3), Entry::Welcome { may_kill: false });
        assert_eq!(ask("gone", "", 4), Entry::Refused);
    }
}
