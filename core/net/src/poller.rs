//! One thread's readiness queue: a thin skin over `mio::Poll` that speaks of connections and listeners.
//!
//! Connections are registered once, edge-triggered, for reading. Interest in writing is added by the
//! first flush that meets a full socket and removed when it has drained: registered from the start, it
//! would cost an extra wake-up for every accepted connection and, on Unix sockets, for every reply.
//!
//! Invariants: tokens of connections are the bits of their [`Id`]; the waker and the listeners use
//! indices above every slot's.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use mio::event::Source;
use mio::{Events, Interest, Poll, Token, Waker};

use crate::connection::Connection;
use crate::listen::Listeners;
use crate::slots::{INDEX_MAX, Id};

const WAKER: usize = u32::MAX as usize;
const LISTENER_FIRST: usize = INDEX_MAX as usize;
/// Listeners that one poller can tell apart; far more than bind addresses in any configuration.
pub(crate) const LISTENERS_MAX: usize = 512;

/// One thing that became ready since the last wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ready {
    /// A connection has input, room for output, or news from its peer.
    Connection {
        /// Which one; it may have been closed since.
        id: Id,
        /// There is something to read, be it the end of the stream.
        readable: bool,
        /// A flush that was pending can go on.
        writable: bool,
        /// The peer has closed its sending side or the connection has failed. For a connection that is
        /// not being read (a blocked client) this is the only sign; see [`Connection::note_hangup`].
        hangup: bool,
    },
    /// Some listener has connections to accept.
    Accept,
    /// A mailbox's sender, or a signal, asked for attention.
    Woken,
}

/// The readiness queue of one I/O thread.
pub struct Poller {
    poll: Poll,
    events: Events,
    waker: Arc<Waker>,
}

impl Poller {
    /// A queue that reports at most `events_max` events a wait; the rest come with the next.
    ///
    /// # Errors
    /// When the process has no file descriptors left.
    pub fn new(events_max: usize) -> io::Result<Poller> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), Token(WAKER))?);
        Ok(Poller { poll, events: Events::with_capacity(events_max), waker })
    }

    /// What wakes this poller from another thread.
    pub fn waker(&self) -> Arc<Waker> {
        Arc::clone(&self.waker)
    }

    /// Replace the contents of `ready` by what is ready now, waiting up to `timeout` (`None`: for ever;
    /// zero: not at all). The kernel counts milliseconds here; fractions are rounded up, never down, so a
    /// deadline is not woken for too early and then again.
    ///
    /// # Errors
    /// Only what means a broken queue; an interrupted wait returns with nothing ready.
    pub fn wait(&mut self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<()> {
        ready.clear();
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            outcome => outcome?,
        }
        ready.extend(self.events.iter().map(|event| match event.token().0 {
            WAKER => Ready::Woken,
            token if (LISTENER_FIRST..LISTENER_FIRST + LISTENERS_MAX).contains(&token) => Ready::Accept,
            token => Ready::Connection {
                id: Id::from_bits(token as u64),
                readable: event.is_readable(),
                writable: event.is_writable(),
                hangup: event.is_read_closed() || event.is_error(),
            },
        }));
        Ok(())
    }

    /// Start reporting a connection under the id of its slot. Input that arrived earlier is reported by
    /// the next wait.
    ///
    /// # Errors
    /// When the kernel refuses (memory, `max_user_watches`); close the connection then.
    pub fn add(&self, connection: &mut Connection, id: Id) -> io::Result<()> {
        connection.set_id(id);
        self.poll.registry().register(connection.stream_mut(), token(id), Interest::READABLE)
    }

    /// Stop reporting a connection, to hand it to another thread. Dropping a connection needs no call.
    ///
    /// # Errors
    /// When it was not registered here.
    pub fn remove(&self, connection: &mut Connection) -> io::Result<()> {
        self.poll.registry().deregister(connection.stream_mut())
    }

    /// Report every listener of the set here as [`Ready::Accept`].
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn add_listeners(&self, listeners: &mut Listeners) -> io::Result<()> {
        listeners.sources().enumerate().try_for_each(|(index, source)| {
            self.poll.registry().register(source, Token(LISTENER_FIRST + index), Interest::READABLE)
        })
    }

    /// Add or remove interest in writability of a registered source.
    pub(crate) fn watch_writable(&self, source: &mut dyn Source, id: Id, watch: bool) -> io::Result<()> {
        let interest = if watch { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        source.reregister(self.poll.registry(), token(id), interest)
    }
}

fn token(id: Id) -> Token {
    Token(id.to_bits() as usize)
}

const _: () = assert!(usize::BITS == 64, "a token holds index and generation");
const _: () = assert!(LISTENER_FIRST + LISTENERS_MAX < WAKER);
