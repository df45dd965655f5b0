//! The link to the master of a replica: a thread of its own, which waits for nobody but that master, the disk and the engine.
//!
//! It connects, and again when the link has ended, as long as its order holds; the protocol is `replication::replica`. A whole data set
//! is read beside the one that serves ([`copy`]) and takes its place by the saver thread, where no snapshot runs ([`adoption`]). The
//! stream is run in the engine some requests at a time ([`wire`]).

mod adoption;
mod copy;
mod ended;
mod given_up;
mod logged;
mod outage;
mod socket;
mod wire;

use std::thread;
use std::time::Duration;

use engine::{LinkFigures, LinkState, MasterOrder};
use parking_lot::{Condvar, Mutex};
use replication::replica::{Backoff, Fault};

pub(crate) use adoption::Adoption;
use ended::Ended;
use outage::Outage;

use crate::shared::Shared;

/// How often the thread looks whether its order still holds, at least.
const LOOK_PERIOD: Duration = Duration::from_millis(100);

/// How long an order that the engine knows no more is left alone, milliseconds: the next one comes soon.
const HAND_OVER_MS: u64 = 20;

/// What the link is to do, and how it is doing. Leaves among the locks.
#[derive(Default)]
pub(crate) struct Replica {
    wanted: Mutex<Wanted>,
    changed: Condvar,
    figures: Mutex<Figures>,
    outage: Mutex<Outage>,
}

#[derive(Default)]
struct Wanted {
    /// The number of the last change.
    number: u64,
    order: Option<MasterOrder>,
    /// There is a thread.
    runs: bool,
}

/// What INFO tells of a link.
#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    /// When the master was heard last, monotonic microseconds.
    heard_us: Option<u64>,
    read_offset: Option<u64>,
    copy: Option<(u64, Option<u64>)>,
}

impl Replica {
    /// What INFO tells of the link.
    pub(crate) fn figures(&self, now_us: u64) -> LinkFigures {
        let Figures { heard_us, read_offset, copy } = *self.figures.lock();
        LinkFigures { silent_s: heard_us.map(|us| now_us.saturating_sub(us) / 1_000_000), read_offset, copy }
    }

    /// What is wrong with the link, in words, where a master is to be followed and is not.
    pub(crate) fn complaint(&self, now_us: u64) -> Option<String> {
        let order = self.wanted.lock().order.clone()?;
        self.outage.lock().complaint(&order, now_us)
    }

    /// Why the last attempt at a link has failed, while a master is to be followed and is not.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.wanted.lock().order.as_ref()?;
        self.outage.lock().why().map(str::to_owned)
    }

    /// Whether this is still what is wanted.
    fn is_wanted(&self, order: &MasterOrder) -> bool {
        self.wanted.lock().order.as_ref() == Some(order)
    }

    /// The master to follow, once there is one; none when the server has ended.
    fn next(&self, shared: &Shared) -> Option<MasterOrder> {
        let mut wanted = self.wanted.lock();
        while !shared.life.has_ended() {
            if let Some(order) = &wanted.order {
                return Some(order.clone());
            }
            self.changed.wait_for(&mut wanted, Duration::from_secs(1));
        }
        None
    }

    /// Waits, as long as the order holds.
    fn rest(&self, shared: &Shared, order: &MasterOrder, ms: u64) {
        let until_us = shared.clock.micros() + ms * 1000;
        let mut wanted = self.wanted.lock();
        while wanted.order.as_ref() == Some(order) && !shared.life.has_ended() {
            let left_us = until_us.saturating_sub(shared.clock.micros());
            if left_us == 0 {
                return;
            }
            self.changed.wait_for(&mut wanted, Duration::from_micros(left_us).min(Duration::from_secs(1)));
        }
    }
}

/// Has the master followed that the engine names, or none.
pub(crate) fn follow(shared: &'static Shared) {
    let (number, order) = shared.engine.lock().master_order();
    let mut wanted = shared.replica.wanted.lock();
    if number < wanted.number {
        return;
    }
    (wanted.number, wanted.order) = (number, order);
    shared.replica.changed.notify_all();
    if wanted.runs || wanted.order.is_none() {
        return;
    }
    match thread::Builder::new().name("replica".to_owned()).spawn(move || keep(shared)) {
        Ok(_) => wanted.runs = true,
        Err(error) => shared
            .logger
            .warning(&format!("The master cannot be followed: no thread can be started: {error}")),
    }
}

/// The thread: one link after another.
fn keep(shared: &'static Shared) {
    let mut backoff = Backoff::default();
    while let Some(order) = shared.replica.next(shared) {
        shared.replica.outage.lock().seek(&order, shared.clock.micros());
        let ended = wire::converse(shared, &order, &mut backoff);
        *shared.replica.figures.lock() = Figures::default();
        shared.with_engine(|engine, _| {
            engine.link_is(order.number, LinkState::Connect);
            match &ended {
                Ended::Diverged(_) => engine.forget_history(order.number),
                Ended::Fault(Fault::Refused(why) | Fault::NotYet(why)) => {
                    engine.hand_over_refused(order.number, why);
                }
                Ended::Fault(fault @ Fault::NeedsTls) => {
                    engine.hand_over_refused(order.number, &fault.to_string());
                }
                Ended::Lost(_) | Ended::Closed | Ended::Fault(Fault::Silent) => {
                    engine.hand_over_unanswered(order.number);
                }
                _ => {}
            }
        });
        if matches!(ended, Ended::Changed) {
            // The next order may be on its way.
            shared.replica.rest(shared, &order, HAND_OVER_MS);
            continue;
        }
        let wait_ms = backoff.failed(ended.is_costly());
        let line =
            shared.replica.outage.lock().failed(&ended.to_string(), wait_ms / 1000, shared.clock.micros());
        if let Some(line) = line {
            let MasterOrder { host, port, .. } = &order;
            shared.logger.warning(&format!("MASTER {host}:{port}: {line}"));
        }
        shared.replica.rest(shared, &order, wait_ms);
    }
}
