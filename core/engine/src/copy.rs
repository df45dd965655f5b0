//! Copies of the data set for clients that ask for a snapshot over the network (`redis-cli --rdb`, `--functions-rdb`).
//!
//! Such a client says `REPLCONF rdb-only 1` and then SYNC or PSYNC, and is no replica: it gets one snapshot and is closed. The
//! engine judges the request and leaves a [`Job::Copy`]; who does it feeds the client part by part ([`Engine::feed_copy`])
//! and asks before each how much of the last ones is still to be sent ([`Engine::copy_pending`]). How long the snapshot
//! will be is not known when it begins, so it is sent in the form that ends with a mark:
//!
//! ```text
//! [+FULLRESYNC <replication id> <offset>\r\n]   to PSYNC
//! $EOF:<mark>\r\n <RDB> <mark>                  the mark is 40 hexadecimal digits, drawn by chance
//! ```

pub(crate) mod wish;

use crate::call::{Step, Turn};
use crate::engine::Engine;
use crate::outside::{Delivery, Job};
use crate::session::SessionId;
use commands::Error;
use wish::{CopyParts, CopyWish};

/// Copies that may be sent or wait to be sent at the same time.
const COPIES_MAX: usize = 4;

/// A copy that is to be sent.
#[derive(Clone, Debug)]
pub struct CopyOrder {
    /// What goes before the snapshot.
    pub head: Vec<u8>,
    /// What goes behind it.
    pub mark: Vec<u8>,
    /// What is left out.
    pub parts: CopyParts,
}

/// SYNC and PSYNC of a client that wants a copy and nothing behind it.
pub(crate) fn copy(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let CopyWish { takes_mark, parts, .. } = engine.sessions.at(turn.session).copy;
    if !takes_mark {
        return Err(Error::new("ERR a snapshot is sent with a mark at its end: say REPLCONF capa eof first"));
    }
    if engine.copies.len() >= COPIES_MAX {
        return Err(Error::new("ERR too many clients are taking a snapshot already"));
    }
    let mark = engine.draw_history().as_bytes().to_vec();
    let mut head = Vec::new();
    if turn.args.len() > 1 {
        // A name that nobody else is told: nobody can go on from here, since the snapshot is of a later moment.
        head.extend_from_slice(format!("+FULLRESYNC {} 0\r\n", engine.draw_history()).as_bytes());
    }
    head.extend_from_slice(&[b"$EOF:", &mark[..], b"\r\n"].concat());
    engine.copies.push(turn.session);
    let order = Box::new(CopyOrder { head, mark, parts });
    engine.jobs.push(Job::Copy { session: turn.session, order });
    Ok(Step::Later)
}

impl Engine {
    /// Whether any client is being fed a copy, whose buffers have to be told.
    pub fn feeds_copies(&self) -> bool {
        !self.copies.is_empty() || self.master.is_sending()
    }

    /// Bytes of a client's copy that are still to be sent; `None` when it has gone.
    pub fn copy_pending(&self, id: SessionId) -> Option<usize> {
        self.sessions.find(id).filter(|session| !session.kill).map(|session| session.buffers.output)
    }

    /// Leaves a part of its copy for a client.
    pub fn feed_copy(&mut self, id: SessionId, bytes: Vec<u8>) {
        if let Some(session) = self.sessions.find_mut(id) {
            // Until the buffers are told again.
            session.buffers.output += bytes.len();
            self.leave(id, Delivery { bytes, is_feed: true, ..Delivery::default() });
        }
    }

    /// The copy of a client has ended, well or not: it is closed when it has what was left for it.
    pub fn end_copy(&mut self, id: SessionId) {
        self.copies.retain(|taker| *taker != id);
        if let Some(session) = self.sessions.find_mut(id) {
            session.kill = true;
            self.deliver(id, Vec::new(), false, true);
        }
    }
}
