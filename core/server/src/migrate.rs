//! Sends keys to another server for MIGRATE, on a thread of its own that waits for nobody but that server.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use engine::{Migrated, Migration, SessionId};

use crate::shared::Shared;

/// Migrations at a time: each has a thread and its keys in memory.
const MIGRATIONS_MAX: usize = 4;

/// Longest line of a reply, bytes; longer ones are cut.
const LINE_BYTES_MAX: u64 = 64 << 10;

/// How often a migration that may not remove its keys yet looks again.
const HELD_PERIOD: Duration = Duration::from_millis(10);

static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// Starts the migration that `session` waits for.
pub(crate) fn start(shared: &'static Shared, session: SessionId, migration: Migration) {
    if RUNNING.fetch_add(1, Ordering::AcqRel) >= MIGRATIONS_MAX {
        RUNNING.fetch_sub(1, Ordering::AcqRel);
        let why = "too many keys are being moved already, try again".to_owned();
        return crate::chores::finish(shared, session, Err(why), "ERR ");
    }
    let work = move || {
        let outcome = send(&migration);
        // What the last snapshot of a server that ends still holds is not reported as moved.
        while shared.engine.lock().holds_writes() {
            if shared.ended.load(Ordering::Acquire) {
                return;
            }
            thread::sleep(HELD_PERIOD);
        }
        shared.with_engine(|engine, outside| engine.migrated(session, &migration, outcome, outside));
        RUNNING.fetch_sub(1, Ordering::AcqRel);
    };
    if let Err(error) = thread::Builder::new().name("migrate".to_owned()).spawn(work) {
        RUNNING.fetch_sub(1, Ordering::AcqRel);
        crate::chores::finish(shared, session, Err(error.to_string()), "ERR ");
    }
}

fn send(migration: &Migration) -> Migrated {
    let mut outcome = Migrated::default();
    if let Err(error) = talk(migration, &mut outcome) {
        outcome.error.get_or_insert(error);
    }
    outcome
}

fn talk(migration: &Migration, outcome: &mut Migrated) -> Result<(), String> {
    let timeout = Duration::from_millis(migration.timeout_ms);
    let writing = |_| "IOERR error or timeout writing to target instance".to_owned();
    let mut stream = connect(migration, timeout).map_err(|error| match error.kind() {
        // As Redis tells it, which notices at its first write.
        io::ErrorKind::ConnectionRefused => writing(error),
        _ => "IOERR error or timeout connecting to the client".to_owned(),
    })?;
    let mut head = Vec::new();
    if !migration.auth.is_empty() {
        let words: Vec<&[u8]> =
            std::iter::once(&b"AUTH"[..]).chain(migration.auth.iter().map(Vec::as_slice)).collect();
        push_request(&mut head, &words);
    }
    push_request(&mut head, &[b"SELECT", migration.database.to_string().as_bytes()]);
    stream.write_all(&head).map_err(writing)?;
    for parcel in &migration.parcels {
        let ttl = parcel.ttl_ms.to_string();
        let words: [&[u8]; 5] = [b"RESTORE", &parcel.key, ttl.as_bytes(), &parcel.payload, b"REPLACE"];
        let mut request = Vec::new();
        push_request(&mut request, &words[..4 + usize::from(migration.replace)]);
        stream.write_all(&request).map_err(writing)?;
    }
    let mut replies = BufReader::new(stream);
    for _ in 0..1 + usize::from(!migration.auth.is_empty()) {
        read_reply(&mut replies)?.map_err(refused)?;
    }
    for i in 0..migration.parcels.len() {
        match read_reply(&mut replies)? {
            Ok(()) => outcome.taken.push(i),
            Err(text) => drop(outcome.error.get_or_insert_with(|| refused(text))),
        }
    }
    Ok(())
}

fn refused(text: String) -> String {
    format!("ERR Target instance replied with error: {text}")
}

/// A connection to the first address that takes one.
fn connect(migration: &Migration, timeout: Duration) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for to in (migration.host.as_str(), migration.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&to, timeout) {
            Err(error) => last = error,
            Ok(stream) => {
                stream.set_read_timeout(Some(timeout))?;
                stream.set_write_timeout(Some(timeout))?;
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
        }
    }
    Err(last)
}

/// One reply of a line: taken, or the text of the error.
fn read_reply(replies: &mut impl BufRead) -> Result<Result<(), String>, String> {
    let mut line = Vec::new();
    let read = replies.take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
    if !matches!(read, Ok(1..)) || line.last() != Some(&b'\n') {
        return Err("IOERR error or timeout reading to target instance".to_owned());
    }
    let text = String::from_utf8_lossy(&line);
    Ok(text.trim_end().strip_prefix('-').map_or(Ok(()), |error| Err(error.to_owned())))
}

fn push_request(out: &mut Vec<u8>, words: &[&[u8]]) {
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}
