//! The server's life, as one value that all threads look at.
//!
//! ```text
//!              begin_stop                 end
//!   Running ----------------> Stopping ---------> Ended ----.
//!      ^                          | call_off                | a thread has panicked, or the start has failed
//!      |        go_on             v                         v
//!      +---------------------- CalledOff                  Failed   (from any state)
//! ```
//! Whoever insists ends it from any state. Only [`Life::end`] tells whether a stop that is called off at the last moment still is one.

use std::sync::atomic::{AtomicU8, Ordering};

/// Where the server is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It serves.
    Running,
    /// It saves what is to be saved, and is going to end.
    Stopping,
    /// SHUTDOWN ABORT has come meanwhile: it is going to serve on.
    CalledOff,
    /// All threads end.
    Ended,
    /// So they do, and the process tells that something has gone wrong.
    Failed,
}

const PHASES: [Phase; 5] = [Phase::Running, Phase::Stopping, Phase::CalledOff, Phase::Ended, Phase::Failed];

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Life(AtomicU8);

impl Life {
    pub(crate) fn phase(&self) -> Phase {
        PHASES[usize::from(self.0.load(Ordering::Acquire))]
    }

    /// Whether all threads are to end. I/O threads do so after their tick.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.phase(), Phase::Ended | Phase::Failed)
    }

    /// Whether a stop is under way, or behind us.
    pub(crate) fn is_stopping(&self) -> bool {
        self.phase() != Phase::Running
    }

    /// A stop begins; false when it is not the first.
    pub(crate) fn begin_stop(&self) -> bool {
        self.change(Phase::Running, Phase::Stopping)
    }

    /// The stop under way is not to be; false when there is none.
    pub(crate) fn call_off(&self) -> bool {
        self.change(Phase::Stopping, Phase::CalledOff) || self.phase() == Phase::CalledOff
    }

    /// There is no stop under way any more.
    pub(crate) fn go_on(&self) {
        let _ = self.change(Phase::Stopping, Phase::Running) || self.change(Phase::CalledOff, Phase::Running);
    }

    /// The stop under way is through; false when it was called off.
    pub(crate) fn end(&self) -> bool {
        self.change(Phase::Stopping, Phase::Ended)
    }

    /// The server ends now, whatever is being saved.
    pub(crate) fn end_now(&self) {
        let end = |phase| (phase != Phase::Failed as u8).then_some(Phase::Ended as u8);
        // A failed server stays one.
        let _ = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, end);
    }

    /// The server ends because something has gone wrong.
    pub(crate) fn fail(&self) {
        self.0.store(Phase::Failed as u8, Ordering::Release);
    }

    fn change(&self, from: Phase, to: Phase) -> bool {
        self.0.compare_exchange(from as u8, to as u8, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_that_is_called_off_in_time_is_none_and_later_it_is_too_late() {
        let life = Life::default();
        assert!(!life.call_off() && life.begin_stop() && !life.begin_stop());
        assert!(life.call_off() && life.call_off() && !life.end() && life.is_stopping());
        life.go_on();
        assert_eq!(life.phase(), Phase::Running);
        assert!(life.begin_stop() && life.end() && !life.call_off() && life.has_ended());
        life.go_on();
        assert_eq!(life.phase(), Phase::Ended);
    }

    #[test]
    fn every_phase_is_told_as_what_it_is() {
        let numbers = PHASES.map(|phase| usize::from(phase as u8));
        assert_eq!(numbers, [0, 1, 2, 3, 4]);
        let life = Life::default();
        life.fail();
        life.end_now();
        assert!(life.phase() == Phase::Failed && life.has_ended() && !life.begin_stop());
        let life = Life::default();
        life.end_now();
        assert_eq!(life.phase(), Phase::Ended);
    }
}
