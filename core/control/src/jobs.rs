//! Work that may take milliseconds, on threads of its own: hashing, deletion, freeing.
//!
//! Three queues, because their work must not wait for each other: a flood of wrong passwords must not
//! keep memory from being freed. Deletion and freeing say no at their bound; the caller decides what
//! a no means (an error to the client, or doing the work itself). Checks of passwords are bounded by the
//! clients that wait for them; `checks.rs` tells their order.
//!
//! Completion callbacks run on the job's thread. They should hand the result to the I/O thread and return.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use crate::checks::{Answered, Asker, Checks, Question};
use crate::password::{self, PasswordError, Record};

/// Threads that hash: half the cores, at most two, so that a flood leaves the others to those who serve clients.
/// Each holds 19 MiB while it works.
pub const HASH_THREADS_MAX: usize = 2;

/// Files that may wait for their deletion.
pub const DELETE_QUEUE_JOBS: usize = 128;

/// Values that may wait to be freed. The queue takes its memory at once, whether anything waits or not.
pub const FREE_QUEUE_JOBS: usize = 4096;

/// Bytes cut from the end of a doomed file at a time: giving back gigabytes in one call stalls the
/// journal of common file systems, and with it the log's fsync.
const CUT_BYTES: u64 = 64 << 20;

/// Rest between two cuts.
const CUT_PAUSE: Duration = Duration::from_millis(5);

/// A queue is full; the work was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overloaded;

impl fmt::Display for Overloaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("too many jobs are waiting already")
    }
}

impl std::error::Error for Overloaded {}

/// Something to run and forget, such as dropping a large value.
pub type Release = Box<dyn FnOnce() + Send>;

/// What happens once a password is judged.
pub type PasswordDone<T> = Box<dyn FnOnce(T) + Send>;

/// What happens once a file is gone, or is known to stay.
pub type DeletionDone = Box<dyn FnOnce(io::Result<()>) + Send>;

/// The three queues. Cheap to clone; the threads end when the last clone is dropped and the queues are
/// empty.
#[derive(Clone)]
pub struct Jobs {
    hashing: Arc<Hashing>,
    deletion: SyncSender<(PathBuf, DeletionDone)>,
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
        let (deletion, files) = sync_channel::<(PathBuf, DeletionDone)>(DELETE_QUEUE_JOBS);
        spawn("delete", files, |(path, done)| done(delete(&path)), after)?;
        let (freeing, values) = sync_channel::<Release>(FREE_QUEUE_JOBS);
        spawn("free", values, |release| release(), after)?;
        Ok(Jobs { hashing: Arc::new(Hashing(checks)), deletion, freeing })
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

    /// Deletes a regular file in small steps. One that does not exist is a success.
    ///
    /// # Errors
    /// The queue is full; the file stays and `done` will not run.
    pub fn delete_file(&self, path: PathBuf, done: DeletionDone) -> Result<(), Overloaded> {
        self.deletion.try_send((path, done)).map_err(|_| Overloaded)
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

/// Unlinks first, so that the name is free at once, then gives the blocks back bit by bit.
fn delete(path: &Path) -> io::Result<()> {
    let kind = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        metadata => metadata?.file_type(),
    };
    if !kind.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    // A file that may not be opened may still be unlinked; then it goes in one piece. The flag refuses a
    // symbolic link put in the file's place meanwhile.
    let file = OpenOptions::new().write(true).custom_flags(libc::O_NOFOLLOW).open(path).ok();
    std::fs::remove_file(path)?;
    match file {
        Some(file) => shrink(&file),
        None => Ok(()),
    }
}

/// Cuts an unlinked file down. A file that has another name is left alone: its bytes are still wanted.
fn shrink(file: &File) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    let metadata = file.metadata()?;
    let mut length = if metadata.nlink() == 0 { metadata.len() } else { 0 };
    while length > CUT_BYTES {
        length -= CUT_BYTES;
        file.set_len(length)?;
        thread::sleep(CUT_PAUSE);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

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

    #[test]
    fn files_are_deleted_and_directories_are_not() {
        let jobs = Jobs::start(|| {}, || {}).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("old.aof");
        let file = File::create(&path).unwrap();
        file.set_len(3 * CUT_BYTES).unwrap();
        let delete = |path: &Path| {
            let (tell, hear) = channel();
            jobs.delete_file(path.to_owned(), Box::new(move |result| tell.send(result).unwrap())).unwrap();
            hear.recv_timeout(PATIENCE).unwrap()
        };
        delete(&path).unwrap();
        assert!(!path.exists());
        assert!(file.metadata().unwrap().len() <= CUT_BYTES, "the blocks were given back step by step");
        delete(&path).unwrap();
        assert_eq!(delete(directory.path()).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn a_file_with_a_second_name_keeps_its_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let (path, twin) = (directory.path().join("a"), directory.path().join("b"));
        File::create(&path).unwrap().set_len(2 * CUT_BYTES).unwrap();
        std::fs::hard_link(&path, &twin).unwrap();
        delete(&path).unwrap();
        assert_eq!(std::fs::metadata(&twin).unwrap().len(), 2 * CUT_BYTES);
    }
}
