//! Session tickets that end after the configured time.
//!
//! The provider's own tickets live for half a day. Here each carries the time at which it was made, under the
//! same seal, so that no table of sessions is needed to let one end.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::server::ProducesTickets;

/// See the module.
pub(crate) struct Tickets {
    sealer: Arc<dyn ProducesTickets>,
    began: Instant,
    lifetime_s: u32,
}

impl Tickets {
    /// Tickets that may be used for so many seconds.
    ///
    /// # Errors
    /// When the system gives no random key.
    pub(crate) fn new(lifetime_s: u32) -> Result<Tickets, rustls::Error> {
        Ok(Tickets { sealer: rustls::crypto::ring::Ticketer::new()?, began: Instant::now(), lifetime_s })
    }

    fn open_at(&self, age: Duration, cipher: &[u8]) -> Option<Vec<u8>> {
        let plain = self.sealer.decrypt(cipher)?;
        let (made, state) = plain.split_first_chunk::<8>()?;
        let made = Duration::from_millis(u64::from_be_bytes(*made));
        let lifetime = Duration::from_secs(u64::from(self.lifetime_s));
        (age.saturating_sub(made) <= lifetime).then(|| state.to_vec())
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        self.lifetime_s
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let made = self.began.elapsed().as_millis() as u64;
        self.sealer.encrypt(&[&made.to_be_bytes(), plain].concat())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.open_at(self.began.elapsed(), cipher)
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets").field("lifetime_s", &self.lifetime_s).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_opens_within_its_time_and_not_after() {
        let tickets = Tickets::new(5).unwrap();
        let ticket = tickets.encrypt(b"state").unwrap();
        assert_eq!(tickets.decrypt(&ticket).as_deref(), Some(&b"state"[..]));
        assert_eq!(tickets.open_at(Duration::from_secs(4), &ticket).as_deref(), Some(&b"state"[..]));
        assert_eq!(tickets.open_at(Duration::from_secs(7), &ticket), None);
        let mut forged = ticket;
        *forged.last_mut().unwrap() ^= 1;
        assert_eq!(tickets.decrypt(&forged), None);
    }
}
