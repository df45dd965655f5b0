//! Work that may take milliseconds, on threads of its own: hashing and freeing.
//!
//! Two queues, because their work must not wait for each other: a flood of wrong passwords must not
//! keep memory from being freed. Freeing says no at its bound, and the caller does the work itself. Checks of passwords are bounded by the
//! clients that wait for them; `checks.rs` tells their order.
//!
//! Completion callbacks run on the job's thread. They should hand the result to the I/O thread and return.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;

use crate::checks::{Answered, Asker, Checks, Question};
use crate::password::{self, PasswordError, Record};

/// Threads that hash: half the cores, at most two, so that a flood leaves the others to those who serve clients.
/// Each holds 19 MiB while it works.
pub const HASH_THREADS_MAX: usize = 2;

/// Values that may wait to be freed. The queue takes its memory at once, whether anything waits or not.
pub const FREE_QUEUE_JOBS: usize = 4096;

/// Something to run and forget, such as dropping a large value.
pub type Release = Box<dyn FnOnce() + Send>;

/// What happens once a password is judged.
pub type PasswordDone<T> = Box<dyn FnOnce(T) + Send>;

/// The two queues. Cheap to clone; the threads end when the last clone is dropped and the queues are
/// empty.
#[derive(Clone)]
pub struct Jobs {
    hashing: Arc<Hashing>,
    freeing: SyncSender<Release>,
}

/// The line of checks; closed when nobody can add to it any more.
struct Hashing(Arc<Checks>);

impl Drop for Hashing {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Jobs {
    /// Starts the threads. Those that hash call `before` first, to give way to others. Each calls `after` when it is
    /// through with a job and has dropped it.
    ///
    /// # Errors
    /// The system gave no thread, or no random bytes.
    pub fn start(before: fn(), after: fn()) -> io::Result<Jobs> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|error| io::Error::other(error.to_string()))?;
        let checks = Arc::new(Checks::new(secret));
        let cores = thread::available_parallelism().map_or(1, usize::from);
        for index in 0..(cores / 2).clamp(1, HASH_THREADS_MAX) {
            let checks = Arc::clone(&checks);
            thread::Builder::new().name(format!("hash-{index}")).spawn(move || {
                before();
                checks.work(after);
            })?;
        }
        let (freeing, values) = sync_channel::<Release>(FREE_QUEUE_JOBS);
        spawn("free", values, |release| release(), after)?;
        Ok(Jobs { hashing: Arc::new(Hashing(checks)), freeing })
    }

    /// Has a password checked for a client; see [`crate::checks`]. About 30 ms a record, once it is its turn.
    pub fn check_password(&self, question: Question, asker: Asker, answered: Answered) {
        self.hashing.0.ask(question, asker, answered);
    }

    /// The client has gone: it waits for no check any more.
    pub fn forget_client(&self, client: u64) {
        self.hashing.0.forget(client);
    }

    /// Looks for the record that a password fits, for a user who manages passwords; `done` hears its index, or `None`.
    pub fn find_password(&self, records: Vec<Record>, password: Vec<u8>, done: PasswordDone<Option<usize>>) {
        let find = move || done(records.iter().position(|record| record.verify(&password)));
        self.hashing.0.add_job(Box::new(find));
    }

    /// Makes a record of a password.
    pub fn hash_password(&self, password: Vec<u8>, done: PasswordDone<Result<Record, PasswordError>>) {
        self.hashing.0.add_job(Box::new(move || done(password::hash(&password))));
    }

    /// Runs `release` on the freeing thread.
    ///
    /// # Errors
    /// The queue is full; the caller gets `release` back and runs it, which slows the producer down to
    /// what the machine can free.
    pub fn free(&self, release: Release) -> Result<(), Release> {
        self.freeing.try_send(release).map_err(|refused| match refused {
            TrySendError::Full(release) | TrySendError::Disconnected(release) => release,
        })
    }
}

impl fmt::Debug for Jobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Jobs")
    }
}

/// Starts the thread of a queue.
fn spawn<J: Send + 'static>(name: &str, jobs: Receiver<J>, run: fn(J), after: fn()) -> io::Result<()> {
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        while let Ok(job) = jobs.recv() {
            run(job);
            after();
        }
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn passwords_are_hashed_and_verified_elsewhere() {
        let jobs = Jobs::start(|| {}, || {}).unwrap();
        let (tell, hear) = channel();
        jobs.hash_password(b"pw".to_vec(), Box::new(move |record| tell.send(record.unwrap()).unwrap()));
        let record = hear.recv_timeout(PATIENCE).unwrap();
        let other = password::hash(b"other").unwrap();
        for (plain, fits) in [(b"pw".to_vec(), Some(1)), (b"no".to_vec(), None)] {
            let (tell, hear) = channel();
            let records = vec![other.clone(), record.clone()];
            jobs.find_password(records, plain, Box::new(move |fits| tell.send(fits).unwrap()));
            assert_eq!(hear.recv_timeout(PATIENCE).unwrap(), fits);
        }
    }

    #[test]
    fn every_one_of_many_is_answered_and_nothing_else_waits_for_them() {
        let jobs = Jobs::start(|| {}, || {}).unwrap();
        let params = argon2::Params::new(16, 1, 1, None).unwrap();
        let record = password::hash_with(b"right", params).unwrap();
        let (tell, hear) = channel();
        const CLIENTS: u64 = 500;
        for client in 0..CLIENTS {
            let password = if client == 250 { "right".to_owned() } else { format!("wrong {client}") };
            let question = Question {
                records: vec!["unreadable".to_owned(), record.as_str().to_owned()],
                password: password.into(),
            };
            let tell = tell.clone();
            let asker = Asker { client, source: 1, has_failed: false };
            jobs.check_password(question, asker, Box::new(move |fits| tell.send((client, fits)).unwrap()));
        }
        // Freeing goes on meanwhile: the queues do not share a thread.
        let (freed, free) = channel();
        assert!(jobs.free(Box::new(move || freed.send(()).unwrap())).is_ok());
        free.recv_timeout(PATIENCE).unwrap();
        let answers: Vec<_> = (0..CLIENTS).map(|_| hear.recv_timeout(PATIENCE).unwrap()).collect();
        let right: Vec<_> = answers.iter().filter(|(_, fits)| fits.is_some()).collect();
        assert_eq!(right, [&(250, Some(1))]);
    }
}
