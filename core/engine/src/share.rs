//! How much memory one request may take for itself: a script for its values, a reply while it is built.
//!
//! Both follow from what there is: a quarter of `maxmemory` or, where that is 0, of what the machine or its control group
//! has. A request that takes more ends with an error; without such a bound a few bytes from one client would make the
//! kernel end the server for all.

use crate::engine::Engine;
use crate::outside::Outside;
use resp::{CUT, Protocol, Reply};

/// What part of the memory that there is one request may take.
pub(crate) const SHARE: usize = 4;
/// What one request may take in any case, bytes.
const LEAST: usize = 64 << 20;
/// The most that a script may hold, bytes.
const SCRIPT_MOST: usize = 512 << 20;
/// Whoever counts output leaves some of it out, bytes; this is more.
const UNCOUNTED: usize = 16 << 10;

impl Engine {
    /// Tells the engine what the machine or its control group has, bytes.
    pub fn set_memory_there(&mut self, bytes: usize) {
        self.memory_there = bytes;
        self.reply_limit = self.bound_of_replies();
    }

    fn share(&self) -> usize {
        let there = match (self.config.maxmemory as usize, self.memory_there) {
            (0, 0) => usize::MAX,
            (0, there) => there,
            (limit, _) => limit,
        };
        (there / SHARE).max(LEAST)
    }

    /// How many bytes a script may hold.
    #[inline]
    pub(crate) fn script_limit(&self) -> usize {
        self.share().min(SCRIPT_MOST)
    }

    /// How many bytes a reply may take; beyond a hard limit of its client's output it need not go on either.
    pub(crate) fn bound_of_replies(&self) -> usize {
        match self.hard_output_limit() {
            0 => self.share(),
            hard => self.share().min(hard),
        }
    }

    /// Bytes of a reply for which any client is closed, whether it subscribes or not; 0 where some client has no such limit.
    fn hard_output_limit(&self) -> usize {
        let [normal, _, subscriber] = self.config.output_limits;
        if normal.hard_bytes == 0 || subscriber.hard_bytes == 0 {
            return 0;
        }
        let larger = usize::try_from(normal.hard_bytes.max(subscriber.hard_bytes)).unwrap_or(usize::MAX);
        larger.saturating_add(UNCOUNTED)
    }

    /// A reply has come to its bound: when something was left out, an error takes its place. One that is beyond the
    /// limit of its client's output stays, since its client is closed for it.
    #[cold]
    pub(crate) fn refuse_reply(&mut self, before: usize, out: &mut Vec<u8>, protocol: Protocol) {
        let hard = self.hard_output_limit();
        if !out.ends_with(CUT) || hard > 0 && out.len() - before > hard {
            return;
        }
        out.truncate(before);
        out.shrink_to(before.max(1 << 16));
        let text =
            format!("ERR the reply is larger than {} bytes, a quarter of the memory there is", self.share());
        self.count_error(text.as_bytes());
        Reply::wire(out, protocol).error(text.as_bytes());
    }

    /// Whether data would be evicted, or a write refused, if more memory were taken now.
    pub(crate) fn is_full(&self, outside: &dyn Outside) -> bool {
        let limit = self.config.maxmemory as usize;
        let room = limit.saturating_sub(self.config.queue_reserve as usize);
        limit > 0
            && outside.used_memory() > room
            && outside.used_memory() > room + self.freeing_bytes(outside)
    }
}
