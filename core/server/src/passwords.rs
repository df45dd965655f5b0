//! The way of passwords to the threads that hash, and of the answers back to the engine.
//!
//! Answers go to the engine by a tick of the first I/O thread ([`Completions`]): a hashing thread that waited for the engine
//! behind a long script would keep an operator from coming in to end it.

use std::collections::VecDeque;
use std::sync::Arc;

use control::password::{PasswordError, Record};
use control::{Jobs, Question};
use engine::{Job, Outside, SessionId};

use crate::completions::Completions;

/// Where the work is done, and where its outcome is told.
#[derive(Clone)]
struct Desk {
    jobs: Jobs,
    completions: Arc<Completions>,
}

/// Begins a job about passwords; others are none of this module's.
pub(crate) fn begin(jobs: &Jobs, completions: &Arc<Completions>, job: Job) {
    let desk = Desk { jobs: jobs.clone(), completions: Arc::clone(completions) };
    match job {
        Job::VerifyPassword { session, asker, records, pairs, password } => {
            let completions = desk.completions;
            let answered = Box::new(move |fits| {
                let tell = move |engine: &mut engine::Engine, outside: &mut dyn Outside| {
                    engine.password_verified(session, &pairs, fits, outside);
                };
                completions.add_check(Box::new(tell));
            });
            jobs.check_password(Question { records, password }, place_of(asker), answered);
        }
        Job::HashPasswords { session, passwords } => desk.hash_next(session, passwords.into(), Vec::new()),
        Job::FindPasswords { session, passwords, records } => {
            desk.find_next(session, passwords.into(), records, Vec::new());
        }
        _ => {}
    }
}

/// Whoever asks, as the line of checks knows him.
pub(crate) fn place_of(asker: engine::Asker) -> control::Asker {
    control::Asker { client: asker.client, source: asker.source, has_failed: asker.has_failed }
}

impl Desk {
    /// Hashes passwords one after the other.
    fn hash_next(self, session: SessionId, mut left: VecDeque<Vec<u8>>, mut records: Vec<String>) {
        let Some(password) = left.pop_front() else {
            let tell = move |engine: &mut engine::Engine, outside: &mut dyn Outside| {
                engine.passwords_hashed(session, &records, outside);
            };
            return self.completions.add(Box::new(tell));
        };
        let jobs = self.jobs.clone();
        let done = Box::new(move |record: Result<Record, PasswordError>| match record {
            Ok(record) => {
                records.push(record.as_str().to_owned());
                self.hash_next(session, left, records);
            }
            Err(error) => self.completions.add(Box::new(move |engine, _| {
                engine.complete(session, |reply| reply.error(format!("ERR {error}").as_bytes()));
            })),
        });
        jobs.hash_password(password, done);
    }

    /// Looks for each password among the records, one after the other.
    fn find_next(
        self,
        session: SessionId,
        mut left: VecDeque<Vec<u8>>,
        records: Vec<String>,
        mut found: Vec<Option<String>>,
    ) {
        let Some(password) = left.pop_front() else {
            let tell = move |engine: &mut engine::Engine, outside: &mut dyn Outside| {
                engine.passwords_found(session, &found, outside);
            };
            return self.completions.add(Box::new(tell));
        };
        let readable: Vec<(String, Record)> = (records.iter())
            .filter_map(|text| Record::parse(text).ok().map(|record| (text.clone(), record)))
            .collect();
        let (texts, parsed): (Vec<String>, Vec<Record>) = readable.into_iter().unzip();
        let jobs = self.jobs.clone();
        let done = Box::new(move |fits: Option<usize>| {
            found.push(fits.and_then(|at| texts.get(at).cloned()));
            self.find_next(session, left, records, found);
        });
        jobs.find_password(parsed, password, done);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_engine_takes_for_a_record_can_be_asked() {
        let salt_and_hash = "c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA";
        let made = control::password::hash(b"pw").unwrap().as_str().to_owned();
        let of = |costs: &str| format!("$argon2id$v=19${costs}${salt_and_hash}");
        let mut records = vec![made, format!("$argon2id$v=16$m=8,t=1,p=1${salt_and_hash}")];
        let costs =
            ["m=8,t=1,p=1", "m=512,t=1,p=64", "m=511,t=1,p=64", "m=262144,t=16,p=1", "m=262145,t=1,p=1"];
        records.extend(costs.map(of));
        records.extend(["m=8,t=17,p=1", "m=8,t=0,p=1", "m=7,t=1,p=1", "m=8,t=1,p=0", "m=08,t=1,p=1"].map(of));
        records.extend(
            ["x$y", "c2Fs$aGFzaGhhc2hoYXNoaGFzaA", "c2FsdHNhbHR$aGFzaGhhc2hoYXNoaGFzaA"]
                .map(|rest| format!("$argon2id$v=19$m=8,t=1,p=1${rest}")),
        );
        let mut taken = 0;
        for record in &records {
            let is_taken = engine::check_record(record).is_ok();
            taken += usize::from(is_taken);
            assert!(!is_taken || Record::parse(record).is_ok(), "{record}");
            let is_quick = record.contains("m=8,") || record.contains("m=512,");
            if is_taken && is_quick {
                // It is computed to its end, and fits nothing.
                assert!(!Record::parse(record).unwrap().verify(b"pw"), "{record}");
            }
        }
        assert_eq!(taken, 5);
    }
}
