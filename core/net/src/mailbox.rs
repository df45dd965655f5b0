//! A bounded queue into one I/O thread, for what other threads want delivered to its connections.
//!
//! A mutex around a vector that the owner swaps out whole: the owner takes the lock once a tick, a
//! sender for one push. The owner is woken only by the item that makes the queue non-empty, so a burst
//! costs one system call.
//!
//! Invariants: never longer than its bound; `count` equals the queue's length whenever the lock is free;
//! whoever fills an empty queue wakes the owner after the lock is released.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mio::Waker;

/// The queue was at its bound: here is the item back. The sender decides what that means (drop the
/// subscriber, retry, count).
#[derive(Debug)]
pub struct Full<T>(pub T);

/// Items on their way to the thread that owns the waker; shared as `Arc<Mailbox<T>>`.
pub struct Mailbox<T> {
    queue: Mutex<Vec<T>>,
    count: AtomicUsize,
    items_max: usize,
    waker: Arc<Waker>,
}

impl<T> Mailbox<T> {
    /// An empty mailbox of at most `items_max` items; `waker` is [`Poller::waker`](crate::Poller::waker)
    /// of the thread that will drain it.
    pub fn new(items_max: usize, waker: Arc<Waker>) -> Mailbox<T> {
        Mailbox { queue: Mutex::new(Vec::new()), count: AtomicUsize::new(0), items_max, waker }
    }

    /// Append one item, waking the owner when the queue was empty.
    ///
    /// # Errors
    /// [`Full`] with the item when `items_max` items are waiting.
    pub fn send(&self, item: T) -> Result<(), Full<T>> {
        let mut queue = self.lock();
        if queue.len() >= self.items_max {
            return Err(Full(item));
        }
        queue.push(item);
        self.count.store(queue.len(), Ordering::Release);
        let was_empty = queue.len() == 1;
        drop(queue);
        if was_empty {
            self.wake();
        }
        Ok(())
    }

    /// Move everything that fits from the front of `items` into the queue under one lock; what does not
    /// fit stays in `items`.
    pub fn send_all(&self, items: &mut Vec<T>) {
        let mut queue = self.lock();
        let was_empty = queue.is_empty();
        let room = self.items_max - queue.len();
        let moved = room.min(items.len());
        queue.extend(items.drain(..moved));
        self.count.store(queue.len(), Ordering::Release);
        drop(queue);
        if was_empty && moved > 0 {
            self.wake();
        }
    }

    /// Swap the waiting items into `items`, which must be empty and is reused for its capacity. Costs one
    /// atomic load when nothing waits.
    pub fn drain(&self, items: &mut Vec<T>) {
        debug_assert!(items.is_empty(), "the previous batch has been worked off");
        if self.is_empty() {
            return;
        }
        let mut queue = self.lock();
        std::mem::swap(&mut *queue, items);
        self.count.store(0, Ordering::Release);
    }

    /// How many items wait.
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// True when nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Wake the owner without an item, for a flag it looks at every tick.
    pub fn wake(&self) {
        // An eventfd write fails only when its counter is full, and then the owner is awake already.
        let _ = self.waker.wake();
    }

    /// A panic elsewhere cannot leave a vector half-pushed, so a poisoned lock is used as it is.
    fn lock(&self) -> MutexGuard<'_, Vec<T>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Poller, Ready};

    #[test]
    fn a_sender_wakes_the_owner_once_for_a_burst() {
        let mut poller = Poller::new(16).unwrap();
        let mailbox = Arc::new(Mailbox::new(1000, poller.waker()));
        let sender = Arc::clone(&mailbox);
        std::thread::spawn(move || (0..100).for_each(|n| sender.send(n).unwrap())).join().unwrap();
        let mut ready = Vec::new();
        poller.wait(Some(Duration::from_secs(10)), &mut ready).unwrap();
        assert!(matches!(ready[..], [Ready::Woken]));
        let mut items = Vec::new();
        mailbox.drain(&mut items);
        assert_eq!(items, (0..100).collect::<Vec<i32>>());
        poller.wait(Some(Duration::ZERO), &mut ready).unwrap();
        assert!(ready.is_empty(), "no wake-up is left over");
        mailbox.send(1).unwrap();
        poller.wait(Some(Duration::from_secs(10)), &mut ready).unwrap();
        assert_eq!(ready.len(), 1, "an item after a drain wakes again");
    }

    #[test]
    fn at_the_bound_the_item_comes_back() {
        let poller = Poller::new(16).unwrap();
        let mailbox = Mailbox::new(2, poller.waker());
        mailbox.send('a').unwrap();
        mailbox.send('b').unwrap();
        assert_eq!(mailbox.send('c').unwrap_err().0, 'c');
        let mut items = Vec::new();
        mailbox.drain(&mut items);
        assert_eq!(items, ['a', 'b']);
        let mut more = vec!['d', 'e', 'f'];
        mailbox.send_all(&mut more);
        assert_eq!((more, mailbox.len()), (vec!['f'], 2));
    }
}
