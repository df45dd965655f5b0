//! Replication: the commands by which replicas come, say who they are and how far they have come, and those that ask for that.
//!
//! The state machine is [`replication::master`]; `feeding.rs` joins it to the engine, `waits.rs` has the clients that wait for replicas.

mod failover;
mod feeding;
mod leaving;
mod place;
mod tail;
mod waits;

pub(crate) use failover::Failover;
pub use feeding::SnapshotTakers;
pub(crate) use feeding::settings;
pub use leaving::Lag;
pub(crate) use place::NotedPlace;
pub(crate) use waits::{AckWaiter, SYNC_LOOK_US, check_end};

use crate::call::{EngineHandler, Step, Turn};
use crate::engine::Engine;
use crate::session::SessionId;
use commands::{Args, Error, Flags, Group, Row};
use replication::ReplicationId;
use replication::master::{Announced, Stage};
use replication::replica::Point;

const LATE: Flags = Flags::LOADING.and(Flags::STALE);
const OPERATOR: Flags = Flags::ADMIN.and(Flags::NOSCRIPT);
const FEED: Flags = OPERATOR.and(Flags::NO_ASYNC_LOADING).and(Flags::NO_MULTI);

const fn row(name: &'static str, arity: i32, run: EngineHandler) -> Row<EngineHandler> {
    Row::new(name, arity, Group::Server, run)
}

const fn waits(name: &'static str, arity: i32, run: EngineHandler) -> Row<EngineHandler> {
    Row::new(name, arity, Group::Connection, run)
}

/// The rows of this family.
#[rustfmt::skip]
pub(crate) static COMMANDS: &[Row<EngineHandler>] = &[
    row("failover", -1, failover::failover).flags(OPERATOR.and(Flags::STALE)),
    row("psync", -3, feeding::psync).flags(FEED),
    row("replconf", -1, replconf).flags(OPERATOR.and(LATE).and(Flags::ALLOW_BUSY)),
    row("role", 1, role).flags(LATE.and(Flags::NOSCRIPT).and(Flags::FAST)).also(&["admin", "dangerous"]),
    row("sync", 1, feeding::psync).flags(FEED),
    waits("wait", 3, waits::wait).flags(Flags::BLOCKING),
    waits("waitaof", 4, waits::waitaof).flags(Flags::BLOCKING),
];

fn role(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    if engine.tell_role(turn) {
        return Ok(Step::Done(None));
    }
    let online = engine.master.replicas().iter().filter(|replica| replica.stage() == Stage::Online);
    let online: Vec<_> = online.map(|r| (engine.replica_place(r), r.acked())).collect();
    turn.reply.array(3);
    turn.reply.bulk(b"master");
    turn.reply.integer(engine.master.offset() as i64);
    turn.reply.array(online.len());
    for ((address, port), acked) in online {
        turn.reply.array(3);
        turn.reply.bulk(address.as_bytes());
        turn.reply.bulk(port.to_string().as_bytes());
        turn.reply.bulk(acked.to_string().as_bytes());
    }
    Ok(Step::Done(None))
}

/// The longest address that a replica may give, bytes: that of a name in DNS.
const ADDRESS_BYTES_MAX: usize = 255;

/// What a replica says of itself, of the copy that it wants, and of how far it has come.
fn replconf(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let args = turn.args;
    if args.len() > 4 && args.is(1, "tail") {
        engine.hear_tail(turn, 2)?;
        turn.reply.ok();
        return Ok(Step::Done(None));
    }
    if args.len().is_multiple_of(2) {
        return Err(Error::SYNTAX);
    }
    for i in (1..args.len()).step_by(2) {
        // These two are never answered.
        if args.is(i, "ack") {
            engine.hear_ack(turn, i)?;
            return Ok(Step::Done(None));
        }
        if args.is(i, "getack") {
            return Ok(Step::Done(None));
        }
        announce(engine, turn.session, args, i)?;
    }
    turn.reply.ok();
    Ok(Step::Done(None))
}

/// Takes over what the arguments `i` and `i + 1` of REPLCONF say.
fn announce(engine: &mut Engine, id: SessionId, args: Args<'_>, i: usize) -> Result<(), Error> {
    let session = engine.sessions.at_mut(id);
    let is_about_copy = session.copy.hear(args, i)?;
    let announced: &mut Announced = session.announced.get_or_insert_default();
    match args.at(i).to_ascii_lowercase().as_slice() {
        b"listening-port" => {
            let number = args.int(i + 1)?;
            announced.port = u16::try_from(number).map_err(|_| Error::NOT_AN_INTEGER)?;
        }
        b"ip-address" => {
            let text = args.at(i + 1);
            if text.len() > ADDRESS_BYTES_MAX {
                let text = format!(
                    "ERR REPLCONF ip-address provided by replica instance is too long: {} bytes",
                    text.len()
                );
                return Err(Error::text(text));
            }
            announced.address = String::from_utf8_lossy(text).replace(char::is_whitespace, "?");
        }
        b"capa" => {
            announced.takes_mark |= args.is(i + 1, "eof");
            announced.takes_id |= args.is(i + 1, "psync2");
            announced.reads_rdb12 |= args.is(i + 1, "rdb12");
            announced.gives_tail |= args.is(i + 1, "tail");
        }
        b"version" => announced.version = version(args.at(i + 1)),
        b"former" => announced.former = former(args.at(i + 1)),
        _ if is_about_copy => {}
        _ => return Err(Error::quoting("ERR Unrecognized REPLCONF option: {}", &[args.at(i)])),
    }
    Ok(())
}

/// A place in a history, `name:offset`; none where it is not one.
fn former(text: &[u8]) -> Option<Point> {
    let colon = text.iter().position(|byte| *byte == b':')?;
    let (id, offset) = (ReplicationId::parse(&text[..colon])?, base::number::parse_u64(&text[colon + 1..])?);
    Some(Point { id, offset })
}

/// A version in three numbers; none where it is not one.
fn version(text: &[u8]) -> Option<[u16; 3]> {
    let text = std::str::from_utf8(text).ok()?;
    let mut numbers = text.split('.').map(|part| part.parse().ok());
    let version = [numbers.next()??, numbers.next()??, numbers.next()??];
    numbers.next().is_none().then_some(version)
}
