//! TANDEM QUEUES: the queues among the keys, and what of them metrics tell.
//!
//! Everybody reads the same figures; metrics, which tell of all queues, a few at a time ([`QueueWalk`]). A user sees the queues of which every key may be read.

use crate::blocking::Waiters;
use crate::call::{EngineHandler, Step, Turn};
use crate::engine::Engine;
use crate::outside::Job;
use crate::session::{SessionId, Sessions};
use commands::{Error, Flags, Group, Row};
use queues::{Clients, Cursor, Figures, MayRead, QueueKind, WORKER};
use resp::Reply;
use std::cell::OnceCell;
use std::collections::HashMap;
use telemetry::Report;

const fn row(name: &'static str, arity: i32, run: EngineHandler) -> Row<EngineHandler> {
    Row::new(name, arity, Group::Server, run)
}

/// The rows of this family.
#[rustfmt::skip]
pub(crate) static COMMANDS: &[Row<EngineHandler>] = &[
    row("tandem", -2, unknown).subcommands(&[
        row("tandem|help", 2, crate::admin::help).flags(Flags::LOADING.and(Flags::STALE)),
        row("tandem|queue", -3, queue).readonly(),
        row("tandem|queues", 2, queues).readonly(),
    ]),
];

fn unknown(_: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    Err(commands::unknown_subcommand(turn.args, "TANDEM"))
}

fn queues(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let all = engine.queues_for(turn.session);
    turn.reply.array(all.len());
    all.iter().for_each(|figures| write(figures, &mut turn.reply));
    Ok(Step::Done(None))
}

/// TANDEM QUEUE name [kind]
fn queue(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    if turn.args.len() > 4 {
        return Err(Error::SYNTAX);
    }
    let kind = turn.args.rest(3).first().map(|kind| QueueKind::named(kind));
    let name = std::str::from_utf8(turn.args.at(2)).ok();
    let asked = match (name, kind) {
        (None, _) | (_, Some(None)) => None,
        (Some(name), kind) => Some((name, kind.flatten())),
    };
    match asked.and_then(|asked| engine.queue_for(turn.session, asked)) {
        Some(figures) => write(&figures, &mut turn.reply),
        None => turn.reply.null(),
    }
    Ok(Step::Done(None))
}

fn write(figures: &Figures, reply: &mut Reply<'_>) {
    reply.map(12);
    reply.bulk(b"name");
    reply.bulk(figures.name.as_bytes());
    reply.bulk(b"kind");
    reply.bulk(figures.kind.name().as_bytes());
    reply.bulk(b"db");
    reply.count(figures.db);
    reply.bulk(b"key");
    reply.bulk(&figures.key);
    reply.bulk(b"states");
    reply.map(figures.states.len());
    for (state, count) in &figures.states {
        reply.bulk(state.as_bytes());
        reply.integer(*count as i64);
    }
    for (field, count) in [("workers", figures.workers), ("added", figures.added), ("taken", figures.taken)] {
        reply.bulk(field.as_bytes());
        reply.integer(count as i64);
    }
    for (field, rate) in
        [("added_per_second", figures.added_per_second), ("taken_per_second", figures.taken_per_second)]
    {
        reply.bulk(field.as_bytes());
        reply.double(rate);
    }
    for (field, age_ms) in
        [("oldest_age_ms", figures.oldest_age_ms), ("oldest_failed_age_ms", figures.oldest_failed_age_ms)]
    {
        reply.bulk(field.as_bytes());
        match age_ms {
            Some(age_ms) => reply.integer(age_ms as i64),
            None => reply.null(),
        }
    }
}

/// Clients by the names of those queues whose workers name their connections.
type NamedWorkers = HashMap<Vec<u8>, usize>;

/// Who works for queues.
pub(crate) struct Workers<'a> {
    waiters: &'a Waiters,
    /// None where only those that wait are of interest.
    sessions: Option<&'a Sessions>,
    /// Where many queues are looked at: names are counted once for all of them, when the first is asked for.
    named: Option<&'a OnceCell<NamedWorkers>>,
}

impl<'a> Workers<'a> {
    /// Those that wait.
    pub(crate) fn waiting(waiters: &'a Waiters) -> Workers<'a> {
        Workers { waiters, sessions: None, named: None }
    }

    fn names(&self) -> impl Iterator<Item = &'a [u8]> {
        let sessions = self.sessions.into_iter().flat_map(Sessions::iter);
        sessions.map(|(_, session)| {
            let name = &session.name[..];
            let end = name.windows(WORKER.len()).position(|part| part == WORKER).unwrap_or(name.len());
            &name[..end]
        })
    }

    fn count_names(&self) -> NamedWorkers {
        let mut names = NamedWorkers::new();
        self.names()
            .filter(|name| !name.is_empty())
            .for_each(|name| *names.entry(name.to_vec()).or_default() += 1);
        names
    }
}

impl Clients for Workers<'_> {
    fn waiting(&self, db: usize, key: &[u8]) -> usize {
        self.waiters.count_on(db, key)
    }

    fn named(&self, name: &[u8]) -> usize {
        match self.named {
            Some(named) => named.get_or_init(|| self.count_names()).get(name).copied().unwrap_or(0),
            None => self.names().filter(|known| *known == name).count(),
        }
    }
}

/// A walk over all queues that holds the engine for a few of them at a time. Those that come and go meanwhile may be in it or not; no
/// queue is in it twice.
#[derive(Debug, Default)]
pub struct QueueWalk {
    named: OnceCell<NamedWorkers>,
    after: Option<Cursor>,
    told: Vec<Figures>,
}

impl QueueWalk {
    /// Queues looked at while the engine is held.
    pub const STEP: usize = 128;

    /// Adds what the walk has told to what metrics tell.
    pub fn report(self, report: &mut Report) {
        for figures in self.told {
            report.queue(telemetry::Queue {
                name: figures.name,
                kind: figures.kind.name(),
                states: figures.states,
                workers: figures.workers,
                added: figures.added,
                taken: figures.taken,
                finished: figures.finished,
                oldest_age_ms: figures.oldest_age_ms,
                oldest_failed_age_ms: figures.oldest_failed_age_ms,
            });
        }
    }
}

impl Engine {
    /// The queues that the client's user may see. No other one is looked at.
    fn queues_for(&mut self, id: SessionId) -> Vec<Figures> {
        let user = self.sessions.at(id).user;
        let named = OnceCell::new();
        let clients = Workers { waiters: &self.waiters, sessions: Some(&self.sessions), named: Some(&named) };
        let may_read = |key: &[u8]| self.acl.may_read(user, key);
        let may_read = (!self.acl.is_unlimited(user)).then_some(&may_read as MayRead<'_>);
        self.keyspace.tell_queues(&clients, may_read)
    }

    /// The queue of a name, and of a kind if one is named, if the client's user may see it.
    fn queue_for(&mut self, id: SessionId, asked: (&str, Option<QueueKind>)) -> Option<Figures> {
        let user = self.sessions.at(id).user;
        let clients = Workers { waiters: &self.waiters, sessions: Some(&self.sessions), named: None };
        let may_read = |key: &[u8]| self.acl.may_read(user, key);
        let may_read = (!self.acl.is_unlimited(user)).then_some(&may_read as MayRead<'_>);
        self.keyspace.tell_queue(&clients, asked, may_read)
    }

    /// Goes on with a walk; whether it has not come to its end. It ends in any case when it has told as many queues as there may be.
    pub fn walk_queues(&mut self, walk: &mut QueueWalk) -> bool {
        let clients =
            Workers { waiters: &self.waiters, sessions: Some(&self.sessions), named: Some(&walk.named) };
        let (told, after) = self.keyspace.tell_some_queues(&clients, walk.after.take(), QueueWalk::STEP);
        walk.told.extend(told);
        walk.after = after.filter(|_| walk.told.len() < self.config.queues_max);
        walk.after.is_some()
    }

    /// What is done for queues with time.
    pub(crate) fn tick_queues(&mut self) {
        self.keyspace.tick_queues(&Workers::waiting(&self.waiters));
        if self.keyspace.queues.dropped() > 0 && !self.told_of_dropped_queues {
            self.told_of_dropped_queues = true;
            let text = format!(
                "There are more queues than the {} of queues-max, or one has a key or a group of more than {} bytes: those are not followed",
                self.config.queues_max,
                queues::KEY_BYTES_MAX
            );
            self.jobs.push(Job::Log { level: 3, text });
        }
    }
}
