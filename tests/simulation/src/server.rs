//! A server without threads and sockets: engine, journal and log joined as the real one joins them, one step after the other in an order
//! that the seed chooses. What threads do at the same time there are steps between which others may come here.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use base::Random;
use engine::{ClientInfo, Delivery, Engine, Job, Next, Request, SessionId};
use journal::{BALLAST_BYTES, Batch, Fault, Hand, Health, Journal, Need, Outcome, RESERVE_BYTES};
use persist::aof::{AppendError, Commands, HistoryId, Log, Place, SyncHandle};
use persist::disk::Disk;

use crate::change::Change;
use crate::clients::{self, Words};
use crate::disk::{Canary, SimDisk};
use crate::history::History;
use crate::world::{Clock, World, looser, policy};

/// Clients of a server.
const CLIENTS: usize = 4;

/// Records that may be written before replies are looked at, so that a batch is written in parts.
const REQUESTS_MAX: u64 = 3;

/// Where everything lies.
pub(crate) fn place() -> Place {
    Place::new(Path::new("/data"))
}

/// The snapshot.
pub(crate) fn dump() -> PathBuf {
    place().dir.join("dump.rdb")
}

/// A client, and what it has not sent yet.
struct Client {
    session: SessionId,
    to_send: VecDeque<Words>,
    /// It gets its reply later.
    waits: bool,
}

/// A reply that waits for the disk.
struct Parked {
    ticket: u64,
    /// Records up to and with its own.
    units: usize,
    need: Need,
}

/// A reply that has left.
struct Left {
    units: usize,
    need: Need,
    /// When, microseconds, and how old what was not synced may have been.
    at_us: u64,
    lag_us_max: Option<u64>,
}

/// See the module.
pub(crate) struct Server<'a> {
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    pub(crate) disk: Arc<dyn Disk>,
    disk_of_run: SimDisk,
    pub(crate) engine: Engine,
    pub(crate) world: World,
    pub(crate) journal: Rc<RefCell<Journal>>,
    pub(crate) log: Option<Log>,
    clients: Vec<Client>,
    parked: VecDeque<Parked>,
    /// Commits that are not written: the position behind each, and the records up to there.
    commits: VecDeque<(u64, usize)>,
    /// Records up to the last commit that the log was given.
    commit_units: usize,
    /// Replies that have left while no start would find the log.
    unfounded: Vec<Left>,
    syncing: Option<SyncHandle>,
    pub(crate) change: Option<Change>,
    wants_rewrite: bool,
    wants_save: bool,
    pub(crate) history: &'a mut History,
    /// Records that the last snapshot which is in place holds.
    pub(crate) saved: Option<usize>,
    canary: Canary,
    pub(crate) is_traced: bool,
    /// Files are changed in every second step.
    pub(crate) hurries: bool,
}

impl<'a> Server<'a> {
    /// One that goes on from what `engine` was loaded with.
    pub(crate) fn new(
        disk: &SimDisk,
        log: Log,
        mut engine: Engine,
        clock: &Clock,
        mut random: Random,
        history: &'a mut History,
        canary: Canary,
    ) -> Server<'a> {
        let history_units = history.len();
        engine.replay_end();
        let space = engine.keyspace_mut();
        space.keep_expired = false;
        space.effects.clear();
        engine.set_logging(true);
        let mut journal = Journal::new(policy(&engine.config));
        journal.open(true);
        if random.below(2) == 0 {
            journal.want_ballast();
        }
        let journal = Rc::new(RefCell::new(journal));
        let world = World { journal: Some(Rc::clone(&journal)), ..World::of_replay(clock) };
        let mut server = Server {
            clock: clock.clone(),
            random,
            disk: Arc::new(disk.clone()),
            disk_of_run: disk.clone(),
            engine,
            world,
            journal,
            log: Some(log),
            clients: Vec::new(),
            parked: VecDeque::new(),
            commits: VecDeque::new(),
            commit_units: history_units,
            unfounded: Vec::new(),
            syncing: None,
            change: None,
            wants_rewrite: false,
            wants_save: false,
            history,
            saved: None,
            canary,
            is_traced: false,
            hurries: false,
        };
        for token in 0..CLIENTS {
            let session = server.connect(token as u64);
            server.clients.push(Client { session, to_send: VecDeque::new(), waits: false });
        }
        server
    }

    fn connect(&mut self, token: u64) -> SessionId {
        let info =
            ClientInfo { id: self.random.next_u64() >> 1, token, local: true, ..ClientInfo::default() };
        self.engine.connect(info, self.clock.now()).expect("there are few clients")
    }

    /// Does something.
    pub(crate) fn step(&mut self) -> Result<(), String> {
        let choices = if self.hurries { 40 } else { 20 };
        match self.random.below(choices) {
            0..9 => self.serve()?,
            9..11 => self.let_time_pass()?,
            11..13 => self.write_as_another_thread(),
            13..15 => self.begin_sync(),
            15..17 => self.end_sync(),
            17 => self.look_after_log(),
            _ => self.change_files(),
        }
        self.release();
        Ok(())
    }

    /// One line of what is told step by step.
    fn tell(&self, text: impl FnOnce() -> String) {
        if self.is_traced {
            println!("{:>10} us: {}", self.clock.micros(), text());
        }
    }

    // Clients.

    /// A few clients send what they have, in one batch.
    fn serve(&mut self) -> Result<(), String> {
        self.engine.begin_batch(self.clock.now());
        for _ in 0..=self.random.below(REQUESTS_MAX) {
            let at = self.random.below(CLIENTS as u64) as usize;
            self.serve_client(at);
        }
        self.hand_over()
    }

    fn serve_client(&mut self, at: usize) {
        if self.clients[at].waits {
            if self.random.below(16) == 0 {
                self.reconnect(at);
            }
            return;
        }
        if self.clients[at].to_send.is_empty() {
            self.clients[at].to_send = clients::requests(&mut self.random).into();
        }
        // All of a pipeline, or a part of it: others may come between.
        for _ in 0..=self.random.below(6) {
            let Some(words) = self.clients[at].to_send.pop_front() else { break };
            let argv: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
            if argv[0] == b"CONFIG" {
                self.tell(|| format!("client {at}: {}", argv.join(&b' ').escape_ascii()));
            }
            let mut reply = Vec::new();
            let request = Request { argv: &argv, raw: None };
            match self.engine.execute(self.clients[at].session, request, &mut reply, &mut self.world) {
                Next::Continue => {}
                Next::Wait => {
                    self.clients[at].waits = true;
                    break;
                }
                _ => {
                    self.reconnect(at);
                    break;
                }
            }
        }
    }

    fn reconnect(&mut self, at: usize) {
        self.engine.disconnect(self.clients[at].session);
        let session = self.connect(at as u64);
        self.clients[at] = Client { session, to_send: VecDeque::new(), waits: false };
    }

    /// What a batch has left goes to those whom it concerns.
    fn hand_over(&mut self) -> Result<(), String> {
        let (mut bytes, mut deliveries, mut jobs) = (Vec::new(), Vec::new(), Vec::new());
        self.engine.take_log(&mut bytes);
        self.engine.take_deliveries(&mut deliveries);
        self.engine.take_jobs(&mut jobs);
        drop(self.engine.keyspace_mut().take_trash());
        self.deliver(&deliveries);
        for job in jobs {
            match job {
                Job::RewriteLog => self.wants_rewrite = true,
                Job::Save { .. } => self.wants_save = true,
                _ => {}
            }
        }
        if self.canary == Canary::LostField {
            bytes = without_field_removals(&bytes);
        }
        if bytes.is_empty() {
            return Ok(());
        }
        self.history.commit(&bytes, &mut self.engine)?;
        let (ticket, need) = {
            let mut journal = self.journal.borrow_mut();
            (journal.commit(&mut bytes), journal.policy().need)
        };
        let units = self.history.len();
        self.tell(|| format!("commit of records up to {units}, ticket {ticket}"));
        if self.canary == Canary::EarlyReply {
            self.acknowledge(units, need);
        } else if ticket > 0 {
            self.commits.push_back((ticket, units));
            self.commit_units = units;
            self.parked.push_back(Parked { ticket, units, need });
        }
        let hand = self.journal.borrow().hand();
        if hand == Hand::Caller {
            self.write_waiting();
        }
        Ok(())
    }

    fn deliver(&mut self, deliveries: &[Delivery]) {
        for delivery in deliveries.iter().filter(|delivery| delivery.resume) {
            self.clients[delivery.token as usize].waits = false;
        }
    }

    /// Lets the replies go that need not wait any more.
    fn release(&mut self) {
        let safe = self.journal.borrow().safe();
        while self.parked.front().is_some_and(|parked| parked.ticket <= safe) {
            if let Some(Parked { units, need, .. }) = self.parked.pop_front() {
                self.acknowledge(units, need);
            }
        }
        self.world.lag_us_max = Some(0);
    }

    fn acknowledge(&mut self, units: usize, need: Need) {
        self.tell(|| format!("replies up to record {units} have left ({need:?})"));
        let lag_us_max = looser(self.world.lag_us_max, self.journal.borrow().policy().lag_us_max);
        let left = Left { units, need, at_us: self.clock.micros(), lag_us_max };
        // Also while it is given up.
        if self.log.as_ref().is_none_or(Log::is_starting) {
            self.unfounded.push(left);
        } else {
            self.has_promised(&left);
        }
    }

    /// The log is what a start would find from now on; its base holds the first `units`.
    pub(crate) fn is_based(&mut self, units: usize) {
        self.history.based(units);
        for left in std::mem::take(&mut self.unfounded) {
            self.has_promised(&left);
        }
    }

    /// Whoever got a reply may count on a start that finds what it was about.
    fn has_promised(&mut self, left: &Left) {
        let history = &mut self.history;
        history.written = history.written.max(left.units);
        match (left.need, left.lag_us_max) {
            (Need::Synced, _) => history.synced = history.synced.max(left.units),
            (Need::Written, Some(max)) => history.left_early(left.units, left.at_us, max),
            (Need::Written, None) => {}
        }
    }

    /// Time passes, and what is due is done.
    fn let_time_pass(&mut self) -> Result<(), String> {
        let longest_us = if self.random.below(4) == 0 { 2_000_000 } else { 30_000 };
        self.clock.pass_us(self.random.below(longest_us));
        self.engine.tick(self.clock.now(), &mut self.world);
        self.engine.cron(self.clock.now(), &mut self.world);
        self.hand_over()
    }

    // The log.

    fn write_as_another_thread(&mut self) {
        if self.journal.borrow().policy().need == Need::Written {
            self.write_waiting();
        }
    }

    /// Tries to write what waits.
    pub(crate) fn write_waiting(&mut self) {
        let until = self.journal.borrow().end();
        loop {
            let batch = self.journal.borrow_mut().begin_write(until);
            let Some(batch) = batch else { return };
            if !self.append(batch) {
                break;
            }
        }
        loop {
            let first = self.journal.borrow_mut().begin_first();
            let Some(first) = first else { return };
            if !self.append(first) {
                return;
            }
        }
    }

    fn append(&mut self, mut batch: Batch) -> bool {
        let unix_ms = self.clock.now().unix_ms;
        let Some(log) = &mut self.log else {
            unreachable!("there is a log while the journal has something to write")
        };
        log.set_timestamps(batch.timestamps);
        let mut result = log.append(&mut batch.bytes, unix_ms).map(drop);
        if matches!(&result, Err(AppendError::Retry(error)) if error.kind() == ErrorKind::StorageFull)
            && self.journal.borrow_mut().take_ballast()
            && self.disk.remove(&log.place().ballast()).is_ok()
        {
            self.journal.borrow_mut().exhaust_room();
            result = log.append(&mut batch.bytes, unix_ms).map(drop);
        }
        let took_us = if self.random.below(8) == 0 { 20_000 } else { 20 };
        self.clock.pass_us(took_us);
        let result = result.map_err(|error| fault(&error));
        let (now_us, to) = (self.clock.micros(), batch.to);
        let outcome = self.journal.borrow_mut().wrote(batch, result, took_us, now_us);
        self.tell(|| format!("a write up to {to}: {outcome:?}, {}", self.journal_now()));
        let is_written = matches!(outcome, Outcome::Written(_));
        while let Some((_, units)) = self.commits.pop_front_if(|(end, _)| is_written && *end <= to) {
            self.history.was_written(units);
        }
        is_written
    }

    /// The stream up to there is in a durable base.
    pub(crate) fn is_held_by_base(&mut self, covered: u64) {
        self.commits.retain(|(end, _)| *end > covered);
    }

    fn begin_sync(&mut self) {
        let now_us = self.clock.micros();
        let policy = self.journal.borrow().policy();
        let is_wanted = self.journal.borrow().wants_sync(now_us) || policy.syncs && self.random.below(3) == 0;
        if self.syncing.is_some() || !is_wanted {
            return;
        }
        if policy.need == Need::Synced {
            self.write_waiting();
        }
        let Some(log) = &self.log else { return };
        let is_synced = log.position_synced() == log.position();
        let mut journal = self.journal.borrow_mut();
        let mut begins = false;
        if is_synced {
            journal.found_synced(now_us);
        } else if journal.begin_sync(now_us) {
            self.syncing = Some(log.sync_handle());
            begins = true;
        }
        drop(journal);
        self.tell(|| format!("a sync: begins {begins}, needless {is_synced}, {}", self.journal_now()));
    }

    /// What the journal knows, for people.
    fn journal_now(&self) -> String {
        let (journal, now_us) = (self.journal.borrow(), self.clock.micros());
        format!(
            "written {}, synced {}, safe {}, lag {} us, {:?}",
            journal.written(),
            journal.synced_to(),
            journal.safe(),
            journal.lag_us(now_us),
            journal.state()
        )
    }

    fn end_sync(&mut self) {
        let Some(handle) = self.syncing.take() else { return };
        let done = handle.run();
        self.clock.pass_us(self.random.below(20_000));
        let applied = self.log.as_mut().map_or(Ok(()), |log| log.apply(done));
        let mut journal = self.journal.borrow_mut();
        match applied {
            Ok(()) => journal.synced(self.clock.micros()),
            Err(error) => drop(journal.sync_failed(error.to_string())),
        }
        drop(journal);
        self.tell(|| format!("a sync has ended: {}", self.journal_now()));
    }

    /// What is done once a second.
    fn look_after_log(&mut self) {
        self.write_waiting();
        self.look_at_room();
        let is_still = {
            let journal = self.journal.borrow();
            journal.unwritten() == 0 && journal.state().health() == Some(&Health::Ready)
        };
        let Some(log) = &mut self.log else { return };
        let told = if is_still { log.tell_synced(self.clock.now().unix_ms) } else { Ok(()) };
        if let Err(AppendError::Failed(why)) = told {
            self.journal.borrow_mut().fail(why);
        }
        if let Some(mark) = log.synced_mark() {
            // It is only a lower bound; one that cannot be written is written later.
            mark.write(&*self.disk, &place()).unwrap_or_default();
        }
    }

    /// What there is room for, after others may have taken some.
    fn look_at_room(&mut self) {
        if self.disk_of_run.is_shared() {
            self.disk_of_run.set_room(room(&mut self.random));
        }
        let Some(log) = &self.log else { return };
        let (path, mut journal) = (log.place().ballast(), self.journal.borrow_mut());
        let (free, written) = (self.disk.free_bytes(&path).unwrap_or(u64::MAX), journal.written());
        journal.found_room(free, written);
        let is_there = self.disk.len(&path).is_ok_and(|bytes| bytes == BALLAST_BYTES);
        if !journal.keeps_ballast() || !journal.ballast_is(is_there, free) {
            return;
        }
        match self.disk.fill(&path, BALLAST_BYTES) {
            Ok(()) => drop(journal.ballast_is(true, free)),
            Err(_) => {
                self.disk.remove(&path).unwrap_or_default();
                journal.give_up_ballast();
            }
        }
    }

    /// Goes on with a change of files, or begins one that is wanted.
    fn change_files(&mut self) {
        let begins = self.change.as_ref().map(Change::name);
        let is_wanted = self.engine.config.appendonly;
        if !is_wanted {
            self.switch_off();
        }
        let change = match self.change.take() {
            Some(change) => change.step(self),
            None if is_wanted && self.log.is_none() => Change::start(self),
            None if self.journal.borrow().wants_replacement() => Change::replacement(self),
            None if std::mem::take(&mut self.wants_rewrite) => Change::rewrite(self),
            None if std::mem::take(&mut self.wants_save) => Change::save(self),
            None => None,
        };
        if self.is_traced && (begins.is_some() || change.is_some()) {
            let (from, to) = (begins.unwrap_or("nothing"), change.as_ref().map_or("nothing", Change::name));
            println!("{:>10} us: change of files: {from} > {to}", self.clock.micros());
        }
        self.world.is_rewriting = self.wants_rewrite || change.is_some();
        self.world.is_saving = self.wants_save || change.is_some();
        self.change = change;
    }

    /// The log has failed, as when somebody has changed its files.
    pub(crate) fn fail_log(&mut self) {
        self.journal.borrow_mut().fail("somebody has changed it".to_owned());
    }

    /// Whether replaced files of the log stay.
    pub(crate) fn keeps_history(&self) -> bool {
        self.journal.borrow().policy().keeps_history
    }

    /// A client's request, now.
    pub(crate) fn ask(&mut self, text: &str) -> Result<(), String> {
        self.reconnect(0);
        self.clients[0].to_send.push_back(text.split(' ').map(|word| word.as_bytes().to_vec()).collect());
        self.engine.begin_batch(self.clock.now());
        self.serve_client(0);
        self.hand_over()
    }

    /// Stops as SIGTERM has it: everything is written and synced.
    pub(crate) fn stop(mut self) {
        self.end_sync();
        self.finish();
    }

    fn finish(&mut self) {
        self.write_waiting();
        self.release();
        let Some(log) = self.log.as_mut().filter(|log| !log.is_starting()) else { return };
        if self.journal.borrow().unwritten() == 0 && log.finish(self.clock.now().unix_ms).is_ok() {
            let units = self.commit_units;
            self.history.based(units);
        }
    }

    /// Takes the log out of use: nobody waits for it any more, whether it could be written or not.
    pub(crate) fn switch_off(&mut self) {
        if self.log.is_none() {
            return;
        }
        self.journal.borrow_mut().close();
        self.finish();
        self.parked.clear();
        self.commits.clear();
        self.unfounded.clear();
        let old = self.log.take();
        self.journal.borrow_mut().ended();
        old.into_iter().for_each(Log::discard_start);
    }
}

/// What others leave: more than anybody needs, hardly enough, too little, or nothing.
fn room(random: &mut Random) -> Option<u64> {
    match random.below(6) {
        0 | 1 => None,
        2 => Some(2 * RESERVE_BYTES + BALLAST_BYTES + random.below(5_000)),
        3 => Some(RESERVE_BYTES + random.below(5_000)),
        4 => Some(random.below(5_000)),
        _ => Some(0),
    }
}

/// A commit's records but for those that take fields out.
fn without_field_removals(bytes: &[u8]) -> Vec<u8> {
    let (mut commands, mut left) = (Commands::new(bytes, 0, bytes.len() as u64), Vec::new());
    while let Ok(Some(argv)) = commands.next() {
        if argv[0] != b"HDEL" {
            left.extend_from_slice(&bytes[commands.began() as usize..commands.offset() as usize]);
        }
    }
    left
}

/// What the journal is told of an error of the log.
fn fault(error: &AppendError) -> Fault {
    match error {
        AppendError::Retry(_) => Fault::Retry(error.to_string()),
        AppendError::Failed(_) => Fault::Final(error.to_string()),
    }
}

/// Which log it is: drawn by the seed here.
pub(crate) fn history_id(random: &mut Random) -> HistoryId {
    HistoryId(u128::from(random.next_u64()) << 64 | u128::from(random.next_u64()))
}
