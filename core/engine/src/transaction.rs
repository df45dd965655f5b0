//! MULTI, EXEC, DISCARD, WATCH, UNWATCH.

use crate::call::{Called, EngineHandler, Step, Turn};
use crate::engine::Engine;
use crate::gate::{Asked, Caller, Verdict};
use crate::session::{SessionId, Transaction};
use commands::{Args, Error, Flags, Group, Row};

/// Places in the table of watched keys that are kept although nobody watches so many keys any more.
const WATCHED_KEPT: usize = 4096;

const ANYWHERE: Flags =
    Flags::NOSCRIPT.and(Flags::LOADING).and(Flags::STALE).and(Flags::FAST).and(Flags::ALLOW_BUSY);

const fn row(name: &'static str, arity: i32, run: EngineHandler) -> Row<EngineHandler> {
    Row::new(name, arity, Group::Transactions, run).flags(ANYWHERE)
}

/// The rows of this family.
pub(crate) static COMMANDS: &[Row<EngineHandler>] = &[
    row("discard", 1, discard).flags(Flags::IN_MULTI),
    Row::new("exec", 1, Group::Transactions, exec as EngineHandler).flags(
        Flags::NOSCRIPT
            .and(Flags::LOADING)
            .and(Flags::STALE)
            .and(Flags::SKIP_SLOWLOG)
            .and(Flags::UNSEEN)
            .and(Flags::IN_MULTI)
            .and(Flags::RUNS_QUEUE),
    ),
    row("multi", 1, multi).flags(Flags::IN_MULTI),
    row("unwatch", 1, unwatch),
    row("watch", -2, watch).keys(1, -1, 1).flags(Flags::IN_MULTI),
];

fn multi(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let session = engine.sessions.at_mut(turn.session);
    if session.multi.is_some() {
        return Err(Error::new("ERR MULTI calls can not be nested"));
    }
    session.multi = Some(Box::new(Transaction::default()));
    turn.reply.ok();
    Ok(Step::Done(None))
}

fn discard(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    if engine.sessions.at_mut(turn.session).multi.take().is_none() {
        return Err(Error::new("ERR DISCARD without MULTI"));
    }
    engine.unwatch(turn.session);
    turn.reply.ok();
    Ok(Step::Done(None))
}

fn exec(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    // Nobody waits once it runs, so whoever logs in in it is asked about before, and passwords that it sets are hashed.
    if engine.hashes_ahead(turn.session) || engine.asks_ahead(turn.session) {
        return Ok(Step::Later);
    }
    engine.sessions.at_mut(turn.session).is_answered = false;
    let Some(multi) = engine.sessions.at_mut(turn.session).multi.take() else {
        return Err(Error::new("ERR EXEC without MULTI"));
    };
    let outcome = end_transaction(engine, turn, &multi);
    // EXEC is shown behind what it ran, and also when it ran nothing: a reader sees that the transaction is over.
    if !engine.monitors.is_empty() {
        engine.feed_monitors(turn.session, turn.args.all(), Caller::Client);
    }
    outcome
}

fn end_transaction(engine: &mut Engine, turn: &mut Turn<'_>, multi: &Transaction) -> Result<Step, Error> {
    let stale = engine.sessions.at(turn.session).watch_broken || engine.has_watched_expire(turn.session);
    engine.unwatch(turn.session);
    if multi.broken {
        return Err(Error::new("EXECABORT Transaction discarded because of previous errors."));
    }
    if stale {
        turn.reply.null_array();
        return Ok(Step::Done(None));
    }
    engine.run_queue(turn, multi);
    Ok(Step::Done(None))
}

fn watch(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    if engine.sessions.at(turn.session).multi.is_some() {
        return Err(Error::new("ERR WATCH inside MULTI is not allowed"));
    }
    for key in turn.args.rest(1) {
        engine.watch(turn.session, key);
    }
    engine.observe();
    turn.reply.ok();
    Ok(Step::Done(None))
}

fn unwatch(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    engine.unwatch(turn.session);
    turn.reply.ok();
    Ok(Step::Done(None))
}

impl Engine {
    fn run_queue(&mut self, turn: &mut Turn<'_>, multi: &Transaction) {
        turn.reply.array(multi.queue.len());
        self.depth += 1;
        self.sessions.at_mut(turn.session).in_exec = true;
        self.log.begin_unit();
        for queued in &multi.queue {
            // HELLO may have changed it.
            turn.reply.set_protocol(self.sessions.at(turn.session).protocol);
            let argv: Vec<&[u8]> = queued.argv.iter().map(Vec::as_slice).collect();
            let asked = Asked { id: turn.session, command: queued.command, argv: &argv };
            if let Verdict::Refuse(error) = self.admit(asked, Caller::Transaction, turn.outside) {
                self.refuse(&error, &mut turn.reply);
                continue;
            }
            let (jobs, before) = (self.jobs.len(), turn.reply.as_sink().position());
            let inner = Turn {
                session: turn.session,
                args: Args::new(&argv),
                reply: turn.reply.reborrow(),
                outside: &mut *turn.outside,
                caller: Caller::Transaction,
            };
            match self.call(queued.command, inner, None) {
                Called::Done | Called::Failed | Called::Close => {
                    let told = turn.reply.as_sink().position() - before;
                    self.note_bytes(queued.command, turn.session, Args::new(&argv), told);
                }
                Called::Block(_) => turn.reply.null_array(),
                Called::Later => {
                    // Nobody waits here. What it has left to be done would answer a request that comes later.
                    self.jobs.truncate(jobs);
                    turn.reply.error(b"ERR this command cannot run inside a transaction");
                }
            }
        }
        self.log.end_unit();
        self.sessions.at_mut(turn.session).in_exec = false;
        self.depth -= 1;
    }

    fn watch(&mut self, id: SessionId, key: &[u8]) {
        let was_there = self.keyspace.lives(self.sessions.at(id).db, key);
        let session = self.sessions.at_mut(id);
        let place = (session.db, key.to_vec());
        if !session.watched.insert(place.clone()) {
            return;
        }
        session.watched_bytes += key.len() + crate::session::NAME_BYTES;
        self.watchers.entry(place).or_default().insert(id, was_there);
    }

    /// Forgets what a client watches.
    pub(crate) fn unwatch(&mut self, id: SessionId) {
        let Some(session) = self.sessions.find_mut(id) else { return };
        session.watch_broken = false;
        session.watched_bytes = 0;
        let watched = core::mem::take(&mut session.watched);
        if watched.is_empty() {
            return;
        }
        for place in watched {
            if let Some(watchers) = self.watchers.get_mut(&place) {
                watchers.remove(&id);
                if watchers.is_empty() {
                    self.watchers.remove(&place);
                }
            }
        }
        // A client may have watched very many keys.
        if self.watchers.capacity() > WATCHED_KEPT.max(self.watchers.len() * 8) {
            self.watchers.shrink_to(self.watchers.len() * 2);
        }
        self.observe();
    }

    /// Whether the time of a watched key is over that was there when it was watched: that counts as a change, although the key
    /// itself leaves later.
    fn has_watched_expire(&self, id: SessionId) -> bool {
        self.sessions.at(id).watched.iter().any(|place| {
            let was_there = self.watchers.get(place).and_then(|watchers| watchers.get(&id)).copied();
            was_there.unwrap_or(false) && !self.keyspace.lives(place.0, &place.1)
        })
    }

    /// Marks the transactions of those who watch a touched key; `expired`: it only left, so nobody minds who never saw it.
    pub(crate) fn break_watches(&mut self, db: usize, key: &[u8], expired: bool, by: Option<SessionId>) {
        let Some(watchers) = self.watchers.get(&(db, key.to_vec())) else { return };
        let ids: Vec<SessionId> =
            watchers.iter().filter(|(_, was_there)| **was_there || !expired).map(|(id, _)| *id).collect();
        self.break_all(&ids, by);
    }

    /// Marks the transactions of those who watch a key of one of the databases `changed` that was there, or is there now that
    /// these were emptied or exchanged. Looks at what is watched, never at all that the databases held.
    pub(crate) fn break_watches_of(&mut self, changed: &[usize], by: Option<SessionId>) {
        let mut ids = Vec::new();
        for ((db, key), watchers) in self.watchers.iter().filter(|(place, _)| changed.contains(&place.0)) {
            let is_there = self.keyspace.lives(*db, key);
            ids.extend(watchers.iter().filter(|(_, was_there)| **was_there || is_there).map(|(id, _)| *id));
        }
        self.break_all(&ids, by);
    }

    fn break_all(&mut self, ids: &[SessionId], by: Option<SessionId>) {
        for id in ids {
            let in_own_exec = Some(*id) == by && self.sessions.find(*id).is_some_and(|s| s.in_exec);
            if let Some(session) = self.sessions.find_mut(*id)
                && !in_own_exec
            {
                session.watch_broken = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::Now;

    #[test]
    fn what_very_many_watched_keys_took_is_given_back() {
        let now = Now::at_ms(1_700_000_000_000);
        let mut engine = Engine::new(config::Config::default(), crate::Acl::new(Vec::new()), [7; 32], now)
            .expect("these settings are good");
        let mut connect = |n: u64| {
            let info = crate::ClientInfo { id: n, token: n, local: true, ..crate::ClientInfo::default() };
            engine.connect(info, now).expect("there are few clients")
        };
        let (one, other) = (connect(1), connect(2));
        engine.watch(other, b"k");
        for n in 0..10 * WATCHED_KEPT {
            engine.watch(one, n.to_string().as_bytes());
        }
        engine.unwatch(one);
        assert!(engine.watchers.capacity() <= WATCHED_KEPT);
        assert_eq!(engine.watchers.len(), 1, "the other client watches on");
    }
}
