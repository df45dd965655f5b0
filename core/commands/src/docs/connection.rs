//! Documentation of the commands for the connection.

use super::{Doc, doc};

pub(super) static DOCS: &[Doc] = &[
    doc("auth", "1.0.0", "O(N)", "Makes the connection one of a user, by password.").takes("[username~6.0.0] password"),
    doc("client", "2.4.0", "", "The connections."),
    doc("client|caching", "6.0.0", "O(1)", "Says whether the keys of the next request are tracked.").takes("mode(!YES|!NO)"),
    doc("client|capa", "8.0.0", "O(1)", "Tells what the client can do.").takes("capability..."),
    doc("client|durability", "7.4.0", "O(1)", "Says what the replies to this connection's writes wait for.").takes("[promise(!EVERYSEC|!ALWAYS|!REPLICATED|!DEFAULT)]"),
    doc("client|getname", "2.6.9", "O(1)", "Gives the name of the connection."),
    doc("client|getredir", "6.0.0", "O(1)", "Tells which connection receives the invalidations of this one."),
    doc("client|help", "5.0.0", "O(1)", "Lists the subcommands."),
    doc("client|id", "5.0.0", "O(1)", "Gives the number of the connection."),
    doc("client|info", "6.2.0", "O(1)", "Describes the connection.").tips(&["nondeterministic_output"]),
    doc("client|kill", "2.4.0", "O(N)", "Closes connections chosen by filters.").takes("filter(old-format/ip:port~~2.8.12|new-format([ID=#client-id~2.8.12]|[TYPE=client-type(!NORMAL|!MASTER~3.2.0|!SLAVE|!REPLICA~5.0.0|!PUBSUB)~2.8.12]|[USER=username]|[ADDR=addr/ip:port]|[LADDR=laddr/ip:port~6.2.0]|[SKIPME=skipme(!YES|!NO)]|[MAXAGE=#maxage~7.4.0])...)"),
    doc("client|list", "2.4.0", "O(N)", "Describes the connections.").takes("[TYPE=client-type(!NORMAL|!MASTER|!REPLICA|!PUBSUB)~5.0.0] [ID=#client-id...~6.2.0]").tips(&["nondeterministic_output"]),
    doc("client|no-evict", "7.0.0", "O(1)", "Says whether the connection is spared when clients use too much memory.").takes("enabled(!ON|!OFF)"),
    doc("client|no-touch", "7.2.0", "O(1)", "Says whether its requests leave the age of keys alone.").takes("enabled(!ON|!OFF)"),
    doc("client|pause", "3.0.0", "O(1)", "Lets requests wait for a time.").takes("#timeout [mode(!WRITE|!ALL)~6.2.0]"),
    doc("client|reply", "3.2.0", "O(1)", "Says whether the server answers.").takes("action(!ON|!OFF|!SKIP)"),
    doc("client|setinfo", "7.2.0", "O(1)", "Notes the name or version of the client's library.").takes("attr(LIB-NAME=libname|LIB-VER=libver)").tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]),
    doc("client|setname", "2.6.9", "O(1)", "Gives the connection a name.").takes("connection-name").tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]),
    doc("client|tracking", "6.0.0", "O(1)", "Has the server tell when keys change that this client has read.").takes("status(!ON|!OFF) [REDIRECT=#client-id] [PREFIX=prefix+++] [!BCAST] [!OPTIN] [!OPTOUT] [!NOLOOP]"),
    doc("client|trackinginfo", "6.2.0", "O(1)", "Shows how the connection's keys are tracked."),
    doc("client|unblock", "5.0.0", "O(logN)", "Ends the wait of a blocked client.").takes("#client-id [unblock-type(!TIMEOUT|!ERROR)]"),
    doc("client|unpause", "6.2.0", "O(N)", "Lets requests go on that CLIENT PAUSE holds."),
    doc("echo", "1.0.0", "O(1)", "Gives the text back.").takes("message"),
    doc("hello", "6.0.0", "O(1)", "Chooses the protocol and introduces the client.").takes("[arguments{#protover [AUTH=auth{username password}] [SETNAME=clientname]}]"),
    doc("ping", "1.0.0", "O(1)", "Answers PONG, or the text.").takes("[message]").tips(&["request_policy:all_shards", "response_policy:all_succeeded"]),
    doc("quit", "1.0.0", "O(1)", "Closes the connection.").replaced("7.2.0", "closing the connection"),
    doc("reset", "6.2.0", "O(1)", "Makes the connection as good as new."),
    doc("select", "1.0.0", "O(1)", "Chooses the database.").takes("#index"),
];
