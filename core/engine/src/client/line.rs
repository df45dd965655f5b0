//! CLIENT LIST and CLIENT INFO: a client as one line of text.
//!
//! Sizes of buffers are the server's; they are asked for when a line is to be written, because what was told before is up to a second old.

use super::filter::Filter;
use crate::call::{Step, Turn};
use crate::engine::Engine;
use crate::outside::Outside;
use crate::session::{Session, SessionId};
use commands::{Args, Error};
use resp::Protocol;

/// Room that Redis gives a client's input at first, bytes: what is free of it is shown for the client that runs the command.
const QUERY_ROOM_BYTES: usize = 20_474;

/// Bytes of output that Redis keeps apart from the list (`obl` and `omem`); also the size of an item of that list.
const OUTPUT_BLOCK_BYTES: usize = 16_384;

/// The kinds of clients, as CLIENT LIST TYPE, CLIENT KILL TYPE and the output limits tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientType {
    Normal,
    Pubsub,
    Master,
    Replica,
}

impl ClientType {
    pub(super) fn parse(text: &[u8]) -> Result<ClientType, Error> {
        match text.to_ascii_lowercase().as_slice() {
            b"normal" => Ok(ClientType::Normal),
            b"pubsub" => Ok(ClientType::Pubsub),
            b"master" | b"primary" => Ok(ClientType::Master),
            b"slave" | b"replica" => Ok(ClientType::Replica),
            _ => Err(Error::quoting("ERR Unknown client type '{}'", &[text])),
        }
    }

    pub(super) fn of(session: &Session) -> ClientType {
        match session.is_subscriber() {
            _ if session.is_replica => ClientType::Replica,
            _ if session.is_master => ClientType::Master,
            true => ClientType::Pubsub,
            false => ClientType::Normal,
        }
    }
}

pub(super) fn info(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    engine.look_at_buffers(turn.session, turn.args, turn.outside);
    let mut line = client_line(engine, engine.sessions.at(turn.session));
    line.push(b'\n');
    turn.reply.verbatim(b"txt", &line);
    Ok(Step::Done(None))
}

pub(super) fn list(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let args = turn.args;
    engine.look_at_buffers(turn.session, args, turn.outside);
    let filter = Filter::parse(engine, args, false, "ERR Invalid client ID")?;
    let now_us = engine.keyspace.now.mono_us;
    let is_shown = |id: SessionId, s: &Session| s.is_connected() && (!s.kill || id == turn.session);
    let mut all: Vec<&Session> = (engine.sessions.iter())
        .filter(|(id, s)| is_shown(*id, s) && filter.fits((*id, s), turn.session, now_us))
        .map(|(_, s)| s)
        .collect();
    all.sort_by_key(|s| s.id);
    if let Some(ids) = filter.ids() {
        all = (ids.iter())
            .filter_map(|id| all.binary_search_by_key(id, |s| s.id).ok().map(|at| all[at]))
            .collect();
    }
    let mut out = Vec::new();
    for session in all {
        out.extend_from_slice(&client_line(engine, session));
        out.push(b'\n');
    }
    turn.reply.verbatim(b"txt", &out);
    Ok(Step::Done(None))
}

/// One line of CLIENT LIST, without its end. The name of a user may be any bytes.
pub(crate) fn client_line(engine: &Engine, s: &Session) -> Vec<u8> {
    let now = engine.keyspace.now.mono_us;
    let seconds = |since: u64| now.saturating_sub(since) / 1_000_000;
    let (sub, psub, ssub) = s
        .subscriptions
        .as_ref()
        .map_or((0, 0, 0), |u| (u.channels.len(), u.patterns.len(), u.shard_channels.len()));
    let multi = s.multi.as_ref().map_or(-1, |m| m.queue.len() as i64);
    let command = s.last_command.map_or("NULL", |c| engine.table.commands[c].spec.name);
    let redirect = s.tracking.as_ref().map_or(-1, |t| t.redirect.map_or(0, |r| r as i64));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let who = format!(
        "id={} addr={} laddr={} fd={} name={} age={} idle={} flags={} db={} sub={sub} psub={psub} ssub={ssub} multi={multi} watch={}",
        s.id,
        s.info.address,
        s.info.local_address,
        s.info.fd,
        text(&s.name),
        seconds(s.created_us),
        seconds(s.last_us),
        flags(s),
        s.db,
        s.watched.len(),
    );
    let events = if s.buffers.is_stuck { "rw" } else { "r" };
    let before = format!(
        "{who} {} tot-mem={} events={events} cmd={command} user=",
        memory_fields(s),
        s.memory_bytes()
    );
    let behind = format!(
        " redir={redirect} resp={} lib-name={} lib-ver={} io-thread={} tot-net-in={} tot-net-out={} tot-cmds={}",
        if s.protocol == Protocol::Resp3 { 3 } else { 2 },
        text(&s.lib_name),
        text(&s.lib_version),
        s.info.thread,
        s.buffers.net_in,
        s.buffers.net_out,
        s.commands,
    );
    let can = if s.follows_redirects { " capa=r" } else { "" };
    [before.as_bytes(), engine.acl.name(s.user), behind.as_bytes(), can.as_bytes()].concat()
}

/// The fields about buffers. Output is shown as Redis holds it: a first block, and the rest as a list of such blocks.
fn memory_fields(s: &Session) -> String {
    let b = &s.buffers;
    let block = b.output.min(OUTPUT_BLOCK_BYTES);
    let listed = b.output - block;
    let room = b.output_room.min(OUTPUT_BLOCK_BYTES);
    format!(
        "qbuf={} qbuf-free={} argv-mem={} multi-mem={} rbs={room} rbp={room} obl={block} oll={} omem={listed}",
        b.query,
        b.query_free,
        b.parsed + s.argv_bytes(),
        s.multi.as_ref().map_or(0, |m| m.bytes),
        listed.div_ceil(OUTPUT_BLOCK_BYTES),
    )
}

/// The letters of a client's flags.
pub(super) fn flags(s: &Session) -> String {
    let mut out = String::new();
    let mut add = |on: bool, letter: char| {
        if on {
            out.push(letter);
        }
    };
    add(s.is_replica, 'S');
    add(s.is_master, 'M');
    add(s.monitor, 'O');
    add(s.is_subscriber(), 'P');
    add(s.multi.is_some(), 'x');
    add(s.waiting.is_some() || s.deferred.is_some(), 'b');
    add(s.tracking.is_some(), 't');
    add(s.tracking.as_ref().is_some_and(|t| t.redirect_broken), 'R');
    add(s.tracking.as_ref().is_some_and(|t| t.broadcast), 'B');
    add(s.watch_broken, 'd');
    add(s.kill, 'c');
    add(s.info.unix, 'U');
    add(s.no_evict, 'e');
    add(s.no_touch, 'T');
    if out.is_empty() {
        out.push('N');
    }
    out
}

impl Engine {
    /// Asks the server for the buffers of all clients. The one whose command (`args`) runs has just that in its input.
    pub(crate) fn look_at_buffers(&mut self, running: SessionId, args: Args<'_>, outside: &dyn Outside) {
        for (id, session) in self.sessions.iter_mut() {
            if let Some(buffers) = outside.client_buffers(&session.info) {
                session.buffers = buffers;
            }
            if id == running {
                let query = request_bytes(args);
                session.buffers.query = query;
                session.buffers.query_free = QUERY_ROOM_BYTES.saturating_sub(query);
            }
            session.running_bytes = if id == running { args.all().iter().map(|a| a.len()).sum() } else { 0 };
        }
    }
}

/// The size of a request in RESP.
pub(crate) fn request_bytes(args: Args<'_>) -> usize {
    let digits = |n: usize| n.checked_ilog10().unwrap_or(0) as usize + 1;
    let line = |n: usize| 3 + digits(n);
    line(args.len()) + args.all().iter().map(|a| line(a.len()) + a.len() + 2).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_shown_as_a_block_and_a_list() {
        let now = base::Now::at_ms(1);
        let mut engine =
            Engine::new(config::Config::default(), crate::Acl::new(Vec::new()), [1; 32], now).unwrap();
        let id = engine.connect(crate::ClientInfo::default(), now).expect("there is room");
        let buffers =
            crate::ClientBuffers { output: 40_000, output_room: 65_536, ..crate::ClientBuffers::default() };
        engine.tell_buffers(id, crate::ClientBuffers { is_stuck: true, ..buffers });
        let line = String::from_utf8(client_line(&engine, engine.sessions.at(id))).expect("it is text");
        assert!(line.contains(" rbs=16384 rbp=16384 obl=16384 oll=2 omem=23616 "), "{line}");
        assert!(line.contains(" events=rw "), "{line}");
        let argv: [&[u8]; 2] = [b"CLIENT", b"LIST"];
        assert_eq!(request_bytes(Args::new(&argv)), 26);
    }
}
