//! Transport: listeners, connections, buffers, TLS, timers and mailboxes of an I/O thread.
//!
//! This crate moves bytes and knows no commands. An I/O thread owns one [`Poller`], one [`Scratch`],
//! one [`Pool`], one [`Slots`] of connections, one [`Timers`] and one [`Mailbox`], and drives them from
//! its tick: wait, accept, read, (execute), write, close. Nothing here blocks except [`Poller::wait`],
//! nothing reads a clock, and nothing starts a thread.
//!
//! Invariants:
//! - Registration is edge-triggered and made once. Whoever stops before the socket is drained is told
//!   so ([`ReadOutcome::Data`]'s `more`, [`Flush::More`], [`Accepting::More`]) and must come back
//!   without an event.
//! - An idle connection owns no buffer: input lives in the thread's [`Scratch`] until the end of the
//!   tick, output buffers come from the thread's [`Pool`] and return to it.
//! - Every queue and loop has a bound, in bytes or items, named where it is declared.
#![forbid(unsafe_code)]

mod apart;
mod buffers;
mod connection;
mod listen;
mod mailbox;
mod outgoing;
mod poller;
mod shared;
mod slots;
mod stream;
mod subject;
mod timers;
mod tls;
mod wire;

pub use apart::Apart;
pub use buffers::{Pool, Scratch};
pub use connection::{Connection, Flush, Parts, ReadLimits, ReadOutcome, Refusal};
pub use listen::{Accepted, Accepting, ListenError, ListenOptions, Listeners, UnixOptions};
pub use mailbox::{Full, Mailbox};
pub use mio::Waker;
pub use outgoing::{ConnectError, connect};
pub use poller::{Poller, Ready};
pub use slots::{Id, Slots};
pub use stream::Peer;
pub use timers::Timers;
pub use tls::{ClientAuth, Pem, TlsError, TlsHandle, TlsMode, TlsSettings, TlsVersions, server_config};
