//! Publish and subscribe: channels, patterns, shard channels, and their messages.

use crate::call::{EngineHandler, Step, Turn};
use crate::engine::Engine;
use crate::message::Part;
use crate::session::{NAME_BYTES, SessionId, Subscriptions};
use commands::{Channels, Error, Flags, Group, Row};
use resp::Reply;
use std::collections::{BTreeMap, BTreeSet};

const ANYWHERE: Flags = Flags::PUBSUB.and(Flags::NOSCRIPT).and(Flags::LOADING).and(Flags::STALE);

const fn row(name: &'static str, arity: i32, run: EngineHandler) -> Row<EngineHandler> {
    Row::new(name, arity, Group::Pubsub, run)
}

/// The rows of this family.
pub(crate) static COMMANDS: &[Row<EngineHandler>] = &[
    row("psubscribe", -2, |e, t| subscribe(e, t, Subscription::Pattern))
        .flags(ANYWHERE.and(Flags::AS_SUBSCRIBER))
        .channels(Channels::Patterns),
    row("publish", 3, publish)
        .flags(Flags::PUBSUB.and(Flags::MAY_REPLICATE).and(Flags::LOADING).and(Flags::STALE).and(Flags::FAST))
        .channels(Channels::First),
    row("pubsub", -2, unknown).subcommands(&[
        row("pubsub|channels", -2, channels).flags(Flags::PUBSUB.and(Flags::LOADING).and(Flags::STALE)),
        row("pubsub|help", 2, crate::admin::help).flags(Flags::LOADING.and(Flags::STALE)),
        row("pubsub|numpat", 2, numpat).flags(Flags::PUBSUB.and(Flags::LOADING).and(Flags::STALE)),
        row("pubsub|numsub", -2, numsub).flags(Flags::PUBSUB.and(Flags::LOADING).and(Flags::STALE)),
        row("pubsub|shardchannels", -2, shardchannels)
            .flags(Flags::PUBSUB.and(Flags::LOADING).and(Flags::STALE)),
        row("pubsub|shardnumsub", -2, shardnumsub).flags(Flags::PUBSUB.and(Flags::LOADING).and(Flags::STALE)),
    ]),
    row("punsubscribe", -1, |e, t| unsubscribe(e, t, Subscription::Pattern))
        .flags(ANYWHERE.and(Flags::AS_SUBSCRIBER)),
    row("spublish", 3, spublish)
        .flags(Flags::PUBSUB.and(Flags::MAY_REPLICATE).and(Flags::LOADING).and(Flags::STALE).and(Flags::FAST))
        .keys(1, 1, 1)
        .channels(Channels::First),
    row("ssubscribe", -2, |e, t| subscribe(e, t, Subscription::Shard))
        .flags(ANYWHERE.and(Flags::AS_SUBSCRIBER))
        .keys(1, -1, 1)
        .channels(Channels::All),
    row("subscribe", -2, |e, t| subscribe(e, t, Subscription::Channel))
        .flags(ANYWHERE.and(Flags::AS_SUBSCRIBER))
        .channels(Channels::All),
    row("sunsubscribe", -1, |e, t| unsubscribe(e, t, Subscription::Shard))
        .flags(ANYWHERE.and(Flags::AS_SUBSCRIBER))
        .keys(1, -1, 1),
    row("unsubscribe", -1, |e, t| unsubscribe(e, t, Subscription::Channel))
        .flags(ANYWHERE.and(Flags::AS_SUBSCRIBER)),
];

/// What is subscribed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subscription {
    Channel,
    Pattern,
    Shard,
}

impl Subscription {
    fn subscribed(self) -> &'static [u8] {
        match self {
            Subscription::Channel => b"subscribe",
            Subscription::Pattern => b"psubscribe",
            Subscription::Shard => b"ssubscribe",
        }
    }

    fn unsubscribed(self) -> &'static [u8] {
        match self {
            Subscription::Channel => b"unsubscribe",
            Subscription::Pattern => b"punsubscribe",
            Subscription::Shard => b"sunsubscribe",
        }
    }

    fn of(self, subscriptions: &mut Subscriptions) -> &mut std::collections::BTreeSet<Vec<u8>> {
        match self {
            Subscription::Channel => &mut subscriptions.channels,
            Subscription::Pattern => &mut subscriptions.patterns,
            Subscription::Shard => &mut subscriptions.shard_channels,
        }
    }
}

/// Names and who listens to each, in an order in which any of thousands leaves at once.
type Listeners = BTreeMap<Vec<u8>, BTreeSet<SessionId>>;

/// Who listens to what.
#[derive(Debug, Default)]
pub(crate) struct PubSub {
    channels: Listeners,
    patterns: Listeners,
    shard_channels: Listeners,
}

impl PubSub {
    fn of(&mut self, kind: Subscription) -> &mut Listeners {
        match kind {
            Subscription::Channel => &mut self.channels,
            Subscription::Pattern => &mut self.patterns,
            Subscription::Shard => &mut self.shard_channels,
        }
    }

    /// Channels, patterns, shard channels with subscribers.
    pub(crate) fn counts(&self) -> (usize, usize, usize) {
        (self.channels.len(), self.patterns.len(), self.shard_channels.len())
    }

    fn add(&mut self, kind: Subscription, name: &[u8], id: SessionId) {
        self.of(kind).entry(name.to_vec()).or_default().insert(id);
    }

    fn remove(&mut self, kind: Subscription, name: &[u8], id: SessionId) {
        let map = self.of(kind);
        if let Some(listeners) = map.get_mut(name) {
            listeners.remove(&id);
            if listeners.is_empty() {
                map.remove(name);
            }
        }
    }
}

fn subscribe(engine: &mut Engine, turn: &mut Turn<'_>, kind: Subscription) -> Result<Step, Error> {
    if kind == Subscription::Shard && engine.sessions.at(turn.session).in_exec {
        return Err(Error::new("ERR SSUBSCRIBE isn't allowed for a DENY BLOCKING client"));
    }
    for name in turn.args.rest(1) {
        let subscriptions = engine.sessions.at_mut(turn.session).subscriptions.get_or_insert_default();
        let new = kind.of(subscriptions).insert(name.to_vec());
        let count = if kind == Subscription::Shard {
            subscriptions.shard_channels.len()
        } else {
            subscriptions.count()
        };
        if new {
            subscriptions.bytes += name.len() + NAME_BYTES;
            engine.pubsub.add(kind, name, turn.session);
        }
        confirm(&mut turn.reply, kind.subscribed(), Some(name), count);
    }
    Ok(Step::Done(None))
}

fn unsubscribe(engine: &mut Engine, turn: &mut Turn<'_>, kind: Subscription) -> Result<Step, Error> {
    let subscriptions = engine.sessions.at_mut(turn.session).subscriptions.get_or_insert_default();
    let names: Vec<Vec<u8>> = match turn.args.rest(1) {
        [] => kind.of(subscriptions).iter().cloned().collect(),
        names => names.iter().map(|n| n.to_vec()).collect(),
    };
    if names.is_empty() {
        let count = if kind == Subscription::Shard { 0 } else { subscriptions.count() };
        confirm(&mut turn.reply, kind.unsubscribed(), None, count);
    }
    for name in names {
        let subscriptions = engine.sessions.at_mut(turn.session).subscriptions.get_or_insert_default();
        if kind.of(subscriptions).remove(&name) {
            subscriptions.bytes -= name.len() + NAME_BYTES;
        }
        let count = if kind == Subscription::Shard {
            subscriptions.shard_channels.len()
        } else {
            subscriptions.count()
        };
        engine.pubsub.remove(kind, &name, turn.session);
        confirm(&mut turn.reply, kind.unsubscribed(), Some(&name), count);
    }
    let session = engine.sessions.at_mut(turn.session);
    if !session.is_subscriber() {
        session.subscriptions = None;
    }
    Ok(Step::Done(None))
}

fn confirm(reply: &mut Reply<'_>, what: &[u8], name: Option<&[u8]>, count: usize) {
    reply.push(3);
    reply.bulk(what);
    match name {
        Some(name) => reply.bulk(name),
        None => reply.null(),
    }
    reply.count(count);
}

fn publish(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let receivers = engine.publish(turn.args.at(1), turn.args.at(2));
    engine.tell_replicas(turn.args.all());
    turn.reply.count(receivers);
    Ok(Step::Done(None))
}

fn spublish(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let receivers = engine.publish_to(Subscription::Shard, turn.args.at(1), turn.args.at(2));
    engine.tell_replicas(turn.args.all());
    turn.reply.count(receivers);
    Ok(Step::Done(None))
}

fn unknown(_: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    Err(commands::unknown_subcommand(turn.args, "PUBSUB"))
}

fn names(map: &Listeners, pattern: Option<&[u8]>, reply: &mut Reply<'_>) {
    let mut work = base::glob::Work::default();
    let mut fits = |c: &[u8]| pattern.is_none_or(|p| base::glob::matches_within(&mut work, p, c, false));
    let found: Vec<&Vec<u8>> = map.keys().filter(|c| fits(c)).collect();
    reply.bulks(&found);
}

fn counts(map: &Listeners, names: &[&[u8]], reply: &mut Reply<'_>) {
    reply.array(names.len() * 2);
    for name in names {
        reply.bulk(name);
        reply.count(map.get(*name).map_or(0, BTreeSet::len));
    }
}

fn at_most_a_pattern(turn: &Turn<'_>) -> Result<(), Error> {
    if turn.args.len() > 3 { Err(commands::bad_subcommand(turn.args, "PUBSUB")) } else { Ok(()) }
}

fn channels(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    at_most_a_pattern(turn)?;
    names(&engine.pubsub.channels, turn.args.find(2), &mut turn.reply);
    Ok(Step::Done(None))
}

fn shardchannels(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    at_most_a_pattern(turn)?;
    names(&engine.pubsub.shard_channels, turn.args.find(2), &mut turn.reply);
    Ok(Step::Done(None))
}

fn numpat(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    turn.reply.count(engine.pubsub.patterns.len());
    Ok(Step::Done(None))
}

fn numsub(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    counts(&engine.pubsub.channels, turn.args.rest(2), &mut turn.reply);
    Ok(Step::Done(None))
}

fn shardnumsub(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    counts(&engine.pubsub.shard_channels, turn.args.rest(2), &mut turn.reply);
    Ok(Step::Done(None))
}

impl Engine {
    /// Sends a message to the channel and to every pattern that matches; how many got it.
    pub(crate) fn publish(&mut self, channel: &[u8], message: &[u8]) -> usize {
        let direct = self.publish_to(Subscription::Channel, channel, message);
        if self.pubsub.patterns.is_empty() {
            return direct;
        }
        let mut work = base::glob::Work::default();
        let matching: Vec<(Vec<u8>, Vec<SessionId>)> = (self.pubsub.patterns.iter())
            .filter(|(pattern, _)| base::glob::matches_within(&mut work, pattern, channel, false))
            .map(|(pattern, listeners)| (pattern.clone(), listeners.iter().copied().collect()))
            .collect();
        if matching.is_empty() {
            return direct;
        }
        let (channel, message) = (Part::bulk(channel), Part::bulk(message));
        let mut receivers = direct;
        for (pattern, listeners) in &matching {
            let parts = [Part::Bulk(b"pmessage"), Part::bulk(pattern), channel.clone(), message.clone()];
            listeners.iter().for_each(|id| self.send_message(*id, &parts));
            receivers += listeners.len();
        }
        receivers
    }

    pub(crate) fn publish_to(&mut self, kind: Subscription, channel: &[u8], message: &[u8]) -> usize {
        let Some(listeners) = self.pubsub.of(kind).get(channel) else { return 0 };
        let listeners: Vec<SessionId> = listeners.iter().copied().collect();
        let what: &[u8] = if kind == Subscription::Shard { b"smessage" } else { b"message" };
        let parts = [Part::Bulk(what), Part::bulk(channel), Part::bulk(message)];
        for id in &listeners {
            self.send_message(*id, &parts);
        }
        listeners.len()
    }

    /// Leaves an out-of-band message for a client.
    fn send_message(&mut self, id: SessionId, parts: &[Part<'_>]) {
        self.send(id, |message| {
            message.reply().push(parts.len());
            parts.iter().for_each(|part| message.part(part));
        });
    }

    pub(crate) fn unsubscribe_all(&mut self, id: SessionId) {
        let Some(subscriptions) = self.sessions.find_mut(id).and_then(|s| s.subscriptions.take()) else {
            return;
        };
        subscriptions.channels.iter().for_each(|name| self.pubsub.remove(Subscription::Channel, name, id));
        subscriptions.patterns.iter().for_each(|name| self.pubsub.remove(Subscription::Pattern, name, id));
        subscriptions
            .shard_channels
            .iter()
            .for_each(|name| self.pubsub.remove(Subscription::Shard, name, id));
    }
}
