//! What a server answers that has no replicas, no cluster and no modules: it is always a master of its own.

use crate::engine::{Engine, EngineHandler, Step, Turn};
use commands::{Error, Flags, Group, Row};

const LATE: Flags = Flags::LOADING.and(Flags::STALE);

const fn row(name: &'static str, arity: i32, run: EngineHandler) -> Row<EngineHandler> {
    Row::new(name, arity, Group::Server, run)
}

/// The rows of this family.
#[rustfmt::skip]
pub(crate) static COMMANDS: &[Row<EngineHandler>] = &[
    Row::new("asking", 1, Group::Cluster, cluster as EngineHandler).fast().docs("3.0.0", "O(1)", "Signals that a cluster client is following an -ASK redirect."),
    Row::new("cluster", -2, Group::Cluster, cluster as EngineHandler).flags(LATE).docs("3.0.0", "Depends on subcommand.", "A container for Redis Cluster commands."),
    row("lolwut", -1, lolwut).readonly().fast().docs("5.0.0", "O(1)", "Displays computer art and the server's version."),
    row("module", -2, unknown_module).docs("4.0.0", "Depends on subcommand.", "A container for module commands.").subcommands(&[
        row("module|list", 2, module_list).flags(Flags::ADMIN.and(Flags::NOSCRIPT)).docs("4.0.0", "O(N) where N is the number of loaded modules.", "Returns all loaded modules."),
    ]),
    Row::new("readonly", 1, Group::Cluster, cluster as EngineHandler).flags(LATE.and(Flags::FAST)).docs("3.0.0", "O(1)", "Enables read-only queries for a connection to a cluster replica node."),
    Row::new("readwrite", 1, Group::Cluster, cluster as EngineHandler).flags(LATE.and(Flags::FAST)).docs("3.0.0", "O(1)", "Enables read-write queries for a connection to a cluster replica node."),
    row("replicaof", 3, replicaof).flags(Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::STALE).and(Flags::NO_ASYNC_LOADING)).docs("5.0.0", "O(1)", "Configures a server as replica of another, or promotes it to a master."),
    row("role", 1, role).flags(LATE.and(Flags::NOSCRIPT).and(Flags::FAST).and(Flags::ADMIN)).docs("2.8.12", "O(1)", "Returns the replication role."),
    row("slaveof", 3, replicaof).flags(Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::STALE).and(Flags::NO_ASYNC_LOADING)).docs("1.0.0", "O(1)", "Sets a Redis server as a replica of another, or promotes it to being a master."),
    Row::new("wait", 3, Group::Generic, wait as EngineHandler).docs("3.0.0", "O(1)", "Blocks until the asynchronous replication of all preceding write commands sent by the connection is completed."),
];

fn unknown_module(_: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    Err(commands::unknown_subcommand(turn.args, "MODULE"))
}

fn module_list(_: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    turn.reply.array(0);
    Ok(Step::Done(None))
}

fn lolwut(_: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let text = format!(
        "One bicycle, two riders.\nRedis ver. {}, Tandem {}\n",
        crate::connection::REDIS_VERSION,
        env!("CARGO_PKG_VERSION")
    );
    turn.reply.verbatim(b"txt", text.as_bytes());
    Ok(Step::Done(None))
}

fn role(_: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    turn.reply.array(3);
    turn.reply.bulk(b"master");
    turn.reply.integer(0);
    turn.reply.array(0);
    Ok(Step::Done(None))
}

fn replicaof(_: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    if turn.args.is(1, "no") && turn.args.is(2, "one") {
        turn.reply.ok();
        return Ok(Step::Done(None));
    }
    Err(Error::new("ERR this server does not replicate yet: it is always a master"))
}

fn wait(_: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    turn.args.int(1)?;
    let timeout = base::number::parse_i64(turn.args.at(2))
        .ok_or(Error::new("ERR timeout is not an integer or out of range"))?;
    if timeout < 0 {
        return Err(Error::TIMEOUT_NEGATIVE);
    }
    turn.reply.integer(0);
    Ok(Step::Done(None))
}

fn cluster(_: &mut Engine, _: &mut Turn<'_>) -> Result<Step, Error> {
    Err(Error::new("ERR This instance has cluster support disabled"))
}
