//! Who may come in while a script holds the engine, so that an operator can still open a connection and end it.
//!
//! The engine leaves a copy of its users when it becomes busy; nothing changes them until it is free. A connection that came in with a
//! password is closed then: the engine has never heard of it.

use std::sync::atomic::{AtomicU64, Ordering};

use control::password::Record;
use engine::{BusyRights, Secret, Visitor, Visitors, digest_of};
use parking_lot::Mutex;

/// The least time between two checks, microseconds: each takes tens of milliseconds of an I/O thread.
const CHECK_PERIOD_US: u64 = 200_000;

/// The answer to a name and a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// Come in, with these rights.
    Welcome(BusyRights),
    Refused,
    /// Another check was made just now; ask again.
    Later,
}

/// What a client meets that the engine has not heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Greeting {
    /// No password is needed.
    Welcome(BusyRights),
    /// A password is needed.
    Halt,
    /// It comes from elsewhere, which protected mode refuses.
    Refused,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Doors {
    visitors: Mutex<Visitors>,
    not_before_us: AtomicU64,
}

impl Doors {
    /// Takes a copy of the users.
    pub(crate) fn copy(&self, visitors: Visitors) {
        *self.visitors.lock() = visitors;
    }

    /// Receives a client, `from_here` if it comes from this machine.
    pub(crate) fn greet(&self, from_here: bool) -> Greeting {
        let visitors = self.visitors.lock();
        match visitors.users.iter().find(|user| user.name == b"default") {
            Some(default) if !default.nopass => Greeting::Halt,
            None => Greeting::Halt,
            Some(_) if visitors.is_protected && !from_here => Greeting::Refused,
            Some(default) => Greeting::Welcome(default.rights),
        }
    }

    /// Whether somebody may come in. Takes tens of milliseconds.
    pub(crate) fn ask(&self, name: &[u8], password: &[u8], now_us: u64) -> Entry {
        if now_us < self.not_before_us.load(Ordering::Relaxed) {
            return Entry::Later;
        }
        self.not_before_us.store(now_us + CHECK_PERIOD_US, Ordering::Relaxed);
        let visitors = self.visitors.lock();
        match visitors.users.iter().find(|user| user.name == name) {
            Some(user) if opens(user, password) => Entry::Welcome(user.rights),
            _ => Entry::Refused,
        }
    }
}

fn opens(user: &Visitor, password: &[u8]) -> bool {
    let digest = digest_of(password);
    user.nopass
        || user.secrets.iter().any(|secret| match secret {
            Secret::Sha256(known) => *known == digest,
            Secret::Argon2id(text) => Record::parse(text).is_ok_and(|record| record.verify(password)),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: BusyRights = BusyRights::ALL;
    const NONE: BusyRights = BusyRights::NONE;

    fn visitor(name: &str, secrets: Vec<Secret>, rights: BusyRights) -> Visitor {
        Visitor { name: name.into(), nopass: secrets.is_empty(), secrets, rights }
    }

    #[test]
    fn only_the_right_password_opens() {
        let doors = Doors::default();
        let record = control::password::hash(b"pw").unwrap();
        let users = vec![
            visitor("default", vec![Secret::Argon2id(record.as_str().to_owned())], ALL),
            visitor("reader", vec![Secret::Sha256(digest_of(b"r"))], NONE),
        ];
        doors.copy(Visitors { users, is_protected: true });
        let ask = |name: &str, password: &str, at| {
            doors.ask(name.as_bytes(), password.as_bytes(), at * CHECK_PERIOD_US)
        };
        assert_eq!(ask("default", "pw", 1), Entry::Welcome(ALL));
        assert_eq!(ask("default", "pw", 1), Entry::Later);
        assert_eq!(ask("default", "no", 2), Entry::Refused);
        assert_eq!(ask("reader", "r", 3), Entry::Welcome(NONE));
        assert_eq!(ask("gone", "", 4), Entry::Refused);
        assert_eq!(doors.greet(true), Greeting::Halt);
    }

    #[test]
    fn protected_mode_lets_in_only_who_comes_from_here() {
        let doors = Doors::default();
        assert_eq!(doors.greet(true), Greeting::Halt, "nobody is known yet");
        doors.copy(Visitors { users: vec![visitor("default", Vec::new(), NONE)], is_protected: true });
        assert_eq!((doors.greet(true), doors.greet(false)), (Greeting::Welcome(NONE), Greeting::Refused));
        doors.copy(Visitors { users: vec![visitor("default", Vec::new(), ALL)], is_protected: false });
        assert_eq!(doors.greet(false), Greeting::Welcome(ALL));
    }
}
