//! Clients that have not logged in yet: a crowd of them must cost those who have nothing.
//!
//! Whoever connects is one for a moment, the clients of a pool after a restart as much as somebody who guesses, so they are let in
//! quickly and given little. One gets some kilobytes of replies at a time, and is closed when it does not take them or has got too
//! many. What it sends behind a log-in is kept until the password is checked, and read by the limits of the user that it becomes, but
//! only as much as a stranger may hold; the rest waits in the kernel. All of a thread's strangers share a pool of bytes: when it is
//! full, those of the machine that holds the most are closed, the largest first. No user's buffers and no keys give way to them. They
//! have a time to log in. (That a newcomer who finds all places taken gets that of a stranger is the engine's affair, see
//! `Engine::connect`.)

use std::collections::HashMap;
use std::net::IpAddr;

use net::{Id, Peer};

use crate::client::Client;
use crate::clients::Clients;
use crate::logger::Level;

/// Bytes of an unfinished request and what came with it. The longest that is read has ten arguments of 16 KiB; see `base::limits`.
pub(crate) const INPUT_BYTES_MAX: usize = 256 << 10;

/// Bytes of input beyond which nothing more is read while a log-in waits for its check.
pub(crate) const AHEAD_BYTES_MAX: usize = 16 << 10;

/// Bytes that one read may take in.
pub(crate) const READ_BUDGET: usize = 64 << 10;

/// Bytes of replies that one may get in all: thousands of refusals. What it does not read lies with the kernel, and a crowd's
/// would fill a container.
const OUTPUT_BYTES_MAX: u64 = 256 << 10;

/// Bytes of replies after which further requests wait until these have left.
pub(crate) const OUTPUT_PER_TICK: usize = 8 << 10;

/// Bytes that all strangers may hold together, and the part of `maxmemory` that this is at most, but not less than the last.
const POOL_BYTES_MAX: u64 = 16 << 20;
const POOL_SHARE: u64 = 16;
const POOL_BYTES_MIN: u64 = 1 << 20;

/// Bytes that all strangers may hold together under this `maxmemory` (0: none).
pub(crate) fn pool_bytes_max(maxmemory: u64) -> usize {
    let share = if maxmemory == 0 { POOL_BYTES_MAX } else { maxmemory / POOL_SHARE };
    share.clamp(POOL_BYTES_MIN, POOL_BYTES_MAX) as usize
}

/// Where a client comes from, as a number: the same for one machine, which in IPv6 may have a whole network of addresses.
pub(crate) fn source_of(peer: &Peer) -> u64 {
    match peer {
        Peer::Tcp(address) => match address.ip().to_canonical() {
            IpAddr::V4(ip) => u64::from(u32::from(ip)),
            IpAddr::V6(ip) => (u128::from(ip) >> 64) as u64,
        },
        Peer::Unix(_) => u64::MAX,
    }
}

impl Client {
    /// Whether the engine knows it as one who has not logged in.
    pub(crate) fn is_stranger(&self) -> bool {
        !self.trusted && self.session.is_some()
    }

    /// Notes that it is a stranger from now on.
    pub(crate) fn begin_as_stranger(&mut self, now_s: u64) {
        self.stranger_since_s = now_s;
        self.stranger_since_sent = self.net.1;
    }

    /// Whether it has been refused often enough.
    pub(crate) fn has_got_enough(&self) -> bool {
        self.is_stranger() && self.net.1 - self.stranger_since_sent > OUTPUT_BYTES_MAX
    }

    /// Whether the `held` bytes that it has sent are enough for now: it waits, or nobody has received it yet.
    pub(crate) fn has_sent_enough(&self, held: usize) -> bool {
        let may_not_go_on = self.waiting || self.session.is_none();
        !self.trusted && may_not_go_on && held >= AHEAD_BYTES_MAX
    }

    /// Bytes that it takes of the strangers' pool.
    fn pool_bytes(&self) -> usize {
        match self.trusted {
            true => 0,
            false => {
                let (input, output) = self.conn.buffer_bytes();
                input + output + self.asked_bytes
            }
        }
    }
}

impl Clients {
    /// Counts a client anew: it has read, written, come in or gone back to being a stranger.
    pub(crate) fn recount(&mut self, id: Id) {
        let Some(Some(client)) = self.slots.get_mut(id) else { return };
        let bytes = client.pool_bytes();
        self.strangers_bytes = self.strangers_bytes - client.counted + bytes;
        client.counted = bytes;
    }

    /// Closes strangers until they hold no more than they may.
    pub(crate) fn shed_strangers(&mut self) {
        if self.strangers_bytes == 0 {
            return;
        }
        let most = self.bounds.strangers_bytes_max / self.shared.pulses.len().max(1);
        // Each turn closes at least one.
        while self.strangers_bytes > most {
            let mut held: HashMap<u64, usize> = HashMap::new();
            let counted =
                |slot: &Option<Box<Client>>| slot.as_deref().map(|client| (client.source, client.counted));
            self.slots.iter().filter_map(|(_, slot)| counted(slot)).for_each(|(source, bytes)| {
                *held.entry(source).or_default() += bytes;
            });
            let Some((source, _)) = held.into_iter().max_by_key(|(_, bytes)| *bytes) else { return };
            let mut theirs: Vec<(usize, Id)> = (self.slots.iter())
                .filter_map(|(id, slot)| Some((counted(slot)?, id)))
                .filter(|((from, bytes), _)| *from == source && *bytes > 0)
                .map(|((_, bytes), id)| (bytes, id))
                .collect();
            theirs.sort_unstable_by_key(|(bytes, id)| (std::cmp::Reverse(*bytes), id.to_bits()));
            if theirs.is_empty() {
                return;
            }
            // Some room is made at once, so that a crowd that comes on and on is not counted for each of it.
            for (_, id) in theirs {
                if self.strangers_bytes <= most - most / 4 {
                    break;
                }
                let text = "Closing a client that has not logged in: all of them together hold too much";
                self.shared.logger.line(Level::Verbose, text);
                self.close(id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_one_source_however_many_addresses_it_has() {
        let of = |text: &str| source_of(&Peer::Tcp(text.parse().unwrap()));
        assert_eq!(of("10.0.0.1:1"), of("10.0.0.1:2"));
        assert_eq!(of("10.0.0.1:1"), of("[::ffff:10.0.0.1]:2"));
        assert_ne!(of("10.0.0.1:1"), of("10.0.0.2:1"));
        assert_eq!(of("[2001:db8::1]:1"), of("[2001:db8::ffff:1:2]:1"));
        assert_ne!(of("[2001:db8::1]:1"), of("[2001:db8:0:1::1]:1"));
    }

    #[test]
    fn the_pool_is_a_small_part_of_the_memory() {
        assert_eq!(pool_bytes_max(0), 16 << 20);
        assert_eq!(pool_bytes_max(100 << 20), 100 * (1 << 20) / 16);
        assert_eq!((pool_bytes_max(1 << 40), pool_bytes_max(1)), (16 << 20, 1 << 20));
    }
}
