//! What must have happened to a write before its client is told of it: CLIENT DURABILITY, and `min-replicas-acked`.
//!
//! The engine says of each request that has written what its reply waits for ([`Written`]); to hold the reply back is the server's. A reply
//! that waits for replicas waits for a position in their stream, the one behind the write itself, and not for what others have written
//! since. Who only reads waits for nothing, and sees what was written at once, as where the log is synced for each write. What is told to
//! others because of such a write (messages, replies to those who waited to read it) waits with it.
//!
//! A write is refused before it runs where too few replicas are there that keep up, or where a reply had to be given up and the replicas
//! have not caught up with that place since. So a replica that stands still costs those whose writes it had not acknowledged an error that
//! says so, once, and everybody after them a plain refusal.

use crate::call::{EngineHandler, Step, Turn};
use crate::engine::Engine;
use crate::gate::CHANGES;
use crate::outside::Job;
use crate::session::SessionId;
use commands::{Error, Flags};
use config::Config;
use core::ops::Range;

/// What a client's replies to its writes wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// What the configuration says.
    #[default]
    Configured,
    /// The kernel has it.
    Everysec,
    /// The disk has it.
    Always,
    /// What the configuration says of the log, and enough replicas have acknowledged it.
    Replicated,
}

impl Durability {
    const NAMES: [(&'static str, Durability); 4] = [
        ("default", Durability::Configured),
        ("everysec", Durability::Everysec),
        ("always", Durability::Always),
        ("replicated", Durability::Replicated),
    ];

    /// What it comes to: the configuration, too, may say that replicas are waited for.
    #[inline]
    fn under(self, config: &Config) -> Durability {
        match self {
            Durability::Configured if config.min_replicas_acked > 0 => Durability::Replicated,
            chosen => chosen,
        }
    }

    /// What a word says.
    pub(crate) fn named(word: &[u8]) -> Option<Durability> {
        let found = Durability::NAMES.iter().find(|(name, _)| word.eq_ignore_ascii_case(name.as_bytes()));
        found.map(|(_, durability)| *durability)
    }

    /// Whether it is the log that is waited for, however that is configured.
    fn is_of_log(self) -> bool {
        matches!(self, Durability::Always | Durability::Everysec)
    }

    /// The word by which clients choose it.
    pub(crate) fn name(self) -> &'static str {
        Durability::NAMES
            .iter()
            .find(|(_, durability)| *durability == self)
            .map_or("default", |(name, _)| name)
    }
}

/// A request has written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// What its reply waits for.
    pub durability: Durability,
    /// The position behind it in the stream for replicas; none where there is no stream, so that none can acknowledge it.
    pub position: Option<u64>,
    /// The history that the position is of; see [`Engine::history_number`].
    pub history: u64,
    /// Its reply in the client's output, messages before and behind it not included; empty where there is none.
    pub reply: Range<usize>,
}

/// What replies wait for, and what replicas have acknowledged.
#[derive(Debug, Default)]
pub(crate) struct Acks {
    /// What the last request has written.
    pub(crate) written: Option<Written>,
    /// Up to where somebody waits for replicas, of what was not handed over yet.
    awaited: Place,
    /// Up to where enough replicas have acknowledged, at most.
    acked: Place,
    /// Up to where a history is in that of the master which is followed now.
    carried: Option<(u64, u64)>,
    /// Where that was waited for in vain.
    given_up: Option<Place>,
    /// Replicas may come with what the former master has acknowledged and this server lacks; up to when, monotonic microseconds, all who
    /// write wait for that. See `replication/tail.rs`.
    pub(crate) tail_awaited_until_us: Option<u64>,
    /// For how long replicas that are here were told nothing for the sake of others who may come.
    pub(crate) silence: Silence,
}

/// See `replication/tail.rs`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Silence {
    /// When that was looked at last, monotonic microseconds.
    pub(crate) looked_us: u64,
    /// How long it has been in all, microseconds.
    pub(crate) total_us: u64,
}

/// A place in a history, by its number.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    history: u64,
    /// Bytes from the beginning of the stream; 0 for nothing.
    position: u64,
}

/// How many users a message names.
const NAMED_MAX: usize = 5;

/// How often a client is looked at that waits to take what no replica would acknowledge, microseconds.
pub(crate) const REPLICAS_LOOK_US: u64 = 100_000;

/// `CLIENT DURABILITY [everysec | always | replicated | default]`: chooses, or tells what is chosen.
pub(crate) const CLIENT_DURABILITY: EngineHandler = |engine, turn| {
    match turn.args.len() {
        2 => turn.reply.bulk(engine.chosen_durability(turn.session).name().as_bytes()),
        3 => choose(engine, turn)?,
        _ => return Err(commands::bad_subcommand(turn.args, "CLIENT")),
    }
    Ok(Step::Done(None))
};

fn choose(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<(), Error> {
    let durability = Durability::named(turn.args.at(2))
        .ok_or(Error::new("ERR CLIENT DURABILITY takes everysec, always, replicated or default"))?;
    if durability.is_of_log() && !engine.config.appendonly {
        return Err(Error::new(
            "ERR there is no log here (appendonly no) whose writes a reply could wait for",
        ));
    }
    engine.sessions.at_mut(turn.session).durability = durability;
    turn.reply.ok();
    Ok(())
}

/// Users in a message; none for nobody.
fn listed(users: &[std::borrow::Cow<'_, str>]) -> Option<String> {
    let named = users.iter().take(NAMED_MAX).map(|name| &**name).collect::<Vec<_>>().join(", ");
    match users.len() {
        0 => None,
        1 => Some(format!("user {named}")),
        2..=NAMED_MAX => Some(format!("users {named}")),
        all => Some(format!("users {named} and {} more", all - NAMED_MAX)),
    }
}

impl Engine {
    /// What the replies of a client wait for.
    #[inline]
    pub(crate) fn durability(&self, id: SessionId) -> Durability {
        self.chosen_durability(id).under(&self.config)
    }

    /// What a client has chosen, or, where it has not, what its user's rules say (`durability=`).
    #[inline]
    fn chosen_durability(&self, id: SessionId) -> Durability {
        let Some(session) = self.sessions.find(id) else { return Durability::Configured };
        let chosen = match session.durability {
            Durability::Configured if self.acl.has_durabilities() => self.durability_of_user(session.user),
            chosen => chosen,
        };
        // Where there is no log, nobody can wait for it: such a client waits as all others do.
        if chosen.is_of_log() && !self.config.appendonly { Durability::Configured } else { chosen }
    }

    #[cold]
    fn durability_of_user(&self, user: usize) -> Durability {
        self.acl.user(user).map_or(Durability::Configured, |user| user.durability)
    }

    /// Of these users somebody's rules have writes wait for a log that is not there, which is for when there is one: that is told.
    pub(crate) fn tell_of_missing_log<'a>(&mut self, names: impl Iterator<Item = &'a [u8]>) {
        let waits = |name: &&[u8]| {
            let user = self.acl.find(name).and_then(|user| self.acl.user(user));
            user.is_some_and(|user| user.durability.is_of_log())
        };
        let users: Vec<_> =
            names.filter(|_| !self.config.appendonly).filter(waits).map(String::from_utf8_lossy).collect();
        if let Some(whose) = listed(&users) {
            let text = format!(
                "There is no log here (appendonly no) for which the writes of {whose} could wait as their durability= says: until there \
                 is one, they wait for what those of others do"
            );
            self.jobs.push(Job::Log { level: 3, text });
        }
    }

    /// The log goes: who has had his writes wait for it is told of.
    pub(crate) fn tell_of_log_that_goes(&mut self) {
        let names: Vec<Vec<u8>> = self.acl.sorted().iter().map(|user| user.name.clone()).collect();
        self.tell_of_missing_log(names.iter().map(Vec::as_slice));
        let chosen = self.sessions.iter().filter(|(_, session)| session.durability.is_of_log()).count();
        if chosen > 0 {
            let text = format!(
                "There is no log any more (appendonly no): the writes of {chosen} connections that have chosen by CLIENT DURABILITY to \
                 wait for it wait for what those of others do"
            );
            self.jobs.push(Job::Log { level: 3, text });
        }
    }

    /// How many replicas must acknowledge a write that waits for them.
    pub fn replicas_awaited(&self) -> usize {
        self.config.min_replicas_acked.max(1)
    }

    /// Whether replicas are waited for by a rule that outlives connections, and so a failover: by the directive, or by that of a user.
    pub(crate) fn has_rule_of_replicas(&self) -> bool {
        self.config.min_replicas_acked > 0 || self.acl.has_replicated()
    }

    /// A request has made the log longer. Where nobody is fed and nothing but the log is waited for, there is nothing to remember.
    #[inline]
    pub(crate) fn note_write(&mut self, id: SessionId, command: usize, reply: Range<usize>) {
        if self.master.is_fed() || self.durability(id) != Durability::Configured {
            self.note_awaited_write(id, command, reply);
        }
    }

    #[inline(never)]
    fn note_awaited_write(&mut self, id: SessionId, command: usize, reply: Range<usize>) {
        let chosen = self.durability(id);
        let Some(session) = self.sessions.find_mut(id) else { return };
        let is_streamed = self.master.is_fed() && self.link.is_none();
        let position = is_streamed.then(|| self.master.offset() + self.log.stream_len() as u64);
        session.written_to = position.unwrap_or(session.written_to);
        let durability = match chosen {
            Durability::Replicated => self.await_replicas(command, position.unwrap_or(0)),
            chosen => chosen,
        };
        let history = self.history_number();
        self.acks.written = Some(Written { durability, position, history, reply });
    }

    /// The client of a request that has made the log longer up to there waits for replicas: what this request's reply waits for.
    fn await_replicas(&mut self, command: usize, position: u64) -> Durability {
        // A reader may have come upon a key whose time is over: that it is gone is in the log, and it is no write of this client.
        if !self.table.commands[command].spec.flags.has_any(CHANGES.and(Flags::RUNS_QUEUE)) {
            return Durability::Configured;
        }
        let position = self.take_awaited().max(position);
        self.acks.awaited = Place { history: self.history_number(), position };
        self.master.ask();
        Durability::Replicated
    }

    /// What the last request of [`Engine::execute`] has written, if it has.
    #[inline]
    pub fn take_written(&mut self) -> Option<Written> {
        self.acks.written.take()
    }

    /// Up to where in the stream something was written since the last call whose writer waits for replicas; 0 for nothing.
    #[inline]
    pub fn take_awaited(&mut self) -> u64 {
        let Place { history, position } = core::mem::take(&mut self.acks.awaited);
        // What was written in the same batch before the history got another name is acknowledged by nobody.
        if position > 0 && history != self.history_number() { u64::MAX } else { position }
    }

    /// The number of the history that the stream is of; see [`replication::master::Master::history`].
    #[inline]
    pub fn history_number(&self) -> u64 {
        self.master.history()
    }

    /// A replica has acknowledged more of the stream.
    pub(crate) fn note_acknowledged(&mut self) {
        let position = self.master.acked_by(self.replicas_awaited()).max(self.acknowledged());
        self.acks.acked = Place { history: self.history_number(), position };
    }

    /// Up to where enough replicas have acknowledged the stream. It goes back only with another history.
    #[inline]
    pub fn acknowledged(&self) -> u64 {
        let Place { history, position } = self.acks.acked;
        if history == self.history_number() { position } else { 0 }
    }

    /// A master that was followed since has the history up to there: it is one that has it, and enough where one is waited for.
    pub(crate) fn carry_acknowledged(&mut self, position: u64) {
        let number = self.history_number();
        self.acks.carried = (self.replicas_awaited() == 1).then_some((number, position));
    }

    /// Up to where which history, by its number, is acknowledged because the master that is followed has it.
    pub fn carried(&self) -> Option<(u64, u64)> {
        self.acks.carried
    }

    /// Replies were given up that waited for replicas to acknowledge a history up to there. Of one that is over nothing is to be caught up with.
    pub fn note_unacknowledged(&mut self, history: u64, position: u64) {
        if history == self.history_number() {
            self.acks.given_up = Some(Place { history, position });
        }
    }

    /// Whether replicas are there for a write that waits for them, as far as can be known.
    pub(crate) fn is_acknowledged_here(&self) -> bool {
        let awaited = self.replicas_awaited();
        let has_stalled = self.acks.given_up.is_some_and(|given_up| {
            given_up.history == self.history_number() && self.master.acked_by(awaited) < given_up.position
        });
        // What clients write on a replica is not in the stream that its own replicas get.
        self.link.is_none() && self.good_replicas() >= awaited && !has_stalled && !self.lacks_witnesses()
    }

    /// What changes data for a client that waits for replicas is refused where they are not there.
    pub(crate) fn check_acknowledgement(&mut self) -> Result<(), Error> {
        if self.is_acknowledged_here() {
            return Ok(());
        }
        self.counters.unreplicated_refusals += 1;
        Err(Error::text(format!(
            "NOREPLICAS This was not done: {}.",
            self.lack_of_replicas("CLIENT DURABILITY")
        )))
    }

    /// Why nothing is acknowledged here, in words; `choice` is what wants it where it is not the directive.
    fn lack_of_replicas(&self, choice: &str) -> String {
        let (good, awaited) = (self.good_replicas(), self.replicas_awaited());
        let by = if self.config.min_replicas_acked > 0 { "min-replicas-acked" } else { choice };
        let wanted = format!("{by} wants {awaited} to acknowledge it");
        match self.link {
            Some(_) => format!("{wanted}, and this server is a replica itself"),
            None if good < awaited => format!("{wanted}, and {good} replicas keep up"),
            None if self.lacks_witnesses() => format!(
                "{wanted}, and of {good} replicas that are here too few were there before this server was promoted: others may come with what \
                 the former master has acknowledged"
            ),
            None => format!(
                "{wanted}, and {good} replicas are here, of which too few have what was written before"
            ),
        }
    }

    /// Why writes are refused here for want of replicas, in words, while they are.
    pub fn replicas_complaint(&self) -> Option<String> {
        let (good, least) = (self.good_replicas(), self.config.min_replicas_to_write);
        if self.link.is_some() {
            return None;
        }
        if good < least {
            return Some(format!(
                "writes are refused: min-replicas-to-write is {least}, and {good} replicas keep up"
            ));
        }
        let whose = if self.config.min_replicas_acked > 0 { "writes" } else { "writes of some users" };
        let is_lacking = self.has_rule_of_replicas() && !self.is_acknowledged_here();
        is_lacking.then(|| format!("{whose} are refused: {}", self.lack_of_replicas("durability=replicated")))
    }
}
