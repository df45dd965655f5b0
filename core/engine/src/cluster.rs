//! CLUSTER and its relatives: there is no cluster, and every question about one is told so.

use crate::call::{EngineHandler, Step, Turn};
use crate::engine::Engine;
use commands::{Error, Flags, Group, Row};

const LATE: Flags = Flags::LOADING.and(Flags::STALE);
const CHANGE: Flags = Flags::ADMIN.and(Flags::STALE).and(Flags::NO_ASYNC_LOADING);
const ADMIN: Flags = Flags::ADMIN.and(Flags::STALE);
const STALE: Flags = Flags::STALE;

const fn row(name: &'static str, arity: i32) -> Row<EngineHandler> {
    Row::new(name, arity, Group::Cluster, disabled)
}

/// The rows of this family.
#[rustfmt::skip]
pub(crate) static COMMANDS: &[Row<EngineHandler>] = &[
    Row::new("asking", 1, Group::Connection, disabled as EngineHandler).fast(),
    Row::new("cluster", -2, Group::Cluster, unknown as EngineHandler).subcommands(&[
        row("cluster|addslots", -3).flags(CHANGE),
        row("cluster|addslotsrange", -4).flags(CHANGE),
        row("cluster|bumpepoch", 2).flags(CHANGE),
        row("cluster|count-failure-reports", 3).flags(ADMIN),
        row("cluster|countkeysinslot", 3).flags(STALE),
        row("cluster|delslots", -3).flags(CHANGE),
        row("cluster|delslotsrange", -4).flags(CHANGE),
        row("cluster|failover", -2).flags(CHANGE),
        row("cluster|flushslots", 2).flags(CHANGE),
        row("cluster|forget", 3).flags(CHANGE),
        row("cluster|getkeysinslot", 4).flags(STALE),
        row("cluster|help", 2).flags(LATE),
        row("cluster|info", 2).flags(LATE),
        row("cluster|keyslot", 3).flags(STALE),
        row("cluster|links", 2).flags(STALE),
        row("cluster|meet", -4).flags(CHANGE),
        row("cluster|myid", 2).flags(STALE),
        row("cluster|myshardid", 2).flags(STALE),
        row("cluster|nodes", 2).flags(STALE),
        row("cluster|replicas", 3).flags(ADMIN),
        row("cluster|replicate", 3).flags(CHANGE),
        row("cluster|reset", -2).flags(CHANGE.and(Flags::NOSCRIPT)),
        row("cluster|saveconfig", 2).flags(CHANGE),
        row("cluster|set-config-epoch", 3).flags(CHANGE),
        row("cluster|setslot", -4).flags(CHANGE),
        row("cluster|shards", 2).flags(LATE),
        row("cluster|slaves", 3).flags(ADMIN),
        row("cluster|slot-stats", -4).flags(LATE),
        row("cluster|slots", 2).flags(LATE),
    ]),
    Row::new("readonly", 1, Group::Connection, disabled as EngineHandler).flags(LATE.and(Flags::FAST)),
    Row::new("readwrite", 1, Group::Connection, disabled as EngineHandler).flags(LATE.and(Flags::FAST)),
];

fn disabled(_: &mut Engine, _: &mut Turn<'_>) -> Result<Step, Error> {
    Err(Error::new("ERR This instance has cluster support disabled"))
}

fn unknown(_: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    Err(commands::unknown_subcommand(turn.args, "CLUSTER"))
}
