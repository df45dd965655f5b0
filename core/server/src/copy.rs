//! A copy of the data set on its way to a client (`redis-cli --rdb`): the snapshot view, sent instead of written.
//!
//! The saver thread feeds it to the client's I/O thread a part at a time, and the next one when little of the last is left to
//! send, so that a slow network slows the copy and nothing else. A client that takes nothing for
//! [`STALL_MAX`] is given up, and so is every one when a task waits that cannot ([`Saver::has_urgent`](crate::saver::Saver)).

use std::io;
use std::time::{Duration, Instant};

use engine::{CopyOrder, REDIS_VERSION, SessionId};
use persist::rdb::{self, Writer};

use crate::saver::SaveError;
use crate::shared::Shared;
use crate::view::View;

/// Bytes that are fed at a time.
pub(crate) const PART_BYTES: usize = 256 << 10;
/// Bytes that may be left to send when the next part is fed.
pub(crate) const PENDING_BYTES_MAX: usize = 1 << 20;
/// How long the client is not looked at while it has enough to read.
pub(crate) const NAP: Duration = Duration::from_millis(2);
/// Bytes that changed entries may wait for the client with what they were before; of `maxmemory` an eighth at most.
const WAITING_BYTES_MAX: usize = 256 << 20;
/// How long a client may take nothing.
const STALL_MAX: Duration = Duration::from_secs(60);

/// Moves the front of `bytes` into a part until that has [`PART_BYTES`]; whether it has. All parts are of one size, so that the memory of
/// one that was sent is that of a later one.
pub(crate) fn fill(part: &mut Vec<u8>, bytes: &mut &[u8]) -> bool {
    part.reserve_exact(PART_BYTES.saturating_sub(part.len()));
    let fits = PART_BYTES.saturating_sub(part.len()).min(bytes.len());
    part.extend_from_slice(&bytes[..fits]);
    *bytes = &bytes[fits..];
    part.len() >= PART_BYTES
}

/// Bytes that changed entries may wait with what they were before.
pub(crate) fn waiting_bytes_max(config: &config::Config) -> usize {
    match config.maxmemory as usize {
        0 => WAITING_BYTES_MAX,
        bytes => WAITING_BYTES_MAX.min(bytes / 8),
    }
}

/// Sends a client what it has ordered and closes it.
pub(crate) fn send(shared: &Shared, session: SessionId, order: &CopyOrder) {
    shared.logger.notice("A client takes a snapshot over the network");
    let mut taker = Taker { shared, session, part: order.head.clone() };
    let sent = taker.copy(order).and_then(|()| {
        taker.part.extend_from_slice(&order.mark);
        Ok(taker.feed()?)
    });
    match sent {
        Ok(()) => shared.logger.notice("The snapshot for a client is complete"),
        Err(why) => shared.logger.warning(&format!("The snapshot for a client was given up: {why}")),
    }
    shared.with_engine(|engine, _| engine.end_copy(session));
}

/// Who takes a copy.
struct Taker<'a> {
    shared: &'a Shared,
    session: SessionId,
    /// What is to be fed next.
    part: Vec<u8>,
}

impl Taker<'_> {
    fn copy(&mut self, order: &CopyOrder) -> Result<(), SaveError> {
        self.room()?;
        if !order.parts.without_data {
            let mut view = View::begin(self.shared, |_| Ok(()))?;
            if order.parts.without_functions {
                view.leave_out_libraries();
            }
            let shared = self.shared;
            return view.send(shared, &mut |bytes| self.take(bytes));
        }
        let mut writer = Writer::new(false, true);
        writer.header(rdb::VERSION);
        let now_ms = self.shared.clock.now().unix_ms;
        writer.standard_aux(REDIS_VERSION, now_ms, crate::allocator::used() as u64, false);
        if !order.parts.without_functions {
            let libraries = self.shared.engine.lock().library_codes();
            libraries.iter().for_each(|code| writer.function(code));
        }
        writer.end();
        Ok(writer.drain(&mut |bytes| self.take(bytes))?)
    }

    fn take(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if fill(&mut self.part, &mut bytes) {
                self.feed()?;
            }
        }
        Ok(())
    }

    fn feed(&mut self) -> io::Result<()> {
        self.room()?;
        let part = std::mem::take(&mut self.part);
        self.shared.with_engine(|engine, _| engine.feed_copy(self.session, part));
        Ok(())
    }

    /// What the client has still to be sent, and the bytes that wait in the engine meanwhile, with their limit.
    fn look(&self) -> (Option<usize>, usize, usize) {
        let engine = self.shared.engine.lock();
        let limit = waiting_bytes_max(&engine.config);
        (engine.copy_pending(self.session), engine.keyspace.snapshot_waiting_bytes(), limit)
    }

    /// Waits until the client has taken most of what it was fed.
    fn room(&self) -> io::Result<()> {
        let (mut since, mut least) = (Instant::now(), usize::MAX);
        loop {
            if self.shared.saver.is_cancelled(self.shared) || self.shared.saver.has_urgent() {
                return Err(SaveError::Cancelled.into_io());
            }
            let (pending, waiting, limit) = self.look();
            match pending {
                _ if waiting > limit => {
                    return Err(io::Error::other("it was taken more slowly than the data changed"));
                }
                None => return Err(io::Error::other("the client has gone")),
                Some(bytes) if bytes <= PENDING_BYTES_MAX => return Ok(()),
                Some(bytes) if bytes < least => (since, least) = (Instant::now(), bytes),
                Some(_) if since.elapsed() >= STALL_MAX => {
                    return Err(io::Error::other("the client has taken nothing for a minute"));
                }
                Some(_) => {}
            }
            std::thread::sleep(NAP);
        }
    }
}
