//! What the saver has to do, and where it is: a pure state machine, without thread, disk or clock.
//!
//! ```text
//!             next                      end                       tell
//!   Idle ------------> Running -------------------> Telling ---------------> Idle
//!                         | cancel                    ^
//!                         v              end          |
//!                     Cancelled ----------------------+
//! ```
//! What is running or told is one task at a time; the others stand in a row. A task that a command has promised comes later, as a
//! job of the engine, and counts from its promise on:
//!
//! ```text
//!   promise ------------> add (in the row) ------------> next
//!      |  cancel_save        |  cancel_save, drop_rewrites
//!      v                     v
//!   not taken in          taken out
//! ```
//! *Invariants:* at most one promise of a kind; a task is always promised, in the row or in the state, so whoever gives it up finds
//! it. The row is as long as there are clients that wait, and at most a few tasks more.

use std::collections::VecDeque;

use engine::CancelledSave;

use super::{Kind, Task};

/// Seconds between automatic attempts after one has failed.
pub(super) const RETRY_S: u64 = 10;

/// How far a snapshot is, in keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Of the whole snapshot.
    pub(crate) keys_total: u64,
    /// Those that count as written.
    pub(crate) keys_written: u64,
}

/// A task under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) kind: Kind,
    /// When it began, monotonic seconds.
    pub(crate) began_s: u64,
    pub(crate) progress: Progress,
}

/// Where the saver is; see the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Idle,
    Running(Run),
    /// It is to be given up, and has not noticed yet.
    Cancelled(Run),
    /// It has ended; what has come of it is being told.
    Telling(Run),
}

/// How a task has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Done,
    /// On purpose, which says nothing about the disk.
    Cancelled,
    Failed,
}

/// The outcome of the last task of a kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    /// Whether the last one that was not given up was done.
    pub(crate) ok: bool,
    /// Seconds it took; `None` when there was none.
    pub(crate) took_s: Option<u64>,
    /// When it last failed, monotonic seconds.
    pub(super) failed_s: Option<u64>,
    /// How many have ended.
    pub(crate) count: u64,
}

impl Default for Outcome {
    fn default() -> Outcome {
        Outcome { ok: true, took_s: None, failed_s: None, count: 0 }
    }
}

impl Outcome {
    fn note(&mut self, end: End, began_s: u64, now_s: u64) {
        self.ok = end == End::Done || (end == End::Cancelled && self.ok);
        self.took_s = Some(now_s - began_s);
        self.failed_s = (end == End::Failed).then_some(now_s);
        self.count += 1;
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Work {
    state: State,
    row: VecDeque<Task>,
    promised: Vec<Kind>,
    /// Promised saves that were given up before their tasks have come.
    cancelled_promises: usize,
    pub(crate) saves: Outcome,
    pub(crate) rewrites: Outcome,
    /// When the last good save ended, Unix seconds.
    pub(crate) last_save_unix_s: i64,
}

impl Work {
    /// Whether a task of this kind is promised, waits, or has not been told of.
    pub(crate) fn has(&self, kind: Kind) -> bool {
        self.promised.contains(&kind)
            || self.run().is_some_and(|run| run.kind == kind)
            || self.row.iter().any(|task| task.kind() == kind)
    }

    /// What is under way, until it is told.
    pub(crate) fn run(&self) -> Option<Run> {
        match self.state {
            State::Idle => None,
            State::Running(run) | State::Cancelled(run) | State::Telling(run) => Some(run),
        }
    }

    /// A task of this kind has been promised to a client, and follows.
    pub(super) fn promise(&mut self, kind: Kind) {
        if !self.promised.contains(&kind) {
            self.promised.push(kind);
        }
    }

    /// It does not follow.
    pub(super) fn take_back(&mut self, kind: Kind) {
        self.promised.retain(|promised| *promised != kind);
    }

    /// Takes a task in; false when it was given up before it came.
    pub(super) fn add(&mut self, task: Task) -> bool {
        match task.kind() {
            Kind::Save if task.was_promised() && self.cancelled_promises > 0 => {
                self.cancelled_promises -= 1;
                if task.is_in_background() {
                    return false;
                }
            }
            Kind::Save if !task.was_promised() => {}
            kind => self.take_back(kind),
        }
        self.row.push_back(task);
        true
    }

    /// The next task, which runs from now on.
    pub(super) fn next(&mut self, now_s: u64) -> Option<Task> {
        debug_assert!(self.state == State::Idle, "one task at a time: {:?}", self.state);
        let task = self.row.pop_front()?;
        self.state = State::Running(Run { kind: task.kind(), began_s: now_s, progress: Progress::default() });
        Some(task)
    }

    /// Gives the running task up if it is of this kind; false when it is not.
    pub(super) fn cancel(&mut self, kind: Kind) -> bool {
        match self.state {
            State::Running(run) | State::Cancelled(run) if run.kind == kind => {
                self.state = State::Cancelled(run);
                true
            }
            _ => false,
        }
    }

    /// Gives up the save in the background that runs, or else the one that waits.
    pub(super) fn cancel_save(&mut self) -> Option<CancelledSave> {
        let waited = self.row.len();
        self.row.retain(|task| !task.is_in_background());
        let was_in_row = self.row.len() < waited;
        if self.cancel(Kind::Save) {
            return Some(CancelledSave::Running);
        }
        let others_wait = self.row.iter().any(|task| task.kind() == Kind::Save);
        let was_promised = self.promised.contains(&Kind::Save) && !was_in_row && !others_wait;
        if was_promised {
            self.take_back(Kind::Save);
            self.cancelled_promises += 1;
        }
        (was_in_row || was_promised).then_some(CancelledSave::Scheduled)
    }

    /// Nothing that was to be done about the log's files is wanted any more; whether something was.
    pub(super) fn drop_rewrites(&mut self) -> bool {
        let waited = self.row.len();
        self.row.retain(|task| task.kind() != Kind::Rewrite);
        self.take_back(Kind::Rewrite);
        self.cancel(Kind::Rewrite) || self.row.len() < waited
    }

    /// Whether the running task is to be given up.
    pub(super) fn is_cancelled(&self) -> bool {
        matches!(self.state, State::Cancelled(_))
    }

    /// Whether a save waits that nobody waits for.
    pub(super) fn has_background_save(&self) -> bool {
        self.row.iter().any(Task::is_in_background)
    }

    /// Whether a task waits that somebody waits for.
    pub(super) fn has_urgent(&self) -> bool {
        self.row.iter().any(Task::is_urgent)
    }

    /// The running task is so far.
    pub(crate) fn advance(&mut self, progress: Progress) {
        if let State::Running(run) | State::Cancelled(run) = &mut self.state {
            run.progress = progress;
        }
    }

    /// The running task is through; what has come of it is told next.
    pub(super) fn end(&mut self) {
        if let State::Running(run) | State::Cancelled(run) = self.state {
            self.state = State::Telling(run);
        }
    }

    /// All that must know it before others can see it know what has come of the last task.
    pub(super) fn tell(&mut self, end: End, now_s: u64) {
        debug_assert!(matches!(self.state, State::Telling(_)), "{:?}", self.state);
        let State::Telling(run) = std::mem::take(&mut self.state) else { return };
        match run.kind {
            Kind::Save => self.saves.note(end, run.began_s, now_s),
            Kind::Rewrite => self.rewrites.note(end, run.began_s, now_s),
            Kind::Reload | Kind::Copy => {}
        }
    }

    /// Whether the last attempt failed so short a time ago that the next one waits.
    pub(super) fn is_resting(&self, kind: Kind, now_s: u64) -> bool {
        let outcome = match kind {
            Kind::Save => self.saves,
            Kind::Rewrite => self.rewrites,
            Kind::Reload | Kind::Copy => return false,
        };
        outcome.failed_s.is_some_and(|failed_s| now_s < failed_s + RETRY_S)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Due, Listener};
    use super::*;

    fn background_save() -> Task {
        Task::Save(Listener::Nobody)
    }

    #[test]
    fn a_task_that_was_taken_can_be_given_up_and_leaves_nothing_in_progress() {
        for is_told_late in [false, true] {
            let mut work = Work::default();
            work.promise(Kind::Rewrite);
            assert!(work.add(Task::Rewrite) && work.add(Task::StartLog(Listener::Nobody)));
            assert!(matches!(work.next(5), Some(Task::Rewrite)));
            if is_told_late {
                work.end();
            }
            assert!(work.drop_rewrites());
            assert_eq!(
                work.is_cancelled(),
                !is_told_late,
                "what runs is given up from the moment it is taken"
            );
            if !is_told_late {
                work.end();
            }
            assert!(work.has(Kind::Rewrite), "until it is told");
            work.tell(End::Cancelled, 7);
            assert!(!work.has(Kind::Rewrite) && !work.is_cancelled());
            assert!(work.rewrites.ok && work.rewrites.took_s == Some(2) && work.rewrites.count == 1);
        }
    }

    #[test]
    fn a_promise_that_is_kept_or_taken_back_is_no_promise_any_more() {
        let mut work = Work::default();
        work.promise(Kind::Rewrite);
        assert!(work.has(Kind::Rewrite) && !work.has(Kind::Save));
        work.take_back(Kind::Rewrite);
        assert!(!work.has(Kind::Rewrite));
        work.promise(Kind::Save);
        assert!(work.add(background_save()));
        work.next(0).unwrap();
        work.end();
        work.tell(End::Done, 0);
        assert!(!work.has(Kind::Save));
    }

    #[test]
    fn every_promise_that_was_given_up_is_dropped_when_its_task_comes_and_no_other() {
        let mut work = Work::default();
        for _ in 0..2 {
            work.promise(Kind::Save);
            assert_eq!(work.cancel_save(), Some(CancelledSave::Scheduled));
        }
        assert_eq!(work.cancel_save(), None);
        assert!(work.add(Task::PointSave(Due::Again)), "nobody has given that one up");
        assert!(!work.add(background_save()) && !work.add(background_save()));
        work.promise(Kind::Save);
        assert!(work.add(background_save()), "nor the one that was asked for later");
        work.next(0).unwrap();
        assert_eq!(work.cancel_save(), Some(CancelledSave::Running));
        assert!(work.is_cancelled() && !work.has_background_save(), "with what waited");
    }

    #[test]
    fn only_a_failure_makes_the_next_attempt_wait() {
        let mut work = Work::default();
        for (end, ok, rests) in
            [(End::Failed, false, true), (End::Cancelled, false, false), (End::Done, true, false)]
        {
            work.add(background_save());
            work.next(100).unwrap();
            work.end();
            work.tell(end, 100);
            assert_eq!((work.saves.ok, work.is_resting(Kind::Save, 100)), (ok, rests), "{end:?}");
        }
        assert!(!work.is_resting(Kind::Rewrite, 100));
    }

    #[test]
    fn a_task_is_as_far_as_it_says_until_it_is_told() {
        let mut work = Work::default();
        let progress = Progress { keys_total: 5, keys_written: 2 };
        work.advance(progress);
        assert_eq!(work.run(), None, "nothing runs");
        work.add(Task::Rewrite);
        work.next(3).unwrap();
        work.advance(progress);
        work.end();
        assert_eq!(work.run(), Some(Run { kind: Kind::Rewrite, began_s: 3, progress }));
        work.tell(End::Done, 3);
        assert_eq!(work.run(), None);
    }
}
