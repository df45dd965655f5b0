//! What was executed, as the log has it: record by record, with what the data set was behind each. It is the measure of all that is
//! recovered.
//!
//! A second engine replays each commit at once, as a replica would. So it shows first that the log says what was done (both engines hold
//! the same behind every commit), and then which data sets a crash may leave: those behind some record.

use engine::Engine;
use persist::aof::Commands;

use crate::clients;
use crate::load::{Replica, contents, replay};
use crate::sum::{DATABASES, Sum, changed_by_dump, sum, sum_of_entry};
use crate::world::{Clock, World};

/// One record and the data set behind it.
struct Unit {
    argv: Vec<Vec<u8>>,
    /// Without meaning where it is open.
    sum: Sum,
    /// A transaction has begun and not ended: nothing can be recovered that ends here.
    is_open: bool,
}

/// See the module. Records are counted from the beginning of the run, through all its lives.
pub(crate) struct History {
    clock: Clock,
    units: Vec<Unit>,
    /// The sum of nothing.
    empty: Sum,
    mirror: Replica,
    /// Records that were acknowledged to have been written, and to have been synced.
    pub(crate) written: usize,
    pub(crate) synced: usize,
    /// When records, up to and with those numbers, were written, microseconds.
    written_at: Vec<(usize, u64)>,
    /// Replies that did not wait for a sync, by records, time, and how old what is not synced may have been.
    early: Vec<(usize, u64, u64)>,
}

/// What may pass between the moment that the journal lets a reply go and the one that it goes in a run, microseconds.
const RELEASE_US: u64 = 200_000;

impl History {
    pub(crate) fn new(clock: &Clock) -> History {
        let mut mirror = Replica::new(clock);
        let empty = sum(&mut mirror);
        History {
            clock: clock.clone(),
            units: Vec::new(),
            empty,
            mirror,
            written: 0,
            synced: 0,
            written_at: Vec::new(),
            early: Vec::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.units.len()
    }

    /// What was behind the record with that number; of none nothing.
    pub(crate) fn sum_at(&self, units: usize) -> Sum {
        units.checked_sub(1).map_or(self.empty, |last| self.units[last].sum)
    }

    /// Takes in a commit of `engine`, which must hold now what the records say.
    pub(crate) fn commit(&mut self, bytes: &[u8], engine: &mut Engine) -> Result<(), String> {
        let mut commands = Commands::new(bytes, 0, bytes.len() as u64);
        let (mut world, mut is_open) = (World::of_replay(&self.clock), false);
        while let Some(argv) = commands.next().map_err(|error| format!("the log's bytes: {error}"))? {
            if let Err(why) = replay(&mut self.mirror, &argv, &mut world) {
                let words = argv.iter().map(|word| word.escape_ascii().to_string());
                let words = words.collect::<Vec<_>>().join(" ");
                return Err(format!(
                    "a record cannot be replayed ({words:.300}): {why}, behind {}",
                    self.tail(12)
                ));
            }
            is_open = argv[0] == b"MULTI" || is_open && argv[0] != b"EXEC";
            let sum = if is_open { 0 } else { sum(&mut self.mirror) };
            self.units.push(Unit { argv, sum, is_open });
        }
        if sum(engine) != sum(&mut self.mirror) {
            let keys = self.differing(engine);
            return Err(format!("the log does not say what was done to {keys}: {}", self.tail(6)));
        }
        Ok(())
    }

    /// Records up to `units` were written.
    pub(crate) fn was_written(&mut self, units: usize) {
        self.written_at.push((units, self.clock.micros()));
    }

    /// Replies up to `units` have left at that time without a sync, while nothing that is not synced may be older than that.
    pub(crate) fn left_early(&mut self, units: usize, at_us: u64, lag_us_max: u64) {
        self.early.push((units, at_us, lag_us_max));
    }

    /// After power was lost and `units` were found: what is missing was not older than may be when somebody was told that later writes
    /// are done.
    pub(crate) fn judge_lag(&self, units: usize) -> Result<(), String> {
        let Some(&(_, lost_us)) = self.written_at.iter().find(|(written, _)| *written > units) else {
            return Ok(());
        };
        let late = self.early.iter().find(|&&(acknowledged, at_us, lag_us_max)| {
            acknowledged > units && at_us > lost_us + lag_us_max + RELEASE_US
        });
        let Some((acknowledged, at_us, lag_us_max)) = late else { return Ok(()) };
        Err(format!(
            "record {acknowledged} was acknowledged at {at_us} us, and what was written at {lost_us} us is lost: more than {lag_us_max} us before"
        ))
    }

    /// A durable base holds the first records.
    pub(crate) fn based(&mut self, units: usize) {
        (self.written, self.synced) = (self.written.max(units), self.synced.max(units));
    }

    /// The keys that are not the same in both engines.
    fn differing(&mut self, engine: &mut Engine) -> String {
        let value = |engine: &mut Engine, db: usize, key: &[u8]| {
            let entry = engine.keyspace.peek(db, key);
            entry.map(|entry| (sum_of_entry(entry), entry.expiry()))
        };
        let mut differ = String::new();
        for (db, key) in (0..DATABASES).flat_map(|db| clients::all_keys().map(move |key| (db, key))) {
            let (is, says) = (value(engine, db, &key), value(&mut self.mirror, db, &key));
            if is != says {
                differ += &format!("{db}/{} ({is:?}, by the log {says:?}) ", key.escape_ascii());
            }
        }
        differ
    }

    /// The last records, for people.
    pub(crate) fn tail(&self, count: usize) -> String {
        let from = self.units.len().saturating_sub(count);
        let records = self.units[from..].iter().map(|unit| {
            let words: Vec<String> = unit.argv.iter().map(|word| word.escape_ascii().to_string()).collect();
            words.join(" ").chars().take(120).collect::<String>()
        });
        records.collect::<Vec<_>>().join(" | ")
    }

    /// Behind which record a start is that has found this: it must be a beginning of what was executed with at least `least` records. With
    /// what was there.
    pub(crate) fn find(&self, engine: &mut Engine, least: usize) -> Result<(usize, Replica), String> {
        let sum = sum(engine);
        let found = contents(engine);
        if let Some(key) = changed_by_dump(engine) {
            return Err(format!("DUMP and RESTORE change {key}: {}", self.tail(16)));
        }
        let is_like = |units: &usize| self.sum_at(*units) == sum && !self.is_open_at(*units);
        let mut difference = String::new();
        for units in (least..=self.len()).rev().filter(is_like) {
            let mut replayed = self.replayed(units)?;
            let there = contents(&mut replayed);
            if there == found {
                return Ok((units, replayed));
            }
            difference = format!(" (behind record {units} but for {})", first_difference(&there, &found));
        }
        let all = self.len();
        Err(match (0..=all).rev().find(is_like) {
            Some(units) if units < least => {
                format!(
                    "what is recovered ends behind record {units}, and {least} of {all} were acknowledged"
                )
            }
            _ => format!(
                "what is recovered was never there{difference}; {least} of {all} records were acknowledged: {}; found: {:.600}",
                self.tail(16),
                found.join(" | ")
            ),
        })
    }

    fn is_open_at(&self, units: usize) -> bool {
        units.checked_sub(1).is_some_and(|last| self.units[last].is_open)
    }

    /// A server goes on behind that record, with what was there; all in front of it is durable.
    pub(crate) fn go_on_from(&mut self, (units, there): (usize, Replica)) {
        self.mirror = there;
        self.units.truncate(units);
        (self.written, self.synced) = (units, units);
        self.written_at.clear();
        self.early.clear();
    }

    /// An engine with the first records.
    pub(crate) fn replayed(&self, units: usize) -> Result<Replica, String> {
        let (mut engine, mut world) = (Replica::new(&self.clock), World::of_replay(&self.clock));
        for unit in &self.units[..units] {
            replay(&mut engine, &unit.argv, &mut world)?;
        }
        Ok(engine)
    }
}

fn first_difference(there: &[String], found: &[String]) -> String {
    let pair = there.iter().zip(found).find(|(there, found)| there != found);
    let Some((there, found)) = pair else { return "a key".to_owned() };
    let same = there.bytes().zip(found.bytes()).take_while(|(a, b)| a == b).count();
    let part = |line: &str| {
        line.get(same.saturating_sub(80)..).unwrap_or(line).chars().take(200).collect::<String>()
    };
    format!("{}: {} / {}", there.chars().take(10).collect::<String>(), part(there), part(found))
}
