//! Documentation of the commands for hashes.

use super::{Doc, doc};

pub(super) static DOCS: &[Doc] = &[
    doc("hdel", "2.0.0", "O(N)", "Removes fields from a hash.").takes("@key field...").keys(&["RW delete @ 1 : 0 1 0"]),
    doc("hexists", "2.0.0", "O(1)", "Tells whether a hash has a field.").takes("@key field").keys(&["RO @ 1 : 0 1 0"]),
    doc("hexpire", "7.4.0", "O(N)", "Lets fields expire after seconds.").takes("@key #seconds [condition(!NX|!XX|!GT|!LT)] FIELDS=fields{#numfields field...}").keys(&["RW update @ 1 : 0 1 0"]),
    doc("hexpireat", "7.4.0", "O(N)", "Lets fields expire at a Unix time in seconds.").takes("@key ^unix-time-seconds [condition(!NX|!XX|!GT|!LT)] FIELDS=fields{#numfields field...}").keys(&["RW update @ 1 : 0 1 0"]),
    doc("hexpiretime", "7.4.0", "O(N)", "Tells when fields expire, as Unix times in seconds.").takes("@key FIELDS=fields{#numfields field...}").keys(&["RO access @ 1 : 0 1 0"]),
    doc("hget", "2.0.0", "O(1)", "Gives the value of a field.").takes("@key field").keys(&["RO access @ 1 : 0 1 0"]),
    doc("hgetall", "2.0.0", "O(N)", "Gives all fields with their values.").takes("@key").keys(&["RO access @ 1 : 0 1 0"]).tips(&["nondeterministic_output_order"]),
    doc("hgetdel", "8.0.0", "O(N)", "Gives the values of fields and removes them.").takes("@key FIELDS=fields{#numfields field...}").keys(&["RW access delete @ 1 : 0 1 0"]),
    doc("hgetex", "8.0.0", "O(N)", "Gives the values of fields and changes when they expire.").takes("@key [expiration(EX=#seconds|PX=#milliseconds|EXAT=^unix-time-seconds|PXAT=^unix-time-milliseconds|!PERSIST)] FIELDS=fields{#numfields field...}").keys(&["RW access update @ 1 : 0 1 0"]),
    doc("hincrby", "2.0.0", "O(1)", "Adds to the number in a field; a missing field is 0.").takes("@key field #increment").keys(&["RW access update @ 1 : 0 1 0"]),
    doc("hincrbyfloat", "2.6.0", "O(1)", "Adds an amount with a fraction to the number in a field; a missing field is 0.").takes("@key field %increment").keys(&["RW access update @ 1 : 0 1 0"]),
    doc("hkeys", "2.0.0", "O(N)", "Names all fields of a hash.").takes("@key").keys(&["RO access @ 1 : 0 1 0"]).tips(&["nondeterministic_output_order"]),
    doc("hlen", "2.0.0", "O(1)", "Counts the fields of a hash.").takes("@key").keys(&["RO @ 1 : 0 1 0"]),
    doc("hmget", "2.0.0", "O(N)", "Gives the values of several fields.").takes("@key field...").keys(&["RO access @ 1 : 0 1 0"]),
    doc("hmset", "2.0.0", "O(N)", "Sets fields of a hash.").takes("@key data{field value}...").keys(&["RW update @ 1 : 0 1 0"]).replaced("4.0.0", "HSET"),
    doc("hpersist", "7.4.0", "O(N)", "Lets fields live on without expiry.").takes("@key FIELDS=fields{#numfields field...}").keys(&["RW update @ 1 : 0 1 0"]),
    doc("hpexpire", "7.4.0", "O(N)", "Lets fields expire after milliseconds.").takes("@key #milliseconds [condition(!NX|!XX|!GT|!LT)] FIELDS=fields{#numfields field...}").keys(&["RW update @ 1 : 0 1 0"]),
    doc("hpexpireat", "7.4.0", "O(N)", "Lets fields expire at a Unix time in milliseconds.").takes("@key ^unix-time-milliseconds [condition(!NX|!XX|!GT|!LT)] FIELDS=fields{#numfields field...}").keys(&["RW update @ 1 : 0 1 0"]),
    doc("hpexpiretime", "7.4.0", "O(N)", "Tells when fields expire, as Unix times in milliseconds.").takes("@key FIELDS=fields{#numfields field...}").keys(&["RO access @ 1 : 0 1 0"]),
    doc("hpttl", "7.4.0", "O(N)", "Tells how many milliseconds fields have left.").takes("@key FIELDS=fields{#numfields field...}").keys(&["RO access @ 1 : 0 1 0"]).tips(&["nondeterministic_output"]),
    doc("hrandfield", "6.2.0", "O(N)", "Picks fields at random.").takes("@key [options{#count [!WITHVALUES]}]").keys(&["RO access @ 1 : 0 1 0"]).tips(&["nondeterministic_output"]),
    doc("hscan", "2.8.0", "O(1) a step", "Walks through a hash in steps.").takes("@key #cursor [MATCH=?pattern] [COUNT=#count] [!NOVALUES]").keys(&["RO access @ 1 : 0 1 0"]).tips(&["nondeterministic_output"]),
    doc("hset", "2.0.0", "O(1)", "Sets fields of a hash and counts the new ones.").takes("@key data{field value}...").keys(&["RW update @ 1 : 0 1 0"]),
    doc("hsetex", "8.0.0", "O(N)", "Sets fields with one expiry, if the condition holds for all.").takes("@key [condition(!FNX|!FXX)] [expiration(EX=#seconds|PX=#milliseconds|EXAT=^unix-time-seconds|PXAT=^unix-time-milliseconds|!KEEPTTL)] FIELDS=fields{#numfields data{field value}...}").keys(&["RW update @ 1 : 0 1 0"]),
    doc("hsetnx", "2.0.0", "O(1)", "Sets a field that does not exist.").takes("@key field value").keys(&["RW insert @ 1 : 0 1 0"]),
    doc("hstrlen", "3.2.0", "O(1)", "Gives the length of a field's value.").takes("@key field").keys(&["RO @ 1 : 0 1 0"]),
    doc("httl", "7.4.0", "O(N)", "Tells how many seconds fields have left.").takes("@key FIELDS=fields{#numfields field...}").keys(&["RO access @ 1 : 0 1 0"]).tips(&["nondeterministic_output"]),
    doc("hvals", "2.0.0", "O(N)", "Gives all values of a hash.").takes("@key").keys(&["RO access @ 1 : 0 1 0"]).tips(&["nondeterministic_output_order"]),
];
