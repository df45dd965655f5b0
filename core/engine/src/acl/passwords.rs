//! Passwords: who is let in, and what a request's clear-text passwords become.
//!
//! A check or a hash with argon2id takes tens of milliseconds, so neither is done here: a job is left, the client waits, and its request
//! runs again with the answer, the passwords in it replaced by records.

use super::{Secret, Verdict, rules};
use crate::engine::{Engine, Turn};
use crate::outside::{Job, Outside};
use crate::session::{Checked, SessionId};

/// What has to be done with the passwords in the rules of ACL SETUSER before they can be applied: those to be added are hashed, those to
/// be removed are looked for among the user's records (`searched`: that is done). `None`: nothing.
pub(super) fn preparation(
    session: SessionId,
    rules: &[&[u8]],
    known: &[Secret],
    searched: bool,
) -> Option<Job> {
    let of = |mark: &[u8]| -> Vec<Vec<u8>> {
        rules.iter().filter_map(|r| r.strip_prefix(mark)).map(<[u8]>::to_vec).collect()
    };
    let passwords = of(b">");
    if !passwords.is_empty() {
        return Some(Job::HashPasswords { session, passwords });
    }
    let mut records: Vec<String> = rules.iter().filter_map(|r| record_in(r)).collect();
    records.extend(known.iter().filter_map(|s| match s {
        Secret::Argon2id(record) => Some(record.clone()),
        Secret::Sha256(_) => None,
    }));
    let passwords = of(b"<");
    let wanted = !searched && !records.is_empty() && passwords.iter().any(|p| record_in(p).is_none());
    wanted.then_some(Job::FindPasswords { session, passwords, records })
}

/// A request whose `>password` rules (or `requirepass` value) are replaced by argon2id records, in order.
fn with_records(mut argv: Vec<Vec<u8>>, records: &[String]) -> Vec<Vec<u8>> {
    let mut records = records.iter();
    let is_config = argv.first().is_some_and(|a| a.eq_ignore_ascii_case(b"config"));
    for i in 0..argv.len() {
        let wanted = if is_config {
            i >= 3 && argv[i - 1].eq_ignore_ascii_case(b"requirepass") && !argv[i].is_empty()
        } else {
            i >= 3 && argv[i].starts_with(b">")
        };
        if wanted && let Some(record) = records.next() {
            argv[i] = format!("{}{record}", rules::ARGON2ID).into_bytes();
        }
    }
    argv
}

/// A request whose `<password` rules name the records that were found, in order; the others stay.
fn with_found(mut argv: Vec<Vec<u8>>, found: &[Option<String>]) -> Vec<Vec<u8>> {
    let removals = argv.iter_mut().skip(3).filter(|a| a.starts_with(b"<"));
    for (rule, record) in removals.zip(found) {
        if let Some(record) = record {
            *rule = format!("<{}{record}", rules::ARGON2ID).into_bytes();
        }
    }
    argv
}

/// The argon2id record in a value that [`with_records`] has replaced. Only what the PHC format allows is one: it stands without
/// quotes in lines of rules.
pub(crate) fn record_in(value: &[u8]) -> Option<String> {
    let text = core::str::from_utf8(value).ok()?.strip_prefix(rules::ARGON2ID)?;
    let is_phc = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"$=,/+.-".contains(&b));
    (is_phc && text.starts_with("$argon2id$")).then(|| text.to_owned())
}

impl Engine {
    /// Passwords are hashed: the request runs again with the records in their place.
    pub fn passwords_hashed(&mut self, id: SessionId, records: &[String], outside: &mut dyn Outside) {
        let Some(deferred) = self.sessions.find_mut(id).and_then(|s| s.deferred.take()) else { return };
        let argv = with_records(deferred.argv, records);
        self.resume(id, &argv, outside);
    }

    /// A password check is done: of these records, the password fits that one.
    pub fn password_verified(
        &mut self,
        id: SessionId,
        records: Vec<String>,
        fits: Option<usize>,
        outside: &mut dyn Outside,
    ) {
        let Some(session) = self.sessions.find_mut(id) else { return };
        let Some(deferred) = session.deferred.take() else { return };
        session.checked = Some(Checked { records, fits });
        self.resume(id, &deferred.argv, outside);
    }

    /// Passwords were looked for among records: the request runs again with those that were found in their place.
    pub fn passwords_found(&mut self, id: SessionId, found: &[Option<String>], outside: &mut dyn Outside) {
        let Some(session) = self.sessions.find_mut(id) else { return };
        let Some(deferred) = session.deferred.take() else { return };
        session.checked = Some(Checked { records: Vec::new(), fits: None });
        let argv = with_found(deferred.argv, found);
        self.resume(id, &argv, outside);
    }

    /// Whether `password` lets a client in as `name`; `None` when a job has to find out (and has been asked).
    pub(crate) fn verify_password(
        &mut self,
        turn: &Turn<'_>,
        name: &[u8],
        password: &[u8],
    ) -> Option<Option<usize>> {
        // It belongs to this very request: left behind, it would let the next one in.
        let checked = self.sessions.at_mut(turn.session).checked.take();
        let (user, records) = match self.acl.verify(name, password) {
            (user, Verdict::Yes) => return Some(user),
            (_, Verdict::No) => return Some(None),
            (user, Verdict::Ask(records)) => (user, records),
        };
        if records.iter().any(|record| self.verified.contains(&self.keyed_digest(record, password))) {
            return Some(user);
        }
        match checked {
            // The user's records are still those that were asked.
            Some(Checked { records: asked, fits }) if asked == records => {
                let Some(record) = fits.and_then(|at| records.get(at)) else { return Some(None) };
                self.remember_verified(self.keyed_digest(record, password));
                Some(user)
            }
            // Nobody waits inside a transaction, and an answer must find the request that asked.
            _ if !turn.may_block => None,
            _ => {
                let (session, password) = (turn.session, password.to_vec());
                self.jobs.push(Job::VerifyPassword { session, records, password });
                None
            }
        }
    }

    fn remember_verified(&mut self, digest: [u8; 32]) {
        /// Passwords remembered as right; beyond it all are asked again.
        const VERIFIED_MAX: usize = 1024;
        if self.verified.len() >= VERIFIED_MAX {
            self.verified.clear();
        }
        self.verified.insert(digest);
    }

    /// A digest of a password and the record it fits, that means nothing outside of this process. That it fits is true for ever,
    /// whatever becomes of the user.
    fn keyed_digest(&self, record: &str, password: &[u8]) -> [u8; 32] {
        use sha2::{Digest, Sha256};
        let inner = Sha256::new()
            .chain_update(self.password_key)
            .chain_update((record.len() as u64).to_le_bytes())
            .chain_update(record)
            .chain_update(password)
            .finalize();
        Sha256::new().chain_update(self.password_key).chain_update(inner).finalize().into()
    }

    /// 32 unpredictable bytes, derived from the process' secret seed.
    pub(crate) fn secret_bytes(&mut self) -> [u8; 32] {
        use sha2::{Digest, Sha256};
        let counter = self.keyspace.random.next_u64();
        self.password_key =
            Sha256::new().chain_update(b"next").chain_update(self.password_key).finalize().into();
        self.verified.clear();
        Sha256::new()
            .chain_update(b"out")
            .chain_update(self.password_key)
            .chain_update(counter.to_le_bytes())
            .finalize()
            .into()
    }
}
