//! CLUSTER and its relatives: there is no cluster, and every question about one is told so.

use crate::engine::{Engine, EngineHandler, Step, Turn};
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
    Row::new("asking", 1, Group::Connection, disabled as EngineHandler).fast().docs("3.0.0", "O(1)", "Signals that a cluster client is following an -ASK redirect."),
    Row::new("cluster", -2, Group::Cluster, unknown as EngineHandler).docs("3.0.0", "Depends on subcommand.", "A container for Redis Cluster commands.").subcommands(&[
        row("cluster|addslots", -3).flags(CHANGE).docs("3.0.0", "O(N)", "Assigns new hash slots to a node."),
        row("cluster|addslotsrange", -4).flags(CHANGE).docs("7.0.0", "O(N)", "Assigns new hash slot ranges to a node."),
        row("cluster|bumpepoch", 2).flags(CHANGE).docs("3.0.0", "O(1)", "Advances the cluster config epoch."),
        row("cluster|count-failure-reports", 3).flags(ADMIN).docs("3.0.0", "O(N)", "Returns the number of active failure reports active for a node."),
        row("cluster|countkeysinslot", 3).flags(STALE).docs("3.0.0", "O(1)", "Returns the number of keys in a hash slot."),
        row("cluster|delslots", -3).flags(CHANGE).docs("3.0.0", "O(N)", "Sets hash slots as unbound for a node."),
        row("cluster|delslotsrange", -4).flags(CHANGE).docs("7.0.0", "O(N)", "Sets hash slot ranges as unbound for a node."),
        row("cluster|failover", -2).flags(CHANGE).docs("3.0.0", "O(1)", "Forces a replica to perform a manual failover of its master."),
        row("cluster|flushslots", 2).flags(CHANGE).docs("3.0.0", "O(1)", "Deletes all slots information from a node."),
        row("cluster|forget", 3).flags(CHANGE).docs("3.0.0", "O(1)", "Removes a node from the nodes table."),
        row("cluster|getkeysinslot", 4).flags(STALE).docs("3.0.0", "O(N)", "Returns the key names in a hash slot."),
        row("cluster|help", 2).flags(LATE).docs("5.0.0", "O(1)", "Returns helpful text about the different subcommands."),
        row("cluster|info", 2).flags(LATE).docs("3.0.0", "O(1)", "Returns information about the state of a node."),
        row("cluster|keyslot", 3).flags(STALE).docs("3.0.0", "O(N)", "Returns the hash slot for a key."),
        row("cluster|links", 2).flags(STALE).docs("7.0.0", "O(N)", "Returns a list of all TCP links to and from peer nodes."),
        row("cluster|meet", -4).flags(CHANGE).docs("3.0.0", "O(1)", "Forces a node to handshake with another node."),
        row("cluster|myid", 2).flags(STALE).docs("3.0.0", "O(1)", "Returns the ID of a node."),
        row("cluster|myshardid", 2).flags(STALE).docs("7.2.0", "O(1)", "Returns the shard ID of a node."),
        row("cluster|nodes", 2).flags(STALE).docs("3.0.0", "O(N)", "Returns the cluster configuration for a node."),
        row("cluster|replicas", 3).flags(ADMIN).docs("5.0.0", "O(N)", "Lists the replica nodes of a master node."),
        row("cluster|replicate", 3).flags(CHANGE).docs("3.0.0", "O(1)", "Configure a node as replica of a master node."),
        row("cluster|reset", -2).flags(CHANGE.and(Flags::NOSCRIPT)).docs("3.0.0", "O(N)", "Resets a node."),
        row("cluster|saveconfig", 2).flags(CHANGE).docs("3.0.0", "O(1)", "Forces a node to save the cluster configuration to disk."),
        row("cluster|set-config-epoch", 3).flags(CHANGE).docs("3.0.0", "O(1)", "Sets the configuration epoch for a new node."),
        row("cluster|setslot", -4).flags(CHANGE).docs("3.0.0", "O(1)", "Binds a hash slot to a node."),
        row("cluster|shards", 2).flags(LATE).docs("7.0.0", "O(N)", "Returns the mapping of cluster slots to shards."),
        row("cluster|slaves", 3).flags(ADMIN).docs("3.0.0", "O(N)", "Lists the replica nodes of a master node."),
        row("cluster|slot-stats", -4).flags(LATE),
        row("cluster|slots", 2).flags(LATE).docs("3.0.0", "O(N)", "Returns the mapping of cluster slots to nodes."),
    ]),
    Row::new("readonly", 1, Group::Connection, disabled as EngineHandler).flags(LATE.and(Flags::FAST)).docs("3.0.0", "O(1)", "Enables read-only queries for a connection to a cluster replica node."),
    Row::new("readwrite", 1, Group::Connection, disabled as EngineHandler).flags(LATE.and(Flags::FAST)).docs("3.0.0", "O(1)", "Enables read-write queries for a connection to a cluster replica node."),
];

fn disabled(_: &mut Engine, _: &mut Turn<'_>) -> Result<Step, Error> {
    Err(Error::new("ERR This instance has cluster support disabled"))
}

fn unknown(_: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    Err(commands::unknown_subcommand(turn.args, "CLUSTER"))
}
