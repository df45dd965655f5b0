//! Who may come in while a script holds the engine, so that an operator can still open a connection and end it.
//!
//! The engine leaves a copy of its users when it becomes busy, and of what it knows of passwords; nothing changes them until it is
//! free. One that was right before lets in at once, others wait in the line of checks like any. A connection that came in with a
//! password is closed then: the engine has never heard of it.

use std::sync::Arc;

use control::{Asker, Jobs, Question};
use engine::{BusyRights, Secret, Visitor, Visitors, digest_of};
use parking_lot::Mutex;

/// The answer to a name and a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// Come in, with these rights.
    Welcome(BusyRights),
    Refused,
    /// That is being found out; ask again.
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
    visitors: Arc<Mutex<Visitors>>,
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

    /// Whether somebody may come in, as far as that is known; if it is not, a check is asked for.
    pub(crate) fn ask(&self, name: &[u8], password: &[u8], asker: Asker, jobs: &Jobs) -> Entry {
        let visitors = self.visitors.lock();
        let user = visitors.users.iter().find(|user| user.name == name);
        let digest = digest_of(password);
        if let Some(user) = user.filter(|user| user.nopass || has_digest(user, &digest)) {
            return Entry::Welcome(user.rights);
        }
        // Who is unknown, or has no records, is compared with somebody's all the same: the time tells nothing.
        let own = user.map(records).filter(|records| !records.is_empty());
        let known = user.filter(|_| own.is_some());
        let records = own.or_else(|| visitors.users.iter().map(records).find(|records| !records.is_empty()));
        let (Some(mut records), Some(proofs)) = (records, &visitors.proofs) else { return Entry::Refused };
        if password.len() > base::limits::PASSWORD_BYTES_MAX {
            return Entry::Refused;
        }
        let pair_of = |record: &String| proofs.of(record, password);
        if records.iter().any(|record| proofs.is_right(&pair_of(record)) == Some(true)) {
            return known.map_or(Entry::Refused, |user| Entry::Welcome(user.rights));
        }
        records.retain(|record| proofs.is_right(&pair_of(record)).is_none());
        if records.is_empty() {
            return Entry::Refused;
        }
        let pairs: Vec<engine::Proof> = records.iter().map(pair_of).collect();
        drop(visitors);
        let theirs = Arc::clone(&self.visitors);
        let answered = Box::new(move |fits| {
            if let Some(proofs) = &mut theirs.lock().proofs {
                proofs.learn_answer(&pairs, fits);
            }
        });
        jobs.check_password(Question { records, password: password.to_vec() }, asker, answered);
        Entry::Later
    }
}

fn has_digest(user: &Visitor, digest: &str) -> bool {
    user.secrets.iter().any(|secret| matches!(secret, Secret::Sha256(known) if known == digest))
}

fn records(user: &Visitor) -> Vec<String> {
    let of = |secret: &Secret| match secret {
        Secret::Argon2id(record) => Some(record.clone()),
        Secret::Sha256(_) => None,
    };
    user.secrets.iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::Proofs;

    const ALL: BusyRights = BusyRights::ALL;
    const NONE: BusyRights = BusyRights::NONE;

    fn visitor(name: &str, secrets: Vec<Secret>, rights: BusyRights) -> Visitor {
        Visitor { name: name.into(), nopass: secrets.is_empty(), secrets, rights }
    }

    #[test]
    fn only_the_right_password_opens() {
        let doors = Doors::default();
        let record = control::password::hash(b"pw").unwrap().as_str().to_owned();
        let mut proofs = Proofs::new(&[1; 32]);
        proofs.learn(proofs.of(&record, b"known"), true);
        let users = vec![
            visitor("default", vec![Secret::Argon2id(record)], ALL),
            visitor("reader", vec![Secret::Sha256(digest_of(b"r"))], NONE),
        ];
        doors.copy(Visitors { users, is_protected: true, proofs: Some(proofs) });
        let jobs = Jobs::start(|| {}, || {}).unwrap();
        let once = |name: &str, password: &str| {
            let asker = Asker { client: 1, source: 1, has_failed: false };
            doors.ask(name.as_bytes(), password.as_bytes(), asker, &jobs)
        };
        let ask = |name: &str, password: &str| {
            loop {
                match once(name, password) {
                    Entry::Later => std::thread::sleep(std::time::Duration::from_millis(1)),
                    entry => return entry,
                }
            }
        };
        assert_eq!(once("default", "known"), Entry::Welcome(ALL), "at once");
        assert_eq!(once("reader", "r"), Entry::Welcome(NONE));
        assert_eq!((once("default", "pw"), ask("default", "pw")), (Entry::Later, Entry::Welcome(ALL)));
        assert_eq!(ask("default", "no"), Entry::Refused);
        assert_eq!((once("gone", "x"), ask("gone", "x")), (Entry::Later, Entry::Refused), "as a known one");
        assert_eq!((ask("gone", "pw"), ask("reader", "pw")), (Entry::Refused, Entry::Refused));
        assert_eq!(doors.greet(true), Greeting::Halt);
    }

    #[test]
    fn protected_mode_lets_in_only_who_comes_from_here() {
        let doors = Doors::default();
        assert_eq!(doors.greet(true), Greeting::Halt, "nobody is known yet");
        doors.copy(Visitors {
            users: vec![visitor("default", Vec::new(), NONE)],
            is_protected: true,
            proofs: None,
        });
        assert_eq!((doors.greet(true), doors.greet(false)), (Greeting::Welcome(NONE), Greeting::Refused));
        doors.copy(Visitors {
            users: vec![visitor("default", Vec::new(), ALL)],
            is_protected: false,
            proofs: None,
        });
        assert_eq!(doors.greet(false), Greeting::Welcome(ALL));
    }
}
