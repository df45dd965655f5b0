//! Documentation of the commands for strings.

use super::{Doc, doc};

pub(super) static DOCS: &[Doc] = &[
    doc("append", "2.0.0", "O(1)", "Adds text at the end of a string; a missing key is an empty string.").takes("@key value").keys(&["RW insert @ 1 : 0 1 0"]),
    doc("decr", "1.0.0", "O(1)", "Takes one from a number; a missing key is 0.").takes("@key").keys(&["RW access update @ 1 : 0 1 0"]),
    doc("decrby", "1.0.0", "O(1)", "Takes an amount from a number; a missing key is 0.").takes("@key #decrement").keys(&["RW access update @ 1 : 0 1 0"]),
    doc("delex", "8.4.0", "O(1); O(N) with a digest", "Removes a key, if its value or the digest of it is as told.").takes("@key [condition(IFEQ=ifeq-value|IFNE=ifne-value|IFDEQ=ifdeq-digest|IFDNE=ifdne-digest)]").keys(&["RW access delete variable_flags @ 1 : 0 1 0"]),
    doc("delifeq", "9.0.0", "O(1)", "Removes a string if it has this value.").takes("@key value").keys(&["RM delete @ 1 : 0 1 0"]),
    doc("digest", "8.4.0", "O(N)", "Gives the digest of a string.").takes("@key").keys(&["RO access @ 1 : 0 1 0"]),
    doc("get", "1.0.0", "O(1)", "Gives the value of a string.").takes("@key").keys(&["RO access @ 1 : 0 1 0"]),
    doc("getdel", "6.2.0", "O(1)", "Gives the value of a string and removes the key.").takes("@key").keys(&["RW access delete @ 1 : 0 1 0"]),
    doc("getex", "6.2.0", "O(1)", "Gives the value of a string and changes when it expires.").takes("@key [expiration(EX=#seconds|PX=#milliseconds|EXAT=^unix-time-seconds|PXAT=^unix-time-milliseconds|!PERSIST)]").keys(&["RW access update @ 1 : 0 1 0"]),
    doc("getrange", "2.4.0", "O(N)", "Gives a part of a string.").takes("@key #start #end").keys(&["RO access @ 1 : 0 1 0"]),
    doc("getset", "1.0.0", "O(1)", "Sets a string and gives what it was.").takes("@key value").keys(&["RW access update @ 1 : 0 1 0"]).replaced("6.2.0", "SET with GET"),
    doc("incr", "1.0.0", "O(1)", "Adds one to a number; a missing key is 0.").takes("@key").keys(&["RW access update @ 1 : 0 1 0"]),
    doc("incrby", "1.0.0", "O(1)", "Adds an amount to a number; a missing key is 0.").takes("@key #increment").keys(&["RW access update @ 1 : 0 1 0"]),
    doc("incrbyfloat", "2.6.0", "O(1)", "Adds an amount with a fraction to a number; a missing key is 0.").takes("@key %increment").keys(&["RW access update @ 1 : 0 1 0"]),
    doc("lcs", "7.0.0", "O(N*M)", "Finds the longest subsequence that two strings share.").takes("@key1 @key2*0 [!LEN] [!IDX] [MINMATCHLEN=#min-match-len] [!WITHMATCHLEN]").keys(&["RO access @ 1 : 1 1 0"]),
    doc("mget", "1.0.0", "O(N)", "Gives the values of several strings.").takes("@key...").keys(&["RO access @ 1 : -1 1 0"]).tips(&["request_policy:multi_shard"]),
    doc("mset", "1.0.1", "O(N)", "Sets several strings at once.").takes("data{@key value}...").keys(&["OW update @ 1 : -1 2 0"]).tips(&["request_policy:multi_shard", "response_policy:all_succeeded"]),
    doc("msetex", "9.1.0", "O(N)", "Sets several strings at once with one expiry, if the condition holds for all.").takes("#numkeys data{@key value}... [condition(!NX|!XX)] [expiration(EX=#seconds|PX=#milliseconds|EXAT=^unix-time-seconds|PXAT=^unix-time-milliseconds|!KEEPTTL)]").keys(&["OW update @ 1 : #0 1 2"]).tips(&["request_policy:multi_shard", "response_policy:all_succeeded"]),
    doc("msetnx", "1.0.1", "O(N)", "Sets several strings at once if none of the keys exists.").takes("data{@key value}...").keys(&["OW insert @ 1 : -1 2 0"]),
    doc("psetex", "2.6.0", "O(1)", "Sets a string that expires after milliseconds.").takes("@key #milliseconds value").keys(&["OW update @ 1 : 0 1 0"]).replaced("2.6.12", "SET with PX"),
    doc("set", "1.0.0", "O(1)", "Sets a string, whatever the key held; options make it conditional or let it expire.").takes("@key value [condition(!NX|!XX)~2.6.12] [!GET~6.2.0] [expiration(EX=#seconds~2.6.12|PX=#milliseconds~2.6.12|EXAT=^unix-time-seconds~6.2.0|PXAT=^unix-time-milliseconds~6.2.0|!KEEPTTL~6.0.0)]").keys(&["RW access update variable_flags @ 1 : 0 1 0"]),
    doc("setex", "2.0.0", "O(1)", "Sets a string that expires after seconds.").takes("@key #seconds value").keys(&["OW update @ 1 : 0 1 0"]).replaced("2.6.12", "SET with EX"),
    doc("setnx", "1.0.0", "O(1)", "Sets a string if the key does not exist.").takes("@key value").keys(&["OW insert @ 1 : 0 1 0"]).replaced("2.6.12", "SET with NX"),
    doc("setrange", "2.2.0", "O(1)", "Overwrites a part of a string, filling a gap with zero bytes.").takes("@key #offset value").keys(&["RW update @ 1 : 0 1 0"]),
    doc("strlen", "2.2.0", "O(1)", "Gives the length of a string.").takes("@key").keys(&["RO @ 1 : 0 1 0"]),
    doc("substr", "1.0.0", "O(N)", "Gives a part of a string.").takes("@key #start #end").keys(&["RO access @ 1 : 0 1 0"]).replaced("2.0.0", "GETRANGE"),
];
