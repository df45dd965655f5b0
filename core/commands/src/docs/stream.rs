//! Documentation of the commands for streams.

use super::{Doc, doc};

pub(super) static DOCS: &[Doc] = &[
    doc("xack", "5.0.0", "O(1)", "Marks messages as done for a group.").takes("@key group id...").keys(&["RW update @ 1 : 0 1 0"]),
    doc("xackdel", "8.2.0", "O(1)", "Marks messages as done for a group and removes them if nobody else needs them.").takes("@key group [condition(!KEEPREF|!DELREF|!ACKED)] IDS=ids{#numids id...}").keys(&["RW update delete @ 1 : 0 1 0"]),
    doc("xadd", "5.0.0", "O(1); O(N) when N entries are trimmed", "Appends an entry to a stream.").takes("@key [!NOMKSTREAM~6.2.0] [condition(!KEEPREF|!DELREF|!ACKED)] [trim{strategy(!MAXLEN|!MINID~6.2.0) [operator(!=:equal|!~:approximately)] threshold [LIMIT=#count~6.2.0]}] id-selector(!*:auto-id|id) data{field value}...").keys(&["RW update @ 1 : 0 1 0"]).tips(&["nondeterministic_output"]),
    doc("xautoclaim", "6.2.0", "O(1)", "Takes over what has been pending for long, wherever it is.").takes("@key group consumer min-idle-time start [COUNT=#count] [!JUSTID]").keys(&["RW delete @ 1 : 0 1 0"]).tips(&["nondeterministic_output"]),
    doc("xclaim", "5.0.0", "O(logN)", "Takes over pending messages.").takes("@key group consumer min-idle-time id... [IDLE=#ms] [TIME=^unix-time-milliseconds] [RETRYCOUNT=#count] [!FORCE] [!JUSTID] [LASTID=lastid]").keys(&["RW update @ 1 : 0 1 0"]).tips(&["nondeterministic_output"]),
    doc("xdel", "5.0.0", "O(1)", "Removes entries.").takes("@key id...").keys(&["RW delete @ 1 : 0 1 0"]),
    doc("xdelex", "8.2.0", "O(1)", "Removes entries, minding what groups still need.").takes("@key [condition(!KEEPREF|!DELREF|!ACKED)] IDS=ids{#numids id...}").keys(&["RW delete @ 1 : 0 1 0"]),
    doc("xgroup", "5.0.0", "", "Consumer groups."),
    doc("xgroup|create", "5.0.0", "O(1)", "Makes a group.").takes("@key group id-selector(id|!$:new-id) [!MKSTREAM] [ENTRIESREAD=#entriesread/entries-read]").keys(&["RW insert @ 2 : 0 1 0"]),
    doc("xgroup|createconsumer", "6.2.0", "O(1)", "Makes a consumer.").takes("@key group consumer").keys(&["RW insert @ 2 : 0 1 0"]),
    doc("xgroup|delconsumer", "5.0.0", "O(1)", "Removes a consumer.").takes("@key group consumer").keys(&["RW delete @ 2 : 0 1 0"]),
    doc("xgroup|destroy", "5.0.0", "O(N)", "Removes a group.").takes("@key group").keys(&["RW delete @ 2 : 0 1 0"]),
    doc("xgroup|help", "5.0.0", "O(1)", "Lists the subcommands."),
    doc("xgroup|setid", "5.0.0", "O(1)", "Sets how far a group has read.").takes("@key group id-selector(id|!$:new-id) [ENTRIESREAD=#entriesread/entries-read]").keys(&["RW update @ 2 : 0 1 0"]),
    doc("xinfo", "5.0.0", "", "What is known about a stream."),
    doc("xinfo|consumers", "5.0.0", "O(1)", "Describes the consumers of a group.").takes("@key group").keys(&["RO access @ 2 : 0 1 0"]).tips(&["nondeterministic_output"]),
    doc("xinfo|groups", "5.0.0", "O(1)", "Describes the groups of a stream.").takes("@key").keys(&["RO access @ 2 : 0 1 0"]),
    doc("xinfo|help", "5.0.0", "O(1)", "Lists the subcommands."),
    doc("xinfo|stream", "5.0.0", "O(1)", "Describes a stream.").takes("@key [full-block{!FULL [COUNT=#count]}]").keys(&["RO access @ 2 : 0 1 0"]),
    doc("xlen", "5.0.0", "O(1)", "Counts the entries of a stream.").takes("@key").keys(&["RO @ 1 : 0 1 0"]),
    doc("xpending", "5.0.0", "O(N)", "Shows what a group has been given and has not marked as done.").takes("@key group [filters{[IDLE=#min-idle-time~6.2.0] start end #count [consumer]}]").keys(&["RO access @ 1 : 0 1 0"]).tips(&["nondeterministic_output"]),
    doc("xrange", "5.0.0", "O(N)", "Gives the entries between two ids.").takes("@key start end [COUNT=#count]").keys(&["RO access @ 1 : 0 1 0"]),
    doc("xread", "5.0.0", "O(N)", "Gives what is new in streams, and waits if asked to.").takes("[COUNT=#count] [BLOCK=#milliseconds] STREAMS=streams{@key... id...}").keys(&["RO access @ STREAMS 1 : -1 1 2"]),
    doc("xreadgroup", "5.0.0", "O(M)", "Gives a consumer what is new for its group, and waits if asked to.").takes("GROUP=group-block{group consumer} [COUNT=#count] [BLOCK=#milliseconds] [CLAIM=#min-idle-time~8.4.0] [!NOACK] STREAMS=streams{@key... id...}").keys(&["RO access @ STREAMS 4 : -1 1 2"]),
    doc("xrevrange", "5.0.0", "O(N)", "Gives the entries between two ids, backwards.").takes("@key end start [COUNT=#count]").keys(&["RO access @ 1 : 0 1 0"]),
    doc("xsetid", "5.0.0", "O(1)", "Sets the last id and the counters of a stream.").takes("@key last-id [ENTRIESADDED=#entries-added~7.0.0] [MAXDELETEDID=max-deleted-id~7.0.0]").keys(&["RW update @ 1 : 0 1 0"]),
    doc("xtrim", "5.0.0", "O(N)", "Removes the oldest entries.").takes("@key trim{strategy(!MAXLEN|!MINID~6.2.0) [operator(!=:equal|!~:approximately)] threshold [LIMIT=#count~6.2.0] [condition(!KEEPREF|!DELREF|!ACKED)]}").keys(&["RW delete @ 1 : 0 1 0"]).tips(&["nondeterministic_output"]),
];
