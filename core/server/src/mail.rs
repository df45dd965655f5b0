//! What one thread sends to an I/O thread, and what happens when that one does not keep up.
//!
//! Mail is sent while the journal is held, because its order is the order of execution. So nobody may wait here: a mailbox takes
//! what fits, and a client whose mail did not fit is closed by its own thread, since a gap in what it is told cannot be mended. Many
//! messages for one client (a script that publishes in a loop) are put together first, so a mailbox at its bound belongs to a thread
//! that has stood still for long, not to one that is busy.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use engine::Delivery;
use journal::Marks;
use net::{Accepted, Full, Mailbox};
use parking_lot::Mutex;

/// Items that may wait in a thread's mailbox.
const ITEMS_MAX: usize = 1 << 20;

/// Deliveries of one batch from which on those for one client are put together.
const TOGETHER_FROM: usize = 4096;

/// What one thread sends to an I/O thread.
pub(crate) enum Mail {
    /// A connection to serve, and whether it must speak TLS.
    Connection(Accepted, bool),
    /// Bytes for a client, and what they wait for.
    Delivery(Delivery, Marks),
}

/// Where an I/O thread finds what others have for its clients.
pub(crate) struct Inbox {
    mailbox: Mailbox<Mail>,
    /// The tokens of clients whose mail did not fit. At most as many as the thread has clients.
    overrun: Mutex<HashSet<u64>>,
    /// Whether there are any.
    is_overrun: AtomicBool,
}

impl Inbox {
    /// An empty one; `waker` is that of the thread it belongs to.
    pub(crate) fn new(waker: Arc<net::Waker>) -> Inbox {
        Inbox::of(ITEMS_MAX, waker)
    }

    fn of(items_max: usize, waker: Arc<net::Waker>) -> Inbox {
        let mailbox = Mailbox::new(items_max, waker);
        Inbox { mailbox, overrun: Mutex::default(), is_overrun: AtomicBool::new(false) }
    }

    /// Sends a connection to be served.
    ///
    /// # Errors
    /// The thread has too much to do.
    pub(crate) fn send_connection(&self, accepted: Accepted, tls_only: bool) -> Result<(), Full<Mail>> {
        self.mailbox.send(Mail::Connection(accepted, tls_only))
    }

    /// Whether there is anything to take: two loads, for every tick asks.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.mailbox.is_empty() && !self.is_overrun.load(Ordering::Acquire)
    }

    /// Takes what waits into `mail`, which must be empty, and the tokens of clients that missed something and must be closed.
    pub(crate) fn take(&self, mail: &mut Vec<Mail>) -> HashSet<u64> {
        self.mailbox.drain(mail);
        let mut overrun = self.overrun.lock();
        self.is_overrun.store(false, Ordering::Release);
        std::mem::take(&mut overrun)
    }

    /// Makes the thread look at its flags.
    pub(crate) fn wake(&self) {
        self.mailbox.wake();
    }

    fn send(&self, mut mail: Vec<Mail>) {
        self.mailbox.send_all(&mut mail);
        if mail.is_empty() {
            return;
        }
        let missed = mail.iter().filter_map(|item| match item {
            Mail::Delivery(delivery, _) => Some(delivery.token),
            Mail::Connection(..) => None,
        });
        let mut overrun = self.overrun.lock();
        overrun.extend(missed);
        self.is_overrun.store(true, Ordering::Release);
        drop(overrun);
        self.mailbox.wake();
    }
}

/// Sends deliveries to their threads, with what they wait for; those of thread `own` stay. Waits for nobody.
pub(crate) fn send(inboxes: &[Inbox], deliveries: &mut Vec<Delivery>, own: Option<usize>, marks: Marks) {
    put_together(deliveries);
    for (thread, inbox) in inboxes.iter().enumerate() {
        if Some(thread) != own {
            let theirs = deliveries.extract_if(.., |delivery| usize::from(delivery.thread) == thread);
            inbox.send(theirs.map(|delivery| Mail::Delivery(delivery, marks)).collect());
        }
    }
}

/// Makes one delivery of several for the same client, where there are many. What one client gets keeps its order.
fn put_together(deliveries: &mut Vec<Delivery>) {
    if deliveries.len() < TOGETHER_FROM {
        return;
    }
    let mut last: HashMap<(u16, u64), usize> = HashMap::new();
    let mut together: Vec<Delivery> = Vec::new();
    for delivery in deliveries.drain(..) {
        let index = *last.entry((delivery.thread, delivery.token)).or_insert(together.len());
        match together.get_mut(index) {
            Some(before) if !before.close && !before.drop && before.is_feed == delivery.is_feed => {
                before.append(delivery)
            }
            Some(_) => {
                last.insert((delivery.thread, delivery.token), together.len());
                together.push(delivery);
            }
            None => together.push(delivery),
        }
    }
    *deliveries = together;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(thread: u16, token: u64, text: &str) -> Delivery {
        Delivery { thread, token, bytes: text.as_bytes().to_vec(), ..Delivery::default() }
    }

    fn texts(mail: Vec<Mail>) -> Vec<(u64, String)> {
        let of = |item| match item {
            Mail::Delivery(delivery, _) => (delivery.token, String::from_utf8(delivery.bytes).unwrap()),
            Mail::Connection(..) => panic!("nobody sent a connection"),
        };
        mail.into_iter().map(of).collect()
    }

    #[test]
    fn a_client_whose_mail_does_not_fit_is_to_be_closed_and_nobody_waits() {
        let pollers: Vec<net::Poller> = (0..2).map(|_| net::Poller::new(16).unwrap()).collect();
        let inboxes: Vec<Inbox> = pollers.iter().map(|poller| Inbox::of(2, poller.waker())).collect();
        let mut deliveries = vec![message(0, 9, "own"), message(1, 1, "a"), message(1, 2, "b")];
        deliveries.extend([message(1, 1, "c"), message(1, 3, "d")]);
        send(&inboxes, &mut deliveries, Some(0), Marks::agreed(5));
        assert_eq!(deliveries.len(), 1, "what is for our own clients stays");
        let mut mail = Vec::new();
        let missed = inboxes[1].take(&mut mail);
        assert_eq!(texts(mail), [(1, "a".to_owned()), (2, "b".to_owned())]);
        assert_eq!(missed, HashSet::from([1, 3]));
        assert!(inboxes[1].is_empty(), "they are named once");
        send(&inboxes, &mut vec![message(1, 4, "e")], None, Marks::default());
        assert!(!inboxes[1].is_empty() && inboxes[1].take(&mut Vec::new()).is_empty());
    }

    #[test]
    fn many_messages_for_one_client_are_one_and_keep_their_order() {
        let pollers: Vec<net::Poller> = (0..2).map(|_| net::Poller::new(16).unwrap()).collect();
        let inboxes: Vec<Inbox> = pollers.iter().map(|poller| Inbox::of(4, poller.waker())).collect();
        let each = |n: usize| message(1, (n % 3) as u64, &format!("{n} "));
        let mut deliveries: Vec<Delivery> = (0..TOGETHER_FROM).map(each).collect();
        deliveries.push(Delivery { close: true, ..message(1, 0, "end") });
        deliveries.push(message(1, 0, "behind"));
        send(&inboxes, &mut deliveries, None, Marks::default());
        let mut mail = Vec::new();
        assert!(inboxes[1].take(&mut mail).is_empty(), "all of it fits");
        let got = texts(mail);
        let expected = |token: usize| (token..TOGETHER_FROM).step_by(3).map(|n| format!("{n} "));
        assert_eq!(got[0], (0, expected(0).chain(["end".to_owned()]).collect::<String>()));
        assert_eq!(got[1], (1, expected(1).collect::<String>()));
        assert_eq!(got[2], (2, expected(2).collect::<String>()));
        assert_eq!(got[3], (0, "behind".to_owned()), "what comes behind the end does not come before it");
    }
}
