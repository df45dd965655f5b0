//! How much memory the allocator has given out, known at the price of two loads.
//!
//! jemalloc counts bytes per thread. A thread that serves clients adds what changed since its last
//! [`publish`] to one shared sum, so `used` is that sum plus the caller's own unpublished difference.
//! Threads that never publish (the control plane) make the sum drift; [`look`] removes that with the allocator's own
//! total. The total knows also what threads have not published yet, megabytes while they are busy: the two can only be
//! compared over several looks. What all of them agree on is drift, unless a thread was at one request all the time: what a script
//! has taken in its ten seconds would be counted twice behind them, and half of a cache evicted for it.
//!
//! Buffers that a thread keeps empty for its clients' next requests are not in use either: were they, data would be
//! evicted to make room for them.

use std::cell::Cell;
use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::Mutex;
use tikv_jemalloc_ctl::{Access, AsName, epoch, stats, thread};

/// Looks that must agree on a drift before it is removed.
const LOOKS: usize = 8;

/// What the allocator's total takes for given out although nobody has it, each a name of its statistics, bytes summed over all
/// arenas (4096 stands for all): what threads keep for their own next allocations, and what it has taken for itself.
const NOT_GIVEN_OUT: [&[u8]; 2] = [b"stats.arenas.4096.tcache_bytes\0", b"stats.arenas.4096.internal\0"];

/// Published bytes of all threads, with the correction in it.
static PUBLISHED: AtomicI64 = AtomicI64::new(0);

/// How far the total was from the sum at the latest looks, bytes.
static DRIFTS: Mutex<Vec<i64>> = Mutex::new(Vec::new());

/// Bytes that threads keep in empty buffers.
static KEPT: AtomicI64 = AtomicI64::new(0);

thread_local! {
    static COUNTERS: Option<(thread::ThreadLocal<u64>, thread::ThreadLocal<u64>)> = counters();
    static TOLD: Cell<i64> = const { Cell::new(0) };
    static KEPT_HERE: Cell<i64> = const { Cell::new(0) };
}

fn counters() -> Option<(thread::ThreadLocal<u64>, thread::ThreadLocal<u64>)> {
    Some((thread::allocatedp::read().ok()?, thread::deallocatedp::read().ok()?))
}

/// Bytes that this thread has allocated and not freed; negative for a thread that frees what others made.
#[inline]
pub(crate) fn own() -> i64 {
    COUNTERS.with(|counters| match counters {
        Some((allocated, deallocated)) => allocated.get().wrapping_sub(deallocated.get()) as i64,
        None => 0,
    })
}

/// Bytes given out to all threads.
#[inline]
pub(crate) fn used() -> usize {
    let unpublished = own() - TOLD.get();
    (PUBLISHED.load(Ordering::Relaxed) + unpublished).max(0) as usize
}

/// Tells other threads what this one has allocated and freed since the last time.
#[inline]
pub(crate) fn publish() {
    let own = own();
    let change = own - TOLD.replace(own);
    if change != 0 {
        PUBLISHED.fetch_add(change, Ordering::Relaxed);
    }
}

/// This thread keeps so many bytes in empty buffers now.
#[inline]
pub(crate) fn keep(bytes: usize) {
    let change = bytes as i64 - KEPT_HERE.replace(bytes as i64);
    if change != 0 {
        KEPT.fetch_add(change, Ordering::Relaxed);
        PUBLISHED.fetch_sub(change, Ordering::Relaxed);
    }
}

/// Has the allocator give memory back on threads of its own, or not; one that cannot goes on as it is.
pub(crate) fn free_in_background(on: bool) {
    let _ = tikv_jemalloc_ctl::background_thread::write(on);
}

/// Gives back to the system what the allocator keeps of this thread's freed memory for its next allocations: after much was freed at
/// once that nobody will ask for again. Otherwise it goes back over some seconds, and as much as that may be taken meanwhile.
pub(crate) fn give_back() {
    let Ok(arena) = Access::<u32>::read(b"thread.arena\0".name()) else { return };
    let name = format!("arena.{arena}.dirty_decay_ms\0");
    // Keeping for no time gives all back at once.
    if let Ok(usual) = Access::<isize>::read(name.as_bytes().name()) {
        let _ = Access::<isize>::write(name.as_bytes().name(), 0);
        let _ = Access::<isize>::write(name.as_bytes().name(), usual);
    }
}

/// Figures of the allocator, bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) allocated: usize,
    pub(crate) active: usize,
    pub(crate) resident: usize,
}

/// Asks the allocator for its totals, and removes a drift of the sum that has lasted. Not `in_step`: a thread has been at one request
/// since the look before, so that nothing is known of drift. Takes tens of microseconds: once a second
/// is enough. Never a part of its caller: by its name it is left out of what requests cost, see `tests/bench/instructions.py`.
#[inline(never)]
pub(crate) fn look(in_step: bool) -> Figures {
    let (figures, drift) = totals();
    let mut drifts = DRIFTS.lock();
    if !in_step {
        drifts.clear();
        return figures;
    }
    drifts.push(drift);
    if drifts.len() == LOOKS {
        PUBLISHED.fetch_add(common(&drifts), Ordering::Relaxed);
        drifts.clear();
    }
    figures
}

/// The same at a time when no other thread does anything: takes over the total at once.
pub(crate) fn begin() -> Figures {
    let (figures, drift) = totals();
    PUBLISHED.fetch_add(drift, Ordering::Relaxed);
    figures
}

/// What all of them have in common: the least, if they have the same sign.
fn common(drifts: &[i64]) -> i64 {
    match (drifts.iter().min(), drifts.iter().max()) {
        (Some(&least), _) if least > 0 => least,
        (_, Some(&most)) if most < 0 => most,
        _ => 0,
    }
}

/// The allocator's totals, and how far its own is from the sum of what threads have published.
fn totals() -> (Figures, i64) {
    // Without fresh statistics the old ones are given, and nothing depends on them but drift.
    let _ = epoch::advance();
    let allocated = stats::allocated::read().unwrap_or(0);
    publish();
    let drift = if allocated > 0 { in_use(allocated) - PUBLISHED.load(Ordering::Relaxed) } else { 0 };
    let active = stats::active::read().unwrap_or(allocated);
    (Figures { allocated, active, resident: stats::resident::read().unwrap_or(active) }, drift)
}

/// How much of what the allocator takes for given out somebody has, and not only keeps.
fn in_use(allocated: usize) -> i64 {
    let nobodys: usize =
        NOT_GIVEN_OUT.iter().map(|name| Access::<usize>::read(name.name()).unwrap_or(0)).sum();
    allocated.saturating_sub(nobodys) as i64 - KEPT.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is measured is of the whole process, so one measures at a time.
    static MEASURING: Mutex<()> = Mutex::new(());

    #[test]
    fn an_allocation_is_seen_at_once_and_elsewhere_after_publishing() {
        let _alone = MEASURING.lock();
        begin();
        let before = used();
        let block = vec![1u8; 8 << 20];
        assert!(used() >= before + (8 << 20), "its own thread sees it at once");
        publish();
        let elsewhere = std::thread::spawn(used).join().unwrap();
        assert!(elsewhere + (1 << 20) >= before + (8 << 20), "others see it after publishing");
        drop(block);
        assert!(used() < before + (4 << 20));
    }

    #[test]
    fn empty_buffers_are_not_in_use() {
        // Far more than other tests take meanwhile; untouched, it costs nothing.
        const BYTES: usize = 256 << 20;
        let _alone = MEASURING.lock();
        begin();
        let before = used();
        let buffer = vec![0u8; BYTES];
        keep(BYTES);
        begin();
        assert!(used() < before + BYTES / 2, "{} against {before}", used());
        keep(0);
        assert!(used() >= before + BYTES / 2, "{} against {before}", used());
        drop(buffer);
    }

    #[test]
    fn only_what_all_looks_agree_on_is_drift() {
        assert_eq!(common(&[5, 3, 9]), 3);
        assert_eq!(common(&[-5, -3, -9]), -3);
        assert_eq!(common(&[5, -3, 9]), 0);
        assert_eq!(common(&[0, 3, 9]), 0);
    }

    #[test]
    fn what_threads_keep_for_later_is_known_to_the_allocator() {
        let blocks: Vec<Vec<u8>> = (0..64).map(|_| Vec::with_capacity(4096)).collect();
        let _alone = MEASURING.lock();
        drop(blocks);
        let allocated = begin().allocated;
        for name in NOT_GIVEN_OUT {
            assert!(Access::<usize>::read(name.name()).expect("a name that the allocator knows") > 0);
        }
        // 256 KiB of blocks, less what this thread may have given back to the arena.
        assert!(in_use(allocated) + (64 << 10) < allocated as i64, "{} of {allocated}", in_use(allocated));
    }

    #[test]
    fn what_a_silent_thread_frees_is_noticed_after_some_looks() {
        let _alone = MEASURING.lock();
        begin();
        // Far more than other tests take meanwhile; untouched, it costs nothing.
        let block = vec![0u8; 256 << 20];
        publish();
        std::thread::spawn(move || drop(block)).join().unwrap();
        let stale = used();
        look(true);
        assert!(used() + (128 << 20) > stale, "one look may be wrong: {} against {stale}", used());
        for _ in 0..2 * LOOKS {
            look(false);
        }
        assert!(
            used() + (128 << 20) > stale,
            "a thread at a long request may have it: {} against {stale}",
            used()
        );
        for _ in 0..2 * LOOKS {
            look(true);
        }
        assert!(used() + (128 << 20) < stale, "{} against {stale}", used());
    }
}
