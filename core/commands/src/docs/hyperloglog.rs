//! Documentation of the commands for HyperLogLogs.

use super::{Doc, doc};

pub(super) static DOCS: &[Doc] = &[
    doc(
        "pfadd",
        "2.8.9",
        "O(1)",
        "Counts elements in by their hashes; a missing key is an empty HyperLogLog.",
    )
    .takes("@key [element...]")
    .keys(&["RW insert @ 1 : 0 1 0"]),
    doc("pfcount", "2.8.9", "O(1)", "Estimates how many different elements were added.")
        .takes("@key...")
        .keys(&["RW access @ 1 : -1 1 0"]),
    doc("pfdebug", "2.8.9", "", "Tools to examine a HyperLogLog.")
        .takes("subcommand @key")
        .keys(&["RW access @ 2 : 0 1 0"])
        .internal(),
    doc("pfmerge", "2.8.9", "O(N)", "Unites HyperLogLogs in one key.")
        .takes("@destkey [@sourcekey...]")
        .keys(&["RW access insert @ 1 : 0 1 0", "RO access @ 2 : -1 1 0"]),
    doc("pfselftest", "2.8.9", "", "Checks the estimates.").internal(),
];
