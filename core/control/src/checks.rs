//! The line in front of the threads that hash: who waits for a password to be checked, and in which order.
//!
//! Everybody who connects is a stranger until a check is done, and strangers may be a crowd: the clients of a pool after a restart, or
//! somebody who guesses. So
//!
//! - equal questions (the same records and password) are one check, whoever asks; three hundred clients of a pool cost one hash;
//! - machines take turns, whatever each asks for;
//! - of one machine's questions the newest goes first, mostly: a crowd that has stood in line for long does not hold up a newcomer,
//!   who may be the one with the right password; every fourth turn belongs to the oldest;
//! - clients whose password was wrong before come behind those who ask for the first time, but for every fourth turn;
//! - nobody is turned away. The line is bounded by the clients: each waits with one question, and one that goes takes it along.
//!
//! Work that users with rights have asked for (making records) comes before all of it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};

use crate::jobs::Release;
use crate::password::Record;

/// Answers kept for those who ask the same a moment later, before whoever knows the answer could tell them.
const RECENT_MAX: usize = 64;

/// Entries of lanes that lead nowhere any more and are tolerated.
const STALE_MAX: usize = 256;

/// What is to be found out.
pub struct Question {
    /// argon2id records (PHC strings), tried in order. One that cannot be read fits nothing.
    pub records: Vec<String>,
    /// What was offered.
    pub password: Vec<u8>,
}

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Question({} records)", self.records.len())
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Asker {
    /// The client's number.
    pub client: u64,
    /// Where it comes from: equal for clients of one machine.
    pub source: u64,
    /// Its last password was wrong.
    pub has_failed: bool,
}

/// Hears the index of the record that the password fits, or `None`. Runs on a hashing thread; it should leave a note and return.
pub type Answered = Box<dyn FnOnce(Option<usize>) + Send>;

/// Names a question.
type Key = [u8; 32];

/// A question and who waits for its answer.
#[derive(Default)]
struct Check {
    /// Taken by the thread that works on it.
    question: Option<Question>,
    waiting: Vec<(u64, Answered)>,
    lanes: HashSet<(usize, u64)>,
}

/// Questions by where they come from; each machine has its turn.
#[derive(Default)]
struct Lanes {
    turns: VecDeque<u64>,
    of: HashMap<u64, VecDeque<Key>>,
}

impl Lanes {
    fn add(&mut self, source: u64, key: Key) {
        let lane = self.of.entry(source).or_default();
        if lane.is_empty() {
            self.turns.push_back(source);
        }
        lane.push_back(key);
    }

    /// The next machine's newest or oldest question.
    fn next(&mut self, newest: bool) -> Option<Key> {
        let source = self.turns.pop_front()?;
        let lane = self.of.get_mut(&source)?;
        let key = if newest { lane.pop_back() } else { lane.pop_front() };
        match lane.is_empty() {
            true => drop(self.of.remove(&source)),
            false => self.turns.push_back(source),
        }
        key
    }

    fn retain(&mut self, live: impl Fn(&Key) -> bool) {
        self.of.retain(|_, lane| {
            lane.retain(&live);
            !lane.is_empty()
        });
        self.turns.retain(|source| self.of.contains_key(source));
    }
}

#[derive(Default)]
struct Line {
    jobs: VecDeque<Release>,
    checks: HashMap<Key, Check>,
    /// Of those who ask for the first time, and of those whose password was wrong before.
    lanes: [Lanes; 2],
    clients: HashMap<u64, Key>,
    recent: VecDeque<(Key, Option<usize>)>,
    turn: u64,
    stale: usize,
    is_closed: bool,
}

/// What a hashing thread does next.
enum Work {
    Job(Release),
    Check(Key, Question),
}

/// See the module.
pub(crate) struct Checks {
    line: Mutex<Line>,
    arrived: Condvar,
    secret: [u8; 32],
}

impl Checks {
    /// An empty line; `secret` keys the names of questions.
    pub(crate) fn new(secret: [u8; 32]) -> Checks {
        Checks { line: Mutex::default(), arrived: Condvar::new(), secret }
    }

    /// Takes a question. A client that waits for the same already changes nothing.
    pub(crate) fn ask(&self, question: Question, asker: Asker, answered: Answered) {
        let key = self.key(&question);
        let mut line = self.line();
        if let Some((_, answer)) = line.recent.iter().find(|(known, _)| *known == key) {
            let answer = *answer;
            drop(line);
            return answered(answer);
        }
        if line.clients.get(&asker.client) == Some(&key) {
            return;
        }
        line.forget(asker.client);
        line.clients.insert(asker.client, key);
        let lane = (usize::from(asker.has_failed), asker.source);
        let is_new = !line.checks.contains_key(&key);
        let check = line.checks.entry(key).or_default();
        if is_new {
            check.question = Some(question);
        }
        check.waiting.push((asker.client, answered));
        if check.question.is_some() && check.lanes.insert(lane) {
            line.lanes[lane.0].add(lane.1, key);
        }
        drop(line);
        self.arrived.notify_one();
    }

    /// A client has gone; what only it has asked need not be found out.
    pub(crate) fn forget(&self, client: u64) {
        self.line().forget(client);
    }

    /// Takes work of another kind, ahead of all questions.
    pub(crate) fn add_job(&self, job: Release) {
        self.line().jobs.push_back(job);
        self.arrived.notify_one();
    }

    /// Has the threads end when all is done.
    pub(crate) fn close(&self) {
        self.line().is_closed = true;
        self.arrived.notify_all();
    }

    /// Works until the line is closed and empty; calls `after` behind each piece of work.
    pub(crate) fn work(&self, after: fn()) {
        while let Some(work) = self.next() {
            match work {
                Work::Job(job) => job(),
                Work::Check(key, question) => self.answer(key, &question),
            }
            after();
        }
    }

    fn answer(&self, key: Key, question: &Question) {
        let fits = question
            .records
            .iter()
            .position(|text| Record::parse(text).is_ok_and(|record| record.verify(&question.password)));
        let mut line = self.line();
        line.recent.push_back((key, fits));
        if line.recent.len() > RECENT_MAX {
            line.recent.pop_front();
        }
        let waiting = line.checks.remove(&key).map(|check| check.waiting).unwrap_or_default();
        for (client, _) in &waiting {
            line.clients.remove(client);
        }
        drop(line);
        waiting.into_iter().for_each(|(_, answered)| answered(fits));
    }

    fn next(&self) -> Option<Work> {
        let mut line = self.line();
        loop {
            if let Some(work) = line.next() {
                return Some(work);
            }
            if line.is_closed {
                return None;
            }
            line = self.arrived.wait(line).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn key(&self, question: &Question) -> Key {
        let mut digest = Sha256::new_with_prefix(self.secret);
        for part in question.records.iter().map(String::as_bytes).chain([question.password.as_slice()]) {
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        }
        digest.finalize().into()
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn forget(&mut self, client: u64) {
        let Some(key) = self.clients.remove(&client) else { return };
        let Some(check) = self.checks.get_mut(&key) else { return };
        check.waiting.retain(|(waiting, _)| *waiting != client);
        // One that is worked on is answered, if only to the memory of answers.
        if check.waiting.is_empty() && check.question.is_some() {
            self.stale += check.lanes.len();
            self.checks.remove(&key);
            self.sweep();
        }
    }

    fn next(&mut self) -> Option<Work> {
        if let Some(job) = self.jobs.pop_front() {
            return Some(Work::Job(job));
        }
        loop {
            self.turn += 1;
            let is_fourth = self.turn.is_multiple_of(4);
            let first = usize::from(is_fourth);
            let key = match self.lanes[first].next(!is_fourth) {
                Some(key) => key,
                None => self.lanes[1 - first].next(!is_fourth)?,
            };
            let Some(check) = self.checks.get_mut(&key) else {
                self.stale = self.stale.saturating_sub(1);
                continue;
            };
            if let Some(question) = check.question.take() {
                self.stale += check.lanes.len() - 1;
                self.sweep();
                return Some(Work::Check(key, question));
            }
            self.stale = self.stale.saturating_sub(1);
        }
    }

    /// Drops entries of lanes that lead nowhere, when they are many.
    fn sweep(&mut self) {
        if self.stale > STALE_MAX.max(self.checks.len()) {
            let checks = &self.checks;
            let is_live = |key: &Key| checks.get(key).is_some_and(|check| check.question.is_some());
            self.lanes.iter_mut().for_each(|lanes| lanes.retain(is_live));
            self.stale = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// A line without threads: what is asked is looked at, not hashed.
    struct Bench {
        checks: Checks,
        tell: Sender<(u64, Option<usize>)>,
        hear: Receiver<(u64, Option<usize>)>,
    }

    impl Bench {
        fn new() -> Bench {
            let (tell, hear) = channel();
            Bench { checks: Checks::new([7; 32]), tell, hear }
        }

        fn ask(&self, client: u64, source: u64, has_failed: bool, password: &str) {
            let question = Question { records: vec!["r".to_owned()], password: password.into() };
            let tell = self.tell.clone();
            let answered = Box::new(move |fits| tell.send((client, fits)).unwrap());
            self.checks.ask(question, Asker { client, source, has_failed }, answered);
        }

        /// The next question, answered so that all hear it.
        fn next(&self) -> Option<String> {
            let (key, question) = match self.checks.line().next()? {
                Work::Check(key, question) => (key, question),
                Work::Job(_) => return Some("job".to_owned()),
            };
            let password = String::from_utf8(question.password.clone()).unwrap();
            self.checks.answer(key, &question);
            Some(password)
        }

        fn heard(&self) -> Vec<u64> {
            let mut clients: Vec<u64> = self.hear.try_iter().map(|(client, _)| client).collect();
            clients.sort_unstable();
            clients
        }
    }

    #[test]
    fn equal_questions_are_one_check_and_who_asks_again_is_told_at_once() {
        let bench = Bench::new();
        (0..300).for_each(|client| bench.ask(client, client % 3, false, "pw"));
        assert_eq!(bench.next().as_deref(), Some("pw"));
        assert_eq!(bench.heard().len(), 300);
        assert_eq!(bench.next(), None, "one check was enough");
        bench.ask(400, 9, false, "pw");
        assert_eq!(bench.heard(), [400], "the answer is still known");
    }

    #[test]
    fn a_newcomer_does_not_wait_for_a_crowd_of_his_own_machine() {
        let bench = Bench::new();
        (0..100).for_each(|client| bench.ask(client, 1, false, &format!("guess {client}")));
        for round in 0..20 {
            bench.ask(1000 + round, 1, false, &format!("right {round}"));
            let first: Vec<_> = (0..2).filter_map(|_| bench.next()).collect();
            assert!(first.contains(&format!("right {round}")), "{first:?}");
        }
        // And the oldest of the crowd are not forgotten.
        assert!(bench.heard().contains(&0));
    }

    #[test]
    fn machines_take_turns_and_failures_come_behind() {
        let bench = Bench::new();
        (0..50).for_each(|client| bench.ask(client, 1, false, &format!("crowd {client}")));
        (50..100).for_each(|client| bench.ask(client, 2, true, &format!("again {client}")));
        bench.ask(200, 3, false, "lone");
        let first: Vec<_> = (0..3).filter_map(|_| bench.next()).collect();
        assert!(first.contains(&"lone".to_owned()), "{first:?}");
        let next: Vec<_> = (0..20).filter_map(|_| bench.next()).collect();
        let again = next.iter().filter(|password| password.starts_with("again")).count();
        assert_eq!(again, 5, "every fourth: {next:?}");
    }

    #[test]
    fn who_joins_a_question_from_elsewhere_brings_it_forward() {
        let bench = Bench::new();
        bench.ask(1, 1, true, "pw");
        (2..60).for_each(|client| bench.ask(client, 1, true, &format!("guess {client}")));
        (60..90).for_each(|client| bench.ask(client, 1, false, &format!("new {client}")));
        bench.ask(100, 2, false, "pw");
        let first: Vec<_> = (0..3).filter_map(|_| bench.next()).collect();
        assert!(first.contains(&"pw".to_owned()), "{first:?}");
        let heard = bench.heard();
        assert!(heard.contains(&1) && heard.contains(&100), "{heard:?}");
    }

    #[test]
    fn who_goes_takes_his_question_along_and_leaves_nothing() {
        let bench = Bench::new();
        for client in 0..10_000 {
            bench.ask(client, client % 7, false, &format!("guess {client}"));
            bench.checks.forget(client);
        }
        let line = bench.checks.line();
        let entries: usize = line.lanes.iter().flat_map(|lanes| lanes.of.values()).map(VecDeque::len).sum();
        assert!(line.checks.is_empty() && line.clients.is_empty() && entries <= STALE_MAX + 1, "{entries}");
        drop(line);
        assert_eq!(bench.next(), None);
        // One of two goes: the other still hears.
        bench.ask(1, 1, false, "pw");
        bench.ask(2, 1, false, "pw");
        bench.checks.forget(1);
        assert_eq!(bench.next().as_deref(), Some("pw"));
        assert_eq!(bench.heard(), [2]);
    }

    #[test]
    fn work_for_users_comes_first_and_a_closed_line_is_worked_off() {
        let bench = Bench::new();
        bench.ask(1, 1, false, "pw");
        bench.checks.add_job(Box::new(|| {}));
        assert_eq!(bench.next().as_deref(), Some("job"));
        bench.checks.close();
        let checks = Arc::new(bench.checks);
        checks.work(|| {});
        assert_eq!(bench.hear.try_iter().count(), 1);
    }
}
