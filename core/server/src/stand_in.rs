//! An I/O thread that writes the log leaves its clients within reach: if the write stalls, the append thread stands in for it.
//!
//! ```text
//!   io-0    serve → leave the worker → write ............................ → append thread from now on
//!   append           watch: the write takes too long → take the worker → io-0 from now on
//! ```
//! Nobody can know that a write will not stall, and a hand-over of every write costs more than most of them. So the thread that
//! has the clients writes itself while the append thread looks after it every few milliseconds (`journal`'s pace says when), and
//! the two exchange their parts when a write takes long. Only one thread writes the log at a time, so one that stands in is enough.

use std::ffi::CString;

use parking_lot::Mutex;

use crate::durable::Claim;
use crate::shared::Shared;
use crate::tick::{End, Worker};

/// A write that takes longer has stalled, microseconds. More than what is called quick, so that none follows at once.
const STUCK_US: u64 = 2_000;

/// The worker whose thread is writing the log.
#[derive(Default)]
pub(crate) struct StandIn(Mutex<Option<(Box<Worker>, u64)>>);

impl StandIn {
    /// Writes what was claimed. The worker comes back, unless somebody goes on with it.
    pub(crate) fn write(
        &self,
        shared: &Shared,
        worker: Box<Worker>,
        mut claim: Claim<'_>,
    ) -> Option<Box<Worker>> {
        let before = self.0.lock().replace((worker, shared.clock.micros()));
        assert!(before.is_none(), "who has claimed the log is the only one to write it");
        claim.write(shared);
        self.0.lock().take().map(|(worker, _)| worker)
    }

    /// Takes the worker of a write that has stalled.
    pub(crate) fn take_stuck(&self, now_us: u64) -> Option<Box<Worker>> {
        let stuck = self.0.lock().take_if(|(_, since_us)| now_us >= *since_us + STUCK_US);
        stuck.map(|(worker, _)| worker)
    }
}

/// What a thread does that serves clients or writes the log; it may change its part.
pub(crate) enum Part {
    /// It has clients.
    Serve(Box<Worker>),
    /// It has none, and writes and watches.
    Append,
}

/// What the system calls this thread.
fn name(name: &str) {
    if let Ok(name) = CString::new(name) {
        // For people only.
        rustix::thread::set_name(&name).unwrap_or_default();
    }
}

/// Plays its part until the server ends.
pub(crate) fn play(shared: &'static Shared, mut part: Part) {
    loop {
        part = match part {
            Part::Serve(worker) => {
                name(&format!("io-{}", worker.thread()));
                match worker.run() {
                    End::Stopped => return,
                    End::Replaced => Part::Append,
                }
            }
            Part::Append => {
                name("append");
                crate::allocator::keep(0);
                match shared.durable.keep_writing(shared) {
                    Some(worker) => Part::Serve(worker),
                    None => return,
                }
            }
        };
    }
}
