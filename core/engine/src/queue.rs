//! TANDEM QUEUES: the queues among the keys, and what of them metrics tell.
//!
//! Everybody reads the same figures ([`keyspace::Keyspace::tell_queues`]). A user sees the queues of which every key may be read.

use crate::blocking::Waiters;
use crate::engine::{Engine, EngineHandler, Step, Turn};
use crate::outside::Job;
use crate::session::{SessionId, Sessions};
use commands::{Error, Flags, Group, Row};
use queues::{Clients, Figures, MayRead, WORKER};
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
    let (name, kind) = (turn.args.at(2), turn.args.rest(3).first());
    let is_it = |figures: &Figures| {
        let is_kind = kind.is_none_or(|kind| kind.eq_ignore_ascii_case(figures.kind.name().as_bytes()));
        figures.name.as_bytes() == name && is_kind
    };
    match engine.queues_for(turn.session).into_iter().find(is_it) {
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

/// Who works for queues. Names are counted once for all of them, when the first is asked for.
pub(crate) struct Workers<'a> {
    waiters: &'a Waiters,
    /// None where only those that wait are of interest.
    sessions: Option<&'a Sessions>,
    names: OnceCell<HashMap<&'a [u8], usize>>,
}

impl<'a> Workers<'a> {
    pub(crate) fn new(waiters: &'a Waiters, sessions: Option<&'a Sessions>) -> Workers<'a> {
        Workers { waiters, sessions, names: OnceCell::new() }
    }

    fn count_names(&self) -> HashMap<&'a [u8], usize> {
        let mut names = HashMap::new();
        for (_, session) in self.sessions.iter().flat_map(|sessions| sessions.iter()) {
            let name = &session.name[..];
            let end = name.windows(WORKER.len()).position(|part| part == WORKER).unwrap_or(name.len());
            if !name.is_empty() {
                *names.entry(&name[..end]).or_default() += 1;
            }
        }
        names
    }
}

impl Clients for Workers<'_> {
    fn waiting(&self, db: usize, key: &[u8]) -> usize {
        self.waiters.count_on(db, key)
    }

    fn named(&self, name: &[u8]) -> usize {
        self.names.get_or_init(|| self.count_names()).get(name).copied().unwrap_or(0)
    }
}

impl Engine {
    /// The queues that the client's user may see.
    fn queues_for(&mut self, id: SessionId) -> Vec<Figures> {
        let user = self.sessions.at(id).user;
        let clients = Workers::new(&self.waiters, Some(&self.sessions));
        let may_read = |key: &[u8]| self.acl.may_read(user, key);
        let may_read = (!self.acl.is_unlimited(user)).then_some(&may_read as MayRead<'_>);
        self.keyspace.tell_queues(&clients, may_read)
    }

    /// Adds the queues to what metrics tell.
    pub fn report_queues(&mut self, report: &mut Report) {
        let clients = Workers::new(&self.waiters, Some(&self.sessions));
        for figures in self.keyspace.tell_queues(&clients, None) {
            report.queue(telemetry::Queue {
                name: figures.name,
                kind: figures.kind.name(),
                states: figures.states,
                workers: figures.workers,
                added: figures.added,
                taken: figures.taken,
                oldest_age_ms: figures.oldest_age_ms,
                oldest_failed_age_ms: figures.oldest_failed_age_ms,
            });
        }
    }

    /// What is done for queues with time.
    pub(crate) fn tick_queues(&mut self) {
        self.keyspace.tick_queues(&Workers::new(&self.waiters, None));
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
