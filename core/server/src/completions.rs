//! What jobs have found out and the engine is still to be told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use engine::{Engine, Outside};
use parking_lot::Mutex;

/// What a job has found out, to be told to the engine.
pub(crate) type Completion = Box<dyn FnOnce(&mut Engine, &mut dyn Outside) + Send>;

/// What is to be told to the engine by the next tick of the first I/O thread: a thread of jobs must not wait for the
/// engine, which a script may hold for long. Bounded by the clients that wait for it.
pub(crate) struct Completions {
    list: Mutex<Vec<Completion>>,
    /// Of checks of passwords, which are told also while a script holds the engine.
    checks: Mutex<Vec<Completion>>,
    has_some: AtomicBool,
    waker: Option<Arc<net::Waker>>,
}

impl Completions {
    pub(crate) fn new(waker: Option<Arc<net::Waker>>) -> Completions {
        Completions {
            list: Mutex::default(),
            checks: Mutex::default(),
            has_some: AtomicBool::new(false),
            waker,
        }
    }

    /// Has the engine told something soon.
    pub(crate) fn add(&self, completion: Completion) {
        self.list.lock().push(completion);
        self.announce();
    }

    /// The same for what a check of a password has found.
    pub(crate) fn add_check(&self, completion: Completion) {
        self.checks.lock().push(completion);
        self.announce();
    }

    fn announce(&self) {
        self.has_some.store(true, Ordering::Release);
        if let Some(waker) = &self.waker {
            // It fails only where the thread's poller is broken, which that thread reports itself.
            let _ = waker.wake();
        }
    }

    /// Whether there is something.
    #[inline]
    pub(crate) fn has_some(&self) -> bool {
        self.has_some.load(Ordering::Acquire)
    }

    /// Takes all, in order.
    pub(crate) fn take(&self) -> Vec<Completion> {
        self.has_some.store(false, Ordering::Release);
        let mut all = self.take_checks();
        all.append(&mut self.list.lock());
        all
    }

    /// Takes those of checks.
    pub(crate) fn take_checks(&self) -> Vec<Completion> {
        std::mem::take(&mut *self.checks.lock())
    }
}
