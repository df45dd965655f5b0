//! Runs a server over a disk that fails, under virtual time, from one seed; and sees whether anything acknowledged is lost.
//!
//! ```text
//! simulate [--seeds N] [--from N]     N runs, the canaries, and each crash of a few short runs; ends with "N passed, N failed"
//! simulate --seed N                   one run, told step by step
//! simulate --seed N --dies-at CALL [--killed] [--scene N] [--fails-at CALL]     a short run that ends there
//! ```
//! Engine, keyspace, journal and persist are those of the server; what joins them is here, without threads, so that one seed decides the
//! order of all steps, every fault of the disk, and the moment of each crash. After a crash a start must find a beginning of what was
//! executed that holds all that was acknowledged: with `appendfsync always` whatever happened, else if only the process died. Commits are
//! replayed at once by a second engine, so the log must say all that was done, and snapshots must hold one moment.
//!
//! The canaries are faults that are put in on purpose (a sync left out, a directory not synced, a reply that leaves early, a record that is
//! lost): a simulation that does not find them has failed.

#![allow(clippy::print_stdout, reason = "it is a program that tells what it finds")]

mod change;
mod clients;
mod disk;
mod history;
mod load;
mod run;
mod server;
mod sum;
mod world;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use disk::Canary;
use run::{Crash, Orders, Scene, Seen, run};

/// Seeds that a canary has until it must have been found.
const CANARY_SEEDS: u64 = 300;

/// Short runs of which every crash is tried.
const EXHAUSTIVE_SEEDS: u64 = 3;

/// A call that is not reached.
const NEVER: u64 = u64::MAX >> 1;

/// Failures that are told in full.
const TOLD_MAX: usize = 10;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str| {
        let at = args.iter().position(|arg| arg == name)?;
        args.get(at + 1)?.parse::<u64>().ok()
    };
    if let Some(seed) = number("--seed") {
        let mut orders = Orders { is_traced: true, ..Orders::default() };
        if let Some(call) = number("--dies-at") {
            let crash =
                if args.iter().any(|arg| arg == "--killed") { Crash::Killed } else { Crash::PowerLost };
            let scene = number("--scene").and_then(|scene| Scene::ALL.get(scene as usize).copied());
            let scene = Some(scene.unwrap_or(Scene::Rewrite));
            orders = Orders { scene, dies: Some((call, crash)), fails: number("--fails-at"), ..orders };
        }
        println!("{:?}", attempt(seed, orders));
        return ExitCode::SUCCESS;
    }
    let (from, count) = (number("--from").unwrap_or(0), number("--seeds").unwrap_or(1_000));
    std::panic::set_hook(Box::new(tell_last_words));
    let mut tally = Tally::default();
    tally.seeds(from, count);
    for canary in Canary::ALL {
        tally.canary(canary);
    }
    for scene in Scene::ALL {
        (0..EXHAUSTIVE_SEEDS).for_each(|seed| tally.every_call(from + seed, scene));
    }
    println!("{} passed, {} failed", tally.passed, tally.failed);
    if tally.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

thread_local! {
    /// What the thread runs.
    static RUNNING: Cell<Option<(u64, Orders)>> = const { Cell::new(None) };
}

/// A run that panics is one that fails, and is told with the others where a panic can be caught. Where it ends the process there is no later.
fn tell_last_words(panic: &PanicHookInfo<'_>) {
    if cfg!(panic = "abort")
        && let Some((seed, orders)) = RUNNING.get()
    {
        println!("FAILED: {}: {panic}", words(seed, orders));
    }
}

/// The command line of a run.
fn words(seed: u64, orders: Orders) -> String {
    let mut words = format!("simulate --seed {seed}");
    if let Some((call, crash)) = orders.dies {
        words += &format!(" --dies-at {call}");
        words += if crash == Crash::Killed { " --killed" } else { "" };
    }
    let scene = orders.scene.and_then(|scene| Scene::ALL.iter().position(|&other| other == scene));
    words += &scene.map_or_else(String::new, |scene| format!(" --scene {scene}"));
    words += &orders.fails.map_or_else(String::new, |call| format!(" --fails-at {call}"));
    match orders.canary {
        Canary::None => words,
        canary => format!("{words} with the canary {canary:?}"),
    }
}

/// A run, of which a panic is an error too.
fn attempt(seed: u64, orders: Orders) -> Result<Seen, String> {
    RUNNING.set(Some((seed, orders)));
    catch_unwind(AssertUnwindSafe(|| run(seed, orders))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(format!("panic: {}", text.unwrap_or_default()))
    })
}

#[derive(Default)]
struct Tally {
    passed: u64,
    failed: u64,
}

impl Tally {
    fn count(&mut self, is_passed: bool) {
        if is_passed { self.passed += 1 } else { self.failed += 1 }
    }

    /// That many runs, on all processors.
    fn seeds(&mut self, from: u64, count: u64) {
        let next = AtomicU64::new(from);
        let found: Mutex<(Seen, Vec<(u64, String)>)> = Mutex::default();
        let work = || {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= from + count {
                    return;
                }
                let result = attempt(seed, Orders::default());
                let mut found = found.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                match result {
                    Ok(seen) => found.0.add(seen),
                    Err(why) => found.1.push((seed, why)),
                }
            }
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
        let (seen, mut failures) = found.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        failures.sort();
        for (seed, why) in failures.iter().take(TOLD_MAX) {
            println!("FAILED: {}: {why}", words(*seed, Orders::default()));
        }
        println!("{count} seeds from {from}: {seen:?}");
        self.passed += count - failures.len() as u64;
        self.failed += failures.len() as u64;
    }

    /// Runs with a fault that must be found.
    fn canary(&mut self, canary: Canary) {
        let orders = Orders { canary, ..Orders::default() };
        let found = (0..CANARY_SEEDS).find_map(|seed| Some((seed, attempt(seed, orders).err()?)));
        match &found {
            Some((seed, why)) => println!("canary {canary:?} is found by seed {seed}: {why}"),
            None => println!("FAILED: canary {canary:?} is not found by {CANARY_SEEDS} seeds"),
        }
        self.count(found.is_some());
    }

    /// A short run of which each call of the disk is the last one, or fails, in each way.
    fn every_call(&mut self, seed: u64, scene: Scene) {
        let orders =
            |dies, fails| Orders { scene: Some(scene), dies: Some(dies), fails, ..Orders::default() };
        let whole = attempt(seed, orders((NEVER, Crash::Killed), None));
        let calls = whole.as_ref().map_or(0, |seen| seen.calls);
        let mut failure = whole.err();
        let ways = |call| {
            [Crash::Killed, Crash::PowerLost].into_iter().flat_map(move |crash| {
                [
                    ((call, crash), None),
                    ((NEVER, crash), Some(call)),
                    ((call + 1 + call % 7, crash), Some(call)),
                ]
            })
        };
        for (dies, fails) in (0..calls).flat_map(ways) {
            if failure.is_none() {
                let why = attempt(seed, orders(dies, fails)).err();
                failure = why.map(|why| format!("{}: {why}", words(seed, orders(dies, fails))));
            }
        }
        match &failure {
            None => println!("{scene:?}, run {seed}: each of {calls} calls may be the last, or fail"),
            Some(why) => println!("FAILED: {scene:?}, run {seed}: {why}"),
        }
        self.count(failure.is_none());
    }
}

impl Seen {
    fn add(&mut self, other: Seen) {
        let Seen { records, crashes, refused, unharmed, snapshots, moved, calls } = other;
        self.records += records;
        self.crashes += crashes;
        self.refused += refused;
        self.unharmed += unharmed;
        self.snapshots += snapshots;
        self.moved += moved;
        self.calls += calls;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_by_what_shows_it_again() {
        assert_eq!(words(7, Orders::default()), "simulate --seed 7");
        let (scene, dies) = (Some(Scene::Save), Some((12, Crash::Killed)));
        let short = Orders { scene, dies, fails: Some(3), ..Orders::default() };
        assert_eq!(words(7, short), "simulate --seed 7 --dies-at 12 --killed --scene 2 --fails-at 3");
        let canary = Orders { canary: Canary::NoSync, ..Orders::default() };
        assert_eq!(words(7, canary), "simulate --seed 7 with the canary NoSync");
    }
}
