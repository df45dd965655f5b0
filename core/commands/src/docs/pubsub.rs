//! Documentation of the commands for publish and subscribe.

use super::{Doc, doc};

pub(super) static DOCS: &[Doc] = &[
    doc("psubscribe", "2.0.0", "O(N)", "Listens to channels by pattern.").takes("?pattern..."),
    doc("publish", "2.0.0", "O(N+M)", "Sends a message to a channel.").takes("channel message"),
    doc("pubsub", "2.8.0", "", "Who listens to what."),
    doc("pubsub|channels", "2.8.0", "O(N)", "Names the channels that somebody listens to.")
        .takes("[?pattern]"),
    doc("pubsub|help", "6.2.0", "O(1)", "Lists the subcommands."),
    doc("pubsub|numpat", "2.8.0", "O(1)", "Counts the patterns that somebody listens to."),
    doc("pubsub|numsub", "2.8.0", "O(N)", "Counts the listeners of channels.").takes("[channel...]"),
    doc("pubsub|shardchannels", "7.0.0", "O(N)", "Names the shard channels that somebody listens to.")
        .takes("[?pattern]"),
    doc("pubsub|shardnumsub", "7.0.0", "O(N)", "Counts the listeners of shard channels.")
        .takes("[shardchannel...]"),
    doc("punsubscribe", "2.0.0", "O(N)", "Stops listening by pattern.").takes("[?pattern...]"),
    doc("spublish", "7.0.0", "O(N)", "Sends a message to a shard channel.")
        .takes("shardchannel message")
        .keys(&["not_key @ 1 : 0 1 0"]),
    doc("ssubscribe", "7.0.0", "O(N)", "Listens to shard channels.")
        .takes("shardchannel...")
        .keys(&["not_key @ 1 : -1 1 0"]),
    doc("subscribe", "2.0.0", "O(N)", "Listens to channels.").takes("channel..."),
    doc("sunsubscribe", "7.0.0", "O(N)", "Stops listening to shard channels.")
        .takes("[shardchannel...]")
        .keys(&["not_key @ 1 : -1 1 0"]),
    doc("unsubscribe", "2.0.0", "O(N)", "Stops listening to channels.").takes("[channel...]"),
];
