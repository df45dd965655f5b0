//! Sends keys to another server for MIGRATE, on a thread of its own that waits for nobody but that server.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use engine::{Migrated, Migration, SessionId};
use parking_lot::Mutex;

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
        let why = "ERR too many keys are being moved already, try again";
        return crate::background::refuse(shared, session, why);
    }
    let work = move || {
        let outcome = send(shared, &migration);
        // What the last snapshot of a server that ends still holds is not reported as moved.
        while shared.engine.lock().holds_writes() {
            if shared.life.has_ended() {
                return;
            }
            thread::sleep(HELD_PERIOD);
        }
        shared.with_engine(|engine, outside| engine.migrated(session, &migration, outcome, outside));
        drop(migration);
        crate::allocator::publish();
        RUNNING.fetch_sub(1, Ordering::AcqRel);
    };
    if let Err(error) = thread::Builder::new().name("migrate".to_owned()).spawn(work) {
        RUNNING.fetch_sub(1, Ordering::AcqRel);
        crate::background::refuse(shared, session, &format!("ERR {error}"));
    }
}

/// Connections that stay open for the next MIGRATE to the same server: a client that moves its keys one by one would
/// connect for each.
#[derive(Default)]
pub(crate) struct Links(Mutex<Vec<Link>>);

struct Link {
    host: String,
    port: u16,
    /// What it has logged in with.
    auth: Vec<Vec<u8>>,
    stream: BufReader<TcpStream>,
    used_us: u64,
}

impl Link {
    fn fits(&self, migration: &Migration) -> bool {
        (&self.host, self.port, &self.auth) == (&migration.host, migration.port, &migration.auth)
    }
}

impl Links {
    /// Connections kept; one more takes the place of the one that was used longest ago.
    const MAX: usize = 64;
    /// Microseconds after which one that was not used is closed.
    const IDLE_US: u64 = 10_000_000;

    fn take(&self, migration: &Migration) -> Option<BufReader<TcpStream>> {
        let mut links = self.0.lock();
        let at = links.iter().position(|link| link.fits(migration))?;
        Some(links.swap_remove(at).stream)
    }

    fn put(&self, migration: &Migration, stream: BufReader<TcpStream>, now_us: u64) {
        let Migration { host, port, auth, .. } = migration;
        let (host, port, auth) = (host.clone(), *port, auth.clone());
        let mut links = self.0.lock();
        if links.len() >= Self::MAX
            && let Some(oldest) = (0..links.len()).min_by_key(|at| links[*at].used_us)
        {
            links.swap_remove(oldest);
        }
        links.push(Link { host, port, auth, stream, used_us: now_us });
    }

    /// Closes those that nobody has used for a while.
    pub(crate) fn close_idle(&self, now_us: u64) {
        self.0.lock().retain(|link| now_us.saturating_sub(link.used_us) < Self::IDLE_US);
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.0.lock().len()
    }
}

/// Why a migration ends.
enum Fault {
    /// The connection is gone.
    Lost(String),
    /// Everything else, a server that does not answer in time among it.
    Other(String),
}

impl Fault {
    fn of(kind: io::ErrorKind, text: &str) -> Fault {
        match kind {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Fault::Other(text.to_owned()),
            _ => Fault::Lost(text.to_owned()),
        }
    }
}

fn send(shared: &Shared, migration: &Migration) -> Migrated {
    let mut outcome = Migrated::default();
    let mut kept = shared.links.take(migration);
    let source = shared.engine.lock().config.bind_source_addr.clone();
    loop {
        let was_kept = kept.is_some();
        let mut heard = false;
        let error = match talk(migration, &source, kept.take(), &mut heard, &mut outcome) {
            Ok(stream) => {
                shared.links.put(migration, stream, shared.clock.micros());
                return outcome;
            }
            // The other side has closed it since; it never saw anything of this.
            Err(Fault::Lost(_)) if was_kept && !heard => continue,
            Err(Fault::Lost(error) | Fault::Other(error)) => error,
        };
        outcome.error.get_or_insert(error);
        return outcome;
    }
}

/// Sends all keys, over the connection that was `kept` if there is one, else over one that comes from `source`. `heard`: whether an answer came. A connection that is
/// given back may be used again.
fn talk(
    migration: &Migration,
    source: &str,
    kept: Option<BufReader<TcpStream>>,
    heard: &mut bool,
    outcome: &mut Migrated,
) -> Result<BufReader<TcpStream>, Fault> {
    const WRITING: &str = "IOERR error or timeout writing to target instance";
    let timeout = Some(Duration::from_millis(migration.timeout_ms));
    let mut stream = match kept {
        Some(stream) => stream,
        None => BufReader::new(connect(migration, source).map_err(|error| match error.kind() {
            // As Redis tells it, which notices at its first write.
            io::ErrorKind::ConnectionRefused => Fault::Other(WRITING.to_owned()),
            _ => Fault::Other("IOERR error or timeout connecting to the client".to_owned()),
        })?),
    };
    let writing = |error: io::Error| Fault::of(error.kind(), WRITING);
    stream.get_ref().set_read_timeout(timeout).map_err(writing)?;
    stream.get_ref().set_write_timeout(timeout).map_err(writing)?;
    let mut head = Vec::new();
    if !migration.auth.is_empty() {
        let words: Vec<&[u8]> =
            std::iter::once(&b"AUTH"[..]).chain(migration.auth.iter().map(Vec::as_slice)).collect();
        push_request(&mut head, &words);
    }
    push_request(&mut head, &[b"SELECT", migration.database.to_string().as_bytes()]);
    stream.get_mut().write_all(&head).map_err(writing)?;
    for dump in &migration.dumps {
        let ttl = dump.ttl_ms.to_string();
        let words: [&[u8]; 5] = [b"RESTORE", &dump.key, ttl.as_bytes(), &dump.payload, b"REPLACE"];
        let mut request = Vec::new();
        push_request(&mut request, &words[..4 + usize::from(migration.replace)]);
        stream.get_mut().write_all(&request).map_err(writing)?;
    }
    for _ in 0..1 + usize::from(!migration.auth.is_empty()) {
        let answer = read_answer(&mut stream)?;
        *heard = true;
        if let Answer::Refused(error) = answer {
            return Err(Fault::Other(refused(error)));
        }
    }
    for i in 0..migration.dumps.len() {
        match read_answer(&mut stream)? {
            Answer::Taken => outcome.taken.push(i),
            Answer::Refused(error) => drop(outcome.error.get_or_insert_with(|| refused(error))),
        }
    }
    Ok(stream)
}

fn refused(text: String) -> String {
    format!("ERR Target instance replied with error: {text}")
}

fn connect(migration: &Migration, source: &str) -> io::Result<TcpStream> {
    let Migration { host, port, timeout_ms, .. } = migration;
    let wait = Duration::from_millis(*timeout_ms);
    net::connect(host, *port, source, wait).map_err(net::ConnectError::into_io)
}

/// What the other server says to a request.
enum Answer {
    Taken,
    /// The text of its error.
    Refused(String),
}

fn read_answer(replies: &mut impl BufRead) -> Result<Answer, Fault> {
    const READING: &str = "IOERR error or timeout reading to target instance";
    let mut line = Vec::new();
    let read = replies.take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
    read.map_err(|error| Fault::of(error.kind(), READING))?;
    if line.last() != Some(&b'\n') {
        return Err(Fault::Lost(READING.to_owned()));
    }
    let text = String::from_utf8_lossy(&line);
    Ok(text.trim_end().strip_prefix('-').map_or(Answer::Taken, |error| Answer::Refused(error.to_owned())))
}

fn push_request(out: &mut Vec<u8>, words: &[&[u8]]) {
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}
