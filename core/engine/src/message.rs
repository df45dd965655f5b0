//! Messages for many clients. What is long in one lies in a buffer that all of them share, so that a message takes its memory once, however
//! many clients do not read it; what is short is copied to each.

use crate::engine::Engine;
use crate::outside::Delivery;
use crate::session::SessionId;
use resp::{Protocol, Reply};
use std::sync::Arc;

/// From so many bytes on a part of a message is shared: a copy costs more than a second buffer to send from.
pub(crate) const SHARED_BYTES_MIN: usize = 16 << 10;

/// A part of a message, the same for all who get it.
#[derive(Clone, Debug)]
pub(crate) enum Part<'a> {
    /// A short string, to be copied.
    Bulk(&'a [u8]),
    /// Short strings in an array.
    Bulks(&'a [&'a [u8]]),
    /// What is written already, and short.
    Encoded(&'a [u8]),
    /// What is written already, and long.
    Shared(Arc<[u8]>),
}

impl<'a> Part<'a> {
    /// A string.
    pub(crate) fn bulk(text: &'a [u8]) -> Part<'a> {
        match text.len() {
            ..SHARED_BYTES_MIN => Part::Bulk(text),
            _ => Part::shared(|reply| reply.bulk(text)),
        }
    }

    /// An array of strings.
    pub(crate) fn bulks(items: &'a [&'a [u8]]) -> Part<'a> {
        match items.iter().map(|item| item.len()).sum() {
            ..SHARED_BYTES_MIN => Part::Bulks(items),
            _ => Part::shared(|reply| reply.bulks(items)),
        }
    }

    /// What is written already.
    pub(crate) fn encoded(bytes: &'a [u8]) -> Part<'a> {
        if bytes.len() < SHARED_BYTES_MIN { Part::Encoded(bytes) } else { Part::Shared(bytes.into()) }
    }

    /// Strings and arrays of them are the same in both protocols.
    fn shared(write: impl FnOnce(&mut Reply<'_>)) -> Part<'a> {
        let mut bytes = Vec::new();
        write(&mut Reply::wire(&mut bytes, Protocol::Resp2));
        Part::Shared(bytes.into())
    }
}

/// A message as it is written for one client.
pub(crate) struct Message {
    delivery: Delivery,
    protocol: Protocol,
}

impl Message {
    /// To write what is short.
    pub(crate) fn reply(&mut self) -> Reply<'_> {
        Reply::wire(&mut self.delivery.bytes, self.protocol)
    }

    /// Writes a part.
    pub(crate) fn part(&mut self, part: &Part<'_>) {
        match part {
            Part::Bulk(text) => self.reply().bulk(text),
            Part::Bulks(items) => self.reply().bulks(items),
            Part::Encoded(bytes) => self.delivery.bytes.extend_from_slice(bytes),
            Part::Shared(buffer) => self.delivery.push_shared(Arc::clone(buffer)),
        }
    }
}

impl Engine {
    /// Leaves an out-of-band message for a client.
    pub(crate) fn send(&mut self, id: SessionId, write: impl FnOnce(&mut Message)) {
        let Some(session) = self.sessions.find(id) else { return };
        let mut message = Message { delivery: Delivery::default(), protocol: session.protocol };
        write(&mut message);
        self.leave(id, message.delivery);
    }
}
