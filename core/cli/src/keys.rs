//! A terminal whose keys are read one by one while messages come, so that Ctrl-C ends the messages and not the program.

use std::io::{self, Stdin};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::link::{Link, LinkError};

/// The keys that end the messages: Ctrl-C, Ctrl-D and q.
const LEAVING: [u8; 3] = [3, 4, b'q'];

/// Keys that are read at a time.
const KEYS_BYTES: usize = 64;

/// A terminal in that state; it is left as it was.
pub(crate) struct Keys {
    input: Stdin,
    before: Termios,
}

impl Keys {
    /// Takes the terminal that is standard input; none if it is not one.
    pub(crate) fn take() -> Option<Keys> {
        let input = io::stdin();
        let before = tcgetattr(&input).ok()?;
        let mut during = before.clone();
        during.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG);
        tcsetattr(&input, OptionalActions::Now, &during).ok()?;
        Some(Keys { input, before })
    }

    /// The keys that are pressed within this time, as far as the first ones; `None` where the terminal is gone.
    pub(crate) fn pressed(&self, within: Duration) -> io::Result<Option<Vec<u8>>> {
        let end = Instant::now() + within;
        loop {
            let mut watched = [PollFd::from_borrowed_fd(self.input.as_fd(), PollFlags::IN)];
            let left = end.saturating_duration_since(Instant::now());
            let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
            match poll(&mut watched, Some(&left)) {
                Ok(0) => return Ok(Some(Vec::new())),
                Ok(_) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let mut keys = vec![0; KEYS_BYTES];
        let count = rustix::io::read(&self.input, &mut keys).unwrap_or(0);
        keys.truncate(count);
        Ok((count > 0).then_some(keys))
    }

    /// Whether one of the keys ends what is shown.
    pub(crate) fn leave(keys: &[u8]) -> bool {
        keys.iter().any(|key| LEAVING.contains(key))
    }

    /// Waits until something has come over the link, or a key wants to leave; whether one does.
    pub(crate) fn leaves(&self, link: &Link) -> Result<bool, LinkError> {
        loop {
            let mut watched = [
                PollFd::from_borrowed_fd(self.input.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(link.descriptor(), PollFlags::IN),
            ];
            match poll(&mut watched, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(LinkError::Io(error.into())),
            }
            if !watched[0].revents().is_empty() {
                let mut keys = [0; KEYS_BYTES];
                // A terminal that is gone wants nothing more.
                let count = rustix::io::read(&self.input, &mut keys).unwrap_or(0);
                if count == 0 || Keys::leave(&keys[..count]) {
                    return Ok(true);
                }
            }
            if !watched[1].revents().is_empty() {
                return Ok(false);
            }
        }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        // A terminal that is gone needs no state.
        let _ = tcsetattr(&self.input, OptionalActions::Now, &self.before);
    }
}
