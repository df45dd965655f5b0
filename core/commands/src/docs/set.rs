//! Documentation of the commands for sets.

use super::{Doc, doc};

pub(super) static DOCS: &[Doc] = &[
    doc("sadd", "1.0.0", "O(1)", "Puts members into a set and counts the new ones.")
        .takes("@key member...")
        .keys(&["RW insert @ 1 : 0 1 0"]),
    doc("scard", "1.0.0", "O(1)", "Counts the members of a set.").takes("@key").keys(&["RO @ 1 : 0 1 0"]),
    doc("sdiff", "1.0.0", "O(N)", "Gives the members of the first set that no other has.")
        .takes("@key...")
        .keys(&["RO access @ 1 : -1 1 0"])
        .tips(&["nondeterministic_output_order"]),
    doc("sdiffstore", "1.0.0", "O(N)", "Stores the members of the first set that no other has.")
        .takes("@destination @key...")
        .keys(&["OW update @ 1 : 0 1 0", "RO access @ 2 : -1 1 0"]),
    doc("sinter", "1.0.0", "O(N*M)", "Gives the members that all sets have.")
        .takes("@key...")
        .keys(&["RO access @ 1 : -1 1 0"])
        .tips(&["nondeterministic_output_order"]),
    doc("sintercard", "7.0.0", "O(N*M)", "Counts the members that all sets have.")
        .takes("#numkeys @key... [LIMIT=#limit]")
        .keys(&["RO access @ 1 : #0 1 1"]),
    doc("sinterstore", "1.0.0", "O(N*M)", "Stores the members that all sets have.")
        .takes("@destination @key...")
        .keys(&["OW update @ 1 : 0 1 0", "RO access @ 2 : -1 1 0"]),
    doc("sismember", "1.0.0", "O(1)", "Tells whether something is a member.")
        .takes("@key member")
        .keys(&["RO @ 1 : 0 1 0"]),
    doc("smembers", "1.0.0", "O(N)", "Gives all members of a set.")
        .takes("@key")
        .keys(&["RO access @ 1 : 0 1 0"])
        .tips(&["nondeterministic_output_order"]),
    doc("smismember", "6.2.0", "O(N)", "Tells of several things whether they are members.")
        .takes("@key member...")
        .keys(&["RO access @ 1 : 0 1 0"]),
    doc("smove", "1.0.0", "O(1)", "Moves a member to another set.")
        .takes("@source @destination member")
        .keys(&["RW access delete @ 1 : 0 1 0", "RW insert @ 2 : 0 1 0"]),
    doc("spop", "1.0.0", "O(1); O(N) with a count of N", "Takes members at random.")
        .takes("@key [#count~3.2.0]")
        .keys(&["RW access delete @ 1 : 0 1 0"])
        .tips(&["nondeterministic_output"]),
    doc("srandmember", "1.0.0", "O(1); O(N) with a count of N", "Picks members at random.")
        .takes("@key [#count~2.6.0]")
        .keys(&["RO access @ 1 : 0 1 0"])
        .tips(&["nondeterministic_output"]),
    doc("srem", "1.0.0", "O(N)", "Removes members from a set.")
        .takes("@key member...")
        .keys(&["RW delete @ 1 : 0 1 0"]),
    doc("sscan", "2.8.0", "O(1) a step", "Walks through a set in steps.")
        .takes("@key #cursor [MATCH=?pattern] [COUNT=#count]")
        .keys(&["RO access @ 1 : 0 1 0"])
        .tips(&["nondeterministic_output"]),
    doc("sunion", "1.0.0", "O(N)", "Gives the members that any of the sets has.")
        .takes("@key...")
        .keys(&["RO access @ 1 : -1 1 0"])
        .tips(&["nondeterministic_output_order"]),
    doc("sunionstore", "1.0.0", "O(N)", "Stores the members that any of the sets has.")
        .takes("@destination @key...")
        .keys(&["OW update @ 1 : 0 1 0", "RO access @ 2 : -1 1 0"]),
];
