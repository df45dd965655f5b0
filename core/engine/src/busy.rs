//! A script that runs too long: what others are told, and what they may do meanwhile.
//!
//! The script is interrupted now and then. For that time the world is lent the engine ([`Outside::busy`]) and serves whoever waits
//! ([`Engine::serve_others`]): their requests run as ever, and the gate lets in what rows allow (`Flags::ALLOW_BUSY`). What the
//! script's own request has left so far is kept apart. The interpreter is taken out of the engine, so no second script can begin,
//! and nothing that is let in changes data.

use crate::engine::Engine;
use crate::functions::RunningFunction;
use crate::outside::{Busy, BusyVerdict, Delivery, Job, Outside};
use commands::Error;
use resp::Reply;
use script::Interrupt;

const BUSY: Error =
    Error::new("BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.");
const BUSY_FUNCTION: Error =
    Error::new("BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.");
const NOT_BUSY: Error = Error::new("NOTBUSY No scripts in execution right now.");
const UNKILLABLE: Error = Error::new(
    "UNKILLABLE Sorry the script already executed write commands against the dataset. \
    You can either wait the script termination or kill the server in a hard way using the SHUTDOWN NOSAVE \
    command.",
);

/// A busy script asks so often whether it may go on; other clients are served meanwhile.
const ASK_EVERY_NS: u64 = 10_000_000;

/// When a script began, and when the world was last asked whether it may go on.
#[derive(Debug)]
pub(crate) struct Pace {
    started_ns: u64,
    /// Nanoseconds since the start.
    asked_ns: u64,
}

impl Pace {
    pub(crate) fn new(started_ns: u64) -> Pace {
        Pace { started_ns, asked_ns: 0 }
    }

    /// For how long it has run, nanoseconds, if that is longer than it should and the world is to be asked again.
    pub(crate) fn overrun(&mut self, now_ns: u64, threshold_ms: u64) -> Option<u64> {
        let running_ns = now_ns.saturating_sub(self.started_ns);
        let is_due = threshold_ms > 0
            && running_ns >= threshold_ms * 1_000_000
            && running_ns >= self.asked_ns + ASK_EVERY_NS;
        if !is_due {
            return None;
        }
        self.asked_ns = running_ns;
        Some(running_ns)
    }
}

/// The function that runs, as FUNCTION STATS tells of it.
#[derive(Debug)]
struct Running {
    name: Vec<u8>,
    argv: Vec<Vec<u8>>,
    libraries: usize,
    functions: usize,
}

/// A script that runs too long.
#[derive(Debug)]
pub(crate) struct BusyScript {
    what: Busy,
    /// None for a script of EVAL.
    function: Option<Running>,
    /// Somebody has asked for its end.
    is_killed: bool,
}

impl BusyScript {
    fn new(what: Busy, function: Option<RunningFunction<'_>>, argv: &[&[u8]]) -> BusyScript {
        let of = |function: RunningFunction<'_>| Running {
            name: function.name.to_vec(),
            argv: argv.iter().map(|argument| argument.to_vec()).collect(),
            libraries: function.libraries,
            functions: function.functions,
        };
        BusyScript { what, function: function.map(of), is_killed: false }
    }

    /// What others are told.
    pub(crate) fn refusal(&self) -> Error {
        if self.function.is_some() { BUSY_FUNCTION } else { BUSY }
    }

    /// Writes the reply of FUNCTION STATS, which tells of a function only.
    pub(crate) fn tell(&self, reply: &mut Reply<'_>) -> Result<(), Error> {
        let Some(function) = &self.function else { return Err(self.refusal()) };
        crate::functions::write_stats(reply, function.libraries, function.functions, |reply| {
            reply.map(3);
            reply.bulk(b"name");
            reply.bulk(&function.name);
            reply.bulk(b"command");
            reply.bulks(&function.argv);
            reply.bulk(b"duration_ms");
            reply.integer((self.what.running_ns / 1_000_000) as i64);
        });
        Ok(())
    }
}

impl Engine {
    /// A script runs too long: others are served, and it hears whether it may go on.
    #[cold]
    pub(crate) fn interrupt(
        &mut self,
        outside: &mut dyn Outside,
        what: Busy,
        function: Option<RunningFunction<'_>>,
        argv: &[&[u8]],
    ) -> Interrupt {
        let script = self.busy.get_or_insert_with(|| Box::new(BusyScript::new(what, function, argv)));
        script.what = what;
        let verdict = outside.busy(self, what);
        let is_killed = self.busy.as_ref().is_some_and(|script| script.is_killed);
        match verdict {
            // What has begun to change data is never cut off in the middle.
            BusyVerdict::Shutdown if !what.has_written => {
                Interrupt::Kill("Script killed because the server is shutting down...")
            }
            BusyVerdict::Shutdown | BusyVerdict::Continue if !is_killed => Interrupt::Continue,
            // Redis' words are the same for a function.
            BusyVerdict::Shutdown | BusyVerdict::Continue | BusyVerdict::Kill => {
                Interrupt::Kill("Script killed by user with SCRIPT KILL...")
            }
        }
    }

    /// SCRIPT KILL and FUNCTION KILL.
    pub(crate) fn kill_script(&mut self, is_function: bool) -> Result<(), Error> {
        let script = self.busy.as_mut().ok_or(NOT_BUSY)?;
        if script.what.has_written {
            return Err(UNKILLABLE);
        }
        if script.function.is_some() != is_function {
            return Err(script.refusal());
        }
        script.is_killed = true;
        Ok(())
    }

    /// Lends the engine to those who wait while a script holds it. What `serve` leaves for other clients and to be done goes into
    /// `deliveries` and `jobs`: it need not wait for what the script will have left.
    pub fn serve_others(
        &mut self,
        deliveries: &mut Vec<Delivery>,
        jobs: &mut Vec<Job>,
        serve: impl FnOnce(&mut Engine),
    ) {
        let changes = self.keyspace.effects.changes;
        let (own_from, spent_ns) = (core::mem::take(&mut self.own_from), self.spent_ns);
        let of_script = (core::mem::take(&mut self.deliveries), core::mem::take(&mut self.jobs));
        let flushed_all = core::mem::take(&mut self.keyspace.flushed_all);
        // Nobody who waits for a key is served before the script is through.
        self.depth += 1;
        serve(self);
        self.depth -= 1;
        assert_eq!(self.keyspace.effects.changes, changes, "nothing that runs beside a script changes data");
        self.keyspace.flushed_all = flushed_all;
        deliveries.append(&mut self.deliveries);
        jobs.append(&mut self.jobs);
        (self.deliveries, self.jobs) = of_script;
        (self.own_from, self.spent_ns) = (own_from, spent_ns);
    }
}
