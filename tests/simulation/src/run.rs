//! One run: some lives of a server on one disk, each ended by a crash, and after each what a start finds.

use std::sync::Arc;

use base::Random;
use engine::Engine;
use persist::aof::{Base, FileKind, Log, LogFile, recover};
use persist::disk::{Disk, read_whole};
use persist::rdb::identify;

use crate::disk::{Canary, Faults, SimDisk};
use crate::history::History;
use crate::load::{Replica, load_file, load_snapshot, replaying};
use crate::server::{Server, dump, history_id, place};
use crate::sum::sum;
use crate::world::Clock;

/// Attempts to start until one must succeed; the earlier ones die on the way.
const STARTS_MAX: u64 = 4;

/// What a run is told beside its seed.
#[derive(Clone, Copy, Default)]
pub(crate) struct Orders {
    pub(crate) canary: Canary,
    /// The first life has no faults, ends at this call, and so.
    pub(crate) dies: Option<(u64, Crash)>,
    /// Fewer steps, in which this is done.
    pub(crate) scene: Option<Scene>,
    /// This call of the first life fails.
    pub(crate) fails: Option<u64>,
    pub(crate) is_traced: bool,
}

/// Steps between two requests of a scene.
const SCENE_STEPS: u64 = 12;

/// What happens in a short run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scene {
    /// The log is written anew.
    Rewrite,
    /// It fails, and is replaced.
    Replacement,
    /// A snapshot is saved.
    Save,
    /// The log is switched off, and on again.
    OffAndOn,
    /// It is switched off, and a base is made meanwhile.
    BaseAlone,
}

impl Scene {
    /// All there are.
    pub(crate) const ALL: [Scene; 5] =
        [Scene::Rewrite, Scene::Replacement, Scene::Save, Scene::OffAndOn, Scene::BaseAlone];

    /// What is asked for at so many steps.
    fn act(self, step: u64, server: &mut Server<'_>) -> Result<(), String> {
        let requests: &[&str] = match self {
            Scene::Rewrite => &["BGREWRITEAOF"],
            Scene::Replacement => &["PING"],
            Scene::Save => &["BGSAVE"],
            Scene::OffAndOn => &["CONFIG SET appendonly no", "RPUSH l0 a", "CONFIG SET appendonly yes"],
            Scene::BaseAlone => &["CONFIG SET appendonly no", "RPUSH l0 a", "BGREWRITEAOF", "RPUSH l0 b"],
        };
        if self == Scene::Replacement && step == 0 {
            server.fail_log();
        }
        let now = requests.iter().enumerate().find(|(at, _)| step == *at as u64 * SCENE_STEPS);
        now.map_or(Ok(()), |(_, request)| server.ask(request))
    }
}

/// How a life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crash {
    Killed,
    PowerLost,
    Stopped,
}

/// What a run has seen.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    /// Records that were executed.
    pub(crate) records: u64,
    /// Crashes that were recovered from.
    pub(crate) crashes: u64,
    /// Starts that a flipped bit has stopped, and those that it has not.
    pub(crate) refused: u64,
    pub(crate) unharmed: u64,
    /// Snapshots that were compared, and those that a log began over.
    pub(crate) snapshots: u64,
    pub(crate) moved: u64,
    /// Calls of the first life that changed something on the disk.
    pub(crate) calls: u64,
}

/// See the module.
struct Run {
    random: Random,
    clock: Clock,
    disk: SimDisk,
    history: History,
    orders: Orders,
    seen: Seen,
    /// Records that a start must find.
    least: usize,
    /// Records that the snapshot in place holds.
    saved: Option<usize>,
    /// Power was lost since the last start.
    has_lost_power: bool,
}

/// Runs a seed.
///
/// # Errors
/// What is wrong.
pub(crate) fn run(seed: u64, orders: Orders) -> Result<Seen, String> {
    let clock = Clock::default();
    let mut run = Run {
        random: Random::new(seed),
        disk: SimDisk::new(seed),
        history: History::new(&clock),
        clock,
        orders,
        seen: Seen::default(),
        least: 0,
        saved: None,
        has_lost_power: false,
    };
    let lives = if orders.scene.is_some() { 1 } else { 1 + run.random.below(3) };
    for life in 0..lives {
        run.live(life)?;
    }
    // And it can be loaded to the end.
    let (engine, log) = run.start()?.ok_or("the last start does not die")?;
    drop((engine, log));
    run.seen.records = run.history.len() as u64;
    Ok(run.seen)
}

impl Run {
    fn trace(&self, text: impl FnOnce() -> String) {
        if self.orders.is_traced {
            println!("{:>10} us: {}", self.clock.micros(), text());
        }
    }

    /// From a start to a crash.
    fn live(&mut self, life: u64) -> Result<(), String> {
        let Some((engine, log)) = self.start()? else { return Ok(()) };
        let is_first = life == 0;
        let faults = self.faults();
        self.disk.set_faults(faults, self.orders.canary);
        let crash = self.choose_death(is_first);
        let steps = if self.orders.scene.is_some() { 80 } else { 30 + self.random.below(200) };
        let calls_before = self.disk.calls();
        let random = Random::new(self.random.next_u64());
        let canary = self.orders.canary;
        let mut server = Server::new(&self.disk, log, engine, &self.clock, random, &mut self.history, canary);
        server.saved = self.saved;
        server.is_traced = self.orders.is_traced;
        server.hurries = self.orders.scene.is_some();
        for step in 0..steps {
            self.orders.scene.map_or(Ok(()), |scene| scene.act(step, &mut server))?;
            server.step()?;
            if self.disk.is_dead() {
                break;
            }
        }
        self.saved = server.saved;
        if crash == Crash::Stopped && !self.disk.is_dead() {
            server.stop();
        } else {
            drop(server);
        }
        if is_first {
            self.seen.calls = self.disk.calls() - calls_before;
        }
        self.crash(crash)
    }

    fn faults(&mut self) -> Faults {
        if self.orders.dies.is_some() || self.random.below(2) == 0 {
            return Faults::default();
        }
        let mut rate = || match self.random.below(3) {
            0 => 0,
            _ => 3 + self.random.below(60),
        };
        Faults { short_write: rate(), write: rate(), sync: rate(), name: rate(), room: rate() / 8 }
    }

    fn choose_death(&mut self, is_first: bool) -> Crash {
        if let (true, Some((call, crash))) = (is_first, self.orders.dies) {
            self.disk.die_at(call);
            self.orders.fails.into_iter().for_each(|call| self.disk.fail_at(call));
            return crash;
        }
        if self.random.below(2) == 0 {
            self.disk.die_at(self.random.below(150));
        }
        match self.random.below(7) {
            0 => Crash::Stopped,
            1..4 => Crash::Killed,
            _ => Crash::PowerLost,
        }
    }

    fn crash(&mut self, crash: Crash) -> Result<(), String> {
        let seed = self.random.next_u64();
        (self.disk, self.least) = match crash {
            Crash::PowerLost => (self.disk.lose_power(seed), self.history.synced),
            Crash::Killed | Crash::Stopped => (self.disk.kill(seed), self.history.written),
        };
        self.seen.crashes += 1;
        self.has_lost_power = crash == Crash::PowerLost;
        self.trace(|| format!("{crash:?}: {} of {} records must be there", self.least, self.history.len()));
        self.compare_snapshot()?;
        self.flip()?;
        self.keep_snapshot_alone()
    }

    /// Now and then a new server begins over the snapshot: that is then its log's first base.
    fn keep_snapshot_alone(&mut self) -> Result<(), String> {
        let Some(units) = self.saved.filter(|_| self.random.below(3) == 0) else { return Ok(()) };
        self.disk = self.disk.with_only(&dump(), self.random.next_u64());
        self.history.go_on_from((units, self.history.replayed(units)?));
        self.least = units;
        self.seen.moved += 1;
        self.trace(|| format!("only the snapshot is left, of {units} records"));
        Ok(())
    }

    /// The snapshot in place holds the moment at which it began.
    fn compare_snapshot(&mut self) -> Result<(), String> {
        let Some(units) = self.saved.take() else { return Ok(()) };
        let mut engine = Replica::new(&self.clock);
        load_snapshot(&mut engine, &self.disk, &dump(), &self.clock)?;
        self.seen.snapshots += 1;
        if sum(&mut engine) != self.history.sum_at(units) {
            return Err(format!("the snapshot is not what was there behind record {units}"));
        }
        self.saved = Some(units);
        Ok(())
    }

    /// On a copy of the disk with a flipped bit a start finds the same, or refuses.
    fn flip(&mut self) -> Result<(), String> {
        if self.random.below(3) > 0 {
            return Ok(());
        }
        let disk = self.disk.kill(self.random.next_u64());
        if !self.is_whole(&disk) {
            // Of a torn batch the commands that are whole are kept, and nothing vouches for them.
            return Ok(());
        }
        let Some(what) = disk.flip_bit(&place().log_dir(), self.random.next_u64()) else { return Ok(()) };
        let mut engine = Replica::new(&self.clock);
        if self.load(&disk, &mut engine).is_err() {
            self.seen.refused += 1;
            return Ok(());
        }
        self.seen.unharmed += 1;
        self.history
            .find(&mut engine, self.least)
            .map(drop)
            .map_err(|why| format!("{what} was flipped: {why}"))
    }

    /// Whether the log ends with a whole batch, and each of its files does; the disk stays as it is.
    fn is_whole(&self, disk: &SimDisk) -> bool {
        let disk = disk.kill(0);
        recover(&disk, &place(), true, 0).is_ok_and(|recovered| {
            recovered.tails().is_empty() && recovered.files().iter().all(|file| is_closed(&disk, file))
        })
    }

    /// Starts, at last without dying. None when the run ends there.
    fn start(&mut self) -> Result<Option<(Engine, Log)>, String> {
        for attempt in 0..STARTS_MAX {
            let is_last = attempt + 1 == STARTS_MAX || self.random.below(2) == 0;
            self.disk.set_faults(Faults::default(), self.orders.canary);
            if !is_last {
                self.disk.die_at(self.random.below(12));
            }
            let mut engine = replaying(&self.clock);
            match self.load(&self.disk.clone(), &mut engine) {
                Ok(loaded) => {
                    let found = self.history.find(&mut engine, self.least)?;
                    let units = found.0;
                    if self.has_lost_power {
                        self.history.judge_lag(units)?;
                    }
                    self.trace(|| format!("a start finds {units} of {} records", self.history.len()));
                    if let Some(log) = self.open(loaded, is_last)? {
                        self.history.go_on_from(found);
                        // A snapshot may hold what the log has lost.
                        self.saved = self.saved.filter(|&saved| saved <= units);
                        self.least = units;
                        return Ok(Some((engine, log)));
                    }
                }
                Err(why) if is_last || !self.disk.is_dead() => {
                    self.trace(|| self.disk.listing(&place().log_dir()));
                    return Err(format!("the start is refused: {why}"));
                }
                Err(_) => {}
            }
            // It has died: what it had written may be there or not.
            let seed = self.random.next_u64();
            let is_power_lost = self.random.below(2) == 0;
            self.disk = if is_power_lost { self.disk.lose_power(seed) } else { self.disk.kill(seed) };
            if is_power_lost {
                self.least = self.least.min(self.history.synced);
                self.has_lost_power = true;
            }
        }
        Ok(None)
    }

    fn load(&self, disk: &SimDisk, engine: &mut Engine) -> Result<Option<persist::aof::Verified>, String> {
        let unix_ms = self.clock.now().unix_ms;
        let recovered = recover(disk, &place(), true, unix_ms).map_err(|error| error.to_string())?;
        if recovered.is_fresh() {
            if self.saved.is_some() {
                load_snapshot(engine, disk, &dump(), &self.clock)?;
            }
            return Ok(None);
        }
        recovered.load(|file| load_file(engine, disk, file, &self.clock)).map(Some)
    }

    fn open(&mut self, loaded: Option<persist::aof::Verified>, is_last: bool) -> Result<Option<Log>, String> {
        let id = history_id(&mut self.random);
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let log = match loaded {
            Some(verified) => Log::open(disk, place(), verified, id),
            None => match identify(&*disk, &dump()).ok().flatten().filter(|_| self.saved.is_some()) {
                Some(snapshot) => Log::create_over(disk, place(), &dump(), snapshot, id),
                None => Log::create(disk, place(), b"", Base::Commands, id),
            },
        };
        match log {
            Ok(log) => Ok(Some(log)),
            Err(_) if !is_last => Ok(None),
            Err(error) => Err(format!("the log cannot be opened: {error}")),
        }
    }
}

/// Whether a file ends with the line that closes a batch. One that was torn between two commands has them all, and nothing vouches for
/// them.
fn is_closed(disk: &SimDisk, file: &LogFile) -> bool {
    if file.kind != FileKind::Incremental || file.bytes == 0 {
        return true;
    }
    let Ok(bytes) = read_whole(disk, &file.path, file.bytes) else { return false };
    let Some(lines) = bytes.strip_suffix(b"\r\n") else { return false };
    let begins = lines.windows(2).rposition(|pair| pair == b"\r\n").map_or(0, |at| at + 2);
    lines[begins..].starts_with(b"#TDM")
}
