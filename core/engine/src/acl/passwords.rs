//! Passwords: who is let in, and what a request's clear-text passwords become.
//!
//! A check or a hash with argon2id takes tens of milliseconds, so neither is done here: a job is left, the client waits, and its request
//! runs again with the answer, the passwords in it replaced by records.

use super::proofs::Proofs;
use super::{Proof, Secret, Verdict, digest_of, rules};
use crate::call::Turn;
use crate::engine::Engine;
use crate::outside::{Asker, Job, Outside};
use crate::session::{Queued, SessionId};
use commands::Args;

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
    let records = records_among(rules, known);
    let passwords = of(b"<");
    let wanted = !searched && !records.is_empty() && passwords.iter().any(|p| record_in(p).is_none());
    wanted.then_some(Job::FindPasswords { session, passwords, records })
}

/// The rules, where those that remove a password by its digest name the argon2id record that was made of it, as far as one among the
/// rules or of the user (`known`) is known to be: the record itself does not tell.
pub(super) fn with_known_digests(rules: &[&[u8]], known: &[Secret], proofs: &Proofs) -> Vec<Vec<u8>> {
    let records = records_among(rules, known);
    let record_of = |rule: &[u8]| {
        let digest = core::str::from_utf8(rule.strip_prefix(b"!")?).ok()?;
        let fits = |record: &&String| proofs.is_right(&proofs.of_digest(record, digest)) == Some(true);
        records.iter().find(fits).map(|record| format!("<{}{record}", rules::ARGON2ID).into_bytes())
    };
    rules.iter().map(|rule| record_of(rule).unwrap_or_else(|| rule.to_vec())).collect()
}

/// The argon2id records that the rules give a user, and those that the user has.
fn records_among(rules: &[&[u8]], known: &[Secret]) -> Vec<String> {
    let mut records: Vec<String> = rules.iter().filter_map(|r| record_in(r)).collect();
    records.extend(known.iter().filter_map(|s| match s {
        Secret::Argon2id(record) => Some(record.clone()),
        Secret::Sha256(_) => None,
    }));
    records
}

/// Where in a request the passwords stand that are to be hashed: those of `>password` rules, or the value of `requirepass`.
fn new_passwords(argv: &[Vec<u8>]) -> Vec<usize> {
    let is_config = argv.first().is_some_and(|a| a.eq_ignore_ascii_case(b"config"));
    let is_one = |i: &usize| match is_config {
        true => {
            let is_password = !argv[*i].is_empty() && record_in(&argv[*i]).is_none();
            argv[i - 1].eq_ignore_ascii_case(b"requirepass") && is_password
        }
        false => argv[*i].starts_with(b">"),
    };
    (3..argv.len()).filter(is_one).collect()
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

/// The argon2id record in a value. Only what the PHC format allows is one: it stands without quotes in lines of rules.
pub(crate) fn record_in(value: &[u8]) -> Option<String> {
    let text = core::str::from_utf8(value).ok()?.strip_prefix(rules::ARGON2ID)?;
    let is_phc = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"$=,/+.-".contains(&b));
    (is_phc && text.starts_with("$argon2id$")).then(|| text.to_owned())
}

/// Whether somebody is let in.
enum Judgement {
    In(usize),
    Out,
    /// These records have to be asked; nothing is known of the pairs.
    Ask(Vec<String>, Vec<Proof>),
}

impl Engine {
    /// Passwords are hashed: the request runs again with the records in their place; of EXEC those stand in what it runs.
    pub fn passwords_hashed(&mut self, id: SessionId, records: &[String], outside: &mut dyn Outside) {
        let Some(session) = self.sessions.find_mut(id) else { return };
        let Some(deferred) = session.deferred.take() else { return };
        let (mut argv, mut records) = (deferred.argv, records.iter());
        if let Some(mut multi) = session.multi.take() {
            for queued in &mut multi.queue {
                if self.sets_passwords(queued) {
                    self.put_records(&mut queued.argv, &mut records);
                }
            }
            self.sessions.at_mut(id).multi = Some(multi);
        }
        self.put_records(&mut argv, &mut records);
        self.resume(id, &argv, outside);
    }

    /// Whether a queued request is one that may set passwords: a word that begins with `>` is none elsewhere.
    fn sets_passwords(&self, queued: &Queued) -> bool {
        matches!(self.table.commands[queued.command].spec.name, "config|set" | "acl|setuser")
    }

    /// Puts records in place of the passwords of a request, in order.
    fn put_records<'a>(&mut self, argv: &mut [Vec<u8>], records: &mut impl Iterator<Item = &'a String>) {
        for (at, record) in new_passwords(argv).into_iter().zip(records) {
            let password = argv[at].strip_prefix(b">").unwrap_or(&argv[at]);
            self.learn_password(record, password);
            argv[at] = format!("{}{record}", rules::ARGON2ID).into_bytes();
        }
    }

    /// Has the passwords hashed that are set in a transaction. True: its client has to wait.
    pub(crate) fn hashes_ahead(&mut self, id: SessionId) -> bool {
        let Some(multi) = self.sessions.at(id).multi.as_ref().filter(|multi| !multi.broken) else {
            return false;
        };
        let bare = |password: &Vec<u8>| password.strip_prefix(b">").unwrap_or(password).to_vec();
        let of = |queued: &Queued| -> Vec<Vec<u8>> {
            new_passwords(&queued.argv).into_iter().map(|at| bare(&queued.argv[at])).collect()
        };
        let passwords: Vec<Vec<u8>> =
            multi.queue.iter().filter(|queued| self.sets_passwords(queued)).flat_map(of).collect();
        if passwords.is_empty() {
            return false;
        }
        self.jobs.push(Job::HashPasswords { session: id, passwords });
        true
    }

    /// Remembers that a password fits a record, as whoever has just made the record of it knows: its users need not wait for a check.
    pub fn learn_password(&mut self, record: &str, password: &[u8]) {
        for pair in [self.proofs.of(record, password), self.proofs.of_digest(record, &digest_of(password))] {
            self.proofs.learn(pair, true);
        }
    }

    /// A user has logged in with this password: which of the records it fits can be told by its digest from now on.
    fn learn_digest(&mut self, user: usize, password: &[u8]) {
        let secrets = self.acl.user(user).map_or(&[][..], |user| &user.secrets);
        let fits = |record: &&String| self.proofs.is_right(&self.proofs.of(record, password)) == Some(true);
        if let Some(record) = records_among(&[], secrets).iter().find(fits) {
            let pair = self.proofs.of_digest(record, &digest_of(password));
            self.proofs.learn(pair, true);
        }
    }

    /// Whether `requirepass` is the password that the default user has: nobody has given it another one since.
    pub fn requirepass_counts(&self) -> bool {
        match record_in(&self.config.requirepass) {
            Some(record) => self.acl.has_default_record(&record),
            None => self.config.requirepass.is_empty() && self.acl.default_is_open(),
        }
    }

    /// Puts one argon2id record in place of another for the default user and in `requirepass`, if that is still the only secret
    /// that the user has; else says false and changes nothing.
    pub fn exchange_password(&mut self, old: &str, new: &str) -> bool {
        if !self.acl.has_default_record(old) {
            return false;
        }
        let origin = self.config.origin("requirepass").cloned().unwrap_or(config::Origin::Default);
        let text = format!("{}{new}", rules::ARGON2ID);
        if self.config.assign("requirepass", text.as_bytes(), origin).is_err() {
            return false;
        }
        self.acl.set_default_secrets(vec![Secret::Argon2id(new.to_owned())]);
        true
    }

    /// A password check is done: of the records of these pairs, the password fits that one. Its request runs again, and asks again
    /// if the user has other records by now.
    pub fn password_verified(
        &mut self,
        id: SessionId,
        pairs: &[Proof],
        fits: Option<usize>,
        outside: &mut dyn Outside,
    ) {
        self.proofs.learn_answer(pairs, fits);
        let Some(session) = self.sessions.find_mut(id) else { return };
        let Some(deferred) = session.deferred.take() else { return };
        (session.is_asking, session.is_answered) = (false, true);
        self.resume(id, &deferred.argv, outside);
    }

    /// Passwords were looked for among records: the request runs again with those that were found in their place.
    pub fn passwords_found(&mut self, id: SessionId, found: &[Option<String>], outside: &mut dyn Outside) {
        let Some(session) = self.sessions.find_mut(id) else { return };
        let Some(deferred) = session.deferred.take() else { return };
        session.is_answered = true;
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
        match self.judge(name, password) {
            Judgement::In(user) => {
                self.learn_digest(user, password);
                Some(Some(user))
            }
            Judgement::Out => Some(None),
            // Nobody waits inside a transaction; EXEC has asked ahead of it.
            Judgement::Ask(..) if !turn.caller.may_wait() => None,
            Judgement::Ask(records, pairs) => {
                self.ask(turn.session, records, pairs, password);
                None
            }
        }
    }

    /// Asks about the first log-in in a transaction of which nothing is known yet. True: its client has to wait.
    pub(crate) fn asks_ahead(&mut self, id: SessionId) -> bool {
        let Some(multi) = self.sessions.at(id).multi.as_ref().filter(|multi| !multi.broken) else {
            return false;
        };
        let name_of = |queued: &Queued| self.table.commands[queued.command].spec.name;
        let mut logins = multi.queue.iter().filter(|queued| matches!(name_of(queued), "auth" | "hello"));
        let question = logins.find_map(|queued| {
            let argv: Vec<&[u8]> = queued.argv.iter().map(Vec::as_slice).collect();
            let name = name_of(queued);
            let (user, password) = crate::connection::login_of(name, Args::new(&argv))?;
            match self.judge(user, password) {
                Judgement::Ask(records, pairs) => Some((records, pairs, password.to_vec())),
                Judgement::In(_) | Judgement::Out => None,
            }
        });
        let Some((records, pairs, password)) = question else { return false };
        self.ask(id, records, pairs, &password);
        true
    }

    fn ask(&mut self, id: SessionId, records: Vec<String>, pairs: Vec<Proof>, password: &[u8]) {
        let session = self.sessions.at_mut(id);
        session.is_asking = true;
        let asker = Asker { client: session.id, source: session.info.source, has_failed: session.has_failed };
        self.jobs.push(Job::VerifyPassword {
            session: id,
            asker,
            records,
            pairs,
            password: password.to_vec(),
        });
    }

    /// A name that nobody has and a user who has no record are asked about like one who has, or the time would tell them apart.
    fn judge(&self, name: &[u8], password: &[u8]) -> Judgement {
        let (user, records) = match self.acl.verify(name, password) {
            (Some(user), Verdict::Yes) => return Judgement::In(user),
            (_, Verdict::Yes | Verdict::No) => return Judgement::Out,
            (user, Verdict::Ask(records)) => (user, records),
        };
        if password.len() > base::limits::PASSWORD_BYTES_MAX {
            return Judgement::Out;
        }
        let mut pairs: Vec<Proof> = records.iter().map(|record| self.proofs.of(record, password)).collect();
        if pairs.iter().any(|pair| self.proofs.is_right(pair) == Some(true)) {
            return user.map_or(Judgement::Out, Judgement::In);
        }
        let is_open = |pair: &Proof| self.proofs.is_right(pair).is_none();
        let records: Vec<String> = records
            .into_iter()
            .zip(&pairs)
            .filter(|(_, pair)| is_open(pair))
            .map(|(record, _)| record)
            .collect();
        pairs.retain(is_open);
        match records.is_empty() {
            true => Judgement::Out,
            false => Judgement::Ask(records, pairs),
        }
    }

    /// 32 unpredictable bytes, derived from the process' secret seed.
    pub(crate) fn secret_bytes(&mut self) -> [u8; 32] {
        use sha2::{Digest, Sha256};
        let counter = self.keyspace.random.next_u64();
        self.token_key = Sha256::new().chain_update(b"next").chain_update(self.token_key).finalize().into();
        Sha256::new()
            .chain_update(b"out")
            .chain_update(self.token_key)
            .chain_update(counter.to_le_bytes())
            .finalize()
            .into()
    }
}
